//! Files of sqllogictest on both engines, and failing cases as such files.
//!
//! What a file may hold is described in `tests/slt/README.md`.

use std::fmt::{self, Write};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::sql::sqlparser::ast::{Expr, SelectItem, Set, SetExpr, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use keyhawk_sql::{Compiled, RuleFiles, SourceFile, compile};
use keyhawk_testkit::random::random_splits;
use sqllogictest::{DB, DBOutput, DefaultColumnType, Runner};

use super::check::rule_file;
use super::literal::{Insertion, insertion};
use super::run::{Cell, Conditions, Row, batch, by_row, stream, whole};
use super::shrink::Case;
use super::table::{Reference, Table};
use crate::events::{file, schema};

/// Which engine answers a file's queries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Engine {
    /// DataFusion over the whole table.
    Batch,
    /// A machine for every partition, with cuts and restarts as the seed says.
    Stream(u64),
    /// One machine over all partitions, as a replay of files.
    Replay(u64),
}

/// What a file has said so far.
struct Session {
    engine: Engine,
    tables: Vec<Reference>,
    views: Vec<SourceFile>,
    table: Table,
}

/// An error of a statement or query, as a file may expect it.
#[derive(Debug)]
struct Problem(String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}

impl Session {
    fn new(engine: Engine) -> Session {
        Session {
            engine,
            tables: Vec::new(),
            views: Vec::new(),
            table: Table {
                columns: vec!["event_time".to_owned()],
                rows: Vec::new(),
                bound_ms: 0,
            },
        }
    }

    fn statement(&mut self, sql: &str) -> Result<u64, String> {
        let statements = Parser::parse_sql(&GenericDialect {}, sql);
        let statements = statements.map_err(|error| error.to_string())?;
        let [statement] = statements.as_slice() else {
            return Err("write one statement".to_owned());
        };
        match statement {
            Statement::Insert(_) => {
                let events = schema();
                let kind = |table: &str, column: &str| {
                    if table != "events" {
                        let table = self.tables.iter().find(|known| known.name == table)?;
                        let found = table.columns.iter().find(|(name, _)| name == column)?;
                        return Some(found.1.clone());
                    }
                    if column == "_partition" {
                        return Some(DataType::Int64);
                    }
                    let field = events.field_with_name(column).ok()?;
                    Some(field.data_type().clone())
                };
                let Insertion {
                    table,
                    columns,
                    rows,
                } = insertion(statement, kind)?;
                let count = rows.len() as u64;
                match self.tables.iter_mut().find(|known| known.name == table) {
                    Some(reference) => reference.rows.extend(rows),
                    None => self.table.append(&columns, rows),
                }
                Ok(count)
            }
            Statement::CreateTable(table) => {
                let columns = table.columns.iter().map(|column| {
                    let kind = match column.data_type.to_string().as_str() {
                        "BIGINT" => DataType::Int64,
                        "DOUBLE" => DataType::Float64,
                        "BOOLEAN" => DataType::Boolean,
                        "TIMESTAMP" => {
                            DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
                        }
                        "VARCHAR" => DataType::Utf8View,
                        other => return Err(format!("no column of a test is of {other}")),
                    };
                    Ok((column.name.to_string(), kind))
                });
                self.tables.push(Reference {
                    name: table.name.to_string(),
                    columns: columns.collect::<Result<_, _>>()?,
                    rows: Vec::new(),
                });
                Ok(0)
            }
            Statement::CreateView(view) => {
                let path = format!("views/{}.sql", view.name);
                let text = view_query(sql, &view.name.to_string());
                self.views.push(file(&path, text));
                self.compile(None).map(|_| 0)
            }
            Statement::Delete(_) => {
                let rows = self.table.rows.len();
                self.table.rows.clear();
                Ok(rows as u64)
            }
            Statement::Set(Set::SingleAssignment {
                variable, values, ..
            }) if variable.to_string() == "lateness" => {
                let [Expr::Value(value)] = values.as_slice() else {
                    return Err("write SET lateness = 20000, in milliseconds".to_owned());
                };
                let ms = value.to_string().parse();
                self.table.bound_ms =
                    ms.map_err(|_| format!("`{value}` is no number of milliseconds"))?;
                Ok(0)
            }
            other => Err(format!("`{other}` is no statement of a test")),
        }
    }

    fn compile(&self, rule: Option<SourceFile>) -> Result<Compiled, String> {
        let files = RuleFiles {
            tables: self
                .tables
                .iter()
                .map(|table| (table.name.clone(), table.batch()))
                .collect(),
            views: self.views.clone(),
            rules: rule.into_iter().collect(),
        };
        compile(&files, &schema(), "api_key").map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            problems.join("\n")
        })
    }

    fn query(&self, sql: &str) -> Result<DBOutput<DefaultColumnType>, String> {
        let rule = if sql.trim_start().starts_with("/*") {
            file("rules/rule.sql", sql)
        } else {
            rule_file("rule", sql, &entity_of(sql))
        };
        let compiled = self.compile(Some(rule))?;
        let input = compiled.program.input();
        let found = match self.engine {
            Engine::Batch => batch(&compiled, &self.table.partitions(input)),
            Engine::Stream(seed) if compiled.unkeyed.is_empty() => {
                let partitions = self.table.partitions(input);
                let found = partitions.iter().map(|partition| {
                    let (cuts, conditions) = cuts(seed, partition.rows());
                    stream(&compiled, partition, &cuts, conditions)
                });
                found
                    .collect::<Result<Vec<_>, _>>()
                    .map(|rows| rows.into_iter().flatten().collect())
            }
            Engine::Stream(seed) | Engine::Replay(seed) => {
                let merged = self.table.merged(input, seed);
                let (cuts, conditions) = cuts(seed, merged.rows());
                stream(&compiled, &merged, &cuts, conditions)
            }
        };
        let rows = found.map_err(|failure| failure.to_string())?;
        let columns = compiled.rules[0].schema.fields().len();
        Ok(DBOutput::Rows {
            types: vec![DefaultColumnType::Any; columns],
            rows: rows.iter().map(line).collect(),
        })
    }
}

fn cuts(seed: u64, rows: usize) -> (Vec<std::ops::Range<usize>>, Conditions) {
    let cuts = match seed {
        0 => whole(rows),
        1 => by_row(rows),
        seed => random_splits(seed, rows),
    };
    let restarts = (seed > 0).then_some(seed);
    let conditions = Conditions {
        restarts,
        failing: true,
    };
    (cuts, conditions)
}

/// A row as a file writes it.
fn line(row: &Row) -> Vec<String> {
    let text = |cell: &Cell| match cell {
        Cell::Text(text) if text.is_empty() => "(empty)".to_owned(),
        // One line a row, whatever a text holds.
        Cell::Text(text) => text
            .escape_debug()
            .to_string()
            .replace("\\'", "'")
            .replace("\\\"", "\""),
        Cell::Float(value) => float(*value),
        list => list.to_string(),
    };
    row.cells.iter().map(text).collect()
}

/// Ten digits: floats may differ in the twelfth.
fn float(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return value.to_string();
    }
    let rounded: f64 = format!("{value:.9e}").parse().unwrap_or(value);
    rounded.to_string()
}

impl DB for Session {
    type Error = Problem;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Problem> {
        let first = sql.trim_start().to_lowercase();
        if ["select", "with", "/*", "("]
            .iter()
            .any(|word| first.starts_with(word))
        {
            return self.query(sql).map_err(Problem);
        }
        self.statement(sql)
            .map(DBOutput::StatementComplete)
            .map_err(Problem)
    }

    fn engine_name(&self) -> &str {
        match self.engine {
            Engine::Batch => "batch",
            Engine::Stream(_) | Engine::Replay(_) => "stream",
        }
    }
}

/// The directory of the files.
pub fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/slt")
}

/// Runs a file's text on an engine, and gives what is wrong.
pub fn run(name: &str, text: &str, engine: Engine) -> Result<(), String> {
    let mut runner = Runner::new(|| async move { Ok(Session::new(engine)) });
    runner
        .run_script_with_name(text, name)
        .map_err(|error| error.display(false).to_string())
}

/// Writes into a file the rows that the batch engine gives to its queries. Where it fails although the
/// file expects rows, the file stays as it is.
pub fn bless(path: &Path) -> Result<(), String> {
    let before = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let errors =
        |text: &str| text.matches("query error").count() + text.matches("statement error").count();
    update(path)?;
    let after = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    if errors(&after) > errors(&before) {
        std::fs::write(path, before).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn update(path: &Path) -> Result<(), String> {
    let mut runner = Runner::new(|| async move { Ok(Session::new(Engine::Batch)) });
    let updated = runner.update_test_file(
        path,
        " ",
        sqllogictest::default_validator,
        sqllogictest::default_normalizer,
        sqllogictest::default_column_validator,
    );
    // A session never waits for anything.
    let mut context = Context::from_waker(Waker::noop());
    match pin!(updated).poll(&mut context) {
        Poll::Ready(result) => result.map_err(|error| error.to_string()),
        Poll::Pending => Err("a session waits".to_owned()),
    }
}

/// The column that a query's header may name as its entity: the first that has a name.
pub fn entity_of(sql: &str) -> String {
    let parsed = Parser::parse_sql(&GenericDialect {}, sql);
    let mut body = match parsed.ok().and_then(|mut statements| statements.pop()) {
        Some(Statement::Query(query)) => *query.body,
        _ => return "api_key".to_owned(),
    };
    while let SetExpr::SetOperation { left, .. } = body {
        body = *left;
    }
    let SetExpr::Select(select) = body else {
        return "api_key".to_owned();
    };
    let names = select.projection.iter().find_map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.value.clone()),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => {
            names.last().map(|name| name.value.clone())
        }
        _ => None,
    });
    names.unwrap_or_else(|| "api_key".to_owned())
}

/// The query of `CREATE VIEW name AS query`, as it was written.
fn view_query<'s>(sql: &'s str, name: &str) -> &'s str {
    let after = sql
        .split_once(name)
        .map_or(sql, |(_, after)| after)
        .trim_start();
    after.get(2..).unwrap_or_default().trim()
}

/// A case as a file, its expected rows those of the batch engine.
pub fn of_case(case: &Case, why: &str) -> String {
    let mut text = String::new();
    for line in why.lines() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# {line}");
    }
    if case.table.bound_ms > 0 {
        let _ = write!(
            text,
            "\nstatement ok\nSET lateness = {}\n",
            case.table.bound_ms
        );
    }
    if !case.table.rows.is_empty() {
        let _ = write!(text, "\nstatement ok\n{}\n", case.table.insert());
    }
    for statement in case.set.tables.iter().flat_map(Reference::create) {
        let _ = write!(text, "\nstatement ok\n{statement}\n");
    }
    for (name, query) in &case.set.views {
        let _ = write!(text, "\nstatement ok\nCREATE VIEW {name} AS {query}\n");
    }
    for (_, query) in &case.set.rules {
        let mut session = Session::new(Engine::Batch);
        session.table = case.table.clone();
        session.tables = case.set.tables.clone();
        session.views = super::check::files(&case.set).views;
        let rows = match session.query(&query.to_string()) {
            Ok(DBOutput::Rows { mut rows, .. }) => {
                rows.sort_unstable();
                rows.iter()
                    .map(|row| row.join(" "))
                    .collect::<Vec<_>>()
                    .join("\n")
            }
            Ok(_) => String::new(),
            Err(error) => format!("# {error}"),
        };
        let columns = "?".repeat(query.branches[0].items.len());
        let _ = write!(text, "\nquery {columns} rowsort\n{query}\n----\n{rows}\n");
    }
    text
}
