//! Kafka: reading topics, writing topics, and asking brokers about them.

mod client;
mod inspect;
mod properties;
mod sink;
mod source;

pub use inspect::{Sample, TimestampType, sample, timestamp_type};
pub use properties::Properties;
pub use sink::{Delivery, QueueFull, Refusal, Sink, SinkConfig};
pub use source::{
    Assigned, Batch, PartitionLag, Record, ReleaseReason, Revoked, Source, SourceConfig,
    SourceControl, SourceEvent, SourceStats, StartAt,
};
