//! Aggregates over sessions: everything between the session and the aggregate is computed from the rows
//! that go into it, since a condition keeps a row from being counted and not from extending its session.
//!
//! ```text
//!   Aggregate  api_key, window_start, window_end               ┐
//!     Filter     status >= 400                                 │  one session node: keys, gap,
//!       Projection  *, __session['start'] AS window_start, …   │  filter, aggregates
//!         Window      __session(event_time, gap, max) OVER …   ┘
//!           Sort                                               order
//! ```

use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Window};
use keyhawk_engine::program::{GroupColumn, NodeId, NodeKind};

use super::aggregate::{column_at, computed_text};
use super::{Lowering, filter_meaning, physical, refused};
use crate::lineage::Unprepared;
use crate::meaning::{meaning, meanings};
use crate::origin::{Origin, session_call, session_limits};
use crate::windows::SESSION_COLUMN;

/// A plan above a session, in terms of the session's own columns.
struct Above<'p> {
    window: &'p Window,
    columns: Vec<Expr>,
    conditions: Vec<Expr>,
}

impl<'p> Above<'p> {
    fn of(plan: &'p LogicalPlan) -> Result<Option<Above<'p>>, Unprepared> {
        Ok(match plan {
            LogicalPlan::Window(window) if session_call(window).is_some() => {
                let schema = &window.schema;
                let columns = (0..schema.fields().len()).map(|place| column_at(schema, place));
                Some(Above {
                    window,
                    columns: columns.collect(),
                    conditions: Vec::new(),
                })
            }
            LogicalPlan::SubqueryAlias(alias) => Above::of(&alias.input)?,
            LogicalPlan::Filter(filter) => {
                let Some(mut above) = Above::of(&filter.input)? else {
                    return Ok(None);
                };
                for condition in split_conjunction(&filter.predicate) {
                    let condition = above.inline(condition, filter.input.schema())?;
                    above.conditions.push(condition);
                }
                Some(above)
            }
            LogicalPlan::Projection(projection) => {
                let Some(above) = Above::of(&projection.input)? else {
                    return Ok(None);
                };
                let inline = |expr: &Expr| above.inline(expr, projection.input.schema());
                let columns = projection
                    .expr
                    .iter()
                    .map(inline)
                    .collect::<Result<_, _>>()?;
                Some(Above { columns, ..above })
            }
            _ => None,
        })
    }

    /// An expression over the plan, as one over the session's columns.
    fn inline(&self, expr: &Expr, schema: &DFSchema) -> Result<Expr, Unprepared> {
        let inlined = expr.clone().unalias().transform_up(|expr| match &expr {
            Expr::Column(column) => {
                let place = schema.index_of_column(column)?;
                Ok(Transformed::yes(self.columns[place].clone()))
            }
            _ => Ok(Transformed::no(expr)),
        })?;
        Ok(inlined.data.unalias())
    }
}

fn reads_session(expr: &Expr) -> bool {
    expr.column_refs()
        .into_iter()
        .any(|column| column.name == SESSION_COLUMN)
}

impl Lowering<'_> {
    pub(super) fn session(
        &mut self,
        aggregate: &Aggregate,
        schema: SchemaRef,
    ) -> Result<NodeId, Unprepared> {
        let above = match Above::of(&aggregate.input)? {
            Some(above) => above,
            None => {
                return Err(refused(
                    &["GROUP BY"],
                    "the bounds of a session are grouped by behind another step",
                    "GROUP BY right where session(…) is read",
                ));
            }
        };
        let window = above.window;
        let from = window.input.schema();
        let Some((call, limits)) =
            session_call(window).and_then(|call| Some((call, session_limits(&call.params.args)?)))
        else {
            return Err(refused(&["session"], "no session", "write session(…)"));
        };
        let time = &call.params.args[0];
        let complete_ms = self
            .origin(&window.input, time)
            .complete_ms()
            .unwrap_or_default();
        let mut groups = Vec::new();
        let mut keys = Vec::new();
        let mut key_exprs = Vec::new();
        let mut origins = Vec::new();
        let mut group_exprs = Vec::new();
        for group in &aggregate.group_expr {
            let inlined = above.inline(group, aggregate.input.schema())?;
            match self.origin(&aggregate.input, group) {
                Origin::Window { part, .. } => groups.push(GroupColumn::Window(part)),
                _ => {
                    let expr = self.over_rows(&inlined, from)?;
                    origins.push(self.origin(&window.input, &inlined));
                    keys.push(expr.clone());
                    key_exprs.push(inlined.clone());
                    groups.push(GroupColumn::Key(expr));
                }
            }
            group_exprs.push(inlined);
        }
        let texts = |exprs: &[Expr]| -> Result<Vec<String>, Unprepared> {
            let mut texts = exprs
                .iter()
                .map(|expr| meaning([expr], from))
                .collect::<Result<Vec<_>, _>>()?;
            texts.sort();
            texts.dedup();
            Ok(texts)
        };
        if texts(&key_exprs)? != texts(&call.params.partition_by)? {
            return Err(refused(
                &["GROUP BY"],
                "GROUP BY names other keys than the session",
                "group by the session's keys, window_start and window_end; of other columns take max(…) or count(DISTINCT …)",
            ));
        }
        let (keys, keyed) = self.keys(keys, &origins, from)?;

        // What is asked of a session as a whole is asked of its row.
        let (whole, rows): (Vec<Expr>, Vec<Expr>) =
            above.conditions.iter().cloned().partition(reads_session);
        let mut aggregates = Vec::with_capacity(aggregate.aggr_expr.len());
        let mut computed = Vec::with_capacity(aggregate.aggr_expr.len());
        for (expr, result) in aggregate
            .aggr_expr
            .iter()
            .zip(schema.fields().iter().skip(groups.len()))
        {
            let name = expr.schema_name().to_string();
            let inlined = above.inline(expr, aggregate.input.schema())?;
            if reads_session(&inlined) {
                return Err(refused(
                    &["window_start", "window_end", "window_time"],
                    "an aggregate over the bounds of the session that it is part of",
                    "compute it in HAVING or in an outer SELECT",
                ));
            }
            aggregates.push(self.function(
                &inlined.clone().alias(name),
                result.data_type(),
                from,
            )?);
            computed.push(inlined);
        }
        let condition = conjunction(rows.iter().cloned());
        let filter = match &condition {
            Some(condition) => Some(physical(condition, from)?),
            None => None,
        };
        let meaning = format!(
            "session gap {} ms max {:?} of {} complete {complete_ms} ms by {} where {} as {:?} compute {}",
            limits.gap_ms,
            limits.max_ms,
            meaning([time], from)?,
            meaning(&key_exprs, from)?,
            meaning(condition.iter(), from)?,
            aggregate
                .group_expr
                .iter()
                .map(|group| self.origin(&aggregate.input, group).part())
                .collect::<Vec<_>>(),
            computed_text(&aggregates, meanings(&computed, from)?)
        );
        let input = self.lower(&window.input)?;
        let kind = NodeKind::Session {
            time: physical(time, from)?,
            gap_ms: limits.gap_ms,
            max_ms: limits.max_ms,
            complete_ms,
            keys,
            groups,
            aggregates,
            filter,
        };
        let node = self.builder.add(kind, vec![input], schema, &meaning, keyed);
        self.of_whole_sessions(node, aggregate, &group_exprs, whole)
    }

    fn over_rows(
        &self,
        expr: &Expr,
        from: &DFSchema,
    ) -> Result<std::sync::Arc<dyn datafusion::physical_expr::PhysicalExpr>, Unprepared> {
        if reads_session(expr) {
            return Err(refused(
                &["GROUP BY"],
                "GROUP BY computes with the bounds of a session",
                "group by window_start and window_end, and compute in an outer SELECT",
            ));
        }
        physical(expr, from)
    }

    /// Keeps the sessions that fulfil conditions on their bounds and keys.
    fn of_whole_sessions(
        &mut self,
        node: NodeId,
        aggregate: &Aggregate,
        groups: &[Expr],
        conditions: Vec<Expr>,
    ) -> Result<NodeId, Unprepared> {
        let Some(condition) = conjunction(conditions) else {
            return Ok(node);
        };
        let output = &aggregate.schema;
        let replaced = condition.transform_down(|expr| {
            match groups.iter().position(|group| *group == expr) {
                Some(place) => Ok(Transformed::new(
                    column_at(output, place),
                    true,
                    datafusion::common::tree_node::TreeNodeRecursion::Jump,
                )),
                None => Ok(Transformed::no(expr)),
            }
        })?;
        let predicate = replaced.data;
        let known = predicate
            .column_refs()
            .into_iter()
            .all(|column| output.index_of_column(column).is_ok());
        if !known {
            return Err(refused(
                &["WHERE"],
                "a condition compares a row with the bounds of its session, which come only when it has ended",
                "write it in HAVING, over the grouping columns",
            ));
        }
        let schema = self.builder.schema(node).clone();
        let meaning = filter_meaning(&predicate, output)?;
        let predicate = physical(&predicate, output)?;
        let kind = NodeKind::Filter { predicate };
        Ok(self.builder.add(kind, vec![node], schema, meaning, false))
    }
}
