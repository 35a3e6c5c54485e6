//! The filter: rows for which a predicate is true. A row for which it fails is left out and counted.
//!
//! What stands on both sides of an AND is asked one after the other, and once few rows are left, of these
//! alone: a rule's first condition is often cheap and seldom true.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::and_kleene;
use datafusion_physical_expr::{PhysicalExpr, split_conjunction};

use super::{Context, Operator, StateRow};
use crate::error::{In, Result};
use crate::evaluate::evaluate_mask;
use crate::rows::Rows;

const OPERATOR: &str = "filter";
/// One row in so many is few.
const FEW: usize = 4;

/// No state, nothing to wait for.
pub(crate) struct Filter {
    conjuncts: Vec<Arc<dyn PhysicalExpr>>,
}

impl Filter {
    pub(crate) fn new(predicate: Arc<dyn PhysicalExpr>) -> Self {
        let conjuncts = split_conjunction(&predicate).into_iter().cloned();
        Filter {
            conjuncts: conjuncts.collect(),
        }
    }
}

impl Operator for Filter {
    fn process(
        &mut self,
        _: usize,
        rows: &Rows,
        context: &mut Context<'_>,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        let mut rows = rows.clone();
        let mut kept: Option<BooleanArray> = None;
        for conjunct in &self.conjuncts {
            let mask = evaluate_mask(conjunct, &rows.batch, context.failed, OPERATOR)?;
            let mask = match kept.take() {
                Some(kept) => and_kleene(&kept, &mask).within(OPERATOR)?,
                None => mask,
            };
            // To move every column costs more than a condition over the rows that are to go.
            if mask.true_count() * FEW <= rows.len() {
                rows = rows.filter(&mask, OPERATOR)?;
                if rows.is_empty() {
                    return Ok(());
                }
            } else {
                kept = Some(mask);
            }
        }
        let rows = match kept {
            Some(mask) => rows.filter(&mask, OPERATOR)?,
            None => rows,
        };
        if !rows.is_empty() {
            out.push(rows);
        }
        Ok(())
    }

    fn advance(&mut self, _: i64, _: &mut Context<'_>, _: &mut Vec<Rows>) -> Result<()> {
        Ok(())
    }

    fn next_deadline(&self) -> Option<i64> {
        None
    }

    fn snapshot(&mut self, _: &Context<'_>) -> Result<Vec<StateRow>> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: &[StateRow], _: &mut Context<'_>) -> Result<()> {
        Ok(())
    }

    fn take_over(&mut self, _: Box<dyn Operator>, _: bool) -> Result<()> {
        Ok(())
    }

    fn memory(&self) -> usize {
        0
    }
}
