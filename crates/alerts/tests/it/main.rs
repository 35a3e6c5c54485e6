//! The crate from outside: every alert and command that a test looks at is first held against its
//! JSON Schema.
#![allow(clippy::unwrap_used)]

mod chat;
mod dedup;
mod fixtures;
mod guard;
mod schema;
mod template;
