//! Pairs of rows of two batches that meet by equal keys, and what each kind of join makes of them.
//!
//! ```text
//!   right   a  b  a  ∅        pairs: (0, 1)  (2, 0)  (2, 2)         the residual keeps some of them
//!   left    b  c  a           inner: those       left: and (1, null)        semi: 0, 2      anti: 1
//! ```
//!
//! In:    rows of the left side with the groups of their keys, rows of the right side by theirs.
//! Out:   by the order of the left rows, then of the right ones.
//! State: none.

use std::sync::Arc;

use arrow::array::{
    Array, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::utils::collect_columns;

use super::key_index::{KeyIndex, NONE, shape};
use crate::error::{In, Result};
use crate::evaluate::evaluate_mask;
use crate::program::JoinKind;
use crate::rows::Rows;

/// Pairs are made at least this many at a time, so that many equal keys on both sides do not need the
/// memory of all their pairs at once. A left row's own pairs stay together.
const CHUNK: usize = 1 << 16;

/// A condition over a pair, with only the columns that it reads.
struct Residual {
    predicate: Arc<dyn PhysicalExpr>,
    left: Vec<usize>,
    right: Vec<usize>,
    schema: SchemaRef,
}

impl Residual {
    fn new(
        operator: &'static str,
        predicate: &Arc<dyn PhysicalExpr>,
        left: &Schema,
        right: &Schema,
    ) -> Result<Self> {
        let width = left.fields().len();
        let pair = Schema::new(
            [left.fields().iter(), right.fields().iter()]
                .into_iter()
                .flatten()
                .cloned()
                .collect::<Vec<_>>(),
        );
        let mut read: Vec<usize> = collect_columns(predicate)
            .iter()
            .map(Column::index)
            .collect();
        read.sort_unstable();
        read.dedup();
        if let Some(column) = read.last().filter(|&&column| column >= pair.fields().len()) {
            let columns = pair.fields().len();
            return shape(
                operator,
                format!("a condition on column {column} of {columns}"),
            );
        }
        let kind = predicate.data_type(&pair).within(operator)?;
        if kind != DataType::Boolean {
            return shape(
                operator,
                format!("a condition of type {kind}, expected Boolean"),
            );
        }
        let moved = Arc::clone(predicate)
            .transform(|expr| {
                let place = expr.downcast_ref::<Column>().map(|column| {
                    let place = read.partition_point(|&index| index < column.index());
                    Column::new(column.name(), place)
                });
                Ok(match place {
                    Some(column) => Transformed::yes(Arc::new(column) as Arc<dyn PhysicalExpr>),
                    None => Transformed::no(expr),
                })
            })
            .within(operator)?;
        let schema = Arc::new(pair.project(&read).within(operator)?);
        let (left, right): (Vec<usize>, Vec<usize>) =
            read.into_iter().partition(|&column| column < width);
        Ok(Residual {
            predicate: moved.data,
            left,
            right: right.into_iter().map(|column| column - width).collect(),
            schema,
        })
    }

    /// Keeps the pairs for which the condition is true.
    fn retain(
        &self,
        operator: &'static str,
        (left, right): (&RecordBatch, &RecordBatch),
        pairs: &mut (Vec<u32>, Vec<u32>),
        failed: &mut u64,
    ) -> Result<()> {
        let count = pairs.0.len();
        if count == 0 {
            return Ok(());
        }
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for (batch, read, rows) in [
            (left, &self.left, &mut pairs.0),
            (right, &self.right, &mut pairs.1),
        ] {
            let indices = UInt32Array::from(std::mem::take(rows));
            for &column in read {
                columns.push(take(batch.column(column), &indices, None).within(operator)?);
            }
            *rows = indices.values().to_vec();
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .within(operator)?;
        let mask = evaluate_mask(&self.predicate, &batch, failed, operator)?;
        let mut kept = 0;
        for pair in 0..count {
            if mask.is_valid(pair) && mask.value(pair) {
                pairs.0[kept] = pairs.0[pair];
                pairs.1[kept] = pairs.1[pair];
                kept += 1;
            }
        }
        pairs.0.truncate(kept);
        pairs.1.truncate(kept);
        Ok(())
    }
}

/// What a kind of join makes of two sides.
pub(super) struct Pairing {
    operator: &'static str,
    kind: JoinKind,
    residual: Option<Residual>,
    schema: SchemaRef,
}

/// The right side of a join.
pub(super) struct Right<'a> {
    /// Its rows by their keys.
    pub(super) index: &'a KeyIndex,
    /// Its rows.
    pub(super) batch: &'a RecordBatch,
    /// The numbers of their topic keys, for a side that has any.
    pub(super) keys: Option<&'a UInt32Array>,
}

impl Pairing {
    /// # Errors
    /// An output or a condition that does not fit the two sides.
    pub(super) fn new(
        operator: &'static str,
        kind: JoinKind,
        residual: Option<&Arc<dyn PhysicalExpr>>,
        left: &Schema,
        right: &Schema,
        schema: SchemaRef,
    ) -> Result<Self> {
        let both = matches!(kind, JoinKind::Inner | JoinKind::Left);
        let types = |schema: &Schema| -> Vec<DataType> {
            let fields = schema.fields().iter();
            fields.map(|field| field.data_type().clone()).collect()
        };
        let mut expected = types(left);
        if both {
            expected.extend(types(right));
        }
        if types(&schema) != expected {
            let found = types(&schema);
            return shape(
                operator,
                format!("an output of {found:?}, expected {expected:?}"),
            );
        }
        if kind == JoinKind::Left {
            let mut filled = schema.fields().iter().skip(left.fields().len());
            if let Some(field) = filled.find(|field| !field.is_nullable()) {
                let name = field.name();
                return shape(
                    operator,
                    format!(
                        "column {name} is not nullable, and a row without a match has null there"
                    ),
                );
            }
        }
        let residual = residual
            .map(|predicate| Residual::new(operator, predicate, left, right))
            .transpose()?;
        Ok(Pairing {
            operator,
            kind,
            residual,
            schema,
        })
    }

    /// Emits what `left`'s rows give with those of `right`; `groups` holds each left row's.
    pub(super) fn pair(
        &self,
        left: &Rows,
        right: &Right<'_>,
        groups: &[u32],
        failed: &mut u64,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        match self.kind {
            JoinKind::Inner | JoinKind::Left => {
                self.chunks(left, right, groups, failed, |from, to, lefts, rights| {
                    if self.kind == JoinKind::Inner {
                        let rights = UInt32Array::from(rights.to_vec());
                        return self.emit(left, right, lefts.to_vec(), &rights, out);
                    }
                    let mut filled = (Vec::new(), Vec::new());
                    let mut next = 0;
                    for row in from..to {
                        let first = next;
                        while lefts.get(next) == Some(&row) {
                            filled.0.push(row);
                            filled.1.push(Some(rights[next]));
                            next += 1;
                        }
                        if next == first {
                            filled.0.push(row);
                            filled.1.push(None);
                        }
                    }
                    self.emit(left, right, filled.0, &filled.1.into(), out)
                })
            }
            JoinKind::Semi | JoinKind::Anti | JoinKind::NullAwareAnti => {
                let mut matched: Vec<bool> = groups.iter().map(|&group| group != NONE).collect();
                if self.residual.is_some() {
                    matched.fill(false);
                    self.chunks(left, right, groups, failed, |_, _, lefts, _| {
                        lefts.iter().for_each(|&row| matched[row as usize] = true);
                        Ok(())
                    })?;
                }
                let matched = BooleanBuffer::from(matched);
                let mask = match self.kind {
                    JoinKind::Semi => matched,
                    _ => !&matched,
                };
                let rows = left.filter(&BooleanArray::new(mask, None), self.operator)?;
                if !rows.is_empty() {
                    out.push(rows);
                }
                Ok(())
            }
        }
    }

    /// Calls `each` with the pairs of one run of left rows after another: the run's first row and its
    /// end, the left rows and the right ones.
    fn chunks(
        &self,
        left: &Rows,
        right: &Right<'_>,
        groups: &[u32],
        failed: &mut u64,
        mut each: impl FnMut(u32, u32, &[u32], &[u32]) -> Result<()>,
    ) -> Result<()> {
        let rows = left.len();
        let mut pairs = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let mut from = 0;
        while from < rows {
            pairs.0.clear();
            pairs.1.clear();
            let mut to = from;
            while to < rows && pairs.0.len() < CHUNK {
                let candidates = right.index.rows(groups[to]);
                pairs
                    .0
                    .extend(std::iter::repeat_n(to as u32, candidates.len()));
                pairs.1.extend_from_slice(candidates);
                to += 1;
            }
            if let Some(residual) = &self.residual {
                let batches = (&left.batch, right.batch);
                residual.retain(self.operator, batches, &mut pairs, failed)?;
            }
            each(from as u32, to as u32, &pairs.0, &pairs.1)?;
            from = to;
        }
        Ok(())
    }

    fn emit(
        &self,
        left: &Rows,
        right: &Right<'_>,
        lefts: Vec<u32>,
        rights: &UInt32Array,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        if lefts.is_empty() {
            return Ok(());
        }
        // Where every row has one match, as with a table's primary key, the left columns stay.
        let whole = lefts.len() == left.len() && (0..).zip(&lefts).all(|(row, &left)| row == left);
        let rows = match whole {
            true => left.clone(),
            false => left.take(&UInt32Array::from(lefts), self.operator)?,
        };
        let mut columns = rows.batch.columns().to_vec();
        for column in right.batch.columns() {
            columns.push(if column.is_empty() {
                new_null_array(column.data_type(), rights.len())
            } else {
                take(column, rights, None).within(self.operator)?
            });
        }
        let mut keys = rows.keys;
        if let (JoinKind::Inner, Some(others)) = (self.kind, right.keys)
            && keys.null_count() > 0
        {
            let others = take(others, rights, None).within(self.operator)?;
            let others = UInt32Array::from(others.to_data());
            let key = |(key, other): (Option<u32>, Option<u32>)| key.or(other);
            keys = keys.iter().zip(others.iter()).map(key).collect();
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rights.len()));
        out.push(Rows {
            batch: RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
                .within(self.operator)?,
            keys,
            release: rows.release,
        });
        Ok(())
    }
}
