//! Lowering: from an optimised logical plan to nodes of the engine's program.
//!
//! ```text
//!   TableScan ─▶ scan (or a view's node)      Aggregate ─▶ tumble
//!   Projection ─▶ project                     Sort (ours) ─▶ order
//!   Filter ─▶ filter                          Window ─▶ over
//! ```
//!
//! The preparation has refused what cannot stream; what is refused here is what the operators do not
//! compute yet: aggregate functions, and types of their arguments.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Sort, Window};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use keyhawk_engine::program::{
    Aggregate as AggregateNode, AggregateKind, GroupColumn, KeyBy, NodeId, NodeKind,
    ProgramBuilder, WindowPart,
};

use crate::lineage::Unprepared;
use crate::meaning::meaning;
use crate::origin::{Origin, ViewOrigins, leader, origin};
use crate::over_function::{over_function, version};
use crate::problem::Refusal;
use crate::shared::{Condition, FilteredScan, SharedScans, TOTAL_ORDER, is_ordered, sorts_events};

/// What a plan is lowered into.
pub(crate) struct Lowering<'a> {
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
                let meaning = format!("project {}", meaning(&projection.expr, from)?);
                Ok(self.builder.add(
                    NodeKind::Project { expressions },
                    vec![input],
                    schema,
                    &meaning,
                    false,
                ))
            }
            LogicalPlan::Filter(filter) => {
                let input = self.lower(&filter.input)?;
                let predicate = physical(&filter.predicate, filter.input.schema())?;
                let meaning = format!(
                    "filter {}",
                    meaning([&filter.predicate], filter.input.schema())?
                );
                Ok(self.builder.add(
                    NodeKind::Filter { predicate },
                    vec![input],
                    schema,
                    &meaning,
                    false,
                ))
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate, schema),
            LogicalPlan::Sort(sort) => self.order(sort),
            LogicalPlan::Window(window) => self.window(window, schema),
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
        node = self.columns(node, all_nullable(&found.scan.projected_schema.as_arrow()))?;
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
        let meaning = format!("filter {}", meaning([&predicate], &from)?);
        let predicate = physical(&predicate, &from)?;
        let kind = NodeKind::Filter { predicate };
        Ok(self.builder.add(kind, vec![node], schema, &meaning, false))
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
        let meaning = format!("project {}", meaning(&columns, &from)?);
        let kind = NodeKind::Project { expressions };
        Ok(self.builder.add(kind, vec![node], schema, &meaning, false))
    }

    /// A node's rows in order of time.
    fn sorted(&mut self, node: NodeId, time: usize, complete_ms: i64, ties: Vec<usize>) -> NodeId {
        let schema = Arc::clone(self.builder.schema(node));
        let meaning = format!("order by #{time} complete {complete_ms} ms, ties by {ties:?}");
        let kind = NodeKind::Order {
            time,
            complete_ms,
            ties,
        };
        self.builder.add(kind, vec![node], schema, &meaning, false)
    }

    fn aggregate(
        &mut self,
        aggregate: &Aggregate,
        schema: SchemaRef,
    ) -> Result<NodeId, Unprepared> {
        let input = self.lower(&aggregate.input)?;
        let from = aggregate.input.schema();
        let mut window: Option<(i64, i64, Arc<dyn PhysicalExpr>, WindowPart)> = None;
        let mut groups = Vec::new();
        let mut keys = Vec::new();
        let mut key_origins = Vec::new();
        for group in &aggregate.group_expr {
            match self.origin(&aggregate.input, group) {
                Origin::Window {
                    part,
                    size_ms,
                    complete_ms,
                    ..
                } => {
                    // Any moment of the window tells which it is: its start or last millisecond do.
                    let better = !matches!(
                        window,
                        Some((_, _, _, WindowPart::Start | WindowPart::Time))
                    );
                    if better {
                        window = Some((size_ms, complete_ms, physical(group, from)?, part));
                    }
                    groups.push(GroupColumn::Window(part));
                }
                found => {
                    let expr = physical(group, from)?;
                    keys.push(Arc::clone(&expr));
                    key_origins.push(found);
                    groups.push(GroupColumn::Key(expr));
                }
            }
        }
        let Some((size_ms, complete_ms, mut time, part)) = window else {
            return Err(refused(
                &["GROUP BY"],
                "an aggregate without a window",
                "read FROM tumble(…)",
            ));
        };
        if part == WindowPart::End {
            // The end itself lies in the next window: step back into this one.
            let end = aggregate.group_expr.iter().find(|group| {
                matches!(
                    self.origin(&aggregate.input, group),
                    Origin::Window {
                        part: WindowPart::End,
                        ..
                    }
                )
            });
            if let Some(end) = end {
                let step = ScalarValue::new_interval_mdn(0, 0, 1_000_000);
                let inside = end.clone().unalias() - Expr::Literal(step, None);
                time = physical(&inside, from)?;
            }
        }
        let keyed = key_origins.contains(&Origin::TopicKey);
        let by = match key_origins.as_slice() {
            [Origin::TopicKey] => KeyBy::Topic,
            [] => KeyBy::Columns(vec![physical(
                &Expr::Literal(ScalarValue::Boolean(Some(true)), None),
                from,
            )?]),
            _ => KeyBy::Columns(keys),
        };
        if !keyed {
            self.unkeyed.push(unkeyed("GROUP BY", self.key));
        }
        let mut aggregates = Vec::with_capacity(aggregate.aggr_expr.len());
        for expr in &aggregate.aggr_expr {
            aggregates.push(self.aggregate_function(expr, from)?);
        }
        let meaning = format!(
            "tumble {size_ms} ms complete {complete_ms} ms by {} compute {}",
            meaning(&aggregate.group_expr, from)?,
            meaning(&aggregate.aggr_expr, from)?
        );
        let kind = NodeKind::Tumble {
            time,
            size_ms,
            complete_ms,
            keys: by,
            groups,
            aggregates,
        };
        Ok(self.builder.add(kind, vec![input], schema, &meaning, keyed))
    }

    fn aggregate_function(
        &self,
        expr: &Expr,
        from: &DFSchema,
    ) -> Result<AggregateNode, Unprepared> {
        let expr = match expr {
            Expr::Alias(alias) => &alias.expr,
            other => other,
        };
        let Expr::AggregateFunction(AggregateFunction { func, params }) = expr else {
            return Err(refused(
                &["GROUP BY"],
                format!("`{expr}` is no aggregate"),
                "write count, sum, min or max",
            ));
        };
        let name = func.name();
        let kind = match (name, params.distinct) {
            ("count", false) => AggregateKind::Count,
            ("count", true) => AggregateKind::CountDistinct,
            ("sum", false) => AggregateKind::Sum,
            ("min", _) => AggregateKind::Min,
            ("max", _) => AggregateKind::Max,
            _ => {
                let distinct = if params.distinct {
                    "(DISTINCT …)"
                } else {
                    ""
                };
                let help = match name {
                    "avg" => "write sum(x) / count(x)",
                    _ => {
                        "aggregates are count, count(DISTINCT), sum, min and max, each with FILTER"
                    }
                };
                return Err(refused(
                    &[name],
                    format!("`{name}{distinct}` is not computed incrementally yet"),
                    help,
                ));
            }
        };
        if params.null_treatment.is_some() {
            return Err(refused(
                &["IGNORE NULLS", "RESPECT NULLS", name],
                format!("`{name}` takes no IGNORE NULLS"),
                "leave it out: aggregates pass over nulls anyway",
            ));
        }
        if !params.order_by.is_empty() {
            return Err(refused(
                &[name],
                format!("`{name}` with ORDER BY is not supported yet"),
                "leave it out",
            ));
        }
        let [argument] = params.args.as_slice() else {
            return Err(refused(
                &[name],
                format!("`{name}` of several arguments is not supported"),
                "write one",
            ));
        };
        let argument = physical(argument, from)?;
        let data_type = argument.data_type(from.as_arrow())?;
        if !computable(kind, &data_type) {
            return Err(refused(
                &[name],
                format!("`{name}` over {data_type} is not computed incrementally yet"),
                "cast the argument to an integer, a float, a timestamp or text",
            ));
        }
        let filter = match &params.filter {
            Some(filter) => Some(physical(filter, from)?),
            None => None,
        };
        Ok(AggregateNode {
            kind,
            argument,
            filter,
            order: Vec::new(),
            ignore_nulls: false,
        })
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
        for tie in columns[position + 1..].iter().flatten() {
            if *tie != time && !keys.contains(&Some(*tie)) && !ties.contains(tie) {
                ties.push(*tie);
            }
        }
        Ok(self.sorted(input, time, complete_ms, ties))
    }

    fn window(&mut self, window: &Window, schema: SchemaRef) -> Result<NodeId, Unprepared> {
        let input = self.lower(&window.input)?;
        let from = window.input.schema();
        let mut functions = Vec::with_capacity(window.window_expr.len());
        let mut by = KeyBy::Topic;
        let mut keyed = false;
        for expr in &window.window_expr {
            let Expr::WindowFunction(function) = expr.clone().unalias_nested().data else {
                return Err(refused(
                    &["OVER"],
                    format!("`{expr}` is no window function"),
                    "write f(…) OVER (…)",
                ));
            };
            let partition_by = &function.params.partition_by;
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
        if !keyed {
            self.unkeyed.push(unkeyed("PARTITION BY", self.key));
        }
        let versions = window
            .window_expr
            .iter()
            .map(|expr| version(&expr.clone().unalias_nested().data).to_string());
        let versions = versions.collect::<Vec<_>>().join(", ");
        let meaning = format!(
            "over {} (versions {versions})",
            meaning(&window.window_expr, from)?
        );
        Ok(self.builder.add(
            NodeKind::Over {
                keys: by,
                functions,
            },
            vec![input],
            schema,
            &meaning,
            keyed,
        ))
    }
}

/// Whether the engine has an accumulator for an aggregate over a type.
fn computable(kind: AggregateKind, data_type: &DataType) -> bool {
    match kind {
        AggregateKind::Count => true,
        AggregateKind::CountDistinct => {
            !matches!(data_type, DataType::Map(..) | DataType::Union(..))
        }
        AggregateKind::Sum => matches!(
            data_type,
            DataType::Int64 | DataType::UInt64 | DataType::Float64 | DataType::Decimal128(..)
        ),
        AggregateKind::Min | AggregateKind::Max => {
            data_type.is_integer()
                || matches!(
                    data_type,
                    DataType::Float64
                        | DataType::Decimal128(..)
                        | DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, _)
                        | DataType::Utf8View
                )
        }
        _ => false,
    }
}

fn unkeyed(clause: &str, key: &str) -> Refusal {
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
