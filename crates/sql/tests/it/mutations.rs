//! Damaged rules: whatever tokens are lost, doubled or swapped, `compile` answers and never panics.

use std::panic::AssertUnwindSafe;

use keyhawk_engine::Machine;
use keyhawk_sql::{RuleFiles, compile};
use keyhawk_testkit::random::generator;
use rand::RngExt;

use crate::events::{HEADER, file, schema};

const RULES: &[&str] = &[
    "SELECT api_key, window_start, window_end, count(*) AS n, count(DISTINCT client_ip) FILTER (WHERE status > 1) AS ips, sum(response_bytes) AS b FROM tumble(events, event_time, INTERVAL '10 minutes') WHERE auth_result = 'ok' GROUP BY api_key, window_start, window_end HAVING count(*) >= 50",
    "SELECT api_key, b['expected'] AS e FROM (SELECT *, baseline(n, window_end) OVER (PARTITION BY api_key ORDER BY window_end) AS b FROM v) WHERE b['surprise'] > 4 AND n >= 100",
    "SELECT api_key, lag(CASE WHEN status > 1 THEN country END, 2, 'x') IGNORE NULLS OVER (PARTITION BY api_key ORDER BY event_time) AS c, row_number() OVER (PARTITION BY api_key, country ORDER BY event_time) AS r FROM events QUALIFY row_number() OVER (PARTITION BY api_key, country ORDER BY event_time) % 2 = 1",
    "WITH a AS (SELECT *, first_seen(country, event_time) OVER (PARTITION BY api_key ORDER BY event_time) AS f FROM events WHERE country IS NOT NULL AND ip_kind NOT IN ('vpn', 'tor')) SELECT a.api_key, CAST(a.f['values'] AS DOUBLE) / 2 AS x, round(latitude * -1.5) AS y FROM a WHERE f['is_new']",
    "SELECT api_key, window_end, sum(n) AS n, max(window_time) AS t FROM tumble(v, window_end, INTERVAL '1 hour') AS h GROUP BY api_key, window_end",
];

const VIEW: &str = "SELECT api_key, window_start, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_start, window_end";

/// Words, numbers, texts and single signs; the spaces between are lost.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut quoted = false;
    let mut open = false;
    for c in text.chars() {
        let word = quoted || c == '\'' || c.is_alphanumeric() || c == '_';
        match tokens.last_mut() {
            Some(last) if open && word => last.push(c),
            Some(last) if c == '.' && last.bytes().all(|byte| byte.is_ascii_digit()) => {
                last.push(c);
                open = true;
                continue;
            }
            Some(last) if (last == ">" || last == "<") && (c == '=' || c == '>') => last.push(c),
            _ if c.is_whitespace() => {}
            _ => tokens.push(c.to_string()),
        }
        quoted ^= c == '\'';
        open = word;
    }
    tokens
}

const STRANGE: &[&str] = &[
    "",
    "''",
    "'",
    "\"",
    "(",
    ")",
    ",",
    ";",
    "*",
    "/*",
    "*/",
    "--",
    "NULL",
    "0",
    "-1",
    "9223372036854775807",
    "9223372036854775808",
    "1e400",
    "INTERVAL '1 month'",
    "INTERVAL '-5 days'",
    "INTERVAL '9223372036854775807 days'",
    "DISTINCT",
    "OVER ()",
    "ORDER BY 1",
    "LIMIT 1",
    "UNION ALL",
    "JOIN",
    "__time",
    "event_time",
    "window_end",
    "now()",
    "unnest(scopes)",
    "é",
    "\u{0}",
    "日本",
    "$1",
    "[1, 2]",
    "{a: 1}",
    "x -> x",
    "CASE",
    "END",
    "EXISTS",
    "(SELECT 1)",
    "GROUP BY ALL",
    "ROLLUP",
    "ROWS BETWEEN 1 PRECEDING AND CURRENT ROW",
    "LATERAL",
    "TABLESAMPLE",
    "PIVOT",
    "::timestamp",
];

#[test]
fn damaged_rules_never_panic() {
    let seed = 20_260_101;
    let mut random = generator(seed);
    let schema = schema();
    let mut running = 0;
    for rule in RULES {
        let text = format!("{HEADER}{}", tokens(rule).join(" "));
        let files = RuleFiles {
            views: vec![file("views/v.sql", VIEW)],
            rules: vec![file("rules/r.sql", &text)],
            tables: Vec::new(),
        };
        if let Err(problems) = compile(&files, &schema, "api_key") {
            panic!("{}", problems[0]);
        }
    }
    for round in 0..3000 {
        let mut rule = tokens(RULES[random.random_range(0..RULES.len())]);
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..rule.len());
            let other = random.random_range(0..rule.len());
            match random.random_range(0..6) {
                0 if rule.len() > 1 => drop(rule.remove(at)),
                1 => rule.insert(at, rule[other].clone()),
                2 => rule.swap(at, other),
                3 => rule[at] = rule[other].clone(),
                4 => rule[at] = STRANGE[random.random_range(0..STRANGE.len())].to_owned(),
                _ => {
                    let donor = tokens(RULES[random.random_range(0..RULES.len())]);
                    let from = random.random_range(0..donor.len());
                    let to = (from + random.random_range(1..8)).min(donor.len());
                    rule.splice(at..at, donor[from..to].iter().cloned());
                }
            }
        }
        let mut text = format!(
            "{HEADER}{}",
            rule.join(if round % 7 == 0 { "\n" } else { " " })
        );
        if random.random_range(0..20) == 0 {
            // Cut anywhere, the header included.
            let cut = random.random_range(0..text.len());
            text.truncate(text.floor_char_boundary(cut));
        }
        let files = RuleFiles {
            views: vec![file("views/v.sql", VIEW)],
            rules: vec![file("rules/r.sql", &text)],
            tables: Vec::new(),
        };
        let answer = std::panic::catch_unwind(AssertUnwindSafe(|| {
            match compile(&files, &schema, "api_key") {
                Ok(compiled) => Machine::new(compiled.program, "test").map(|_| true),
                Err(problems) => {
                    assert!(!problems.is_empty());
                    problems
                        .iter()
                        .for_each(|problem| assert!(!problem.to_string().is_empty()));
                    Ok(false)
                }
            }
        }));
        match answer {
            Ok(Ok(runs)) => running += usize::from(runs),
            Ok(Err(error)) => {
                panic!("seed {seed}, round {round}: it compiles and cannot run: {error}\n{text}")
            }
            Err(_) => panic!("seed {seed}, round {round}: a panic\n{text}"),
        }
    }
    eprintln!("seed {seed}: of 3000 damaged rules {running} still run");
    assert!(running > 50, "the damage is too great to test anything");
}
