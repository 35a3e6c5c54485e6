//! What a batch computes of floats has one NaN, as in the stream.
//!
//! ```text
//!   NaN + -∞   or   -∞ + NaN      a NaN with or without a sign, by the order of the rows
//! ```
//!
//! The sign of a NaN stands above or below all numbers where it is compared, so that which of them a sum
//! became would decide what a rule finds. The stream's aggregates return one; here the batch's are made to.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Float64Type, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use keyhawk_functions::one_nan;

/// The aggregates that compute; the others return a value as it came.
const COMPUTED: [&str; 6] = ["sum", "avg", "stddev", "stddev_pop", "var", "var_pop"];

/// What stands above `node` so that its results have one NaN, where it is an aggregate whose results may
/// have another.
pub(crate) fn with_one_nan(
    node: &Arc<dyn ExecutionPlan>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let as_any: &dyn Any = node.as_ref();
    let Some(aggregate) = as_any.downcast_ref::<AggregateExec>() else {
        return Ok(None);
    };
    if matches!(
        aggregate.mode(),
        AggregateMode::Partial | AggregateMode::PartialReduce
    ) {
        return Ok(None);
    }
    let schema = node.schema();
    let groups = schema.fields().len() - aggregate.aggr_expr().len();
    let is_computed = |at: usize| {
        at.checked_sub(groups).is_some_and(|at| {
            let name = aggregate.aggr_expr()[at].fun().name().to_ascii_lowercase();
            COMPUTED.contains(&name.as_str())
        })
    };
    let mut changed = false;
    let columns = schema.fields().iter().enumerate().map(|(at, field)| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), at));
        let expr = match field.data_type() == &DataType::Float64 && is_computed(at) {
            true => {
                changed = true;
                Arc::new(OneNan { inner: column })
            }
            false => column,
        };
        ProjectionExpr {
            expr,
            alias: field.name().clone(),
        }
    });
    let columns: Vec<ProjectionExpr> = columns.collect();
    if !changed {
        return Ok(None);
    }
    Ok(Some(Arc::new(ProjectionExec::try_new(
        columns,
        Arc::clone(node),
    )?)))
}

/// A column of doubles, with one NaN.
#[derive(Debug)]
struct OneNan {
    inner: Arc<dyn PhysicalExpr>,
}

impl fmt::Display for OneNan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PartialEq for OneNan {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for OneNan {}

impl Hash for OneNan {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl PhysicalExpr for OneNan {
    fn data_type(&self, input: &Schema) -> Result<DataType> {
        self.inner.data_type(input)
    }

    fn nullable(&self, input: &Schema) -> Result<bool> {
        self.inner.nullable(input)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let values = self.inner.evaluate(batch)?.into_array(batch.num_rows())?;
        let doubles = values.as_primitive::<Float64Type>();
        let doubles = doubles.unary::<_, Float64Type>(one_nan);
        Ok(ColumnarValue::Array(Arc::new(doubles)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        match (children.pop(), children.pop()) {
            (Some(inner), None) => Ok(Arc::new(OneNan { inner })),
            _ => Err(DataFusionError::Internal("one child expected".to_owned())),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
