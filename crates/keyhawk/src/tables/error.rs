//! Why a reference table does not load: file, line and column, what was expected, what was found.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a reference table does not load. All of it is for the person who keeps the table.
#[derive(Debug)]
pub enum Error {
    /// A file or folder cannot be read.
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file's name is no table's.
    Name {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// `tables.toml` is wrong.
    Declared {
        /// The file.
        path: PathBuf,
        /// The line, from 1, where TOML gives one.
        line: Option<usize>,
        /// What is wrong, and what to write.
        problem: String,
    },
    /// A column is wrong as a whole.
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A line is not one of such a file.
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// A value is not of its column's type.
    Value {
        /// The file.
        path: PathBuf,
        /// The line, from 1, on which the row begins.
        line: u64,
        /// The column.
        column: String,
        /// The column's type, in words.
        expected: &'static str,
        /// The value, cut where it is long.
        found: String,
    },
    /// A Parquet file is not sound.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the reader found.
        problem: String,
    },
}

/// Characters of a value that a message shows.
const FOUND_CHARS: usize = 40;

impl Error {
    pub(super) fn name(path: &Path, problem: impl Into<String>) -> Self {
        Error::Name {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }

    pub(super) fn column(path: &Path, column: &str, problem: impl Into<String>) -> Self {
        Error::Column {
            path: path.to_owned(),
            column: column.to_owned(),
            problem: problem.into(),
        }
    }

    pub(super) fn line(path: &Path, line: u64, problem: impl Into<String>) -> Self {
        Error::Line {
            path: path.to_owned(),
            line,
            problem: problem.into(),
        }
    }

    pub(super) fn damaged(path: &Path, problem: impl fmt::Display) -> Self {
        Error::Damaged {
            path: path.to_owned(),
            problem: problem.to_string(),
        }
    }

    pub(super) fn value(
        path: &Path,
        line: u64,
        column: &str,
        expected: &'static str,
        found: &str,
    ) -> Self {
        let mut shown: String = found
            .chars()
            .take(FOUND_CHARS)
            .flat_map(char::escape_debug)
            .collect();
        if found.chars().nth(FOUND_CHARS).is_some() {
            shown.push('…');
        }
        Error::Value {
            path: path.to_owned(),
            line,
            column: column.to_owned(),
            expected,
            found: shown,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreadable { path, source } => {
                write!(f, "{}: cannot be read: {source}", path.display())
            }
            Error::Name { path, problem } => write!(f, "{}: {problem}", path.display()),
            Error::Declared {
                path,
                line,
                problem,
            } => match line {
                Some(line) => write!(f, "{}:{line}: {problem}", path.display()),
                None => write!(f, "{}: {problem}", path.display()),
            },
            Error::Column {
                path,
                column,
                problem,
            } => write!(f, "{}: column `{column}`: {problem}", path.display()),
            Error::Line {
                path,
                line,
                problem,
            } => write!(f, "{}:{line}: {problem}", path.display()),
            Error::Value {
                path,
                line,
                column,
                expected,
                found,
            } => write!(
                f,
                "{}:{line}: column `{column}`: expected {expected}, found `{found}`; mend the value, or \
                 declare another type in tables.toml",
                path.display()
            ),
            Error::Damaged { path, problem } => write!(
                f,
                "{}: is no sound Parquet file: {problem}; write it again",
                path.display()
            ),
        }
    }
}

impl std::error::Error for Error {}
