//! The argument of an aggregate over one batch: its values, which rows count, and their order.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::row::{RowConverter, Rows, SortField};
use prefetch_index::prefetch_index;

use super::OPERATOR;
use crate::error::{Error, In, Result};

/// The state of a group is asked for so many rows before it is read.
const ROWS_AHEAD: usize = 8;

/// The argument of one aggregate over one batch, shared by all windows that the batch falls into.
pub(crate) struct Argument {
    pub(super) values: ArrayRef,
    /// Rows that FILTER keeps; `None` where that is every row.
    kept: Option<BooleanBuffer>,
    /// Rows that FILTER keeps and whose value is not null; `None` where that is every row.
    counted: Option<BooleanBuffer>,
    order: Option<Rows>,
    encoded: OnceCell<Rows>,
}

impl Argument {
    /// `order` are the sort keys of an aggregate that depends on the order of rows.
    pub(crate) fn new(
        values: ArrayRef,
        filter: Option<&BooleanArray>,
        order: Option<Rows>,
    ) -> Self {
        let nulls = values
            .logical_nulls()
            .filter(|nulls| nulls.null_count() > 0)
            .map(NullBuffer::into_inner);
        let kept = filter.map(|mask| match mask.nulls() {
            Some(nulls) => mask.values() & nulls.inner(),
            None => mask.values().clone(),
        });
        let counted = match (&nulls, &kept) {
            (Some(nulls), Some(kept)) => Some(nulls & kept),
            (Some(one), None) | (None, Some(one)) => Some(one.clone()),
            (None, None) => None,
        };
        Argument {
            values,
            kept,
            counted,
            order,
            encoded: OnceCell::new(),
        }
    }

    /// Calls `f` with each of `rows` that counts, and its slot: those of FILTER that are not null.
    pub(super) fn for_each(&self, rows: Range<usize>, slots: &[u32], f: impl FnMut(usize, usize)) {
        each(&self.counted, rows, slots, f);
    }

    /// Calls `f` with each of `rows` that counts, and the state of its group, which is asked for some rows
    /// before: it is mostly in no near cache.
    pub(super) fn for_each_in<S>(
        &self,
        rows: Range<usize>,
        slots: &[u32],
        groups: &mut [S],
        mut f: impl FnMut(usize, &mut S),
    ) {
        let first = rows.start;
        self.for_each(rows, slots, |row, slot| {
            if let Some(&soon) = slots.get(row - first + ROWS_AHEAD) {
                prefetch_index(&*groups, soon as usize);
            }
            f(row, &mut groups[slot]);
        });
    }

    /// The same for rows of FILTER whether null or not.
    pub(super) fn for_each_kept(
        &self,
        rows: Range<usize>,
        slots: &[u32],
        f: impl FnMut(usize, usize),
    ) {
        each(&self.kept, rows, slots, f);
    }

    /// The sort keys, a row each.
    pub(super) fn order(&self) -> Result<&Rows> {
        self.order.as_ref().ok_or_else(|| Error::Shape {
            operator: OPERATOR,
            detail: "no order for an aggregate that depends on it".to_owned(),
        })
    }

    /// The values in the row format, made at the first call.
    pub(super) fn encoded(&self) -> Result<&Rows> {
        if let Some(encoded) = self.encoded.get() {
            return Ok(encoded);
        }
        let field = SortField::new(self.values.data_type().clone());
        let encoded = RowConverter::new(vec![field])
            .and_then(|converter| converter.convert_columns(&[Arc::clone(&self.values)]))
            .within(OPERATOR)?;
        Ok(self.encoded.get_or_init(|| encoded))
    }
}

fn each(
    chosen: &Option<BooleanBuffer>,
    rows: Range<usize>,
    slots: &[u32],
    mut f: impl FnMut(usize, usize),
) {
    match chosen {
        None => rows
            .zip(slots)
            .for_each(|(row, &slot)| f(row, slot as usize)),
        Some(chosen) => rows.zip(slots).for_each(|(row, &slot)| {
            if chosen.value(row) {
                f(row, slot as usize);
            }
        }),
    }
}
