//! What needs no Kafka: webhooks against a real HTTP server, object stores against a real S3 server.

#![allow(
    clippy::disallowed_methods,
    reason = "tests read files, wait and look at the clock"
)]
#![allow(clippy::unwrap_used, missing_docs)]

#[cfg(all(feature = "gcs", feature = "azure"))]
mod clouds;
#[cfg(feature = "s3")]
mod s3;
mod webhook;
