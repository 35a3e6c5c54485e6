//! Hopping windows against each row repeated for every window that holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyhawk_engine::program::Program;
use keyhawk_engine::{Machine, Step};
use keyhawk_testkit::random::generator;
use rand::RngExt;

use crate::programs::{Build, MINUTE, Row, Saved, batch, lines, machine};
use crate::state::log;

/// Sizes and slides in milliseconds: dividing, not dividing, adjoining, apart.
const SPANS: [(i64, i64); 6] = [
    (10_000, 4_000),
    (60_000, 20_000),
    (60_000, 60_000),
    (30_000, 45_000),
    (150_000, 60_000),
    (600_000, 10_000),
];

/// A rule over hopping windows of events.
fn hopping(keys: &[&str], span: (i64, i64)) -> Arc<Program> {
    let mut build = Build::new();
    let scan = build.scan();
    let windows = build.hop(scan, keys, ("event_time", 0), span, "value");
    let lineage: Vec<&str> = keys.iter().copied().chain(["window_end"]).collect();
    build.rule("r", windows, "window_end", &lineage);
    build.build()
}

/// The rows of a log and the watermark after each.
fn flat(log: &[(i64, Vec<Row>, Vec<i64>)]) -> Vec<(Row, i64)> {
    log.iter()
        .flat_map(|(_, rows, marks)| rows.iter().copied().zip(marks.iter().copied()))
        .collect()
}

/// Runs rows in batches that end at `cuts`, and to the end of time.
fn run(machine: &mut Machine, rows: &[(Row, i64)], cuts: &[usize]) -> Vec<String> {
    let program = Arc::clone(machine.program());
    let mut all = Vec::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&rows.len()]) {
        all.extend(lines(&program, &process(machine, rows, start, end)));
        start = end;
    }
    all.extend(lines(&program, &machine.finish().unwrap()));
    all
}

fn process(machine: &mut Machine, rows: &[(Row, i64)], start: usize, end: usize) -> Step {
    let (part, marks): (Vec<Row>, Vec<i64>) = rows[start..end].iter().copied().unzip();
    machine
        .process(&batch(start as i64, &part), &marks)
        .unwrap()
}

fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}

fn at(time: i64) -> String {
    let time = time as usize / 1_000;
    let (day, second) = (time / 86_400, time % 86_400);
    assert_eq!(day, 0, "logs start on the first day");
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("1970-01-01T{hour:02}:{minute:02}:{second:02}Z")
}

/// What must come out, but for the spread and the id.
fn expected(rows: &[(Row, i64)], by_country: bool, (size, slide): (i64, i64)) -> BTreeSet<String> {
    type Key = (i64, Option<&'static str>, Option<&'static str>);
    let mut windows: BTreeMap<Key, Vec<(i64, usize, Row)>> = BTreeMap::new();
    for (offset, &(row, _)) in rows.iter().enumerate() {
        let time = row.1.unwrap();
        let mut start = time - time.rem_euclid(slide);
        while start + size > time {
            let country = row.2.filter(|_| by_country);
            if by_country || row.0.is_some() {
                let group = windows.entry((start, country, row.0)).or_default();
                group.push((time, offset, row));
            }
            start -= slide;
        }
    }
    let line = |(&(start, country, key), rows): (&Key, &Vec<(i64, usize, Row)>)| {
        let mut rows = rows.clone();
        rows.sort_unstable();
        let countries = rows.iter().map(|row| row.2.2);
        let values = rows.iter().filter_map(|row| row.2.3);
        let firsts: Vec<String> = countries
            .clone()
            .take(2)
            .map(|country| country.unwrap_or_default().to_owned())
            .collect();
        let mut fields = vec![
            text(key),
            at(start),
            at(start + size),
            rows.len().to_string(),
            countries
                .clone()
                .flatten()
                .collect::<BTreeSet<_>>()
                .len()
                .to_string(),
            text(values.clone().reduce(|a, b| a + b)),
            text(countries.flatten().max()),
            text(values.clone().min()),
            values.collect::<BTreeSet<_>>().len().to_string(),
            text(rows[0].2.3),
            format!("[{}]", firsts.join(", ")),
        ];
        if by_country {
            fields.insert(0, text(country));
        }
        fields.join(" ")
    };
    windows.iter().map(line).collect()
}

/// Without rule, spread, hidden columns and id.
fn shown(lines: &[String]) -> BTreeSet<String> {
    let all: BTreeSet<String> = lines
        .iter()
        .map(|line| {
            let line = line.strip_prefix("r ").unwrap();
            line.split("] ").next().unwrap().to_owned() + "]"
        })
        .collect();
    assert_eq!(all.len(), lines.len(), "each window and group once");
    all
}

#[test]
fn a_window_is_what_all_its_rows_at_once_give() {
    for span in SPANS {
        for (keys, by_country) in [(vec!["api_key"], false), (vec!["country", "api_key"], true)] {
            let program = hopping(&keys, span);
            for seed in 0..6 {
                let rows = flat(&log(seed));
                let found = run(&mut machine(&program), &rows, &[]);
                assert_eq!(
                    shown(&found),
                    expected(&rows, by_country, span),
                    "{span:?} by {keys:?}, seed {seed}"
                );
            }
        }
    }
}

#[test]
fn findings_do_not_depend_on_cuts_or_restarts_to_the_bit() {
    for span in SPANS {
        for keys in [vec!["api_key"], vec!["country", "api_key"]] {
            let program = hopping(&keys, span);
            for seed in 0..4 {
                let rows = flat(&log(seed));
                let whole = run(&mut machine(&program), &rows, &[]);
                let every: Vec<usize> = (1..rows.len()).collect();
                let what = format!("{span:?} by {keys:?}, seed {seed}");
                assert_eq!(run(&mut machine(&program), &rows, &every), whole, "{what}");

                // A new machine now and then, from the sum of all snapshots.
                let mut random = generator(seed);
                let mut saved = Saved::default();
                let mut current = machine(&program);
                let mut found = Vec::new();
                let mut start = 0;
                while start < rows.len() {
                    let end = random.random_range(start + 1..=(start + 15).min(rows.len()));
                    found.extend(lines(&program, &process(&mut current, &rows, start, end)));
                    start = end;
                    if random.random_bool(0.5) {
                        saved.take(current.snapshot().unwrap());
                    }
                    if random.random_bool(0.3) {
                        saved.take(current.snapshot().unwrap());
                        let mut rows = saved.rows();
                        for node in &mut rows {
                            node.reverse();
                        }
                        let mut next = machine(&program);
                        next.restore(&rows, current.watermark()).unwrap();
                        assert_eq!(next.next_deadline(), current.next_deadline(), "{what}");
                        current = next;
                    }
                }
                found.extend(lines(&program, &current.finish().unwrap()));
                assert_eq!(found, whole, "{what}");
                saved.take(current.snapshot().unwrap());
                assert!(saved.nodes.iter().all(BTreeMap::is_empty), "{what}");
            }
        }
    }
}

#[test]
fn time_without_rows_costs_nothing() {
    let program = hopping(&["api_key"], (10_000, 4_000));
    let mut machine = machine(&program);
    let row = |time: i64| ((Some("a"), Some(time), Some("DE"), Some(1)), time);
    // A hundred years in one step, which one by one would be 800 million windows.
    let century = 100 * 365 * 86_400_000_i64;
    let rows = [row(1_000), row(century), row(century + 1)];
    let first = process(&mut machine, &rows, 0, 1);
    assert!(first.order.is_empty());
    assert_eq!(machine.next_deadline(), Some(2_000));
    assert_eq!(process(&mut machine, &rows, 1, 2).order.len(), 3);
    let window = century - century % 4_000;
    assert_eq!(machine.next_deadline(), Some(window - 8_000 + 10_000));
    assert_eq!(process(&mut machine, &rows, 2, 3).order.len(), 0);
    assert_eq!(machine.finish().unwrap().order.len(), 3);
    assert_eq!(machine.next_deadline(), None);
}

#[test]
fn windows_of_windows_wait_for_those_that_close_with_the_watermark() {
    let mut build = Build::new();
    let scan = build.scan();
    let minutes = build.tumble(scan, &["api_key"]);
    let hours = build.hop(
        minutes,
        &["api_key"],
        ("window_end", 1),
        (5 * MINUTE, 2 * MINUTE),
        "n",
    );
    build.rule("r", hours, "window_end", &["api_key", "window_end"]);
    let program = build.build();
    for seed in 0..10 {
        let rows = flat(&log(seed));
        let rows: Vec<(Row, i64)> = rows
            .into_iter()
            .filter(|(row, _)| row.0.is_some())
            .collect();
        let every: Vec<usize> = (1..rows.len()).collect();
        let whole = run(&mut machine(&program), &rows, &[]);
        assert_eq!(
            run(&mut machine(&program), &rows, &every),
            whole,
            "seed {seed}"
        );
        // Each event counts in the windows that hold the end of its minute.
        let mut counts: BTreeMap<(i64, &str), usize> = BTreeMap::new();
        for (row, _) in &rows {
            let end = row.1.unwrap() / MINUTE * MINUTE + MINUTE;
            let mut start = end - end % (2 * MINUTE);
            while start + 5 * MINUTE > end {
                *counts.entry((start, row.0.unwrap())).or_default() += 1;
                start -= 2 * MINUTE;
            }
        }
        let expected: BTreeSet<String> = counts
            .iter()
            .map(|((start, key), total)| {
                format!(
                    "{key} {} {} total {total}",
                    at(*start),
                    at(start + 5 * MINUTE)
                )
            })
            .collect();
        let found: BTreeSet<String> = whole
            .iter()
            .map(|line| {
                let fields: Vec<&str> = line.strip_prefix("r ").unwrap().split(' ').collect();
                format!(
                    "{} {} {} total {}",
                    fields[0], fields[1], fields[2], fields[5]
                )
            })
            .collect();
        assert_eq!(found, expected, "seed {seed}");
    }
}
