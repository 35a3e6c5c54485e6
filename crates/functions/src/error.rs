//! What can go wrong in a function: its call, its data, or its stored state.
//!
//! | variant | who acts on it |
//! |---|---|
//! | `StepMissing`, `ArgumentCount`, `Argument`, `Modifier` | the author of the rule |
//! | `State` | the operator: the stored state is damaged or from another version |
//! | `Arrow`, `DataFusion` | the expression on this batch failed; the row is null and counted |

use std::fmt;

use arrow::error::ArrowError;
use datafusion_common::DataFusionError;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a function cannot be planned, evaluated, or restored.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// `baseline` was planned without the distance of its windows.
    StepMissing,
    /// A call has too few or too many arguments.
    ArgumentCount {
        /// The function as SQL names it.
        function: &'static str,
        /// The call in full, as in `first_seen(value, ts)`.
        usage: &'static str,
        /// The number of arguments found.
        found: usize,
    },
    /// An argument is of the wrong type or value.
    Argument {
        /// The function as SQL names it.
        function: &'static str,
        /// The argument's name in the documentation.
        argument: &'static str,
        /// What is expected there.
        expected: &'static str,
        /// What was found: a type or a value of the query's text, never of an event.
        found: String,
    },
    /// A word after the call that the function has no meaning for.
    Modifier {
        /// The function as SQL names it.
        function: &'static str,
        /// The words, as in `IGNORE NULLS`.
        modifier: &'static str,
    },
    /// The stored state of a key cannot be read back.
    State {
        /// The function as SQL names it.
        function: &'static str,
        /// What is wrong with the bytes.
        reason: &'static str,
    },
    /// An array could not be cast or built.
    Arrow(ArrowError),
    /// A literal could not be converted or evaluated.
    DataFusion(Box<DataFusionError>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StepMissing => write!(
                f,
                "baseline needs the distance of its windows: read it from a view over tumble or hop, \
                 or write the distance in seconds as third argument, \
                 as in baseline(requests, window_end, 600)"
            ),
            Self::ArgumentCount {
                function,
                usage,
                found,
            } => {
                write!(f, "{function} cannot take {found} arguments: write {usage}")
            }
            Self::Argument {
                function,
                argument,
                expected,
                found,
            } => {
                write!(
                    f,
                    "{function}: `{argument}` must be {expected}, but here it is {found}"
                )
            }
            Self::Modifier { function, modifier } => {
                write!(f, "{function} has no {modifier}: leave the words out")
            }
            Self::State { function, reason } => write!(
                f,
                "the stored state of {function} cannot be read: {reason}; \
                 restore an intact checkpoint, or let the function start anew"
            ),
            Self::Arrow(error) => write!(f, "{error}"),
            Self::DataFusion(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Arrow(error) => Some(error),
            Self::DataFusion(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ArrowError> for Error {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error)
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        Self::DataFusion(Box::new(error))
    }
}

/// Mistakes in the text of a query become plan errors, so that the planner can show them with a place.
impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        match error {
            Error::DataFusion(error) => *error,
            Error::Arrow(error) => error.into(),
            Error::State { .. } => Self::Execution(error.to_string()),
            Error::StepMissing
            | Error::ArgumentCount { .. }
            | Error::Argument { .. }
            | Error::Modifier { .. } => Self::Plan(error.to_string()),
        }
    }
}
