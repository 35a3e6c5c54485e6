//! The projection: a column for each expression. A row for which an expression fails holds null there.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;

use super::{Context, Operator, StateRow};
use crate::error::{In, Result};
use crate::evaluate::evaluate;
use crate::rows::Rows;

/// No state, nothing to wait for.
pub(crate) struct Project {
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

impl Project {
    pub(crate) fn new(expressions: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef) -> Self {
        Project {
            expressions,
            schema,
        }
    }
}

impl Operator for Project {
    fn process(
        &mut self,
        _: usize,
        rows: &Rows,
        context: &mut Context<'_>,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        let columns = self
            .expressions
            .iter()
            .map(|expr| evaluate(expr, &rows.batch, context.failed, "project"))
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .within("project")?;
        out.push(Rows {
            batch,
            keys: rows.keys.clone(),
            release: rows.release.clone(),
        });
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
