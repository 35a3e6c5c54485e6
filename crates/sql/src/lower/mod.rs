//! Lowering: from an optimised logical plan to nodes of the engine's program.
//!
//! ```text
//!   TableScan ─▶ scan (or a view's node)      Aggregate ─▶ tumble, hop, session
//!   Projection ─▶ project                     Sort (ours) ─▶ order
//!   Filter ─▶ filter                          Window ─▶ over
//!   Union ─▶ union                            Join ─▶ lookup, window join
//!   Unnest ─▶ unnest, unless panes do instead   Window of __fill ─▶ fill
//! ```
//!
//! The preparation has refused what cannot stream; what is refused here is what the operators do not
//! compute yet: aggregate functions, and types of their arguments.

mod aggregate;
mod join;
mod over_function;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{Column, DFSchema};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, LogicalPlan, Sort, Unnest, Window};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use keyhawk_engine::program::{
    KeyBy, Meaning, NodeId, NodeKind, ProgramBuilder, Retention, column as column_text,
};

use self::over_function::{over_function, version};

use crate::fill::{fill_call, fill_limits};
use crate::lineage::Unprepared;
use crate::meaning::meanings;
use crate::origin::{Origin, ViewOrigins, leader, origin, session_call};
use crate::problem::Refusal;
use crate::retention::{longest_frame_ms, split_keys};
use crate::shared::{Condition, FilteredScan, SharedScans, TOTAL_ORDER, is_ordered, sorts_events};

/// What a plan is lowered into.
pub(crate) struct Lowering<'a> {
    /// The reference tables, with the numbers of their rows.
    pub(crate) tables: &'a BTreeMap<String, RecordBatch>,
    /// How many elements are read of each array_agg, by the name of its column.
    pub(crate) arrays: &'a BTreeMap<String, u32>,
    pub(crate) builder: &'a mut ProgramBuilder,
    /// The nodes of views, by name.
    pub(crate) views: &'a BTreeMap<String, NodeId>,
    /// The origins of the columns of views.
    pub(crate) origins: &'a ViewOrigins,
    /// The column that topics are keyed by.
    pub(crate) key: &'a str,
    /// What all queries have in common.
    pub(crate) shared: &'a SharedScans,
    /// Whether the scan of events below is to come in the total order.
    pub(crate) ordered: bool,
    /// Stateful nodes whose keys lack the topic's key: what they are, for `run` to refuse.
    pub(crate) unkeyed: Vec<Refusal>,
}

/// An Arrow schema whose columns may all be null: an expression that fails gives null.
pub(crate) fn nullable(schema: &DFSchema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        Arc::new(
            Field::new(field.name(), field.data_type().clone(), true)
                .with_metadata(field.metadata().clone()),
        )
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The same columns, all of which may be null.
pub(crate) fn all_nullable(schema: &Schema) -> SchemaRef {
    let fields = schema
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

pub(crate) fn physical(
    expr: &Expr,
    schema: &DFSchema,
) -> Result<Arc<dyn PhysicalExpr>, Unprepared> {
    let props = ExecutionProps::new();
    Ok(create_physical_expr(
        expr,
        schema,
        &props,
        &Default::default(),
    )?)
}

impl Lowering<'_> {
    fn origin(&self, plan: &LogicalPlan, expr: &Expr) -> Origin {
        origin(plan, expr, self.origins, self.key)
    }

    /// The node that computes `plan`.
    pub(crate) fn lower(&mut self, plan: &LogicalPlan) -> Result<NodeId, Unprepared> {
        if let Some(found) = self.shared.filtered_scan(plan)? {
            return self.events(found);
        }
        let schema = nullable(plan.schema());
        match plan {
            LogicalPlan::SubqueryAlias(alias) => self.lower(&alias.input),
            LogicalPlan::TableScan(scan) => {
                let name = scan.table_name.table();
                let Some(node) = self.views.get(name) else {
                    return Err(refused(
                        &[name],
                        format!("the view `{name}` did not load"),
                        "mend it first",
                    ));
                };
                self.columns(*node, schema)
            }
            LogicalPlan::Projection(projection) => {
                let input = self.lower(&projection.input)?;
                let from = projection.input.schema();
                let expressions = projection
                    .expr
                    .iter()
                    .map(|expr| physical(expr, from))
                    .collect::<Result<Vec<_>, _>>()?;
                let meaning = project_meaning(&projection.expr, from)?;
                let kind = NodeKind::Project { expressions };
                Ok(self.builder.add(kind, vec![input], schema, meaning, false))
            }
            LogicalPlan::Filter(filter) => {
                let input = self.lower(&filter.input)?;
                let predicate = physical(&filter.predicate, filter.input.schema())?;
                let meaning = filter_meaning(&filter.predicate, filter.input.schema())?;
                let kind = NodeKind::Filter { predicate };
                Ok(self.builder.add(kind, vec![input], schema, meaning, false))
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate, schema),
            LogicalPlan::Sort(sort) => self.order(sort),
            LogicalPlan::Window(window) if session_call(window).is_some() => Err(refused(
                &["session"],
                "the rows of a session are known only once it has ended",
                "GROUP BY its keys, window_start and window_end",
            )),
            LogicalPlan::Window(window) if fill_call(window).is_some() => self.fill(window, schema),
            LogicalPlan::Window(window) => self.window(window, schema),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest, schema),
            LogicalPlan::Union(union) => {
                let inputs = union
                    .inputs
                    .iter()
                    .map(|input| self.lower(input))
                    .collect::<Result<Vec<_>, _>>()?;
                let kind = NodeKind::Union;
                Ok(self.builder.add(kind, inputs, schema, "union", false))
            }
            LogicalPlan::Join(join) => self.join(join, schema),
            other => Err(refused(
                &[],
                format!("`{}` cannot run over a stream", other.display()),
                "write one SELECT",
            )),
        }
    }

    /// A scan of events with its conditions: those that other queries have too are tested once for all.
    fn events(&mut self, found: FilteredScan<'_>) -> Result<NodeId, Unprepared> {
        let split = self.shared.split(found.conditions, self.ordered);
        let mut node = self.builder.scan();
        for group in split.before {
            node = self.conditions(node, &group)?;
        }
        if self.ordered {
            let input = Arc::clone(self.builder.schema(node));
            let schema = Arc::new(input.project(&self.shared.ordered_columns())?);
            node = self.columns(node, Arc::clone(&schema))?;
            let [time, ties @ ..] = TOTAL_ORDER;
            let time = schema.index_of(time)?;
            let ties = ties.map(|tie| schema.index_of(tie));
            let ties = ties.into_iter().collect::<Result<_, _>>()?;
            node = self.sorted(node, time, 0, ties);
        }
        for group in split.after {
            node = self.conditions(node, &group)?;
        }
        node = self.columns(node, all_nullable(found.scan.projected_schema.as_arrow()))?;
        if !split.alone.is_empty() {
            node = self.conditions(node, &split.alone)?;
        }
        Ok(node)
    }

    /// Keeps the rows that fulfil all conditions.
    fn conditions(&mut self, node: NodeId, all: &[Condition]) -> Result<NodeId, Unprepared> {
        let schema = Arc::clone(self.builder.schema(node));
        let from = DFSchema::try_from(Arc::clone(&schema))?;
        let Some(predicate) = conjunction(all.iter().map(|condition| condition.expr.clone()))
        else {
            return Ok(node);
        };
        let meaning = filter_meaning(&predicate, &from)?;
        let predicate = physical(&predicate, &from)?;
        let kind = NodeKind::Filter { predicate };
        Ok(self.builder.add(kind, vec![node], schema, meaning, false))
    }

    /// Some of a node's columns, by name.
    fn columns(&mut self, node: NodeId, schema: SchemaRef) -> Result<NodeId, Unprepared> {
        let input = Arc::clone(self.builder.schema(node));
        if input.fields() == schema.fields() {
            return Ok(node);
        }
        let from = DFSchema::try_from(Arc::clone(&input))?;
        let columns: Vec<Expr> = schema
            .fields()
            .iter()
            .map(|field| Expr::Column(Column::new_unqualified(field.name())))
            .collect();
        let expressions = columns
            .iter()
            .map(|column| physical(column, &from))
            .collect::<Result<Vec<_>, _>>()?;
        let meaning = project_meaning(&columns, &from)?;
        let kind = NodeKind::Project { expressions };
        Ok(self.builder.add(kind, vec![node], schema, meaning, false))
    }

    /// A node's rows in order of time.
    fn sorted(&mut self, node: NodeId, time: usize, complete_ms: i64, ties: Vec<usize>) -> NodeId {
        let schema = Arc::clone(self.builder.schema(node));
        let column = |place: usize| column_text(0, schema.field(place).name(), place);
        let by_ties: Vec<String> = ties.iter().map(|tie| column(*tie)).collect();
        let meaning = format!(
            "order by {} complete {complete_ms} ms, ties by {}",
            column(time),
            by_ties.join(", ")
        );
        let kind = NodeKind::Order {
            time,
            complete_ms,
            ties,
        };
        self.builder.add(kind, vec![node], schema, &meaning, false)
    }

    fn unnest(&mut self, unnest: &Unnest, schema: SchemaRef) -> Result<NodeId, Unprepared> {
        let input = self.lower(&unnest.input)?;
        let [(column, _)] = unnest.list_type_columns.as_slice() else {
            return Err(refused(
                &["unnest"],
                "unnest is not supported",
                "select the list",
            ));
        };
        let column = *column;
        let name = unnest.input.schema().field(column).name();
        let meaning = format!("unnest {}", column_text(0, name, column));
        let kind = NodeKind::Unnest { column };
        Ok(self.builder.add(kind, vec![input], schema, &meaning, false))
    }

    fn order(&mut self, sort: &Sort) -> Result<NodeId, Unprepared> {
        if is_ordered(&sort.input, sort) {
            return self.lower(&sort.input);
        }
        if sorts_events(sort) {
            self.ordered = true;
            let node = self.lower(&sort.input);
            self.ordered = false;
            return node;
        }
        let input = self.lower(&sort.input)?;
        let from = sort.input.schema();
        let columns = sort.expr.iter().map(|expr| match &expr.expr {
            Expr::Column(column) => from.index_of_column(column).ok(),
            _ => None,
        });
        let columns: Vec<Option<usize>> = columns.collect();
        // The keys come first, then the time, then the lineage. Only the order within a key matters:
        // the keys themselves need not be sorted by.
        let origins: Vec<Origin> = sort
            .expr
            .iter()
            .map(|expr| self.origin(&sort.input, &expr.expr))
            .collect();
        let Some((position, time)) = leader(&origins).and_then(|at| Some((at, columns[at]?)))
        else {
            return Err(refused(
                &["OVER"],
                "OVER is ordered by an expression",
                "name the time in a view first",
            ));
        };
        let complete_ms = origins[position].complete_ms().unwrap_or_default();
        let keys = &columns[..position];
        let mut ties: Vec<usize> = Vec::new();
        // Rows of one key that have the same time agree in what follows from the two.
        let known: Vec<_> = (0..=position)
            .filter_map(|at| Some(source(&sort.input, columns[at]?)))
            .collect();
        let window = origins[position].window();
        for (tie, origin) in columns.iter().zip(&origins).skip(position + 1) {
            let Some(tie) = *tie else {
                continue;
            };
            let follows = known.contains(&source(&sort.input, tie))
                || (window.is_some() && window == origin.window());
            if tie != time && !keys.contains(&Some(tie)) && !follows && !ties.contains(&tie) {
                ties.push(tie);
            }
        }
        Ok(self.sorted(input, time, complete_ms, ties))
    }

    /// The silent windows of an aggregate, whose rows come window by window: the sort below is the batch's.
    fn fill(&mut self, window: &Window, schema: SchemaRef) -> Result<NodeId, Unprepared> {
        let no_call = || refused(&["fill"], "no windows to fill", "write fill => 3");
        let call = fill_call(window).ok_or_else(no_call)?;
        let limits = fill_limits(call).ok_or_else(no_call)?;
        let input = match window.input.as_ref() {
            LogicalPlan::Sort(sort) => self.lower(&sort.input)?,
            other => self.lower(other)?,
        };
        let from = window.input.schema();
        let bound = match &call.params.args[0] {
            Expr::Column(column) => from.index_of_column(column)?,
            _ => return Err(no_call()),
        };
        let by = &call.params.partition_by;
        let origins = by.iter().map(|key| self.origin(&window.input, key));
        let origins: Vec<Origin> = origins.collect();
        let keyed = origins.contains(&Origin::TopicKey);
        let keys = match origins.as_slice() {
            [Origin::TopicKey] => KeyBy::Topic,
            _ => KeyBy::Columns(
                by.iter()
                    .map(|key| physical(key, from))
                    .collect::<Result<_, _>>()?,
            ),
        };
        let meaning = format!("fill {}", meanings(&window.window_expr, from)?.join(", "));
        let kind = NodeKind::Fill {
            keys,
            bound,
            limits,
        };
        Ok(self.builder.add(kind, vec![input], schema, &meaning, keyed))
    }

    fn window(&mut self, window: &Window, schema: SchemaRef) -> Result<NodeId, Unprepared> {
        let input = self.lower(&window.input)?;
        let from = window.input.schema();
        let mut functions = Vec::with_capacity(window.window_expr.len());
        let mut by = KeyBy::Topic;
        let mut keyed = false;
        let mut over = None;
        for expr in &window.window_expr {
            let Expr::WindowFunction(function) = expr.clone().unalias_nested().data else {
                return Err(refused(
                    &["OVER"],
                    format!("`{expr}` is no window function"),
                    "write f(…) OVER (…)",
                ));
            };
            let (partition_by, written_ms) = split_keys(&function.params.partition_by);
            let order = &function.params.order_by[0].expr;
            over = Some((
                order.clone(),
                written_ms,
                self.origin(&window.input, order).complete_ms(),
            ));
            let origins: Vec<Origin> = partition_by
                .iter()
                .map(|key| self.origin(&window.input, key))
                .collect();
            keyed = origins.contains(&Origin::TopicKey);
            by = match origins.as_slice() {
                [Origin::TopicKey] => KeyBy::Topic,
                _ => KeyBy::Columns(
                    partition_by
                        .iter()
                        .map(|key| physical(key, from))
                        .collect::<Result<_, _>>()?,
                ),
            };
            functions.push(over_function(&function, from)?);
        }
        let Some((time, written_ms, complete_ms)) = over else {
            return Err(refused(
                &["OVER"],
                "an OVER without a function",
                "name a function before OVER",
            ));
        };
        let retention = Retention {
            time: physical(&time, from)?,
            ms: written_ms.unwrap_or_else(|| longest_frame_ms(&functions)),
            complete_ms,
        };
        if !keyed {
            self.unkeyed.push(unkeyed("PARTITION BY", self.key));
        }
        let functions_of = |exprs: &[Expr]| -> Result<Vec<String>, Unprepared> {
            let versions = window
                .window_expr
                .iter()
                .map(|expr| version(&expr.clone().unalias_nested().data));
            let texts = meanings(exprs, from)?.into_iter().zip(versions);
            Ok(texts
                .map(|(text, version)| format!("{text} (version {version})"))
                .collect())
        };
        let whole = functions_of(&window.window_expr)?;
        // Whether a baseline computes its bounds leaves no trace in what it keeps.
        let kept: Vec<Expr> = window.window_expr.iter().map(without_bounds).collect();
        let kept = functions_of(&kept)?;
        let meaning = Meaning::new(format!("over {}", whole.join(", ")))
            .with_state(kept.join(", "))
            .of_parts(kept);
        let kind = NodeKind::Over {
            keys: by,
            retention,
            functions,
        };
        Ok(self.builder.add(kind, vec![input], schema, meaning, keyed))
    }
}

/// A window function without the argument that says whether a baseline's bounds are computed.
fn without_bounds(expr: &Expr) -> Expr {
    let mut expr = expr.clone().unalias_nested().data;
    if let Expr::WindowFunction(function) = &mut expr
        && function.fun.name() == "baseline"
    {
        function.params.args.truncate(3);
    }
    expr
}

/// What a filter means: a set of conditions.
pub(super) fn filter_meaning(predicate: &Expr, from: &DFSchema) -> Result<Meaning, Unprepared> {
    let conditions = meanings(split_conjunction(predicate), from)?;
    Ok(Meaning::new(format!("filter {}", conditions.join(" AND "))).of_parts(conditions))
}

/// What a projection means, column by column.
fn project_meaning(columns: &[Expr], from: &DFSchema) -> Result<Meaning, Unprepared> {
    let columns = meanings(columns, from)?;
    Ok(Meaning::new(format!("project {}", columns.join(", "))).of_parts(columns))
}

/// The column that a plan's column is, unchanged: of the last plan below in which it was made, or the
/// input itself.
fn source(plan: &LogicalPlan, column: usize) -> (*const LogicalPlan, usize) {
    let below = match plan {
        LogicalPlan::Projection(projection) => match projection.expr[column].clone().unalias() {
            Expr::Column(of) => {
                let place = projection.input.schema().index_of_column(&of).ok();
                place.map(|place| (&projection.input, place))
            }
            _ => None,
        },
        LogicalPlan::Filter(filter) => Some((&filter.input, column)),
        LogicalPlan::SubqueryAlias(alias) => Some((&alias.input, column)),
        _ => None,
    };
    match below {
        Some((input, column)) => source(input, column),
        None => (std::ptr::from_ref(plan), column),
    }
}

pub(super) fn unkeyed(clause: &str, key: &str) -> Refusal {
    Refusal::new(
        &[clause],
        format!(
            "{clause} without `{key}`: the topic is keyed by it, so that no partition sees all rows of such a group"
        ),
        format!("add {key} to {clause}, or run the rule over files with `keyhawk replay`"),
    )
}

pub(crate) fn refused(
    near: &[&str],
    message: impl Into<String>,
    help: impl Into<String>,
) -> Unprepared {
    Unprepared::Refused(Refusal::new(near, message, help))
}
