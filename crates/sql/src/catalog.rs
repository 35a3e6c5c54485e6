//! The catalog: which tables and functions a rule may name, without any data behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{
    Result as DataFusionResult, TableReference, plan_datafusion_err, plan_err,
};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::provider_as_source;
use datafusion::execution::context::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::optimizer::OptimizerRule;
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::combine_partial_final_agg::CombinePartialFinalAggregate;
use datafusion::prelude::SessionConfig;

use crate::problem::nearest;
use crate::windows::WindowTables;

/// The name of the table of events.
pub const EVENTS: &str = "events";

/// The name of the hidden column that numbers the rows of a reference table.
pub(crate) const ROW_COLUMN: &str = "__row";

/// The optimizer rules of both modes: those that a stream can follow.
fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(SimplifyExpressions::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(CommonSubexprEliminate::new()),
        Arc::new(OptimizeProjections::new()),
    ]
}

/// What makes joins of a query's IN and EXISTS, and equalities of its ON, before anything is prepared.
pub(crate) fn join_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
    ]
}

/// Of the physical plan: none that moves, merges or removes a sort. DataFusion's own rules replace the
/// sort below a window function by one on the window's keys and time alone, which leaves ties to
/// chance; the preparation has put every sort where it is needed.
fn physical_optimizer_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    vec![Arc::new(CombinePartialFinalAggregate::new())]
}

/// A DataFusion session with our functions and our optimizer rules, one partition.
pub(crate) fn session() -> SessionState {
    let mut config = SessionConfig::new().with_target_partitions(1);
    config.options_mut().sql_parser.collect_spans = true;
    // The logical plan says of some expressions that they are never null (`x IS NOT TRUE`), and the
    // physical one that they may be.
    config
        .options_mut()
        .execution
        .skip_physical_aggregate_schema_check = true;
    config
        .options_mut()
        .sql_parser
        .enable_subquery_sort_elimination = false;
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_optimizer_rules(optimizer_rules())
        .with_physical_optimizer_rules(physical_optimizer_rules())
        .with_relation_planners(vec![Arc::new(WindowTables)])
        .build();
    for function in keyhawk_functions::scalar_functions() {
        register(&mut state, Function::Scalar(function));
    }
    for function in keyhawk_functions::window_functions() {
        register(&mut state, Function::Window(function.udf));
    }
    for function in keyhawk_functions::frame::frame_functions() {
        register(&mut state, Function::Window(function.udf));
    }
    for function in keyhawk_functions::session_functions() {
        register(&mut state, Function::Window(function));
    }
    state
}

enum Function {
    Scalar(Arc<ScalarUDF>),
    Window(Arc<WindowUDF>),
}

fn register(state: &mut SessionState, function: Function) {
    use datafusion::logical_expr::registry::FunctionRegistry;
    let registered = match function {
        Function::Scalar(udf) => state.register_udf(udf).map(|_| ()),
        Function::Window(udf) => state.register_udwf(udf).map(|_| ()),
    };
    registered.expect("a session takes any function");
}

/// The tables that a rule may read, by name.
#[derive(Clone, Default)]
pub(crate) struct Tables {
    sources: BTreeMap<String, Arc<dyn TableSource>>,
    /// Views that have a problem of their own.
    broken: BTreeSet<String>,
    /// Views whose turn has not come.
    awaited: BTreeSet<String>,
}

impl Tables {
    pub(crate) fn add(&mut self, name: &str, schema: SchemaRef) {
        self.awaited.remove(name);
        self.sources.insert(
            name.to_owned(),
            provider_as_source(Arc::new(EmptyTable::new(schema))),
        );
    }

    /// Says which views are to come, in an order in which each stands after those that it reads.
    pub(crate) fn await_views<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        self.awaited.extend(names.map(str::to_owned));
    }

    /// Says that a view did not load, so that whoever reads it is told that and not that it is missing.
    pub(crate) fn add_broken(&mut self, name: &str) {
        self.awaited.remove(name);
        self.broken.insert(name.to_owned());
    }
}

/// What the SQL planner asks while it plans one file.
pub(crate) struct Catalog<'a> {
    pub(crate) state: &'a SessionState,
    pub(crate) tables: &'a Tables,
}

impl ContextProvider for Catalog<'_> {
    fn get_table_source(&self, name: TableReference) -> DataFusionResult<Arc<dyn TableSource>> {
        let known = || self.tables.sources.keys().map(String::as_str);
        if self.tables.broken.contains(name.table()) {
            return plan_err!("the view `{}` did not load; mend it first", name.table());
        }
        if self.tables.awaited.contains(name.table()) {
            return plan_err!(
                "the view `{}` reads this one, itself or through others; write one without the other",
                name.table()
            );
        }
        self.tables
            .sources
            .get(name.table())
            .cloned()
            .ok_or_else(|| match nearest(name.table(), known()) {
                Some(near) => plan_datafusion_err!(
                    "no table or view `{}`; did you mean `{near}`?",
                    name.table()
                ),
                None => plan_datafusion_err!(
                    "no table or view `{}`; there are {}",
                    name.table(),
                    known().collect::<Vec<_>>().join(", ")
                ),
            })
    }

    fn get_table_function_source(
        &self,
        name: &str,
        _: Vec<Expr>,
    ) -> DataFusionResult<Arc<dyn TableSource>> {
        plan_err!("there is no table function `{name}`; write tumble(…), hop(…) or session(…)")
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        self.state.relation_planners()
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        public(self.state.scalar_functions().keys())
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        public(self.state.higher_order_functions().keys())
    }

    fn udaf_names(&self) -> Vec<String> {
        public(self.state.aggregate_functions().keys())
    }

    fn udwf_names(&self) -> Vec<String> {
        public(self.state.window_functions().keys())
    }
}

/// The names that a rule may write, which the planner proposes for one that it does not know.
fn public<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    names
        .filter(|name| !name.starts_with("__"))
        .cloned()
        .collect()
}
