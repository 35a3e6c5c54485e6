//! The benches B1 to B7 on one core: each a few rules, and its rate beside that of a bare decode.
//!
//! ```text
//!   round     bare decode   B1's decode   B1   B2   …   B7      each over the whole log, from its beginning
//! ```

use std::io::Write;
use std::path::Path;

use crate::arguments::{number, value};
use crate::cases::{Case, MANY_RULES, MANY_RULES_COST_MAX, OF_DECODE, ONE_RULE, cases};
use crate::detect::{
    bare_lines, decode, decode_in_file, detect, detect_in_file, findings, write_lines,
};
use crate::log::Log;
use crate::measure::{Bench, Figures, Spread, Whole, clock, measure};
use crate::scratch::Scratch;
use crate::stages::{BATCH_ROWS, BareDecode, Setup};
use crate::traffic::Traffic;
use crate::{Result, machine};

/// What is asked for on the command line.
pub struct Arguments {
    /// Keys of the traffic.
    pub keys: usize,
    /// Events of it.
    pub events: usize,
    /// Events a second of event time.
    pub rate: usize,
    /// How often each bench is timed.
    pub rounds: usize,
    /// The benches that run, all where it is empty.
    pub only: Vec<String>,
    /// From a file of lines in the page cache, rather than from memory.
    pub files: bool,
    /// Time the rules that let every row of their windows through.
    pub every_row: bool,
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
            events: 1_000_000,
            rate: 1_000,
            rounds: 5,
            only: Vec::new(),
            files: false,
            every_row: false,
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
                "--only" => {
                    let names = value(&word, &mut words)?;
                    let names = names.split(',').map(|name| name.trim().to_uppercase());
                    arguments.only.extend(names);
                }
                "--files" => arguments.files = true,
                "--every-row" => arguments.every_row = true,
                _ => {
                    let known = "--quick, --keys N, --events N, --rate N, --rounds N, --only B1,B2, --files, --every-row";
                    return Err(format!("unknown argument {word}; known are {known}").into());
                }
            }
        }
        Ok(arguments)
    }

    fn is_wanted(&self, name: &str) -> bool {
        let named = |wanted: &str| self.only.iter().any(|only| only == wanted);
        // What a bench is compared with runs beside it.
        self.only.is_empty() || named(name) || (name == ONE_RULE && named(MANY_RULES))
    }
}

/// Times what is asked for and prints the table.
///
/// # Errors
/// A rule that does not compile; a record that did not come out as an event; a name of no bench.
pub fn run(arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let Arguments {
        keys,
        events,
        rate,
        rounds,
        ..
    } = *arguments;
    let mut cases = cases(keys)?;
    let unknown = |only: &&String| !cases.iter().any(|case| case.name == only.as_str());
    if let Some(unknown) = arguments.only.iter().find(unknown) {
        return Err(format!("{unknown} is no bench; there are B1 to B7").into());
    }
    cases.retain(|case| arguments.is_wanted(case.name));
    let setup = Setup::new()?;
    let log = Traffic::at_rate(keys, 1, u32::try_from(rate)?)?.log(events);
    let folder = Scratch::new()?;
    let lines = folder.path().join("events.ndjson");
    let file = arguments.files.then_some(lines.as_path());
    if let Some(path) = file {
        write_lines(&log, path)?;
    }
    writeln!(out, "{}", machine::description())?;
    writeln!(
        out,
        "{}, {rounds} rounds, batches of {BATCH_ROWS} records\n\
         {} events of {} bytes from {}, {keys} keys (Zipf 1.1), {rate} events a second of event time, \
         2 % out of order by up to 5 s",
        clock(),
        log.len(),
        log.bytes() / log.len().max(1),
        if file.is_some() {
            "a file of lines"
        } else {
            "memory"
        },
    )?;

    let mut timed = Vec::new();
    let mut benches = vec![Bench::new("bare serde_json decode", || Ok(BareDecode))];
    if let Some(path) = file {
        let read = move |log: &Log| bare_lines(log, path);
        benches.push(Bench::new("  the same, off the file", move || {
            Ok(Whole(read))
        }));
    }
    let (setup, bound_ms) = (&setup, log.bound_ms);
    for case in &cases {
        let rules = match &case.every_row {
            Some(rules) if arguments.every_row => rules,
            _ => &case.rules,
        };
        let decoded = (case.name == OF_DECODE).then_some(benches.len());
        if decoded.is_some() {
            let name = "  B1's columns to Arrow";
            benches.push(match file {
                Some(path) => {
                    let read = move |log: &Log| decode_in_file(setup, log, path, rules);
                    Bench::new(name, move || Ok(Whole(read)))
                }
                None => Bench::new(name, move || decode(setup, bound_ms, rules)),
            });
        }
        timed.push(Timed {
            case,
            bench: benches.len(),
            decoded,
            findings: findings(setup, &log, file, rules)?,
            output_rows: output_rows(case, setup, &log, file)?,
        });
        let name = format!("{} {}", case.name, case.what);
        benches.push(match file {
            Some(path) => {
                let read = move |log: &Log| detect_in_file(setup, log, path, rules).map(drop);
                Bench::new(name, move || Ok(Whole(read)))
            }
            None => Bench::new(name, move || detect(setup, bound_ms, rules)),
        });
    }
    let figures = measure(&mut benches, &log, rounds)?;
    table(&timed, &figures, log.len(), out)
}

/// A case among the benches.
struct Timed<'a> {
    case: &'a Case,
    /// Where it stands.
    bench: usize,
    /// Where the decode of its columns stands, if it is measured by that.
    decoded: Option<usize>,
    findings: u64,
    output_rows: Option<u64>,
}

/// How many rows the windows of a case have.
fn output_rows(case: &Case, setup: &Setup, log: &Log, file: Option<&Path>) -> Result<Option<u64>> {
    let count = |rules| findings(setup, log, file, rules);
    case.every_row.as_deref().map(count).transpose()
}

fn table(
    timed: &[Timed<'_>],
    figures: &[Figures],
    events: usize,
    out: &mut impl Write,
) -> Result<()> {
    writeln!(
        out,
        "\n{:<31}{:>11}{:>10}{:>7}{:>13}{:>7} {:<8}{:>10}{:>12}{:>13}",
        "",
        "events/s",
        "µs/event",
        "ratio",
        "least - most",
        "wanted",
        "",
        "findings",
        "window rows",
        "of these/s"
    )?;
    for (bench, figure) in figures.iter().enumerate() {
        if !(figure.rate.min.is_finite() && figure.rate.min > 0.0) {
            let rate = figure.rate.min;
            return Err(format!("{}: {rate} events a second is no rate", figure.name).into());
        }
        let entry = timed.iter().find(|entry| entry.bench == bench);
        let ratio = match entry.and_then(|entry| entry.decoded) {
            Some(decoded) => figure.ratio_to(&figures[decoded]),
            None => figure.ratio,
        };
        write!(
            out,
            "{:<31}{:>11.0}{:>10.3}{:>7.2}{:>13}",
            figure.name,
            figure.rate.median,
            figure.micros,
            ratio.median,
            format!("{:.2} - {:.2}", ratio.min, ratio.max),
        )?;
        if let Some(entry) = entry {
            let is_reached = verdict(ratio.median >= entry.case.reach);
            write!(
                out,
                "{:>7} {is_reached:<8}{:>10}",
                entry.case.reach, entry.findings
            )?;
            if let Some(rows) = entry.output_rows {
                let per_second = rows as f64 / events as f64 * figure.rate.median;
                write!(out, "{rows:>12}{per_second:>13.0}")?;
            }
        }
        writeln!(out)?;
    }
    writeln!(
        out,
        "ratios are to the bare decode from memory; that of {OF_DECODE} to the decode of its columns"
    )?;
    let find = |name: &str| timed.iter().find(|entry| entry.case.name == name);
    if let (Some(one), Some(many)) = (find(ONE_RULE), find(MANY_RULES)) {
        let Spread { median, min, max } = figures[one.bench].ratio_to(&figures[many.bench]);
        writeln!(
            out,
            "{MANY_RULES} costs {median:.2} times what {ONE_RULE} costs ({min:.2} - {max:.2}), at most \
             {MANY_RULES_COST_MAX} wanted: {}",
            verdict(median <= MANY_RULES_COST_MAX)
        )?;
    }
    Ok(())
}

fn verdict(is_reached: bool) -> &'static str {
    if is_reached { "reached" } else { "MISSED" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quick(more: &[&str]) -> String {
        let words = ["--quick"]
            .iter()
            .chain(more)
            .map(|word| (*word).to_owned());
        let arguments = Arguments::parse(words).unwrap();
        let mut out = Vec::new();
        run(&arguments, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// The name of each bench of the table, and its findings.
    fn findings(text: &str) -> Vec<(String, String)> {
        let words = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let entry = |words: Vec<&str>| {
            let verdict = words
                .iter()
                .position(|word| ["reached", "MISSED"].contains(word))?;
            let findings = words.get(verdict + 1)?;
            Some((words[0].to_owned(), (*findings).to_owned()))
        };
        words.filter_map(entry).collect()
    }

    #[test]
    fn every_bench_runs_from_memory_and_finds_the_same_in_a_file() {
        let memory = findings(&quick(&[]));
        let names: Vec<&str> = memory.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["B1", "B2", "B3", "B4", "B5", "B6", "B7"]);
        assert_eq!(memory, findings(&quick(&["--files"])));
    }

    #[test]
    fn a_bench_that_is_compared_with_another_brings_it_along() {
        let text = quick(&["--only", "b7"]);
        assert!(
            text.contains("B2 tumble") && text.contains("B7 costs"),
            "{text}"
        );
        assert!(!text.contains("B3 "), "{text}");
    }
}
