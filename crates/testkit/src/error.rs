//! What can go wrong while a test gets what it needs.

use std::fmt;
use std::path::PathBuf;

/// Shorthand for this crate's results.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a broker or a server could not be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No way of running a broker worked; one sentence a way that was tried.
    NoBroker {
        /// Why each way failed, in the order tried.
        tried: Vec<String>,
    },
    /// A broker was started and did not become ready.
    NotReady {
        /// How the broker was run.
        how: &'static str,
        /// The last lines that it wrote.
        output: String,
    },
    /// The broker is not ours, so that it cannot be stopped or restarted.
    NotOurs,
    /// A program could not be run, or failed.
    Program {
        /// The program, without its arguments.
        program: String,
        /// The last lines that it wrote, or why it did not run.
        output: String,
    },
    /// A file or a socket failed.
    Io {
        /// What was being done.
        doing: String,
        /// The file, where there is one.
        path: Option<PathBuf>,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The Kafka client refused or failed.
    Kafka {
        /// What was being done.
        doing: String,
        /// The client's reason.
        reason: String,
    },
}

impl Error {
    pub(crate) fn kafka(doing: impl Into<String>, reason: impl fmt::Display) -> Error {
        Error::Kafka {
            doing: doing.into(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn io(doing: impl Into<String>, source: std::io::Error) -> Error {
        Error::Io {
            doing: doing.into(),
            path: None,
            source,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoBroker { tried } => {
                f.write_str(
                    "no Kafka to test with: install a JDK 17 or newer and Maven \
                     (Debian: apt-get install openjdk-17-jdk-headless maven; macOS: brew install \
                     openjdk maven), or start Docker, or name brokers in KEYHAWK_TEST_BROKERS",
                )?;
                for reason in tried {
                    write!(f, "\n  {reason}")?;
                }
                Ok(())
            }
            Error::NotReady { how, output } => {
                write!(
                    f,
                    "Kafka was started ({how}) and did not become ready; it wrote:\n{output}"
                )
            }
            Error::NotOurs => f.write_str(
                "the brokers of KEYHAWK_TEST_BROKERS cannot be stopped or restarted by a test",
            ),
            Error::Program { program, output } => write!(f, "{program} failed: {output}"),
            Error::Io {
                doing,
                path: Some(path),
                source,
            } => {
                write!(f, "{doing} {}: {source}", path.display())
            }
            Error::Io {
                doing,
                path: None,
                source,
            } => write!(f, "{doing}: {source}"),
            Error::Kafka { doing, reason } => write!(f, "{doing}: {reason}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
