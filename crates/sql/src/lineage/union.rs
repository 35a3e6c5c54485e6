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
        let Slots { types, of_branch } = slots(&branches)?;
        let mut inputs = Vec::with_capacity(branches.len());
        for (number, (branch, input)) in branches.into_iter().zip(&union.inputs).enumerate() {
            let visible = input.schema().columns().into_iter();
            let names = union.schema.fields().iter().map(|field| field.name());
            let mut columns: Vec<Expr> = visible
                .zip(names)
                .map(|(column, name)| Expr::Column(column).alias(name))
                .collect();
            columns.push(Expr::Column(branch.time).alias(TIME_COLUMN));
            let offsets = branch.offsets.into_iter().zip(OFFSET_COLUMNS);
            columns.extend(offsets.map(|(column, name)| Expr::Column(column).alias(name)));
            columns.push(lit(number as i64).alias(lineage_name(0)));
            for (slot, kind) in types.iter().enumerate() {
                let place = of_branch[number].iter().position(|taken| *taken == slot);
                let value = match place {
                    Some(place) => Expr::Column(branch.lineage[place].clone()),
                    None => Expr::Literal(ScalarValue::try_new_null(kind)?, None),
                };
                columns.push(value.alias(lineage_name(slot + 1)));
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

/// The columns of lineage of a union, after the number of the branch.
struct Slots {
    types: Vec<DataType>,
    /// By branch, the slot of each of its own columns.
    of_branch: Vec<Vec<usize>>,
}

/// Gives each column of each branch a slot of its own type, in the branch's own order, which is that of its
/// rows. No value is made another to fit: an id would not tell two apart that become alike.
fn slots(branches: &[Prepared]) -> Result<Slots, Unprepared> {
    let mut types: Vec<DataType> = Vec::new();
    let mut of_branch = Vec::with_capacity(branches.len());
    for branch in branches {
        let mut taken = Vec::with_capacity(branch.lineage.len());
        let mut free = 0;
        for column in &branch.lineage {
            let kind = Expr::Column(column.clone()).get_type(branch.plan.schema())?;
            let found = types[free..].iter().position(|known| *known == kind);
            let slot = match found {
                Some(after) => free + after,
                None => {
                    types.push(kind);
                    types.len() - 1
                }
            };
            taken.push(slot);
            free = slot + 1;
        }
        of_branch.push(taken);
    }
    Ok(Slots { types, of_branch })
}
