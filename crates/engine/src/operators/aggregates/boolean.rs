//! `bool_and(x)` and `bool_or(x)`, which are also min and max of booleans. State: a byte a group;
//! null until the first value.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray};

use super::state::LittleEndian;
use super::{AccumulatorColumn, Argument, same};
use crate::error::Result;

pub(super) struct Truth {
    /// Whether all must be true, or one.
    all: bool,
    values: Vec<Option<bool>>,
}

impl Truth {
    pub(super) fn new(all: bool) -> Self {
        Truth {
            all,
            values: Vec::new(),
        }
    }

    fn take(&mut self, slot: usize, value: bool) {
        let current = &mut self.values[slot];
        *current = Some(match *current {
            None => value,
            Some(current) if self.all => current & value,
            Some(current) => current | value,
        });
    }
}

impl AccumulatorColumn for Truth {
    fn resize(&mut self, groups: usize) {
        self.values.resize(groups, None);
    }

    fn update(&mut self, argument: &Argument, rows: Range<usize>, slots: &[u32]) -> Result<()> {
        let values = argument.values.as_boolean();
        argument.for_each(rows, slots, |row, slot| self.take(slot, values.value(row)));
        Ok(())
    }

    fn merge(&mut self, other: &dyn AccumulatorColumn, slots: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for (value, &slot) in other.values.iter().zip(slots) {
            if let Some(value) = value {
                self.take(slot as usize, *value);
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<ArrayRef> {
        Ok(Arc::new(
            self.values.iter().copied().collect::<BooleanArray>(),
        ))
    }

    fn save(&self, slots: &[usize], out: &mut [Vec<u8>]) {
        for (&slot, out) in slots.iter().zip(out) {
            let code: u8 = match self.values[slot] {
                None => 0,
                Some(false) => 1,
                Some(true) => 2,
            };
            code.write(out);
        }
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        self.values[slot] = match u8::read(bytes)? {
            0 => None,
            code => Some(code == 2),
        };
        Ok(())
    }

    fn memory(&self) -> usize {
        self.values.capacity()
    }
}
