//! A table as CSV (RFC 4180): a header line, commas, fields in quotes where they need it.

use std::fs;
use std::path::Path;

use arrow::array::RecordBatch;
use csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};

use super::cells::{Cell, Written};
use super::{Error, Types};

pub(super) fn read(path: &Path, types: &Types) -> Result<RecordBatch, Error> {
    let bytes = fs::read(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    // Some spreadsheets begin a file with a byte order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut reader = ReaderBuilder::new().trim(Trim::Headers).from_reader(bytes);
    let names: Vec<String> = match reader.headers() {
        Ok(header) => header.iter().map(str::to_owned).collect(),
        Err(error) => return Err(wrong(path, &error)),
    };
    if names.is_empty() {
        return Err(Error::line(
            path,
            1,
            "the file is empty; the first line names the columns, with commas between them",
        ));
    }
    let mut written = Written {
        columns: vec![Vec::new(); names.len()],
        names,
        lines: Vec::new(),
        is_untyped: true,
    };
    let mut record = StringRecord::new();
    while reader
        .read_record(&mut record)
        .map_err(|error| wrong(path, &error))?
    {
        let line = record.position().map_or(0, csv::Position::line);
        written.lines.push(line);
        for (column, field) in written.columns.iter_mut().zip(&record) {
            column.push(match field {
                "" => Cell::Null,
                text => Cell::Text(text.to_owned()),
            });
        }
    }
    written.typed(path, types)
}

/// The reader's error with file and line.
fn wrong(path: &Path, error: &csv::Error) -> Error {
    let line = error.position().map_or(1, csv::Position::line);
    let problem = match error.kind() {
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!(
            "expected {expected_len} fields, as in the header, found {len}; a comma inside a field needs \
             quotes around the field"
        ),
        ErrorKind::Utf8 { .. } => {
            "expected UTF-8, found other bytes; save the file as UTF-8".to_owned()
        }
        _ => format!("cannot be read as CSV: {error}"),
    };
    Error::line(path, line, problem)
}
