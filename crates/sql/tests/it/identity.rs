//! Stream equals batch: for every query here, over random logs, the machine's findings are those of
//! DataFusion over the same rows, with the same ids; and neither they nor their order depend on how the
//! log is cut into batches or on a restart in between.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use keyhawk_engine::program::{Node, NodeKind};
use keyhawk_engine::{Findings, Machine, StateRow, Step};
use keyhawk_sql::Compiled;
use keyhawk_testkit::random::{generator, random_splits};
use rand::RngExt;

use crate::events::{Log, compiled, logs};

const DEPLOYMENT: &str = "test";

/// A rule set: its name, its views, its rules.
pub type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [(&'static str, &'static str)],
);

const MINUTE: &str = "SELECT api_key, window_start, window_end, window_time, count(*) AS calls, sum(response_bytes) AS bytes
 FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_start, window_end, window_time";

const CASES: &[Case] = &[
    ("filter_and_project", &[], &[(
        "r",
        "SELECT api_key, country, status * 2 AS twice, CASE WHEN status >= 200 THEN 'high' WHEN status IS NULL THEN 'none' ELSE 'low' END AS kind,
         coalesce(country, '?') || '/' || client_ip AS place FROM events WHERE auth_result = 'ok' AND (status > 0 OR country IS NULL)",
    )]),
    ("every_aggregate", &[], &[(
        "r",
        "SELECT api_key, window_start, window_end, window_time, count(*) AS n, count(country) AS n_country, count(DISTINCT country) AS countries,
         count(DISTINCT client_ip) AS ips, count(DISTINCT status) AS statuses, count(DISTINCT latitude) AS latitudes, count(DISTINCT is_hosting) AS hosting,
         sum(response_bytes) AS bytes, min(response_bytes) AS least, max(response_bytes) AS most,
         min(country) AS first_country, max(client_ip) AS last_ip, min(event_time) AS t0, max(event_time) AS t1,
         sum(latitude) AS latitude_sum, min(latitude) AS south, max(latitude) AS north, max(_partition) AS p,
         count(*) FILTER (WHERE status = 100) AS n100, sum(response_bytes) FILTER (WHERE country = 'DE') AS de_bytes,
         max(country) FILTER (WHERE status > 100) AS c, count(DISTINCT client_ip) FILTER (WHERE auth_result <> 'ok') AS bad_ips
         FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_start, window_end, window_time",
    )]),
    ("several_keys", &[], &[(
        "r",
        "SELECT country, api_key, window_end, status, count(*) AS n FROM tumble(events, event_time, INTERVAL '90 seconds')
         GROUP BY country, api_key, status, window_end",
    )]),
    ("keys_that_are_expressions", &[], &[(
        "r",
        "SELECT api_key, latitude * -0.0 AS zero, status / 100 AS class, window_start, count(*) AS n
         FROM tumble(events, event_time, INTERVAL '5 minutes') GROUP BY api_key, latitude * -0.0, status / 100, window_start",
    )]),
    ("window_alone", &[], &[(
        "r",
        "SELECT window_start AS api_key, window_end, count(*) AS n, count(DISTINCT api_key) AS keys FROM tumble(events, event_time, INTERVAL '1 minute')
         GROUP BY window_start, window_end",
    )]),
    ("group_by_window_start_only", &[], &[(
        "r",
        "SELECT 'all' AS api_key, window_start, sum(status) AS s FROM tumble(events, event_time, INTERVAL '7 minutes') GROUP BY window_start",
    )]),
    ("group_by_window_end_only", &[], &[(
        "r",
        "SELECT api_key, sum(status) AS s FROM tumble(events, event_time, INTERVAL '1 hour') GROUP BY api_key, window_end",
    )]),
    ("group_by_window_time_only", &[], &[(
        "r",
        "SELECT api_key, window_time, sum(status) AS s FROM tumble(events, event_time, INTERVAL '1 second') GROUP BY api_key, window_time",
    )]),
    ("groups_without_an_aggregate", &[], &[(
        "r",
        "SELECT api_key, country, window_start FROM tumble(events, event_time, INTERVAL '10 minutes') WHERE country IS NOT NULL GROUP BY api_key, country, window_start",
    )]),
    ("having", &[], &[(
        "r",
        "SELECT api_key, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '10 minutes') GROUP BY api_key, window_end
         HAVING count(*) >= 3 AND max(status) > 100 AND count(DISTINCT country) > 1",
    )]),
    ("windows_of_windows", &[("minute", MINUTE)], &[
        (
            "hour",
            "SELECT api_key, window_start, window_end, count(*) AS minutes, sum(calls) AS calls, max(bytes) AS most
             FROM tumble(minute, window_time, INTERVAL '1 hour') GROUP BY api_key, window_start, window_end",
        ),
        (
            "seven_by_end",
            "SELECT api_key, window_start, sum(calls) AS calls FROM tumble(minute, window_end, INTERVAL '7 minutes') GROUP BY api_key, window_start",
        ),
        (
            "seven_by_start",
            "SELECT api_key, window_end, sum(calls) AS calls FROM tumble(minute, window_start, INTERVAL '7 minutes') GROUP BY api_key, window_end",
        ),
    ]),
    ("the_same_window_again", &[("minute", MINUTE)], &[(
        "r",
        "SELECT 'all' AS api_key, window_end, count(*) AS keys, sum(calls) AS calls, max(calls) AS most FROM minute GROUP BY window_end",
    )]),
    ("over_a_window_of_windows", &[("minute", MINUTE)], &[(
        "r",
        "SELECT api_key, window_end, calls - lag(calls, 1, 0) OVER (PARTITION BY api_key ORDER BY window_end) AS more, minutes
         FROM (SELECT api_key, window_end, sum(calls) AS calls, count(*) AS minutes FROM tumble(minute, window_time, INTERVAL '5 minutes') GROUP BY api_key, window_end)",
    )]),
    ("lag", &[], &[(
        "r",
        "SELECT api_key, event_time, lag(country) OVER w AS before, lag(country) IGNORE NULLS OVER w AS known,
         lag(status, 2) OVER w AS second, lag(status, 2, -1) IGNORE NULLS OVER w AS second_known, lag(client_ip, 1, 'none') OVER w AS ip,
         lag(event_time) OVER w AS t, lag(latitude, 3, 0.5) OVER w AS l, lag(is_hosting) OVER w AS h, lag(_partition) OVER w AS p,
         lag(CASE WHEN status > 100 THEN event_time END) IGNORE NULLS OVER w AS t_high, lag(CASE WHEN status > 100 THEN client_ip END) IGNORE NULLS OVER w AS ip_high
         FROM events WINDOW w AS (PARTITION BY api_key ORDER BY event_time)",
    )]),
    ("row_number_and_qualify", &[], &[(
        "r",
        "SELECT api_key, country, event_time, row_number() OVER (PARTITION BY api_key, country ORDER BY event_time) AS n
         FROM events QUALIFY row_number() OVER (PARTITION BY api_key, country ORDER BY event_time) % 2 = 1",
    )]),
    ("over_two_partitions", &[], &[(
        "r",
        "SELECT api_key, country, row_number() OVER (PARTITION BY api_key, country ORDER BY event_time) AS a,
         row_number() OVER (PARTITION BY api_key ORDER BY event_time) AS b, lag(_offset) OVER (PARTITION BY api_key, status ORDER BY event_time) AS c FROM events",
    )]),
    ("over_an_expression", &[], &[(
        "r",
        "SELECT api_key, lag(_offset) OVER (PARTITION BY api_key, coalesce(country, client_ip), status > 100 ORDER BY event_time) AS a FROM events",
    )]),
    ("over_rows_by_their_window", &[], &[(
        "r",
        "SELECT api_key, event_time, window_end, row_number() OVER (PARTITION BY api_key, window_start ORDER BY event_time) AS n,
         lag(_offset) OVER (PARTITION BY api_key ORDER BY window_end) AS o FROM tumble(events, event_time, INTERVAL '1 minute')",
    )]),
    ("first_seen", &[], &[(
        "r",
        "SELECT api_key, country, place['is_new'] AS is_new, place['values'] AS known, place['first_ts'] AS t, place['age'] AS age, place['active_days'] AS days
         FROM (SELECT *, first_seen(country, event_time) OVER (PARTITION BY api_key ORDER BY event_time) AS place FROM events WHERE auth_result = 'ok')
         WHERE place['is_new'] OR place['values'] > 2",
    )]),
    ("baseline", &[], &[(
        "r",
        "SELECT api_key, window_end, n, b['expected'] AS e, b['surprise'] AS s, b['upper'] AS u, b['n'] AS seen FROM (
           SELECT *, baseline(n, window_end) OVER (PARTITION BY api_key ORDER BY window_end) AS b FROM (
             SELECT api_key, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY api_key, window_end))",
    )]),
    ("baseline_of_a_measure", &[("minute", MINUTE)], &[(
        "r",
        "SELECT api_key, b FROM (SELECT api_key, baseline(bytes / 2.0, window_end, INTERVAL '1 minute') OVER (PARTITION BY api_key ORDER BY window_end) AS b FROM minute)",
    )]),
    ("views_on_views", &[
        // In an order that is not that of their needs.
        ("c_top", "SELECT *, lag(more) OVER (PARTITION BY api_key ORDER BY window_end) AS more_before FROM b_growth WHERE calls > 1"),
        ("b_growth", "SELECT *, calls - lag(calls) OVER (PARTITION BY api_key ORDER BY window_end) AS more FROM minute"),
        ("minute", MINUTE),
    ], &[
        ("r", "SELECT api_key, window_start, more, more_before FROM c_top WHERE more > 0 OR more_before IS NULL"),
        ("s", "SELECT m.api_key, m.calls AS n, m.window_end FROM b_growth AS m WHERE m.more IS NOT NULL"),
    ]),
    ("events_through_a_view", &[("good", "SELECT api_key AS k, event_time AS t, country, _offset AS o FROM events WHERE auth_result = 'ok'")], &[
        ("r", "SELECT k AS api_key, t, lag(o) OVER (PARTITION BY k ORDER BY t) AS before FROM good"),
        ("s", "SELECT k AS api_key, window_end, count(DISTINCT country) AS n FROM tumble(good, t, INTERVAL '2 minutes') GROUP BY k, window_end"),
    ]),
    ("common_table_expressions", &[], &[(
        "r",
        "WITH calls AS (SELECT api_key, event_time, status FROM events WHERE status IS NOT NULL),
         numbered AS (SELECT *, row_number() OVER (PARTITION BY api_key ORDER BY event_time) AS n FROM calls)
         SELECT n.api_key, n.window_end, max(n.n) AS n, sum(n.status) AS s FROM tumble(numbered, event_time, INTERVAL '3 minutes') AS n
         GROUP BY n.api_key, n.window_end",
    )]),
    ("windows_after_an_order", &[("numbered", "SELECT api_key, event_time, lag(event_time) OVER (PARTITION BY api_key ORDER BY event_time) AS before FROM events")], &[(
        "r",
        "SELECT api_key, window_start, count(*) AS n, min(before) AS t FROM tumble(numbered, event_time, INTERVAL '1 minute') GROUP BY api_key, window_start",
    )]),
    ("a_filter_on_the_window", &[("minute", MINUTE)], &[(
        "r",
        "SELECT api_key, window_end, calls FROM minute WHERE date_part('minute', window_end) % 2 = 0 AND api_key <> 'key-0' AND calls > 1",
    )]),
    ("null_keys_of_an_unkeyed_group", &[], &[(
        "r",
        "SELECT country AS api_key, window_end, count(*) AS n FROM tumble(events, event_time, INTERVAL '1 minute') GROUP BY country, window_end",
    )]),
    ("null_keys_of_an_unkeyed_order", &[], &[(
        "r",
        "SELECT country AS api_key, event_time, lag(api_key) OVER (PARTITION BY country ORDER BY event_time) AS k FROM events",
    )]),
    ("a_column_named_like_an_expression", &[("v", "SELECT api_key, status, _offset, status + _offset AS \"status + _offset\", 7 AS \"7\" FROM events")], &[
        ("r", "SELECT api_key, \"status + _offset\" AS x FROM v WHERE \"status + _offset\" > 20"),
        ("s", "SELECT api_key, status + _offset + 1 AS x FROM v WHERE status + _offset > 100"),
    ]),
    ("text_that_looks_like_sql", &[], &[
        ("r", "SELECT api_key, 'a' AS x, 'b' AS y FROM events"),
        ("s", "SELECT api_key, 'a\") AS x, Utf8(\"b' AS x, 'b' AS y FROM events"),
    ]),
];

pub fn text(findings: &Findings, name: &str) -> Vec<String> {
    let options = FormatOptions::default().with_null("null");
    let columns: Vec<ArrayFormatter<'_>> = findings
        .rows
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
        .collect();
    let schema = findings.rows.schema();
    (0..findings.rows.num_rows())
        .map(|row| {
            let values: Vec<String> = columns
                .iter()
                .zip(schema.fields())
                .map(|(column, field)| format!("{}={}", field.name(), column.value(row)))
                .collect();
            format!("{name} {} {}", findings.ids[row], values.join(" "))
        })
        .collect()
}

/// The findings of a step in its order.
fn emitted(compiled: &Compiled, step: &Step) -> Vec<String> {
    let texts: Vec<Vec<String>> = step
        .findings
        .iter()
        .map(|findings| text(findings, &compiled.rules[findings.rule].name))
        .collect();
    assert_eq!(step.order.len(), texts.iter().map(Vec::len).sum::<usize>());
    step.order
        .iter()
        .map(|place| texts[place.findings][place.row].clone())
        .collect()
}

/// The sum of snapshots, by node.
#[derive(Default)]
struct Saved {
    nodes: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Saved {
    fn take(&mut self, changes: Vec<Vec<StateRow>>) {
        self.nodes.resize_with(changes.len(), BTreeMap::new);
        for (node, rows) in self.nodes.iter_mut().zip(changes) {
            for row in rows {
                match row.state {
                    Some(state) => drop(node.insert(row.key, state)),
                    None => assert!(
                        node.remove(&row.key).is_some(),
                        "a deletion of what was never saved"
                    ),
                }
            }
        }
    }

    fn rows(&self) -> Vec<Vec<StateRow>> {
        let rows = |node: &BTreeMap<Vec<u8>, Vec<u8>>| {
            node.iter()
                .map(|(key, state)| StateRow {
                    key: key.clone(),
                    state: Some(state.clone()),
                })
                .collect()
        };
        self.nodes.iter().map(rows).collect()
    }
}

/// Runs a log through machines: batches as cut; with `restarts`, a snapshot after some batches, and a
/// new machine after some of those.
fn stream(
    compiled: &Compiled,
    log: &Log,
    cuts: &[Range<usize>],
    restarts: Option<u64>,
) -> Vec<String> {
    let mut random = restarts.map(generator);
    let mut machine = Machine::new(Arc::clone(&compiled.program), DEPLOYMENT).unwrap();
    let mut saved = Saved::default();
    let mut all = Vec::new();
    for cut in cuts {
        let batch = log.batch(compiled.program.input(), cut.clone());
        let step = machine
            .process(&batch, &log.watermarks[cut.clone()])
            .unwrap();
        let places: Vec<usize> = step.order.iter().map(|place| place.released_by).collect();
        assert!(
            places.is_sorted() && places.iter().all(|&place| place < cut.len()),
            "released by {places:?}"
        );
        all.extend(emitted(compiled, &step));
        assert!(
            machine
                .next_deadline()
                .is_none_or(|deadline| deadline > machine.watermark())
        );
        if let Some(random) = &mut random
            && random.random_bool(0.3)
        {
            saved.take(machine.snapshot().unwrap());
            if random.random_bool(0.5) {
                let watermark = machine.watermark();
                machine = Machine::new(Arc::clone(&compiled.program), DEPLOYMENT).unwrap();
                machine.restore(&saved.rows(), watermark).unwrap();
                assert!(
                    machine.snapshot().unwrap().iter().all(Vec::is_empty),
                    "nothing changed since the restore"
                );
            }
        }
    }
    all.extend(emitted(compiled, &machine.finish().unwrap()));
    assert_eq!(machine.next_deadline(), None, "nothing waits after the end");
    all
}

fn batch(compiled: &Compiled, logs: &[Log]) -> Vec<String> {
    let events: Vec<RecordBatch> = logs
        .iter()
        .map(|log| log.batch(compiled.program.input(), 0..log.rows.len()))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let findings = runtime
        .block_on(compiled.backtest(events, DEPLOYMENT))
        .unwrap()
        .findings;
    findings
        .iter()
        .flat_map(|findings| text(findings, &compiled.rules[findings.rule].name))
        .collect()
}

fn whole(len: usize) -> Vec<Range<usize>> {
    if len == 0 {
        Vec::new()
    } else {
        std::iter::once(0..len).collect()
    }
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort_unstable();
    rows
}

fn assert_same(expected: &[String], found: &[String], what: &str) {
    if expected == found {
        return;
    }
    let lines = |of: &[String], other: &[String]| {
        let other: BTreeSet<&String> = other.iter().collect();
        of.iter()
            .filter(|row| !other.contains(row))
            .take(6)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n  ")
    };
    panic!(
        "{what}: {} rows expected, {} found\nonly expected:\n  {}\nonly found:\n  {}",
        expected.len(),
        found.len(),
        lines(expected, found),
        lines(found, expected)
    );
}

pub fn check(case: &Case, seeds: Range<u64>) -> usize {
    let (name, views, rules) = case;
    let compiled = compiled(views, rules);
    let mut findings = 0;
    for seed in seeds {
        let what = format!("{name}, seed {seed}");
        // Where a group's rows may lie in several partitions, one machine must see them all; and how far
        // windows are filled at the end depends on the greatest event time of all.
        let fills = |node: &Node| matches!(node.kind, NodeKind::Fill { .. });
        let alone = !compiled.unkeyed.is_empty() || compiled.program.nodes().iter().any(fills);
        let partitions = if alone { 1 } else { 3 };
        let logs = logs(seed, partitions, 40 + (seed as usize * 37) % 300);
        let expected = sorted(batch(&compiled, &logs));
        findings += expected.len();
        let ids: BTreeSet<&str> = expected
            .iter()
            .map(|row| row.split(' ').nth(1).unwrap())
            .collect();
        assert_eq!(ids.len(), expected.len(), "{what}: an id of two findings");
        let mut found = Vec::new();
        for log in &logs {
            let rows = log.rows.len();
            let once = stream(&compiled, log, &whole(rows), None);
            let by_row: Vec<Range<usize>> = (0..rows).map(|row| row..row + 1).collect();
            assert_same(
                &once,
                &stream(&compiled, log, &by_row, None),
                &format!("{what}, cut at every row"),
            );
            let cuts = random_splits(seed, rows);
            assert_same(
                &once,
                &stream(&compiled, log, &cuts, None),
                &format!("{what}, cut at random"),
            );
            assert_same(
                &once,
                &stream(&compiled, log, &by_row, Some(seed)),
                &format!("{what}, restarted"),
            );
            found.extend(once);
        }
        assert_same(
            &expected,
            &sorted(found),
            &format!("{what}, stream against batch"),
        );
    }
    findings
}

/// Checks all cases, over seeds that `KEYHAWK_SEED`, `KEYHAWK_SEEDS` and `KEYHAWK_CASE` may change.
pub fn check_all(cases: &[Case]) {
    let first: u64 = std::env::var("KEYHAWK_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0);
    let seeds: u64 = std::env::var("KEYHAWK_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(8);
    let only = std::env::var("KEYHAWK_CASE").ok();
    for case in cases
        .iter()
        .filter(|case| only.as_deref().is_none_or(|only| only == case.0))
    {
        let findings = check(case, first..first + seeds);
        assert!(findings > 0, "{}: no finding in any of the logs", case.0);
        crate::reload::check(case, first..first + seeds.min(3));
    }
}

#[test]
fn stream_equals_batch_for_every_query_however_the_log_is_cut() {
    check_all(CASES);
}

#[test]
fn an_empty_table_has_no_findings() {
    let compiled = compiled(
        &[("minute", MINUTE)],
        &[
            ("r", "SELECT * FROM minute"),
            ("s", "SELECT api_key FROM events"),
        ],
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    assert!(
        runtime
            .block_on(compiled.backtest(Vec::new(), DEPLOYMENT))
            .unwrap()
            .findings
            .is_empty()
    );
    let mut machine = Machine::new(Arc::clone(&compiled.program), DEPLOYMENT).unwrap();
    let empty = RecordBatch::new_empty(Arc::clone(compiled.program.input()));
    assert!(machine.process(&empty, &[]).unwrap().order.is_empty());
    assert!(machine.finish().unwrap().order.is_empty());
}

#[test]
fn the_batch_sorts_ties_below_a_window_function_by_their_lineage() {
    let compiled = compiled(
        &[],
        &[(
            "r",
            "SELECT api_key, lag(country) OVER (PARTITION BY api_key ORDER BY event_time) AS before FROM events",
        )],
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let plan = runtime.block_on(compiled.physical_plan("r")).unwrap();
    let sort = plan
        .lines()
        .find(|line| line.contains("SortExec"))
        .unwrap_or_else(|| panic!("no sort in\n{plan}"));
    let places: Vec<usize> = ["api_key", "event_time", "_topic", "_partition", "_offset"]
        .iter()
        .map(|column| {
            sort.find(column)
                .unwrap_or_else(|| panic!("no {column} in {sort}"))
        })
        .collect();
    assert!(places.is_sorted(), "{sort}");
    assert_eq!(plan.matches("SortExec").count(), 1, "{plan}");
}
