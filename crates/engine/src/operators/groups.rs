//! Groups of a window: what tumbling and hopping windows share.
//!
//! ```text
//!   Grouping   the plan: how rows are grouped, what is computed over them      one an operator
//!   Groups     the state: a slot a key, columns of state, index = slot         one a window or pane
//! ```
//!
//! State: a row a group, keyed by the start of its window or pane and the values of its key; it holds
//! the topic's key, then what each aggregate saved.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, PrimitiveArray, RecordBatch, TimestampMillisecondArray,
    UInt32Array,
};
use arrow::datatypes::{Float64Type, Schema, SchemaRef, TimestampMillisecondType};
use arrow::row::{RowConverter, SortField};
use datafusion_physical_expr::PhysicalExpr;

use super::aggregates::{AccumulatorColumn, Argument, Computed};
use super::state::{read_optional, read_whole, split, text, write_optional};
use super::{Context, StateRow};
use crate::error::{Error, In, Result};
use crate::evaluate::evaluate;
use crate::keys::{RowKeys, TopicKeys};
use crate::program::{Aggregate, GroupColumn, KeyBy, WindowPart};
use crate::rows::{Release, Rows};

/// In the place of a number: none.
pub(super) const NONE: u32 = u32::MAX;

/// How rows are grouped, and what is computed over each group.
pub(super) struct Grouping {
    pub(super) operator: &'static str,
    time: Arc<dyn PhysicalExpr>,
    keys: KeyBy,
    groups: Vec<GroupColumn>,
    aggregates: Vec<Computed>,
    pub(super) converter: Arc<RowConverter>,
    schema: SchemaRef,
}

/// A batch as the groups take it in.
pub(super) struct Evaluated {
    times: PrimitiveArray<TimestampMillisecondType>,
    keys: UInt32Array,
    values: Option<arrow::row::Rows>,
    arguments: Vec<Argument>,
}

impl Grouping {
    pub(super) fn new(
        operator: &'static str,
        time: Arc<dyn PhysicalExpr>,
        keys: KeyBy,
        groups: Vec<GroupColumn>,
        aggregates: Vec<Aggregate>,
        input: &Schema,
        schema: SchemaRef,
    ) -> Result<Self> {
        let type_of = |expr: &Arc<dyn PhysicalExpr>| expr.data_type(input).within(operator);
        let results = schema.fields().iter().skip(groups.len());
        let aggregates = aggregates
            .into_iter()
            .zip(results)
            .map(|(aggregate, result)| {
                Computed::new(operator, aggregate, input, result.data_type())
            })
            .collect::<Result<_>>()?;
        let fields = match &keys {
            KeyBy::Topic => Vec::new(),
            KeyBy::Columns(expressions) => expressions
                .iter()
                .map(|expr| type_of(expr).map(SortField::new))
                .collect::<Result<_>>()?,
        };
        let converter = Arc::new(RowConverter::new(fields).within(operator)?);
        Ok(Grouping {
            operator,
            time,
            keys,
            groups,
            aggregates,
            converter,
            schema,
        })
    }

    /// Whether groups are told apart by the number of the topic's key alone.
    pub(super) fn by_topic(&self) -> bool {
        matches!(self.keys, KeyBy::Topic)
    }

    /// Empty columns of state, one an aggregate.
    pub(super) fn columns(&self) -> Result<Vec<Box<dyn AccumulatorColumn>>> {
        self.aggregates.iter().map(Computed::column).collect()
    }

    /// No groups yet.
    pub(super) fn groups(&self) -> Result<Groups> {
        let slots = match &self.keys {
            KeyBy::Topic => Slots::Topic(Vec::new()),
            KeyBy::Columns(_) => Slots::Columns(Box::new(RowKeys::new(&self.converter))),
        };
        Ok(Groups {
            slots,
            topic_keys: Vec::new(),
            columns: self.columns()?,
            dirty: Vec::new(),
            saved: Vec::new(),
        })
    }

    /// Evaluates times, keys, arguments, filters and orders over a batch.
    pub(super) fn evaluate(&self, rows: &Rows, context: &mut Context<'_>) -> Result<Evaluated> {
        let operator = self.operator;
        let mut value = |expr| evaluate(expr, &rows.batch, context.failed, operator);
        let times = value(&self.time)?;
        let Some(times) = times.as_primitive_opt::<TimestampMillisecondType>() else {
            let detail = format!("time of type {}, expected milliseconds", times.data_type());
            return Err(Error::Shape { operator, detail });
        };
        let values = match &self.keys {
            KeyBy::Topic => None,
            KeyBy::Columns(expressions) => {
                let columns = expressions
                    .iter()
                    .map(|expr| value(expr).map(one_zero))
                    .collect::<Result<Vec<_>>>()?;
                Some(self.converter.convert_columns(&columns).within(operator)?)
            }
        };
        let arguments = self
            .aggregates
            .iter()
            .map(|computed| computed.argument(&rows.batch, context.failed))
            .collect::<Result<_>>()?;
        Ok(Evaluated {
            times: times.clone(),
            keys: rows.keys.clone(),
            values,
            arguments,
        })
    }

    /// The groups of the window or pane that starts at `start`.
    pub(super) fn at<'a>(
        &self,
        all: &'a mut BTreeMap<i64, Groups>,
        start: i64,
    ) -> Result<&'a mut Groups> {
        Ok(match all.entry(start) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(self.groups()?),
        })
    }

    /// Takes a batch into the windows or panes of its rows; `start_of` gives the start of that of a
    /// time, if there is one. `slots` is scratch.
    pub(super) fn take_in(
        &self,
        batch: &Evaluated,
        all: &mut BTreeMap<i64, Groups>,
        slots: &mut Vec<u32>,
        length_ms: i64,
        start_of: impl Fn(i64) -> Option<i64>,
    ) -> Result<()> {
        let times = &batch.times;
        let values = times.values();
        let by_topic = self.by_topic();
        // A row without a key belongs to no group of the topic's key.
        let all_count = times.null_count() == 0 && !(by_topic && batch.keys.null_count() > 0);
        let counts =
            |row: usize| all_count || times.is_valid(row) && !(by_topic && batch.keys.is_null(row));
        // Rows of one window mostly stand together: they are taken in by runs, and a run is told without
        // a division a row.
        let mut row = 0;
        while row < times.len() {
            let start = match counts(row) {
                true => start_of(values[row]),
                false => None,
            };
            let Some(start) = start else {
                row += 1;
                continue;
            };
            let inside = |time: i64| (time.wrapping_sub(start) as u64) < length_ms as u64;
            let mut end = row + 1;
            while end < times.len() && inside(values[end]) && counts(end) {
                end += 1;
            }
            self.at(all, start)?.update(batch, row..end, slots)?;
            row = end;
        }
        Ok(())
    }

    /// The rows of a window: the columns of its keys, then those of its aggregates.
    pub(super) fn emit(
        &self,
        window: Window,
        keys: Vec<ArrayRef>,
        topic_keys: &[u32],
        results: Vec<ArrayRef>,
    ) -> Result<Rows> {
        let groups = topic_keys.len();
        let mut values = keys.into_iter();
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for (group, field) in self.groups.iter().zip(self.schema.fields()) {
            columns.push(match group {
                GroupColumn::Key(_) => values.next().ok_or_else(|| Error::Shape {
                    operator: self.operator,
                    detail: format!("no key for column {}", field.name()),
                })?,
                GroupColumn::Window(part) => {
                    let bound = match part {
                        WindowPart::Start => window.start,
                        WindowPart::End => window.end,
                        WindowPart::Time => window.end.saturating_sub(1),
                    };
                    let array = TimestampMillisecondArray::from(vec![bound; groups]);
                    Arc::new(array.with_data_type(field.data_type().clone())) as ArrayRef
                }
            });
        }
        columns.extend(results);
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), columns).within(self.operator)?;
        Ok(Rows {
            batch,
            keys: topic_keys
                .iter()
                .map(|&key| (key != NONE).then_some(key))
                .collect(),
            release: Release::Watermark(Int64Array::from(vec![window.closes_at; groups])),
        })
    }
}

/// The last multiple of `step` that is not above `time`.
#[inline]
pub(super) fn floor(time: i64, step: i64) -> i64 {
    time.saturating_sub(time.rem_euclid(step))
}

/// A window's bounds and the watermark at which it closes, in milliseconds since 1970.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) closes_at: i64,
}

/// Grouping takes 0.0 and -0.0 for one value, as DataFusion's does; the row format tells them apart.
pub(super) fn one_zero(column: ArrayRef) -> ArrayRef {
    match column.as_primitive_opt::<Float64Type>() {
        Some(floats) => {
            Arc::new(floats.unary::<_, Float64Type>(|value| if value == 0.0 { 0.0 } else { value }))
        }
        None => column,
    }
}

/// The groups of one window or pane.
pub(super) struct Groups {
    slots: Slots,
    /// The number of the topic's key of each slot, for operators above; `NONE` where it has none.
    topic_keys: Vec<u32>,
    columns: Vec<Box<dyn AccumulatorColumn>>,
    /// Slots changed since the last snapshot, and whether it holds them already.
    dirty: Vec<bool>,
    saved: Vec<bool>,
}

/// Which slot a key has.
enum Slots {
    /// Index = number of the topic's key.
    Topic(Vec<u32>),
    Columns(Box<RowKeys>),
}

impl Slots {
    /// The slot of a key; `next` if it is new. `topic_key` is its number, `value` its columns.
    #[inline]
    fn slot(&mut self, topic_key: Option<u32>, value: &[u8], next: usize) -> u32 {
        match self {
            Slots::Topic(slot_of) => {
                let key = topic_key.unwrap_or_default() as usize;
                if slot_of.len() <= key {
                    slot_of.resize(key + 1, NONE);
                }
                if slot_of[key] == NONE {
                    slot_of[key] = next as u32;
                }
                slot_of[key]
            }
            Slots::Columns(known) => known.intern(value),
        }
    }
}

impl Groups {
    pub(super) fn topic_keys(&self) -> &[u32] {
        &self.topic_keys
    }

    pub(super) fn aggregates(&self) -> &[Box<dyn AccumulatorColumn>] {
        &self.columns
    }

    fn add(&mut self, topic_key: Option<u32>) {
        self.topic_keys.push(topic_key.unwrap_or(NONE));
        self.dirty.push(false);
        self.saved.push(false);
    }

    /// Takes in a run of rows. `slots` is scratch.
    pub(super) fn update(
        &mut self,
        batch: &Evaluated,
        rows: Range<usize>,
        slots: &mut Vec<u32>,
    ) -> Result<()> {
        slots.clear();
        for row in rows.clone() {
            let topic_key = batch.keys.is_valid(row).then(|| batch.keys.value(row));
            let next = self.topic_keys.len();
            let slot = match &batch.values {
                Some(values) => self.slots.slot(topic_key, values.row(row).as_ref(), next),
                None => self.slots.slot(topic_key, &[], next),
            };
            if slot as usize == next {
                self.add(topic_key);
            }
            self.dirty[slot as usize] = true;
            slots.push(slot);
        }
        for (column, argument) in self.columns.iter_mut().zip(&batch.arguments) {
            column.resize(self.topic_keys.len());
            column.update(argument, rows.clone(), slots)?;
        }
        Ok(())
    }

    /// The columns of the keys, a row a slot.
    pub(super) fn keys(&self, keys: &TopicKeys, operator: &'static str) -> Result<Vec<ArrayRef>> {
        match &self.slots {
            Slots::Topic(_) => Ok(vec![keys.column(self.topic_keys.iter().copied())]),
            Slots::Columns(known) => known.columns(operator),
        }
    }

    /// The results of the aggregates, a row a slot.
    pub(super) fn results(&self) -> Result<Vec<ArrayRef>> {
        self.columns.iter().map(|column| column.finish()).collect()
    }

    /// A key's columns in the row format; nothing where the topic's key is all of it.
    pub(super) fn key_bytes(&self, slot: usize) -> &[u8] {
        match &self.slots {
            Slots::Topic(_) => &[],
            Slots::Columns(known) => known.bytes(slot as u32),
        }
    }

    /// No more rows come: frees what only finds their slots.
    pub(super) fn close(&mut self) {
        if let Slots::Topic(slot_of) = &mut self.slots {
            *slot_of = Vec::new();
        }
    }

    fn state_key(&self, start: i64, slot: usize, keys: &TopicKeys) -> Vec<u8> {
        let value = match &self.slots {
            Slots::Topic(_) => keys.value(self.topic_keys[slot]).as_bytes(),
            Slots::Columns(known) => known.bytes(slot as u32),
        };
        [&start.to_be_bytes(), value].concat()
    }

    /// The keys of the state rows that an earlier snapshot holds: gone with these groups.
    pub(super) fn saved_keys(&self, start: i64, keys: &TopicKeys) -> impl Iterator<Item = Vec<u8>> {
        let saved = (0..self.saved.len()).filter(|&slot| self.saved[slot]);
        saved.map(move |slot| self.state_key(start, slot, keys))
    }

    /// Appends the state rows of groups changed since the last call.
    pub(super) fn snapshot(&mut self, start: i64, keys: &TopicKeys, out: &mut Vec<StateRow>) {
        let dirty: Vec<usize> = (0..self.dirty.len())
            .filter(|&slot| self.dirty[slot])
            .collect();
        // The topic's key, for a group that has one among its columns.
        let topic_key = |&slot: &usize| {
            let mut state = Vec::new();
            let topic_key = self.topic_keys[slot];
            let value = (topic_key != NONE).then(|| keys.value(topic_key).as_bytes());
            write_optional(value, &mut state);
            state
        };
        let mut states: Vec<Vec<u8>> = dirty.iter().map(topic_key).collect();
        self.columns
            .iter()
            .for_each(|column| column.save(&dirty, &mut states));
        for (slot, state) in dirty.into_iter().zip(states) {
            self.dirty[slot] = false;
            self.saved[slot] = true;
            out.push(StateRow {
                key: self.state_key(start, slot, keys),
                state: Some(state),
            });
        }
    }

    /// Takes one saved group in, in the place of what it had. `key` is what follows the start in the
    /// key of its row.
    pub(super) fn restore(
        &mut self,
        key: &[u8],
        mut state: &[u8],
        keys: &mut TopicKeys,
        operator: &'static str,
    ) -> Result<()> {
        let topic_key = match read_optional(&mut state)? {
            Some(bytes) => Some(keys.intern(text(bytes)?)),
            None => None,
        };
        if topic_key.is_none() && matches!(self.slots, Slots::Topic(_)) {
            return Err(Error::State {
                operator,
                detail: "a group of the topic's key without it".to_owned(),
            });
        }
        if let Slots::Topic(slot_of) = &mut self.slots
            && slot_of.is_empty()
        {
            // Closed, or new.
            let room = self
                .topic_keys
                .iter()
                .max()
                .map_or(0, |&key| key as usize + 1);
            slot_of.resize(room, NONE);
            for (slot, &key) in self.topic_keys.iter().enumerate() {
                slot_of[key as usize] = slot as u32;
            }
        }
        let next = self.topic_keys.len();
        let slot = self.slots.slot(topic_key, key, next) as usize;
        if slot == next {
            self.add(topic_key);
        }
        self.saved[slot] = true;
        for column in &mut self.columns {
            column.resize(self.topic_keys.len());
            column.load(slot, &mut state)?;
        }
        read_whole(state, operator)
    }

    pub(super) fn memory(&self) -> usize {
        let slots = match &self.slots {
            Slots::Topic(slot_of) => slot_of.capacity() * 4,
            Slots::Columns(known) => known.memory(),
        };
        let columns = self.columns.iter().map(|column| column.memory());
        slots + self.topic_keys.capacity() * 6 + columns.sum::<usize>()
    }
}

/// The start in the key of a state row, and the key's values behind it.
pub(super) fn split_start(mut key: &[u8]) -> Result<(i64, &[u8])> {
    let mut start = [0; 8];
    start.copy_from_slice(split(&mut key, 8)?);
    Ok((i64::from_be_bytes(start), key))
}
