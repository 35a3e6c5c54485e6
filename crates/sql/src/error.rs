//! What can go wrong in a batch run; problems of rule files are [`Problem`](crate::Problem)s.

use std::fmt;

use datafusion::common::DataFusionError;

/// An error of a batch run.
#[derive(Debug)]
pub enum Error {
    /// DataFusion could not plan or run a query.
    Batch {
        /// The view or rule.
        query: String,
        /// What DataFusion said.
        source: DataFusionError,
    },
    /// A query's output could not be made into findings.
    Engine {
        /// The rule.
        query: String,
        /// What the engine said.
        source: keyhawk_engine::Error,
    },
    /// No rule has that name.
    NoSuchRule {
        /// The name.
        rule: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Batch { query, source } => write!(f, "{query}: {}", source.strip_backtrace()),
            Error::Engine { query, source } => write!(f, "{query}: {source}"),
            Error::NoSuchRule { rule } => {
                write!(
                    f,
                    "there is no rule `{rule}`; its name is that of its file, without .sql"
                )
            }
        }
    }
}

impl std::error::Error for Error {}

/// The result of a batch run.
pub type Result<T> = std::result::Result<T, Error>;
