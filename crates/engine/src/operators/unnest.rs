//! UNNEST: a row for each element of a list.
//!
//! ```text
//!   a  [1, 2]          a  1
//!   b  []       ──▶    a  2
//!   c  [3]             c  3
//! ```
//!
//! In:    a column of lists of any kind.
//! Out:   the same columns with the element in the list's place, the elements of a row in the order of
//!        its list. A null list gives no row, nor does an empty one; a null element gives a null. Keys
//!        and releases are the row's. Adds no delay.
//! State: none.
//! Batch: `UNNEST` without its outer form.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, OffsetSizeTrait, RecordBatch, UInt32Array, UInt64Array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};

use super::{Context, Operator, StateRow};
use crate::error::{Error, In, Result};
use crate::rows::{Release, Rows};

const OPERATOR: &str = "unnest";

/// No state, nothing to wait for.
pub(crate) struct Unnest {
    column: usize,
    schema: SchemaRef,
}

impl Unnest {
    pub(crate) fn new(column: usize, schema: SchemaRef) -> Self {
        Unnest { column, schema }
    }
}

/// The elements of all lists one after the other, and the row of each.
fn elements(lists: &dyn Array) -> Result<(ArrayRef, UInt32Array)> {
    let (values, bounds): (&ArrayRef, Vec<(usize, usize)>) = match lists.data_type() {
        DataType::List(_) => of_offsets(
            lists.as_list::<i32>().values(),
            lists.as_list::<i32>().value_offsets(),
        ),
        DataType::LargeList(_) => of_offsets(
            lists.as_list::<i64>().values(),
            lists.as_list::<i64>().value_offsets(),
        ),
        DataType::ListView(_) => {
            let lists = lists.as_list_view::<i32>();
            of_views(lists.values(), lists.value_offsets(), lists.value_sizes())
        }
        DataType::LargeListView(_) => {
            let lists = lists.as_list_view::<i64>();
            of_views(lists.values(), lists.value_offsets(), lists.value_sizes())
        }
        DataType::FixedSizeList(_, size) => {
            let size = *size as usize;
            let bounds = (0..lists.len()).map(|row| (row * size, size));
            (lists.as_fixed_size_list().values(), bounds.collect())
        }
        other => {
            return Err(Error::Shape {
                operator: OPERATOR,
                detail: format!("a column of type {other}, expected a list"),
            });
        }
    };
    let mut places = Vec::new();
    let mut rows = Vec::new();
    for (row, (first, length)) in bounds.into_iter().enumerate() {
        // A null list may have elements behind it.
        if lists.is_valid(row) {
            places.extend((first..first + length).map(|place| place as u64));
            rows.extend(std::iter::repeat_n(row as u32, length));
        }
    }
    let elements = take(values, &UInt64Array::from(places), None).within(OPERATOR)?;
    Ok((elements, UInt32Array::from(rows)))
}

fn of_offsets<'a, O: OffsetSizeTrait>(
    values: &'a ArrayRef,
    offsets: &[O],
) -> (&'a ArrayRef, Vec<(usize, usize)>) {
    let bound = |pair: &[O]| (pair[0].as_usize(), (pair[1] - pair[0]).as_usize());
    (values, offsets.windows(2).map(bound).collect())
}

fn of_views<'a, O: OffsetSizeTrait>(
    values: &'a ArrayRef,
    offsets: &[O],
    sizes: &[O],
) -> (&'a ArrayRef, Vec<(usize, usize)>) {
    let bound = |(offset, size): (&O, &O)| (offset.as_usize(), size.as_usize());
    (values, offsets.iter().zip(sizes).map(bound).collect())
}

impl Operator for Unnest {
    fn process(
        &mut self,
        _: usize,
        rows: &Rows,
        _: &mut Context<'_>,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        let (elements, sources) = elements(rows.batch.column(self.column))?;
        if sources.is_empty() {
            return Ok(());
        }
        let of_rows = |array: &dyn Array| take(array, &sources, None).within(OPERATOR);
        let mut columns = Vec::with_capacity(rows.batch.num_columns());
        for (column, array) in rows.batch.columns().iter().enumerate() {
            columns.push(match column == self.column {
                true => Arc::clone(&elements),
                false => of_rows(array)?,
            });
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).within(OPERATOR)?;
        let release = match &rows.release {
            Release::Row(rows) => Release::Row(UInt32Array::from(of_rows(rows)?.to_data())),
            Release::Watermark(at) => Release::Watermark(Int64Array::from(of_rows(at)?.to_data())),
        };
        out.push(Rows {
            batch,
            keys: UInt32Array::from(of_rows(&rows.keys)?.to_data()),
            release,
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
