//! Aggregates: which need a window, which order their rows come in, and what carries their evidence.

use std::sync::Arc;

use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, Sort as SortExpr};
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, LogicalPlan, Projection, lit, when,
};
use keyhawk_engine::program::WindowPart;
use keyhawk_engine::{OFFSET_COLUMNS, TIME_COLUMN};
use keyhawk_functions::window_shift;

use super::hoist::Hoist;
use super::{Preparation, Prepared, Unprepared, held, refuse, unpartnered};
use crate::fill::Filling;
use crate::origin::{Origin, WindowKind};

/// A bound of a window that rows are grouped by.
#[derive(Clone, Copy)]
struct Bound {
    part: WindowPart,
    kind: WindowKind,
    size_ms: i64,
    complete_ms: i64,
    window: u64,
}

impl Preparation<'_> {
    pub(super) fn aggregate(&self, aggregate: &Aggregate) -> Result<Prepared, Unprepared> {
        let unfilled = self.unfilled.get();
        let input = self.node(&aggregate.input)?;
        // What is named twice is one column.
        let mut group_expr: Vec<Expr> = Vec::with_capacity(aggregate.group_expr.len());
        for group in &aggregate.group_expr {
            if !group_expr.contains(group) {
                group_expr.push(group.clone());
            }
        }
        if group_expr
            .iter()
            .any(|group| matches!(group, Expr::GroupingSet(_)))
        {
            return refuse(
                &["GROUPING", "ROLLUP", "CUBE"],
                "grouping sets are not supported",
                "write a rule for each grouping",
            );
        }
        let bound = |group: &Expr| match self.origin(&aggregate.input, group) {
            Origin::Window {
                part,
                kind,
                size_ms,
                complete_ms,
                window,
            } => Some(Bound {
                part,
                kind,
                size_ms,
                complete_ms,
                window,
            }),
            _ => None,
        };
        let bounds: Vec<Option<Bound>> = group_expr.iter().map(bound).collect();
        let Some(&first) = bounds.iter().flatten().next() else {
            let of = |wanted: Origin| {
                let mut groups = group_expr.iter();
                groups.find(|group| self.origin(&aggregate.input, group) == wanted)
            };
            if let Some(group) = of(Origin::Held) {
                return held(group);
            }
            if let Some(group) = of(Origin::Unpartnered) {
                return unpartnered(group);
            }
            if group_expr
                .iter()
                .any(|group| self.origin(&aggregate.input, group) == Origin::Timeless)
            {
                return refuse(
                    &["tumble", "hop", "session"],
                    "the windows are cut along what is no event time, so nobody knows when one is complete",
                    "write tumble(events, event_time, …), or a window bound of a view for the time",
                );
            }
            return refuse(
                &["GROUP BY", "count", "sum", "min", "max", "SELECT"],
                "an aggregate without a window would never be finished",
                "read FROM tumble(events, event_time, INTERVAL '10 minutes') and add window_start, window_end to GROUP BY",
            );
        };
        if bounds
            .iter()
            .flatten()
            .any(|bound| bound.window != first.window)
        {
            return refuse(
                &["GROUP BY"],
                "GROUP BY names the bounds of two different windows",
                "group by the bounds of one",
            );
        }
        let plan = self.with_key(input.plan, &aggregate.input, group_expr.iter())?;
        let mut hoist = Hoist::new(&self.arguments);
        let groups = group_expr.iter().cloned();
        let groups: Vec<Expr> = groups.map(|group| hoist.named(group)).collect();
        let mut aggregates = Vec::with_capacity(aggregate.aggr_expr.len() + 2);
        for expr in &aggregate.aggr_expr {
            let expr = self.comparable(expr, &aggregate.input)?;
            let ordered = in_total_order(&expr, &input.time, &input.lineage)?;
            aggregates.push(hoist.aggregate(&ordered, plan.schema())?);
        }
        let plan = hoist.below(plan)?;
        let extremes = ["min", "max"].map(|name| &self.state.aggregate_functions()[name]);
        let carried = extremes.iter().zip(&input.offsets).zip(OFFSET_COLUMNS);
        aggregates.extend(carried.map(|((extreme, offset), name)| {
            extreme.call(vec![Expr::Column(offset.clone())]).alias(name)
        }));
        let offsets = OFFSET_COLUMNS.map(Column::new_unqualified);
        let aggregated = Aggregate::try_new(Arc::new(plan), groups, aggregates)?;
        let groups: Vec<Column> = aggregated
            .schema
            .columns()
            .into_iter()
            .take(group_expr.len())
            .collect();
        let plan = match first.kind {
            WindowKind::Tumble { fill } if fill > 0 => {
                self.unfilled.set(unfilled);
                self.filled(aggregated, fill, first, &bounds)?
            }
            _ => LogicalPlan::Aggregate(aggregated),
        };
        let end = bounds
            .iter()
            .position(|bound| matches!(bound, Some(bound) if bound.part == WindowPart::End));
        if let Some(end) = end {
            return Ok(Prepared {
                plan,
                time: groups[end].clone(),
                offsets,
                lineage: groups,
            });
        }
        // The window's end was not asked for: it follows from the bound that was.
        let any = bounds.iter().position(Option::is_some).unwrap_or_default();
        let to_end_ms = match (first.part, first.kind) {
            (WindowPart::Start, WindowKind::Session(_)) => {
                return refuse(
                    &["GROUP BY"],
                    "GROUP BY names the start of a session, which does not tell its end",
                    "add window_end to GROUP BY",
                );
            }
            (WindowPart::Start, _) => first.size_ms,
            (WindowPart::Time | WindowPart::End, _) => 1,
        };
        let end = window_shift().call(vec![Expr::Column(groups[any].clone()), lit(to_end_ms)]);
        let mut columns: Vec<Expr> = plan
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        columns.push(end.alias(TIME_COLUMN));
        let plan = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?);
        Ok(Prepared {
            plan,
            time: Column::new_unqualified(TIME_COLUMN),
            offsets,
            lineage: groups,
        })
    }

    /// An aggregate with rows for the windows in which a group is silent.
    fn filled(
        &self,
        aggregate: Aggregate,
        windows: i64,
        window: Bound,
        bounds: &[Option<Bound>],
    ) -> Result<LogicalPlan, Unprepared> {
        if bounds.iter().all(Option::is_some) {
            return refuse(
                &["fill", "GROUP BY"],
                "fill without a key: nobody is silent where all rows are one group",
                "add api_key to GROUP BY, or leave fill out",
            );
        }
        let fields = aggregate.schema.fields().iter().zip(bounds);
        if let Some((field, _)) = fields
            .filter(|(_, bound)| bound.is_none())
            .find(|(field, _)| field.data_type().is_floating())
        {
            return refuse(
                &[field.name(), "GROUP BY"],
                "windows are filled by keys that are no floats: 0.0 and -0.0 are one number and two values",
                "group by a text or an integer",
            );
        }
        let filling = Filling {
            parts: bounds
                .iter()
                .map(|bound| Some(bound.as_ref()?.part))
                .collect(),
            size_ms: window.size_ms,
            windows,
            complete_ms: window.complete_ms,
        };
        Ok(filling.above(aggregate)?)
    }

    /// `min` and `max` pass over NaN: it compares with nothing, so that with it in the way they would
    /// depend on the order of rows.
    fn comparable(&self, expr: &Expr, input: &LogicalPlan) -> Result<Expr, Unprepared> {
        Ok(match expr {
            Expr::Alias(alias) => self
                .comparable(&alias.expr, input)?
                .unalias()
                .alias_qualified(alias.relation.clone(), &alias.name),
            Expr::AggregateFunction(function) => {
                let mut changed = function.clone();
                let name = function.func.name();
                if self.pass_over_nan(name, &mut changed.params.args, input)? {
                    let name = expr.schema_name().to_string();
                    Expr::AggregateFunction(changed).alias(name)
                } else {
                    expr.clone()
                }
            }
            other => other.clone(),
        })
    }

    /// Whether a call is a `min` or `max` of floats, whose argument then gives null for NaN.
    pub(super) fn pass_over_nan(
        &self,
        name: &str,
        args: &mut [Expr],
        input: &LogicalPlan,
    ) -> Result<bool, Unprepared> {
        let ("min" | "max", [argument]) = (name, args) else {
            return Ok(false);
        };
        if !argument.get_type(input.schema())?.is_floating() {
            return Ok(false);
        }
        let is_nan = self.scalar("isnan").call(vec![argument.clone()]);
        let value = std::mem::take(argument);
        *argument = when(is_nan, lit(ScalarValue::Null)).otherwise(value)?;
        Ok(true)
    }

    /// DISTINCT, which is GROUP BY all columns.
    pub(super) fn distinct(&self, input: &Arc<LogicalPlan>) -> Result<Prepared, Unprepared> {
        if matches!(**input, LogicalPlan::Union(_)) {
            return refuse(
                &["UNION"],
                "UNION compares every row with all rows before it",
                "write UNION ALL",
            );
        }
        let columns = input.schema().columns();
        let groups: Vec<Expr> = columns.into_iter().map(Expr::Column).collect();
        let in_window = |group: &Expr| matches!(self.origin(input, group), Origin::Window { .. });
        if !groups.iter().any(in_window) {
            return refuse(
                &["DISTINCT"],
                "DISTINCT without a window needs unbounded state",
                "select window_end too, FROM tumble(…)",
            );
        }
        self.aggregate(&Aggregate::try_new(Arc::clone(input), groups, vec![])?)
    }
}

/// Completes the order of an aggregate whose result depends on it: by what the query says, then by
/// time and lineage, so that no two rows are equal.
fn in_total_order(expr: &Expr, time: &Column, lineage: &[Column]) -> Result<Expr, Unprepared> {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = expr else {
        return match expr {
            Expr::Alias(alias) => {
                let inner = in_total_order(&alias.expr, time, lineage)?;
                Ok(inner.alias_qualified(alias.relation.clone(), alias.name.clone()))
            }
            other => Ok(other.clone()),
        };
    };
    if !["first_value", "last_value", "array_agg"].contains(&func.name()) {
        return Ok(expr.clone());
    }
    let name = expr.schema_name().to_string();
    let mut params = params.clone();
    // Each column once: the time is often a column of lineage too.
    for column in std::iter::once(time).chain(lineage) {
        let column = Expr::Column(column.clone());
        if params.order_by.iter().all(|by| by.expr != column) {
            params.order_by.push(SortExpr::new(column, true, false));
        }
    }
    let ordered = AggregateFunction {
        func: Arc::clone(func),
        params,
    };
    Ok(Expr::AggregateFunction(ordered).alias(name))
}
