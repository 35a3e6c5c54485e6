//! A program: what a set of rules and views means, as a graph of operators without any state.
//!
//! ```text
//!   node 0  scan ──▶ node 1  filter ──▶ node 2  tumble ──▶ node 3  order ──▶ node 4  over ──▶ rules
//! ```
//!
//! A node reads only nodes before it, so that one pass in order moves rows and time through the
//! whole graph. Equal nodes are one node: [`ProgramBuilder::add`] hands back the earlier one.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use hashbrown::HashMap;
use keyhawk_functions::{FillLimits, KeyedFold, SessionLimits};

use crate::bound::Kept;
use crate::error::Result;
pub use crate::meaning::{Meaning, column};
use crate::meaning::{Resolved, Resolver, digest};
pub use crate::operators::LookupIndex;
use crate::operators::{
    Fill, Filter, Hop, Lookup, Operator, Order, Over, Project, Scan, Session, Span, Tumble, Union,
    Unnest, WindowJoin, accumulator,
};

/// The column of the input that has the event time.
pub(crate) const EVENT_TIME: &str = "event_time";

/// A node's place in its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// Which part of a window a grouping column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WindowPart {
    /// The first millisecond inside.
    Start,
    /// The first millisecond after.
    End,
    /// The last millisecond inside.
    Time,
}

/// A grouping column of a window aggregate.
#[derive(Debug, Clone)]
pub enum GroupColumn {
    /// A bound of the window.
    Window(WindowPart),
    /// An expression over the input.
    Key(Arc<dyn PhysicalExpr>),
}

/// The aggregate functions that the engine computes incrementally.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AggregateKind {
    /// `count(x)`: rows where x is not null.
    Count,
    /// `count(DISTINCT x)`.
    CountDistinct,
    /// `sum(x)`; integers wrap as DataFusion's do.
    Sum,
    /// `min(x)`.
    Min,
    /// `max(x)`.
    Max,
    /// `avg(x)` of a float or decimal, which DataFusion makes of other numbers.
    Avg,
    /// `var_samp(x)` of a float.
    VarianceSample,
    /// `var_pop(x)` of a float.
    VariancePopulation,
    /// `stddev_samp(x)` of a float.
    StddevSample,
    /// `stddev_pop(x)` of a float.
    StddevPopulation,
    /// `bool_and(x)`.
    BoolAnd,
    /// `bool_or(x)`.
    BoolOr,
    /// `first_value(x ORDER BY …)`.
    FirstValue,
    /// `last_value(x ORDER BY …)`.
    LastValue,
    /// `array_slice(array_agg(x ORDER BY …), 1, n)`: a list of the first n values, nulls among them.
    ArrayFirst(u32),
}

impl AggregateKind {
    /// Whether the result depends on the order of rows, so that [`Aggregate::order`] must say it.
    pub fn by_order(self) -> bool {
        matches!(
            self,
            AggregateKind::FirstValue | AggregateKind::LastValue | AggregateKind::ArrayFirst(_)
        )
    }

    /// Whether the engine computes it over an argument of a type, as a result of a type.
    pub fn is_computed(self, argument: &DataType, result: &DataType) -> bool {
        accumulator(self, false, argument, result).is_ok()
    }
}

/// One aggregate column.
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// The function.
    pub kind: AggregateKind,
    /// Its argument.
    pub argument: Arc<dyn PhysicalExpr>,
    /// FILTER (WHERE …).
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// ORDER BY, for the kinds that depend on it; empty for the others. No two rows of a group may be
    /// equal in it: the lineage comes last.
    pub order: Vec<(Arc<dyn PhysicalExpr>, SortOptions)>,
    /// IGNORE NULLS of `first_value` and `last_value`; the others but `array_agg` pass over nulls.
    pub ignore_nulls: bool,
}

/// How a stateful node knows a row's key.
#[derive(Debug, Clone)]
pub enum KeyBy {
    /// By the number of the topic's key alone.
    Topic,
    /// By the values of these expressions.
    Columns(Vec<Arc<dyn PhysicalExpr>>),
}

/// Makes the state of a window function; called once a machine.
pub type FoldFactory = Arc<dyn Fn() -> keyhawk_functions::Result<Box<dyn KeyedFold>> + Send + Sync>;

/// One window function of an `OVER`.
#[derive(Clone)]
pub struct OverFunction {
    /// Makes its state.
    pub fold: FoldFactory,
    /// Its arguments.
    pub arguments: Vec<Arc<dyn PhysicalExpr>>,
    /// What the state of a key holds at most.
    pub keeps: Kept,
}

/// A table that rows are joined with: a registry of keys, routes, networks.
#[derive(Debug)]
pub struct ReferenceTable {
    /// Its name in SQL.
    pub name: String,
    /// All of its rows, in the order of its file.
    pub rows: RecordBatch,
}

/// What a join does with rows that match and rows that do not. Null equals nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JoinKind {
    /// JOIN: every pair that matches.
    Inner,
    /// LEFT JOIN: the same, and left rows without a match, with nulls.
    Left,
    /// IN, EXISTS: left rows with a match, each once.
    Semi,
    /// NOT EXISTS: left rows without a match.
    Anti,
    /// NOT IN: as `Anti`, but a null on the right lets no row pass, and a left row whose key is null
    /// passes only if the right side is empty. One key; for reference tables.
    NullAwareAnti,
}

/// For how long an OVER knows a key that is silent.
#[derive(Debug, Clone)]
pub struct Retention {
    /// The time that its rows are ordered by.
    pub time: Arc<dyn PhysicalExpr>,
    /// A row later than this after its key's previous row starts the key anew, in milliseconds.
    pub ms: i64,
    /// At watermark W every row with a time below W + this has arrived; `None` where nobody knows,
    /// and keys then stay.
    pub complete_ms: Option<i64>,
}

/// What a node does. Column numbers refer to the input's batch.
#[derive(Clone)]
pub enum NodeKind {
    /// The input of the program: the columns of `events` that it reads.
    Scan,
    /// WHERE, HAVING, QUALIFY.
    Filter {
        /// Rows for which it is true stay.
        predicate: Arc<dyn PhysicalExpr>,
    },
    /// SELECT.
    Project {
        /// A column each.
        expressions: Vec<Arc<dyn PhysicalExpr>>,
    },
    /// GROUP BY over tumbling windows.
    Tumble {
        /// The event time by which rows fall into windows.
        time: Arc<dyn PhysicalExpr>,
        /// Length of a window in milliseconds.
        size_ms: i64,
        /// At watermark W every row with a time below W + `complete_ms` has arrived.
        complete_ms: i64,
        /// How groups are told apart within a window.
        keys: KeyBy,
        /// The grouping columns, in the order of the output.
        groups: Vec<GroupColumn>,
        /// The aggregates, after the grouping columns.
        aggregates: Vec<Aggregate>,
    },
    /// GROUP BY over hopping windows: those of `size_ms` that start at multiples of `slide_ms`.
    Hop {
        /// The event time by which rows fall into windows.
        time: Arc<dyn PhysicalExpr>,
        /// Length of a window in milliseconds.
        size_ms: i64,
        /// From the start of a window to that of the next, in milliseconds. Windows overlap where it
        /// is less than the size; where it is more, rows between them are in none.
        slide_ms: i64,
        /// At watermark W every row with a time below W + `complete_ms` has arrived.
        complete_ms: i64,
        /// How groups are told apart within a window.
        keys: KeyBy,
        /// The grouping columns, in the order of the output.
        groups: Vec<GroupColumn>,
        /// The aggregates, after the grouping columns.
        aggregates: Vec<Aggregate>,
    },
    /// The total order: rows by time, then by lineage.
    Order {
        /// The column of the time.
        time: usize,
        /// At watermark W every row with a time below W + `complete_ms` has arrived.
        complete_ms: i64,
        /// The columns that break ties.
        ties: Vec<usize>,
    },
    /// OVER (PARTITION BY … ORDER BY time): the input's columns, then one for each function.
    Over {
        /// How partitions are told apart.
        keys: KeyBy,
        /// When they start anew.
        retention: Retention,
        /// The functions.
        functions: Vec<OverFunction>,
    },
    /// The rows of tumbling windows, and those of the windows after them in which a group has none: the
    /// input's columns, then a list of bounds.
    Fill {
        /// How groups are told apart.
        keys: KeyBy,
        /// The column of a bound of the window.
        bound: usize,
        /// Which windows are filled.
        limits: FillLimits,
    },
    /// A join with a reference table. Inner, left: the input's columns, then the table's; otherwise
    /// the input's.
    Lookup {
        /// The table by its keys.
        index: Arc<LookupIndex>,
        /// The kind.
        kind: JoinKind,
        /// What equals the index's keys, in their order and of their types.
        on: Vec<Arc<dyn PhysicalExpr>>,
        /// What a pair must also fulfil to match, over the input's columns, then the table's.
        residual: Option<Arc<dyn PhysicalExpr>>,
    },
    /// A join of two windowed inputs on the same bound of a window. Inner, left: the left columns,
    /// then the right ones; otherwise the left ones. Rows without a time are dropped.
    WindowJoin {
        /// The kind; not `NullAwareAnti`.
        kind: JoinKind,
        /// The bound of the window, by input.
        time: [Arc<dyn PhysicalExpr>; 2],
        /// At watermark W every row of input i with a time below W + `complete_ms[i]` has arrived.
        complete_ms: [i64; 2],
        /// What must be equal besides, by input, of equal types; may be empty.
        on: [Vec<Arc<dyn PhysicalExpr>>; 2],
        /// What a pair must also fulfil to match, over the left columns, then the right ones.
        residual: Option<Arc<dyn PhysicalExpr>>,
    },
    /// GROUP BY over session windows. Its input is an `Order` by the same time.
    Session {
        /// The event time by which rows fall into sessions.
        time: Arc<dyn PhysicalExpr>,
        /// The silence that ends a session, in milliseconds above 0.
        gap_ms: i64,
        /// The greatest length of a session, in milliseconds above 0.
        max_ms: Option<i64>,
        /// At watermark W every row with a time below W + `complete_ms` has arrived.
        complete_ms: i64,
        /// Whose sessions: the keys of `session(…)`, which are the grouping keys too.
        keys: KeyBy,
        /// The grouping columns, in the order of the output.
        groups: Vec<GroupColumn>,
        /// The aggregates, after the grouping columns.
        aggregates: Vec<Aggregate>,
        /// WHERE: rows for which it is not true extend their session and are not aggregated, and a
        /// session of such rows alone gives no row.
        filter: Option<Arc<dyn PhysicalExpr>>,
    },
    /// UNION ALL of the inputs, whose columns have the output's types by position.
    Union,
    /// A row for each element of a list; null and empty lists give none.
    Unnest {
        /// The column of lists, in whose place the elements come.
        column: usize,
    },
}

impl NodeKind {
    /// Whether it keeps anything between two batches.
    pub fn is_stateful(&self) -> bool {
        match self {
            NodeKind::Scan
            | NodeKind::Filter { .. }
            | NodeKind::Project { .. }
            | NodeKind::Lookup { .. }
            | NodeKind::Union
            | NodeKind::Unnest { .. } => false,
            NodeKind::Tumble { .. }
            | NodeKind::Hop { .. }
            | NodeKind::Order { .. }
            | NodeKind::Over { .. }
            | NodeKind::Fill { .. }
            | NodeKind::WindowJoin { .. }
            | NodeKind::Session { .. } => true,
        }
    }
}

/// A node of a program.
#[derive(Clone)]
pub struct Node {
    /// What it does.
    pub kind: NodeKind,
    /// The nodes that it reads.
    pub inputs: Vec<NodeId>,
    /// Its output.
    pub schema: SchemaRef,
    /// What it does over its inputs, in a line for people: a column is its name and place.
    pub meaning: String,
    /// A digest of what the node means and emits, with all that is below it, in 32 hex digits, under which
    /// its state may be saved. No two nodes of a program have the same. It does not depend on what else
    /// the program holds, but for the order of events, which holds the columns that any rule reads there.
    pub fingerprint: String,
    pub(crate) resolved: Resolved,
    /// For a stateful node whether the topic's key is among its keys, so that one partition sees
    /// all rows of a group.
    pub keyed: bool,
}

impl Node {
    /// A digest of what its state is: after a reload a node goes on with the state of one that has the
    /// same. Unlike the fingerprint it leaves out what only passes through. Empty without state.
    pub fn state(&self) -> &str {
        match self.kind.is_stateful() {
            true => &self.resolved.state,
            false => "",
        }
    }
}

/// Where findings leave.
#[derive(Debug, Clone)]
pub struct Sink {
    /// The rule's name.
    pub rule: String,
    /// The node whose rows are its findings.
    pub node: NodeId,
    /// How many of the node's columns the rule selects; after them come `__time`, the offsets
    /// and the lineage.
    pub visible: usize,
    /// How long after a reload a function over history has seen enough, in milliseconds; `None` where
    /// the rule does not say.
    pub warmup_ms: Option<i64>,
}

/// A graph of operators, shared by all machines that run it.
#[derive(Clone)]
pub struct Program {
    pub(crate) nodes: Vec<Node>,
    pub(crate) sinks: Vec<Sink>,
    pub(crate) input: SchemaRef,
    pub(crate) key_column: Option<usize>,
}

impl Program {
    /// The columns of `events` that a batch must have, in this order.
    pub fn input(&self) -> &SchemaRef {
        &self.input
    }

    /// The column of the input that the topic is keyed by.
    pub fn key(&self) -> Option<&str> {
        let column = self.key_column?;
        Some(self.input.field(column).name())
    }

    /// The rules, in the order of their numbers in findings.
    pub fn sinks(&self) -> &[Sink] {
        &self.sinks
    }

    /// The nodes, inputs before readers.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(crate) fn operators(&self) -> Result<Vec<Box<dyn Operator>>> {
        self.nodes
            .iter()
            .map(|node| {
                Ok(match &node.kind {
                    NodeKind::Scan => Box::new(Scan) as Box<dyn Operator>,
                    NodeKind::Filter { predicate } => Box::new(Filter::new(Arc::clone(predicate))),
                    NodeKind::Project { expressions } => {
                        Box::new(Project::new(expressions.clone(), Arc::clone(&node.schema)))
                    }
                    NodeKind::Tumble {
                        time,
                        size_ms,
                        complete_ms,
                        keys,
                        groups,
                        aggregates,
                    } => {
                        let input = &self.nodes[node.inputs[0].0].schema;
                        Box::new(Tumble::new(
                            Arc::clone(time),
                            *size_ms,
                            *complete_ms,
                            keys.clone(),
                            groups.clone(),
                            aggregates.clone(),
                            input,
                            Arc::clone(&node.schema),
                        )?)
                    }
                    NodeKind::Hop {
                        time,
                        size_ms,
                        slide_ms,
                        complete_ms,
                        keys,
                        groups,
                        aggregates,
                    } => {
                        let input = &self.nodes[node.inputs[0].0].schema;
                        Box::new(Hop::new(
                            Arc::clone(time),
                            Span {
                                size_ms: *size_ms,
                                slide_ms: *slide_ms,
                                complete_ms: *complete_ms,
                            },
                            keys.clone(),
                            groups.clone(),
                            aggregates.clone(),
                            input,
                            Arc::clone(&node.schema),
                        )?)
                    }
                    NodeKind::Order {
                        time,
                        complete_ms,
                        ties,
                    } => Box::new(Order::new(
                        *time,
                        *complete_ms,
                        ties.clone(),
                        Arc::clone(&node.schema),
                    )?),
                    NodeKind::Over {
                        keys,
                        retention,
                        functions,
                    } => {
                        let input = &self.nodes[node.inputs[0].0].schema;
                        let schema = Arc::clone(&node.schema);
                        Box::new(Over::new(keys, retention, functions, input, schema)?)
                    }
                    NodeKind::Fill {
                        keys,
                        bound,
                        limits,
                    } => {
                        let input = &self.nodes[node.inputs[0].0].schema;
                        let schema = Arc::clone(&node.schema);
                        Box::new(Fill::new(keys, *limits, *bound, input, schema)?)
                    }
                    NodeKind::Lookup {
                        index,
                        kind,
                        on,
                        residual,
                    } => {
                        let input = &self.nodes[node.inputs[0].0].schema;
                        let schema = Arc::clone(&node.schema);
                        Box::new(Lookup::new(
                            index,
                            *kind,
                            on,
                            residual.as_ref(),
                            input,
                            schema,
                        )?)
                    }
                    NodeKind::WindowJoin {
                        kind,
                        time,
                        complete_ms,
                        on,
                        residual,
                    } => {
                        let inputs = node.inputs.iter();
                        let inputs: Vec<SchemaRef> = inputs
                            .map(|input| Arc::clone(&self.nodes[input.0].schema))
                            .collect();
                        Box::new(WindowJoin::new(
                            *kind,
                            time,
                            *complete_ms,
                            on,
                            residual.as_ref(),
                            &inputs,
                            Arc::clone(&node.schema),
                        )?)
                    }
                    NodeKind::Session {
                        time,
                        gap_ms,
                        max_ms,
                        complete_ms,
                        keys,
                        groups,
                        aggregates,
                        filter,
                    } => {
                        let input = &self.nodes[node.inputs[0].0].schema;
                        let limits = SessionLimits {
                            gap_ms: *gap_ms,
                            max_ms: *max_ms,
                        };
                        Box::new(Session::new(
                            Arc::clone(time),
                            limits,
                            *complete_ms,
                            keys.clone(),
                            groups.clone(),
                            aggregates.clone(),
                            filter.clone(),
                            input,
                            Arc::clone(&node.schema),
                        )?)
                    }
                    NodeKind::Union => Box::new(Union::new(Arc::clone(&node.schema))),
                    NodeKind::Unnest { column } => {
                        Box::new(Unnest::new(*column, Arc::clone(&node.schema)))
                    }
                })
            })
            .collect()
    }
}

/// Collects nodes, each once.
pub struct ProgramBuilder {
    program: Program,
    by_fingerprint: HashMap<String, NodeId>,
}

impl ProgramBuilder {
    /// A program that reads `input`; `key_column` is the topic's key in it, of type Utf8View.
    pub fn new(input: SchemaRef, key_column: Option<usize>) -> Self {
        debug_assert!(
            key_column.is_none_or(|column| input.field(column).data_type() == &DataType::Utf8View)
        );
        let mut builder = ProgramBuilder {
            program: Program {
                nodes: Vec::new(),
                sinks: Vec::new(),
                input: Arc::clone(&input),
                key_column,
            },
            by_fingerprint: HashMap::new(),
        };
        builder.add(NodeKind::Scan, vec![], input, "scan events", false);
        builder
    }

    /// The scan of `events`, the first node.
    pub fn scan(&self) -> NodeId {
        NodeId(0)
    }

    /// Adds a node, or finds the one that means the same. `meaning` tells apart what the inputs and
    /// the schema do not: the expressions, in a canonical text of one line, in which a column of an
    /// input is written by [`column()`].
    pub fn add(
        &mut self,
        kind: NodeKind,
        inputs: Vec<NodeId>,
        schema: SchemaRef,
        meaning: impl Into<Meaning>,
        keyed: bool,
    ) -> NodeId {
        let meaning = meaning.into();
        let named = |schema: &SchemaRef| -> Vec<String> {
            let fields = schema.fields().iter();
            fields
                .map(|field| format!("{:?} {}", field.name(), field.data_type()))
                .collect()
        };
        let resolver = Resolver {
            meaning: &meaning,
            inputs: inputs
                .iter()
                .map(|input| &self.program.nodes[input.0].resolved)
                .collect(),
            columns: schema.fields().len(),
        };
        let resolved = match &kind {
            NodeKind::Scan => Resolved::scan(named(&schema)),
            NodeKind::Filter { .. } => resolver.filter(),
            NodeKind::Project { .. } => resolver.project(),
            NodeKind::Order { .. } => resolver.order(),
            NodeKind::Over { .. } => resolver.over(),
            NodeKind::Tumble { .. } | NodeKind::Hop { .. } | NodeKind::Session { .. } => {
                resolver.window()
            }
            NodeKind::Lookup { kind, .. } => {
                resolver.lookup(!matches!(kind, JoinKind::Inner | JoinKind::Left))
            }
            NodeKind::WindowJoin { .. } | NodeKind::Fill { .. } => resolver.other(),
            NodeKind::Union => resolver.union(),
            NodeKind::Unnest { column } => resolver.unnest(*column),
        };
        // Columns of the same values under other names or types are another output.
        let (means, columns) = (resolved.digest(), named(&schema));
        let columns = columns.iter().map(String::as_str);
        let fingerprint = digest(std::iter::once(means.as_str()).chain(columns));
        if let Some(node) = self.by_fingerprint.get(&fingerprint) {
            return *node;
        }
        let id = NodeId(self.program.nodes.len());
        self.by_fingerprint.insert(fingerprint.clone(), id);
        self.program.nodes.push(Node {
            kind,
            inputs,
            schema,
            meaning: meaning.text,
            fingerprint,
            resolved,
            keyed,
        });
        id
    }

    /// The output of a node.
    pub fn schema(&self, node: NodeId) -> &SchemaRef {
        &self.program.nodes[node.0].schema
    }

    /// Makes a node's rows the findings of a rule.
    pub fn sink(&mut self, sink: Sink) {
        self.program.sinks.push(sink);
    }

    /// The finished program.
    pub fn build(self) -> Program {
        self.program
    }
}
