//! `docs/sql.md` is true: each example runs, on both engines, and finds the same; each refusal is the
//! one that stands beneath it; each delay is the one in its table.
//!
//! ````text
//!   ```sql              a rule, named by its place; it gets a header where it has none
//!   ```sql rule NAME    a rule
//!   ```sql view NAME    a view, known from there on
//!   ```csv table NAME   a reference table, known from there on
//!   ```toml tables      tables.toml
//!   ```sql refused      a view that does not load; the next block is what `check` prints
//!   ```sql unkeyed      a view that only `run` refuses; the next block is what it prints
//! ````
//!
//! The rules of a section (`## …`) are one rule set. `KEYHAWK_BLESS=1` writes the messages anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyhawk::finding_rows::rows_json;
use keyhawk::rule_set::{Error, RuleTexts};
use keyhawk::tables::load_tables;
use keyhawk_engine::Machine;
use keyhawk_events::{Decoder, Record};
use keyhawk_sql::{Problem, RuleFiles, SourceFile};
use keyhawk_testkit::random::random_splits;
use serde_json::{Value, json};

use crate::binary::root;
use crate::engines::{Engines, Log, rule_of};
use crate::traffic::{Dice, Network, START_MS, networks};

const HEADER: &str = "/*\nseverity = \"low\"\nentity = \"api_key\"\n*/\n";

/// A fenced block.
struct Block {
    /// What stands behind the fence.
    info: String,
    text: String,
    section: String,
    /// The line of the file that the text begins at, from 0.
    line: usize,
}

fn page() -> PathBuf {
    root().join("docs/sql.md")
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut section = String::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        if let Some(info) = line.strip_prefix("```") {
            open = !open;
            if open {
                blocks.push(Block {
                    info: info.to_owned(),
                    text: String::new(),
                    section: section.clone(),
                    line: number + 1,
                });
            }
        } else if open {
            let block = blocks.last_mut().unwrap();
            block.text.push_str(line);
            block.text.push('\n');
        } else if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut section);
        }
    }
    assert!(!open, "a block of {} has no end", page().display());
    blocks
}

fn file(folder: &str, name: &str, text: &str) -> SourceFile {
    SourceFile {
        path: format!("{folder}/{name}.sql"),
        text: text.to_owned(),
    }
}

fn rule(name: &str, text: &str) -> SourceFile {
    match text.starts_with("/*") {
        true => file("rules", name, text),
        false => file("rules", name, &format!("{HEADER}{text}")),
    }
}

/// The page as rule sets: a section each, over the views and tables known by then.
struct Sections {
    sections: Vec<(String, RuleFiles)>,
}

impl Sections {
    fn of(blocks: &[Block]) -> Sections {
        let folder = tempfile::tempdir().unwrap();
        let tables = folder.path().join("tables");
        std::fs::create_dir(&tables).unwrap();
        let mut known = RuleFiles::default();
        let mut sections: Vec<(String, RuleFiles)> = Vec::new();
        for (number, block) in blocks.iter().enumerate() {
            if sections
                .last()
                .is_none_or(|(title, _)| *title != block.section)
            {
                known.rules.clear();
                sections.push((block.section.clone(), known.clone()));
            }
            match block.info.split(' ').collect::<Vec<_>>().as_slice() {
                ["sql"] => {
                    let name = format!("example_{}", number + 1);
                    known.rules.push(rule(&name, &block.text));
                }
                ["sql", "rule", name] => known.rules.push(rule(name, &block.text)),
                ["sql", "view", name] => known.views.push(file("views", name, &block.text)),
                ["csv", "table", name] => {
                    std::fs::write(tables.join(format!("{name}.csv")), &block.text).unwrap();
                    known.tables = load_tables(folder.path()).unwrap();
                }
                ["toml", "tables"] => {
                    std::fs::write(tables.join("tables.toml"), &block.text).unwrap();
                    known.tables = load_tables(folder.path()).unwrap();
                }
                ["sql", "refused" | "unkeyed"] | ["text"] => {}
                other => panic!("line {}: a block of {other:?}", block.line),
            }
            sections.last_mut().unwrap().1 = known.clone();
        }
        Sections { sections }
    }
}

fn texts(files: RuleFiles) -> RuleTexts {
    RuleTexts {
        files,
        ..RuleTexts::default()
    }
}

/// Six keys over three days and three partitions: calls at home, an attack on each key on the last day,
/// calls without a key; ties, rows out of order, and some that are late.
fn log(folder: &Path) -> Vec<PathBuf> {
    const MINUTE_MS: i64 = 60_000;
    let mut dice = Dice(11);
    let networks = networks();
    let of = |kind: &str| -> Vec<&Network> {
        let of = |network: &&Network| network.kind == kind;
        networks.iter().filter(of).collect()
    };
    let (homes, tunnels) = (of("residential"), of("vpn"));
    let mut logs: Vec<Vec<(i64, u64, String)>> = vec![Vec::new(); 3];
    for key in 0..6 {
        let home = dice.pick(&homes).address(9);
        let away = dice.pick(&homes).address(17);
        let mut calls: Vec<(i64, String, &str)> = Vec::new();
        for hour in 0..72 {
            for _ in 0..if hour % 24 < 5 { 1 } else { 3 + dice.below(4) } {
                let at = START_MS + hour * 60 * MINUTE_MS + dice.below(60 * MINUTE_MS);
                let auth = *dice.pick(&["ok", "ok", "ok", "ok", "forbidden", "bad_signature"]);
                let address = match dice.below(12) {
                    0 => dice.pick(&tunnels).address(3),
                    1 => "10.1.2.3".to_owned(),
                    _ => home.clone(),
                };
                calls.push((at, address, auth));
            }
        }
        let attack_ms = START_MS + (58 + key) * 60 * MINUTE_MS;
        for call in 0..160 {
            let auth = if call < 12 { "bad_signature" } else { "ok" };
            let at = attack_ms + call * 3_500 + dice.below(1000);
            calls.push((at, away.clone(), auth));
        }
        for (at, address, auth) in calls {
            let event = call(&mut dice, at, &address, auth, Some(key));
            let delay = match dice.below(40) {
                0 => dice.below(60_000),
                1..20 => dice.below(9_000),
                _ => 0,
            };
            logs[key as usize % 3].push((at + delay, dice.bits(), event));
        }
    }
    for nth in 0..60 {
        let at = START_MS + dice.below(72 * 60 * MINUTE_MS);
        let event = call(&mut dice, at, "198.18.3.7", "none", None);
        logs[nth % 3].push((at, dice.bits(), event));
    }
    let write = |(partition, mut log): (usize, Vec<(i64, u64, String)>)| {
        log.sort_unstable();
        let lines: Vec<String> = log.into_iter().map(|(.., line)| line).collect();
        let path = folder.join(format!("{partition}.ndjson"));
        std::fs::write(&path, lines.join("\n")).unwrap();
        path
    };
    logs.into_iter().enumerate().map(write).collect()
}

fn call(dice: &mut Dice, at: i64, address: &str, auth: &str, key: Option<i64>) -> String {
    let at = if dice.percent(50) {
        at
    } else {
        at / 1000 * 1000
    };
    let status = match auth {
        "ok" => *dice.pick(&[200, 200, 200, 200, 404, 500]),
        "forbidden" => 403,
        _ => 401,
    };
    let mut event = json!({
        "event_time": at,
        "client_ip": address,
        "auth_result": auth,
        "status": status,
        "method": dice.pick(&["GET", "GET", "POST"]),
        "path": dice.pick(&["/v1/orders/17", "/v1/orders/x9", "/admin/users", "/v1/exports"]),
        "user_agent": dice.pick(&["okhttp/4.12", "python-requests/2.31"]),
        "scopes": dice.pick(&[json!(["read"]), json!(["read", "admin"])]),
        "page_size": dice.pick(&[0, 50, 100]),
        "latency_us": 1000 + dice.below(90_000),
    });
    if let Some(key) = key {
        event["key_id"] = json!(format!("key_{key}"));
    }
    if dice.percent(80) {
        event["response_bytes"] = json!(dice.below(1 << 20));
    }
    event.to_string()
}

/// A finding's line, taken apart: the rule and id, then the row.
fn taken_apart(lines: &[String]) -> BTreeMap<String, Value> {
    let apart = |line: &String| {
        let line: Value = serde_json::from_str(line).unwrap();
        (
            format!("{} {}", line["rule"], line["id"]),
            line["row"].clone(),
        )
    };
    let apart: BTreeMap<String, Value> = lines.iter().map(apart).collect();
    assert_eq!(apart.len(), lines.len(), "an id of two findings");
    apart
}

/// Equal, numbers with a fraction but for a billionth.
fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) if x.is_f64() && y.is_f64() => {
            let (x, y) = (x.as_f64().unwrap(), y.as_f64().unwrap());
            (x - y).abs() <= 1e-9 * x.abs().max(y.abs())
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(name, a)| b.get(name).is_some_and(|b| alike(a, b)))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b))
        }
        (a, b) => a == b,
    }
}

fn assert_alike(left: &[String], right: &[String], what: &str) {
    let (left, right) = (taken_apart(left), taken_apart(right));
    let ids = |of: &BTreeMap<String, Value>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids(&left), ids(&right), "{what}: ids");
    for (id, row) in &left {
        let other = &right[id];
        assert!(alike(row, other), "{what}: {id}\n{row}\n{other}");
    }
}

#[test]
fn every_example_finds_the_same_on_both_engines() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = log(folder.path());
    let page = blocks(&std::fs::read_to_string(page()).unwrap());
    let mut examples = 0;
    for (title, files) in Sections::of(&page).sections {
        if files.rules.is_empty() {
            continue;
        }
        examples += files.rules.len();
        let engines = Engines::new(texts(files), true);
        let batch = engines.backtested(&inputs);
        for rule in engines.rules.alerts.iter() {
            assert!(
                batch.iter().any(|line| rule_of(line) == rule.name),
                "{title}: {} finds nothing, which shows nothing",
                rule.name
            );
        }
        assert_alike(&engines.streamed(&inputs), &batch, &title);
        if engines.rules.compiled.unkeyed.is_empty() {
            let mut machines = Vec::new();
            for (partition, input) in inputs.iter().enumerate() {
                let log = Log::read(input);
                let cuts = random_splits(partition as u64, log.len());
                machines.extend(engines.machine(partition as i32, &log, &cuts));
            }
            assert_alike(
                &machines,
                &batch,
                &format!("{title}, a machine a partition"),
            );
        }
    }
    assert!(examples > 30, "{examples} examples");
}

/// What `check`, or `run`, prints of a refused block.
fn refusal(block: &Block, known: &RuleFiles) -> String {
    let mut files = RuleFiles {
        rules: Vec::new(),
        ..known.clone()
    };
    files.views.push(file("views", "example", &block.text));
    let problems: Vec<Problem> = if block.info == "sql unkeyed" {
        let header = HEADER.replace("api_key", "x");
        let reader = format!("{header}SELECT 1 AS x FROM example");
        files.rules.push(file("rules", "reader", &reader));
        let rules = texts(files).compile();
        let rules = rules.unwrap_or_else(|error| panic!("line {}: {error}", block.line));
        rules.compiled.unkeyed
    } else {
        match texts(files).compile() {
            Err(Error::Problems(problems)) => problems,
            Err(error) => panic!("line {}: {error}", block.line),
            Ok(_) => panic!("line {}: it is not refused", block.line),
        }
    };
    problems
        .iter()
        .map(|problem| format!("{problem}\n"))
        .collect()
}

#[test]
fn every_refusal_says_what_stands_beneath_it() {
    let path = page();
    let page = std::fs::read_to_string(&path).unwrap();
    let blocks = blocks(&page);
    let sections = Sections::of(&blocks).sections;
    let mut lines: Vec<&str> = page.lines().collect();
    let mut different = Vec::new();
    let mut refusals = 0;
    let mut said = Vec::new();
    for (block, message) in blocks.iter().zip(blocks.iter().skip(1)) {
        if !matches!(block.info.as_str(), "sql refused" | "sql unkeyed") {
            continue;
        }
        refusals += 1;
        assert_eq!(message.info, "text", "line {}: no message", block.line);
        let (_, known) = sections
            .iter()
            .find(|(title, _)| *title == block.section)
            .unwrap();
        said.push((message, refusal(block, known)));
    }
    for (message, said) in said.iter().rev() {
        if message.text != *said {
            different.push(format!("line {}:\n{said}", message.line));
            let end = message.line + message.text.lines().count();
            lines.splice(message.line..end, said.lines());
        }
    }
    assert!(refusals > 15, "{refusals} refusals");
    if std::env::var_os("KEYHAWK_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        return;
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

const MINUTE: &str = "SELECT api_key, window_start, window_end, window_time, count(*) AS calls \
    FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_start, window_end, window_time";

/// Queries whose column `at` is a time in milliseconds, and how far the watermark is from it when the
/// row leaves.
const DELAYS: [(&str, i64); 13] = [
    (
        "SELECT api_key, CAST(event_time AS BIGINT) AS at, row_number() OVER (PARTITION BY api_key ORDER BY event_time) AS n FROM events",
        1,
    ),
    (
        "SELECT api_key, CAST(window_end AS BIGINT) AS at FROM minute",
        0,
    ),
    (
        "SELECT api_key, CAST(window_time AS BIGINT) AS at FROM minute",
        1,
    ),
    (
        "SELECT api_key, CAST(window_start AS BIGINT) AS at FROM minute",
        60_000,
    ),
    (
        "SELECT api_key, CAST(window_end AS BIGINT) AS at FROM hop(events, event_time, INTERVAL '20 seconds', INTERVAL '1 minute') GROUP BY api_key, window_end",
        0,
    ),
    (
        "SELECT api_key, CAST(window_start AS BIGINT) AS at FROM hop(events, event_time, INTERVAL '20 seconds', INTERVAL '1 minute') GROUP BY api_key, window_start",
        60_000,
    ),
    (
        "SELECT api_key, CAST(window_end AS BIGINT) AS at FROM session(events, event_time, INTERVAL '1 minute', api_key) GROUP BY api_key, window_end",
        0,
    ),
    (
        "SELECT api_key, CAST(window_end AS BIGINT) AS at, lag(calls) OVER (PARTITION BY api_key ORDER BY window_end) AS n FROM minute",
        0,
    ),
    (
        "SELECT api_key, CAST(window_start AS BIGINT) AS at, lag(calls) OVER (PARTITION BY api_key ORDER BY window_start) AS n FROM minute",
        60_000,
    ),
    (
        "SELECT api_key, CAST(window_end AS BIGINT) AS at FROM tumble(minute, window_time, INTERVAL '5 minutes') GROUP BY api_key, window_end",
        0,
    ),
    (
        "SELECT api_key, CAST(window_end AS BIGINT) AS at FROM tumble(minute, window_start, INTERVAL '5 minutes') GROUP BY api_key, window_end",
        59_999,
    ),
    (
        "SELECT a.api_key, CAST(a.window_end AS BIGINT) AS at FROM minute a JOIN minute b ON a.api_key = b.api_key AND a.window_end = b.window_end",
        0,
    ),
    (
        "SELECT a.api_key, CAST(a.window_start AS BIGINT) AS at FROM minute a JOIN minute b ON a.api_key = b.api_key AND a.window_start = b.window_start",
        60_000,
    ),
];

#[test]
fn rows_leave_when_the_table_of_delays_says() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = log(folder.path());
    let rules = DELAYS.iter().enumerate();
    let rules = rules.map(|(at, (query, _))| rule(&format!("delay_{at:02}"), query));
    let files = RuleFiles {
        views: vec![file("views", "minute", MINUTE)],
        rules: rules.collect(),
        tables: Vec::new(),
    };
    let engines = Engines::new(texts(files), false);
    let mut decoder = Decoder::new(
        Arc::clone(&engines.rules.schema),
        Some(&engines.rules.compiled.columns),
        engines.reading.topic.clone(),
        0,
        Arc::clone(&engines.reading.fingerprinter),
        Arc::clone(&engines.reading.geo),
    )
    .unwrap();
    let mut machine = Machine::new(Arc::clone(&engines.rules.compiled.program), "test").unwrap();
    let mut seen = [0; DELAYS.len()];
    let log = std::fs::read_to_string(&inputs[0]).unwrap();
    for (offset, line) in (0..).zip(log.lines()) {
        let before = machine.watermark();
        decoder.push(Record {
            payload: Some(line.as_bytes()),
            offset,
            record_time_ms: None,
        });
        let decoded = decoder.finish();
        let step = machine
            .process(&decoded.events, &decoded.watermarks)
            .unwrap();
        let now = machine.watermark();
        for findings in &step.findings {
            let (query, delay) = DELAYS[findings.rule];
            for row in rows_json(&findings.rows).unwrap() {
                let row: Value = serde_json::from_str(&row).unwrap();
                let due = row["at"].as_i64().unwrap() + delay;
                assert!(
                    before < due && due <= now,
                    "{query}: {due} in {before}..{now}"
                );
                seen[findings.rule] += 1;
            }
        }
    }
    assert!(seen.iter().all(|&rows| rows > 0), "{seen:?}");
}
