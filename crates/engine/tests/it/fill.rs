//! Windows in which a group is silent: when their rows leave, how far they go, and what is kept for them.

use std::sync::Arc;

use keyhawk_engine::program::Program;
use keyhawk_engine::{Machine, Step};

use crate::programs::{Build, MINUTE, Row, Saved, batch, lines, machine};

/// Calls a minute, with up to `windows` silent minutes after each.
fn program(windows: i64) -> Arc<Program> {
    let mut build = Build::new();
    let scan = build.scan();
    let minutes = build.tumble(scan, &["api_key"]);
    let filled = build.fill(minutes, &["api_key"], windows);
    build.rule("r", filled, "filled", &["api_key", "filled"]);
    build.build()
}

/// The node of the operator in it.
const FILL: usize = 2;

fn row(key: &'static str, minute: i64) -> Row {
    (Some(key), Some(minute * MINUTE), Some("DE"), Some(1))
}

/// Rows whose times are the watermarks too.
fn process(machine: &mut Machine, offset: i64, rows: &[Row]) -> Vec<(String, usize)> {
    let watermarks: Vec<i64> = rows.iter().map(|row| row.1.unwrap()).collect();
    let step = machine.process(&batch(offset, rows), &watermarks).unwrap();
    ends(machine, &step)
}

/// The key and the minute at whose end each window closes, and the row that released it.
fn ends(machine: &Machine, step: &Step) -> Vec<(String, usize)> {
    let lines = lines(machine.program(), step);
    let of = |(line, place): (&String, &keyhawk_engine::Place)| {
        let words: Vec<&str> = line.split(' ').collect();
        let end = words[words.len() - 2]
            .rsplit('T')
            .next()
            .unwrap()
            .to_owned();
        (format!("{} {}", words[1], &end[3..5]), place.released_by)
    };
    lines.iter().zip(&step.order).map(of).collect()
}

fn found(expected: &[(&str, usize)]) -> Vec<(String, usize)> {
    let owned = |(text, row): &(&str, usize)| ((*text).to_owned(), *row);
    expected.iter().map(owned).collect()
}

#[test]
fn a_silent_window_leaves_with_the_row_whose_watermark_closes_it() {
    let program = program(2);
    let mut machine = machine(&program);
    let rows = [
        row("a", 0),
        row("b", 1),
        row("b", 2),
        row("b", 3),
        row("b", 4),
    ];
    // `a` is silent in the minutes that end at 2, 3 and 4, of which two are filled.
    let expected = [
        ("a 01", 1),
        ("a 02", 2),
        ("b 02", 2),
        ("a 03", 3),
        ("b 03", 3),
        ("b 04", 4),
    ];
    let mut seen = process(&mut machine, 0, &rows);
    seen.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    assert_eq!(seen, found(&expected));
}

#[test]
fn at_the_end_nothing_is_filled_past_the_greatest_event_time() {
    let program = program(5);
    let mut machine = machine(&program);
    let times = [row("a", 0), (Some("b"), Some(3 * MINUTE - 1), None, None)];
    // A watermark that is far behind closes nothing before the end.
    let step = machine.process(&batch(0, &times), &[0, 0]).unwrap();
    assert!(step.order.is_empty());
    let end = machine.finish().unwrap();
    let mut seen: Vec<String> = ends(&machine, &end)
        .into_iter()
        .map(|(end, _)| end)
        .collect();
    seen.sort();
    // The third minute is not over: it has the row of `b`, and `a` is not silent in it yet.
    assert_eq!(seen, ["a 01", "a 02", "b 03"]);
    assert_eq!(machine.next_deadline(), None);
}

#[test]
fn a_key_is_kept_for_as_long_as_its_windows_may_be_filled() {
    let program = program(2);
    let mut machine = machine(&program);
    let mut saved = Saved::default();
    process(&mut machine, 0, &[row("a", 0), row("b", 1)]);
    saved.take(machine.snapshot().unwrap());
    // Of `a`, and the greatest event time.
    assert_eq!(saved.nodes[FILL].len(), 2);
    process(&mut machine, 2, &[row("c", 3)]);
    saved.take(machine.snapshot().unwrap());
    assert_eq!(saved.nodes[FILL].len(), 2, "`a` has gone and `b` has come");
    machine.finish().unwrap();
    saved.take(machine.snapshot().unwrap());
    assert!(saved.nodes[FILL].is_empty(), "{saved:?}");
}

#[test]
fn a_restored_machine_knows_the_greatest_event_time() {
    let program = program(5);
    let mut first = machine(&program);
    let rows = [row("a", 0), row("b", 3)];
    first.process(&batch(0, &rows), &[0, 0]).unwrap();
    let mut saved = Saved::default();
    saved.take(first.snapshot().unwrap());
    let mut second = machine(&program);
    second.restore(&saved.rows(), first.watermark()).unwrap();
    let ends = [first.finish().unwrap(), second.finish().unwrap()];
    let [first, second] = ends.map(|end| lines(&program, &end));
    assert_eq!(first, second);
    assert_eq!(first.len(), 4, "{first:?}");
}
