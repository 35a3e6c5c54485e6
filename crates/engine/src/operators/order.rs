//! The total order: rows wait until none can come before them, and leave sorted by (time, lineage).
//!
//! ```text
//!   rows    12:00:03  12:00:01  12:00:02 │            watermark ──▶ 12:00:02
//!   out     12:00:01                     │            12:00:02 may still come, and waits
//! ```
//!
//! In:    a time column Timestamp(ms, UTC), not null; columns of lineage that break ties.
//! Out:   the same columns; nothing is emitted before the watermark moves.
//! State: the rows whose time the watermark has not passed: those of the allowed lateness. They stay in
//!        the batches in which they came, and are copied when they leave; small batches are put together
//!        before.
//! Batch: the Sort that stands below every OVER in the logical plan.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, MutableArrayData, RecordBatch, RecordBatchOptions,
    UInt32Array, make_array, make_comparator,
};
use arrow::compute::{SortOptions, interleave};
use arrow::datatypes::{SchemaRef, TimestampMillisecondType, UInt32Type};
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
/// Batches of together no more rows are put together as they arrive: a quiet topic has many of a few rows.
const SMALL_ROWS: usize = 1024;
/// Runs of rows that are shorter on average are copied row by row.
const RUN_ROWS_MIN: usize = 8;
/// Where of so many rows of a batch only one still waits, it is copied out, and the batch can go.
const SPARSE: usize = 16;

/// Rows that wait, in order of arrival.
pub(crate) struct Order {
    time: usize,
    complete_ms: i64,
    ties: Vec<usize>,
    rows: RowConverter,
    schema: SchemaRef,
    pending: Vec<Pending>,
    least: Option<i64>,
    /// What the last snapshot saved, by key, so that the next one names what has left.
    saved: Vec<Vec<u8>>,
}

/// A batch as it arrived, or small ones put together.
struct Pending {
    rows: Rows,
    /// Those that have not left, rising.
    waiting: Vec<u32>,
}

impl Pending {
    fn all(rows: Rows) -> Self {
        Pending {
            waiting: (0..rows.len() as u32).collect(),
            rows,
        }
    }
}

/// A row by its place: which of the pending batches, and where in it.
type Place = (usize, usize);

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

    /// Adds rows to those that wait.
    fn push(&mut self, rows: Rows) -> Result<()> {
        let Some(least) = times(&rows, self.time)?.iter().min().copied() else {
            return Ok(());
        };
        self.least = Some(self.least.map_or(least, |known| known.min(least)));
        let are_small = |last: &Pending| last.rows.len() + rows.len() <= SMALL_ROWS;
        match self.pending.pop_if(|last| are_small(last)) {
            Some(last) => {
                let places = last.waiting.iter().map(|&row| (0, row as usize));
                let places: Vec<Place> =
                    places.chain((0..rows.len()).map(|row| (1, row))).collect();
                let rows = self.gather(&[&last.rows, &rows], &Runs::row_by_row(&places))?;
                self.pending.push(Pending::all(rows));
            }
            None => self.pending.push(Pending::all(rows)),
        }
        Ok(())
    }

    /// The rows that wait, in order of arrival.
    pub(crate) fn waiting(&self) -> Result<Vec<Rows>> {
        let pending = self.pending.iter();
        let waiting = pending.map(|Pending { rows, waiting }| {
            if waiting.len() == rows.len() {
                return Ok(rows.clone());
            }
            rows.take(&UInt32Array::from(waiting.clone()), OPERATOR)
        });
        waiting.collect()
    }

    /// The rows at these places, in this order. What they were released with is lost: the order
    /// releases them anew.
    fn gather(&self, batches: &[&Rows], runs: &Runs<'_>) -> Result<Rows> {
        let rows = runs.places.len();
        let columns = (0..self.schema.fields().len()).map(|column| {
            let arrays = batches
                .iter()
                .map(|rows| rows.batch.column(column).as_ref());
            runs.gather(&arrays.collect::<Vec<_>>())
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&self.schema);
        let batch =
            RecordBatch::try_new_with_options(schema, columns, &options).within(OPERATOR)?;
        let keys = batches.iter().map(|rows| &rows.keys as &dyn Array);
        let keys = runs.gather(&keys.collect::<Vec<_>>())?;
        Ok(Rows {
            batch,
            keys: keys.as_primitive::<UInt32Type>().clone(),
            release: Release::Watermark(Int64Array::from(vec![0; rows])),
        })
    }

    /// The places of the rows with a time below `bound`, by time and then as they arrived, which leave.
    fn leave(&mut self, bound: i64) -> Result<Vec<Place>> {
        let mut by_time = ByTime::default();
        self.least = None;
        for (batch, pending) in self.pending.iter_mut().enumerate() {
            let times = times(&pending.rows, self.time)?;
            pending.waiting.retain(|&row| {
                let time = times[row as usize];
                let waits = time >= bound;
                if waits {
                    self.least = Some(self.least.map_or(time, |known| known.min(time)));
                } else {
                    by_time.push(time, (batch, row as usize));
                }
                waits
            });
        }
        Ok(by_time.finish())
    }

    /// Puts rows that are sorted by time into the total order.
    fn break_ties(&self, rows: Rows) -> Result<Rows> {
        let times = times(&rows, self.time)?;
        if self.ties.is_empty() || times.windows(2).all(|pair| pair[0] != pair[1]) {
            return Ok(rows);
        }
        let compare = self.ties.iter().map(|&tie| {
            let column = rows.batch.column(tie);
            make_comparator(column, column, LINEAGE_ORDER).within(OPERATOR)
        });
        let compare = compare.collect::<Result<Vec<_>>>()?;
        let by_ties = |a: &u32, b: &u32| {
            let ordered = compare.iter().map(|by| by(*a as usize, *b as usize));
            ordered.fold(Ordering::Equal, Ordering::then)
        };
        let mut order: Vec<u32> = (0..rows.len() as u32).collect();
        let mut moved = false;
        for run in order.chunk_by_mut(|&a, &b| times[a as usize] == times[b as usize]) {
            // Ties mostly arrive in order, which is that of the log.
            if !run.is_sorted_by(|a, b| by_ties(a, b).is_le()) {
                run.sort_by(by_ties);
                moved = true;
            }
        }
        match moved {
            true => rows.take(&UInt32Array::from(order), OPERATOR),
            false => Ok(rows),
        }
    }

    /// Drops batches of which nothing waits, and copies out of others what is left of them.
    fn tidy(&mut self) -> Result<()> {
        self.pending.retain(|pending| !pending.waiting.is_empty());
        for pending in &mut self.pending {
            if pending.waiting.len() * SPARSE <= pending.rows.len() {
                let waiting = UInt32Array::from(std::mem::take(&mut pending.waiting));
                let rows = pending.rows.take(&waiting, OPERATOR)?;
                *pending = Pending::all(rows.compact(OPERATOR)?);
            }
        }
        Ok(())
    }
}

/// Places, of which those that follow each other in a batch are copied at once where that pays.
struct Runs<'a> {
    places: &'a [Place],
    /// Batch, first row, and the row behind the last; none where they would be short.
    runs: Vec<(usize, usize, usize)>,
}

impl<'a> Runs<'a> {
    fn of(places: &'a [Place]) -> Self {
        let follow = |a: &Place, b: &Place| a.0 == b.0 && a.1 + 1 == b.1;
        let mut runs = Vec::new();
        for run in places.chunk_by(follow) {
            runs.push((run[0].0, run[0].1, run[0].1 + run.len()));
            if runs.len() * RUN_ROWS_MIN > places.len() {
                runs.clear();
                break;
            }
        }
        Runs { places, runs }
    }

    /// What is gathered has no buffer but those of its own texts, where runs bring along all
    /// that their batches have. What waits, and is put together again and again, must be gathered so.
    fn row_by_row(places: &'a [Place]) -> Self {
        let runs = Vec::new();
        Runs { places, runs }
    }

    /// The values of one column, given for each batch.
    fn gather(&self, arrays: &[&dyn Array]) -> Result<ArrayRef> {
        if self.runs.is_empty() {
            return interleave(arrays, self.places).within(OPERATOR);
        }
        let data: Vec<_> = arrays.iter().map(|array| array.to_data()).collect();
        let mut gathered = MutableArrayData::new(data.iter().collect(), false, self.places.len());
        for &(batch, begin, end) in &self.runs {
            gathered.try_extend(batch, begin, end).within(OPERATOR)?;
        }
        Ok(make_array(gathered.freeze()))
    }
}

/// Sorts rows by time; those of one time stay as they arrived. Most arrive in order: only the stragglers
/// are sorted, and then merged in.
#[derive(Default)]
struct ByTime {
    in_order: Vec<(i64, Place)>,
    stragglers: Vec<(i64, Place)>,
}

impl ByTime {
    #[inline]
    fn push(&mut self, time: i64, place: Place) {
        match self.in_order.last() {
            Some(&(last, _)) if time < last => self.stragglers.push((time, place)),
            _ => self.in_order.push((time, place)),
        }
    }

    fn finish(mut self) -> Vec<Place> {
        self.stragglers.sort_by_key(|&(time, _)| time);
        let mut places = Vec::with_capacity(self.in_order.len() + self.stragglers.len());
        let mut stragglers = self.stragglers.into_iter().peekable();
        for (time, place) in self.in_order {
            // Among equal times a straggler comes later: its like had passed when it arrived.
            while let Some((_, straggler)) = stragglers.next_if(|&(straggler, _)| straggler < time)
            {
                places.push(straggler);
            }
            places.push(place);
        }
        places.extend(stragglers.map(|(_, place)| place));
        places
    }
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
        self.push(rows.clone())
    }

    fn advance(&mut self, watermark: i64, _: &mut Context<'_>, out: &mut Vec<Rows>) -> Result<()> {
        let bound = watermark.saturating_add(self.complete_ms);
        if self.least.is_none_or(|least| least >= bound) {
            return Ok(());
        }
        let places = self.leave(bound)?;
        let batches: Vec<&Rows> = self.pending.iter().map(|pending| &pending.rows).collect();
        let rows = self.gather(&batches, &Runs::of(&places))?;
        let mut left = self.break_ties(rows)?;
        let release = times(&left, self.time)?
            .iter()
            .map(|time| time.saturating_sub(self.complete_ms).saturating_add(1));
        left.release = Release::Watermark(release.collect());
        out.push(left);
        self.tidy()
    }

    fn next_deadline(&self) -> Option<i64> {
        self.least
            .map(|least| least.saturating_sub(self.complete_ms).saturating_add(1))
    }

    fn snapshot(&mut self, context: &Context<'_>) -> Result<Vec<StateRow>> {
        let mut state = Vec::new();
        for rows in self.waiting()? {
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
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).within(OPERATOR)?;
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
        self.saved.extend(kept.iter().map(|row| row.key.clone()));
        self.saved.sort_unstable();
        self.push(Rows {
            batch,
            keys,
            release,
        })
    }

    fn take_over(&mut self, _: Box<dyn Operator>, _: bool) -> Result<()> {
        // What waits comes by the machine: the columns may be others. So what was saved of it, too.
        Ok(())
    }

    fn memory(&self) -> usize {
        // Rows that have left a batch of which others wait are in memory still.
        let pending = self.pending.iter().map(|pending| {
            let waiting = pending.waiting.capacity() * size_of::<u32>();
            pending.rows.batch.get_array_memory_size() + waiting
        });
        pending.sum()
    }
}
