//! UNION ALL: the rows of every input, as they are.
//!
//! In:    any number of inputs whose columns have the types of the output, by position.
//! Out:   their rows under the names of the output; keys and releases are the rows' own. Adds no delay.
//! State: none.
//! Batch: UNION ALL.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use super::{Context, Operator, StateRow};
use crate::error::{In, Result};
use crate::rows::Rows;

/// No state, nothing to wait for.
pub(crate) struct Union {
    schema: SchemaRef,
}

impl Union {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Union { schema }
    }
}

impl Operator for Union {
    fn process(
        &mut self,
        _: usize,
        rows: &Rows,
        _: &mut Context<'_>,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let columns = rows.batch.columns().to_vec();
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .within("union")?;
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
