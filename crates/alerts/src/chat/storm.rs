//! Grouping: a rule that alerts on very many entities is one event to a person, and many messages
//! about it hide all others.
//!
//! ```text
//!   entities of a rule in ten minutes   1 … 20 │ 21, 22, …                       ≤ 20 again
//!   messages                            each   │ none … one a minute, "137 entities" …  each
//! ```
//!
//! Alerts of up to 20 entities of a rule in ten minutes go out at once. From the 21st on they are
//! collected, whatever entity they are about, and a minute after the first of them one message says
//! how many entities there are and shows the five loudest; so an alert waits for a minute at most.
//! When fewer entities are left in the ten minutes, alerts go out at once again.
//!
//! The ten minutes are those of the reader's clock: a backlog that is read at once floods a channel
//! no less than a storm.
//!
//! State: for each rule the entities of ten minutes, 100,000 at most, and five alerts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use hashbrown::HashMap;
use serde_json::{Value, json};

use crate::alert::Alert;
use crate::digest::digest;
use crate::readable;
use crate::rule::Severity;

use super::ChatConfig;
use super::message::{color, field, message, tag, who};
use super::text::shown;

const LOUDEST: usize = 5;
/// Beyond this many entities of a rule the count says "or more".
const ENTITIES_MAX: usize = 100_000;

/// A message to send.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatMessage {
    /// Names it in logs and dead letters: the alert's id, or a digest of the storm's first alert.
    pub id: String,
    /// The rule that it is about.
    pub rule: String,
    /// How many alerts it stands for.
    pub alerts: u64,
    /// The smallest number ([`Grouper::push`]) among them. A reader may commit up to the smallest
    /// of these among its undelivered messages and [`Grouper::oldest_held`].
    pub first: u64,
    /// The body of the request.
    pub body: Value,
}

/// Turns alerts into messages.
#[derive(Debug, Clone)]
pub struct Grouper {
    config: ChatConfig,
    /// By name, so that summaries go out in a fixed order.
    rules: BTreeMap<String, RuleGroup>,
    ready: Vec<ChatMessage>,
    next_number: u64,
    now_ms: i64,
}

/// What is known of one rule.
#[derive(Debug, Clone, Default)]
struct RuleGroup {
    /// When each entity was last alerted on.
    entities: HashMap<Arc<str>, i64>,
    /// The same by time, with entries that `entities` has overtaken.
    order: VecDeque<(i64, Arc<str>)>,
    collected: Option<Collected>,
}

/// Alerts of a storm that wait for their summary.
#[derive(Debug, Clone)]
struct Collected {
    due_ms: i64,
    first: u64,
    first_id: String,
    alerts: u64,
    severity: Severity,
    runbook: Option<String>,
    deployment: String,
    /// Loudest first.
    loudest: Vec<Alert>,
}

impl Grouper {
    /// One without history.
    pub fn new(config: ChatConfig) -> Self {
        Self {
            config,
            rules: BTreeMap::new(),
            ready: Vec::new(),
            next_number: 0,
            now_ms: i64::MIN,
        }
    }

    /// Takes an alert that was read at `now_ms` and returns its number: 0, 1, 2, …
    pub fn push(&mut self, alert: Alert, now_ms: i64) -> u64 {
        self.now_ms = self.now_ms.max(now_ms);
        let number = self.next_number;
        self.next_number += 1;
        let group = self.rules.entry(alert.rule.clone()).or_default();
        group.forget(self.now_ms.saturating_sub(self.config.storm_window_ms));
        group.note(&alert, self.now_ms);
        if group.collected.is_some() || group.entities.len() > self.config.storm_entities {
            let due_ms = self.now_ms.saturating_add(self.config.storm_interval_ms);
            group.collect(alert, number, due_ms);
        } else {
            self.ready.push(ChatMessage {
                id: alert.id.clone(),
                rule: alert.rule.clone(),
                alerts: 1,
                first: number,
                body: message(&alert, &self.config),
            });
        }
        number
    }

    /// The messages to send at `now_ms`: single alerts in the order they came, then summaries that
    /// are due, by rule name.
    pub fn due(&mut self, now_ms: i64) -> Vec<ChatMessage> {
        self.now_ms = self.now_ms.max(now_ms);
        let now_ms = self.now_ms;
        let mut due = std::mem::take(&mut self.ready);
        for (rule, group) in &mut self.rules {
            if let Some(collected) = group
                .collected
                .take_if(|collected| collected.due_ms <= now_ms)
            {
                // Counted before old entities are forgotten: those of a slow reader would be gone.
                due.push(collected.message(rule, group.entities.len(), &self.config));
            }
            group.forget(now_ms.saturating_sub(self.config.storm_window_ms));
        }
        self.rules
            .retain(|_, group| group.collected.is_some() || !group.entities.is_empty());
        due
    }

    /// When `due` next has something to hand out; a time that is past where it already has.
    pub fn next_deadline(&self) -> Option<i64> {
        if !self.ready.is_empty() {
            return Some(self.now_ms);
        }
        self.rules
            .values()
            .filter_map(|group| Some(group.collected.as_ref()?.due_ms))
            .min()
    }

    /// The number of the oldest alert for which no message has been handed out yet.
    pub fn oldest_held(&self) -> Option<u64> {
        let ready = self.ready.iter().map(|message| message.first);
        let collected = self
            .rules
            .values()
            .filter_map(|group| Some(group.collected.as_ref()?.first));
        ready.chain(collected).min()
    }
}

impl RuleGroup {
    /// Forgets entities last alerted on at `until_ms` or before.
    fn forget(&mut self, until_ms: i64) {
        while self
            .order
            .front()
            .is_some_and(|(time, _)| *time <= until_ms)
        {
            let Some((time, entity)) = self.order.pop_front() else {
                return;
            };
            if self.entities.get(&entity) == Some(&time) {
                self.entities.remove(&entity);
            }
        }
    }

    fn note(&mut self, alert: &Alert, now_ms: i64) {
        let name = alert.entity.record_key();
        let known = self.entities.get_key_value(name);
        let name = match known {
            Some((_, time)) if *time == now_ms => return,
            Some((name, _)) => Arc::clone(name),
            None if self.entities.len() >= ENTITIES_MAX => return,
            None => Arc::from(name),
        };
        self.entities.insert(Arc::clone(&name), now_ms);
        self.order.push_back((now_ms, name));
    }

    fn collect(&mut self, alert: Alert, number: u64, due_ms: i64) {
        let collected = self.collected.get_or_insert_with(|| Collected {
            due_ms,
            first: number,
            first_id: alert.id.clone(),
            alerts: 0,
            severity: alert.severity,
            runbook: alert.runbook.clone(),
            deployment: alert.deployment.clone(),
            loudest: Vec::with_capacity(LOUDEST + 1),
        });
        collected.alerts += 1;
        collected.severity = collected.severity.max(alert.severity);
        let loudest = &mut collected.loudest;
        // A repeat stands once, as its loudest.
        match loudest
            .iter_mut()
            .find(|known| known.entity == alert.entity)
        {
            Some(known) if louder(known, &alert) => *known = alert,
            Some(_) => {}
            None => loudest.push(alert),
        }
        loudest.sort_by(|a, b| {
            loudness(b)
                .partial_cmp(&loudness(a))
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        loudest.truncate(LOUDEST);
    }
}

/// Severity, then surprise, then count.
fn loudness(alert: &Alert) -> (Severity, f64, u64) {
    let surprises = alert.why.iter().filter_map(|why| why.surprise.as_f64());
    (alert.severity, surprises.fold(0.0, f64::max), alert.count)
}

fn louder(known: &Alert, other: &Alert) -> bool {
    loudness(other) >= loudness(known)
}

impl Collected {
    fn message(self, rule: &str, entities: usize, config: &ChatConfig) -> ChatMessage {
        let count = readable::value("count", &json!(entities));
        let or_more = if entities >= ENTITIES_MAX {
            " or more"
        } else {
            ""
        };
        let minutes = config.storm_window_ms / 60_000;
        let collected = match self.alerts {
            1 => "one alert is".to_owned(),
            n => format!("{} alerts are", readable::value("count", &json!(n))),
        };
        let name = shown(rule, config, 80);
        let text = format!(
            "{}{name}: {count}{or_more} entities in {minutes} minutes; {collected} summed up here",
            tag(self.severity)
        );
        let mut fields: Vec<_> = self
            .loudest
            .iter()
            .map(|alert| {
                let title = format!("{}{}", tag(alert.severity), who(&alert.entity, config));
                let value = format!(
                    "{} (alert {})",
                    shown(&alert.summary, config, 200),
                    shown(&alert.id, config, 80)
                );
                field(&title, &value, false)
            })
            .collect();
        if let Some(runbook) = &self.runbook {
            fields.push(field("First", &shown(runbook, config, 400), false));
        }
        ChatMessage {
            id: digest(&["storm", rule, &self.first_id]),
            rule: rule.to_owned(),
            alerts: self.alerts,
            first: self.first,
            body: json!({
                "text": text,
                "attachments": [{
                    "color": color(self.severity),
                    "fallback": text,
                    "fields": fields,
                    "footer": format!(
                        "the {} loudest · all are on the alerts topic · {}",
                        self.loudest.len(),
                        shown(&self.deployment, config, 80)
                    ),
                }],
            }),
        }
    }
}
