//! Joins: a lookup in a reference table, or two windowed streams.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::{DFSchema, DataFusionError, JoinType};
use datafusion::logical_expr::{Expr, Join, LogicalPlan};
use keyhawk_engine::evaluate;
use keyhawk_engine::program::{
    JoinKind, LookupIndex, Meaning, NodeId, NodeKind, ReferenceTable, column as column_text,
};

use super::{Lowering, nullable, physical, refused, unkeyed};
use crate::lineage::Unprepared;
use crate::meaning::{meaning, meanings_over};
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
        let lefts = meaning(lefts, left)?;
        let input = self.lower(&join.left)?;
        if is_static(&join.right, self.origins) {
            let table = self.table(&join.right)?;
            let of_table = |place: usize, _: &str| table.columns[place].clone();
            let rights = meanings_over(rights, right, of_table)?;
            let of_both = |place: usize, name: &str| match place.checked_sub(left.fields().len()) {
                Some(place) => table.columns[place].clone(),
                None => column_text(0, name, place),
            };
            let filter = meanings_over(join.filter.iter(), &both, of_both)?;
            let meaning = Meaning::new(format!(
                "lookup {kind:?} on {lefts} = {} where {} in {}",
                rights.join(", "),
                filter.join(", "),
                table.which
            ))
            .of_parts(table.columns.clone());
            let index = Arc::new(ReferenceTable {
                name: table.name,
                rows: table.rows,
            });
            let index = LookupIndex::new(index, &right_keys).map_err(|error| {
                refused(
                    &["JOIN", "IN ( SELECT", "EXISTS"],
                    error.to_string(),
                    "join on texts, integers or timestamps",
                )
            })?;
            let kind = NodeKind::Lookup {
                index: Arc::new(index),
                kind,
                on: left_keys,
                residual,
            };
            return Ok(self.builder.add(kind, vec![input], schema, meaning, false));
        }
        let of_right = |place: usize, name: &str| column_text(1, name, place);
        let rights = meanings_over(rights, right, of_right)?.join(", ");
        let of_both = |place: usize, name: &str| match place.checked_sub(left.fields().len()) {
            Some(place) => column_text(1, name, place),
            None => column_text(0, name, place),
        };
        let filter = meanings_over(join.filter.iter(), &both, of_both)?.join(", ");
        let what = format!("{kind:?} on {lefts} = {rights} where {filter}");
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

    /// A reference table, filtered and projected.
    fn table(&self, plan: &LogicalPlan) -> Result<StaticTable, Unprepared> {
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
                Ok(StaticTable {
                    rows: rows.project(&columns)?,
                    name: format!("table {name} {}", names.join(", ")),
                    which: format!("table {name}"),
                    columns: fields
                        .iter()
                        .map(|field| format!("{}::{}", field.name(), field.data_type()))
                        .collect(),
                })
            }
            LogicalPlan::SubqueryAlias(alias) => self.table(&alias.input),
            LogicalPlan::Filter(filter) => {
                let table = self.table(&filter.input)?;
                let from = filter.input.schema();
                let mask = value(&filter.predicate, from, &table.rows)?;
                let text = table.written([&filter.predicate], from)?.join(", ");
                Ok(StaticTable {
                    rows: filter_record_batch(&table.rows, mask.as_boolean())?,
                    name: format!("{} filter {text}", table.name),
                    which: format!("{} filter {text}", table.which),
                    columns: table.columns,
                })
            }
            LogicalPlan::Projection(projection) => {
                let table = self.table(&projection.input)?;
                let from = projection.input.schema();
                let rows = &table.rows;
                let columns = projection
                    .expr
                    .iter()
                    .map(|expr| value(expr, from, rows))
                    .collect::<Result<Vec<_>, _>>()?;
                let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
                let schema = nullable(&projection.schema);
                let written = table.written(&projection.expr, from)?;
                Ok(StaticTable {
                    rows: RecordBatch::try_new_with_options(schema, columns, &options)?,
                    name: format!("{} project {}", table.name, written.join(", ")),
                    which: table.which,
                    columns: written,
                })
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

/// The rows of a reference table as a join reads them. What they are told by is the table's name and
/// what was done to it, and not the rows: state above a join outlives another version of the table.
struct StaticTable {
    rows: RecordBatch,
    /// All of it in words.
    name: String,
    /// Which rows of which table.
    which: String,
    /// What each column is.
    columns: Vec<String>,
}

impl StaticTable {
    /// Expressions over the table, in canonical texts.
    fn written<'e>(
        &self,
        expressions: impl IntoIterator<Item = &'e Expr>,
        from: &DFSchema,
    ) -> Result<Vec<String>, Unprepared> {
        let column = |place: usize, _: &str| self.columns[place].clone();
        Ok(meanings_over(expressions, from, column)?)
    }
}

/// The values of an expression over a reference table, null where it fails. The rows that fail are those
/// of the table, once, and no rows of the stream: nobody counts them there.
fn value(expr: &Expr, from: &DFSchema, rows: &RecordBatch) -> Result<ArrayRef, Unprepared> {
    let mut failed = 0;
    evaluate(&physical(expr, from)?, rows, &mut failed, "lookup")
        .map_err(|error| Unprepared::Plan(DataFusionError::External(Box::new(error))))
}
