//! What can be wrong with the text that configures alerts, or with a time in a message.

use std::fmt;

/// The result of this crate's fallible calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A text that does not mean what it should. Its author acts on it: each message says what was
/// expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// A severity that is none of the four.
    UnknownSeverity {
        /// What was written.
        found: String,
    },
    /// An action that is none of the seven.
    UnknownAction {
        /// What was written.
        found: String,
    },
    /// A guard mode that is neither `shadow` nor `auto`.
    UnknownMode {
        /// What was written.
        found: String,
    },
    /// A `{` of a template that no `}` closes.
    TemplateOpenBrace {
        /// The whole template.
        template: String,
        /// Byte offset of the brace.
        at: usize,
    },
    /// A `}` of a template that closes nothing.
    TemplateCloseBrace {
        /// The whole template.
        template: String,
        /// Byte offset of the brace.
        at: usize,
    },
    /// Braces of a template that hold no column name.
    TemplateColumn {
        /// The whole template.
        template: String,
        /// Byte offset of the opening brace.
        at: usize,
        /// What stands between the braces.
        found: String,
    },
    /// A time that is not RFC 3339 in UTC.
    Time {
        /// What was written.
        found: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownSeverity { found } => write!(
                f,
                "unknown severity `{found}`: expected `low`, `medium`, `high` or `critical`"
            ),
            Self::UnknownAction { found } => write!(
                f,
                "unknown action `{found}`: expected `suspend`, `revoke`, `lift`, `rotate`, \
                 `throttle`, `restrict_network` or `step_up`"
            ),
            Self::UnknownMode { found } => {
                write!(
                    f,
                    "unknown guard mode `{found}`: expected `shadow` or `auto`"
                )
            }
            Self::TemplateOpenBrace { template, at } => write!(
                f,
                "summary `{template}`: the `{{` at byte {at} is never closed; write `{{column}}`, \
                 or `{{{{` for a brace of the text"
            ),
            Self::TemplateCloseBrace { template, at } => write!(
                f,
                "summary `{template}`: the `}}` at byte {at} closes nothing; write `}}}}` for a \
                 brace of the text"
            ),
            Self::TemplateColumn {
                template,
                at,
                found,
            } => write!(
                f,
                "summary `{template}`: `{{{found}}}` at byte {at} names no column; expected the \
                 name of a column that the rule selects"
            ),
            Self::Time { found } => write!(
                f,
                "`{found}` is not a time: expected RFC 3339 in UTC, as in \
                 `2026-01-31T12:00:00.000Z`"
            ),
        }
    }
}

impl std::error::Error for Error {}
