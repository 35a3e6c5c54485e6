//! Where a column comes from: whether it is an event time, a window's bound, or the topic's key.
//!
//! The answers decide when rows are complete, which nodes are keyed, and what a baseline's step is.
//! They are found by following a column down the plan to the scan that it came from.

use std::collections::BTreeMap;

use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};
use keyhawk_engine::program::WindowPart;
use keyhawk_functions::{WINDOW_END, WINDOW_START, WINDOW_TIME};

use crate::catalog::EVENTS;

/// What a column is, as far as streaming cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Anything else.
    Other,
    /// The column that the topic is keyed by.
    TopicKey,
    /// `events.auth_result`.
    AuthResult,
    /// An event time: at watermark W, every row with a time below W + `complete_ms` has arrived.
    Time { complete_ms: i64 },
    /// A bound of a tumbling window over a time with that `complete_ms`.
    Window { part: WindowPart, size_ms: i64, complete_ms: i64 },
}

impl Origin {
    /// For a time column: at watermark W, every row with a value below W + this has arrived. The last
    /// window to be complete at W ends at W + `complete_ms`, so an end is complete up to there and
    /// one millisecond more, the other bounds by as much less as they lie before the end.
    pub(crate) fn complete_ms(self) -> Option<i64> {
        match self {
            Origin::Time { complete_ms } => Some(complete_ms),
            Origin::Window { part: WindowPart::End, complete_ms, .. } => Some(complete_ms + 1),
            Origin::Window { part: WindowPart::Time, complete_ms, .. } => Some(complete_ms),
            Origin::Window { part: WindowPart::Start, complete_ms, size_ms } => {
                Some(complete_ms + 1 - size_ms)
            }
            _ => None,
        }
    }
}

/// The origins of the columns of views that were planned before, by view and column.
pub(crate) type ViewOrigins = BTreeMap<String, BTreeMap<String, Origin>>;

/// The origin of an expression over the output of `plan`.
pub(crate) fn origin(plan: &LogicalPlan, expr: &Expr, views: &ViewOrigins, key: &str) -> Origin {
    match expr {
        Expr::Alias(alias) => origin(plan, &alias.expr, views, key),
        Expr::Column(column) => column_origin(plan, column, views, key),
        Expr::ScalarFunction(function) => {
            let part = match function.name() {
                WINDOW_START => WindowPart::Start,
                WINDOW_END => WindowPart::End,
                WINDOW_TIME => WindowPart::Time,
                _ => return Origin::Other,
            };
            let size = function.args.get(1).and_then(integer);
            let time = function.args.first().map(|time| origin(plan, time, views, key));
            match (size, time.and_then(Origin::complete_ms)) {
                (Some(size_ms), Some(complete_ms)) => Origin::Window { part, size_ms, complete_ms },
                _ => Origin::Other,
            }
        }
        _ => Origin::Other,
    }
}

/// The value of an integer literal.
pub(crate) fn integer(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::Int64(value), _) => *value,
        _ => None,
    }
}

fn column_origin(plan: &LogicalPlan, column: &Column, views: &ViewOrigins, key: &str) -> Origin {
    let Ok(index) = plan.schema().index_of_column(column) else { return Origin::Other };
    index_origin(plan, index, views, key)
}

/// The origin of a plan's output column.
pub(crate) fn index_origin(plan: &LogicalPlan, index: usize, views: &ViewOrigins, key: &str) -> Origin {
    match plan {
        LogicalPlan::Projection(projection) => {
            origin(&projection.input, &projection.expr[index], views, key)
        }
        LogicalPlan::Filter(filter) => index_origin(&filter.input, index, views, key),
        LogicalPlan::Sort(sort) => index_origin(&sort.input, index, views, key),
        LogicalPlan::SubqueryAlias(alias) => index_origin(&alias.input, index, views, key),
        LogicalPlan::Window(window) => {
            if index < window.input.schema().fields().len() {
                index_origin(&window.input, index, views, key)
            } else {
                Origin::Other
            }
        }
        LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.get(index) {
            Some(group) => origin(&aggregate.input, group, views, key),
            None => Origin::Other,
        },
        LogicalPlan::TableScan(scan) => {
            let name = scan.projected_schema.field(index).name();
            if scan.table_name.table() == EVENTS {
                match name.as_str() {
                    "event_time" => Origin::Time { complete_ms: 0 },
                    "auth_result" => Origin::AuthResult,
                    name if name == key => Origin::TopicKey,
                    _ => Origin::Other,
                }
            } else {
                let view = views.get(scan.table_name.table());
                view.and_then(|columns| columns.get(name)).copied().unwrap_or(Origin::Other)
            }
        }
        _ => Origin::Other,
    }
}
