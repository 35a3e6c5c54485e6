//! Expressions that fail: null and counted, a row at a time, whatever else is in the batch.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::{binary, cast, lit};
use keyhawk_engine::program::Program;
use keyhawk_engine::{Error, Machine};

use crate::programs::{Build, MINUTE, Row, batch, input, integers, machine};

const ROWS: [Row; 5] = [
    (Some("a"), Some(MINUTE), Some("12"), Some(0)),
    (Some("a"), Some(MINUTE + 1), Some("x"), Some(5)),
    (Some("b"), Some(MINUTE + 2), None, None),
    (Some("b"), Some(MINUTE + 3), Some("-3"), Some(2)),
    (None, Some(MINUTE + 4), Some(""), Some(0)),
];

/// A rule that casts `country` to an integer and divides 10 by `value`.
fn projecting() -> Arc<Program> {
    let mut build = Build::new();
    let scan = build.scan();
    let number = cast(build.column(scan, "country"), &input(), DataType::Int64).unwrap();
    let tenth = binary(
        lit(10_i64),
        Operator::Divide,
        build.column(scan, "value"),
        &input(),
    )
    .unwrap();
    let columns = ["event_time", "_offset"].map(|name| (name, build.column(scan, name)));
    let node = build.project(
        scan,
        columns
            .into_iter()
            .chain([("number", number), ("tenth", tenth)])
            .collect(),
    );
    build.rule("r", node, "event_time", &["_offset"]);
    build.build()
}

fn run(machine: &mut Machine, cut: usize) -> (Vec<Option<i64>>, Vec<Option<i64>>, u64) {
    let mut all = (Vec::new(), Vec::new(), 0);
    for (at, rows) in ROWS.chunks(cut).enumerate() {
        let step = machine
            .process(&batch((at * cut) as i64, rows), &vec![0; rows.len()])
            .unwrap();
        all.0.extend(integers(&step, "number"));
        all.1.extend(integers(&step, "tenth"));
        all.2 += step.failed_rows;
    }
    all
}

#[test]
fn a_row_that_fails_is_null_and_counted_and_the_others_are_as_they_were() {
    let program = projecting();
    for cut in 1..=ROWS.len() {
        let (numbers, tenths, failed) = run(&mut machine(&program), cut);
        assert_eq!(
            numbers,
            [Some(12), None, None, Some(-3), None],
            "batches of {cut}"
        );
        assert_eq!(
            tenths,
            [None, Some(2), None, Some(5), None],
            "batches of {cut}"
        );
        assert_eq!(failed, 4, "batches of {cut}: two casts and two divisions");
    }
}

#[test]
fn a_filter_that_fails_on_a_row_leaves_it_out_and_counts_it() {
    let mut build = Build::new();
    let scan = build.scan();
    let tenth = binary(
        lit(10_i64),
        Operator::Divide,
        build.column(scan, "value"),
        &input(),
    )
    .unwrap();
    let predicate = binary(tenth, Operator::Gt, lit(1_i64), &input()).unwrap();
    let kept = build.filter(scan, predicate);
    build.rule("r", kept, "event_time", &["_offset"]);
    let program = build.build();
    let step = machine(&program)
        .process(&batch(0, &ROWS), &[0; 5])
        .unwrap();
    assert_eq!(integers(&step, "_offset"), [Some(1), Some(3)]);
    assert_eq!(step.failed_rows, 2);
}

#[test]
fn a_row_without_a_time_is_in_no_window() {
    let mut build = Build::new();
    let scan = build.scan();
    let windows = build.tumble(scan, &["country", "api_key"]);
    build.rule(
        "r",
        windows,
        "window_end",
        &["country", "api_key", "window_end"],
    );
    let program = build.build();
    let mut machine = machine(&program);
    machine
        .process(
            &batch(
                0,
                &[
                    (Some("a"), None, Some("DE"), Some(1)),
                    (Some("a"), Some(5), Some("DE"), Some(2)),
                ],
            ),
            &[0, 0],
        )
        .unwrap();
    assert_eq!(integers(&machine.finish().unwrap(), "total"), [Some(2)]);
}

#[test]
fn a_batch_of_another_shape_is_an_error() {
    let program = projecting();
    let rows = batch(0, &ROWS);
    let narrow = rows.project(&[0, 1]).unwrap();
    for (batch, watermarks) in [(&narrow, vec![0; 5]), (&rows, vec![0; 4])] {
        let error = machine(&program).process(batch, &watermarks).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Shape {
                    operator: "machine",
                    ..
                }
            ),
            "{error}"
        );
    }
}
