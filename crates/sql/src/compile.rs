//! From the files of a rule directory to a program for the stream and plans for the batch.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result as DataFusionResult;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::provider_as_source;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, TableSource};
use datafusion::optimizer::{Optimizer, OptimizerContext};
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use keyhawk_engine::OFFSET_COLUMNS;
use keyhawk_engine::program::{NodeId, Program, ProgramBuilder, Sink};

use crate::actions::reads_authenticated_calls_only;
use crate::arrays::array_bounds;
use crate::catalog::{Catalog, EVENTS, ROW_COLUMN, Tables, join_rules, session};
use crate::fill::fills;
use crate::header::{RuleHeader, ViewHeader, key_place, parse_header, parse_view_header};
use crate::header_columns::check_header;
use crate::inspect::{event_columns, hidden_name, reads_any, reads_bounds, scans};
use crate::lineage::{Preparation, Unprepared};
use crate::lower::{Lowering, all_nullable, nullable};
use crate::origin::{Origin, ViewOrigins, index_origin};
use crate::planner_error::plan_problem;
use crate::problem::{Problem, SourceFile, find, words};
use crate::shared::{SharedScans, TOTAL_ORDER};
use crate::warnings::{Reviewed, warnings};

/// The files of a rule directory.
#[derive(Debug, Clone, Default)]
pub struct RuleFiles {
    /// `views/*.sql`.
    pub views: Vec<SourceFile>,
    /// `rules/*.sql`.
    pub rules: Vec<SourceFile>,
    /// `tables/*`: the rows of reference tables, by name.
    pub tables: Vec<(String, RecordBatch)>,
}

/// A view or rule, ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) name: String,
    /// Optimised; its output is the visible columns, `__time`, the offsets and the lineage.
    pub(crate) plan: LogicalPlan,
    pub(crate) visible: usize,
    /// How many elements are read of each array_agg, by the name of its column.
    pub(crate) arrays: BTreeMap<String, u32>,
}

/// A rule, as alerts need to know it.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The file's name.
    pub name: String,
    /// A digest of the file and of the views below it, hex: it changes when the rule's meaning may.
    pub version: String,
    /// What the rule says of itself.
    pub header: RuleHeader,
    /// The columns that it selects.
    pub schema: SchemaRef,
    /// The reference tables that it reads, itself or through views.
    pub tables: BTreeSet<String>,
}

/// Everything that a rule directory means.
pub struct Compiled {
    /// The rules, in the order of their numbers in findings.
    pub rules: Vec<Rule>,
    /// What the stream runs.
    pub program: Arc<Program>,
    /// The columns of `events` that the program reads.
    pub columns: BTreeSet<String>,
    /// Stateful nodes that lack the topic's key: `run` refuses them, files may be replayed.
    pub unkeyed: Vec<Problem>,
    /// What somebody should look at, rules first, in the order of the files.
    pub warnings: Vec<Problem>,
    pub(crate) state: SessionState,
    /// The reference tables, with the numbers of their rows.
    pub(crate) tables: BTreeMap<String, RecordBatch>,
    pub(crate) views: Vec<Query>,
    pub(crate) queries: Vec<Query>,
}

/// Compiles the files over the table `events`. `key` is the column that topics are keyed by.
///
/// # Errors
/// Every problem of every file, in the order of the files.
pub fn compile(files: &RuleFiles, events: &SchemaRef, key: &str) -> Result<Compiled, Vec<Problem>> {
    let compiled = Compiler::new(events, key, false).compile(files)?;
    // A baseline's bounds cost ten times the rest: they are computed only where a query reads them.
    let views = compiled
        .views
        .iter()
        .map(|query| reads_bounds(query, false));
    if views
        .chain(
            compiled
                .queries
                .iter()
                .map(|query| reads_bounds(query, true)),
        )
        .any(|reads| reads)
    {
        return Compiler::new(events, key, true).compile(files);
    }
    Ok(compiled)
}

struct Compiler<'a> {
    state: SessionState,
    tables: Tables,
    events: &'a SchemaRef,
    key: &'a str,
    bounds: bool,
    origins: ViewOrigins,
    reference_tables: BTreeMap<String, RecordBatch>,
    table_sources: BTreeMap<String, Arc<dyn TableSource>>,
    view_sources: BTreeMap<String, (Arc<dyn TableSource>, usize)>,
}

impl<'a> Compiler<'a> {
    fn new(events: &'a SchemaRef, key: &'a str, bounds: bool) -> Self {
        let mut tables = Tables::default();
        // A batch may hold null where the table says never: in both modes no plan relies on that.
        tables.add(EVENTS, all_nullable(events));
        Compiler {
            state: session(),
            tables,
            events,
            key,
            bounds,
            origins: ViewOrigins::new(),
            reference_tables: BTreeMap::new(),
            table_sources: BTreeMap::new(),
            view_sources: BTreeMap::new(),
        }
    }

    fn compile(mut self, files: &RuleFiles) -> Result<Compiled, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut views: Vec<(&SourceFile, Query)> = Vec::new();
        for (name, rows) in &files.tables {
            self.add_table(name, rows);
        }
        self.tables.await_views(
            files
                .views
                .iter()
                .map(SourceFile::name)
                .filter(|name| *name != EVENTS),
        );
        for file in in_dependency_order(&files.views) {
            if file.name() == EVENTS {
                let message = format!(
                    "a view cannot be named `{EVENTS}`: that is the table that all rules read"
                );
                problems.push(
                    Problem::new(file, find(file, &[]), message).help("give the file another name"),
                );
                continue;
            }
            let header = match parse_view_header(file) {
                Ok(header) => header,
                Err(more) => {
                    problems.extend(more);
                    ViewHeader::default()
                }
            };
            match self.query(file, header.retention_ms()) {
                Ok(query) => {
                    self.add_view(&query);
                    views.push((file, query));
                }
                Err(problem) => {
                    self.tables.add_broken(file.name());
                    problems.push(problem);
                }
            }
        }
        let mut queries: Vec<(&SourceFile, Query, RuleHeader)> = Vec::new();
        for file in &files.rules {
            let header = match parse_header(file) {
                Ok(header) => header,
                Err(more) => {
                    problems.extend(more);
                    continue;
                }
            };
            match self.query(file, header.retention_ms()) {
                Ok(query) => {
                    problems.extend(check_header(file, &header, &query));
                    queries.push((file, query, header));
                }
                Err(problem) => problems.push(problem),
            }
        }
        let view_plans: BTreeMap<&str, &LogicalPlan> = views
            .iter()
            .map(|(_, query)| (query.name.as_str(), &query.plan))
            .collect();
        for (file, query, header) in &queries {
            if header.action.is_some()
                && !reads_authenticated_calls_only(&query.plan, &view_plans, &self.origins)
            {
                problems.push(
                    Problem::new(
                        file,
                        key_place(file, "action"),
                        "a rule with an action must read authenticated calls only: whoever knows a key's public half could have it cut off",
                    )
                    .help("add WHERE auth_result = 'ok' where the rule or its views read events"),
                );
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        self.program(files, views, queries)
    }

    /// Plans, prepares and optimises one file.
    fn query(&self, file: &SourceFile, retention_ms: Option<i64>) -> Result<Query, Problem> {
        let plan = self.plan(file)?;
        let visible = plan.schema().fields().len();
        if let Some(name) = hidden_name(&plan) {
            let message = format!(
                "the column `{name}` begins with two underscores, which Keyhawk keeps to itself"
            );
            return Err(
                Problem::new(file, find(file, &[name]), message).help("give it another name")
            );
        }
        let arrays = array_bounds(&plan).map_err(|error| unprepared(file, error))?;
        let plan = self
            .with_joins(plan)
            .map_err(|error| plan_problem(file, &error))?;
        let preparation = Preparation {
            key: self.key,
            views: &self.origins,
            view_source: &|name| self.view_sources.get(name).cloned(),
            table_sources: &self.table_sources,
            retention_ms,
            bounds: self.bounds,
            state: &self.state,
            joins: Cell::new(0),
            unfilled: Cell::new(0),
            arguments: Cell::new(0),
        };
        let prepared = preparation
            .prepare(&plan)
            .map_err(|error| unprepared(file, error))?;
        let plan = self
            .state
            .optimize(&prepared)
            .map_err(|error| plan_problem(file, &error))?;
        Ok(Query {
            name: file.name().to_owned(),
            plan,
            visible,
            arrays,
        })
    }

    /// The plan with its IN and EXISTS as joins, and the equalities of every join found.
    fn with_joins(&self, plan: LogicalPlan) -> DataFusionResult<LogicalPlan> {
        if !has_joins(&plan) {
            return Ok(plan);
        }
        let options = self.state.config_options();
        let analyzer = self.state.analyzer();
        let plan = analyzer.execute_and_check(plan, options, |_, _| {})?;
        let config = OptimizerContext::new().with_max_passes(1);
        Optimizer::with_rules(join_rules()).optimize(plan, &config, |_, _| {})
    }

    /// A reference table, under its visible columns for queries, with the numbers of its rows for what
    /// tells findings apart.
    fn add_table(&mut self, name: &str, rows: &RecordBatch) {
        let schema = all_nullable(&rows.schema());
        self.tables.add(name, Arc::clone(&schema));
        let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(ROW_COLUMN, DataType::Int64, true)));
        let schema = Arc::new(Schema::new(fields));
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(
            (0..rows.num_rows() as i64).collect::<Int64Array>(),
        ));
        let numbered = RecordBatch::try_new(Arc::clone(&schema), columns)
            .expect("one number more for each row");
        let source = provider_as_source(Arc::new(EmptyTable::new(schema)));
        self.table_sources.insert(name.to_owned(), source);
        self.reference_tables.insert(name.to_owned(), numbered);
    }

    fn plan(&self, file: &SourceFile) -> Result<LogicalPlan, Problem> {
        let mut statements =
            DFParser::parse_sql(&file.text).map_err(|error| plan_problem(file, &error))?;
        let statement = statements.pop_front().filter(|_| statements.is_empty());
        let Some(statement) = statement else {
            return Err(Problem::new(
                file,
                find(file, &[";".to_owned()]),
                "a file holds one SELECT",
            )
            .help("put every query into a file of its own"));
        };
        let is_query = match &statement {
            Statement::Statement(statement) => matches!(statement.as_ref(), SqlStatement::Query(_)),
            _ => false,
        };
        if !is_query {
            return Err(Problem::new(
                file,
                find(file, &[]),
                "a file holds a SELECT, and this is another statement",
            )
            .help("write SELECT …"));
        }
        let catalog = Catalog {
            state: &self.state,
            tables: &self.tables,
        };
        let options = ParserOptions {
            collect_spans: true,
            ..ParserOptions::default()
        };
        SqlToRel::new_with_options(&catalog, options)
            .statement_to_plan(statement)
            .map_err(|error| plan_problem(file, &error))
    }

    fn add_view(&mut self, query: &Query) {
        let schema = nullable(query.plan.schema());
        let visible = Schema::new(schema.fields()[..query.visible].to_vec());
        self.tables.add(&query.name, Arc::new(visible));
        let lineage = schema.fields().len() - query.visible - 1 - OFFSET_COLUMNS.len();
        let source = provider_as_source(Arc::new(EmptyTable::new(Arc::clone(&schema))));
        self.view_sources
            .insert(query.name.clone(), (source, lineage));
        let origins = schema.fields().iter().enumerate();
        let origins: BTreeMap<String, Origin> = origins
            .map(|(i, field)| {
                (
                    field.name().clone(),
                    index_origin(&query.plan, i, &self.origins, self.key),
                )
            })
            .collect();
        self.origins.insert(query.name.clone(), origins);
    }

    /// Lowers all plans into one program.
    fn program(
        self,
        files: &RuleFiles,
        views: Vec<(&SourceFile, Query)>,
        queries: Vec<(&SourceFile, Query, RuleHeader)>,
    ) -> Result<Compiled, Vec<Problem>> {
        // Every view is lowered once, so that its problems are known; then only what a rule reads: a view
        // that no rule reads costs nothing.
        self.lower(&views, &queries)?;
        let views = read_by(views, &queries);
        let Lowered {
            program,
            columns,
            unkeyed,
        } = self.lower(&views, &queries)?;
        let views: Vec<Query> = views.into_iter().map(|(_, query)| query).collect();
        let warnings = warnings(&Reviewed {
            files,
            read: views.iter().map(|view| view.name.as_str()).collect(),
            headers: queries.iter().map(|(_, _, header)| header).collect(),
            plan: &|file| self.plan(file).ok(),
        });
        let tables_of = |plan: &LogicalPlan| {
            let mut read: BTreeSet<String> = scans(plan).into_iter().collect();
            // A view comes after those that it reads.
            for view in views.iter().rev() {
                if read.contains(&view.name) {
                    read.extend(scans(&view.plan));
                }
            }
            read.retain(|name| self.reference_tables.contains_key(name));
            read
        };
        let rules = queries
            .iter()
            .map(|(file, query, header)| {
                let schema = nullable(query.plan.schema());
                Rule {
                    name: query.name.clone(),
                    version: version(file, &files.views),
                    header: header.clone(),
                    schema: Arc::new(Schema::new(schema.fields()[..query.visible].to_vec())),
                    tables: tables_of(&query.plan),
                }
            })
            .collect();
        Ok(Compiled {
            rules,
            program: Arc::new(program),
            columns,
            unkeyed,
            warnings,
            state: self.state,
            tables: self.reference_tables,
            views,
            queries: queries.into_iter().map(|(_, query, _)| query).collect(),
        })
    }

    /// One program of all plans, or every problem that they have.
    fn lower(
        &self,
        views: &[(&SourceFile, Query)],
        queries: &[(&SourceFile, Query, RuleHeader)],
    ) -> Result<Lowered, Vec<Problem>> {
        let plans: Vec<(&SourceFile, &LogicalPlan)> = views
            .iter()
            .map(|(file, query)| (*file, &query.plan))
            .chain(queries.iter().map(|(file, query, _)| (*file, &query.plan)))
            .collect();
        let mut columns = BTreeSet::from([self.key.to_owned()]);
        plans
            .iter()
            .for_each(|(_, plan)| event_columns(plan, &mut columns));
        if plans.iter().any(|(_, plan)| fills(plan)) {
            // How far windows are filled depends on the greatest.
            columns.insert(TOTAL_ORDER[0].to_owned());
        }
        let fields = self
            .events
            .fields()
            .iter()
            .filter(|field| columns.contains(field.name()));
        let fields: Vec<Field> = fields
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect();
        let key = fields.iter().position(|field| field.name() == self.key);
        let input = Arc::new(Schema::new(fields));
        let shared = shared_scans(&plans, &input)?;
        let mut builder = ProgramBuilder::new(input, key);
        let mut nodes: BTreeMap<String, NodeId> = BTreeMap::new();
        let mut problems = Vec::new();
        let mut unkeyed = Vec::new();
        let mut lower = |file: &SourceFile, query: &Query, nodes: &BTreeMap<String, NodeId>| {
            let mut lowering = Lowering {
                tables: &self.reference_tables,
                arrays: &query.arrays,
                builder: &mut builder,
                views: nodes,
                origins: &self.origins,
                key: self.key,
                shared: &shared,
                ordered: false,
                unkeyed: Vec::new(),
            };
            let node = lowering.lower(&query.plan);
            let lacking = std::mem::take(&mut lowering.unkeyed);
            unkeyed.extend(lacking.into_iter().map(|refusal| refusal.at(file)));
            node.map_err(|error| problems.push(unprepared(file, error)))
                .ok()
        };
        let mut broken = BTreeSet::new();
        for (file, query) in views {
            // What reads a view with a problem has none of its own.
            if reads_any(&query.plan, &broken) {
                broken.insert(query.name.clone());
            } else if let Some(node) = lower(file, query, &nodes) {
                nodes.insert(query.name.clone(), node);
            } else {
                broken.insert(query.name.clone());
            }
        }
        let mut sinks = Vec::new();
        for (file, query, header) in queries
            .iter()
            .filter(|(_, query, _)| !reads_any(&query.plan, &broken))
        {
            if let Some(node) = lower(file, query, &nodes) {
                sinks.push(Sink {
                    rule: query.name.clone(),
                    node,
                    visible: query.visible,
                    warmup_ms: header
                        .warmup
                        .map(|warmup| i64::try_from(warmup.as_millis()).unwrap_or(i64::MAX)),
                });
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        sinks.into_iter().for_each(|sink| builder.sink(sink));
        Ok(Lowered {
            program: builder.build(),
            columns,
            unkeyed,
        })
    }
}

fn shared_scans(
    plans: &[(&SourceFile, &LogicalPlan)],
    input: &SchemaRef,
) -> Result<SharedScans, Vec<Problem>> {
    let mut shared = SharedScans::new(input).expect("the columns of `events` have different names");
    for (file, plan) in plans {
        shared
            .add(plan)
            .map_err(|error| vec![plan_problem(file, &error)])?;
    }
    Ok(shared)
}

/// Whether a plan joins anything, also by IN or EXISTS.
fn has_joins(plan: &LogicalPlan) -> bool {
    let is_join = |node: &LogicalPlan| matches!(node, LogicalPlan::Join(_));
    let is_subquery = |expr: &Expr| matches!(expr, Expr::InSubquery(_) | Expr::Exists(_));
    let mut found = false;
    // The visitors never fail.
    let _ = plan.apply(|node| {
        found |= is_join(node)
            || node
                .expressions()
                .iter()
                .any(|expr| expr.exists(|expr| Ok(is_subquery(expr))).unwrap_or(false));
        Ok(if found {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    });
    found
}

/// A program with what was learned on the way.
struct Lowered {
    program: Program,
    columns: BTreeSet<String>,
    unkeyed: Vec<Problem>,
}

/// The views that rules read, themselves or through other views.
fn read_by<'f>(
    views: Vec<(&'f SourceFile, Query)>,
    queries: &[(&SourceFile, Query, RuleHeader)],
) -> Vec<(&'f SourceFile, Query)> {
    let mut read: BTreeSet<String> = queries
        .iter()
        .flat_map(|(_, query, _)| scans(&query.plan))
        .collect();
    // A view comes after those that it reads.
    for (_, view) in views.iter().rev() {
        if read.contains(&view.name) {
            read.extend(scans(&view.plan));
        }
    }
    views
        .into_iter()
        .filter(|(_, view)| read.contains(&view.name))
        .collect()
}

/// Views before the views that name them; views that need each other stay where they are, and the
/// planner then says that a table is missing.
fn in_dependency_order(views: &[SourceFile]) -> Vec<&SourceFile> {
    let words: BTreeMap<&str, BTreeSet<String>> = views
        .iter()
        .map(|file| (file.path.as_str(), words(file)))
        .collect();
    let mentions =
        |file: &SourceFile, name: &str| words[file.path.as_str()].contains(&name.to_lowercase());
    let mut rest: Vec<&SourceFile> = views.iter().collect();
    let mut ordered = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let ready = rest.iter().position(|file| {
            rest.iter()
                .all(|other| other.path == file.path || !mentions(file, other.name()))
        });
        ordered.push(rest.remove(ready.unwrap_or_default()));
    }
    ordered
}

fn version(file: &SourceFile, views: &[SourceFile]) -> String {
    use sha2::{Digest, Sha256};
    let mut digest = Sha256::new();
    digest.update(&file.text);
    for view in views {
        digest.update([0]);
        digest.update(&view.text);
    }
    digest
        .finalize()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn unprepared(file: &SourceFile, error: Unprepared) -> Problem {
    match error {
        Unprepared::Refused(refusal) => refusal.at(file),
        Unprepared::Plan(error) => plan_problem(file, &error),
    }
}
