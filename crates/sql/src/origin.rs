//! Where a column comes from: whether it is an event time, a window's bound, or the topic's key.
//!
//! The answers decide when rows are complete, which nodes are keyed, and what a baseline's step is.
//! They are found by following a column down the plan to the scan that it came from.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

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
    /// The bound of a window over what is no event time.
    Timeless,
    /// What was an event time until its rows waited for a window to close.
    Held,
    /// `events.event_time` of a row that no window has held back: at watermark W, every row with a
    /// time below W has arrived.
    Time,
    /// A bound of a tumbling window; at watermark W, every row with a time below W + `complete_ms` of
    /// the time that the window is over has arrived. `window` tells windows over different times
    /// apart: two bounds in one row with the same `window` are bounds of the same span.
    Window {
        part: WindowPart,
        size_ms: i64,
        complete_ms: i64,
        window: u64,
    },
}

impl Origin {
    /// For a time column: at watermark W, every row with a value below W + this has arrived. The last
    /// window to be complete at W ends at W + `complete_ms`, so an end is complete up to there and
    /// one millisecond more, the other bounds by as much less as they lie before the end.
    pub(crate) fn complete_ms(self) -> Option<i64> {
        match self {
            Origin::Time => Some(0),
            Origin::Window {
                part: WindowPart::End,
                complete_ms,
                ..
            } => Some(complete_ms + 1),
            Origin::Window {
                part: WindowPart::Time,
                complete_ms,
                ..
            } => Some(complete_ms),
            Origin::Window {
                part: WindowPart::Start,
                complete_ms,
                size_ms,
                ..
            } => complete_ms.checked_add(1)?.checked_sub(size_ms),
            _ => None,
        }
    }

    /// The bound of a window of `size_ms` over this time.
    fn windowed(self, part: WindowPart, size_ms: i64) -> Origin {
        let Some(complete_ms) = self.complete_ms() else {
            return if self == Origin::Held {
                Origin::Held
            } else {
                Origin::Timeless
            };
        };
        let mut digest = DefaultHasher::new();
        if let Origin::Window { part, window, .. } = self {
            (part, window).hash(&mut digest);
        }
        size_ms.hash(&mut digest);
        Origin::Window {
            part,
            size_ms,
            complete_ms,
            window: digest.finish(),
        }
    }

    /// What the column is once its rows have waited for `leader`: an order by event time holds back
    /// no window, but an order by a window's bound holds rows back until that window is complete, so
    /// that no other time among them is one any more.
    fn behind(self, leader: Option<Origin>) -> Origin {
        match (self, leader) {
            (Origin::Time | Origin::Window { .. }, Some(Origin::Time)) => self,
            (
                Origin::Window { window, .. },
                Some(Origin::Window {
                    window: leading, ..
                }),
            ) if window == leading => self,
            (Origin::Time | Origin::Window { .. }, _) => Origin::Held,
            _ => self,
        }
    }
}

/// Which of the columns of a sort its rows wait for: the event time, or else the first window bound.
pub(crate) fn leader(columns: &[Origin]) -> Option<usize> {
    let is_window = |origin: &Origin| matches!(origin, Origin::Window { .. });
    columns
        .iter()
        .position(|origin| *origin == Origin::Time)
        .or_else(|| columns.iter().position(is_window))
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
            let [time, size] = function.args.as_slice() else {
                return Origin::Other;
            };
            match integer(size) {
                Some(size_ms) => origin(plan, time, views, key).windowed(part, size_ms),
                None => Origin::Other,
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
    let Ok(index) = plan.schema().index_of_column(column) else {
        return Origin::Other;
    };
    index_origin(plan, index, views, key)
}

/// The time that rows sorted by `order` wait for.
fn leading<'e>(
    plan: &LogicalPlan,
    order: impl Iterator<Item = &'e Expr>,
    views: &ViewOrigins,
    key: &str,
) -> Option<Origin> {
    let origins: Vec<Origin> = order.map(|expr| origin(plan, expr, views, key)).collect();
    leader(&origins).map(|place| origins[place])
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

/// The origin of a plan's output column.
pub(crate) fn index_origin(
    plan: &LogicalPlan,
    index: usize,
    views: &ViewOrigins,
    key: &str,
) -> Origin {
    match plan {
        LogicalPlan::Projection(projection) => {
            origin(&projection.input, &projection.expr[index], views, key)
        }
        LogicalPlan::Filter(filter) => index_origin(&filter.input, index, views, key),
        LogicalPlan::Sort(sort) => {
            let order = sort.expr.iter().map(|sort_by| &sort_by.expr);
            index_origin(&sort.input, index, views, key).behind(leading(
                &sort.input,
                order,
                views,
                key,
            ))
        }
        LogicalPlan::SubqueryAlias(alias) => index_origin(&alias.input, index, views, key),
        LogicalPlan::Window(window) => {
            if index >= window.input.schema().fields().len() {
                return Origin::Other;
            }
            // The sort below says the same; before the preparation there is none yet.
            let mut order: Vec<&Expr> = Vec::new();
            for expr in &window.window_expr {
                if let Expr::WindowFunction(function) = unaliased(expr) {
                    order.extend(&function.params.partition_by);
                    order.extend(function.params.order_by.iter().map(|sort_by| &sort_by.expr));
                }
            }
            let leader = leading(&window.input, order.into_iter(), views, key);
            index_origin(&window.input, index, views, key).behind(leader)
        }
        LogicalPlan::Aggregate(aggregate) => {
            let of = |group: &Expr| origin(&aggregate.input, group, views, key);
            let Some(group) = aggregate.group_expr.get(index) else {
                return Origin::Other;
            };
            // Groups leave when their window closes: another time among the keys is none any more.
            let window = aggregate
                .group_expr
                .iter()
                .map(of)
                .find(|of| matches!(of, Origin::Window { .. }));
            match of(group) {
                Origin::Time => Origin::Held,
                found => found.behind(window),
            }
        }
        LogicalPlan::TableScan(scan) => {
            let name = scan.projected_schema.field(index).name();
            if scan.table_name.table() == EVENTS {
                match name.as_str() {
                    "event_time" => Origin::Time,
                    "auth_result" => Origin::AuthResult,
                    name if name == key => Origin::TopicKey,
                    _ => Origin::Other,
                }
            } else {
                let view = views.get(scan.table_name.table());
                view.and_then(|columns| columns.get(name))
                    .copied()
                    .unwrap_or(Origin::Other)
            }
        }
        _ => Origin::Other,
    }
}
