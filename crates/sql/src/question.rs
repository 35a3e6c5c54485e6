//! Questions: any SELECT over a finite history, for a person who explores it before there is a rule.
//!
//! ```text
//!   text ──▶ plan, views in place ──▶ DataFusion's own optimizer ──▶ Question: the columns of `events`
//!                                                                       │ the caller reads these
//!                                    Answer ◀── DataFusion runs it ◀────┘
//! ```
//!
//! A question is no rule: it may sort, limit, and ask what a stream cannot answer, and it stops where an
//! expression fails on a row. Views and window tables are those of rules; rows that are equal in an ORDER
//! BY come in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::execution::context::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Window, lit};
use datafusion::optimizer::Optimizer;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::collect;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};

use crate::batch::greatest_time;
use crate::catalog::{Catalog, EVENTS, Tables, session};
use crate::fill::{Filling, with_greatest};
use crate::header::parse_view_header;
use crate::lower::all_nullable;
use crate::origin::{Origin, ViewOrigins, WindowKind, origin};
use crate::planner_error::plan_problem;
use crate::problem::{Problem, SourceFile, find};
use crate::retention::with_retention;

/// A column that every row of `events` has: read where a question asks for none, as `count(*)` does.
const ANY_COLUMN: &str = "_offset";

/// What questions may be asked of.
pub struct Prompt {
    state: SessionState,
    tables: Tables,
    relations: Vec<Relation>,
    views: BTreeMap<String, LogicalPlan>,
    rows: BTreeMap<String, RecordBatch>,
}

/// A table, view or reference table.
#[derive(Debug, Clone)]
pub struct Relation {
    /// What a question calls it.
    pub name: String,
    /// Which of the three it is.
    pub kind: Kind,
    /// Its columns.
    pub schema: SchemaRef,
}

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The table `events`.
    Events,
    /// A view of the rule directory.
    View,
    /// A reference table of the rule directory.
    Table,
}

/// A question that can be answered.
#[derive(Debug)]
pub struct Question {
    file: SourceFile,
    plan: LogicalPlan,
    columns: BTreeSet<String>,
}

impl Question {
    /// The columns of `events` that it reads: none where it does not read `events`.
    pub fn columns(&self) -> &BTreeSet<String> {
        &self.columns
    }
}

/// Rows.
#[derive(Debug)]
pub struct Answer {
    /// Their columns, also where there is no row.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
}

impl Prompt {
    /// A prompt over the table `events`, reference tables with their rows, and views, in any order; with
    /// the problems of those views that it does without.
    pub fn new(
        events: &SchemaRef,
        tables: &[(String, RecordBatch)],
        views: &[SourceFile],
    ) -> (Prompt, Vec<Problem>) {
        // The rules of the stream's plans make way for all that DataFusion has.
        let state = SessionStateBuilder::new_from_existing(session())
            .with_optimizer_rules(Optimizer::new().rules)
            .with_physical_optimizer_rules(PhysicalOptimizer::new().rules)
            .build();
        let mut prompt = Prompt {
            state,
            tables: Tables::default(),
            relations: Vec::new(),
            views: BTreeMap::new(),
            rows: BTreeMap::new(),
        };
        prompt.add(EVENTS, Kind::Events, all_nullable(events));
        for (name, rows) in tables {
            let schema = all_nullable(&rows.schema());
            let rows = RecordBatch::try_new(Arc::clone(&schema), rows.columns().to_vec());
            let rows = rows.expect("a column that has no nulls may as well have some");
            prompt.add(name, Kind::Table, schema);
            prompt.rows.insert(name.clone(), rows);
        }
        let problems = prompt.add_views(views);
        (prompt, problems)
    }

    /// What there is to ask of: `events`, then reference tables, then views.
    pub fn relations(&self) -> &[Relation] {
        &self.relations
    }

    /// The functions of Keyhawk that a question may call, by name.
    pub fn functions(&self) -> Vec<String> {
        let scalar = keyhawk_functions::scalar_functions().into_iter();
        let window = keyhawk_functions::window_functions().into_iter();
        let mut names: Vec<String> = scalar
            .map(|function| function.name().to_owned())
            .chain(window.map(|function| function.udf.name().to_owned()))
            .filter(|name| !name.starts_with("__"))
            .collect();
        names.sort();
        names
    }

    /// Plans one question, with or without `;` at its end.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn plan(&self, text: &str) -> Result<Question, Problem> {
        let file = SourceFile {
            path: "question".to_owned(),
            text: text.to_owned(),
        };
        let plan = self.logical(&file, true)?;
        let plan = self
            .state
            .optimize(&plan)
            .map_err(|error| plan_problem(&file, &error))?;
        Ok(Question {
            columns: event_columns(&plan),
            file,
            plan,
        })
    }

    /// Answers a question over `events`, which have at least its columns, under their names.
    ///
    /// Needs a Tokio runtime to run on; memory grows with the events and the answer's rows.
    ///
    /// # Errors
    /// An expression that fails on a row, where the answer stops.
    pub async fn answer(
        &self,
        question: &Question,
        events: &[RecordBatch],
    ) -> Result<Answer, Problem> {
        self.run(question, events)
            .await
            .map_err(|error| run_problem(&question.file, &error))
    }

    async fn run(&self, question: &Question, events: &[RecordBatch]) -> DataFusionResult<Answer> {
        let plan = self.with_data(&question.plan, events)?;
        let plan = with_greatest(plan, greatest_time(events))?;
        let physical = self
            .state
            .query_planner()
            .create_physical_plan(&plan, &self.state)
            .await?;
        let schema = physical.schema();
        let batches = collect(physical, self.state.task_ctx()).await?;
        Ok(Answer { schema, batches })
    }

    fn add(&mut self, name: &str, kind: Kind, schema: SchemaRef) {
        self.tables.add(name, Arc::clone(&schema));
        self.relations.push(Relation {
            name: name.to_owned(),
            kind,
            schema,
        });
    }

    /// Plans views as long as there is one that can be; those that read a later one have their turn in a
    /// later round.
    fn add_views(&mut self, views: &[SourceFile]) -> Vec<Problem> {
        let mut rest: Vec<&SourceFile> = views.iter().collect();
        loop {
            let mut problems = Vec::new();
            let mut waiting = Vec::new();
            for file in rest.iter().copied() {
                match self.logical(file, false) {
                    Ok(plan) => {
                        let schema: Schema = plan.schema().as_arrow().clone();
                        self.add(file.name(), Kind::View, Arc::new(schema));
                        self.views.insert(file.name().to_owned(), plan);
                    }
                    Err(problem) => {
                        problems.push(problem);
                        waiting.push(file);
                    }
                }
            }
            if waiting.is_empty() || waiting.len() == rest.len() {
                waiting
                    .iter()
                    .for_each(|file| self.tables.add_broken(file.name()));
                return problems;
            }
            rest = waiting;
        }
    }

    /// The plan of a query, with the plans of views in the place of their scans.
    fn logical(&self, file: &SourceFile, may_explain: bool) -> Result<LogicalPlan, Problem> {
        let problem = |error: &DataFusionError| plan_problem(file, error);
        let mut statements =
            DFParser::parse_sql(&file.text).map_err(|error| plan_problem(file, &error))?;
        let statement = statements.pop_front().filter(|_| statements.is_empty());
        let Some(statement) = statement else {
            return Err(Problem::new(
                file,
                find(file, &[";".to_owned()]),
                "one question at a time",
            )
            .help("end each with ; on a line of its own"));
        };
        let reads = match &statement {
            Statement::Statement(statement) => matches!(statement.as_ref(), SqlStatement::Query(_)),
            Statement::Explain(_) => may_explain,
            _ => false,
        };
        if !reads {
            let message = "history is only read here, and this is another statement";
            return Err(Problem::new(file, find(file, &[]), message).help(
                "write SELECT …, or EXPLAIN SELECT …; tables and columns are listed by \\d",
            ));
        }
        let catalog = Catalog {
            state: &self.state,
            tables: &self.tables,
        };
        let options = ParserOptions {
            collect_spans: true,
            ..ParserOptions::default()
        };
        let plan = SqlToRel::new_with_options(&catalog, options)
            .statement_to_plan(statement)
            .map_err(|error| problem(&error))?;
        let plan = self
            .with_views(plan)
            .and_then(|plan| self.with_fills(plan))
            .and_then(with_steps)
            .map_err(|error| problem(&error))?;
        if may_explain {
            return Ok(plan);
        }
        let header = parse_view_header(file).unwrap_or_default();
        with_retention(plan, header.retention_ms()).map_err(|error| problem(&error))
    }

    fn with_views(&self, plan: LogicalPlan) -> DataFusionResult<LogicalPlan> {
        let replaced = plan.transform_up_with_subqueries(|node| {
            let view = match &node {
                LogicalPlan::TableScan(scan) => self.views.get(scan.table_name.table()),
                _ => None,
            };
            let (LogicalPlan::TableScan(scan), Some(view)) = (&node, view) else {
                return Ok(Transformed::no(node));
            };
            let view = LogicalPlanBuilder::from(view.clone())
                .alias(scan.table_name.clone())?
                .build()?;
            Ok(Transformed::yes(view))
        })?;
        Ok(replaced.data)
    }

    /// The plan with rows for the windows in which a group is silent, where it asks for them.
    fn with_fills(&self, plan: LogicalPlan) -> DataFusionResult<LogicalPlan> {
        let filled = plan.transform_up_with_subqueries(|node| {
            let LogicalPlan::Aggregate(aggregate) = &node else {
                return Ok(Transformed::no(node));
            };
            let views = ViewOrigins::new();
            let groups = aggregate.group_expr.iter();
            let origins = groups.map(|group| origin(&aggregate.input, group, &views, ""));
            let origins: Vec<Origin> = origins.collect();
            let window = origins.iter().find_map(|of| match *of {
                Origin::Window {
                    size_ms,
                    complete_ms,
                    ..
                } if of.fill() > 0 => Some((size_ms, complete_ms, of.fill())),
                _ => None,
            });
            let Some((size_ms, complete_ms, windows)) = window else {
                return Ok(Transformed::no(node));
            };
            let filling = Filling {
                parts: origins.iter().map(|of| of.part()).collect(),
                size_ms,
                windows,
                complete_ms,
            };
            Ok(Transformed::yes(filling.above(aggregate.clone())?))
        })?;
        Ok(filled.data)
    }

    /// The plan with its scans reading rows.
    fn with_data(
        &self,
        plan: &LogicalPlan,
        events: &[RecordBatch],
    ) -> DataFusionResult<LogicalPlan> {
        let (schema, events) = as_one_table(events)?;
        let replaced = plan.clone().transform_up_with_subqueries(|node| {
            let LogicalPlan::TableScan(mut scan) = node else {
                return Ok(Transformed::no(node));
            };
            let (schema, rows) = match self.rows.get(scan.table_name.table()) {
                Some(rows) => (rows.schema(), vec![rows.clone()]),
                // Nothing was read of an empty history.
                None if events.is_empty() => (scan.source.schema(), Vec::new()),
                None => (Arc::clone(&schema), events.clone()),
            };
            let columns = scan.projected_schema.fields().iter();
            let projection = columns
                .map(|field| Ok(schema.index_of(field.name())?))
                .collect::<DataFusionResult<Vec<usize>>>()?;
            scan.projection = Some(projection);
            scan.source = provider_as_source(Arc::new(MemTable::try_new(schema, vec![rows])?));
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        })?;
        Ok(replaced.data)
    }
}

/// The plan with the distance of its windows told to every baseline that is not told it, as the
/// preparation of a rule does.
fn with_steps(plan: LogicalPlan) -> DataFusionResult<LogicalPlan> {
    let told = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Window(window) = &node else {
            return Ok(Transformed::no(node));
        };
        let functions: Vec<Expr> = window
            .window_expr
            .iter()
            .map(|expr| with_step(expr, &window.input))
            .collect();
        if functions == window.window_expr {
            return Ok(Transformed::no(node));
        }
        let window = Window::try_new(functions, Arc::clone(&window.input))?;
        Ok(Transformed::yes(LogicalPlan::Window(window)))
    })?;
    Ok(told.data)
}

fn with_step(expr: &Expr, input: &LogicalPlan) -> Expr {
    let Expr::WindowFunction(function) = expr else {
        return expr.clone();
    };
    let [_, time] = function.params.args.as_slice() else {
        return expr.clone();
    };
    let Origin::Window { kind, size_ms, .. } = origin(input, time, &ViewOrigins::new(), "") else {
        return expr.clone();
    };
    let step_ms = match kind {
        WindowKind::Tumble { .. } => size_ms,
        WindowKind::Hop { slide_ms } => slide_ms,
        WindowKind::Session(_) => return expr.clone(),
    };
    if function.fun.name() != "baseline" || step_ms % 1000 != 0 {
        return expr.clone();
    }
    let mut function = function.clone();
    function.params.args.push(lit(step_ms / 1000));
    // Those above know it by what it was called before.
    Expr::WindowFunction(function).alias(expr.schema_name().to_string())
}

/// Batches of one schema, whose columns may all be null.
fn as_one_table(events: &[RecordBatch]) -> DataFusionResult<(SchemaRef, Vec<RecordBatch>)> {
    let schema = events.first().map_or_else(
        || Arc::new(Schema::empty()),
        |batch| all_nullable(&batch.schema()),
    );
    let events = events
        .iter()
        .map(|batch| RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec()))
        .collect::<Result<_, _>>()?;
    Ok((schema, events))
}

/// The columns of `events` that a plan scans; one at least where it scans it.
fn event_columns(plan: &LogicalPlan) -> BTreeSet<String> {
    let mut columns = BTreeSet::new();
    // The visitor never fails.
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && scan.table_name.table() == EVENTS
        {
            let fields = scan.projected_schema.fields().iter();
            columns.extend(fields.map(|field| field.name().clone()));
            columns.insert(ANY_COLUMN.to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    columns
}

/// What went wrong while a question was answered.
fn run_problem(file: &SourceFile, error: &DataFusionError) -> Problem {
    let problem = plan_problem(file, error);
    match (error.find_root(), &problem.help) {
        (DataFusionError::ArrowError(..) | DataFusionError::Execution(_), None) => problem.help(
            "a rule gives null where an expression fails on a row; here write try_cast(…), or \
             nullif(…, 0) below a division",
        ),
        _ => problem,
    }
}

/// Whether a text holds whole questions, the last one ended by `;`: not within a text, a name or a
/// comment.
pub fn is_complete(text: &str) -> bool {
    match Tokenizer::new(&GenericDialect {}, text).tokenize() {
        Ok(tokens) => {
            let mut tokens = tokens.into_iter().rev();
            tokens.find(|token| !matches!(token, Token::Whitespace(_) | Token::EOF))
                == Some(Token::SemiColon)
        }
        Err(error) => {
            let begun = ["Unterminated", "Expected close delimiter", "Unexpected EOF"];
            // What is wrong in another way does not become right by more text.
            !begun.iter().any(|words| error.message.starts_with(words))
                && text.trim_end().ends_with(';')
        }
    }
}

/// The questions of a text, each with its `;`; the last one may have none.
pub fn questions(text: &str) -> Vec<&str> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location() else {
        return vec![text.trim()];
    };
    let mut found = Vec::new();
    let (mut start, mut has_words) = (0, false);
    for token in &tokens {
        match token.token {
            Token::SemiColon => {
                let end = byte_of(text, token.span.end);
                if has_words {
                    found.push(text[start..end].trim());
                }
                (start, has_words) = (end, false);
            }
            Token::Whitespace(_) | Token::EOF => {}
            _ => has_words = true,
        }
    }
    if has_words {
        found.push(text[start..].trim());
    }
    found
}

/// Where a place of the tokenizer is in the text; lines and columns count characters from 1.
fn byte_of(text: &str, place: Location) -> usize {
    let line = usize::try_from(place.line).unwrap_or(usize::MAX);
    let column = usize::try_from(place.column).unwrap_or(usize::MAX);
    let start = match line.checked_sub(2) {
        None => 0,
        Some(breaks) => text
            .match_indices('\n')
            .nth(breaks)
            .map_or(text.len(), |(at, _)| at + 1),
    };
    let mut characters = text[start..].char_indices();
    characters
        .nth(column.saturating_sub(1))
        .map_or(text.len(), |(at, _)| start + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_complete_at_a_semicolon_outside_of_texts_and_comments() {
        for whole in [
            "SELECT 1;",
            "SELECT ';' ;\n",
            "SELECT 1; -- one",
            "SELECT 1; SELECT\n2;",
        ] {
            assert!(is_complete(whole), "{whole}");
        }
        for begun in [
            "SELECT 1",
            "SELECT ';",
            "SELECT \";",
            "SELECT 1 -- ;",
            "SELECT 1 /* ;",
            "",
            "SELECT 1; SELECT",
        ] {
            assert!(!is_complete(begun), "{begun}");
        }
    }

    #[test]
    fn a_text_is_cut_after_each_semicolon_of_its_own() {
        let text = "SELECT 'ä;' AS \"ß\";\n\nSELECT 2 -- ;\n;; SELECT 3";
        assert_eq!(
            questions(text),
            ["SELECT 'ä;' AS \"ß\";", "SELECT 2 -- ;\n;", "SELECT 3"]
        );
        assert!(questions(" ;\n-- nothing\n").is_empty());
        assert_eq!(questions("SELECT 'open"), ["SELECT 'open"]);
    }
}
