//! The window tables: `tumble(table, time, size)` in FROM adds `window_start`, `window_end` and
//! `window_time` (the last millisecond inside) to the columns of a table, view or CTE.
//!
//! They are a relation planner and not table functions, since those never see a CTE. `hop`, `session`
//! and, later, `MATCH_RECOGNIZE` find their place here too.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlanBuilder, ScalarUDF, lit};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, FunctionArg, FunctionArgExpr, ObjectName, TableFactor,
};
use keyhawk_functions::{WINDOW_END, WINDOW_START, WINDOW_TIME};

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
        match function.as_str() {
            "tumble" => {}
            "hop" | "session" => {
                return plan_err!("`{function}` windows are not supported yet; write tumble(…)");
            }
            _ => return Ok(RelationPlanning::Original(Box::new(relation))),
        }
        let arguments: Vec<&SqlExpr> = arguments
            .args
            .iter()
            .filter_map(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
                _ => None,
            })
            .collect();
        let [table, time, size] = arguments.as_slice() else {
            return plan_err!(
                "`tumble` takes a table, its time column and a size; write tumble(events, event_time, INTERVAL '10 minutes')"
            );
        };
        let input = context.plan(TableFactor::Table {
            name: table_name(table)?,
            alias: None,
            args: None,
            with_hints: vec![],
            version: None,
            with_ordinality: false,
            partitions: vec![],
            json_path: None,
            sample: None,
            index_hints: vec![],
        })?;
        let time = context.sql_to_expr((*time).clone(), input.schema())?;
        let kind = time.get_type(input.schema())?;
        if !matches!(kind, DataType::Timestamp(..)) {
            return plan_err!("`tumble` takes a time, and `{time}` is {kind}; write event_time");
        }
        let size = context.sql_to_expr((*size).clone(), input.schema())?;
        let size_ms = size_ms(&size)?;
        let mut columns: Vec<Expr> = input
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        for (function, column) in [
            (WINDOW_START, "window_start"),
            (WINDOW_END, "window_end"),
            (WINDOW_TIME, "window_time"),
        ] {
            if input.schema().has_column_with_unqualified_name(column) {
                // A window of windows: the inner bounds give way to the outer ones.
                columns.retain(|expr| !matches!(expr, Expr::Column(c) if c.name == column));
            }
            let function = window_function(context, function)?;
            columns.push(
                function
                    .call(vec![time.clone(), lit(size_ms)])
                    .alias(column),
            );
        }
        let plan = LogicalPlanBuilder::from(input).project(columns)?.build()?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation {
            plan,
            alias: alias.clone(),
        })))
    }
}

fn window_function(context: &dyn RelationPlannerContext, name: &str) -> Result<Arc<ScalarUDF>> {
    match context.context_provider().get_function_meta(name) {
        Some(function) => Ok(function),
        None => plan_err!("the function {name} is not registered"),
    }
}

fn table_name(expr: &SqlExpr) -> Result<ObjectName> {
    match expr {
        SqlExpr::Identifier(ident) => Ok(ObjectName::from(vec![ident.clone()])),
        SqlExpr::CompoundIdentifier(idents) => Ok(ObjectName::from(idents.clone())),
        other => plan_err!(
            "`tumble` takes the name of a table, view or CTE, not `{other}`; write the query as a view, or WITH name AS (…)"
        ),
    }
}

/// The size of a window in milliseconds.
fn size_ms(size: &Expr) -> Result<i64> {
    const KIND: &str = "the size of a `tumble` window is an interval of time";
    const WRITE: &str = "write INTERVAL '10 minutes'";
    let ms = match size {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) if value.months != 0 => {
            return plan_err!(
                "the size of a `tumble` window cannot be months or years, whose lengths differ; write days"
            );
        }
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) => {
            if value.nanoseconds % 1_000_000 != 0 {
                return plan_err!("{KIND}, a whole number of milliseconds; {WRITE}");
            }
            i64::from(value.days) * 86_400_000 + value.nanoseconds / 1_000_000
        }
        Expr::Literal(ScalarValue::IntervalDayTime(Some(value)), _) => {
            i64::from(value.days) * 86_400_000 + i64::from(value.milliseconds)
        }
        _ => return plan_err!("{KIND}; {WRITE}"),
    };
    if ms <= 0 {
        return plan_err!("{KIND}, longer than none; {WRITE}");
    }
    Ok(ms)
}
