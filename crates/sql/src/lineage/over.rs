//! OVER: the keys and the one order that a stream can follow, the total order below it, what a
//! function's arguments leave unsaid, and the retention.

use datafusion::logical_expr::expr::{Sort as SortExpr, WindowFunction};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Window, lit};

use super::hoist::Hoist;
use super::{Preparation, Prepared, Unprepared, held, refuse, unpartnered};
use crate::expressions::window_function;
use crate::frame::own_function;
use crate::origin::{Origin, WindowKind, session_call};
use crate::retention::retention_key;

impl Preparation<'_> {
    pub(super) fn window(&self, window: &Window) -> Result<Prepared, Unprepared> {
        let input = self.node(&window.input)?;
        let mut hoist = Hoist::new(&self.arguments);
        let mut functions = Vec::with_capacity(window.window_expr.len());
        let mut asked = Vec::with_capacity(window.window_expr.len());
        let mut keys: Option<(Vec<Expr>, Vec<SortExpr>)> = None;
        for expr in &window.window_expr {
            let (function, name) = window_function(expr)?;
            let params = &function.params;
            if params.partition_by.is_empty() {
                return refuse(
                    &["OVER"],
                    "OVER without PARTITION BY puts every key's rows in one line",
                    "write OVER (PARTITION BY api_key ORDER BY event_time)",
                );
            }
            let [order] = params.order_by.as_slice() else {
                return refuse(
                    &["OVER"],
                    "OVER is ordered by one column, the event time",
                    "write OVER (PARTITION BY api_key ORDER BY event_time)",
                );
            };
            if !order.asc {
                return refuse(
                    &["DESC"],
                    "OVER … DESC would wait for the future",
                    "order by the event time, ascending",
                );
            }
            let time = self.origin(&window.input, &order.expr);
            if time == Origin::Held {
                return held(&order.expr);
            }
            if time == Origin::Unpartnered {
                return unpartnered(&order.expr);
            }
            if time.complete_ms().is_none() {
                let by = match &order.expr {
                    Expr::Column(column) => format!("`{}`", column.name),
                    _ => "an expression".to_owned(),
                };
                return refuse(
                    &["OVER"],
                    format!("OVER is ordered by {by}, which is no event time"),
                    "order by event_time, or by window_end of a windowed view",
                );
            }
            let these = (params.partition_by.clone(), params.order_by.clone());
            if keys
                .as_ref()
                .is_some_and(|keys| keys.0 != these.0 || keys.1 != these.1)
            {
                return refuse(
                    &["OVER"],
                    "two OVERs over differently cut partitions",
                    "write them in two views",
                );
            }
            keys = Some(these);
            asked.push(function);
            functions.push((hoist.window(self.function(function, &window.input)?), name));
        }
        let Some((partition_by, order_by)) = keys else {
            return refuse(
                &["OVER"],
                "an OVER without a function",
                "name a function before OVER",
            );
        };
        let plan = self.with_key(input.plan, &window.input, partition_by.iter())?;
        if session_call(window).is_some() {
            for key in &partition_by {
                if key.get_type(window.input.schema())?.is_floating() {
                    return refuse(
                        &["session"],
                        "a session is kept by a key that is no float: 0.0 and -0.0 are one number and two values",
                        "key it by a text or an integer",
                    );
                }
            }
        }
        // A session's keys are compared with those of the aggregate above it, and stay as they are.
        let partition_by: Vec<Expr> = match session_call(window) {
            Some(_) => partition_by,
            None => partition_by
                .into_iter()
                .map(|key| hoist.expr(key))
                .collect(),
        };
        let retention = match session_call(window) {
            Some(_) => None,
            None => retention_key(asked.into_iter(), &order_by[0].expr, self.retention_ms),
        };
        let functions: Vec<Expr> = functions
            .into_iter()
            .map(|(mut function, name)| {
                function.params.partition_by.clone_from(&partition_by);
                function.params.partition_by.extend(retention.clone());
                Expr::WindowFunction(Box::new(function)).alias(name)
            })
            .collect();
        let plan = hoist.below(plan)?;
        let mut order: Vec<SortExpr> = partition_by
            .into_iter()
            .map(|expr| expr.sort(true, false))
            .collect();
        order.extend(order_by);
        order.extend(
            input
                .lineage
                .iter()
                .map(|column| Expr::Column(column.clone()).sort(true, false)),
        );
        let plan = if sorted_alike(&plan, &order) {
            plan
        } else {
            LogicalPlanBuilder::from(plan).sort(order)?.build()?
        };
        let plan = LogicalPlanBuilder::from(plan).window(functions)?.build()?;
        Ok(Prepared { plan, ..input })
    }

    /// Completes a function's arguments with what the plan knows: a baseline's step, and whether its
    /// bounds are read.
    fn function(
        &self,
        function: &WindowFunction,
        input: &LogicalPlan,
    ) -> Result<WindowFunction, Unprepared> {
        let mut function = function.clone();
        let args = &mut function.params.args;
        if function.fun.name() == "baseline" && args.len() <= 3 {
            if args.len() == 2 {
                let origin = self.origin(input, &args[1]);
                let Some(step_ms) = step_ms(origin) else {
                    return refuse(
                        &["baseline"],
                        format!(
                            "baseline cannot tell how far apart its rows are: `{}` is no window bound",
                            args[1]
                        ),
                        "order by window_end of tumble(…), or give the step: baseline(x, ts, INTERVAL '10 minutes')",
                    );
                };
                if step_ms % 1000 != 0 {
                    return refuse(
                        &["baseline"],
                        format!("baseline needs windows of whole seconds, not of {step_ms} ms"),
                        "make the window a whole number of seconds",
                    );
                }
                args.push(lit(step_ms / 1000));
            }
            if args.len() == 3 {
                args.push(lit(self.bounds));
            }
        }
        let name = function.fun.name().to_owned();
        self.pass_over_nan(&name, &mut function.params.args, input)?;
        let types = |expr: &Expr| expr.get_type(input.schema());
        if let Some(own) = own_function(&function, types)? {
            let udf = &self.state.window_functions()[own.name];
            return Ok(own.call(udf, &function));
        }
        Ok(function)
    }
}

/// How far apart the rows of a windowed view are.
fn step_ms(origin: Origin) -> Option<i64> {
    match origin {
        Origin::Window { kind, size_ms, .. } => match kind {
            WindowKind::Tumble { .. } => Some(size_ms),
            WindowKind::Hop { slide_ms } => Some(slide_ms),
            WindowKind::Session(_) => None,
        },
        _ => None,
    }
}

/// Whether a plan is a window over the same order already, which it keeps.
fn sorted_alike(plan: &LogicalPlan, order: &[SortExpr]) -> bool {
    match plan {
        LogicalPlan::Window(window) => sorted_alike(&window.input, order),
        LogicalPlan::Sort(sort) => sort.expr == order,
        LogicalPlan::Filter(filter) => sorted_alike(&filter.input, order),
        // Ours, which adds arguments to what there is.
        LogicalPlan::Projection(projection) => {
            let columns = projection.input.schema().columns().into_iter();
            let kept = columns
                .zip(&projection.expr)
                .all(|(column, expr)| *expr == Expr::Column(column));
            kept && sorted_alike(&projection.input, order)
        }
        _ => false,
    }
}
