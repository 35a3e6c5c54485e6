//! `keyhawk run` as a user starts it: the real binary between a real Kafka and a real webhook.

mod archive;
mod expected;
mod instance;
mod reload;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use jsonschema::Validator;
use keyhawk::simulate::AttackKind;
use keyhawk_alerts::{ALERT_SCHEMA, COMMAND_SCHEMA};
use keyhawk_testkit::http::{Answer, Server};
use keyhawk_testkit::kafka::{Broker, Consumed};
use keyhawk_testkit::random::find_leak;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::Harness;
use expected::{Expected, Place};
use instance::{Installation, STOP_MAX};
use traffic::{HOUR_MS, PARTITIONS, Traffic};

const LONG: Duration = Duration::from_secs(120);

/// The tests of this module.
pub fn trials(harness: &'static Harness) -> Vec<Trial> {
    vec![
        harness.trial(
            "run_publishes_exactly_what_the_log_holds_and_no_raw_key",
            run_publishes_exactly_what_the_log_holds_and_no_raw_key,
        ),
        harness.trial(
            "a_stop_and_a_restart_between_two_attacks_lose_no_finding",
            a_stop_and_a_restart_between_two_attacks_lose_no_finding,
        ),
        harness.trial(
            "a_backtest_of_the_archive_finds_what_the_stream_found",
            archive::a_backtest_of_the_archive_finds_what_the_stream_found,
        ),
        harness.trial(
            "rules_and_tables_reload_while_they_run",
            reload::rules_and_tables_reload_while_they_run,
        ),
        harness.trial(
            "a_hang_up_reloads_the_rules_at_once",
            reload::a_hang_up_reloads_the_rules_at_once,
        ),
        harness.trial(
            "run_refuses_to_start_without_a_secret",
            run_refuses_to_start_without_a_secret,
        ),
        harness.trial_alone(
            "a_broker_restart_delays_and_loses_nothing",
            a_broker_restart_delays_and_loses_nothing,
        ),
    ]
}

fn run_publishes_exactly_what_the_log_holds_and_no_raw_key(
    harness: &'static Harness,
    broker: &Broker,
) {
    let traffic = Traffic::make(&traffic::four_attacks(), true);
    assert!(
        traffic.records.len() >= 100_000,
        "{} records",
        traffic.records.len()
    );
    let chat = Server::start([
        Answer::status(429).header("Retry-After", "1"),
        Answer::status(500),
    ])
    .unwrap();
    let installation = Installation::new(harness, broker, Some(&chat.url()));
    traffic.produce(broker, &installation.topic, 0..traffic.records.len());
    let instance = installation.start();
    let expected = Expected::of(&installation, &traffic, &BTreeMap::new(), &traffic.ends());
    installation.wait_committed(broker, &traffic.ends(), LONG);

    let alerts = messages(broker, &installation.alerts);
    let late_alerts: Vec<_> = alerts
        .iter()
        .filter(|alert| alert["rule"] == "late_share_high")
        .collect();
    assert_eq!(late_alerts.len(), 1, "{late_alerts:?}");
    assert_eq!(of_rules(&alerts), expected.alerts);
    for kind in traffic::FOUND {
        assert!(
            expected.rules.contains(kind.name()),
            "{} among {:?}",
            kind.name(),
            expected.rules
        );
    }
    let (given, told) = (
        messages(broker, &installation.commands),
        messages(broker, &installation.shadow),
    );
    let ids = given
        .iter()
        .chain(&told)
        .map(|command| text(&command["id"]))
        .collect::<BTreeSet<_>>();
    assert_eq!(ids, expected.commands);
    assert_eq!(
        ids.len(),
        given.len() + told.len(),
        "no command is given twice"
    );
    assert!(
        given
            .iter()
            .all(|command| command["mode"] == "auto" && command["key_id"].is_string())
    );
    assert!(told.iter().all(|command| command["mode"] == "shadow"));
    assert!(!ids.is_empty());
    let dead = messages(broker, &installation.dead);
    assert_eq!(dead_reasons(&dead), traffic.dead);
    assert_eq!(
        dead.len(),
        traffic.dead.len(),
        "no dead letter is written twice"
    );
    let late = messages(broker, &installation.late);
    assert_eq!(
        late.iter().map(place).collect::<BTreeSet<_>>(),
        traffic.late
    );
    assert_eq!(
        late.len(),
        traffic.late.len(),
        "no late row is written twice"
    );
    assert!(late.iter().all(|row| row["late"] == true));

    hold(ALERT_SCHEMA, &alerts);
    hold(COMMAND_SCHEMA, &given);
    hold(COMMAND_SCHEMA, &told);
    let told = chat.wait_accepted(alerts.len(), LONG);
    assert_eq!(told.len(), alerts.len(), "each alert is a message, once");
    assert!(
        chat.requests()
            .iter()
            .any(|request| request.answered == 429)
    );

    let metrics = instance.get("/metrics");
    for metric in [
        "keyhawk_late_rows_total",
        "keyhawk_alert_latency_seconds_bucket",
        "keyhawk_findings_total",
    ] {
        assert!(metrics.contains(metric), "{metric} in {metrics}");
    }
    let late_rows = format!("keyhawk_late_rows_total {}", traffic.late.len());
    assert!(metrics.contains(&late_rows), "{late_rows} in {metrics}");
    for gauge in ["keyhawk_keys{", "keyhawk_state_bytes{"] {
        let lines = metrics.lines().filter(|line| line.starts_with(gauge));
        let values: Vec<f64> = lines
            .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(values.len(), PARTITIONS, "{gauge} in {metrics}");
        assert!(
            values.iter().all(|value| *value > 0.0),
            "{gauge} {values:?}"
        );
    }
    let ready: Value =
        serde_json::from_str(instance.get("/readyz").split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(ready["ready"], true);
    assert_eq!(
        ready["details"]["partitions"].as_array().unwrap().len(),
        PARTITIONS
    );
    let (status, took, log) = instance.terminate();
    assert!(status.success(), "{status}: {log}");
    assert!(took < STOP_MAX, "the stop took {took:?}");

    let lag = lag(broker, &installation.topic);
    // One row in 400 lies an hour behind.
    assert!(lag.contains("Proposed: lateness = \"1h\""), "{lag}");

    for (name, output) in [
        ("metrics", metrics),
        ("log", log),
        ("chat", told.join("\n")),
        ("lag", lag),
    ] {
        assert_eq!(
            find_leak(output.as_bytes(), &traffic.secrets),
            None,
            "in the {name}"
        );
    }
    for topic in installation.outputs() {
        for record in broker.consume_all(topic).unwrap() {
            let whole = [
                record.key.clone().unwrap_or_default(),
                record.payload.clone().unwrap_or_default(),
            ];
            assert_eq!(
                find_leak(&whole.concat(), &traffic.secrets),
                None,
                "in {topic}: {}",
                record.text()
            );
        }
    }
}

fn a_stop_and_a_restart_between_two_attacks_lose_no_finding(
    harness: &'static Harness,
    broker: &Broker,
) {
    let scenario = traffic::four_attacks();
    let traffic = Traffic::make(&scenario, false);
    let installation = Installation::new(harness, broker, None);
    // Between the rate spike of the last morning and the impossible travel of its noon.
    let noon_ms = scenario.start_ms + 4 * 24 * HOUR_MS + 12 * HOUR_MS;
    let half = traffic
        .records
        .partition_point(|record| record.arrival_ms < noon_ms);
    traffic.produce(broker, &installation.topic, 0..half);
    let middle = traffic.ends_of(half);

    let first = installation.start();
    installation.wait_committed(broker, &middle, LONG);
    let (status, took, log) = first.terminate();
    assert!(status.success(), "{status}: {log}");
    assert!(took < STOP_MAX, "the stop took {took:?}");
    assert_eq!(
        installation.committed(broker),
        middle,
        "a stop commits what it has read"
    );

    let second = installation.start();
    traffic.produce(broker, &installation.topic, half..traffic.records.len());
    installation.wait_committed(broker, &traffic.ends(), LONG);
    let (status, _, log) = second.terminate();
    assert!(status.success(), "{status}: {log}");

    // Each run begins without state, so that each half is judged by itself.
    let before = Expected::of(&installation, &traffic, &BTreeMap::new(), &middle);
    let after = Expected::of(&installation, &traffic, &middle, &traffic.ends());
    let mut expected = before.alerts.clone();
    for (alert, times) in &after.alerts {
        *expected.entry(alert.clone()).or_default() += times;
    }
    assert_eq!(of_rules(&messages(broker, &installation.alerts)), expected);
    let found = |half: &Expected, kind: AttackKind| half.rules.contains(kind.name());
    assert!(found(&before, AttackKind::NewCountry) && found(&before, AttackKind::RateSpike));
    assert!(found(&after, AttackKind::ImpossibleTravel) && found(&after, AttackKind::AuthFailures));
}

fn run_refuses_to_start_without_a_secret(harness: &'static Harness, broker: &Broker) {
    let installation = Installation::new(harness, broker, None);
    let config = installation.config_without_secret();
    let output = Command::new(env!("CARGO_BIN_EXE_keyhawk"))
        .args(["run", "--config"])
        .arg(config)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("secret = {") && said.contains("[identity]") && said.contains("openssl rand"),
        "{said}"
    );
}

fn a_broker_restart_delays_and_loses_nothing(harness: &'static Harness, broker: &Broker) {
    let traffic = Traffic::make(&traffic::one_burst(), true);
    let installation = Installation::new(harness, broker, None);
    let half = traffic.records.len() / 2;
    traffic.produce(broker, &installation.topic, 0..half);
    let instance = installation.start();
    installation.wait_committed(broker, &traffic.ends_of(half), LONG);

    broker.stop().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    broker.restart().unwrap();
    traffic.produce(broker, &installation.topic, half..traffic.records.len());
    installation.wait_committed(broker, &traffic.ends(), LONG);
    let (status, took, log) = instance.terminate();
    assert!(status.success(), "{status}: {log}");
    assert!(took < STOP_MAX, "the stop took {took:?}");

    let expected = Expected::of(&installation, &traffic, &BTreeMap::new(), &traffic.ends());
    assert_eq!(
        of_rules(&messages(broker, &installation.alerts)),
        expected.alerts
    );
    assert!(
        expected.rules.contains(AttackKind::AuthFailures.name()),
        "{:?}",
        expected.rules
    );
    let dead = messages(broker, &installation.dead);
    assert_eq!(dead_reasons(&dead), traffic.dead);
    let late = messages(broker, &installation.late);
    assert_eq!(
        late.iter().map(place).collect::<BTreeSet<_>>(),
        traffic.late
    );
}

/// What `keyhawk lag` says of a topic.
fn lag(broker: &Broker, topic: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_keyhawk"))
        .args([
            "lag",
            "--brokers",
            broker.brokers(),
            "--topic",
            topic,
            "--records",
            "20000",
        ])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// All messages of a topic.
fn messages(broker: &Broker, topic: &str) -> Vec<Value> {
    let records: Vec<Consumed> = broker.consume_all(topic).unwrap();
    records
        .iter()
        .map(|record| serde_json::from_slice(record.payload.as_deref().unwrap()).unwrap())
        .collect()
}

/// How often each alert of a rule was published, by id, count and severity.
fn of_rules(alerts: &[Value]) -> BTreeMap<(String, u64, String), usize> {
    let mut times = BTreeMap::new();
    for alert in alerts
        .iter()
        .filter(|alert| alert["rule"] != "late_share_high")
    {
        assert!(alert["emitted_at"].is_string(), "{alert}");
        let key = (
            text(&alert["id"]),
            alert["count"].as_u64().unwrap(),
            text(&alert["severity"]),
        );
        *times.entry(key).or_default() += 1;
    }
    times
}

fn dead_reasons(dead: &[Value]) -> BTreeMap<Place, &'static str> {
    let reason = |letter: &Value| {
        let reason = traffic::REASONS
            .into_iter()
            .find(|reason| letter["reason"] == *reason);
        let at = (
            letter["partition"].as_i64().unwrap() as i32,
            letter["offset"].as_i64().unwrap(),
        );
        (
            at,
            reason.unwrap_or_else(|| panic!("an unexpected reason: {letter}")),
        )
    };
    dead.iter().map(reason).collect()
}

fn place(row: &Value) -> Place {
    (
        row["_partition"].as_i64().unwrap() as i32,
        row["_offset"].as_i64().unwrap(),
    )
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Holds messages against a JSON Schema.
fn hold(schema: &str, messages: &[Value]) {
    let schema: Value = serde_json::from_str(schema).unwrap();
    let validator: Validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap();
    for message in messages {
        let errors: Vec<_> = validator
            .iter_errors(message)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:#?}\n{message:#}");
    }
}

/// Waits until it holds; the sentence says what was waited for.
fn wait_for(what: &str, timeout: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + timeout;
    while !holds() {
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
