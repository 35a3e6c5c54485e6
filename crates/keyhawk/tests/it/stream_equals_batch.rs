//! Stream equals batch: what the incremental engine finds is what the same queries return over the whole
//! log, and no cut of the log into batches changes what comes out, its order or its ids.
//!
//! Every failure names its seed; `KEYHAWK_TEST_SEED=17` plays that one alone.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use keyhawk::rule_set::RuleTexts;
use keyhawk::simulate::{self, Scenario};
use keyhawk_sql::SourceFile;
use keyhawk_testkit::random::random_splits;

use crate::binary::root;
use crate::engines::{Engines, Log, rule_of};
use crate::traffic::Stress;

fn seeds(default: Range<u64>) -> Vec<u64> {
    match std::env::var("KEYHAWK_TEST_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => default.collect(),
    }
}

/// The shipped rules, and rules that show every row of the shipped views and of a stateless filter: a
/// rule's threshold hides most of what its view computes.
fn rules_and_views() -> RuleTexts {
    let mut texts = RuleTexts::shipped();
    let header = "/*\nseverity = \"low\"\nentity = \"api_key\"\n*/\n";
    for (name, sql) in [
        (
            "every_10m",
            "SELECT api_key, window_start, window_end, requests, addresses, countries, response_bytes, \
             baseline['expected'] AS expected, baseline['surprise'] AS surprise, baseline['n'] AS n FROM usage_10m",
        ),
        (
            "every_1h",
            "SELECT api_key, window_end, key_id, requests, response_bytes, baseline['upper'] AS upper, \
             baseline['surprise_low'] AS surprise_low FROM usage_1h",
        ),
        (
            "every_refusal",
            "SELECT event_time, api_key, client_ip, auth_result, ip_kind, _offset FROM events \
             WHERE auth_result <> 'ok'",
        ),
    ] {
        let path = format!("sql/rules/{name}.sql");
        texts.files.rules.push(SourceFile {
            path,
            text: format!("{header}{sql}\n"),
        });
    }
    texts
}

fn count_by_rule(lines: &[String]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(rule_of(line)).or_default() += 1;
    }
    counts
}

/// Holds the stream over several files, and the machine of each, against the batch engine.
fn compare(engines: &Engines, files: &[PathBuf], silent: &[&str], seed: u64) {
    let batch = engines.backtested(files);
    let counts = count_by_rule(&batch);
    for rule in engines
        .rules
        .alerts
        .iter()
        .filter(|rule| !silent.contains(&rule.name.as_str()))
    {
        let found = counts.get(&rule.name).copied().unwrap_or_default();
        assert!(
            found > 0,
            "seed {seed}: no finding of {}, which proves nothing: {counts:?}",
            rule.name
        );
    }

    let mut stream = engines.streamed(files);
    stream.sort_unstable();
    assert_same(
        &stream,
        &batch,
        &format!("seed {seed}: the stream over all files, and the batch engine"),
    );

    let mut machines = Vec::new();
    for (partition, file) in files.iter().enumerate() {
        let log = Log::read(file);
        let cuts = random_splits(seed + partition as u64, log.len());
        machines.extend(engines.machine(partition as i32, &log, &cuts));
    }
    machines.sort_unstable();
    assert_same(
        &machines,
        &batch,
        &format!("seed {seed}: the partitions' machines, and the batch engine"),
    );
}

/// Equal, or the first difference: whole outputs would fill the screen.
fn assert_same(left: &[String], right: &[String], what: &str) {
    for (at, (left, right)) in left.iter().zip(right).enumerate() {
        assert_eq!(left, right, "{what}, line {at}");
    }
    assert_eq!(left.len(), right.len(), "{what}: lines");
}

/// Holds what comes out of a partition, cut as told, against the same log in one batch.
fn assert_cut(engines: &Engines, partition: i32, log: &Log, cuts: &[Range<usize>], seed: u64) {
    let whole = std::slice::from_ref(&(0..log.len())).to_vec();
    let expected = engines.machine(partition, log, &whole);
    assert!(!expected.is_empty(), "seed {seed}: nothing found");
    let lines = engines.machine(partition, log, cuts);
    assert_same(
        &lines,
        &expected,
        &format!("seed {seed}, partition {partition}: cut, and in one batch"),
    );

    let expected = engines.partition(partition, log, &whole);
    let found = engines.partition(partition, log, cuts);
    assert!(
        !expected.late.is_empty() && !expected.dead.is_empty(),
        "seed {seed}: no late row or dead letter"
    );
    for (at, (found, expected)) in found.emitted.iter().zip(&expected.emitted).enumerate() {
        assert_eq!(
            found, expected,
            "seed {seed}, partition {partition}, output {at}"
        );
    }
    assert_eq!(
        found.emitted.len(),
        expected.emitted.len(),
        "seed {seed}: alerts and proposals"
    );
    assert_eq!(found.late, expected.late, "seed {seed}: late rows");
    assert_eq!(found.dead, expected.dead, "seed {seed}: dead letters");
    assert_eq!(
        found.findings, expected.findings,
        "seed {seed}: findings by rule"
    );
    assert_eq!(found.counts, expected.counts, "seed {seed}: counts");
    assert_eq!(
        found.findings.iter().sum::<u64>() as usize,
        lines.len(),
        "seed {seed}: the machine's findings"
    );
}

/// Nine keys, one of each kind, over five days with all attacks, a file a partition.
fn simulated(seed: u64, folder: &Path) -> Vec<PathBuf> {
    let scenario = Scenario {
        seed,
        keys: 9,
        partitions: 3,
        ..simulate::demo()
    };
    let mut logs = vec![Vec::new(); 3];
    for event in scenario.events() {
        event.write_json(&mut logs[event.partition as usize]);
    }
    let write = |(partition, log): (usize, Vec<u8>)| {
        let path = folder.join(format!("simulated-{partition}.ndjson"));
        std::fs::write(&path, log).unwrap();
        path
    };
    logs.into_iter().enumerate().map(write).collect()
}

#[test]
fn shipped_rules_are_those_of_the_folder() {
    let folder = RuleTexts::read(&root().join("sql")).unwrap();
    let texts = |files: &[SourceFile]| -> Vec<(String, String)> {
        files
            .iter()
            .map(|file| (file.name().to_owned(), file.text.clone()))
            .collect()
    };
    let shipped = RuleTexts::shipped();
    assert_eq!(texts(&shipped.files.rules), texts(&folder.files.rules));
    assert_eq!(texts(&shipped.files.views), texts(&folder.files.views));
}

#[test]
fn stream_equals_batch_over_simulated_traffic() {
    let engines = Engines::new(RuleTexts::shipped(), true);
    for seed in seeds(2026..2027) {
        let folder = tempfile::tempdir().unwrap();
        let files = simulated(seed, folder.path());
        compare(&engines, &files, &[], seed);
    }
}

#[test]
fn stream_equals_batch_over_disorder_ties_and_late_rows() {
    let engines = Engines::new(rules_and_views(), true);
    for seed in seeds(1..4) {
        let folder = tempfile::tempdir().unwrap();
        let files = Stress {
            seed,
            keys: 8,
            partitions: 3,
            days: 5,
        }
        .write(folder.path());
        compare(&engines, &files, &[], seed);
    }
}

#[test]
fn stream_equals_batch_without_geoip() {
    let engines = Engines::new(rules_and_views(), false);
    for seed in seeds(4..5) {
        let folder = tempfile::tempdir().unwrap();
        let files = Stress {
            seed,
            keys: 5,
            partitions: 2,
            days: 4,
        }
        .write(folder.path());
        compare(
            &engines,
            &files,
            &["impossible_travel", "new_country"],
            seed,
        );
    }
}

#[test]
fn a_cut_at_every_row_changes_nothing() {
    let engines = Engines::new(rules_and_views(), true);
    for seed in seeds(5..6) {
        let folder = tempfile::tempdir().unwrap();
        let files = Stress {
            seed,
            keys: 2,
            partitions: 1,
            days: 4,
        }
        .write(folder.path());
        let log = Log::read(&files[0]);
        let cuts: Vec<Range<usize>> = (0..log.len()).map(|row| row..row + 1).collect();
        assert_cut(&engines, 0, &log, &cuts, seed);
    }
}

#[test]
fn random_cuts_change_nothing() {
    let engines = Engines::new(rules_and_views(), true);
    for seed in seeds(10..16) {
        let folder = tempfile::tempdir().unwrap();
        let files = Stress {
            seed,
            keys: 4,
            partitions: 2,
            days: 4,
        }
        .write(folder.path());
        for (partition, file) in files.iter().enumerate() {
            let log = Log::read(file);
            let cuts = random_splits(seed, log.len());
            assert_cut(&engines, partition as i32, &log, &cuts, seed);
        }
    }
}
