//! A program with every operator, rows for it, and its findings as text.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, AsArray, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray,
};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::util::display::array_value_to_string;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{cast, col, is_not_null, lit};
use keyhawk_engine::program::{
    Aggregate, AggregateKind, GroupColumn, KeyBy, NodeId, NodeKind, OverFunction, Program,
    ProgramBuilder, Retention, Sink, WindowPart,
};
use keyhawk_engine::{Kept, Machine, StateRow, Step};
use keyhawk_functions::FillLimits;

pub const MINUTE: i64 = 60_000;

pub fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

pub fn schema_of(columns: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(
        columns
            .iter()
            .map(|(name, kind)| Field::new(*name, kind.clone(), true))
            .collect::<Vec<_>>(),
    ))
}

/// What the programs here read.
pub fn input() -> SchemaRef {
    schema_of(&[
        ("api_key", DataType::Utf8View),
        ("event_time", time()),
        ("country", DataType::Utf8View),
        ("value", DataType::Int64),
        ("_offset", DataType::Int64),
    ])
}

/// A row of the input.
pub type Row = (
    Option<&'static str>,
    Option<i64>,
    Option<&'static str>,
    Option<i64>,
);

/// Rows with offsets that count from `offset`.
pub fn batch(offset: i64, rows: &[Row]) -> RecordBatch {
    let times: TimestampMillisecondArray = rows.iter().map(|row| row.1).collect();
    let offsets = (offset..).take(rows.len());
    RecordBatch::try_new(
        input(),
        vec![
            Arc::new(rows.iter().map(|row| row.0).collect::<StringViewArray>()),
            Arc::new(times.with_timezone("UTC")),
            Arc::new(rows.iter().map(|row| row.2).collect::<StringViewArray>()),
            Arc::new(rows.iter().map(|row| row.3).collect::<Int64Array>()),
            Arc::new(Int64Array::from_iter_values(offsets)),
        ],
    )
    .unwrap()
}

pub type Expr = Arc<dyn PhysicalExpr>;

/// A builder that names its nodes by number, since no two here are meant to be the same.
pub struct Build {
    builder: ProgramBuilder,
}

impl Build {
    pub fn new() -> Self {
        Build {
            builder: ProgramBuilder::new(input(), Some(0)),
        }
    }

    pub fn scan(&self) -> NodeId {
        self.builder.scan()
    }

    pub fn column(&self, node: NodeId, name: &str) -> Expr {
        col(name, self.builder.schema(node)).unwrap()
    }

    pub fn add(
        &mut self,
        kind: NodeKind,
        from: NodeId,
        schema: SchemaRef,
        meaning: &str,
    ) -> NodeId {
        self.builder.add(kind, vec![from], schema, meaning, true)
    }

    pub fn filter(&mut self, from: NodeId, predicate: Expr) -> NodeId {
        let schema = Arc::clone(self.builder.schema(from));
        let meaning = format!("filter {predicate}");
        self.add(NodeKind::Filter { predicate }, from, schema, &meaning)
    }

    pub fn project(&mut self, from: NodeId, columns: Vec<(&str, Expr)>) -> NodeId {
        let input = Arc::clone(self.builder.schema(from));
        let kinds: Vec<(&str, DataType)> = columns
            .iter()
            .map(|(name, expr)| (*name, expr.data_type(&input).unwrap()))
            .collect();
        let meaning = format!(
            "project {:?}",
            columns
                .iter()
                .map(|(name, expr)| format!("{expr} {name}"))
                .collect::<Vec<_>>()
        );
        let expressions = columns.iter().map(|(_, expr)| Arc::clone(expr)).collect();
        self.add(
            NodeKind::Project { expressions },
            from,
            schema_of(&kinds),
            &meaning,
        )
    }

    /// Windows of a minute: the keys, the window's bounds, n, countries, total, last_country.
    pub fn tumble(&mut self, from: NodeId, keys: &[&str]) -> NodeId {
        let by: Vec<Expr> = keys.iter().map(|key| self.column(from, key)).collect();
        let aggregate = |kind, argument: Expr| Aggregate {
            kind,
            argument,
            filter: None,
            order: Vec::new(),
            ignore_nulls: false,
        };
        let kind = NodeKind::Tumble {
            time: self.column(from, "event_time"),
            size_ms: MINUTE,
            complete_ms: 0,
            keys: if keys == ["api_key"] {
                KeyBy::Topic
            } else {
                KeyBy::Columns(by.clone())
            },
            groups: by
                .into_iter()
                .map(GroupColumn::Key)
                .chain([
                    GroupColumn::Window(WindowPart::Start),
                    GroupColumn::Window(WindowPart::End),
                ])
                .collect(),
            aggregates: vec![
                aggregate(AggregateKind::Count, lit(1_i64)),
                aggregate(AggregateKind::CountDistinct, self.column(from, "country")),
                aggregate(AggregateKind::Sum, self.column(from, "value")),
                aggregate(AggregateKind::Max, self.column(from, "country")),
                aggregate(AggregateKind::Min, self.column(from, "value")),
            ],
        };
        let mut columns: Vec<(&str, DataType)> =
            keys.iter().map(|key| (*key, DataType::Utf8View)).collect();
        columns.extend([
            ("window_start", time()),
            ("window_end", time()),
            ("n", DataType::Int64),
            ("countries", DataType::Int64),
            ("total", DataType::Int64),
            ("last_country", DataType::Utf8View),
            ("least", DataType::Int64),
        ]);
        self.add(
            kind,
            from,
            schema_of(&columns),
            &format!("tumble by {keys:?}"),
        )
    }

    /// Windows of `size` by `slide`, in milliseconds: the keys, the window's bounds, n, countries,
    /// total, last_country, least, mean, spread, first, lasts.
    pub fn hop(
        &mut self,
        from: NodeId,
        keys: &[&str],
        (time_column, complete_ms): (&str, i64),
        (size_ms, slide_ms): (i64, i64),
        value: &str,
    ) -> NodeId {
        let by: Vec<Expr> = keys.iter().map(|key| self.column(from, key)).collect();
        let input = Arc::clone(self.builder.schema(from));
        let order: Vec<(Expr, SortOptions)> = [time_column]
            .into_iter()
            .chain(
                ["_offset", "api_key"]
                    .into_iter()
                    .filter(|name| input.index_of(name).is_ok()),
            )
            .map(|name| (self.column(from, name), SortOptions::default()))
            .collect();
        let aggregate = |kind: AggregateKind, argument: Expr| Aggregate {
            kind,
            argument,
            filter: None,
            order: match kind.by_order() {
                true => order.clone(),
                false => Vec::new(),
            },
            ignore_nulls: false,
        };
        let text = self.column(from, keys[0]);
        let text = match input.index_of("country") {
            Ok(_) => self.column(from, "country"),
            Err(_) => text,
        };
        let value = self.column(from, value);
        let float = cast(Arc::clone(&value), &input, DataType::Float64).unwrap();
        let kind = NodeKind::Hop {
            time: self.column(from, time_column),
            size_ms,
            slide_ms,
            complete_ms,
            keys: if keys == ["api_key"] {
                KeyBy::Topic
            } else {
                KeyBy::Columns(by.clone())
            },
            groups: by
                .into_iter()
                .map(GroupColumn::Key)
                .chain([
                    GroupColumn::Window(WindowPart::Start),
                    GroupColumn::Window(WindowPart::End),
                ])
                .collect(),
            aggregates: vec![
                aggregate(AggregateKind::Count, lit(1_i64)),
                aggregate(AggregateKind::CountDistinct, Arc::clone(&text)),
                aggregate(AggregateKind::Sum, Arc::clone(&value)),
                aggregate(AggregateKind::Max, Arc::clone(&text)),
                aggregate(AggregateKind::Min, Arc::clone(&value)),
                aggregate(AggregateKind::CountDistinct, Arc::clone(&value)),
                aggregate(AggregateKind::FirstValue, Arc::clone(&value)),
                aggregate(AggregateKind::ArrayFirst(2), text),
                aggregate(AggregateKind::StddevPopulation, float),
            ],
        };
        let mut columns: Vec<(&str, DataType)> =
            keys.iter().map(|key| (*key, DataType::Utf8View)).collect();
        let list = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8View, true)));
        columns.extend([
            ("window_start", time()),
            ("window_end", time()),
            ("n", DataType::Int64),
            ("countries", DataType::Int64),
            ("total", DataType::Int64),
            ("last_country", DataType::Utf8View),
            ("least", DataType::Int64),
            ("values", DataType::Int64),
            ("first", DataType::Int64),
            ("first_countries", list),
            ("spread", DataType::Float64),
        ]);
        self.add(
            kind,
            from,
            schema_of(&columns),
            &format!("hop {size_ms} by {slide_ms} by {keys:?}"),
        )
    }

    /// A node of two inputs.
    pub fn union(&mut self, from: [NodeId; 2], schema: SchemaRef) -> NodeId {
        self.builder
            .add(NodeKind::Union, from.to_vec(), schema, "union", true)
    }

    /// The total order by a time, then by ties.
    pub fn order(&mut self, from: NodeId, time: &str, complete_ms: i64, ties: &[&str]) -> NodeId {
        let schema = Arc::clone(self.builder.schema(from));
        let place = |name: &str| schema.index_of(name).unwrap();
        let kind = NodeKind::Order {
            time: place(time),
            complete_ms,
            ties: ties.iter().map(|tie| place(tie)).collect(),
        };
        self.add(
            kind,
            from,
            Arc::clone(&schema),
            &format!("order by {time} then {ties:?}"),
        )
    }

    /// Rows for up to so many windows in which a group is silent: `filled` is the end of a row's window.
    pub fn fill(&mut self, from: NodeId, keys: &[&str], windows: i64) -> NodeId {
        let schema = Arc::clone(self.builder.schema(from));
        let mut columns: Vec<(&str, DataType)> = schema
            .fields()
            .iter()
            .map(|field| (field.name().as_str(), field.data_type().clone()))
            .collect();
        let list = DataType::List(Arc::new(Field::new_list_field(time(), true)));
        columns.push(("filled", list));
        let kind = NodeKind::Fill {
            keys: match keys {
                ["api_key"] => KeyBy::Topic,
                _ => KeyBy::Columns(keys.iter().map(|key| self.column(from, key)).collect()),
            },
            bound: schema.index_of("window_end").unwrap(),
            limits: FillLimits {
                size_ms: MINUTE,
                windows,
                closes_after_ms: 0,
            },
        };
        let meaning = format!("fill {windows} of {keys:?}");
        let lists = self.add(kind, from, schema_of(&columns), &meaning);
        let column = columns.len() - 1;
        columns[column].1 = time();
        let kind = NodeKind::Unnest { column };
        self.add(kind, lists, schema_of(&columns), "unnest filled")
    }

    /// `before`: the previous value of a column, and `number`: of the row, in each partition. A time, by
    /// how much it is complete beyond the watermark, and the retention.
    pub fn over(
        &mut self,
        from: NodeId,
        keys: &[&str],
        value: &str,
        (time, complete_ms, retention_ms): (&str, i64, i64),
    ) -> NodeId {
        let schema = Arc::clone(self.builder.schema(from));
        let kind_of = schema.field_with_name(value).unwrap().data_type().clone();
        let mut columns: Vec<(&str, DataType)> = schema
            .fields()
            .iter()
            .map(|field| (field.name().as_str(), field.data_type().clone()))
            .collect();
        columns.extend([("before", kind_of.clone()), ("number", DataType::UInt64)]);
        let by: Vec<Expr> = keys.iter().map(|key| self.column(from, key)).collect();
        let kind = NodeKind::Over {
            keys: if keys == ["api_key"] {
                KeyBy::Topic
            } else {
                KeyBy::Columns(by)
            },
            retention: Retention {
                time: self.column(from, time),
                ms: retention_ms,
                complete_ms: Some(complete_ms),
            },
            functions: vec![
                OverFunction {
                    fold: Arc::new(move || keyhawk_functions::lag_fold(&kind_of, 1, None, true)),
                    arguments: vec![self.column(from, value)],
                    keeps: Kept::Values(1),
                },
                OverFunction {
                    fold: Arc::new(|| Ok(keyhawk_functions::row_number_fold())),
                    arguments: vec![],
                    keeps: Kept::Constant,
                },
            ],
        };
        self.add(
            kind,
            from,
            schema_of(&columns),
            &format!("over {keys:?} of {value}"),
        )
    }

    /// A rule that selects all of a node's columns; its lineage are the columns named, its offsets 0.
    pub fn rule(&mut self, name: &str, from: NodeId, time: &str, lineage: &[&str]) {
        let schema = Arc::clone(self.builder.schema(from));
        let mut columns: Vec<(&str, Expr)> = schema
            .fields()
            .iter()
            .map(|field| (field.name().as_str(), self.column(from, field.name())))
            .collect();
        let visible = columns.len();
        columns.push(("__time", self.column(from, time)));
        for offset in keyhawk_engine::OFFSET_COLUMNS {
            columns.push((offset, datafusion_physical_expr::expressions::lit(0_i64)));
        }
        columns.extend(
            lineage
                .iter()
                .map(|column| (*column, self.column(from, column))),
        );
        let node = self.project(from, columns);
        self.builder.sink(Sink {
            rule: name.to_owned(),
            node,
            visible,
            warmup_ms: None,
        });
    }

    pub fn build(self) -> Arc<Program> {
        Arc::new(self.builder.build())
    }
}

/// Every operator, keyed by the topic's key and by columns, windows below an order and an order alone.
pub fn every_operator() -> Arc<Program> {
    let mut build = Build::new();
    let scan = build.scan();
    let with_key = build.column(scan, "api_key");
    let keyed = build.filter(scan, is_not_null(with_key).unwrap());
    let minutes = build.tumble(keyed, &["api_key"]);
    let ordered = build.order(minutes, "window_end", 1, &["api_key"]);
    let growth = build.over(
        ordered,
        &["api_key"],
        "total",
        ("window_end", 1, 3 * MINUTE),
    );
    build.rule("growth", growth, "window_end", &["api_key", "window_end"]);
    let places = build.tumble(scan, &["country", "api_key"]);
    build.rule(
        "places",
        places,
        "window_end",
        &["country", "api_key", "window_end"],
    );
    let silent = build.fill(minutes, &["api_key"], 2);
    build.rule("silent", silent, "filled", &["api_key", "filled"]);
    let silent_places = build.fill(places, &["country", "api_key"], 1);
    build.rule(
        "silent_places",
        silent_places,
        "filled",
        &["country", "api_key", "filled"],
    );
    let overlapping = build.hop(
        keyed,
        &["api_key"],
        ("event_time", 0),
        (2 * MINUTE + MINUTE / 2, MINUTE),
        "value",
    );
    build.rule(
        "overlapping",
        overlapping,
        "window_end",
        &["api_key", "window_end"],
    );
    let around = build.hop(
        scan,
        &["country", "api_key"],
        ("event_time", 0),
        (MINUTE, MINUTE / 3),
        "value",
    );
    build.rule(
        "around",
        around,
        "window_end",
        &["country", "api_key", "window_end"],
    );
    let calls = build.order(scan, "event_time", 0, &["_offset"]);
    let by_country = build.over(
        calls,
        &["country"],
        "api_key",
        ("event_time", 0, MINUTE / 2),
    );
    build.rule("calls", by_country, "event_time", &["_offset"]);
    build.rule("all", scan, "event_time", &["_offset"]);
    build.build()
}

/// The findings of a step in its order, a line each.
pub fn lines(program: &Program, step: &Step) -> Vec<String> {
    let line = |place: &keyhawk_engine::Place| {
        let findings = &step.findings[place.findings];
        let values = findings
            .rows
            .columns()
            .iter()
            .map(|column| match column.is_null(place.row) {
                true => "null".to_owned(),
                false => array_value_to_string(column, place.row).unwrap(),
            });
        let id = findings.ids[place.row];
        format!(
            "{} {} {id}",
            program.sinks()[findings.rule].rule,
            values.collect::<Vec<_>>().join(" ")
        )
    };
    step.order.iter().map(line).collect()
}

/// A column of a rule's findings in a step.
pub fn integers(step: &Step, column: &str) -> Vec<Option<i64>> {
    let columns = step
        .findings
        .iter()
        .map(|findings| findings.rows.column_by_name(column).unwrap());
    columns
        .flat_map(|column| {
            column
                .as_primitive::<Int64Type>()
                .iter()
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The sum of snapshots, by node and key.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Saved {
    pub nodes: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Saved {
    pub fn take(&mut self, changes: Vec<Vec<StateRow>>) {
        self.nodes.resize_with(changes.len(), BTreeMap::new);
        for (node, rows) in self.nodes.iter_mut().zip(changes) {
            for row in rows {
                match row.state {
                    Some(state) => drop(node.insert(row.key, state)),
                    None => assert!(
                        node.remove(&row.key).is_some(),
                        "the deletion of a row that was never saved"
                    ),
                }
            }
        }
    }

    pub fn rows(&self) -> Vec<Vec<StateRow>> {
        let row = |(key, state): (&Vec<u8>, &Vec<u8>)| StateRow {
            key: key.clone(),
            state: Some(state.clone()),
        };
        self.nodes
            .iter()
            .map(|node| node.iter().map(row).collect())
            .collect()
    }
}

pub fn machine(program: &Arc<Program>) -> Machine {
    Machine::new(Arc::clone(program), "test").unwrap()
}
