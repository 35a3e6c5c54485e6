//! The outside world: Kafka, chat webhooks and object stores, and nothing else of Keyhawk.
//!
//! ```text
//!   Kafka ──▶ kafka::Source ──▶ batches of payloads ──▶ (pipeline) ──▶ kafka::Sink ──▶ Kafka
//!                  ▲                                        │
//!                  └───────────── commits ──────────────────┘
//!
//!   alerts topic ──▶ AlertsReader ──▶ Webhook ──▶ chat        in a consumer group of its own
//!
//!   s3://…, gs://…, az://… ──▶ Stores ──▶ Bucket ──▶ Object ──▶ bytes           files of history, both ways
//! ```
//!
//! This crate alone knows Kafka, HTTP and object stores, reads the clock and sleeps. It decides nothing about
//! events or alerts: what a record means, and when an offset may be committed, its callers say.
//! Every thread that it starts has a name that begins with `kh-`, and ends with its handle.
//!
//! No log line and no error carries a record's content, a property's value, a webhook's URL, or a credential.
//!
//! | metric | labels |
//! |---|---|
//! | `keyhawk_source_records_total`, `keyhawk_source_bytes_total` | `topic`, `partition` |
//! | `keyhawk_lag_records` (gauge) | `topic`, `partition` |
//! | `keyhawk_source_rebalances_total` | `kind`: `assigned`, `revoked`, `lost` |
//! | `keyhawk_source_recreations_total` | `reason`: `stalled`, `fatal` |
//! | `keyhawk_source_commits_total` | `result`: `ok`, `failed`, `stale` |
//! | `keyhawk_source_errors_total` | |
//! | `keyhawk_sink_records_total` | `topic`, `result`: `ok`, `refused`, `failed` |
//! | `keyhawk_sink_recreations_total` | |
//! | `keyhawk_webhook_attempts_total` | `result`: `ok`, `retry`, `refused` |
//! | `keyhawk_chat_messages_total` | `result`: `sent`, `dead_letter` |
//! | `keyhawk_chat_unreadable_total` | |
//! | `keyhawk_store_requests_total` | `operation`: `list`, `head`, `get`, `put`, `delete`; `result`: `ok`, `failed` |
//! | `keyhawk_store_read_bytes_total`, `keyhawk_store_written_bytes_total` | |

#![allow(
    clippy::disallowed_methods,
    reason = "this crate is the outside world: it has the clock, the network and the threads"
)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod alerts_reader;
mod error;
pub mod kafka;
mod objects;
mod webhook;

pub use alerts_reader::{AlertsReader, AlertsReaderConfig};
pub use error::{Error, Result};
pub use objects::{Bucket, Object, ObjectReader, StoreFailure, StoreUrl, Stores};
pub use webhook::{Failure, Outcome, SecretUrl, StopFlag, Webhook, WebhookConfig};
