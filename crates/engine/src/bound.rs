//! What each node of a program keeps, and how long rows wait in it: known when the program is, before
//! any row has come.
//!
//! ```text
//!   scan ──▶ tumble 10 min ──▶ order by window_end ──▶ over
//!   0        0 … 10 min        the same: rows come     the same        wait, from an event's time to
//!                              when they may leave                     the watermark that lets it out
//!            ⌈bound / size⌉+1  none                    a fold a key    state
//! ```
//!
//! Only the scan is ahead of the watermark, by the bound of the topic at most: a node whose rows have
//! waited for the watermark gets no row after it, however late events may be.

use keyhawk_functions::HOP_STARTS;

use datafusion_physical_expr::expressions::{Column, Literal};
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use crate::program::{NodeId, NodeKind, Program};

/// What a window function remembers of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// As much after a year as after an hour.
    Constant,
    /// At most so many values.
    Values(u64),
    /// Values of at most so many of the key's last rows.
    Rows(u64),
    /// Values of the key's rows of the last so many milliseconds.
    SpanMs(u64),
}

/// What a node keeps. Keys that were seen are a factor in it; the rest is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Nothing,
    /// Rows, of at most so many milliseconds of event time; at 0 those that one step of the watermark
    /// brings are gone with it.
    Waiting {
        /// How much event time.
        span_ms: i64,
    },
    /// A row for each key and open window.
    Windows {
        /// How many are open at most.
        open: u64,
    },
    /// A row for each key and pane.
    Panes {
        /// How many there are at most.
        open: u64,
        /// Length of a pane.
        pane_ms: i64,
    },
    /// A row for each key with a row within so much event time of the newest.
    Sessions {
        /// Gap and lateness.
        idle_ms: i64,
    },
    /// The last row of each group with one in so much event time.
    Filling {
        /// That of the windows that are filled, and one.
        span_ms: i64,
    },
    /// What the functions keep, for each key with a row within so much event time of the newest.
    Keys {
        /// The retention.
        idle_ms: i64,
    },
}

/// How far behind an event's time the watermark is when what the event is part of leaves a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// Whether all rows wait for the watermark; otherwise some leave with the batch that they came in.
    pub for_watermark: bool,
    /// The least, in milliseconds: for the last event of a window.
    pub least_ms: i64,
    /// The most, for the first event of a window; `None` where a session may go on for ever.
    pub most_ms: Option<i64>,
    /// By how much rows that stand for several hopping windows each are ahead of their windows' ends.
    pub ahead_ms: i64,
}

/// A node's state and wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// What it keeps, and how much of it at most.
    pub state: State,
    /// How long events wait before they leave it.
    pub wait: Wait,
}

const AT_ONCE: Wait = Wait {
    for_watermark: false,
    least_ms: 0,
    most_ms: Some(0),
    ahead_ms: 0,
};

impl Wait {
    /// The wait for a window's end on top of this one.
    fn window(self, least_ms: i64, most_ms: Option<i64>) -> Wait {
        let sum = |a: i64, b: i64| a.saturating_add(b);
        Wait {
            for_watermark: true,
            least_ms: sum(self.least_ms, least_ms),
            most_ms: self.most_ms.zip(most_ms).map(|(a, b)| sum(a, b)),
            ahead_ms: 0,
        }
    }

    /// Rows of two inputs that go their own ways.
    fn either(self, other: Wait) -> Wait {
        Wait {
            for_watermark: self.for_watermark && other.for_watermark,
            least_ms: self.least_ms.min(other.least_ms),
            ..self.slower(other)
        }
    }

    /// Rows of two inputs that wait for each other.
    fn slower(self, other: Wait) -> Wait {
        Wait {
            for_watermark: true,
            least_ms: self.least_ms.max(other.least_ms),
            most_ms: self.most_ms.zip(other.most_ms).map(|(a, b)| a.max(b)),
            ahead_ms: self.ahead_ms.max(other.ahead_ms),
        }
    }

    /// How far rows may come ahead of the watermark.
    fn reach_ms(self, lateness_ms: i64) -> i64 {
        let reach = if self.for_watermark { 0 } else { lateness_ms };
        reach.saturating_add(self.ahead_ms)
    }
}

impl Program {
    /// The state and the wait of each node, where events may come `lateness_ms` behind the greatest
    /// event time before them.
    pub fn bounds(&self, lateness_ms: i64) -> Vec<Bound> {
        let mut bounds: Vec<Bound> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let input = |at: usize| -> Wait {
                let input = node.inputs.get(at);
                input.map_or(AT_ONCE, |input: &NodeId| bounds[input.0].wait)
            };
            let wait = input(0);
            let reach_ms = wait.reach_ms(lateness_ms);
            let (state, wait) = match &node.kind {
                NodeKind::Scan
                | NodeKind::Filter { .. }
                | NodeKind::Project { .. }
                | NodeKind::Lookup { .. } => (State::Nothing, wait),
                NodeKind::Unnest { column } => {
                    let ahead_ms = wait
                        .ahead_ms
                        .saturating_add(self.ahead_ms(node.inputs[0], *column));
                    (State::Nothing, Wait { ahead_ms, ..wait })
                }
                NodeKind::Union => {
                    let all = (0..node.inputs.len()).map(input).reduce(Wait::either);
                    (State::Nothing, all.unwrap_or(wait))
                }
                NodeKind::Tumble { size_ms, .. } => {
                    let open = spans(reach_ms, *size_ms) + 1;
                    let most = size_ms.saturating_add(wait.ahead_ms);
                    (State::Windows { open }, wait.window(0, Some(most)))
                }
                NodeKind::Hop {
                    size_ms, slide_ms, ..
                } => {
                    let pane_ms = gcd(*size_ms, *slide_ms);
                    let open = spans(size_ms.saturating_add(reach_ms), pane_ms) + 1;
                    let state = State::Panes { open, pane_ms };
                    (state, wait.window(0, Some(*size_ms)))
                }
                NodeKind::Session { gap_ms, max_ms, .. } => {
                    let idle_ms = gap_ms.saturating_add(lateness_ms);
                    // A session of the greatest length ends with its last row.
                    let least = max_ms.map_or(*gap_ms, |_| 0);
                    (State::Sessions { idle_ms }, wait.window(least, *max_ms))
                }
                NodeKind::Order { .. } => {
                    let state = State::Waiting { span_ms: reach_ms };
                    (state, wait.window(0, Some(0)))
                }
                NodeKind::Over { retention, .. } => {
                    let idle_ms = retention.ms;
                    (State::Keys { idle_ms }, wait)
                }
                NodeKind::Fill { limits, .. } => {
                    let span_ms = limits.size_ms.saturating_mul(limits.windows + 1);
                    (State::Filling { span_ms }, wait)
                }
                NodeKind::WindowJoin { complete_ms, .. } => {
                    let [left, right] = *complete_ms;
                    let span_ms = left.saturating_sub(right).saturating_abs();
                    (State::Waiting { span_ms }, wait.slower(input(1)))
                }
            };
            bounds.push(Bound { state, wait });
        }
        bounds
    }

    /// How long before the end of its last window a row of hopping windows comes, less the slide: the
    /// starts of its windows are in a column of a node.
    fn ahead_ms(&self, node: NodeId, column: usize) -> i64 {
        match self.hop_starts(node, column) {
            Some((size_ms, slide_ms)) => size_ms.saturating_sub(slide_ms).max(0),
            None => 0,
        }
    }

    /// Size and slide of the hopping windows whose starts a column lists.
    pub fn hop_starts(&self, node: NodeId, column: usize) -> Option<(i64, i64)> {
        let node = &self.nodes[node.0];
        let expressions = match &node.kind {
            NodeKind::Project { expressions } => expressions,
            NodeKind::Filter { .. } | NodeKind::Order { .. } => {
                return self.hop_starts(node.inputs[0], column);
            }
            _ => return None,
        };
        let expr = expressions.get(column)?;
        if let Some(same) = expr.downcast_ref::<Column>() {
            return self.hop_starts(node.inputs[0], same.index());
        }
        let function = expr.downcast_ref::<ScalarFunctionExpr>()?;
        match function.args() {
            [_, size, slide] if function.name() == HOP_STARTS => {
                Some((integer(size.as_ref())?, integer(slide.as_ref())?))
            }
            _ => None,
        }
    }
}

impl Program {
    /// Whether a column lists the windows that a node fills.
    pub fn lists_filled(&self, node: NodeId, column: usize) -> bool {
        let node = &self.nodes[node.0];
        match &node.kind {
            NodeKind::Fill { .. } => column + 1 == node.schema.fields().len(),
            NodeKind::Filter { .. } => self.lists_filled(node.inputs[0], column),
            NodeKind::Project { expressions } => {
                let same = expressions.get(column);
                let same = same.and_then(|expr| expr.downcast_ref::<Column>());
                same.is_some_and(|same| self.lists_filled(node.inputs[0], same.index()))
            }
            _ => false,
        }
    }
}

fn integer(expr: &dyn PhysicalExpr) -> Option<i64> {
    let literal = expr.downcast_ref::<Literal>()?;
    i64::try_from(literal.value().clone()).ok()
}

/// How many spans it takes to cover a length.
fn spans(length_ms: i64, span_ms: i64) -> u64 {
    let [length, span] = [length_ms.max(0), span_ms.max(1)].map(i64::unsigned_abs);
    length.div_ceil(span)
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
