//! `first_value(x ORDER BY …)` and `last_value(x ORDER BY …)`.
//!
//! State: a group's value and its sort key in Arrow's row format, where an order of any columns is the
//! order of bytes. So it does not matter in which order rows arrive or panes are merged. Sort keys are
//! unique, since the plan ends them with the lineage. A null is a value like others unless IGNORE
//! NULLS stands there; null for a group without a row.

use std::ops::Range;

use arrow::array::ArrayRef;

use super::state::{LittleEndian, split, write_bytes};
use super::values::Values;
use super::{AccumulatorColumn, Argument, same};
use crate::error::Result;

pub(super) struct Pick<V> {
    last: bool,
    ignore_nulls: bool,
    /// The sort key of each value; empty where there is none, which no sort key is.
    keys: Vec<Vec<u8>>,
    values: V,
}

impl<V: Values> Pick<V> {
    pub(super) fn new(values: V, last: bool, ignore_nulls: bool) -> Self {
        Pick {
            last,
            ignore_nulls,
            keys: Vec::new(),
            values,
        }
    }

    /// Takes the place of the group's sort key if `key` comes before it, or after it for the last.
    #[inline]
    fn wins(&mut self, slot: usize, key: &[u8]) -> bool {
        let current = &mut self.keys[slot];
        let wins = current.is_empty()
            || match self.last {
                true => key > current.as_slice(),
                false => key < current.as_slice(),
            };
        if wins {
            current.clear();
            current.extend_from_slice(key);
        }
        wins
    }
}

impl<V: Values> AccumulatorColumn for Pick<V> {
    fn resize(&mut self, groups: usize) {
        self.keys.resize_with(groups, Vec::new);
        self.values.resize(groups);
    }

    fn update(&mut self, argument: &Argument, rows: Range<usize>, slots: &[u32]) -> Result<()> {
        let order = argument.order()?;
        let source = V::source(argument)?;
        let ignore_nulls = self.ignore_nulls;
        let take = |row: usize, slot: usize| {
            if self.wins(slot, order.row(row).as_ref()) {
                self.values.set(slot, &source, row);
            }
        };
        if ignore_nulls {
            argument.for_each(rows, slots, take);
        } else {
            argument.for_each_kept(rows, slots, take);
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn AccumulatorColumn, slots: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for (i, (key, &slot)) in other.keys.iter().zip(slots).enumerate() {
            let slot = slot as usize;
            if !key.is_empty() && self.wins(slot, key) {
                self.values.set_from(slot, &other.values, i);
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<ArrayRef> {
        self.values.finish()
    }

    fn save(&self, slots: &[usize], out: &mut [Vec<u8>]) {
        for (&slot, out) in slots.iter().zip(out) {
            write_bytes(&self.keys[slot], out);
            self.values.save(slot, out);
        }
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        let length = u32::read(bytes)?;
        self.keys[slot] = split(bytes, length as usize)?.to_vec();
        self.values.load(slot, bytes)
    }

    fn memory(&self) -> usize {
        let keys = self.keys.iter().map(Vec::capacity).sum::<usize>();
        self.keys.capacity() * size_of::<Vec<u8>>() + keys + self.values.memory()
    }
}
