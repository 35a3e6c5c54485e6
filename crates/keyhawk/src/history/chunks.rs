//! The bytes of a Parquet file, as its decoder asks for them: from a file, or from an object in few
//! requests.
//!
//! ```text
//!   object      │ a │ b │ c │ d │ a │ b │ c │ d │ … │ footer │
//!                 └───────┘ └─┘   └───────┘ └─┘     └────────┘
//!   columns a, b, d of      1     2                 0: the last 256 KiB, which is nearly always all of it
//! ```
//!
//! The decoder goes from page to page and from column to column, which would be a request each. Which bytes
//! it will want is known from the footer: those of the columns that are read, row group after row group. The
//! first touch of a row group fetches all of them at once, small gaps included, and lets the last one go.
//!
//! State: the compressed bytes of the columns that are read, of one row group.

use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use keyhawk_connectors::{Error as StoreError, Object};
use parquet::arrow::ProjectionMask;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, Length};

/// Footers of our files have some 10 KB a row group.
const FOOTER_BYTES: u64 = 256 << 10;

/// Where a decoder reads.
pub(super) enum Chunks {
    File(File),
    Object(ObjectChunks),
}

/// An object of which some ranges are read whole.
pub(super) struct ObjectChunks {
    object: Object,
    /// The ranges of each row group, none beyond the object's end.
    groups: Vec<Vec<Range<u64>>>,
    held: Mutex<Vec<(Range<u64>, Bytes)>>,
    failed: Failed,
}

/// What the store said last, which the decoder makes a sentence of.
#[derive(Clone, Default)]
pub(super) struct Failed(Arc<Mutex<Option<StoreError>>>);

impl Failed {
    pub(super) fn take(&self) -> Option<StoreError> {
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failed.take()
    }
}

impl ObjectChunks {
    /// For the footer.
    pub(super) fn footer(object: &Object, failed: &Failed) -> Self {
        let len = object.bytes();
        let footer = len.saturating_sub(FOOTER_BYTES)..len;
        Self::new(object, vec![vec![footer]], failed)
    }

    /// For the columns that are read, of one row group or of all.
    pub(super) fn columns(
        object: &Object,
        metadata: &ParquetMetaData,
        read: &ProjectionMask,
        group: Option<usize>,
        failed: &Failed,
    ) -> Self {
        let groups = metadata.row_groups().iter().enumerate();
        let groups = groups.filter(|(at, _)| group.is_none_or(|group| group == *at));
        let ranges = groups.map(|(_, group)| {
            let columns = group.columns().iter().enumerate();
            let columns = columns.filter(|(leaf, _)| read.leaf_included(*leaf));
            columns
                .map(|(_, column)| {
                    let (start, len) = column.byte_range();
                    let start = start.min(object.bytes());
                    start..start.saturating_add(len).min(object.bytes())
                })
                .collect()
        });
        Self::new(object, ranges.collect(), failed)
    }

    fn new(object: &Object, groups: Vec<Vec<Range<u64>>>, failed: &Failed) -> Self {
        ObjectChunks {
            object: object.clone(),
            groups,
            held: Mutex::default(),
            failed: failed.clone(),
        }
    }

    /// The bytes from `start` to the end of the range that it is in; None where it is in none.
    fn from(&self, start: u64) -> Result<Option<Bytes>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let found = |held: &[(Range<u64>, Bytes)]| {
            let (range, bytes) = held.iter().find(|(range, _)| range.contains(&start))?;
            Some(bytes.slice((start - range.start) as usize..))
        };
        if let Some(bytes) = found(&held) {
            return Ok(Some(bytes));
        }
        let is_in = |ranges: &&Vec<Range<u64>>| ranges.iter().any(|range| range.contains(&start));
        let Some(ranges) = self.groups.iter().find(is_in) else {
            return Ok(None);
        };
        held.clear();
        let bytes = self.object.read_all(ranges);
        let bytes = bytes.map_err(|error| self.failed(error))?;
        *held = ranges.iter().cloned().zip(bytes).collect();
        Ok(found(&held))
    }

    fn failed(&self, error: StoreError) -> ParquetError {
        let mut failed = self.failed.0.lock().unwrap_or_else(PoisonError::into_inner);
        *failed = Some(error.clone());
        ParquetError::External(Box::new(error))
    }

    fn read(&self, start: u64, length: usize) -> Result<Bytes> {
        let end = start.saturating_add(length as u64);
        if end > self.object.bytes() {
            return Err(ParquetError::EOF(format!(
                "bytes up to {end} are named, and there are {}",
                self.object.bytes()
            )));
        }
        match self.from(start)? {
            Some(bytes) if bytes.len() >= length => Ok(bytes.slice(..length)),
            _ => {
                let read = self.object.read(start..end);
                read.map_err(|error| self.failed(error))
            }
        }
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        match self {
            Chunks::File(file) => file.len(),
            Chunks::Object(chunks) => chunks.object.bytes(),
        }
    }
}

impl ChunkReader for Chunks {
    type T = ChunkRead;

    fn get_read(&self, start: u64) -> Result<ChunkRead> {
        match self {
            Chunks::File(file) => Ok(ChunkRead::File(file.get_read(start)?)),
            Chunks::Object(chunks) => Ok(ChunkRead::Bytes(match chunks.from(start)? {
                Some(bytes) => bytes,
                // Of a file that says of no column where it is: a header, and then bytes by length.
                None => {
                    let left = chunks.object.bytes().saturating_sub(start);
                    chunks.read(start, left.min(FOOTER_BYTES) as usize)?
                }
            })),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        match self {
            Chunks::File(file) => file.get_bytes(start, length),
            Chunks::Object(chunks) => chunks.read(start, length),
        }
    }
}

/// A stream from some place on.
pub(super) enum ChunkRead {
    File(BufReader<File>),
    Bytes(Bytes),
}

impl Read for ChunkRead {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            ChunkRead::File(file) => file.read(into),
            ChunkRead::Bytes(bytes) => {
                let taken = bytes.len().min(into.len());
                bytes.copy_to_slice(&mut into[..taken]);
                Ok(taken)
            }
        }
    }
}
