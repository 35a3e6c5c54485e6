//! Joins, with reference tables and of windows, against nested loops.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use arrow::array::{
    Array, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion_expr::Operator;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{Column, binary, col, lit, not};
use keyhawk_engine::program::{
    Aggregate, AggregateKind, GroupColumn, JoinKind, KeyBy, LookupIndex, NodeId, NodeKind, Program,
    ProgramBuilder, ReferenceTable, Sink, WindowPart,
};
use keyhawk_engine::{Machine, StateRow, Step};
use keyhawk_testkit::random::generator;
use rand::{Rng, RngExt};

use crate::programs::{Expr, Saved, lines, machine};

const KINDS: [JoinKind; 5] = [
    JoinKind::Inner,
    JoinKind::Left,
    JoinKind::Semi,
    JoinKind::Anti,
    JoinKind::NullAwareAnti,
];
const TEXTS: [&str; 4] = ["DE", "FR", "", "a country longer than twelve bytes"];
const FLOATS: [f64; 4] = [0.0, -0.0, f64::NAN, 1.5];

/// A row of an input, of a side of a join or of a table.
#[derive(Debug, Clone, Copy)]
struct Row {
    key: Option<&'static str>,
    time: Option<i64>,
    left: bool,
    text: Option<&'static str>,
    number: Option<i64>,
    float: Option<f64>,
}

fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

const COLUMNS: [&str; 7] = ["key", "time", "left", "text", "number", "float", "offset"];

/// The columns of rows, with a prefix.
fn schema(prefix: &str) -> SchemaRef {
    let types = [
        DataType::Utf8View,
        time_type(),
        DataType::Boolean,
        DataType::Utf8View,
        DataType::Int64,
        DataType::Float64,
        DataType::Int64,
    ];
    let fields = COLUMNS
        .iter()
        .zip(types)
        .map(|(name, kind)| Field::new(format!("{prefix}{name}"), kind, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn batch(prefix: &str, offset: usize, rows: &[Row]) -> RecordBatch {
    let times: TimestampMillisecondArray = rows.iter().map(|row| row.time).collect();
    let offsets = (offset as i64..).take(rows.len());
    RecordBatch::try_new(
        schema(prefix),
        vec![
            Arc::new(rows.iter().map(|row| row.key).collect::<StringViewArray>()),
            Arc::new(times.with_timezone("UTC")),
            Arc::new(BooleanArray::from_iter(
                rows.iter().map(|row| Some(row.left)),
            )),
            Arc::new(rows.iter().map(|row| row.text).collect::<StringViewArray>()),
            Arc::new(rows.iter().map(|row| row.number).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.float).collect::<Float64Array>()),
            Arc::new(Int64Array::from_iter_values(offsets)),
        ],
    )
    .unwrap()
}

/// A random row whose keys are null as often as `nulls` in 10.
fn row(random: &mut impl Rng, nulls: u32) -> Row {
    let mut some = || random.random_range(0..10) >= nulls;
    let (key, text, number, float) = (some(), some(), some(), some());
    Row {
        key: key.then(|| ["a", "b", "c"][random.random_range(0..3)]),
        time: Some(0),
        left: random.random_bool(0.5),
        text: text.then(|| TEXTS[random.random_range(0..TEXTS.len())]),
        number: number.then(|| random.random_range(-2..3)),
        float: float.then(|| FLOATS[random.random_range(0..FLOATS.len())]),
    }
}

/// Whether two rows are equal in a column, in the sense of SQL.
fn equal(column: &str, left: &Row, right: &Row) -> bool {
    match column {
        "key" => left.key.is_some() && left.key == right.key,
        "text" => left.text.is_some() && left.text == right.text,
        "number" => left.number.is_some() && left.number == right.number,
        "float" => match (left.float, right.float) {
            (Some(left), Some(right)) => left == right || left.is_nan() && right.is_nan(),
            _ => false,
        },
        other => unreachable!("no key {other}"),
    }
}

/// The residual of these tests: left.number < right.number.
fn below(left: &Row, right: &Row) -> bool {
    matches!((left.number, right.number), (Some(left), Some(right)) if left < right)
}

fn has_null(column: &str, row: &Row) -> bool {
    match column {
        "key" => row.key.is_none(),
        "text" => row.text.is_none(),
        "number" => row.number.is_none(),
        _ => row.float.is_none(),
    }
}

/// The join by nested loops: pairs of row numbers.
fn naive(
    kind: JoinKind,
    on: &[&str],
    residual: bool,
    left: &[Row],
    right: &[Row],
) -> Vec<(i64, Option<i64>)> {
    let mut pairs = Vec::new();
    for (i, row) in left.iter().enumerate() {
        let matching: Vec<i64> = right
            .iter()
            .enumerate()
            .filter(|(_, other)| on.iter().all(|column| equal(column, row, other)))
            .filter(|(_, other)| !residual || below(row, other))
            .map(|(j, _)| j as i64)
            .collect();
        let i = i as i64;
        match kind {
            JoinKind::Inner => pairs.extend(matching.iter().map(|&j| (i, Some(j)))),
            JoinKind::Left if matching.is_empty() => pairs.push((i, None)),
            JoinKind::Left => pairs.extend(matching.iter().map(|&j| (i, Some(j)))),
            JoinKind::Semi => pairs.extend((!matching.is_empty()).then_some((i, None))),
            JoinKind::Anti => pairs.extend(matching.is_empty().then_some((i, None))),
            JoinKind::NullAwareAnti => {
                let unknown = right.iter().any(|other| has_null(on[0], other))
                    || !right.is_empty() && has_null(on[0], row);
                pairs.extend((matching.is_empty() && !unknown).then_some((i, None)));
            }
        }
    }
    pairs
}

fn joined(kind: JoinKind, left: &SchemaRef, right: &SchemaRef) -> SchemaRef {
    match kind {
        JoinKind::Inner | JoinKind::Left => Arc::new(Schema::new(
            [left, right]
                .into_iter()
                .flat_map(|schema| schema.fields().iter().cloned())
                .collect::<Vec<_>>(),
        )),
        _ => Arc::clone(left),
    }
}

/// left.number < right.number over a pair of rows.
fn residual() -> Expr {
    let pair = joined(JoinKind::Inner, &schema(""), &schema("r_"));
    let column = |name| col(name, &pair).unwrap();
    binary(column("number"), Operator::Lt, column("r_number"), &pair).unwrap()
}

fn columns(names: &[&str], schema: &Schema) -> Vec<Expr> {
    names
        .iter()
        .map(|name| col(name, schema).unwrap())
        .collect()
}

fn index(rows: &[Row], on: &[&str]) -> Arc<LookupIndex> {
    let table = Arc::new(ReferenceTable {
        name: "routes".to_owned(),
        rows: batch("r_", 0, rows),
    });
    let keys: Vec<String> = on.iter().map(|name| format!("r_{name}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let keys = columns(&keys, &table.rows.schema());
    Arc::new(LookupIndex::new(table, &keys).unwrap())
}

/// Adds a node that is the same as no other.
fn add(
    builder: &mut ProgramBuilder,
    kind: NodeKind,
    inputs: &[NodeId],
    schema: SchemaRef,
) -> NodeId {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let meaning = format!("node {}", NEXT.fetch_add(1, Relaxed));
    builder.add(kind, inputs.to_vec(), schema, &meaning, true)
}

/// A rule that selects columns of a node and has them as its lineage.
fn rule(builder: &mut ProgramBuilder, from: NodeId, time: &str, selected: &[&str]) {
    let input = Arc::clone(builder.schema(from));
    let mut expressions = columns(selected, &input);
    let mut names = selected.to_vec();
    expressions.push(col(time, &input).unwrap());
    names.push("__time");
    for offset in keyhawk_engine::OFFSET_COLUMNS {
        expressions.push(lit(0_i64));
        names.push(offset);
    }
    expressions.extend(columns(selected, &input));
    let lineage: Vec<String> = selected.iter().map(|name| format!("__{name}")).collect();
    names.extend(lineage.iter().map(String::as_str));
    let fields = names
        .iter()
        .zip(&expressions)
        .map(|(name, expr)| Field::new(*name, expr.data_type(&input).unwrap(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let node = add(builder, NodeKind::Project { expressions }, &[from], schema);
    builder.sink(Sink {
        rule: "r".to_owned(),
        node,
        visible: selected.len(),
        warmup_ms: None,
    });
}

fn lookup(kind: JoinKind, on: &[&str], with_residual: bool, table: &[Row]) -> Arc<Program> {
    let mut builder = ProgramBuilder::new(schema(""), Some(0));
    let scan = builder.scan();
    let node = NodeKind::Lookup {
        index: index(table, on),
        kind,
        on: columns(on, &schema("")),
        residual: with_residual.then(residual),
    };
    let output = joined(kind, &schema(""), &schema("r_"));
    let node = add(&mut builder, node, &[scan], Arc::clone(&output));
    rule(&mut builder, node, "time", selected(kind));
    Arc::new(builder.build())
}

fn selected(kind: JoinKind) -> &'static [&'static str] {
    match kind {
        JoinKind::Inner | JoinKind::Left => &["offset", "r_offset"],
        _ => &["offset"],
    }
}

/// The pairs in a step's findings, as they left the operator.
fn pairs(step: &Step) -> Vec<(i64, Option<i64>)> {
    let mut all = Vec::new();
    for findings in &step.findings {
        let left = findings.rows.column(0).as_primitive::<Int64Type>();
        for row in 0..left.len() {
            let right = findings.rows.columns().get(1).and_then(|right| {
                let right = right.as_primitive::<Int64Type>();
                right.is_valid(row).then(|| right.value(row))
            });
            all.push((left.value(row), right));
        }
    }
    all
}

#[test]
fn a_lookup_gives_what_nested_loops_give_in_their_order() {
    let keys: [&[&str]; 5] = [
        &["text"],
        &["number"],
        &["float"],
        &["text", "number"],
        &["key", "float"],
    ];
    let mut found = [0; 5];
    for seed in 0..60 {
        let mut random = generator(seed);
        let nulls = random.random_range(0..3);
        let size = [0, 1, 7, 40][random.random_range(0..4)];
        let table: Vec<Row> = (0..size).map(|_| row(&mut random, nulls)).collect();
        let rows: Vec<Row> = (0..25).map(|_| row(&mut random, 2)).collect();
        let on = keys[random.random_range(0..keys.len())];
        for (at, kind) in KINDS.into_iter().enumerate() {
            if kind == JoinKind::NullAwareAnti && on.len() > 1 {
                continue;
            }
            for with_residual in [false, true] {
                let expected = naive(kind, on, with_residual, &rows, &table);
                found[at] += expected.len();
                let program = lookup(kind, on, with_residual, &table);
                for cut in [1, 2, 7, rows.len()] {
                    let mut machine = machine(&program);
                    let mut all = Vec::new();
                    for (at, piece) in rows.chunks(cut).enumerate() {
                        let step = machine
                            .process(&batch("", at * cut, piece), &vec![0; piece.len()])
                            .unwrap();
                        all.extend(pairs(&step));
                        let last = step.order.iter().map(|place| place.released_by).max();
                        assert!(last.is_none_or(|last| last < piece.len()));
                    }
                    assert_eq!(
                        all, expected,
                        "seed {seed}, {kind:?} on {on:?}, residual {with_residual}, cut {cut}"
                    );
                }
            }
        }
    }
    assert!(found.iter().all(|&rows| rows > 200), "{found:?}");
}

#[test]
fn many_equal_keys_on_both_sides_give_every_pair() {
    let mut random = generator(5);
    let mut rows = |count: usize| -> Vec<Row> {
        (0..count)
            .map(|at| Row {
                text: Some(TEXTS[usize::from(at % 50 == 0)]),
                ..row(&mut random, 3)
            })
            .collect()
    };
    let (rows, table) = (rows(61), rows(3_000));
    for kind in KINDS {
        for with_residual in [false, true] {
            let program = lookup(kind, &["text"], with_residual, &table);
            let step = machine(&program)
                .process(&batch("", 0, &rows), &[0; 61])
                .unwrap();
            let expected = naive(kind, &["text"], with_residual, &rows, &table);
            assert!(pairs(&step) == expected, "{kind:?} {with_residual}");
        }
    }
}

#[test]
fn unsigned_and_small_integers_are_told_apart_over_their_whole_range() {
    let fields = |prefix: &str| {
        Arc::new(Schema::new(vec![
            Field::new(format!("{prefix}wide"), DataType::UInt64, true),
            Field::new(format!("{prefix}small"), DataType::Int8, true),
        ]))
    };
    let rows = |prefix: &str| {
        let wide = arrow::array::UInt64Array::from(vec![0, u64::MAX, 1 << 63, i64::MAX as u64]);
        let small = arrow::array::Int8Array::from(vec![-128, -1, 0, 127]);
        RecordBatch::try_new(fields(prefix), vec![Arc::new(wide), Arc::new(small)]).unwrap()
    };
    for key in [0, 1] {
        let table = Arc::new(ReferenceTable {
            name: "t".to_owned(),
            rows: rows("r_"),
        });
        let column = |name: &str| Arc::new(Column::new(name, key)) as Arc<dyn PhysicalExpr>;
        let mut builder = ProgramBuilder::new(fields(""), None);
        let scan = builder.scan();
        let node = NodeKind::Lookup {
            index: Arc::new(LookupIndex::new(table, &[column("r")]).unwrap()),
            kind: JoinKind::Inner,
            on: vec![column("l")],
            residual: None,
        };
        let output = joined(JoinKind::Inner, &fields(""), &fields("r_"));
        let node = add(&mut builder, node, &[scan], output);
        let output = Arc::clone(builder.schema(node));
        let mut expressions = columns(&["wide", "r_wide"], &output);
        let time = arrow::compute::cast(&Int64Array::from(vec![0]), &time_type()).unwrap();
        let time = datafusion_common::ScalarValue::try_from_array(&time, 0).unwrap();
        expressions.extend([lit(time), lit(0_i64), lit(0_i64)]);
        let fields = expressions
            .iter()
            .enumerate()
            .map(|(at, expr)| Field::new(at.to_string(), expr.data_type(&output).unwrap(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let node = add(
            &mut builder,
            NodeKind::Project { expressions },
            &[node],
            schema,
        );
        builder.sink(Sink {
            rule: "r".to_owned(),
            node,
            visible: 2,
            warmup_ms: None,
        });
        let step = machine(&Arc::new(builder.build()))
            .process(&rows(""), &[0; 4])
            .unwrap();
        let [findings] = step.findings.as_slice() else {
            panic!("{} findings", step.findings.len());
        };
        assert_eq!(findings.rows.num_rows(), 4);
        assert_eq!(findings.rows.column(0), findings.rows.column(1));
    }
}

#[test]
fn an_index_is_made_once_and_says_what_it_costs() {
    let mut random = generator(1);
    let table: Vec<Row> = (0..100).map(|_| row(&mut random, 1)).collect();
    let index = index(&table, &["text"]);
    assert_eq!(index.failed_rows(), 0);
    assert_eq!(index.table().name, "routes");
    assert!(index.memory() >= 100 * 4);
    let before = Arc::strong_count(&index);
    let mut builder = ProgramBuilder::new(schema(""), Some(0));
    let scan = builder.scan();
    let kind = NodeKind::Lookup {
        index: Arc::clone(&index),
        kind: JoinKind::Semi,
        on: columns(&["text"], &schema("")),
        residual: None,
    };
    add(&mut builder, kind, &[scan], schema(""));
    let program = Arc::new(builder.build());
    let _machines = (machine(&program), machine(&program));
    assert_eq!(Arc::strong_count(&index), before + 3);
}

#[test]
fn a_key_of_the_table_that_fails_is_null_and_counted() {
    let mut rows = [row(&mut generator(1), 0); 3];
    rows[0].number = Some(0);
    rows[1].number = Some(5);
    rows[2].number = Some(2);
    let table = Arc::new(ReferenceTable {
        name: "t".to_owned(),
        rows: batch("r_", 0, &rows),
    });
    let number = col("r_number", &schema("r_")).unwrap();
    let tenth = binary(lit(10_i64), Operator::Divide, number, &schema("r_")).unwrap();
    let index = LookupIndex::new(table, &[tenth]).unwrap();
    assert_eq!(index.failed_rows(), 1);
}

const STEP: i64 = 10_000;

/// Both sides of a join of windows, told apart by `left`; columns of the right one are `r_…`.
fn windows(
    kind: JoinKind,
    on: &[&str],
    with_residual: bool,
    complete_ms: [i64; 2],
    selected: &[&str],
) -> Arc<Program> {
    let mut builder = ProgramBuilder::new(schema(""), Some(0));
    let scan = builder.scan();
    let left = col("left", &schema("")).unwrap();
    let ours = NodeKind::Filter {
        predicate: Arc::clone(&left),
    };
    let ours = add(&mut builder, ours, &[scan], schema(""));
    let theirs = NodeKind::Filter {
        predicate: not(left).unwrap(),
    };
    let theirs = add(&mut builder, theirs, &[scan], schema(""));
    let renamed = NodeKind::Project {
        expressions: columns(&COLUMNS, &schema("")),
    };
    let theirs = add(&mut builder, renamed, &[theirs], schema("r_"));
    let prefixed: Vec<String> = on.iter().map(|name| format!("r_{name}")).collect();
    let prefixed: Vec<&str> = prefixed.iter().map(String::as_str).collect();
    let join = NodeKind::WindowJoin {
        kind,
        time: [
            col("time", &schema("")).unwrap(),
            col("r_time", &schema("r_")).unwrap(),
        ],
        complete_ms,
        on: [columns(on, &schema("")), columns(&prefixed, &schema("r_"))],
        residual: with_residual.then(residual),
    };
    let output = joined(kind, &schema(""), &schema("r_"));
    let join = add(&mut builder, join, &[ours, theirs], output);
    rule(&mut builder, join, "time", selected);
    Arc::new(builder.build())
}

/// A log in which rows come up to two windows late, and its watermarks.
fn log(seed: u64, length: usize) -> (Vec<Row>, Vec<i64>) {
    let mut random = generator(seed);
    let nulls = random.random_range(0..3);
    let (mut now, mut high) = (0, i64::MIN);
    (0..length)
        .map(|_| {
            now += i64::from(random.random_range(0..4) == 0) * random.random_range(1..3);
            let time = now.max(2) - random.random_range(0..3);
            high = high.max(time);
            let row = Row {
                time: (random.random_range(0..20) > 0).then_some(time * STEP),
                ..row(&mut random, nulls)
            };
            (row, (high - 2) * STEP)
        })
        .unzip()
}

/// What a join of windows must emit: by releasing row, then time.
fn expected(
    kind: JoinKind,
    on: &[&str],
    with_residual: bool,
    complete_ms: [i64; 2],
    (rows, watermarks): &(Vec<Row>, Vec<i64>),
) -> Vec<(usize, i64, i64, Option<i64>)> {
    let mut all = Vec::new();
    let mut times: Vec<i64> = rows.iter().filter_map(|row| row.time).collect();
    times.sort_unstable();
    times.dedup();
    for time in times {
        let side = |left: bool| -> (Vec<usize>, Vec<Row>) {
            rows.iter()
                .enumerate()
                .filter(|(_, row)| row.left == left && row.time == Some(time))
                .map(|(at, row)| (at, *row))
                .unzip()
        };
        let ((left, ours), (right, theirs)) = (side(true), side(false));
        let deadline = time - complete_ms[0].min(complete_ms[1]) + 1;
        let released = watermarks.partition_point(|&watermark| watermark < deadline);
        let pairs = naive(kind, on, with_residual, &ours, &theirs);
        all.extend(pairs.into_iter().map(|(i, j)| {
            let right = j.map(|j| right[j as usize] as i64);
            (released, time, left[i as usize] as i64, right)
        }));
    }
    all.sort_unstable();
    all
}

/// What a machine emits from row `from` on, cut into batches of `cut`; `at` is told each row's end.
fn run(
    machine: &mut Machine,
    (rows, watermarks): &(Vec<Row>, Vec<i64>),
    from: usize,
    to: usize,
    cut: usize,
) -> Vec<(usize, i64, i64, Option<i64>)> {
    let mut all = Vec::new();
    let mut at = from;
    while at < to {
        let end = (at + cut).min(to);
        let step = machine
            .process(&batch("", at, &rows[at..end]), &watermarks[at..end])
            .unwrap();
        assert_eq!(step.failed_rows, 0);
        all.extend(placed(&step, at));
        at = end;
    }
    all
}

/// The rows of a step in its order, with the number of the releasing row in the whole log.
fn placed(step: &Step, from: usize) -> Vec<(usize, i64, i64, Option<i64>)> {
    let place = |place: &keyhawk_engine::Place| {
        let findings = &step.findings[place.findings];
        let value = |column: usize| {
            let values = findings.rows.columns().get(column)?;
            let values = values.as_primitive::<Int64Type>();
            values.is_valid(place.row).then(|| values.value(place.row))
        };
        (
            from.saturating_add(place.released_by),
            findings.times[place.row],
            value(0).unwrap(),
            value(1),
        )
    };
    step.order.iter().map(place).collect()
}

fn finish(machine: &mut Machine, rows: usize) -> Vec<(usize, i64, i64, Option<i64>)> {
    let mut end = placed(&machine.finish().unwrap(), 0);
    end.iter_mut().for_each(|row| row.0 = rows);
    end
}

/// Rows with the same releasing row and time come in the order of their ids.
fn assert_same(
    found: &[(usize, i64, i64, Option<i64>)],
    expected: &[(usize, i64, i64, Option<i64>)],
    what: &str,
) {
    let by = |row: &(usize, i64, i64, Option<i64>)| (row.0, row.1);
    assert!(
        found.is_sorted_by(|a, b| by(a).cmp(&by(b)) != Ordering::Greater),
        "{what}"
    );
    let mut found = found.to_vec();
    found.sort_unstable();
    assert_eq!(found, expected, "{what}");
}

const KEYS: [&[&str]; 5] = [
    &[],
    &["text"],
    &["float"],
    &["key", "number"],
    &["text", "number", "float"],
];
const DELAYS: [[i64; 2]; 4] = [[0, 0], [0, -2 * STEP], [-3 * STEP, -1], [-STEP, -STEP]];

#[test]
fn a_join_of_windows_gives_what_nested_loops_give_at_every_cut() {
    let mut found = [0; 4];
    for seed in 0..40 {
        let log = log(seed, 60);
        let rows = log.0.len();
        let on = KEYS[seed as usize % KEYS.len()];
        let complete_ms = DELAYS[seed as usize % DELAYS.len()];
        for (at, kind) in KINDS[..4].iter().copied().enumerate() {
            for with_residual in [false, true] {
                let expected = expected(kind, on, with_residual, complete_ms, &log);
                found[at] += expected.len();
                let program = windows(kind, on, with_residual, complete_ms, selected(kind));
                let mut first = None;
                for cut in [rows, 1, 2, 13] {
                    let mut machine = machine(&program);
                    let mut all = run(&mut machine, &log, 0, rows, cut);
                    all.extend(finish(&mut machine, rows));
                    let what =
                        format!("seed {seed}, {kind:?} on {on:?}, {with_residual}, cut {cut}");
                    assert_same(&all, &expected, &what);
                    assert_eq!(first.get_or_insert_with(|| all.clone()), &all, "{what}");
                    assert_eq!(machine.next_deadline(), None);
                }
            }
        }
    }
    assert!(found.iter().all(|&rows| rows > 300), "{found:?}");
}

#[test]
fn a_join_of_windows_goes_on_after_a_restore_at_every_row() {
    for seed in 0..8 {
        let log = log(seed, 40);
        let rows = log.0.len();
        let on = KEYS[seed as usize % KEYS.len()];
        let complete_ms = DELAYS[seed as usize % DELAYS.len()];
        let kind = KINDS[seed as usize % 4];
        let program = windows(kind, on, seed % 3 == 0, complete_ms, selected(kind));
        let mut whole = machine(&program);
        let mut expected = run(&mut whole, &log, 0, rows, rows);
        expected.extend(finish(&mut whole, rows));
        let mut random = generator(seed);
        // One machine is saved after every row; what it saved adds up.
        let mut watched = machine(&program);
        let mut sum = Saved::default();
        let mut before = Vec::new();
        for cut in 0..=rows {
            if cut > 0 {
                before.extend(run(&mut watched, &log, cut - 1, cut, 1));
            }
            sum.take(watched.snapshot().unwrap());
            let again = watched.snapshot().unwrap();
            assert!(again.iter().all(Vec::is_empty), "nothing changed since");
            let mut once = machine(&program);
            run(&mut once, &log, 0, cut, rows);
            let mut one = Saved::default();
            one.take(once.snapshot().unwrap());
            assert_eq!(sum, one, "seed {seed}, cut at {cut}");

            // In another order, and in two parts, the keys get other numbers.
            let mut parts = [sum.rows(), sum.rows()];
            for node in 0..parts[0].len() {
                let mut all = std::mem::take(&mut parts[0][node]);
                for at in (1..all.len()).rev() {
                    all.swap(at, random.random_range(0..=at));
                }
                parts[1][node] = all.split_off(random.random_range(0..=all.len()));
                parts[0][node] = all;
            }
            let mut second = machine(&program);
            for part in &parts {
                second.restore(part, watched.watermark()).unwrap();
            }
            assert_eq!(second.next_deadline(), watched.next_deadline());
            let mut same = Saved::default();
            let mut copy = machine(&program);
            copy.restore(&sum.rows(), watched.watermark()).unwrap();
            assert!(copy.snapshot().unwrap().iter().all(Vec::is_empty));
            same.take(sum.rows());
            let mut all = before.clone();
            all.extend(run(&mut second, &log, cut, rows, 3));
            all.extend(finish(&mut second, rows));
            assert_eq!(all, expected, "seed {seed}, cut at {cut}");
            // What has left is deleted.
            same.take(second.snapshot().unwrap());
            assert!(same.nodes.iter().all(|node| node.is_empty()));
        }
    }
}

#[test]
fn rows_that_are_equal_in_every_column_survive_a_restore_each() {
    let mut builder = ProgramBuilder::new(schema(""), Some(0));
    let scan = builder.scan();
    // Without the offset, rows of one key and time are the same.
    let fields = ["time", "text"];
    let project = |prefix: &str| {
        let names: Vec<String> = fields
            .iter()
            .map(|name| format!("{prefix}{name}"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let all = schema(prefix);
        let places = names.iter().map(|name| all.index_of(name).unwrap());
        Arc::new(all.project(&places.collect::<Vec<_>>()).unwrap())
    };
    let side = |builder: &mut ProgramBuilder, prefix: &str| {
        let kind = NodeKind::Project {
            expressions: columns(&fields, &schema("")),
        };
        add(builder, kind, &[scan], project(prefix))
    };
    let inputs = [side(&mut builder, ""), side(&mut builder, "r_")];
    let join = NodeKind::WindowJoin {
        kind: JoinKind::Inner,
        time: [
            col("time", &project("")).unwrap(),
            col("r_time", &project("r_")).unwrap(),
        ],
        complete_ms: [0, 0],
        on: [
            columns(&["text"], &project("")),
            columns(&["r_text"], &project("r_")),
        ],
        residual: None,
    };
    let output = joined(JoinKind::Inner, &project(""), &project("r_"));
    let join = add(&mut builder, join, &inputs, output);
    rule(&mut builder, join, "time", &["text", "r_text"]);
    let program = Arc::new(builder.build());
    let one = Row {
        key: Some("a"),
        time: Some(7),
        left: true,
        text: Some("DE"),
        number: None,
        float: None,
    };
    let other = Row {
        key: Some("b"),
        ..one
    };
    let mut first = machine(&program);
    let mut sum = Saved::default();
    for (at, row) in [one, one, other, one].into_iter().enumerate() {
        first.process(&batch("", at, &[row]), &[0]).unwrap();
        sum.take(first.snapshot().unwrap());
    }
    // A row each for two topic keys on two sides.
    assert_eq!(sum.rows().iter().map(Vec::len).sum::<usize>(), 4);
    let mut second = machine(&program);
    second.restore(&sum.rows(), 0).unwrap();
    let (ends, found) = (second.finish().unwrap(), first.finish().unwrap());
    assert_eq!(lines(&program, &ends), lines(&program, &found));
    assert_eq!(ends.order.len(), 16);
}

#[test]
fn the_topic_key_is_the_left_rows_or_where_it_has_none_the_right_ones() {
    let build = |kind: JoinKind| {
        let mut builder = ProgramBuilder::new(schema(""), Some(0));
        let scan = builder.scan();
        let left = col("left", &schema("")).unwrap();
        let sides = [Arc::clone(&left), not(left).unwrap()].map(|predicate| {
            add(
                &mut builder,
                NodeKind::Filter { predicate },
                &[scan],
                schema(""),
            )
        });
        let time = || col("time", &schema("")).unwrap();
        let join = NodeKind::WindowJoin {
            kind,
            time: [time(), time()],
            complete_ms: [0, 0],
            on: [vec![], vec![]],
            residual: None,
        };
        let output = joined(kind, &schema(""), &schema("r_"));
        let join = add(&mut builder, join, &sides, Arc::clone(&output));
        // A window that is keyed by the topic's key names it by the number that came with the row.
        let window = NodeKind::Tumble {
            time: col("time", &output).unwrap(),
            size_ms: STEP,
            complete_ms: 0,
            keys: KeyBy::Topic,
            groups: vec![
                GroupColumn::Key(col("key", &output).unwrap()),
                GroupColumn::Window(WindowPart::Start),
            ],
            aggregates: vec![Aggregate {
                kind: AggregateKind::Count,
                argument: lit(1_i64),
                filter: None,
                order: Vec::new(),
                ignore_nulls: false,
            }],
        };
        let fields = vec![
            Field::new("key", DataType::Utf8View, true),
            Field::new("time", time_type(), true),
            Field::new("n", DataType::Int64, true),
        ];
        let window = add(&mut builder, window, &[join], Arc::new(Schema::new(fields)));
        rule(&mut builder, window, "time", &["key", "n"]);
        Arc::new(builder.build())
    };
    let row = |key, left| Row {
        key,
        time: Some(5),
        left,
        text: None,
        number: None,
        float: None,
    };
    let rows = [
        row(Some("b"), false),
        row(None, true),
        row(Some("a"), true),
        row(Some("c"), false),
    ];
    let keys = |kind| {
        let program = build(kind);
        let mut machine = machine(&program);
        machine.process(&batch("", 0, &rows), &[0; 4]).unwrap();
        let mut lines: Vec<String> = lines(&program, &machine.finish().unwrap())
            .iter()
            .map(|line| {
                line.split(' ')
                    .skip(1)
                    .take(2)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(keys(JoinKind::Inner), ["a 2", "b 1", "c 1"]);
}

#[test]
fn the_state_of_a_join_of_windows_is_what_waits() {
    let program = windows(JoinKind::Inner, &["text"], false, [0, 0], &["offset"]);
    let mut machine = machine(&program);
    let mut random = generator(9);
    for window in 0..200 {
        let rows: Vec<Row> = (0..20)
            .map(|_| Row {
                time: Some(window * STEP),
                ..row(&mut random, 1)
            })
            .collect();
        machine
            .process(&batch("", 0, &rows), &vec![window * STEP; rows.len()])
            .unwrap();
        let waiting: usize = machine
            .snapshot()
            .unwrap()
            .iter()
            .flatten()
            .filter(|row| row.state.is_some())
            .count();
        assert_eq!(waiting, 20, "window {window}");
        assert_eq!(machine.next_deadline(), Some(window * STEP + 1));
        // Text has room to grow in blocks, but rows that left hold nothing.
        assert!(machine.memory() < 60_000, "{}", machine.memory());
    }
}

#[test]
fn damaged_state_of_a_join_is_an_error() {
    let program = windows(JoinKind::Left, &["text"], false, [0, 0], &["offset"]);
    let log = log(4, 10);
    let mut whole = machine(&program);
    run(&mut whole, &log, 0, 5, 5);
    let rows: Vec<Vec<StateRow>> = whole.snapshot().unwrap();
    assert!(rows.iter().any(|rows| rows.len() > 1));
    for node in 0..rows.len() {
        for row in 0..rows[node].len() {
            for at in 0..rows[node][row].key.len() {
                let mut damaged = rows.clone();
                damaged[node][row].key[at] ^= 1;
                machine(&program).restore(&damaged, 0).unwrap_err();
                damaged[node][row].key.truncate(at);
                machine(&program).restore(&damaged, 0).unwrap_err();
            }
        }
    }
}

/// The error of a program whose only node besides the scan is `kind`.
fn refused(kind: NodeKind, inputs: usize, output: SchemaRef) -> String {
    let mut builder = ProgramBuilder::new(schema(""), Some(0));
    let scan = builder.scan();
    add(&mut builder, kind, &vec![scan; inputs], output);
    match Machine::new(Arc::new(builder.build()), "test") {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_lookup_of_another_shape_is_an_error() {
    let table = [row(&mut generator(1), 0); 2];
    let inner = joined(JoinKind::Inner, &schema(""), &schema("r_"));
    let lookup = |kind, on: &[&str], by: &[&str], residual, output: &SchemaRef| {
        let node = NodeKind::Lookup {
            index: index(&table, by),
            kind,
            on: columns(on, &schema("")),
            residual,
        };
        refused(node, 1, Arc::clone(output))
    };
    let (text, number) = (["text"], ["number"]);
    assert_eq!(
        lookup(JoinKind::Inner, &text, &text, Some(residual()), &inner),
        "accepted"
    );
    let error = lookup(JoinKind::Inner, &text, &number, None, &inner);
    assert!(
        error.contains("keys of [Utf8View]; those of table routes are [Int64]"),
        "{error}"
    );
    let error = lookup(JoinKind::Inner, &["text", "number"], &text, None, &inner);
    assert!(error.contains("keys of [Utf8View, Int64]"), "{error}");
    let error = lookup(JoinKind::Semi, &text, &text, None, &inner);
    assert!(error.contains("an output of"), "{error}");
    let error = lookup(JoinKind::Inner, &text, &text, None, &schema(""));
    assert!(error.contains("an output of"), "{error}");
    let error = lookup(JoinKind::Inner, &text, &text, Some(lit(1_i64)), &inner);
    assert!(error.contains("a condition of type Int64"), "{error}");
    let far: Expr = Arc::new(Column::new("x", 14));
    let error = lookup(JoinKind::Inner, &text, &text, Some(far), &inner);
    assert!(error.contains("a condition on column 14 of 14"), "{error}");
    let both = ["text", "number"];
    let error = lookup(JoinKind::NullAwareAnti, &both, &both, None, &schema(""));
    assert!(error.contains("NOT IN compares one key, not 2"), "{error}");
    let strict = inner
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(false));
    let strict = Arc::new(Schema::new(strict.collect::<Vec<_>>()));
    let error = lookup(JoinKind::Left, &text, &text, None, &strict);
    assert!(error.contains("column r_key is not nullable"), "{error}");
    let rows = batch("r_", 0, &table);
    let table = Arc::new(ReferenceTable {
        name: "t".to_owned(),
        rows,
    });
    let error = LookupIndex::new(table, &[]).unwrap_err().to_string();
    assert!(error.contains("a join without any equality"), "{error}");
}

#[test]
fn a_join_of_windows_of_another_shape_is_an_error() {
    let inner = joined(JoinKind::Inner, &schema(""), &schema("r_"));
    let join = |kind, time: [&str; 2], on: [&[&str]; 2], inputs, output: &SchemaRef| {
        let node = NodeKind::WindowJoin {
            kind,
            time: time.map(|name| col(name, &schema("")).unwrap()),
            complete_ms: [0, 0],
            on: on.map(|names| columns(names, &schema(""))),
            residual: None,
        };
        refused(node, inputs, Arc::clone(output))
    };
    let times = ["time", "time"];
    let text: [&[&str]; 2] = [&["text"], &["text"]];
    assert_eq!(join(JoinKind::Inner, times, text, 2, &inner), "accepted");
    for inputs in [0, 1, 3] {
        let error = join(JoinKind::Inner, times, text, inputs, &inner);
        assert!(
            error.contains(&format!("{inputs} inputs, expected 2")),
            "{error}"
        );
    }
    let error = join(JoinKind::NullAwareAnti, times, text, 2, &schema(""));
    assert!(
        error.contains("NOT IN is for reference tables only"),
        "{error}"
    );
    let error = join(JoinKind::Inner, ["time", "text"], text, 2, &inner);
    assert!(error.contains("time of type Utf8View"), "{error}");
    let error = join(JoinKind::Inner, times, [&["text"], &["number"]], 2, &inner);
    assert!(
        error.contains("keys of [Utf8View] on the left and [Int64]"),
        "{error}"
    );
    let error = join(JoinKind::Inner, times, [&["text"], &[]], 2, &inner);
    assert!(
        error.contains("keys of [Utf8View] on the left and []"),
        "{error}"
    );
    let error = join(JoinKind::Anti, times, text, 2, &inner);
    assert!(error.contains("an output of"), "{error}");
}
