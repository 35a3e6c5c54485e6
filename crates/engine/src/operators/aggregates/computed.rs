//! An aggregate of a plan, ready to run: the types that it was planned for, and its arguments over a
//! batch.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use arrow::row::{RowConverter, SortField};
use datafusion_physical_expr::PhysicalExpr;

use super::{AccumulatorColumn, Argument, accumulator};
use crate::error::{Error, In, Result};
use crate::evaluate::{evaluate, evaluate_mask};
use crate::program::Aggregate;

/// An aggregate with its types, and the way from its order to bytes.
pub(in crate::operators) struct Computed {
    operator: &'static str,
    aggregate: Aggregate,
    argument: DataType,
    result: DataType,
    order: Option<RowConverter>,
}

impl Computed {
    /// An aggregate over rows of `input`, whose column of the output has the type `result`.
    ///
    /// # Errors
    /// It is not computed over such an argument; it depends on an order and has none.
    pub(in crate::operators) fn new(
        operator: &'static str,
        aggregate: Aggregate,
        input: &Schema,
        result: &DataType,
    ) -> Result<Self> {
        let type_of = |expr: &Arc<dyn PhysicalExpr>| expr.data_type(input).within(operator);
        let argument = type_of(&aggregate.argument)?;
        let fields = aggregate
            .order
            .iter()
            .map(|(expr, options)| Ok(SortField::new_with_options(type_of(expr)?, *options)))
            .collect::<Result<Vec<_>>>()?;
        let order = match aggregate.kind.by_order() {
            true if fields.is_empty() => {
                return Err(Error::Shape {
                    operator,
                    detail: format!("{:?} without an order", aggregate.kind),
                });
            }
            true => Some(RowConverter::new(fields).within(operator)?),
            false => None,
        };
        let computed = Computed {
            operator,
            aggregate,
            argument,
            result: result.clone(),
            order,
        };
        // Says early what has no accumulator.
        computed.column()?;
        Ok(computed)
    }

    /// An empty column of state.
    pub(in crate::operators) fn column(&self) -> Result<Box<dyn AccumulatorColumn>> {
        accumulator(
            self.aggregate.kind,
            self.aggregate.ignore_nulls,
            &self.argument,
            &self.result,
        )
    }

    /// Evaluates argument, filter and order over a batch.
    pub(in crate::operators) fn argument(
        &self,
        batch: &RecordBatch,
        failed: &mut u64,
    ) -> Result<Argument> {
        let Computed {
            operator,
            aggregate,
            ..
        } = self;
        let argument = evaluate(&aggregate.argument, batch, failed, operator)?;
        let filter = match &aggregate.filter {
            Some(filter) => Some(evaluate_mask(filter, batch, failed, operator)?),
            None => None,
        };
        let order = match &self.order {
            Some(converter) => {
                let columns = aggregate
                    .order
                    .iter()
                    .map(|(expr, _)| evaluate(expr, batch, failed, operator))
                    .collect::<Result<Vec<_>>>()?;
                Some(converter.convert_columns(&columns).within(operator)?)
            }
            None => None,
        };
        Ok(Argument::new(argument, filter.as_ref(), order))
    }
}
