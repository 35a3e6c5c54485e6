//! Fill: for the windows in which a group is silent, up to some number after each window with rows.
//!
//! ```text
//!   windows of a group     ▇   ·   ·   ·   ▇           fill => 2
//!   out                    ▇   ▷   ▷       ▇           ▷ the row before, with the bound of a window that is
//!                                                      empty, when the watermark closes that window
//! ```
//!
//! In:    the rows of tumbling windows, a row a group and window, windows in their order; a bound of the
//!        window is among the columns.
//! Out:   the input's columns and a list, of which the unnest above makes a row each: of a row of the input
//!        its own bound, of a filled one that of the empty window. Projections above take the values of
//!        aggregates away where the two bounds differ. Adds no delay.
//! State: the last row of each group with one in the last windows, as many as are filled and one.
//! Batch: `__fill(…) OVER (PARTITION BY keys ORDER BY bound)` over the aggregate.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, TimestampMillisecondArray,
    UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Schema, SchemaRef, TimestampMillisecondType};
use arrow::row::{RowConverter, SortField};
use keyhawk_functions::FillLimits;

use super::keyed::Keyed;
use super::state::{read_optional, take_array, text, write_optional};
use super::{Context, Operator, StateRow, same_kind};
use crate::error::{Error, In, Result};
use crate::program::KeyBy;
use crate::rows::{Release, Rows};

const OPERATOR: &str = "fill";

/// The key of the state row of the greatest event time; the keys of groups have at least a byte.
const GREATEST: &[u8] = &[];

/// In the place of the bound of a group's last window: there is none to fill after.
const NONE: i64 = i64::MIN;

/// The last rows of groups, by the bound of their windows.
pub(crate) struct Fill {
    limits: FillLimits,
    bound: usize,
    keys: Keyed,
    schema: SchemaRef,
    rows: RowConverter,
    /// Rows after which windows may have to be filled, by the bound of their window.
    pending: BTreeMap<i64, Pending>,
    /// What is known of each group; index = its number.
    known: Vec<Known>,
    /// All windows that close up to this watermark are filled.
    passed: i64,
    /// State rows that are gone since the last snapshot and that an earlier one holds.
    gone: Vec<Vec<u8>>,
    /// The greatest event time that the last snapshot holds.
    greatest_saved: Option<i64>,
    numbers: Vec<u32>,
}

/// Rows of one window, and the numbers of their groups. A row counts as long as it is its group's last.
#[derive(Default)]
struct Pending {
    batches: Vec<(Rows, Vec<u32>)>,
    /// How many of the rows count.
    last: usize,
}

#[derive(Debug, Clone)]
struct Known {
    /// The bound of the last window with rows.
    last: i64,
    /// Whether its row changed since the last snapshot, and whether an earlier one holds one.
    dirty: bool,
    saved: bool,
}

impl Default for Known {
    fn default() -> Self {
        Known {
            last: NONE,
            dirty: false,
            saved: false,
        }
    }
}

impl Fill {
    pub(crate) fn new(
        keys: &KeyBy,
        limits: FillLimits,
        bound: usize,
        input: &Schema,
        schema: SchemaRef,
    ) -> Result<Self> {
        let fields = input.fields().iter();
        let fields = fields.map(|field| SortField::new(field.data_type().clone()));
        Ok(Fill {
            limits,
            bound,
            keys: Keyed::new(OPERATOR, keys, input)?,
            schema,
            rows: RowConverter::new(fields.collect()).within(OPERATOR)?,
            pending: BTreeMap::new(),
            known: Vec::new(),
            passed: i64::MIN,
            gone: Vec::new(),
            greatest_saved: None,
            numbers: Vec::new(),
        })
    }

    fn bounds(&self, batch: &RecordBatch) -> Result<TimestampMillisecondArray> {
        let column = batch.column(self.bound);
        let bounds = column.as_primitive_opt::<TimestampMillisecondType>();
        bounds.cloned().ok_or_else(|| Error::Shape {
            operator: OPERATOR,
            detail: format!(
                "bound of type {}, expected milliseconds",
                column.data_type()
            ),
        })
    }

    /// Numbers the group of each row.
    fn number(&mut self, rows: &Rows, context: &mut Context<'_>) -> Result<()> {
        let groups = self.keys.number(rows, context, &mut self.numbers)?;
        let room = groups.max(self.known.len());
        self.known.resize(room, Known::default());
        Ok(())
    }

    /// Takes rows of one window in the place of what their groups had. A row that is there already stays.
    fn take_in(&mut self, bound: i64, rows: &Rows, numbers: &[u32]) -> Result<()> {
        let mut new = Vec::with_capacity(numbers.len());
        for (row, &number) in (0..).zip(numbers) {
            let known = &mut self.known[number as usize];
            if known.last == bound {
                continue;
            }
            new.push(row);
            if let Some(before) = self.pending.get_mut(&known.last) {
                before.last -= 1;
                if before.last == 0 {
                    self.pending.remove(&known.last);
                }
            }
            known.last = bound;
        }
        if new.is_empty() {
            return Ok(());
        }
        let numbers = new.iter().map(|&row| numbers[row as usize]).collect();
        let rows = rows
            .take(&UInt32Array::from(new), OPERATOR)?
            .compact(OPERATOR)?;
        let pending = self.pending.entry(bound).or_default();
        pending.last += rows.len();
        pending.batches.push((rows, numbers));
        Ok(())
    }

    /// The first window that is not filled yet and may have to be.
    fn next(&self) -> Option<i64> {
        let (&first, _) = self.pending.first_key_value()?;
        let n = self.limits.closed(first, self.passed) + 1;
        Some(self.limits.later(first, n))
    }

    /// Fills one window after all rows that come up to `n` windows before it, and forgets those for which
    /// it was the last.
    fn fill(&mut self, bound: i64, context: &Context<'_>, out: &mut Vec<Rows>) -> Result<()> {
        let closes_at = self.limits.closes_at(bound);
        self.passed = closes_at;
        let mut done = Vec::new();
        for (&at, pending) in &mut self.pending {
            if at >= bound {
                break;
            }
            for (rows, numbers) in &mut pending.batches {
                retain_last(rows, numbers, &self.known, at)?;
                // Past it no stream has seen anything: at the end time goes to infinity.
                if !rows.is_empty() && closes_at <= *context.greatest {
                    out.push(listed(rows, bound, Some(closes_at), &self.schema)?);
                }
            }
            if self.limits.later(at, self.limits.windows) <= bound {
                done.push(at);
            }
        }
        for at in done {
            let Some(pending) = self.pending.remove(&at) else {
                continue;
            };
            for number in pending.batches.into_iter().flat_map(|(_, numbers)| numbers) {
                let known = std::mem::take(&mut self.known[number as usize]);
                if known.saved {
                    self.gone.push(state_key(&self.keys, number, context));
                }
                self.keys.forget(number);
            }
        }
        Ok(())
    }
}

/// What a group's state is saved by: its value behind a byte, since the topic's key may be empty.
fn state_key(keys: &Keyed, number: u32, context: &Context<'_>) -> Vec<u8> {
    [&[1], keys.bytes(number, context)].concat()
}

/// Takes out the rows whose groups have had a later one.
fn retain_last(rows: &mut Rows, numbers: &mut Vec<u32>, known: &[Known], at: i64) -> Result<()> {
    let is_last = |number: u32| known[number as usize].last == at;
    if numbers.iter().all(|&number| is_last(number)) {
        return Ok(());
    }
    let places = (0..).zip(numbers.iter());
    let kept: Vec<u32> = places
        .filter(|(_, number)| is_last(**number))
        .map(|(row, _)| row)
        .collect();
    numbers.retain(|&number| is_last(number));
    *rows = rows
        .take(&UInt32Array::from(kept), OPERATOR)?
        .compact(OPERATOR)?;
    Ok(())
}

/// The rows with a list of one bound each; released at a watermark, or as they were.
fn listed(rows: &Rows, bound: i64, release: Option<i64>, schema: &SchemaRef) -> Result<Rows> {
    let count = rows.len();
    let lists = of_one(vec![bound; count], schema)?;
    let mut columns: Vec<ArrayRef> = rows.batch.columns().to_vec();
    columns.push(lists);
    Ok(Rows {
        batch: RecordBatch::try_new(Arc::clone(schema), columns).within(OPERATOR)?,
        keys: rows.keys.clone(),
        release: match release {
            Some(at) => Release::Watermark(Int64Array::from(vec![at; count])),
            None => rows.release.clone(),
        },
    })
}

/// A list a bound, of the type of the output's last column.
fn of_one(bounds: Vec<i64>, schema: &SchemaRef) -> Result<ArrayRef> {
    let kind = schema.fields().last().map(|field| field.data_type());
    let Some(DataType::List(item)) = kind else {
        return Err(Error::Shape {
            operator: OPERATOR,
            detail: format!("a last column of type {kind:?}, expected a list of times"),
        });
    };
    let offsets = OffsetBuffer::from_repeated_length(1, bounds.len());
    let values = TimestampMillisecondArray::from(bounds).with_data_type(item.data_type().clone());
    let lists = ListArray::try_new(Arc::clone(item), offsets, Arc::new(values), None);
    Ok(Arc::new(lists.within(OPERATOR)?))
}

impl Operator for Fill {
    fn process(
        &mut self,
        _: usize,
        rows: &Rows,
        context: &mut Context<'_>,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let bounds = self.bounds(&rows.batch)?;
        let mut first = 0;
        while first < rows.len() {
            let bound = bounds.value(first);
            let same = bounds.values()[first..].iter();
            let count = same.take_while(|&&other| other == bound).count();
            let places = UInt32Array::from_iter_values(first as u32..(first + count) as u32);
            let window = match count == rows.len() {
                true => rows.clone(),
                false => rows.take(&places, OPERATOR)?,
            };
            // This window closed, so all before it did, and their rows have come.
            while let Some(next) = self.next()
                && next < bound
            {
                self.fill(next, context, out)?;
            }
            out.push(listed(&window, bound, None, &self.schema)?);
            self.number(&window, context)?;
            let numbers = std::mem::take(&mut self.numbers);
            for &number in &numbers {
                self.known[number as usize].dirty = true;
            }
            self.take_in(bound, &window, &numbers)?;
            self.numbers = numbers;
            first += count;
        }
        Ok(())
    }

    fn advance(
        &mut self,
        watermark: i64,
        context: &mut Context<'_>,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        while let Some(next) = self.next()
            && self.limits.closes_at(next) <= watermark
        {
            self.fill(next, context, out)?;
        }
        Ok(())
    }

    fn next_deadline(&self) -> Option<i64> {
        self.next().map(|bound| self.limits.closes_at(bound))
    }

    fn snapshot(&mut self, context: &Context<'_>) -> Result<Vec<StateRow>> {
        let gone = self.gone.drain(..);
        let mut changes: Vec<StateRow> = gone.map(|key| StateRow { key, state: None }).collect();
        let greatest = (context.watermark < i64::MAX).then_some(*context.greatest);
        if greatest != self.greatest_saved {
            changes.push(StateRow {
                key: GREATEST.to_vec(),
                state: greatest.map(|greatest| greatest.to_le_bytes().to_vec()),
            });
            self.greatest_saved = greatest;
        }
        for (&at, pending) in &self.pending {
            for (rows, numbers) in &pending.batches {
                let changed = |number: u32| {
                    let known = &self.known[number as usize];
                    known.dirty && known.last == at
                };
                if !numbers.iter().any(|&number| changed(number)) {
                    continue;
                }
                let values = self
                    .rows
                    .convert_columns(rows.batch.columns())
                    .within(OPERATOR)?;
                for (row, &number) in numbers.iter().enumerate() {
                    if !changed(number) {
                        continue;
                    }
                    let mut state = Vec::new();
                    let key = rows.keys.is_valid(row).then(|| rows.keys.value(row));
                    let key = key.map(|key| context.keys.value(key).as_bytes());
                    write_optional(key, &mut state);
                    state.extend(at.to_le_bytes());
                    state.extend(values.row(row).as_ref());
                    changes.push(StateRow {
                        key: state_key(&self.keys, number, context),
                        state: Some(state),
                    });
                }
            }
        }
        for known in &mut self.known {
            known.saved |= std::mem::take(&mut known.dirty);
        }
        Ok(changes)
    }

    fn restore(&mut self, rows: &[StateRow], context: &mut Context<'_>) -> Result<()> {
        self.passed = context.watermark;
        let damaged = |detail: &str| Error::State {
            operator: OPERATOR,
            detail: detail.to_owned(),
        };
        // By window, so that the rows of one come as one batch.
        let mut windows: BTreeMap<i64, Vec<(u32, Option<u32>, &[u8])>> = BTreeMap::new();
        for row in rows {
            let Some(mut state) = row.state.as_deref() else {
                continue;
            };
            if row.key == GREATEST {
                let greatest = i64::from_le_bytes(take_array(&mut state)?);
                *context.greatest = greatest.max(*context.greatest);
                self.greatest_saved = Some(greatest);
                continue;
            }
            let key = match row.key.split_first() {
                Some((1, key)) => key,
                _ => return Err(damaged("a group of no kind that there is")),
            };
            let topic_key = match read_optional(&mut state)? {
                Some(bytes) => Some(context.keys.intern(text(bytes)?)),
                None => None,
            };
            let at = i64::from_le_bytes(take_array(&mut state)?);
            let number = self.keys.restore(key, context)?;
            windows
                .entry(at)
                .or_default()
                .push((number, topic_key, state));
        }
        for (at, rows) in windows {
            let parser = self.rows.parser();
            let values = rows.iter().map(|(_, _, value)| parser.parse(value));
            let columns = self.rows.convert_rows(values).within(OPERATOR)?;
            let fields = &self.schema.fields()[..columns.len()];
            let schema = Arc::new(Schema::new(fields.to_vec()));
            let batch = RecordBatch::try_new(schema, columns).within(OPERATOR)?;
            let numbers: Vec<u32> = rows.iter().map(|(number, _, _)| *number).collect();
            let most = numbers.iter().max().map_or(0, |&most| most as usize + 1);
            let room = self.known.len().max(most);
            self.known.resize(room, Known::default());
            let rows = Rows {
                keys: rows.iter().map(|(_, key, _)| *key).collect(),
                release: Release::Watermark(Int64Array::from(vec![0; batch.num_rows()])),
                batch,
            };
            self.take_in(at, &rows, &numbers)?;
            for number in numbers {
                self.known[number as usize].saved = true;
            }
        }
        Ok(())
    }

    fn take_over(&mut self, old: Box<dyn Operator>, _: bool) -> Result<()> {
        // Rows wait with all of their columns, so that these are the same, in the same places.
        let Fill { keys, schema, .. } = std::mem::replace(self, *same_kind(old, OPERATOR)?);
        self.schema = schema;
        self.keys.read_as(keys);
        Ok(())
    }

    fn memory(&self) -> usize {
        let batches = self.pending.values().flat_map(|pending| &pending.batches);
        let batches = batches
            .map(|(rows, numbers)| rows.batch.get_array_memory_size() + numbers.capacity() * 16);
        self.keys.memory() + self.known.capacity() * size_of::<Known>() + batches.sum::<usize>()
    }
}
