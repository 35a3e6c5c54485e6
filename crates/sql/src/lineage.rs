//! The pass that makes a plan streamable: it refuses what is not, and adds what the SQL does not say.
//!
//! ```text
//!   Projection  api_key, requests          + __time, __first_offset, __last_offset, __lineage_0, …
//!     Window    baseline(…) OVER (…)
//!       Sort    api_key, window_end, lineage           the total order, below every OVER
//!         Aggregate  api_key, window_end, …            lineage = the grouping columns
//!           Filter   api_key IS NOT NULL               a row without a key is in no group
//!             Scan   events                            lineage = _topic, _partition, _offset
//! ```
//!
//! Both modes run the plan that comes out, so that ids, order and groups are the same in both.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DataFusionError};
use datafusion::logical_expr::expr::{Sort as SortExpr, WindowFunction};
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, Distinct, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Projection,
    ScalarUDF, SubqueryAlias, TableScan, TableSource, Window, lit,
};
use keyhawk_engine::program::WindowPart;
use keyhawk_engine::{LINEAGE_PREFIX, OFFSET_COLUMNS, TIME_COLUMN};
use keyhawk_functions::WINDOW_END;

use crate::catalog::EVENTS;
use crate::expressions::{check_expression, window_function};
use crate::origin::{Origin, ViewOrigins, origin};
use crate::problem::Refusal;

/// Why a plan could not be prepared.
#[derive(Debug)]
pub(crate) enum Unprepared {
    /// It cannot run in bounded state.
    Refused(Refusal),
    /// DataFusion would not build the new plan.
    Plan(DataFusionError),
}

impl From<DataFusionError> for Unprepared {
    fn from(error: DataFusionError) -> Self {
        Unprepared::Plan(error)
    }
}

impl From<arrow::error::ArrowError> for Unprepared {
    fn from(error: arrow::error::ArrowError) -> Self {
        Unprepared::Plan(error.into())
    }
}

pub(crate) fn refuse<T>(
    near: &[&str],
    message: impl Into<String>,
    help: impl Into<String>,
) -> Result<T, Unprepared> {
    Err(Unprepared::Refused(Refusal::new(near, message, help)))
}

/// A plan with its hidden columns.
struct Prepared {
    plan: LogicalPlan,
    time: Column,
    /// The least and the greatest offset of the events that a row was made from.
    offsets: [Column; 2],
    lineage: Vec<Column>,
}

/// What the pass knows of the world outside the plan.
pub(crate) struct Preparation<'a> {
    /// The column that topics are keyed by.
    pub(crate) key: &'a str,
    /// The origins of the columns of views.
    pub(crate) views: &'a ViewOrigins,
    /// The source of a view with its hidden columns, and how many columns of lineage it has.
    pub(crate) view_source: &'a dyn Fn(&str) -> Option<(Arc<dyn TableSource>, usize)>,
    /// Whether any query reads a baseline's bounds, which are dear.
    pub(crate) bounds: bool,
    /// The function that gives a window's end.
    pub(crate) window_end: Arc<ScalarUDF>,
    /// `min` and `max`, which carry the offsets of events through a window.
    pub(crate) extremes: [Arc<AggregateUDF>; 2],
}

impl Preparation<'_> {
    /// Prepares a file's plan. The output has the plan's columns, then `__time`, the offsets and
    /// the lineage.
    pub(crate) fn prepare(&self, plan: &LogicalPlan) -> Result<LogicalPlan, Unprepared> {
        let visible = plan.schema().columns();
        let prepared = self.node(plan)?;
        let mut columns: Vec<Expr> = visible
            .into_iter()
            .map(|column| {
                let name = column.name.clone();
                Expr::Column(column).alias(name)
            })
            .collect();
        columns.extend(hidden(&prepared));
        Ok(LogicalPlan::Projection(Projection::try_new(
            columns,
            Arc::new(prepared.plan),
        )?))
    }

    fn origin(&self, plan: &LogicalPlan, expr: &Expr) -> Origin {
        origin(plan, expr, self.views, self.key)
    }

    fn node(&self, plan: &LogicalPlan) -> Result<Prepared, Unprepared> {
        for expr in plan.expressions() {
            check_expression(&expr)?;
        }
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => {
                if filter
                    .predicate
                    .exists(|expr| Ok(matches!(expr, Expr::WindowFunction(_))))?
                {
                    return refuse(
                        &["WHERE"],
                        "WHERE comes before window functions and cannot use one",
                        "write QUALIFY for WHERE, or select the function in a subquery",
                    );
                }
                let input = self.node(&filter.input)?;
                let filter = Filter::try_new(filter.predicate.clone(), Arc::new(input.plan))?;
                Ok(Prepared {
                    plan: LogicalPlan::Filter(filter),
                    ..input
                })
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let input = self.node(&alias.input)?;
                let requalify =
                    |column: Column| Column::new(Some(alias.alias.clone()), column.name);
                let time = requalify(input.time);
                let offsets = input.offsets.map(requalify);
                let lineage = input.lineage.into_iter().map(requalify).collect();
                let alias = SubqueryAlias::try_new(Arc::new(input.plan), alias.alias.clone())?;
                Ok(Prepared {
                    plan: LogicalPlan::SubqueryAlias(alias),
                    time,
                    offsets,
                    lineage,
                })
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::Sort(_) => refuse(
                &["ORDER BY"],
                "ORDER BY over a stream would wait for ever",
                "leave it out: findings come in the order of time",
            ),
            LogicalPlan::Limit(_) => refuse(
                &["LIMIT", "OFFSET", "FETCH"],
                "LIMIT and OFFSET over a stream would never answer",
                "leave it out, or bound the rows with WHERE",
            ),
            LogicalPlan::Distinct(Distinct::All(input))
                if matches!(**input, LogicalPlan::Union(_)) =>
            {
                self.node(input)
            }
            LogicalPlan::Distinct(_) => refuse(
                &["DISTINCT"],
                "DISTINCT without a window needs unbounded state",
                "group by the columns within tumble(…)",
            ),
            LogicalPlan::Join(_) => refuse(
                &["JOIN", "INTERSECT", "EXCEPT", "FROM"],
                "joins are not supported yet, nor INTERSECT and EXCEPT, which are joins",
                "write the rule over one table or view",
            ),
            LogicalPlan::Union(_) => {
                refuse(&["UNION"], "UNION is not supported yet", "write two rules")
            }
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => refuse(
                &["SELECT", "VALUES"],
                "the query reads no table",
                "select FROM events or a view",
            ),
            LogicalPlan::RecursiveQuery(_) => refuse(
                &["RECURSIVE"],
                "recursive queries are not supported",
                "write it without RECURSIVE",
            ),
            LogicalPlan::Unnest(_) => refuse(
                &["unnest"],
                "unnest is not supported yet",
                "test a list with array_has(…)",
            ),
            other => refuse(
                &[],
                format!("`{}` cannot run over a stream", other.display()),
                "write one SELECT",
            ),
        }
    }

    fn scan(&self, scan: &TableScan) -> Result<Prepared, Unprepared> {
        let qualified = |name: &str| Column::new(Some(scan.table_name.clone()), name);
        if scan.table_name.table() == EVENTS {
            return Ok(Prepared {
                plan: LogicalPlan::TableScan(scan.clone()),
                time: qualified("event_time"),
                offsets: ["_offset"; 2].map(qualified),
                lineage: ["_topic", "_partition", "_offset"].map(qualified).to_vec(),
            });
        }
        let Some((source, lineage)) = (self.view_source)(scan.table_name.table()) else {
            return refuse(
                &[scan.table_name.table()],
                format!("the view `{}` did not load", scan.table_name.table()),
                "mend the view first",
            );
        };
        let plan = LogicalPlanBuilder::scan(scan.table_name.clone(), source, None)?.build()?;
        Ok(Prepared {
            plan,
            time: qualified(TIME_COLUMN),
            offsets: OFFSET_COLUMNS.map(qualified),
            lineage: (0..lineage).map(|i| qualified(&lineage_name(i))).collect(),
        })
    }

    fn projection(&self, projection: &Projection) -> Result<Prepared, Unprepared> {
        let input = self.node(&projection.input)?;
        let mut columns = projection.expr.clone();
        columns.extend(hidden(&input));
        let lineage = (0..input.lineage.len())
            .map(|i| Column::new_unqualified(lineage_name(i)))
            .collect();
        let plan = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(input.plan))?);
        Ok(Prepared {
            plan,
            time: Column::new_unqualified(TIME_COLUMN),
            offsets: OFFSET_COLUMNS.map(Column::new_unqualified),
            lineage,
        })
    }

    /// Below a node keyed by the topic's key: a row without one belongs to no group of it.
    fn with_key<'e>(
        &self,
        input: LogicalPlan,
        of: &LogicalPlan,
        mut keys: impl Iterator<Item = &'e Expr>,
    ) -> Result<LogicalPlan, Unprepared> {
        match keys.find(|key| self.origin(of, key) == Origin::TopicKey) {
            Some(key) => {
                let filter = Filter::try_new(key.clone().unalias().is_not_null(), Arc::new(input))?;
                Ok(LogicalPlan::Filter(filter))
            }
            None => Ok(input),
        }
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Result<Prepared, Unprepared> {
        let input = self.node(&aggregate.input)?;
        if aggregate
            .group_expr
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
                size_ms,
                window,
                ..
            } => Some((part, size_ms, window)),
            _ => None,
        };
        let bounds: Vec<Option<(WindowPart, i64, u64)>> =
            aggregate.group_expr.iter().map(bound).collect();
        let Some(&(_, size_ms, window)) = bounds.iter().flatten().next() else {
            let is_held = |group: &&Expr| self.origin(&aggregate.input, group) == Origin::Held;
            if let Some(group) = aggregate.group_expr.iter().find(is_held) {
                return held(group);
            }
            if aggregate
                .group_expr
                .iter()
                .any(|group| self.origin(&aggregate.input, group) == Origin::Timeless)
            {
                return refuse(
                    &["tumble"],
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
        if bounds.iter().flatten().any(|bound| bound.2 != window) {
            return refuse(
                &["GROUP BY"],
                "GROUP BY names the bounds of two different windows",
                "group by the bounds of one",
            );
        }
        let plan = self.with_key(input.plan, &aggregate.input, aggregate.group_expr.iter())?;
        let mut aggregates = aggregate.aggr_expr.clone();
        let carried = self.extremes.iter().zip(&input.offsets).zip(OFFSET_COLUMNS);
        aggregates.extend(carried.map(|((extreme, offset), name)| {
            extreme.call(vec![Expr::Column(offset.clone())]).alias(name)
        }));
        let offsets = OFFSET_COLUMNS.map(Column::new_unqualified);
        let aggregated =
            Aggregate::try_new(Arc::new(plan), aggregate.group_expr.clone(), aggregates)?;
        let groups: Vec<Column> = aggregated
            .schema
            .columns()
            .into_iter()
            .take(aggregate.group_expr.len())
            .collect();
        let plan = LogicalPlan::Aggregate(aggregated);
        let end = bounds
            .iter()
            .position(|bound| matches!(bound, Some((WindowPart::End, ..))));
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
        let end = self
            .window_end
            .call(vec![Expr::Column(groups[any].clone()), lit(size_ms)]);
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

    fn window(&self, window: &Window) -> Result<Prepared, Unprepared> {
        let input = self.node(&window.input)?;
        let mut functions = Vec::with_capacity(window.window_expr.len());
        let mut keys: Option<(Vec<Expr>, Vec<SortExpr>)> = None;
        for expr in &window.window_expr {
            let (function, name) = window_function(expr)?;
            let params = &function.params;
            if params.partition_by.is_empty() {
                return refuse(
                    &["OVER"],
                    "OVER without PARTITION BY puts every key's rows in one line",
                    "write OVER (PARTITION BY api_key ORDER BY event_time)",
                );
            }
            let [order] = params.order_by.as_slice() else {
                return refuse(
                    &["OVER"],
                    "OVER is ordered by one column, the event time",
                    "write OVER (PARTITION BY api_key ORDER BY event_time)",
                );
            };
            if !order.asc {
                return refuse(
                    &["DESC"],
                    "OVER … DESC would wait for the future",
                    "order by the event time, ascending",
                );
            }
            let time = self.origin(&window.input, &order.expr);
            if time == Origin::Held {
                return held(&order.expr);
            }
            if time.complete_ms().is_none() {
                let by = match &order.expr {
                    Expr::Column(column) => format!("`{}`", column.name),
                    _ => "an expression".to_owned(),
                };
                return refuse(
                    &["OVER"],
                    format!("OVER is ordered by {by}, which is no event time"),
                    "order by event_time, or by window_end of a windowed view",
                );
            }
            let these = (params.partition_by.clone(), params.order_by.clone());
            if keys
                .as_ref()
                .is_some_and(|keys| keys.0 != these.0 || keys.1 != these.1)
            {
                return refuse(
                    &["OVER"],
                    "two OVERs over differently cut partitions",
                    "write them in two views",
                );
            }
            keys = Some(these);
            functions.push(self.function(function, &window.input)?.alias(name));
        }
        let Some((partition_by, order_by)) = keys else {
            return refuse(
                &["OVER"],
                "an OVER without a function",
                "name a function before OVER",
            );
        };
        let plan = self.with_key(input.plan, &window.input, partition_by.iter())?;
        let mut order: Vec<SortExpr> = partition_by
            .into_iter()
            .map(|expr| expr.sort(true, false))
            .collect();
        order.extend(order_by);
        order.extend(
            input
                .lineage
                .iter()
                .map(|column| Expr::Column(column.clone()).sort(true, false)),
        );
        let plan = if sorted_alike(&plan, &order) {
            plan
        } else {
            LogicalPlanBuilder::from(plan).sort(order)?.build()?
        };
        let plan = LogicalPlanBuilder::from(plan).window(functions)?.build()?;
        Ok(Prepared { plan, ..input })
    }

    /// Completes a function's arguments with what the plan knows: a baseline's step, and whether its
    /// bounds are read.
    fn function(&self, function: &WindowFunction, input: &LogicalPlan) -> Result<Expr, Unprepared> {
        let mut function = function.clone();
        let args = &mut function.params.args;
        if function.fun.name() == "baseline" && args.len() <= 3 {
            if args.len() == 2 {
                let Origin::Window { size_ms, .. } = self.origin(input, &args[1]) else {
                    return refuse(
                        &["baseline"],
                        format!(
                            "baseline cannot tell how far apart its rows are: `{}` is no window bound",
                            args[1]
                        ),
                        "order by window_end of tumble(…), or give the step: baseline(x, ts, INTERVAL '10 minutes')",
                    );
                };
                if size_ms % 1000 != 0 {
                    return refuse(
                        &["baseline"],
                        format!("baseline needs windows of whole seconds, not of {size_ms} ms"),
                        "make the window a whole number of seconds",
                    );
                }
                args.push(lit(size_ms / 1000));
            }
            if args.len() == 3 {
                args.push(lit(self.bounds));
            }
        }
        Ok(Expr::WindowFunction(Box::new(function)))
    }
}

/// Refuses a time whose rows come when their window closes, which is later than the time says.
fn held<T>(expr: &Expr) -> Result<T, Unprepared> {
    let name = match expr {
        Expr::Column(column) => column.name.clone(),
        other => other.to_string(),
    };
    refuse(
        &[&name, "OVER", "GROUP BY"],
        format!(
            "`{name}` is the time of rows that waited for a window to close, and orders nothing any more"
        ),
        "go on by the bounds of that window: window_end or window_time",
    )
}

/// `__time`, the offsets and the lineage, under their names.
fn hidden(prepared: &Prepared) -> Vec<Expr> {
    let time = Expr::Column(prepared.time.clone()).alias(TIME_COLUMN);
    let lineage = prepared.lineage.iter().enumerate();
    let lineage = lineage.map(|(i, column)| Expr::Column(column.clone()).alias(lineage_name(i)));
    let offsets = prepared.offsets.iter().zip(OFFSET_COLUMNS);
    let offsets = offsets.map(|(column, name)| Expr::Column(column.clone()).alias(name));
    std::iter::once(time)
        .chain(offsets)
        .chain(lineage)
        .collect()
}

/// The name of the i-th column of lineage.
pub(crate) fn lineage_name(i: usize) -> String {
    format!("{LINEAGE_PREFIX}{i}")
}

/// Whether a plan is a window over the same order already, which it keeps.
fn sorted_alike(plan: &LogicalPlan, order: &[SortExpr]) -> bool {
    match plan {
        LogicalPlan::Window(window) => sorted_alike(&window.input, order),
        LogicalPlan::Sort(sort) => sort.expr == order,
        LogicalPlan::Filter(filter) => sorted_alike(&filter.input, order),
        _ => false,
    }
}

/// The name under which the function of a window's end is registered.
pub(crate) const WINDOW_END_FUNCTION: &str = WINDOW_END;
