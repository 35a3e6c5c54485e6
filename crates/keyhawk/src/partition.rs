//! One partition, from payload bytes to alerts and proposals: decode, the machine, dedup.
//!
//! ```text
//!   records ─▶ Decoder ─▶ events, watermarks ─▶ Machine ─▶ findings in order ─▶ Dedup ─▶ alerts
//!                 └─▶ late rows, dead letters                                      └─▶ proposals
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema, TimestampMillisecondType};
use arrow::error::ArrowError;
use keyhawk_alerts::{Dedup, Emitted, Evidence, Finding};
use keyhawk_engine::{Findings, Machine, Step};
use keyhawk_events::{
    Counts, DeadLetter, Decoded, Decoder, Fingerprinter, GeoDatabases, LateRow, Record,
    TopicSettings,
};
use serde_json::{Map, Value};

use crate::finding_rows::rows_json;
use crate::rule_set::RuleSet;

/// Why a partition cannot go on. Bad records and failing rows never are a reason.
#[derive(Debug)]
pub enum Error {
    /// The decoder's settings are wrong.
    Decode(keyhawk_events::Error),
    /// The engine met a broken invariant.
    Engine(keyhawk_engine::Error),
    /// A finding could not be written as JSON.
    Json(ArrowError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Decode(error) => error.fmt(f),
            Error::Engine(error) => error.fmt(f),
            Error::Json(error) => write!(f, "a finding as JSON: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<keyhawk_engine::Error> for Error {
    fn from(error: keyhawk_engine::Error) -> Self {
        Error::Engine(error)
    }
}

impl From<ArrowError> for Error {
    fn from(error: ArrowError) -> Self {
        Error::Json(error)
    }
}

/// What a batch of records came to.
#[derive(Debug, Default)]
pub struct Processed {
    /// Alerts and proposals, in the order of emission.
    pub emitted: Vec<Emitted>,
    /// Rows that came too late.
    pub late: Vec<LateRow>,
    /// Records that are no events.
    pub dead: Vec<DeadLetter>,
    /// How many of what was decoded.
    pub counts: Counts,
    /// Findings by the number of their rule.
    pub findings: Vec<u64>,
    /// Findings that were withheld, since their rule warms up after a reload: the rule's number, and how
    /// many.
    pub withheld: Vec<(usize, u64)>,
    /// Rows for which an expression failed.
    pub failed_rows: u64,
    /// The same by the number of the rule, as [`Step::failed_by_rule`].
    pub failed_by_rule: Vec<u64>,
    /// The greatest offset of the records.
    pub last_offset: Option<i64>,
    /// The rows with all columns, for the archive; None where the partition keeps none.
    pub decoded: Option<Box<Decoded>>,
}

/// A partition's decoder, machine and dedup.
pub struct Partition {
    topic: String,
    partition: i32,
    rules: Arc<RuleSet>,
    decoder: Decoder,
    /// Where all columns are decoded, those that the machine takes.
    machine_columns: Option<Vec<usize>>,
    machine: Machine,
    dedup: Dedup,
    /// What the last reload left to be said, for the next batch.
    left: Vec<Emitted>,
}

impl Partition {
    /// A partition without state.
    pub fn new(
        rules: &Arc<RuleSet>,
        deployment: &str,
        topic: TopicSettings,
        partition: i32,
        fingerprinter: &Arc<Fingerprinter>,
        geo: &Arc<GeoDatabases>,
    ) -> Result<Self, Error> {
        let columns = Some(&rules.compiled.columns);
        Self::reading(
            columns,
            rules,
            deployment,
            topic,
            partition,
            fingerprinter,
            geo,
        )
    }

    /// The same, with all columns of the table decoded, and given with the rest: for an archive. A
    /// record is then a dead letter also where a field cannot be read that no rule asks for.
    pub fn with_all_columns(
        rules: &Arc<RuleSet>,
        deployment: &str,
        topic: TopicSettings,
        partition: i32,
        fingerprinter: &Arc<Fingerprinter>,
        geo: &Arc<GeoDatabases>,
    ) -> Result<Self, Error> {
        let mut made = Self::reading(
            None,
            rules,
            deployment,
            topic,
            partition,
            fingerprinter,
            geo,
        )?;
        made.machine_columns = Some(places(made.decoder.schema(), &rules.compiled.columns));
        Ok(made)
    }

    fn reading(
        columns: Option<&BTreeSet<String>>,
        rules: &Arc<RuleSet>,
        deployment: &str,
        topic: TopicSettings,
        partition: i32,
        fingerprinter: &Arc<Fingerprinter>,
        geo: &Arc<GeoDatabases>,
    ) -> Result<Self, Error> {
        let name = topic.topic.clone();
        let decoder = Decoder::new(
            Arc::clone(&rules.schema),
            columns,
            topic,
            partition,
            Arc::clone(fingerprinter),
            Arc::clone(geo),
        )
        .map_err(Error::Decode)?;
        Ok(Partition {
            topic: name,
            partition,
            decoder,
            machine_columns: None,
            machine: Machine::new(Arc::clone(&rules.compiled.program), deployment)?,
            dedup: Dedup::new(deployment.to_owned(), Arc::clone(&rules.alerts)),
            rules: Arc::clone(rules),
            left: Vec::new(),
        })
    }

    /// Goes on with other rules from the next record on: nodes that mean the same keep their state, and
    /// open alerts stay open. Only between [`process`](Self::process) and the next record.
    pub fn reload(&mut self, rules: &Arc<RuleSet>) -> Result<(), Error> {
        let columns = &rules.compiled.columns;
        let read = match self.machine_columns {
            Some(_) => None,
            None => Some(columns),
        };
        self.decoder
            .set_columns(&rules.schema, read)
            .map_err(Error::Decode)?;
        if self.machine_columns.is_some() {
            self.machine_columns = Some(places(self.decoder.schema(), columns));
        }
        self.machine.adopt(Arc::clone(&rules.compiled.program))?;
        self.dedup.reload(Arc::clone(&rules.alerts), &mut self.left);
        self.rules = Arc::clone(rules);
        Ok(())
    }

    /// The rules whose findings are withheld, and until which event time, in milliseconds since 1970.
    pub fn warming(&self) -> impl Iterator<Item = (&str, i64)> {
        let warming = self.machine.warming();
        warming.map(move |(rule, until)| (self.rules.alerts[rule].name.as_str(), until))
    }

    /// Adds a record to the open batch.
    pub fn push(&mut self, record: Record<'_>) {
        self.decoder.push(record);
    }

    /// Records in the open batch.
    pub fn pending(&self) -> usize {
        self.decoder.rows()
    }

    /// The partition's watermark, in milliseconds since 1970.
    pub fn watermark(&self) -> i64 {
        self.decoder.watermark()
    }

    /// Bytes of the machine's state.
    pub fn memory(&self) -> usize {
        self.machine.memory()
    }

    /// How many keys the machine has seen.
    pub fn keys(&self) -> usize {
        self.machine.keys()
    }

    /// Uses other GeoIP databases from the next record on.
    pub fn set_geo(&mut self, geo: Arc<GeoDatabases>) {
        self.decoder.set_geo(geo);
    }

    /// Processes the open batch.
    pub fn process(&mut self) -> Result<Processed, Error> {
        let mut decoded = self.decoder.finish();
        let step = match &self.machine_columns {
            None => self.machine.process(&decoded.events, &decoded.watermarks)?,
            Some(columns) => {
                let events = decoded
                    .events
                    .project(columns)
                    .expect("the columns were found in the decoder's own schema");
                self.machine.process(&events, &decoded.watermarks)?
            }
        };
        let mut processed = self.emit(step, &decoded.watermarks)?;
        if let Some(&watermark) = decoded.watermarks.last() {
            self.dedup.advance(watermark, &mut processed.emitted);
        }
        processed.late = std::mem::take(&mut decoded.late);
        processed.dead = std::mem::take(&mut decoded.dead);
        processed.counts = decoded.counts;
        processed.last_offset = decoded.last_offset;
        processed.decoded = self.machine_columns.as_ref().map(|_| Box::new(decoded));
        Ok(processed)
    }

    /// The end of a finite input: time goes to infinity.
    pub fn finish(&mut self) -> Result<Processed, Error> {
        let mut processed = self.process()?;
        let step = self.machine.finish()?;
        let rest = self.emit(step, &[])?;
        processed.emitted.extend(rest.emitted);
        processed.failed_rows += rest.failed_rows;
        add(&mut processed.failed_by_rule, &rest.failed_by_rule);
        add(&mut processed.findings, &rest.findings);
        processed.withheld.extend(rest.withheld);
        self.dedup.advance(i64::MAX, &mut processed.emitted);
        Ok(processed)
    }

    /// Hands a step's findings to dedup, each after the time that its releasing row brought, so that
    /// what dedup emits does not depend on how the log was cut.
    fn emit(&mut self, step: Step, watermarks: &[i64]) -> Result<Processed, Error> {
        let mut processed = Processed {
            failed_rows: step.failed_rows,
            failed_by_rule: step.failed_by_rule,
            withheld: step.withheld,
            emitted: std::mem::take(&mut self.left),
            ..Processed::default()
        };
        processed.findings = vec![0; self.rules.alerts.len()];
        let rows = step
            .findings
            .iter()
            .map(|findings| rows_json(&findings.rows));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        for place in &step.order {
            let findings = &step.findings[place.findings];
            processed.findings[findings.rule] += 1;
            let time_ms = findings.times[place.row];
            let row = serde_json::from_str(&rows[place.findings][place.row]);
            let Ok(Value::Object(row)) = row else {
                continue;
            };
            // Never beyond the finding's own time: at the end of input time is infinite.
            let before = watermarks
                .get(place.released_by)
                .copied()
                .unwrap_or(time_ms)
                .min(time_ms);
            self.dedup.advance(before, &mut processed.emitted);
            let evidence = self.evidence(findings.offsets[place.row]);
            self.dedup.push(
                finding(findings, place.row, row, evidence),
                &mut processed.emitted,
            );
        }
        Ok(processed)
    }

    /// The first and the last event that a finding was made from.
    fn evidence(&self, (first, last): (i64, i64)) -> Vec<Evidence> {
        let at = |offset| Evidence {
            topic: self.topic.clone(),
            partition: self.partition,
            offset,
        };
        if first == last {
            vec![at(first)]
        } else {
            vec![at(first), at(last)]
        }
    }
}

/// Adds counts by rule; one that is empty counts nothing.
fn add(sums: &mut Vec<u64>, more: &[u64]) {
    sums.resize(sums.len().max(more.len()), 0);
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
}

/// The places of some columns in a schema.
fn places(schema: &Schema, columns: &BTreeSet<String>) -> Vec<usize> {
    let fields = schema.fields().iter().enumerate();
    let columns = fields.filter(|(_, field)| columns.contains(field.name()));
    columns.map(|(column, _)| column).collect()
}

/// A row of findings, as alerts take it.
fn finding(
    findings: &Findings,
    row: usize,
    json: Map<String, Value>,
    evidence: Vec<Evidence>,
) -> Finding {
    let window =
        bound(&findings.rows, "window_start", row).zip(bound(&findings.rows, "window_end", row));
    Finding::new(
        findings.rule,
        findings.ids[row].to_string(),
        findings.times[row],
        window,
        json,
        evidence,
    )
}

fn bound(rows: &RecordBatch, column: &str, row: usize) -> Option<i64> {
    let column = rows.column_by_name(column)?;
    if !matches!(
        column.data_type(),
        DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, _)
    ) {
        return None;
    }
    let times = column.as_primitive::<TimestampMillisecondType>();
    times.is_valid(row).then(|| times.value(row))
}

#[cfg(test)]
mod tests {
    use keyhawk_events::DEVELOPMENT_SECRET;

    use super::*;
    use crate::rule_set::RuleTexts;

    #[test]
    fn evidence_of_a_window_is_its_first_and_last_event() {
        let rules = Arc::new(RuleTexts::shipped().compile().unwrap());
        let fingerprinter = Arc::new(Fingerprinter::new(DEVELOPMENT_SECRET, vec![]).unwrap());
        let geo = Arc::new(GeoDatabases::none());
        let topic = TopicSettings::new("calls");
        let mut partition = Partition::new(&rules, "test", topic, 3, &fingerprinter, &geo).unwrap();
        for offset in 0..80 {
            let result = if offset < 10 { "ok" } else { "bad_key" };
            let line = format!(
                r#"{{"event_time":{},"client_ip":"192.0.2.1","key_id":"k","auth_result":"{result}"}}"#,
                1_772_400_000_000_i64 + offset * 1000
            );
            partition.push(Record {
                payload: Some(line.as_bytes()),
                offset: 1000 + offset,
                record_time_ms: None,
            });
        }
        let processed = partition.finish().unwrap();
        let [Emitted::Alert(alert)] = processed.emitted.as_slice() else {
            panic!("one alert: {:?}", processed.emitted);
        };
        assert_eq!(alert.rule, "auth_failures");
        let at = |offset| Evidence {
            topic: "calls".to_owned(),
            partition: 3,
            offset,
        };
        assert_eq!(alert.evidence, [at(1000), at(1079)]);
    }
}
