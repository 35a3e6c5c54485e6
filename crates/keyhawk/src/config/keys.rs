//! The keys of `keyhawk.toml`: one plain list, from which unknown keys are told, defaults are read
//! and the commented sample is written.
//!
//! To add a key: a line here, a field in `sections.rs`, a line in `parse.rs`. The tests find a key
//! that is missing in one of the three, and the sample that no longer agrees with the list.

/// One table of the file, `[name]`.
#[derive(Debug)]
pub(super) struct Section {
    /// The table's name: empty for the top of the file, `topics.NAME` for each table below
    /// `topics`.
    pub name: &'static str,
    /// What the table is about, for the sample.
    pub doc: &'static str,
    /// The keys, in the order of the sample. None where the file chooses them (`kafka.properties`).
    pub keys: &'static [Key],
}

/// One key of a table.
#[derive(Debug)]
pub(super) struct Key {
    /// As it is written in the file.
    pub name: &'static str,
    /// What its value looks like, with the unit.
    pub takes: &'static str,
    /// The value in force where the key is absent, as TOML.
    pub default: Default,
    /// What it means and what it does.
    pub doc: &'static str,
}

/// What holds where a key is absent.
#[derive(Debug)]
pub(super) enum Default {
    /// This value, as TOML.
    Value(&'static str),
    /// Nothing; the TOML is an example for the sample.
    Unset {
        /// A value that could stand there.
        example: &'static str,
    },
}

const fn key(
    name: &'static str,
    takes: &'static str,
    default: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        name,
        takes,
        default: Default::Value(default),
        doc,
    }
}

const fn unset(
    name: &'static str,
    takes: &'static str,
    example: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        name,
        takes,
        default: Default::Unset { example },
        doc,
    }
}

/// The topic that is read where the file names none. The sample shows its keys under this name.
pub(super) const DEFAULT_TOPIC: &str = "api-access";

/// The table whose keys the file chooses.
pub(super) const PROPERTIES: &str = "kafka.properties";

/// The keys of every table below `topics`.
pub(super) const TOPIC: &str = "topics.NAME";

/// How a secret is written, said wherever one is asked for.
pub(super) const TAKES_SECRET: &str = "{ file = \"path\" } or { env = \"NAME\" }";

/// All tables with all their keys.
pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "",
        doc: "",
        keys: &[key(
            "deployment",
            "a text",
            r#""keyhawk""#,
            "Names this installation. It is part of every alert's id, so that two installations \
             over the same topics do not mix up their alerts. Changing it gives every open alert \
             a new id.",
        )],
    },
    Section {
        name: "kafka",
        doc: "The cluster, and how records are gathered into batches.",
        keys: &[
            key(
                "brokers",
                "a list of host:port",
                r#"["localhost:9092"]"#,
                "Where to ask first; the cluster tells of its other brokers.",
            ),
            key(
                "group_id",
                "a text",
                r#""keyhawk""#,
                "The consumer group. Instances of one group share the partitions.",
            ),
            key(
                "client_id",
                "a text",
                r#""keyhawk""#,
                "What this instance is called in the brokers' logs and metrics.",
            ),
            unset(
                "instance_id",
                "a text",
                r#""keyhawk-1""#,
                "A name of this instance alone. With one, it gets its own partitions back after a \
                 short restart (static membership).",
            ),
            key(
                "start_at",
                r#""earliest" or "latest""#,
                r#""earliest""#,
                "Where a group that has not yet committed anything begins to read.",
            ),
            key(
                "batch_rows",
                "a number of rows, at least 1",
                "8192",
                "A batch is handed on once it holds this many records.",
            ),
            key(
                "batch_bytes",
                "a size",
                r#""4MiB""#,
                "A batch is handed on once its payloads take this much.",
            ),
            key(
                "batch_wait",
                "a duration",
                r#""20ms""#,
                "A batch is handed on once its first record has waited this long.",
            ),
            key(
                "prefetch",
                "a number of batches, at least 1",
                "4",
                "How many batches of a partition may be read and not yet processed. Past that the \
                 partition is paused; nothing is dropped.",
            ),
            key(
                "watchdog",
                "a duration",
                r#""60s""#,
                "A consumer that lags and has delivered nothing for this long is made anew.",
            ),
        ],
    },
    Section {
        name: PROPERTIES,
        doc: "Any property of librdkafka, by its own name: TLS, SASL, buffers. Those that the \
              delivery protocol or a key above owns are refused (enable.auto.*, acks, \
              isolation.level, group.id, …). Passwords are written as { file = \"path\" } or { \
              env = \"NAME\" }.",
        keys: &[],
    },
    Section {
        name: TOPIC,
        doc: "A topic to read, one table each; quote a name that holds a dot. Where the file has \
              no such table, the topic `api-access` is read with the defaults below.",
        keys: &[
            key(
                "identity",
                "a list of key_id, api_key, consumer_id",
                r#"["key_id", "api_key"]"#,
                "Whom a call is by: the first of these fields that an event has. `api_key` stands \
                 for the fingerprint of the credential.",
            ),
            key(
                "time",
                r#""end" or "start""#,
                r#""end""#,
                "Whether event_time is when the response ended or when the request began. Kong, \
                 Envoy and OpenTelemetry stamp the start; the latency is then added.",
            ),
            key(
                "lateness",
                "a duration",
                r#""10s""#,
                "How far an event may lie behind the newest one of its partition. What is further \
                 behind is late: counted, and written to the late topic. `keyhawk lag` measures \
                 it.",
            ),
            key(
                "future",
                "a duration",
                r#""60s""#,
                "How far an event's time may be ahead of its record's time before the record \
                 becomes a dead letter.",
            ),
            key(
                "dead_letter_payload",
                "true or false",
                "false",
                "Whether a dead letter carries the payload, with everything that could be a \
                 credential replaced. Without it, it carries the payload's length and digest.",
            ),
            key(
                "keyed_by",
                "the name of a column",
                r#""api_key""#,
                "The column by which producers key the topic's records. Memory per key is correct \
                 only if all records of a key are in one partition.",
            ),
        ],
    },
    Section {
        name: "output",
        doc: "The topics to write. They must differ from each other and from the topics read.",
        keys: &[
            key(
                "alerts",
                "the name of a topic",
                r#""keyhawk.alerts""#,
                "Alerts, keyed by the entity they are about.",
            ),
            key(
                "commands",
                "the name of a topic",
                r#""keyhawk.commands""#,
                "Commands to carry out; nothing that stands here may be ignored.",
            ),
            key(
                "shadow",
                "the name of a topic",
                r#""keyhawk.commands.shadow""#,
                "Commands that would have been given, for people to judge.",
            ),
            key(
                "late",
                "the name of a topic",
                r#""keyhawk.late""#,
                "Events that came too late, decoded.",
            ),
            key(
                "dead_letter",
                "the name of a topic",
                r#""keyhawk.dead""#,
                "Records that could not be read, with the reason.",
            ),
        ],
    },
    Section {
        name: "identity",
        doc: "Fingerprints of credentials. A raw credential is never stored, shown or sent.",
        keys: &[
            unset(
                "secret",
                TAKES_SECRET,
                r#"{ env = "KEYHAWK_SECRET" }"#,
                "The key of the HMAC-SHA-256 that makes a fingerprint of a credential; at least \
                 16 characters, for example from `openssl rand -hex 32`. `keyhawk run` does not \
                 start without it. Changing it gives every credential a new fingerprint, and so a \
                 new history.",
            ),
            key(
                "prefixes",
                "a list of texts",
                "[]",
                "Public beginnings of your credentials, such as \"kh_live_\". They stay readable \
                 in fingerprints, and whatever begins with one is masked in every text column.",
            ),
        ],
    },
    Section {
        name: "geoip",
        doc: "Databases in MaxMind's format (.mmdb), each optional: GeoLite2/GeoIP2 or DB-IP Lite.",
        keys: &[
            key(
                "city",
                "a path or a list of paths",
                "[]",
                "Places. DB-IP has one file for IPv4 and one for IPv6: name both.",
            ),
            key(
                "asn",
                "a path or a list of paths",
                "[]",
                "Networks and their operators.",
            ),
            key(
                "anonymous",
                "a path or a list of paths",
                "[]",
                "Which addresses are VPNs, relays, Tor exits or hosting.",
            ),
            key(
                "reload",
                "a duration",
                r#""1m""#,
                "How often the files are looked at. A changed file is taken up without a restart; \
                 a damaged one leaves the old one in use.",
            ),
        ],
    },
    Section {
        name: "rules",
        doc: "Detection.",
        keys: &[
            key(
                "dir",
                "a path",
                r#""sql""#,
                "The folder that holds `rules/` and, where there are any, `views/`, `tables/` and \
                 `events.toml`.",
            ),
            key(
                "reload",
                "a duration",
                r#""5s""#,
                "How often the folder is looked at; SIGHUP looks at once. A changed folder is taken up \
                 without a restart, and what did not change keeps what it has seen; one that does not \
                 load leaves the rules in force.",
            ),
            unset(
                "tables_history",
                "a path",
                r#""table-history""#,
                "Where `run` keeps each version of a reference table that it used, for `backtest \
                 --tables-as-of`: a folder of this machine. Without it, `tables` in the archive's \
                 folder; without an archive, and with one in an object store, none is kept.",
            ),
        ],
    },
    Section {
        name: "archive",
        doc: "History for `backtest`, `replay` and `sql`: every event that `run` decodes, late ones \
              marked, as Parquet files with all columns. Offsets are committed without waiting for \
              it. A stop completes the files; a crash costs the rows of those that are not complete.",
        keys: &[
            unset(
                "folder",
                "a path, or a URL: file:, s3:, gs:, az:, abfss:",
                r#""history""#,
                "Where the files go: a folder, made where it does not exist, or a prefix in an object \
                 store, such as \"s3://bucket/history\", with credentials, region and endpoint from \
                 AWS_…, GOOGLE_… or AZURE_… in the environment. Without it nothing is archived. With it, \
                 a record is a dead letter if any field of it cannot be read, also one that no rule asks \
                 for.",
            ),
            unset(
                "spool",
                "a path",
                r#""/var/lib/keyhawk/spool""#,
                "Where files for an object store are until they are complete and uploaded; a store that \
                 does not answer costs space here, and no rows. On a disk that outlives the process, the \
                 next start uploads what a crash left. Without it, a folder of the system's temporary \
                 files; not used where `folder` is one of this machine.",
            ),
            key(
                "file_bytes_max",
                "a size",
                r#""256MiB""#,
                "A file is complete once it has about this much. It is in any case when the hour \
                 changes.",
            ),
            key(
                "file_age_max",
                "a duration",
                r#""15m""#,
                "A file is complete at the latest this long after its first row was written, so \
                 that a crash costs no more than this.",
            ),
        ],
    },
    Section {
        name: "guard",
        doc: "What becomes of the commands that rules propose.",
        keys: &[
            key(
                "mode",
                r#""shadow" or "auto""#,
                r#""shadow""#,
                "Whether commands are only told (shadow topic) or given (commands topic).",
            ),
            key(
                "auto_rules",
                "a list of rules",
                "[]",
                "In mode auto, the rules whose commands are given; \"*\" stands for all. Those of \
                 other rules stay shadow.",
            ),
            key(
                "auto_actions",
                "a list of suspend, throttle, restrict_network, step_up, revoke, rotate, lift",
                r#"["suspend", "throttle", "restrict_network", "step_up"]"#,
                "In mode auto, the actions that are given: by default what ends by itself.",
            ),
            key(
                "budget_per_hour",
                "a number of commands",
                "20",
                "How many commands may be given in any 60 minutes. Further ones become shadow, \
                 and an alert says so.",
            ),
            key(
                "evidence_max_age",
                "a duration",
                r#""15m""#,
                "A command that rests on older evidence stays shadow, so that a restart after an \
                 outage does not act on the past.",
            ),
            key(
                "gateway_knows_fingerprints",
                "true or false",
                "false",
                "Whether the gateway can find a key by its fingerprint (see `keyhawk \
                 fingerprint`). If not, commands are given only for events with a key_id.",
            ),
        ],
    },
    Section {
        name: "chat",
        doc: "Messages to a chat, by an incoming webhook in Slack's format.",
        keys: &[
            unset(
                "webhook",
                TAKES_SECRET,
                r#"{ file = "/run/secrets/chat_webhook" }"#,
                "The webhook's URL, which is a secret. Without it no messages are sent.",
            ),
            key(
                "group_id",
                "a text",
                r#""keyhawk-chat""#,
                "The consumer group that reads the alerts topic for the chat; not that of [kafka].",
            ),
            key(
                "show_address",
                "true or false",
                "false",
                "Whether messages show client addresses. Country and network operator are shown \
                 in any case.",
            ),
            key(
                "max_tries",
                "a number of tries, at least 1",
                "8",
                "How often a message is tried, at growing intervals, before it is given up.",
            ),
            key(
                "dead_letter",
                "the name of a topic",
                r#""keyhawk.chat.dead""#,
                "Messages that the chat did not take.",
            ),
        ],
    },
    Section {
        name: "console",
        doc: "HTTP for machines: /metrics, /healthz and /readyz.",
        keys: &[key(
            "listen",
            "an address and a port",
            r#""127.0.0.1:9187""#,
            "Where to listen. There is no access control, so keep it to networks that you trust; \
             port 0 takes a free one.",
        )],
    },
    Section {
        name: "log",
        doc: "Log lines, on standard error.",
        keys: &[
            key(
                "format",
                r#""text" or "json""#,
                r#""text""#,
                "For people or for machines.",
            ),
            key(
                "level",
                "a filter",
                r#""info""#,
                "error, warn, info, debug or trace, also by module: \
                 \"info,keyhawk_connectors=debug\". The environment variable KEYHAWK_LOG goes \
                 before it.",
            ),
        ],
    },
];

/// The table of this name.
pub(super) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

impl Section {
    /// The key of this name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// Properties of librdkafka whose value is a secret.
pub(super) const SECRET_PROPERTIES: &[&str] = &[
    "sasl.password",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.config",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
];
