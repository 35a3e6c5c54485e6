//! The history of one partition: its files as one log.
//!
//! ```text
//!   file 0-999      ├──────────────────┤
//!   file 700-1499               ├╌╌╌╌╌╌──────────────┤        rows 700-999 are there twice
//!   file 1500-…                                       ├──────▶
//!                   merged by offset; the first of equal offsets is taken
//! ```
//!
//! In:    files whose rows of this partition stand in the order of their offsets.
//! Out:   events in the order of their offsets, without repeats and without marked rows.
//! State: one batch a file that overlaps the place that is read; some row groups where it reads ahead.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, not, or};
use arrow::datatypes::TimestampMillisecondType;
use arrow::error::ArrowError;
use keyhawk_events::{Counts, TopicSettings};

use super::clock::Clock;
use super::file::{HistoryFile, PartitionName, Rows, offsets};
use super::{Columns, Error};

/// Rows of one partition.
pub struct Chunk {
    /// The events: no marked row, no repeat.
    pub events: RecordBatch,
    /// For each row of `events`, the partition's watermark after it, in ms since 1970. Never falls.
    pub watermarks: Vec<i64>,
    /// How many of what; `bytes` are those of the file that the rows stand for.
    pub counts: Counts,
    /// The first row that lies below the watermark before it. The streaming engine takes none.
    pub behind: Option<Behind>,
}

/// A row below the watermark that is not marked late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// Its offset.
    pub offset: i64,
    /// By how much it lies below, in ms.
    pub by_ms: i64,
}

/// Reads the history of one partition.
pub struct PartitionReader {
    name: PartitionName,
    columns: Arc<Columns>,
    /// Files not opened yet, the next one last.
    waiting: Vec<Waiting>,
    open: Vec<Cursor>,
    /// The least offset that was not yet taken.
    next_offset: i64,
    repeats: u64,
    clock: Clock,
    threads_ahead: usize,
}

struct Waiting {
    first_offset: i64,
    file: Arc<HistoryFile>,
    /// How many partitions the file holds.
    partitions: usize,
}

struct Cursor {
    rows: Rows,
    batch: RecordBatch,
    at: usize,
    bytes_a_row: f64,
}

impl Cursor {
    fn offsets(&self, columns: &Columns) -> &[i64] {
        &offsets(&self.batch, columns)[self.at..]
    }
}

impl PartitionReader {
    /// A reader of `name` over the files that hold rows of it, with the least offset of each, and how
    /// many partitions it holds.
    pub fn new(
        name: PartitionName,
        files: Vec<(Arc<HistoryFile>, i64, usize)>,
        columns: Arc<Columns>,
        settings: &TopicSettings,
    ) -> Self {
        let waiting = files
            .into_iter()
            .map(|(file, first_offset, partitions)| Waiting {
                first_offset,
                file,
                partitions,
            });
        let mut waiting: Vec<Waiting> = waiting.collect();
        waiting
            .sort_by(|a, b| (b.first_offset, b.file.path()).cmp(&(a.first_offset, a.file.path())));
        PartitionReader {
            name,
            columns,
            waiting,
            open: Vec::new(),
            next_offset: i64::MIN,
            repeats: 0,
            clock: Clock::new(settings),
            threads_ahead: 0,
        }
    }

    /// Decodes row groups ahead, on so many threads a file that is open; on none to begin with.
    pub fn read_ahead(&mut self, threads: usize) {
        self.threads_ahead = threads;
    }

    /// Whose history this is.
    pub fn name(&self) -> &PartitionName {
        &self.name
    }

    /// The watermark after the rows that were read, in ms since 1970.
    pub fn watermark(&self) -> i64 {
        self.clock.watermark()
    }

    /// How many rows were dropped so far, since another file, or the same, had them already.
    pub fn repeats(&self) -> u64 {
        self.repeats
    }

    /// The lateness bound that the watermark keeps, in ms.
    pub fn bound_ms(&self) -> i64 {
        self.clock.bound_ms
    }

    /// The next rows, or None at the end.
    ///
    /// # Errors
    /// A damaged file, rows out of order, a column that does not fit.
    pub fn read(&mut self) -> Result<Option<Chunk>, Error> {
        let mut skipped_bytes = 0.0;
        loop {
            let Some(index) = self.least()? else {
                return Ok(None);
            };
            let limit = self.limit(index);
            let cursor = &mut self.open[index];
            let own = cursor.offsets(&self.columns);
            let repeats = own.partition_point(|&offset| offset < self.next_offset);
            if repeats > 0 {
                // What comes after them may stand behind another file's rows.
                self.repeats += repeats as u64;
                skipped_bytes += repeats as f64 * cursor.bytes_a_row;
                cursor.at += repeats;
                self.refill(index)?;
                continue;
            }
            let end = run_end(own, limit);
            let taken = first_of_equal(&own[..end]);
            self.next_offset = own[end - 1].saturating_add(1);
            let rows = cursor.batch.slice(cursor.at, end);
            let bytes = skipped_bytes + end as f64 * cursor.bytes_a_row;
            cursor.at += end;
            self.refill(index)?;
            let rows = match taken {
                Some(taken) => {
                    let kept = filter_record_batch(&rows, &taken).map_err(failed)?;
                    self.repeats += (end - kept.num_rows()) as u64;
                    kept
                }
                None => rows,
            };
            return self.chunk(&rows, bytes as u64).map(Some);
        }
    }

    /// The open file with the least offset, after opening all that may have it.
    fn least(&mut self) -> Result<Option<usize>, Error> {
        loop {
            let least = (0..self.open.len())
                .map(|index| (self.open[index].offsets(&self.columns)[0], index))
                .min();
            let opens = self.waiting.last().is_some_and(|waiting| {
                least.is_none_or(|(offset, _)| waiting.first_offset <= offset)
            });
            if !opens {
                return Ok(least.map(|(_, index)| index));
            }
            if let Some(waiting) = self.waiting.pop() {
                let only = (waiting.partitions > 1).then(|| self.name.clone());
                let mut rows = waiting.file.rows(&self.columns, only, self.threads_ahead)?;
                if let Some(batch) = rows.next()? {
                    let bytes_a_row = rows.file().bytes_a_row();
                    self.open.push(Cursor {
                        rows,
                        batch,
                        at: 0,
                        bytes_a_row,
                    });
                }
            }
        }
    }

    /// The least offset that another file may have.
    fn limit(&self, index: usize) -> i64 {
        let others = self.open.iter().enumerate();
        let others = others
            .filter(|(other, _)| *other != index)
            .map(|(_, cursor)| cursor.offsets(&self.columns)[0]);
        let waiting = self.waiting.last().map(|waiting| waiting.first_offset);
        others.chain(waiting).min().unwrap_or(i64::MAX)
    }

    fn refill(&mut self, index: usize) -> Result<(), Error> {
        let cursor = &mut self.open[index];
        if cursor.at < cursor.batch.num_rows() {
            return Ok(());
        }
        match cursor.rows.next()? {
            Some(batch) => {
                cursor.batch = batch;
                cursor.at = 0;
            }
            None => drop(self.open.remove(index)),
        }
        Ok(())
    }

    /// Leaves marked rows out, and moves time by the others.
    fn chunk(&mut self, rows: &RecordBatch, bytes: u64) -> Result<Chunk, Error> {
        let columns = &self.columns;
        let mark = |at: &usize| rows.column(*at).as_boolean().clone();
        let mut marked: Option<BooleanArray> = None;
        for mark in columns.marks.iter().map(mark) {
            marked = Some(match marked {
                None => mark,
                Some(marked) => or(&marked, &mark).map_err(failed)?,
            });
        }
        let late = marked.as_ref().map_or(0, BooleanArray::true_count);
        let kept = match &marked {
            Some(marked) if late > 0 => {
                let kept = not(marked).map_err(failed)?;
                filter_record_batch(rows, &kept).map_err(failed)?
            }
            _ => rows.clone(),
        };
        let events = columns.keep(&kept).map_err(failed)?;
        let times = |at: usize| kept.column(at).as_primitive::<TimestampMillisecondType>();
        let (event_times, record_times) = (times(columns.event_time), times(columns.record_time));
        let offsets = offsets(&kept, columns);
        let mut watermarks = Vec::with_capacity(kept.num_rows());
        let mut behind = None;
        for (row, &offset) in offsets.iter().enumerate() {
            let record_ms = record_times.is_valid(row).then(|| record_times.value(row));
            let by_ms = self.clock.advance(event_times.value(row), record_ms);
            if let (None, Some(by_ms)) = (&behind, by_ms) {
                behind = Some(Behind { offset, by_ms });
            }
            watermarks.push(self.clock.watermark());
        }
        Ok(Chunk {
            counts: Counts {
                records: rows.num_rows() as u64,
                events: kept.num_rows() as u64,
                late: late as u64,
                dead: 0,
                bytes,
            },
            events,
            watermarks,
            behind,
        })
    }
}

/// How many of the rows stand before every row of another file: those below `limit`, the first where it
/// is at the limit, and what follows without a gap, into which no other row fits. One at least.
fn run_end(offsets: &[i64], limit: i64) -> usize {
    let mut end = offsets.partition_point(|&offset| offset < limit).max(1);
    while end < offsets.len() && offsets[end] <= offsets[end - 1].saturating_add(1) {
        end += 1;
    }
    end
}

/// The rows whose offset the row before does not have; None where that is all of them.
fn first_of_equal(offsets: &[i64]) -> Option<BooleanArray> {
    if offsets.windows(2).all(|pair| pair[0] != pair[1]) {
        return None;
    }
    let others = offsets.windows(2).map(|pair| pair[0] != pair[1]);
    Some(
        std::iter::once(true)
            .chain(others)
            .collect::<Vec<bool>>()
            .into(),
    )
}

fn failed(error: ArrowError) -> Error {
    Error::Rows {
        problem: error.to_string(),
    }
}
