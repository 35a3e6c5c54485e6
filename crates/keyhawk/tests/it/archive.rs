//! What `run` archives: all columns of what its partitions decode, beside the same findings.

use std::sync::Arc;

use keyhawk::history::{ArchiveSettings, ArchiveWriter, all_rows};
use keyhawk::partition::{Partition, Processed};
use keyhawk::rule_set::RuleTexts;
use keyhawk::simulate::{Attack, AttackKind, Scenario};
use keyhawk_alerts::{Emitted, alert_id};
use keyhawk_events::{DEVELOPMENT_SECRET, Fingerprinter, GeoDatabases, Record, TopicSettings};
use serde_json::Value;

use crate::binary::{keyhawk, over_files, root, write};
use crate::traffic::START_MS;

const HOUR_MS: i64 = 3_600_000;

fn scenario() -> Scenario {
    let start_ms = START_MS + 11 * HOUR_MS;
    Scenario {
        seed: 4,
        keys: 12,
        start_ms: START_MS,
        days: 1,
        partitions: 1,
        attacks: vec![Attack {
            kind: AttackKind::AuthFailures,
            start_ms,
            end_ms: start_ms + HOUR_MS,
        }],
    }
}

/// Alerts with how often they were counted, in their order.
fn alerts(processed: &Processed) -> Vec<(String, String, u64)> {
    let emitted = processed.emitted.iter();
    emitted
        .filter_map(|emitted| match emitted {
            Emitted::Alert(alert) => Some((alert.rule.clone(), alert.id.clone(), alert.count)),
            Emitted::Proposal(_) => None,
        })
        .collect()
}

#[test]
fn a_backtest_of_what_a_partition_archives_finds_what_the_partition_found() {
    let folder = tempfile::tempdir().unwrap();
    let rules = Arc::new(RuleTexts::shipped().compile().unwrap());
    let fingerprinter = Arc::new(Fingerprinter::new(DEVELOPMENT_SECRET, vec![]).unwrap());
    let geo = Arc::new(GeoDatabases::none());
    let make = |new: fn(_, _, _, _, _, _) -> _| -> Partition {
        let topic = TopicSettings::new("api-access");
        let made: Result<Partition, keyhawk::partition::Error> =
            new(&rules, "keyhawk", topic, 3, &fingerprinter, &geo);
        made.unwrap()
    };
    let mut plain = make(Partition::new);
    let mut archiving = make(Partition::with_all_columns);
    let settings = ArchiveSettings::new(folder.path().join("history"));
    let mut writer = ArchiveWriter::new(&settings, &rules.schema).unwrap();
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    let (mut rows, mut offset) = (0, 0);
    let mut events = scenario().events().peekable();
    while events.peek().is_some() {
        for event in events.by_ref().take(500) {
            let mut line = Vec::new();
            event.write_json(&mut line);
            let record = Record {
                payload: Some(line.as_slice()),
                offset,
                record_time_ms: Some(event.arrival_ms),
            };
            plain.push(record);
            archiving.push(record);
            offset += 1;
        }
        let (without, with) = (plain.process().unwrap(), archiving.process().unwrap());
        assert!(without.decoded.is_none());
        let decoded = all_rows(with.decoded.as_ref().unwrap()).unwrap();
        assert_eq!(decoded.schema_ref(), rules.schema.arrow());
        rows += decoded.num_rows();
        writer.push(&decoded).unwrap();
        expected.extend(alerts(&without));
        found.extend(alerts(&with));
    }
    assert_eq!(i64::try_from(rows).unwrap(), offset);
    assert!(writer.written().files > 0, "hours are cut while it runs");
    writer.flush().unwrap();
    let written = writer.written();
    assert_eq!(written.rows, rows as u64);
    let bytes = std::fs::read_dir(&settings.folder).unwrap();
    let bytes: u64 = bytes
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert_eq!(written.bytes, bytes);
    expected.extend(alerts(&plain.finish().unwrap()));
    found.extend(alerts(&archiving.finish().unwrap()));
    assert_eq!(found, expected);
    assert!(!found.is_empty());

    let run = over_files("backtest", &root().join("sql"), None, &[settings.folder]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    let ids: Vec<String> = run
        .stdout
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            alert_id("keyhawk", &text("rule"), &text("id"))
        })
        .collect();
    for (rule, id, _) in found {
        assert!(ids.contains(&id), "{rule} {id}: not in\n{}", run.stdout);
    }
}

#[test]
fn an_archive_that_is_no_place_for_files_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("keyhawk.toml");
    let refused = |section: &str, keys: &str| {
        write(&config, format!("[{section}]\n{keys}\n"));
        let run = keyhawk(&["run", "--config", config.to_str().unwrap()], b"");
        assert_eq!(run.status, 2, "{run:?}");
        run.stderr
    };
    let s3 = "folder = \"s3://bucket/history\"";
    let on_web = "folder = \"http://host/history\"";
    let pattern = "folder = \"s3://bucket/*.parquet\"";
    for (section, keys, words) in [
        (
            "archive",
            on_web,
            [
                "http://host/history",
                "keyhawk.toml:2:",
                "s3://bucket/prefix",
            ],
        ),
        (
            "archive",
            "folder = \"s3://\"",
            ["expected s3://bucket/key", "keyhawk.toml:2:", "a prefix"],
        ),
        (
            "archive",
            pattern,
            ["s3://bucket/*.parquet", "keyhawk.toml:2:", "a pattern"],
        ),
        (
            "archive",
            &format!("{s3}\nspool = \"s3://bucket/spool\""),
            ["`archive.spool`", "keyhawk.toml:3:", "mounted"],
        ),
        (
            "rules",
            "tables_history = \"s3://bucket/tables\"",
            ["`rules.tables_history`", "keyhawk.toml:2:", "mounted"],
        ),
    ] {
        let said = refused(section, keys);
        for words in words {
            assert!(said.contains(words), "{words:?} is not in:\n{said}");
        }
    }
    let said = refused("archive", "folder = \"s3://AKIAKEY:SECRET@bucket/history\"");
    assert!(said.contains("a URL without credentials"), "{said}");
    assert!(!said.contains("SECRET") && !said.contains("AKIA"), "{said}");
    let said = refused("archive", "folder = \"history\"\nfile_bytes_max = \"0B\"");
    assert!(
        said.contains("`archive.file_bytes_max` must not be zero"),
        "{said}"
    );
    let said = refused("archive", "file_age = \"5m\"");
    assert!(said.contains("file_age_max"), "{said}");
}
