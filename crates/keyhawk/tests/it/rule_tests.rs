//! Rule tests beside the rules: `sql/rules/NAME.test.toml` says what makes a rule fire and, above all, what
//! must stay silent. Each case runs alone, through both engines, with the demo's GeoIP databases.
//!
//! ```toml
//! [[case]]
//! name = "a burst of wrong signatures is found"
//! events = [
//!   { at = "1h", place = "Berlin", auth_result = "bad_signature", repeat = 60, every = "5s" },
//! ]
//! expect = [{ key_id = "k1", refused = 60 }]
//! ```
//!
//! | field of an event | meaning | default |
//! |---|---|---|
//! | `at` | time after Monday, 2 March 2026, 0:00 UTC, as in `"3d 2h"` | `"0s"` |
//! | `repeat`, `every` | so many events, so far apart | 1, `"1m"` |
//! | `days` | all of that again on so many days in a row | 1 |
//! | `place`, `network` | an address of a network of that city and kind in `testdata/geoip/networks.json` | `"Berlin"`, `"residential"` |
//! | `nth` | which address of the network | 1 |
//! | any other | a field of the event, as it is | `key_id = "k1"`, `auth_result = "ok"` |
//!
//! `expect` holds part of a row for each finding: every expected row is found once, and nothing else is.
//! A time is written as text, as in findings. Events come to the log in the order of their times.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use keyhawk::rule_set::RuleTexts;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::binary::{root, write};
use crate::engines::{Engines, rule_of};
use crate::traffic::{Network, START_MS, networks};

/// What a rule's test file must hold at least.
const FIRING_MIN: usize = 2;
const SILENT_MIN: usize = 3;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestFile {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    events: Vec<Entry>,
    expect: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    at: Option<String>,
    #[serde(default)]
    repeat: Option<i64>,
    #[serde(default)]
    every: Option<String>,
    #[serde(default)]
    days: Option<i64>,
    #[serde(default)]
    place: Option<String>,
    #[serde(default)]
    network: Option<String>,
    #[serde(default)]
    nth: Option<u32>,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

fn duration_ms(text: Option<&str>, default: &str) -> i64 {
    let duration: Duration = humantime::parse_duration(text.unwrap_or(default)).unwrap();
    i64::try_from(duration.as_millis()).unwrap()
}

impl Entry {
    fn events(&self, networks: &[Network]) -> Vec<(i64, String)> {
        let mut event = Map::new();
        if !self.fields.contains_key("client_ip") {
            let place = self.place.as_deref().unwrap_or("Berlin");
            let kind = self.network.as_deref().unwrap_or("residential");
            let network = networks
                .iter()
                .find(|network| network.city == place && network.kind == kind);
            let network =
                network.unwrap_or_else(|| panic!("networks.json has no {kind} network in {place}"));
            event.insert(
                "client_ip".to_owned(),
                json!(network.address(self.nth.unwrap_or(1))),
            );
        }
        event.insert("key_id".to_owned(), json!("k1"));
        event.insert("auth_result".to_owned(), json!("ok"));
        event.extend(self.fields.clone());
        let (at, every) = (
            duration_ms(self.at.as_deref(), "0s"),
            duration_ms(self.every.as_deref(), "1m"),
        );
        let mut events = Vec::new();
        for day in 0..self.days.unwrap_or(1) {
            for nth in 0..self.repeat.unwrap_or(1) {
                let time_ms = START_MS + day * 86_400_000 + at + nth * every;
                event.insert("event_time".to_owned(), json!(time_ms));
                events.push((time_ms, Value::from(event.clone()).to_string()));
            }
        }
        events
    }
}

/// The test files by their rule.
fn test_files() -> BTreeMap<String, (PathBuf, TestFile)> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(root().join("sql/rules")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if let Some(rule) = name.strip_suffix(".test.toml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let parsed = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            files.insert(rule.to_owned(), (path, parsed));
        }
    }
    files
}

/// Whether a finding's row has all that was expected of it.
fn fits(row: &Value, expected: &Map<String, Value>) -> bool {
    expected
        .iter()
        .all(|(name, expected)| match (&row[name], expected.as_f64()) {
            (Value::Number(found), Some(expected)) => found.as_f64() == Some(expected),
            (found, _) => found == expected,
        })
}

/// What is wrong with a case's findings; nothing where all is as expected.
fn difference(lines: &[String], expect: &[Map<String, Value>]) -> Option<String> {
    let mut rest: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["row"].clone())
        .collect();
    for expected in expect {
        match rest.iter().position(|row| fits(row, expected)) {
            Some(at) => drop(rest.remove(at)),
            None => {
                return Some(format!(
                    "no finding with {}, but {rest:#?}",
                    Value::from(expected.clone())
                ));
            }
        }
    }
    (!rest.is_empty()).then(|| format!("found, and not expected: {rest:#?}"))
}

#[test]
fn cases_beside_the_rules_fire_and_stay_silent_in_both_engines() {
    // The folder, and not what the binary carries: an author who edits a rule need not build anything.
    let engines = Engines::new(RuleTexts::read(&root().join("sql")).unwrap(), true);
    let networks = networks();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("case.ndjson");
    let mut wrong = Vec::new();
    for (rule, (path, file)) in test_files() {
        for case in &file.case {
            let mut events: Vec<(i64, String)> = case
                .events
                .iter()
                .flat_map(|entry| entry.events(&networks))
                .collect();
            events.sort_by_key(|(time_ms, _)| *time_ms);
            let lines: Vec<String> = events.into_iter().map(|(_, line)| line + "\n").collect();
            write(&log, lines.concat());
            let of_rule = |lines: Vec<String>| -> Vec<String> {
                lines
                    .into_iter()
                    .filter(|line| rule_of(line) == rule)
                    .collect()
            };
            let inputs = std::slice::from_ref(&log);
            for (engine, found) in [
                ("stream", engines.streamed(inputs)),
                ("batch", engines.backtested(inputs)),
            ] {
                if let Some(difference) = difference(&of_rule(found), &case.expect) {
                    wrong.push(format!(
                        "{}: \"{}\", {engine}: {difference}",
                        path.display(),
                        case.name
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn each_shipped_rule_has_cases_that_fire_and_more_that_stay_silent() {
    let files = test_files();
    let rules = RuleTexts::shipped().files.rules;
    for rule in &rules {
        let (_, file) = files
            .get(rule.name())
            .unwrap_or_else(|| panic!("{} has no .test.toml", rule.name()));
        let firing = file
            .case
            .iter()
            .filter(|case| !case.expect.is_empty())
            .count();
        let silent = file.case.len() - firing;
        assert!(
            firing >= FIRING_MIN,
            "{}: {firing} cases fire; write {FIRING_MIN}",
            rule.name()
        );
        assert!(
            silent >= SILENT_MIN,
            "{}: {silent} cases stay silent; write {SILENT_MIN}",
            rule.name()
        );
    }
    assert_eq!(files.len(), rules.len(), "a test file without a rule");
}
