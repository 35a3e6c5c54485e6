//! Rules, findings and alerts as the tests need them.

use std::sync::Arc;

use keyhawk_alerts::{
    Action, Alert, AlertRule, Dedup, Emitted, Evidence, Finding, Proposal, Severity, Template,
};
use serde_json::{Map, Value, json};

/// 2026-01-01T12:00:00Z.
pub const NOON: i64 = 1_767_268_800_000;

/// `rate_spike` (high, suspends) and `new_country` (medium, does nothing), both by `api_key`.
pub fn rules() -> Arc<[AlertRule]> {
    let mut rate_spike = AlertRule::new("rate_spike", "ab12", Severity::High, "api_key");
    rate_spike.action = Some(Action::Suspend);
    rate_spike.summary =
        Template::parse("{api_key} made {requests} requests in ten minutes; {expected} expected")
            .unwrap();
    rate_spike.tags = vec!["owasp:API4:2023".to_owned()];
    rate_spike.runbook = Some("https://runbooks.example/rate_spike".to_owned());
    let new_country = AlertRule::new("new_country", "cd34", Severity::Medium, "api_key");
    Arc::from([rate_spike, new_country])
}

pub fn dedup() -> Dedup {
    Dedup::new("prod".to_owned(), rules())
}

pub fn map(row: Value) -> Map<String, Value> {
    row.as_object().unwrap().clone()
}

/// A finding of a rule about a key, `seconds` after noon.
pub fn finding(rule: usize, key: &str, seconds: i64) -> Finding {
    let row = json!({
        "api_key": key, "key_id": "17", "tenant": "acme",
        "requests": 4200, "expected": 80.25, "surprise": 9.125,
        "country": "NL", "asn": 64500, "as_org": "Example Net", "client_ip": "192.0.2.7",
    });
    let time_ms = NOON + seconds * 1000;
    let window = Some((time_ms - 600_000, time_ms));
    let evidence = vec![Evidence {
        topic: "access".to_owned(),
        partition: 3,
        offset: 41,
    }];
    Finding::new(
        rule,
        format!("{rule}/{key}/{seconds}"),
        time_ms,
        window,
        map(row),
        evidence,
    )
}

/// The same under a severity of its own.
pub fn finding_as(severity: &str, rule: usize, key: &str, seconds: i64) -> Finding {
    let Finding {
        id,
        time_ms,
        window,
        mut row,
        evidence,
        ..
    } = finding(rule, key, seconds);
    row.insert("severity".to_owned(), json!(severity));
    Finding::new(rule, id, time_ms, window, row, evidence)
}

pub fn alerts(out: &[Emitted]) -> Vec<Alert> {
    let alerts = out.iter().filter_map(|emitted| match emitted {
        Emitted::Alert(alert) => Some((**alert).clone()),
        Emitted::Proposal(_) => None,
    });
    alerts.inspect(crate::schema::hold_alert).collect()
}

pub fn proposals(out: &[Emitted]) -> Vec<Proposal> {
    let proposals = out.iter().filter_map(|emitted| match emitted {
        Emitted::Alert(_) => None,
        Emitted::Proposal(proposal) => Some((**proposal).clone()),
    });
    proposals.collect()
}

/// The alert that one finding of `rate_spike` about `key` opens at noon.
pub fn alert(key: &str) -> Alert {
    let mut out = Vec::new();
    dedup().push(finding(0, key, 0), &mut out);
    alerts(&out).remove(0)
}

/// The proposal of the same.
pub fn proposal(key: &str) -> Proposal {
    let mut out = Vec::new();
    dedup().push(finding(0, key, 0), &mut out);
    proposals(&out).remove(0)
}

/// Numbers that look random and are the same for a seed (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}
