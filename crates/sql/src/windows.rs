//! The window tables: `tumble(table, time, size)`, `hop(table, time, slide, size)` and `session(table,
//! time, gap, key…)` in FROM add `window_start`, `window_end` and `window_time` (the last millisecond
//! inside) to the columns of a table, view or CTE.
//!
//! ```text
//!   tumble     Projection  *, bounds as functions of the time; fill => n is their third argument
//!   hop        Projection ◀ Unnest ◀ Projection  *, the list of starts: a row for each window
//!   session    Projection ◀ Window  __session(time, gap, max) OVER (PARTITION BY key… ORDER BY time)
//! ```
//!
//! They are a relation planner and not table functions, since those never see a CTE. `MATCH_RECOGNIZE`
//! finds its place here too.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{
    Column, DFSchema, FunctionalDependencies, Result, ScalarValue, UnnestOptions,
    plan_datafusion_err, plan_err,
};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Projection, ScalarUDF,
    WindowFunctionDefinition, lit,
};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr as SqlExpr, FunctionArg, FunctionArgExpr, ObjectName, TableFactor,
};
use keyhawk_functions::{HOP_STARTS, SESSION, WINDOW_END, WINDOW_SHIFT, WINDOW_START, WINDOW_TIME};

use crate::fill::FILL_MAX;

/// Windows that overlap more than this many times would multiply every row by as much.
const PANES_MAX: i64 = 1000;

/// The column of the starts of hopping windows, before it has its public name.
pub(crate) const HOP_COLUMN: &str = "__hop_start";
/// The column of a session's bounds.
pub(crate) const SESSION_COLUMN: &str = "__session";

/// Plans the window tables.
#[derive(Debug)]
pub(crate) struct WindowTables;

impl RelationPlanner for WindowTables {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        if matches!(relation, TableFactor::MatchRecognize { .. }) {
            return plan_err!(
                "`MATCH_RECOGNIZE` is not supported; write the sequence with lag(…) OVER (…)"
            );
        }
        let TableFactor::Table {
            name,
            alias,
            args: Some(arguments),
            ..
        } = &relation
        else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let function = name.to_string().to_lowercase();
        let plan: fn(Call<'_>, &mut dyn RelationPlannerContext) -> Result<LogicalPlan> =
            match function.as_str() {
                "tumble" => tumble,
                "hop" => hop,
                "session" => session,
                _ => return Ok(RelationPlanning::Original(Box::new(relation))),
            };
        let plan = plan(Call::new(&function, &arguments.args)?, context)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation {
            plan,
            alias: alias.clone(),
        })))
    }
}

/// A window table as the query writes it.
struct Call<'a> {
    function: &'a str,
    arguments: Vec<&'a SqlExpr>,
    /// `name => value`.
    named: Vec<(String, &'a SqlExpr)>,
}

impl<'a> Call<'a> {
    fn new(function: &'a str, all: &'a [FunctionArg]) -> Result<Self> {
        let (mut arguments, mut named) = (Vec::new(), Vec::new());
        for argument in all {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(SqlExpr::BinaryOp {
                    left,
                    op: BinaryOperator::Eq,
                    right,
                })) => {
                    return plan_err!(
                        "`{function}` takes no argument `{left} = {right}`, which compares the two; write {left} => {right}"
                    );
                }
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => arguments.push(expr),
                FunctionArg::Named {
                    name,
                    arg: FunctionArgExpr::Expr(expr),
                    ..
                } => named.push((name.value.to_lowercase(), expr)),
                FunctionArg::ExprNamed {
                    name: SqlExpr::Identifier(name),
                    arg: FunctionArgExpr::Expr(expr),
                    ..
                } => named.push((name.value.to_lowercase(), expr)),
                other => {
                    return plan_err!("`{function}` cannot take `{other}`; {}", usage(function));
                }
            }
        }
        Ok(Call {
            function,
            arguments,
            named,
        })
    }

    /// Takes a named argument.
    fn take(&mut self, name: &str) -> Option<&'a SqlExpr> {
        let at = self.named.iter().position(|(known, _)| known == name)?;
        Some(self.named.remove(at).1)
    }

    /// The arguments in their order, at least `N`, with those that follow; all named ones are taken.
    fn split<const N: usize>(&self) -> Result<([&'a SqlExpr; N], &[&'a SqlExpr])> {
        let function = self.function;
        if let Some((name, _)) = self.named.first() {
            if name == "fill" {
                return plan_err!(
                    "`{function}` fills no windows, only `tumble` does; write tumble(events, event_time, INTERVAL '10 minutes', fill => 3)"
                );
            }
            return plan_err!("`{function}` has no argument `{name}`; {}", usage(function));
        }
        match self.arguments.split_first_chunk::<N>() {
            Some((first, rest)) => Ok((*first, rest)),
            None => plan_err!(
                "`{function}` takes {}; {}",
                takes(function),
                usage(function)
            ),
        }
    }

    fn exactly<const N: usize>(&self) -> Result<[&'a SqlExpr; N]> {
        match self.split::<N>()? {
            (arguments, []) => Ok(arguments),
            _ => plan_err!(
                "`{}` takes {}; {}",
                self.function,
                takes(self.function),
                usage(self.function)
            ),
        }
    }
}

fn takes(function: &str) -> &'static str {
    match function {
        "hop" => "a table, its time column, a slide and a size",
        "session" => "a table, its time column, a gap and at least one key",
        _ => "a table, its time column and a size",
    }
}

fn usage(function: &str) -> &'static str {
    match function {
        "hop" => "write hop(events, event_time, INTERVAL '1 minute', INTERVAL '10 minutes')",
        "session" => "write session(events, event_time, INTERVAL '5 minutes', api_key)",
        _ => "write tumble(events, event_time, INTERVAL '10 minutes')",
    }
}

fn tumble(mut call: Call<'_>, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let fill = call.take("fill");
    let [table, time, size] = call.exactly()?;
    let input = table_plan(call.function, table, context)?;
    let time = time_of(call.function, time, &input, context)?;
    let size_ms = length_ms("size", call.function, size, &input, context)?;
    let mut args = vec![time, lit(size_ms)];
    if let Some(fill) = fill {
        args.push(lit(windows_to_fill(fill, &input, context)?));
    }
    let bounds = [WINDOW_START, WINDOW_END, WINDOW_TIME]
        .map(|function| Ok(function_of(context, function)?.call(args.clone())));
    with_bounds(input, bounds)
}

/// How many windows `fill => n` asks for.
fn windows_to_fill(
    fill: &SqlExpr,
    input: &LogicalPlan,
    context: &mut dyn RelationPlannerContext,
) -> Result<i64> {
    match context.sql_to_expr(fill.clone(), input.schema())? {
        Expr::Literal(ScalarValue::Int64(Some(windows)), _)
            if (1..=FILL_MAX).contains(&windows) =>
        {
            Ok(windows)
        }
        _ => plan_err!(
            "the fill of `tumble` is how many windows without rows follow one with rows, a whole number from 1 to {FILL_MAX}; write fill => 3"
        ),
    }
}

fn hop(call: Call<'_>, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let [table, time, slide, size] = call.exactly()?;
    let input = table_plan(call.function, table, context)?;
    let time = time_of(call.function, time, &input, context)?;
    let slide_ms = length_ms("slide", call.function, slide, &input, context)?;
    let size_ms = length_ms("size", call.function, size, &input, context)?;
    if slide_ms > size_ms {
        return plan_err!(
            "the slide of `hop` is longer than its windows, so that rows between them would be in none; write the slide first, then the size"
        );
    }
    let panes = size_ms / gcd(size_ms, slide_ms);
    if panes > PANES_MAX {
        return plan_err!(
            "the windows of `hop` would be cut into {panes} panes, more than {PANES_MAX}; write a slide of which the size is a multiple, and a longer one"
        );
    }
    let starts = function_of(context, HOP_STARTS)?.call(vec![time, lit(size_ms), lit(slide_ms)]);
    let mut columns: Vec<Expr> = columns_of(&input);
    columns.push(starts.alias(HOP_COLUMN));
    let options = UnnestOptions::new().with_preserve_nulls(false);
    // What was one row of its key is several now, so that the key tells nothing else any more.
    let listed = Projection::try_new(columns, Arc::new(input))?;
    let schema = DFSchema::clone(&listed.schema)
        .with_functional_dependencies(FunctionalDependencies::empty())?;
    let listed = Projection::try_new_with_schema(listed.expr, listed.input, Arc::new(schema))?;
    let expanded = LogicalPlanBuilder::from(LogicalPlan::Projection(listed))
        .unnest_column_with_options(Column::new_unqualified(HOP_COLUMN), options)?
        .build()?;
    let start = Expr::Column(Column::new_unqualified(HOP_COLUMN));
    let shift = function_of(context, WINDOW_SHIFT)?;
    let shifted = |ms: i64| Ok(shift.call(vec![start.clone(), lit(ms)]));
    let bounds = [Ok(start.clone()), shifted(size_ms), shifted(size_ms - 1)];
    with_bounds(expanded, bounds)
}

fn session(mut call: Call<'_>, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let max = call.take("max");
    let ([table, time, gap], keys) = call.split()?;
    if keys.is_empty() {
        return plan_err!(
            "`session` takes {}; {}",
            takes(call.function),
            usage(call.function)
        );
    }
    let input = table_plan(call.function, table, context)?;
    let time = time_of(call.function, time, &input, context)?;
    let gap_ms = length_ms("gap", call.function, gap, &input, context)?;
    let max_ms = match max {
        Some(max) => length_ms("max", call.function, max, &input, context)?,
        None => 0,
    };
    let keys = keys
        .iter()
        .map(|key| context.sql_to_expr((*key).clone(), input.schema()))
        .collect::<Result<Vec<_>>>()?;
    let Some(function) = context.context_provider().get_window_meta(SESSION) else {
        return plan_err!("the function {SESSION} is not registered");
    };
    let bounds = Expr::from(WindowFunction::new(
        WindowFunctionDefinition::WindowUDF(function),
        vec![time.clone(), lit(gap_ms), lit(max_ms)],
    ))
    .partition_by(keys)
    .order_by(vec![time.sort(true, false)])
    .build()?;
    let windowed = LogicalPlanBuilder::from(input)
        .window(vec![bounds.alias(SESSION_COLUMN)])?
        .build()?;
    let bounds = Expr::Column(Column::new_unqualified(SESSION_COLUMN));
    let field =
        |name: &str| datafusion::functions::core::get_field().call(vec![bounds.clone(), lit(name)]);
    let last = function_of(context, WINDOW_SHIFT)?.call(vec![field("end"), lit(-1_i64)]);
    with_bounds(windowed, [Ok(field("start")), Ok(field("end")), Ok(last)])
}

/// The columns of a window table: those of its input, then the bounds. Of a window of windows the inner
/// bounds give way to the outer ones.
fn with_bounds(input: LogicalPlan, bounds: [Result<Expr>; 3]) -> Result<LogicalPlan> {
    const NAMES: [&str; 3] = ["window_start", "window_end", "window_time"];
    let mut columns = columns_of(&input);
    columns.retain(|expr| match expr {
        Expr::Column(column) => {
            let name = column.name.as_str();
            !NAMES.contains(&name) && name != HOP_COLUMN && name != SESSION_COLUMN
        }
        _ => true,
    });
    for (bound, name) in bounds.into_iter().zip(NAMES) {
        columns.push(bound?.alias(name));
    }
    LogicalPlanBuilder::from(input).project(columns)?.build()
}

fn columns_of(plan: &LogicalPlan) -> Vec<Expr> {
    let columns = plan.schema().columns().into_iter();
    columns.map(Expr::Column).collect()
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn table_plan(
    function: &str,
    table: &SqlExpr,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    context.plan(TableFactor::Table {
        name: table_name(function, table)?,
        alias: None,
        args: None,
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    })
}

fn time_of(
    function: &str,
    time: &SqlExpr,
    input: &LogicalPlan,
    context: &mut dyn RelationPlannerContext,
) -> Result<Expr> {
    let time = context.sql_to_expr(time.clone(), input.schema())?;
    let kind = time.get_type(input.schema())?;
    match kind {
        DataType::Timestamp(..) => Ok(time),
        _ => plan_err!("`{function}` takes a time, and `{time}` is {kind}; write event_time"),
    }
}

fn function_of(context: &dyn RelationPlannerContext, name: &str) -> Result<Arc<ScalarUDF>> {
    context
        .context_provider()
        .get_function_meta(name)
        .ok_or_else(|| plan_datafusion_err!("the function {name} is not registered"))
}

fn table_name(function: &str, expr: &SqlExpr) -> Result<ObjectName> {
    match expr {
        SqlExpr::Identifier(ident) => Ok(ObjectName::from(vec![ident.clone()])),
        SqlExpr::CompoundIdentifier(idents) => Ok(ObjectName::from(idents.clone())),
        other => plan_err!(
            "`{function}` takes the name of a table, view or CTE, not `{other}`; write the query as a view, or WITH name AS (…)"
        ),
    }
}

/// A length of time in milliseconds.
fn length_ms(
    what: &str,
    function: &str,
    length: &SqlExpr,
    input: &LogicalPlan,
    context: &mut dyn RelationPlannerContext,
) -> Result<i64> {
    const WRITE: &str = "write INTERVAL '10 minutes'";
    let kind = match (what, function) {
        ("size", function) => format!("the size of a `{function}` window is an interval of time"),
        (what, function) => format!("the {what} of `{function}` is an interval of time"),
    };
    let ms = match context.sql_to_expr(length.clone(), input.schema())? {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) if value.months != 0 => {
            let of = match what {
                "size" => format!("the size of a `{function}` window"),
                what => format!("the {what} of `{function}`"),
            };
            return plan_err!("{of} cannot be months or years, whose lengths differ; write days");
        }
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) => {
            if value.nanoseconds % 1_000_000 != 0 {
                return plan_err!("{kind}, a whole number of milliseconds; {WRITE}");
            }
            i64::from(value.days) * 86_400_000 + value.nanoseconds / 1_000_000
        }
        Expr::Literal(ScalarValue::IntervalDayTime(Some(value)), _) => {
            i64::from(value.days) * 86_400_000 + i64::from(value.milliseconds)
        }
        _ => return plan_err!("{kind}; {WRITE}"),
    };
    if ms <= 0 {
        return plan_err!("{kind}, longer than none; {WRITE}");
    }
    Ok(ms)
}
