//! What one alert is, and when it is published.

use std::collections::BTreeMap;

use keyhawk_alerts::{Alert, Dedup, Emitted, Finding, Severity};
use serde_json::json;

use crate::fixtures::{Dice, NOON, alerts, dedup, finding, finding_as, map, proposals, rules};

/// (count, seconds from noon to the last finding) of each alert.
fn counts(out: &[Emitted]) -> Vec<(u64, i64)> {
    alerts(out)
        .iter()
        .map(|alert| (alert.count, (alert.last_seen.0 - NOON) / 1000))
        .collect()
}

#[test]
fn a_repeat_is_published_once_a_minute_under_the_same_id() {
    let (mut dedup, mut out) = (dedup(), Vec::new());
    for second in [0, 20, 50] {
        dedup.push(finding(0, "k", second), &mut out);
    }
    assert_eq!(counts(&out), [(1, 0)]);
    assert_eq!(dedup.next_deadline(), Some(NOON + 60_000));
    dedup.advance(NOON + 59_999, &mut out);
    assert_eq!(counts(&out), [(1, 0)]);
    dedup.advance(NOON + 60_000, &mut out);
    dedup.push(finding(0, "k", 90), &mut out);
    assert_eq!(counts(&out), [(1, 0), (3, 50)]);
    dedup.advance(i64::MAX, &mut out);
    assert_eq!(counts(&out), [(1, 0), (3, 50), (4, 90)]);
    let alerts = alerts(&out);
    assert!(alerts.iter().all(|alert| alert.id == alerts[0].id));
    assert!(alerts.iter().all(|alert| alert.first_seen.0 == NOON));
    assert!(dedup.is_empty());
}

#[test]
fn a_repeat_after_a_quiet_minute_is_published_at_once() {
    let (mut dedup, mut out) = (dedup(), Vec::new());
    dedup.push(finding(0, "k", 0), &mut out);
    dedup.push(finding(0, "k", 60), &mut out);
    assert_eq!(counts(&out), [(1, 0), (2, 60)]);
}

#[test]
fn an_update_shows_the_finding_that_came_last() {
    let (mut dedup, mut out) = (dedup(), Vec::new());
    dedup.push(finding(0, "k", 0), &mut out);
    let mut last = finding(0, "k", 30);
    last.row.insert("requests".to_owned(), json!(9999));
    dedup.push(last, &mut out);
    dedup.advance(i64::MAX, &mut out);
    let update = alerts(&out).remove(1);
    assert_eq!(update.why[0].observed, json!(9999));
    assert_eq!(update.row["requests"], json!(9999));
    assert_eq!(update.window_end.unwrap().0, NOON + 30_000);
}

#[test]
fn dedup_time_counts_from_the_latest_finding() {
    let (mut dedup, mut out) = (dedup(), Vec::new());
    // One alert for three hours of findings less than an hour apart; then a gap of an hour and 1 ms.
    for second in [0, 3600, 7200, 10_800] {
        dedup.push(finding(0, "k", second), &mut out);
    }
    let mut late = finding(0, "k", 14_400);
    late.time_ms += 1;
    dedup.push(late, &mut out);
    let alerts = alerts(&out);
    assert_eq!(
        counts(&out),
        [(1, 0), (2, 3600), (3, 7200), (4, 10_800), (1, 14_400)]
    );
    assert_eq!(alerts[0].id, alerts[3].id);
    assert_ne!(alerts[3].id, alerts[4].id);
    assert_eq!(proposals(&out).len(), 2);
}

#[test]
fn a_higher_severity_is_published_and_proposed_at_once_and_stays() {
    let (mut dedup, mut out) = (dedup(), Vec::new());
    dedup.push(finding_as("medium", 0, "k", 0), &mut out);
    dedup.push(finding_as("medium", 0, "k", 5), &mut out);
    dedup.push(finding_as("critical", 0, "k", 10), &mut out);
    dedup.push(finding_as("low", 0, "k", 15), &mut out);
    dedup.advance(i64::MAX, &mut out);
    let published = alerts(&out);
    let severities: Vec<_> = published
        .iter()
        .map(|alert| (alert.severity, alert.count))
        .collect();
    use Severity::{Critical, Medium};
    assert_eq!(severities, [(Medium, 1), (Critical, 3), (Critical, 4)]);
    let proposals = proposals(&out);
    assert_eq!(
        proposals.iter().map(|p| p.severity).collect::<Vec<_>>(),
        [Medium, Critical]
    );
    assert_ne!(proposals[0].id, proposals[1].id);
    assert!(
        matches!(out[1], Emitted::Proposal(_)),
        "a proposal follows its alert"
    );
}

#[test]
fn rules_and_entities_are_deduped_apart() {
    let (mut dedup, mut out) = (dedup(), Vec::new());
    for (rule, key) in [(0, "a"), (1, "a"), (0, "b"), (0, "a")] {
        dedup.push(finding(rule, key, 0), &mut out);
    }
    assert_eq!(alerts(&out).len(), 3);
    assert_eq!(proposals(&out).len(), 2, "new_country has no action");
    assert_eq!(dedup.len(), 3);
}

#[test]
fn a_finding_about_nobody_is_an_alert_without_a_proposal() {
    let (mut dedup, mut out) = (dedup(), Vec::new());
    let row = json!({ "api_key": null, "requests": 3 });
    dedup.push(
        Finding::new(0, "f".to_owned(), NOON, None, map(row), Vec::new()),
        &mut out,
    );
    assert_eq!(alerts(&out)[0].entity.value, None);
    assert!(proposals(&out).is_empty());
}

#[test]
fn without_dedup_every_finding_is_an_alert() {
    let mut rules = rules().to_vec();
    rules[0].dedup_ms = 0;
    let (mut dedup, mut out) = (Dedup::new("prod".to_owned(), rules.into()), Vec::new());
    dedup.push(finding(0, "k", 0), &mut out);
    dedup.push(finding(0, "k", 1), &mut out);
    assert_eq!(counts(&out), [(1, 0), (1, 1)]);
    assert!(dedup.is_empty());
}

#[test]
fn an_alert_that_ends_within_the_minute_publishes_its_last_figures() {
    let mut rules = rules().to_vec();
    rules[0].dedup_ms = 10_000;
    let rules: std::sync::Arc<[_]> = rules.into();
    for by_advance in [true, false] {
        let (mut dedup, mut out) = (Dedup::new("prod".to_owned(), rules.clone()), Vec::new());
        dedup.push(finding(0, "k", 0), &mut out);
        dedup.push(finding(0, "k", 5), &mut out);
        if by_advance {
            dedup.advance(NOON + 15_001, &mut out);
        }
        dedup.push(finding(0, "k", 16), &mut out);
        assert_eq!(counts(&out), [(1, 0), (2, 5), (1, 16)]);
    }
}

#[test]
fn updates_due_together_come_by_time_rule_and_entity() {
    let (mut dedup, mut out) = (dedup(), Vec::new());
    for (rule, key, second) in [(1, "a", 0), (0, "c", 0), (0, "b", 0), (0, "a", 1)] {
        dedup.push(finding(rule, key, second), &mut out);
        dedup.push(finding(rule, key, second), &mut out);
    }
    out.clear();
    dedup.advance(i64::MAX, &mut out);
    let order: Vec<_> = alerts(&out)
        .into_iter()
        .map(|alert| (alert.rule, alert.entity.value.unwrap()))
        .collect();
    let expected = [
        ("rate_spike", "b"),
        ("rate_spike", "c"),
        ("new_country", "a"),
        ("rate_spike", "a"),
    ];
    assert_eq!(
        order,
        expected.map(|(rule, key)| (rule.to_owned(), key.to_owned()))
    );
}

#[test]
fn the_extremes_of_time_overflow_nothing() {
    let (mut dedup, mut out) = (dedup(), Vec::new());
    for time_ms in [i64::MIN, 0, i64::MAX, i64::MAX] {
        let mut extreme = finding(0, "k", 0);
        (extreme.time_ms, extreme.window) = (time_ms, None);
        dedup.push(extreme, &mut out);
    }
    dedup.advance(i64::MAX, &mut out);
    assert!(dedup.is_empty());
    // Not held against the schema: RFC 3339 cannot write these times.
    assert_eq!(out.len(), 8, "four alerts, each with its proposal");
}

#[test]
fn a_snapshot_survives_json_and_drops_rules_that_are_gone() {
    let (mut first, mut out) = (dedup(), Vec::new());
    first.push(finding(1, "k", 0), &mut out);
    first.push(finding(0, "k", 0), &mut out);
    first.push(finding(0, "k", 1), &mut out);
    let text = serde_json::to_string(&first.snapshot()).unwrap();
    let only_rate_spike: std::sync::Arc<[_]> = [rules()[0].clone()].into();
    let mut second = Dedup::new("prod".to_owned(), only_rate_spike);
    assert_eq!(
        second.restore(serde_json::from_str::<Vec<_>>(&text).unwrap()),
        1
    );
    assert_eq!(second.snapshot(), first.snapshot()[1..]);
    out.clear();
    second.advance(i64::MAX, &mut out);
    assert_eq!(counts(&out), [(2, 1)]);
    assert!(second.is_empty());
}

/// A log of findings in the order of their releasing rows, with the watermark at each.
fn random_log(dice: &mut Dice) -> Vec<(i64, Finding)> {
    const BOUND_S: i64 = 10;
    let (mut clock, mut log): (i64, Vec<(i64, Finding)>) = (0, Vec::new());
    let mut watermark = i64::MIN;
    for n in 0..120 {
        clock += [0, 0, 1, 3, 20, 70, 400, 4000][dice.below(8) as usize];
        watermark = watermark.max(NOON + (clock - BOUND_S) * 1000);
        let second = clock - dice.below(BOUND_S as u64 + 1) as i64;
        let severity = ["low", "medium", "high", "high"][dice.below(4) as usize];
        let key = ["a", "b", "c"][dice.below(3) as usize];
        let mut finding = finding_as(severity, dice.below(2) as usize, key, second);
        finding.id = n.to_string();
        log.push((watermark, finding));
    }
    log
}

fn log_rules(dice: &mut Dice) -> std::sync::Arc<[keyhawk_alerts::AlertRule]> {
    let mut rules = rules().to_vec();
    for rule in &mut rules {
        rule.dedup_ms = [5_000, 45_000, 600_000, 3_600_000][dice.below(4) as usize];
    }
    rules.into()
}

/// What is said about each rule and entity, in order.
fn by_entity(out: &[Emitted]) -> BTreeMap<(String, Option<String>), Vec<Emitted>> {
    let mut said: BTreeMap<_, Vec<Emitted>> = BTreeMap::new();
    for emitted in out {
        let (rule, entity) = match emitted {
            Emitted::Alert(alert) => (&alert.rule, &alert.entity),
            Emitted::Proposal(proposal) => (&proposal.rule, &proposal.entity),
        };
        said.entry((rule.clone(), entity.value.clone()))
            .or_default()
            .push(emitted.clone());
    }
    said
}

#[test]
fn what_is_said_of_an_entity_does_not_depend_on_when_time_is_advanced() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let rules = log_rules(&mut dice);
        let log = random_log(&mut dice);
        let mut runs = Vec::new();
        for advance_in_n in [1, 2, 10, 1000] {
            let (mut dedup, mut out) = (Dedup::new("prod".to_owned(), rules.clone()), Vec::new());
            for (watermark, finding) in &log {
                dedup.push(finding.clone(), &mut out);
                if dice.below(advance_in_n) == 0 {
                    dedup.advance(*watermark, &mut out);
                }
            }
            dedup.advance(i64::MAX, &mut out);
            runs.push(out);
        }
        for run in &runs[1..] {
            assert_eq!(by_entity(&runs[0]), by_entity(run), "seed {seed}");
        }
        holds_its_promises(&log, &alerts(&runs[0]), seed);
    }
}

#[test]
fn advancing_at_each_releasing_row_fixes_the_order_and_survives_a_restart_anywhere() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let rules = log_rules(&mut dice);
        let log = random_log(&mut dice);
        let run = |restarts: &mut dyn FnMut() -> bool| {
            let (mut dedup, mut out) = (Dedup::new("prod".to_owned(), rules.clone()), Vec::new());
            for (watermark, finding) in &log {
                dedup.advance(*watermark, &mut out);
                dedup.push(finding.clone(), &mut out);
                if restarts() {
                    let text = serde_json::to_string(&dedup.snapshot()).unwrap();
                    dedup = Dedup::new("prod".to_owned(), rules.clone());
                    dedup.restore(serde_json::from_str::<Vec<_>>(&text).unwrap());
                }
            }
            dedup.advance(i64::MAX, &mut out);
            out
        };
        let whole = run(&mut || false);
        assert_eq!(whole, run(&mut || dice.below(5) == 0), "seed {seed}");
    }
}

/// Every finding is counted in one alert; severity and count never fall; there are no more updates
/// than minutes, rises of severity, and one at the end.
fn holds_its_promises(log: &[(i64, Finding)], alerts: &[Alert], seed: u64) {
    let mut by_id: BTreeMap<&str, Vec<&Alert>> = BTreeMap::new();
    for alert in alerts {
        by_id.entry(&alert.id).or_default().push(alert);
    }
    let counted: u64 = by_id
        .values()
        .map(|updates| updates.last().unwrap().count)
        .sum();
    assert_eq!(counted, log.len() as u64, "seed {seed}");
    for updates in by_id.values() {
        let steps = updates.windows(2);
        assert!(
            steps
                .clone()
                .all(|s| s[0].count < s[1].count && s[0].severity <= s[1].severity),
            "seed {seed}"
        );
        let rises = steps.filter(|s| s[0].severity < s[1].severity).count() as i64;
        let (first, last) = (updates[0].last_seen.0, updates.last().unwrap().last_seen.0);
        assert!(
            updates.len() as i64 <= (last - first) / 60_000 + rises + 2,
            "seed {seed}"
        );
    }
}
