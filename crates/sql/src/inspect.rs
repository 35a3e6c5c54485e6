//! What a plan reads: tables, columns of `events`, and the dear parts of a baseline.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use keyhawk_functions::HOP_STARTS;

use crate::catalog::EVENTS;
use crate::compile::Query;

/// The names of the tables that a plan scans.
pub(crate) fn scans(plan: &LogicalPlan) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    // The visitor never fails.
    let _ = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            names.insert(scan.table_name.table().to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    names
}

/// Whether a plan scans one of the tables.
pub(crate) fn reads_any(plan: &LogicalPlan, tables: &BTreeSet<String>) -> bool {
    !scans(plan).is_disjoint(tables)
}

/// A name that a query gives a column and that belongs to us.
pub(crate) fn hidden_name(plan: &LogicalPlan) -> Option<String> {
    let mut hidden = None;
    // The visitor never fails.
    let _ = plan.apply(|node| {
        let columns = match node {
            // What the planner writes for hopping windows is not what the query says.
            LogicalPlan::Projection(projection)
                if projection.expr.last().is_some_and(is_hop_starts) =>
            {
                Vec::new()
            }
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => node.schema().columns(),
            _ => Vec::new(),
        };
        hidden = columns
            .into_iter()
            .map(|column| column.name)
            .find(|name| name.starts_with("__") && !name.starts_with("__unnest_placeholder"));
        Ok(if hidden.is_some() {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    });
    hidden
}

fn is_hop_starts(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_hop_starts(&alias.expr),
        Expr::ScalarFunction(function) => function.name() == HOP_STARTS,
        _ => false,
    }
}

/// The columns of `events` that a plan's scans read.
pub(crate) fn event_columns(plan: &LogicalPlan, columns: &mut BTreeSet<String>) {
    // The visitor never fails.
    let _ = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && scan.table_name.table() == EVENTS
        {
            columns.extend(
                scan.projected_schema
                    .fields()
                    .iter()
                    .map(|field| field.name().clone()),
            );
        }
        Ok(TreeNodeRecursion::Continue)
    });
}

/// Whether a query reads a baseline's bounds: it names them, or does something with a baseline as a
/// whole, and a rule hands it to its reader.
pub(crate) fn reads_bounds(query: &Query, rule: bool) -> bool {
    let holds_bounds = |kind: &DataType| match kind {
        DataType::Struct(fields) => fields.iter().any(|field| field.name() == "upper"),
        _ => false,
    };
    let visible = &query.plan.schema().fields()[..query.visible];
    let mut found = rule && visible.iter().any(|field| holds_bounds(field.data_type()));
    // The visitors never fail.
    let _ = query.plan.apply(|node| {
        let input = node
            .inputs()
            .first()
            .map(|input| Arc::clone(input.schema()));
        for expr in node.expressions() {
            if matches!(expr.clone().unalias(), Expr::Column(_)) {
                continue;
            }
            let _ = expr.apply(|expr| {
                match expr {
                    Expr::ScalarFunction(function) if function.name() == "get_field" => {
                        let mut names = function.args.iter().skip(1).filter_map(|arg| match arg {
                            Expr::Literal(value, _) => value.try_as_str().flatten(),
                            _ => None,
                        });
                        found |= names.any(|name| name == "lower" || name == "upper");
                        if matches!(function.args.first(), Some(Expr::Column(_))) {
                            return Ok(TreeNodeRecursion::Jump);
                        }
                    }
                    Expr::Column(column) => {
                        let field = input
                            .as_ref()
                            .and_then(|schema| schema.qualified_field_from_column(column).ok());
                        found |= field.is_some_and(|(_, field)| holds_bounds(field.data_type()));
                    }
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            });
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}
