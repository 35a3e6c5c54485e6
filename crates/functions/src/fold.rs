//! The contract between a window function and whoever drives it: rows in, one value a row out.

use arrow::{array::ArrayRef, datatypes::DataType};

use crate::{KeyRows, Result};

/// A window function as a sequential fold over the rows of each key.
///
/// The driver numbers its keys densely from 0 and calls [`resize`](Self::resize) before the first row
/// of a new key. Rows arrive in the total order, in batches cut anywhere: the same rows give the same
/// values and the same state however they are cut, and a key's values depend on that key's rows only.
/// A [`frame`](crate::frame) that counts the rows of the same time is the one exception: it needs all
/// rows of a key and time in one batch.
///
/// A key index at or above the last `resize` is a mistake of the driver and panics.
pub trait KeyedFold: Send {
    /// The type of the array that [`update`](Self::update) returns. All its rows are nullable.
    fn return_type(&self) -> DataType;

    /// Makes room for the keys `0..keys`, each in its initial state. Never shrinks, and never touches
    /// a key that is already there.
    fn resize(&mut self, keys: usize);

    /// Folds rows that come in the total order and returns one value a row.
    ///
    /// `rows` has the key index of each row, and `args` are the evaluated arguments, as long as `rows`. Arguments that the function takes as literals may be left out at the end. An array of
    /// another type than the planned one is cast. After an error the state may have learned any prefix
    /// of the batch, so the driver must not go on with it.
    fn update_rows(&mut self, rows: &KeyRows<'_>, args: &[ArrayRef]) -> Result<ArrayRef>;

    /// Folds rows that no other function is driven over: `keys[i]` is the key index of row `i`.
    fn update(&mut self, keys: &[u32], args: &[ArrayRef]) -> Result<ArrayRef> {
        self.update_rows(&KeyRows::new(keys), args)
    }

    /// Appends the state of `key` to `out`. The first byte is the version of the format; the rest is
    /// little-endian and the same on every machine.
    fn snapshot(&self, key: u32, out: &mut Vec<u8>);

    /// Replaces the state of `key` by bytes that [`snapshot`](Self::snapshot) wrote, of this fold or of
    /// an equally planned one, under any key index. An empty slice is the initial state, which is how a
    /// key index is freed. Damaged bytes are an error and leave the key as it was.
    fn restore(&mut self, key: u32, bytes: &[u8]) -> Result<()>;

    /// Bytes of memory held for all keys, whether used or reserved.
    fn memory(&self) -> usize;
}
