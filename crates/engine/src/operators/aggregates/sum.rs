//! `sum(x)`, null until the first value; integers and decimals wrap as DataFusion's do. State: the
//! sum and a flag a group.

use std::ops::Range;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::DataType;

use super::state::LittleEndian;
use super::{AccumulatorColumn, Argument, primitive_column, same};
use crate::error::Result;

pub(super) struct Sum<T: ArrowPrimitiveType> {
    result: DataType,
    sums: Vec<T::Native>,
    seen: Vec<bool>,
    add: fn(T::Native, T::Native) -> T::Native,
}

impl<T: ArrowPrimitiveType> Sum<T> {
    pub(super) fn new(result: &DataType, add: fn(T::Native, T::Native) -> T::Native) -> Self {
        Sum {
            result: result.clone(),
            sums: Vec::new(),
            seen: Vec::new(),
            add,
        }
    }
}

impl<T: ArrowPrimitiveType> AccumulatorColumn for Sum<T>
where
    T::Native: LittleEndian,
{
    fn resize(&mut self, groups: usize) {
        self.sums.resize(groups, T::Native::default());
        self.seen.resize(groups, false);
    }

    fn update(&mut self, argument: &Argument, rows: Range<usize>, slots: &[u32]) -> Result<()> {
        let values = argument.values.as_primitive::<T>();
        argument.for_each(rows, slots, |row, slot| {
            self.sums[slot] = (self.add)(self.sums[slot], values.value(row));
            self.seen[slot] = true;
        });
        Ok(())
    }

    fn merge(&mut self, other: &dyn AccumulatorColumn, slots: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for ((&sum, &seen), &slot) in other.sums.iter().zip(&other.seen).zip(slots) {
            let slot = slot as usize;
            self.sums[slot] = (self.add)(self.sums[slot], sum);
            self.seen[slot] |= seen;
        }
        Ok(())
    }

    fn finish(&self) -> Result<ArrayRef> {
        primitive_column::<T>(&self.sums, self.seen.clone().into(), &self.result)
    }

    fn save(&self, slots: &[usize], out: &mut [Vec<u8>]) {
        for (&slot, out) in slots.iter().zip(out) {
            u8::from(self.seen[slot]).write(out);
            self.sums[slot].write(out);
        }
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        self.seen[slot] = u8::read(bytes)? != 0;
        self.sums[slot] = T::Native::read(bytes)?;
        Ok(())
    }

    fn memory(&self) -> usize {
        self.sums.capacity() * size_of::<T::Native>() + self.seen.capacity()
    }
}
