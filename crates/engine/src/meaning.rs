//! What a node means, whatever stands beside it in its program: by this, state finds its node again in
//! the program of another set of rules.
//!
//! ```text
//!   rows      which rows come, in what order     events ─ tumble … ─ conditions {a, b}
//!   columns   what each column of a row is       event_time, lower(event.path), row 2 of that tumble
//! ```
//!
//! The two are kept apart because other rules decide which columns a shared node carries, where a
//! condition is tested, and in which place of a batch a column stands; none of that changes a rule.
//! So a filter changes which rows there are and no column; a projection changes columns and no row;
//! conditions are a set, whether one node tests them or three. What keeps state means its own text,
//! the rows that it takes in, and those of their columns that it reads.
//!
//! A caller writes a node's text with [`column`] for each column of an input.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

/// Around a column in a text. Nothing else in it is beyond ASCII.
const OPEN: char = '⟨';
const CLOSE: char = '⟩';

/// A column of an input in the text of a node: its name, for people, and its place.
pub fn column(input: usize, name: &str, place: usize) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() || c == '_' {
        true => c,
        false => '_',
    };
    let name: String = name.chars().map(plain).collect();
    match input {
        0 => format!("{OPEN}{name}#{place}{CLOSE}"),
        _ => format!("{OPEN}{name}#{input}.{place}{CLOSE}"),
    }
}

/// What a node does, in a canonical text of one line, beside its kind, inputs and output.
#[derive(Debug, Clone, Default)]
pub struct Meaning {
    pub(crate) text: String,
    pub(crate) parts: Vec<String>,
    pub(crate) state: Option<String>,
}

impl Meaning {
    /// A node that is told by one text.
    pub fn new(text: impl Into<String>) -> Self {
        Meaning {
            text: text.into(),
            ..Meaning::default()
        }
    }

    /// The same, in parts: the conditions of a filter, the columns of a projection, the functions of
    /// an OVER, the columns that a lookup adds.
    #[must_use]
    pub fn of_parts(mut self, parts: Vec<String>) -> Self {
        self.parts = parts;
        self
    }

    /// The same, where state is kept under another text, since what differs leaves no trace in it.
    #[must_use]
    pub fn with_state(mut self, text: impl Into<String>) -> Self {
        self.state = Some(text.into());
        self
    }
}

impl From<&str> for Meaning {
    fn from(text: &str) -> Self {
        Meaning::new(text)
    }
}

impl From<&String> for Meaning {
    fn from(text: &String) -> Self {
        Meaning::new(text)
    }
}

impl From<String> for Meaning {
    fn from(text: String) -> Self {
        Meaning::new(text)
    }
}

/// The first 16 bytes of a SHA-256 in hex, over texts each behind its length.
pub(crate) fn digest<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text);
    }
    let bytes = digest.finalize();
    bytes[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The rows of `events`, in the order of the log.
const EVENTS: &str = "events";

/// Which rows a node emits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowsMeaning {
    /// Where they come from, a digest, and whether that is `events`, in whichever order.
    base: String,
    of_events: bool,
    /// The conditions that they fulfil.
    conditions: BTreeSet<String>,
}

impl RowsMeaning {
    fn of(base: String) -> Self {
        RowsMeaning {
            base,
            of_events: false,
            conditions: BTreeSet::new(),
        }
    }

    /// The rows of the log.
    pub(crate) fn events() -> Self {
        RowsMeaning {
            of_events: true,
            ..RowsMeaning::of(EVENTS.to_owned())
        }
    }

    fn digest(&self) -> String {
        let conditions = self.conditions.iter().map(String::as_str);
        digest(std::iter::once(self.base.as_str()).chain(conditions))
    }

    fn based_on(&self, base: String) -> Self {
        RowsMeaning {
            base,
            of_events: false,
            conditions: self.conditions.clone(),
        }
    }
}

/// The meaning of a node with all that is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) rows: RowsMeaning,
    /// A digest a column.
    pub(crate) columns: Vec<String>,
    /// Whose state is the same, whatever else the two nodes emit: for a node without state of no use.
    pub(crate) state: String,
    /// What else the operator's state depends on; where this differs state is carried over by value.
    pub(crate) variant: String,
}

impl Resolved {
    /// The scan of `events`; a column is its name and type.
    pub(crate) fn scan(columns: Vec<String>) -> Self {
        let columns: Vec<String> = columns
            .iter()
            .map(|column| digest(["column of events", column]))
            .collect();
        Resolved {
            rows: RowsMeaning::events(),
            columns,
            state: String::new(),
            variant: String::new(),
        }
    }

    /// Whether all of its rows, where these are of one base, are among another's.
    pub(crate) fn is_within(&self, other: &Resolved) -> bool {
        other.rows.conditions.is_subset(&self.rows.conditions)
    }

    /// Whether its rows are those of `events`, each as it is, with or without conditions.
    pub(crate) fn is_of_events(&self) -> bool {
        self.rows.of_events
    }

    /// A digest of all of it.
    pub(crate) fn digest(&self) -> String {
        let rows = self.rows.digest();
        let columns = self.columns.iter().map(String::as_str);
        digest(std::iter::once(rows.as_str()).chain(columns))
    }

    fn stateless(rows: RowsMeaning, columns: Vec<String>) -> Self {
        Resolved {
            rows,
            columns,
            state: String::new(),
            variant: String::new(),
        }
    }
}

/// The meanings of nodes by what they do.
pub(crate) struct Resolver<'a> {
    pub(crate) meaning: &'a Meaning,
    pub(crate) inputs: Vec<&'a Resolved>,
    /// How many columns come out.
    pub(crate) columns: usize,
}

impl Resolver<'_> {
    /// A text with each column in it replaced by what that means.
    fn resolve(&self, text: &str) -> String {
        let mut resolved = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(OPEN) {
            resolved.push_str(before);
            let (mark, after) = after.split_once(CLOSE).unwrap_or((after, ""));
            resolved.push_str(self.column(mark).unwrap_or(mark));
            rest = after;
        }
        resolved.push_str(rest);
        resolved
    }

    fn column(&self, mark: &str) -> Option<&str> {
        let (_, place) = mark.rsplit_once('#')?;
        let (input, place) = place.split_once('.').unwrap_or(("0", place));
        let input = self.inputs.get(input.parse::<usize>().ok()?)?;
        input
            .columns
            .get(place.parse::<usize>().ok()?)
            .map(String::as_str)
    }

    fn parts(&self) -> Vec<String> {
        match self.meaning.parts.is_empty() {
            true => vec![self.resolve(&self.meaning.text)],
            false => self
                .meaning
                .parts
                .iter()
                .map(|part| self.resolve(part))
                .collect(),
        }
    }

    fn input(&self) -> &Resolved {
        self.inputs[0]
    }

    /// A row that fulfils the conditions is the row that it was.
    pub(crate) fn filter(&self) -> Resolved {
        let mut rows = self.input().rows.clone();
        rows.conditions
            .extend(self.parts().iter().map(|part| digest(["condition", part])));
        Resolved::stateless(rows, self.input().columns.clone())
    }

    /// The same rows; a column that is passed on is what it was.
    pub(crate) fn project(&self) -> Resolved {
        if self.meaning.parts.len() != self.columns {
            return self.other();
        }
        let columns = self.meaning.parts.iter().map(|part| {
            // Of one column alone: an expression may begin and end with columns, too.
            let mark = part
                .strip_prefix(OPEN)
                .and_then(|rest| rest.strip_suffix(CLOSE))
                .filter(|mark| !mark.contains(OPEN));
            match mark.and_then(|mark| self.column(mark)) {
                Some(passed) => passed.to_owned(),
                None => digest(["expression", &self.resolve(part)]),
            }
        });
        Resolved::stateless(self.input().rows.clone(), columns.collect())
    }

    /// Of `events` there is one order, whatever is tested below or above it. What waits in it is carried
    /// over with the columns that both programs have.
    pub(crate) fn order(&self) -> Resolved {
        let input = self.input();
        let text = self.resolve(&self.meaning.text);
        let rows = match input.rows.base == EVENTS {
            true => RowsMeaning {
                base: digest([EVENTS, &text]),
                ..input.rows.clone()
            },
            false => RowsMeaning::of(digest([input.rows.digest().as_str(), &text])),
        };
        Resolved {
            state: rows.base.clone(),
            rows,
            columns: input.columns.clone(),
            variant: String::new(),
        }
    }

    /// The same rows with a column more for each function.
    pub(crate) fn over(&self) -> Resolved {
        let input = self.input();
        let rows = input.rows.digest();
        let text = self.meaning.state.as_ref().unwrap_or(&self.meaning.text);
        let state = digest(["over", &rows, &self.resolve(text)]);
        let added = self.columns.saturating_sub(input.columns.len());
        let parts = self.parts();
        let function = |i: usize| match parts.len() == added {
            true => digest(["function", &rows, &parts[i]]),
            false => digest(["function", &state, &i.to_string()]),
        };
        Resolved {
            rows: input.rows.clone(),
            columns: input
                .columns
                .iter()
                .cloned()
                .chain((0..added).map(function))
                .collect(),
            state,
            variant: self.resolve(&self.meaning.text),
        }
    }

    /// Rows of its own, with all that it says.
    pub(crate) fn window(&self) -> Resolved {
        let rows: Vec<String> = self
            .inputs
            .iter()
            .map(|input| input.rows.digest())
            .collect();
        let text = self.resolve(&self.meaning.text);
        let texts = std::iter::once(text.as_str()).chain(rows.iter().map(String::as_str));
        self.of_state(digest(std::iter::once("window").chain(texts)))
    }

    /// Rows wait in it with all of their columns.
    pub(crate) fn other(&self) -> Resolved {
        let inputs: Vec<String> = self.inputs.iter().map(|input| input.digest()).collect();
        let text = self.resolve(&self.meaning.text);
        let parts = self.parts();
        let texts = [&text].into_iter().chain(&parts).chain(&inputs);
        self.of_state(digest(texts.map(String::as_str)))
    }

    fn of_state(&self, state: String) -> Resolved {
        let columns = (0..self.columns).map(|i| digest(["column", &state, &i.to_string()]));
        Resolved {
            rows: RowsMeaning::of(state.clone()),
            columns: columns.collect(),
            state,
            variant: String::new(),
        }
    }

    /// A row with what the table has for it; `is_condition` where it is the row itself or nothing.
    pub(crate) fn lookup(&self, is_condition: bool) -> Resolved {
        let input = self.input();
        let text = digest(["lookup", &self.resolve(&self.meaning.text)]);
        if is_condition {
            let mut rows = input.rows.clone();
            rows.conditions.insert(text);
            return Resolved::stateless(rows, input.columns.clone());
        }
        let added = self.columns.saturating_sub(input.columns.len());
        let parts = &self.meaning.parts;
        let of_table = |i: usize| match parts.get(i) {
            Some(part) => digest(["column of a table", &text, part]),
            None => digest(["column of a table", &text, &i.to_string()]),
        };
        let columns = input
            .columns
            .iter()
            .cloned()
            .chain((0..added).map(of_table));
        let base = digest([text.as_str(), &input.rows.base]);
        Resolved::stateless(input.rows.based_on(base), columns.collect())
    }

    /// The rows of all inputs; a column is that of whichever input the row came from.
    pub(crate) fn union(&self) -> Resolved {
        let rows: Vec<String> = self
            .inputs
            .iter()
            .map(|input| input.rows.digest())
            .collect();
        let rows = std::iter::once("union").chain(rows.iter().map(String::as_str));
        let column = |i: usize| {
            let of_inputs = self.inputs.iter();
            let of_inputs = of_inputs.map(|input| input.columns.get(i).map_or("", String::as_str));
            digest(std::iter::once("union").chain(of_inputs))
        };
        let columns = (0..self.columns).map(column).collect();
        Resolved::stateless(RowsMeaning::of(digest(rows)), columns)
    }

    /// A row for each element of a column of lists, in whose place that is.
    pub(crate) fn unnest(&self, column: usize) -> Resolved {
        let input = self.input();
        let Some(list) = input.columns.get(column) else {
            return self.other();
        };
        let mut columns = input.columns.clone();
        columns[column] = digest(["element", list]);
        let base = digest(["unnest", &input.rows.base, list]);
        Resolved::stateless(input.rows.based_on(base), columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(columns: &[&str]) -> Resolved {
        Resolved::scan(columns.iter().map(|&column| column.to_owned()).collect())
    }

    fn resolver<'a>(meaning: &'a Meaning, input: &'a Resolved, columns: usize) -> Resolver<'a> {
        Resolver {
            meaning,
            inputs: vec![input],
            columns,
        }
    }

    #[test]
    fn an_expression_between_two_columns_is_no_column() {
        let input = scan(&["a", "b"]);
        let [a, b] = [column(0, "a", 0), column(0, "b", 1)];
        let of = |part: String| {
            let meaning = Meaning::new("").of_parts(vec![part]);
            resolver(&meaning, &input, 1).project().columns
        };
        let sum = of(format!("{a} + {b}"));
        assert_ne!(sum, of(b.clone()));
        assert_ne!(sum, of(format!("{a} - {b}")));
        assert_eq!(of(b), [input.columns[1].clone()]);
    }

    #[test]
    fn a_column_means_the_same_in_another_place() {
        let (narrow, wide) = (scan(&["a", "b"]), scan(&["a", "more", "b"]));
        let low = Meaning::new("").of_parts(vec![format!("{} < 3", column(0, "b", 1))]);
        let low_in_wide = Meaning::new("").of_parts(vec![format!("{} < 3", column(0, "b", 2))]);
        let other = Meaning::new("").of_parts(vec![format!("{} < 3", column(0, "more", 1))]);
        let filtered = resolver(&low, &narrow, 2).filter();
        assert_eq!(
            filtered.rows,
            resolver(&low_in_wide, &wide, 3).filter().rows
        );
        assert_ne!(filtered.rows, resolver(&other, &wide, 3).filter().rows);
    }

    #[test]
    fn conditions_are_a_set_below_and_above_the_order_of_events() {
        let events = scan(&["a", "b"]);
        let condition = |text: &str| Meaning::new("").of_parts(vec![text.to_owned()]);
        let (first, second, order) = (condition("x"), condition("y"), Meaning::new("order"));
        let one = resolver(&first, &events, 2).filter();
        let both = resolver(&second, &one, 2).filter();
        let below = resolver(&order, &both, 2).order();
        let two = resolver(&second, &events, 2).filter();
        let ordered = resolver(&order, &two, 2).order();
        let above = resolver(&first, &ordered, 2).filter();
        assert_eq!(below.rows, above.rows);
        assert_eq!(below.state, ordered.state);
        assert_ne!(below.rows, both.rows);
    }

    #[test]
    fn texts_with_a_digest_between_them_do_not_run_together() {
        assert_ne!(digest(["ab", "c"]), digest(["a", "bc"]));
        assert_eq!(digest(["a"]).len(), 32);
    }
}
