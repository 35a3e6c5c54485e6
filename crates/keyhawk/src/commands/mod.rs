//! The commands, one a file.

pub(crate) mod archive;
pub(crate) mod backtest;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod explain;
pub(crate) mod files;
pub(crate) mod fingerprint;
pub(crate) mod lag;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod sql;
pub(crate) mod test;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use keyhawk_events::{
    DEVELOPMENT_SECRET, Fingerprinter, GeoConfig, GeoDatabases, IdentitySource, TimeMeaning,
    TopicSettings,
};

use crate::config::{Config, IdentityField, Topic, TopicTime};

/// How a command ended: an exit status, or a sentence for a person, exit status 2.
pub(crate) type CommandResult = Result<ExitCode, Failure>;

/// What a command says when it cannot go on.
pub(crate) struct Failure(String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "error: {}",
            self.0.strip_prefix("error: ").unwrap_or(&self.0)
        )
    }
}

impl Failure {
    /// A failure in an error's own words.
    pub(crate) fn of(error: impl std::fmt::Display) -> Self {
        Failure(error.to_string())
    }
}

/// The fingerprinter of a configuration, or the one of development, which says so.
pub(crate) fn fingerprinter(config: Option<&Config>) -> Result<Arc<Fingerprinter>, Failure> {
    let prefixes = config
        .map(|config| config.identity.prefixes.clone())
        .unwrap_or_default();
    let secret = config.and_then(|config| config.identity.secret.as_ref());
    let fingerprinter = match secret {
        Some(secret) => Fingerprinter::new(secret.expose().as_bytes(), prefixes),
        None => {
            anstream::eprintln!(
                "fingerprints are made with the development secret: they fit no other installation's"
            );
            Fingerprinter::new(DEVELOPMENT_SECRET, prefixes)
        }
    };
    fingerprinter.map(Arc::new).map_err(Failure::of)
}

/// The GeoIP databases of a configuration.
pub(crate) fn geo(config: Option<&Config>) -> Result<GeoDatabases, Failure> {
    match config {
        None => Ok(GeoDatabases::none()),
        Some(config) => GeoDatabases::open(&GeoConfig {
            city: config.geoip.city.clone(),
            asn: config.geoip.asn.clone(),
            anonymous: config.geoip.anonymous.clone(),
        })
        .map_err(Failure::of),
    }
}

/// A topic's settings, as the decoder takes them.
pub(crate) fn topic_settings(name: &str, topic: Option<&Topic>) -> TopicSettings {
    let mut settings = TopicSettings::new(name);
    if let Some(topic) = topic {
        let ms =
            |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        settings.identity = topic
            .identity
            .iter()
            .map(|field| match field {
                IdentityField::KeyId => IdentitySource::KeyId,
                IdentityField::ApiKey => IdentitySource::ApiKey,
                IdentityField::ConsumerId => IdentitySource::ConsumerId,
            })
            .collect();
        settings.time = match topic.time {
            TopicTime::End => TimeMeaning::End,
            TopicTime::Start => TimeMeaning::Start,
        };
        settings.bound_ms = ms(topic.lateness);
        settings.future_ms_max = ms(topic.future);
        settings.dead_letter_payload = topic.dead_letter_payload;
    }
    settings
}

/// How many threads the machine runs at once.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The status of a command that found what it should not have.
pub(crate) const FOUND: u8 = 1;

/// Success, or [`FOUND`].
pub(crate) fn status(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FOUND)
    }
}
