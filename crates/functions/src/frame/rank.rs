//! `rank()` and `dense_rank()`: how many rows, or distinct times, of the key came before this time.
//!
//! ```text
//!   time        12:00:01   12:00:02   12:00:02   12:00:05
//!   rank               1          2          2          4
//!   dense_rank         1          2          2          3
//! ```
//!
//! State: the rows so far, the last time and its rank. A row without a time has no rank and changes
//! nothing. Batch: DataFusion's own.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, UInt64Array},
    datatypes::DataType,
};

use crate::{KeyRows, KeyedFold, Result, arguments::timestamps, state::Reader};

const VERSION: u8 = 1;

pub(super) struct RankFold {
    dense: bool,
    keys: Vec<Ranked>,
}

/// `rank` is 0 exactly before the first row.
#[derive(Debug, Clone, Default)]
struct Ranked {
    rows: u64,
    time_ms: i64,
    rank: u64,
}

impl RankFold {
    pub(super) fn new(dense: bool) -> Self {
        Self {
            dense,
            keys: Vec::new(),
        }
    }

    fn name(&self) -> &'static str {
        if self.dense { "dense_rank" } else { "rank" }
    }
}

impl KeyedFold for RankFold {
    fn return_type(&self) -> DataType {
        DataType::UInt64
    }

    fn resize(&mut self, keys: usize) {
        self.keys
            .resize(keys.max(self.keys.len()), Ranked::default());
    }

    fn update_rows(&mut self, rows: &KeyRows<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
        let keys = rows.keys();
        let times = timestamps(args, 0)?;
        let ranks = keys.iter().enumerate().map(|(row, &key)| {
            if times.is_null(row) {
                return None;
            }
            let time_ms = times.value(row);
            let key = &mut self.keys[key as usize];
            key.rows += 1;
            if key.rank == 0 || time_ms != key.time_ms {
                key.time_ms = time_ms;
                key.rank = if self.dense { key.rank + 1 } else { key.rows };
            }
            Some(key.rank)
        });
        Ok(Arc::new(ranks.collect::<UInt64Array>()))
    }

    fn snapshot(&self, key: u32, out: &mut Vec<u8>) {
        let key = &self.keys[key as usize];
        out.push(VERSION);
        out.extend_from_slice(&key.rows.to_le_bytes());
        out.extend_from_slice(&key.time_ms.to_le_bytes());
        out.extend_from_slice(&key.rank.to_le_bytes());
    }

    fn restore(&mut self, key: u32, bytes: &[u8]) -> Result<()> {
        let mut ranked = Ranked::default();
        if !bytes.is_empty() {
            let mut reader = Reader::new(self.name(), VERSION, bytes)?;
            ranked.rows = reader.u64()?;
            ranked.time_ms = reader.i64()?;
            ranked.rank = reader.u64()?;
            if ranked.rows > i64::MAX as u64
                || ranked.rank > ranked.rows
                || (ranked.rank == 0) != (ranked.rows == 0)
            {
                return Err(reader.damaged("its rank does not fit its rows"));
            }
            reader.finish()?;
        }
        self.keys[key as usize] = ranked;
        Ok(())
    }

    fn memory(&self) -> usize {
        self.keys.capacity() * size_of::<Ranked>()
    }
}
