//! The filter: rows for which a predicate is true. A row for which it fails is left out and counted.

use std::sync::Arc;

use datafusion_physical_expr::PhysicalExpr;

use super::{Context, Operator, StateRow};
use crate::error::Result;
use crate::evaluate::evaluate_mask;
use crate::rows::Rows;

/// No state, nothing to wait for.
pub(crate) struct Filter {
    predicate: Arc<dyn PhysicalExpr>,
}

impl Filter {
    pub(crate) fn new(predicate: Arc<dyn PhysicalExpr>) -> Self {
        Filter { predicate }
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
        let mask = evaluate_mask(&self.predicate, &rows.batch, context.failed, "filter")?;
        let rows = rows.filter(&mask, "filter")?;
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

    fn memory(&self) -> usize {
        0
    }
}
