//! Explanations of rules, a reviewed snapshot each.

use std::fmt::Write;

use keyhawk_sql::explain::{Overview, WIDTH};
use keyhawk_sql::{Compiled, compile};

use crate::events::{compiled, schema};
use crate::plans::shipped;
use crate::snapshots::assert_snapshot;

const LATENESS_MS: i64 = 10_000;

fn explained(compiled: &Compiled, rule: &str) -> String {
    let lines = compiled.explain(rule, LATENESS_MS).unwrap();
    let lines = lines.iter().map(ToString::to_string);
    lines.fold(String::new(), |text, line| text + &line + "\n")
}

/// Every operator of the language, in one rule.
fn all_operators() -> Compiled {
    compiled(
        &[
            (
                "refused_10m",
                "SELECT api_key, window_end, count(*) AS refused, count(DISTINCT client_ip) AS addresses
                 FROM hop(events, event_time, INTERVAL '2 minutes', INTERVAL '10 minutes')
                 WHERE auth_result IN ('bad_key', 'expired')
                 GROUP BY api_key, window_end",
            ),
            (
                "accepted_10m",
                "SELECT api_key, window_end, sum(response_bytes) AS bytes
                 FROM hop(events, event_time, INTERVAL '2 minutes', INTERVAL '10 minutes')
                 WHERE auth_result = 'ok'
                 GROUP BY api_key, window_end",
            ),
            (
                "minutes",
                "SELECT api_key, window_end, count(*) AS n
                 FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_end",
            ),
            (
                "visits",
                "SELECT api_key, window_start, window_end, count(*) AS calls
                 FROM session(events, event_time, INTERVAL '5 minutes', api_key)
                 WHERE status < 500
                 GROUP BY api_key, window_start, window_end",
            ),
        ],
        &[
            (
                "everything",
                "SELECT r.api_key, r.window_end, r.refused AS n, r.addresses, coalesce(a.bytes, 0) AS bytes
                 FROM refused_10m AS r
                 LEFT JOIN accepted_10m AS a ON a.api_key = r.api_key AND a.window_end = r.window_end
                 WHERE r.refused > 10
                 UNION ALL
                 SELECT api_key, window_end, calls, 0, 0 FROM visits WHERE calls > 1000",
            ),
            (
                "frames",
                "SELECT e.api_key, e.event_time, c.risk,
                        sum(e.status) OVER (PARTITION BY e.api_key ORDER BY e.event_time ROWS BETWEEN 9 PRECEDING AND CURRENT ROW) AS ten,
                        max(e.status) OVER (PARTITION BY e.api_key ORDER BY e.event_time RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW) AS hour,
                        lag(e.status, 3) OVER (PARTITION BY e.api_key ORDER BY e.event_time) AS third
                 FROM events AS e JOIN countries AS c ON c.code = e.country",
            ),
            (
                "by_country",
                "SELECT country, max(api_key) AS api_key, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY country, window_end",
            ),
            (
                "hour_of_minutes",
                "SELECT api_key, window_end, max(n) AS busiest
                 FROM tumble(minutes, window_end, INTERVAL '1 hour')
                 GROUP BY api_key, window_end",
            ),
            (
                "row_by_row",
                "SELECT api_key, status FROM events WHERE status >= 500 AND path LIKE '/admin%'",
            ),
            (
                "silent",
                "SELECT api_key, window_end, n
                 FROM (SELECT api_key, window_end, count(*) AS n
                       FROM tumble(events, event_time, INTERVAL '1 minute', fill => 3) GROUP BY api_key, window_end)
                 WHERE n = 0",
            ),
            (
                "repeated",
                "SELECT api_key, window_end, array_slice(array_agg(path ORDER BY event_time), 1, 5) AS paths
                 FROM hop(events, event_time, INTERVAL '2 minutes', INTERVAL '10 minutes')
                 WHERE country NOT IN (SELECT code FROM countries WHERE risk > 200)
                 GROUP BY api_key, window_end",
            ),
        ],
    )
}

#[test]
fn the_shipped_rules_explained() {
    let compiled = compile(&shipped(), &schema(), "api_key")
        .map_err(|problems| problems[0].to_string())
        .unwrap();
    let mut text = String::new();
    for rule in &compiled.rules {
        writeln!(text, "{}", explained(&compiled, &rule.name)).unwrap();
    }
    assert_snapshot("explain_shipped", &text);
}

#[test]
fn every_operator_explained() {
    let compiled = all_operators();
    let mut text = String::new();
    for rule in &compiled.rules {
        writeln!(text, "{}", explained(&compiled, &rule.name)).unwrap();
    }
    assert_snapshot("explain_operators", &text);
}

#[test]
fn no_line_is_wider_than_a_screen_and_none_names_what_the_planner_made() {
    let sets = [
        all_operators(),
        compile(&shipped(), &schema(), "api_key")
            .map_err(|problems| problems[0].to_string())
            .unwrap(),
    ];
    for compiled in &sets {
        for rule in &compiled.rules {
            for line in explained(compiled, &rule.name).lines() {
                assert!(line.chars().count() <= WIDTH, "{line}");
                assert!(!line.contains("__"), "{line}");
            }
        }
    }
}

#[test]
fn a_delay_is_the_bound_and_what_windows_wait() {
    let delays: Vec<(String, String, bool)> = all_operators()
        .overview(LATENESS_MS)
        .into_iter()
        .map(
            |Overview {
                 rule, delay, keyed, ..
             }| (rule, delay, keyed),
        )
        .collect();
    let expected = [
        ("everything", "10s or more", true),
        ("frames", "10s", true),
        ("by_country", "10s to 1m 10s", false),
        ("hour_of_minutes", "10s to 1h 1m 10s", true),
        ("row_by_row", "at once", true),
        ("silent", "10s to 1m 10s", true),
        ("repeated", "10s to 10m 10s", true),
    ];
    let expected = expected.map(|(rule, delay, keyed)| (rule.to_owned(), delay.to_owned(), keyed));
    assert_eq!(delays, expected);
}

#[test]
fn an_edit_that_changes_no_state_keeps_its_digits() {
    let rule = |condition: &str, size: &str| {
        let text = format!(
            "SELECT api_key, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '{size}') GROUP BY api_key, window_end HAVING count(*) > {condition}"
        );
        let text = explained(&compiled(&[], &[("r", &text)]), "r");
        let digits = text
            .lines()
            .find_map(|line| line.split_once("state"))
            .unwrap();
        digits.1.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(rule("5", "1 minute"), rule("6", "1 minute"));
    assert_ne!(rule("5", "1 minute"), rule("5", "2 minutes"));
}

#[test]
fn a_node_that_several_rules_read_is_marked() {
    let rule = "SELECT api_key, status FROM events WHERE status > 400";
    let compiled = compiled(
        &[],
        &[
            ("a", rule),
            ("b", rule),
            ("c", "SELECT api_key FROM events"),
        ],
    );
    let text = explained(&compiled, "a");
    assert!(text.contains("scan ×3"), "{text}");
    assert!(text.contains("filter ×2"), "{text}");
}

#[test]
fn an_unknown_rule_has_no_explanation() {
    let compiled = compiled(&[], &[("a", "SELECT api_key FROM events")]);
    assert!(compiled.explain("b", LATENESS_MS).is_none());
}
