//! What a physical plan must do as the stream does: an expression that fails on a batch is evaluated again
//! row by row, the branches of a union flow into one, and sums that are no number are alike.
//!
//! Only projections, filters and the conditions of joins hold expressions that can fail; the preparation sees
//! to that.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::{DataType, FieldRef, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::union::UnionExec;
use keyhawk_engine::evaluate;

use crate::one_nan::with_one_nan;

/// Counts the rows for which an expression failed.
#[derive(Debug, Clone, Default)]
pub(crate) struct FailedRows(Arc<AtomicU64>);

impl FailedRows {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The plan as the stream would run it.
pub(crate) fn as_the_stream(
    plan: Arc<dyn ExecutionPlan>,
    failed: &FailedRows,
) -> Result<Arc<dyn ExecutionPlan>> {
    let row_by_row = |inner: &Arc<dyn PhysicalExpr>| -> Arc<dyn PhysicalExpr> {
        // A column cannot fail, and the plan knows that it is sorted.
        let as_any: &dyn Any = inner.as_ref();
        if as_any.is::<Column>() || as_any.is::<Literal>() {
            return Arc::clone(inner);
        }
        Arc::new(RowByRow {
            inner: Arc::clone(inner),
            failed: failed.clone(),
        })
    };
    let changed = plan.transform_up(|node| {
        let node_ref: &dyn Any = node.as_ref();
        if let Some(projection) = node_ref.downcast_ref::<ProjectionExec>() {
            let exprs = projection.expr().iter().map(|projected| ProjectionExpr {
                expr: row_by_row(&projected.expr),
                alias: projected.alias.clone(),
            });
            let input = Arc::clone(projection.input());
            let projection = ProjectionExec::try_new(exprs.collect::<Vec<_>>(), input)?;
            return Ok(Transformed::yes(Arc::new(projection) as _));
        }
        if let Some(filter) = node_ref.downcast_ref::<FilterExec>() {
            let predicate = row_by_row(filter.predicate());
            let filter = FilterExecBuilder::new(predicate, Arc::clone(filter.input()))
                .apply_projection_by_ref(filter.projection().as_ref())?
                .build()?;
            return Ok(Transformed::yes(Arc::new(filter) as _));
        }
        // The keys of a join are columns here: what computes them stands in projections below.
        if let Some(join) = node_ref.downcast_ref::<HashJoinExec>()
            && let Some(filter) = join.filter()
        {
            let filter = JoinFilter::new(
                row_by_row(filter.expression()),
                filter.column_indices().to_vec(),
                Arc::clone(filter.schema()),
            );
            let join = join.builder().with_filter(Some(filter)).build_exec()?;
            return Ok(Transformed::yes(join));
        }
        if let Some(above) = with_one_nan(&node)? {
            return Ok(Transformed::yes(above));
        }
        if node_ref.is::<UnionExec>() {
            return Ok(Transformed::yes(
                Arc::new(CoalescePartitionsExec::new(node)) as _,
            ));
        }
        Ok(Transformed::no(node))
    })?;
    Ok(changed.data)
}

/// An expression that is null for a row for which it fails.
#[derive(Debug)]
struct RowByRow {
    inner: Arc<dyn PhysicalExpr>,
    failed: FailedRows,
}

impl fmt::Display for RowByRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PartialEq for RowByRow {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for RowByRow {}

impl Hash for RowByRow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl PhysicalExpr for RowByRow {
    fn data_type(&self, input: &Schema) -> Result<DataType> {
        self.inner.data_type(input)
    }

    fn nullable(&self, _: &Schema) -> Result<bool> {
        Ok(true)
    }

    fn return_field(&self, input: &Schema) -> Result<FieldRef> {
        let field = self.inner.return_field(input)?;
        Ok(Arc::new(field.as_ref().clone().with_nullable(true)))
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let mut failed = 0;
        let values = evaluate(&self.inner, batch, &mut failed, "batch")
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        self.failed.0.fetch_add(failed, Ordering::Relaxed);
        Ok(ColumnarValue::Array(values))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        match (children.pop(), children.pop()) {
            (Some(inner), None) => Ok(Arc::new(RowByRow {
                inner,
                failed: self.failed.clone(),
            })),
            _ => Err(DataFusionError::Internal("one child expected".to_owned())),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
