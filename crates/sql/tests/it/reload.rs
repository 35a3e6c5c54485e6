//! Rules reload while they run: a machine goes on with the program of other files. What both have finds
//! what it would have found; what began anew is withheld until it is whole.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use keyhawk_engine::{Machine, Step};
use keyhawk_sql::Compiled;
use keyhawk_testkit::random::generator;
use rand::RngExt;

use crate::events::{HEADER, Log, compiled, logs, try_compile};
use crate::identity::{Case, text};

const DEPLOYMENT: &str = "test";

/// Rules that come and go beside those of a case: they read columns that the others may not read, test
/// conditions that the others test or do not, and sort by the total order.
const BESIDE: [(&str, &str); 3] = [
    (
        "beside_order",
        "SELECT api_key, country, client_ip, status, response_bytes, latitude, is_hosting, path,
         row_number() OVER (PARTITION BY api_key ORDER BY event_time) AS n FROM events",
    ),
    (
        "beside_condition",
        "SELECT api_key, event_time, lag(client_ip) OVER (PARTITION BY api_key ORDER BY event_time) AS before
         FROM events WHERE auth_result = 'ok' AND status > 100",
    ),
    (
        "beside_window",
        "SELECT api_key, window_start, window_end, window_time, count(*) AS n, max(path) AS p
         FROM tumble(events, event_time, INTERVAL '1 minute') WHERE auth_result <> 'ok'
         GROUP BY api_key, window_start, window_end, window_time",
    ),
];

/// A finding: its rule, its time, all of it in words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    rule: String,
    time_ms: i64,
    text: String,
}

fn found(compiled: &Compiled, step: &Step) -> Vec<Found> {
    let texts: Vec<Vec<String>> = step
        .findings
        .iter()
        .map(|findings| text(findings, &compiled.rules[findings.rule].name))
        .collect();
    let places = step.order.iter().map(|place| Found {
        rule: compiled.rules[step.findings[place.findings].rule]
            .name
            .clone(),
        time_ms: step.findings[place.findings].times[place.row],
        text: texts[place.findings][place.row].clone(),
    });
    places.collect()
}

fn machine(compiled: &Compiled) -> Machine {
    Machine::new(Arc::clone(&compiled.program), DEPLOYMENT).unwrap()
}

fn push(machine: &mut Machine, compiled: &Compiled, log: &Log, rows: Range<usize>) -> Vec<Found> {
    let batch = log.batch(compiled.program.input(), rows.clone());
    let step = machine.process(&batch, &log.watermarks[rows]).unwrap();
    found(compiled, &step)
}

fn finish(machine: &mut Machine, compiled: &Compiled) -> Vec<Found> {
    found(compiled, &machine.finish().unwrap())
}

fn of_rules(found: Vec<Found>, rules: &BTreeSet<&str>) -> Vec<Found> {
    let found = found.into_iter();
    found
        .filter(|found| rules.contains(found.rule.as_str()))
        .collect()
}

/// With rules that come and go beside it, a case finds what it finds alone.
pub fn check(case: &Case, seeds: Range<u64>) {
    let (name, views, rules) = case;
    let alone = compiled(views, rules);
    let names: BTreeSet<&str> = rules.iter().map(|(name, _)| *name).collect();
    let with = |beside: &[(&'static str, &'static str)]| {
        let all: Vec<(&str, &str)> = rules
            .iter()
            .copied()
            .chain(beside.iter().copied())
            .collect();
        compiled(views, &all)
    };
    let sets = [with(&BESIDE), with(&BESIDE[1..2]), compiled(views, rules)];
    for seed in seeds {
        let partitions = if alone.unkeyed.is_empty() { 2 } else { 1 };
        for log in &logs(seed, partitions, 60 + (seed as usize * 37) % 200) {
            let mut plain = machine(&alone);
            let mut reloaded = machine(&alone);
            let mut now = &alone;
            let mut random = generator(seed + 9_000);
            for row in 0..log.rows.len() {
                if random.random_bool(0.1) {
                    now = &sets[random.random_range(0..sets.len())];
                    reloaded.adopt(Arc::clone(&now.program)).unwrap();
                    let warming: Vec<&str> = reloaded
                        .warming()
                        .map(|(rule, _)| now.rules[rule].name.as_str())
                        .filter(|rule| names.contains(rule))
                        .collect();
                    assert_eq!(warming, [""; 0], "{name}, seed {seed}, row {row}");
                }
                let expected = push(&mut plain, &alone, log, row..row + 1);
                let step = push(&mut reloaded, now, log, row..row + 1);
                assert_eq!(
                    of_rules(step, &names),
                    expected,
                    "{name}, seed {seed}, row {row}"
                );
            }
            assert_eq!(
                of_rules(finish(&mut reloaded, now), &names),
                finish(&mut plain, &alone),
                "{name}, seed {seed}, at the end"
            );
        }
    }
}

const MINUTE: &str =
    "SELECT api_key, window_start, window_end, count(*) AS calls, max(country) AS country
 FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_start, window_end";
const GROWTH: &str =
    "SELECT *, lag(calls) OVER (PARTITION BY api_key ORDER BY window_end) AS before,
 baseline(calls, window_end) OVER (PARTITION BY api_key ORDER BY window_end) AS b FROM minute";

fn states(compiled: &Compiled) -> BTreeSet<&str> {
    let nodes = compiled.program.nodes().iter();
    nodes
        .filter(|node| node.kind.is_stateful())
        .map(|node| node.state())
        .collect()
}

fn with_views(growth: &str, minute: &str, rules: &[(&str, &str)]) -> Compiled {
    compiled(&[("minute", minute), ("growth", growth)], rules)
}

const LARGE: (&str, &str) = (
    "large",
    "SELECT api_key, window_end, calls FROM growth WHERE calls > 2",
);
const JUMP: (&str, &str) = (
    "jump",
    "SELECT api_key, event_time, country FROM events WHERE auth_result = 'ok'
     QUALIFY lag(country) OVER (PARTITION BY api_key ORDER BY event_time) <> country",
);

#[test]
fn a_threshold_above_a_view_is_no_part_of_what_the_view_keeps() {
    let before = with_views(GROWTH, MINUTE, &[LARGE, JUMP]);
    let edited = "SELECT api_key, window_end, calls FROM growth WHERE calls > 7 AND calls < 99";
    let after = with_views(GROWTH, MINUTE, &[("large", edited), JUMP]);
    assert_eq!(states(&before), states(&after));
    let reads_more = "SELECT api_key, window_end, country, calls FROM growth WHERE calls > 2";
    let after = with_views(GROWTH, MINUTE, &[("large", reads_more), JUMP]);
    assert_eq!(states(&before), states(&after));
}

#[test]
fn a_rule_that_reads_other_columns_changes_no_other_rule() {
    let before = with_views(GROWTH, MINUTE, &[LARGE, JUMP]);
    let rules: Vec<_> = [LARGE, JUMP].into_iter().chain(BESIDE).collect();
    let after = with_views(GROWTH, MINUTE, &rules);
    assert!(states(&before).is_subset(&states(&after)));
    assert!(states(&before).len() < states(&after).len());
}

#[test]
fn bounds_of_a_baseline_that_another_rule_reads_are_no_part_of_what_it_keeps() {
    let before = with_views(GROWTH, MINUTE, &[LARGE]);
    let bounds =
        "SELECT api_key, window_end, b['upper'] AS upper FROM growth WHERE calls > b['upper']";
    let after = with_views(GROWTH, MINUTE, &[LARGE, ("bounds", bounds)]);
    assert_eq!(states(&before), states(&after));
}

#[test]
fn another_window_is_another_state_with_all_above_it() {
    let before = with_views(GROWTH, MINUTE, &[LARGE]);
    for (edited, said) in [
        (MINUTE.replace("'1 minute'", "'2 minutes'"), "size"),
        (MINUTE.replace("count(*)", "count(country)"), "aggregate"),
        (
            MINUTE.replace("GROUP BY", "WHERE status > 1 GROUP BY"),
            "condition",
        ),
    ] {
        let after = with_views(GROWTH, &edited, &[LARGE]);
        assert_eq!(
            states(&before).intersection(&states(&after)).count(),
            0,
            "{said}"
        );
    }
    let function = GROWTH.replace("lag(calls)", "lag(calls, 2)");
    let after = with_views(&function, MINUTE, &[LARGE]);
    // The windows and their order stay, the functions over them do not.
    assert_eq!(states(&before).intersection(&states(&after)).count(), 2);
}

#[test]
fn another_retention_is_another_state_of_the_functions_alone() {
    let growth = |header: &str| format!("{header}{GROWTH}");
    let of = |header: &str| with_views(&growth(header), MINUTE, &[LARGE, JUMP]);
    let (plain, long, longer) = (
        of(""),
        of("/* retention = \"400d\" */ "),
        of("/* retention = \"401d\" */ "),
    );
    assert_eq!(states(&plain), states(&long), "400 days are the default");
    let kept = states(&long).intersection(&states(&longer)).count();
    assert_eq!(kept, states(&long).len() - 1);
}

#[test]
fn lists_of_other_lengths_are_other_nodes() {
    let list = |n: usize| {
        format!(
            "SELECT api_key, window_end, array_slice(array_agg(country), 1, {n}) AS a
             FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_end"
        )
    };
    let (short, long) = (list(1), list(3));
    let both = compiled(&[], &[("short", &short), ("long", &long)]);
    assert_eq!(states(&both).len(), 2);
}

/// Before the edit, after it, and for how long the edited rule warms up; all of it with the rule `jump`
/// beside it.
struct Edit {
    before: &'static str,
    after: &'static str,
    warmup_ms: Option<i64>,
}

const EDITS: [Edit; 8] = [
    Edit {
        before: "SELECT api_key, window_end, calls FROM growth WHERE calls > 2",
        after: "SELECT api_key, window_end, calls, before FROM growth WHERE calls > 1",
        warmup_ms: None,
    },
    Edit {
        before: "SELECT api_key, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_end",
        after: "SELECT api_key, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '2 minutes') GROUP BY api_key, window_end",
        warmup_ms: Some(120_000),
    },
    Edit {
        before: "SELECT api_key FROM events WHERE status = 7",
        after: "SELECT api_key, window_end, sum(response_bytes) AS n FROM hop(events, event_time, INTERVAL '1 minute', INTERVAL '3 minutes') GROUP BY api_key, window_end",
        warmup_ms: Some(180_000),
    },
    Edit {
        before: "SELECT api_key FROM events WHERE status = 7",
        after: "SELECT api_key, event_time, client_ip, count(*) OVER (PARTITION BY api_key ORDER BY event_time RANGE BETWEEN INTERVAL '5 minutes' PRECEDING AND CURRENT ROW) AS n FROM events",
        warmup_ms: Some(300_000),
    },
    Edit {
        before: "SELECT api_key FROM events WHERE status = 7",
        after: "SELECT api_key, window_start, window_end, count(*) AS n FROM session(events, event_time, INTERVAL '30 seconds', api_key) GROUP BY api_key, window_start, window_end",
        warmup_ms: None,
    },
    Edit {
        before: "SELECT a.api_key, a.window_end FROM minute a JOIN minute b ON a.api_key = b.api_key AND a.window_end = b.window_end",
        after: "SELECT a.api_key, a.window_end, a.calls + b.n AS n FROM minute a JOIN (SELECT api_key, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute') WHERE status > 0 GROUP BY api_key, window_end) b ON a.api_key = b.api_key AND a.window_end = b.window_end",
        warmup_ms: Some(60_000),
    },
    Edit {
        before: "SELECT api_key FROM events WHERE status = 7",
        after: "SELECT api_key, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute', fill => 2) GROUP BY api_key, window_end",
        warmup_ms: Some(180_000),
    },
    Edit {
        before: "SELECT api_key, window_start, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute', fill => 1) GROUP BY api_key, window_start",
        after: "SELECT api_key, window_start, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute', fill => 3) GROUP BY api_key, window_start",
        warmup_ms: Some(240_000),
    },
];

#[test]
fn an_edited_rule_finds_what_it_would_have_found_once_it_is_whole() {
    let mut compared = 0;
    for (number, edit) in EDITS.iter().enumerate() {
        let before = with_views(GROWTH, MINUTE, &[("edited", edit.before), JUMP]);
        let after = with_views(GROWTH, MINUTE, &[("edited", edit.after), JUMP]);
        if let Some(warmup_ms) = edit.warmup_ms {
            let rule = after
                .rules
                .iter()
                .position(|rule| rule.name == "edited")
                .unwrap();
            assert_eq!(after.program.warmup_ms(rule), warmup_ms, "edit {number}");
        }
        for seed in 0..12 {
            for log in &logs(seed, 2, 300) {
                let what = format!("edit {number}, seed {seed}");
                let cut = generator(seed).random_range(0..=log.rows.len());
                let mut never = machine(&after);
                push(&mut never, &after, log, 0..cut);
                let mut anew = machine(&before);
                push(&mut anew, &before, log, 0..cut);
                anew.adopt(Arc::clone(&after.program)).unwrap();
                let whole_from = anew.warming().map(|(_, from)| from).max();
                let rest = cut..log.rows.len();
                let mut expected = push(&mut never, &after, log, rest.clone());
                expected.extend(finish(&mut never, &after));
                let mut reloaded = push(&mut anew, &after, log, rest);
                reloaded.extend(finish(&mut anew, &after));
                let is_whole = |found: &Found| {
                    found.rule == "jump" || whole_from.is_none_or(|from| found.time_ms >= from)
                };
                expected.retain(is_whole);
                compared += expected
                    .iter()
                    .filter(|found| found.rule == "edited")
                    .count();
                assert_eq!(reloaded, expected, "{what}");
            }
        }
    }
    assert!(compared > 1_000, "{compared}");
}

#[test]
fn findings_of_a_rule_that_warms_up_are_withheld_and_counted() {
    let rule = |warmup: &str| {
        format!(
            "/*\nseverity = \"low\"\nentity = \"api_key\"\n{warmup}\n*/\nSELECT api_key, event_time, lag(country) OVER (PARTITION BY api_key ORDER BY event_time) AS before FROM events"
        )
    };
    let compile = |rules: &[(&str, &str)]| try_compile(&[], rules).unwrap();
    let other = format!("{HEADER}SELECT api_key FROM events WHERE status = 7");
    let before = compile(&[("other", &other)]);
    let (default, short) = (rule(""), rule("warmup = \"90s\""));
    for (text, warmup_ms) in [(&default, 86_400_000), (&short, 90_000)] {
        let after = compile(&[("other", &other), ("history", text)]);
        assert_eq!(after.program.warmup_ms(0), 0);
        assert_eq!(after.program.warmup_ms(1), warmup_ms);
        let log = &logs(3, 1, 300)[0];
        let mut machine = machine(&before);
        push(&mut machine, &before, log, 0..100);
        let newest = log.watermarks[99] + crate::events::BOUND_MS;
        machine.adopt(Arc::clone(&after.program)).unwrap();
        let from = newest + 1 + warmup_ms;
        assert_eq!(machine.warming().collect::<Vec<_>>(), [(1, from)]);
        let batch = log.batch(after.program.input(), 100..log.rows.len());
        let step = machine.process(&batch, &log.watermarks[100..]).unwrap();
        let withheld: u64 = step
            .withheld
            .iter()
            .map(|(rule, n)| {
                assert_eq!(*rule, 1);
                n
            })
            .sum();
        let shown = found(&after, &step);
        assert!(withheld > 0);
        assert!(shown.iter().all(|found| found.time_ms >= from), "{shown:?}");
        let all = machine.finish().unwrap();
        let left = all.order.len() as u64 + all.withheld.iter().map(|(_, n)| n).sum::<u64>();
        // Of rows that waited when the rule came nothing is known.
        assert!(withheld + left + shown.len() as u64 <= (log.rows.len() - 100) as u64);
        assert_eq!(shown.is_empty(), warmup_ms > 90_000);
    }
}
