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

mod aggregate;
mod hoist;
mod join;
mod over;
mod union;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DataFusionError};
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{
    Distinct, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Projection, ScalarUDF, SubqueryAlias,
    TableScan, TableSource, Unnest,
};
use keyhawk_engine::{LINEAGE_PREFIX, OFFSET_COLUMNS, TIME_COLUMN};
use keyhawk_functions::WINDOW_END;

use crate::catalog::EVENTS;
use crate::expressions::check_expression;
use crate::origin::{Origin, ViewOrigins, is_static, origin};
use crate::problem::Refusal;
use crate::windows::HOP_COLUMN;

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
    /// The sources of reference tables, with the hidden number of their rows.
    pub(crate) table_sources: &'a BTreeMap<String, Arc<dyn TableSource>>,
    /// The retention in the file's header, in milliseconds.
    pub(crate) retention_ms: Option<i64>,
    /// Whether any query reads a baseline's bounds, which are dear.
    pub(crate) bounds: bool,
    /// The functions.
    pub(crate) state: &'a SessionState,
    /// How many joins were prepared: their hidden columns have names of their own.
    pub(crate) joins: Cell<usize>,
    /// How many calls of `tumble` ask for silent windows that no GROUP BY has filled.
    pub(crate) unfilled: Cell<usize>,
    /// How many computed columns there are.
    pub(crate) arguments: Cell<usize>,
}

impl Preparation<'_> {
    /// Prepares a file's plan. The output has the plan's columns, then `__time`, the offsets and
    /// the lineage.
    pub(crate) fn prepare(&self, plan: &LogicalPlan) -> Result<LogicalPlan, Unprepared> {
        let visible = plan.schema().columns();
        let prepared = self.node(plan)?;
        if self.unfilled.get() > 0 {
            return refuse(
                &["fill"],
                "fill without GROUP BY: only what is grouped by a window has windows without rows",
                "GROUP BY api_key, window_end, or leave fill out",
            );
        }
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

    fn scalar(&self, name: &str) -> Arc<ScalarUDF> {
        Arc::clone(&self.state.scalar_functions()[name])
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
            LogicalPlan::Distinct(Distinct::All(input)) => self.distinct(input),
            LogicalPlan::Distinct(Distinct::On(_)) => refuse(
                &["DISTINCT"],
                "DISTINCT ON needs unbounded state",
                "write first_value(…) and GROUP BY within a window",
            ),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Unnest(unnest) if is_hop(unnest) => self.hop(unnest),
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
        if is_static(&LogicalPlan::TableScan(scan.clone()), self.views)
            && self.table_sources.contains_key(scan.table_name.table())
        {
            return refuse(
                &[scan.table_name.table()],
                format!(
                    "`{}` is a reference table, and what reads no events finds nothing",
                    scan.table_name.table()
                ),
                "join it to events or a view",
            );
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
        if projection.expr.iter().any(asks_to_fill) {
            self.unfilled.set(self.unfilled.get() + 1);
        }
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

    /// A row for each window that holds it; the window's start tells them apart.
    fn hop(&self, unnest: &Unnest) -> Result<Prepared, Unprepared> {
        let input = self.node(&unnest.input)?;
        let start = Column::new_unqualified(HOP_COLUMN);
        let plan = LogicalPlanBuilder::from(input.plan)
            .unnest_column_with_options(start.clone(), unnest.options.clone())?
            .build()?;
        let mut lineage = input.lineage;
        lineage.push(start);
        Ok(Prepared {
            plan,
            lineage,
            ..input
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
}

/// Refuses a time that is null where a row has no partner.
fn unpartnered<T>(expr: &Expr) -> Result<T, Unprepared> {
    let name = time_name(expr);
    refuse(
        &[&name, "OVER", "GROUP BY", "tumble", "hop", "session"],
        format!("`{name}` is null where the join finds no partner, and orders nothing"),
        "take the bound of the side that the join keeps",
    )
}

fn time_name(expr: &Expr) -> String {
    match expr {
        Expr::Column(column) => column.name.clone(),
        other => other.to_string(),
    }
}

/// Refuses a time whose rows come when their window closes, which is later than the time says.
fn held<T>(expr: &Expr) -> Result<T, Unprepared> {
    let name = time_name(expr);
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

/// Whether a column is a bound of windows that are to be filled.
fn asks_to_fill(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => asks_to_fill(&alias.expr),
        Expr::ScalarFunction(call) => call.name() == WINDOW_END && call.args.len() > 2,
        _ => false,
    }
}

fn is_hop(unnest: &Unnest) -> bool {
    matches!(unnest.exec_columns.as_slice(), [column] if column.name == HOP_COLUMN)
}

/// The name of the i-th column of lineage.
pub(crate) fn lineage_name(i: usize) -> String {
    format!("{LINEAGE_PREFIX}{i}")
}
