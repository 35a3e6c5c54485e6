//! Summaries, their refusals, and what explains an alert.

use keyhawk_alerts::{
    Action, AlertRule, Dedup, Emitted, Finding, Severity, Template, Why, WhySpec,
};
use serde_json::{Value, json};

use crate::fixtures::{NOON, alerts, map};

fn filled(template: &str, row: Value) -> String {
    Template::parse(template).unwrap().fill(&map(row))
}

#[test]
fn columns_are_filled_in_readably() {
    let row = json!({ "key": "k1", "n": 1234567, "x": 80.26, "asn": 64500, "gone": null });
    assert_eq!(
        filled(
            "{key}: {n} calls, {x} expected, AS{asn}, {gone}, {absent}",
            row
        ),
        "k1: 1,234,567 calls, 80.3 expected, AS64500, unknown, unknown"
    );
    assert_eq!(filled("{{{a}}} é {{}}", json!({ "a": 1 })), "{1} é {}");
    assert_eq!(filled("", json!({})), "");
    let long = filled("{a}{a}{a}{a}{a}{a}", json!({ "a": "x".repeat(5000) }));
    assert_eq!(long.chars().count(), 1000);
}

#[test]
fn columns_are_listed_for_the_loader() {
    let template = Template::parse("{a} and { b }, {a}; {{c}}").unwrap();
    assert_eq!(template.columns().collect::<Vec<_>>(), ["a", "b", "a"]);
}

#[test]
fn a_template_that_means_nothing_is_refused_with_the_place() {
    let refusals = [
        "made {requests",
        "made } requests",
        "{}",
        "{a b}",
        "é{baseline['x']}",
    ]
    .map(|template| Template::parse(template).unwrap_err().to_string());
    assert_eq!(
        refusals,
        [
            "summary `made {requests`: the `{` at byte 5 is never closed; write `{column}`, or \
             `{{` for a brace of the text",
            "summary `made } requests`: the `}` at byte 5 closes nothing; write `}}` for a brace \
             of the text",
            "summary `{}`: `{}` at byte 0 names no column; expected the name of a column that the \
             rule selects",
            "summary `{a b}`: `{a b}` at byte 0 names no column; expected the name of a column \
             that the rule selects",
            "summary `é{baseline['x']}`: `{baseline['x']}` at byte 2 names no column; expected the \
             name of a column that the rule selects",
        ]
    );
}

#[test]
fn severities_and_actions_are_their_words() {
    for (id, severity) in (1..).zip(Severity::ALL) {
        assert_eq!(severity.to_string().parse(), Ok(severity));
        assert_eq!(severity.severity_id(), id);
        assert_eq!(json!(severity), json!(severity.as_str()));
    }
    for action in Action::ALL {
        assert_eq!(action.to_string().parse(), Ok(action));
        assert_eq!(json!(action), json!(action.as_str()));
    }
    assert!(
        "High"
            .parse::<Severity>()
            .unwrap_err()
            .to_string()
            .contains("`High`")
    );
    assert!(
        "ban"
            .parse::<Action>()
            .unwrap_err()
            .to_string()
            .contains("restrict_network")
    );
}

fn why(specs: Vec<WhySpec>, row: Value) -> Vec<Why> {
    let mut rule = AlertRule::new("r", "00", Severity::Low, "key");
    rule.why = specs;
    let mut dedup = Dedup::new("prod".to_owned(), [rule].into());
    let mut out: Vec<Emitted> = Vec::new();
    dedup.push(
        Finding::new(0, "f".to_owned(), NOON, None, map(row), Vec::new()),
        &mut out,
    );
    alerts(&out).remove(0).why
}

fn reason(name: &str, observed: Value, expected: Value, surprise: Value) -> Why {
    Why {
        name: name.to_owned(),
        observed,
        expected,
        surprise,
    }
}

#[test]
fn declared_reasons_read_their_columns() {
    let spec = WhySpec {
        name: "bytes sent".to_owned(),
        observed: "bytes".to_owned(),
        expected: Some("usual".to_owned()),
        surprise: None,
    };
    let row = json!({ "key": "k", "n": 1, "bytes": 9, "usual": 2.5, "surprise": 5 });
    let expected = [reason("bytes sent", json!(9), json!(2.5), Value::Null)];
    assert_eq!(why(vec![spec.clone()], row), expected);
    let expected = [reason("bytes sent", Value::Null, Value::Null, Value::Null)];
    assert_eq!(why(vec![spec], json!({ "key": "k" })), expected);
}

#[test]
fn a_baseline_explains_by_itself() {
    let row = json!({
        "key": "k", "window_end": 5, "event_time": 5, "_offset": 7, "expected": 80.5,
        "requests": 4200, "addresses": 3, "surprise": 9.5,
    });
    let expected = [reason("requests", json!(4200), json!(80.5), json!(9.5))];
    assert_eq!(why(Vec::new(), row), expected);
}

#[test]
fn without_a_baseline_the_first_four_numbers_explain() {
    let row = json!({
        "key": "k", "record_time": 5, "latitude": 1.5, "a": 1, "asn": 7, "b": 2, "t": "x", "c": 3,
        "d": 4, "e": 5,
    });
    let names: Vec<_> = why(Vec::new(), row)
        .into_iter()
        .map(|why| why.name)
        .collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
}
