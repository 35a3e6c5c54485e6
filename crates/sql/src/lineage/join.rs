//! Joins: with a reference table, which is the same at every moment, and of two windowed views on a
//! bound of their window.
//!
//! ```text
//!   events ⋈ table     lineage: that of the event, then the number of the table's row
//!   view ⋈ view        lineage: that of both; offsets: the least and the greatest of both
//!   … SEMI, ANTI …     as the left side has it
//! ```

use std::sync::Arc;

use datafusion::common::{Column, JoinConstraint, JoinType, NullEquality};
use datafusion::logical_expr::{
    Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder, Projection, SubqueryAlias,
};
use keyhawk_engine::{OFFSET_COLUMNS, TIME_COLUMN};

use super::{Preparation, Prepared, Unprepared, lineage_name, refuse, unpartnered};
use crate::catalog::ROW_COLUMN;
use crate::origin::{Origin, is_static, joined_window};

impl Preparation<'_> {
    pub(super) fn join(&self, join: &Join) -> Result<Prepared, Unprepared> {
        if join.null_equality != NullEquality::NullEqualsNothing {
            return refuse(
                &["INTERSECT", "EXCEPT", "IS NOT DISTINCT FROM", "JOIN"],
                "a join in which null equals null is not supported, nor INTERSECT and EXCEPT, which are such joins",
                "join with =, or write IN (SELECT …)",
            );
        }
        if join.join_type == JoinType::Full {
            return refuse(
                &["FULL"],
                "FULL JOIN would find out only at the end that a row has no partner",
                "write LEFT JOIN",
            );
        }
        let near = ["EXISTS", "IN ( SELECT", "CROSS JOIN", "JOIN", "FROM"];
        if join.on.is_empty() {
            return refuse(
                &near,
                "a join without an equality compares every row with every other",
                "join ON a = b; further conditions may follow with AND",
            );
        }
        let number = self.joins.get();
        self.joins.set(number + 1);
        let statics = [&join.left, &join.right].map(|side| is_static(side, self.views));
        match statics {
            [true, true] => refuse(
                &near,
                "the join reads reference tables alone, and what reads no events finds nothing",
                "join them to events or a view",
            ),
            [false, true] if join.join_type == JoinType::Right => keeps_table_rows(),
            [false, true] => self.lookup(join, number),
            [true, false] => match join.join_type {
                JoinType::Inner | JoinType::Right => self.lookup(&swapped(join)?, number),
                _ => keeps_table_rows(),
            },
            [false, false] => match join.join_type {
                JoinType::Right => self.windows(&swapped(join)?, number),
                _ => self.windows(join, number),
            },
        }
    }

    /// Streamed rows with the rows of a reference table.
    fn lookup(&self, join: &Join, number: usize) -> Result<Prepared, Unprepared> {
        kinds(join)?;
        let left = self.node(&join.left)?;
        let table = self.table(&join.right)?;
        let row = Column::new_unqualified(format!("{ROW_COLUMN}_{number}"));
        let mut columns: Vec<Expr> = visible(&join.right);
        columns.push(Expr::Column(table.1).alias(&row.name));
        let right = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(table.0))?);
        let both = matches!(join.join_type, JoinType::Inner | JoinType::Left);
        let Prepared {
            plan,
            time,
            offsets,
            mut lineage,
        } = left;
        let plan = joined(join, plan, right)?;
        if both {
            lineage.push(row);
        }
        Ok(Prepared {
            plan,
            time,
            offsets,
            lineage,
        })
    }

    /// A reference table, filtered or projected, and the column of its rows' numbers.
    fn table(&self, plan: &LogicalPlan) -> Result<(LogicalPlan, Column), Unprepared> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let Some(source) = self.table_sources.get(scan.table_name.table()) else {
                    return refuse(
                        &[scan.table_name.table()],
                        format!("there is no table `{}`", scan.table_name.table()),
                        "put it into tables/",
                    );
                };
                let name = scan.table_name.clone();
                let plan = LogicalPlanBuilder::scan(name.clone(), Arc::clone(source), None)?;
                Ok((plan.build()?, Column::new(Some(name), ROW_COLUMN)))
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let (input, row) = self.table(&alias.input)?;
                let row = Column::new(Some(alias.alias.clone()), row.name);
                let alias = SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?;
                Ok((LogicalPlan::SubqueryAlias(alias), row))
            }
            LogicalPlan::Filter(filter) => {
                let (input, row) = self.table(&filter.input)?;
                let filter = Filter::try_new(filter.predicate.clone(), Arc::new(input))?;
                Ok((LogicalPlan::Filter(filter), row))
            }
            LogicalPlan::Projection(projection) => {
                let (input, row) = self.table(&projection.input)?;
                let mut columns = projection.expr.clone();
                columns.push(Expr::Column(row).alias(ROW_COLUMN));
                let plan = Projection::try_new(columns, Arc::new(input))?;
                let row = Column::new_unqualified(ROW_COLUMN);
                Ok((LogicalPlan::Projection(plan), row))
            }
            _ => refuse(
                &["JOIN", "IN ( SELECT", "EXISTS", "FROM"],
                "a reference table may be filtered and projected on its way into a join, no more",
                "prepare the rest in the table's file",
            ),
        }
    }

    /// Two streams that meet on a bound of a window.
    fn windows(&self, join: &Join, number: usize) -> Result<Prepared, Unprepared> {
        kinds(join)?;
        let near = ["EXISTS", "IN ( SELECT", "JOIN", "FROM"];
        let Some((_, [bound, _])) = joined_window(join, self.views, self.key) else {
            for (left, right) in &join.on {
                for (side, expr) in [(&join.left, left), (&join.right, right)] {
                    if self.origin(side, expr) == Origin::Unpartnered {
                        return unpartnered(expr);
                    }
                }
            }
            return refuse(
                &near,
                "two streams can be joined only on the same bound of the same windows, so that a row need not wait for ever",
                "join two windowed views ON a.window_end = b.window_end AND a.api_key = b.api_key",
            );
        };
        if bound.complete_ms().is_none() {
            return refuse(
                &near,
                "nobody knows when all rows of that bound have come",
                "join on window_end",
            );
        }
        if join.null_aware {
            return refuse(
                &["NOT IN"],
                "NOT IN over a stream would have to look for nulls in all of it",
                "write NOT EXISTS (SELECT … WHERE a.window_end = b.window_end AND …)",
            );
        }
        let (left, right) = (self.node(&join.left)?, self.node(&join.right)?);
        let keys = |right: bool| join.on.iter().map(move |(l, r)| if right { r } else { l });
        let left_plan = self.with_key(left.plan, &join.left, keys(false))?;
        let right_plan = self.with_key(right.plan, &join.right, keys(true))?;
        let named = |name: &str| format!("__join_{number}_{}", name.trim_start_matches('_'));
        let mut columns = visible(&join.right);
        let hidden = std::iter::once((right.time, TIME_COLUMN.to_owned()))
            .chain(
                right
                    .offsets
                    .into_iter()
                    .zip(OFFSET_COLUMNS.map(str::to_owned)),
            )
            .chain(
                right
                    .lineage
                    .into_iter()
                    .enumerate()
                    .map(|(i, column)| (column, lineage_name(i))),
            );
        let rights = columns.len();
        columns.extend(hidden.map(|(column, name)| Expr::Column(column).alias(named(&name))));
        let names: Vec<Column> = (0..columns.len() - rights - 3)
            .map(|i| Column::new_unqualified(named(&lineage_name(i))))
            .collect();
        let right = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(right_plan))?);
        let plan = joined(join, left_plan, right)?;
        if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
            return Ok(Prepared {
                plan,
                time: left.time,
                offsets: left.offsets,
                lineage: left.lineage,
            });
        }
        let mut columns = visible(&join.left);
        columns.extend(visible(&join.right));
        columns.push(Expr::Column(left.time).alias(TIME_COLUMN));
        for ((own, extreme), name) in left
            .offsets
            .into_iter()
            .zip(["least", "greatest"])
            .zip(OFFSET_COLUMNS)
        {
            let other = Column::new_unqualified(named(name));
            let both = vec![Expr::Column(own), Expr::Column(other)];
            columns.push(self.scalar(extreme).call(both).alias(name));
        }
        let lineage = left.lineage.into_iter().chain(names);
        let lineage: Vec<Expr> = lineage
            .enumerate()
            .map(|(i, column)| Expr::Column(column).alias(lineage_name(i)))
            .collect();
        let lineages = lineage.len();
        columns.extend(lineage);
        Ok(Prepared {
            plan: LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?),
            time: Column::new_unqualified(TIME_COLUMN),
            offsets: OFFSET_COLUMNS.map(Column::new_unqualified),
            lineage: (0..lineages)
                .map(|i| Column::new_unqualified(lineage_name(i)))
                .collect(),
        })
    }
}

fn keeps_table_rows<T>() -> Result<T, Unprepared> {
    refuse(
        &["LEFT", "RIGHT", "IN ( SELECT", "EXISTS", "JOIN"],
        "the join keeps rows of a reference table, which have no time",
        "read FROM events LEFT JOIN the table",
    )
}

/// The kinds of join that the engine knows.
fn kinds(join: &Join) -> Result<(), Unprepared> {
    match join.join_type {
        JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => Ok(()),
        _ => refuse(
            &["EXISTS", "IN ( SELECT", "JOIN"],
            "EXISTS and IN may stand alone or behind AND, not behind OR, in CASE or in SELECT",
            "write LEFT JOIN, and test its column for null",
        ),
    }
}

/// The same join with its sides changed.
fn swapped(join: &Join) -> Result<Join, Unprepared> {
    let join_type = match join.join_type {
        JoinType::Right => JoinType::Left,
        other => other,
    };
    let on = join
        .on
        .iter()
        .map(|(left, right)| (right.clone(), left.clone()));
    Ok(Join::try_new(
        Arc::clone(&join.right),
        Arc::clone(&join.left),
        on.collect(),
        join.filter.clone(),
        join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?)
}

/// The join of the prepared sides.
fn joined(join: &Join, left: LogicalPlan, right: LogicalPlan) -> Result<LogicalPlan, Unprepared> {
    Ok(LogicalPlan::Join(Join::try_new(
        Arc::new(left),
        Arc::new(right),
        join.on.clone(),
        join.filter.clone(),
        join.join_type,
        JoinConstraint::On,
        join.null_equality,
        join.null_aware,
    )?))
}

fn visible(plan: &LogicalPlan) -> Vec<Expr> {
    let columns = plan.schema().columns().into_iter();
    columns.map(Expr::Column).collect()
}
