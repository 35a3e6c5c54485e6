//! Dense numbers for keys: hashed once a batch, after which every operator groups by an integer.
//!
//! ```text
//!   "kh_live_…9f31"  ──▶ 0        columns of state are Vecs, index = number
//!   "key_0042"       ──▶ 1
//! ```
//!
//! A number means nothing outside one machine and one run: state leaves and enters by value.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, StringViewArray, StringViewBuilder, UInt32Array, UInt32Builder,
};
use arrow::row::RowConverter;
use foldhash::quality::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::error::{In, Result};

/// The topic's keys (the column `api_key` of `events`) that one machine has seen.
#[derive(Debug, Default)]
pub struct TopicKeys {
    table: HashTable<u32>,
    values: Vec<Box<str>>,
    hasher: RandomState,
}

impl TopicKeys {
    /// How many distinct keys were seen.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether no key was seen.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The number of `value`, given one if it is new.
    pub fn intern(&mut self, value: &str) -> u32 {
        let hash = self.hasher.hash_one(value);
        let values = &mut self.values;
        let hasher = &self.hasher;
        match self.table.entry(
            hash,
            |&key| &*values[key as usize] == value,
            |&key| hasher.hash_one(&*values[key as usize]),
        ) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let key =
                    u32::try_from(values.len()).expect("a machine holds fewer than 2^32 keys");
                entry.insert(key);
                values.push(value.into());
                key
            }
        }
    }

    /// The numbers of a column of keys; null for null.
    pub fn intern_column(&mut self, column: &StringViewArray) -> UInt32Array {
        let mut keys = UInt32Builder::with_capacity(column.len());
        let mut last: Option<(&str, u32)> = None;
        for value in column {
            match (value, last) {
                (None, _) => keys.append_null(),
                (Some(value), Some((previous, key))) if value == previous => keys.append_value(key),
                (Some(value), _) => {
                    let key = self.intern(value);
                    last = Some((value, key));
                    keys.append_value(key);
                }
            }
        }
        keys.finish()
    }

    /// The text of a key.
    pub fn value(&self, key: u32) -> &str {
        &self.values[key as usize]
    }

    /// A column of the texts of `keys`.
    pub fn column(&self, keys: impl ExactSizeIterator<Item = u32>) -> ArrayRef {
        let mut builder = StringViewBuilder::with_capacity(keys.len());
        for key in keys {
            builder.append_value(self.value(key));
        }
        Arc::new(builder.finish())
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.table.capacity() * 5
            + self
                .values
                .iter()
                .map(|value| value.len() + size_of::<Box<str>>())
                .sum::<usize>()
    }
}

/// Dense numbers for the values of any columns, by arrow's row format.
#[derive(Debug)]
pub(crate) struct RowKeys {
    converter: Arc<RowConverter>,
    table: HashTable<u32>,
    rows: Vec<Box<[u8]>>,
    /// Numbers of keys that were removed, to be given again.
    free: Vec<u32>,
    hasher: RandomState,
}

impl RowKeys {
    pub(crate) fn new(converter: &Arc<RowConverter>) -> Self {
        RowKeys {
            converter: Arc::clone(converter),
            table: HashTable::new(),
            rows: Vec::new(),
            free: Vec::new(),
            hasher: RandomState::default(),
        }
    }

    /// One more than the greatest number that was ever given.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The number of a key given by its bytes in the row format.
    pub(crate) fn intern(&mut self, row: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(row);
        let rows = &mut self.rows;
        let hasher = &self.hasher;
        match self.table.entry(
            hash,
            |&key| &*rows[key as usize] == row,
            |&key| hasher.hash_one(&*rows[key as usize]),
        ) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let key = match self.free.pop() {
                    Some(key) => {
                        rows[key as usize] = row.into();
                        key
                    }
                    None => {
                        rows.push(row.into());
                        u32::try_from(rows.len() - 1)
                            .expect("an operator holds fewer than 2^32 keys")
                    }
                };
                entry.insert(key);
                key
            }
        }
    }

    /// Forgets a key; the next new one gets its number.
    pub(crate) fn remove(&mut self, key: u32) {
        let row = std::mem::take(&mut self.rows[key as usize]);
        let hash = self.hasher.hash_one(&*row);
        if let Ok(entry) = self.table.find_entry(hash, |&known| known == key) {
            entry.remove();
            self.free.push(key);
        }
    }

    /// The bytes of a key's values in the row format, by which its state is saved.
    pub(crate) fn bytes(&self, key: u32) -> &[u8] {
        &self.rows[key as usize]
    }

    /// The columns of all keys, in the order of their numbers.
    pub(crate) fn columns(&self, operator: &'static str) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        self.converter
            .convert_rows(self.rows.iter().map(|row| parser.parse(row)))
            .within(operator)
    }

    /// The columns of some keys, in the order given.
    pub(crate) fn columns_of(&self, keys: &[u32], operator: &'static str) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        let rows = keys.iter().map(|&key| parser.parse(self.bytes(key)));
        self.converter.convert_rows(rows).within(operator)
    }

    pub(crate) fn memory(&self) -> usize {
        self.table.capacity() * 5
            + self.free.capacity() * size_of::<u32>()
            + self
                .rows
                .iter()
                .map(|row| row.len() + size_of::<Box<[u8]>>())
                .sum::<usize>()
    }
}
