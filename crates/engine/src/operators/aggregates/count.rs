//! `count(x)`: rows whose value is not null. State: 8 bytes a group.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};

use super::state::LittleEndian;
use super::{AccumulatorColumn, Argument, same};
use crate::error::Result;

#[derive(Default)]
pub(super) struct Count {
    counts: Vec<i64>,
}

impl AccumulatorColumn for Count {
    fn resize(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
    }

    fn update(&mut self, argument: &Argument, rows: Range<usize>, slots: &[u32]) -> Result<()> {
        argument.for_each(rows, slots, |_, slot| self.counts[slot] += 1);
        Ok(())
    }

    fn merge(&mut self, other: &dyn AccumulatorColumn, slots: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for (count, &slot) in other.counts.iter().zip(slots) {
            self.counts[slot as usize] += count;
        }
        Ok(())
    }

    fn finish(&self) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from(self.counts.clone())))
    }

    fn save(&self, slots: &[usize], out: &mut [Vec<u8>]) {
        for (&slot, out) in slots.iter().zip(out) {
            self.counts[slot].write(out);
        }
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        self.counts[slot] = i64::read(bytes)?;
        Ok(())
    }

    fn memory(&self) -> usize {
        self.counts.capacity() * 8
    }
}
