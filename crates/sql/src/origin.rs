//! Where a column comes from: whether it is an event time, a window's bound, or the topic's key.
//!
//! The answers decide when rows are complete, which nodes are keyed, and what a baseline's step is.
//! They are found by following a column down the plan to the scan that it came from.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use datafusion::common::{Column, JoinType, ScalarValue};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Distinct, Expr, Join, LogicalPlan, Window};
use keyhawk_engine::program::WindowPart;
use keyhawk_functions::{
    HOP_STARTS, SESSION, SessionLimits, WINDOW_END, WINDOW_SHIFT, WINDOW_START, WINDOW_TIME,
};

use crate::catalog::EVENTS;
use crate::fill::fill_call;

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
    /// A time of the side of a LEFT JOIN that may have no partner, and is null then.
    Unpartnered,
    /// `events.event_time` of a row that no window has held back: at watermark W, every row with a
    /// time below W has arrived.
    Time,
    /// A bound of a window; at watermark W, every row with a time below W + `complete_ms` of the time
    /// that the window is over has arrived. `window` tells windows over different times apart: two
    /// bounds in one row with the same `window` are bounds of the same span.
    Window {
        part: WindowPart,
        kind: WindowKind,
        /// Of a session the greatest length there may be, or `i64::MAX`.
        size_ms: i64,
        complete_ms: i64,
        window: u64,
    },
    /// Both bounds of a session, in a struct.
    SessionBounds {
        limits: SessionLimits,
        complete_ms: i64,
        window: u64,
    },
}

/// How a window's span is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowKind {
    Tumble {
        /// How many windows without rows are filled after one with rows, in the aggregate that groups
        /// by the bound.
        fill: i64,
    },
    Hop {
        slide_ms: i64,
    },
    Session(SessionLimits),
}

impl Origin {
    /// Which window it is a bound of, where one bound tells the others.
    pub(crate) fn window(self) -> Option<u64> {
        match self {
            Origin::Window {
                kind: WindowKind::Tumble { .. } | WindowKind::Hop { .. },
                window,
                ..
            } => Some(window),
            _ => None,
        }
    }

    /// Which bound of a window it is.
    pub(crate) fn part(self) -> Option<WindowPart> {
        match self {
            Origin::Window { part, .. } => Some(part),
            _ => None,
        }
    }

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
            } if size_ms < i64::MAX => complete_ms.checked_add(1)?.checked_sub(size_ms),
            _ => None,
        }
    }

    /// The bound of a window of `size_ms` over this time.
    fn windowed(self, part: WindowPart, kind: WindowKind, size_ms: i64) -> Origin {
        let Some(complete_ms) = self.complete_ms() else {
            return self.no_window();
        };
        let mut digest = self.digest();
        size_ms.hash(&mut digest);
        if let WindowKind::Hop { slide_ms } = kind {
            slide_ms.hash(&mut digest);
        }
        Origin::Window {
            part,
            kind,
            size_ms,
            complete_ms,
            window: digest.finish(),
        }
    }

    /// The bounds of a session over this time.
    fn session(self, limits: SessionLimits) -> Origin {
        let Some(complete_ms) = self.complete_ms() else {
            return self.no_window();
        };
        let mut digest = self.digest();
        (limits.gap_ms, limits.max_ms).hash(&mut digest);
        Origin::SessionBounds {
            limits,
            complete_ms,
            window: digest.finish(),
        }
    }

    fn no_window(self) -> Origin {
        match self {
            Origin::Held | Origin::Unpartnered => self,
            _ => Origin::Timeless,
        }
    }

    fn digest(self) -> DefaultHasher {
        let mut digest = DefaultHasher::new();
        if let Origin::Window { part, window, .. } = self {
            (part, window).hash(&mut digest);
        }
        digest
    }

    /// The bound of the same window that lies `ms` after this one.
    fn shifted(self, ms: i64) -> Origin {
        let Origin::Window {
            part,
            kind,
            size_ms,
            complete_ms,
            window,
        } = self
        else {
            return self.no_window();
        };
        let part = match (part, ms) {
            (WindowPart::Start, ms) if ms == size_ms => WindowPart::End,
            (WindowPart::Start, ms) if ms == size_ms - 1 => WindowPart::Time,
            (WindowPart::Time, 1) => WindowPart::End,
            (WindowPart::End, -1) => WindowPart::Time,
            _ => return Origin::Other,
        };
        Origin::Window {
            part,
            kind,
            size_ms,
            complete_ms,
            window,
        }
    }

    /// The bound once its windows are filled, or need not be.
    fn filled(self) -> Origin {
        match self {
            Origin::Window {
                part,
                kind: WindowKind::Tumble { .. },
                size_ms,
                complete_ms,
                window,
            } => Origin::Window {
                part,
                kind: WindowKind::Tumble { fill: 0 },
                size_ms,
                complete_ms,
                window,
            },
            other => other,
        }
    }

    /// How many windows without rows are to be filled after one with rows.
    pub(crate) fn fill(self) -> i64 {
        match self {
            Origin::Window {
                kind: WindowKind::Tumble { fill },
                ..
            } => fill,
            _ => 0,
        }
    }

    /// A column of a union whose branches have these two.
    fn either(self, other: Origin) -> Origin {
        let is_time = |origin: Origin| {
            matches!(
                origin,
                Origin::Time
                    | Origin::Window { .. }
                    | Origin::Held
                    | Origin::Unpartnered
                    | Origin::Timeless
            )
        };
        match (self, other) {
            (a, b) if a == b => a,
            (a, b) if is_time(a) && is_time(b) => Origin::Held,
            _ => Origin::Other,
        }
    }

    /// A bound of a window as rows have it that waited for the slower of two sides.
    fn slower(self, complete_ms: i64) -> Origin {
        match self {
            Origin::Window {
                part,
                kind,
                size_ms,
                complete_ms: own,
                window,
            } => Origin::Window {
                part,
                kind,
                size_ms,
                complete_ms: own.min(complete_ms),
                window,
            },
            other => other,
        }
    }

    /// What a column of the side of a LEFT JOIN is that may have no partner.
    fn unpartnered(self) -> Origin {
        match self {
            Origin::Time | Origin::Window { .. } | Origin::SessionBounds { .. } => {
                Origin::Unpartnered
            }
            other => other,
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
                name => return derived(plan, name, &function.args, views, key),
            };
            let [time, size, fill @ ..] = function.args.as_slice() else {
                return Origin::Other;
            };
            let fill = fill.first().and_then(integer).unwrap_or_default();
            match integer(size) {
                Some(size_ms) => {
                    let kind = WindowKind::Tumble { fill };
                    origin(plan, time, views, key).windowed(part, kind, size_ms)
                }
                None => Origin::Other,
            }
        }
        _ => Origin::Other,
    }
}

/// The origin of what the planner writes for hopping windows and sessions.
fn derived(
    plan: &LogicalPlan,
    name: &str,
    args: &[Expr],
    views: &ViewOrigins,
    key: &str,
) -> Origin {
    match (name, args) {
        (HOP_STARTS, [time, size, slide]) => match (integer(size), integer(slide)) {
            (Some(size_ms), Some(slide_ms)) => {
                let kind = WindowKind::Hop { slide_ms };
                origin(plan, time, views, key).windowed(WindowPart::Start, kind, size_ms)
            }
            _ => Origin::Other,
        },
        (WINDOW_SHIFT, [bound, ms]) => match integer(ms) {
            Some(ms) => origin(plan, bound, views, key).shifted(ms),
            None => Origin::Other,
        },
        ("get_field", [bounds, Expr::Literal(field, _)]) => {
            let Origin::SessionBounds {
                limits,
                complete_ms,
                window,
            } = origin(plan, bounds, views, key)
            else {
                return Origin::Other;
            };
            let part = match field.try_as_str().flatten() {
                Some("start") => WindowPart::Start,
                Some("end") => WindowPart::End,
                _ => return Origin::Other,
            };
            Origin::Window {
                part,
                kind: WindowKind::Session(limits),
                size_ms: limits.max_ms.unwrap_or(i64::MAX),
                complete_ms,
                window,
            }
        }
        _ => Origin::Other,
    }
}

/// The gap and the greatest length that a call of the session function names.
pub(crate) fn session_limits(args: &[Expr]) -> Option<SessionLimits> {
    let [_, gap, max] = args else {
        return None;
    };
    Some(SessionLimits {
        gap_ms: integer(gap)?,
        max_ms: integer(max).filter(|ms| *ms > 0),
    })
}

/// The call of the session function that a window node makes.
pub(crate) fn session_call(window: &Window) -> Option<&WindowFunction> {
    match window.window_expr.as_slice() {
        [expr] => match unaliased(expr) {
            Expr::WindowFunction(function) if function.fun.name() == SESSION => Some(function),
            _ => None,
        },
        _ => None,
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
                if let Some(call) = fill_call(window) {
                    return origin(&window.input, &call.params.args[0], views, key);
                }
                let Some(call) = session_call(window) else {
                    return Origin::Other;
                };
                let args = &call.params.args;
                return match session_limits(args) {
                    Some(limits) => origin(&window.input, &args[0], views, key).session(limits),
                    None => Origin::Other,
                };
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
                found => found.behind(window).filled(),
            }
        }
        LogicalPlan::Unnest(unnest) => match unnest.dependency_indices.get(index) {
            Some(&from) => index_origin(&unnest.input, from, views, key),
            None => Origin::Other,
        },
        LogicalPlan::Distinct(Distinct::All(input)) => index_origin(input, index, views, key),
        LogicalPlan::Union(union) => union
            .inputs
            .iter()
            .map(|input| index_origin(input, index, views, key))
            .reduce(Origin::either)
            .unwrap_or(Origin::Other),
        LogicalPlan::Join(join) => join_origin(join, index, views, key),
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

/// Whether a plan reads nothing but reference tables, so that it is the same at every moment.
pub(crate) fn is_static(plan: &LogicalPlan, views: &ViewOrigins) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let name = scan.table_name.table();
            name != EVENTS && !views.contains_key(name)
        }
        other => {
            let inputs = other.inputs();
            !inputs.is_empty() && inputs.into_iter().all(|input| is_static(input, views))
        }
    }
}

/// The bound of a window on which two streamed sides meet: which of the conditions it is, and both
/// origins.
pub(crate) fn joined_window(
    join: &Join,
    views: &ViewOrigins,
    key: &str,
) -> Option<(usize, [Origin; 2])> {
    let sides = join.on.iter().map(|(left, right)| {
        [
            origin(&join.left, left, views, key),
            origin(&join.right, right, views, key),
        ]
    });
    sides.enumerate().find(|(_, sides)| match sides {
        [
            Origin::Window {
                part: left_part,
                window: left,
                ..
            },
            Origin::Window {
                part: right_part,
                window: right,
                ..
            },
        ] => left_part == right_part && left == right,
        _ => false,
    })
}

/// Whether two streamed sides meet on the topic's key, so that both have the same.
pub(crate) fn joined_key(join: &Join, views: &ViewOrigins, key: &str) -> bool {
    join.on.iter().any(|(left, right)| {
        origin(&join.left, left, views, key) == Origin::TopicKey
            && origin(&join.right, right, views, key) == Origin::TopicKey
    })
}

fn join_origin(join: &Join, index: usize, views: &ViewOrigins, key: &str) -> Origin {
    let lefts = join.left.schema().fields().len();
    let of = |plan: &LogicalPlan, index: usize| match is_static(plan, views) {
        true => Origin::Other,
        false => index_origin(plan, index, views, key),
    };
    let found = match index.checked_sub(lefts) {
        None => of(&join.left, index),
        Some(index) => of(&join.right, index),
    };
    if is_static(&join.left, views) || is_static(&join.right, views) {
        return found;
    }
    // Before the preparation a join may still be the mirror of what it will be.
    let is_first = (index < lefts) == (join.join_type != JoinType::Right);
    if !is_first {
        // The rows carry the first side's key.
        if found == Origin::TopicKey && !joined_key(join, views, key) {
            return Origin::Other;
        }
        if join.join_type != JoinType::Inner {
            return found.unpartnered();
        }
    }
    match joined_window(join, views, key) {
        Some((
            _,
            [
                leader @ Origin::Window {
                    complete_ms: left, ..
                },
                Origin::Window {
                    complete_ms: right, ..
                },
            ],
        )) => found.behind(Some(leader)).slower(left.min(right)),
        _ => found.behind(None),
    }
}
