//! Keys that were silent for longer than the retention: they start anew, and their state is freed.

use std::sync::Arc;

use keyhawk_engine::Machine;
use keyhawk_engine::program::Program;

use crate::programs::{Build, MINUTE, Row, Saved, batch, integers, machine};

const RETENTION: i64 = 10 * MINUTE;

/// `before`, the previous value, and `number`, of each row of a key, or of a key and country.
fn program(keys: &[&str], value: &str) -> Arc<Program> {
    let mut build = Build::new();
    let scan = build.scan();
    let ordered = build.order(scan, "event_time", 0, &["_offset"]);
    let over = build.over(ordered, keys, value, ("event_time", 0, RETENTION));
    build.rule("r", over, "event_time", &["_offset"]);
    build.build()
}

/// Rows whose times are the watermarks too.
fn process(machine: &mut Machine, offset: i64, rows: &[Row]) -> Vec<Option<i64>> {
    let watermarks: Vec<i64> = rows.iter().map(|row| row.1.unwrap()).collect();
    let step = machine.process(&batch(offset, rows), &watermarks).unwrap();
    integers(&step, "before")
}

fn row(key: &'static str, time: i64, value: i64) -> Row {
    (Some(key), Some(time), Some("DE"), Some(value))
}

#[test]
fn a_row_one_millisecond_later_than_the_retention_starts_its_key_anew() {
    for keys in [&["api_key"][..], &["country", "api_key"]] {
        let program = program(keys, "value");
        let mut machine = machine(&program);
        let rows = [
            row("a", 0, 1),
            row("b", 0, 2),
            row("a", RETENTION, 3),
            row("b", RETENTION + 1, 4),
            row("b", RETENTION + 1, 5),
            row("a", 2 * RETENTION + 1, 6),
            row("a", 3 * RETENTION, 7),
            // Lets the others go.
            row("c", 4 * RETENTION, 8),
        ];
        let found = process(&mut machine, 0, &rows);
        let expected = [None, None, Some(1), None, Some(4), None, Some(6)];
        assert_eq!(found, expected, "{keys:?}");
    }
}

#[test]
fn what_is_known_of_idle_keys_is_freed_and_their_places_are_given_again() {
    const KEYS: usize = 500;
    // Texts long enough to lie beside their columns.
    let names: Vec<&'static str> = (0..2 * KEYS)
        .map(|key| &*format!("a country of more than a few bytes, number {key}").leak())
        .collect();
    let rows = |keys: std::ops::Range<usize>, time: i64| -> Vec<Row> {
        let row = |&name: &&'static str| (Some("a"), Some(time), Some(name), Some(1));
        names[keys].iter().map(row).collect()
    };
    let program = program(&["country"], "country");
    let mut machine = machine(&program);
    let mut saved = Saved::default();
    let mut step = |machine: &mut Machine, rows: &[Row]| {
        let time = rows[0].1.unwrap();
        let watermarks = vec![time; rows.len()];
        machine.process(&batch(time, rows), &watermarks).unwrap();
        let changes = machine.snapshot().unwrap();
        let deleted = changes[2].iter().filter(|row| row.state.is_none()).count();
        saved.take(changes);
        (deleted, saved.nodes[2].len())
    };
    step(&mut machine, &rows(0..KEYS, 0));
    assert_eq!(step(&mut machine, &rows(0..1, MINUTE)), (0, KEYS));
    let full = machine.memory();
    // A sixteenth of the retention after it, all but one key are gone.
    let later = RETENTION + MINUTE;
    assert_eq!(step(&mut machine, &rows(1..2, later)), (KEYS - 1, 1));
    assert_eq!(step(&mut machine, &rows(1..2, later + MINUTE)), (1, 1));
    assert!(
        machine.memory() + KEYS * names[0].len() < full,
        "{} bytes after {full}",
        machine.memory()
    );
    // As many other keys as before find room where the first ones were.
    step(&mut machine, &rows(KEYS..2 * KEYS, 3 * later));
    step(&mut machine, &rows(KEYS..KEYS + 1, 3 * later + 1));
    let others = KEYS * (names[0].len() + 64);
    assert!(
        machine.memory() < full + others,
        "{} bytes after {full}",
        machine.memory()
    );
}

#[test]
fn a_restored_machine_frees_what_the_first_one_would_have() {
    let program = program(&["country", "api_key"], "value");
    let mut first = machine(&program);
    process(
        &mut first,
        0,
        &[row("a", 0, 1), row("b", 0, 2), row("a", 5 * MINUTE, 3)],
    );
    process(&mut first, 3, &[row("a", 6 * MINUTE, 4)]);
    let mut saved = Saved::default();
    saved.take(first.snapshot().unwrap());
    let mut second = machine(&program);
    second.restore(&saved.rows(), first.watermark()).unwrap();
    for machine in [&mut first, &mut second] {
        let mut saved = saved.clone();
        process(machine, 4, &[row("c", 12 * MINUTE, 5)]);
        saved.take(machine.snapshot().unwrap());
        // The last row of `a` is within the retention, that of `b` is not.
        assert_eq!(saved.nodes[2].len(), 1);
        let found = process(
            machine,
            5,
            &[row("a", 15 * MINUTE, 6), row("b", 15 * MINUTE, 7)],
        );
        assert_eq!(found, [None], "of `c`");
        let found = process(machine, 7, &[row("c", 16 * MINUTE, 8)]);
        assert_eq!(found, [Some(4), None], "of `a` and `b`");
    }
}
