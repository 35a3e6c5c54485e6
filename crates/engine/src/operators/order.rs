//! The total order: rows wait until none can come before them, and leave sorted by (time, lineage).
//!
//! ```text
//!   rows    12:00:03  12:00:01  12:00:02 │            watermark ──▶ 12:00:02
//!   out     12:00:01                     │            12:00:02 may still come, and waits
//! ```
//!
//! In:    a time column Timestamp(ms, UTC), not null; columns of lineage that break ties.
//! Out:   the same columns; nothing is emitted before the watermark moves.
//! State: the rows whose time the watermark has not passed: those of the allowed lateness.
//! Batch: the Sort that stands below every OVER in the logical plan.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::make_comparator;
use arrow::array::{Array, AsArray, Int64Array, UInt32Array};
use arrow::compute::{SortOptions, concat, concat_batches};
use arrow::datatypes::{SchemaRef, TimestampMillisecondType};
use arrow::row::{RowConverter, SortField};

use super::{Context, Operator, StateRow};
use crate::error::{Error, In, Result};
use crate::rows::{Release, Rows};

const OPERATOR: &str = "order";
/// How ties are broken: as the Sort of the batch does.
const LINEAGE_ORDER: SortOptions = SortOptions {
    descending: false,
    nulls_first: false,
};

/// Pending rows, in order of arrival.
pub(crate) struct Order {
    time: usize,
    complete_ms: i64,
    ties: Vec<usize>,
    rows: RowConverter,
    schema: SchemaRef,
    pending: Vec<Rows>,
    least: Option<i64>,
    /// What the last snapshot saved, by key, so that the next one names what has left.
    saved: Vec<Vec<u8>>,
}

impl Order {
    pub(crate) fn new(
        time: usize,
        complete_ms: i64,
        ties: Vec<usize>,
        schema: SchemaRef,
    ) -> Result<Self> {
        let field = |column: &usize| SortField::new(schema.field(*column).data_type().clone());
        let all = (0..schema.fields().len()).collect::<Vec<_>>();
        let rows = RowConverter::new(all.iter().map(field).collect()).within(OPERATOR)?;
        Ok(Order {
            time,
            complete_ms,
            ties,
            rows,
            schema,
            pending: Vec::new(),
            least: None,
            saved: Vec::new(),
        })
    }

    /// What waits, in order of arrival.
    pub(crate) fn pending(&self) -> &[Rows] {
        &self.pending
    }

    fn times<'a>(&self, rows: &'a Rows) -> Result<&'a [i64]> {
        times(rows, self.time)
    }

    /// All pending rows as one; `None` where there is none.
    fn gather(&mut self) -> Result<Option<Rows>> {
        Ok(match self.pending.len() {
            0 => None,
            1 => self.pending.pop(),
            _ => {
                let batch =
                    concat_batches(&self.schema, self.pending.iter().map(|rows| &rows.batch))
                        .within(OPERATOR)?;
                let keys: Vec<&dyn Array> = self
                    .pending
                    .iter()
                    .map(|rows| &rows.keys as &dyn Array)
                    .collect();
                let keys = UInt32Array::from(concat(&keys).within(OPERATOR)?.to_data());
                self.pending.clear();
                // What they were released with does not matter: the order releases them anew.
                let release = Release::Watermark(Int64Array::from(vec![0; batch.num_rows()]));
                Some(Rows {
                    batch,
                    keys,
                    release,
                })
            }
        })
    }

    /// The indices of `rows` that may leave, in the total order, and of those that wait.
    fn split(&self, rows: &Rows, bound: i64) -> Result<(Vec<u32>, Vec<u32>)> {
        let times = self.times(rows)?;
        let (mut leaving, waiting) = by_time(times, bound);
        let tied = |a: &u32, b: &u32| times[*a as usize] == times[*b as usize];
        if !self.ties.is_empty() && leaving.windows(2).any(|pair| tied(&pair[0], &pair[1])) {
            // Ties are few and mostly in order already: rows are compared where they stand.
            let compare = self
                .ties
                .iter()
                .map(|&tie| {
                    let column = rows.batch.column(tie);
                    make_comparator(column, column, LINEAGE_ORDER).within(OPERATOR)
                })
                .collect::<Result<Vec<_>>>()?;
            for run in leaving.chunk_by_mut(tied).filter(|run| run.len() > 1) {
                run.sort_by(|&a, &b| {
                    let ordered = compare.iter().map(|by| by(a as usize, b as usize));
                    ordered.fold(Ordering::Equal, Ordering::then)
                });
            }
        }
        Ok((leaving, waiting))
    }
}

/// The rows with a time below `bound`, by time and then as they arrived, and the rows that wait. Most
/// arrive in order: only the stragglers are sorted, and then merged in.
fn by_time(times: &[i64], bound: i64) -> (Vec<u32>, Vec<u32>) {
    let mut in_order: Vec<u32> = Vec::with_capacity(times.len());
    let (mut stragglers, mut waiting) = (Vec::new(), Vec::new());
    let mut greatest = i64::MIN;
    for (row, &time) in (0..).zip(times) {
        if time >= bound {
            waiting.push(row);
        } else if time >= greatest {
            greatest = time;
            in_order.push(row);
        } else {
            stragglers.push(row);
        }
    }
    if stragglers.is_empty() {
        return (in_order, waiting);
    }
    stragglers.sort_by_key(|&row| times[row as usize]);
    let mut leaving = Vec::with_capacity(in_order.len() + stragglers.len());
    let mut stragglers = stragglers.into_iter().peekable();
    for row in in_order {
        // Among equal times a straggler comes later: its like had passed when it arrived.
        while let Some(straggler) =
            stragglers.next_if(|&straggler| times[straggler as usize] < times[row as usize])
        {
            leaving.push(straggler);
        }
        leaving.push(row);
    }
    leaving.extend(stragglers);
    (leaving, waiting)
}

fn times(rows: &Rows, column: usize) -> Result<&[i64]> {
    rows.batch
        .column(column)
        .as_primitive_opt::<TimestampMillisecondType>()
        .map(|times| times.values().as_ref())
        .ok_or_else(|| Error::Shape {
            operator: OPERATOR,
            detail: format!(
                "column {column} is {}, expected milliseconds",
                rows.batch.column(column).data_type()
            ),
        })
}

impl Operator for Order {
    fn process(
        &mut self,
        _: usize,
        rows: &Rows,
        _: &mut Context<'_>,
        _: &mut Vec<Rows>,
    ) -> Result<()> {
        if let Some(least) = self.times(rows)?.iter().min().copied() {
            self.least = Some(self.least.map_or(least, |known| known.min(least)));
            self.pending.push(rows.clone());
        }
        Ok(())
    }

    fn advance(&mut self, watermark: i64, _: &mut Context<'_>, out: &mut Vec<Rows>) -> Result<()> {
        let bound = watermark.saturating_add(self.complete_ms);
        if self.least.is_none_or(|least| least >= bound) {
            return Ok(());
        }
        let Some(rows) = self.gather()? else {
            return Ok(());
        };
        let (leaving, waiting) = self.split(&rows, bound)?;
        let mut left = rows.take(&UInt32Array::from(leaving), OPERATOR)?;
        let release = self
            .times(&left)?
            .iter()
            .map(|time| time.saturating_sub(self.complete_ms).saturating_add(1));
        left.release = Release::Watermark(release.collect());
        out.push(left);
        self.least = None;
        if !waiting.is_empty() {
            let rows = rows
                .take(&UInt32Array::from(waiting), OPERATOR)?
                .compact(OPERATOR)?;
            self.least = self.times(&rows)?.iter().min().copied();
            self.pending.push(rows);
        }
        Ok(())
    }

    fn next_deadline(&self) -> Option<i64> {
        self.least
            .map(|least| least.saturating_sub(self.complete_ms).saturating_add(1))
    }

    fn snapshot(&mut self, context: &Context<'_>) -> Result<Vec<StateRow>> {
        let mut state = Vec::new();
        if let Some(rows) = self.gather()? {
            let converted = self
                .rows
                .convert_columns(rows.batch.columns())
                .within(OPERATOR)?;
            for row in 0..rows.len() {
                // The whole row is its key: rows are told apart by their lineage.
                let key = converted.row(row).as_ref().to_vec();
                let topic_key = match rows.keys.is_null(row) {
                    true => vec![0],
                    false => [&[1], context.keys.value(rows.keys.value(row)).as_bytes()].concat(),
                };
                state.push((key, topic_key));
            }
            self.pending.push(rows);
        }
        state.sort_unstable();
        let gone = self
            .saved
            .iter()
            .filter(|key| state.binary_search_by(|(kept, _)| kept.cmp(key)).is_err());
        let mut changes: Vec<StateRow> = gone
            .map(|key| StateRow {
                key: key.clone(),
                state: None,
            })
            .collect();
        let new = state
            .iter()
            .filter(|(key, _)| self.saved.binary_search(key).is_err());
        changes.extend(new.map(|(key, value)| StateRow {
            key: key.clone(),
            state: Some(value.clone()),
        }));
        self.saved = state.into_iter().map(|(key, _)| key).collect();
        Ok(changes)
    }

    fn restore(&mut self, rows: &[StateRow], context: &mut Context<'_>) -> Result<()> {
        let kept: Vec<&StateRow> = rows.iter().filter(|row| row.state.is_some()).collect();
        if kept.is_empty() {
            return Ok(());
        }
        let parser = self.rows.parser();
        let columns = self
            .rows
            .convert_rows(kept.iter().map(|row| parser.parse(&row.key)))
            .within(OPERATOR)?;
        let batch = arrow::array::RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .within(OPERATOR)?;
        let keys = kept
            .iter()
            .map(|row| match row.state.as_deref() {
                Some([1, text @ ..]) => match std::str::from_utf8(text) {
                    Ok(text) => Ok(Some(context.keys.intern(text))),
                    Err(error) => Err(Error::State {
                        operator: OPERATOR,
                        detail: error.to_string(),
                    }),
                },
                _ => Ok(None),
            })
            .collect::<Result<_>>()?;
        let release = Release::Watermark(Int64Array::from(vec![0; batch.num_rows()]));
        let rows = Rows {
            batch,
            keys,
            release,
        };
        if let Some(least) = self.times(&rows)?.iter().min().copied() {
            self.least = Some(self.least.map_or(least, |known| known.min(least)));
        }
        self.saved.extend(kept.iter().map(|row| row.key.clone()));
        self.saved.sort_unstable();
        self.pending.push(rows);
        Ok(())
    }

    fn take_over(&mut self, _: Box<dyn Operator>, _: bool) -> Result<()> {
        // What waits comes by the machine: the columns may be others. So what was saved of it, too.
        Ok(())
    }

    fn memory(&self) -> usize {
        self.pending
            .iter()
            .map(|rows| rows.batch.get_array_memory_size())
            .sum()
    }
}
