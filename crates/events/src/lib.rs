//! Payload bytes to record batches of `events`: decode, fingerprint, mask, time, enrich.
//!
//! ```text
//!   bytes ─▶ json ─▶ required fields ─▶ fingerprint ─▶ numbers, lists ─▶ late? ─▶ mask, GeoIP ─▶ batch
//!              │           │                               │               │
//!              └───────────┴──────── dead letter ◀─────────┘               └─▶ late row
//! ```
//!
//! Decode decides once a record, in this order: dead letter, late. What a record becomes depends on
//! the records of its partition before it, the settings and the databases, and on nothing else: not on
//! where batches end, and on no clock.
//!
//! A raw credential never leaves this crate: it is in no batch, late row, dead letter, error or `Debug`
//! output. The crate does no I/O but to open the GeoIP databases that it is told to.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

mod address;
mod builder;
mod clients;
mod credentials;
mod dead;
mod decode;
mod error;
mod extra;
mod fingerprint;
mod geoip;
mod json;
mod late;
mod mask;
mod number;
mod plan;
mod route;
mod row;
mod schema;
mod settings;
mod time;

pub use dead::{DeadLetter, DeadReason};
pub use decode::{Counts, Decoded, Decoder, LateRow, Record};
pub use error::{Error, Result};
pub use extra::{ExtraColumn, ExtraKind, Sensitivity, parse_events_toml};
pub use fingerprint::{DEVELOPMENT_SECRET, Fingerprinter};
pub use geoip::{GeoConfig, GeoDatabases, GeoRecord, ReloadOutcome};
pub use schema::EventsSchema;
pub use settings::{IdentitySource, TimeMeaning, TopicSettings};
