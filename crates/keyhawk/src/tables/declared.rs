//! `tables.toml`: the types of columns that are not to be inferred.
//!
//! ```toml
//! [networks]            # a table
//! cidr  = "text"        # a column and its type
//! since = "timestamp"
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::datatypes::{DataType, TimeUnit};
use serde::Deserialize;

use super::{Error, Types};

/// A type that `tables.toml` may declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// Any text.
    Text,
    /// A 64-bit integer.
    Integer,
    /// An exact number: decimal(38, 18).
    Decimal,
    /// True or false.
    Boolean,
    /// An instant, in ms, UTC.
    Timestamp,
    /// A 64-bit floating-point number.
    Double,
}

impl ColumnType {
    /// The type of its column.
    pub fn arrow(self) -> DataType {
        match self {
            ColumnType::Text => DataType::Utf8View,
            ColumnType::Integer => DataType::Int64,
            ColumnType::Decimal => DataType::Decimal128(38, 18),
            ColumnType::Boolean => DataType::Boolean,
            ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            ColumnType::Double => DataType::Float64,
        }
    }

    /// What a value of it is, in a message.
    pub(super) fn expected(self) -> &'static str {
        match self {
            ColumnType::Text => "a text",
            ColumnType::Integer => "an integer of 64 bits",
            ColumnType::Decimal => {
                "a decimal number with at most 20 digits before the point and 18 after it"
            }
            ColumnType::Boolean => "true or false",
            ColumnType::Timestamp => {
                "a time such as 2026-03-02T10:00:00Z, a date, or integer milliseconds since 1970"
            }
            ColumnType::Double => "a finite number",
        }
    }
}

/// What `tables.toml` says.
pub(super) struct Declared {
    path: PathBuf,
    tables: BTreeMap<String, Types>,
}

impl Declared {
    /// Reads the file, which may be absent.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let mut declared = Declared {
            path: path.to_owned(),
            tables: BTreeMap::new(),
        };
        if !path.exists() {
            return Ok(declared);
        }
        let text = fs::read_to_string(path).map_err(|source| Error::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        declared.tables = toml::from_str(&text).map_err(|error| Error::Declared {
            path: path.to_owned(),
            line: error.span().map(|span| {
                text.as_bytes()[..span.start.min(text.len())]
                    .iter()
                    .filter(|byte| **byte == b'\n')
                    .count()
                    + 1
            }),
            problem: format!(
                "{}; write a section for each table, and in it column = \"type\" with one of text, integer, \
                 decimal, boolean, timestamp, double",
                error.message().trim_end()
            ),
        })?;
        Ok(declared)
    }

    /// Every table that is declared must be there.
    pub(super) fn check_tables<'a>(
        &self,
        mut there: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<(), Error> {
        let absent = self
            .tables
            .keys()
            .find(|name| !there.clone().any(|table| table == name.as_str()));
        let Some(absent) = absent else {
            return Ok(());
        };
        let near = there.find(|table| strsim::damerau_levenshtein(table, absent) <= 2);
        Err(Error::Declared {
            path: self.path.clone(),
            line: None,
            problem: match near {
                Some(near) => format!("[{absent}]: there is no such table; did you mean [{near}]?"),
                None => format!(
                    "[{absent}]: there is no {absent}.csv, {absent}.ndjson or {absent}.parquet beside it"
                ),
            },
        })
    }

    /// The declared types of a table's columns.
    pub(super) fn columns(&self, table: &str) -> &Types {
        static NONE: Types = BTreeMap::new();
        self.tables.get(table).unwrap_or(&NONE)
    }
}
