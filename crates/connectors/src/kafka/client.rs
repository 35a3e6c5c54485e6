//! What all of Keyhawk's Kafka clients share: their base configuration, and where they log.

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use super::Properties;

/// The configuration of a client of these brokers under the operator's properties.
///
/// Callers set their defaults first and pass the configuration on; what the protocol owns they set
/// afterwards.
pub(crate) fn config(brokers: &str, client_id: &str, defaults: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    // librdkafka's own default lets a client sleep for 10 s after brokers are back.
    config.set("reconnect.backoff.max.ms", "2000");
    for (name, value) in defaults {
        config.set(*name, *value);
    }
    config
        .set("bootstrap.servers", brokers)
        .set("client.id", client_id);
    config.set_log_level(RDKafkaLogLevel::Info);
    config
}

/// A client for questions alone: it reads no records and belongs to no group.
pub(crate) fn asking(brokers: &str, properties: &Properties) -> ClientConfig {
    let mut config = config(brokers, "keyhawk-asks", &[]);
    properties.apply(&mut config);
    config
}

/// librdkafka's log lines and errors, passed on to `tracing`.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    // One set of properties serves consumers and producers, and librdkafka remarks on those that
    // the other kind would have used.
    let level = if facility == "CONFWARN" {
        RDKafkaLogLevel::Debug
    } else {
        level
    };
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// A context that only logs.
pub(crate) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "librdkafka", %error, "{reason}");
    }
}

impl rdkafka::consumer::ConsumerContext for Quiet {}
