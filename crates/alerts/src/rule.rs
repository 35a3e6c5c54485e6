//! What alerts need to know of a rule: the part of its header that has nothing to do with SQL.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::explain::WhySpec;
use crate::template::Template;

/// How bad it is, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// To be read at leisure.
    Low,
    /// To be read today.
    Medium,
    /// To be read now.
    High,
    /// To be acted on now.
    Critical,
}

impl Severity {
    /// All of them, ascending.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// 1 for low to 4 for critical.
    pub fn severity_id(self) -> u8 {
        self as u8 + 1
    }

    /// The word of headers and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = Self::ALL
            .into_iter()
            .find(|severity| severity.as_str() == text);
        named.ok_or_else(|| Error::UnknownSeverity {
            found: text.to_owned(),
        })
    }
}

/// What a gateway can be asked to do about an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Refuse the key until `lift_at`.
    Suspend,
    /// Refuse the key for good.
    Revoke,
    /// Undo an earlier command.
    Lift,
    /// Issue a new key in place of this one.
    Rotate,
    /// Slow the key down until `lift_at`.
    Throttle,
    /// Accept the key from its known networks only, until `lift_at`.
    RestrictNetwork,
    /// Ask for a second proof until `lift_at`.
    StepUp,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Suspend,
        Self::Revoke,
        Self::Lift,
        Self::Rotate,
        Self::Throttle,
        Self::RestrictNetwork,
        Self::StepUp,
    ];

    /// The word of headers and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Revoke => "revoke",
            Self::Lift => "lift",
            Self::Rotate => "rotate",
            Self::Throttle => "throttle",
            Self::RestrictNetwork => "restrict_network",
            Self::StepUp => "step_up",
        }
    }

    /// Whether it ends by itself: such a command carries `lift_at`.
    pub fn is_temporary(self) -> bool {
        match self {
            Self::Suspend | Self::Throttle | Self::RestrictNetwork | Self::StepUp => true,
            Self::Revoke | Self::Lift | Self::Rotate => false,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Action {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = Self::ALL.into_iter().find(|action| action.as_str() == text);
        named.ok_or_else(|| Error::UnknownAction {
            found: text.to_owned(),
        })
    }
}

/// A rule, seen from its alerts. Headers require `severity` and `entity`; [`AlertRule::new`] sets
/// the defaults of everything else.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRule {
    /// The name of its file.
    pub name: String,
    /// A digest of its text, in hex digits.
    pub version: String,
    /// Its severity, where a row has no `severity` column of its own.
    pub severity: Severity,
    /// The column that says whom a finding is about.
    pub entity: String,
    /// What it proposes to do, if anything.
    pub action: Option<Action>,
    /// A finding at most this long (ms of event time) after the last one of its entity continues
    /// the alert; 0 makes every finding an alert of its own.
    pub dedup_ms: i64,
    /// The sentence of its alerts.
    pub summary: Template,
    /// Classifications, such as `owasp:API4:2023`.
    pub tags: Vec<String>,
    /// What to do first: an address or a sentence.
    pub runbook: Option<String>,
    /// Which columns explain it; empty to have them chosen ([`WhySpec`]).
    pub why: Vec<WhySpec>,
    /// The reference tables that it reads, with a digest of the version of each.
    pub tables: BTreeMap<String, String>,
    /// How long after it was issued (ms) a command may still be carried out: its `not_after`.
    pub action_ttl_ms: i64,
    /// How long (ms) a temporary action lasts: its `lift_at`.
    pub lift_after_ms: i64,
}

impl AlertRule {
    /// One hour: an incident at one key is one alert, and its next incident the same day another.
    pub const DEDUP_MS: i64 = 3_600_000;
    /// Five minutes: a gateway that was down for longer meets a situation that the guard has not
    /// judged.
    pub const ACTION_TTL_MS: i64 = 300_000;
    /// One hour: long enough for a person to look, short enough for a customer cut off by mistake.
    pub const LIFT_AFTER_MS: i64 = 3_600_000;

    /// A rule with the defaults of everything that a header may leave out.
    pub fn new(name: &str, version: &str, severity: Severity, entity: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            severity,
            entity: entity.to_owned(),
            action: None,
            dedup_ms: Self::DEDUP_MS,
            summary: Template::plain(name, entity),
            tags: Vec::new(),
            runbook: None,
            why: Vec::new(),
            tables: BTreeMap::new(),
            action_ttl_ms: Self::ACTION_TTL_MS,
            lift_after_ms: Self::LIFT_AFTER_MS,
        }
    }
}
