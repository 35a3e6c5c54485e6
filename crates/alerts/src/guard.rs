//! The guard decides whether what a rule proposes is carried out, or only said.
//!
//! ```text
//!   Proposal ──▶ mode auto? ──▶ rule and action allowed? ──▶ a name the gateway knows?
//!                   │ no             │ no                        │ no
//!                   ▼                ▼                           ▼
//!                 shadow           shadow                      shadow
//!            ──▶ evidence fresh? ──▶ budget left? ──▶ executed, and the budget is charged
//!                   │ no               │ no
//!                   ▼                  ▼
//!                 shadow             shadow, and an alert of its own, once an hour
//! ```
//!
//! A suspension is the most dangerous thing that Keyhawk can do to a customer, so everything that
//! is not allowed in so many words is shadow: an executed command needs the mode `auto`, its rule's
//! name in `auto_rules` and its action in `auto_actions`.
//!
//! The budget is a sliding hour: at most `budget_per_hour` commands are executed in any 60 minutes.
//! A fixed hour would let twice as many through around the full hour. Budgets are counted for the
//! whole deployment, so there is one guard; its input and output are plain messages that can be put
//! behind a topic. A proposal that is delivered again while its command is in the budget's hour gets
//! the same command again, at no charge.
//!
//! Time is the caller's clock; one that goes back is taken to stand still.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use crate::alert::{ALERT_SCHEMA_ID, Alert, Entity, Status};
use crate::command::{COMMAND_SCHEMA_ID, Command, CommandMode, CommandTopic, Proposal, Target};
use crate::digest::digest;
use crate::error::{Error, Result};
use crate::explain::Why;
use crate::rule::{Action, Severity};
use crate::time::TimeMs;

/// Evidence older than 15 minutes describes a key as it was: after an outage, say, when a backlog
/// is read, whoever is suspended may long have been dealt with.
pub const EVIDENCE_MAX_AGE_MS: i64 = 900_000;

/// The rule name of the guard's own alert.
pub const BUDGET_RULE: &str = "guard_budget_spent";

const HOUR_MS: i64 = 3_600_000;

/// Whether the guard may act at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Say what would have been done.
    #[default]
    Shadow,
    /// Do what is allowed.
    Auto,
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "shadow" => Ok(Self::Shadow),
            "auto" => Ok(Self::Auto),
            _ => Err(Error::UnknownMode {
                found: text.to_owned(),
            }),
        }
    }
}

/// What the guard allows. The default allows nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardConfig {
    /// Default: shadow.
    pub mode: Mode,
    /// Names of the rules that may act under `auto`; `*` stands for all. Default: none.
    pub auto_rules: BTreeSet<String>,
    /// Actions that may be carried out under `auto`. Default: those that end by themselves.
    pub auto_actions: BTreeSet<Action>,
    /// Commands executed in any 60 minutes, at most. Default 20: what a person on call can look
    /// through within that hour, at three minutes each.
    pub budget_per_hour: u32,
    /// How old (ms) the latest finding may be when the guard decides. Default
    /// [`EVIDENCE_MAX_AGE_MS`].
    pub evidence_max_age_ms: i64,
    /// Whether the gateway can find a key by its fingerprint. Without it only proposals with a
    /// `key_id` are executed. Default: false.
    pub gateway_knows_fingerprints: bool,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Shadow,
            auto_rules: BTreeSet::new(),
            auto_actions: Action::ALL
                .into_iter()
                .filter(|action| action.is_temporary())
                .collect(),
            budget_per_hour: 20,
            evidence_max_age_ms: EVIDENCE_MAX_AGE_MS,
            gateway_knows_fingerprints: false,
        }
    }
}

/// Why a command is a shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShadowReason {
    /// The guard's mode is shadow.
    Mode,
    /// The rule is not among those that may act.
    Rule,
    /// The action is not among those allowed.
    Action,
    /// The gateway knows the entity by no name that the proposal has.
    Identity,
    /// The evidence is too old.
    Evidence,
    /// The budget is spent.
    Budget,
}

impl ShadowReason {
    /// A word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mode => "mode",
            Self::Rule => "rule",
            Self::Action => "action",
            Self::Identity => "identity",
            Self::Evidence => "evidence",
            Self::Budget => "budget",
        }
    }
}

/// What the guard says to one proposal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The command, executed or shadow.
    pub command: Command,
    /// Why it is a shadow; null where it is to be carried out.
    pub shadow: Option<ShadowReason>,
    /// The alert that the budget is spent, stamped; at most one an hour.
    pub alert: Option<Box<Alert>>,
}

impl Decision {
    /// The topic that the command belongs to.
    pub fn topic(&self) -> CommandTopic {
        self.command.topic()
    }
}

/// The guard of a deployment.
#[derive(Debug)]
pub struct Guard {
    deployment: String,
    config: GuardConfig,
    /// Time and id of the commands executed in the last hour, oldest first.
    executed: VecDeque<(i64, String)>,
    /// When the last alert of a spent budget was raised.
    alarmed_ms: Option<i64>,
    now_ms: i64,
}

impl Guard {
    /// A guard with its whole budget.
    pub fn new(deployment: String, config: GuardConfig) -> Self {
        let executed = VecDeque::new();
        Self {
            deployment,
            config,
            executed,
            alarmed_ms: None,
            now_ms: i64::MIN,
        }
    }

    /// Decides one proposal at `now_ms`.
    pub fn decide(&mut self, proposal: Proposal, now_ms: i64) -> Decision {
        self.now_ms = self.now_ms.max(now_ms);
        let now_ms = self.now_ms;
        let hour_ago = now_ms.saturating_sub(HOUR_MS);
        while self
            .executed
            .front()
            .is_some_and(|(time, _)| *time <= hour_ago)
        {
            self.executed.pop_front();
        }

        let (shadow, why) = match self.judge(&proposal) {
            None => (None, String::new()),
            Some((shadow, why)) => (Some(shadow), why),
        };
        let repeat = self.executed.iter().any(|(_, id)| *id == proposal.id);
        if shadow.is_none() && !repeat {
            self.executed.push_back((now_ms, proposal.id.clone()));
        }
        let alert = (shadow == Some(ShadowReason::Budget)
            && self.alarmed_ms.is_none_or(|alarmed| alarmed <= hour_ago))
        .then(|| {
            self.alarmed_ms = Some(now_ms);
            Box::new(self.budget_alert(&proposal))
        });
        let reason = match shadow {
            None => proposal.summary,
            Some(_) => format!("{} [shadow: {why}]", proposal.summary),
        };
        let command = Command {
            schema: COMMAND_SCHEMA_ID.to_owned(),
            id: proposal.id,
            action: proposal.action,
            entity: Target {
                kind: proposal.entity.kind,
                value: proposal.entity.value,
            },
            key_id: proposal.entity.key_id,
            tenant: proposal.entity.tenant,
            environment: proposal.entity.environment,
            alert_id: proposal.alert_id,
            rule: proposal.rule,
            severity: proposal.severity,
            reason,
            mode: if shadow.is_none() {
                CommandMode::Auto
            } else {
                CommandMode::Shadow
            },
            decided_by: "guard".to_owned(),
            issued_at: TimeMs(now_ms),
            not_after: TimeMs(now_ms.saturating_add(proposal.ttl_ms)),
            lift_at: proposal
                .lift_after_ms
                .map(|after| TimeMs(now_ms.saturating_add(after))),
        };
        Decision {
            command,
            shadow,
            alert,
        }
    }

    /// The first reason against executing, with a sentence for it.
    fn judge(&self, proposal: &Proposal) -> Option<(ShadowReason, String)> {
        let config = &self.config;
        if config.mode == Mode::Shadow {
            return Some((ShadowReason::Mode, "the guard's mode is shadow".to_owned()));
        }
        if !config.auto_rules.contains(&proposal.rule) && !config.auto_rules.contains("*") {
            let why = format!("rule {} is not among the rules that may act", proposal.rule);
            return Some((ShadowReason::Rule, why));
        }
        if !config.auto_actions.contains(&proposal.action) {
            let why = format!("action {} is not among those allowed", proposal.action);
            return Some((ShadowReason::Action, why));
        }
        let fingerprint = config.gateway_knows_fingerprints && proposal.entity.is_fingerprint();
        if proposal.entity.key_id.is_none() && !fingerprint {
            let why = "there is no key_id, and the gateway knows no fingerprint of it".to_owned();
            return Some((ShadowReason::Identity, why));
        }
        let age_ms = self.now_ms.saturating_sub(proposal.last_seen.0);
        if age_ms > config.evidence_max_age_ms {
            let why = format!("the evidence is {} minutes old", age_ms / 60_000);
            return Some((ShadowReason::Evidence, why));
        }
        let repeat = self.executed.iter().any(|(_, id)| *id == proposal.id);
        if !repeat && self.executed.len() >= config.budget_per_hour as usize {
            let budget = config.budget_per_hour;
            let why = format!("the budget of {budget} commands an hour is spent");
            return Some((ShadowReason::Budget, why));
        }
        None
    }

    fn budget_alert(&self, proposal: &Proposal) -> Alert {
        let (budget, now) = (self.config.budget_per_hour, TimeMs(self.now_ms));
        let row = [
            ("budget_per_hour", json!(budget)),
            ("executed", json!(self.executed.len())),
            ("first_shadow_rule", json!(proposal.rule)),
            ("first_shadow_action", json!(proposal.action)),
            ("first_shadow_alert_id", json!(proposal.alert_id)),
        ];
        Alert {
            schema: ALERT_SCHEMA_ID.to_owned(),
            id: digest(&[&self.deployment, BUDGET_RULE, &now.to_string(), &proposal.id]),
            status: Status::Open,
            deployment: self.deployment.clone(),
            rule: BUDGET_RULE.to_owned(),
            rule_version: digest(&[BUDGET_RULE, "1"]),
            severity: Severity::High,
            severity_id: Severity::High.severity_id(),
            entity: Entity {
                kind: "deployment".to_owned(),
                value: Some(self.deployment.clone()),
                key_id: None,
                tenant: None,
                environment: None,
            },
            first_seen: now,
            last_seen: now,
            count: 1,
            window_start: None,
            window_end: None,
            summary: format!(
                "the guard has executed its {budget} commands of this hour; further ones are shadow"
            ),
            why: vec![Why {
                name: "commands executed in an hour".to_owned(),
                observed: json!(self.executed.len()),
                expected: json!(budget),
                surprise: json!(null),
            }],
            evidence: Vec::new(),
            tags: vec!["keyhawk:guard".to_owned()],
            tables: BTreeMap::new(),
            runbook: Some(
                "Read the shadow commands of this hour: many true ones mean an attack on many keys, \
                 many false ones a rule to take out of auto_rules."
                    .to_owned(),
            ),
            row: row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>(),
            emitted_at: Some(now),
        }
    }
}
