//! `[archive]`: what a run wrote is history for a backtest.

use std::collections::BTreeSet;
use std::fs;

use keyhawk::simulate::AttackKind;
use keyhawk_alerts::alert_id;
use keyhawk_testkit::kafka::Broker;
use serde_json::Value;

use super::instance::{Installation, STOP_MAX};
use super::traffic::{self, Traffic};
use super::{LONG, messages, text};
use crate::Harness;

pub fn a_backtest_of_the_archive_finds_what_the_stream_found(
    harness: &'static Harness,
    broker: &Broker,
) {
    let traffic = Traffic::make(&traffic::one_burst(), true);
    let installation = Installation::new(harness, broker, None);
    let folder = installation.archive_to("history");
    let mut half = traffic.records.len() / 2;
    // A run has no time before its first row, and so takes no first row for late.
    while traffic.is_late(half) {
        half += 1;
    }
    traffic.produce(broker, &installation.topic, 0..half);
    let first = installation.start();
    installation.wait_committed(broker, &traffic.ends_of(half), LONG);
    let (status, took, log) = first.terminate();
    assert!(status.success(), "{status}: {log}");
    assert!(took < STOP_MAX, "the stop took {took:?}");

    traffic.produce(broker, &installation.topic, half..traffic.records.len());
    let second = installation.start();
    installation.wait_committed(broker, &traffic.ends(), LONG);
    let metrics = second.get("/metrics");
    assert!(metrics.contains("keyhawk_archive_files_total"), "{metrics}");
    assert!(
        !metrics.contains("keyhawk_archive_lost_rows_total"),
        "{metrics}"
    );
    let (status, _, log) = second.terminate();
    assert!(status.success(), "{status}: {log}");

    let names = fs::read_dir(&folder).unwrap();
    for name in names.map(|file| file.unwrap().file_name().into_string().unwrap()) {
        assert!(
            name.starts_with(&installation.topic) && name.ends_with(".parquet"),
            "{name}"
        );
    }
    let input = folder.to_str().unwrap();
    let counted = installation.keyhawk(&[
        "sql",
        "--input",
        input,
        "-c",
        "SELECT count(*), count(client_ip) FROM events",
    ]);
    let events = traffic.records.len() - traffic.dead.len() - traffic.late.len();
    assert!(
        counted.contains(&format!("{events} ┆")),
        "{events}: {counted}"
    );

    let found = installation.keyhawk(&[
        "backtest",
        "--rules",
        installation.rules().to_str().unwrap(),
        "--input",
        input,
        "--output",
        "-",
    ]);
    let findings: Vec<Value> = found
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ids: BTreeSet<String> = findings
        .iter()
        .map(|finding| alert_id("test", &text(&finding["rule"]), &text(&finding["id"])))
        .collect();
    let alerts = messages(broker, &installation.alerts);
    let opened: Vec<&Value> = alerts
        .iter()
        .filter(|alert| alert["count"] == 1 && alert["rule"] == AttackKind::AuthFailures.name())
        .collect();
    assert!(!opened.is_empty(), "{alerts:?}");
    for alert in opened {
        assert!(
            ids.contains(&text(&alert["id"])),
            "{alert} is not in:\n{found}"
        );
    }
}
