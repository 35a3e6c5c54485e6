//! When findings leave, and in which order: by the row whose watermark released them.

use keyhawk_engine::Step;
use keyhawk_engine::program::NodeKind;

use crate::programs::{Build, MINUTE, Row, batch, every_operator, lines, machine};

fn rows(times: &[i64]) -> Vec<Row> {
    times
        .iter()
        .map(|&time| (Some("a"), Some(time), Some("DE"), Some(1)))
        .collect()
}

fn released(step: &Step) -> Vec<usize> {
    step.order.iter().map(|place| place.released_by).collect()
}

#[test]
fn a_window_leaves_with_the_row_whose_watermark_reaches_its_end() {
    let mut build = Build::new();
    let scan = build.scan();
    let windows = build.tumble(scan, &["api_key"]);
    build.rule("r", windows, "window_end", &["api_key", "window_end"]);
    let program = build.build();
    let mut machine = machine(&program);
    let times = [0, MINUTE - 1, MINUTE, MINUTE + 5];
    // The watermark one short of the end keeps the window open; the end itself closes it.
    let step = machine
        .process(
            &batch(0, &rows(&times)),
            &[0, MINUTE - 1, MINUTE, MINUTE + 5],
        )
        .unwrap();
    assert_eq!(released(&step), [2]);
    assert_eq!(machine.next_deadline(), Some(2 * MINUTE));
    let end = machine.finish().unwrap();
    assert_eq!(released(&end), [usize::MAX]);
    assert_eq!(machine.next_deadline(), None);
    assert!(
        machine.finish().unwrap().order.is_empty(),
        "the end comes once"
    );
}

#[test]
fn an_ordered_row_leaves_once_no_row_of_its_time_can_come() {
    let mut build = Build::new();
    let scan = build.scan();
    let ordered = build.order(scan, "event_time", 0, &["_offset"]);
    build.rule("r", ordered, "event_time", &["_offset"]);
    let program = build.build();
    let mut machine = machine(&program);
    let step = machine
        .process(&batch(0, &rows(&[10, 7, 10, 12])), &[5, 7, 10, 11])
        .unwrap();
    // 7 leaves with the row that brings the watermark to 10, both 10s with 11, and 12 waits.
    assert_eq!(released(&step), [2, 3, 3]);
    let offsets: Vec<String> = lines(&program, &step)
        .iter()
        .map(|line| line.split(' ').nth(5).unwrap().to_owned())
        .collect();
    // Of one release and time, findings come by their ids.
    assert_eq!(offsets[0], "1");
    assert!(offsets.contains(&"0".to_owned()) && offsets.contains(&"2".to_owned()));
    assert_eq!(machine.next_deadline(), Some(13));
}

#[test]
fn rows_that_wait_hold_no_texts_of_rows_that_left() {
    let mut build = Build::new();
    let scan = build.scan();
    let ordered = build.order(scan, "event_time", 0, &["_offset"]);
    build.rule("r", ordered, "event_time", &["_offset"]);
    let program = build.build();
    let mut machine = machine(&program);
    let long = "a text that stands in a buffer of its batch";
    // A quiet topic: a row a batch and second, of which thirty wait.
    let mut after = |seconds: std::ops::Range<i64>| {
        for second in seconds {
            let row = [(Some("a"), Some(second * 1_000), Some(long), Some(1))];
            let watermark = (second - 30) * 1_000;
            machine.process(&batch(second, &row), &[watermark]).unwrap();
        }
        machine.memory()
    };
    let (early, late) = (after(0..100), after(100..2_000));
    assert!(late < 2 * early, "{early} bytes became {late}");
}

#[test]
fn findings_come_by_releasing_row_then_time_whatever_the_cut() {
    let program = every_operator();
    let times: Vec<i64> = (0..40).map(|i: i64| i * 7_000 - (i % 3) * 5_000).collect();
    let rows = rows(&times);
    let mut high = i64::MIN;
    let watermarks: Vec<i64> = times
        .iter()
        .map(|&time| {
            high = high.max(time);
            high - 10_000
        })
        .collect();
    let run = |cut: usize| {
        let mut machine = machine(&program);
        let mut all = Vec::new();
        for (at, piece) in rows.chunks(cut).enumerate() {
            let at = at * cut;
            let step = machine
                .process(&batch(at as i64, piece), &watermarks[at..at + piece.len()])
                .unwrap();
            all.extend(lines(&program, &step));
        }
        all.extend(lines(&program, &machine.finish().unwrap()));
        all
    };
    let once = run(rows.len());
    assert!(once.len() > 80);
    for cut in 1..rows.len() {
        assert_eq!(run(cut), once, "batches of {cut}");
    }
}

#[test]
fn nodes_that_mean_the_same_are_one() {
    let mut build = Build::new();
    let scan = build.scan();
    let (one, other) = (
        build.order(scan, "event_time", 0, &["_offset"]),
        build.order(scan, "event_time", 0, &["_offset"]),
    );
    assert_eq!(one, other);
    assert_ne!(
        one,
        build.order(scan, "event_time", 0, &["_offset", "value"])
    );
    // The same values under another name are another output.
    let (a, b) = (build.column(scan, "value"), build.column(scan, "value"));
    assert_ne!(
        build.project(scan, vec![("a", a)]),
        build.project(scan, vec![("b", b)])
    );
    let program = build.build();
    assert_eq!(
        program
            .nodes()
            .iter()
            .filter(|node| matches!(node.kind, NodeKind::Order { .. }))
            .count(),
        2
    );
}
