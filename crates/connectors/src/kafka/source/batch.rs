//! A batch of records of one partition, in one buffer.
//!
//! ```text
//!   bytes    {"event_time":…}{"event_time":…}{"event_time":…}
//!   rows     offset 41, ends at 16 │ offset 42, null │ offset 43, ends at 32 │ …
//! ```
//!
//! One growing buffer a batch instead of one allocation a record: at a hundred bytes a record, the
//! allocator would cost more than the copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::Assigned;

/// Stands for "no time" in a row; no record has it.
const NO_TIME: i64 = i64::MIN;

#[derive(Clone, Copy, Debug)]
struct Row {
    offset: i64,
    record_time_ms: i64,
    /// Where its payload ends in the buffer; it begins where the one before ends.
    end: usize,
    null: bool,
}

/// Records of one partition by rising offset. Counts as outstanding until it is dropped.
#[derive(Debug)]
pub struct Batch {
    assigned: Assigned,
    rows: Vec<Row>,
    bytes: Vec<u8>,
    // Held for its drop alone.
    _permit: Permit,
}

/// A record, without its key and headers, which are never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The record's offset.
    pub offset: i64,
    /// Kafka's timestamp in milliseconds since 1970; absent in the oldest record format.
    pub record_time_ms: Option<i64>,
    /// The record's value; absent for a tombstone.
    pub payload: Option<&'a [u8]>,
}

impl Batch {
    /// The partition, and the epoch under which its commits go.
    pub fn assigned(&self) -> &Assigned {
        &self.assigned
    }

    /// The number of records, at least 1.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no record; never so for a batch from a source.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The bytes of all payloads.
    pub fn payload_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The offset to commit once the batch is done: one after its last record's.
    pub fn next_offset(&self) -> i64 {
        self.rows.last().map_or(0, |row| row.offset + 1)
    }

    /// One record.
    ///
    /// # Panics
    ///
    /// Where the index is not below [`len`](Batch::len).
    pub fn record(&self, index: usize) -> Record<'_> {
        let row = self.rows[index];
        let start = if index == 0 {
            0
        } else {
            self.rows[index - 1].end
        };
        Record {
            offset: row.offset,
            record_time_ms: (row.record_time_ms != NO_TIME).then_some(row.record_time_ms),
            payload: (!row.null).then(|| &self.bytes[start..row.end]),
        }
    }

    /// The records by rising offset.
    pub fn records(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        (0..self.len()).map(|index| self.record(index))
    }
}

/// A batch that is still being filled.
#[derive(Debug, Default)]
pub(super) struct OpenBatch {
    rows: Vec<Row>,
    bytes: Vec<u8>,
}

impl OpenBatch {
    pub(super) fn push(&mut self, offset: i64, time_ms: Option<i64>, payload: Option<&[u8]>) {
        self.bytes.extend_from_slice(payload.unwrap_or_default());
        self.rows.push(Row {
            offset,
            record_time_ms: time_ms.unwrap_or(NO_TIME),
            end: self.bytes.len(),
            null: payload.is_none(),
        });
    }

    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn close(self, assigned: Assigned, permit: Permit) -> Batch {
        Batch {
            assigned,
            rows: self.rows,
            bytes: self.bytes,
            _permit: permit,
        }
    }
}

/// The payload bytes of all batches that are not dropped yet.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    bytes: AtomicU64,
    bytes_max: AtomicU64,
}

impl Outstanding {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes_max.load(Ordering::Relaxed)
    }
}

/// Counts a batch of a partition, and its bytes, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    batches: Arc<AtomicUsize>,
    outstanding: Arc<Outstanding>,
    bytes: u64,
}

impl Permit {
    pub(super) fn new(
        batches: &Arc<AtomicUsize>,
        outstanding: &Arc<Outstanding>,
        bytes: usize,
    ) -> Permit {
        let bytes = bytes as u64;
        batches.fetch_add(1, Ordering::AcqRel);
        let now = outstanding.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        outstanding.bytes_max.fetch_max(now, Ordering::Relaxed);
        Permit {
            batches: Arc::clone(batches),
            outstanding: Arc::clone(outstanding),
            bytes,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.outstanding
            .bytes
            .fetch_sub(self.bytes, Ordering::Relaxed);
        self.batches.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_tombstones_and_times_come_back_as_they_went_in() {
        let (batches, outstanding) = (Arc::default(), Arc::default());
        let mut open = OpenBatch::default();
        open.push(7, Some(1_000), Some(b"abc"));
        open.push(8, None, None);
        open.push(11, Some(-5), Some(b""));
        open.push(12, Some(2_000), Some(b"defgh"));
        let permit = Permit::new(&batches, &outstanding, open.bytes());
        let assigned = Assigned {
            topic: "t".into(),
            partition: 0,
            epoch: 1,
        };
        let batch = open.close(assigned, permit);
        let record = |offset, record_time_ms, payload| Record {
            offset,
            record_time_ms,
            payload,
        };
        assert_eq!(
            batch.records().collect::<Vec<_>>(),
            [
                record(7, Some(1_000), Some(b"abc".as_slice())),
                record(8, None, None),
                record(11, Some(-5), Some(b"".as_slice())),
                record(12, Some(2_000), Some(b"defgh".as_slice())),
            ]
        );
        assert_eq!((batch.next_offset(), batch.payload_bytes()), (13, 8));
        assert_eq!(
            (batches.load(Ordering::Relaxed), outstanding.bytes()),
            (1, 8)
        );
        drop(batch);
        assert_eq!(
            (batches.load(Ordering::Relaxed), outstanding.bytes()),
            (0, 0)
        );
        assert_eq!(outstanding.bytes_max(), 8);
    }
}
