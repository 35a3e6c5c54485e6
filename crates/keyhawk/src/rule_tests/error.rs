//! Why tests could not be loaded or run; a case that fails is no error.

use std::fmt;
use std::io;
use std::path::PathBuf;

use keyhawk_sql::Problem;

use crate::demo_geoip;
use crate::rule_set::{self, count};

/// An error before or around the cases.
#[derive(Debug)]
pub enum Error {
    /// A path that names no rule directory, rule or test file.
    NoTests {
        /// The path.
        path: PathBuf,
    },
    /// A file or folder could not be read.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A rule that was named is not there.
    NoSuchRule {
        /// The rule directory.
        dir: PathBuf,
        /// The name.
        rule: String,
        /// The rule that may have been meant.
        near: Option<String>,
    },
    /// The rule directory could not be read.
    Rules(rule_set::Error),
    /// Rules, views or test files are wrong.
    Problems(Vec<Problem>),
    /// The demo's GeoIP databases could not be opened.
    GeoIp(demo_geoip::Error),
    /// What events are decoded with could not be made.
    Decode(keyhawk_events::Error),
    /// The system gave no runtime for a thread.
    Runtime(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoTests { path } => write!(
                f,
                "{}: no place for tests; name a rule directory (with rules/ in it), a rule (DIR/rules/NAME.sql) or \
                 a test file (DIR/rules/NAME.test.toml)",
                path.display()
            ),
            Error::Unreadable { path, source } => {
                write!(
                    f,
                    "{}: cannot be read: {source}; name a rule directory, a rule or a test file",
                    path.display()
                )
            }
            Error::NoSuchRule { dir, rule, near } => {
                write!(
                    f,
                    "{}: there is no rule `{rule}`",
                    dir.join("rules").display()
                )?;
                match near {
                    Some(near) => write!(f, "; did you mean `{near}`?"),
                    None => Ok(()),
                }
            }
            Error::Rules(error) => error.fmt(f),
            Error::Problems(problems) => {
                for problem in problems {
                    writeln!(f, "{problem}\n")?;
                }
                let problems = count(problems.len(), "problem");
                write!(f, "{problems} in the rules and tests; nothing was run")
            }
            Error::GeoIp(error) => error.fmt(f),
            Error::Decode(error) => error.fmt(f),
            Error::Runtime(error) => write!(f, "no runtime for the batch engine: {error}"),
        }
    }
}

impl std::error::Error for Error {}
