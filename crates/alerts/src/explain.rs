//! Why a row is a finding: what was observed, what was expected, how surprising that is.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// What was measured.
    pub name: String,
    /// What was seen.
    pub observed: Value,
    /// What would have been usual; null where no baseline says.
    pub expected: Value,
    /// How unusual it is, as −log10 of its probability; null where no baseline says.
    pub surprise: Value,
}

/// One reason as a header declares it: a name, and the columns that hold its figures.
///
/// A rule that declares none gets one reason from its columns `surprise` and `expected`, where it
/// has both (the observed value being its first other number), and otherwise one for each of its
/// first four numbers. Numbers that tell a time, a place in the log or a spot on the map explain
/// nothing and are passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhySpec {
    /// What was measured.
    pub name: String,
    /// The column of what was seen.
    pub observed: String,
    /// The column of what would have been usual.
    #[serde(default)]
    pub expected: Option<String>,
    /// The column of the surprise.
    #[serde(default)]
    pub surprise: Option<String>,
}

const CHOSEN_MAX: usize = 4;

/// The reasons of one row.
pub(crate) fn explain(specs: &[WhySpec], row: &Map<String, Value>) -> Vec<Why> {
    let get = |column: &str| row.get(column).cloned().unwrap_or(Value::Null);
    let get_if = |column: &Option<String>| column.as_deref().map_or(Value::Null, get);
    if !specs.is_empty() {
        let why = |spec: &WhySpec| Why {
            name: spec.name.clone(),
            observed: get(&spec.observed),
            expected: get_if(&spec.expected),
            surprise: get_if(&spec.surprise),
        };
        return specs.iter().map(why).collect();
    }
    let with_baseline = row.contains_key("surprise") && row.contains_key("expected");
    let numbers = row
        .iter()
        .filter(|(name, value)| value.is_number() && is_measure(name));
    numbers
        .filter(|(name, _)| !with_baseline || !matches!(name.as_str(), "surprise" | "expected"))
        .take(if with_baseline { 1 } else { CHOSEN_MAX })
        .map(|(name, value)| Why {
            name: name.clone(),
            observed: value.clone(),
            expected: if with_baseline {
                get("expected")
            } else {
                Value::Null
            },
            surprise: if with_baseline {
                get("surprise")
            } else {
                Value::Null
            },
        })
        .collect()
}

/// Whether a number under this name says how much, rather than when, where or which.
fn is_measure(name: &str) -> bool {
    const SUFFIXES: [&str; 7] = [
        "_time",
        "_ts",
        "_at",
        "_id",
        "_asn",
        "latitude",
        "longitude",
    ];
    !(name.starts_with('_')
        || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        || matches!(
            name,
            "window_start" | "window_end" | "ts" | "id" | "asn" | "status"
        ))
}
