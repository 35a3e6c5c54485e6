//! What loads, and is worth a look: every warning as `keyhawk check` prints it, in a reviewed snapshot;
//! and what must go without one.

use std::fmt::Write;

use keyhawk_sql::Level;

use crate::events::{HEADER, try_compile};
use crate::snapshots::assert_snapshot;

/// The warnings of a rule set that loads.
fn warnings(views: &[(&str, &str)], rules: &[(&str, &str)]) -> String {
    let compiled = try_compile(views, rules).unwrap_or_else(|problems| panic!("{problems:?}"));
    let mut text = String::new();
    for warning in &compiled.warnings {
        assert_eq!(warning.level, Level::Warning);
        writeln!(text, "{warning}").unwrap();
    }
    text
}

fn rule(query: &str) -> String {
    format!("{HEADER}{query}\n")
}

const BURSTS: &str = "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 minute')\nGROUP BY api_key, window_end\n";

#[test]
fn a_warning_shows_its_place_and_what_to_do() {
    let cases: &[(&str, &[(&str, &str)], String)] = &[
        (
            "a threshold without a source",
            &[],
            rule(&format!("{BURSTS}HAVING count(*) >= 50")),
        ),
        (
            "several, one of them twice",
            &[],
            rule(
                "SELECT api_key\nFROM events\nWHERE status > 499 AND latency_us BETWEEN -5 AND 1.5e6\n  AND (499 < status OR page_size < 3)",
            ),
        ),
        (
            "a view that no rule reads",
            &[(
                "v",
                "/*\nfinds = \"Calls.\"\n*/\nSELECT api_key FROM events",
            )],
            rule("SELECT api_key FROM events"),
        ),
        (
            "views that read each other and no rule reads",
            &[
                ("v", "SELECT api_key FROM events"),
                ("w", "SELECT api_key FROM v"),
            ],
            rule("SELECT api_key FROM events"),
        ),
        (
            "an integer as a float",
            &[],
            rule("SELECT api_key\nFROM events\nWHERE CAST(status AS DOUBLE) = 401"),
        ),
        (
            "a sum of integers as floats",
            &[],
            rule(&format!(
                "{BURSTS}HAVING sum(response_bytes::DOUBLE) <> 0.0"
            )),
        ),
    ];
    let mut text = String::new();
    for (title, views, rule) in cases {
        let found = warnings(views, &[("r", rule)]);
        assert!(!found.is_empty(), "{title}: no warning");
        writeln!(text, "## {title}\n\n{found}").unwrap();
    }
    assert_snapshot("warnings", &text);
}

#[test]
fn what_is_as_it_should_be_has_no_warning() {
    let explained = HEADER.replace("*/", "thresholds = \"50 is more than a person's.\"\n*/");
    let read = "SELECT api_key, response_bytes, status FROM events";
    let kept = format!("/* unread = \"For rules of your own.\" */\n{read}");
    let cases: Vec<(Vec<(&str, &str)>, String)> = vec![
        (
            vec![],
            format!("{explained}{BURSTS}HAVING count(*) >= 50\n"),
        ),
        // Codes, whether there is any, numbers that are compared with nothing, frames.
        (
            vec![],
            rule(
                "SELECT api_key, round(latitude, 1) AS l FROM events WHERE status = 401 AND page IN (1, 2) AND response_bytes > 0 AND page <> 7",
            ),
        ),
        (
            vec![],
            rule(
                "SELECT api_key, lag(country, 1) OVER (PARTITION BY api_key ORDER BY event_time) AS c FROM events",
            ),
        ),
        // Read by way of another view.
        (
            vec![("v", read), ("w", "SELECT api_key FROM v")],
            rule("SELECT api_key FROM w"),
        ),
        (vec![("v", &kept)], rule("SELECT api_key FROM events")),
        // A float is what it takes: the number has a fraction, or the column is one.
        (
            vec![],
            format!(
                "{explained}SELECT api_key FROM events WHERE CAST(status AS DOUBLE) > 99.5 AND latitude > 50\n"
            ),
        ),
        (
            vec![],
            format!(
                "{explained}{BURSTS}HAVING sum(CAST(response_bytes AS DOUBLE)) / count(*) > 50\n"
            ),
        ),
    ];
    for (views, rule) in cases {
        assert_eq!(warnings(&views, &[("r", &rule)]), "", "{rule}");
    }
}

#[test]
fn a_view_says_of_itself_what_a_view_may_say() {
    let all = "/*\nfinds = \"a\"\nmatters = \"b\"\nmisses = \"c\"\nresembles = \"d\"\nthresholds = \"e\"\nunread = \"f\"\n*/\nSELECT api_key FROM events";
    let plain = "-- no header\nSELECT api_key FROM events";
    let read = rule("SELECT v.api_key FROM v");
    for view in [all, plain] {
        assert_eq!(warnings(&[("v", view)], &[("r", &read)]), "");
    }
    let headers = [
        ("a key misspelt", "/*\nfinds = \"a\"\nmises = \"b\"\n*/"),
        ("a rule's key", "/*\nseverity = \"low\"\n*/"),
        ("no text", "/*\nfinds = 5\n*/"),
        ("no TOML", "/* What each key does. */"),
    ];
    let mut text = String::new();
    for (title, header) in headers {
        let view = format!("{header}\nSELECT api_key FROM events");
        let problems = try_compile(&[("v", &view)], &[("r", &read)]).err().unwrap();
        writeln!(text, "## {title}\n").unwrap();
        for problem in problems {
            writeln!(text, "{problem}").unwrap();
        }
        writeln!(text).unwrap();
    }
    assert_snapshot("view_headers", &text);
}
