//! What a rule proposes to do, and the command that a gateway receives.

use serde::{Deserialize, Serialize};

use crate::alert::{Alert, Entity};
use crate::digest::digest;
use crate::readable::shorten;
use crate::rule::{Action, AlertRule, Severity};
use crate::time::TimeMs;

/// The name of this shape; within its number fields are only added.
pub const COMMAND_SCHEMA_ID: &str = "keyhawk.command/1";

/// The JSON Schema (2020-12) of a command.
pub const COMMAND_SCHEMA: &str = include_str!("../schema/command.schema.json");

/// A request to the guard: made when an alert opens, and when its severity rises.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// `keyhawk.proposal/1`.
    pub schema: String,
    /// A digest of alert, action and severity: the command's id, so that a proposal that is
    /// delivered twice is one command.
    pub id: String,
    /// What to do.
    pub action: Action,
    /// To whom.
    pub entity: Entity,
    /// The alert that proposes it.
    pub alert_id: String,
    /// That alert's rule.
    pub rule: String,
    /// That alert's severity.
    pub severity: Severity,
    /// That alert's summary.
    pub summary: String,
    /// Event time of the latest finding: how old the evidence is.
    pub last_seen: TimeMs,
    /// How long (ms) after it is issued the command may be carried out.
    pub ttl_ms: i64,
    /// How long (ms) after it is issued a temporary action is lifted; null for a lasting one.
    pub lift_after_ms: Option<i64>,
}

impl Proposal {
    /// What `rule` proposes at `alert`; nothing where it has no action, or the alert names nobody.
    pub(crate) fn of(rule: &AlertRule, alert: &Alert) -> Option<Self> {
        let action = rule.action?;
        if alert.entity.value.is_none() && alert.entity.key_id.is_none() {
            return None;
        }
        Some(Self {
            schema: "keyhawk.proposal/1".to_owned(),
            id: digest(&[&alert.id, action.as_str(), alert.severity.as_str()]),
            action,
            entity: alert.entity.clone(),
            alert_id: alert.id.clone(),
            rule: alert.rule.clone(),
            severity: alert.severity,
            summary: alert.summary.clone(),
            last_seen: alert.last_seen,
            ttl_ms: rule.action_ttl_ms,
            lift_after_ms: action.is_temporary().then_some(rule.lift_after_ms),
        })
    }
}

/// Whether a command is to be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandMode {
    /// To be carried out.
    Auto,
    /// What would have been done; nobody carries it out.
    Shadow,
}

/// The topic that a command belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandTopic {
    /// `keyhawk.commands`: nothing on it may be ignored.
    Commands,
    /// `keyhawk.commands.shadow`: nothing on it may be carried out.
    CommandsShadow,
}

/// Whom a command is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The column that names it, such as `api_key`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name in that column.
    pub value: Option<String>,
}

/// An order to a gateway, or the shadow of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// [`COMMAND_SCHEMA_ID`].
    pub schema: String,
    /// The proposal's id. A gateway that has carried it out ignores a repeat.
    pub id: String,
    /// What to do.
    pub action: Action,
    /// To whom.
    pub entity: Target,
    /// The gateway's own id of the key.
    pub key_id: Option<String>,
    /// The key's tenant.
    pub tenant: Option<String>,
    /// The key's environment.
    pub environment: Option<String>,
    /// The alert behind it.
    pub alert_id: String,
    /// The rule behind that.
    pub rule: String,
    /// The alert's severity.
    pub severity: Severity,
    /// The alert's summary and, for a shadow, why it is one.
    pub reason: String,
    /// Whether it is to be carried out.
    pub mode: CommandMode,
    /// Who decided: `guard`.
    pub decided_by: String,
    /// When it was decided.
    pub issued_at: TimeMs,
    /// Not to be carried out after this.
    pub not_after: TimeMs,
    /// To be undone at this time; null where it lasts.
    pub lift_at: Option<TimeMs>,
}

impl Command {
    /// Where it is to be published.
    pub fn topic(&self) -> CommandTopic {
        match self.mode {
            CommandMode::Auto => CommandTopic::Commands,
            CommandMode::Shadow => CommandTopic::CommandsShadow,
        }
    }

    /// The key of its record: the entity's name.
    pub fn record_key(&self) -> &str {
        self.entity.value.as_deref().unwrap_or_default()
    }

    /// What stands in its place when the broker refuses it for good: the same id, the reason, no
    /// names, and a shadow, since an order without its target cannot be carried out.
    pub fn stub(&self, reason: &str) -> Self {
        let reason = shorten(reason, 500);
        Self {
            entity: Target {
                kind: self.entity.kind.clone(),
                value: None,
            },
            key_id: None,
            tenant: None,
            environment: None,
            reason: format!("the command could not be published whole: {reason}"),
            mode: CommandMode::Shadow,
            ..self.clone()
        }
    }
}
