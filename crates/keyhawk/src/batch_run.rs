//! The batch engine on several threads: events parted by key, each part evaluated by itself.
//!
//! ```text
//!   events ─┬─▶ keys of part 0 ─▶ all views and rules ─▶ findings, ids, JSON ─┐
//!           ├─▶ keys of part 1 ─▶ …                                           ├─▶ all findings
//!           └─▶ keys of part 2 ─▶ …                                           ─┘
//! ```
//!
//! No node that is keyed by the topic's key sees two keys together, so a part knows all that its findings
//! depend on, as a partition of Kafka does; its rows keep their order, so that sums of floats are added
//! in the same one. Within a part DataFusion runs one partition. Where some node lacks the key there is
//! one part.

use std::fmt;
use std::panic;
use std::thread;

use arrow::array::{Array, AsArray, RecordBatch, StringViewArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::error::ArrowError;
use keyhawk_engine::Findings;

use crate::finding_rows::rows_json;
use crate::history::BATCH_ROWS;
use crate::rule_set::RuleSet;

/// What all rules found.
#[derive(Default)]
pub(crate) struct Evaluated {
    /// Findings, with each row as JSON, in no order.
    pub(crate) findings: Vec<(Findings, Vec<String>)>,
    /// Rows for which an expression failed; they held null.
    pub(crate) failed_rows: u64,
}

/// Why a batch run ended early.
#[derive(Debug)]
pub(crate) enum Error {
    /// A rule or view.
    Rules(keyhawk_sql::Error),
    /// Rows could not be parted, or not be written as JSON.
    Rows(ArrowError),
    /// The system gave no resources to run on.
    System(std::io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Rules(error) => error.fmt(f),
            Error::Rows(error) => write!(f, "rows of the batch run: {error}"),
            Error::System(error) => write!(f, "the batch run cannot start: {error}"),
        }
    }
}

impl std::error::Error for Error {}

/// Evaluates all rules over `events`, which have the columns that the rules read.
///
/// # Errors
/// A rule or view that fails as a whole.
pub(crate) fn evaluate(
    rules: &RuleSet,
    deployment: &str,
    events: Vec<RecordBatch>,
    threads: usize,
) -> Result<Evaluated, Error> {
    let greatest_ms = keyhawk_sql::greatest_time(&events);
    let key = rules.compiled.program.key().zip(events.first());
    let key = key.and_then(|(key, batch)| batch.schema().index_of(key).ok());
    let (Some(key), true, 2..) = (key, rules.compiled.unkeyed.is_empty(), threads) else {
        return evaluate_part(rules, deployment, events, greatest_ms);
    };
    let events = &events;
    let evaluated: Vec<Result<Evaluated, Error>> = thread::scope(|scope| {
        let parts = (0..threads).map(|at| {
            scope.spawn(move || {
                let part = part(events, key, at, threads).map_err(Error::Rows)?;
                evaluate_part(rules, deployment, part, greatest_ms)
            })
        });
        let parts: Vec<_> = parts.collect();
        let join = |part: thread::ScopedJoinHandle<'_, _>| {
            part.join()
                .unwrap_or_else(|panic| panic::resume_unwind(panic))
        };
        parts.into_iter().map(join).collect()
    });
    let mut all = Evaluated::default();
    for part in evaluated {
        let part = part?;
        all.findings.extend(part.findings);
        all.failed_rows += part.failed_rows;
    }
    Ok(all)
}

fn evaluate_part(
    rules: &RuleSet,
    deployment: &str,
    events: Vec<RecordBatch>,
    greatest_ms: i64,
) -> Result<Evaluated, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(Error::System)?;
    let run = rules
        .compiled
        .backtest_part(events, greatest_ms, deployment);
    let found = runtime.block_on(run).map_err(Error::Rules)?;
    let with_json = |findings: Findings| {
        let rows = rows_json(&findings.rows).map_err(Error::Rows)?;
        Ok((findings, rows))
    };
    Ok(Evaluated {
        findings: found
            .findings
            .into_iter()
            .map(with_json)
            .collect::<Result<_, _>>()?,
        failed_rows: found.failed_rows,
    })
}

/// The rows of one part, in their order.
fn part(
    events: &[RecordBatch],
    key: usize,
    part: usize,
    parts: usize,
) -> Result<Vec<RecordBatch>, ArrowError> {
    /// Rows of a batch: what is much less costs more by the batch than by the row.
    const ROWS_MIN: usize = BATCH_ROWS / 4;
    let mut taken = Vec::new();
    let (mut small, mut small_rows) = (Vec::new(), 0);
    for batch in events {
        let keys = batch.column(key).as_string_view();
        let ours = (0..keys.len()).filter(|&row| part_of(keys, row, parts) == part);
        let ours: UInt32Array = ours.map(|row| row as u32).collect::<Vec<_>>().into();
        if ours.is_empty() {
            continue;
        }
        small_rows += ours.len();
        small.push(take_record_batch(batch, &ours)?);
        if small_rows >= ROWS_MIN {
            taken.push(concat_batches(&batch.schema(), &small)?);
            small.clear();
            small_rows = 0;
        }
    }
    if let Some(first) = small.first() {
        taken.push(concat_batches(&first.schema(), &small)?);
    }
    Ok(taken)
}

/// The part of a row's key. Rows without a key are in no node that is keyed by it: any part does.
fn part_of(keys: &StringViewArray, row: usize, parts: usize) -> usize {
    /// 2^64 divided by the golden ratio: spreads what differs in a few bits.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    if keys.is_null(row) {
        return 0;
    }
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(SPREAD);
    let (words, rest) = keys.value(row).as_bytes().as_chunks::<8>();
    let hash = words
        .iter()
        .fold(0, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let hash = rest
        .iter()
        .fold(hash, |hash, &byte| mix(hash, u64::from(byte)));
    // The high bits are the mixed ones.
    ((u128::from(hash) * parts as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use arrow::array::Int64Array;

    use super::*;

    fn batches() -> Vec<RecordBatch> {
        let batch = |from: i64| {
            let keys = (from..from + 500).map(|row| match row % 7 {
                0 => None,
                _ => Some(format!("kh_live_…{:08x}", row * row % 97)),
            });
            let keys: StringViewArray = keys.collect();
            let rows: Int64Array = (from..from + 500).collect::<Vec<i64>>().into();
            RecordBatch::try_from_iter([
                ("api_key", Arc::new(keys) as Arc<dyn Array>),
                ("row", Arc::new(rows)),
            ])
            .unwrap()
        };
        (0..20).map(|at| batch(at * 500)).collect()
    }

    #[test]
    fn each_key_is_in_one_part_and_its_rows_keep_their_order() {
        let events = batches();
        let mut seen: Vec<BTreeSet<String>> = Vec::new();
        let mut rows_seen = 0;
        for at in 0..3 {
            let mut names = BTreeSet::new();
            let mut last = -1;
            for batch in part(&events, 0, at, 3).unwrap() {
                let keys = batch.column(0).as_string_view();
                names.extend(keys.iter().flatten().map(str::to_owned));
                let rows = batch
                    .column(1)
                    .as_primitive::<arrow::datatypes::Int64Type>();
                for &row in rows.values() {
                    assert!(row > last);
                    last = row;
                }
                rows_seen += batch.num_rows();
            }
            assert!(names.len() > 5, "part {at} has {} keys", names.len());
            assert!(seen.iter().all(|others| others.is_disjoint(&names)));
            seen.push(names);
        }
        assert_eq!(rows_seen, 10_000);
    }
}
