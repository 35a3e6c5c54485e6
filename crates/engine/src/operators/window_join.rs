//! The join of two views on the same window and equal keys.
//!
//! ```text
//!   left    12:00 a   12:00 b │ 12:01 a            watermark ──▶ 12:00 is complete on both sides
//!   right   12:00 a           │                    left join: (12:00 a, 12:00 a), (12:00 b, null)
//!                             │                    the rows of 12:01 wait
//! ```
//!
//! In:    two inputs, each with a bound of a window as its time, Timestamp(ms, UTC). A row without a
//!        time is in no window and is dropped, also where left and anti joins keep rows without a
//!        match. A null in a key equals nothing.
//! Out:   inner, left: the left columns, then the right ones; semi, anti: the left rows. A time leaves
//!        once it is complete on both sides, so the delay is the greater of the two. Times ascend;
//!        the order within one time is not specified (an Order above restores one). Topic keys are
//!        the left row's; in an inner join the right row's where the left one has none.
//! State: the rows that wait: on each side those of the windows that are open for the difference of
//!        the delays at most. Saved by value, equal rows together with their number.
//! Batch: DataFusion's hash join on the time and the keys.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat, concat_batches};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMillisecondType};
use arrow::row::{RowConverter, SortField};
use datafusion_physical_expr::PhysicalExpr;

use super::key_index::KeyIndex;
use super::pairs::{Pairing, Right};
use super::{Context, Operator, StateRow, same_kind};
use crate::error::{Error, In, Result};
use crate::evaluate::evaluate;
use crate::keys::TopicKeys;
use crate::program::JoinKind;
use crate::rows::{Release, Rows};

const OPERATOR: &str = "window join";

/// Two sides that wait for each other.
pub(crate) struct WindowJoin {
    sides: [Side; 2],
    /// At watermark W the rows of both sides with a time below W + `complete_ms` are there.
    complete_ms: i64,
    pairing: Pairing,
    /// What the last snapshot saved, by key, so that the next one names what has left.
    saved: Vec<(Vec<u8>, u64)>,
}

struct Side {
    time: Arc<dyn PhysicalExpr>,
    on: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    rows: RowConverter,
    waiting: Vec<Waiting>,
}

/// Rows as they arrived, with their times.
struct Waiting {
    rows: Rows,
    times: Vec<i64>,
    least: i64,
    greatest: i64,
}

impl WindowJoin {
    pub(crate) fn new(
        kind: JoinKind,
        time: &[Arc<dyn PhysicalExpr>; 2],
        complete_ms: [i64; 2],
        on: &[Vec<Arc<dyn PhysicalExpr>>; 2],
        residual: Option<&Arc<dyn PhysicalExpr>>,
        inputs: &[SchemaRef],
        schema: SchemaRef,
    ) -> Result<Self> {
        let shape = |detail: String| Error::Shape {
            operator: OPERATOR,
            detail,
        };
        let [left, right] = inputs else {
            return Err(shape(format!("{} inputs, expected 2", inputs.len())));
        };
        if kind == JoinKind::NullAwareAnti {
            return Err(shape("NOT IN is for reference tables only".to_owned()));
        }
        let keys = |side: usize, schema: &SchemaRef| {
            let keys = on[side].iter();
            keys.map(|key| key.data_type(schema).within(OPERATOR))
                .collect::<Result<Vec<_>>>()
        };
        let (ours, theirs) = (keys(0, left)?, keys(1, right)?);
        if ours != theirs {
            return Err(shape(format!(
                "keys of {ours:?} on the left and {theirs:?} on the right"
            )));
        }
        for (time, schema) in time.iter().zip([left, right]) {
            let found = time.data_type(schema).within(OPERATOR)?;
            if !matches!(found, DataType::Timestamp(TimeUnit::Millisecond, _)) {
                return Err(not_a_time(&found));
            }
        }
        let pairing = Pairing::new(OPERATOR, kind, residual, left, right, schema)?;
        let side = |at: usize, schema: &SchemaRef| -> Result<Side> {
            let fields = schema.fields().iter();
            let fields = fields.map(|field| SortField::new(field.data_type().clone()));
            Ok(Side {
                time: Arc::clone(&time[at]),
                on: on[at].clone(),
                schema: Arc::clone(schema),
                rows: RowConverter::new(fields.collect()).within(OPERATOR)?,
                waiting: Vec::new(),
            })
        };
        Ok(WindowJoin {
            sides: [side(0, left)?, side(1, right)?],
            complete_ms: complete_ms[0].min(complete_ms[1]),
            pairing,
            saved: Vec::new(),
        })
    }
}

fn not_a_time(found: &DataType) -> Error {
    Error::Shape {
        operator: OPERATOR,
        detail: format!("time of type {found}, expected milliseconds"),
    }
}

/// The watermark at which a time is complete on both sides.
fn deadline(time: i64, complete_ms: i64) -> i64 {
    time.saturating_sub(complete_ms).saturating_add(1)
}

impl Side {
    /// Lets rows wait, but those without a time.
    fn admit(&mut self, rows: &Rows, failed: &mut u64) -> Result<()> {
        let times = evaluate(&self.time, &rows.batch, failed, OPERATOR)?;
        let Some(times) = times.as_primitive_opt::<TimestampMillisecondType>() else {
            return Err(not_a_time(times.data_type()));
        };
        let times: Vec<Option<i64>> = times.iter().collect();
        let mask = times.iter().map(Option::is_some).collect::<Vec<_>>();
        let rows = rows.filter(&BooleanArray::from(mask), OPERATOR)?;
        self.wait(rows, times.into_iter().flatten().collect());
        Ok(())
    }

    fn wait(&mut self, rows: Rows, times: Vec<i64>) {
        let (Some(&least), Some(&greatest)) = (times.iter().min(), times.iter().max()) else {
            return;
        };
        self.waiting.push(Waiting {
            rows,
            times,
            least,
            greatest,
        });
    }

    /// Takes out the rows that are complete, released by the watermark that made them so.
    fn leave(&mut self, watermark: i64, complete_ms: i64) -> Result<Leaving> {
        let complete = |time: i64| deadline(time, complete_ms) <= watermark;
        let mut leaving = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            if !complete(waiting.least) {
                self.waiting.push(waiting);
            } else if complete(waiting.greatest) {
                leaving.push((waiting.rows, waiting.times));
            } else {
                let (go, stay): (Vec<u32>, Vec<u32>) = (0..waiting.times.len() as u32)
                    .partition(|&row| complete(waiting.times[row as usize]));
                let times = |rows: &[u32]| -> Vec<i64> {
                    let rows = rows.iter();
                    rows.map(|&row| waiting.times[row as usize]).collect()
                };
                let (go_times, stay_times) = (times(&go), times(&stay));
                let go = waiting.rows.take(&UInt32Array::from(go), OPERATOR)?;
                leaving.push((go, go_times));
                let stay = waiting.rows.take(&UInt32Array::from(stay), OPERATOR)?;
                self.wait(stay.compact(OPERATOR)?, stay_times);
            }
        }
        let batches = leaving.iter().map(|(rows, _)| &rows.batch);
        let batch = concat_batches(&self.schema, batches).within(OPERATOR)?;
        let keys: Vec<&dyn Array> = leaving
            .iter()
            .map(|(rows, _)| &rows.keys as &dyn Array)
            .collect();
        let keys = match keys.is_empty() {
            true => UInt32Array::from(Vec::<u32>::new()),
            false => UInt32Array::from(concat(&keys).within(OPERATOR)?.to_data()),
        };
        let times: Vec<i64> = leaving.into_iter().flat_map(|(_, times)| times).collect();
        let release = times.iter().map(|&time| deadline(time, complete_ms));
        Ok(Leaving {
            rows: Rows {
                batch,
                keys,
                release: Release::Watermark(release.collect()),
            },
            times,
        })
    }

    /// What rows of the two sides must have in common.
    fn keys(&self, leaving: &Leaving, failed: &mut u64) -> Result<Vec<ArrayRef>> {
        let mut keys = vec![Arc::new(Int64Array::from(leaving.times.clone())) as ArrayRef];
        for key in &self.on {
            keys.push(evaluate(key, &leaving.rows.batch, failed, OPERATOR)?);
        }
        Ok(keys)
    }
}

/// Rows of one side whose times are complete.
struct Leaving {
    rows: Rows,
    times: Vec<i64>,
}

impl Leaving {
    fn sort(&mut self) -> Result<()> {
        if !self.times.is_sorted() {
            let mut order: Vec<u32> = (0..self.times.len() as u32).collect();
            order.sort_by_key(|&row| self.times[row as usize]);
            self.rows = self.rows.take(&UInt32Array::from(order), OPERATOR)?;
            self.times.sort_unstable();
        }
        Ok(())
    }
}

/// A row of state is keyed by its side, its topic key and all its values, since rows of a view may be
/// equal in every column; its state is how many there are.
fn state_key(side: usize, topic_key: Option<&str>, values: &[u8]) -> Vec<u8> {
    let side = [side as u8];
    match topic_key {
        None => [&side[..], &[0], values].concat(),
        Some(text) => {
            let length = (text.len() as u32).to_le_bytes();
            [&side[..], &[1], &length, text.as_bytes(), values].concat()
        }
    }
}

fn damaged(detail: impl ToString) -> Error {
    Error::State {
        operator: OPERATOR,
        detail: detail.to_string(),
    }
}

/// Splits `n` bytes off the front.
fn split<'a>(bytes: &mut &'a [u8], n: usize) -> Result<&'a [u8]> {
    let (head, tail) = bytes
        .split_at_checked(n)
        .ok_or_else(|| damaged(format!("{n} bytes expected, {} left", bytes.len())))?;
    *bytes = tail;
    Ok(head)
}

/// A row of state's side, the number of its topic key, and its values.
fn read_state_key<'a>(
    mut key: &'a [u8],
    keys: &mut TopicKeys,
) -> Result<(usize, Option<u32>, &'a [u8])> {
    let side = match split(&mut key, 1)? {
        [side @ (0 | 1)] => usize::from(*side),
        _ => return Err(damaged("a row of neither side")),
    };
    if split(&mut key, 1)? == [0] {
        return Ok((side, None, key));
    }
    let mut length = [0; 4];
    length.copy_from_slice(split(&mut key, 4)?);
    let text = split(&mut key, u32::from_le_bytes(length) as usize)?;
    let text = std::str::from_utf8(text).map_err(damaged)?;
    Ok((side, Some(keys.intern(text)), key))
}

impl Operator for WindowJoin {
    fn process(
        &mut self,
        input: usize,
        rows: &Rows,
        context: &mut Context<'_>,
        _: &mut Vec<Rows>,
    ) -> Result<()> {
        self.sides[input].admit(rows, context.failed)
    }

    fn advance(
        &mut self,
        watermark: i64,
        context: &mut Context<'_>,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        if self.next_deadline().is_none_or(|next| watermark < next) {
            return Ok(());
        }
        let [left_side, right_side] = &mut self.sides;
        let mut left = left_side.leave(watermark, self.complete_ms)?;
        let right = right_side.leave(watermark, self.complete_ms)?;
        if left.rows.is_empty() {
            return Ok(());
        }
        left.sort()?;
        let index = KeyIndex::new(OPERATOR, &right_side.keys(&right, context.failed)?)?;
        let groups = index.find(OPERATOR, &left_side.keys(&left, context.failed)?)?;
        let right = Right {
            index: &index,
            batch: &right.rows.batch,
            keys: Some(&right.rows.keys),
        };
        self.pairing
            .pair(&left.rows, &right, &groups, context.failed, out)
    }

    fn next_deadline(&self) -> Option<i64> {
        let waiting = self.sides.iter().flat_map(|side| &side.waiting);
        let least = waiting.map(|waiting| waiting.least).min()?;
        Some(deadline(least, self.complete_ms))
    }

    fn snapshot(&mut self, context: &Context<'_>) -> Result<Vec<StateRow>> {
        let mut keys = Vec::new();
        for (at, side) in self.sides.iter().enumerate() {
            for waiting in &side.waiting {
                let rows = &waiting.rows;
                let values = side
                    .rows
                    .convert_columns(rows.batch.columns())
                    .within(OPERATOR)?;
                for (row, values) in values.iter().enumerate() {
                    let topic_key = rows.keys.is_valid(row).then(|| rows.keys.value(row));
                    let topic_key = topic_key.map(|key| context.keys.value(key));
                    keys.push(state_key(at, topic_key, values.as_ref()));
                }
            }
        }
        keys.sort_unstable();
        let mut state: Vec<(Vec<u8>, u64)> = Vec::with_capacity(keys.len());
        for key in keys {
            match state.last_mut() {
                Some((last, count)) if *last == key => *count += 1,
                _ => state.push((key, 1)),
            }
        }
        let place = |rows: &[(Vec<u8>, u64)], key: &Vec<u8>| {
            rows.binary_search_by(|(known, _)| known.cmp(key))
        };
        let mut changes = Vec::new();
        for (key, _) in &self.saved {
            if place(&state, key).is_err() {
                changes.push(StateRow {
                    key: key.clone(),
                    state: None,
                });
            }
        }
        for (key, count) in &state {
            if place(&self.saved, key).is_ok_and(|at| self.saved[at].1 == *count) {
                continue;
            }
            changes.push(StateRow {
                key: key.clone(),
                state: Some(count.to_le_bytes().to_vec()),
            });
        }
        self.saved = state;
        Ok(changes)
    }

    fn restore(&mut self, rows: &[StateRow], context: &mut Context<'_>) -> Result<()> {
        let mut values: [Vec<&[u8]>; 2] = Default::default();
        let mut keys: [Vec<Option<u32>>; 2] = Default::default();
        for row in rows {
            let Some(state) = &row.state else {
                continue;
            };
            let count: [u8; 8] = state
                .as_slice()
                .try_into()
                .map_err(|_| damaged(format!("{} bytes, expected 8", state.len())))?;
            let count = u64::from_le_bytes(count);
            let (side, topic_key, bytes) = read_state_key(&row.key, context.keys)?;
            for _ in 0..count {
                values[side].push(bytes);
                keys[side].push(topic_key);
            }
            self.saved.push((row.key.clone(), count));
        }
        self.saved.sort_unstable();
        for ((side, values), keys) in self.sides.iter_mut().zip(values).zip(keys) {
            if values.is_empty() {
                continue;
            }
            let parser = side.rows.parser();
            let columns = side
                .rows
                .convert_rows(values.into_iter().map(|bytes| parser.parse(bytes)))
                .within(OPERATOR)?;
            let batch = RecordBatch::try_new(Arc::clone(&side.schema), columns).within(OPERATOR)?;
            // What they were released with does not matter: the join releases them anew.
            let release = Release::Watermark(Int64Array::from(vec![0; batch.num_rows()]));
            let rows = Rows {
                batch,
                keys: keys.into(),
                release,
            };
            // A time that failed was counted as the row arrived.
            side.admit(&rows, &mut 0)?;
        }
        Ok(())
    }

    fn take_over(&mut self, old: Box<dyn Operator>, _: bool) -> Result<()> {
        let WindowJoin { sides, pairing, .. } = std::mem::replace(self, *same_kind(old, OPERATOR)?);
        for (side, plan) in self.sides.iter_mut().zip(sides) {
            side.time = plan.time;
            side.on = plan.on;
            side.schema = plan.schema;
        }
        self.pairing = pairing;
        Ok(())
    }

    fn memory(&self) -> usize {
        let waiting = self.sides.iter().flat_map(|side| &side.waiting);
        let rows = waiting.map(|waiting| {
            waiting.rows.batch.get_array_memory_size()
                + waiting.times.capacity() * size_of::<i64>()
                + waiting.rows.keys.get_array_memory_size()
        });
        let saved = self.saved.iter().map(|(key, _)| key.capacity());
        rows.sum::<usize>() + saved.sum::<usize>()
    }
}
