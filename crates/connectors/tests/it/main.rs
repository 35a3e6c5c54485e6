//! What needs no Kafka: webhooks against a real HTTP server.

#![allow(
    clippy::disallowed_methods,
    reason = "tests read files, wait and look at the clock"
)]
#![allow(clippy::unwrap_used, missing_docs)]

mod webhook;
