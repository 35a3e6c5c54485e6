//! One case: a rule set and a table of events, on both engines, and whether they agree.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use keyhawk_engine::FindingId;
use keyhawk_sql::{Compiled, Problem, RuleFiles, SourceFile, compile};
use keyhawk_testkit::random::random_splits;

use super::query::RuleSet;
use super::run::{Conditions, Failure, Row, batch, by_row, stream, whole};
use super::table::{Partition, Table};
use crate::events::{file, schema};

/// How far floats of the two engines may differ, relative to themselves.
const ROUNDING: f64 = 1e-9;

/// What was found wrong, by kind, so that a smaller case fails in the same way.
#[derive(Debug, Clone)]
pub enum Wrong {
    /// The batch engine failed.
    Batch(Failure),
    /// The stream failed, in the run that is named.
    Stream(String, Failure),
    /// The stream's rows or their order changed with the cuts or with restarts.
    Unsteady(String),
    /// The two engines gave different rows.
    Different(String),
    /// Two findings of a rule have one id.
    Repeated(String),
}

impl Wrong {
    /// Whether both are of one kind, and engines that failed did so with the same first words.
    pub fn is_like(&self, other: &Wrong) -> bool {
        let words = |failure: &Failure| -> String {
            let text = failure.to_string();
            // The name of the query stands first.
            let text = text.split_once("_").map_or(text.as_str(), |(_, rest)| rest);
            text.chars()
                .filter(|c| c.is_alphabetic())
                .take(40)
                .collect()
        };
        match (self, other) {
            (Wrong::Batch(a), Wrong::Batch(b)) => words(a) == words(b),
            (Wrong::Stream(_, a), Wrong::Stream(_, b)) => words(a) == words(b),
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Batch(failure) => write!(f, "the batch engine ended in {failure}"),
            Wrong::Stream(run, failure) => write!(f, "the stream, {run}, ended in {failure}"),
            Wrong::Unsteady(text) => write!(f, "the stream depends on its batches: {text}"),
            Wrong::Different(text) => write!(f, "stream and batch differ: {text}"),
            Wrong::Repeated(text) => write!(f, "an id of two findings: {text}"),
        }
    }
}

/// The files of a rule set.
pub fn files(set: &RuleSet) -> RuleFiles {
    let view = |(name, query): &(String, super::text::Query)| {
        file(&format!("views/{name}.sql"), &query.to_string())
    };
    RuleFiles {
        tables: set
            .tables
            .iter()
            .map(|table| (table.name.clone(), table.batch()))
            .collect(),
        views: set.views.iter().map(view).collect(),
        rules: set
            .rules
            .iter()
            .map(|(name, query)| rule_file(name, &query.to_string(), &entity(query)))
            .collect(),
    }
}

/// A rule set as text.
pub fn printed(set: &RuleSet) -> String {
    let tables = set.tables.iter().flat_map(|table| table.create());
    let tables = tables.map(|statement| format!("{statement}\n"));
    let files = set.views.iter().chain(&set.rules);
    let files = files.map(|(name, query)| format!("-- {name}\n{query}\n"));
    tables.chain(files).collect()
}

/// The column that a rule's header may name: the first whose name is known.
fn entity(query: &super::text::Query) -> String {
    let names = query.branches[0].items.iter().map(|(sql, name)| {
        let bare = || sql.to_string();
        name.clone().unwrap_or_else(bare)
    });
    names
        .into_iter()
        .find(|name| name != "*")
        .unwrap_or_default()
}

/// A rule's file: a header that names a column, then the query.
pub fn rule_file(name: &str, query: &str, entity: &str) -> SourceFile {
    let header = format!("/*\nseverity = \"low\"\nentity = \"{entity}\"\n*/\n");
    file(&format!("rules/{name}.sql"), &format!("{header}{query}"))
}

/// Compiles a rule set; a panic is a problem of its own kind.
pub fn compiled(set: &RuleSet) -> Result<Result<Compiled, Vec<Problem>>, Failure> {
    super::run::quietly(|| Ok(compile(&files(set), &schema(), "api_key")))
}

/// Runs a table on both engines.
pub fn check(compiled: &Compiled, table: &Table, seed: u64, failing: bool) -> Result<usize, Wrong> {
    let schema = compiled.program.input();
    let partitions = table.partitions(schema);
    let expected = batch(compiled, &partitions).map_err(Wrong::Batch)?;
    let expected = by_id(expected).map_err(Wrong::Repeated)?;
    // Where a group's rows may lie in several partitions, one machine must see them all, as a replay
    // of files does.
    let machines = if compiled.unkeyed.is_empty() && !seed.is_multiple_of(4) {
        partitions
    } else {
        vec![table.merged(schema, seed)]
    };
    let mut found = Vec::new();
    for partition in &machines {
        found.extend(steady(compiled, partition, seed, failing)?);
    }
    let found = by_id(found).map_err(Wrong::Repeated)?;
    compare(&expected, &found).map_err(Wrong::Different)?;
    Ok(expected.len())
}

/// The stream's rows, which are the same and in the same order however the log is cut, and whether or
/// not the machine was dropped and restored on the way.
fn steady(
    compiled: &Compiled,
    partition: &Partition,
    seed: u64,
    failing: bool,
) -> Result<Vec<Row>, Wrong> {
    let rows = partition.rows();
    let uncut = Conditions {
        restarts: None,
        failing,
    };
    let restarted = Conditions {
        restarts: Some(seed),
        failing,
    };
    let runs = [
        ("in one batch", whole(rows), uncut),
        ("cut at every row and restarted", by_row(rows), restarted),
        (
            "cut at random and restarted",
            random_splits(seed, rows),
            restarted,
        ),
    ];
    let mut first: Option<Vec<Row>> = None;
    for (name, cuts, conditions) in runs {
        let found = stream(compiled, partition, &cuts, conditions)
            .map_err(|failure| Wrong::Stream(name.to_owned(), failure))?;
        let Some(first) = &first else {
            first = Some(found);
            continue;
        };
        let same = |(a, b): (&Row, &Row)| is_same(a, b, 0.0);
        if first.len() != found.len() || !first.iter().zip(&found).all(same) {
            let at = first.iter().zip(&found).position(|pair| !same(pair));
            let at = at.unwrap_or_else(|| first.len().min(found.len()));
            let line = |rows: &[Row]| rows.get(at).map_or("nothing".to_owned(), Row::to_string);
            return Err(Wrong::Unsteady(format!(
                "{} rows in one batch, {} {name}; row {at}:\n  {}\n  {}",
                first.len(),
                found.len(),
                line(first),
                line(&found)
            )));
        }
    }
    Ok(first.unwrap_or_default())
}

fn is_same(a: &Row, b: &Row, rounding: f64) -> bool {
    a.rule == b.rule
        && a.id == b.id
        && a.cells.len() == b.cells.len()
        && a.cells
            .iter()
            .zip(&b.cells)
            .all(|(a, b)| a.same(b, rounding))
}

type ById = BTreeMap<(usize, FindingId), Row>;

fn by_id(rows: Vec<Row>) -> Result<ById, String> {
    let mut all = ById::new();
    for row in rows {
        if let Some(other) = all.insert((row.rule, row.id), row.clone()) {
            return Err(format!("\n  {row}\n  {other}"));
        }
    }
    Ok(all)
}

fn compare(expected: &ById, found: &ById) -> Result<(), String> {
    let mut text = String::new();
    let mut lines = 0;
    let mut line = |what: &str, row: &Row| {
        lines += 1;
        if lines <= 8 {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n  {what}: {row}");
        }
    };
    for (id, row) in expected {
        match found.get(id) {
            None => line("only in the batch", row),
            Some(other) if !is_same(row, other, ROUNDING) => {
                line("the batch has ", row);
                line("the stream has", other);
            }
            Some(_) => {}
        }
    }
    found
        .iter()
        .filter(|(id, _)| !expected.contains_key(id))
        .for_each(|(_, row)| line("only in the stream", row));
    if lines == 0 {
        return Ok(());
    }
    Err(format!(
        "{} rows in the batch, {} in the stream{text}",
        expected.len(),
        found.len()
    ))
}
