//! What needs no Kafka: webhooks against a real HTTP server.

#![allow(clippy::unwrap_used, missing_docs)]

mod webhook;
