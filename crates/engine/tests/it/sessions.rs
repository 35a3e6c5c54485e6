//! Sessions in a machine: against a look at all rows, against the batch function, at every cut, and
//! from one machine into another at every row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, FieldRef, TimestampMillisecondType};
use datafusion_common::ScalarValue;
use datafusion_expr::Operator;
use datafusion_expr::function::PartitionEvaluatorArgs;
use datafusion_physical_expr::expressions::{BinaryExpr, Column, is_not_null, lit};
use keyhawk_engine::program::{
    Aggregate, AggregateKind, GroupColumn, KeyBy, NodeId, NodeKind, Program, WindowPart,
};
use keyhawk_testkit::random::generator;
use rand::RngExt;

use crate::programs::{Build, Expr, MINUTE, Row, Saved, batch, lines, machine, schema_of, time};

const KEYS: [&str; 5] = ["a", "b", "key-with-a-longer-name", "", "é"];
const COUNTRIES: [&str; 3] = ["DE", "FR", "a country longer than twelve bytes"];
/// How far a row can come behind the greatest time before it.
const BOUND: i64 = 40;

#[derive(Debug, Clone, Copy)]
struct Plan {
    gap: i64,
    max: Option<i64>,
    filtered: bool,
    keys: &'static [&'static str],
}

/// `value > 0`: null for a row without a value.
fn positive(build: &Build, from: NodeId) -> Expr {
    let value = build.column(from, "value");
    Arc::new(BinaryExpr::new(value, Operator::Gt, lit(0_i64)))
}

fn sessions(
    build: &mut Build,
    from: NodeId,
    plan: Plan,
    time_column: &str,
    complete: i64,
) -> NodeId {
    let by: Vec<Expr> = plan
        .keys
        .iter()
        .map(|key| build.column(from, key))
        .collect();
    let aggregate = |kind, argument: Expr, filter| Aggregate {
        kind,
        argument,
        filter,
        order: Vec::new(),
        ignore_nulls: false,
    };
    let german: Expr = Arc::new(BinaryExpr::new(
        build.column(from, "country"),
        Operator::Eq,
        lit(ScalarValue::Utf8View(Some("DE".to_owned()))),
    ));
    let kind = NodeKind::Session {
        time: build.column(from, time_column),
        gap_ms: plan.gap,
        max_ms: plan.max,
        complete_ms: complete,
        keys: match plan.keys {
            ["api_key"] => KeyBy::Topic,
            _ => KeyBy::Columns(by.clone()),
        },
        groups: by
            .into_iter()
            .map(GroupColumn::Key)
            .chain([WindowPart::Start, WindowPart::End, WindowPart::Time].map(GroupColumn::Window))
            .collect(),
        aggregates: vec![
            aggregate(AggregateKind::Count, lit(1_i64), None),
            aggregate(AggregateKind::Count, lit(1_i64), Some(german)),
            aggregate(
                AggregateKind::CountDistinct,
                build.column(from, "country"),
                None,
            ),
            aggregate(AggregateKind::Sum, build.column(from, "value"), None),
            aggregate(AggregateKind::Max, build.column(from, "country"), None),
        ],
        filter: plan.filtered.then(|| positive(build, from)),
    };
    let mut columns: Vec<(&str, DataType)> = plan
        .keys
        .iter()
        .map(|key| (*key, DataType::Utf8View))
        .collect();
    columns.extend([
        ("window_start", time()),
        ("window_end", time()),
        ("window_time", time()),
        ("n", DataType::Int64),
        ("german", DataType::Int64),
        ("countries", DataType::Int64),
        ("total", DataType::Int64),
        ("last_country", DataType::Utf8View),
    ]);
    build.add(
        kind,
        from,
        schema_of(&columns),
        &format!("session {plan:?}"),
    )
}

/// Sessions of the scan's rows, without those that have no key.
fn program(plan: Plan) -> Arc<Program> {
    let mut build = Build::new();
    let scan = build.scan();
    let with_key = build.column(scan, plan.keys[0]);
    let keyed = build.filter(scan, is_not_null(with_key).unwrap());
    let ordered = build.order(keyed, "event_time", 0, &["_offset"]);
    let found = sessions(&mut build, ordered, plan, "event_time", 0);
    let lineage: Vec<&str> = plan.keys.iter().copied().chain(["window_end"]).collect();
    build.rule("s", found, "window_end", &lineage);
    build.build()
}

/// Rows with ties, gaps and disorder within the bound, and the watermark after each.
fn log(seed: u64, count: usize) -> (Vec<Row>, Vec<i64>) {
    let mut random = generator(seed);
    let mut greatest = 1_000_000;
    (0..count)
        .map(|_| {
            let step = match random.random_range(0..12) {
                0 => random.random_range(0..400),
                1..5 => 0,
                _ => random.random_range(0..30),
            };
            let back = random.random_range(0..BOUND);
            let time = greatest + step - if step > 100 { 0 } else { back };
            greatest = greatest.max(time);
            let row = (
                (random.random_range(0..6) > 0).then(|| KEYS[random.random_range(0..KEYS.len())]),
                Some(time),
                (random.random_range(0..4) > 0).then(|| COUNTRIES[random.random_range(0..3)]),
                (random.random_range(0..4) > 0).then(|| random.random_range(-9..20)),
            );
            (row, greatest - BOUND)
        })
        .unzip()
}

fn text(time: i64) -> String {
    let array: TimestampMillisecondArray = [Some(time)].into_iter().collect();
    arrow::util::display::array_value_to_string(&array.with_timezone("UTC"), 0).unwrap()
}

/// The lines of all sessions, from all rows at once; in no order.
fn expected(rows: &[Row], plan: Plan) -> Vec<String> {
    let mut by_key: BTreeMap<Vec<Option<&str>>, Vec<(i64, usize)>> = BTreeMap::new();
    for (offset, row) in rows.iter().enumerate() {
        let of = |name: &&str| if *name == "api_key" { row.0 } else { row.2 };
        let key: Vec<Option<&str>> = plan.keys.iter().map(of).collect();
        if key[0].is_some() {
            by_key
                .entry(key)
                .or_default()
                .push((row.1.unwrap(), offset));
        }
    }
    let mut found = Vec::new();
    for (key, mut of_key) in by_key {
        of_key.sort_unstable();
        let mut sessions: Vec<Vec<(i64, usize)>> = Vec::new();
        for row in of_key {
            match sessions.last_mut() {
                Some(session)
                    if row.0 - session.last().unwrap().0 < plan.gap
                        && plan.max.is_none_or(|max| row.0 - session[0].0 < max) =>
                {
                    session.push(row);
                }
                _ => sessions.push(vec![row]),
            }
        }
        for session in sessions {
            let start = session[0].0;
            let silent = session.last().unwrap().0 + plan.gap;
            let end = plan.max.map_or(silent, |max| silent.min(start + max));
            let counted: Vec<&Row> = session
                .iter()
                .map(|&(_, offset)| &rows[offset])
                .filter(|row| !plan.filtered || row.3.is_some_and(|value| value > 0))
                .collect();
            if counted.is_empty() {
                continue;
            }
            let countries: BTreeSet<&str> = counted.iter().filter_map(|row| row.2).collect();
            let values: Vec<i64> = counted.iter().filter_map(|row| row.3).collect();
            let mut line: Vec<String> = vec!["s".to_owned()];
            line.extend(key.iter().map(|key| key.unwrap_or("null").to_owned()));
            line.extend([start, end, end - 1].map(text));
            let german = counted.iter().filter(|row| row.2 == Some("DE")).count();
            line.extend([counted.len(), german, countries.len()].map(|n| n.to_string()));
            let total = values.iter().sum::<i64>().to_string();
            line.push(if values.is_empty() {
                "null".to_owned()
            } else {
                total
            });
            line.push((*countries.last().unwrap_or(&"null")).to_owned());
            found.push(line.join(" "));
        }
    }
    found
}

/// Runs rows in batches of these lengths, then the end of the input.
fn run(program: &Arc<Program>, rows: &[Row], marks: &[i64], length: usize) -> Vec<String> {
    let mut machine = machine(program);
    let mut found = Vec::new();
    for first in (0..rows.len()).step_by(length) {
        let piece = first..(first + length).min(rows.len());
        let events = batch(first as i64, &rows[piece.clone()]);
        let step = machine.process(&events, &marks[piece]).unwrap();
        found.extend(lines(program, &step));
    }
    let end = machine.finish().unwrap();
    assert_eq!(machine.next_deadline(), None);
    found.extend(lines(program, &end));
    found
}

fn without_ids(mut lines: Vec<String>) -> Vec<String> {
    for line in &mut lines {
        line.truncate(line.rfind(' ').unwrap());
    }
    lines.sort();
    lines
}

fn plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    for keys in [
        ["api_key"].as_slice(),
        ["api_key", "country"].as_slice(),
        ["country"].as_slice(),
    ] {
        for (gap, max) in [(100, None), (1, None), (60, Some(150)), (200, Some(80))] {
            for filtered in [false, true] {
                plans.push(Plan {
                    gap,
                    max,
                    filtered,
                    keys,
                });
            }
        }
    }
    plans
}

#[test]
fn sessions_are_those_of_a_look_at_all_rows_however_the_log_is_cut() {
    for (seed, plan) in plans().into_iter().enumerate() {
        let program = program(plan);
        let (rows, marks) = log(seed as u64, 300);
        let whole = run(&program, &rows, &marks, rows.len());
        let mut expected = expected(&rows, plan);
        expected.sort();
        assert!(expected.len() > 10);
        assert_eq!(without_ids(whole.clone()), expected, "{plan:?}");
        for length in [1, 2, 7, 50] {
            let cut = run(&program, &rows, &marks, length);
            assert_eq!(cut, whole, "{plan:?} in batches of {length}");
        }
    }
}

#[test]
fn a_machine_restored_at_any_row_goes_on_as_the_one_before() {
    for (seed, plan) in plans().into_iter().enumerate().step_by(3) {
        let program = program(plan);
        let (rows, marks) = log(100 + seed as u64, 120);
        let mut random = generator(seed as u64);
        let mut first = machine(&program);
        let mut saved = Saved::default();
        for row in 0..rows.len() {
            let events = batch(row as i64, &rows[row..=row]);
            first.process(&events, &marks[row..=row]).unwrap();
            saved.take(first.snapshot().unwrap());
            // In another order the keys get other numbers.
            let mut state = saved.rows();
            for node in &mut state {
                for at in (1..node.len()).rev() {
                    node.swap(at, random.random_range(0..=at));
                }
            }
            let mut second = machine(&program);
            second.restore(&state, first.watermark()).unwrap();
            assert_eq!(second.next_deadline(), first.next_deadline(), "row {row}");
            let mut third = machine(&program);
            third.restore(&saved.rows(), first.watermark()).unwrap();
            let rest = row + 1..rows.len();
            let mut ends = Vec::new();
            for machine in [&mut second, &mut third] {
                let mut found = Vec::new();
                if !rest.is_empty() {
                    let events = batch(row as i64 + 1, &rows[rest.clone()]);
                    let step = machine.process(&events, &marks[rest.clone()]).unwrap();
                    found.extend(lines(&program, &step));
                }
                found.extend(lines(&program, &machine.finish().unwrap()));
                ends.push(found);
            }
            assert_eq!(ends[0], ends[1], "{plan:?}, row {row}");
            let whole = run(&program, &rows, &marks, rows.len());
            assert_eq!(
                ends[0],
                whole[whole.len() - ends[0].len()..],
                "{plan:?}, row {row}"
            );
        }
        first.finish().unwrap();
        saved.take(first.snapshot().unwrap());
        assert!(
            saved.nodes.iter().all(BTreeMap::is_empty),
            "nothing is left"
        );
    }
}

#[test]
fn the_batch_function_gives_the_bounds_that_the_operator_gives() {
    let udf = keyhawk_functions::session_functions().remove(0);
    assert_eq!(udf.name(), keyhawk_functions::SESSION);
    for (seed, (gap, max)) in [(100, None), (1, None), (60, Some(150)), (200, Some(80))]
        .into_iter()
        .enumerate()
    {
        let plan = Plan {
            gap,
            max,
            filtered: false,
            keys: &["api_key"],
        };
        let (rows, marks) = log(500 + seed as u64, 400);
        let mut found: Vec<String> = Vec::new();
        for key in KEYS {
            let mut times: Vec<i64> = rows
                .iter()
                .filter(|row| row.0 == Some(key))
                .map(|row| row.1.unwrap())
                .collect();
            times.sort_unstable();
            let rows = times.len();
            let lengths = [gap, max.unwrap_or(0)]
                .map(|length| Arc::new(Int64Array::from(vec![length; rows])) as ArrayRef);
            let array = TimestampMillisecondArray::from(times).with_timezone("UTC");
            let arguments = [vec![Arc::new(array) as ArrayRef], lengths.to_vec()].concat();
            let fields: Vec<FieldRef> = arguments
                .iter()
                .map(|array| Arc::new(Field::new("a", array.data_type().clone(), true)))
                .collect();
            let exprs: Vec<Expr> = (0..3)
                .map(|at| Arc::new(Column::new("a", at)) as Expr)
                .collect();
            let args = PartitionEvaluatorArgs::new(&exprs, &fields, false, false);
            let mut evaluator = udf.partition_evaluator_factory(args).unwrap();
            let bounds = evaluator.evaluate_all(&arguments, rows).unwrap();
            let bound = |part: &str, row| {
                let column = bounds.as_struct().column_by_name(part).unwrap();
                text(column.as_primitive::<TimestampMillisecondType>().value(row))
            };
            let mut sessions: Vec<String> = (0..rows)
                .map(|row| format!("s {key} {} {}", bound("start", row), bound("end", row)))
                .collect();
            sessions.dedup();
            found.extend(sessions);
        }
        found.sort();
        let streamed = run(&program(plan), &rows, &marks, 33);
        let mut streamed: Vec<String> = streamed
            .iter()
            .map(|line| {
                // A country can have spaces, a bound has none.
                let bounds: Vec<&str> = line.split(' ').take(4).collect();
                bounds.join(" ")
            })
            .collect();
        streamed.sort();
        assert_eq!(streamed, found, "gap {gap}, max {max:?}");
    }
}

/// Sessions of windows: runs of minutes in which a key is seen.
fn runs_of_minutes() -> Arc<Program> {
    let mut build = Build::new();
    let scan = build.scan();
    let with_key = build.column(scan, "api_key");
    let keyed = build.filter(scan, is_not_null(with_key).unwrap());
    let minutes = build.tumble(keyed, &["api_key"]);
    let columns = vec![
        ("api_key", build.column(minutes, "api_key")),
        ("minute", build.column(minutes, "window_end")),
        ("country", build.column(minutes, "last_country")),
        ("value", build.column(minutes, "n")),
    ];
    let minutes = build.project(minutes, columns);
    let ordered = build.order(minutes, "minute", 1, &["api_key"]);
    let plan = Plan {
        gap: 2 * MINUTE,
        max: None,
        filtered: false,
        keys: &["api_key"],
    };
    let found = sessions(&mut build, ordered, plan, "minute", 1);
    let by_end = build.order(found, "window_end", 1, &["api_key"]);
    let numbered = build.over(
        by_end,
        &["api_key"],
        "total",
        ("window_end", 1, 60 * MINUTE),
    );
    build.rule("s", numbered, "window_end", &["api_key", "window_end"]);
    build.build()
}

#[test]
fn sessions_of_windows_close_with_the_row_that_makes_them_certain() {
    let program = runs_of_minutes();
    let times: Vec<i64> = (0..60).map(|i: i64| i * i * 700).collect();
    let rows: Vec<Row> = times
        .iter()
        .enumerate()
        .map(|(i, &time)| (Some(KEYS[i % 2]), Some(time), Some("DE"), Some(1)))
        .collect();
    let whole = run(&program, &rows, &times, rows.len());
    assert!(whole.len() > 4, "{whole:?}");
    assert_eq!(run(&program, &rows, &times, 1), whole);
    // Key a in minute 0 alone: its window ends at 1:00, and a session of it at 3:00.
    let one: Vec<Row> = [0, 3 * MINUTE - 2, 3 * MINUTE - 1, 3 * MINUTE]
        .map(|time| {
            (
                Some(if time == 0 { "a" } else { "b" }),
                Some(time),
                None,
                None,
            )
        })
        .to_vec();
    let marks = [0, 3 * MINUTE - 2, 3 * MINUTE - 1, 3 * MINUTE];
    let step = machine(&program).process(&batch(0, &one), &marks).unwrap();
    let released: Vec<usize> = step.order.iter().map(|place| place.released_by).collect();
    assert_eq!(
        released,
        [3],
        "the end itself can still have a row before it"
    );
}

#[test]
fn a_session_leaves_with_the_row_whose_watermark_reaches_its_end() {
    let plan = Plan {
        gap: 100,
        max: None,
        filtered: true,
        keys: &["api_key"],
    };
    let program = program(plan);
    let row = |key, time, value| (Some(key), Some(time), Some("DE"), Some(value));
    // The row of b at 60 fails the filter and still keeps its session open to 160; c has none to count.
    let rows = [
        row("a", 0, 1),
        row("b", 5, 1),
        row("c", 6, -1),
        row("b", 60, -1),
        row("d", 99, 1),
        row("d", 100, 1),
        row("d", 160, 1),
    ];
    let marks = [0, 5, 6, 60, 99, 100, 160];
    let mut machine = machine(&program);
    let step = machine.process(&batch(0, &rows), &marks).unwrap();
    let released: Vec<usize> = step.order.iter().map(|place| place.released_by).collect();
    assert_eq!(released, [5, 6]);
    let found = without_ids(lines(&program, &step));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[1].contains("1970-01-01T00:00:00.160Z"), "{found:?}");
    // d at 160 still waits in the order, at 161; its session stands at 100 + 100.
    assert_eq!(machine.next_deadline(), Some(161));
    assert_eq!(machine.finish().unwrap().order.len(), 1);
}
