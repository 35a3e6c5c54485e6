//! One row that a rule returned, with what is needed to trace and to name it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::rule::Severity;

/// A record that a finding rests on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Evidence {
    /// Its topic, or the file in its place.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset, or the line number in its place.
    pub offset: i64,
}

/// A row of a rule, as the engine hands it over.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Index into the rules that [`Dedup`](crate::Dedup) was given.
    pub rule: usize,
    /// The engine's digest of the row's lineage, in hex digits.
    pub id: String,
    /// Event time: the `event_time` of an event's row, the `window_end` of a window's. Never below
    /// the watermark that dedup was last advanced to.
    pub time_ms: i64,
    /// Start and (exclusive) end of its window, if it has one.
    pub window: Option<(i64, i64)>,
    /// The row, without lineage columns.
    pub row: Map<String, Value>,
    /// The records that it rests on; the first [`Self::EVIDENCE_MAX`] go into the alert.
    pub evidence: Vec<Evidence>,
    /// The row's own severity, in place of the rule's.
    pub severity_override: Option<Severity>,
}

impl Finding {
    /// Enough to find the place in the log; a window of a busy key has thousands of records.
    pub const EVIDENCE_MAX: usize = 20;

    /// A finding whose severity is the one in the row's `severity` column, where it has one and
    /// that is a severity's name.
    pub fn new(
        rule: usize,
        id: String,
        time_ms: i64,
        window: Option<(i64, i64)>,
        row: Map<String, Value>,
        evidence: Vec<Evidence>,
    ) -> Self {
        let severity_override = row
            .get("severity")
            .and_then(Value::as_str)
            .and_then(|text| text.parse().ok());
        Self {
            rule,
            id,
            time_ms,
            window,
            row,
            evidence,
            severity_override,
        }
    }
}

/// A column's value as the text that names an entity; none where it is null or absent.
pub(crate) fn name_in(row: &Map<String, Value>, column: &str) -> Option<String> {
    match row.get(column)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
