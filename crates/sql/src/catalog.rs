//! The catalog: which tables and functions a rule may name, without any data behind them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result as DataFusionResult, TableReference, plan_datafusion_err};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::provider_as_source;
use datafusion::execution::context::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::OptimizerRule;
use datafusion::prelude::SessionConfig;

use crate::problem::nearest;
use crate::windows::WindowTables;

/// The name of the table of events.
pub const EVENTS: &str = "events";

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

/// A DataFusion session with our functions and our optimizer rules, one partition.
pub(crate) fn session() -> SessionState {
    let mut config = SessionConfig::new().with_target_partitions(1);
    config.options_mut().sql_parser.collect_spans = true;
    config.options_mut().sql_parser.enable_subquery_sort_elimination = false;
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_optimizer_rules(optimizer_rules())
        .with_relation_planners(vec![Arc::new(WindowTables)])
        .build();
    for function in keyhawk_functions::scalar_functions() {
        register(&mut state, Function::Scalar(function));
    }
    for function in keyhawk_functions::window_functions() {
        register(&mut state, Function::Window(function.udf));
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
}

impl Tables {
    pub(crate) fn add(&mut self, name: &str, schema: SchemaRef) {
        self.sources.insert(name.to_owned(), provider_as_source(Arc::new(EmptyTable::new(schema))));
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
        self.tables.sources.get(name.table()).cloned().ok_or_else(|| match nearest(name.table(), known()) {
            Some(near) => plan_datafusion_err!("no table or view `{}`; did you mean `{near}`?", name.table()),
            None => plan_datafusion_err!(
                "no table or view `{}`; there are {}",
                name.table(),
                known().collect::<Vec<_>>().join(", ")
            ),
        })
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
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}
