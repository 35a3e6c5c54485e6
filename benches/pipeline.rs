//! How many events a second one core takes from bytes to alerts, and what each stage of it costs.
//!
//! ```text
//!   cargo bench -p keyhawk-benches                        # all figures, some minutes
//!   cargo bench -p keyhawk-benches -- --quick             # do the stages run? a few seconds
//!   cargo bench -p keyhawk-benches -- --events N --keys N --rounds N
//! ```
//!
//! README.md says what is measured and gives the figures.

#![allow(
    clippy::disallowed_methods,
    reason = "it reads files and looks at the clock"
)]

use std::env;
use std::io::{self, Write};
use std::process::{self, Command, ExitCode};
use std::sync::Arc;

use keyhawk_benches::arguments::number;
use keyhawk_benches::log::Log;
use keyhawk_benches::measure::{Bench, Figures, clock, measure};
use keyhawk_benches::stages::{
    BATCH_ROWS, BareDecode, Pipeline, Setup, Totals, single_rules, totals,
};
use keyhawk_benches::traffic::Traffic;
use keyhawk_benches::{Result, machine, recorded};
use keyhawk_events::Record;

/// The share of a bare decode's rate that the four rules have to reach, and the memory, by issue.
const RATIO_MIN: f64 = 0.4;
const RESIDENT_MAX_MB: f64 = 200.0;

fn main() -> ExitCode {
    let result = Arguments::parse(env::args().skip(1)).and_then(|arguments| {
        if arguments.resident {
            resident_child(&arguments, &mut io::stdout().lock())
        } else {
            run(&arguments, &mut io::stdout().lock())
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    keys: usize,
    events: usize,
    rounds: usize,
    /// How often the recorded log is played.
    passes: usize,
    /// This process only measures its memory.
    resident: bool,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut arguments = Arguments {
            keys: 10_000,
            events: 1_000_000,
            rounds: 7,
            passes: 100,
            resident: false,
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                // `cargo bench` passes it to every bench.
                "--bench" => {}
                "--quick" => {
                    arguments.events = 5_000;
                    arguments.rounds = 1;
                    arguments.passes = 1;
                }
                "--keys" => arguments.keys = number(&word, &mut words)?,
                "--events" => arguments.events = number(&word, &mut words)?,
                "--rounds" => arguments.rounds = number(&word, &mut words)?,
                "--passes" => arguments.passes = number(&word, &mut words)?,
                "--resident" => arguments.resident = true,
                _ => {
                    let known = "--quick, --keys N, --events N, --rounds N, --passes N, --resident";
                    return Err(format!("unknown argument {word}; known are {known}").into());
                }
            }
        }
        Ok(arguments)
    }
}

/// All benches; the first is the measure of the others. Later benches are further lines.
fn benches(setup: &Setup, bound_ms: i64) -> Result<Vec<Bench<'_>>> {
    let mut benches = vec![
        Bench::new("bare serde_json decode", || Ok(BareDecode)),
        Bench::new("decode to Arrow", move || setup.decode(bound_ms, false)),
        Bench::new("with GeoIP", move || setup.decode(bound_ms, true)),
        Bench::new("with the four rules", move || {
            Pipeline::new(setup, bound_ms, &setup.rules)
        }),
    ];
    for (name, rules) in single_rules()? {
        benches.push(Bench::new(format!("  {name} alone"), move || {
            Pipeline::new(setup, bound_ms, &rules)
        }));
    }
    Ok(benches)
}

/// Where the bench of the four rules stands in the list.
const FOUR_RULES: usize = 3;

fn run(arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    writeln!(out, "{}", machine::description())?;
    writeln!(
        out,
        "{}, {} rounds, batches of {BATCH_ROWS} records",
        clock(),
        arguments.rounds
    )?;
    let setup = Setup::new()?;

    let Arguments { keys, events, .. } = *arguments;
    let generated = Traffic::new(keys, 1)?.log(events);
    let title = format!("generated, {keys} keys (Zipf 1.1), 2 % out of order by up to 5 s");
    let figures = table(&title, &generated, &setup, arguments, out)?;
    drop(generated);

    match recorded::web_log(arguments.passes)? {
        Some(log) => {
            let passes = arguments.passes;
            let title = format!("recorded, four days of a web server's log, {passes} times");
            table(&title, &log, &setup, arguments, out)?;
        }
        None => writeln!(
            out,
            "\nSKIPPED: recorded events; ../shared/data/elastic-examples is not beside the workspace"
        )?,
    }

    let resident_mb = resident(arguments, out)?;
    let ratio = figures[FOUR_RULES].ratio.median;
    let verdict = |reached: bool| if reached { "reached" } else { "MISSED" };
    writeln!(
        out,
        "\nfour rules at {ratio:.2} of bare decode, {RATIO_MIN} wanted: {}",
        verdict(ratio >= RATIO_MIN),
    )?;
    if let Some(resident_mb) = resident_mb {
        writeln!(
            out,
            "{resident_mb:.0} MB resident, at most {RESIDENT_MAX_MB} wanted: {}",
            verdict(resident_mb <= RESIDENT_MAX_MB),
        )?;
    }
    Ok(())
}

/// Measures all benches over a log and prints them.
fn table(
    title: &str,
    log: &Log,
    setup: &Setup,
    arguments: &Arguments,
    out: &mut impl Write,
) -> Result<Vec<Figures>> {
    writeln!(
        out,
        "\n{title}: {} events of {} bytes",
        log.len(),
        log.bytes() / log.len().max(1)
    )?;
    let figures = measure(&mut benches(setup, log.bound_ms)?, log, arguments.rounds)?;
    writeln!(
        out,
        "{:<28}{:>11}{:>24}{:>10}{:>8}{:>14}",
        "", "events/s", "least - most", "µs/event", "ratio", "least - most"
    )?;
    for Figures {
        name,
        rate,
        ratio,
        micros,
        ..
    } in &figures
    {
        if !(rate.min.is_finite() && rate.min > 0.0) {
            return Err(format!("{name}: {} events a second is no rate", rate.min).into());
        }
        writeln!(
            out,
            "{name:<28}{:>11.0}{:>24}{micros:>10.3}{:>8.2}{:>14}",
            rate.median,
            format!("{:.0} - {:.0}", rate.min, rate.max),
            ratio.median,
            format!("{:.2} - {:.2}", ratio.min, ratio.max),
        )?;
    }
    writeln!(out, "one event costs, by subtraction:")?;
    let mut below = 0.0;
    for Figures { name, micros, .. } in &figures[1..=FOUR_RULES] {
        writeln!(out, "{name:<28}{:>+11.3} µs", micros - below)?;
        below = *micros;
    }
    let Totals {
        findings, emitted, ..
    } = totals(setup, log, &setup.rules)?;
    let rules = setup.rules.alerts.iter().zip(findings);
    let rules: Vec<String> = rules
        .map(|(rule, count)| format!("{} {count}", rule.name))
        .collect();
    writeln!(
        out,
        "findings: {}; {emitted} alerts and proposals",
        rules.join(", ")
    )?;
    Ok(figures)
}

/// Runs the pipeline in a process of its own, which holds no log, and returns its megabytes; None where
/// the system does not say.
fn resident(arguments: &Arguments, out: &mut impl Write) -> Result<Option<f64>> {
    if machine::resident().is_none() {
        writeln!(
            out,
            "\nSKIPPED: resident memory; only Linux's /proc is read"
        )?;
        return Ok(None);
    }
    out.flush()?;
    let child = Command::new(env::current_exe()?)
        .args(["--resident", "--keys", &arguments.keys.to_string()])
        .args(["--events", &arguments.events.to_string()])
        .stderr(process::Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&child.stdout);
    out.write_all(text.as_bytes())?;
    if !child.status.success() {
        return Err("the process that measures memory failed".into());
    }
    let peak = text.lines().find_map(|line| line.strip_prefix(PEAK));
    let peak = peak.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    let silent = "the process that measures memory did not say how much";
    Ok(Some(peak.ok_or(silent)?))
}

const PEAK: &str = "at most: ";

/// The pipeline over events that are made one at a time; what the generator holds is counted too.
fn resident_child(arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    const MB: f64 = 1e6;
    let setup = Setup::new()?;
    let mut traffic = Traffic::new(arguments.keys, 1)?;
    let at_start = machine::resident().ok_or("this system does not say what is resident")?;
    let mut partition = setup.partition(traffic.bound_ms(), &Arc::clone(&setup.rules))?;
    let mut totals = Totals::default();
    let mut payload = Vec::new();
    for offset in 0..arguments.events {
        let record_time_ms = traffic.arrival_ms();
        payload.clear();
        traffic.write_json(&mut payload);
        partition.push(Record {
            payload: Some(&payload),
            offset: offset as i64,
            record_time_ms: Some(record_time_ms),
        });
        if partition.pending() == BATCH_ROWS {
            totals.add(&partition.process()?)?;
        }
    }
    totals.add(&partition.process()?)?;
    let at_end = machine::resident().ok_or("this system does not say what is resident")?;
    writeln!(
        out,
        "\nresident, rules and databases loaded: {:.0} MB\n\
         after {} events of {} keys seen: {:.0} MB, {:.1} MB of it state\n\
         {PEAK}{:.0} MB",
        at_start.now as f64 / MB,
        totals.events,
        partition.keys(),
        at_end.now as f64 / MB,
        partition.memory() as f64 / MB,
        at_end.peak as f64 / MB,
    )?;
    Ok(())
}
