//! Aggregates over windows: which operator closes the window, and what it computes.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Projection, Unnest, lit};
use keyhawk_engine::program::{
    Aggregate as AggregateNode, AggregateKind, GroupColumn, KeyBy, NodeId, NodeKind, WindowPart,
};
use keyhawk_functions::HOP_STARTS;

use super::{Lowering, physical, refused, unkeyed};
use crate::lineage::Unprepared;
use crate::meaning::{meaning, meanings};
use crate::origin::{Origin, WindowKind};

/// The windows that rows are grouped by.
struct Windows {
    kind: WindowKind,
    size_ms: i64,
    complete_ms: i64,
    /// A bound that is among the grouping columns, and which one.
    bound: Expr,
    part: WindowPart,
}

impl Lowering<'_> {
    pub(super) fn aggregate(
        &mut self,
        aggregate: &Aggregate,
        schema: SchemaRef,
    ) -> Result<NodeId, Unprepared> {
        let Some(windows) = self.windows(aggregate) else {
            return Err(refused(
                &["GROUP BY"],
                "an aggregate without a window",
                "read FROM tumble(…)",
            ));
        };
        match windows.kind {
            WindowKind::Session(_) => self.session(aggregate, schema),
            WindowKind::Tumble { .. } => self.spans(aggregate, &aggregate.input, &windows, schema),
            WindowKind::Hop { .. } => match self.panes(aggregate)? {
                Some(input) => self.spans(aggregate, &input, &windows, schema),
                None => self.expanded(aggregate, &windows, schema),
            },
        }
    }

    fn windows(&self, aggregate: &Aggregate) -> Option<Windows> {
        let mut found: Option<Windows> = None;
        for group in &aggregate.group_expr {
            let Origin::Window {
                part,
                kind,
                size_ms,
                complete_ms,
                ..
            } = self.origin(&aggregate.input, group)
            else {
                continue;
            };
            // Any moment of the window tells which it is: its start or last millisecond do.
            let known = found.as_ref().map(|windows| windows.part);
            if !matches!(known, Some(WindowPart::Start | WindowPart::Time)) {
                found = Some(Windows {
                    kind,
                    size_ms,
                    complete_ms,
                    bound: group.clone().unalias(),
                    part,
                });
            }
        }
        found
    }

    /// Windows that are told by a moment in them; `input` has the columns of the aggregate's own.
    fn spans(
        &mut self,
        aggregate: &Aggregate,
        input: &LogicalPlan,
        windows: &Windows,
        schema: SchemaRef,
    ) -> Result<NodeId, Unprepared> {
        let node = self.lower(input)?;
        let from = input.schema();
        let Windows {
            size_ms,
            complete_ms,
            ..
        } = *windows;
        // Of hopping windows the start stands for the row's own time, and the others are as far from
        // it as they are from the start; a tumbling window's last millisecond is a moment of it.
        let back_ms = match (windows.kind, windows.part) {
            (_, WindowPart::Start) | (WindowKind::Tumble { .. }, WindowPart::Time) => 0,
            (WindowKind::Tumble { .. }, WindowPart::End) => 1,
            (_, WindowPart::End) => size_ms,
            (_, WindowPart::Time) => size_ms - 1,
        };
        let time = physical(&earlier(windows.bound.clone(), back_ms), from)?;
        let (groups, keys, keyed) = self.grouped(aggregate, from, |_| true)?;
        let aggregates = self.aggregates(aggregate, from)?;
        let what = match windows.kind {
            WindowKind::Hop { slide_ms } => format!("hop {size_ms} ms by {slide_ms} ms"),
            _ => format!("tumble {size_ms} ms"),
        };
        let meaning = format!(
            "{what} complete {complete_ms} ms by {} compute {}",
            meaning(&aggregate.group_expr, from)?,
            computed_text(&aggregates, meanings(&aggregate.aggr_expr, from)?)
        );
        let kind = match windows.kind {
            WindowKind::Hop { slide_ms } => NodeKind::Hop {
                time,
                size_ms,
                slide_ms,
                complete_ms,
                keys,
                groups,
                aggregates,
            },
            _ => NodeKind::Tumble {
                time,
                size_ms,
                complete_ms,
                keys,
                groups,
                aggregates,
            },
        };
        Ok(self.builder.add(kind, vec![node], schema, &meaning, keyed))
    }

    /// Hopping windows whose bounds are read below the aggregate: every row comes once for each of its
    /// windows, and is counted in the tumbling window of one slide that tells it.
    fn expanded(
        &mut self,
        aggregate: &Aggregate,
        windows: &Windows,
        schema: SchemaRef,
    ) -> Result<NodeId, Unprepared> {
        let WindowKind::Hop { slide_ms } = windows.kind else {
            return Err(refused(&["hop"], "no hopping window", "write hop(…)"));
        };
        let node = self.lower(&aggregate.input)?;
        let from = aggregate.input.schema();
        let back_ms = match windows.part {
            WindowPart::Start => 0,
            WindowPart::End => windows.size_ms,
            WindowPart::Time => windows.size_ms - 1,
        };
        let time = physical(&earlier(windows.bound.clone(), back_ms), from)?;
        let complete_ms = windows.complete_ms - windows.size_ms + slide_ms;
        // It tumbles by the slide: of the hop's bounds only the start is one of its own.
        let is_start = |part| part == WindowPart::Start;
        let (groups, keys, keyed) = self.grouped(aggregate, from, is_start)?;
        let aggregates = self.aggregates(aggregate, from)?;
        let meaning = format!(
            "expanded hop {} ms by {slide_ms} ms complete {complete_ms} ms by {} compute {}",
            windows.size_ms,
            meaning(&aggregate.group_expr, from)?,
            computed_text(&aggregates, meanings(&aggregate.aggr_expr, from)?)
        );
        let kind = NodeKind::Tumble {
            time,
            size_ms: slide_ms,
            complete_ms,
            keys,
            groups,
            aggregates,
        };
        Ok(self.builder.add(kind, vec![node], schema, &meaning, keyed))
    }

    /// The grouping columns, those of them that tell groups of one window apart, and whether one partition
    /// sees all rows of a group. `is_told` says which bounds the window itself gives.
    fn grouped(
        &mut self,
        aggregate: &Aggregate,
        from: &DFSchema,
        is_told: impl Fn(WindowPart) -> bool,
    ) -> Result<(Vec<GroupColumn>, KeyBy, bool), Unprepared> {
        let mut groups = Vec::new();
        let mut keys = Vec::new();
        let mut origins = Vec::new();
        for group in &aggregate.group_expr {
            match self.origin(&aggregate.input, group) {
                Origin::Window { part, .. } if is_told(part) => {
                    groups.push(GroupColumn::Window(part));
                }
                found => {
                    let expr = physical(group, from)?;
                    keys.push(Arc::clone(&expr));
                    origins.push(found);
                    groups.push(GroupColumn::Key(expr));
                }
            }
        }
        let (keys, keyed) = self.keys(keys, &origins, from)?;
        Ok((groups, keys, keyed))
    }

    /// How groups are told apart, and whether one partition sees all rows of one.
    pub(super) fn keys(
        &mut self,
        keys: Vec<Arc<dyn datafusion::physical_expr::PhysicalExpr>>,
        origins: &[Origin],
        from: &DFSchema,
    ) -> Result<(KeyBy, bool), Unprepared> {
        let keyed = origins.contains(&Origin::TopicKey);
        if !keyed {
            self.unkeyed.push(unkeyed("GROUP BY", self.key));
        }
        let by = match origins {
            [Origin::TopicKey] => KeyBy::Topic,
            [] => KeyBy::Columns(vec![physical(
                &Expr::Literal(ScalarValue::Boolean(Some(true)), None),
                from,
            )?]),
            _ => KeyBy::Columns(keys),
        };
        Ok((by, keyed))
    }

    /// The input of an aggregate with the event's own time in the place of the windows' starts, so that
    /// no row is multiplied; `None` where something below reads the bounds.
    fn panes(&self, aggregate: &Aggregate) -> Result<Option<LogicalPlan>, Unprepared> {
        let reads = |expr: &Expr| self.reads_bounds(&aggregate.input, expr);
        let is_key =
            |group: &&Expr| !matches!(self.origin(&aggregate.input, group), Origin::Window { .. });
        if aggregate.aggr_expr.iter().any(reads)
            || aggregate.group_expr.iter().filter(is_key).any(reads)
        {
            return Ok(None);
        }
        self.unexpanded(&aggregate.input)
    }

    fn unexpanded(&self, plan: &LogicalPlan) -> Result<Option<LogicalPlan>, Unprepared> {
        let allowed = match plan {
            // Where hopping windows lie below already, the bound that is grouped by may be theirs.
            LogicalPlan::Unnest(unnest) if self.is_above_hops(unnest) => return Ok(None),
            LogicalPlan::Unnest(unnest) => return at_own_time(unnest),
            LogicalPlan::SubqueryAlias(_) => true,
            LogicalPlan::Filter(filter) => !self.reads_bounds(&filter.input, &filter.predicate),
            LogicalPlan::Projection(projection) => projection.expr.iter().all(|expr| {
                let is_bound =
                    matches!(self.origin(&projection.input, expr), Origin::Window { .. });
                is_bound || !self.reads_bounds(&projection.input, expr)
            }),
            _ => false,
        };
        let [input] = plan.inputs()[..] else {
            return Ok(None);
        };
        match allowed {
            true => match self.unexpanded(input)? {
                Some(input) => Ok(Some(plan.with_new_exprs(plan.expressions(), vec![input])?)),
                None => Ok(None),
            },
            false => Ok(None),
        }
    }

    /// Whether rows have bounds of hopping windows before they are repeated for each of these windows.
    fn is_above_hops(&self, unnest: &Unnest) -> bool {
        let LogicalPlan::Projection(projection) = unnest.input.as_ref() else {
            return false;
        };
        let input = &projection.input;
        let mut places = 0..input.schema().fields().len();
        places.any(|place| self.reads_bounds(input, &column_at(input.schema(), place)))
    }

    /// Whether an expression reads a bound of a hopping window.
    fn reads_bounds(&self, input: &LogicalPlan, expr: &Expr) -> bool {
        expr.column_refs().into_iter().any(|column| {
            matches!(
                self.origin(input, &Expr::Column(column.clone())),
                Origin::Window {
                    kind: WindowKind::Hop { .. },
                    ..
                }
            )
        })
    }

    pub(super) fn aggregates(
        &self,
        aggregate: &Aggregate,
        from: &DFSchema,
    ) -> Result<Vec<AggregateNode>, Unprepared> {
        let results = aggregate
            .schema
            .fields()
            .iter()
            .skip(aggregate.group_expr.len());
        aggregate
            .aggr_expr
            .iter()
            .zip(results)
            .map(|(expr, result)| self.function(expr, result.data_type(), from))
            .collect()
    }

    pub(super) fn function(
        &self,
        expr: &Expr,
        result: &arrow::datatypes::DataType,
        from: &DFSchema,
    ) -> Result<AggregateNode, Unprepared> {
        let column = expr.schema_name().to_string();
        let Expr::AggregateFunction(AggregateFunction { func, params }) =
            expr.clone().unalias_nested().data
        else {
            return Err(refused(
                &["GROUP BY"],
                format!("`{expr}` is no aggregate"),
                "write count, sum, min or max",
            ));
        };
        let name = func.name();
        let Some(kind) = self.kind(name, params.distinct, &column) else {
            let distinct = if params.distinct {
                "(DISTINCT …)"
            } else {
                ""
            };
            let help = if name.starts_with("approx") {
                "estimates differ from run to run: write count(DISTINCT x), min, max or avg"
            } else if name == "array_agg" {
                "write array_slice(array_agg(x), 1, 10), so that the list is bounded"
            } else {
                "aggregates are count, count(DISTINCT), sum, min, max, avg, stddev, var, bool_and, bool_or, first_value, last_value, each with FILTER"
            };
            return Err(refused(
                &[name],
                format!("`{name}{distinct}` is not computed incrementally"),
                help,
            ));
        };
        let picks = matches!(kind, AggregateKind::FirstValue | AggregateKind::LastValue);
        if params.null_treatment.is_some() && !picks {
            return Err(refused(
                &["IGNORE NULLS", "RESPECT NULLS", name],
                format!("`{name}` takes no IGNORE NULLS"),
                "leave it out: aggregates pass over nulls anyway",
            ));
        }
        if !params.order_by.is_empty() && !kind.by_order() {
            return Err(refused(
                &[name],
                format!("the order of rows makes no difference to `{name}`"),
                "leave ORDER BY out",
            ));
        }
        let [argument] = params.args.as_slice() else {
            return Err(refused(
                &[name],
                format!("`{name}` of several arguments is not supported"),
                "write one",
            ));
        };
        let argument = physical(argument, from)?;
        let data_type = argument.data_type(from.as_arrow())?;
        if !kind.is_computed(&data_type, result) {
            return Err(refused(
                &[name],
                format!("`{name}` over {data_type} is not computed incrementally"),
                "cast the argument to an integer, a float, a timestamp or text",
            ));
        }
        let filter = match &params.filter {
            Some(filter) => Some(physical(filter, from)?),
            None => None,
        };
        let order = params
            .order_by
            .iter()
            .map(|by| {
                let options = SortOptions {
                    descending: !by.asc,
                    nulls_first: by.nulls_first,
                };
                Ok((physical(&by.expr, from)?, options))
            })
            .collect::<Result<_, Unprepared>>()?;
        Ok(AggregateNode {
            kind,
            argument,
            filter,
            order,
            ignore_nulls: params.null_treatment == Some(NullTreatment::IgnoreNulls),
        })
    }

    fn kind(&self, name: &str, distinct: bool, column: &str) -> Option<AggregateKind> {
        Some(match (name, distinct) {
            ("count", true) => AggregateKind::CountDistinct,
            ("count", false) => AggregateKind::Count,
            ("min", _) => AggregateKind::Min,
            ("max", _) => AggregateKind::Max,
            ("bool_and", _) => AggregateKind::BoolAnd,
            ("bool_or", _) => AggregateKind::BoolOr,
            ("sum", false) => AggregateKind::Sum,
            ("avg", false) => AggregateKind::Avg,
            ("var", false) => AggregateKind::VarianceSample,
            ("var_pop", false) => AggregateKind::VariancePopulation,
            ("stddev", false) => AggregateKind::StddevSample,
            ("stddev_pop", false) => AggregateKind::StddevPopulation,
            ("first_value", false) => AggregateKind::FirstValue,
            ("last_value", false) => AggregateKind::LastValue,
            ("array_agg", false) => AggregateKind::ArrayFirst(*self.arrays.get(column)?),
            _ => return None,
        })
    }
}

/// What is computed over each group: the expressions, and of lists how many elements are read.
pub(super) fn computed_text(aggregates: &[AggregateNode], texts: Vec<String>) -> String {
    let texts = aggregates.iter().zip(texts);
    let texts = texts.map(|(aggregate, text)| match aggregate.kind {
        AggregateKind::ArrayFirst(n) => format!("first {n} of {text}"),
        _ => text,
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// A time so many milliseconds before.
fn earlier(time: Expr, ms: i64) -> Expr {
    match ms {
        0 => time,
        ms => keyhawk_functions::window_shift().call(vec![time, lit(-ms)]),
    }
}

/// What an unnest of windows' starts is over, with the time itself in the place of the list of starts.
fn at_own_time(unnest: &Unnest) -> Result<Option<LogicalPlan>, Unprepared> {
    let LogicalPlan::Projection(projection) = unnest.input.as_ref() else {
        return Ok(None);
    };
    let mut found = false;
    let mut columns = Vec::with_capacity(projection.expr.len());
    for (expr, field) in projection.expr.iter().zip(projection.schema.iter()) {
        let replaced = expr.clone().transform_up(|expr| match &expr {
            Expr::ScalarFunction(function) if function.name() == HOP_STARTS => {
                Ok(Transformed::yes(function.args[0].clone()))
            }
            _ => Ok(Transformed::no(expr)),
        })?;
        found |= replaced.transformed;
        let (relation, field) = field;
        columns.push(match (&replaced.data, replaced.transformed) {
            (_, false) => replaced.data,
            (Expr::Alias(_), true) => replaced.data,
            (_, true) => replaced
                .data
                .alias_qualified(relation.cloned(), field.name()),
        });
    }
    if !found {
        return Ok(None);
    }
    let plan = Projection::try_new(columns, Arc::clone(&projection.input))?;
    // The columns of an unnest stand in the order of its input's.
    debug_assert!(
        unnest
            .dependency_indices
            .iter()
            .copied()
            .eq(0..plan.schema.fields().len())
    );
    Ok(Some(LogicalPlan::Projection(plan)))
}

/// A column of a schema.
pub(super) fn column_at(schema: &DFSchema, place: usize) -> Expr {
    Expr::Column(Column::from(schema.qualified_field(place)))
}
