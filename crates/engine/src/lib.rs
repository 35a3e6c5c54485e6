//! The streaming engine: a program of incremental operators, run by one machine a partition, and the
//! delivery of what it finds.
//!
//! ```text
//!   Program (from SQL) ──▶ Machine ◀── batches of `events`, watermarks
//!                             │
//!                             ▼  Step: findings in an order that batch boundaries cannot change
//!                          delivery ──▶ effects: produce, commit
//! ```
//!
//! Nothing here does I/O, starts a task or reads a clock: rows and time arrive as arguments, so that
//! a partition's findings are a function of its log alone.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bound;
pub mod delivery;
mod error;
mod evaluate;
mod finding;
mod keys;
mod machine;
mod meaning;
mod operators;
pub mod program;
mod reload;
mod rows;
mod warming;

pub use bound::{Bound, Kept, State, Wait};
pub use error::{Error, Result};
pub use evaluate::evaluate;
pub use finding::{FindingId, Findings, LINEAGE_PREFIX, OFFSET_COLUMNS, Place, Step, TIME_COLUMN};
pub use keys::TopicKeys;
pub use machine::Machine;
pub use operators::StateRow;
