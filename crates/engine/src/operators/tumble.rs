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
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;

use super::groups::{Grouping, Groups, Window, floor, split_start};
use super::{Context, Operator, StateRow, same_kind};
use crate::error::Result;
use crate::program::{Aggregate, GroupColumn, KeyBy};
use crate::rows::Rows;

const OPERATOR: &str = "tumble";

/// Open windows by their start.
pub(crate) struct Tumble {
    size_ms: i64,
    complete_ms: i64,
    grouping: Grouping,
    windows: BTreeMap<i64, Groups>,
    /// State rows of windows that closed since the last snapshot and had been saved by an earlier one.
    closed: Vec<Vec<u8>>,
    slots: Vec<u32>,
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
        let grouping = Grouping::new(OPERATOR, time, keys, groups, aggregates, input, schema)?;
        Ok(Tumble {
            size_ms,
            complete_ms,
            grouping,
            windows: BTreeMap::new(),
            closed: Vec::new(),
            slots: Vec::new(),
        })
    }

    fn window(&self, start: i64) -> Window {
        let end = start.saturating_add(self.size_ms);
        Window {
            start,
            end,
            closes_at: end.saturating_sub(self.complete_ms),
        }
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
        let batch = self.grouping.evaluate(rows, context)?;
        let size_ms = self.size_ms;
        self.grouping.take_in(
            &batch,
            &mut self.windows,
            &mut self.slots,
            size_ms,
            |time| Some(floor(time, size_ms)),
        )
    }

    fn advance(
        &mut self,
        watermark: i64,
        context: &mut Context<'_>,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        while let Some((&start, groups)) = self.windows.first_key_value() {
            let window = self.window(start);
            if watermark < window.closes_at {
                break;
            }
            out.push(self.grouping.emit(
                window,
                groups.keys(context.keys, OPERATOR)?,
                groups.topic_keys(),
                groups.results()?,
            )?);
            self.closed.extend(groups.saved_keys(start, context.keys));
            self.windows.pop_first();
        }
        Ok(())
    }

    fn next_deadline(&self) -> Option<i64> {
        let (&first, _) = self.windows.first_key_value()?;
        Some(self.window(first).closes_at)
    }

    fn snapshot(&mut self, context: &Context<'_>) -> Result<Vec<StateRow>> {
        let gone = self.closed.drain(..);
        let mut changes: Vec<StateRow> = gone.map(|key| StateRow { key, state: None }).collect();
        for (&start, groups) in &mut self.windows {
            groups.snapshot(start, context.keys, &mut changes);
        }
        Ok(changes)
    }

    fn restore(&mut self, rows: &[StateRow], context: &mut Context<'_>) -> Result<()> {
        for row in rows {
            let Some(state) = row.state.as_deref() else {
                continue;
            };
            let (start, key) = split_start(&row.key)?;
            let groups = self.grouping.at(&mut self.windows, start)?;
            groups.restore(key, state, context.keys, OPERATOR)?;
        }
        Ok(())
    }

    fn take_over(&mut self, old: Box<dyn Operator>, _: bool) -> Result<()> {
        let plan = std::mem::replace(self, *same_kind(old, OPERATOR)?);
        self.grouping = plan.grouping;
        Ok(())
    }

    fn memory(&self) -> usize {
        self.windows.values().map(Groups::memory).sum()
    }
}
