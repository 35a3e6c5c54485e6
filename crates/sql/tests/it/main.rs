//! Tests of the way from SQL to findings, over hand-made events and without any file but the shipped
//! rules.

#![allow(
    clippy::disallowed_methods,
    reason = "tests read files, wait and look at the clock"
)]
#![allow(clippy::unwrap_used)]

mod events;
mod explain;
mod identity;
mod language;
mod mutations;
mod oracle;
mod plans;
mod refusals;
mod reload;
mod snapshots;
mod warnings;
