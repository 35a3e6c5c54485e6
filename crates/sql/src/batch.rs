//! The batch run: the same plans over a finite table of events, executed by DataFusion itself. It is
//! the backtest, and the oracle of the stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::max;
use arrow::datatypes::{SchemaRef, TimestampMillisecondType};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::physical_plan::collect;
use keyhawk_engine::Findings;

use crate::as_the_stream::{FailedRows, as_the_stream};
use crate::catalog::EVENTS;
use crate::compile::{Compiled, Query};
use crate::error::{Error, Result};
use crate::fill::with_greatest;
use crate::lower::{all_nullable, nullable};
use crate::retention::with_generations;
use crate::shared::TOTAL_ORDER;
use crate::text_numbers::count_text_numbers;

/// What a batch run found.
#[derive(Debug, Default)]
pub struct Backtest {
    /// Findings by rule, in no order.
    pub findings: Vec<Findings>,
    /// Rows for which an expression failed; they held null.
    pub failed_rows: u64,
}

impl Compiled {
    /// The findings of every rule over `events`, which has the columns of
    /// [`Compiled::columns`] in the order of the whole table. Views are computed once.
    ///
    /// Needs a Tokio runtime to run on; memory grows with the events and the views' rows.
    pub async fn backtest(&self, events: Vec<RecordBatch>, deployment: &str) -> Result<Backtest> {
        let greatest_ms = greatest_time(&events);
        self.backtest_part(events, greatest_ms, deployment).await
    }

    /// The same over a part of the events, all those of some keys. `greatest_ms` is the
    /// [`greatest_time`] of the whole.
    pub async fn backtest_part(
        &self,
        events: Vec<RecordBatch>,
        greatest_ms: i64,
        deployment: &str,
    ) -> Result<Backtest> {
        let failed = FailedRows::default();
        let mut tables: BTreeMap<String, (SchemaRef, Vec<RecordBatch>)> = BTreeMap::new();
        let schema = match events.first() {
            Some(batch) => all_nullable(&batch.schema()),
            None => Arc::clone(self.program.input()),
        };
        let events = events
            .into_iter()
            .map(|batch| RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec()))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|error| Error::Batch {
                query: EVENTS.to_owned(),
                source: error.into(),
            })?;
        tables.insert(EVENTS.to_owned(), (schema, events));
        for (name, rows) in &self.tables {
            tables.insert(name.clone(), (rows.schema(), vec![rows.clone()]));
        }
        for view in &self.views {
            let rows = self.run(view, &tables, &failed, greatest_ms).await?;
            tables.insert(view.name.clone(), (nullable(view.plan.schema()), rows));
        }
        let mut findings = Vec::new();
        for (rule, query) in self.queries.iter().enumerate() {
            for batch in self.run(query, &tables, &failed, greatest_ms).await? {
                if batch.num_rows() > 0 {
                    findings.push(
                        Findings::new(deployment, &query.name, rule, query.visible, &batch)
                            .map_err(|source| Error::Engine {
                                query: query.name.clone(),
                                source,
                            })?,
                    );
                }
            }
        }
        Ok(Backtest {
            findings,
            failed_rows: failed.count(),
        })
    }

    /// DataFusion's own plan of a rule's batch run, for tests and curious analysts.
    pub async fn physical_plan(&self, rule: &str) -> Result<String> {
        let query = self.queries.iter().find(|query| query.name == rule);
        let query = query.ok_or_else(|| Error::NoSuchRule {
            rule: rule.to_owned(),
        })?;
        let wrap = |source| Error::Batch {
            query: rule.to_owned(),
            source,
        };
        let plan = with_generations(query.plan.clone())
            .and_then(|plan| with_greatest(plan, i64::MAX))
            .map_err(wrap)?;
        let planner = self.state.query_planner();
        let plan = planner.create_physical_plan(&plan, &self.state).await;
        let plan = plan.map_err(wrap)?;
        Ok(datafusion::physical_plan::displayable(plan.as_ref())
            .indent(false)
            .to_string())
    }

    async fn run(
        &self,
        query: &Query,
        tables: &BTreeMap<String, (SchemaRef, Vec<RecordBatch>)>,
        failed: &FailedRows,
        greatest_ms: i64,
    ) -> Result<Vec<RecordBatch>> {
        let wrap = |source| Error::Batch {
            query: query.name.clone(),
            source,
        };
        let plan = with_data(&query.plan, tables)
            .and_then(with_generations)
            .and_then(|plan| with_greatest(plan, greatest_ms))
            .map_err(wrap)?;
        let physical = self
            .state
            .query_planner()
            .create_physical_plan(&plan, &self.state)
            .await
            .map_err(wrap)?;
        let physical = as_the_stream(physical, failed).map_err(wrap)?;
        let batches = collect(physical, self.state.task_ctx())
            .await
            .map_err(wrap)?;
        // A plan's columns may be declared not null where the stream's are not; give both one schema.
        let schema = nullable(query.plan.schema());
        batches
            .into_iter()
            .map(|batch| RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec()))
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| wrap(error.into()))
    }
}

/// The greatest event time of a batch run's events, up to which silent windows are filled; `i64::MIN` where
/// no time is read.
pub fn greatest_time(events: &[RecordBatch]) -> i64 {
    let times = events.iter().filter_map(|batch| {
        let times = batch.column_by_name(TOTAL_ORDER[0])?;
        max(times.as_primitive_opt::<TimestampMillisecondType>()?)
    });
    times.max().unwrap_or(i64::MIN)
}

/// The plan with its scans reading the given tables, and counting texts by their numbers.
fn with_data(
    plan: &LogicalPlan,
    tables: &BTreeMap<String, (SchemaRef, Vec<RecordBatch>)>,
) -> datafusion::common::Result<LogicalPlan> {
    let swapped = plan.clone().transform_up(|node| {
        let LogicalPlan::TableScan(scan) = &node else {
            return count_text_numbers(node);
        };
        let Some((schema, rows)) = tables.get(scan.table_name.table()) else {
            return Ok(Transformed::no(node));
        };
        let table = MemTable::try_new(Arc::clone(schema), vec![rows.clone()])?;
        let projection = scan
            .projected_schema
            .fields()
            .iter()
            .map(|field| Ok(schema.index_of(field.name())?))
            .collect::<datafusion::common::Result<Vec<_>>>()?;
        let mut swapped: TableScan = scan.clone();
        swapped.source = provider_as_source(Arc::new(table));
        swapped.projection = Some(projection);
        Ok(Transformed::yes(LogicalPlan::TableScan(swapped)))
    })?;
    Ok(swapped.data)
}
