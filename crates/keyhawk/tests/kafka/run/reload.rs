//! Rules and tables that change while `run` reads.

use std::fs;
use std::path::Path;

use keyhawk_alerts::ALERT_SCHEMA;
use keyhawk_testkit::kafka::{Broker, Produce};
use serde_json::Value;

use super::instance::{Installation, Instance};
use super::{LONG, hold, messages, wait_for};
use crate::Harness;

const MINUTE_MS: i64 = 60_000;
/// Every finding is an alert of its own.
const HEADER: &str = "/*\nseverity = \"low\"\nentity = \"api_key\"\ndedup = \"0s\"\n*/\n";

pub(super) fn rules_and_tables_reload_while_they_run(harness: &'static Harness, broker: &Broker) {
    edit_while_it_runs(harness, broker, false);
}

pub(super) fn a_hang_up_reloads_the_rules_at_once(harness: &'static Harness, broker: &Broker) {
    edit_while_it_runs(harness, broker, true);
}

/// Calls of one key, a minute apart, in one partition.
struct Calls<'a> {
    broker: &'a Broker,
    topic: &'a str,
    first_ms: i64,
    made: i64,
}

impl Calls<'_> {
    /// Makes so many, and waits until they are processed.
    fn make(&mut self, calls: i64, installation: &Installation) {
        let call = |number: i64| {
            Produce {
            partition: Some(0),
            key: Some(b"k".to_vec()),
            payload: Some(
                format!(
                    r#"{{"event_time":{},"client_ip":"192.0.2.1","key_id":"k","auth_result":"ok","path":"/{number}"}}"#,
                    self.first_ms + number * MINUTE_MS
                )
                .into_bytes(),
            ),
            time_ms: None,
        }
        };
        let end = self.made + calls;
        self.broker
            .produce(self.topic, (self.made..end).map(call))
            .unwrap();
        self.made = end;
        wait_for(&format!("the commit of {end}"), LONG, || {
            installation.committed(self.broker).get(&0) == Some(&end)
        });
    }
}

fn details(instance: &Instance) -> Value {
    let answer = instance.get("/readyz");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    body["details"].clone()
}

/// Alerts of a rule, a column of each.
fn found(broker: &Broker, installation: &Installation, rule: &str, column: &str) -> Vec<Value> {
    let alerts = messages(broker, &installation.alerts);
    hold(ALERT_SCHEMA, &alerts);
    let of_rule = alerts.iter().filter(|alert| alert["rule"] == rule);
    of_rule.map(|alert| alert["row"][column].clone()).collect()
}

fn edit_while_it_runs(harness: &'static Harness, broker: &Broker, by_signal: bool) {
    let installation = Installation::new(harness, broker, None);
    let every = if by_signal { "1h" } else { "1s" };
    let dir = installation.own_rules(every);
    let history = installation.tables_history();
    let write = |path: &str, text: &str| {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // As editors do: a reader sees the old file or the new one.
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    };
    let numbered = |columns: &str, from: i64| {
        format!(
            "{HEADER}SELECT * FROM (SELECT api_key, event_time{columns}, row_number() OVER (PARTITION BY api_key \
             ORDER BY event_time) AS n FROM events) WHERE n >= {from}"
        )
    };
    write("rules/numbered.sql", &numbered("", 100));
    let instance = installation.start();
    wait_for("the console", LONG, || instance.is_listening());
    wait_for("partitions", LONG, || {
        instance.get("/readyz").contains("200 OK")
    });
    let now = std::time::SystemTime::now();
    let now_ms = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis() as i64;
    let mut calls = Calls {
        broker,
        topic: &installation.topic,
        first_ms: now_ms - 600 * MINUTE_MS,
        made: 0,
    };
    let reloaded = |what: &str, edit: &dyn Fn()| {
        let before = details(&instance)["rules"]["version"].clone();
        edit();
        if by_signal {
            instance.signal("HUP");
        }
        wait_for(what, LONG, || {
            details(&instance)["rules"]["version"] != before
        });
    };
    calls.make(5, &installation);

    // Another threshold, and a column that nobody read: what was counted stays.
    reloaded("another threshold", &|| {
        write("rules/numbered.sql", &numbered(", path", 7));
    });
    calls.make(5, &installation);
    // The last call waits for the watermark.
    assert_eq!(found(broker, &installation, "numbered", "n"), [7, 8, 9]);
    assert_eq!(
        found(broker, &installation, "numbered", "path"),
        ["/6", "/7", "/8"]
    );

    // A file that does not load leaves the rules in force.
    let in_force = details(&instance)["rules"].clone();
    write("rules/broken.sql", "SELEC nothing");
    if by_signal {
        instance.signal("HUP");
    }
    wait_for("a refusal", LONG, || {
        details(&instance)["rules_refused"].is_object()
    });
    let refused = details(&instance)["rules_refused"]["problem"].to_string();
    assert!(refused.contains("broken.sql"), "{refused}");
    assert_eq!(details(&instance)["rules"], in_force);
    let metrics = instance.get("/metrics");
    assert!(
        metrics.contains("keyhawk_rule_reloads_total{result=\"refused\"} 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("keyhawk_rule_reloads_total{result=\"ok\"} 1"),
        "{metrics}"
    );
    calls.make(1, &installation);
    assert_eq!(found(broker, &installation, "numbered", "n"), [7, 8, 9, 10]);

    // A new rule with a table begins with the next call; one over history says nothing yet.
    reloaded("two new rules", &|| {
        fs::remove_file(dir.join("rules/broken.sql")).unwrap();
        write("tables/owners.csv", "key,owner\nk,ann\n");
        write(
            "rules/owned.sql",
            &format!(
                "{HEADER}SELECT e.api_key, e.event_time, o.owner FROM events e JOIN owners o ON e.key_id = o.key"
            ),
        );
        write(
            "rules/again.sql",
            &format!(
                "{HEADER}SELECT api_key, event_time, lag(path) OVER (PARTITION BY api_key ORDER BY event_time) AS before \
                 FROM events"
            ),
        );
    });
    assert!(details(&instance)["rules_refused"].is_null());
    let warming = details(&instance)["rules_warming"].clone();
    assert!(
        warming["again"].is_string() && warming["numbered"].is_null(),
        "{warming}"
    );
    calls.make(2, &installation);
    assert_eq!(
        found(broker, &installation, "owned", "owner"),
        ["ann", "ann"]
    );
    assert_eq!(found(broker, &installation, "again", "before").len(), 0);
    assert_eq!(found(broker, &installation, "numbered", "n").len(), 6);
    let metrics = instance.get("/metrics");
    assert!(
        metrics.contains("keyhawk_findings_withheld_total{rule=\"again\"} 2"),
        "{metrics}"
    );
    assert!(metrics.contains("keyhawk_warming_rules 1"), "{metrics}");

    // Another version of the table; the alert says which.
    reloaded("another table", &|| {
        write("tables/owners.csv", "key,owner\nk,ben\n")
    });
    calls.make(1, &installation);
    assert_eq!(
        found(broker, &installation, "owned", "owner"),
        ["ann", "ann", "ben"]
    );
    let digests: Vec<String> = messages(broker, &installation.alerts)
        .iter()
        .filter(|alert| alert["rule"] == "owned")
        .map(|alert| alert["tables"]["owners"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        digests[0] == digests[1] && digests[1] != digests[2],
        "{digests:?}"
    );
    let (status, _, log) = instance.terminate();
    assert!(status.success(), "{log}");

    // A backtest reads the version that an alert names.
    let events = dir.join("events.jsonl");
    let line = format!(
        r#"{{"event_time":{},"client_ip":"192.0.2.1","key_id":"k","auth_result":"ok"}}"#,
        calls.first_ms
    );
    fs::write(&events, line).unwrap();
    let owner = |digest: &str| backtest(&installation, &dir, &events, digest);
    assert_eq!(owner(&digests[0]), "ann");
    assert_eq!(owner(&digests[2][..12]), "ben");
    assert!(history.join("index.ndjson").is_file());
}

fn backtest(installation: &Installation, dir: &Path, events: &Path, digest: &str) -> String {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let findings = dir.join("findings.jsonl");
    let arguments = [
        "backtest".to_owned(),
        "--rules".to_owned(),
        path(dir),
        "--input".to_owned(),
        path(events),
        "--output".to_owned(),
        path(&findings),
        "--tables-as-of".to_owned(),
        digest.to_owned(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    installation.keyhawk(&arguments);
    let text = fs::read_to_string(findings).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let owners =
        lines.filter_map(|line| Some(line.to_string().split_once("\"owner\":\"")?.1.to_owned()));
    let owners: Vec<String> = owners
        .map(|rest| rest.split('"').next().unwrap_or_default().to_owned())
        .collect();
    let [owner] = owners.as_slice() else {
        panic!("one finding: {text}");
    };
    owner.clone()
}
