//! Tests of machines that run programs built by hand: state that is saved and restored, damage to it,
//! expressions that fail, joins, and the order of what is emitted.
//! expressions that fail, the order of what is emitted, sessions, unions and lists.

#![allow(
    clippy::disallowed_methods,
    reason = "tests read files, wait and look at the clock"
)]
#![allow(clippy::unwrap_used)]

mod failures;
mod fill;
mod hop;
mod joins;
mod order;
mod programs;
mod reload;
mod retention;
mod sessions;
mod state;
mod union_and_unnest;
