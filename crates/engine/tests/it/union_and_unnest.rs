//! Unions and lists: rows keep their keys and their releases.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeListArray, Int64Array, LargeListArray, LargeListViewArray, ListArray,
    ListViewArray, RecordBatch, StringViewArray, TimestampMillisecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, SchemaRef};
use keyhawk_engine::program::{NodeKind, Program, ProgramBuilder, Sink};
use keyhawk_engine::{Machine, Step};

use crate::programs::{Build, MINUTE, Row, batch, lines, machine, schema_of, time};

fn released(step: &Step) -> Vec<usize> {
    step.order.iter().map(|place| place.released_by).collect()
}

#[test]
fn a_union_has_the_rows_of_each_input_when_they_leave() {
    let mut build = Build::new();
    let scan = build.scan();
    let windows = build.tumble(scan, &["api_key"]);
    let counts = vec![
        ("key", build.column(windows, "api_key")),
        ("at", build.column(windows, "window_end")),
        ("n", build.column(windows, "n")),
    ];
    let counts = build.project(windows, counts);
    let values = vec![
        ("who", build.column(scan, "api_key")),
        ("then", build.column(scan, "event_time")),
        ("value", build.column(scan, "value")),
    ];
    let values = build.project(scan, values);
    let schema = schema_of(&[
        ("api_key", DataType::Utf8View),
        ("t", time()),
        ("v", DataType::Int64),
    ]);
    let both = build.union([counts, values], schema);
    // What is keyed by the topic's key above a union finds it.
    let ordered = build.order(both, "t", 1, &["api_key", "v"]);
    let numbered = build.over(ordered, &["api_key"], "v", ("t", 1, 60_000));
    build.rule("both", both, "t", &["api_key", "t", "v"]);
    build.rule("numbered", numbered, "t", &["api_key", "t", "v"]);
    let program = build.build();
    let rows: Vec<Row> = vec![
        (Some("a"), Some(5), None, Some(7)),
        (Some("b"), Some(MINUTE + 1), None, Some(8)),
        (Some("a"), Some(MINUTE + 2), None, None),
    ];
    let marks = [5, MINUTE + 1, MINUTE + 2];
    let mut whole = machine(&program);
    let step = whole.process(&batch(0, &rows), &marks).unwrap();
    let found: Vec<String> = lines(&program, &step)
        .iter()
        .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
        .collect();
    assert_eq!(
        found,
        [
            "both a 1970-01-01T00:00:00.005Z 7",
            "numbered a 1970-01-01T00:00:00.005Z 7 null 1",
            "both a 1970-01-01T00:01:00Z 1",
            "numbered a 1970-01-01T00:01:00Z 1 7 2",
            "both b 1970-01-01T00:01:00.001Z 8",
            "numbered b 1970-01-01T00:01:00.001Z 8 null 1",
            "both a 1970-01-01T00:01:00.002Z null",
            "numbered a 1970-01-01T00:01:00.002Z null 1 3",
        ]
    );
    assert_eq!(released(&step), [0, 0, 1, 1, 1, 1, 2, 2]);
}

fn items(data_type: DataType) -> Arc<Field> {
    Arc::new(Field::new_list_field(data_type, true))
}

/// `[1, 2]`, null with elements behind it, `[]`, `[3]`, `[null, 4]`, as every kind of list that can.
fn lists() -> Vec<ArrayRef> {
    let values: ArrayRef = Arc::new(Int64Array::from(vec![
        Some(1),
        Some(2),
        Some(99),
        Some(3),
        None,
        Some(4),
    ]));
    let nulls = || Some(NullBuffer::from(vec![true, false, true, true, true]));
    let item = items(DataType::Int64);
    let (offsets, sizes) = ([0, 2, 3, 3, 4], [2, 1, 0, 1, 2]);
    let wide = |numbers: [i32; 5]| numbers.map(i64::from);
    let buffer = |numbers: [i32; 5]| ScalarBuffer::from(numbers.to_vec());
    let wide_buffer = |numbers: [i32; 5]| ScalarBuffer::from(wide(numbers).to_vec());
    let lengths = || sizes.map(|size| size as usize);
    vec![
        Arc::new(ListArray::new(
            Arc::clone(&item),
            OffsetBuffer::from_lengths(lengths()),
            Arc::clone(&values),
            nulls(),
        )),
        Arc::new(LargeListArray::new(
            Arc::clone(&item),
            OffsetBuffer::from_lengths(lengths()),
            Arc::clone(&values),
            nulls(),
        )),
        Arc::new(ListViewArray::new(
            Arc::clone(&item),
            buffer(offsets),
            buffer(sizes),
            Arc::clone(&values),
            nulls(),
        )),
        Arc::new(LargeListViewArray::new(
            item,
            wide_buffer(offsets),
            wide_buffer(sizes),
            values,
            nulls(),
        )),
    ]
}

fn input(lists: &DataType) -> SchemaRef {
    schema_of(&[
        ("api_key", DataType::Utf8View),
        ("list", lists.clone()),
        ("event_time", time()),
    ])
}

fn program(lists: &DataType) -> Arc<Program> {
    let mut builder = ProgramBuilder::new(input(lists), Some(0));
    let scan = builder.scan();
    let element = schema_of(&[
        ("api_key", DataType::Utf8View),
        ("list", DataType::Int64),
        ("event_time", time()),
    ]);
    let unnest = NodeKind::Unnest { column: 1 };
    let unnested = builder.add(unnest, vec![scan], Arc::clone(&element), "unnest", false);
    let column = |name: &str| datafusion_physical_expr::expressions::col(name, &element).unwrap();
    let zero = || datafusion_physical_expr::expressions::lit(0_i64);
    let expressions = vec![
        column("api_key"),
        column("list"),
        column("event_time"),
        zero(),
        zero(),
        column("list"),
    ];
    let hidden = schema_of(&[
        ("api_key", DataType::Utf8View),
        ("list", DataType::Int64),
        ("__time", time()),
        ("__first_offset", DataType::Int64),
        ("__last_offset", DataType::Int64),
        ("__lineage_0", DataType::Int64),
    ]);
    let node = builder.add(
        NodeKind::Project { expressions },
        vec![unnested],
        hidden,
        "project",
        false,
    );
    builder.sink(Sink {
        rule: "u".to_owned(),
        node,
        visible: 2,
        warmup_ms: None,
    });
    Arc::new(builder.build())
}

fn unnested(lists: &ArrayRef) -> (Vec<String>, Vec<usize>) {
    let program = program(lists.data_type());
    let mut machine = Machine::new(Arc::clone(&program), "test").unwrap();
    let keys = ["a", "b", "c", "d", "e"].map(Some);
    let rows = lists.len();
    let times: Vec<i64> = (0..rows as i64).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter(keys.into_iter().take(rows))),
        Arc::clone(lists),
        Arc::new(TimestampMillisecondArray::from(times.clone()).with_timezone("UTC")),
    ];
    let events = RecordBatch::try_new(input(lists.data_type()), columns).unwrap();
    let step = machine.process(&events, &times).unwrap();
    let found = &step.findings;
    let mut texts = Vec::new();
    let mut released = Vec::new();
    // By the place in the findings, since those of one row are ordered by their ids.
    let mut order = step.order.clone();
    order.sort_by_key(|place| (place.findings, place.row));
    for place in order {
        let columns = found[place.findings].rows.columns().iter();
        let text = columns.map(|column| match column.is_null(place.row) {
            true => "null".to_owned(),
            false => arrow::util::display::array_value_to_string(column, place.row).unwrap(),
        });
        texts.push(text.collect::<Vec<_>>().join(" "));
        released.push(place.released_by);
    }
    (texts, released)
}

#[test]
fn a_list_of_any_kind_gives_a_row_an_element_in_its_order() {
    for lists in lists() {
        let kind = lists.data_type().to_string();
        let (texts, released) = unnested(&lists);
        assert_eq!(texts, ["a 1", "a 2", "d 3", "e null", "e 4"], "{kind}");
        assert_eq!(released, [0, 0, 3, 4, 4], "{kind}");
        // Cut off at both ends, the elements before and after stay out.
        let (texts, _) = unnested(&lists.slice(1, 3));
        assert_eq!(texts, ["c 3"], "{kind}");
        let (texts, _) = unnested(&lists.slice(1, 2));
        assert!(texts.is_empty(), "{kind}");
    }
    let values = Arc::new(Int64Array::from_iter_values(1..=6));
    let nulls = Some(NullBuffer::from(vec![true, false, true]));
    let pairs = FixedSizeListArray::new(items(DataType::Int64), 2, values, nulls);
    let pairs: ArrayRef = Arc::new(pairs);
    assert_eq!(unnested(&pairs).0, ["a 1", "a 2", "c 5", "c 6"]);
    assert_eq!(unnested(&pairs.slice(2, 1)).0, ["a 5", "a 6"]);
}
