//! Everything that a run needs, opened and checked in the order in which a mistake is cheapest.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyhawk_alerts::{ChatConfig, Guard};
use keyhawk_connectors::kafka::{Sink, SinkConfig, Source, SourceConfig, SourceControl};
use keyhawk_connectors::{AlertsReader, AlertsReaderConfig, SecretUrl, Stores, WebhookConfig};
use keyhawk_events::{Fingerprinter, GeoConfig, GeoDatabases, TopicSettings};

use super::archive::{self, ArchiveThread};
use super::outbox::Outbox;
use super::outputs::Publisher;
use super::pipeline::{Factory, Unstarted};
use super::{Error, RELEASE_WAIT, now_ms, rule_watch, topics};
use crate::config::{Chat, Config};
use crate::console::{self, ConsoleHandle, Status, install_metrics};
use crate::partition::Partition;
use crate::rule_set::RuleSet;

/// A run that has only to be set going.
pub(super) struct Ready {
    pub(super) pipeline: Unstarted,
    pub(super) console: ConsoleHandle,
    pub(super) chat: Option<AlertsReader>,
    pub(super) archive: Option<ArchiveThread>,
    pub(super) geo: Arc<GeoDatabases>,
    pub(super) rule_files: rule_watch::Stamp,
}

impl Ready {
    pub(super) fn control(&self) -> SourceControl {
        self.pipeline.source.control()
    }

    pub(super) fn rules(&self) -> &RuleSet {
        &self.pipeline.factory.rules
    }

    pub(super) fn status(&self) -> Arc<Status> {
        Arc::clone(&self.pipeline.status)
    }
}

/// Checks the configuration and the rules, asks the brokers, and starts all but the pipeline.
pub(super) fn prepare(config: &Config) -> Result<Ready, Error> {
    let secret = config.fingerprint_secret().map_err(Error::Config)?;
    let prefixes = config.identity.prefixes.clone();
    let fingerprinter = Fingerprinter::new(secret.expose().as_bytes(), prefixes)
        .map(Arc::new)
        .map_err(Error::Events)?;
    // Before they are read: what changes meanwhile is then seen as a change.
    let rule_files = rule_watch::stamp(&config.rules.dir);
    let rules = rule_watch::load(&config.rules.dir)?;
    rule_watch::keep_tables(&rules, config.rules.tables_history.as_deref());
    let geo = Arc::new(geo(config)?);
    let destination = config.archive.as_ref();
    let destination =
        destination.map(|settings| archive::destination(settings, &Stores::from_environment()));
    let destination = destination.transpose()?;
    tracing::info!(
        rules = rules.alerts.len(),
        databases = %&geo.digest()[..16],
        "rules and GeoIP databases are loaded"
    );

    let status = Status::new(now_ms());
    rule_watch::show(&rules, &status);
    let listen = config.console.listen;
    let console =
        console::serve(listen, Arc::clone(&status), install_metrics()).map_err(|source| {
            Error::Console {
                address: listen,
                source,
            }
        })?;
    tracing::info!(address = %console.local_addr, "the console listens");

    let topics = topics::settings(config)?;
    topics::look_for_outputs(config);
    let factory = Factory {
        deployment: config.deployment.clone(),
        rules: Arc::clone(&rules),
        topics,
        fingerprinter,
        geo: Arc::clone(&geo),
        archives: config.archive.is_some(),
    };
    factory.check().map_err(Error::Partition)?;

    let (archive, archive_thread) = match config.archive.as_ref().zip(destination) {
        Some((settings, destination)) => {
            let (archive, thread) = archive::spawn(settings, destination, &rules.schema)?;
            (Some(archive), Some(thread))
        }
        None => (None, None),
    };
    let mut sink = SinkConfig::new(config.kafka.brokers.join(","));
    sink.client_id.clone_from(&config.kafka.client_id);
    sink.properties = config.kafka.properties.clone();
    let (sink, receipts) = Sink::new(sink).map_err(Error::Connect)?;
    let chat = match &config.chat.webhook {
        Some(url) => Some(chat(config, url.expose()).map_err(Error::Connect)?),
        None => None,
    };
    let (source, events) = Source::spawn(source(config)).map_err(Error::Connect)?;
    let guard = Guard::new(config.deployment.clone(), config.guard.clone());
    let pipeline = Unstarted {
        factory,
        publisher: Publisher::new(&config.deployment, &rules, guard),
        outbox: Outbox::new(sink, receipts, config.output.clone()),
        source,
        events,
        status,
        archive,
    };
    Ok(Ready {
        pipeline,
        console,
        chat,
        archive: archive_thread,
        geo,
        rule_files,
    })
}

fn geo(config: &Config) -> Result<GeoDatabases, Error> {
    let files = GeoConfig {
        city: config.geoip.city.clone(),
        asn: config.geoip.asn.clone(),
        anonymous: config.geoip.anonymous.clone(),
    };
    GeoDatabases::open(&files).map_err(Error::Events)
}

fn source(config: &Config) -> SourceConfig {
    let kafka = &config.kafka;
    let mut source = SourceConfig::new(
        kafka.brokers.join(","),
        kafka.group_id.as_str(),
        config.topics.keys(),
    );
    source.client_id.clone_from(&kafka.client_id);
    source.instance_id.clone_from(&kafka.instance_id);
    source.start_at = kafka.start_at;
    source.batch_rows = kafka.batch_rows;
    source.batch_bytes = kafka.batch_bytes;
    source.batch_wait = kafka.batch_wait;
    source.prefetch_batches = kafka.prefetch_batches;
    source.release_wait = RELEASE_WAIT;
    source.stall = kafka.watchdog;
    source.properties = kafka.properties.clone();
    source
}

fn chat(config: &Config, url: &str) -> keyhawk_connectors::Result<AlertsReader> {
    let Chat {
        group_id,
        show_address,
        max_tries,
        dead_letter,
        ..
    } = &config.chat;
    // Instances that were started together must not retry together.
    let seed = u64::from(std::process::id()) ^ now_ms().unsigned_abs();
    let mut webhook = WebhookConfig::new(SecretUrl::new(url)?, seed);
    webhook.tries_max = *max_tries;
    AlertsReader::spawn(AlertsReaderConfig {
        brokers: config.kafka.brokers.join(","),
        properties: config.kafka.properties.clone(),
        alerts_topic: config.output.alerts.clone(),
        group_id: group_id.clone(),
        dead_letter_topic: dead_letter.clone(),
        chat: ChatConfig {
            show_address: *show_address,
            ..ChatConfig::default()
        },
        webhook,
    })
}

impl Factory {
    /// Makes a partition of each topic and throws it away: what cannot be made is said before any is.
    pub(super) fn check(&self) -> Result<(), crate::partition::Error> {
        let topics: &BTreeMap<String, TopicSettings> = &self.topics;
        topics
            .keys()
            .try_for_each(|topic| self.partition(topic, 0).map(drop))
    }

    /// A partition without state.
    pub(super) fn partition(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<Partition, crate::partition::Error> {
        let settings = self
            .topics
            .get(topic)
            .cloned()
            .unwrap_or_else(|| TopicSettings::new(topic));
        let Factory {
            deployment,
            rules,
            fingerprinter,
            geo,
            ..
        } = self;
        let new = match self.archives {
            true => Partition::with_all_columns,
            false => Partition::new,
        };
        new(rules, deployment, settings, partition, fingerprinter, geo)
    }
}
