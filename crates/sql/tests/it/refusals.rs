//! What is refused, and in which words: every problem as `keyhawk check` prints it, a reviewed snapshot
//! a group.

use std::fmt::Write;

use crate::events::{HEADER, try_compile};
use crate::snapshots::assert_snapshot;

/// The problems of a rule set, or of those that only `run` refuses.
fn problems(views: &[(&str, &str)], rules: &[(&str, &str)]) -> String {
    let problems = match try_compile(views, rules) {
        Ok(compiled) if compiled.unkeyed.is_empty() => return "it compiles\n".to_owned(),
        Ok(compiled) => compiled.unkeyed,
        Err(problems) => problems,
    };
    let mut text = String::new();
    for problem in problems {
        // The caret stands under something, and the place is what the first line says.
        let lines: Vec<&str> = problem.source_line.lines().collect();
        assert!(lines.len() <= 1);
        assert!(
            problem.place.column <= problem.source_line.chars().count() + 1,
            "{problem}"
        );
        writeln!(text, "{problem}").unwrap();
    }
    text
}

/// A snapshot of queries, each with a header of its own.
fn queries(name: &str, queries: &[(&str, &str)]) {
    let mut text = String::new();
    for (title, query) in queries {
        let found = problems(&[], &[("r", &format!("{HEADER}{query}\n"))]);
        writeln!(text, "## {title}\n\n{found}").unwrap();
    }
    assert_refused(name, &text);
}

fn assert_refused(name: &str, text: &str) {
    assert_snapshot(name, text);
    assert!(
        !text.contains("it compiles"),
        "something in {name} is not refused"
    );
    let hidden = ["__window", "__lineage_1"]
        .iter()
        .find(|hidden| text.contains(**hidden));
    assert_eq!(hidden, None, "{name} speaks of hidden columns");
}

#[test]
fn what_would_wait_for_ever_is_refused() {
    queries(
        "unbounded",
        &[
            (
                "ORDER BY",
                "SELECT api_key\nFROM events\nORDER BY event_time",
            ),
            (
                "ORDER BY in a subquery",
                "SELECT api_key\nFROM (SELECT * FROM events ORDER BY event_time)",
            ),
            ("LIMIT", "SELECT api_key\nFROM events\nLIMIT 10"),
            ("OFFSET", "SELECT api_key\nFROM events\nOFFSET 10"),
            (
                "ORDER BY with LIMIT",
                "SELECT api_key\nFROM events\nORDER BY status\nLIMIT 10",
            ),
            ("DISTINCT", "SELECT DISTINCT api_key, country\nFROM events"),
            (
                "DISTINCT ON",
                "SELECT DISTINCT ON (api_key) api_key, country\nFROM events",
            ),
            (
                "GROUP BY without a window",
                "SELECT api_key, count(*) AS n\nFROM events\nGROUP BY api_key",
            ),
            (
                "an aggregate without GROUP BY",
                "SELECT max(api_key) AS api_key\nFROM events",
            ),
            (
                "GROUP BY beside a window",
                "SELECT api_key, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 minute')\nGROUP BY api_key",
            ),
            (
                "GROUP BY event_time",
                "SELECT api_key, event_time, count(*) AS n\nFROM events\nGROUP BY api_key, event_time",
            ),
            (
                "windows of two sizes",
                "WITH five AS (SELECT *, window_end AS five_end FROM tumble(events, event_time, INTERVAL '5 minutes'))\nSELECT api_key, five_end, window_end, count(*) AS n\nFROM tumble(five, event_time, INTERVAL '1 minute')\nGROUP BY api_key, five_end, window_end",
            ),
            (
                "windows of one size over two times",
                "WITH five AS (SELECT *, window_end AS five_end FROM tumble(events, event_time, INTERVAL '5 minutes'))\nSELECT api_key, five_end, window_end, count(*) AS n\nFROM tumble(five, five_end, INTERVAL '5 minutes')\nGROUP BY api_key, five_end, window_end",
            ),
            (
                "ROLLUP",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 minute')\nGROUP BY ROLLUP (api_key, window_end)",
            ),
            (
                "a time that its window held back",
                "WITH w AS (SELECT api_key, event_time, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '5 minutes') GROUP BY api_key, event_time, window_end)\nSELECT api_key, window_start, sum(n) AS n\nFROM tumble(w, event_time, INTERVAL '1 minute')\nGROUP BY api_key, window_start",
            ),
        ],
    );
}

#[test]
fn windows_frames_and_joins_that_no_stream_can_follow_are_refused() {
    queries(
        "streams",
        &[
            (
                "a slide longer than the window",
                "SELECT api_key, window_end, count(*) AS n\nFROM hop(events, event_time, INTERVAL '1 hour', INTERVAL '1 minute')\nGROUP BY api_key, window_end",
            ),
            (
                "a thousand panes",
                "SELECT api_key, window_end, count(*) AS n\nFROM hop(events, event_time, INTERVAL '7 seconds', INTERVAL '1 day')\nGROUP BY api_key, window_end",
            ),
            (
                "months in a slide",
                "SELECT api_key, window_end, count(*) AS n\nFROM hop(events, event_time, INTERVAL '1 month', INTERVAL '1 year')\nGROUP BY api_key, window_end",
            ),
            (
                "a hop without a slide",
                "SELECT api_key, window_end, count(*) AS n\nFROM hop(events, event_time, INTERVAL '1 hour')\nGROUP BY api_key, window_end",
            ),
            (
                "a session without a key",
                "SELECT api_key, window_start, window_end, count(*) AS n\nFROM session(events, event_time, INTERVAL '1 minute')\nGROUP BY api_key, window_start, window_end",
            ),
            (
                "a session's unknown argument",
                "SELECT api_key, window_start, window_end, count(*) AS n\nFROM session(events, event_time, INTERVAL '1 minute', api_key, most => INTERVAL '1 hour')\nGROUP BY api_key, window_start, window_end",
            ),
            (
                "a tumble's unknown argument",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 minute', filling => 3)\nGROUP BY api_key, window_end",
            ),
            (
                "a session keyed by a float",
                "SELECT latitude AS api_key, window_start, window_end, count(*) AS n\nFROM session(events, event_time, INTERVAL '1 minute', latitude)\nGROUP BY latitude, window_start, window_end",
            ),
            (
                "a name of WINDOW in QUALIFY",
                "SELECT api_key, row_number() OVER w AS n\nFROM events\nWINDOW w AS (PARTITION BY api_key ORDER BY event_time)\nQUALIFY row_number() OVER w = 1",
            ),
            (
                "aggregates that differ in a cast alone",
                "SELECT api_key, window_end, max(CAST(amount AS DOUBLE)) AS a, max(amount) AS b\nFROM tumble(events, event_time, INTERVAL '1 minute')\nGROUP BY api_key, window_end",
            ),
            (
                "the rows of a session",
                "SELECT api_key, event_time, window_start\nFROM session(events, event_time, INTERVAL '1 minute', api_key)",
            ),
            (
                "other keys than the session's",
                "SELECT api_key, country, window_start, window_end, count(*) AS n\nFROM session(events, event_time, INTERVAL '1 minute', api_key)\nGROUP BY api_key, country, window_start, window_end",
            ),
            (
                "the start of a session alone",
                "SELECT api_key, window_start, count(*) AS n\nFROM session(events, event_time, INTERVAL '1 minute', api_key)\nGROUP BY api_key, window_start",
            ),
            (
                "a row compared with the end of its session",
                "SELECT api_key, window_start, window_end, count(*) AS n\nFROM session(events, event_time, INTERVAL '1 minute', api_key)\nWHERE event_time > window_end - INTERVAL '2 minutes'\nGROUP BY api_key, window_start, window_end",
            ),
            (
                "a history ordered by the starts of sessions",
                "SELECT api_key, window_start, window_end, lag(n) OVER (PARTITION BY api_key ORDER BY window_start) AS before\nFROM (SELECT api_key, window_start, window_end, count(*) AS n FROM session(events, event_time, INTERVAL '1 minute', api_key) GROUP BY api_key, window_start, window_end)",
            ),
            (
                "FOLLOWING",
                "SELECT api_key, sum(status) OVER (PARTITION BY api_key ORDER BY event_time ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS s\nFROM events",
            ),
            (
                "GROUPS",
                "SELECT api_key, sum(status) OVER (PARTITION BY api_key ORDER BY event_time GROUPS 2 PRECEDING) AS s\nFROM events",
            ),
            (
                "a RANGE of months",
                "SELECT api_key, sum(status) OVER (PARTITION BY api_key ORDER BY event_time RANGE INTERVAL '1 month' PRECEDING) AS s\nFROM events",
            ),
            (
                "count(DISTINCT) OVER",
                "SELECT api_key, count(DISTINCT country) OVER (PARTITION BY api_key ORDER BY event_time) AS s\nFROM events",
            ),
            (
                "a list without a bound",
                "SELECT api_key, window_end, array_agg(country) AS c\nFROM tumble(events, event_time, INTERVAL '1 minute')\nGROUP BY api_key, window_end",
            ),
            (
                "a join without an equality",
                "SELECT e.api_key, c.code\nFROM events e JOIN countries c ON e.status > c.risk",
            ),
            (
                "FULL JOIN",
                "SELECT e.api_key, c.code\nFROM events e FULL JOIN countries c ON e.country = c.code",
            ),
            (
                "a join that keeps the table's rows",
                "SELECT e.api_key, c.code\nFROM countries c LEFT JOIN events e ON e.country = c.code",
            ),
            ("a table alone", "SELECT code AS api_key\nFROM countries"),
            (
                "a union with a table",
                "SELECT api_key FROM events\nUNION ALL\nSELECT code FROM countries",
            ),
            (
                "a table aggregated on its way",
                "SELECT e.api_key, c.n\nFROM events e JOIN (SELECT code, count(*) AS n FROM countries GROUP BY code) c ON e.country = c.code",
            ),
            (
                "EXISTS behind OR",
                "SELECT e.api_key\nFROM events e\nWHERE e.status = 100 OR EXISTS (SELECT 1 FROM countries c WHERE c.code = e.country)",
            ),
            (
                "a scalar subquery",
                "SELECT e.api_key, (SELECT max(risk) FROM countries) AS most\nFROM events e",
            ),
            (
                "a correlated scalar subquery",
                "SELECT e.api_key, (SELECT max(c.risk) FROM countries c WHERE c.code = e.country) AS most\nFROM events e",
            ),
            (
                "EXISTS with an inequality alone",
                "SELECT e.api_key\nFROM events e\nWHERE EXISTS (SELECT 1 FROM countries c WHERE c.risk > e.status)",
            ),
        ],
    );
    let views = [
        (
            "minute",
            "SELECT api_key, window_start, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_start, window_end",
        ),
        (
            "hour",
            "SELECT api_key, window_start, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 hour') GROUP BY api_key, window_start, window_end",
        ),
    ];
    let mut text = String::new();
    for (title, query) in [
        (
            "two views on their key alone",
            "SELECT a.api_key, b.n\nFROM minute a JOIN minute b ON a.api_key = b.api_key",
        ),
        (
            "windows of different lengths",
            "SELECT a.api_key, b.n\nFROM minute a JOIN hour b ON a.api_key = b.api_key AND a.window_end = b.window_end",
        ),
        (
            "another bound on each side",
            "SELECT a.api_key, b.n\nFROM minute a JOIN minute b ON a.api_key = b.api_key AND a.window_end = b.window_start",
        ),
        (
            "NOT IN a stream",
            "SELECT a.api_key, a.n\nFROM minute a\nWHERE a.window_end NOT IN (SELECT window_end FROM minute)",
        ),
        (
            "a join that is not keyed",
            "SELECT a.api_key, b.n\nFROM minute a JOIN minute b ON a.n = b.n AND a.window_end = b.window_end",
        ),
    ] {
        let found = problems(&views, &[("r", &format!("{HEADER}{query}\n"))]);
        writeln!(text, "## {title}\n\n{found}").unwrap();
    }
    assert_refused("joined_views", &text);
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    queries(
        "unsupported",
        &[
            (
                "JOIN",
                "SELECT a.api_key\nFROM events AS a\nJOIN events AS b ON a.api_key = b.api_key",
            ),
            (
                "a comma join",
                "SELECT a.api_key\nFROM events AS a, events AS b",
            ),
            (
                "UNION",
                "SELECT api_key FROM events\nUNION\nSELECT api_key FROM events",
            ),
            (
                "INTERSECT",
                "SELECT api_key FROM events\nINTERSECT\nSELECT api_key FROM events",
            ),
            (
                "EXCEPT",
                "SELECT api_key FROM events\nEXCEPT\nSELECT api_key FROM events",
            ),
            (
                "a scalar subquery",
                "SELECT api_key,\n  (SELECT max(status) FROM events) AS m\nFROM events",
            ),
            (
                "IN of a subquery",
                "SELECT api_key\nFROM events\nWHERE country IN (SELECT country FROM events)",
            ),
            (
                "EXISTS",
                "SELECT api_key\nFROM events AS e\nWHERE EXISTS (SELECT 1 FROM events AS f WHERE f.api_key = e.api_key)",
            ),
            (
                "a recursive CTE",
                "WITH RECURSIVE r AS (\n  SELECT api_key FROM events\n  UNION ALL\n  SELECT api_key FROM r)\nSELECT api_key FROM r",
            ),
            ("no table", "SELECT 'x' AS api_key"),
            ("VALUES", "VALUES ('x')"),
            (
                "unnest",
                "SELECT api_key, unnest(scopes) AS scope\nFROM events",
            ),
            ("EXPLAIN", "EXPLAIN SELECT api_key FROM events"),
            (
                "MATCH_RECOGNIZE",
                "SELECT api_key\nFROM events MATCH_RECOGNIZE (PARTITION BY api_key ORDER BY event_time PATTERN (a b) DEFINE a AS status = 401, b AS status = 200)",
            ),
            (
                "now()",
                "SELECT api_key\nFROM events\nWHERE event_time > now() - INTERVAL '1 hour'",
            ),
            (
                "current_timestamp",
                "SELECT api_key, current_timestamp AS t\nFROM events",
            ),
            (
                "current_date",
                "SELECT api_key\nFROM events\nWHERE to_date('2024-01-01') < current_date",
            ),
            (
                "random()",
                "SELECT api_key\nFROM events\nWHERE random() < 0.1",
            ),
            ("uuid()", "SELECT api_key, uuid() AS id\nFROM events"),
            ("version()", "SELECT api_key, version() AS v\nFROM events"),
            (
                "a parameter",
                "SELECT api_key\nFROM events\nWHERE status = $1",
            ),
        ],
    );
}

#[test]
fn windows_that_are_none_are_refused() {
    queries(
        "windows",
        &[
            (
                "months",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 month')\nGROUP BY api_key, window_end",
            ),
            (
                "years",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 year')\nGROUP BY api_key, window_end",
            ),
            (
                "nothing",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '0 seconds')\nGROUP BY api_key, window_end",
            ),
            (
                "less than nothing",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '-1 minute')\nGROUP BY api_key, window_end",
            ),
            (
                "microseconds",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '10 microseconds')\nGROUP BY api_key, window_end",
            ),
            (
                "a number",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, 60)\nGROUP BY api_key, window_end",
            ),
            (
                "a column as the size",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, status)\nGROUP BY api_key, window_end",
            ),
            (
                "too few arguments",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, INTERVAL '1 minute')\nGROUP BY api_key, window_end",
            ),
            (
                "a subquery as the table",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble((SELECT * FROM events), event_time, INTERVAL '1 minute')\nGROUP BY api_key, window_end",
            ),
            (
                "a time that is none",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, record_time, INTERVAL '1 minute')\nGROUP BY api_key, window_end",
            ),
            (
                "a text as the time",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, country, INTERVAL '1 minute')\nGROUP BY api_key, window_end",
            ),
            (
                "an unknown time",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, event_tim, INTERVAL '1 minute')\nGROUP BY api_key, window_end",
            ),
            (
                "a fill of nothing",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 minute', fill => 0)\nGROUP BY api_key, window_end",
            ),
            (
                "a fill below nothing",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 minute', fill => -1)\nGROUP BY api_key, window_end",
            ),
            (
                "a fill of too much",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 minute', fill => 1001)\nGROUP BY api_key, window_end",
            ),
            (
                "a fill by half",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 minute', fill => 1.5)\nGROUP BY api_key, window_end",
            ),
            (
                "a fill by a column",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 minute', fill => status)\nGROUP BY api_key, window_end",
            ),
            (
                "a fill in words",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 minute', fill => 'three')\nGROUP BY api_key, window_end",
            ),
            (
                "a fill that is compared",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 minute', fill = 3)\nGROUP BY api_key, window_end",
            ),
            (
                "a fill of hop",
                "SELECT api_key, window_end, count(*) AS n\nFROM hop(events, event_time, INTERVAL '1 minute', INTERVAL '5 minutes', fill => 3)\nGROUP BY api_key, window_end",
            ),
            (
                "a fill of session",
                "SELECT api_key, window_end, count(*) AS n\nFROM session(events, event_time, INTERVAL '1 minute', api_key, fill => 3)\nGROUP BY api_key, window_end",
            ),
            (
                "a fill without a key",
                "SELECT window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 minute', fill => 3)\nGROUP BY window_end",
            ),
            (
                "a fill by a float",
                "SELECT latitude, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 minute', fill => 3)\nGROUP BY latitude, window_end",
            ),
            (
                "a fill without GROUP BY",
                "SELECT api_key, window_end\nFROM tumble(events, event_time, INTERVAL '1 minute', fill => 3)",
            ),
            (
                "an unknown table",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(event, event_time, INTERVAL '1 minute')\nGROUP BY api_key, window_end",
            ),
        ],
    );
}

#[test]
fn aggregates_that_are_not_incremental_are_refused() {
    let query = |aggregate: &str| {
        format!(
            "SELECT api_key,\n       window_end,\n       {aggregate} AS x\nFROM tumble(events, event_time, INTERVAL '1 minute')\nGROUP BY api_key, window_end"
        )
    };
    let aggregates = [
        "median(status)",
        "array_agg(country)",
        "string_agg(country, ',')",
        "approx_distinct(country)",
        "corr(latitude, longitude)",
        "sum(DISTINCT status)",
        "max(scopes)",
        "sum(country)",
        "count(status, country)",
        "sum(status ORDER BY event_time)",
        "max(country) IGNORE NULLS",
    ];
    let queries_of: Vec<(&str, String)> = aggregates
        .iter()
        .map(|aggregate| (*aggregate, query(aggregate)))
        .collect();
    let borrowed: Vec<(&str, &str)> = queries_of
        .iter()
        .map(|(name, query)| (*name, query.as_str()))
        .collect();
    queries("aggregates", &borrowed);
}

#[test]
fn orders_that_are_none_are_refused() {
    queries(
        "over",
        &[
            (
                "no PARTITION BY",
                "SELECT api_key, lag(country) OVER (ORDER BY event_time) AS c\nFROM events",
            ),
            (
                "nothing at all",
                "SELECT api_key, row_number() OVER () AS n\nFROM events",
            ),
            (
                "no ORDER BY",
                "SELECT api_key, lag(country) OVER (PARTITION BY api_key) AS c\nFROM events",
            ),
            (
                "DESC",
                "SELECT api_key,\n  lag(country) OVER (PARTITION BY api_key ORDER BY event_time DESC) AS c\nFROM events",
            ),
            (
                "two orders",
                "SELECT api_key, lag(country) OVER (PARTITION BY api_key ORDER BY event_time, status) AS c\nFROM events",
            ),
            (
                "no event time",
                "SELECT api_key, lag(country) OVER (PARTITION BY api_key ORDER BY status) AS c\nFROM events",
            ),
            (
                "record time",
                "SELECT api_key, lag(country) OVER (PARTITION BY api_key ORDER BY record_time) AS c\nFROM events",
            ),
            (
                "an expression of the time",
                "SELECT api_key, lag(country) OVER (PARTITION BY api_key ORDER BY event_time + INTERVAL '1 minute') AS c\nFROM events",
            ),
            (
                "a time behind an order by windows",
                "SELECT api_key, lag(o) OVER (PARTITION BY api_key ORDER BY event_time) AS c\nFROM (SELECT api_key, event_time, lag(_offset) OVER (PARTITION BY api_key ORDER BY window_end) AS o FROM tumble(events, event_time, INTERVAL '1 minute'))",
            ),
            (
                "a bound that has no partner",
                "WITH m AS (SELECT api_key, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_end),\n  j AS (SELECT a.api_key, a.n, b.window_end AS other_end FROM m a LEFT JOIN m b ON a.api_key = b.api_key AND a.window_end = b.window_end AND b.n > 1)\nSELECT api_key, lag(n) OVER (PARTITION BY api_key ORDER BY other_end) AS c\nFROM j",
            ),
            (
                "a bound that has no partner, of a RIGHT JOIN",
                "WITH m AS (SELECT api_key, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_end)\nSELECT b.api_key, lag(b.n) OVER (PARTITION BY b.api_key ORDER BY a.window_end) AS c\nFROM m a RIGHT JOIN m b ON a.api_key = b.api_key AND a.window_end = b.window_end",
            ),
            (
                "GROUP BY a bound that has no partner",
                "WITH m AS (SELECT api_key, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_end),\n  j AS (SELECT a.api_key, a.n, b.window_end AS other_end FROM m a LEFT JOIN m b ON a.api_key = b.api_key AND a.window_end = b.window_end AND b.n > 1)\nSELECT api_key, other_end, sum(n) AS s\nFROM j\nGROUP BY api_key, other_end",
            ),
            (
                "a window over a bound that has no partner",
                "WITH m AS (SELECT api_key, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_end),\n  j AS (SELECT a.api_key, a.n, b.window_end AS other_end FROM m a LEFT JOIN m b ON a.api_key = b.api_key AND a.window_end = b.window_end AND b.n > 1)\nSELECT api_key, window_end, sum(n) AS s\nFROM tumble(j, other_end, INTERVAL '1 hour')\nGROUP BY api_key, window_end",
            ),
            (
                "a join on a bound that has no partner",
                "WITH m AS (SELECT api_key, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_end),\n  j AS (SELECT a.api_key, a.n, b.window_end AS other_end FROM m a LEFT JOIN m b ON a.api_key = b.api_key AND a.window_end = b.window_end AND b.n > 1)\nSELECT j.api_key, m.n\nFROM j\nJOIN m ON j.other_end = m.window_end AND j.api_key = m.api_key",
            ),
            (
                "lead",
                "SELECT api_key, lead(country) OVER (PARTITION BY api_key ORDER BY event_time) AS s\nFROM events",
            ),
            (
                "lag ahead",
                "SELECT api_key, lag(country, -1) OVER (PARTITION BY api_key ORDER BY event_time) AS s\nFROM events",
            ),
            (
                "lag by a column",
                "SELECT api_key, lag(country, status) OVER (PARTITION BY api_key ORDER BY event_time) AS s\nFROM events",
            ),
            (
                "lag with a computed default",
                "SELECT api_key, lag(country, 1, city) OVER (PARTITION BY api_key ORDER BY event_time) AS s\nFROM events",
            ),
            (
                "lag with a default of another type",
                "SELECT api_key, lag(status, 1, 'none') OVER (PARTITION BY api_key ORDER BY event_time) AS s\nFROM events",
            ),
            (
                "FILTER",
                "SELECT api_key, lag(country) FILTER (WHERE status = 1) OVER (PARTITION BY api_key ORDER BY event_time) AS s\nFROM events",
            ),
            (
                "a frame",
                "SELECT api_key, first_seen(country, event_time) OVER (PARTITION BY api_key ORDER BY event_time ROWS BETWEEN 5 PRECEDING AND CURRENT ROW) AS s\nFROM events",
            ),
            (
                "FOLLOWING",
                "SELECT api_key, lag(country) OVER (PARTITION BY api_key ORDER BY event_time ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS s\nFROM events",
            ),
            (
                "IGNORE NULLS where there is none",
                "SELECT api_key, first_seen(country, event_time) IGNORE NULLS OVER (PARTITION BY api_key ORDER BY event_time) AS s\nFROM events",
            ),
            (
                "first_seen of a double",
                "SELECT api_key, first_seen(latitude, event_time) OVER (PARTITION BY api_key ORDER BY event_time) AS s\nFROM events",
            ),
            (
                "first_seen of one argument",
                "SELECT api_key, first_seen(country) OVER (PARTITION BY api_key ORDER BY event_time) AS s\nFROM events",
            ),
            (
                "baseline without a step",
                "SELECT api_key, baseline(status, event_time) OVER (PARTITION BY api_key ORDER BY event_time) AS s\nFROM events",
            ),
            (
                "baseline of milliseconds",
                "SELECT api_key, baseline(n, window_end) OVER (PARTITION BY api_key ORDER BY window_end) AS b\nFROM (SELECT api_key, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '500 milliseconds') GROUP BY api_key, window_end)",
            ),
            (
                "baseline of a text",
                "SELECT api_key, baseline(country, event_time, 60) OVER (PARTITION BY api_key ORDER BY event_time) AS s\nFROM events",
            ),
            (
                "a window function in WHERE",
                "SELECT api_key\nFROM events\nWHERE row_number() OVER (PARTITION BY api_key ORDER BY event_time) = 1",
            ),
        ],
    );
}

#[test]
fn unknown_names_are_refused_with_the_nearest_one() {
    queries(
        "names",
        &[
            ("a column", "SELECT api_key,\n       contry\nFROM events"),
            (
                "a column like none",
                "SELECT api_key, zzzzz\nFROM (SELECT api_key, status FROM events)",
            ),
            (
                "a column in WHERE",
                "SELECT api_key\nFROM events\nWHERE statuss > 400",
            ),
            (
                "a column of a table",
                "SELECT e.api_key, e.contry\nFROM events AS e",
            ),
            (
                "a column in GROUP BY",
                "SELECT api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 minute')\nGROUP BY api_key, windowend",
            ),
            (
                "a column that is a text in quotes",
                "SELECT api_key\nFROM events\nWHERE country = \"DE\"",
            ),
            (
                "a function",
                "SELECT api_key,\n       lowr(country) AS c\nFROM events",
            ),
            (
                "an aggregate",
                "SELECT api_key, window_end, cont(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 minute')\nGROUP BY api_key, window_end",
            ),
            (
                "a window function",
                "SELECT api_key, firstseen(country, event_time) OVER (PARTITION BY api_key ORDER BY event_time) AS f\nFROM events",
            ),
            ("a table", "SELECT api_key\nFROM evnts"),
            ("a table like none", "SELECT api_key\nFROM zzzzz"),
            (
                "a table function",
                "SELECT api_key\nFROM tumbel(events, event_time, INTERVAL '1 minute')",
            ),
            (
                "a field of a struct",
                "SELECT api_key, f['isnew'] AS n\nFROM (SELECT api_key, first_seen(country, event_time) OVER (PARTITION BY api_key ORDER BY event_time) AS f FROM events)",
            ),
            (
                "types that do not fit",
                "SELECT api_key\nFROM events\nWHERE country > 5 AND scopes = 3",
            ),
            (
                "a sum of text",
                "SELECT api_key, country + 1 AS x\nFROM events",
            ),
            (
                "a hidden name",
                "SELECT api_key, status AS __time\nFROM events",
            ),
            (
                "a hidden name in a subquery",
                "SELECT api_key\nFROM (SELECT api_key, status AS __lineage_0 FROM events)",
            ),
            (
                "two columns of one name",
                "SELECT api_key, country AS api_key\nFROM events",
            ),
            (
                "two columns of one name, unnamed",
                "SELECT api_key, api_key\nFROM events",
            ),
            (
                "a column that is not grouped",
                "SELECT api_key, country, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 minute')\nGROUP BY api_key, window_end",
            ),
        ],
    );
}

#[test]
fn what_is_no_select_is_refused() {
    queries(
        "statements",
        &[
            (
                "a word too many",
                "SELECT api_key FROM events WHERE WHERE status = 1",
            ),
            (
                "a missing bracket",
                "SELECT api_key\nFROM events\nWHERE (status = 1",
            ),
            (
                "a missing quote",
                "SELECT api_key\nFROM events\nWHERE country = 'DE",
            ),
            ("a misspelt SELECT", "SELEKT api_key FROM events"),
            ("nothing", ""),
            ("a comment alone", "-- nothing here"),
            (
                "two statements",
                "SELECT api_key FROM events;\nSELECT api_key FROM events;",
            ),
            ("CREATE TABLE", "CREATE TABLE t (a INT)"),
            ("CREATE VIEW", "CREATE VIEW v AS SELECT api_key FROM events"),
            ("INSERT", "INSERT INTO events SELECT * FROM events"),
            ("DELETE", "DELETE FROM events WHERE status = 1"),
            ("UPDATE", "UPDATE events SET status = 1"),
            ("DROP", "DROP TABLE events"),
            ("COPY", "COPY events TO 'file.csv'"),
            ("SET", "SET a = 1"),
            ("BEGIN", "BEGIN"),
        ],
    );
}

#[test]
fn headers_that_say_what_is_not_so_are_refused() {
    let select = "SELECT api_key, status AS code FROM events\n";
    let headers: &[(&str, String)] = &[
        ("no header", select.to_owned()),
        (
            "a header in dashes",
            format!("-- severity = \"low\"\n{select}"),
        ),
        (
            "a header without an end",
            format!("/*\nseverity = \"low\"\n{select}"),
        ),
        (
            "an unknown key",
            format!("/*\nseverity = \"low\"\nentity = \"api_key\"\nsumary = \"x\"\n*/\n{select}"),
        ),
        (
            "an unknown key like none",
            format!("/*\nseverity = \"low\"\nentity = \"api_key\"\nzzz = \"x\"\n*/\n{select}"),
        ),
        ("nothing in it", format!("/*\n*/\n{select}")),
        ("no entity", format!("/* severity = \"low\" */\n{select}")),
        (
            "a bad severity",
            format!("/*\nentity = \"api_key\"\nseverity = \"hihg\"\n*/\n{select}"),
        ),
        (
            "a bad action",
            format!(
                "/*\nentity = \"api_key\"\nseverity = \"high\"\naction = \"suspnd\"\n*/\n{select}"
            ),
        ),
        (
            "a bad duration",
            format!(
                "/*\nentity = \"api_key\"\nseverity = \"high\"\ndedup = \"1 fortnight\"\n*/\n{select}"
            ),
        ),
        (
            "a duration without a unit",
            format!("/*\nentity = \"api_key\"\nseverity = \"high\"\nlift_after = 60\n*/\n{select}"),
        ),
        (
            "a retention in months",
            format!(
                "/*\nseverity = \"low\"\nentity = \"api_key\"\nretention = \"3 months\"\n*/\n{select}"
            ),
        ),
        (
            "no retention at all",
            format!(
                "/*\nseverity = \"low\"\nentity = \"api_key\"\nretention = \"0s\"\n*/\n{select}"
            ),
        ),
        (
            "a retention below nothing",
            format!(
                "/*\nseverity = \"low\"\nentity = \"api_key\"\nretention = \"-1d\"\n*/\n{select}"
            ),
        ),
        (
            "a retention of less than a millisecond",
            format!(
                "/*\nseverity = \"low\"\nentity = \"api_key\"\nretention = \"1500us\"\n*/\n{select}"
            ),
        ),
        (
            "a retention for ever",
            format!(
                "/*\nseverity = \"low\"\nentity = \"api_key\"\nretention = \"40000d\"\n*/\n{select}"
            ),
        ),
        ("no TOML", format!("/*\nseverity: low\n*/\n{select}")),
        (
            "a text without quotes",
            format!("/*\nseverity = low\n*/\n{select}"),
        ),
        (
            "a key twice",
            format!("/*\nseverity = \"low\"\nseverity = \"low\"\n*/\n{select}"),
        ),
        (
            "an unknown entity",
            format!(
                "/*\nseverity = \"low\"\nfinds = \"an entity\"\nentity = \"api_ky\"\n*/\n{select}"
            ),
        ),
        (
            "an unknown column in the summary",
            format!(
                "/*\nseverity = \"low\"\nentity = \"api_key\"\nsummary = \"{{api_key}}: {{cod}} and {{cod}} and {{country}}\"\n*/\n{select}"
            ),
        ),
        (
            "an unknown column in why",
            format!(
                "/*\nseverity = \"low\"\nentity = \"api_key\"\nwhy = [{{ observed = \"code\", expected = \"coed\", surprise = \"zzz\" }}]\n*/\n{select}"
            ),
        ),
        (
            "an unknown key in why",
            format!(
                "/*\nseverity = \"low\"\nentity = \"api_key\"\nwhy = [{{ observd = \"code\" }}]\n*/\n{select}"
            ),
        ),
    ];
    let mut text = String::new();
    for (title, rule) in headers {
        writeln!(text, "## {title}\n\n{}", problems(&[], &[("r", rule)])).unwrap();
    }
    assert_refused("headers", &text);
}

const ACTION: &str = "/*\nseverity = \"high\"\nentity = \"api_key\"\nfinds = \"an action\"\naction = \"suspend\"\n*/\n";

#[test]
fn an_action_on_calls_that_anybody_can_send_is_refused() {
    let cases: &[(&str, &[(&str, &str)], &str)] = &[
        ("no filter", &[], "SELECT api_key FROM events"),
        (
            "another filter",
            &[],
            "SELECT api_key FROM events WHERE auth_result <> 'bad_key'",
        ),
        (
            "a filter with OR",
            &[],
            "SELECT api_key FROM events WHERE auth_result = 'ok' OR status = 200",
        ),
        (
            "a filter above state",
            &[],
            "SELECT api_key FROM (SELECT api_key, auth_result, lag(country) OVER (PARTITION BY api_key ORDER BY event_time) AS c FROM events) WHERE auth_result = 'ok' AND c = 'DE'",
        ),
        (
            "a filter of an aggregate",
            &[],
            "SELECT api_key, window_end, count(*) FILTER (WHERE auth_result = 'ok') AS n FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_end",
        ),
        (
            "a view without a filter",
            &[(
                "v",
                "SELECT api_key, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_end",
            )],
            "SELECT api_key FROM v WHERE n > 5",
        ),
        (
            "a filter above a view's state",
            &[(
                "v",
                "SELECT api_key, auth_result, lag(country) OVER (PARTITION BY api_key ORDER BY event_time) AS c FROM events",
            )],
            "SELECT api_key FROM v WHERE auth_result = 'ok'",
        ),
        (
            "a column of that name",
            &[("v", "SELECT api_key, 'ok' AS auth_result FROM events")],
            "SELECT api_key FROM v WHERE auth_result = 'ok'",
        ),
        (
            "another column of that name",
            &[("v", "SELECT api_key, country AS auth_result FROM events")],
            "SELECT api_key FROM v WHERE auth_result = 'ok'",
        ),
    ];
    let mut text = String::new();
    for (title, views, query) in cases {
        writeln!(
            text,
            "## {title}\n\n{}",
            problems(views, &[("r", &format!("{ACTION}{query}\n"))])
        )
        .unwrap();
    }
    assert_refused("actions", &text);
}

#[test]
fn an_action_on_authenticated_calls_is_allowed_wherever_the_filter_stands() {
    let ok: &str = "SELECT *, auth_result AS result FROM events WHERE auth_result = 'ok'";
    let cases: &[(&[(&str, &str)], &str)] = &[
        (
            &[],
            "SELECT api_key FROM events WHERE 'ok' = auth_result AND status = 1",
        ),
        (
            &[],
            "SELECT api_key FROM events WHERE auth_result IN ('ok')",
        ),
        (
            &[],
            "SELECT api_key FROM (SELECT api_key, auth_result AS a FROM events) WHERE a = 'ok'",
        ),
        (
            &[("v", ok)],
            "SELECT api_key, lag(country) OVER (PARTITION BY api_key ORDER BY event_time) AS c FROM v",
        ),
        (
            &[("v", "SELECT *, auth_result AS result FROM events")],
            "SELECT api_key FROM v WHERE result = 'ok'",
        ),
        (
            &[
                ("v", "SELECT *, auth_result AS result FROM events"),
                ("w", "SELECT api_key, result AS r FROM v"),
            ],
            "SELECT api_key FROM w WHERE r = 'ok'",
        ),
        (
            &[
                ("v", ok),
                (
                    "w",
                    "SELECT api_key, window_end, count(*) AS n FROM tumble(v, event_time, INTERVAL '1 minute') GROUP BY api_key, window_end",
                ),
            ],
            "SELECT api_key FROM w WHERE n > 5",
        ),
    ];
    for (views, query) in cases {
        assert_eq!(
            problems(views, &[("r", &format!("{ACTION}{query}\n"))]),
            "it compiles\n",
            "{query}"
        );
    }
}

#[test]
fn views_are_refused_as_rules_are() {
    let rule = |query: &str| format!("{HEADER}{query}\n");
    let cases: &[(&str, &[(&str, &str)], String)] = &[
        (
            "a problem in a view, and in what reads it",
            &[
                ("v", "SELECT api_key, contry FROM events"),
                ("w", "SELECT api_key FROM v"),
            ],
            rule("SELECT api_key FROM v"),
        ),
        (
            "an aggregate in a view",
            &[
                (
                    "v",
                    "SELECT api_key, window_end, median(status) AS a FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_end",
                ),
                ("w", "SELECT * FROM v"),
            ],
            rule("SELECT api_key FROM w"),
        ),
        (
            "an aggregate in a view that nobody reads",
            &[(
                "v",
                "SELECT api_key, window_end, median(status) AS a FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_end",
            )],
            rule("SELECT api_key FROM events"),
        ),
        (
            "two views that read each other",
            &[
                ("v", "SELECT api_key FROM w"),
                ("w", "SELECT api_key FROM v"),
            ],
            rule("SELECT api_key FROM events"),
        ),
        (
            "a view named events",
            &[("events", "SELECT api_key FROM events")],
            rule("SELECT api_key FROM events"),
        ),
        (
            "a view with two columns of one name",
            &[("v", "SELECT api_key, country AS api_key FROM events")],
            rule("SELECT api_key FROM events"),
        ),
        (
            "a view's column misspelt",
            &[(
                "usage",
                "SELECT api_key, window_end, count(*) AS requests FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_end",
            )],
            rule("SELECT api_key, request\nFROM usage"),
        ),
        (
            "a view misspelt",
            &[("usage_10m", "SELECT api_key FROM events")],
            rule("SELECT api_key\nFROM usage_1m"),
        ),
    ];
    let mut text = String::new();
    for (title, views, rule) in cases {
        writeln!(text, "## {title}\n\n{}", problems(views, &[("r", rule)])).unwrap();
    }
    assert_refused("views", &text);
}

#[test]
fn a_stateful_node_without_the_topics_key_is_refused_by_run() {
    queries(
        "unkeyed",
        &[
            (
                "GROUP BY",
                "SELECT country AS api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 minute')\nGROUP BY country, window_end",
            ),
            (
                "GROUP BY the window alone",
                "SELECT 'all' AS api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 minute')\nGROUP BY window_end",
            ),
            (
                "GROUP BY an expression of the key",
                "SELECT lower(api_key) AS api_key, window_end, count(*) AS n\nFROM tumble(events, event_time, INTERVAL '1 minute')\nGROUP BY lower(api_key), window_end",
            ),
            (
                "PARTITION BY",
                "SELECT country AS api_key, lag(api_key) OVER (PARTITION BY country ORDER BY event_time) AS k\nFROM events",
            ),
        ],
    );
}
