//! What must come out, by the same partitions in this process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use keyhawk::partition::{Partition, Processed};
use keyhawk::rule_set::RuleTexts;
use keyhawk_alerts::Emitted;
use keyhawk_events::{Fingerprinter, GeoConfig, GeoDatabases, Record, TopicSettings};

use super::instance::{Installation, SECRET};
use super::traffic::{PREFIX, Traffic};

/// Partition and offset of a record.
pub type Place = (i32, i64);

/// What a run over part of a log publishes. Windows still open at its end are forgotten.
#[derive(Default)]
pub struct Expected {
    /// How often each alert is published, by id, count and severity.
    pub alerts: BTreeMap<(String, u64, String), usize>,
    pub commands: BTreeSet<String>,
    /// The rules that found anything.
    pub rules: BTreeSet<String>,
}

impl Expected {
    /// A run that begins without state at some offsets (0 where none is given) and ends at others.
    pub fn of(
        installation: &Installation,
        traffic: &Traffic,
        from: &BTreeMap<i32, i64>,
        to: &BTreeMap<i32, i64>,
    ) -> Expected {
        let rules = Arc::new(RuleTexts::shipped().compile().unwrap());
        let fingerprinter = Fingerprinter::new(SECRET.as_bytes(), vec![PREFIX.to_owned()]).unwrap();
        let fingerprinter = Arc::new(fingerprinter);
        let (city, asn, anonymous) = installation.geo_files();
        let geo = GeoConfig {
            city: vec![city],
            asn: vec![asn],
            anonymous: vec![anonymous],
        };
        let geo = Arc::new(GeoDatabases::open(&geo).unwrap());
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_millis();
        let mut expected = Expected::default();
        for (&number, &end) in to {
            let settings = TopicSettings::new(installation.topic.as_str());
            let mut partition =
                Partition::new(&rules, "test", settings, number, &fingerprinter, &geo).unwrap();
            let begin = from.get(&number).copied().unwrap_or(0);
            let records = traffic
                .records
                .iter()
                .filter(|record| record.partition as i32 == number);
            for record in records.filter(|record| (begin..end).contains(&record.offset)) {
                partition.push(Record {
                    payload: record.payload.as_deref(),
                    offset: record.offset,
                    record_time_ms: i64::try_from(now).ok(),
                });
                if partition.pending() == 5_000 {
                    expected.take(partition.process().unwrap());
                }
            }
            expected.take(partition.process().unwrap());
        }
        expected
    }

    fn take(&mut self, processed: Processed) {
        for emitted in processed.emitted {
            match emitted {
                Emitted::Alert(alert) => {
                    self.rules.insert(alert.rule.clone());
                    let key = (alert.id, alert.count, alert.severity.to_string());
                    *self.alerts.entry(key).or_default() += 1;
                }
                Emitted::Proposal(proposal) => {
                    self.commands.insert(proposal.id);
                }
            }
        }
    }
}
