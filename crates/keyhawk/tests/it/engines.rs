//! Both engines over the same files, inside this process, and a partition cut where a test says.
//!
//! ```text
//!   files ─▶ replay::stream, all files in one machine ─▶ lines in order of emission
//!         ─▶ DataFusion, all files in one table       ─▶ lines in no order
//!   one file, cut into batches ─▶ Decoder, Machine    ─▶ lines in order of emission
//!                              ─▶ Partition           ─▶ alerts and proposals, late rows, dead letters
//! ```

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyhawk::finding_rows::{finding_line, finding_lines, rows_json};
use keyhawk::partition::{Partition, Processed};
use keyhawk::replay::{self, Reading};
use keyhawk::rule_set::{RuleSet, RuleTexts};
use keyhawk_engine::{Machine, Step};
use keyhawk_events::{
    DEVELOPMENT_SECRET, Decoder, Fingerprinter, GeoConfig, GeoDatabases, Record, TopicSettings,
};

use crate::binary::root;

const DEPLOYMENT: &str = "test";

/// Rules, and how files are read.
pub struct Engines {
    pub rules: Arc<RuleSet>,
    pub reading: Reading,
}

impl Engines {
    /// With the demo's GeoIP databases, or with none.
    pub fn new(texts: RuleTexts, with_geo: bool) -> Engines {
        let rules = texts.compile().unwrap_or_else(|error| panic!("{error}"));
        let file = |name: &str| vec![root().join("testdata/geoip").join(name)];
        let geo = if with_geo {
            GeoDatabases::open(&GeoConfig {
                city: file("demo-city.mmdb"),
                asn: file("demo-asn.mmdb"),
                anonymous: file("demo-anonymous.mmdb"),
            })
            .unwrap()
        } else {
            GeoDatabases::none()
        };
        let prefixes = vec!["kh_live_".to_owned()];
        Engines {
            rules: Arc::new(rules),
            reading: Reading {
                topic: TopicSettings::new("api-access"),
                fingerprinter: Arc::new(Fingerprinter::new(DEVELOPMENT_SECRET, prefixes).unwrap()),
                geo: Arc::new(geo),
                deployment: DEPLOYMENT.to_owned(),
            },
        }
    }

    /// What the stream finds, in its order.
    pub fn streamed(&self, files: &[PathBuf]) -> Vec<String> {
        let inputs = replay::open(files, &self.rules, &self.reading).unwrap();
        let mut lines = Vec::new();
        replay::stream(&self.rules, DEPLOYMENT, inputs, |step| {
            self.push_lines(step, &mut lines);
            Ok(())
        })
        .unwrap();
        lines
    }

    /// What the batch engine finds, sorted.
    pub fn backtested(&self, files: &[PathBuf]) -> Vec<String> {
        let inputs = replay::open(files, &self.rules, &self.reading).unwrap();
        let (events, _) = replay::read_all(inputs, 2).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let all = runtime
            .block_on(self.rules.compiled.backtest(events, DEPLOYMENT))
            .unwrap();
        let mut lines: Vec<String> = all
            .findings
            .iter()
            .flat_map(|findings| {
                finding_lines(&self.rules.alerts[findings.rule].name, findings).unwrap()
            })
            .collect();
        lines.sort_unstable();
        lines
    }

    /// What the machine of one partition finds, in its order, over a log cut as told.
    pub fn machine(&self, partition: i32, log: &Log, cuts: &[Range<usize>]) -> Vec<String> {
        let mut decoder = Decoder::new(
            Arc::clone(&self.rules.schema),
            Some(&self.rules.compiled.columns),
            self.reading.topic.clone(),
            partition,
            Arc::clone(&self.reading.fingerprinter),
            Arc::clone(&self.reading.geo),
        )
        .unwrap();
        let mut machine =
            Machine::new(Arc::clone(&self.rules.compiled.program), DEPLOYMENT).unwrap();
        let mut lines = Vec::new();
        for cut in cuts {
            log.records(cut.clone())
                .for_each(|record| decoder.push(record));
            let decoded = decoder.finish();
            let step = machine
                .process(&decoded.events, &decoded.watermarks)
                .unwrap();
            self.push_lines(&step, &mut lines);
        }
        self.push_lines(&machine.finish().unwrap(), &mut lines);
        lines
    }

    /// What comes out of one partition's pipeline over a log cut as told, all batches in one.
    pub fn partition(&self, number: i32, log: &Log, cuts: &[Range<usize>]) -> Processed {
        let mut partition = Partition::new(
            &self.rules,
            DEPLOYMENT,
            self.reading.topic.clone(),
            number,
            &self.reading.fingerprinter,
            &self.reading.geo,
        )
        .unwrap();
        let mut all = Processed {
            findings: vec![0; self.rules.alerts.len()],
            ..Processed::default()
        };
        let mut take = |processed: Processed| {
            all.emitted.extend(processed.emitted);
            all.late.extend(processed.late);
            all.dead.extend(processed.dead);
            all.failed_rows += processed.failed_rows;
            for (sum, more) in all.findings.iter_mut().zip(processed.findings) {
                *sum += more;
            }
            replay::add(&mut all.counts, processed.counts);
        };
        for cut in cuts {
            log.records(cut.clone())
                .for_each(|record| partition.push(record));
            take(partition.process().unwrap());
        }
        take(partition.finish().unwrap());
        all
    }

    fn push_lines(&self, step: &Step, lines: &mut Vec<String>) {
        let rows: Vec<Vec<String>> = step
            .findings
            .iter()
            .map(|findings| rows_json(&findings.rows).unwrap())
            .collect();
        for place in &step.order {
            let findings = &step.findings[place.findings];
            let rule = &self.rules.alerts[findings.rule].name;
            lines.push(finding_line(
                rule,
                findings.ids[place.row],
                &rows[place.findings][place.row],
            ));
        }
    }
}

/// The lines of a file with their offsets, empty ones left out as `replay` does.
pub struct Log {
    lines: Vec<(i64, Vec<u8>)>,
}

impl Log {
    pub fn read(path: &Path) -> Log {
        let bytes = std::fs::read(path).unwrap();
        let lines = bytes.split(|byte| *byte == b'\n').zip(0..);
        let lines = lines.map(|(line, offset)| (offset, line.trim_ascii().to_vec()));
        Log {
            lines: lines.filter(|(_, line)| !line.is_empty()).collect(),
        }
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    fn records(&self, range: Range<usize>) -> impl Iterator<Item = Record<'_>> {
        self.lines[range].iter().map(|(offset, line)| Record {
            payload: Some(line),
            offset: *offset,
            record_time_ms: None,
        })
    }
}

/// The rule of a finding's line.
pub fn rule_of(line: &str) -> String {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line["rule"].as_str().unwrap().to_owned()
}
