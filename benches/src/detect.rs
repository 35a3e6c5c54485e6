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
use keyhawk_events::Decoder;

use crate::Result;
use crate::log::Log;
use crate::stages::{BATCH_ROWS, Bare, Setup, all, check, topic};

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

/// Decode to the columns that these rules read.
///
/// # Errors
/// Some record was no event, or late; a file that cannot be read.
pub fn decode(setup: &Setup, log: &Log, file: Option<&Path>, rules: &RuleSet) -> Result<()> {
    let mut decoder = decoder(setup, log, rules)?;
    let mut events = 0;
    if let Some(path) = file {
        let mut lines = Lines::open(path, decoder)?;
        let mut more = true;
        while more {
            let (decoded, is_more) = lines.read()?;
            events += check(black_box(decoded).counts)?;
            more = is_more;
        }
        return all(events, log);
    }
    for record in log.records() {
        decoder.push(record);
        if decoder.rows() == BATCH_ROWS {
            events += check(black_box(decoder.finish()).counts)?;
        }
    }
    events += check(black_box(decoder.finish()).counts)?;
    all(events, log)
}

/// Decode and the rules, to their findings and to the end of time; says how many findings there are.
///
/// # Errors
/// Some record was no event, or late; a file that cannot be read; the engine met a broken invariant.
pub fn detect(setup: &Setup, log: &Log, file: Option<&Path>, rules: &RuleSet) -> Result<u64> {
    match file {
        Some(path) => detect_in_file(setup, log, path, rules),
        None => detect_in_memory(setup, log, rules),
    }
}

fn detect_in_memory(setup: &Setup, log: &Log, rules: &RuleSet) -> Result<u64> {
    let mut decoder = decoder(setup, log, rules)?;
    let mut machine = Machine::new(Arc::clone(&rules.compiled.program), "bench")?;
    let (mut events, mut findings) = (0, 0);
    for record in log.records() {
        decoder.push(record);
        if decoder.rows() == BATCH_ROWS {
            let decoded = decoder.finish();
            events += check(decoded.counts)?;
            findings += found(&machine.process(&decoded.events, &decoded.watermarks)?);
        }
    }
    let decoded = decoder.finish();
    events += check(decoded.counts)?;
    findings += found(&machine.process(&decoded.events, &decoded.watermarks)?);
    findings += found(&machine.finish()?);
    all(events, log)?;
    Ok(findings)
}

fn detect_in_file(setup: &Setup, log: &Log, path: &Path, rules: &RuleSet) -> Result<u64> {
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

fn decoder(setup: &Setup, log: &Log, rules: &RuleSet) -> Result<Decoder> {
    Ok(Decoder::new(
        Arc::clone(&rules.schema),
        Some(&rules.compiled.columns),
        topic(log.bound_ms),
        0,
        Arc::clone(&setup.fingerprinter),
        Arc::clone(&setup.geo),
    )?)
}

fn found(step: &Step) -> u64 {
    black_box(&step.findings);
    step.order.len() as u64
}
