//! The first n values in an order: `array_slice(array_agg(x ORDER BY …), 1, n)`.
//!
//! ```text
//!   n = 3    [ 08:00:01 "DE" ][ 08:00:04 null ][ 08:00:09 "FR" ]  ◀── 08:00:02 "IT"
//!                                              └── leaves, its buffers are used again
//! ```
//!
//! State: at most n values a group with their sort keys, both in Arrow's row format, in their order.
//! Nulls are values, as `array_agg` has it; null for a group without a row.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, FieldRef};

use super::state::{LittleEndian, split, write_bytes};
use super::values::Encoding;
use super::{AccumulatorColumn, Argument, OPERATOR, same};
use crate::error::{Error, In, Result};

pub(super) struct ArrayFirst {
    most: usize,
    item: FieldRef,
    encoding: Encoding,
    groups: Vec<Group>,
}

#[derive(Default)]
struct Group {
    /// Whether there was a row, of which none may be kept if n is 0.
    seen: bool,
    entries: Vec<Entry>,
}

#[derive(Default)]
struct Entry {
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Group {
    fn take(&mut self, most: usize, key: &[u8], value: &[u8]) {
        self.seen = true;
        let full = self.entries.len() >= most;
        if full
            && self
                .entries
                .last()
                .is_none_or(|last| key >= last.key.as_slice())
        {
            return;
        }
        let mut entry = match full {
            true => self.entries.pop().unwrap_or_default(),
            false => Entry::default(),
        };
        entry.key.clear();
        entry.key.extend_from_slice(key);
        entry.value.clear();
        entry.value.extend_from_slice(value);
        let at = self
            .entries
            .partition_point(|other| other.key.as_slice() <= key);
        self.entries.insert(at, entry);
    }
}

impl ArrayFirst {
    pub(super) fn new(n: u32, argument: &DataType, result: &DataType) -> Result<Self> {
        let DataType::List(item) = result else {
            return Err(Error::Shape {
                operator: OPERATOR,
                detail: format!("an array of {argument} as {result}"),
            });
        };
        Ok(ArrayFirst {
            most: n as usize,
            item: Arc::clone(item),
            encoding: Encoding::new(argument)?,
            groups: Vec::new(),
        })
    }
}

impl AccumulatorColumn for ArrayFirst {
    fn resize(&mut self, groups: usize) {
        self.groups.resize_with(groups, Group::default);
    }

    fn update(&mut self, argument: &Argument, rows: Range<usize>, slots: &[u32]) -> Result<()> {
        let order = argument.order()?;
        let values = argument.encoded()?;
        argument.for_each_kept(rows, slots, |row, slot| {
            let (key, value) = (order.row(row), values.row(row));
            self.groups[slot].take(self.most, key.as_ref(), value.as_ref());
        });
        Ok(())
    }

    fn merge(&mut self, other: &dyn AccumulatorColumn, slots: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for (group, &slot) in other.groups.iter().zip(slots) {
            let mine = &mut self.groups[slot as usize];
            mine.seen |= group.seen;
            for entry in &group.entries {
                mine.take(self.most, &entry.key, &entry.value);
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<ArrayRef> {
        let lengths = self.groups.iter().map(|group| group.entries.len());
        let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
        let valid: Vec<bool> = self.groups.iter().map(|group| group.seen).collect();
        let entries = self.groups.iter().flat_map(|group| &group.entries);
        let values = self
            .encoding
            .decode(entries.map(|entry| Some(entry.value.as_slice())))?;
        let item = Arc::clone(&self.item);
        Ok(Arc::new(
            ListArray::try_new(item, offsets, values, Some(valid.into())).within(OPERATOR)?,
        ))
    }

    fn save(&self, slots: &[usize], out: &mut [Vec<u8>]) {
        for (&slot, out) in slots.iter().zip(out) {
            let group = &self.groups[slot];
            u8::from(group.seen).write(out);
            (group.entries.len() as u32).write(out);
            for entry in &group.entries {
                write_bytes(&entry.key, out);
                write_bytes(&entry.value, out);
            }
        }
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        let group = &mut self.groups[slot];
        *group = Group::default();
        let seen = u8::read(bytes)? != 0;
        for _ in 0..u32::read(bytes)? {
            let length = u32::read(bytes)?;
            let key = split(bytes, length as usize)?;
            let length = u32::read(bytes)?;
            let value = split(bytes, length as usize)?;
            group.take(self.most, key, value);
        }
        group.seen = seen;
        Ok(())
    }

    fn memory(&self) -> usize {
        let entries = self.groups.iter().flat_map(|group| &group.entries);
        let bytes = entries.map(|entry| entry.key.capacity() + entry.value.capacity());
        let held = self.groups.iter().map(|group| group.entries.capacity());
        self.groups.capacity() * size_of::<Group>()
            + held.sum::<usize>() * size_of::<Entry>()
            + bytes.sum::<usize>()
    }
}
