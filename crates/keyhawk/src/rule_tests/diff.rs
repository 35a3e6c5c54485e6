//! Rows expected against rows found: each expected one is matched with a found one that has all that is
//! expected of it, as many as can be at once; what is left over differs.
//!
//! ```text
//!     api_key  refused  window_start
//!     k1       60       2026-03-02T01:00:00Z      expected, and found
//!   - k2       51                                 expected, and not found; empty where it may be anything
//!   + k2       50       2026-03-02T01:00:00Z      found, and not expected: the nearest to the one above
//! ```
//!
//! The matching is a maximum one (augmenting paths, after Kuhn): of `{}` and `{ n = 1 }` the second gets
//! the only row with `n = 1`, whatever their order. Cost: rows expected × rows found comparisons, and
//! more only where rows compete.

use std::fmt;

use serde_json::Value;

use super::expected::{Row, fits, is_same};

/// The most rows that a diff shows.
const ROWS_SHOWN_MAX: usize = 40;

/// Why a case failed, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Notes and diffs, one after the other.
    pub lines: Vec<Line>,
}

/// One line of a [`Failure`]; shown with its mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it is.
    pub mark: Mark,
    /// What it says.
    pub text: String,
}

/// What a line of a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A sentence, or the head of a table; without a mark.
    Note,
    /// A row expected and found.
    Both,
    /// A row expected and not found, `-`.
    Expected,
    /// A row found and not expected, `+`.
    Found,
}

impl Line {
    pub(super) fn note(text: impl Into<String>) -> Line {
        Line {
            mark: Mark::Note,
            text: text.into(),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mark {
            Mark::Note => f.write_str(&self.text),
            Mark::Both => write!(f, "  {}", self.text),
            Mark::Expected => write!(f, "- {}", self.text),
            Mark::Found => write!(f, "+ {}", self.text),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, line) in self.lines.iter().enumerate() {
            let end = if at + 1 == self.lines.len() { "" } else { "\n" };
            write!(f, "{line}{end}")?;
        }
        Ok(())
    }
}

/// The columns of a diff.
pub(super) struct Columns<'a> {
    /// All that the rule selects.
    pub(super) names: Vec<&'a str>,
    /// Those that tell one row from another, shown always: the entity and the times.
    pub(super) telling: Vec<bool>,
}

/// The rows that differ, among those that do not; `None` where none does.
pub(super) fn diff(
    columns: &Columns<'_>,
    expected: &[Row],
    found: &[Vec<Value>],
) -> Option<Vec<Line>> {
    let matched = matching(expected, found);
    let mut left: Vec<usize> = (0..found.len())
        .filter(|at| !matched.contains(&Some(*at)))
        .collect();
    if left.is_empty() && matched.iter().all(Option::is_some) {
        return None;
    }
    let mut rows: Vec<(Mark, Vec<String>)> = Vec::new();
    for (row, found_at) in expected.iter().zip(&matched) {
        if let Some(at) = found_at {
            rows.push((Mark::Both, found[*at].iter().map(cell).collect()));
            continue;
        }
        let cells = row
            .iter()
            .map(|value| value.as_ref().map(cell).unwrap_or_default());
        rows.push((Mark::Expected, cells.collect()));
        // The row that it most likely should have been stands below it.
        let likeness = |at: usize| {
            let cells = row.iter().zip(&found[at]);
            let same = cells
                .filter(|(value, found)| value.as_ref().is_some_and(|value| is_same(value, found)));
            same.count()
        };
        let nearest = (0..left.len())
            .rev()
            .max_by_key(|&place| likeness(left[place]));
        if let Some(place) = nearest
            && (likeness(left[place]) > 0 || left.len() == 1)
        {
            let at = left.remove(place);
            rows.push((Mark::Found, found[at].iter().map(cell).collect()));
        }
    }
    for at in left {
        rows.push((Mark::Found, found[at].iter().map(cell).collect()));
    }
    Some(table(columns, &shown(columns, expected, found), rows))
}

/// For each expected row the row found for it; no row stands for two.
fn matching(expected: &[Row], found: &[Vec<Value>]) -> Vec<Option<usize>> {
    let candidates: Vec<Vec<usize>> = expected
        .iter()
        .map(|row| {
            (0..found.len())
                .filter(|at| fits(row, &found[*at]))
                .collect()
        })
        .collect();
    let mut owners: Vec<Option<usize>> = vec![None; found.len()];
    for row in 0..expected.len() {
        let mut asked = vec![false; found.len()];
        take(row, &candidates, &mut owners, &mut asked);
    }
    let mut matched = vec![None; expected.len()];
    for (at, owner) in owners.iter().enumerate() {
        if let Some(row) = owner {
            matched[*row] = Some(at);
        }
    }
    matched
}

/// Finds a row for an expected one: a free one, or one whose owner can take another.
fn take(
    row: usize,
    candidates: &[Vec<usize>],
    owners: &mut [Option<usize>],
    asked: &mut [bool],
) -> bool {
    for &at in &candidates[row] {
        if std::mem::replace(&mut asked[at], true) {
            continue;
        }
        if owners[at].is_none_or(|owner| take(owner, candidates, owners, asked)) {
            owners[at] = Some(row);
            return true;
        }
    }
    false
}

/// The columns to show: those that an expected row names and those that tell rows apart; where nothing is
/// expected, all that are not null throughout.
fn shown(columns: &Columns<'_>, expected: &[Row], found: &[Vec<Value>]) -> Vec<usize> {
    let is_named = |column: usize| expected.iter().any(|row| row[column].is_some());
    let all = 0..columns.names.len();
    if all.clone().any(is_named) {
        all.filter(|&column| is_named(column) || columns.telling[column])
            .collect()
    } else {
        all.filter(|&column| found.iter().any(|row| !row[column].is_null()))
            .collect()
    }
}

/// Rows with their columns aligned, below the columns' names.
fn table(columns: &Columns<'_>, shown: &[usize], mut rows: Vec<(Mark, Vec<String>)>) -> Vec<Line> {
    let hidden = rows.len().saturating_sub(ROWS_SHOWN_MAX);
    rows.truncate(ROWS_SHOWN_MAX);
    let head: Vec<String> = columns.names.iter().map(|&name| name.to_owned()).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|(_, cells)| &cells[column]);
        let widths = cells
            .chain([&head[column]])
            .map(|cell| cell.chars().count());
        widths.max().unwrap_or_default()
    };
    let widths: Vec<usize> = shown.iter().map(|&column| width(column)).collect();
    let text = |cells: &[String]| {
        let padded = shown
            .iter()
            .zip(&widths)
            .map(|(&column, &width)| format!("{:<width$}", cells[column]));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![Line::note(format!("  {}", text(&head)))];
    lines.extend(rows.iter().map(|(mark, cells)| Line {
        mark: *mark,
        text: text(cells),
    }));
    if hidden > 0 {
        lines.push(Line::note(format!("  … and {hidden} rows more")));
    }
    lines
}

/// A value in a table: a text as it is, unless it would break the line; the rest as JSON.
fn cell(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() && !text.contains(char::is_control) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn columns() -> Columns<'static> {
        Columns {
            names: vec!["k", "n", "note"],
            telling: vec![true, false, false],
        }
    }

    fn row(values: Value) -> Vec<Value> {
        values.as_array().unwrap().clone()
    }

    fn wanted(values: Value) -> Row {
        let values = row(values).into_iter();
        values
            .map(|value| (!value.is_null()).then_some(value))
            .collect()
    }

    fn shown(expected: &[Row], found: &[Vec<Value>]) -> String {
        let lines = diff(&columns(), expected, found).unwrap_or_default();
        Failure { lines }.to_string()
    }

    #[test]
    fn a_row_that_could_stand_for_two_goes_to_the_one_that_has_no_other() {
        let found = [row(json!(["a", 1, null])), row(json!(["b", 2, null]))];
        let any = wanted(json!([null, null, null]));
        let first = wanted(json!([null, 1, null]));
        assert_eq!(
            diff(&columns(), &[any.clone(), first.clone()], &found),
            None
        );
        assert_eq!(
            diff(&columns(), &[first.clone(), any.clone()], &found),
            None
        );
        assert!(diff(&columns(), &[first.clone(), first], &found).is_some());
        assert!(diff(&columns(), &[any], &found).is_some());
    }

    #[test]
    fn what_differs_stands_beside_the_nearest_row() {
        let found = [
            row(json!(["long-name", 7, "x"])),
            row(json!(["b", 2, "y"])),
            row(json!(["c", 3, "z"])),
        ];
        let expected = [
            wanted(json!(["b", 20, null])),
            wanted(json!(["c", 3, null])),
            wanted(json!(["d", 4, null])),
        ];
        assert_eq!(
            shown(&expected, &found),
            "  k          n\n\
             - b          20\n\
             + b          2\n  \
               c          3\n\
             - d          4\n\
             + long-name  7"
        );
    }

    #[test]
    fn where_nothing_is_expected_all_columns_with_values_are_shown() {
        let found = [
            row(json!(["a", null, ""])),
            row(json!(["b", null, "two\nlines"])),
        ];
        assert_eq!(
            shown(&[], &found),
            "  k  note\n+ a  \"\"\n+ b  \"two\\nlines\""
        );
    }

    #[test]
    fn a_flood_of_rows_is_cut() {
        let found: Vec<Vec<Value>> = (0..1000).map(|n| row(json!(["a", n, null]))).collect();
        let text = shown(&[], &found);
        assert_eq!(text.lines().count(), 42);
        assert!(text.ends_with("… and 960 rows more"), "{text}");
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        for (expected, found) in [
            (json!(1), json!(1.0)),
            (json!(0.3), json!(0.1 + 0.2)),
            (json!(5), json!("5.000")),
            (json!({"a": 1}), json!({"a": 1.0, "b": 2})),
            (json!([1, "x"]), json!([1, "x"])),
        ] {
            assert!(is_same(&expected, &found), "{expected} {found}");
        }
        for (expected, found) in [
            (json!(9007199254740993_i64), json!(9007199254740992_i64)),
            (json!(1), json!(1.000001)),
            (json!(1), json!(null)),
            (json!("1"), json!(1)),
            (json!([1]), json!([1, 2])),
            (json!({"a": 1}), json!({"b": 1})),
        ] {
            assert!(!is_same(&expected, &found), "{expected} {found}");
        }
    }
}
