//! `row_number()` as a fold: how many rows of the key have come, this one included.
//!
//! State: one `u64` a key. Batch: DataFusion's own `row_number`.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, UInt64Array},
    datatypes::DataType,
};

use crate::{KeyRows, KeyedFold, Result, state::Reader};

const NAME: &str = "row_number";
const VERSION: u8 = 1;

/// The fold of `row_number()`. It reads no arguments and returns `UInt64`, as DataFusion's does.
pub fn row_number_fold() -> Box<dyn KeyedFold> {
    Box::new(RowNumberFold { rows: Vec::new() })
}

struct RowNumberFold {
    rows: Vec<u64>,
}

impl KeyedFold for RowNumberFold {
    fn return_type(&self) -> DataType {
        DataType::UInt64
    }

    fn resize(&mut self, keys: usize) {
        self.rows.resize(keys.max(self.rows.len()), 0);
    }

    fn update_rows(&mut self, rows: &KeyRows<'_>, _args: &[ArrayRef]) -> Result<ArrayRef> {
        let keys = rows.keys();
        let numbers = keys.iter().map(|&key| {
            let rows = &mut self.rows[key as usize];
            *rows += 1;
            *rows
        });
        Ok(Arc::new(UInt64Array::from_iter_values(numbers)))
    }

    fn snapshot(&self, key: u32, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.rows[key as usize].to_le_bytes());
    }

    fn restore(&mut self, key: u32, bytes: &[u8]) -> Result<()> {
        let mut rows = 0;
        if !bytes.is_empty() {
            let mut reader = Reader::new(NAME, VERSION, bytes)?;
            rows = reader.u64()?;
            if rows > i64::MAX as u64 {
                return Err(reader.damaged("it counts more rows than can be"));
            }
            reader.finish()?;
        }
        self.rows[key as usize] = rows;
        Ok(())
    }

    fn memory(&self) -> usize {
        self.rows.capacity() * size_of::<u64>()
    }
}
