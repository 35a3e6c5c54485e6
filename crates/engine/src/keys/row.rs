//! Numbers for the values of any columns, of one operator.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::row::RowConverter;
use foldhash::quality::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::error::{In, Result};

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
