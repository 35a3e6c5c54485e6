//! `fingerprint`: the fingerprint of each credential on standard input, so that a gateway can build
//! an index of its own.

use std::io::{self, BufRead, Write};

use crate::cli::FingerprintArgs;
use crate::commands::{CommandResult, Failure, fingerprinter, status};
use crate::config;

pub(crate) fn run(args: &FingerprintArgs) -> CommandResult {
    let config = args
        .config
        .as_deref()
        .map(config::load)
        .transpose()
        .map_err(Failure::of)?;
    let fingerprinter = fingerprinter(config.as_ref())?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let line = line.map_err(Failure::of)?;
        let credential = line.trim();
        let written = match credential {
            "" => writeln!(out),
            credential => writeln!(out, "{}", fingerprinter.fingerprint(credential)),
        };
        written.map_err(Failure::of)?;
    }
    out.flush().map_err(Failure::of)?;
    Ok(status(true))
}
