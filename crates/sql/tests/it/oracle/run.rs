//! Both engines over the same rows: the machine with cuts and restarts, and DataFusion over the table.
//!
//! ```text
//!   Partition ─ cut ─▶ process ─▶ snapshot? ─▶ dropped and restored? ─▶ process …  ─▶ finish
//!   Partitions ─▶ backtest
//! ```

use std::cell::Cell as Flag;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use keyhawk_engine::{FindingId, Findings, Machine, StateRow, Step};
use keyhawk_sql::Compiled;
use keyhawk_testkit::random::generator;
use rand::RngExt;

use super::table::Partition;

const DEPLOYMENT: &str = "oracle";

/// One value of a finding.
#[derive(Debug, Clone)]
pub enum Cell {
    Float(f64),
    List(Vec<Cell>),
    /// Anything that must be the same to the letter, null too.
    Text(String),
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Float(value) => write!(f, "{value}"),
            Cell::Text(text) => f.write_str(text),
            Cell::List(cells) => {
                f.write_str("[")?;
                for (place, cell) in cells.iter().enumerate() {
                    let comma = if place > 0 { ", " } else { "" };
                    write!(f, "{comma}{cell}")?;
                }
                f.write_str("]")
            }
        }
    }
}

impl Cell {
    /// Whether both are the same: to the bit, or floats up to rounding.
    pub fn same(&self, other: &Cell, rounding: f64) -> bool {
        match (self, other) {
            (Cell::Float(a), Cell::Float(b)) => {
                a.to_bits() == b.to_bits()
                    || (a.is_nan() && b.is_nan())
                    || rounding > 0.0
                        && (a == b || (a - b).abs() <= rounding * a.abs().max(b.abs()))
            }
            (Cell::List(a), Cell::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b, rounding))
            }
            (Cell::Text(a), Cell::Text(b)) => a == b,
            _ => false,
        }
    }
}

/// A row that a rule gave.
#[derive(Debug, Clone)]
pub struct Row {
    pub rule: usize,
    pub id: FindingId,
    pub cells: Vec<Cell>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {} {}", self.rule, self.id)?;
        self.cells.iter().try_for_each(|cell| write!(f, " {cell}"))
    }
}

/// Why an engine gave no rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    Error(String),
    Panic(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Error(error) => write!(f, "an error: {error}"),
            Failure::Panic(message) => write!(f, "a panic: {message}"),
        }
    }
}

thread_local! {
    static QUIET: Flag<bool> = const { Flag::new(false) };
    static PLACE: Flag<String> = const { Flag::new(String::new()) };
}

/// Runs something that may panic, without a word of it on the terminal.
pub fn quietly<T>(run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if QUIET.get() && std::env::var_os("KEYHAWK_ORACLE_LOUD").is_none() {
                let place = info.location().map(ToString::to_string);
                PLACE.set(place.unwrap_or_default());
            } else {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    result.unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let message = message.unwrap_or_default();
        Err(Failure::Panic(format!("{message}, at {}", PLACE.take())))
    })
}

fn cell(array: &dyn Array, row: usize) -> Cell {
    if array.is_null(row) {
        return Cell::Text("NULL".to_owned());
    }
    match array.data_type() {
        DataType::Float64 => Cell::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Struct(_) => {
            let columns = array.as_struct().columns();
            Cell::List(columns.iter().map(|column| cell(column, row)).collect())
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Cell::List((0..items.len()).map(|item| cell(&items, item)).collect())
        }
        _ => {
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(array, &options).unwrap();
            Cell::Text(formatter.value(row).to_string())
        }
    }
}

fn rows(findings: &Findings) -> Vec<Row> {
    let row = |row: usize| Row {
        rule: findings.rule,
        id: findings.ids[row],
        cells: findings
            .rows
            .columns()
            .iter()
            .map(|column| cell(column.as_ref(), row))
            .collect(),
    };
    (0..findings.ids.len()).map(row).collect()
}

/// The findings of a step in its order.
fn emitted(step: &Step) -> Vec<Row> {
    let all: Vec<Vec<Row>> = step.findings.iter().map(rows).collect();
    assert_eq!(
        step.order.len(),
        all.iter().map(Vec::len).sum::<usize>(),
        "every finding has its place"
    );
    step.order
        .iter()
        .map(|place| all[place.findings][place.row].clone())
        .collect()
}

/// The sum of snapshots, by node.
#[derive(Default)]
pub struct Saved {
    nodes: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Saved {
    pub fn take(&mut self, changes: Vec<Vec<StateRow>>) {
        self.nodes.resize_with(changes.len(), BTreeMap::new);
        for (node, rows) in self.nodes.iter_mut().zip(changes) {
            for row in rows {
                match row.state {
                    Some(state) => drop(node.insert(row.key, state)),
                    None => assert!(
                        node.remove(&row.key).is_some(),
                        "a deletion of what was never saved"
                    ),
                }
            }
        }
    }

    pub fn rows(&self) -> Vec<Vec<StateRow>> {
        let rows = |node: &BTreeMap<Vec<u8>, Vec<u8>>| {
            node.iter()
                .map(|(key, state)| StateRow {
                    key: key.clone(),
                    state: Some(state.clone()),
                })
                .collect()
        };
        self.nodes.iter().map(rows).collect()
    }
}

/// What a stream may do besides giving rows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conditions {
    /// Snapshots after some batches, and a new machine after some of those, as a seed says.
    pub restarts: Option<u64>,
    /// Whether expressions may fail on some rows.
    pub failing: bool,
}

/// Runs a partition through machines.
pub fn stream(
    compiled: &Compiled,
    partition: &Partition,
    cuts: &[Range<usize>],
    conditions: Conditions,
) -> Result<Vec<Row>, Failure> {
    quietly(|| {
        run_stream(compiled, partition, cuts, conditions)
            .map_err(|error| Failure::Error(error.to_string()))
    })
}

fn run_stream(
    compiled: &Compiled,
    partition: &Partition,
    cuts: &[Range<usize>],
    conditions: Conditions,
) -> keyhawk_engine::Result<Vec<Row>> {
    let mut random = conditions.restarts.map(generator);
    let mut machine = Machine::new(Arc::clone(&compiled.program), DEPLOYMENT)?;
    let mut saved = Saved::default();
    let mut all = Vec::new();
    for cut in cuts {
        let watermarks = &partition.watermarks[cut.clone()];
        let step = machine.process(&partition.slice(cut.clone()), watermarks)?;
        assert!(
            conditions.failing || step.failed_rows == 0,
            "{} rows failed",
            step.failed_rows
        );
        let places: Vec<usize> = step.order.iter().map(|place| place.released_by).collect();
        assert!(
            places.is_sorted() && places.iter().all(|&place| place < cut.len()),
            "released by {places:?}"
        );
        all.extend(emitted(&step));
        let deadline = machine.next_deadline();
        assert!(
            deadline.is_none_or(|deadline| deadline > machine.watermark()),
            "a deadline that has passed"
        );
        if let Some(random) = &mut random
            && random.random_bool(0.3)
        {
            saved.take(machine.snapshot()?);
            if random.random_bool(0.5) {
                let watermark = machine.watermark();
                machine = Machine::new(Arc::clone(&compiled.program), DEPLOYMENT)?;
                machine.restore(&saved.rows(), watermark)?;
                assert!(
                    machine.snapshot()?.iter().all(Vec::is_empty),
                    "nothing changed since the restore"
                );
            }
        }
    }
    all.extend(emitted(&machine.finish()?));
    assert_eq!(machine.next_deadline(), None, "nothing waits after the end");
    Ok(all)
}

/// Runs DataFusion over partitions.
pub fn batch(compiled: &Compiled, partitions: &[Partition]) -> Result<Vec<Row>, Failure> {
    quietly(|| {
        let events: Vec<RecordBatch> = partitions
            .iter()
            .map(|partition| partition.batch.clone())
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let findings = runtime
            .block_on(compiled.backtest(events, DEPLOYMENT))
            .map_err(|error| Failure::Error(error.to_string()))?;
        Ok(findings.findings.iter().flat_map(rows).collect())
    })
}

/// All rows at once.
pub fn whole(rows: usize) -> Vec<Range<usize>> {
    if rows == 0 {
        return Vec::new();
    }
    std::iter::once(0..rows).collect()
}

/// Every row by itself.
pub fn by_row(rows: usize) -> Vec<Range<usize>> {
    (0..rows).map(|row| row..row + 1).collect()
}
