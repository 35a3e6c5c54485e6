//! What can go wrong while history is read or written.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why history cannot be read or written. All of it is for the person at the command line.
#[derive(Debug)]
pub enum Error {
    /// A file or folder cannot be opened or read.
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A pattern, or a folder, stands for no file.
    NoMatch {
        /// As it was given.
        pattern: PathBuf,
    },
    /// A pattern is none.
    BadPattern {
        /// As it was given.
        pattern: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A URL of something else than a file or an object.
    Scheme {
        /// The URL.
        url: String,
    },
    /// A Parquet file is not sound.
    Damaged {
        /// Its path.
        path: PathBuf,
        /// What the reader found.
        problem: String,
    },
    /// A column is missing or of another type than the table `events` has.
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The rows of a partition do not stand in the order of their offsets.
    Disorder {
        /// The file.
        path: PathBuf,
        /// The row that comes after a greater offset.
        offset: i64,
    },
    /// A row lies further back in time than the lateness bound allows, and is not marked late.
    Behind {
        /// Its partition, as `topic/partition`.
        partition: String,
        /// Where, and by how much.
        behind: super::Behind,
        /// The bound in force, in ms.
        bound_ms: i64,
    },
    /// A file of JSON lines stands for a partition that a Parquet file holds too.
    TwoSources {
        /// The file of lines.
        path: PathBuf,
        /// The partition, as `topic/partition`.
        partition: String,
    },
    /// Rows that cannot be archived as they are.
    Rows {
        /// What is wrong with them.
        problem: String,
    },
    /// A file cannot be written.
    Unwritable {
        /// Its path.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// An object store.
    Store(keyhawk_connectors::Error),
    /// The settings of decode.
    Decode(keyhawk_events::Error),
}

impl Error {
    pub(crate) fn damaged(path: &std::path::Path, problem: impl fmt::Display) -> Self {
        Error::Damaged {
            path: path.to_owned(),
            problem: problem.to_string(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreadable { path, source } => write!(
                f,
                "{}: cannot be read: {source}; name a file of events, one JSON object a line, a Parquet file \
                 of history, a pattern of these, or - for standard input",
                path.display()
            ),
            Error::NoMatch { pattern } => write!(
                f,
                "{}: no file matches; a pattern has *, ** and ?, a folder stands for the .parquet files in it, \
                 and quotes keep a shell from expanding a pattern itself",
                pattern.display()
            ),
            Error::BadPattern { pattern, problem } => {
                write!(f, "{}: is no pattern: {problem}", pattern.display())
            }
            Error::Scheme { url } => write!(
                f,
                "{url}: files are named by path, as file:///path, or by the URL of an object store: \
                 s3://bucket/key, gs://bucket/key, az://container/key; anything else is to be copied to one of \
                 them first"
            ),
            Error::Damaged { path, problem } => write!(
                f,
                "{}: is no sound Parquet file: {problem}; remove it or write it again",
                path.display()
            ),
            Error::Column {
                path,
                column,
                problem,
            } => write!(
                f,
                "{}: column `{column}`: {problem}; history is written by `keyhawk archive`, with the \
                 events.toml of the rules that read it",
                path.display()
            ),
            Error::Disorder { path, offset } => write!(
                f,
                "{}: the row with _offset {offset} stands behind a greater one; write the file again in the \
                 order of _topic, _partition, _offset",
                path.display()
            ),
            Error::Behind {
                partition,
                behind,
                bound_ms,
            } => write!(
                f,
                "{partition}: the row with _offset {} lies {} ms further back than the topic's lateness of \
                 {bound_ms} ms, and is not marked late: it was archived under another bound, or across a \
                 restart; give a --config with a lateness of at least {} ms, or use backtest, which needs none",
                behind.offset,
                behind.by_ms,
                bound_ms.saturating_add(behind.by_ms)
            ),
            Error::TwoSources { path, partition } => write!(
                f,
                "{}: stands for the partition {partition}, which a Parquet file holds too; name another \
                 --topic for it, or archive it first",
                path.display()
            ),
            Error::Rows { problem } => write!(f, "rows for the archive: {problem}"),
            Error::Unwritable { path, problem } => {
                write!(f, "{}: cannot be written: {problem}", path.display())
            }
            Error::Store(error) => error.fmt(f),
            Error::Decode(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}
