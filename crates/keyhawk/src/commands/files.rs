//! `replay` and `backtest`: the same rules over the same files, by the streaming and the batch engine.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use keyhawk_events::Counts;

use crate::cli::FileArgs;
use crate::commands::{CommandResult, Failure, fingerprinter, geo, status, topic_settings};
use crate::config;
use crate::finding_rows::{finding_line, finding_lines, rows_json};
use crate::replay::{Input, Reading, open, read_all, stream};
use crate::rule_set::{RuleSet, RuleTexts};

/// What files stand for where no configuration names a topic.
const DEFAULT_TOPIC: &str = "api-access";

struct Prepared {
    rules: RuleSet,
    reading: Reading,
    inputs: Vec<Input>,
    output: Box<dyn Write>,
}

fn prepare(args: &FileArgs) -> Result<Prepared, Failure> {
    let config = args
        .config
        .as_deref()
        .map(config::load)
        .transpose()
        .map_err(Failure::of)?;
    let rules = RuleTexts::read(&args.rules)
        .and_then(RuleTexts::compile)
        .map_err(Failure::of)?;
    let first = config
        .as_ref()
        .and_then(|config| config.topics.keys().next().cloned());
    let topic = args
        .topic
        .clone()
        .or(first)
        .unwrap_or_else(|| DEFAULT_TOPIC.to_owned());
    let settings = config.as_ref().and_then(|config| config.topics.get(&topic));
    let reading = Reading {
        topic: topic_settings(&topic, settings),
        fingerprinter: fingerprinter(config.as_ref())?,
        geo: Arc::new(geo(config.as_ref())?),
        deployment: config
            .as_ref()
            .map_or_else(|| "keyhawk".to_owned(), |config| config.deployment.clone()),
    };
    // Before the output, which is emptied: a name mistyped must not cost the findings of yesterday.
    let inputs = open(&args.input, &rules, &reading).map_err(Failure::of)?;
    if let Some(input) = args
        .input
        .iter()
        .find(|input| is_same_file(input, &args.output))
    {
        return Err(Failure::of(format!(
            "{}: is an input and the output at once; name another --output",
            input.display()
        )));
    }
    let output: Box<dyn Write> = if args.output == Path::new("-") {
        Box::new(BufWriter::new(io::stdout()))
    } else {
        let file = File::create(&args.output);
        let file =
            file.map_err(|error| Failure::of(format!("{}: {error}", args.output.display())))?;
        Box::new(BufWriter::new(file))
    };
    Ok(Prepared {
        rules,
        reading,
        inputs,
        output,
    })
}

/// Whether two paths lead to one regular file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let resolved = |path: &Path| path.canonicalize().ok().filter(|path| path.is_file());
    resolved(one).is_some_and(|one| Some(one) == resolved(other))
}

pub(crate) fn replay(args: &FileArgs) -> CommandResult {
    let started = Instant::now();
    let Prepared {
        rules,
        reading,
        inputs,
        mut output,
    } = prepare(args)?;
    let mut found = vec![0_u64; rules.alerts.len()];
    let mut failed_rows = 0;
    let mut written = Ok(());
    let counts = stream(&rules, &reading.deployment, inputs, |step| {
        failed_rows += step.failed_rows;
        let rows = step
            .findings
            .iter()
            .map(|findings| rows_json(&findings.rows));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        for place in &step.order {
            let findings = &step.findings[place.findings];
            found[findings.rule] += 1;
            let rule = &rules.alerts[findings.rule].name;
            let line = finding_line(
                rule,
                findings.ids[place.row],
                &rows[place.findings][place.row],
            );
            if written.is_ok() {
                written = writeln!(output, "{line}");
            }
        }
        Ok(())
    })
    .map_err(Failure::of)?;
    written
        .and_then(|()| output.flush())
        .map_err(|error| Failure::of(format!("writing findings: {error}")))?;
    summary(&rules, &counts, &found, failed_rows, started);
    Ok(status(true))
}

pub(crate) fn backtest(args: &FileArgs) -> CommandResult {
    let started = Instant::now();
    let Prepared {
        rules,
        reading,
        inputs,
        mut output,
    } = prepare(args)?;
    let (events, counts) =
        read_all(inputs).map_err(|error| Failure::of(format!("reading an input: {error}")))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .build()
        .map_err(Failure::of)?;
    let all = runtime
        .block_on(rules.compiled.backtest(events, &reading.deployment))
        .map_err(Failure::of)?;
    let mut found = vec![0_u64; rules.alerts.len()];
    let mut lines = Vec::new();
    for findings in &all {
        found[findings.rule] += findings.ids.len() as u64;
        let texts =
            finding_lines(&rules.alerts[findings.rule].name, findings).map_err(Failure::of)?;
        for ((time, id), line) in findings.times.iter().zip(&findings.ids).zip(texts) {
            lines.push((*time, findings.rule, *id, line));
        }
    }
    lines.sort_unstable();
    let written = lines
        .iter()
        .try_for_each(|(.., line)| writeln!(output, "{line}"));
    written
        .and_then(|()| output.flush())
        .map_err(|error| Failure::of(format!("writing findings: {error}")))?;
    summary(&rules, &counts, &found, 0, started);
    Ok(status(true))
}

/// What was read and found, on standard error.
fn summary(rules: &RuleSet, counts: &Counts, found: &[u64], failed_rows: u64, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
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
    for (rule, found) in rules.alerts.iter().zip(found) {
        anstream::eprintln!("{found:>8}  {}", rule.name);
    }
}
