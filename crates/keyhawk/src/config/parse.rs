//! The first step: what the file says. Every key is known and every value fits its key; paths and
//! secrets are still as they are written.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use keyhawk_alerts::{Action, GuardConfig};
use keyhawk_connectors::kafka::Properties;
use toml::Spanned;
use toml::de::DeValue;

use super::document::{Document, Table};
use super::error::Error;
use super::keys::{self, SECRET_PROPERTIES, TAKES_SECRET};
use super::setting::{Setting, Wrong};
use super::{
    Archive, ArchiveTo, Chat, Config, Console, GeoIp, Identity, Kafka, Log, Output, Rules,
    SecretSource, Topic,
};

/// What a file says.
#[derive(Debug)]
pub(super) struct File<'t> {
    /// For the places of whatever turns out not to hold together.
    pub document: Document<'t>,
    /// All values, but paths as written and no secret read.
    pub settings: Config,
    /// `identity.secret`
    pub fingerprint_secret: Option<SecretSource>,
    /// `chat.webhook`
    pub webhook: Option<SecretSource>,
    /// `archive.spool`
    pub spool: Option<PathBuf>,
    /// `[kafka.properties]`
    pub properties: BTreeMap<String, Property>,
}

/// A property of librdkafka.
#[derive(Debug)]
pub(super) struct Property {
    /// The bytes of the file that hold its value.
    pub span: Range<usize>,
    /// The value.
    pub value: PropertyValue,
}

/// The value of a property of librdkafka.
#[derive(Debug)]
pub(super) enum PropertyValue {
    /// As the file says.
    Plain(String),
    /// To be read.
    Secret(SecretSource),
}

/// Reads the text of a file, which is called `path` in errors.
pub(super) fn parse<'t>(path: &Path, text: &'t str) -> Result<File<'t>, Error> {
    let document = Document::parse(path, text)?;
    let kafka = document.table("kafka");
    let output = document.table("output");
    let identity = document.table("identity");
    let geoip = document.table("geoip");
    let archive = document.table("archive");
    let guard = document.table("guard");
    let chat = document.table("chat");
    let log = document.table("log");

    let settings = Config {
        deployment: document.table("").get("deployment")?,
        kafka: Kafka {
            brokers: kafka.get("brokers")?,
            group_id: kafka.get("group_id")?,
            client_id: kafka.get("client_id")?,
            instance_id: kafka.optional("instance_id")?,
            start_at: kafka.get("start_at")?,
            properties: Properties::default(),
            batch_rows: kafka.get("batch_rows")?,
            batch_bytes: bytes(kafka.get("batch_bytes")?),
            batch_wait: kafka.get("batch_wait")?,
            prefetch_batches: kafka.get("prefetch")?,
            watchdog: kafka.get("watchdog")?,
        },
        topics: topics(&document)?,
        output: Output {
            alerts: output.get("alerts")?,
            commands: output.get("commands")?,
            shadow: output.get("shadow")?,
            late: output.get("late")?,
            dead_letter: output.get("dead_letter")?,
        },
        identity: Identity {
            secret: None,
            prefixes: identity.get("prefixes")?,
        },
        geoip: GeoIp {
            city: geoip.get("city")?,
            asn: geoip.get("asn")?,
            anonymous: geoip.get("anonymous")?,
            reload: geoip.get("reload")?,
        },
        rules: Rules {
            dir: document.table("rules").get("dir")?,
            reload: document.table("rules").get("reload")?,
            tables_history: document.table("rules").optional("tables_history")?,
        },
        archive: archive_of(&archive)?,
        guard: GuardConfig {
            mode: guard.get("mode")?,
            auto_rules: guard
                .get::<Vec<String>>("auto_rules")?
                .into_iter()
                .collect(),
            auto_actions: guard
                .get::<Vec<Action>>("auto_actions")?
                .into_iter()
                .collect(),
            budget_per_hour: guard.get("budget_per_hour")?,
            evidence_max_age_ms: milliseconds(guard.get("evidence_max_age")?),
            gateway_knows_fingerprints: guard.get("gateway_knows_fingerprints")?,
        },
        chat: Chat {
            webhook: None,
            group_id: chat.get("group_id")?,
            show_address: chat.get("show_address")?,
            max_tries: chat.get("max_tries")?,
            dead_letter: chat.get("dead_letter")?,
        },
        console: Console {
            listen: document.table("console").get("listen")?,
        },
        log: Log {
            format: log.get("format")?,
            level: log.get("level")?,
        },
    };
    Ok(File {
        settings,
        fingerprint_secret: identity.optional("secret")?,
        webhook: chat.optional("webhook")?,
        spool: archive.optional("spool")?,
        properties: properties(&document)?,
        document,
    })
}

/// What is wrong with a value is said also where there is no folder.
fn archive_of(table: &Table<'_>) -> Result<Option<Archive>, Error> {
    let file_bytes_max = bytes(table.get("file_bytes_max")?);
    let file_age_max = table.get("file_age_max")?;
    let folder: Option<PathBuf> = table.optional("folder")?;
    Ok(folder.map(|folder| Archive {
        to: ArchiveTo::Folder(folder),
        file_bytes_max,
        file_age_max,
    }))
}

fn topics(document: &Document<'_>) -> Result<BTreeMap<String, Topic>, Error> {
    let mut names: Vec<&str> = document.topics().collect();
    if names.is_empty() {
        names.push(keys::DEFAULT_TOPIC);
    }
    let mut topics = BTreeMap::new();
    for name in names {
        let table = document.topic(name);
        let topic = Topic {
            identity: table.get("identity")?,
            time: table.get("time")?,
            lateness: table.get("lateness")?,
            future: table.get("future")?,
            dead_letter_payload: table.get("dead_letter_payload")?,
            keyed_by: table.get("keyed_by")?,
        };
        topics.insert(name.to_owned(), topic);
    }
    Ok(topics)
}

fn properties(document: &Document<'_>) -> Result<BTreeMap<String, Property>, Error> {
    let mut properties = BTreeMap::new();
    for (name, value) in document.table(keys::PROPERTIES).entries() {
        add_property(document, name.to_owned(), value, &mut properties)?;
    }
    Ok(properties)
}

/// TOML reads `ssl.ca.location = …` as tables within tables, so the names are put together again. A
/// table that holds nothing but `file` or `env` says where a value is; for the few properties whose
/// name ends so, the whole name stands in quotes.
fn add_property(
    document: &Document<'_>,
    name: String,
    value: &Spanned<DeValue<'_>>,
    properties: &mut BTreeMap<String, Property>,
) -> Result<(), Error> {
    let is_source = |table: &toml::de::DeTable<'_>| {
        table.len() == 1 && (table.contains_key("file") || table.contains_key("env"))
    };
    let read = match value.get_ref() {
        DeValue::Table(table) if !is_source(table) => {
            for (part, value) in table {
                add_property(
                    document,
                    format!("{name}.{}", part.get_ref()),
                    value,
                    properties,
                )?;
            }
            return Ok(());
        }
        DeValue::Table(_) => SecretSource::read(value).map(PropertyValue::Secret),
        _ if SECRET_PROPERTIES.contains(&name.as_str()) => Err(Wrong::PlainSecret(value.span())),
        DeValue::String(text) => Ok(PropertyValue::Plain(text.to_string())),
        DeValue::Integer(number) => Ok(PropertyValue::Plain(number.to_string())),
        DeValue::Float(number) => Ok(PropertyValue::Plain(number.to_string())),
        DeValue::Boolean(switch) => Ok(PropertyValue::Plain(switch.to_string())),
        DeValue::Array(_) | DeValue::Datetime(_) => {
            let reason = "expected one text, number or switch".to_owned();
            Err(Wrong::Value(value.span(), reason))
        }
    };
    let takes = if SECRET_PROPERTIES.contains(&name.as_str()) {
        TAKES_SECRET
    } else {
        "a text, a number, true or false, or where the value is kept"
    };
    let read = read.map_err(|wrong| document.wrong(&name, takes, wrong))?;
    properties.insert(
        name,
        Property {
            span: value.span(),
            value: read,
        },
    );
    Ok(())
}

/// Bytes of memory; what is too many for this machine is as good as no bound.
fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

/// Whole milliseconds; what is too long for them is as good as for ever.
fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
