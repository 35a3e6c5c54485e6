//! Rows by their keys: a hash table that joins build over one side and read with the other.
//!
//! ```text
//!   rows    a  b  a  ∅          groups   a → 0   b → 1
//!   starts  0  2  3             rows     0  2 │ 1          those of a group lie together
//! ```
//!
//! In:    key columns of equal types on both sides.
//! Keys:  equal as in SQL and as in DataFusion's hash join: null equals nothing, 0.0 equals -0.0,
//!        and a NaN equals a NaN of the same bits. One text or one integer is compared as it is,
//!        anything else in Arrow's row format.
//! Out:   the rows of an equal key, in their order.
//! State: none. An index holds the keys, a number a row and a few for each distinct key.

use std::hash::{BuildHasher, Hash};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, UInt64Type};
use arrow::row::{RowConverter, SortField};
use datafusion_common::utils::normalize_float_zero;
use foldhash::quality::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::error::{Error, In, Result};

/// The group of a row whose key is null or not in the index.
pub(super) const NONE: u32 = u32::MAX;

/// The error of columns that do not fit.
pub(super) fn shape<T>(operator: &'static str, detail: String) -> Result<T> {
    Err(Error::Shape { operator, detail })
}

/// The rows of one side by their keys.
#[derive(Debug)]
pub(super) struct KeyIndex {
    types: Vec<DataType>,
    keys: Keys,
    groups: Groups,
}

/// The keys that an index was made of, in the form in which they are compared.
#[derive(Debug)]
enum Keys {
    Text(StringViewArray),
    Integer(Int64Array),
    Rows {
        converter: RowConverter,
        values: arrow::row::Rows,
        nulls: Option<NullBuffer>,
    },
}

/// Rows by the number of their key; numbers are given in the order of first appearance.
#[derive(Debug, Default)]
struct Groups {
    hasher: RandomState,
    /// The groups, by the hash of their key.
    table: HashTable<u32>,
    /// A row of each group.
    first: Vec<u32>,
    /// Where in `rows` each group starts, and the end.
    starts: Vec<u32>,
    /// The rows that have a key, by group, then in their order.
    rows: Vec<u32>,
}

impl Groups {
    fn new<K: Hash + Eq + Copy>(rows: usize, key: impl Fn(usize) -> Option<K>) -> Self {
        let mut groups = Groups::default();
        let mut group_of = Vec::with_capacity(rows);
        let mut sizes: Vec<u32> = Vec::new();
        for row in 0..rows {
            let Some(value) = key(row) else {
                group_of.push(NONE);
                continue;
            };
            let (first, hasher) = (&mut groups.first, &groups.hasher);
            let hash = hasher.hash_one(value);
            let entry = groups.table.entry(
                hash,
                |&group| key(first[group as usize] as usize) == Some(value),
                |&group| key(first[group as usize] as usize).map_or(0, |key| hasher.hash_one(key)),
            );
            let group = match entry {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => {
                    let group = first.len() as u32;
                    entry.insert(group);
                    first.push(row as u32);
                    sizes.push(0);
                    group
                }
            };
            sizes[group as usize] += 1;
            group_of.push(group);
        }
        let mut end = 0;
        for size in sizes {
            groups.starts.push(end);
            end += size;
        }
        let mut next = groups.starts.clone();
        groups.starts.push(end);
        groups.rows.resize(end as usize, 0);
        for (row, group) in group_of.into_iter().enumerate() {
            if group != NONE {
                let place = &mut next[group as usize];
                groups.rows[*place as usize] = row as u32;
                *place += 1;
            }
        }
        groups
    }

    /// The groups of the keys of another side. A key that repeats the one before it, as in a burst of
    /// one client, is not looked up again.
    fn find<K: Hash + Eq + Copy>(
        &self,
        rows: usize,
        sought: impl Fn(usize) -> Option<K>,
        known: impl Fn(usize) -> Option<K>,
    ) -> Vec<u32> {
        let mut last: Option<(K, u32)> = None;
        (0..rows)
            .map(|row| match (sought(row), last) {
                (None, _) => NONE,
                (Some(key), Some((previous, group))) if key == previous => group,
                (Some(key), _) => {
                    let found = self.table.find(self.hasher.hash_one(key), |&group| {
                        known(self.first[group as usize] as usize) == Some(key)
                    });
                    let group = found.copied().unwrap_or(NONE);
                    last = Some((key, group));
                    group
                }
            })
            .collect()
    }
}

impl KeyIndex {
    /// Indexes rows by their key columns.
    ///
    /// # Errors
    /// No key column, a type that Arrow's row format does not know, or 2^32 - 1 rows and more.
    pub(super) fn new(operator: &'static str, columns: &[ArrayRef]) -> Result<Self> {
        let Some(rows) = columns.first().map(|column| column.len()) else {
            return shape(operator, "a join without any equality".to_owned());
        };
        if rows >= NONE as usize {
            return shape(operator, format!("{rows} rows, expected fewer than 2^32"));
        }
        let types: Vec<DataType> = columns
            .iter()
            .map(|column| column.data_type().clone())
            .collect();
        let (keys, groups) = match types.as_slice() {
            [DataType::Utf8View] => {
                let text = columns[0].as_string_view().clone();
                let groups = Groups::new(rows, |row| text_key(&text, row));
                (Keys::Text(text), groups)
            }
            [kind] if kind.is_integer() => {
                let integers = integers(&columns[0]).within(operator)?;
                let groups = Groups::new(rows, |row| integer_key(&integers, row));
                (Keys::Integer(integers), groups)
            }
            _ => {
                let fields = types.iter().cloned().map(SortField::new).collect();
                let converter = RowConverter::new(fields).within(operator)?;
                let (values, nulls) = row_keys(&converter, columns).within(operator)?;
                let groups = Groups::new(rows, |row| row_key(&values, nulls.as_ref(), row));
                let keys = Keys::Rows {
                    converter,
                    values,
                    nulls,
                };
                (keys, groups)
            }
        };
        Ok(KeyIndex {
            types,
            keys,
            groups,
        })
    }

    /// The types of the key columns.
    pub(super) fn types(&self) -> &[DataType] {
        &self.types
    }

    /// The group of each row of the other side, [`NONE`] where nothing is equal.
    pub(super) fn find(&self, operator: &'static str, columns: &[ArrayRef]) -> Result<Vec<u32>> {
        if !columns
            .iter()
            .map(|column| column.data_type())
            .eq(&self.types)
        {
            let types: Vec<&DataType> = columns.iter().map(|column| column.data_type()).collect();
            return shape(
                operator,
                format!("keys of {types:?}, expected {:?}", self.types),
            );
        }
        let rows = columns[0].len();
        let groups = &self.groups;
        Ok(match &self.keys {
            Keys::Text(known) => {
                let sought = columns[0].as_string_view();
                groups.find(
                    rows,
                    |row| text_key(sought, row),
                    |row| text_key(known, row),
                )
            }
            Keys::Integer(known) => {
                let sought = integers(&columns[0]).within(operator)?;
                groups.find(
                    rows,
                    |row| integer_key(&sought, row),
                    |row| integer_key(known, row),
                )
            }
            Keys::Rows {
                converter,
                values,
                nulls,
            } => {
                let (sought, missing) = row_keys(converter, columns).within(operator)?;
                groups.find(
                    rows,
                    |row| row_key(&sought, missing.as_ref(), row),
                    |row| row_key(values, nulls.as_ref(), row),
                )
            }
        })
    }

    /// The rows of a group in their order; none for [`NONE`].
    pub(super) fn rows(&self, group: u32) -> &[u32] {
        if group == NONE {
            return &[];
        }
        let bound = |group: usize| self.groups.starts[group] as usize;
        &self.groups.rows[bound(group as usize)..bound(group as usize + 1)]
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        let keys = match &self.keys {
            Keys::Text(text) => text.get_array_memory_size(),
            Keys::Integer(integers) => integers.get_array_memory_size(),
            Keys::Rows { values, .. } => values.size(),
        };
        let groups = &self.groups;
        let numbers = groups.first.len() + groups.starts.len() + groups.rows.len();
        keys + numbers * size_of::<u32>() + groups.table.capacity() * 5
    }
}

fn text_key(text: &StringViewArray, row: usize) -> Option<&str> {
    text.is_valid(row).then(|| text.value(row))
}

fn integer_key(integers: &Int64Array, row: usize) -> Option<i64> {
    integers.is_valid(row).then(|| integers.value(row))
}

fn row_key<'a>(
    values: &'a arrow::row::Rows,
    nulls: Option<&NullBuffer>,
    row: usize,
) -> Option<arrow::row::Row<'a>> {
    nulls
        .is_none_or(|nulls| nulls.is_valid(row))
        .then(|| values.row(row))
}

/// Integers of one type, each as a distinct i64.
fn integers(column: &ArrayRef) -> std::result::Result<Int64Array, arrow::error::ArrowError> {
    Ok(match column.as_primitive_opt::<UInt64Type>() {
        Some(unsigned) => unsigned.unary(|value| value as i64),
        None => cast(column, &DataType::Int64)?
            .as_primitive::<Int64Type>()
            .clone(),
    })
}

/// Keys in the row format, and which of them have a null in a column.
fn row_keys(
    converter: &RowConverter,
    columns: &[ArrayRef],
) -> std::result::Result<(arrow::row::Rows, Option<NullBuffer>), arrow::error::ArrowError> {
    let columns: Vec<ArrayRef> = columns.iter().map(normalize_float_zero).collect();
    let nulls = columns.iter().fold(None, |nulls, column| {
        NullBuffer::union(nulls.as_ref(), column.logical_nulls().as_ref())
    });
    Ok((converter.convert_columns(&columns)?, nulls))
}
