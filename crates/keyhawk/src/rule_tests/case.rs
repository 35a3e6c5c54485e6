//! A test file to cases, or every problem that it has, with place and cure.
//!
//! Values keep their places until the case has run: an event that turns out to be none, or a row that
//! names a column that the rule does not select, is shown where it stands.

use std::ops::Range;

use keyhawk_sql::{Place, Problem, SourceFile, nearest};
use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::events::{self, Entry, Vocabulary};

/// A value of the file, with its place.
pub(super) type Node<'d> = Spanned<DeValue<'d>>;

/// One case of a test file.
pub(super) struct Case {
    pub(super) name: String,
    /// The line of the name, from 1.
    pub(super) line: usize,
    pub(super) events: Vec<Entry>,
    pub(super) expect: Vec<Named>,
}

/// The columns that an expected row names.
pub(super) struct Named(pub(super) Vec<Cell>);

/// A column with the value that it shall have.
pub(super) struct Cell {
    pub(super) column: String,
    /// Where its name stands.
    pub(super) column_span: Range<usize>,
    pub(super) value: Value,
    /// Where its value stands.
    pub(super) value_span: Range<usize>,
}

const AT_THE_TOP: [&str; 1] = ["case"];
const IN_A_CASE: [&str; 3] = ["name", "events", "expect"];

/// Reads a test file.
///
/// # Errors
/// Every problem of the file, by place.
pub(super) fn parse(
    source: &SourceFile,
    vocabulary: &Vocabulary,
) -> Result<Vec<Case>, Vec<Problem>> {
    let mut reader = Reader {
        source,
        problems: Vec::new(),
    };
    let root = match DeTable::parse(&source.text) {
        Ok(root) => root.into_inner(),
        Err(error) => {
            reader.wrong(
                error.span().unwrap_or(0..0),
                error.message().trim_end(),
                "a test file is TOML: [[case]], then name = \"…\", events = [{ … }], expect = [{ … }]",
            );
            return Err(reader.problems);
        }
    };
    let cases = reader.cases(&root, vocabulary);
    if reader.problems.is_empty() {
        return Ok(cases);
    }
    let mut problems = reader.problems;
    problems.sort_by_key(|problem| (problem.place.line, problem.place.column));
    Err(problems)
}

/// Reads values and keeps what is wrong with them.
pub(super) struct Reader<'a> {
    source: &'a SourceFile,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    pub(super) fn wrong(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let place = Place::of_bytes(&self.source.text, span);
        self.problems
            .push(Problem::new(self.source, place, message).help(help));
    }

    /// A value that is of another type than `wanted`.
    pub(super) fn wrong_type(&mut self, node: &Node<'_>, name: &str, wanted: &str) {
        let message = format!(
            "`{name}` takes {wanted}, and this is of type {}",
            node.get_ref().type_str()
        );
        self.wrong(node.span(), message, format!("write {wanted}"));
    }

    fn cases(&mut self, root: &DeTable<'_>, vocabulary: &Vocabulary) -> Vec<Case> {
        self.keys(root, "a test file", &AT_THE_TOP);
        let mut cases: Vec<Case> = Vec::new();
        for table in self.tables(root, 0..0, "case", "begin each case with [[case]]") {
            let Some(case) = self.case(table, vocabulary) else {
                continue;
            };
            if let Some(first) = cases.iter().find(|known| known.name == case.name) {
                let span = table
                    .get_ref()
                    .get("name")
                    .map_or(table.span(), Spanned::span);
                let message = format!("the case of line {} has the same name", first.line);
                self.wrong(span, message, "say in the name what is different here");
            }
            cases.push(case);
        }
        cases
    }

    fn case(&mut self, node: &Node<'_>, vocabulary: &Vocabulary) -> Option<Case> {
        let table = node.get_ref().as_table()?;
        self.keys(table, "a case", &IN_A_CASE);
        let events = "events = [{ at = \"1h\", repeat = 60, every = \"1s\" }]";
        let expect =
            "expect = [{ column = value }], or expect = [] where the rule must stay silent";
        let events = self.tables(table, node.span(), "events", events);
        let expect = self.tables(table, node.span(), "expect", expect);
        let events = events
            .into_iter()
            .filter_map(|node| events::read(node, vocabulary, self))
            .collect();
        let expect = expect.into_iter().map(|node| self.named(node)).collect();
        let Some(name) = table.get("name") else {
            self.wrong(
                node.span(),
                "a case needs a `name`",
                "say what it is about: name = \"a burst of wrong signatures is found\"",
            );
            return None;
        };
        let Some(text) = name.get_ref().as_str().filter(|text| !text.is_empty()) else {
            self.wrong_type(name, "name", "a text that says what the case is about");
            return None;
        };
        Some(Case {
            name: text.to_owned(),
            line: Place::of_bytes(&self.source.text, name.span()).line,
            events,
            expect,
        })
    }

    fn named(&mut self, node: &Node<'_>) -> Named {
        let cells = node.get_ref().as_table().into_iter().flatten();
        let cells = cells.filter_map(|(name, value)| {
            Some(Cell {
                column: name.get_ref().to_string(),
                column_span: name.span(),
                value: self.json(value)?,
                value_span: value.span(),
            })
        });
        Named(cells.collect())
    }

    /// Every key must be one of the known ones.
    fn keys(&mut self, table: &DeTable<'_>, of: &str, known: &[&str]) {
        for (key, _) in table {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let help = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("{of} has {}", known.join(", ")),
            };
            self.wrong(key.span(), format!("{of} has no `{name}`"), help);
        }
    }

    /// The tables of a list that must be there.
    fn tables<'d>(
        &mut self,
        table: &'d DeTable<'d>,
        around: Range<usize>,
        key: &str,
        help: &str,
    ) -> Vec<&'d Node<'d>> {
        let Some(list) = table.get(key) else {
            self.wrong(around, format!("there is no `{key}`"), help);
            return Vec::new();
        };
        let items = list.get_ref().as_array().into_iter().flatten();
        let tables: Vec<&Node<'_>> = items.filter(|item| item.get_ref().is_table()).collect();
        let length = list.get_ref().as_array().map(|items| items.iter().count());
        if length != Some(tables.len()) {
            let message = format!("`{key}` takes a list of tables");
            self.wrong(list.span(), message, help);
        }
        tables
    }

    /// A value as JSON has it.
    pub(super) fn json(&mut self, node: &Node<'_>) -> Option<Value> {
        match node.get_ref() {
            DeValue::String(text) => Some(Value::from(&**text)),
            DeValue::Boolean(switch) => Some(Value::from(*switch)),
            DeValue::Datetime(time) => Some(Value::from(time.to_string())),
            DeValue::Integer(number) => {
                let read = i64::from_str_radix(number.as_str(), number.radix());
                if read.is_err() {
                    let message = format!("{number} is beyond 64 bits");
                    self.wrong(node.span(), message, "write a smaller number");
                }
                read.ok().map(Value::from)
            }
            DeValue::Float(number) => {
                let read = number.as_str().parse().ok().and_then(Number::from_f64);
                if read.is_none() {
                    let message = format!("{number} is no number that JSON has");
                    self.wrong(node.span(), message, "write a finite number");
                }
                read.map(Value::Number)
            }
            DeValue::Array(items) => {
                let items = items.iter().map(|item| self.json(item));
                items.collect::<Option<Vec<_>>>().map(Value::from)
            }
            DeValue::Table(table) => {
                let members = table
                    .iter()
                    .map(|(name, value)| Some((name.get_ref().to_string(), self.json(value)?)));
                members.collect::<Option<Map<_, _>>>().map(Value::from)
            }
        }
    }
}
