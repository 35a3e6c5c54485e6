//! The bench B8: a backtest over a file of history, and DuckDB over the same file.
//!
//! ```text
//!   traffic ─▶ decode ─▶ ArchiveWriter ─▶ one Parquet file ─┬─▶ `keyhawk backtest`  ─▶ lines of JSON ─┐
//!                                                           └─▶ DuckDB, duckdb.py   ─▶ lines of JSON ─┴─▶ the same rows?
//! ```
//!
//! Both run in a process of their own, in turn, and write every row of B2's windows to a file. Keyhawk's
//! time is its whole process, from its start to its end; DuckDB's is the query alone.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Instant;

use keyhawk::history::{ArchiveSettings, ArchiveWriter, all_rows, locate};
use keyhawk_events::{Decoder, EventsSchema};
use serde::Deserialize;
use serde_json::Value;

use crate::arguments::{number, value};
use crate::cases::every_row_text;
use crate::measure::Spread;
use crate::scratch::Scratch;
use crate::stages::{BATCH_ROWS, Setup, all, check, topic};
use crate::traffic::Traffic;
use crate::{Result, machine};

/// The first word of the command line of a process that is Keyhawk.
pub const CHILD: &str = "backtest";

const VIEW: &str = include_str!("../rules/views/usage_1m.sql");

/// What is asked for on the command line.
pub struct Arguments {
    keys: usize,
    events: usize,
    rate: usize,
    rounds: usize,
    threads: Vec<usize>,
    /// A Python with the package `duckdb`.
    python: Option<PathBuf>,
}

impl Arguments {
    /// Reads the words behind the program's name.
    ///
    /// # Errors
    /// A word that is not known, or lacks its value.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Self> {
        let mut words = words;
        let mut arguments = Arguments {
            keys: 10_000,
            events: 3_000_000,
            rate: 1_000,
            rounds: 5,
            threads: vec![1, 2],
            python: None,
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                // `cargo bench` passes it to every bench.
                "--bench" => {}
                "--quick" => {
                    arguments.events = 5_000;
                    arguments.rate = 10;
                    arguments.keys = 100;
                    arguments.rounds = 1;
                }
                "--keys" => arguments.keys = number(&word, &mut words)?,
                "--events" => arguments.events = number(&word, &mut words)?,
                "--rate" => arguments.rate = number(&word, &mut words)?,
                "--rounds" => arguments.rounds = number(&word, &mut words)?,
                "--threads" => {
                    let list = value(&word, &mut words)?;
                    let list = list.split(',').map(|threads| threads.trim().parse());
                    arguments.threads = list.collect::<std::result::Result<_, _>>()?;
                }
                "--python" => arguments.python = Some(value(&word, &mut words)?.into()),
                _ => {
                    let known = "--quick, --keys N, --events N, --rate N, --rounds N, --threads 1,2, --python PATH";
                    return Err(format!("unknown argument {word}; known are {known}").into());
                }
            }
        }
        Ok(arguments)
    }
}

/// Runs Keyhawk's own command line in this process, and says on standard error what it took of the
/// processors.
pub fn child(keyhawk: impl FnOnce() -> ExitCode) -> ExitCode {
    let code = keyhawk();
    if let Some(seconds) = machine::cpu_seconds() {
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{CPU}{seconds}");
    }
    code
}

const CPU: &str = "cpu seconds: ";

/// What one run took, in seconds.
#[derive(Clone, Copy, Deserialize)]
struct Taken {
    wall: f64,
    /// Zero where the system does not say.
    cpu: f64,
}

/// Times what is asked for and prints the table. `keyhawk` is a program that is Keyhawk where its first
/// word is [`CHILD`].
///
/// # Errors
/// A run that fails; other rows in one than in the other.
pub fn run(arguments: &Arguments, keyhawk: &Path, out: &mut impl Write) -> Result<()> {
    let folder = Scratch::new()?;
    let file = write_history(arguments, folder.path())?;
    let rules = folder.path().join("sql");
    fs::create_dir_all(rules.join("rules"))?;
    fs::create_dir_all(rules.join("views"))?;
    fs::write(rules.join("rules/b2.sql"), every_row_text("usage_1m"))?;
    fs::write(rules.join("views/usage_1m.sql"), VIEW)?;
    writeln!(out, "{}", machine::description())?;
    let Arguments {
        keys,
        events,
        rate,
        rounds,
        ..
    } = *arguments;
    writeln!(
        out,
        "{rounds} rounds; {events} events in a Parquet file of {:.1} MB, {keys} keys (Zipf 1.1), {rate} events a \
         second of event time",
        fs::metadata(&file)?.len() as f64 / 1e6,
    )?;
    let (ours, theirs) = (
        folder.path().join("keyhawk.ndjson"),
        folder.path().join("duckdb.ndjson"),
    );
    writeln!(
        out,
        "{:<22}{:>9}{:>16}{:>9}{:>12}",
        "", "wall s", "least - most", "cpu s", "events/s"
    )?;
    for &threads in &arguments.threads {
        let mut taken: [Vec<Taken>; 2] = [Vec::new(), Vec::new()];
        for round in 0..=rounds {
            let run = run_keyhawk(keyhawk, &rules, &file, threads, &ours)?;
            if round > 0 {
                taken[0].push(run);
            }
            let Some(python) = &arguments.python else {
                continue;
            };
            let run = run_duckdb(python, &file, threads, &theirs)?;
            if round > 0 {
                taken[1].push(run);
            }
        }
        let [keyhawk, duckdb] = taken;
        let mut row = |name: &str, runs: &[Taken]| -> Result<()> {
            let spread = |of: fn(&Taken) -> f64| Spread::of(runs.iter().map(of).collect());
            let wall = spread(|run| run.wall);
            writeln!(
                out,
                "{:<22}{:>9.3}{:>16}{:>9.3}{:>12.0}",
                format!("{name}, {threads} threads"),
                wall.median,
                format!("{:.3} - {:.3}", wall.min, wall.max),
                spread(|run| run.cpu).median,
                events as f64 / wall.median,
            )?;
            Ok(())
        };
        row("keyhawk", &keyhawk)?;
        if duckdb.is_empty() {
            continue;
        }
        row("duckdb", &duckdb)?;
        let ratios = keyhawk
            .iter()
            .zip(&duckdb)
            .map(|(ours, theirs)| theirs.wall / ours.wall);
        let ratio = Spread::of(ratios.collect());
        let rows = same_rows(&ours, &theirs)?;
        writeln!(
            out,
            "  the same {rows} rows; keyhawk at {:.2} of duckdb's rate ({:.2} - {:.2}), 1 wanted: {}",
            ratio.median,
            ratio.min,
            ratio.max,
            if ratio.median >= 1.0 {
                "reached"
            } else {
                "MISSED"
            }
        )?;
    }
    if arguments.python.is_none() {
        writeln!(
            out,
            "SKIPPED: DuckDB; name a Python that has it with --python (pip install duckdb)"
        )?;
    }
    Ok(())
}

/// One Parquet file of the traffic, all columns, as `keyhawk archive` writes it but for its size.
fn write_history(arguments: &Arguments, folder: &Path) -> Result<PathBuf> {
    let setup = Setup::new()?;
    let mut traffic = Traffic::at_rate(arguments.keys, 1, u32::try_from(arguments.rate)?)?;
    let schema = Arc::new(EventsSchema::new(Vec::new())?);
    let mut decoder = Decoder::new(
        Arc::clone(&schema),
        None,
        topic(traffic.bound_ms()),
        0,
        Arc::clone(&setup.fingerprinter),
        Arc::clone(&setup.geo),
    )?;
    let history = folder.join("history");
    let mut settings = ArchiveSettings::new(&history);
    settings.file_bytes_max = usize::MAX;
    let mut writer = ArchiveWriter::new(&settings, &schema)?;
    let mut left = arguments.events;
    let mut done = 0;
    while left > 0 {
        let log = traffic.log(left.min(BATCH_ROWS));
        for mut record in log.records() {
            record.offset += done;
            decoder.push(record);
        }
        let decoded = decoder.finish();
        all(check(decoded.counts)?, &log)?;
        writer.push(&all_rows(&decoded)?)?;
        left -= log.len();
        done += log.len() as i64;
    }
    writer.flush()?;
    let mut files = locate(&history)?;
    match (files.pop(), files.len()) {
        (Some(file), 0) => Ok(file.as_ref().to_owned()),
        // The archive begins a file with every hour.
        _ => Err("the events are of more than an hour; ask for fewer, or a higher --rate".into()),
    }
}

fn run_keyhawk(
    program: &Path,
    rules: &Path,
    input: &Path,
    threads: usize,
    output: &Path,
) -> Result<Taken> {
    let started = Instant::now();
    let run = Command::new(program)
        .args([CHILD, "--threads", &threads.to_string(), "--rules"])
        .arg(rules)
        .arg("--input")
        .arg(input)
        .arg("--output")
        .arg(output)
        .stdout(Stdio::null())
        .output()?;
    let wall = started.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&run.stderr);
    if !run.status.success() {
        return Err(format!("keyhawk backtest failed: {said}").into());
    }
    let cpu = said.lines().find_map(|line| line.strip_prefix(CPU));
    let cpu = cpu.and_then(|seconds| seconds.parse().ok());
    Ok(Taken {
        wall,
        cpu: cpu.unwrap_or_default(),
    })
}

fn run_duckdb(python: &Path, input: &Path, threads: usize, output: &Path) -> Result<Taken> {
    let run = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("duckdb.py"))
        .arg(input)
        .arg(threads.to_string())
        .arg(output)
        .output()
        .map_err(|error| format!("{}: {error}", python.display()))?;
    if !run.status.success() {
        let said = String::from_utf8_lossy(&run.stderr);
        return Err(format!("duckdb.py failed: {said}").into());
    }
    Ok(serde_json::from_slice(&run.stdout)?)
}

/// How many rows two files hold, which must be the same in both, in any order.
fn same_rows(ours: &Path, theirs: &Path) -> Result<usize> {
    let (ours, theirs) = (rows(ours)?, rows(theirs)?);
    if let Some((our, their)) = ours.iter().zip(&theirs).find(|(our, their)| our != their) {
        return Err(format!("keyhawk has the row {our:?} where duckdb has {their:?}").into());
    }
    if ours.len() != theirs.len() {
        let (ours, theirs) = (ours.len(), theirs.len());
        return Err(format!("keyhawk has {ours} rows and duckdb {theirs}").into());
    }
    Ok(ours.len())
}

/// Key, start of the window, calls, bytes, addresses: sorted.
type Row = (String, String, u64, u64, u64);

fn rows(path: &Path) -> Result<Vec<Row>> {
    let text = fs::read_to_string(path)?;
    let row = |line: &str| -> Result<Row> {
        let line: Value = serde_json::from_str(line)?;
        let row = line.get("row").unwrap_or(&line);
        let missing = |name: &str| format!("a row without {name}: {row}");
        let text = |name: &str| row[name].as_str().ok_or_else(|| missing(name));
        let count = |name: &str| row[name].as_u64().ok_or_else(|| missing(name));
        // `2026-03-02T00:01:00Z` of the one is `2026-03-02 00:01:00` of the other.
        let start = text("window_start")?.replace('T', " ");
        let start = start.get(..19).unwrap_or(&start).to_owned();
        Ok((
            text("api_key")?.to_owned(),
            start,
            count("requests")?,
            count("response_bytes")?,
            count("addresses")?,
        ))
    };
    let mut rows = text.lines().map(row).collect::<Result<Vec<_>>>()?;
    rows.sort_unstable();
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Scratch, name: &str, lines: &[&str]) -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, lines.join("\n")).unwrap();
        path
    }

    #[test]
    fn rows_are_compared_in_any_order_and_a_difference_is_told() {
        let folder = Scratch::new().unwrap();
        let ours = [
            r#"{"rule":"b2","id":"0","row":{"api_key":"b","window_start":"2026-03-02T00:01:00Z","requests":2,"response_bytes":7,"addresses":1}}"#,
            r#"{"rule":"b2","id":"1","row":{"api_key":"a","window_start":"2026-03-02T00:01:00Z","requests":1,"response_bytes":9,"addresses":1}}"#,
        ];
        let theirs = [
            r#"{"api_key":"a","window_start":"2026-03-02 00:01:00","requests":1,"response_bytes":9,"addresses":1}"#,
            r#"{"api_key":"b","window_start":"2026-03-02 00:01:00","requests":2,"response_bytes":7,"addresses":1}"#,
        ];
        let ours = write(&folder, "ours", &ours);
        let same = write(&folder, "same", &theirs);
        assert_eq!(same_rows(&ours, &same).unwrap(), 2);
        let fewer = write(&folder, "fewer", &theirs[..1]);
        assert!(same_rows(&ours, &fewer).is_err());
        let other = theirs[1].replace(":7,", ":8,");
        let other = write(&folder, "other", &[theirs[0], &other]);
        assert!(same_rows(&ours, &other).is_err());
    }

    #[test]
    fn the_traffic_becomes_one_file_of_history() {
        let folder = Scratch::new().unwrap();
        let arguments = Arguments::parse(["--quick".to_owned()].into_iter()).unwrap();
        let file = write_history(&arguments, folder.path()).unwrap();
        let history = keyhawk::history::HistoryFile::open(&file).unwrap();
        assert_eq!(history.partitions().unwrap().len(), 1);
    }
}
