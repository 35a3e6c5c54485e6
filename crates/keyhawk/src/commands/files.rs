//! What the commands over files share: settings, inputs, where findings go, progress, the summary.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray};
use indicatif::{ProgressBar, ProgressStyle};
use keyhawk_connectors::Stores;
use keyhawk_engine::FindingId;
use keyhawk_events::Counts;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::cli::FileArgs;
use crate::commands::{Failure, fingerprinter, geo, topic_settings};
use crate::config;
use crate::finding_rows::finding_line;
use crate::history::{Source, locate_in};
use crate::replay::{Input, Reading, open};
use crate::rule_set::{RuleSet, RuleTexts};

/// What files stand for where no configuration names a topic.
const DEFAULT_TOPIC: &str = "api-access";
/// Findings of a Parquet file that are held until they are written.
const OUTPUT_ROWS: usize = 8192;

pub(super) struct Prepared {
    pub(super) rules: RuleSet,
    pub(super) reading: Reading,
    pub(super) inputs: Vec<Input>,
    pub(super) output: Output,
    pub(super) progress: Progress,
}

/// How files are read, from a configuration and the name of a topic.
pub(super) fn reading(config: Option<&Path>, topic: Option<&str>) -> Result<Reading, Failure> {
    let config = config.map(config::load).transpose().map_err(Failure::of)?;
    let first = config
        .as_ref()
        .and_then(|config| config.topics.keys().next().cloned());
    let topic = topic
        .map(str::to_owned)
        .or(first)
        .unwrap_or_else(|| DEFAULT_TOPIC.to_owned());
    let settings = config.as_ref().and_then(|config| config.topics.get(&topic));
    Ok(Reading {
        topic: topic_settings(&topic, settings),
        fingerprinter: fingerprinter(config.as_ref())?,
        geo: Arc::new(geo(config.as_ref())?),
        deployment: config
            .as_ref()
            .map_or_else(|| "keyhawk".to_owned(), |config| config.deployment.clone()),
    })
}

/// The files that are named, patterns and folders resolved.
pub(super) fn located(inputs: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    let stores = Stores::from_environment();
    let mut files = Vec::new();
    for input in inputs {
        files.extend(locate_in(input, &stores).map_err(Failure::of)?);
    }
    Ok(files)
}

pub(super) fn prepare(texts: RuleTexts, args: &FileArgs) -> Result<Prepared, Failure> {
    let rules = texts.compile().map_err(Failure::of)?;
    let reading = reading(args.config.as_deref(), args.topic.as_deref())?;
    // Before the output, which is emptied: a name mistyped must not cost the findings of yesterday.
    let files = located(&args.input)?;
    let mut inputs = open(&files, &rules, &reading).map_err(Failure::of)?;
    let output = args.output.as_deref();
    let is_output = |input: &&Source| {
        output.is_some_and(|output| {
            input
                .path()
                .is_some_and(|input| is_same_file(input, output))
        })
    };
    if let Some(input) = files.iter().find(is_output) {
        return Err(Failure::of(format!(
            "{input}: is an input and the output at once; name another --output"
        )));
    }
    let progress = Progress::new(&files);
    for input in &mut inputs {
        let progress = progress.clone();
        input.report_to(Arc::new(move |counts| progress.add(counts)));
    }
    Ok(Prepared {
        rules,
        reading,
        inputs,
        output: Output::create(output)?,
        progress,
    })
}

/// Whether two paths lead to one regular file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let resolved = |path: &Path| path.canonicalize().ok().filter(|path| path.is_file());
    resolved(one).is_some_and(|one| Some(one) == resolved(other))
}

/// Where findings go.
pub(super) enum Output {
    Nowhere,
    Lines(Box<dyn Write>, PathBuf),
    Parquet(Box<Table>),
}

/// Findings as a Parquet file: what all rules have in common, and the row as JSON, since each rule has
/// columns of its own.
pub(super) struct Table {
    writer: ArrowWriter<File>,
    path: PathBuf,
    rules: Vec<String>,
    ids: Vec<String>,
    times: Vec<i64>,
    rows: Vec<String>,
}

impl Output {
    fn create(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Output::Nowhere);
        };
        if path == Path::new("-") {
            let stdout = Box::new(BufWriter::new(io::stdout()));
            return Ok(Output::Lines(stdout, path.to_owned()));
        }
        let failed =
            |error: &dyn std::fmt::Display| Failure::of(format!("{}: {error}", path.display()));
        let file = File::create(path).map_err(|error| failed(&error))?;
        if path.extension().is_none_or(|ending| ending != "parquet") {
            return Ok(Output::Lines(
                Box::new(BufWriter::new(file)),
                path.to_owned(),
            ));
        }
        let mut table = Table {
            writer: ArrowWriter::try_new(
                file,
                findings_batch(&[], &[], &[], &[]).schema(),
                Some(
                    WriterProperties::builder()
                        .set_compression(Compression::ZSTD(ZstdLevel::default()))
                        .build(),
                ),
            )
            .map_err(|error| failed(&error))?,
            path: path.to_owned(),
            rules: Vec::new(),
            ids: Vec::new(),
            times: Vec::new(),
            rows: Vec::new(),
        };
        table.write()?;
        Ok(Output::Parquet(Box::new(table)))
    }

    /// Whether findings go to a file or a pipe, so that standard output is theirs.
    pub(super) fn is_somewhere(&self) -> bool {
        !matches!(self, Output::Nowhere)
    }

    /// Takes one finding, in the order of the output.
    pub(super) fn push(
        &mut self,
        rule: &str,
        id: FindingId,
        time_ms: i64,
        row: &str,
    ) -> Result<(), Failure> {
        match self {
            Output::Nowhere => Ok(()),
            Output::Lines(writer, path) => writeln!(writer, "{}", finding_line(rule, id, row))
                .map_err(|error| writing(path, error)),
            Output::Parquet(table) => {
                table.rules.push(rule.to_owned());
                table.ids.push(id.to_string());
                table.times.push(time_ms);
                table.rows.push(row.to_owned());
                if table.rows.len() < OUTPUT_ROWS {
                    return Ok(());
                }
                table.write()
            }
        }
    }

    /// Writes what is held back.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self {
            Output::Nowhere => Ok(()),
            Output::Lines(mut writer, path) => {
                writer.flush().map_err(|error| writing(&path, error))
            }
            Output::Parquet(mut table) => {
                table.write()?;
                let closed = table.writer.close();
                closed
                    .map(drop)
                    .map_err(|error| writing(&table.path, error))
            }
        }
    }
}

impl Table {
    fn write(&mut self) -> Result<(), Failure> {
        let batch = findings_batch(&self.rules, &self.ids, &self.times, &self.rows);
        self.rules.clear();
        self.ids.clear();
        self.times.clear();
        self.rows.clear();
        let written = self.writer.write(&batch);
        written.map_err(|error| writing(&self.path, error))
    }
}

fn findings_batch(rules: &[String], ids: &[String], times: &[i64], rows: &[String]) -> RecordBatch {
    let text = |texts: &[String]| Arc::new(StringArray::from_iter_values(texts)) as ArrayRef;
    let times = TimestampMillisecondArray::from(times.to_vec()).with_timezone("UTC");
    RecordBatch::try_from_iter([
        ("rule", text(rules)),
        ("id", text(ids)),
        ("time", Arc::new(times)),
        ("row", text(rows)),
    ])
    .expect("four columns of one length")
}

fn writing(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::of(format!("writing {}: {error}", path.display()))
}

/// A bar on standard error while files are read, where that is a terminal.
#[derive(Clone)]
pub(super) struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    pub(super) fn new(files: &[Source]) -> Self {
        let started = Instant::now();
        if !io::stderr().is_terminal() {
            let bar = ProgressBar::hidden();
            return Progress { bar, started };
        }
        // Standard input has no length; then the bar says how far it has come, and not how far it is.
        let bytes: Option<u64> = files.iter().map(Source::bytes).sum();
        let bar = bytes.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let template = match bytes {
            Some(_) => {
                "{bar:30} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left {msg}"
            }
            None => "{spinner} {bytes}, {binary_bytes_per_sec} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress { bar, started }
    }

    /// Adds what was read.
    pub(super) fn add(&self, counts: &Counts) {
        self.bar.inc(counts.bytes);
    }

    /// The files are read; says what is going on instead.
    pub(super) fn then(&self, what: &'static str) {
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
            self.bar.set_style(style);
        }
        self.bar.set_message(what);
    }

    /// Takes the bar away, and says how many seconds went by since it was made.
    pub(super) fn finish(&self) -> f64 {
        self.bar.finish_and_clear();
        self.started.elapsed().as_secs_f64()
    }
}

/// What was read, on standard error.
pub(super) fn summary(counts: &Counts, failed_rows: u64, seconds: f64) {
    anstream::eprintln!(
        "{} events, {} late, {} unreadable, in {seconds:.1} s ({:.0} events/s)",
        counts.events,
        counts.late,
        counts.dead,
        counts.records as f64 / seconds.max(1e-3)
    );
    if failed_rows > 0 {
        anstream::eprintln!("{failed_rows} rows on which an expression failed, and gave null");
    }
}

/// How many findings each rule has, on standard error.
pub(super) fn found(rules: &RuleSet, found: &[u64]) {
    for (rule, found) in rules.alerts.iter().zip(found) {
        anstream::eprintln!("{found:>8}  {}", rule.name);
    }
}
