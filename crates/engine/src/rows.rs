//! Rows on their way between operators: a batch, and what the SQL does not see.
//!
//! ```text
//!   batch     the columns of the plan
//!   keys      the dense number of the topic's key, a row; carried so that no operator hashes text
//!   release   when the row became certain: with which input row, or at which watermark
//! ```

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{FilterBuilder, take, take_record_batch};

use crate::error::{In, Result};

/// When a row became certain. From it the machine tells the releasing offset, which does not depend
/// on how the log was cut into batches.
#[derive(Debug, Clone)]
pub enum Release {
    /// With a row of the current input batch: its index there.
    Row(UInt32Array),
    /// As soon as the watermark reached this, in milliseconds since 1970.
    Watermark(Int64Array),
}

impl Release {
    fn as_array(&self) -> &dyn Array {
        match self {
            Release::Row(rows) => rows,
            Release::Watermark(watermarks) => watermarks,
        }
    }

    fn like(&self, array: ArrayRef) -> Release {
        let data = array.to_data();
        match self {
            Release::Row(_) => Release::Row(UInt32Array::from(data)),
            Release::Watermark(_) => Release::Watermark(Int64Array::from(data)),
        }
    }
}

/// A batch of rows with their keys and releases; all three have the same length.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The columns of the plan.
    pub batch: RecordBatch,
    /// The number of each row's topic key in [`TopicKeys`](crate::keys::TopicKeys); null for a row
    /// without one.
    pub keys: UInt32Array,
    /// When each row became certain.
    pub release: Release,
}

impl Rows {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows for which `mask` is true; null counts as false, as in WHERE.
    pub(crate) fn filter(&self, mask: &BooleanArray, operator: &'static str) -> Result<Rows> {
        let selected = mask.true_count();
        if selected == self.len() {
            return Ok(self.clone());
        }
        let mut builder = FilterBuilder::new(mask);
        if self.batch.num_columns() > 1 {
            builder = builder.optimize();
        }
        let predicate = builder.build();
        let batch = predicate
            .filter_record_batch(&self.batch)
            .within(operator)?;
        let keys = predicate.filter(&self.keys).within(operator)?;
        let release = predicate.filter(self.release.as_array()).within(operator)?;
        Ok(Rows {
            batch,
            keys: UInt32Array::from(keys.to_data()),
            release: self.release.like(release),
        })
    }

    /// The same rows without the buffers of rows that were taken out of them: text columns are views
    /// into the buffers of every batch they ever came from, and rows that wait must not keep those.
    pub(crate) fn compact(mut self, operator: &'static str) -> Result<Rows> {
        let columns = self
            .batch
            .columns()
            .iter()
            .map(|column| match column.as_string_view_opt() {
                Some(text) if !text.data_buffers().is_empty() => Arc::new(text.gc()) as ArrayRef,
                _ => Arc::clone(column),
            });
        self.batch =
            RecordBatch::try_new(self.batch.schema(), columns.collect()).within(operator)?;
        Ok(self)
    }

    /// The rows at `indices`, in that order.
    pub(crate) fn take(&self, indices: &UInt32Array, operator: &'static str) -> Result<Rows> {
        let keys = take(&self.keys, indices, None).within(operator)?;
        let release = take(self.release.as_array(), indices, None).within(operator)?;
        Ok(Rows {
            batch: take_record_batch(&self.batch, indices).within(operator)?,
            keys: UInt32Array::from(keys.to_data()),
            release: self.release.like(release),
        })
    }
}
