//! The streaming engine over files: each file of lines is a partition, a line's number (from 0) its
//! offset; Parquet files bring their partitions with them.
//!
//! ```text
//!   a.ndjson ─▶ decoder ─┐  watermark of the machine = the least of the partitions' watermarks
//!   b.ndjson ─▶ decoder ─┤
//!   *.parquet ─▶ history ┴─▶ one machine, which brings all rows into the total order
//! ```
//!
//! The partition whose time is furthest behind is read next, so that little is held while the others
//! wait.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use arrow::array::RecordBatch;
use keyhawk_engine::{Machine, Step};
use keyhawk_events::{Counts, Decoder, EventsSchema, Fingerprinter, GeoDatabases, TopicSettings};

use crate::history::{
    Behind, Columns, Error as HistoryError, HistoryFile, Lines, PartitionName, PartitionReader,
    Source as File, is_history,
};
use crate::partition::Error;
use crate::rule_set::RuleSet;

/// Footers of objects that are read at once.
const FOOTER_THREADS: usize = 16;

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

/// What is told of each batch that was read; from any thread.
pub type Report = Arc<dyn Fn(&Counts) + Send + Sync>;

/// One partition of the input.
pub struct Input {
    source: Source,
    done: bool,
    report: Option<Report>,
}

enum Source {
    Lines(Box<Lines>),
    History(Box<PartitionReader>),
}

/// Opens files that were found.
///
/// Files of lines come first, in the order in which they are named, each the partition of that number of
/// the topic; then the partitions of Parquet files, by topic and number.
///
/// # Errors
/// A file that cannot be read, a damaged Parquet file.
pub fn open(
    files: &[impl Into<File> + Clone],
    rules: &RuleSet,
    reading: &Reading,
) -> Result<Vec<Input>, HistoryError> {
    open_columns(files, &rules.schema, &rules.compiled.columns, reading)
}

/// The same, for these columns of the table.
///
/// # Errors
/// As [`open`], and a column that the table does not have.
pub fn open_columns(
    files: &[impl Into<File> + Clone],
    table: &Arc<EventsSchema>,
    columns: &BTreeSet<String>,
    reading: &Reading,
) -> Result<Vec<Input>, HistoryError> {
    let wanted = Some(columns);
    let files: Vec<File> = files.iter().cloned().map(Into::into).collect();
    let mut inputs = Vec::new();
    let mut lines: Vec<PathBuf> = Vec::new();
    let mut partitions: BTreeMap<PartitionName, Vec<(Arc<HistoryFile>, i64, usize)>> =
        BTreeMap::new();
    for (file, opened) in files.iter().zip(footers(&files)) {
        let Some((history, held)) = opened? else {
            let decoder = Decoder::new(
                Arc::clone(table),
                wanted,
                reading.topic.clone(),
                i32::try_from(lines.len()).unwrap_or(i32::MAX),
                Arc::clone(&reading.fingerprinter),
                Arc::clone(&reading.geo),
            )
            .map_err(HistoryError::Decode)?;
            let source = Source::Lines(Box::new(Lines::open(file, decoder)?));
            inputs.push(Input::new(source));
            lines.push(file.as_ref().to_owned());
            continue;
        };
        let history = Arc::new(history);
        let count = held.len();
        for (name, first_offset) in held {
            let files = partitions.entry(name).or_default();
            files.push((Arc::clone(&history), first_offset, count));
        }
    }
    for (path, partition) in lines.into_iter().zip(0..) {
        let topic = reading.topic.topic.clone();
        let name = PartitionName { topic, partition };
        if partitions.contains_key(&name) {
            return Err(HistoryError::TwoSources {
                path,
                partition: name.to_string(),
            });
        }
    }
    let columns = Columns::new(table, wanted).map_err(HistoryError::Decode)?;
    let columns = Arc::new(columns);
    for (name, files) in partitions {
        let reader = PartitionReader::new(name, files, Arc::clone(&columns), &reading.topic);
        inputs.push(Input::new(Source::History(Box::new(reader))));
    }
    Ok(inputs)
}

/// Of each file of Parquet its footer and its partitions with their least offsets; None of each file of
/// lines. Objects are asked side by side, since each takes as long as the way there and back.
fn footers(files: &[File]) -> Vec<Footer> {
    let objects = files.iter().filter(|file| file.path().is_none()).count();
    let threads = objects.clamp(1, FOOTER_THREADS);
    let results: Vec<Mutex<Option<Footer>>> = files.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let (at, Some(file)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            (at, files.get(at))
        } {
            *lock(&results[at]) = Some(footer(file));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let results = results.into_iter();
    results
        .filter_map(|result| result.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

fn footer(file: &File) -> Footer {
    if !is_history(file)? {
        return Ok(None);
    }
    let file = HistoryFile::open(file)?;
    let partitions = file.partitions()?;
    Ok(Some((file, partitions)))
}

type Footer = Result<Option<(HistoryFile, BTreeMap<PartitionName, i64>)>, HistoryError>;

/// Rows of one partition.
struct Rows {
    events: RecordBatch,
    watermarks: Vec<i64>,
    counts: Counts,
    behind: Option<Behind>,
}

impl Input {
    fn new(source: Source) -> Self {
        Input {
            source,
            done: false,
            report: None,
        }
    }

    /// Calls `report` after each batch that is read.
    pub fn report_to(&mut self, report: Report) {
        self.report = Some(report);
    }

    /// Decodes row groups of Parquet files ahead, on so many threads.
    fn read_ahead(&mut self, threads: usize) {
        if let Source::History(partition) = &mut self.source {
            partition.read_ahead(threads);
        }
    }

    /// The next rows; None where there were none left.
    fn read(&mut self) -> Result<Option<Rows>, HistoryError> {
        let rows = match &mut self.source {
            Source::Lines(lines) => {
                let (decoded, more) = lines.read()?;
                self.done = !more;
                Some(Rows {
                    events: decoded.events,
                    watermarks: decoded.watermarks,
                    counts: decoded.counts,
                    behind: None,
                })
            }
            Source::History(partition) => {
                let chunk = partition.read()?;
                self.done = chunk.is_none();
                chunk.map(|chunk| Rows {
                    events: chunk.events,
                    watermarks: chunk.watermarks,
                    counts: chunk.counts,
                    behind: chunk.behind,
                })
            }
        };
        if let (Some(report), Some(rows)) = (&self.report, &rows) {
            report(&rows.counts);
        }
        Ok(rows)
    }

    /// As if the partition went on, which it does until it is done.
    fn own_watermark(&self) -> i64 {
        match &self.source {
            Source::Lines(lines) => lines.watermark(),
            Source::History(partition) => partition.watermark(),
        }
    }

    fn watermark(&self) -> i64 {
        if self.done {
            i64::MAX
        } else {
            self.own_watermark()
        }
    }

    /// A row that the engine would have to refuse, as an error.
    fn check(&self, behind: Option<Behind>) -> Result<(), HistoryError> {
        match (&self.source, behind) {
            (Source::History(partition), Some(behind)) => Err(HistoryError::Behind {
                partition: partition.name().to_string(),
                behind,
                bound_ms: partition.bound_ms(),
            }),
            _ => Ok(()),
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
        let Some(rows) = inputs[next].read().map_err(StreamError::Read)? else {
            continue;
        };
        inputs[next].check(rows.behind).map_err(StreamError::Read)?;
        add(&mut counts, rows.counts);
        let others = inputs
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != next)
            .map(|(_, input)| input.watermark());
        let others = others.min().unwrap_or(i64::MAX);
        let watermarks: Vec<i64> = rows.watermarks.iter().map(|&own| own.min(others)).collect();
        let step = machine
            .process(&rows.events, &watermarks)
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
    /// An input could not be read on, or not by the streaming engine.
    Read(HistoryError),
    /// The engine.
    Engine(Error),
}

impl std::fmt::Display for StreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StreamError::Read(error) => error.fmt(f),
            StreamError::Engine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StreamError {}

fn furthest_behind(inputs: &[Input]) -> Option<usize> {
    let open = inputs.iter().enumerate().filter(|(_, input)| !input.done);
    open.min_by_key(|(_, input)| input.own_watermark())
        .map(|(i, _)| i)
}

/// All events of the inputs, for a batch run: partition after partition, late rows left out. So many
/// threads read, a partition each; where there are more of them than partitions, they decode the row
/// groups of Parquet files too.
///
/// # Errors
/// An input that cannot be read on.
pub fn read_all(
    mut inputs: Vec<Input>,
    threads: usize,
) -> Result<(Vec<RecordBatch>, Counts), HistoryError> {
    type Read = Result<(Vec<RecordBatch>, Counts), HistoryError>;
    let ahead = threads / inputs.len().max(1);
    if ahead > 1 {
        inputs.iter_mut().for_each(|input| input.read_ahead(ahead));
    }
    let threads = threads.min(inputs.len());
    let inputs: Vec<Mutex<Option<Input>>> = inputs
        .into_iter()
        .map(|input| Mutex::new(Some(input)))
        .collect();
    let results: Vec<Mutex<Option<Read>>> = inputs.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let (at, Some(input)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let input = inputs.get(at);
            (at, input.and_then(|input| lock(input).take()))
        } {
            *lock(&results[at]) = Some(read_one(input));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let mut batches = Vec::new();
    let mut counts = Counts::default();
    for result in results {
        let result = result.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(result) = result {
            let (more, counted) = result?;
            batches.extend(more);
            add(&mut counts, counted);
        }
    }
    Ok((batches, counts))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_one(mut input: Input) -> Result<(Vec<RecordBatch>, Counts), HistoryError> {
    let mut batches = Vec::new();
    let mut counts = Counts::default();
    while !input.done {
        let Some(rows) = input.read()? else { break };
        add(&mut counts, rows.counts);
        if rows.events.num_rows() > 0 {
            batches.push(rows.events);
        }
    }
    Ok((batches, counts))
}
