//! What the configuration means: one struct a table of the file, with the values in force.
//!
//! The defaults stand in one place, the list in `keys.rs`; there is no `Default` here that could
//! disagree with it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use keyhawk_alerts::GuardConfig;
use keyhawk_connectors::StoreUrl;
use keyhawk_connectors::kafka::{Properties, StartAt};

use super::Secret;

/// The whole configuration: paths absolute, secrets read, contradictions refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The installation's name, a part of every alert's id.
    pub deployment: String,
    /// `[kafka]`
    pub kafka: Kafka,
    /// `[topics.NAME]`, by topic; never empty.
    pub topics: BTreeMap<String, Topic>,
    /// `[output]`
    pub output: Output,
    /// `[identity]`
    pub identity: Identity,
    /// `[geoip]`
    pub geoip: GeoIp,
    /// `[rules]`
    pub rules: Rules,
    /// `[archive]`; None where no folder is named.
    pub archive: Option<Archive>,
    /// `[guard]`; in mode auto with at least one rule, one action and a budget.
    pub guard: GuardConfig,
    /// `[chat]`
    pub chat: Chat,
    /// `[console]`
    pub console: Console,
    /// `[log]`
    pub log: Log,
}

/// The cluster, and how records are gathered into batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kafka {
    /// `host:port` each; never empty.
    pub brokers: Vec<String>,
    /// The consumer group.
    pub group_id: String,
    /// This instance's name at the brokers.
    pub client_id: String,
    /// This instance's name in the group, for static membership.
    pub instance_id: Option<String>,
    /// Where a group without committed offsets begins.
    pub start_at: StartAt,
    /// Further properties of librdkafka, taken by it and none of them the delivery protocol's.
    pub properties: Properties,
    /// Records a batch holds at most; at least 1.
    pub batch_rows: usize,
    /// Payload bytes after which a batch is handed on; at least 1.
    pub batch_bytes: usize,
    /// How long a batch's first record waits at most.
    pub batch_wait: Duration,
    /// Batches of a partition that may be outstanding before it is paused; at least 1.
    pub prefetch_batches: usize,
    /// How long a lagging consumer may deliver nothing; never zero.
    pub watchdog: Duration,
}

/// A topic to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// The fields that say whom a call is by, the first present wins; never empty, without repeats.
    pub identity: Vec<IdentityField>,
    /// Which end of the call `event_time` stamps.
    pub time: TopicTime,
    /// How far an event may lie behind the newest of its partition.
    pub lateness: Duration,
    /// How far an event may be ahead of its record.
    pub future: Duration,
    /// Whether dead letters carry the masked payload.
    pub dead_letter_payload: bool,
    /// The column by which producers key the records.
    pub keyed_by: String,
}

/// A field of the event that can say whom a call is by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityField {
    /// The gateway's id of the key.
    KeyId,
    /// The fingerprint of the credential.
    ApiKey,
    /// The gateway's id of the consumer.
    ConsumerId,
}

/// Which end of a call `event_time` stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicTime {
    /// When the response ended.
    End,
    /// When the request began; the latency is added.
    Start,
}

/// The topics to write; all different, and none of them read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Alerts.
    pub alerts: String,
    /// Commands to carry out.
    pub commands: String,
    /// Commands that would have been given.
    pub shadow: String,
    /// Late events.
    pub late: String,
    /// Records that could not be read.
    pub dead_letter: String,
}

/// Fingerprints of credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The key of the HMAC, at least 16 bytes. `run` asks for it with
    /// [`Config::fingerprint_secret`]; other commands have a development secret to fall back to.
    pub secret: Option<Secret>,
    /// Public beginnings of credentials; none empty.
    pub prefixes: Vec<String>,
}

/// GeoIP databases, absolute paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeoIp {
    /// Places.
    pub city: Vec<PathBuf>,
    /// Networks.
    pub asn: Vec<PathBuf>,
    /// VPNs, relays, Tor exits, hosting.
    pub anonymous: Vec<PathBuf>,
    /// How often the files are looked at; never zero.
    pub reload: Duration,
}

/// Detection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The folder of `rules/`, `views/`, `tables/` and `events.toml`; absolute.
    pub dir: PathBuf,
    /// How often the folder is looked at; never zero.
    pub reload: Duration,
    /// Where versions of reference tables are kept, absolute; None where none are.
    pub tables_history: Option<PathBuf>,
}

/// Decoded events as files, for backtests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Where the files go.
    pub to: ArchiveTo,
    /// Bytes after which a file is complete; never zero.
    pub file_bytes_max: usize,
    /// How long after its first row a file is complete at the latest; never zero.
    pub file_age_max: Duration,
}

/// Where an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchiveTo {
    /// A folder of this machine, an absolute path.
    Folder(PathBuf),
    /// An object store.
    Store {
        /// The prefix of the objects.
        url: StoreUrl,
        /// Where files are until they are uploaded, an absolute path; None is a folder of the system's
        /// temporary files.
        spool: Option<PathBuf>,
    },
}

/// Messages to a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// The webhook's URL, `http://` or `https://`; none, no messages.
    pub webhook: Option<Secret>,
    /// The consumer group on the alerts topic; never that of the pipeline.
    pub group_id: String,
    /// Whether messages show client addresses.
    pub show_address: bool,
    /// Tries of a message; at least 1.
    pub max_tries: u32,
    /// The topic of messages that the chat did not take.
    pub dead_letter: String,
}

/// HTTP for machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Console {
    /// Where to listen.
    pub listen: SocketAddr,
}

/// Log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// A filter in the syntax of `tracing_subscriber::EnvFilter`, already found valid.
    pub level: String,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}
