//! Joins: a lookup in a reference table, or two windowed streams.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::{DFSchema, DataFusionError, JoinType};
use datafusion::logical_expr::{Expr, Join, LogicalPlan};
use keyhawk_engine::evaluate;
use keyhawk_engine::program::{JoinKind, LookupIndex, NodeId, NodeKind, ReferenceTable};

use super::{Lowering, nullable, physical, refused, unkeyed};
use crate::lineage::Unprepared;
use crate::meaning::meaning;
use crate::origin::{is_static, joined_key, joined_window};

impl Lowering<'_> {
    pub(super) fn join(&mut self, join: &Join, schema: SchemaRef) -> Result<NodeId, Unprepared> {
        let kind = match join.join_type {
            JoinType::Inner => JoinKind::Inner,
            JoinType::Left => JoinKind::Left,
            JoinType::LeftSemi => JoinKind::Semi,
            JoinType::LeftAnti if join.null_aware => JoinKind::NullAwareAnti,
            JoinType::LeftAnti => JoinKind::Anti,
            other => {
                return Err(refused(
                    &["JOIN"],
                    format!("a {other} join is not supported"),
                    "write JOIN or LEFT JOIN",
                ));
            }
        };
        let [left, right] = [join.left.schema(), join.right.schema()];
        let both = left.join(right)?;
        let residual = match &join.filter {
            Some(filter) => Some(physical(filter, &both)?),
            None => None,
        };
        let lefts: Vec<_> = join.on.iter().map(|(left, _)| left).collect();
        let rights: Vec<_> = join.on.iter().map(|(_, right)| right).collect();
        let left_keys = lefts
            .iter()
            .map(|expr| physical(expr, left))
            .collect::<Result<Vec<_>, _>>()?;
        let right_keys = rights
            .iter()
            .map(|expr| physical(expr, right))
            .collect::<Result<Vec<_>, _>>()?;
        let what = format!(
            "{kind:?} on {} = {} where {}",
            meaning(lefts, left)?,
            meaning(rights, right)?,
            meaning(join.filter.iter(), &both)?
        );
        let input = self.lower(&join.left)?;
        if is_static(&join.right, self.origins) {
            let (rows, text) = self.table(&join.right)?;
            let table = Arc::new(ReferenceTable {
                name: text.clone(),
                rows,
            });
            let index = LookupIndex::new(table, &right_keys).map_err(|error| {
                refused(
                    &["JOIN", "IN ( SELECT", "EXISTS"],
                    error.to_string(),
                    "join on texts, integers or timestamps",
                )
            })?;
            let meaning = format!("lookup {what} in {text}");
            let kind = NodeKind::Lookup {
                index: Arc::new(index),
                kind,
                on: left_keys,
                residual,
            };
            return Ok(self.builder.add(kind, vec![input], schema, &meaning, false));
        }
        let Some((place, origins)) = joined_window(join, self.origins, self.key) else {
            return Err(refused(
                &["JOIN", "EXISTS", "IN ( SELECT"],
                "two streams are joined without a window",
                "join two windowed views ON a.window_end = b.window_end",
            ));
        };
        let complete_ms = origins.map(|origin| origin.complete_ms().unwrap_or_default());
        let keyed = joined_key(join, self.origins, self.key);
        if !keyed {
            self.unkeyed.push(unkeyed("ON", self.key));
        }
        let (mut left_keys, mut right_keys) = (left_keys, right_keys);
        let time = [left_keys.remove(place), right_keys.remove(place)];
        let other = self.lower(&join.right)?;
        let meaning = format!("window join by #{place} complete {complete_ms:?} ms {what}");
        let kind = NodeKind::WindowJoin {
            kind,
            time,
            complete_ms,
            on: [left_keys, right_keys],
            residual,
        };
        Ok(self
            .builder
            .add(kind, vec![input, other], schema, &meaning, keyed))
    }

    /// The rows of a reference table, filtered and projected, and what was done to it in words.
    fn table(&self, plan: &LogicalPlan) -> Result<(RecordBatch, String), Unprepared> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let name = scan.table_name.table();
                let Some(rows) = self.tables.get(name) else {
                    return Err(refused(
                        &[name],
                        format!("there is no table `{name}`"),
                        "put it into tables/",
                    ));
                };
                let fields = scan.projected_schema.fields();
                let columns = fields
                    .iter()
                    .map(|field| rows.schema().index_of(field.name()))
                    .collect::<Result<Vec<_>, _>>()?;
                let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
                let text = format!("table {name} {}", names.join(", "));
                Ok((rows.project(&columns)?, text))
            }
            LogicalPlan::SubqueryAlias(alias) => self.table(&alias.input),
            LogicalPlan::Filter(filter) => {
                let (rows, text) = self.table(&filter.input)?;
                let from = filter.input.schema();
                let mask = value(&filter.predicate, from, &rows)?;
                let text = format!("{text} filter {}", meaning([&filter.predicate], from)?);
                Ok((filter_record_batch(&rows, mask.as_boolean())?, text))
            }
            LogicalPlan::Projection(projection) => {
                let (rows, text) = self.table(&projection.input)?;
                let from = projection.input.schema();
                let columns = projection
                    .expr
                    .iter()
                    .map(|expr| value(expr, from, &rows))
                    .collect::<Result<Vec<_>, _>>()?;
                let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
                let schema = nullable(&projection.schema);
                let text = format!("{text} project {}", meaning(&projection.expr, from)?);
                let rows = RecordBatch::try_new_with_options(schema, columns, &options)?;
                Ok((rows, text))
            }
            other => Err(refused(
                &["JOIN"],
                format!(
                    "`{}` of a reference table is not supported",
                    other.display()
                ),
                "prepare it in the table's file",
            )),
        }
    }
}

/// The values of an expression over a reference table, null where it fails. The rows that fail are those
/// of the table, once, and no rows of the stream: nobody counts them there.
fn value(expr: &Expr, from: &DFSchema, rows: &RecordBatch) -> Result<ArrayRef, Unprepared> {
    let mut failed = 0;
    evaluate(&physical(expr, from)?, rows, &mut failed, "lookup")
        .map_err(|error| Unprepared::Plan(DataFusionError::External(Box::new(error))))
}
