//! What an expression of a streaming query may hold, and which window functions there are.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::{Expr, ScalarUDF, Volatility, WindowFunctionDefinition};

use keyhawk_functions::SESSION;
use keyhawk_functions::frame::{FrameEnd, FrameStart};

use crate::frame::frame;
use crate::lineage::{Unprepared, refuse};
use crate::problem::Refusal;

/// Window functions that see every row up to the current one, whatever the frame.
const WHOLE: [&str; 6] = [
    "baseline",
    "dense_rank",
    "first_seen",
    "lag",
    "rank",
    "row_number",
];
/// Those that see the rows of a frame.
const FRAMED: [&str; 14] = [
    "avg",
    "bool_and",
    "bool_or",
    "count",
    "first_value",
    "last_value",
    "max",
    "min",
    "nth_value",
    "stddev",
    "stddev_pop",
    "sum",
    "var",
    "var_pop",
];

/// Whether a function sees the rows of a frame.
pub(crate) fn is_framed(function: &WindowFunction) -> bool {
    FRAMED.contains(&function.fun.name())
}

/// The window function of an OVER and the name of its column, or why it does not run.
pub(crate) fn window_function(expr: &Expr) -> Result<(&WindowFunction, String), Unprepared> {
    match expr {
        Expr::Alias(alias) => Ok((window_function(&alias.expr)?.0, alias.name.clone())),
        Expr::WindowFunction(function) => {
            check_function(function)?;
            Ok((function, expr.schema_name().to_string()))
        }
        other => refuse(
            &["OVER"],
            format!("`{other}` is no window function"),
            "write function(…) OVER (…)",
        ),
    }
}

fn check_function(function: &WindowFunction) -> Result<(), Unprepared> {
    let name = function.fun.name();
    let params = &function.params;
    if name == SESSION {
        return Ok(());
    }
    if ["lead", "ntile", "cume_dist", "percent_rank"].contains(&name) {
        return refuse(
            &[name],
            format!("`{name}` OVER looks at rows that are still to come"),
            "look back with lag(…), or aggregate within a window",
        );
    }
    let is_framed = is_framed(function);
    if !is_framed && !WHOLE.contains(&name) {
        let known = WHOLE.iter().chain(&FRAMED).copied().collect::<Vec<_>>();
        return refuse(
            &[name],
            format!("`{name}` OVER is not computed incrementally"),
            format!("OVER knows {}", known.join(", ")),
        );
    }
    let is_aggregate = matches!(function.fun, WindowFunctionDefinition::AggregateUDF(_));
    if params.distinct {
        return refuse(
            &["DISTINCT"],
            format!("`{name}` OVER takes no DISTINCT"),
            "count distinct values within a window: FROM tumble(…) GROUP BY",
        );
    }
    if params.filter.is_some() && !is_aggregate {
        return refuse(
            &["FILTER"],
            format!("`{name}` OVER takes no FILTER"),
            "write CASE WHEN … END as its argument",
        );
    }
    let passes_over_nulls = ["lag", "first_value", "last_value", "nth_value"].contains(&name);
    if !passes_over_nulls && params.null_treatment == Some(NullTreatment::IgnoreNulls) {
        return refuse(
            &["IGNORE NULLS"],
            format!("`{name}` OVER takes no IGNORE NULLS"),
            "leave it out, or filter the nulls with WHERE",
        );
    }
    if is_framed {
        return frame(&params.window_frame).map(|_| ());
    }
    // Where times cannot tie, the planner takes ROWS for the frame that nobody wrote.
    let is_default = frame(&params.window_frame).is_ok_and(|frame| {
        frame.start == FrameStart::Unbounded && frame.end == FrameEnd::CurrentRow
    });
    if !params.order_by.is_empty() && !is_default {
        return refuse(
            &[
                "ROWS BETWEEN",
                "RANGE BETWEEN",
                "GROUPS BETWEEN",
                "ROWS",
                "RANGE",
                "GROUPS",
            ],
            format!("`{name}` OVER takes no frame: it sees every row up to the current one"),
            "leave ROWS or RANGE out",
        );
    }
    Ok(())
}

/// Refuses what no expression of a streaming query may hold.
pub(crate) fn check_expression(expr: &Expr) -> Result<(), Unprepared> {
    let mut refused = None;
    // Walking an expression fails only where the visitor does, and this one never does.
    let _ = expr.apply(|expr| {
        let refusal = match expr {
            Expr::ScalarSubquery(_)
            | Expr::InSubquery(_)
            | Expr::Exists(_)
            | Expr::SetComparison(_) => {
                let near: &[&str] = match expr {
                    Expr::Exists(_) => &["EXISTS"],
                    Expr::InSubquery(_) => &["IN ( SELECT"],
                    _ => &["( SELECT"],
                };
                Some(Refusal::new(
                    near,
                    "a subquery in an expression is not supported",
                    "select it in FROM, or write a view",
                ))
            }
            Expr::Placeholder(placeholder) => Some(Refusal::new(
                &[&placeholder.id],
                format!("a rule has no parameters, and `{}` is one", placeholder.id),
                "write the value itself",
            )),
            Expr::ScalarFunction(function) if changing(&function.func) => {
                let mut near: Vec<&str> = vec![function.name()];
                near.extend(function.func.aliases().iter().map(String::as_str));
                Some(Refusal::new(
                    &near,
                    format!(
                        "`{}` would give another answer at every run",
                        function.name()
                    ),
                    "use event_time, record_time or a column of the event",
                ))
            }
            _ => None,
        };
        refused = refused.take().or(refusal);
        Ok(if refused.is_some() {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    });
    match refused {
        Some(refusal) => Err(Unprepared::Refused(refusal)),
        None => Ok(()),
    }
}

/// Whether a function's answer depends on more than its arguments: on the clock, on chance, or on the
/// version of this program.
fn changing(function: &ScalarUDF) -> bool {
    function.signature().volatility != Volatility::Immutable
        || ["current_date", "current_time", "now", "today", "version"].contains(&function.name())
}
