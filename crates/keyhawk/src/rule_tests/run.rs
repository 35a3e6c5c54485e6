//! A case through both engines: decoded once, then the stream's machine and the batch run read the same
//! rows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use keyhawk_engine::Machine;
use keyhawk_events::{
    DEVELOPMENT_SECRET, DeadLetter, Decoder, Fingerprinter, GeoDatabases, Record, TopicSettings,
};
use keyhawk_sql::{Place, Problem};
use serde_json::{Map, Value};
use tokio::runtime::{Builder, Runtime};

use super::case::Case;
use super::diff::{Columns, Failure, Line, diff};
use super::expected::{Row, fits};
use super::{CaseReport, Error, Report, Suite, SuiteReport, Tests};
use crate::demo_geoip;
use crate::finding_rows::rows_json;
use crate::partition;
use crate::rule_set::count;

const TOPIC: &str = "api-access";
const DEPLOYMENT: &str = "test";
/// Rows that go through the stream at once; where a batch ends changes nothing.
const BATCH_ROWS: usize = 4096;

/// What all cases are decoded with.
struct Surroundings {
    fingerprinter: Arc<Fingerprinter>,
    geo: Arc<GeoDatabases>,
}

pub(super) fn run(tests: &Tests) -> Result<Report, Error> {
    let prefixes = vec!["kh_live_".to_owned()];
    let surroundings = Surroundings {
        fingerprinter: Arc::new(
            Fingerprinter::new(DEVELOPMENT_SECRET, prefixes).map_err(Error::Decode)?,
        ),
        geo: Arc::new(demo_geoip::open().map_err(Error::GeoIp)?),
    };
    let started = Instant::now();
    let jobs: Vec<(usize, usize)> = tests
        .suites
        .iter()
        .enumerate()
        .flat_map(|(suite, tests)| (0..tests.cases.len()).map(move |case| (suite, case)))
        .collect();
    let next = AtomicUsize::new(0);
    let reports: Mutex<Vec<(usize, CaseReport)>> = Mutex::new(Vec::new());
    let work = || -> Result<(), Error> {
        let runtime = Builder::new_current_thread()
            .build()
            .map_err(Error::Runtime)?;
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(suite, case)) = jobs.get(at) else {
                return Ok(());
            };
            let suite = &tests.suites[suite];
            let (case, rows) = &suite.cases[case];
            let report = run_case(suite, case, rows, &surroundings, &runtime)?;
            let mut reports = reports.lock().unwrap_or_else(PoisonError::into_inner);
            reports.push((at, report));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..cores.min(jobs.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let own = work();
        let others = threads.into_iter().map(|thread| match thread.join() {
            Ok(worked) => worked,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        others.fold(own, |all, one| all.and(one))
    })?;
    let mut reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
    reports.sort_by_key(|(at, _)| *at);
    let mut reports = reports.into_iter().map(|(_, report)| report);
    let suites = tests.suites.iter().map(|suite| SuiteReport {
        rule: suite.rule.clone(),
        path: suite.source.path.clone().into(),
        cases: reports.by_ref().take(suite.cases.len()).collect(),
    });
    Ok(Report {
        suites: suites.collect(),
        untested: tests.untested.clone(),
        elapsed: started.elapsed(),
    })
}

fn run_case(
    suite: &Suite,
    case: &Case,
    expected: &[Row],
    surroundings: &Surroundings,
    runtime: &Runtime,
) -> Result<CaseReport, Error> {
    let started = Instant::now();
    let log = log(suite, case, surroundings)?;
    let failure = if log.unread.is_empty() {
        compare(suite, expected, &log, runtime)
    } else {
        Some(Failure { lines: log.unread })
    };
    Ok(CaseReport {
        name: case.name.clone(),
        line: case.line,
        expected: expected.len(),
        elapsed: started.elapsed(),
        failure,
    })
}

/// The decoded events of a case.
struct Log {
    batches: Vec<(RecordBatch, Vec<i64>)>,
    /// What is wrong with events that are none.
    unread: Vec<Line>,
}

/// Decodes the events of a case, in the order of their times.
fn log(suite: &Suite, case: &Case, surroundings: &Surroundings) -> Result<Log, Error> {
    let entries = case.events.iter().enumerate();
    let mut events: Vec<(i64, usize, String)> = entries
        .flat_map(|(entry, events)| {
            events
                .lines()
                .map(move |(time_ms, line)| (time_ms, entry, line))
        })
        .collect();
    events.sort_by_key(|(time_ms, ..)| *time_ms);
    let mut decoder = Decoder::new(
        Arc::clone(&suite.rules.schema),
        Some(&suite.rules.compiled.columns),
        TopicSettings::new(TOPIC),
        0,
        Arc::clone(&surroundings.fingerprinter),
        Arc::clone(&surroundings.geo),
    )
    .map_err(Error::Decode)?;
    let mut log = Log {
        batches: Vec::new(),
        unread: Vec::new(),
    };
    let mut blamed = vec![false; case.events.len()];
    let mut offset = 0_i64;
    for chunk in events.chunks(BATCH_ROWS) {
        let first = offset;
        for (_, _, line) in chunk {
            decoder.push(Record {
                payload: Some(line.as_bytes()),
                offset,
                record_time_ms: None,
            });
            offset += 1;
        }
        let decoded = decoder.finish();
        for letter in &decoded.dead {
            let at = usize::try_from(letter.offset - first).unwrap_or_default();
            let entry = chunk[at].1;
            if !std::mem::replace(&mut blamed[entry], true) {
                let problem = unread(suite, case, entry, letter).to_string();
                log.unread.extend(problem.lines().map(Line::note));
            }
        }
        log.batches.push((decoded.events, decoded.watermarks));
    }
    Ok(log)
}

/// The problem of an entry that makes no events.
fn unread(suite: &Suite, case: &Case, entry: usize, letter: &DeadLetter) -> Problem {
    let place = Place::of_bytes(&suite.source.text, case.events[entry].span.clone());
    let message = match &letter.field {
        Some(field) => format!("this is no event: {} `{field}`", letter.reason.as_str()),
        None => format!("this is no event: {}", letter.reason.as_str()),
    };
    Problem::new(&suite.source, place, message).help(
        "README.md says what each field takes; such a record would go to the dead-letter topic",
    )
}

/// A finding: its id, and its columns' values.
type Found = (String, Vec<Value>);

/// What both engines find, against what is expected and against each other.
fn compare(suite: &Suite, expected: &[Row], log: &Log, runtime: &Runtime) -> Option<Failure> {
    let schema = &suite.rules.compiled.rules[0].schema;
    let entity = &suite.rules.compiled.rules[0].header.entity;
    let columns = Columns {
        names: schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect(),
        telling: schema
            .fields()
            .iter()
            .map(|field| {
                field.name() == entity || matches!(field.data_type(), DataType::Timestamp(..))
            })
            .collect(),
    };
    let streamed = streamed(suite, &columns, log);
    let backtested = backtested(suite, &columns, log, runtime);
    let (streamed, failed_rows, backtested) = match (streamed, backtested) {
        (Ok((streamed, failed_rows)), Ok(backtested)) => (streamed, failed_rows, backtested),
        (streamed, backtested) => {
            let streamed = streamed.err().map(|error| error.to_string());
            let errors = [("streaming", streamed), ("batch", backtested.err())];
            let errors = errors
                .into_iter()
                .filter_map(|(engine, error)| Some((engine, error?)));
            let lines =
                errors.map(|(engine, error)| Line::note(format!("the {engine} engine: {error}")));
            return Some(Failure {
                lines: lines.collect(),
            });
        }
    };
    let mut lines = verdict(&columns, expected, &streamed, &backtested);
    if failed_rows > 0 && !lines.is_empty() {
        let rows = count(usize::try_from(failed_rows).unwrap_or(usize::MAX), "row");
        lines.push(Line::note(format!(
            "an expression failed on {rows}, and gave null"
        )));
    }
    (!lines.is_empty()).then_some(Failure { lines })
}

/// What is wrong with the findings of both engines; nothing where all is as expected.
fn verdict(
    columns: &Columns<'_>,
    expected: &[Row],
    streamed: &[Found],
    backtested: &[Found],
) -> Vec<Line> {
    let values = |found: &[Found]| found.iter().map(|(_, row)| row.clone()).collect::<Vec<_>>();
    let full = |found: &[Found]| -> Vec<Row> {
        let rows = found
            .iter()
            .map(|(_, row)| row.iter().cloned().map(Some).collect());
        rows.collect()
    };
    let agree = agree(streamed, backtested);
    let mut lines = Vec::new();
    let mut report = |title: &str, expected: &[Row], found: &[Found]| {
        if let Some(more) = diff(columns, expected, &values(found)) {
            lines.push(Line::note(title));
            lines.extend(more);
        }
    };
    let title = |engine: &str| format!("expected (-) and found by {engine} (+):");
    if agree {
        report(&title("both engines"), expected, streamed);
        return lines;
    }
    report(&title("the streaming engine"), expected, streamed);
    report(&title("the batch engine"), expected, backtested);
    report(
        "batch (-) and stream (+) differ:",
        &full(backtested),
        streamed,
    );
    lines.push(Line::note(
        "stream and batch do not agree, be the rows as expected or not: please report it",
    ));
    lines
}

/// Whether two engines found the same findings; both are sorted by id.
fn agree(streamed: &[Found], backtested: &[Found]) -> bool {
    streamed.len() == backtested.len()
        && streamed.iter().zip(backtested).all(|(one, other)| {
            let row: Row = one.1.iter().cloned().map(Some).collect();
            one.0 == other.0 && fits(&row, &other.1)
        })
}

/// What the stream finds, by id, and how many rows an expression failed on.
fn streamed(
    suite: &Suite,
    columns: &Columns<'_>,
    log: &Log,
) -> Result<(Vec<Found>, u64), partition::Error> {
    let mut machine = Machine::new(Arc::clone(&suite.rules.compiled.program), DEPLOYMENT)?;
    let mut found = Vec::new();
    let mut failed_rows = 0;
    let mut take = |step: keyhawk_engine::Step| -> Result<(), partition::Error> {
        failed_rows += step.failed_rows;
        for findings in &step.findings {
            let ids = findings.ids.iter().map(ToString::to_string);
            found.extend(ids.zip(rows(columns, &findings.rows)?));
        }
        Ok(())
    };
    for (events, watermarks) in &log.batches {
        take(machine.process(events, watermarks)?)?;
    }
    take(machine.finish()?)?;
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok((found, failed_rows))
}

/// What the batch engine finds, by id.
fn backtested(
    suite: &Suite,
    columns: &Columns<'_>,
    log: &Log,
    runtime: &Runtime,
) -> Result<Vec<Found>, String> {
    let events = log.batches.iter().map(|(events, _)| events.clone());
    let events = events.filter(|events| events.num_rows() > 0).collect();
    let all = runtime
        .block_on(suite.rules.compiled.backtest(events, DEPLOYMENT))
        .map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for findings in &all.findings {
        let ids = findings.ids.iter().map(ToString::to_string);
        let rows = rows(columns, &findings.rows).map_err(|error| error.to_string())?;
        found.extend(ids.zip(rows));
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

/// The rows of a batch, a value a column, as findings show them.
fn rows(
    columns: &Columns<'_>,
    batch: &RecordBatch,
) -> Result<Vec<Vec<Value>>, arrow::error::ArrowError> {
    let object = |text: &String| -> Map<String, Value> {
        serde_json::from_str(text).expect("a finding is written as one JSON object")
    };
    let rows = rows_json(batch)?;
    let rows = rows.iter().map(|text| {
        let mut row = object(text);
        let values = columns
            .names
            .iter()
            .map(|name| row.remove(*name).unwrap_or(Value::Null));
        values.collect()
    });
    Ok(rows.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn engines_that_do_not_agree_fail_a_case_though_the_rows_are_as_expected() {
        let columns = Columns {
            names: vec!["k", "n"],
            telling: vec![true, false],
        };
        let found = |id: &str, n: f64| vec![(id.to_owned(), vec![json!("a"), json!(n)])];
        let any: Row = vec![Some(json!("a")), None];
        let verdict = |streamed: &[Found], backtested: &[Found]| {
            let lines = verdict(&columns, std::slice::from_ref(&any), streamed, backtested);
            Failure { lines }.to_string()
        };
        assert_eq!(verdict(&found("1", 0.3), &found("1", 0.1 + 0.2)), "");
        assert_eq!(
            verdict(&found("1", 3.0), &found("1", 4.0)),
            "batch (-) and stream (+) differ:\n  \
               k  n\n\
             - a  4.0\n\
             + a  3.0\n\
             stream and batch do not agree, be the rows as expected or not: please report it"
        );
        // The same row under another id would be another alert.
        assert!(verdict(&found("1", 3.0), &found("2", 3.0)).contains("do not agree"));
        assert!(verdict(&[], &found("1", 3.0)).contains("the streaming engine"));
    }
}
