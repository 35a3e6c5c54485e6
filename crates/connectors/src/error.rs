//! What can go wrong between Keyhawk and the outside world.

use std::fmt;
use std::path::PathBuf;

use rdkafka::error::KafkaError;

use crate::StoreFailure;

/// Shorthand for this crate's results.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a connection to the outside could not be made or kept.
///
/// None of the variants holds a property's value, a webhook's URL or a store's credential: all of them may
/// be secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A property of `[kafka.properties]` that belongs to the delivery protocol or has a setting
    /// of its own; the author of the configuration acts.
    PropertyOwned {
        /// The property's name.
        name: String,
        /// Why it cannot be set, and what to do.
        why: &'static str,
    },
    /// A property that librdkafka does not know, or whose value it does not take.
    PropertyRefused {
        /// The property's name.
        name: String,
        /// librdkafka's reason; withheld where the property holds a secret.
        reason: String,
    },
    /// A setting of this crate's that cannot work.
    Setting {
        /// The setting's name.
        name: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// A Kafka client or its thread could not be made.
    Client {
        /// What it was for.
        doing: &'static str,
        /// The reason.
        reason: String,
    },
    /// The brokers did not answer a question, or answered with an error.
    Broker {
        /// What was asked.
        doing: String,
        /// The reason.
        reason: String,
    },
    /// A topic that does not exist, as far as the brokers say.
    NoTopic {
        /// Its name.
        topic: String,
    },
    /// The consumer reported an error; unless it is fatal, librdkafka goes on trying by itself.
    Consume {
        /// The reason.
        reason: String,
        /// Whether the consumer had to be replaced.
        fatal: bool,
    },
    /// A webhook's URL that is none; the URL itself is a secret and stays out.
    Url {
        /// What was expected.
        expected: &'static str,
    },
    /// A URL that names no place in an object store.
    StoreUrl {
        /// The URL, without what may be a credential.
        url: String,
        /// What was expected.
        expected: &'static str,
    },
    /// An object store that this build does not speak to.
    StoreNotBuilt {
        /// The URL.
        url: String,
        /// The feature of Cargo that brings it.
        feature: &'static str,
    },
    /// An object store did not do what it was asked to.
    Store {
        /// The URL of the object, prefix or bucket.
        url: String,
        /// What was asked.
        doing: &'static str,
        /// Why not.
        failure: StoreFailure,
        /// The same in words, without what the answer may have quoted.
        reason: String,
        /// What a person can do.
        help: String,
    },
    /// A local file that is to become an object cannot be read.
    File {
        /// Its path.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
}

impl Error {
    /// Makes the error of a client that could not be created, without any property's value.
    pub(crate) fn client(doing: &'static str, error: KafkaError) -> Error {
        match error {
            KafkaError::ClientConfig(_, reason, name, _) => refused(name, reason),
            // librdkafka's own sentence names the property and no value, save for those that it
            // quotes; they are cut.
            KafkaError::ClientCreation(reason) => Error::Client {
                doing,
                reason: unquoted(&reason),
            },
            error => Error::Client {
                doing,
                reason: error.to_string(),
            },
        }
    }

    pub(crate) fn broker(doing: impl Into<String>, error: &KafkaError) -> Error {
        Error::Broker {
            doing: doing.into(),
            reason: error.to_string(),
        }
    }
}

/// A refused property, without what it was set to where that is a secret.
pub(crate) fn refused(name: String, reason: String) -> Error {
    const SECRET: &[&str] = &[
        "password",
        "secret",
        "pem",
        "key",
        "token",
        "sasl.username",
        "config",
        "jaas",
    ];
    let reason = if SECRET.iter().any(|part| name.contains(part)) {
        "librdkafka does not take its value".to_owned()
    } else {
        reason
    };
    Error::PropertyRefused { name, reason }
}

/// The text with everything between double quotes replaced by an ellipsis.
fn unquoted(text: &str) -> String {
    text.split('"')
        .enumerate()
        .map(|(index, part)| if index % 2 == 0 { part } else { "…" })
        .collect::<Vec<_>>()
        .join("\"")
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::PropertyOwned { name, why } => {
                write!(f, "[kafka.properties] cannot set {name}: {why}")
            }
            Error::PropertyRefused { name, reason } => {
                write!(
                    f,
                    "[kafka.properties] {name} was refused: {reason}; librdkafka's CONFIGURATION.md \
                     lists all properties"
                )
            }
            Error::Setting { name, expected } => {
                write!(
                    f,
                    "the Kafka setting {name} cannot work: expected {expected}"
                )
            }
            Error::Client { doing, reason } => write!(f, "{doing} failed: {reason}"),
            Error::Broker { doing, reason } => {
                write!(
                    f,
                    "{doing} failed: {reason}; are the brokers reachable from here?"
                )
            }
            Error::NoTopic { topic } => {
                write!(
                    f,
                    "topic {topic} does not exist; create it, or correct its name"
                )
            }
            Error::Consume {
                reason,
                fatal: false,
            } => {
                write!(f, "the Kafka consumer reports: {reason}; it goes on trying")
            }
            Error::Consume {
                reason,
                fatal: true,
            } => {
                write!(
                    f,
                    "the Kafka consumer cannot go on and is replaced: {reason}"
                )
            }
            Error::Url { expected } => write!(f, "the webhook's URL is none: expected {expected}"),
            Error::StoreUrl { url, expected } => write!(f, "{url}: expected {expected}"),
            Error::StoreNotBuilt { url, feature } => {
                let scheme = url.split("://").next().unwrap_or_default();
                write!(
                    f,
                    "{url}: this build has no support for {scheme}://; build it with `--features {feature}`, \
                     or copy the files to a folder"
                )
            }
            Error::Store {
                url,
                doing,
                reason,
                help,
                ..
            } => write!(f, "{url}: {doing} failed: {reason}; {help}"),
            Error::File { path, reason } => {
                write!(f, "{}: cannot be read: {reason}", path.display())
            }
        }
    }
}

impl std::error::Error for Error {}
