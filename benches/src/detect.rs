//! From bytes to findings: the stages that the benches of rules time.
//!
//! ```text
//!   memory    records ─▶ Decoder ─────────────▶ Machine ─▶ findings with their ids
//!   a file    as `replay` reads it: lines ─▶ Decoder ─▶ Machine ─▶ findings with their ids
//! ```

use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyhawk::history::Lines;
use keyhawk::replay::{Reading, open, stream};
use keyhawk::rule_set::RuleSet;
use keyhawk_engine::{Machine, Step};
use keyhawk_events::{Decoded, Decoder};

use crate::Result;
use crate::log::Log;
use crate::measure::run;
use crate::stages::{Bare, Decode, Nowhere, Setup, Sink, all, check, topic};

/// Bytes that are read from a file at once, as `replay` does.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes a log as lines of JSON.
///
/// # Errors
/// A file that cannot be written.
pub fn write_lines(log: &Log, path: &Path) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for payload in log.payloads() {
        file.write_all(payload)?;
        file.write_all(b"\n")?;
    }
    file.flush()?;
    Ok(())
}

/// `serde_json` into a borrowed struct, line by line of a file.
///
/// # Errors
/// A file that cannot be read; a line that is no event.
pub fn bare_lines(log: &Log, path: &Path) -> Result<()> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
    let mut line = Vec::new();
    let mut events = 0;
    while reader.read_until(b'\n', &mut line)? > 0 {
        black_box(serde_json::from_slice::<Bare<'_>>(line.trim_ascii())?);
        line.clear();
        events += 1;
    }
    all(events, log)
}

/// A stage that decodes a log of this bound to the columns that these rules read.
///
/// # Errors
/// Settings that contradict each other.
pub fn decode(setup: &Setup, bound_ms: i64, rules: &RuleSet) -> Result<Decode<Nowhere>> {
    Ok(Decode::new(decoder(setup, bound_ms, rules)?, Nowhere))
}

/// Decodes the lines of a file to the columns that these rules read.
///
/// # Errors
/// Some line was no event, or late; a file that cannot be read.
pub fn decode_in_file(setup: &Setup, log: &Log, path: &Path, rules: &RuleSet) -> Result<()> {
    let mut lines = Lines::open(path, decoder(setup, log.bound_ms, rules)?)?;
    let (mut events, mut more) = (0, true);
    while more {
        let (decoded, is_more) = lines.read()?;
        events += check(black_box(decoded).counts)?;
        more = is_more;
    }
    all(events, log)
}

/// A stage that decodes a log of this bound and runs the rules, to their findings.
///
/// # Errors
/// Settings that contradict each other.
pub fn detect(setup: &Setup, bound_ms: i64, rules: &RuleSet) -> Result<Decode<Findings>> {
    let machine = Machine::new(Arc::clone(&rules.compiled.program), "bench")?;
    let findings = Findings { machine, count: 0 };
    Ok(Decode::new(decoder(setup, bound_ms, rules)?, findings))
}

/// How many findings these rules have in a log.
///
/// # Errors
/// Some record was no event, or late; a file that cannot be read; the engine met a broken invariant.
pub fn findings(setup: &Setup, log: &Log, file: Option<&Path>, rules: &RuleSet) -> Result<u64> {
    if let Some(path) = file {
        return detect_in_file(setup, log, path, rules);
    }
    let mut stage = detect(setup, log.bound_ms, rules)?;
    run(&mut stage, log)?;
    Ok(stage.sink.count)
}

/// The machine of some rules, and how many findings it had.
pub struct Findings {
    machine: Machine,
    count: u64,
}

impl Sink for Findings {
    fn batch(&mut self, decoded: Decoded) -> Result<()> {
        let step = self.machine.process(&decoded.events, &decoded.watermarks)?;
        self.count += found(&step);
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.count += found(&self.machine.finish()?);
        Ok(())
    }
}

/// The same of the lines of a file, as `replay` reads it; says how many findings there are.
///
/// # Errors
/// As [`findings`].
pub fn detect_in_file(setup: &Setup, log: &Log, path: &Path, rules: &RuleSet) -> Result<u64> {
    let reading = Reading {
        topic: topic(log.bound_ms),
        fingerprinter: Arc::clone(&setup.fingerprinter),
        geo: Arc::clone(&setup.geo),
        deployment: "bench".to_owned(),
    };
    let inputs = open(&[PathBuf::from(path)], rules, &reading)?;
    let mut findings = 0;
    let counts = stream(rules, &reading.deployment, inputs, |step| {
        findings += found(step);
        Ok(())
    })?;
    all(check(counts)?, log)?;
    Ok(findings)
}

fn decoder(setup: &Setup, bound_ms: i64, rules: &RuleSet) -> Result<Decoder> {
    setup.decoder(bound_ms, &rules.schema, &rules.compiled.columns)
}

fn found(step: &Step) -> u64 {
    black_box(&step.findings);
    step.order.len() as u64
}
