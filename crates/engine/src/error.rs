//! What can go wrong while a program runs.

use std::fmt;

use arrow::error::ArrowError;
use datafusion_common::DataFusionError;

/// An error of the engine. Bad data never causes one: an expression that fails on a row gives null
/// and is counted. What is left is a broken invariant or damaged state, and stops the partition.
#[derive(Debug)]
pub enum Error {
    /// An Arrow kernel failed on a batch that the program's own types allow.
    Arrow {
        /// The operator, as `explain` names it.
        operator: &'static str,
        /// What Arrow said.
        source: ArrowError,
    },
    /// An expression or function could not be evaluated at all, not even row by row.
    Expression {
        /// The operator, as `explain` names it.
        operator: &'static str,
        /// What DataFusion said.
        source: DataFusionError,
    },
    /// A window function failed on a batch that its types allow, or cannot read its state.
    Function {
        /// The operator, as `explain` names it.
        operator: &'static str,
        /// What the function said.
        source: keyhawk_functions::Error,
    },
    /// A batch does not have the columns that the program was compiled for.
    Shape {
        /// The operator, as `explain` names it.
        operator: &'static str,
        /// What was expected and what came.
        detail: String,
    },
    /// Saved state cannot be read.
    State {
        /// The operator, as `explain` names it.
        operator: &'static str,
        /// What was expected and what was found.
        detail: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Arrow { operator, source } => write!(f, "{operator}: {source}"),
            Error::Expression { operator, source } => write!(f, "{operator}: {source}"),
            Error::Function { operator, source } => write!(f, "{operator}: {source}"),
            Error::Shape { operator, detail } => {
                write!(
                    f,
                    "{operator}: a batch of another shape than compiled for: {detail}"
                )
            }
            Error::State { operator, detail } => write!(
                f,
                "{operator}: saved state cannot be read: {detail}; restore an older checkpoint or reset the node"
            ),
        }
    }
}

impl std::error::Error for Error {}

/// Names the operator in which an outside error happened.
pub(crate) trait In<T> {
    /// Wraps the error with the operator's name.
    fn within(self, operator: &'static str) -> Result<T>;
}

impl<T> In<T> for std::result::Result<T, ArrowError> {
    fn within(self, operator: &'static str) -> Result<T> {
        self.map_err(|source| Error::Arrow { operator, source })
    }
}

impl<T> In<T> for std::result::Result<T, DataFusionError> {
    fn within(self, operator: &'static str) -> Result<T> {
        self.map_err(|source| Error::Expression { operator, source })
    }
}

impl<T> In<T> for keyhawk_functions::Result<T> {
    fn within(self, operator: &'static str) -> Result<T> {
        self.map_err(|source| Error::Function { operator, source })
    }
}

/// The result of the engine's operations.
pub type Result<T> = std::result::Result<T, Error>;
