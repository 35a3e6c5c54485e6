//! What can go wrong while decoding is set up; a bad record is no error but a dead letter.

use std::fmt;
use std::path::PathBuf;

/// The result of this crate's fallible functions.
pub type Result<T> = std::result::Result<T, Error>;

/// A fault in what the operator supplied: a secret, a setting, `events.toml`, a GeoIP database.
#[derive(Debug)]
pub enum Error {
    /// The secret behind the fingerprints is too short to keep anything secret.
    ShortSecret {
        /// Bytes given.
        length: usize,
        /// Least number of bytes taken.
        length_min: usize,
    },
    /// A configured public prefix of credentials cannot be one.
    BadPrefix {
        /// The prefix as configured; public by definition.
        prefix: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// `events.toml` does not say what a column is.
    BadColumn {
        /// The file, as the caller named it.
        file: String,
        /// Line, from 1, where TOML gives one.
        line: Option<usize>,
        /// What is wrong, and what to write instead.
        problem: String,
    },
    /// A column was asked for that `events` does not have.
    UnknownColumn {
        /// The name asked for.
        name: String,
    },
    /// A setting of a topic is outside its range.
    BadSetting {
        /// The topic.
        topic: String,
        /// The setting's name.
        setting: &'static str,
        /// The value given.
        value: i64,
        /// What is taken.
        expected: &'static str,
    },
    /// A GeoIP database could not be read from disk.
    UnreadableDatabase {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A GeoIP file was read and is not a sound database.
    DamagedDatabase {
        /// The file.
        path: PathBuf,
        /// What the reader found.
        problem: String,
    },
    /// A GeoIP database holds another kind of data than the setting that names it.
    WrongDatabase {
        /// The file.
        path: PathBuf,
        /// `database_type` of its metadata.
        database_type: String,
        /// The kind that was wanted: `city`, `asn` or `anonymous`.
        expected: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShortSecret { length, length_min } => write!(
                f,
                "the fingerprint secret has {length} bytes; give at least {length_min} random ones, \
                 for example from `openssl rand -hex 32`"
            ),
            Self::BadPrefix { prefix, problem } => {
                write!(f, "the public prefix `{prefix}` {problem}")
            }
            Self::BadColumn {
                file,
                line: Some(line),
                problem,
            } => {
                write!(f, "{file}:{line}: {problem}")
            }
            Self::BadColumn {
                file,
                line: None,
                problem,
            } => write!(f, "{file}: {problem}"),
            Self::UnknownColumn { name } => write!(
                f,
                "`events` has no column `{name}`; declare it in events.toml or correct the name"
            ),
            Self::BadSetting {
                topic,
                setting,
                value,
                expected,
            } => {
                write!(
                    f,
                    "topic `{topic}`: `{setting}` is {value}; expected {expected}"
                )
            }
            Self::UnreadableDatabase { path, source } => {
                write!(
                    f,
                    "cannot read the GeoIP database {}: {source}",
                    path.display()
                )
            }
            Self::DamagedDatabase { path, problem } => write!(
                f,
                "{} is not a sound GeoIP database: {problem}; fetch it again",
                path.display()
            ),
            Self::WrongDatabase {
                path,
                database_type,
                expected,
            } => write!(
                f,
                "{} is a `{database_type}` database; the setting wants one of kind {expected}",
                path.display()
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::UnreadableDatabase { source, .. } => Some(source),
            _ => None,
        }
    }
}
