//! `count(DISTINCT x)`: the set of a group's values.
//!
//! ```text
//!   value in 16 bytes     up to 15 bytes: the bytes, zeros, their number  "192.0.2.7" ▶ 192.0.2.7……9
//!                         more: 15 bytes of SipHash-1-3, then 255
//!   a group               [ last value │ how many │ nothing: the one value is the last            ]
//!                                                 │ a list of up to 16                            ]
//!                                                 │ a hash table                                  ]
//! ```
//!
//! A key mostly comes again with the value it had last, so most rows compare 16 bytes beside the count
//! and touch nothing else. Integers are kept as they are. Other values, in Arrow's row format, and
//! text are exact up to 15 bytes; of longer ones 120 bits of hash are kept: among a million values in
//! a group, the chance that two share one is below 1e-24. The hash is a published one with a fixed
//! key, so that saved values mean the same to every version.
//!
//! State: 16 bytes a value and 48 a group.

use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::HashTable;
use hashbrown::hash_map::Entry as MapEntry;
use hashbrown::hash_table::Entry;
use siphasher::sip128::SipHasher13;

use super::state::LittleEndian;
use super::{AccumulatorColumn, Argument, same};
use crate::error::Result;

/// How many values are a list; more are a hash table.
const LIST: usize = 16;

pub(crate) struct CountDistinct {
    form: Form,
    groups: Vec<Group>,
    hasher: RandomState,
    long: SipHasher13,
}

/// How the argument's values are read.
#[derive(Clone, Copy)]
enum Form {
    Integer,
    Text,
    Encoded,
}

#[derive(Default)]
struct Group {
    last: u128,
    count: u64,
    set: Set,
}

#[derive(Default)]
enum Set {
    #[default]
    Last,
    List(Vec<u128>),
    Table(Box<HashTable<u128>>),
}

impl Group {
    #[inline]
    fn insert(&mut self, value: u128, hasher: &RandomState) {
        if self.last == value && self.count > 0 {
            return;
        }
        self.insert_other(value, hasher);
    }

    fn insert_other(&mut self, value: u128, hasher: &RandomState) {
        let new = match &mut self.set {
            Set::Last => {
                if self.count > 0 {
                    self.set = Set::List(vec![self.last, value]);
                }
                true
            }
            Set::List(list) if list.contains(&value) => false,
            Set::List(list) if list.len() < LIST => {
                list.push(value);
                true
            }
            Set::List(list) => {
                let mut table = HashTable::with_capacity(2 * LIST);
                for value in list.drain(..).chain([value]) {
                    table.insert_unique(hasher.hash_one(value), value, |value| {
                        hasher.hash_one(value)
                    });
                }
                self.set = Set::Table(Box::new(table));
                true
            }
            Set::Table(table) => {
                let hash = hasher.hash_one(value);
                let place = table.entry(
                    hash,
                    |&other| other == value,
                    |value| hasher.hash_one(value),
                );
                match place {
                    Entry::Occupied(_) => false,
                    Entry::Vacant(place) => {
                        place.insert(value);
                        true
                    }
                }
            }
        };
        self.count += u64::from(new);
        self.last = value;
    }

    fn values(&self) -> impl Iterator<Item = u128> {
        let (last, list, table) = match &self.set {
            Set::Last => ((self.count > 0).then_some(self.last), None, None),
            Set::List(list) => (None, Some(list.iter()), None),
            Set::Table(table) => (None, None, Some(table.iter())),
        };
        last.into_iter()
            .chain(list.into_iter().flatten().copied())
            .chain(table.into_iter().flatten().copied())
    }

    fn memory(&self) -> usize {
        match &self.set {
            Set::Last => 0,
            Set::List(list) => list.capacity() * 16,
            Set::Table(table) => table.capacity() * 17 + size_of::<HashTable<u128>>(),
        }
    }
}

impl CountDistinct {
    pub(super) fn new(argument: &DataType) -> Self {
        CountDistinct {
            form: match argument {
                DataType::Int64 => Form::Integer,
                DataType::Utf8View => Form::Text,
                _ => Form::Encoded,
            },
            groups: Vec::new(),
            hasher: RandomState::default(),
            long: SipHasher13::new(),
        }
    }
}

/// A value's 16 bytes.
#[inline]
fn in_sixteen(bytes: &[u8], long: &SipHasher13) -> u128 {
    let mut value = [0; 16];
    if bytes.len() < 16 {
        value[..bytes.len()].copy_from_slice(bytes);
        value[15] = bytes.len() as u8;
    } else {
        value = long.hash(bytes).as_u128().to_le_bytes();
        value[15] = u8::MAX;
    }
    u128::from_le_bytes(value)
}

impl AccumulatorColumn for CountDistinct {
    fn resize(&mut self, groups: usize) {
        self.groups.resize_with(groups, Group::default);
    }

    fn update(&mut self, argument: &Argument, rows: Range<usize>, slots: &[u32]) -> Result<()> {
        let groups = &mut self.groups;
        match self.form {
            Form::Integer => {
                let integers = argument.values.as_primitive::<Int64Type>();
                argument.for_each_in(rows, slots, groups, |row, group| {
                    group.insert(integers.value(row) as u128, &self.hasher);
                });
            }
            Form::Text => {
                let texts = argument.values.as_string_view();
                argument.for_each_in(rows, slots, groups, |row, group| {
                    let value = in_sixteen(texts.value(row).as_bytes(), &self.long);
                    group.insert(value, &self.hasher);
                });
            }
            Form::Encoded => {
                let encoded = argument.encoded()?;
                argument.for_each_in(rows, slots, groups, |row, group| {
                    let value = in_sixteen(encoded.row(row).as_ref(), &self.long);
                    group.insert(value, &self.hasher);
                });
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn AccumulatorColumn, slots: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for (group, &slot) in other.groups.iter().zip(slots) {
            let mine = &mut self.groups[slot as usize];
            group
                .values()
                .for_each(|value| mine.insert(value, &self.hasher));
        }
        Ok(())
    }

    fn finish(&self) -> Result<ArrayRef> {
        let counts = self.groups.iter().map(|group| group.count as i64);
        Ok(Arc::new(Int64Array::from_iter_values(counts)))
    }

    fn save(&self, slots: &[usize], out: &mut [Vec<u8>]) {
        let mut values = Vec::new();
        for (&slot, out) in slots.iter().zip(out) {
            values.clear();
            values.extend(self.groups[slot].values());
            // In an order that does not depend on how they came.
            values.sort_unstable();
            (values.len() as u64).write(out);
            values.iter().for_each(|value| value.write(out));
        }
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        let group = &mut self.groups[slot];
        *group = Group::default();
        for _ in 0..u64::read(bytes)? {
            group.insert(u128::read(bytes)?, &self.hasher);
        }
        Ok(())
    }

    fn memory(&self) -> usize {
        let sets = self.groups.iter().map(Group::memory).sum::<usize>();
        self.groups.capacity() * size_of::<Group>() + sets
    }
}

/// How many different values each group has in the last panes of a window that moves on: for each
/// value the last pane that has it, so that a pane costs its own values when it enters and when it
/// leaves, whatever the length of the window.
///
/// ```text
///   panes                 12:00 {a b}   12:10 {b}   12:20 {a}
///   last                  a ▶ 12:20     b ▶ 12:10             count 2
///   12:00 leaves          neither was seen last there         count 2
///   12:10 leaves          b goes                              count 1
/// ```
///
/// Panes enter and leave in the order of their starts.
#[derive(Default)]
pub(crate) struct SlidingDistinct {
    last: HashMap<(u32, u128), i64, RandomState>,
    counts: Vec<i64>,
}

impl SlidingDistinct {
    /// The pane that starts at `start` enters; its group i is `groups[i]` here.
    pub(crate) fn enter(
        &mut self,
        pane: &dyn AccumulatorColumn,
        groups: &[u32],
        start: i64,
    ) -> Result<()> {
        let pane: &CountDistinct = same(pane)?;
        let room = groups.iter().max().map_or(0, |&last| last as usize + 1);
        self.counts.resize(self.counts.len().max(room), 0);
        for (group, &number) in pane.groups.iter().zip(groups) {
            for value in group.values() {
                if self.last.insert((number, value), start).is_none() {
                    self.counts[number as usize] += 1;
                }
            }
        }
        Ok(())
    }

    /// That pane leaves.
    pub(crate) fn leave(
        &mut self,
        pane: &dyn AccumulatorColumn,
        groups: &[u32],
        start: i64,
    ) -> Result<()> {
        let pane: &CountDistinct = same(pane)?;
        for (group, &number) in pane.groups.iter().zip(groups) {
            for value in group.values() {
                if let MapEntry::Occupied(entry) = self.last.entry((number, value))
                    && *entry.get() == start
                {
                    entry.remove();
                    self.counts[number as usize] -= 1;
                }
            }
        }
        Ok(())
    }

    /// How many values each of `groups` has.
    pub(crate) fn counts(&self, groups: &[u32]) -> ArrayRef {
        let counts = groups.iter().map(|&group| self.counts[group as usize]);
        Arc::new(Int64Array::from_iter_values(counts))
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        self.last.capacity() * 49 + self.counts.capacity() * 8
    }
}
