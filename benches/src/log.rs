//! A log of one partition in memory: payloads one after the other, as a consumer would hand them on.

use std::ops::Range;

use keyhawk_events::Record;

/// Payloads with their record times.
#[derive(Default)]
pub struct Log {
    bytes: Vec<u8>,
    /// The end of each payload in `bytes`, and its record time in ms since 1970.
    records: Vec<(usize, i64)>,
    /// How far out of order the events are at most, in ms: the topic's bound.
    pub bound_ms: i64,
}

impl Log {
    /// An empty log whose events are at most `bound_ms` out of order.
    pub fn new(bound_ms: i64) -> Self {
        Log {
            bound_ms,
            ..Log::default()
        }
    }

    /// Adds the record that `write` appends to the bytes that it is given.
    pub fn push(&mut self, record_time_ms: i64, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.records.push((self.bytes.len(), record_time_ms));
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of all payloads.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The payloads in order.
    pub fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        self.records().filter_map(|record| record.payload)
    }

    /// The records in order; offsets count from 0.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.slice(0..self.len())
    }

    /// The records with these offsets.
    pub fn slice(&self, offsets: Range<usize>) -> impl Iterator<Item = Record<'_>> {
        let mut begin = match offsets.start {
            0 => 0,
            first => self.records[first - 1].0,
        };
        let records = (offsets.start as i64..).zip(&self.records[offsets]);
        records.map(move |(offset, (end, record_time_ms))| {
            let payload = &self.bytes[begin..*end];
            begin = *end;
            Record {
                payload: Some(payload),
                offset,
                record_time_ms: Some(*record_time_ms),
            }
        })
    }
}
