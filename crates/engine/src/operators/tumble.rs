//! Tumbling windows: fixed, adjoining spans of event time, a row a key and span.
//!
//! ```text
//!   rows    12:00:07   12:00:59 │ 12:01:02          watermark ──▶ 12:01:00
//!           └── window 12:00 ───┘                   window 12:00 closes, rows leave, state is freed
//! ```
//!
//! In:    an event time Timestamp(ms, UTC); any key columns. A row without a time is in no window.
//! Out:   the grouping columns, then the aggregates, in the plan's order. Delay of `window_end`: that
//!        of the input, of `window_start`: the size more.
//! State: a row a key and open window; at most keys × (⌈lateness / size⌉ + 1). Windows lie in an
//!        ordered map, each with its columns of state, so that closing one frees them at once.
//! Late:  nothing is late here; decode decided.
//! Batch: `GROUP BY key, window_start`; windows are aligned to 1970.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMillisecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Float64Type, Schema, SchemaRef, TimestampMillisecondType};
use arrow::row::{RowConverter, SortField};
use datafusion_physical_expr::PhysicalExpr;

use super::accumulate::{AccumulatorColumn, Argument, accumulator, split};
use super::{Context, Operator, StateRow};
use crate::error::{Error, In, Result};
use crate::evaluate::{evaluate, evaluate_mask};
use crate::keys::{RowKeys, TopicKeys};
use crate::program::{Aggregate, GroupColumn, KeyBy, WindowPart};
use crate::rows::{Release, Rows};

const OPERATOR: &str = "tumble";
const NONE: u32 = u32::MAX;

/// Open windows by their start.
pub(crate) struct Tumble {
    plan: Plan,
    windows: BTreeMap<i64, Window>,
    /// State rows of windows that closed since the last snapshot and had been saved by an earlier one.
    closed: Vec<Vec<u8>>,
}

struct Plan {
    time: Arc<dyn PhysicalExpr>,
    size_ms: i64,
    complete_ms: i64,
    keys: KeyBy,
    groups: Vec<GroupColumn>,
    aggregates: Vec<Aggregate>,
    argument_types: Vec<DataType>,
    converter: Arc<RowConverter>,
    schema: SchemaRef,
}

struct Window {
    slots: Slots,
    /// The number of the topic's key of each slot, for operators above; `NONE` where it has none.
    topic_keys: Vec<u32>,
    columns: Vec<Box<dyn AccumulatorColumn>>,
    /// Slots changed since the last snapshot, and whether it holds them already.
    dirty: Vec<bool>,
    saved: Vec<bool>,
}

/// Which slot a key has in a window.
enum Slots {
    /// Index = number of the topic's key.
    Topic(Vec<u32>),
    Columns(Box<RowKeys>),
}

impl Tumble {
    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of one IR node, called in one place"
    )]
    pub(crate) fn new(
        time: Arc<dyn PhysicalExpr>,
        size_ms: i64,
        complete_ms: i64,
        keys: KeyBy,
        groups: Vec<GroupColumn>,
        aggregates: Vec<Aggregate>,
        input: &Schema,
        schema: SchemaRef,
    ) -> Result<Self> {
        let types = |expressions: &mut dyn Iterator<Item = &Arc<dyn PhysicalExpr>>| {
            expressions
                .map(|expr| expr.data_type(input).within(OPERATOR))
                .collect::<Result<Vec<_>>>()
        };
        let argument_types = types(&mut aggregates.iter().map(|aggregate| &aggregate.argument))?;
        let key_types = match &keys {
            KeyBy::Topic => Vec::new(),
            KeyBy::Columns(expressions) => types(&mut expressions.iter())?,
        };
        let fields = key_types.into_iter().map(SortField::new).collect();
        let converter = Arc::new(RowConverter::new(fields).within(OPERATOR)?);
        let plan = Plan {
            time,
            size_ms,
            complete_ms,
            keys,
            groups,
            aggregates,
            argument_types,
            converter,
            schema,
        };
        plan.window()?;
        Ok(Tumble {
            plan,
            windows: BTreeMap::new(),
            closed: Vec::new(),
        })
    }
}

impl Plan {
    fn window(&self) -> Result<Window> {
        let first = self.groups.len();
        let columns = self.aggregates.iter().zip(&self.argument_types).enumerate();
        let columns = columns
            .map(|(i, (aggregate, argument))| {
                accumulator(
                    aggregate.kind,
                    argument,
                    self.schema.field(first + i).data_type(),
                )
            })
            .collect::<Result<_>>()?;
        let slots = match &self.keys {
            KeyBy::Topic => Slots::Topic(Vec::new()),
            KeyBy::Columns(_) => Slots::Columns(Box::new(RowKeys::new(&self.converter))),
        };
        Ok(Window {
            slots,
            topic_keys: Vec::new(),
            columns,
            dirty: Vec::new(),
            saved: Vec::new(),
        })
    }

    /// The watermark at which the window that starts at `start` closes.
    fn closes_at(&self, start: i64) -> i64 {
        start
            .saturating_add(self.size_ms)
            .saturating_sub(self.complete_ms)
    }
}

impl Window {
    fn add_slot(&mut self, topic_key: Option<u32>) {
        self.topic_keys.push(topic_key.unwrap_or(NONE));
        self.dirty.push(false);
        self.saved.push(false);
    }

    /// The slots of a run of rows, given a key each.
    fn slots(
        &mut self,
        rows: Range<usize>,
        keys: &UInt32Array,
        values: Option<&arrow::row::Rows>,
        out: &mut Vec<u32>,
    ) {
        out.clear();
        for row in rows {
            let topic_key = keys.is_valid(row).then(|| keys.value(row));
            let slot = match (&mut self.slots, values) {
                (Slots::Topic(slot_of), _) => {
                    // A plan keyed by the topic's key filters out rows without it.
                    let key = topic_key.unwrap_or_default() as usize;
                    if slot_of.len() <= key {
                        slot_of.resize(key + 1, NONE);
                    }
                    if slot_of[key] == NONE {
                        slot_of[key] = self.topic_keys.len() as u32;
                    }
                    slot_of[key]
                }
                (Slots::Columns(known), Some(values)) => known.intern(values.row(row).as_ref()),
                (Slots::Columns(_), None) => unreachable!("values are made where keys are columns"),
            };
            if slot as usize == self.topic_keys.len() {
                self.add_slot(topic_key);
            }
            self.dirty[slot as usize] = true;
            out.push(slot);
        }
        for column in &mut self.columns {
            column.resize(self.topic_keys.len());
        }
    }

    fn emit(&self, start: i64, plan: &Plan, keys: &TopicKeys) -> Result<Rows> {
        let groups = self.topic_keys.len();
        let end = start.saturating_add(plan.size_ms);
        let mut values = match &self.slots {
            Slots::Topic(_) => vec![keys.column(self.topic_keys.iter().copied())],
            Slots::Columns(known) => known.columns(OPERATOR)?,
        }
        .into_iter();
        let mut columns = Vec::with_capacity(plan.schema.fields().len());
        for (group, field) in plan.groups.iter().zip(plan.schema.fields()) {
            columns.push(match group {
                GroupColumn::Key(_) => values.next().ok_or_else(|| Error::Shape {
                    operator: OPERATOR,
                    detail: format!("no key for column {}", field.name()),
                })?,
                GroupColumn::Window(part) => {
                    let bound = match part {
                        WindowPart::Start => start,
                        WindowPart::End => end,
                        WindowPart::Time => end.saturating_sub(1),
                    };
                    let array = TimestampMillisecondArray::from(vec![bound; groups]);
                    Arc::new(array.with_data_type(field.data_type().clone())) as ArrayRef
                }
            });
        }
        for column in &self.columns {
            columns.push(column.finish()?);
        }
        let batch = RecordBatch::try_new(Arc::clone(&plan.schema), columns).within(OPERATOR)?;
        let topic_keys = self
            .topic_keys
            .iter()
            .map(|&key| (key != NONE).then_some(key))
            .collect();
        let release = Release::Watermark(Int64Array::from(vec![plan.closes_at(start); groups]));
        Ok(Rows {
            batch,
            keys: topic_keys,
            release,
        })
    }

    fn state_key(&self, start: i64, slot: usize, keys: &TopicKeys) -> Vec<u8> {
        let value = match &self.slots {
            Slots::Topic(_) => keys.value(self.topic_keys[slot]).as_bytes(),
            Slots::Columns(known) => known.bytes(slot as u32),
        };
        [&start.to_be_bytes(), value].concat()
    }
}

/// Grouping takes 0.0 and -0.0 for one value, as DataFusion's does; the row format tells them apart.
fn one_zero(column: ArrayRef) -> ArrayRef {
    match column.as_primitive_opt::<Float64Type>() {
        Some(floats) => {
            Arc::new(floats.unary::<_, Float64Type>(|value| if value == 0.0 { 0.0 } else { value }))
        }
        None => column,
    }
}

/// What is left of a row of state once every field was read.
pub(super) fn read_whole(rest: &[u8], operator: &'static str) -> Result<()> {
    match rest.len() {
        0 => Ok(()),
        left => Err(Error::State {
            operator,
            detail: format!("{left} bytes more than expected"),
        }),
    }
}

impl Operator for Tumble {
    fn process(
        &mut self,
        _: usize,
        rows: &Rows,
        context: &mut Context<'_>,
        _: &mut Vec<Rows>,
    ) -> Result<()> {
        let plan = &self.plan;
        let times = evaluate(&plan.time, &rows.batch, context.failed, OPERATOR)?;
        let Some(times) = times.as_primitive_opt::<TimestampMillisecondType>() else {
            let detail = format!("time of type {}, expected milliseconds", times.data_type());
            return Err(Error::Shape {
                operator: OPERATOR,
                detail,
            });
        };
        let mut values = None;
        if let KeyBy::Columns(expressions) = &plan.keys {
            let columns = expressions
                .iter()
                .map(|expr| {
                    Ok(one_zero(evaluate(
                        expr,
                        &rows.batch,
                        context.failed,
                        OPERATOR,
                    )?))
                })
                .collect::<Result<Vec<_>>>()?;
            values = Some(plan.converter.convert_columns(&columns).within(OPERATOR)?);
        }
        let mut arguments = Vec::with_capacity(plan.aggregates.len());
        for aggregate in &plan.aggregates {
            let argument = evaluate(&aggregate.argument, &rows.batch, context.failed, OPERATOR)?;
            let filter = match &aggregate.filter {
                Some(filter) => Some(evaluate_mask(
                    filter,
                    &rows.batch,
                    context.failed,
                    OPERATOR,
                )?),
                None => None,
            };
            arguments.push(Argument::new(argument, filter.as_ref()));
        }

        // Rows of one window mostly stand together: take them in by runs.
        let start_of = |row: usize| {
            times.is_valid(row).then(|| {
                let time = times.value(row);
                time - time.rem_euclid(plan.size_ms)
            })
        };
        let mut slots = Vec::with_capacity(rows.len());
        let mut row = 0;
        while row < rows.len() {
            let start = start_of(row);
            let mut end = row + 1;
            while end < rows.len() && start_of(end) == start {
                end += 1;
            }
            if let Some(start) = start {
                let window = match self.windows.entry(start) {
                    std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                    std::collections::btree_map::Entry::Vacant(entry) => {
                        entry.insert(plan.window()?)
                    }
                };
                window.slots(row..end, &rows.keys, values.as_ref(), &mut slots);
                for (column, argument) in window.columns.iter_mut().zip(&arguments) {
                    column.update(argument, row..end, &slots)?;
                }
            }
            row = end;
        }
        Ok(())
    }

    fn advance(
        &mut self,
        watermark: i64,
        context: &mut Context<'_>,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        while let Some(entry) = self.windows.first_entry() {
            if watermark < self.plan.closes_at(*entry.key()) {
                break;
            }
            let (start, window) = entry.remove_entry();
            out.push(window.emit(start, &self.plan, context.keys)?);
            let saved = (0..window.saved.len()).filter(|&slot| window.saved[slot]);
            self.closed
                .extend(saved.map(|slot| window.state_key(start, slot, context.keys)));
        }
        Ok(())
    }

    fn next_deadline(&self) -> Option<i64> {
        self.windows
            .keys()
            .next()
            .map(|&start| self.plan.closes_at(start))
    }

    fn snapshot(&mut self, context: &Context<'_>) -> Result<Vec<StateRow>> {
        let mut changes: Vec<StateRow> = self
            .closed
            .drain(..)
            .map(|key| StateRow { key, state: None })
            .collect();
        for (&start, window) in &mut self.windows {
            let dirty: Vec<usize> = (0..window.dirty.len())
                .filter(|&slot| window.dirty[slot])
                .collect();
            // The topic's key, for a group that has one among its columns.
            let topic_key = |&slot: &usize| match window.topic_keys[slot] {
                NONE => u32::MAX.to_le_bytes().to_vec(),
                topic_key => {
                    let text = context.keys.value(topic_key);
                    [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
                }
            };
            let mut states: Vec<Vec<u8>> = dirty.iter().map(topic_key).collect();
            window
                .columns
                .iter()
                .for_each(|column| column.save(&dirty, &mut states));
            for (slot, state) in dirty.into_iter().zip(states) {
                window.dirty[slot] = false;
                window.saved[slot] = true;
                let key = window.state_key(start, slot, context.keys);
                changes.push(StateRow {
                    key,
                    state: Some(state),
                });
            }
        }
        Ok(changes)
    }

    fn restore(&mut self, rows: &[StateRow], context: &mut Context<'_>) -> Result<()> {
        for row in rows {
            let Some(mut state) = row.state.as_deref() else {
                continue;
            };
            let mut key = row.key.as_slice();
            let mut start = [0; 8];
            start.copy_from_slice(split(&mut key, 8)?);
            let start = i64::from_be_bytes(start);
            let window = match self.windows.entry(start) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(self.plan.window()?)
                }
            };
            let mut length = [0; 4];
            length.copy_from_slice(split(&mut state, 4)?);
            let topic_key = match u32::from_le_bytes(length) {
                u32::MAX => None,
                length => {
                    let text = std::str::from_utf8(split(&mut state, length as usize)?).map_err(
                        |error| Error::State {
                            operator: OPERATOR,
                            detail: error.to_string(),
                        },
                    )?;
                    Some(context.keys.intern(text))
                }
            };
            let slot = match &mut window.slots {
                Slots::Topic(slot_of) => {
                    let key = topic_key.unwrap_or_default() as usize;
                    if slot_of.len() <= key {
                        slot_of.resize(key + 1, NONE);
                    }
                    if slot_of[key] == NONE {
                        slot_of[key] = window.topic_keys.len() as u32;
                    }
                    slot_of[key]
                }
                Slots::Columns(known) => known.intern(key),
            } as usize;
            if slot == window.topic_keys.len() {
                window.add_slot(topic_key);
            }
            window.saved[slot] = true;
            for column in &mut window.columns {
                column.resize(window.topic_keys.len());
                column.load(slot, &mut state)?;
            }
            read_whole(state, OPERATOR)?;
        }
        Ok(())
    }

    fn memory(&self) -> usize {
        let window = |window: &Window| {
            let slots = match &window.slots {
                Slots::Topic(slot_of) => slot_of.capacity() * 4,
                Slots::Columns(known) => known.memory(),
            };
            slots
                + window.topic_keys.capacity() * 6
                + window
                    .columns
                    .iter()
                    .map(|column| column.memory())
                    .sum::<usize>()
        };
        self.windows.values().map(window).sum()
    }
}
