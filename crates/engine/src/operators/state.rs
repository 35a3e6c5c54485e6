//! Reading and writing the bytes of a row of state.
//!
//! ```text
//!   numbers   little-endian, as wide as they are
//!   text      its length as u32, then its bytes
//! ```
//!
//! Damaged bytes are an error: lengths are checked against what is left before anything is read.

use arrow::datatypes::i256;

use crate::error::{Error, Result};

const OPERATOR: &str = "state";

/// Splits `n` bytes off the front.
pub(super) fn split<'a>(bytes: &mut &'a [u8], n: usize) -> Result<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(n).ok_or_else(|| Error::State {
        operator: OPERATOR,
        detail: format!("{n} bytes expected, {} left", bytes.len()),
    })?;
    *bytes = tail;
    Ok(head)
}

/// Splits an array off the front.
pub(super) fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let mut array = [0; N];
    array.copy_from_slice(split(bytes, N)?);
    Ok(array)
}

/// What is left of a row of state once every field was read.
pub(super) fn read_whole(rest: &[u8], operator: &'static str) -> Result<()> {
    match rest.len() {
        0 => Ok(()),
        left => Err(Error::State {
            operator,
            detail: format!("{left} bytes more than expected"),
        }),
    }
}

/// Appends bytes behind their length.
pub(super) fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
}

/// The length in place of that of bytes which are not there.
const NOTHING: u32 = u32::MAX;

/// Appends bytes behind their length, or that there are none.
pub(super) fn write_optional(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        Some(bytes) => write_bytes(bytes, out),
        None => out.extend(NOTHING.to_le_bytes()),
    }
}

/// What [`write_optional`] wrote.
pub(super) fn read_optional<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>> {
    match u32::read(bytes)? {
        NOTHING => Ok(None),
        length => split(bytes, length as usize).map(Some),
    }
}

/// Text that was written as bytes.
pub(super) fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| Error::State {
        operator: OPERATOR,
        detail: format!("text expected: {error}"),
    })
}

/// Numbers in the state format.
pub(super) trait LittleEndian: Sized {
    fn write(self, out: &mut Vec<u8>);
    fn read(bytes: &mut &[u8]) -> Result<Self>;
}

macro_rules! little_endian {
    ($($number:ty),*) => {$(
        impl LittleEndian for $number {
            fn write(self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
            fn read(bytes: &mut &[u8]) -> Result<Self> {
                Ok(<$number>::from_le_bytes(take_array(bytes)?))
            }
        }
    )*};
}

little_endian!(
    i8, i16, i32, i64, i128, i256, u8, u16, u32, u64, u128, f32, f64
);
