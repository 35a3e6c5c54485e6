//! The streaming engine over files: each file is a partition, a line's number (from 0) its offset.
//!
//! ```text
//!   a.ndjson ─▶ decoder ─┐  watermark of the machine = the least of the files' watermarks
//!   b.ndjson ─▶ decoder ─┴─▶ one machine, which brings all rows into the total order
//! ```
//!
//! The file whose time is furthest behind is read next, so that little is held while the others wait.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use keyhawk_engine::{Machine, Step};
use keyhawk_events::{
    Counts, Decoded, Decoder, Fingerprinter, GeoDatabases, Record, TopicSettings,
};

use crate::partition::Error;
use crate::rule_set::RuleSet;

/// Lines that are decoded into one batch.
const BATCH_ROWS: usize = 8192;

/// How files are read: the settings of their topic, the secret, the databases.
#[derive(Clone)]
pub struct Reading {
    /// The topic that the files stand for.
    pub topic: TopicSettings,
    /// Makes credentials into fingerprints.
    pub fingerprinter: Arc<Fingerprinter>,
    /// The GeoIP databases.
    pub geo: Arc<GeoDatabases>,
    /// The installation, part of every finding's id.
    pub deployment: String,
}

/// One input file.
pub struct Input {
    reader: Box<dyn BufRead>,
    decoder: Decoder,
    line: i64,
    done: bool,
    buffer: Vec<u8>,
}

/// Opens the inputs; `-` is standard input.
pub fn open(
    paths: &[PathBuf],
    rules: &RuleSet,
    reading: &Reading,
) -> Result<Vec<Input>, OpenError> {
    let open = |path: &PathBuf| -> io::Result<Box<dyn BufRead>> {
        if path == Path::new("-") {
            return Ok(Box::new(BufReader::new(io::stdin())));
        }
        Ok(Box::new(BufReader::with_capacity(
            1 << 20,
            File::open(path)?,
        )))
    };
    let inputs = paths.iter().enumerate().map(|(partition, path)| {
        let reader = open(path).map_err(|source| OpenError::Unreadable {
            path: path.clone(),
            source,
        })?;
        let decoder = Decoder::new(
            Arc::clone(&rules.schema),
            Some(&rules.compiled.columns),
            reading.topic.clone(),
            i32::try_from(partition).unwrap_or(i32::MAX),
            Arc::clone(&reading.fingerprinter),
            Arc::clone(&reading.geo),
        )
        .map_err(OpenError::Decode)?;
        Ok(Input {
            reader,
            decoder,
            line: 0,
            done: false,
            buffer: Vec::new(),
        })
    });
    inputs.collect()
}

/// Why an input cannot be read.
#[derive(Debug)]
pub enum OpenError {
    /// The file.
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The settings.
    Decode(keyhawk_events::Error),
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::Unreadable { path, source } => write!(
                f,
                "{}: cannot be read: {source}; name a file of events, one JSON object a line, or - for standard input",
                path.display()
            ),
            OpenError::Decode(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

impl Input {
    /// Decodes the next lines; empty lines are skipped, and counted as lines.
    fn read(&mut self) -> io::Result<Decoded> {
        while self.decoder.rows() < BATCH_ROWS {
            self.buffer.clear();
            if self.reader.read_until(b'\n', &mut self.buffer)? == 0 {
                self.done = true;
                break;
            }
            let line = self.buffer.trim_ascii();
            if !line.is_empty() {
                self.decoder.push(Record {
                    payload: Some(line),
                    offset: self.line,
                    record_time_ms: None,
                });
            }
            self.line += 1;
        }
        Ok(self.decoder.finish())
    }

    fn watermark(&self) -> i64 {
        if self.done {
            i64::MAX
        } else {
            self.decoder.watermark()
        }
    }
}

/// Adds up counts.
pub fn add(sum: &mut Counts, more: Counts) {
    sum.records += more.records;
    sum.events += more.events;
    sum.late += more.late;
    sum.dead += more.dead;
    sum.bytes += more.bytes;
}

/// Runs the stream over the inputs to their end, and hands each step to `take`.
pub fn stream(
    rules: &RuleSet,
    deployment: &str,
    mut inputs: Vec<Input>,
    mut take: impl FnMut(&Step) -> Result<(), Error>,
) -> Result<Counts, StreamError> {
    let mut machine = Machine::new(Arc::clone(&rules.compiled.program), deployment)
        .map_err(|e| StreamError::Engine(e.into()))?;
    let mut counts = Counts::default();
    while let Some(next) = furthest_behind(&inputs) {
        let decoded = inputs[next].read().map_err(StreamError::Read)?;
        add(&mut counts, decoded.counts);
        let others = inputs
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != next)
            .map(|(_, input)| input.watermark());
        let others = others.min().unwrap_or(i64::MAX);
        let watermarks: Vec<i64> = decoded
            .watermarks
            .iter()
            .map(|&own| own.min(others))
            .collect();
        let step = machine
            .process(&decoded.events, &watermarks)
            .map_err(|e| StreamError::Engine(e.into()))?;
        take(&step).map_err(StreamError::Engine)?;
    }
    let step = machine
        .finish()
        .map_err(|e| StreamError::Engine(e.into()))?;
    take(&step).map_err(StreamError::Engine)?;
    Ok(counts)
}

/// Why a run over files ended early.
#[derive(Debug)]
pub enum StreamError {
    /// An input could not be read on.
    Read(io::Error),
    /// The engine.
    Engine(Error),
}

impl std::fmt::Display for StreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StreamError::Read(error) => write!(f, "reading an input: {error}"),
            StreamError::Engine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StreamError {}

fn furthest_behind(inputs: &[Input]) -> Option<usize> {
    let open = inputs.iter().enumerate().filter(|(_, input)| !input.done);
    open.min_by_key(|(_, input)| input.decoder.watermark())
        .map(|(i, _)| i)
}

/// All events of the inputs, for a batch run: file after file, late rows left out.
pub fn read_all(inputs: Vec<Input>) -> io::Result<(Vec<RecordBatch>, Counts)> {
    let mut batches = Vec::new();
    let mut counts = Counts::default();
    for mut input in inputs {
        while !input.done {
            let decoded = input.read()?;
            add(&mut counts, decoded.counts);
            if decoded.events.num_rows() > 0 {
                batches.push(decoded.events);
            }
        }
    }
    Ok((batches, counts))
}
