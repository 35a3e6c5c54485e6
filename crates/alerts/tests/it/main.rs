//! The crate from outside: every alert and command that a test looks at is first held against its
//! JSON Schema.

#![allow(
    clippy::disallowed_methods,
    reason = "tests read files, wait and look at the clock"
)]
#![allow(clippy::unwrap_used)]

mod chat;
mod dedup;
mod fixtures;
mod guard;
mod schema;
mod template;
