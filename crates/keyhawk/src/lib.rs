//! Finds stolen API keys in access logs as they happen.
//!
//! ```text
//!   Kafka or files ─▶ events ─▶ rules in SQL ─▶ findings ─▶ alerts ─▶ chat
//!                                                    └─▶ proposals ─▶ guard ─▶ commands
//! ```
//!
//! This crate wires the others into one binary: configuration, the command line, the pipeline of a
//! partition, the run over Kafka, and the console.

#![allow(
    clippy::disallowed_methods,
    reason = "this crate is the outside world: it has the clock, the files and the threads"
)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod batch_run;
pub mod cli;
mod commands;
pub mod config;
pub mod console;
mod demo_geoip;
pub mod finding_rows;
pub mod history;
pub mod logging;
pub mod partition;
mod prompt;
pub mod replay;
pub mod rule_set;
pub mod rule_tests;
pub mod simulate;
pub mod stream;
pub mod tables;

pub use cli::main;
