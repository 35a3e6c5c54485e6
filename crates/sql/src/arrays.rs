//! How many elements are read of each `array_agg`: `array_slice(array_agg(x), 1, n)` is the only way to
//! read one, so that a stream need not keep more than n.

use std::collections::BTreeMap;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::lineage::{Unprepared, refuse};

/// Elements that a list may have at most.
const ELEMENTS_MAX: u32 = 1000;

/// The number of elements that a plan reads of each `array_agg`, by the name of its column.
pub(crate) fn array_bounds(plan: &LogicalPlan) -> Result<BTreeMap<String, u32>, Unprepared> {
    let mut bounds: BTreeMap<String, u32> = BTreeMap::new();
    plan.apply(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node {
            for expr in &aggregate.aggr_expr {
                if is_array_agg(expr) {
                    bounds.insert(expr.schema_name().to_string(), 0);
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if bounds.is_empty() {
        return Ok(bounds);
    }
    let mut whole = false;
    plan.apply(|node| {
        if !matches!(node, LogicalPlan::Aggregate(_)) {
            for expr in node.expressions() {
                expr.apply(|expr| {
                    if let Some((name, n)) = slice(expr)
                        && let Some(bound) = bounds.get_mut(name)
                    {
                        *bound = n.max(*bound);
                        return Ok(TreeNodeRecursion::Jump);
                    }
                    if let Expr::Column(column) = expr {
                        whole |= bounds.contains_key(&column.name);
                    }
                    Ok(TreeNodeRecursion::Continue)
                })?;
            }
        }
        Ok::<_, DataFusionError>(TreeNodeRecursion::Continue)
    })?;
    if whole || bounds.values().any(|n| *n == 0 || *n > ELEMENTS_MAX) {
        return refuse(
            &["array_agg"],
            "array_agg keeps every row of the window",
            format!(
                "write array_slice(array_agg(x), 1, 10) right where it is computed; {ELEMENTS_MAX} elements at most"
            ),
        );
    }
    Ok(bounds)
}

fn is_array_agg(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_array_agg(&alias.expr),
        Expr::AggregateFunction(function) => {
            function.func.name() == "array_agg" && !function.params.distinct
        }
        _ => false,
    }
}

/// The column and the end of `array_slice(column, 1, end)`.
fn slice(expr: &Expr) -> Option<(&str, u32)> {
    let Expr::ScalarFunction(function) = expr else {
        return None;
    };
    let ("array_slice", [Expr::Column(column), from, to]) =
        (function.name(), function.args.as_slice())
    else {
        return None;
    };
    let number = |expr: &Expr| match expr {
        Expr::Literal(ScalarValue::Int64(Some(n)), _) => u32::try_from(*n).ok(),
        _ => None,
    };
    (number(from)? == 1).then_some((column.name.as_str(), number(to)?))
}
