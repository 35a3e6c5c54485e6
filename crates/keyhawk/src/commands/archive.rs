//! `archive`: files of JSON lines to history.

use std::path::PathBuf;
use std::sync::Arc;

use keyhawk_events::{Counts, Decoder, EventsSchema};

use crate::cli::ArchiveArgs;
use crate::commands::files::{Progress, located, reading, summary};
use crate::commands::{CommandResult, Failure, status};
use crate::history::{ArchiveSettings, ArchiveWriter, Lines, all_rows, is_history};
use crate::replay::add;
use crate::rule_set::{RuleTexts, count};

pub(crate) fn run(args: &ArchiveArgs) -> CommandResult {
    let reading = reading(args.config.as_deref(), args.topic.as_deref())?;
    let columns = match &args.rules {
        Some(dir) => RuleTexts::read(dir).map_err(Failure::of)?.columns,
        None => Vec::new(),
    };
    let table = Arc::new(EventsSchema::new(columns).map_err(Failure::of)?);
    let files: Vec<PathBuf> = located(&args.input)?;
    for file in &files {
        if is_history(file).map_err(Failure::of)? {
            return Err(Failure::of(format!(
                "{}: is Parquet; archive reads files of events, one JSON object a line",
                file.display()
            )));
        }
    }
    let mut inputs = Vec::new();
    for (file, partition) in files.iter().zip(0..) {
        let decoder = Decoder::new(
            Arc::clone(&table),
            None,
            reading.topic.clone(),
            partition,
            Arc::clone(&reading.fingerprinter),
            Arc::clone(&reading.geo),
        )
        .map_err(Failure::of)?;
        inputs.push(Lines::open(file, decoder).map_err(Failure::of)?);
    }
    let settings = ArchiveSettings::new(&args.output);
    let mut writer = ArchiveWriter::new(&settings, &table).map_err(Failure::of)?;
    let progress = Progress::new(&files);
    let mut counts = Counts::default();
    for mut lines in inputs {
        loop {
            let (decoded, more) = lines.read().map_err(Failure::of)?;
            let rows = all_rows(&decoded).map_err(Failure::of)?;
            writer.push(&rows).map_err(Failure::of)?;
            progress.add(&decoded.counts);
            add(&mut counts, decoded.counts);
            if !more {
                break;
            }
        }
        // A partition's file is not held open while the others are read.
        writer.flush().map_err(Failure::of)?;
    }
    let written = writer.close().map_err(Failure::of)?;
    summary(&counts, 0, progress.finish());
    let written = count(usize::try_from(written).unwrap_or(usize::MAX), "file");
    anstream::eprintln!("{written} in {}", args.output.display());
    Ok(status(true))
}
