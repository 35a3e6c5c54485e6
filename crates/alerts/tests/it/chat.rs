//! What a channel shows, and when.

use keyhawk_alerts::{Alert, ChatConfig, Grouper, Severity, Why, message, stamp};
use serde_json::{Value, json};

use crate::fixtures::{Dice, NOON, alert};

const FINGERPRINT: &str = "kh_live_…0123456789abcdef0123";
const MINUTE: i64 = 60_000;

fn fields(body: &Value) -> Vec<(&str, &str)> {
    let fields = body["attachments"][0]["fields"].as_array().unwrap().iter();
    fields
        .map(|f| (f["title"].as_str().unwrap(), f["value"].as_str().unwrap()))
        .collect()
}

#[test]
fn a_message_says_what_who_where_why_when_and_what_to_do_first() {
    let alert = alert(FINGERPRINT);
    let body = message(&alert, &ChatConfig::default());
    let text =
        "[HIGH] rate_spike: kh_live_…01234567 made 4,200 requests in ten minutes; 80.2 expected";
    assert_eq!(body["text"], text);
    assert_eq!(
        fields(&body),
        [
            ("Who", "api_key kh_live_…01234567 · key_id 17 · tenant acme"),
            ("Where", "NL · AS64500 Example Net"),
            ("Why", "requests 4,200 (80.2 expected, surprise 9.1)"),
            ("When", "2026-01-01, 11:50:00 to 12:00:00 UTC"),
            ("First", "https://runbooks.example/rate_spike"),
        ]
    );
    let attachment = &body["attachments"][0];
    assert_eq!(attachment["color"], "#d2422e");
    assert_eq!(attachment["fallback"], text);
    assert_eq!(attachment["footer"], format!("alert {} · prod", alert.id));
}

#[test]
fn a_repeat_says_how_often_and_since_when() {
    let mut alert = alert("k");
    alert.count = 1234;
    let text = message(&alert, &ChatConfig::default())["text"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        text.starts_with("[HIGH] rate_spike, again, 1,234 times since 12:00:00 UTC: k made"),
        "{text}"
    );
}

#[test]
fn the_address_is_shown_only_if_configured() {
    let mut alert = alert("192.0.2.7");
    alert.summary = "calls from 192.0.2.7 and 2001:db8::1".to_owned();
    alert.why[0].name = "from 192.0.2.7".to_owned();
    alert.runbook = Some("look at 192.0.2.7".to_owned());
    let hidden = message(&alert, &ChatConfig::default());
    assert!(!hidden.to_string().contains("192.0.2.7") && !hidden.to_string().contains("2001:"));
    assert!(
        hidden["text"]
            .as_str()
            .unwrap()
            .ends_with("calls from [address] and [address]")
    );
    let shown = message(
        &alert,
        &ChatConfig {
            show_address: true,
            ..ChatConfig::default()
        },
    );
    assert!(fields(&shown).contains(&("Address", "192.0.2.7")));
    assert!(
        shown["text"]
            .as_str()
            .unwrap()
            .ends_with("calls from 192.0.2.7 and 2001:db8::1")
    );
}

#[test]
fn nothing_in_an_alert_is_read_as_markup() {
    let evil = "<!channel> & @all [here](http://e.example) `x`\n\u{202e}";
    let mut alert = alert(evil);
    for text in [&mut alert.summary, &mut alert.rule, &mut alert.deployment] {
        *text = evil.to_owned();
    }
    alert.row.insert("as_org".to_owned(), json!(evil));
    alert.runbook = Some(evil.to_owned());
    let body = message(&alert, &ChatConfig::default());
    let mut texts = vec![body["text"].as_str().unwrap()];
    texts.push(body["attachments"][0]["footer"].as_str().unwrap());
    texts.extend(fields(&body).into_iter().map(|(_, value)| value));
    for text in texts {
        for markup in ["<", ">", "@all", "](", "`", "\n", "\u{202e}", "& "] {
            assert!(!text.contains(markup), "{markup:?} in {text}");
        }
    }
}

#[test]
fn a_message_is_bounded_whatever_the_alert_holds() {
    let huge = "<".repeat(100_000);
    let mut alert = alert(&huge);
    for text in [
        &mut alert.summary,
        &mut alert.rule,
        &mut alert.deployment,
        &mut alert.id,
    ] {
        text.clone_from(&huge);
    }
    alert.entity.kind.clone_from(&huge);
    alert.entity.tenant = Some(huge.clone());
    alert.entity.environment = Some(format!("{huge}e"));
    alert.entity.key_id = Some(format!("{huge}k"));
    alert.runbook = Some(huge.clone());
    for column in ["country", "as_org", "asn"] {
        alert.row.insert(column.to_owned(), json!(huge));
    }
    let why = Why {
        name: huge.clone(),
        observed: json!(huge),
        expected: json!([huge]),
        surprise: json!({ "x": huge }),
    };
    alert.why = vec![why; 100];
    let len = message(&alert, &ChatConfig::default()).to_string().len();
    assert!(len < 20_000, "{len}");
}

#[test]
fn a_bare_alert_is_a_message_too() {
    let mut alert = alert("k");
    (alert.window_start, alert.window_end, alert.runbook) = (None, None, None);
    alert.entity.value = None;
    alert.entity.key_id = None;
    alert.entity.tenant = None;
    alert.why.clear();
    alert.row.clear();
    assert_eq!(
        fields(&message(&alert, &ChatConfig::default())),
        [
            ("Who", "api_key unknown"),
            ("When", "2026-01-01, 12:00:00 UTC")
        ]
    );
}

/// An alert about the `n`th key, with a surprise of its own.
fn nth(n: u64) -> Alert {
    let mut alert = alert(&format!("k{n}"));
    alert.entity.key_id = None;
    alert.entity.tenant = None;
    alert.why[0].surprise = json!(n);
    alert.summary = format!("summary {n}");
    stamp(&mut alert, NOON);
    alert
}

#[test]
fn the_first_twenty_entities_go_out_at_once_and_the_rest_as_one_message_a_minute() {
    let mut grouper = Grouper::new(ChatConfig::default());
    for n in 0..20 {
        assert_eq!(grouper.push(nth(n), NOON), n);
        assert_eq!(grouper.next_deadline(), Some(NOON));
        assert_eq!(grouper.due(NOON).len(), 1);
        assert_eq!(grouper.oldest_held(), None);
    }
    for n in 20..137 {
        grouper.push(nth(n), NOON + 1000);
    }
    let mut critical = nth(30);
    critical.severity = Severity::Critical;
    grouper.push(critical, NOON + 2000);
    assert_eq!(grouper.oldest_held(), Some(20));
    assert_eq!(grouper.next_deadline(), Some(NOON + 1000 + MINUTE));
    assert!(grouper.due(NOON + 1000 + MINUTE - 1).is_empty());
    let due = grouper.due(NOON + 1000 + MINUTE);
    assert_eq!(due.len(), 1);
    let storm = &due[0];
    assert_eq!(
        (storm.alerts, storm.first, storm.rule.as_str()),
        (118, 20, "rate_spike")
    );
    assert_eq!(
        storm.body["text"],
        "[CRITICAL] rate_spike: 137 entities in 10 minutes; 118 alerts are summed up here"
    );
    let titles: Vec<_> = fields(&storm.body)
        .into_iter()
        .map(|(title, _)| title)
        .collect();
    assert_eq!(
        titles,
        [
            "[CRITICAL] api_key k30",
            "[HIGH] api_key k136",
            "[HIGH] api_key k135",
            "[HIGH] api_key k134",
            "[HIGH] api_key k133",
            "First",
        ]
    );
    let k136 = format!("summary 136 (alert {})", nth(136).id);
    assert_eq!(fields(&storm.body)[1].1, k136);
    assert_eq!(
        storm.body["attachments"][0]["footer"],
        "the 5 loudest · all are on the alerts topic · prod"
    );
    assert_eq!(
        (grouper.next_deadline(), grouper.oldest_held()),
        (None, None)
    );
}

#[test]
fn a_storm_lasts_as_long_as_its_ten_minutes() {
    let mut grouper = Grouper::new(ChatConfig::default());
    for n in 0..21 {
        grouper.push(nth(n), NOON);
    }
    assert_eq!(grouper.due(NOON + MINUTE).len(), 21);
    grouper.push(nth(3), NOON + 2 * MINUTE);
    assert!(
        grouper.due(NOON + 2 * MINUTE).is_empty(),
        "a known entity waits as well"
    );
    let due = grouper.due(NOON + 3 * MINUTE);
    assert_eq!(
        due[0].body["text"],
        "[HIGH] rate_spike: 21 entities in 10 minutes; one alert is summed up here"
    );
    grouper.push(nth(4), NOON + 10 * MINUTE);
    assert_eq!(
        grouper.due(NOON + 10 * MINUTE).len(),
        1,
        "the storm is over"
    );
}

#[test]
fn another_rule_is_not_held_up_by_a_storm() {
    let mut grouper = Grouper::new(ChatConfig::default());
    for n in 0..100 {
        grouper.push(nth(n), NOON);
    }
    grouper.due(NOON);
    let mut other = nth(0);
    other.rule = "impossible_travel".to_owned();
    grouper.push(other, NOON);
    assert_eq!(grouper.due(NOON).len(), 1);
}

#[test]
fn repeats_of_twenty_entities_are_no_storm() {
    let mut grouper = Grouper::new(ChatConfig::default());
    for minute in 0..30 {
        for n in 0..20 {
            grouper.push(nth(n), NOON + minute * MINUTE);
        }
        assert_eq!(grouper.due(NOON + minute * MINUTE).len(), 20);
    }
}

#[test]
fn every_alert_is_in_one_message_within_a_minute() {
    for seed in 0..30 {
        let (mut dice, mut grouper) = (Dice(seed), Grouper::new(ChatConfig::default()));
        let (mut now_ms, mut pushed, mut told) = (NOON, 0, 0);
        for _ in 0..400 {
            now_ms += dice.below(20_000) as i64;
            while let Some(deadline) = grouper.next_deadline().filter(|at| *at <= now_ms) {
                told += grouper
                    .due(deadline)
                    .iter()
                    .map(|message| message.alerts)
                    .sum::<u64>();
            }
            assert_eq!(told, pushed - grouper_held(&grouper, pushed), "seed {seed}");
            let mut alert = nth(dice.below(60));
            alert.rule = ["a", "b"][dice.below(2) as usize].to_owned();
            grouper.push(alert, now_ms);
            pushed += 1;
            assert!(
                grouper
                    .next_deadline()
                    .is_some_and(|at| at <= now_ms + MINUTE)
            );
        }
        told += grouper
            .due(now_ms + MINUTE)
            .iter()
            .map(|message| message.alerts)
            .sum::<u64>();
        assert_eq!((told, grouper.oldest_held()), (pushed, None), "seed {seed}");
    }
}

/// How many of `pushed` alerts still wait, as far as a probe can tell: what is due at the end.
fn grouper_held(grouper: &Grouper, pushed: u64) -> u64 {
    let mut probe = grouper.clone();
    let held = probe
        .due(i64::MAX)
        .iter()
        .map(|message| message.alerts)
        .sum();
    assert!(held <= pushed);
    held
}
