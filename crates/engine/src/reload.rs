//! A machine goes on with another program: what means the same keeps its state.
//!
//! ```text
//!   old program   scan ─ order ─ over A ─ filter > 3 ─ rule A      over A moves, with all that it knows
//!                    └─ tumble B ─ rule B                          tumble B is dropped
//!   new program   scan ─ order ─ over A ─ filter > 5 ─ rule A
//!                    └─ tumble C ─ rule C                          tumble C begins, and is warming
//! ```
//!
//! State moves with its operator, so that a reload takes no longer where more keys are known. A node
//! keeps its state if the nodes below it do, and it was over them; otherwise it begins anew with the
//! next row.
//!
//! Rows that wait for their time are no one node's alone: they have arrived, and will not come again.
//! So the orders of the new program get what waited in those of the old one, with the columns that both
//! carry. What waited in the order of `events` goes through the new program's own conditions on its way
//! where these stand below the order now and did not before. A column that the old order did not carry
//! is null in those rows, and what reads it is warming until they have passed.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::SchemaRef;

use crate::error::{In, Result};
use crate::machine::Machine;
use crate::operators::{Context, Operator, Order};
use crate::program::{Node, NodeId, NodeKind, Program};
use crate::rows::{Release, Rows};
use crate::warming::{Began, whole_from};

const OPERATOR: &str = "reload";

impl Machine {
    /// Goes on with another program, at a batch boundary: from the next row on. Rules that are in both
    /// find what they would have found; findings of which a part may be missing are withheld, as
    /// [`warming`](Self::warming) says. After an error the machine is of no use.
    ///
    /// # Errors
    /// A broken invariant of the new program.
    pub fn adopt(&mut self, program: Arc<Program>) -> Result<()> {
        let mut new = Machine::new(Arc::clone(&program), &self.deployment)?;
        new.keys = std::mem::take(&mut self.keys);
        new.watermark = self.watermark;
        new.greatest = self.greatest;
        if self.greatest == i64::MIN && self.watermark == i64::MIN {
            // Nothing has come yet: the new program sees the log from its beginning.
            *self = new;
            return Ok(());
        }
        let began = self.greatest.saturating_add(1).max(self.watermark);
        let old = Arc::clone(&self.program);
        let orders = waiting(&old, &self.operators)?;
        let mut left: Vec<Option<Box<dyn Operator>>> = std::mem::take(&mut self.operators)
            .into_iter()
            .map(Some)
            .collect();
        let successions = Successions::of(&old, &program);
        let mut kept: Vec<bool> = Vec::with_capacity(program.nodes.len());
        for (id, node) in program.nodes.iter().enumerate() {
            let mut keeps = node.inputs.iter().all(|input| kept[input.0]);
            if node.kind.is_stateful() {
                let from = successions.from[id].filter(|_| keeps && successions.agree_below(id));
                keeps = from.is_some();
                match from {
                    None => new.began.nodes[id] = began,
                    Some(from) => {
                        new.began.nodes[id] = self.began.nodes[from];
                        if let Some(order) = orders.iter().find(|order| order.node == from) {
                            let known = known_columns(&old.nodes[from], &self.began, from, node);
                            new.began.columns[id] =
                                known.into_iter().map(|at| at.unwrap_or(began)).collect();
                            new.wait_on(id, &old.nodes[from], &order.rows)?;
                        } else if let Some(operator) = left[from].take() {
                            let alike = old.nodes[from].resolved.variant == node.resolved.variant;
                            new.operators[id].take_over(operator, alike)?;
                        }
                    }
                }
            }
            kept.push(keeps);
        }
        new.whole_from = whole_from(&program, &new.began);
        *self = new;
        Ok(())
    }

    /// The rules of which findings are withheld still, by number, with the event time of the first that
    /// are not, in milliseconds since 1970.
    pub fn warming(&self) -> impl Iterator<Item = (usize, i64)> {
        let whole_from = self.whole_from.iter().copied().enumerate();
        whole_from.filter(|(_, from)| *from > self.watermark)
    }

    /// Lets rows that waited in the order of another program wait in one of this.
    fn wait_on(&mut self, order: usize, from: &Node, waiting: &[Rows]) -> Result<()> {
        let program = Arc::clone(&self.program);
        // Conditions that the new order's rows fulfil and the old one's need not are tested on the way.
        let to = &program.nodes[order];
        let (target, path) = match from.resolved.is_within(&to.resolved) {
            false if from.resolved.is_of_events() => (&program.nodes[0], path(&program, order)),
            _ => (to, vec![order]),
        };
        for rows in waiting {
            let rows = Rows {
                batch: with_columns(&rows.batch, from, target)?,
                keys: rows.keys.clone(),
                // What they were released with does not matter: the order releases them anew.
                release: Release::Watermark(Int64Array::from(vec![0; rows.len()])),
            };
            let mut moving = vec![rows];
            for &node in &path {
                let mut out = Vec::new();
                let mut context = Context {
                    keys: &mut self.keys,
                    // They were counted as they arrived.
                    failed: &mut 0,
                    watermark: self.watermark,
                    greatest: &mut self.greatest,
                };
                for rows in &moving {
                    self.operators[node].process(0, rows, &mut context, &mut out)?;
                }
                moving = out;
            }
        }
        Ok(())
    }
}

/// What waits in an order.
struct Waiting {
    node: usize,
    rows: Vec<Rows>,
}

fn waiting(program: &Program, operators: &[Box<dyn Operator>]) -> Result<Vec<Waiting>> {
    let orders = operators.iter().enumerate().filter_map(|(node, operator)| {
        let operator: &dyn Any = operator.as_ref();
        let order: &Order = operator.downcast_ref()?;
        let waiting = order.waiting();
        Some(waiting.map(|rows| Waiting { node, rows }))
    });
    debug_assert!(program.nodes.len() == operators.len());
    orders.collect()
}

/// Whose state each node of the new program takes over.
struct Successions<'p> {
    old: &'p Program,
    new: &'p Program,
    /// By node of the new program. An order may be that of several; another node is of one at most.
    from: Vec<Option<usize>>,
}

impl<'p> Successions<'p> {
    /// A node that is no order succeeds the node that means and emits the same, or else one whose
    /// state does and which no other node asks for.
    fn of(old: &'p Program, new: &'p Program) -> Self {
        let mut taken = vec![false; old.nodes.len()];
        let mut from: Vec<Option<usize>> = vec![None; new.nodes.len()];
        let is_order = |node: &Node| matches!(node.kind, NodeKind::Order { .. });
        let by_fingerprint = |a: &Node, b: &Node| a.fingerprint == b.fingerprint;
        let by_state = |a: &Node, b: &Node| a.resolved.state == b.resolved.state;
        for same in [&by_fingerprint as &dyn Fn(&Node, &Node) -> bool, &by_state] {
            for (id, node) in new.nodes.iter().enumerate() {
                if !node.kind.is_stateful() || is_order(node) || from[id].is_some() {
                    continue;
                }
                let found = old.nodes.iter().enumerate().position(|(from, of)| {
                    !taken[from] && of.kind.is_stateful() && !is_order(of) && same(node, of)
                });
                if let Some(found) = found {
                    taken[found] = true;
                    from[id] = Some(found);
                }
            }
        }
        let mut successions = Successions { old, new, from };
        for (id, node) in new.nodes.iter().enumerate() {
            if is_order(node) {
                successions.from[id] = successions.order(id);
            }
        }
        successions
    }

    /// The order of the same rows that a new one takes over: the one below most of those whose
    /// successors read this one, then one that holds all of its rows, then most of its columns.
    fn order(&self, id: usize) -> Option<usize> {
        let node = &self.new.nodes[id];
        let mut votes = vec![0_usize; self.old.nodes.len()];
        for (reader, from) in self.from.iter().enumerate() {
            let Some(from) = from.filter(|_| reader != id) else {
                continue;
            };
            let (ours, theirs) = (below(self.new, reader), below(self.old, from));
            for (our, their) in ours.iter().zip(theirs) {
                votes[their] += usize::from(*our == id);
            }
        }
        let like = self.old.nodes.iter().enumerate().filter(|(_, of)| {
            matches!(of.kind, NodeKind::Order { .. }) && of.resolved.state == node.resolved.state
        });
        let worth = |(from, of): &(usize, &Node)| {
            let columns = node.resolved.columns.iter();
            let covered = columns.filter(|column| of.resolved.columns.contains(column));
            (
                votes[*from],
                node.resolved.is_within(&of.resolved),
                covered.count(),
            )
        };
        like.max_by_key(worth).map(|(from, _)| from)
    }

    /// Whether the stateful nodes right below a node succeed those below the one that it succeeds.
    fn agree_below(&self, id: usize) -> bool {
        let Some(from) = self.from[id] else {
            return false;
        };
        let (ours, theirs) = (below(self.new, id), below(self.old, from));
        ours.len() == theirs.len()
            && ours
                .iter()
                .zip(theirs)
                .all(|(our, their)| self.from[*our] == Some(their))
    }
}

/// The stateful nodes that a node reads with none between, in the order of its inputs.
fn below(program: &Program, node: usize) -> Vec<usize> {
    let mut found = Vec::new();
    for input in &program.nodes[node].inputs {
        match program.nodes[input.0].kind.is_stateful() {
            true => found.push(input.0),
            false => found.extend(below(program, input.0)),
        }
    }
    found
}

/// The nodes from above the scan up to an order, each with one input.
fn path(program: &Program, order: usize) -> Vec<usize> {
    let mut path = Vec::new();
    let mut at = NodeId(order);
    while at != NodeId(0) {
        path.push(at.0);
        at = program.nodes[at.0].inputs[0];
    }
    path.reverse();
    path
}

/// For each column of an order, since when it is known; `None` where the old order did not carry it.
fn known_columns(from: &Node, began: &Began, place: usize, node: &Node) -> Vec<Option<i64>> {
    let columns = node.resolved.columns.iter().map(|column| {
        let at = from.resolved.columns.iter().position(|of| of == column)?;
        let known = began.columns[place].get(at).copied();
        Some(known.unwrap_or(i64::MIN))
    });
    columns.collect()
}

/// A batch of one node's columns as another's, by what they mean; those that are missing are null.
fn with_columns(batch: &RecordBatch, from: &Node, to: &Node) -> Result<RecordBatch> {
    let columns = to.resolved.columns.iter().zip(to.schema.fields());
    let columns = columns.map(|(column, field)| {
        match from.resolved.columns.iter().position(|of| of == column) {
            Some(at) => Arc::clone(batch.column(at)),
            None => new_null_array(field.data_type(), batch.num_rows()),
        }
    });
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let schema: SchemaRef = Arc::clone(&to.schema);
    RecordBatch::try_new_with_options(schema, columns.collect(), &options).within(OPERATOR)
}
