//! `tumble(…, fill => n)`: rows for the windows in which a group is silent.
//!
//! ```text
//!   Projection    bounds of __fill; CASE WHEN __fill = window_end THEN count(*) ELSE 0 END, …
//!     Unnest      __fill: a row for each window
//!       Window    __fill(window_end, size, n, closes after) OVER (PARTITION BY api_key ORDER BY window_end)
//!         Sort    api_key, window_end
//!           Aggregate  api_key, window_end            of rows of tumble, in whose bounds n stands
//! ```
//!
//! The stream lowers the window to its operator, which hands out each filled row when its window closes; the
//! batch adds to the call how far the events go, [`with_greatest`].

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, ScalarValue, UnnestOptions};
use datafusion::error::Result;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    Aggregate, Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, Window,
    WindowFunctionDefinition, lit, when,
};
use keyhawk_engine::OFFSET_COLUMNS;
use keyhawk_engine::program::WindowPart;
use keyhawk_functions::{FILL, FillLimits, fill_function, window_shift};

use crate::origin::integer;

/// The column of a row's window and those filled after it.
pub(crate) const FILL_COLUMN: &str = "__fill";

/// More windows than this would multiply every row by as much.
pub(crate) const FILL_MAX: i64 = 1000;

/// How the windows of an aggregate are filled.
pub(crate) struct Filling {
    /// Which part of the window each grouping column is; `None` for keys.
    pub(crate) parts: Vec<Option<WindowPart>>,
    pub(crate) size_ms: i64,
    pub(crate) windows: i64,
    /// At watermark W every row with a time below W + this has arrived.
    pub(crate) complete_ms: i64,
}

impl Filling {
    /// The plan of an aggregate with its silent windows, under the same columns.
    pub(crate) fn above(&self, aggregate: Aggregate) -> Result<LogicalPlan> {
        let schema = Arc::clone(&aggregate.schema);
        let counts: Vec<bool> = aggregate.aggr_expr.iter().map(is_count).collect();
        let column = |place: usize| Expr::Column(Column::from(schema.qualified_field(place)));
        let groups = self.parts.len();
        // From the start the other bounds follow, and from the last millisecond the end.
        let from_start = |part: WindowPart| match part {
            WindowPart::Start => 0,
            WindowPart::End => self.size_ms,
            WindowPart::Time => self.size_ms - 1,
        };
        let rank = |part: WindowPart| match part {
            WindowPart::Start => 0,
            WindowPart::Time => 1,
            WindowPart::End => 2,
        };
        let bounds = (0..groups).filter_map(|place| Some((place, self.parts[place]?)));
        let Some((bound, part)) = bounds.min_by_key(|(_, part)| rank(*part)) else {
            return Ok(LogicalPlan::Aggregate(aggregate));
        };
        let keys = (0..groups).filter(|&place| self.parts[place].is_none());
        let keys: Vec<Expr> = keys.map(column).collect();
        let by_bound = column(bound).sort(true, false);
        let closes_after_ms = self.size_ms - from_start(part) - self.complete_ms;
        let args = [self.size_ms, self.windows, closes_after_ms].map(lit);
        let call = WindowFunction::new(
            WindowFunctionDefinition::WindowUDF(fill_function()),
            std::iter::once(column(bound)).chain(args).collect(),
        );
        let call = Expr::from(call)
            .partition_by(keys.clone())
            .order_by(vec![by_bound.clone()])
            .build()?;
        let mut order: Vec<_> = keys.into_iter().map(|key| key.sort(true, false)).collect();
        order.push(by_bound);
        let filled = Column::new_unqualified(FILL_COLUMN);
        let options = UnnestOptions::new().with_preserve_nulls(false);
        let plan = LogicalPlanBuilder::from(LogicalPlan::Aggregate(aggregate))
            .sort(order)?
            .window(vec![call.alias(FILL_COLUMN)])?
            .unnest_column_with_options(filled.clone(), options)?;
        let filled = Expr::Column(filled);
        let has_rows = || filled.clone().eq(column(bound));
        let columns = schema.iter().enumerate().map(|(place, (relation, field))| {
            let value = match place.checked_sub(groups) {
                None => match self.parts[place].map(|of| from_start(of) - from_start(part)) {
                    None => column(place),
                    Some(0) => filled.clone(),
                    Some(ms) => window_shift().call(vec![filled.clone(), lit(ms)]),
                },
                // Where the last rows of the group were: the evidence of its silence.
                Some(_) if OFFSET_COLUMNS.contains(&field.name().as_str()) => column(place),
                Some(aggregate) => {
                    let empty = match counts.get(aggregate) {
                        Some(true) => lit(0_i64),
                        _ => lit(ScalarValue::try_from(field.data_type())?),
                    };
                    when(has_rows(), column(place)).otherwise(empty)?
                }
            };
            Ok(value.alias_qualified(relation.cloned(), field.name()))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        plan.project(columns)?.build()
    }
}

fn is_count(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_count(&alias.expr),
        Expr::AggregateFunction(function) => function.func.name() == "count",
        _ => false,
    }
}

/// The call that fills windows which a window node makes.
pub(crate) fn fill_call(window: &Window) -> Option<&WindowFunction> {
    match window.window_expr.as_slice() {
        [expr] => match bare(expr) {
            Expr::WindowFunction(function) if function.fun.name() == FILL => Some(function),
            _ => None,
        },
        _ => None,
    }
}

/// What a call fills.
pub(crate) fn fill_limits(call: &WindowFunction) -> Option<FillLimits> {
    let [_, size, windows, closes_after, ..] = call.params.args.as_slice() else {
        return None;
    };
    Some(FillLimits {
        size_ms: integer(size)?,
        windows: integer(windows)?,
        closes_after_ms: integer(closes_after)?,
    })
}

/// Whether a plan fills windows.
pub(crate) fn fills(plan: &LogicalPlan) -> bool {
    plan.exists(|node| match node {
        LogicalPlan::Window(window) => Ok(fill_call(window).is_some()),
        _ => Ok(false),
    })
    .unwrap_or_default()
}

/// The plan as the batch runs it: each call that fills windows is told the greatest event time.
pub(crate) fn with_greatest(plan: LogicalPlan, greatest_ms: i64) -> Result<LogicalPlan> {
    let told = plan.transform_up(|node| {
        let LogicalPlan::Window(window) = &node else {
            return Ok(Transformed::no(node));
        };
        let Some(call) = fill_call(window) else {
            return Ok(Transformed::no(node));
        };
        let mut call = call.clone();
        call.params.args.push(lit(greatest_ms));
        let name = window.window_expr[0].schema_name().to_string();
        let call = Expr::WindowFunction(Box::new(call)).alias(name);
        let window = Window::try_new(vec![call], Arc::clone(&window.input))?;
        Ok(Transformed::yes(LogicalPlan::Window(window)))
    })?;
    Ok(told.data)
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => bare(&alias.expr),
        other => other,
    }
}
