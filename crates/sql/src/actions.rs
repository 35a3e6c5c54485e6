//! Which rules may act: those that learn from, and look at, authenticated calls only.

use std::collections::BTreeMap;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};

use crate::catalog::EVENTS;
use crate::origin::{Origin, ViewOrigins, origin};

/// Whether every row that a plan reads from `events`, itself or through views, has passed
/// `auth_result = 'ok'` before any state.
pub(crate) fn reads_authenticated_calls_only(
    plan: &LogicalPlan,
    views: &BTreeMap<&str, &LogicalPlan>,
    origins: &ViewOrigins,
) -> bool {
    look(plan, views, origins).authenticated
}

struct Look {
    authenticated: bool,
    /// Whether state lies below, which a later filter comes too late for.
    stateful: bool,
}

fn look(plan: &LogicalPlan, views: &BTreeMap<&str, &LogicalPlan>, origins: &ViewOrigins) -> Look {
    match plan {
        LogicalPlan::TableScan(scan) if scan.table_name.table() != EVENTS => {
            match views.get(scan.table_name.table()) {
                Some(view) => look(view, views, origins),
                // A reference table holds no calls at all.
                None => Look {
                    authenticated: true,
                    stateful: false,
                },
            }
        }
        LogicalPlan::Filter(filter) => {
            let below = look(&filter.input, views, origins);
            let checks = split_conjunction(&filter.predicate)
                .into_iter()
                .any(|predicate| is_authenticated(&filter.input, predicate, origins));
            Look {
                authenticated: below.authenticated || (checks && !below.stateful),
                ..below
            }
        }
        LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) => Look {
            stateful: true,
            ..inputs(plan, views, origins)
        },
        _ => inputs(plan, views, origins),
    }
}

fn inputs(plan: &LogicalPlan, views: &BTreeMap<&str, &LogicalPlan>, origins: &ViewOrigins) -> Look {
    let looks: Vec<Look> = plan
        .inputs()
        .into_iter()
        .map(|input| look(input, views, origins))
        .collect();
    Look {
        authenticated: !looks.is_empty() && looks.iter().all(|look| look.authenticated),
        stateful: looks.iter().any(|look| look.stateful),
    }
}

fn is_authenticated(input: &LogicalPlan, predicate: &Expr, origins: &ViewOrigins) -> bool {
    let Expr::BinaryExpr(binary) = predicate else {
        return false;
    };
    if binary.op != Operator::Eq {
        return false;
    }
    let is_ok = |expr: &Expr| match expr {
        Expr::Literal(value, _) => ScalarValue::try_as_str(value).flatten() == Some("ok"),
        _ => false,
    };
    let is_column = |expr: &Expr| origin(input, expr, origins, "") == Origin::AuthResult;
    (is_column(&binary.left) && is_ok(&binary.right))
        || (is_column(&binary.right) && is_ok(&binary.left))
}
