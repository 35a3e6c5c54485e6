//! From when on what a rule finds is whole again, after a reload of the rules gave some of its nodes no
//! state to begin with.
//!
//! ```text
//!   log      ──────────────────┬──────────────────────────────────────────▶ event time
//!                              began: the newest event so far, and a millisecond
//!   tumble 10 min      ┊░░░░░░░│░░░┊██████████┊      a window that starts before it lacks rows
//!   over, 7 d before           │░░░░░ 7 d ░░░░│████  a row whose frame begins before it does
//! ```
//!
//! | node that began anew | rows are whole from |
//! |---|---|
//! | tumble, hop | the end of the first window that starts after it began |
//! | session | that time, a gap, and the greatest length of a session; a day where there is none |
//! | filled windows | as many windows as are filled later |
//! | a join of windows | the end of the first windows of both sides that are whole |
//! | a function over a frame `RANGE BETWEEN x PRECEDING` | x after it began |
//! | any other function of OVER | a day after it began, or what `warmup` in the rule's header says |
//!
//! A column that the order of `events` carries only since a reload is unknown in the rows that waited
//! then: what reads it is whole from the newest of them on.

use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::utils::collect_columns;
use std::sync::Arc;

use crate::bound::Kept;
use crate::program::{GroupColumn, KeyBy, Node, NodeKind, Program};

/// What history is worth where neither the query nor its header says how much it needs.
const DAY_MS: i64 = 86_400_000;
/// Whole from the beginning.
const ALWAYS: i64 = i64::MIN;

/// Since when nodes have seen all of their rows, in milliseconds since 1970.
#[derive(Debug, Clone, Default)]
pub(crate) struct Began {
    /// By node; [`ALWAYS`] for those that have since the log began, and all without state.
    pub(crate) nodes: Vec<i64>,
    /// By node, for an order the times from which its columns are known; empty for others.
    pub(crate) columns: Vec<Vec<i64>>,
}

impl Began {
    /// With the log.
    pub(crate) fn with_the_log(program: &Program) -> Self {
        Began {
            nodes: vec![ALWAYS; program.nodes.len()],
            columns: vec![Vec::new(); program.nodes.len()],
        }
    }
}

/// From when on a node's rows, and each of their columns, are whole.
#[derive(Clone)]
struct Whole {
    rows: i64,
    columns: Vec<i64>,
}

impl Whole {
    fn all(rows: i64, columns: usize) -> Self {
        Whole {
            rows,
            columns: vec![rows; columns],
        }
    }

    fn of(&self, expr: &Arc<dyn PhysicalExpr>) -> i64 {
        let columns = collect_columns(expr).into_iter();
        let columns = columns.map(|column| self.columns.get(column.index()).copied());
        columns.flatten().max().unwrap_or(ALWAYS)
    }

    fn of_all<'e>(&self, exprs: impl IntoIterator<Item = &'e Arc<dyn PhysicalExpr>>) -> i64 {
        exprs
            .into_iter()
            .map(|expr| self.of(expr))
            .max()
            .unwrap_or(ALWAYS)
    }
}

/// Later by so much, but for what was always whole.
fn later(time: i64, ms: i64) -> i64 {
    match time {
        ALWAYS => ALWAYS,
        time => time.saturating_add(ms),
    }
}

/// From when on the findings of each rule are whole, in the order of the sinks.
pub(crate) fn whole_from(program: &Program, began: &Began) -> Vec<i64> {
    let warmups: Vec<Option<i64>> = program.sinks.iter().map(|sink| sink.warmup_ms).collect();
    let of_rule = |(sink, warmup): (&crate::program::Sink, Option<i64>)| {
        let whole = &nodes(program, began, warmup)[sink.node.0];
        whole.columns.iter().copied().fold(whole.rows, i64::max)
    };
    program.sinks.iter().zip(warmups).map(of_rule).collect()
}

impl Program {
    /// How long after a reload that leaves nothing of its state a rule's findings are withheld, by the
    /// rule's number, in milliseconds of event time.
    pub fn warmup_ms(&self, rule: usize) -> i64 {
        let began = Began {
            nodes: self
                .nodes
                .iter()
                .map(|node| if node.kind.is_stateful() { 0 } else { ALWAYS })
                .collect(),
            columns: vec![Vec::new(); self.nodes.len()],
        };
        let whole = whole_from(self, &began).get(rule).copied();
        whole.unwrap_or_default().max(0)
    }
}

fn nodes(program: &Program, began: &Began, warmup_ms: Option<i64>) -> Vec<Whole> {
    let mut all: Vec<Whole> = Vec::with_capacity(program.nodes.len());
    for (id, node) in program.nodes.iter().enumerate() {
        let inputs: Vec<&Whole> = node.inputs.iter().map(|input| &all[input.0]).collect();
        let whole = of_node(
            node,
            &inputs,
            began.nodes[id],
            &began.columns[id],
            warmup_ms,
        );
        all.push(whole);
    }
    all
}

fn of_node(
    node: &Node,
    inputs: &[&Whole],
    began: i64,
    known: &[i64],
    warmup_ms: Option<i64>,
) -> Whole {
    let columns = node.schema.fields().len();
    let Some(&input) = inputs.first() else {
        return Whole::all(ALWAYS, columns);
    };
    let base = |read: i64| input.rows.max(read).max(began);
    match &node.kind {
        NodeKind::Scan => Whole::all(ALWAYS, columns),
        NodeKind::Filter { predicate } => Whole {
            rows: input.rows.max(input.of(predicate)),
            columns: input.columns.clone(),
        },
        NodeKind::Project { expressions } => Whole {
            rows: input.rows,
            columns: expressions.iter().map(|expr| input.of(expr)).collect(),
        },
        NodeKind::Lookup { on, residual, .. } => {
            let mut whole = input.clone();
            // The columns of the table come after the input's.
            whole
                .columns
                .resize(columns.max(input.columns.len()), ALWAYS);
            whole.rows = whole.rows.max(whole.of_all(on.iter().chain(residual)));
            whole.columns.truncate(columns);
            whole
        }
        NodeKind::Order { .. } => Whole {
            rows: base(ALWAYS),
            columns: (0..columns)
                .map(|column| {
                    let known = known.get(column).copied().unwrap_or(ALWAYS);
                    input.columns[column].max(known)
                })
                .collect(),
        },
        NodeKind::Over {
            keys,
            retention,
            functions,
        } => {
            let by = match keys {
                KeyBy::Topic => ALWAYS,
                KeyBy::Columns(keys) => input.of_all(keys),
            };
            let by = by.max(input.of(&retention.time));
            let of_function = functions.iter().map(|function| {
                let history_ms = match function.keeps {
                    Kept::SpanMs(ms) => i64::try_from(ms).unwrap_or(i64::MAX),
                    _ => DAY_MS,
                };
                let read = by.max(input.of_all(&function.arguments));
                later(base(read), warmup_ms.unwrap_or(history_ms))
            });
            Whole {
                rows: input.rows,
                columns: input.columns.iter().copied().chain(of_function).collect(),
            }
        }
        NodeKind::Fill {
            keys,
            bound,
            limits,
        } => {
            let by = match keys {
                KeyBy::Topic => ALWAYS,
                KeyBy::Columns(keys) => input.of_all(keys),
            };
            // A row before may have been the one that silent windows are filled after.
            let filled_ms = limits.size_ms.saturating_mul(limits.windows);
            let rows = later(base(by.max(input.columns[*bound])), filled_ms);
            let passed = input.columns.iter().map(|column| (*column).max(rows));
            Whole {
                rows,
                columns: passed.chain([rows]).collect(),
            }
        }
        NodeKind::Tumble {
            time,
            size_ms,
            groups,
            aggregates,
            ..
        }
        | NodeKind::Hop {
            time,
            size_ms,
            groups,
            aggregates,
            ..
        } => {
            let read = input.of(time).max(of_groups(input, groups, aggregates));
            Whole::all(later(base(read), *size_ms), columns)
        }
        NodeKind::Session {
            time,
            gap_ms,
            max_ms,
            groups,
            aggregates,
            filter,
            ..
        } => {
            let read = input.of(time).max(of_groups(input, groups, aggregates));
            let read = read.max(input.of_all(filter));
            let length_ms = max_ms.or(warmup_ms).unwrap_or(DAY_MS);
            Whole::all(later(base(read), gap_ms.saturating_add(length_ms)), columns)
        }
        NodeKind::WindowJoin { time, on, .. } => {
            let sides = inputs.iter().zip(time).zip(on);
            let rows =
                sides.map(|((side, time), on)| side.rows.max(side.of(time)).max(side.of_all(on)));
            let rows = rows.fold(began, i64::max);
            let mut joined: Vec<i64> = inputs
                .iter()
                .flat_map(|side| side.columns.clone())
                .collect();
            joined
                .iter_mut()
                .for_each(|column| *column = (*column).max(rows));
            joined.resize(columns, rows);
            Whole {
                rows,
                columns: joined,
            }
        }
        NodeKind::Union => Whole {
            rows: inputs
                .iter()
                .map(|input| input.rows)
                .max()
                .unwrap_or(ALWAYS),
            columns: (0..columns)
                .map(|column| {
                    let of_inputs = inputs
                        .iter()
                        .map(|input| input.columns.get(column).copied());
                    of_inputs.flatten().max().unwrap_or(ALWAYS)
                })
                .collect(),
        },
        NodeKind::Unnest { column } => Whole {
            rows: input.rows.max(input.columns[*column]),
            columns: input.columns.clone(),
        },
    }
}

fn of_groups(
    input: &Whole,
    groups: &[GroupColumn],
    aggregates: &[crate::program::Aggregate],
) -> i64 {
    let keys = groups.iter().filter_map(|group| match group {
        GroupColumn::Key(key) => Some(key),
        GroupColumn::Window(_) => None,
    });
    let read = aggregates.iter().flat_map(|aggregate| {
        let order = aggregate.order.iter().map(|(by, _)| by);
        order.chain([&aggregate.argument]).chain(&aggregate.filter)
    });
    input.of_all(keys.chain(read))
}
