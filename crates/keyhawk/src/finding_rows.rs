//! Findings as JSON: the same bytes for the same finding, whichever engine found it.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use keyhawk_engine::{FindingId, Findings};

/// Each row of a batch as one JSON object, nulls included, times in RFC 3339.
pub fn rows_json(batch: &RecordBatch) -> Result<Vec<String>, ArrowError> {
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    let text = String::from_utf8(writer.into_inner())
        .map_err(|error| ArrowError::JsonError(error.to_string()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// One line of `replay` and `backtest`: `{"rule","id","row"}`.
pub fn finding_line(rule: &str, id: FindingId, row: &str) -> String {
    // A rule's name is a file's: it may need escapes.
    let rule = serde_json::Value::from(rule);
    format!("{{\"rule\":{rule},\"id\":\"{id}\",\"row\":{row}}}")
}

/// The lines of findings, in their order.
pub fn finding_lines(rule: &str, findings: &Findings) -> Result<Vec<String>, ArrowError> {
    let rows = rows_json(&findings.rows)?;
    Ok(rows
        .iter()
        .zip(&findings.ids)
        .map(|(row, id)| finding_line(rule, *id, row))
        .collect())
}
