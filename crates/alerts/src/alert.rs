//! An alert, as it stands on the alerts topic under its entity's key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::digest;
use crate::explain::{Why, explain};
use crate::finding::{Evidence, Finding, name_in};
use crate::readable::shorten;
use crate::rule::{AlertRule, Severity};
use crate::time::TimeMs;

/// The name of this shape; within its number fields are only added.
pub const ALERT_SCHEMA_ID: &str = "keyhawk.alert/1";

/// The JSON Schema (2020-12) of a published alert.
pub const ALERT_SCHEMA: &str = include_str!("../schema/alert.schema.json");

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Found, and not closed by anyone.
    Open,
}

/// Whom an alert is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entity {
    /// The column that names it, such as `api_key`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name in that column; null where the row has none.
    pub value: Option<String>,
    /// The gateway's own id of the key, from the row's column `key_id`.
    pub key_id: Option<String>,
    /// The row's column `tenant`.
    pub tenant: Option<String>,
    /// The row's column `environment`.
    pub environment: Option<String>,
}

impl Entity {
    /// The entity of a row, named by `column`.
    pub fn of(column: &str, row: &Map<String, Value>) -> Self {
        Self {
            kind: column.to_owned(),
            value: name_in(row, column),
            key_id: name_in(row, "key_id"),
            tenant: name_in(row, "tenant"),
            environment: name_in(row, "environment"),
        }
    }

    /// The key of its records on the topics: its name, or nothing where it has none.
    pub fn record_key(&self) -> &str {
        self.value.as_deref().unwrap_or_default()
    }

    /// Whether its name is the fingerprint of a credential.
    pub fn is_fingerprint(&self) -> bool {
        self.value.as_deref().is_some_and(is_fingerprint)
    }
}

/// How many hex digits a fingerprint ends with.
pub(crate) const FINGERPRINT_DIGITS: usize = 20;

/// Whether `text` is a public prefix (or none), `…`, and 20 hex digits.
fn is_fingerprint(text: &str) -> bool {
    let digits = text.rsplit_once('…').map_or("", |(_, digits)| digits);
    digits.len() == FINGERPRINT_DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// One rule's findings about one entity, as far as they had come when this was published. Later
/// messages with the same `id` replace earlier ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// [`ALERT_SCHEMA_ID`].
    pub schema: String,
    /// [`alert_id`] of its first finding.
    pub id: String,
    /// Where it stands.
    pub status: Status,
    /// Which Keyhawk says so.
    pub deployment: String,
    /// The rule's name.
    pub rule: String,
    /// The digest of the rule's text.
    pub rule_version: String,
    /// The highest severity among its findings.
    pub severity: Severity,
    /// The same as a number, 1 to 4.
    pub severity_id: u8,
    /// Whom it is about.
    pub entity: Entity,
    /// Event time of its earliest finding.
    pub first_seen: TimeMs,
    /// Event time of its latest finding.
    pub last_seen: TimeMs,
    /// How many findings it stands for.
    pub count: u64,
    /// Start of the window of the finding shown.
    pub window_start: Option<TimeMs>,
    /// End of that window, exclusive.
    pub window_end: Option<TimeMs>,
    /// The rule's sentence, filled in.
    pub summary: String,
    /// What was observed and expected.
    pub why: Vec<Why>,
    /// Records that the finding shown rests on.
    pub evidence: Vec<Evidence>,
    /// The rule's tags.
    pub tags: Vec<String>,
    /// The reference tables that the rule read for the finding shown, with a digest of the version of
    /// each; left out where it reads none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, String>,
    /// What to do first.
    pub runbook: Option<String>,
    /// The finding shown: the last to arrive before this was published.
    pub row: Map<String, Value>,
    /// When it was published, by the publisher's clock ([`stamp`]); null until then.
    pub emitted_at: Option<TimeMs>,
}

impl Alert {
    /// The alert that a finding opens. `emitted_at` is still empty.
    pub(crate) fn open(deployment: &str, rule: &AlertRule, finding: Finding) -> Self {
        let severity = finding.severity_override.unwrap_or(rule.severity);
        let mut evidence = finding.evidence;
        evidence.truncate(Finding::EVIDENCE_MAX);
        Self {
            schema: ALERT_SCHEMA_ID.to_owned(),
            id: alert_id(deployment, &rule.name, &finding.id),
            status: Status::Open,
            deployment: deployment.to_owned(),
            rule: rule.name.clone(),
            rule_version: rule.version.clone(),
            severity,
            severity_id: severity.severity_id(),
            entity: Entity::of(&rule.entity, &finding.row),
            first_seen: TimeMs(finding.time_ms),
            last_seen: TimeMs(finding.time_ms),
            count: 1,
            window_start: finding.window.map(|(start, _)| TimeMs(start)),
            window_end: finding.window.map(|(_, end)| TimeMs(end)),
            summary: rule.summary.fill(&finding.row),
            why: explain(&rule.why, &finding.row),
            evidence,
            tags: rule.tags.clone(),
            tables: rule.tables.clone(),
            runbook: rule.runbook.clone(),
            row: finding.row,
            emitted_at: None,
        }
    }

    /// What stands in its place when the broker refuses it for good (too large, say): the same id,
    /// rule, severity, times and count, the reason as its summary, and texts cut short.
    pub fn stub(&self, reason: &str) -> Self {
        let short = |text: &Option<String>| text.as_deref().map(|text| shorten(text, 200));
        Self {
            entity: Entity {
                kind: self.entity.kind.clone(),
                value: short(&self.entity.value),
                key_id: short(&self.entity.key_id),
                tenant: short(&self.entity.tenant),
                environment: short(&self.entity.environment),
            },
            summary: format!(
                "the alert could not be published whole: {}",
                shorten(reason, 500)
            ),
            why: Vec::new(),
            row: Map::new(),
            ..self.clone()
        }
    }
}

/// The id of the alert whose first finding has this lineage digest: the same in batch and stream,
/// and the same again when a log is read twice.
pub fn alert_id(deployment: &str, rule: &str, lineage: &str) -> String {
    digest(&[deployment, rule, lineage])
}

/// Writes the time of publication into an alert.
pub fn stamp(alert: &mut Alert, now_ms: i64) {
    alert.emitted_at = Some(TimeMs(now_ms));
}
