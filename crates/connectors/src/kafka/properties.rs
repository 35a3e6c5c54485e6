//! `[kafka.properties]`: librdkafka's properties as the operator set them.
//!
//! Anything goes (TLS, SASL, buffers, timeouts), save for what the delivery protocol rests on and
//! for what has a setting of its own. Those are refused by name, with the reason.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use crate::error::refused;
use crate::{Error, Result};

/// Why the protocol's own properties cannot be set.
const OWNED: &[(&str, &str)] = &[
    (
        "isolation.level",
        "Keyhawk reads what is committed, and nothing else",
    ),
    (
        "acks",
        "Keyhawk waits for all in-sync replicas, or a finding could be lost",
    ),
    (
        "request.required.acks",
        "Keyhawk waits for all in-sync replicas, or a finding could be lost",
    ),
    (
        "enable.idempotence",
        "Keyhawk's producer is idempotent, or a retry could write twice",
    ),
    (
        "enable.gapless.guarantee",
        "Keyhawk decides itself what to send again",
    ),
    (
        "delivery.report.only.error",
        "Keyhawk commits offsets by the producer's receipts",
    ),
    (
        "transactional.id",
        "Keyhawk chooses it from the deployment and the partition",
    ),
    (
        "auto.commit.enable",
        "Keyhawk commits offsets itself, after the outputs are acknowledged",
    ),
    (
        "auto.commit.interval.ms",
        "Keyhawk commits offsets itself, after the outputs are acknowledged",
    ),
    (
        "enable.partition.eof",
        "Keyhawk's watchdog needs the notice of a partition's end",
    ),
    (
        "group.protocol",
        "Keyhawk uses the classic protocol, whose callbacks it relies on",
    ),
    (
        "group.remote.assignor",
        "it belongs to a group protocol that Keyhawk does not use",
    ),
    (
        "partition.assignment.strategy",
        "Keyhawk uses cooperative-sticky, so that a rebalance stops \
      only the partitions that move",
    ),
    ("group.id", "set `group_id` in [kafka] instead"),
    ("bootstrap.servers", "set `brokers` in [kafka] instead"),
    ("metadata.broker.list", "set `brokers` in [kafka] instead"),
];

/// What all of `enable.auto.*` would break.
const ENABLE_AUTO: &str = "Keyhawk commits offsets itself, after the outputs are acknowledged";

/// Properties that were accepted, by name.
///
/// Their values may be secrets, so that `Debug` shows the names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// Checks each property: that it is not the protocol's, and that librdkafka takes it.
    ///
    /// # Errors
    ///
    /// [`Error::PropertyOwned`] or [`Error::PropertyRefused`] for the first that cannot be set.
    pub fn new<K, V>(properties: impl IntoIterator<Item = (K, V)>) -> Result<Properties>
    where
        K: Into<String>,
        V: Into<String>,
    {
        let mut accepted = BTreeMap::new();
        for (name, value) in properties {
            let (name, value) = (name.into(), value.into());
            if let Some(why) = owned(&name) {
                return Err(Error::PropertyOwned { name, why });
            }
            let mut alone = ClientConfig::new();
            alone.set(&name, &value);
            if let Err(error) = alone.create_native_config() {
                return Err(match error {
                    KafkaError::ClientConfig(_, reason, name, _) => refused(name, reason),
                    error => refused(name, error.to_string()),
                });
            }
            accepted.insert(name, value);
        }
        Ok(Properties(accepted))
    }

    /// Sets them all, over what is set already: the operator has the last word on defaults.
    pub(crate) fn apply(&self, config: &mut ClientConfig) {
        for (name, value) in &self.0 {
            config.set(name, value);
        }
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn owned(name: &str) -> Option<&'static str> {
    if name.starts_with("enable.auto.") {
        return Some(ENABLE_AUTO);
    }
    OWNED
        .iter()
        .find(|(owned, _)| *owned == name)
        .map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_protocol_owns_is_refused_by_name() {
        for name in [
            "isolation.level",
            "enable.auto.commit",
            "enable.auto.offset.store",
            "acks",
            "enable.idempotence",
            "transactional.id",
            "group.id",
            "partition.assignment.strategy",
            "group.protocol",
        ] {
            let error = Properties::new([(name, "x")]).unwrap_err();
            assert!(matches!(&error, Error::PropertyOwned { name: owned, .. } if owned == name));
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn any_other_property_of_librdkafka_is_taken() {
        let properties = Properties::new([
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "keyhawk"),
            ("sasl.password", "hunter2hunter2"),
            ("ssl.ca.location", "/etc/ssl/certs"),
            ("fetch.wait.max.ms", "50"),
        ])
        .unwrap();
        let shown = format!("{properties:?}");
        assert!(
            shown.contains("sasl.password") && !shown.contains("hunter2"),
            "{shown}"
        );
    }

    #[test]
    fn an_unknown_property_or_value_is_refused_when_it_is_set() {
        let error = Properties::new([("fetch.wait.max.sm", "50")]).unwrap_err();
        assert!(error.to_string().contains("fetch.wait.max.sm"), "{error}");
        let error = Properties::new([("fetch.wait.max.ms", "soon")]).unwrap_err();
        assert!(matches!(error, Error::PropertyRefused { .. }), "{error}");
    }

    #[test]
    fn a_refused_secret_stays_out_of_the_message() {
        let error = Properties::new([("ssl.key.pem", "hunter2hunter2")]).err();
        if let Some(error) = error {
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}
