//! Hopping windows: spans of one length that start at every multiple of a slide, a row a key and span.
//!
//! ```text
//!   size 10 s, slide 4 s: panes of 2 s          ┌─0─┬─2─┬─4─┬─6─┬─8─┬─10┬─12┬─14┐
//!   window 0                                    ├───────────────────┤   │   │   │
//!   window 4                                    │   │   ├───────────────────┤   │
//! ```
//!
//! A row goes into one pane of gcd(size, slide), however many windows hold it; a window is put together
//! from its panes when it closes ([`Blocks`] says how, in a constant number of merges a pane). A pane
//! never changes once the watermark has passed it.
//!
//! In:    an event time Timestamp(ms, UTC); any key columns. A row without a time is in no window, nor
//!        is one between two windows where the slide is longer than the size.
//! Out:   the grouping columns, then the aggregates, in the plan's order, for each group with a row in
//!        the window; windows in the order of their starts. Delay of `window_end`: that of the input,
//!        of `window_start`: the size more. Time without rows costs nothing.
//! State: a row a key and pane; at most keys × (size + lateness) / gcd + 1, and in memory merged rows
//!        of as many windows as lie in one size. What is merged is not saved: it is made again.
//! Late:  nothing is late here; decode decided.
//! Batch: each row repeated for every window that holds it, then `GROUP BY key, window_start`; windows
//!        are aligned to 1970.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;

use super::blocks::Blocks;
use super::groups::{Grouping, Groups, Window, floor, split_start};
use super::{Context, Operator, StateRow, same_kind};
use crate::error::{Error, Result};
use crate::program::{Aggregate, GroupColumn, KeyBy};
use crate::rows::Rows;

const OPERATOR: &str = "hop";

/// The windows of a hop, in milliseconds.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) size_ms: i64,
    pub(crate) slide_ms: i64,
    pub(crate) complete_ms: i64,
}

impl Span {
    fn window(&self, start: i64) -> Window {
        let end = start.saturating_add(self.size_ms);
        Window {
            start,
            end,
            closes_at: end.saturating_sub(self.complete_ms),
        }
    }

    /// The length of a pane.
    fn pane_ms(&self) -> i64 {
        let (mut a, mut b) = (self.size_ms, self.slide_ms);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    }

    /// The start of the pane of a row, if any window holds it.
    fn pane_of(&self, time: i64, pane_ms: i64) -> Option<i64> {
        let in_window = time.saturating_sub(floor(time, self.slide_ms)) < self.size_ms;
        in_window.then(|| floor(time, pane_ms))
    }

    /// The start of the first window that is still open at `watermark`.
    fn first_open(&self, watermark: i64) -> i64 {
        let closed = watermark
            .saturating_add(self.complete_ms)
            .saturating_sub(self.size_ms);
        floor(closed, self.slide_ms).saturating_add(self.slide_ms)
    }
}

/// Panes by their start, and what is merged of them.
pub(crate) struct Hop {
    span: Span,
    pane_ms: i64,
    grouping: Grouping,
    panes: BTreeMap<i64, Groups>,
    blocks: Blocks,
    /// No window that starts before it is open.
    next_start: i64,
    /// State rows of panes that were freed since the last snapshot and had been saved by an earlier one.
    freed: Vec<Vec<u8>>,
    slots: Vec<u32>,
}

impl Hop {
    pub(crate) fn new(
        time: Arc<dyn PhysicalExpr>,
        span: Span,
        keys: KeyBy,
        groups: Vec<GroupColumn>,
        aggregates: Vec<Aggregate>,
        input: &Schema,
        schema: SchemaRef,
    ) -> Result<Self> {
        if span.size_ms <= 0 || span.slide_ms <= 0 {
            return Err(Error::Shape {
                operator: OPERATOR,
                detail: format!("size {} ms, slide {} ms", span.size_ms, span.slide_ms),
            });
        }
        let grouping = Grouping::new(OPERATOR, time, keys, groups, aggregates, input, schema)?;
        Ok(Hop {
            span,
            pane_ms: span.pane_ms(),
            blocks: Blocks::new(&grouping, span.size_ms, span.slide_ms)?,
            grouping,
            panes: BTreeMap::new(),
            next_start: i64::MIN,
            freed: Vec::new(),
            slots: Vec::new(),
        })
    }

    /// The first open window that has a row. Time between is passed over.
    fn next_window(&self) -> Option<Window> {
        let (&pane, _) = self.panes.first_key_value()?;
        // The first window that holds the first pane: the last one before it that does not is the
        // last that ends before the pane does.
        let before = pane
            .saturating_add(self.pane_ms - 1)
            .saturating_sub(self.span.size_ms);
        let first = floor(before, self.span.slide_ms).saturating_add(self.span.slide_ms);
        Some(self.span.window(first.max(self.next_start)))
    }
}

impl Operator for Hop {
    fn process(
        &mut self,
        _: usize,
        rows: &Rows,
        context: &mut Context<'_>,
        _: &mut Vec<Rows>,
    ) -> Result<()> {
        let batch = self.grouping.evaluate(rows, context)?;
        let (span, pane_ms, closed) = (self.span, self.pane_ms, self.blocks.entered);
        self.grouping
            .take_in(&batch, &mut self.panes, &mut self.slots, pane_ms, |time| {
                let pane = span.pane_of(time, pane_ms);
                debug_assert!(pane.is_none_or(|pane| pane >= closed), "a late row");
                pane
            })
    }

    fn advance(
        &mut self,
        watermark: i64,
        context: &mut Context<'_>,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        while let Some(window) = self.next_window() {
            if watermark < window.closes_at {
                break;
            }
            let rows = self
                .blocks
                .close(window, &mut self.panes, &self.grouping, context.keys)?;
            out.extend(rows);
            self.next_start = window.start.saturating_add(self.span.slide_ms);
            while let Some(entry) = self.panes.first_entry()
                && *entry.key() < self.next_start
            {
                let (start, pane) = entry.remove_entry();
                self.blocks.leave(start, &pane)?;
                self.freed.extend(pane.saved_keys(start, context.keys));
            }
            if self.panes.is_empty() {
                self.blocks.clear(&self.grouping)?;
            }
        }
        Ok(())
    }

    fn next_deadline(&self) -> Option<i64> {
        self.next_window().map(|window| window.closes_at)
    }

    fn snapshot(&mut self, context: &Context<'_>) -> Result<Vec<StateRow>> {
        let gone = self.freed.drain(..);
        let mut changes: Vec<StateRow> = gone.map(|key| StateRow { key, state: None }).collect();
        for (&start, pane) in &mut self.panes {
            pane.snapshot(start, context.keys, &mut changes);
        }
        Ok(changes)
    }

    fn restore(&mut self, rows: &[StateRow], context: &mut Context<'_>) -> Result<()> {
        // Windows that closed before are not emitted again.
        self.next_start = self.next_start.max(self.span.first_open(context.watermark));
        for row in rows {
            let Some(state) = row.state.as_deref() else {
                continue;
            };
            let (start, key) = split_start(&row.key)?;
            let pane = self.grouping.at(&mut self.panes, start)?;
            pane.restore(key, state, context.keys, OPERATOR)?;
        }
        self.blocks.clear(&self.grouping)
    }

    fn take_over(&mut self, old: Box<dyn Operator>, _: bool) -> Result<()> {
        let plan = std::mem::replace(self, *same_kind(old, OPERATOR)?);
        self.grouping = plan.grouping;
        Ok(())
    }

    fn memory(&self) -> usize {
        let panes = self.panes.values().map(Groups::memory).sum::<usize>();
        panes + self.blocks.memory()
    }
}
