//! UNION ALL: rows of all branches, told apart by the branch and by what told them apart there.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Projection, Union, lit,
};
use keyhawk_engine::{OFFSET_COLUMNS, TIME_COLUMN};

use super::{Preparation, Prepared, Unprepared, lineage_name, refuse};
use crate::origin::is_static;

impl Preparation<'_> {
    pub(super) fn union(&self, union: &Union) -> Result<Prepared, Unprepared> {
        if union
            .inputs
            .iter()
            .any(|input| is_static(input, self.views))
        {
            return refuse(
                &["UNION"],
                "UNION ALL of events with a reference table, whose rows have no time",
                "join the table, or write two rules",
            );
        }
        let branches = union
            .inputs
            .iter()
            .map(|input| self.node(input))
            .collect::<Result<Vec<_>, _>>()?;
        let types = lineage_types(&branches)?;
        let mut inputs = Vec::with_capacity(branches.len());
        for ((number, branch), input) in (0_i64..).zip(branches).zip(&union.inputs) {
            let visible = input.schema().columns().into_iter();
            let names = union.schema.fields().iter().map(|field| field.name());
            let mut columns: Vec<Expr> = visible
                .zip(names)
                .map(|(column, name)| Expr::Column(column).alias(name))
                .collect();
            columns.push(Expr::Column(branch.time).alias(TIME_COLUMN));
            let offsets = branch.offsets.into_iter().zip(OFFSET_COLUMNS);
            columns.extend(offsets.map(|(column, name)| Expr::Column(column).alias(name)));
            columns.push(lit(number).alias(lineage_name(0)));
            let mut lineage = branch.lineage.into_iter();
            for (place, kind) in types.iter().enumerate() {
                let value = match lineage.next() {
                    Some(column) => Expr::Column(column).cast_to(kind, branch.plan.schema())?,
                    None => Expr::Literal(ScalarValue::try_from(kind)?, None),
                };
                columns.push(value.alias(lineage_name(place + 1)));
            }
            let plan = Projection::try_new(columns, Arc::new(branch.plan))?;
            inputs.push(Arc::new(LogicalPlan::Projection(plan)));
        }
        let lineage = (0..=types.len()).map(lineage_name);
        let hidden = [TIME_COLUMN, OFFSET_COLUMNS[0], OFFSET_COLUMNS[1]]
            .map(str::to_owned)
            .into_iter()
            .chain(lineage.clone());
        let merged = LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?);
        // What reads the union knows its columns under the names that they had before.
        let mut columns: Vec<Expr> = Vec::new();
        for (place, (relation, field)) in union.schema.iter().enumerate() {
            let column = Column::from(merged.schema().qualified_field(place));
            columns.push(Expr::Column(column).alias_qualified(relation.cloned(), field.name()));
        }
        columns.extend(hidden.map(|name| Expr::Column(Column::new_unqualified(name))));
        Ok(Prepared {
            plan: LogicalPlanBuilder::from(merged).project(columns)?.build()?,
            time: Column::new_unqualified(TIME_COLUMN),
            offsets: OFFSET_COLUMNS.map(Column::new_unqualified),
            lineage: lineage.map(Column::new_unqualified).collect(),
        })
    }
}

/// The types of the columns of lineage: that of all branches where they agree, text elsewhere, in
/// which different values stay different.
fn lineage_types(branches: &[Prepared]) -> Result<Vec<DataType>, Unprepared> {
    let longest = branches.iter().map(|branch| branch.lineage.len()).max();
    (0..longest.unwrap_or_default())
        .map(|place| {
            let of = |branch: &Prepared| match branch.lineage.get(place) {
                Some(column) => {
                    let column = Expr::Column(column.clone());
                    Ok(Some(column.get_type(branch.plan.schema())?))
                }
                None => Ok(None),
            };
            let mut kinds = branches
                .iter()
                .map(of)
                .collect::<Result<Vec<_>, Unprepared>>()?
                .into_iter()
                .flatten();
            let first = kinds.next().unwrap_or(DataType::Utf8View);
            Ok(match kinds.all(|kind| kind == first) {
                true => first,
                false => DataType::Utf8View,
            })
        })
        .collect()
}
