//! A table as JSON lines: an object a row, whose members are columns. A member that is not there is null.

use std::fs;
use std::path::Path;

use arrow::array::RecordBatch;
use serde_json::{Map, Value};

use super::cells::{Cell, Written};
use super::{Error, Types};

pub(super) fn read(path: &Path, types: &Types) -> Result<RecordBatch, Error> {
    let bytes = fs::read(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    // Declared columns are there even if no row has them, in an empty file say.
    let mut written = Written {
        names: types.keys().cloned().collect(),
        columns: vec![Vec::new(); types.len()],
        lines: Vec::new(),
        is_untyped: false,
    };
    for (text, line) in bytes.split(|byte| *byte == b'\n').zip(1_u64..) {
        let text = text.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let row: Map<String, Value> = serde_json::from_slice(text).map_err(|error| {
            Error::line(
                path,
                line,
                format!("expected one JSON object, found otherwise: {error}"),
            )
        })?;
        for (name, value) in row {
            let cell = cell(value).ok_or_else(|| {
                Error::value(
                    path,
                    line,
                    &name,
                    "a text, a number, true, false or null",
                    "a list or object",
                )
            })?;
            let at = match written.names.iter().position(|known| *known == name) {
                Some(at) => at,
                None => {
                    written.names.push(name);
                    written.columns.push(Vec::new());
                    written.columns.len() - 1
                }
            };
            written.columns[at].resize(written.lines.len(), Cell::Null);
            written.columns[at].push(cell);
        }
        written.lines.push(line);
    }
    for column in &mut written.columns {
        column.resize(written.lines.len(), Cell::Null);
    }
    if written.names.is_empty() {
        return Err(Error::line(
            path,
            1,
            "the file is empty; write an object a line, or declare its columns in tables.toml",
        ));
    }
    written.typed(path, types)
}

fn cell(value: Value) -> Option<Cell> {
    Some(match value {
        Value::Null => Cell::Null,
        Value::Bool(value) => Cell::Boolean(value),
        Value::Number(number) => Cell::Number(number.to_string()),
        Value::String(text) => Cell::Text(text),
        Value::Array(_) | Value::Object(_) => return None,
    })
}
