//! The scan: the program's input, handed on as it comes.

use super::{Context, Operator, StateRow};
use crate::error::Result;
use crate::rows::Rows;

/// No state, nothing to wait for.
pub(crate) struct Scan;

impl Operator for Scan {
    fn process(
        &mut self,
        _: usize,
        rows: &Rows,
        _: &mut Context<'_>,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        out.push(rows.clone());
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
