//! One partition's machine: a program with state, a deterministic function of its log.
//!
//! ```text
//!   batch ──▶ number the keys ──▶ every node processes ──▶ time moves, every node advances ──▶ step
//! ```
//!
//! What a [`Step`] holds, and in which order, does not depend on how the log was cut into batches.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch, StringViewArray, UInt32Array};
use arrow::compute::max;
use arrow::datatypes::TimestampMillisecondType;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::finding::{Findings, Step};
use crate::keys::TopicKeys;
use crate::operators::{Context, Operator, StateRow};
use crate::program::{EVENT_TIME, NodeId, Program};
use crate::rows::{Release, Rows};
use crate::warming::Began;

/// A running program.
pub struct Machine {
    pub(crate) program: Arc<Program>,
    pub(crate) deployment: Arc<str>,
    pub(crate) operators: Vec<Box<dyn Operator>>,
    /// Which nodes read a node's rows, and on which input.
    readers: Vec<Vec<(usize, usize)>>,
    /// Which rules a node's rows are for.
    rules_above: Vec<Vec<usize>>,
    pub(crate) keys: TopicKeys,
    pub(crate) watermark: i64,
    /// The column of the event time, where the program reads it.
    greatest_column: Option<usize>,
    /// The greatest event time of all rows that came; `i64::MIN` before the first.
    pub(crate) greatest: i64,
    /// Since when nodes have seen all of their rows, which a reload of the rules decides.
    pub(crate) began: Began,
    /// The time from which on each rule's findings are whole; those before it are withheld.
    pub(crate) whole_from: Vec<i64>,
}

impl Machine {
    /// A machine without state. `deployment` tells apart the ids of two installations.
    pub fn new(program: Arc<Program>, deployment: &str) -> Result<Self> {
        let operators = program.operators()?;
        let mut readers = vec![Vec::new(); program.nodes.len()];
        for (reader, node) in program.nodes.iter().enumerate() {
            for (input, from) in node.inputs.iter().enumerate() {
                readers[from.0].push((reader, input));
            }
        }
        Ok(Machine {
            rules_above: rules_above(&program),
            greatest_column: program.input.index_of(EVENT_TIME).ok(),
            greatest: i64::MIN,
            began: Began::with_the_log(&program),
            whole_from: vec![i64::MIN; program.sinks.len()],
            program,
            deployment: deployment.into(),
            operators,
            readers,
            keys: TopicKeys::default(),
            watermark: i64::MIN,
        })
    }

    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// The time that has passed, in milliseconds since 1970; `i64::MIN` before the first row.
    pub fn watermark(&self) -> i64 {
        self.watermark
    }

    /// The lowest watermark at which a node has something to do.
    pub fn next_deadline(&self) -> Option<i64> {
        self.operators
            .iter()
            .filter_map(|operator| operator.next_deadline())
            .min()
    }

    /// How many keys were seen.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Bytes of state held.
    pub fn memory(&self) -> usize {
        self.keys.memory()
            + self
                .operators
                .iter()
                .map(|operator| operator.memory())
                .sum::<usize>()
    }

    /// Takes in rows of `events` in the order of the log. `watermarks[i]` is the watermark after row
    /// i; it never falls, and no later row has an event time below it.
    pub fn process(&mut self, events: &RecordBatch, watermarks: &[i64]) -> Result<Step> {
        if events.num_rows() != watermarks.len()
            || events.num_columns() != self.program.input.fields().len()
        {
            return Err(Error::Shape {
                operator: "machine",
                detail: format!(
                    "{} rows of {} columns and {} watermarks; the program reads {} columns",
                    events.num_rows(),
                    events.num_columns(),
                    watermarks.len(),
                    self.program.input.fields().len()
                ),
            });
        }
        debug_assert!(watermarks.is_sorted());
        let Some(&last) = watermarks.last() else {
            return Ok(Step::default());
        };
        debug_assert!(last >= self.watermark);
        if let Some(column) = self.greatest_column {
            let times = events.column(column);
            let times = times.as_primitive_opt::<TimestampMillisecondType>();
            let greatest = times.and_then(max);
            self.greatest = self.greatest.max(greatest.unwrap_or(i64::MIN));
        }
        let keys = match self.program.key_column {
            Some(column) => {
                let column: &StringViewArray = events.column(column).as_string_view();
                self.keys.intern_column(column)
            }
            None => UInt32Array::new_null(events.num_rows()),
        };
        let rows = Rows {
            batch: events.clone(),
            keys,
            release: Release::Row((0..events.num_rows() as u32).collect()),
        };
        let mut step = Step::default();
        self.run(Some(rows), last, watermarks, &mut step)?;
        Ok(step)
    }

    /// The end of a finite input: time goes to infinity.
    pub fn finish(&mut self) -> Result<Step> {
        let mut step = Step::default();
        self.run(None, i64::MAX, &[], &mut step)?;
        Ok(step)
    }

    fn run(
        &mut self,
        rows: Option<Rows>,
        watermark: i64,
        watermarks: &[i64],
        step: &mut Step,
    ) -> Result<()> {
        if let Some(rows) = rows {
            let mut arrived = vec![Vec::new(); self.operators.len()];
            arrived[0].push((0, rows));
            self.pass(arrived, None, watermarks, step)?;
        }
        // Most batches of a quiet topic pass no deadline at all.
        if self
            .next_deadline()
            .is_some_and(|deadline| deadline <= watermark)
        {
            self.pass(
                vec![Vec::new(); self.operators.len()],
                Some(watermark),
                watermarks,
                step,
            )?;
        }
        self.watermark = watermark;
        step.sort();
        Ok(())
    }

    /// Moves rows, then time where `advance` says so, through all nodes in order.
    fn pass(
        &mut self,
        mut arrived: Vec<Vec<(usize, Rows)>>,
        advance: Option<i64>,
        watermarks: &[i64],
        step: &mut Step,
    ) -> Result<()> {
        let mut emitted: Vec<(usize, Rows)> = Vec::new();
        for node in 0..self.operators.len() {
            let mut failed = 0;
            let mut context = Context {
                keys: &mut self.keys,
                failed: &mut failed,
                watermark: self.watermark,
                greatest: &mut self.greatest,
            };
            let mut out = Vec::new();
            for (input, rows) in std::mem::take(&mut arrived[node]) {
                self.operators[node].process(input, &rows, &mut context, &mut out)?;
            }
            if let Some(watermark) = advance {
                self.operators[node].advance(watermark, &mut context, &mut out)?;
            }
            step.count_failed(failed, &self.rules_above[node], self.program.sinks.len());
            for rows in out {
                for &(reader, input) in &self.readers[node] {
                    arrived[reader].push((input, rows.clone()));
                }
                emitted.push((node, rows));
            }
        }
        for (node, rows) in emitted {
            for (rule, sink) in self.program.sinks.iter().enumerate() {
                if sink.node == NodeId(node) {
                    let (rows, withheld) =
                        whole(rows.clone(), sink.visible, self.whole_from[rule])?;
                    step.withhold(rule, withheld);
                    let findings = Findings::new(
                        &self.deployment,
                        &sink.rule,
                        rule,
                        sink.visible,
                        &rows.batch,
                    )?;
                    step.push(findings, &rows, watermarks);
                }
            }
        }
        Ok(())
    }

    /// The changes of every node's state since the last snapshot, by node. Changes nothing that
    /// [`process`](Self::process) can see. Each row's state ends with a check of its bytes.
    pub fn snapshot(&mut self) -> Result<Vec<Vec<StateRow>>> {
        let mut failed = 0;
        let context = Context {
            keys: &mut self.keys,
            failed: &mut failed,
            watermark: self.watermark,
            greatest: &mut self.greatest,
        };
        let mut nodes = Vec::with_capacity(self.operators.len());
        for operator in &mut self.operators {
            let mut rows = operator.snapshot(&context)?;
            for row in &mut rows {
                if let Some(state) = &mut row.state {
                    state.extend(check(&row.key, state));
                }
            }
            nodes.push(rows);
        }
        Ok(nodes)
    }

    /// Takes saved state into a machine of the same program: the sum of its snapshots, by node.
    /// `watermark` is that of the machine that wrote them. After an error the machine is of no use.
    ///
    /// # Errors
    /// Bytes that no snapshot of this program wrote.
    pub fn restore(&mut self, state: &[Vec<StateRow>], watermark: i64) -> Result<()> {
        if state.len() != self.operators.len() {
            return Err(Error::State {
                operator: "machine",
                detail: format!(
                    "state of {} nodes for a program of {}",
                    state.len(),
                    self.operators.len()
                ),
            });
        }
        let mut failed = 0;
        let mut context = Context {
            keys: &mut self.keys,
            failed: &mut failed,
            watermark,
            greatest: &mut self.greatest,
        };
        for (operator, rows) in self.operators.iter_mut().zip(state) {
            let rows = rows.iter().map(checked).collect::<Result<Vec<_>>>()?;
            operator.restore(&rows, &mut context)?;
        }
        self.watermark = watermark;
        Ok(())
    }
}

/// For each node the numbers of the rules that read it, through whatever stands between.
fn rules_above(program: &Program) -> Vec<Vec<usize>> {
    let mut above = vec![Vec::new(); program.nodes.len()];
    for (rule, sink) in program.sinks.iter().enumerate() {
        above[sink.node.0].push(rule);
    }
    for node in (0..program.nodes.len()).rev() {
        let rules = std::mem::take(&mut above[node]);
        for input in &program.nodes[node].inputs {
            above[input.0].extend(&rules);
            above[input.0].sort_unstable();
            above[input.0].dedup();
        }
        above[node] = rules;
    }
    above
}

/// The rows of a rule whose time, in the column `time`, is not before `from`, and how many are.
fn whole(rows: Rows, time: usize, from: i64) -> Result<(Rows, u64)> {
    if from == i64::MIN {
        return Ok((rows, 0));
    }
    let times = rows.batch.columns().get(time);
    let times = times.and_then(|times| times.as_primitive_opt::<TimestampMillisecondType>());
    let Some(times) = times else {
        return Ok((rows, 0));
    };
    let mask: BooleanArray = times
        .values()
        .iter()
        .map(|time| Some(*time >= from))
        .collect();
    let whole = rows.filter(&mask, "finding")?;
    let withheld = rows.len() - whole.len();
    Ok((whole, withheld as u64))
}

/// The first bytes of a digest of a row of state: Arrow's row format, in which keys are saved, is read
/// without a check of its own, and damaged bytes would panic or give another key.
const CHECK: usize = 8;

fn check(key: &[u8], state: &[u8]) -> [u8; CHECK] {
    let mut digest = Sha256::new();
    digest.update((key.len() as u64).to_le_bytes());
    digest.update(key);
    digest.update(state);
    let mut check = [0; CHECK];
    check.copy_from_slice(&digest.finalize()[..CHECK]);
    check
}

/// A row of state without its check, once that was found to be right.
fn checked(row: &StateRow) -> Result<StateRow> {
    let Some(bytes) = &row.state else {
        return Ok(row.clone());
    };
    match bytes.split_last_chunk::<CHECK>() {
        Some((state, found)) if *found == check(&row.key, state) => Ok(StateRow {
            key: row.key.clone(),
            state: Some(state.to_vec()),
        }),
        _ => Err(Error::State {
            operator: "machine",
            detail: format!(
                "a row of {} and {} bytes is damaged",
                row.key.len(),
                bytes.len()
            ),
        }),
    }
}
