//! `archive`: files of JSON lines to history.

use std::path::Path;
use std::sync::Arc;

use keyhawk_connectors::{StoreUrl, Stores};

use keyhawk_events::{Counts, Decoder, EventsSchema};

use crate::cli::ArchiveArgs;
use crate::commands::files::{Progress, located, reading, summary};
use crate::commands::{CommandResult, Failure, status};
use crate::history::{ArchiveSettings, ArchiveWriter, Lines, Source, Spool, all_rows, is_history};
use crate::replay::add;
use crate::rule_set::{RuleTexts, count};

pub(crate) fn run(args: &ArchiveArgs) -> CommandResult {
    let reading = reading(args.config.as_deref(), args.topic.as_deref())?;
    let columns = match &args.rules {
        Some(dir) => RuleTexts::read(dir).map_err(Failure::of)?.columns,
        None => Vec::new(),
    };
    let table = Arc::new(EventsSchema::new(columns).map_err(Failure::of)?);
    let files: Vec<Source> = located(&args.input)?;
    for file in &files {
        if is_history(file).map_err(Failure::of)? {
            return Err(Failure::of(format!(
                "{file}: is Parquet; archive reads files of events, one JSON object a line"
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
    let spool = spool(&args.output)?;
    let folder = spool.as_ref().map_or(args.output.as_path(), Spool::folder);
    let settings = ArchiveSettings::new(folder);
    let mut writer = ArchiveWriter::new(&settings, &table).map_err(Failure::of)?;
    let progress = Progress::new(&files);
    let mut counts = Counts::default();
    for mut lines in inputs {
        loop {
            let (decoded, more) = lines.read().map_err(Failure::of)?;
            let rows = all_rows(&decoded).map_err(Failure::of)?;
            let before = writer.written().files;
            writer.push(&rows).map_err(Failure::of)?;
            if writer.written().files > before {
                upload(spool.as_ref())?;
            }
            progress.add(&decoded.counts);
            add(&mut counts, decoded.counts);
            if !more {
                break;
            }
        }
        // A partition's file is not held open while the others are read.
        writer.flush().map_err(Failure::of)?;
        upload(spool.as_ref())?;
    }
    let written = writer.close().map_err(Failure::of)?;
    summary(&counts, 0, progress.finish());
    let written = count(usize::try_from(written).unwrap_or(usize::MAX), "file");
    anstream::eprintln!("{written} in {}", args.output.display());
    Ok(status(true))
}

/// Where files are written first, where they go to an object store.
fn spool(output: &Path) -> Result<Option<Spool>, Failure> {
    let Some(url) = output.to_str().filter(|text| StoreUrl::is_one(text)) else {
        return Ok(None);
    };
    let url = StoreUrl::parse(url).map_err(Failure::of)?;
    let spool = Spool::open(&url, None, &Stores::from_environment()).map_err(Failure::of)?;
    // Before anything is decoded.
    spool.probe().map_err(Failure::of)?;
    Ok(Some(spool))
}

/// Moves the files that are complete.
fn upload(spool: Option<&Spool>) -> Result<(), Failure> {
    let Some(spool) = spool else {
        return Ok(());
    };
    for file in spool.waiting().map_err(Failure::of)? {
        spool.upload(&file).map_err(|error| {
            Failure::of(format!(
                "{error}\nWhat is decoded and not uploaded waits in {}; the same command again uploads it too",
                spool.folder().display()
            ))
        })?;
    }
    Ok(())
}
