//! Reference tables: what an installation knows beside its events, as tables that rules may join.
//!
//! ```text
//!   RULES/tables/networks.csv      ─┐
//!   RULES/tables/owners.ndjson     ─┼─▶ (name, RecordBatch) each, by name
//!   RULES/tables/plans.parquet     ─┤
//!   RULES/tables/tables.toml       ─┘   types, where they are not to be inferred
//! ```
//!
//! | type in `tables.toml` | column | CSV and NDJSON |
//! |---|---|---|
//! | `text` | Utf8View | as written |
//! | `integer` | Int64 | digits, a sign |
//! | `decimal` | Decimal128(38, 18) | digits, a sign, at most 20 digits before the point and 18 after it |
//! | `boolean` | Boolean | `true`, `false` |
//! | `timestamp` | Timestamp(ms, UTC) | RFC 3339, UTC where it has no offset; a date; integer ms since 1970 |
//! | `double` | Float64 | a finite number |
//!
//! A column that is not declared is inferred from all of its values: `boolean`, `integer`, `double` or
//! `timestamp` where every value is one, else `text`. What looks like a number but is a name stays text:
//! digits with a leading zero, or too many for 64 bits. Decimals are never inferred. In CSV an empty field
//! is null.
//!
//! A table is read whole, into one batch: it stays in memory as long as the rules that join it.

mod cells;
mod csv;
mod declared;
mod error;
pub mod history;
mod ndjson;
mod parquet;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use sha2::{Digest, Sha256};

pub use declared::ColumnType;
pub use error::Error;

use declared::Declared;

/// The folder beside `rules/`.
const FOLDER: &str = "tables";
/// The file with the declared types.
const DECLARED: &str = "tables.toml";
/// The table of events.
const EVENTS: &str = "events";

/// A reference table as its file has it.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name in SQL.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// All of its rows.
    pub rows: RecordBatch,
    /// The SHA-256 of the file in hex: which version of the table this is.
    pub digest: String,
}

/// The rows of the reference tables of a rule directory, by name; [`read_tables`] says the rest.
///
/// # Errors
/// As there.
pub fn load_tables(dir: &Path) -> Result<Vec<(String, RecordBatch)>, Error> {
    let tables = read_tables(dir)?.into_iter();
    Ok(tables.map(|table| (table.name, table.rows)).collect())
}

/// The reference tables of a rule directory, by name: `NAME.csv`, `NAME.ndjson` and `NAME.parquet` of its
/// folder `tables/`. None where there is no such folder. Hidden files are not looked at.
///
/// # Errors
/// A file that is damaged, is of another kind, or holds a value of another type than declared; a name
/// that SQL would not take unquoted, or that `events`, a view or another file has.
pub fn read_tables(dir: &Path) -> Result<Vec<Table>, Error> {
    let folder = dir.join(FOLDER);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let declared = Declared::read(&folder.join(DECLARED))?;
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in list(&folder)? {
        let hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden || path.file_name().is_some_and(|name| name == DECLARED) {
            continue;
        }
        let name = table_name(&path)?;
        if dir.join("views").join(format!("{name}.sql")).exists() {
            return Err(Error::name(
                &path,
                "is a view's name; rename one of the two",
            ));
        }
        if let Some(other) = files.insert(name, path.clone()) {
            let other = other.display();
            return Err(Error::name(
                &path,
                format!("is the name of {other} too; keep one of the two"),
            ));
        }
    }
    declared.check_tables(files.keys().map(String::as_str))?;
    read_all(files, &declared)
}

/// Tables from these files, with the types that a rule directory declares.
///
/// # Errors
/// As [`read_tables`] has them.
pub fn read_versions(dir: &Path, files: Vec<(String, PathBuf)>) -> Result<Vec<Table>, Error> {
    let declared = dir.join(FOLDER).join(DECLARED);
    let declared = Declared::read(&declared)?;
    read_all(files, &declared)
}

fn read_all(
    files: impl IntoIterator<Item = (String, PathBuf)>,
    declared: &Declared,
) -> Result<Vec<Table>, Error> {
    let load = |(name, path): (String, PathBuf)| {
        let digest = digest(&path)?;
        let rows = read_rows(&path, declared.columns(&name))?;
        if self::digest(&path)? != digest {
            return Err(Error::name(
                &path,
                "changed while it was read; write another file and rename it to this",
            ));
        }
        Ok(Table {
            name,
            path,
            rows,
            digest,
        })
    };
    files.into_iter().map(load).collect()
}

/// The rows of a table's file.
fn read_rows(path: &Path, types: &Types) -> Result<RecordBatch, Error> {
    match ending(path) {
        "csv" => csv::read(path, types),
        "ndjson" => ndjson::read(path, types),
        _ => parquet::read(path, types),
    }
}

/// The SHA-256 of a file, in hex.
fn digest(path: &Path) -> Result<String, Error> {
    let bytes = fs::read(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let digest = Sha256::digest(&bytes);
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |source| Error::Unreadable {
        path: folder.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        paths.push(entry.map_err(unreadable)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn ending(path: &Path) -> &str {
    path.extension()
        .and_then(|ending| ending.to_str())
        .unwrap_or("")
}

/// The name of the table that a file holds.
fn table_name(path: &Path) -> Result<String, Error> {
    if !["csv", "ndjson", "parquet"].contains(&ending(path)) {
        return Err(Error::name(
            path,
            "is no table: the folder holds NAME.csv, NAME.ndjson, NAME.parquet and tables.toml",
        ));
    }
    let name = path
        .file_stem()
        .and_then(|name| name.to_str())
        .unwrap_or("");
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if !plain {
        return Err(Error::name(
            path,
            "is no name that SQL takes unquoted; use lower-case letters, digits and _, a letter first",
        ));
    }
    if name == EVENTS {
        return Err(Error::name(
            path,
            "is the name of the table of events; choose another",
        ));
    }
    Ok(name.to_owned())
}

/// The types that `tables.toml` gives to the columns of one table.
type Types = BTreeMap<String, ColumnType>;

/// Columns must have names, each its own, and every declared column must be there.
fn check_columns<'a>(
    path: &Path,
    names: impl Iterator<Item = &'a str>,
    types: &Types,
) -> Result<(), Error> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        let problem = if name.is_empty() {
            "a column has no name"
        } else if name.starts_with("__") {
            "names that begin with two underscores are the engine's own"
        } else if !seen.insert(name) {
            "two columns have this name"
        } else {
            continue;
        };
        return Err(Error::column(path, name, problem));
    }
    match types.keys().find(|name| !seen.contains(name.as_str())) {
        Some(name) => Err(Error::column(
            path,
            name,
            "is declared in tables.toml, and is not there",
        )),
        None => Ok(()),
    }
}
