//! The rows of a Parquet file in their order, its row groups decoded ahead on threads of their own.
//!
//! ```text
//!   row group     0    1    2    3    4
//!                 ▲    └─┬──┘
//!              is read   are decoded meanwhile, as many as there are threads
//! ```
//!
//! State: the decoded rows of the group that is read, and of those that are decoded.

use std::collections::VecDeque;
use std::panic;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::vec;

use arrow::array::RecordBatch;

use super::Error;
use super::file::HistoryFile;

type Group = Result<Vec<RecordBatch>, Error>;

/// Reads ahead.
pub(super) struct Ahead {
    file: Arc<HistoryFile>,
    columns: Arc<[String]>,
    threads: usize,
    /// The first group that no thread has taken.
    next_group: usize,
    decoding: VecDeque<JoinHandle<Group>>,
    read: vec::IntoIter<RecordBatch>,
}

impl Ahead {
    /// The named columns of a file, on so many threads, one at least.
    pub(super) fn new(file: Arc<HistoryFile>, columns: &[&str], threads: usize) -> Self {
        Ahead {
            file,
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
            threads: threads.max(1),
            next_group: 0,
            decoding: VecDeque::new(),
            read: Vec::new().into_iter(),
        }
    }

    /// The next rows, or None at the end.
    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        loop {
            while self.decoding.len() < self.threads && self.next_group < self.file.groups() {
                let (file, columns) = (Arc::clone(&self.file), Arc::clone(&self.columns));
                let group = self.next_group;
                self.next_group += 1;
                self.decoding
                    .push_back(thread::spawn(move || decode(&file, &columns, group)));
            }
            if let Some(batch) = self.read.next() {
                return Ok(Some(batch));
            }
            let Some(decoded) = self.decoding.pop_front() else {
                return Ok(None);
            };
            let decoded = decoded
                .join()
                .unwrap_or_else(|panic| panic::resume_unwind(panic));
            self.read = decoded?.into_iter();
        }
    }
}

fn decode(file: &HistoryFile, columns: &[String], group: usize) -> Group {
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut reader = file.reader(&columns, Some(group))?;
    let mut batches = Vec::new();
    while let Some(batch) = file.next(&mut reader)? {
        batches.push(batch);
    }
    Ok(batches)
}
