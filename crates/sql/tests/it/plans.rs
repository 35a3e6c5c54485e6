//! The programs that rules become: the nodes with what they mean, a reviewed snapshot each.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use keyhawk_engine::program::NodeKind;
use keyhawk_sql::{Compiled, RuleFiles, SourceFile, compile};

use crate::events::{compiled, schema};
use crate::snapshots::assert_snapshot;

/// A line a node: number, meaning, what it reads, its columns.
fn program(compiled: &Compiled) -> String {
    let mut text = String::new();
    writeln!(
        text,
        "reads {}",
        compiled
            .columns
            .iter()
            .cloned()
            .collect::<Vec<_>>()
            .join(", ")
    )
    .unwrap();
    for (number, node) in compiled.program.nodes().iter().enumerate() {
        let inputs: Vec<String> = node
            .inputs
            .iter()
            .map(|input| input.0.to_string())
            .collect();
        let from = if inputs.is_empty() {
            String::new()
        } else {
            format!(" ◀ {}", inputs.join(", "))
        };
        let keyed = if node.keyed { " (keyed)" } else { "" };
        writeln!(text, "{number}{from}{keyed}: {}", node.meaning).unwrap();
        let columns: Vec<&str> = node
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        writeln!(text, "    {}", columns.join(", ")).unwrap();
    }
    for sink in compiled.program.sinks() {
        writeln!(
            text,
            "{} ◀ {}, {} columns of it",
            sink.rule, sink.node.0, sink.visible
        )
        .unwrap();
    }
    text
}

fn read(folder: &Path) -> Vec<SourceFile> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "sql"));
    paths.sort();
    let source = |path: &PathBuf| SourceFile {
        path: format!("{}", path.display()),
        text: std::fs::read_to_string(path).unwrap(),
    };
    paths.iter().map(source).collect()
}

pub fn shipped() -> RuleFiles {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sql");
    RuleFiles {
        views: read(&folder.join("views")),
        rules: read(&folder.join("rules")),
        tables: Vec::new(),
    }
}

fn is_tumble(compiled: &Compiled) -> Vec<i64> {
    let size = |kind: &NodeKind| match kind {
        NodeKind::Tumble { size_ms, .. } => Some(*size_ms),
        _ => None,
    };
    compiled
        .program
        .nodes()
        .iter()
        .filter_map(|node| size(&node.kind))
        .collect()
}

#[test]
fn the_programs_of_the_shipped_rules() {
    let compiled = compile(&shipped(), &schema(), "api_key")
        .map_err(|problems| problems[0].to_string())
        .unwrap();
    assert!(compiled.unkeyed.is_empty());
    assert_snapshot("shipped_rules", &program(&compiled));
}

#[test]
fn a_view_is_computed_once_for_two_rules() {
    let mut files = shipped();
    files.rules.retain(|rule| rule.name() == "rate_spike");
    let one = compile(&files, &schema(), "api_key")
        .map_err(|problems| problems[0].to_string())
        .unwrap();
    let more = SourceFile {
        path: "rules/many_addresses.sql".to_owned(),
        text: "/*\nseverity = \"low\"\nentity = \"api_key\"\n*/\nSELECT api_key, window_end, addresses FROM usage_10m WHERE addresses > 20".to_owned(),
    };
    files.rules.push(more);
    let two = compile(&files, &schema(), "api_key")
        .map_err(|problems| problems[0].to_string())
        .unwrap();
    assert_eq!(is_tumble(&one), [600_000]);
    assert_eq!(is_tumble(&two), [600_000], "the second rule adds no window");
    assert_snapshot("two_rules_on_usage_10m", &program(&two));
}

#[test]
fn a_few_programs() {
    let minute = "SELECT api_key, window_start, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_start, window_end";
    let rule_sets: &[(&str, &[(&str, &str)], &[(&str, &str)])] = &[
        (
            "a filter",
            &[],
            &[(
                "r",
                "SELECT api_key, status FROM events WHERE status > 400 AND auth_result = 'ok'",
            )],
        ),
        (
            "the same filter twice is one",
            &[],
            &[
                ("r", "SELECT api_key, status FROM events WHERE status > 400"),
                (
                    "s",
                    "SELECT e.api_key, e.status FROM events AS e WHERE e.status > 400",
                ),
            ],
        ),
        (
            "a window of windows",
            &[("minute", minute)],
            &[(
                "r",
                "SELECT api_key, window_end, sum(n) AS n FROM tumble(minute, window_end, INTERVAL '1 hour') GROUP BY api_key, window_end",
            )],
        ),
        (
            "a window in two keys",
            &[],
            &[(
                "r",
                "SELECT api_key, country, max(status) FILTER (WHERE status < 500) AS worst FROM tumble(events, event_time, INTERVAL '1 day') GROUP BY api_key, country, window_end",
            )],
        ),
        (
            "an order within a window",
            &[],
            &[(
                "r",
                "SELECT api_key, row_number() OVER (PARTITION BY api_key, window_start ORDER BY event_time) AS n FROM tumble(events, event_time, INTERVAL '1 minute')",
            )],
        ),
        (
            "a view that nobody reads",
            &[("minute", minute)],
            &[("r", "SELECT api_key FROM events")],
        ),
    ];
    let mut text = String::new();
    for (title, views, rules) in rule_sets {
        writeln!(text, "## {title}\n\n{}", program(&compiled(views, rules))).unwrap();
    }
    assert_snapshot("programs", &text);
}

/// Every pair of rules here means two things; whatever they share below, their sinks are two nodes.
#[test]
fn two_meanings_are_never_one_node() {
    let over = |function: &str| {
        format!(
            "SELECT api_key, {function} OVER (PARTITION BY api_key ORDER BY event_time) AS x FROM events"
        )
    };
    let group = |what: &str, size: &str| {
        format!(
            "SELECT api_key, {what} AS x FROM tumble(events, event_time, INTERVAL '{size}') GROUP BY api_key, window_end"
        )
    };
    let view = (
        "v",
        "SELECT api_key, status, _offset, status - _offset AS \"status + _offset\", country AS \"a, b\", 2 AS \"Int64(1)\" FROM events",
    );
    let pairs: Vec<(String, String)> = vec![
        (
            "SELECT api_key, '1' AS x FROM events".into(),
            "SELECT api_key, 1 AS x FROM events".into(),
        ),
        (
            "SELECT api_key, 1 AS x FROM events".into(),
            "SELECT api_key, 1 AS y FROM events".into(),
        ),
        (
            "SELECT api_key, CAST(status AS INT) AS x FROM events".into(),
            "SELECT api_key, CAST(status AS SMALLINT) AS x FROM events".into(),
        ),
        (
            "SELECT api_key, 'a' AS x, 'b' AS y FROM events".into(),
            "SELECT api_key, 'a\") AS x, Utf8(\"b' AS x, 'b' AS y FROM events".into(),
        ),
        (
            "SELECT api_key FROM events WHERE country = 'a' AND city = 'b'".into(),
            "SELECT api_key FROM events WHERE country = 'a\") AND city = Utf8View(\"b'".into(),
        ),
        (
            "SELECT api_key FROM events WHERE CAST(country AS BYTEA) = X'000102030405060708090A0B'"
                .into(),
            "SELECT api_key FROM events WHERE CAST(country AS BYTEA) = X'000102030405060708090A0C'"
                .into(),
        ),
        (
            "SELECT api_key, \"status + _offset\" AS x FROM v".into(),
            "SELECT api_key, status + _offset AS x FROM v".into(),
        ),
        (
            "SELECT api_key FROM v WHERE \"Int64(1)\" = status".into(),
            "SELECT api_key FROM v WHERE 1 = status".into(),
        ),
        (over("lag(country)"), over("lag(country, 2)")),
        (over("lag(country)"), over("lag(country) IGNORE NULLS")),
        (over("lag(country, 1, 'a')"), over("lag(country, 1, 'b')")),
        (over("lag(status, 1, 1)"), over("lag(status, 1)")),
        (
            over("baseline(status, event_time, 60)"),
            over("baseline(status, event_time, 61)"),
        ),
        (
            group("count(status)", "1 minute"),
            group("count(DISTINCT status)", "1 minute"),
        ),
        (
            group("count(*)", "1 minute"),
            group("count(*)", "2 minutes"),
        ),
        (
            group("sum(status)", "1 minute"),
            group("sum(status) FILTER (WHERE country = 'DE')", "1 minute"),
        ),
        (
            group("min(country)", "1 minute"),
            group("max(country)", "1 minute"),
        ),
    ];
    for (a, b) in &pairs {
        let compiled = compiled(&[view], &[("a", a), ("b", b)]);
        let [a_sink, b_sink] = compiled.program.sinks() else {
            panic!("two rules")
        };
        assert_ne!(a_sink.node, b_sink.node, "{a}\n{b}\n{}", program(&compiled));
    }
}
