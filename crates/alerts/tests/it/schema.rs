//! The JSON Schemas, and the exact form of both messages.

use std::sync::LazyLock;

use jsonschema::Validator;
use keyhawk_alerts::{
    ALERT_SCHEMA, Alert, COMMAND_SCHEMA, Command, Decision, Guard, GuardConfig, Proposal, stamp,
};
use serde_json::{Value, json};

use crate::fixtures::{NOON, alert, finding, proposal};

static ALERT: LazyLock<Validator> = LazyLock::new(|| validator(ALERT_SCHEMA));
static COMMAND: LazyLock<Validator> = LazyLock::new(|| validator(COMMAND_SCHEMA));

fn validator(schema: &str) -> Validator {
    let schema: Value = serde_json::from_str(schema).unwrap();
    jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap()
}

fn hold(validator: &Validator, message: &Value) {
    let errors: Vec<_> = validator
        .iter_errors(message)
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{message:#}");
}

/// Holds an alert, stamped if it is not yet, against its schema, and reads it back.
pub fn hold_alert(alert: &Alert) {
    let mut alert = alert.clone();
    if alert.emitted_at.is_none() {
        stamp(&mut alert, NOON);
    }
    let message = serde_json::to_value(&alert).unwrap();
    hold(&ALERT, &message);
    assert_eq!(serde_json::from_value::<Alert>(message).unwrap(), alert);
}

/// Holds a command against its schema, and reads it back.
pub fn hold_command(command: &Command) {
    let message = serde_json::to_value(command).unwrap();
    hold(&COMMAND, &message);
    assert_eq!(
        serde_json::from_value::<Command>(message).unwrap(),
        *command
    );
}

#[test]
fn an_alert_has_the_fields_of_its_schema_in_their_order() {
    let mut alert = alert("…0123456789abcdef0123");
    stamp(&mut alert, NOON + 1234);
    let expected = concat!(
        r#"{"schema":"keyhawk.alert/1","id":"ID","status":"open","deployment":"prod","#,
        r#""rule":"rate_spike","rule_version":"ab12","severity":"high","severity_id":3,"#,
        r#""entity":{"type":"api_key","value":"…0123456789abcdef0123","key_id":"17","#,
        r#""tenant":"acme","environment":null},"first_seen":"2026-01-01T12:00:00.000Z","#,
        r#""last_seen":"2026-01-01T12:00:00.000Z","count":1,"#,
        r#""window_start":"2026-01-01T11:50:00.000Z","window_end":"2026-01-01T12:00:00.000Z","#,
        r#""summary":"…0123456789abcdef0123 made 4,200 requests in ten minutes; 80.2 expected","#,
        r#""why":[{"name":"requests","observed":4200,"expected":80.25,"surprise":9.125}],"#,
        r#""evidence":[{"topic":"access","partition":3,"offset":41}],"tags":["owasp:API4:2023"],"#,
        r#""runbook":"https://runbooks.example/rate_spike","row":{"#,
        r#""api_key":"…0123456789abcdef0123","key_id":"17","tenant":"acme","requests":4200,"#,
        r#""expected":80.25,"surprise":9.125,"country":"NL","asn":64500,"as_org":"Example Net","#,
        r#""client_ip":"192.0.2.7"},"emitted_at":"2026-01-01T12:00:01.234Z"}"#,
    );
    let message = serde_json::to_string(&alert).unwrap();
    assert_eq!(message, expected.replace("ID", &alert.id));
}

#[test]
fn a_command_has_the_fields_of_its_schema_in_their_order() {
    let proposal = proposal("…0123456789abcdef0123");
    let (id, alert_id) = (proposal.id.clone(), proposal.alert_id.clone());
    let mut guard = Guard::new("prod".to_owned(), GuardConfig::default());
    let command = guard.decide(proposal, NOON + 5000).command;
    hold_command(&command);
    let expected = concat!(
        r#"{"schema":"keyhawk.command/1","id":"ID","action":"suspend","#,
        r#""entity":{"type":"api_key","value":"…0123456789abcdef0123"},"key_id":"17","#,
        r#""tenant":"acme","environment":null,"alert_id":"ALERT","rule":"rate_spike","#,
        r#""severity":"high","reason":"…0123456789abcdef0123 made 4,200 requests in ten minutes; "#,
        r#"80.2 expected [shadow: the guard's mode is shadow]","mode":"shadow","#,
        r#""decided_by":"guard","issued_at":"2026-01-01T12:00:05.000Z","#,
        r#""not_after":"2026-01-01T12:05:05.000Z","lift_at":"2026-01-01T13:00:05.000Z"}"#,
    );
    let expected = expected.replace("ALERT", &alert_id).replace("ID", &id);
    assert_eq!(serde_json::to_string(&command).unwrap(), expected);
}

#[test]
fn an_alert_id_depends_on_deployment_rule_and_lineage_alone() {
    let id = keyhawk_alerts::alert_id("prod", "rate_spike", &finding(0, "k", 0).id);
    assert_eq!(alert("k").id, id);
    for other in [
        keyhawk_alerts::alert_id("test", "rate_spike", &finding(0, "k", 0).id),
        keyhawk_alerts::alert_id("prod", "new_country", &finding(0, "k", 0).id),
        keyhawk_alerts::alert_id("prod", "rate_spike", &finding(0, "k", 1).id),
    ] {
        assert_ne!(id, other);
    }
}

#[test]
fn an_unstamped_or_mutilated_alert_is_refused_by_the_schema() {
    let unstamped = serde_json::to_value(alert("k")).unwrap();
    assert!(!ALERT.is_valid(&unstamped));
    let mut whole = unstamped;
    whole["emitted_at"] = json!("2026-01-01T12:00:00.000Z");
    assert!(ALERT.is_valid(&whole));
    for (field, wrong) in [
        ("schema", json!("keyhawk.alert/2")),
        ("id", json!("xyz")),
        ("severity_id", json!(4)),
        ("count", json!(0)),
        ("first_seen", json!("2026-02-30T12:00:00.000Z")),
        ("last_seen", json!(NOON)),
        ("row", json!([])),
        ("tags", json!(null)),
    ] {
        let mut damaged = whole.clone();
        damaged[field] = wrong;
        assert!(!ALERT.is_valid(&damaged), "{field}");
    }
    for field in whole
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect::<Vec<_>>()
    {
        let mut damaged = whole.clone();
        damaged.as_object_mut().unwrap().shift_remove(&field);
        assert!(!ALERT.is_valid(&damaged), "{field}");
    }
    whole["added_later"] = json!(1);
    assert!(ALERT.is_valid(&whole));
    assert!(serde_json::from_value::<Alert>(whole).is_ok());
}

#[test]
fn a_stub_keeps_the_id_and_tells_the_reason_in_little_space() {
    let mut big = alert(&"k".repeat(100_000));
    big.row
        .insert("path".to_owned(), json!("x".repeat(2_000_000)));
    let stub = big.stub("message too large");
    hold_alert(&stub);
    assert_eq!(
        (&stub.id, stub.count, stub.severity),
        (&big.id, big.count, big.severity)
    );
    assert_eq!(
        stub.summary,
        "the alert could not be published whole: message too large"
    );
    assert!(serde_json::to_string(&stub).unwrap().len() < 4000);

    let mut guard = Guard::new("prod".to_owned(), GuardConfig::default());
    let command = guard
        .decide(proposal("k"), NOON)
        .command
        .stub("message too large");
    hold_command(&command);
    assert_eq!(
        command.topic(),
        keyhawk_alerts::CommandTopic::CommandsShadow
    );
}

#[test]
fn proposals_and_decisions_survive_a_topic() {
    let proposal = proposal("k");
    let text = serde_json::to_string(&proposal).unwrap();
    assert_eq!(serde_json::from_str::<Proposal>(&text).unwrap(), proposal);
    let decision = Guard::new("prod".to_owned(), GuardConfig::default()).decide(proposal, NOON);
    let text = serde_json::to_string(&decision).unwrap();
    assert_eq!(serde_json::from_str::<Decision>(&text).unwrap(), decision);
}
