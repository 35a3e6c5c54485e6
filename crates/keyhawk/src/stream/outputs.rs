//! What a batch came to, as messages: alerts, commands by way of the guard, late rows, dead letters.
//!
//! | message | topic | key | id |
//! |---|---|---|---|
//! | alert, as it opens | alerts | entity | the alert's |
//! | alert, updated | alerts | entity | digest of its id, count and severity |
//! | command | commands or shadow | entity | the command's |
//! | late row | late | none | digest of topic, partition, offset |
//! | dead letter | dead | none | digest of topic, partition, offset |
//!
//! Keys and headers of the source records are never copied: shippers often key by the raw credential.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyhawk_alerts::{
    ALERT_SCHEMA_ID, Alert, CommandMode, CommandTopic, Emitted, Entity, Guard, Proposal, Severity,
    Status, TimeMs, Why, alert_id, stamp,
};
use keyhawk_engine::delivery::{Output, OutputTopic, TopicPartition};
use keyhawk_events::{DeadLetter, LateRow};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::late_share::{LateShare, TooLate};
use super::trouble::{Trouble, judge};
use crate::partition::Processed;
use crate::rule_set::RuleSet;

/// The rule name of the alert about a topic's late rows.
pub(super) const LATE_RULE: &str = "late_share_high";

/// Makes messages of what batches came to. Holds the guard: one an instance, for all partitions.
pub(super) struct Publisher {
    deployment: String,
    rules: Arc<RuleSet>,
    guard: Guard,
    late_share: LateShare,
}

/// The batch that the messages are about.
pub(super) struct Place<'a> {
    /// Its partition.
    pub(super) partition: &'a TopicPartition,
    /// The offset after it.
    pub(super) next_offset: i64,
    /// Kafka's time of its newest record.
    pub(super) newest_record_ms: Option<i64>,
}

impl Publisher {
    pub(super) fn new(deployment: &str, rules: &Arc<RuleSet>, guard: Guard) -> Self {
        Publisher {
            deployment: deployment.to_owned(),
            rules: Arc::clone(rules),
            guard,
            late_share: LateShare::default(),
        }
    }

    /// Counts by the names of these rules from now on.
    pub(super) fn set_rules(&mut self, rules: &Arc<RuleSet>) {
        self.rules = Arc::clone(rules);
    }

    /// The messages of a batch, in the order in which they are to be produced; counts as it goes.
    pub(super) fn outputs(
        &mut self,
        processed: Processed,
        place: &Place<'_>,
        now_ms: i64,
    ) -> Vec<Output> {
        let counts = processed.counts;
        let rows = counts.events + counts.late;
        metrics::counter!("keyhawk_rows_total").increment(rows);
        metrics::counter!("keyhawk_late_rows_total").increment(counts.late);
        for (rule, found) in self.rules.alerts.iter().zip(&processed.findings) {
            if *found > 0 {
                metrics::counter!("keyhawk_findings_total", "rule" => rule.name.clone())
                    .increment(*found);
            }
        }
        for (rule, withheld) in &processed.withheld {
            let rule = self.rules.alerts[*rule].name.clone();
            metrics::counter!("keyhawk_findings_withheld_total", "rule" => rule)
                .increment(*withheld);
        }
        for (rule, &rows) in self.rules.alerts.iter().zip(&processed.failed_by_rule) {
            if rows > 0 {
                judge(&Trouble::FailedRows {
                    partition: place.partition,
                    rule: &rule.name,
                    rows,
                });
            }
        }

        let mut outputs = Vec::new();
        outputs.extend(
            processed
                .late
                .into_iter()
                .map(|row| late_output(row, place.partition)),
        );
        for letter in &processed.dead {
            judge(&Trouble::BadRecord {
                reason: letter.reason.as_str(),
            });
            outputs.push(dead_output(letter));
        }
        for emitted in processed.emitted {
            match emitted {
                Emitted::Alert(alert) => outputs.push(self.alert_output(*alert, place, now_ms)),
                Emitted::Proposal(proposal) => self.decide(*proposal, place, now_ms, &mut outputs),
            }
        }
        if let Some(found) =
            self.late_share
                .count(&place.partition.topic, now_ms, rows, counts.late)
        {
            let alert = self.late_alert(found, place, now_ms);
            outputs.push(self.alert_output(alert, place, now_ms));
        }
        outputs
    }

    fn alert_output(&self, mut alert: Alert, place: &Place<'_>, now_ms: i64) -> Output {
        stamp(&mut alert, now_ms);
        let opens = alert.count == 1;
        if opens {
            let severity = alert.severity.as_str();
            metrics::counter!("keyhawk_alerts_total", "rule" => alert.rule.clone(), "severity" => severity)
                .increment(1);
        }
        if let Some(record_ms) = place.newest_record_ms {
            #[expect(
                clippy::cast_precision_loss,
                reason = "milliseconds between two times of one run"
            )]
            let seconds = now_ms.saturating_sub(record_ms).max(0) as f64 / 1000.0;
            metrics::histogram!("keyhawk_alert_latency_seconds").record(seconds);
        }
        let id = if opens {
            hex_id(&alert.id)
        } else {
            id_of(&[
                "alert",
                &alert.id,
                &alert.count.to_string(),
                alert.severity.as_str(),
            ])
        };
        Output {
            id,
            topic: OutputTopic::Alerts,
            key: key(alert.entity.record_key()),
            payload: json_bytes(&alert),
        }
    }

    /// Hands a proposal to the guard and publishes what it says.
    fn decide(
        &mut self,
        proposal: Proposal,
        place: &Place<'_>,
        now_ms: i64,
        outputs: &mut Vec<Output>,
    ) {
        let decision = self.guard.decide(proposal, now_ms);
        let topic = match decision.topic() {
            CommandTopic::Commands => OutputTopic::Commands,
            CommandTopic::CommandsShadow => OutputTopic::Shadow,
        };
        let command = &decision.command;
        let mode = match command.mode {
            CommandMode::Auto => "auto",
            CommandMode::Shadow => "shadow",
        };
        metrics::counter!("keyhawk_commands_total", "mode" => mode).increment(1);
        outputs.push(Output {
            id: hex_id(&command.id),
            topic,
            key: key(command.record_key()),
            payload: json_bytes(command),
        });
        if let Some(alert) = decision.alert {
            outputs.push(self.alert_output(*alert, place, now_ms));
        }
    }

    fn late_alert(&self, found: TooLate, place: &Place<'_>, now_ms: i64) -> Alert {
        let TopicPartition { topic, partition } = place.partition;
        let lineage = format!("{topic}/{partition}/{}", place.next_offset);
        let TooLate { rows, late } = found;
        let percent = found.percent();
        let row = [
            ("topic", json!(&**topic)),
            ("rows", json!(rows)),
            ("late_rows", json!(late)),
            ("late_percent", json!(percent)),
        ];
        Alert {
            schema: ALERT_SCHEMA_ID.to_owned(),
            id: alert_id(&self.deployment, LATE_RULE, &lineage),
            status: Status::Open,
            deployment: self.deployment.clone(),
            rule: LATE_RULE.to_owned(),
            rule_version: "1".to_owned(),
            severity: Severity::Medium,
            severity_id: Severity::Medium.severity_id(),
            entity: Entity {
                kind: "topic".to_owned(),
                value: Some(topic.to_string()),
                key_id: None,
                tenant: None,
                environment: None,
            },
            first_seen: TimeMs(now_ms),
            last_seen: TimeMs(now_ms),
            count: 1,
            window_start: None,
            window_end: None,
            summary: format!("{percent} % of the rows of {topic} came late in the last ten minutes; no rule saw them"),
            why: vec![Why {
                name: "late rows in percent".to_owned(),
                observed: json!(percent),
                expected: json!(0.1),
                surprise: Value::Null,
            }],
            evidence: Vec::new(),
            tags: vec!["keyhawk:stream".to_owned()],
            tables: BTreeMap::new(),
            runbook: Some(
                "Run `keyhawk lag` on the topic and set its `lateness` to the bound proposed; look \
                 for a shipper that lags or a clock that is wrong."
                    .to_owned(),
            ),
            row: row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            emitted_at: None,
        }
    }
}

/// A late row, marked, and with its place in the log, whichever columns the rules read.
fn late_output(row: LateRow, partition: &TopicPartition) -> Output {
    let mut columns: Map<String, Value> = serde_json::from_str(&row.json).unwrap_or_default();
    columns.insert("_topic".to_owned(), json!(&*partition.topic));
    columns.insert("_partition".to_owned(), json!(partition.partition));
    columns.insert("_offset".to_owned(), json!(row.offset));
    columns.insert("late".to_owned(), json!(true));
    Output {
        id: record_id("late", &partition.topic, partition.partition, row.offset),
        topic: OutputTopic::Late,
        key: None,
        payload: json_bytes(&columns),
    }
}

fn dead_output(letter: &DeadLetter) -> Output {
    Output {
        id: record_id("dead", &letter.topic, letter.partition, letter.offset),
        topic: OutputTopic::Dead,
        key: None,
        payload: letter.to_json().into_bytes(),
    }
}

/// The key of a record about an entity; none where it has no name.
fn key(entity: &str) -> Option<Vec<u8>> {
    (!entity.is_empty()).then(|| entity.as_bytes().to_vec())
}

fn json_bytes(message: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("messages are plain data whose maps have text for keys")
}

fn record_id(kind: &str, topic: &str, partition: i32, offset: i64) -> [u8; 16] {
    id_of(&[kind, topic, &partition.to_string(), &offset.to_string()])
}

/// The bytes of an id of 32 hex digits; the digest of any other text.
fn hex_id(id: &str) -> [u8; 16] {
    let number = if id.len() == 32 {
        u128::from_str_radix(id, 16).ok()
    } else {
        None
    };
    number.map_or_else(|| id_of(&[id]), u128::to_be_bytes)
}

/// The first 16 bytes of a SHA-256 over length-prefixed parts.
fn id_of(parts: &[&str]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let mut id = [0; 16];
    id.copy_from_slice(&hash.finalize()[..16]);
    id
}

#[cfg(test)]
mod tests {
    use keyhawk_alerts::GuardConfig;

    use super::*;
    use crate::rule_set::RuleTexts;

    #[test]
    fn an_id_in_hex_is_taken_as_it_is() {
        assert_eq!(hex_id("000102030405060708090a0b0c0d0e0f")[15], 15);
        assert_ne!(hex_id("short"), [0; 16]);
        assert_ne!(id_of(&["ab", "c"]), id_of(&["a", "bc"]));
    }

    #[test]
    fn a_late_row_is_marked_and_names_its_record() {
        let partition = TopicPartition {
            topic: "api".into(),
            partition: 3,
        };
        let row = LateRow {
            offset: 17,
            json: r#"{"api_key":"k"}"#.to_owned(),
        };
        let output = late_output(row, &partition);
        let json: Value = serde_json::from_slice(&output.payload).unwrap();
        assert_eq!(
            json,
            json!({"api_key": "k", "_topic": "api", "_partition": 3, "_offset": 17, "late": true})
        );
    }

    #[test]
    fn too_many_late_rows_are_an_alert_about_the_topic() {
        let rules = Arc::new(RuleTexts::shipped().compile().unwrap());
        let guard = Guard::new("test".to_owned(), GuardConfig::default());
        let mut publisher = Publisher::new("test", &rules, guard);
        let partition = TopicPartition {
            topic: "api".into(),
            partition: 0,
        };
        let mut processed = Processed::default();
        processed.counts.events = 1_990;
        processed.counts.late = 10;
        let place = Place {
            partition: &partition,
            next_offset: 2_000,
            newest_record_ms: Some(0),
        };
        let outputs = publisher.outputs(processed, &place, 5_000);
        let [output] = outputs.as_slice() else {
            panic!("one alert: {outputs:?}")
        };
        let alert: Alert = serde_json::from_slice(&output.payload).unwrap();
        assert_eq!(
            (alert.rule.as_str(), alert.entity.record_key()),
            (LATE_RULE, "api")
        );
        assert_eq!(alert.emitted_at, Some(TimeMs(5_000)));
        assert!(
            alert.summary.starts_with("0.5 % of the rows of api"),
            "{}",
            alert.summary
        );
        assert_eq!(output.key.as_deref(), Some(b"api".as_slice()));
    }
}
