//! History: events of the past as files, read back as decode gave them.
//!
//! ```text
//!   decode ─▶ ArchiveWriter ─▶ DIR/TOPIC.PARTITION.HOUR.FIRST-LAST.parquet      zstd, all columns of `events`
//!                                         │
//!              one (topic, partition)     ▼  files by their first offset
//!              PartitionReader: merge by offset, drop repeats, leave marked rows out, keep time
//!                                         │
//!                                         ▼
//!              batches of the columns that a program reads, a watermark a row
//! ```
//!
//! A file holds the decoded, enriched rows of the table `events`: fingerprints, never credentials. Late
//! rows are in it, marked in the column `late`, and are left out when it is read, as decode leaves them
//! out. Two files may hold the same rows, since what was not committed is read from Kafka again: a row
//! is told by topic, partition and offset, and only the first is taken.
//!
//! A file is on this machine or an object of a store, by URL ([`Source`]); an archive reaches a store through
//! a folder on this machine ([`Spool`]).
//!
//! Files of JSON lines are history too ([`Lines`]): each is a partition, and is decoded when it is read.

mod ahead;
mod chunks;
mod clock;
mod columns;
mod error;
mod file;
mod guard;
mod lines;
mod locate;
mod partition;
mod source;
mod spool;
mod write;

pub use columns::Columns;
pub use error::Error;
pub use file::{HistoryFile, PartitionName};
pub(crate) use guard::guarded;
pub use lines::Lines;
pub(crate) use locate::local;
pub use locate::{is_history, locate, locate_in};
pub use partition::{Behind, Chunk, PartitionReader};
pub use source::Source;
pub use spool::{Spool, is_passing};
pub use write::{ArchiveSettings, ArchiveWriter, Retry, Written, all_rows};

/// Columns of truth values that say why a row is not among the events; a file without one of them has
/// no row so marked.
pub const MARKS: [&str; 1] = ["late"];

/// Rows that are read, or decoded, into one batch.
pub const BATCH_ROWS: usize = 8192;
