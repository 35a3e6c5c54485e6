//! Session windows: the rows of a key without a silence of the gap between them, a row a session.
//!
//! ```text
//!   rows   ×  × ×   ×               ×          watermark ──▶ last + gap
//!          ├─ session 1 ──┤         ├─ …       session 1 closes, its row leaves, its slot is freed
//!        start      last  end
//! ```
//!
//! In:    rows from an [`Order`](super::Order) with the same time, so that no row comes between two
//!        that are here. A row without a time, or without a key of the topic, is in no session.
//! Out:   the grouping columns, then the aggregates, in the plan's order. Delay of `window_end`: that
//!        of the input. Rows leave by end, then by key.
//! Rows that fail the filter extend their session and are not aggregated; a session of such rows alone
//! gives no row out. End: min(last + gap, start + greatest length), which is not inside.
//! State: a row a session that has not closed. At a batch boundary that is at most one a key, of the
//!        keys with a row in the last gap and lateness. Cost of a row: one lookup of its key, and one
//!        update a column; how sessions share columns is told in `cohorts`.
//! Late:  nothing is late here; decode decided.
//! Batch: `__session(time, gap, max) OVER (PARTITION BY key ORDER BY time)`, the filter, then
//!        `GROUP BY key, start, end`.

mod cohorts;
mod state;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, TimestampMillisecondArray,
    UInt32Array,
};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef, TimestampMillisecondType};
use arrow::row::{RowConverter, SortField};
use datafusion_physical_expr::PhysicalExpr;
use keyhawk_functions::SessionLimits;

use self::cohorts::Cohorts;
use self::table::{Key, NONE, Open, PENDING, Table};
use super::aggregates::Computed;
use super::groups::one_zero;
use super::{Context, Operator, StateRow, same_kind};
use crate::error::{Error, In, Result};
use crate::evaluate::{evaluate, evaluate_mask};
use crate::keys::TopicKeys;
use crate::program::{Aggregate, GroupColumn, KeyBy, WindowPart};
use crate::rows::{Release, Rows};

const OPERATOR: &str = "session";

/// Open sessions, and what the last snapshots hold of others.
pub(crate) struct Session {
    plan: Plan,
    table: Table,
    cohorts: Cohorts,
    /// State rows of sessions that closed since the last snapshot and had been saved by an earlier one.
    closed: Vec<Vec<u8>>,
}

struct Plan {
    time: Arc<dyn PhysicalExpr>,
    complete_ms: i64,
    keys: KeyBy,
    groups: Vec<GroupColumn>,
    aggregates: Arc<[Computed]>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    converter: RowConverter,
    schema: SchemaRef,
}

/// Where the counted rows of a batch belong, row by row.
#[derive(Default)]
struct Places {
    /// The row among those that passed the filter.
    rows: Vec<u32>,
    homes: Vec<u32>,
    slots: Vec<u32>,
}

impl Session {
    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of one IR node, called in one place"
    )]
    pub(crate) fn new(
        time: Arc<dyn PhysicalExpr>,
        limits: SessionLimits,
        complete_ms: i64,
        keys: KeyBy,
        groups: Vec<GroupColumn>,
        aggregates: Vec<Aggregate>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        input: &Schema,
        schema: SchemaRef,
    ) -> Result<Self> {
        let types = |expressions: &mut dyn Iterator<Item = &Arc<dyn PhysicalExpr>>| {
            expressions
                .map(|expr| expr.data_type(input).within(OPERATOR))
                .collect::<Result<Vec<_>>>()
        };
        let key_types = match &keys {
            KeyBy::Topic => Vec::new(),
            KeyBy::Columns(expressions) => types(&mut expressions.iter())?,
        };
        let results = schema.fields().iter().skip(groups.len());
        let aggregates: Arc<[Computed]> = aggregates
            .into_iter()
            .zip(results)
            .map(|(aggregate, result)| {
                Computed::new(OPERATOR, aggregate, input, result.data_type())
            })
            .collect::<Result<_>>()?;
        let fields = key_types.into_iter().map(SortField::new).collect();
        let table = match &keys {
            KeyBy::Topic => Table::by_topic(limits),
            KeyBy::Columns(_) => Table::by_columns(limits),
        };
        Ok(Session {
            table,
            cohorts: Cohorts::new(Arc::clone(&aggregates), limits),
            closed: Vec::new(),
            plan: Plan {
                time,
                complete_ms,
                keys,
                groups,
                aggregates,
                filter,
                converter: RowConverter::new(fields).within(OPERATOR)?,
                schema,
            },
        })
    }

    /// Finds the session of each row, or opens one; says where the rows that pass `mask` belong.
    fn assign(
        &mut self,
        times: &TimestampMillisecondArray,
        keys: &UInt32Array,
        values: Option<&arrow::row::Rows>,
        mask: Option<&BooleanArray>,
    ) -> Result<Places> {
        let mut places = Places::default();
        let mut passed = 0;
        for row in 0..times.len() {
            let counts = mask.is_none_or(|mask| mask.is_valid(row) && mask.value(row));
            let place = passed;
            passed += u32::from(counts);
            if times.is_null(row) {
                continue;
            }
            let time = times.value(row);
            let topic_key = keys.is_valid(row).then(|| keys.value(row));
            let value = values.map(|values| values.row(row));
            let key = match (&value, topic_key) {
                (Some(value), _) => Key::Columns(value.as_ref()),
                (None, Some(key)) => Key::Topic(key),
                (None, None) => continue,
            };
            let known = self.table.latest(key);
            let id = match known.filter(|&id| time < self.table.end(id)) {
                Some(id) => id,
                None => {
                    let session = Open {
                        start: time,
                        last: time,
                        home: PENDING,
                        slot: 0,
                        topic_key: topic_key.unwrap_or(NONE),
                        counted: false,
                        dirty: true,
                        saved: false,
                    };
                    self.open(key, session)?
                }
            };
            let session = self.table.get_mut(id);
            debug_assert!(time >= session.last, "rows come in the order of time");
            session.last = session.last.max(time);
            session.dirty = true;
            if counts {
                session.counted = true;
                places.rows.push(place);
                places.homes.push(session.home);
                places.slots.push(session.slot);
            }
        }
        Ok(places)
    }

    fn open(&mut self, key: Key<'_>, session: Open) -> Result<u32> {
        let id = self.table.insert(key, session);
        let (home, slot) = self.cohorts.place(id, self.table.end(id))?;
        let session = self.table.get_mut(id);
        (session.home, session.slot) = (home, slot);
        Ok(id)
    }

    /// Aggregates the counted rows; `batch` holds those that passed the filter.
    fn aggregate(
        &mut self,
        batch: &RecordBatch,
        mut places: Places,
        context: &mut Context<'_>,
    ) -> Result<()> {
        let by_home = places.sort(self.cohorts.len());
        let whole = places.rows.iter().copied().eq(0..batch.num_rows() as u32);
        let rows = UInt32Array::from(std::mem::take(&mut places.rows));
        let batch = match whole {
            true => batch.clone(),
            false => take_record_batch(batch, &rows).within(OPERATOR)?,
        };
        let arguments = self
            .plan
            .aggregates
            .iter()
            .map(|computed| computed.argument(&batch, context.failed))
            .collect::<Result<Vec<_>>>()?;
        for (home, rows) in by_home {
            let slots = &places.slots[rows.clone()];
            self.cohorts.update(home, &arguments, rows, slots)?;
        }
        Ok(())
    }

    /// Takes closing sessions of one cohort out of the state; their rows leave in this order.
    fn close(
        &mut self,
        home: u32,
        due: &[u32],
        keys: &TopicKeys,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        let counted: Vec<u32> = due
            .iter()
            .copied()
            .filter(|&id| self.table.get(id).counted)
            .collect();
        if !counted.is_empty() {
            out.push(self.emit(home, &counted, keys)?);
        }
        for &id in due {
            let session = *self.table.get(id);
            debug_assert_eq!(session.home, home, "those of earlier cohorts have moved");
            if session.saved {
                self.closed.push(self.state_key(id, keys));
            }
            self.cohorts.leave(session.home, session.slot);
            self.table.remove(id);
        }
        Ok(())
    }

    fn emit(&mut self, home: u32, ids: &[u32], keys: &TopicKeys) -> Result<Rows> {
        let (plan, table) = (&self.plan, &self.table);
        let slots = ids.iter().map(|&id| table.get(id).slot).collect();
        let mut values = match &plan.keys {
            KeyBy::Topic => vec![keys.column(ids.iter().map(|&id| table.get(id).topic_key))],
            KeyBy::Columns(_) => {
                let parser = plan.converter.parser();
                let rows = ids.iter().map(|&id| parser.parse(table.value(id)));
                plan.converter.convert_rows(rows).within(OPERATOR)?
            }
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
                    let bound = |&id: &u32| match part {
                        WindowPart::Start => table.get(id).start,
                        WindowPart::End => table.end(id),
                        WindowPart::Time => table.end(id).saturating_sub(1),
                    };
                    let bounds = TimestampMillisecondArray::from_iter_values(ids.iter().map(bound));
                    Arc::new(bounds.with_data_type(field.data_type().clone())) as ArrayRef
                }
            });
        }
        let topic_keys = ids
            .iter()
            .map(|&id| table.get(id).topic_key)
            .map(|key| (key != NONE).then_some(key))
            .collect();
        let release = ids.iter().map(|&id| plan.closes_at(table.end(id)));
        let release = Release::Watermark(release.collect::<Int64Array>());
        columns.extend(self.cohorts.finish(home, &slots)?);
        let batch = RecordBatch::try_new(Arc::clone(&plan.schema), columns).within(OPERATOR)?;
        let rows = Rows {
            batch,
            keys: topic_keys,
            release,
        };
        // The text of those that stay must not leave with these.
        rows.compact(OPERATOR)
    }

    /// The bytes by which a session's key is told from others and put in order.
    fn key_bytes<'a>(&'a self, id: u32, keys: &'a TopicKeys) -> &'a [u8] {
        match self.plan.keys {
            KeyBy::Topic => keys.value(self.table.get(id).topic_key).as_bytes(),
            KeyBy::Columns(_) => self.table.value(id),
        }
    }
}

impl Plan {
    /// The watermark at which a session with this end closes.
    fn closes_at(&self, end: i64) -> i64 {
        end.saturating_sub(self.complete_ms)
    }
}

impl Places {
    /// Puts the rows of each home together, in the order that they have; gives each home's range.
    fn sort(&mut self, homes: usize) -> Vec<(u32, std::ops::Range<usize>)> {
        let mut ends = vec![0; homes];
        self.homes.iter().for_each(|&home| ends[home as usize] += 1);
        let mut ranges = Vec::new();
        let mut end = 0;
        for (home, count) in ends.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            ranges.push((home as u32, end..end + *count));
            // From here on the place of the home's next row.
            (*count, end) = (end, end + *count);
        }
        if !self.homes.is_sorted() {
            let mut rows = vec![0; self.rows.len()];
            let mut slots = vec![0; self.rows.len()];
            for (at, &home) in self.homes.iter().enumerate() {
                let place = &mut ends[home as usize];
                (rows[*place], slots[*place]) = (self.rows[at], self.slots[at]);
                *place += 1;
            }
            (self.rows, self.slots) = (rows, slots);
        }
        ranges
    }
}

impl Operator for Session {
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
                .map(|expr| evaluate(expr, &rows.batch, context.failed, OPERATOR).map(one_zero))
                .collect::<Result<Vec<_>>>()?;
            values = Some(plan.converter.convert_columns(&columns).within(OPERATOR)?);
        }
        let mut mask = None;
        let mut passed = rows.batch.clone();
        if let Some(filter) = &plan.filter {
            let found = evaluate_mask(filter, &rows.batch, context.failed, OPERATOR)?;
            if found.true_count() < rows.len() {
                passed = filter_record_batch(&rows.batch, &found).within(OPERATOR)?;
                mask = Some(found);
            }
        }
        let places = self.assign(times, &rows.keys, values.as_ref(), mask.as_ref())?;
        self.aggregate(&passed, places, context)?;
        self.cohorts.settle(&self.table)
    }

    fn advance(
        &mut self,
        watermark: i64,
        context: &mut Context<'_>,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        while let Some((home, from, next)) = self.cohorts.first() {
            let plan = &self.plan;
            let is_due = |end: i64| plan.closes_at(end) <= watermark;
            if !is_due(from) {
                break;
            }
            let mut due = self.cohorts.pop(home, is_due, &self.table)?;
            let passed = next.is_some_and(is_due);
            let end = |id: &u32| self.table.end(*id);
            for tied in due.chunk_by_mut(|a, b| end(a) == end(b)) {
                tied.sort_unstable_by(|&a, &b| {
                    self.key_bytes(a, context.keys)
                        .cmp(self.key_bytes(b, context.keys))
                });
            }
            self.close(home, &due, context.keys, out)?;
            self.cohorts.tidy(home, passed, &mut self.table)?;
            if !passed {
                break;
            }
        }
        self.cohorts.settle(&self.table)
    }

    fn next_deadline(&self) -> Option<i64> {
        self.cohorts.least_end().map(|end| self.plan.closes_at(end))
    }

    fn snapshot(&mut self, context: &Context<'_>) -> Result<Vec<StateRow>> {
        Ok(self.save(context.keys))
    }

    fn restore(&mut self, rows: &[StateRow], context: &mut Context<'_>) -> Result<()> {
        self.load(rows, context)
    }

    fn take_over(&mut self, old: Box<dyn Operator>, _: bool) -> Result<()> {
        let Session { plan, .. } = std::mem::replace(self, *same_kind(old, OPERATOR)?);
        self.cohorts.compute(&plan.aggregates);
        self.plan = plan;
        Ok(())
    }

    fn memory(&self) -> usize {
        self.table.memory() + self.cohorts.memory()
    }
}
