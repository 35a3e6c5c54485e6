//! Dedup: findings of one rule about one entity become one alert while they keep coming.
//!
//! ```text
//!   event time     0:00      0:20     0:50       1:00    1:30             2:00       … + dedup
//!   findings       f1        f2       f3           │     f4                │            │
//!   published      n = 1     ·        ·          n = 3   ·               n = 4       forgotten
//!                  opens     held     held       due     held            due
//! ```
//!
//! All of it is decided by event time, so that a log read twice gives the same alerts twice:
//!
//! - A finding continues the alert of its rule and entity if its time is at most `dedup_ms` after
//!   the alert's latest finding, and opens a new one otherwise. A condition that lasts is thus one
//!   alert for as long as it lasts. With a `dedup_ms` of 0 every finding is an alert.
//! - The finding that opens an alert is published at once, and so is one that is more severe than
//!   all before it. Any other is published if the alert's last publication is a minute old, and
//!   held back until then otherwise; what has come in the meantime is one update, which shows the
//!   finding that came last. An alert that ends within the minute publishes its last figures when
//!   it ends, which is the one case of two updates within a minute.
//! - A rule with an action proposes it when an alert opens and when its severity rises.
//!
//! Contract: a finding's time is not below the watermark of the last [`Dedup::advance`], as is so
//! for the `event_time` of rows that are not late, and for `window_end`. Then what each entity's
//! alerts say does not depend on how often `advance` is called between findings. The order among
//! entities does, so a caller who numbers the outputs advances to the watermark at a finding's
//! releasing row before pushing that finding.
//!
//! State: one entry for each entity with a finding within its rule's `dedup_ms`, with the last row
//! only while an update is held back. Cost: two ordered-set operations a finding.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::alert::Alert;
use crate::command::Proposal;
use crate::finding::{Finding, name_in};
use crate::rule::{AlertRule, Severity};
use crate::time::TimeMs;

/// Repeats of one alert are published at most this often, in ms of event time.
pub const UPDATE_INTERVAL_MS: i64 = 60_000;

/// What dedup emits. An alert's proposal follows it directly.
#[derive(Debug, Clone, PartialEq)]
pub enum Emitted {
    /// For the alerts topic; `emitted_at` is still empty.
    Alert(Box<Alert>),
    /// For the guard.
    Proposal(Box<Proposal>),
}

/// The dedup operator of one partition machine.
#[derive(Debug)]
pub struct Dedup {
    deployment: String,
    rules: Arc<[AlertRule]>,
    entries: HashMap<Key, DedupEntry>,
    /// The next deadline of each entry: its held update's, or its end.
    deadlines: BTreeSet<(i64, Key)>,
}

/// Rule index and entity.
type Key = (usize, Option<Arc<str>>);

/// What is remembered of one open alert. A snapshot is a list of these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DedupEntry {
    /// The rule's name: an index would mean another rule after a reload.
    pub rule: String,
    /// The entity's name.
    pub entity: Option<String>,
    /// The alert's id.
    pub alert_id: String,
    /// The highest severity so far.
    pub severity: Severity,
    /// Findings so far.
    pub count: u64,
    /// Event time of the earliest finding.
    pub first_seen_ms: i64,
    /// Event time of the latest finding.
    pub last_seen_ms: i64,
    /// Event time at which the alert was last published, or was due to be.
    pub published_ms: i64,
    /// The update that waits for its minute.
    pub held: Option<Box<Alert>>,
}

impl DedupEntry {
    /// When a held update is due.
    fn due_ms(&self) -> i64 {
        self.published_ms.saturating_add(UPDATE_INTERVAL_MS)
    }

    /// The first millisecond at which a finding would be a new alert's.
    fn end_ms(&self, rule: &AlertRule) -> i64 {
        self.last_seen_ms
            .saturating_add(rule.dedup_ms)
            .saturating_add(1)
    }

    fn deadline_ms(&self, rule: &AlertRule) -> i64 {
        let end = self.end_ms(rule);
        if self.held.is_some() {
            end.min(self.due_ms())
        } else {
            end
        }
    }
}

impl Dedup {
    /// An empty one. `rules` are in the order that findings refer to, which is also the order of
    /// outputs that are due at the same millisecond.
    pub fn new(deployment: String, rules: Arc<[AlertRule]>) -> Self {
        Self {
            deployment,
            rules,
            entries: HashMap::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// Takes one finding and appends to `out` what is to be published at once.
    ///
    /// # Panics
    ///
    /// If the finding's rule is not an index of the rules.
    pub fn push(&mut self, finding: Finding, out: &mut Vec<Emitted>) {
        let rule = &self.rules[finding.rule];
        if rule.dedup_ms <= 0 {
            let alert = Alert::open(&self.deployment, rule, finding);
            return publish(alert, Some(rule), out);
        }
        let time_ms = finding.time_ms;
        let entity = name_in(&finding.row, &rule.entity);
        let key: Key = (finding.rule, entity.as_deref().map(Arc::from));

        let Some(entry) = self.entries.get_mut(&key) else {
            return self.open(key, entity, finding, out);
        };
        self.deadlines
            .remove(&(entry.deadline_ms(rule), key.clone()));
        if time_ms >= entry.end_ms(rule) {
            if let Some(last) = entry.held.take() {
                publish(*last, None, out);
            }
            return self.open(key, entity, finding, out);
        }
        if time_ms >= entry.due_ms()
            && let Some(held) = entry.held.take()
        {
            entry.published_ms = entry.due_ms();
            publish(*held, None, out);
        }

        let mut alert = Alert::open(&self.deployment, rule, finding);
        let rises = alert.severity > entry.severity;
        entry.severity = entry.severity.max(alert.severity);
        entry.count += 1;
        entry.first_seen_ms = entry.first_seen_ms.min(time_ms);
        entry.last_seen_ms = entry.last_seen_ms.max(time_ms);
        alert.id.clone_from(&entry.alert_id);
        alert.severity = entry.severity;
        alert.severity_id = entry.severity.severity_id();
        alert.count = entry.count;
        alert.first_seen = TimeMs(entry.first_seen_ms);
        alert.last_seen = TimeMs(entry.last_seen_ms);
        if rises || time_ms >= entry.due_ms() {
            entry.held = None;
            entry.published_ms = entry.published_ms.max(time_ms);
            publish(alert, rises.then_some(rule), out);
        } else {
            entry.held = Some(Box::new(alert));
        }
        self.deadlines.insert((entry.deadline_ms(rule), key));
    }

    /// Moves event time on: appends the held updates that are due, ordered by (time due, rule,
    /// entity), and forgets alerts that have ended. `i64::MAX` ends a finite input.
    pub fn advance(&mut self, watermark_ms: i64, out: &mut Vec<Emitted>) {
        while self
            .deadlines
            .first()
            .is_some_and(|(deadline, _)| *deadline <= watermark_ms)
        {
            let Some((deadline, key)) = self.deadlines.pop_first() else {
                return;
            };
            let rule = &self.rules[key.0];
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            if let Some(held) = entry.held.take() {
                publish(*held, None, out);
            }
            if deadline >= entry.end_ms(rule) {
                self.entries.remove(&key);
            } else {
                entry.published_ms = entry.due_ms();
                self.deadlines.insert((entry.deadline_ms(rule), key));
            }
        }
    }

    /// The event time at which `advance` next has something to do.
    pub fn next_deadline(&self) -> Option<i64> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// How many alerts are open.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries, ordered by (rule name, entity). Changes nothing.
    pub fn snapshot(&self) -> Vec<DedupEntry> {
        let mut entries: Vec<_> = self.entries.values().cloned().collect();
        entries.sort_by(|a, b| (&a.rule, &a.entity).cmp(&(&b.rule, &b.entity)));
        entries
    }

    /// Adds entries of a snapshot, any subset of them, in any order; one that is already
    /// there is replaced. Entries of rules that are no more are dropped. Returns how many were.
    pub fn restore(&mut self, entries: impl IntoIterator<Item = DedupEntry>) -> usize {
        let mut dropped = 0;
        for entry in entries {
            let index = self.rules.iter().position(|rule| rule.name == entry.rule);
            let Some(index) = index.filter(|&index| self.rules[index].dedup_ms > 0) else {
                dropped += 1;
                continue;
            };
            let rule = &self.rules[index];
            let key: Key = (index, entry.entity.as_deref().map(Arc::from));
            if let Some(old) = self.entries.get(&key) {
                self.deadlines.remove(&(old.deadline_ms(rule), key.clone()));
            }
            self.deadlines
                .insert((entry.deadline_ms(rule), key.clone()));
            self.entries.insert(key, entry);
        }
        dropped
    }

    /// Goes on with other rules: open alerts of a rule that is still there, by its name, stay open. Of
    /// the others the update that is held back is appended to `out`.
    pub fn reload(&mut self, rules: Arc<[AlertRule]>, out: &mut Vec<Emitted>) {
        let entries = self.snapshot();
        self.entries.clear();
        self.deadlines.clear();
        self.rules = rules;
        for mut entry in entries {
            let stays = self
                .rules
                .iter()
                .any(|rule| rule.name == entry.rule && rule.dedup_ms > 0);
            if stays {
                self.restore([entry]);
            } else if let Some(held) = entry.held.take() {
                publish(*held, None, out);
            }
        }
    }

    fn open(&mut self, key: Key, entity: Option<String>, finding: Finding, out: &mut Vec<Emitted>) {
        let rule = &self.rules[key.0];
        let alert = Alert::open(&self.deployment, rule, finding);
        let entry = DedupEntry {
            rule: rule.name.clone(),
            entity,
            alert_id: alert.id.clone(),
            severity: alert.severity,
            count: 1,
            first_seen_ms: alert.first_seen.0,
            last_seen_ms: alert.last_seen.0,
            published_ms: alert.first_seen.0,
            held: None,
        };
        self.deadlines
            .insert((entry.deadline_ms(rule), key.clone()));
        self.entries.insert(key, entry);
        publish(alert, Some(rule), out);
    }
}

/// Appends an alert and, where `acting` names its rule, what that rule proposes.
fn publish(alert: Alert, acting: Option<&AlertRule>, out: &mut Vec<Emitted>) {
    let proposal = acting.and_then(|rule| Proposal::of(rule, &alert));
    out.push(Emitted::Alert(Box::new(alert)));
    out.extend(proposal.map(|proposal| Emitted::Proposal(Box::new(proposal))));
}
