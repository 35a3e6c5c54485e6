//! What the benches are made of: events, the stages that are timed, and the loop that times them.
//!
//! ```text
//!   traffic ──┐
//!             ├─▶ Log in memory ─▶ stage after stage, round after round ─▶ medians, ratios
//!   recorded ─┘
//! ```
//!
//! The benches themselves are the files beside `Cargo.toml`; README.md there says what each does and
//! gives the figures.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench reads the clock, the machine and recorded files"
)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod arguments;
pub mod backtest;
pub mod cases;
pub mod detect;
pub mod log;
pub mod machine;
pub mod measure;
pub mod recorded;
pub mod rules;
pub mod scratch;
pub mod stages;
pub mod traffic;

/// Whatever ends a bench early; it is printed and the bench fails.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
