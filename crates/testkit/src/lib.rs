//! For tests only: a real Kafka, a real HTTP server, and random input that a seed repeats.
//!
//! | module | what it gives |
//! |---|---|
//! | [`kafka`] | a broker for the test binary: one that is named, one in Docker, or one run from Maven's jars |
//! | [`http`] | a webhook's far end, which records bodies and answers as the test scripts it |
//! | `s3` | an S3 server over a folder, with the feature of that name |
//! | [`random`] | random cuts, keys and JSON Web Tokens, and the search for a leaked key |
//!
//! Nothing here is part of the product, and nothing in the product depends on it.

#![allow(
    clippy::disallowed_methods,
    reason = "tests start brokers and servers, and wait for them"
)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;
pub mod http;
pub mod kafka;
pub mod random;
#[cfg(feature = "s3")]
pub mod s3;

pub use error::{Error, Result};
