//! What several queries do to the events, done once: their common conditions and the total order.
//!
//! ```text
//!   as planned, each query by itself              as lowered, for all of them
//!   events ─ filter a AND b AND c ─ sort ─ over   events ─ filter a AND b ─ order ─ filter c ─ over
//!   events ─ filter a AND b ─ sort ─ over                              └── filter d ─ over
//!   events ─ filter a AND b AND d ─ sort ─ over         └── tumble
//!   events ─ filter a AND b ─ aggregate
//! ```
//!
//! A condition and a projection look at one row alone, so they may change places with the order; and
//! what is in the total order already needs no second sorting. The plans of the batch stay as they are:
//! only the stream sees many queries at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, Sort, TableScan};

use crate::catalog::EVENTS;
use crate::meaning::meaning;

/// The columns of `events` that make the total order: the time, then what breaks ties.
pub(crate) const TOTAL_ORDER: [&str; 4] = ["event_time", "_topic", "_partition", "_offset"];

/// What all queries have in common that read `events`.
pub(crate) struct SharedScans {
    /// The columns of `events` in the program's input.
    input: DFSchema,
    /// How many scans have a condition, by its canonical text.
    counts: BTreeMap<String, usize>,
    /// The conditions that every scan has which is put into the total order; `None` before the first.
    before_order: Option<BTreeSet<String>>,
    /// The columns of `events` that are read in the total order.
    ordered_columns: BTreeSet<String>,
}

/// A condition over the columns of `events`, and its canonical text.
#[derive(Clone)]
pub(crate) struct Condition {
    pub(crate) text: String,
    pub(crate) expr: Expr,
}

/// A scan of `events` with the conditions that stand right above it.
pub(crate) struct FilteredScan<'p> {
    pub(crate) scan: &'p TableScan,
    pub(crate) conditions: Vec<Condition>,
}

/// The conditions of a scan, by where they are tested.
pub(crate) struct Split {
    /// Right above the scan, a node a group.
    pub(crate) before: Vec<Vec<Condition>>,
    /// Above the total order, a node a group.
    pub(crate) after: Vec<Vec<Condition>>,
    /// By this scan alone.
    pub(crate) alone: Vec<Condition>,
}

impl SharedScans {
    /// Nothing in common yet; `input` is the program's input.
    pub(crate) fn new(input: &SchemaRef) -> Result<Self> {
        Ok(SharedScans {
            input: DFSchema::try_from(Arc::clone(input))?,
            counts: BTreeMap::new(),
            before_order: None,
            ordered_columns: BTreeSet::new(),
        })
    }

    /// Takes in a plan of the program.
    pub(crate) fn add(&mut self, plan: &LogicalPlan) -> Result<()> {
        self.count(plan, false)
    }

    fn count(&mut self, plan: &LogicalPlan, ordered: bool) -> Result<()> {
        if let Some(found) = self.filtered_scan(plan)? {
            let texts: BTreeSet<String> = found
                .conditions
                .into_iter()
                .map(|condition| condition.text)
                .collect();
            for text in &texts {
                *self.counts.entry(text.clone()).or_default() += 1;
            }
            if ordered {
                let columns = found.scan.projected_schema.fields().iter();
                self.ordered_columns
                    .extend(columns.map(|field| field.name().clone()));
                self.before_order = Some(match self.before_order.take() {
                    Some(known) => known.intersection(&texts).cloned().collect(),
                    None => texts,
                });
            }
            return Ok(());
        }
        let ordered = match plan {
            LogicalPlan::Sort(sort) => sorts_events(sort),
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {
                ordered
            }
            _ => false,
        };
        plan.inputs()
            .into_iter()
            .try_for_each(|input| self.count(input, ordered))
    }

    /// The scan of `events` that a plan is, with or without conditions above it.
    pub(crate) fn filtered_scan<'p>(
        &self,
        plan: &'p LogicalPlan,
    ) -> Result<Option<FilteredScan<'p>>> {
        match plan {
            LogicalPlan::TableScan(scan) if scan.table_name.table() == EVENTS => {
                Ok(Some(FilteredScan {
                    scan,
                    conditions: Vec::new(),
                }))
            }
            LogicalPlan::SubqueryAlias(alias) => self.filtered_scan(&alias.input),
            LogicalPlan::Filter(filter) => {
                let Some(mut found) = self.filtered_scan(&filter.input)? else {
                    return Ok(None);
                };
                for conjunct in split_conjunction(&filter.predicate) {
                    let condition = self.condition(conjunct)?;
                    if found
                        .conditions
                        .iter()
                        .all(|known| known.text != condition.text)
                    {
                        found.conditions.push(condition);
                    }
                }
                Ok(Some(found))
            }
            _ => Ok(None),
        }
    }

    fn condition(&self, conjunct: &Expr) -> Result<Condition> {
        let expr = unqualified(conjunct)?;
        let text = meaning([&expr], &self.input)?;
        Ok(Condition { text, expr })
    }

    /// Splits a scan's conditions by where they are tested. In the total order only what all ordered
    /// scans ask for comes before it, so that all of them read the one order.
    pub(crate) fn split(&self, conditions: Vec<Condition>, ordered: bool) -> Split {
        let count = |condition: &Condition| self.counts.get(&condition.text).copied().unwrap_or(1);
        let by_all_ordered = |condition: &Condition| {
            let common = self.before_order.as_ref();
            ordered && common.is_some_and(|all| all.contains(&condition.text))
        };
        let (shared, alone): (Vec<Condition>, Vec<Condition>) = conditions
            .into_iter()
            .partition(|condition| count(condition) > 1 || by_all_ordered(condition));
        let (before, after): (Vec<Condition>, Vec<Condition>) = shared
            .into_iter()
            .partition(|condition| !ordered || by_all_ordered(condition));
        // What more scans ask for comes first, so that these share a node that the others read.
        let groups = |mut conditions: Vec<Condition>| {
            conditions.sort_by(|a, b| count(b).cmp(&count(a)).then_with(|| a.text.cmp(&b.text)));
            let groups = conditions.chunk_by(|a, b| count(a) == count(b));
            groups.map(<[Condition]>::to_vec).collect()
        };
        Split {
            before: groups(before),
            after: groups(after),
            alone,
        }
    }

    /// The columns that rows in the total order carry, in the order of the program's input.
    pub(crate) fn ordered_columns(&self) -> Vec<usize> {
        let fields = self.input.fields().iter().enumerate();
        fields
            .filter(|(_, field)| {
                let name = field.name().as_str();
                self.ordered_columns.contains(name) || TOTAL_ORDER.contains(&name)
            })
            .map(|(column, _)| column)
            .collect()
    }
}

/// An expression whose columns stand under their bare names, as in the program's input.
fn unqualified(expr: &Expr) -> Result<Expr> {
    let bare = expr.clone().transform(|expr| {
        Ok(match expr {
            Expr::Column(column) if column.relation.is_some() => {
                Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(bare.data)
}

/// Whether a sort is the total order of events, over nothing but conditions and projections of
/// `events`, so that it may as well be done below them.
pub(crate) fn sorts_events(sort: &Sort) -> bool {
    is_total_order(sort) && row_by_row(&sort.input)
}

fn row_by_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => scan.table_name.table() == EVENTS,
        LogicalPlan::Projection(projection) => row_by_row(&projection.input),
        LogicalPlan::Filter(filter) => row_by_row(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => row_by_row(&alias.input),
        _ => false,
    }
}

/// Whether a sort's last columns are the total order of events; those before them are keys, by which
/// the stream need not sort.
fn is_total_order(sort: &Sort) -> bool {
    let traced: Vec<Option<String>> = sort
        .expr
        .iter()
        .map(|sort_by| match &sort_by.expr {
            Expr::Column(column) if sort_by.asc => event_column(&sort.input, column),
            _ => None,
        })
        .collect();
    let Some(keys) = traced.len().checked_sub(TOTAL_ORDER.len()) else {
        return false;
    };
    let is_order = traced[keys..]
        .iter()
        .zip(TOTAL_ORDER)
        .all(|(found, wanted)| found.as_deref() == Some(wanted));
    is_order
        && !traced[..keys]
            .iter()
            .flatten()
            .any(|name| name == TOTAL_ORDER[0])
}

/// Whether the rows of a plan come in the total order of events already, from a sort below.
pub(crate) fn is_ordered(plan: &LogicalPlan, sort: &Sort) -> bool {
    fn sorted_below(plan: &LogicalPlan) -> bool {
        match plan {
            LogicalPlan::Sort(sort) => is_total_order(sort),
            LogicalPlan::Projection(projection) => sorted_below(&projection.input),
            LogicalPlan::Filter(filter) => sorted_below(&filter.input),
            LogicalPlan::SubqueryAlias(alias) => sorted_below(&alias.input),
            LogicalPlan::Window(window) => sorted_below(&window.input),
            _ => false,
        }
    }
    is_total_order(sort) && sorted_below(plan)
}

/// The column of `events` that a column is, unchanged, and of the same row.
fn event_column(plan: &LogicalPlan, column: &Column) -> Option<String> {
    let index = plan.schema().index_of_column(column).ok()?;
    match plan {
        LogicalPlan::TableScan(scan) => {
            let field = scan.projected_schema.field(index);
            (scan.table_name.table() == EVENTS).then(|| field.name().clone())
        }
        LogicalPlan::Projection(projection) => {
            let mut expr = &projection.expr[index];
            while let Expr::Alias(alias) = expr {
                expr = &alias.expr;
            }
            match expr {
                Expr::Column(column) => event_column(&projection.input, column),
                _ => None,
            }
        }
        LogicalPlan::Filter(filter) => at(&filter.input, index),
        LogicalPlan::Sort(sort) => at(&sort.input, index),
        LogicalPlan::SubqueryAlias(alias) => at(&alias.input, index),
        LogicalPlan::Window(window) if index < window.input.schema().fields().len() => {
            at(&window.input, index)
        }
        _ => None,
    }
}

fn at(input: &LogicalPlan, index: usize) -> Option<String> {
    let (relation, field) = input.schema().qualified_field(index);
    event_column(input, &Column::new(relation.cloned(), field.name()))
}
