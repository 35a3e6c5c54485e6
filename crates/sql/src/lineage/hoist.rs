//! What an aggregate or a window function computes of a row is computed below it, in columns of its own.
//!
//! ```text
//!   Aggregate  sum(a / b)              Aggregate  sum(__arg_0) AS sum(a / b)
//!     Scan                      ─▶       Projection  *, a / b AS __arg_0
//!                                          Scan
//! ```
//!
//! So only projections and filters hold expressions that can fail, and in both modes one that fails is
//! evaluated again row by row.

use std::cell::Cell;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Projection};

use super::Unprepared;

/// Collects the columns to compute.
pub(super) struct Hoist<'a> {
    numbers: &'a Cell<usize>,
    columns: Vec<Expr>,
}

impl<'a> Hoist<'a> {
    /// `numbers` counts the columns of the whole plan.
    pub(super) fn new(numbers: &'a Cell<usize>) -> Self {
        Hoist {
            numbers,
            columns: Vec::new(),
        }
    }

    /// An expression as a column; what reads no column, and a column, stay as they are.
    pub(super) fn expr(&mut self, expr: Expr) -> Expr {
        let bare = expr.clone().unalias();
        if matches!(bare, Expr::Column(_)) || bare.column_refs().is_empty() {
            return expr;
        }
        let number = self.numbers.replace(self.numbers.get() + 1);
        let column = Column::new_unqualified(format!("__arg_{number}"));
        self.columns.push(bare.alias(&column.name));
        Expr::Column(column)
    }

    /// An expression as a column under the name that it has.
    pub(super) fn named(&mut self, expr: Expr) -> Expr {
        let name = expr.schema_name().to_string();
        let hoisted = self.expr(expr.clone());
        match hoisted == expr {
            true => expr,
            false => hoisted.alias(name),
        }
    }

    /// The arguments and conditions of an aggregate over `input`, which keeps its name.
    pub(super) fn aggregate(&mut self, expr: &Expr, input: &DFSchema) -> Result<Expr, Unprepared> {
        Ok(match expr {
            Expr::Alias(alias) => self
                .aggregate(&alias.expr, input)?
                .unalias()
                .alias_qualified(alias.relation.clone(), &alias.name),
            Expr::AggregateFunction(AggregateFunction { func, params }) => {
                let name = expr.schema_name().to_string();
                let mut params = params.clone();
                params.args = params.args.into_iter().map(|arg| self.expr(arg)).collect();
                if let Some(filter) = params.filter.take() {
                    // Otherwise a condition of another type is made a truth value, which can fail, within
                    // the aggregate.
                    let filter = filter.cast_to(&DataType::Boolean, input)?;
                    params.filter = Some(Box::new(self.expr(filter)));
                }
                for by in &mut params.order_by {
                    by.expr = self.expr(by.expr.clone());
                }
                let hoisted = Expr::AggregateFunction(AggregateFunction {
                    func: Arc::clone(func),
                    params,
                });
                match hoisted == *expr {
                    true => hoisted,
                    false => hoisted.alias(name),
                }
            }
            other => other.clone(),
        })
    }

    /// The arguments, conditions and keys of a window function.
    pub(super) fn window(&mut self, mut function: WindowFunction) -> WindowFunction {
        let params = &mut function.params;
        let args = std::mem::take(&mut params.args);
        params.args = args.into_iter().map(|arg| self.expr(arg)).collect();
        params.filter = params
            .filter
            .take()
            .map(|filter| Box::new(self.expr(*filter)));
        function
    }

    /// The plan with the columns added, where there are any.
    pub(super) fn below(self, plan: LogicalPlan) -> Result<LogicalPlan, Unprepared> {
        if self.columns.is_empty() {
            return Ok(plan);
        }
        let mut columns: Vec<Expr> = plan
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        columns.extend(self.columns);
        Ok(LogicalPlan::Projection(Projection::try_new(
            columns,
            Arc::new(plan),
        )?))
    }
}
