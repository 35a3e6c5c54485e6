//! A rule explained: its operators as a tree, what each keeps at most, and how long a finding takes.
//!
//! ```text
//!   rate_spike      findings leave at the top, events come in at the bottom
//!   ├─ 1 filter      requests >= 100 AND baseline['surprise'] > 4
//!   ├─ 2 over        for each api_key in order of window_end
//!   │                baseline = baseline(requests, window_end)
//!   │    state       9f3a11c2  for each key with a row in the last 400d: a few numbers (baseline)
//!   └─ 3 scan ×4     events
//! ```
//!
//! A chain of nodes hangs on one rail; where a node reads two, each has a rail of its own. All is read
//! from the program, so that what is shown is what runs.

mod columns;
mod describe;
mod expression;
mod rails;

use std::collections::BTreeSet;
use std::fmt;

use keyhawk_engine::program::{NodeId, Sink};
use keyhawk_engine::{Bound, TIME_COLUMN, Wait};

use self::columns::{Words, is_plain};
use self::expression::duration;
use self::rails::{Drawing, paragraph};
use crate::compile::Compiled;
use crate::inspect::{event_columns, scans};

/// How wide an explanation is, in characters.
pub const WIDTH: usize = 100;

/// What the name at the beginning of a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// A rule's name.
    Rule,
    /// An operator.
    Operator,
    /// What is said of a rule or an operator.
    Property,
    /// A branch, or nothing: the line goes on with the one above.
    More,
}

/// A line of an explanation, for a terminal to colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The tree's branches, then a space.
    pub rail: String,
    /// What the name is.
    pub kind: Head,
    /// A name, padded to the width of its column.
    pub name: String,
    /// What there is to say.
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = format!("{}{}{}", self.rail, self.name, self.text);
        f.write_str(line.trim_end())
    }
}

/// A rule in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// Its name.
    pub rule: String,
    /// How long after an event its finding leaves: `10s`, `10s to 10m 10s`.
    pub delay: String,
    /// Whether one partition sees all rows of each of its keys, so that `run` takes it.
    pub keyed: bool,
    /// How many of its operators no other rule reads.
    pub own: usize,
    /// How many it has in common with others.
    pub shared: usize,
}

impl Compiled {
    /// The explanation of a rule, where events may come `lateness_ms` behind the greatest event time
    /// before them; `None` if there is no such rule. Lines are at most [`WIDTH`] wide but for words
    /// that are wider.
    pub fn explain(&self, rule: &str, lateness_ms: i64) -> Option<Vec<Line>> {
        let program = self.program.as_ref();
        let number = program.sinks().iter().position(|sink| sink.rule == rule)?;
        let sink = &program.sinks()[number];
        let version = self.rules.iter().find(|found| found.name == rule)?;
        let bounds = program.bounds(lateness_ms);
        let words = Words { program };
        let mut lines = vec![Line {
            rail: String::new(),
            kind: Head::Rule,
            name: rule.to_owned(),
            text: format!("  version {}", version.version),
        }];
        let fields = version.schema.fields().iter();
        let fields: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
        let reads: Vec<String> = self.reads(rule).into_iter().collect();
        let facts = [
            ("columns", fields.join(", ")),
            ("delay", delay_text(words, sink, &bounds, lateness_ms)),
            ("key", key_text(words, sink)),
            ("warmup", warmup_text(program.warmup_ms(number))),
            ("reads", format!("of events {}", reads.join(", "))),
        ];
        for (name, text) in facts {
            paragraph(&mut lines, "", Head::Property, name, &text);
        }
        let mut drawing = Drawing::new(words, &bounds, &mut lines);
        drawing.rule(sink);
        Some(lines)
    }

    /// What is to be known to read explanations.
    pub fn explain_legend(&self, lateness_ms: i64) -> Vec<Line> {
        let notes = [
            (
                "×n",
                "n rules read this operator; it computes once for all of them.".to_owned(),
            ),
            (
                "state",
                "Eight digits for what the operator means with all below it: after an edit, state whose \
                 digits stay is state of the same meaning. Then what it keeps at most. Where nothing is \
                 said, nothing is kept, and every row goes through at once."
                    .to_owned(),
            ),
            (
                "watermark",
                format!(
                    "The greatest event time of a partition less the topic's bound, {}. Only events move \
                     it: after the last one of a quiet partition windows wait for the next.",
                    duration(lateness_ms)
                ),
            ),
        ];
        let mut lines = Vec::new();
        for (name, text) in notes {
            paragraph(&mut lines, "", Head::Property, name, &text);
        }
        lines
    }

    /// A line for each rule, in the order of the files.
    pub fn overview(&self, lateness_ms: i64) -> Vec<Overview> {
        let program = self.program.as_ref();
        let bounds = program.bounds(lateness_ms);
        let words = Words { program };
        let readers = words.readers();
        let overview = |sink: &Sink| {
            let below = words.below(sink.node);
            let shown = below.iter().filter(|node| words.is_shown(**node));
            let (shared, own): (Vec<&NodeId>, Vec<&NodeId>) =
                shown.partition(|node| readers[node.0] > 1);
            Overview {
                rule: sink.rule.clone(),
                delay: delay(bounds[sink.node.0].wait, lateness_ms),
                keyed: !below.iter().any(|node| words.lacks_key(*node)),
                own: own.len(),
                shared: shared.len(),
            }
        };
        program.sinks().iter().map(overview).collect()
    }

    /// The columns of `events` that a rule reads, itself or through views.
    fn reads(&self, rule: &str) -> BTreeSet<String> {
        let mut columns = BTreeSet::new();
        let mut tables = BTreeSet::new();
        for query in self.queries.iter().filter(|query| query.name == rule) {
            event_columns(&query.plan, &mut columns);
            tables.extend(scans(&query.plan));
        }
        // A view comes after those that it reads.
        for view in self.views.iter().rev() {
            if tables.contains(&view.name) {
                event_columns(&view.plan, &mut columns);
                tables.extend(scans(&view.plan));
            }
        }
        columns
    }
}

impl Words<'_> {
    /// A node and all that it reads, itself or through others.
    fn below(self, node: NodeId) -> BTreeSet<NodeId> {
        let mut all = BTreeSet::from([node]);
        let mut next = vec![node];
        while let Some(node) = next.pop() {
            let inputs = self.node(node).inputs.iter();
            next.extend(inputs.copied().filter(|input| all.insert(*input)));
        }
        all
    }

    /// How many rules read each node.
    fn readers(self) -> Vec<usize> {
        let mut readers = vec![0; self.program.nodes().len()];
        for sink in self.program.sinks() {
            for node in self.below(sink.node) {
                readers[node.0] += 1;
            }
        }
        readers
    }
}

/// From an event to the finding that it is part of.
fn delay(wait: Wait, lateness_ms: i64) -> String {
    let after = |ms: i64| duration(ms.saturating_add(lateness_ms));
    match (wait.for_watermark, wait.most_ms) {
        (false, Some(0)) => "at once".to_owned(),
        (false, Some(most)) => format!("at once to {}", after(most)),
        (false, None) => "at once or later".to_owned(),
        (true, Some(most)) if most == wait.least_ms => after(most),
        (true, Some(most)) => format!("{} to {}", after(wait.least_ms), after(most)),
        (true, None) => format!("{} or more", after(wait.least_ms)),
    }
}

fn delay_text(words: Words<'_>, sink: &Sink, bounds: &[Bound], lateness_ms: i64) -> String {
    let wait = bounds[sink.node.0].wait;
    let delay = delay(wait, lateness_ms);
    let bound = duration(lateness_ms);
    let fields = words.node(sink.node).schema.fields();
    let time = fields.iter().position(|field| field.name() == TIME_COLUMN);
    let time = time.map(|column| words.column(sink.node, column).text);
    let time = time.filter(|time| is_plain(time));
    let passes = match &time {
        Some(time) => {
            format!("when the watermark passes {time}, {bound} (the topic's bound) after it")
        }
        None => format!("when the watermark, {bound} (the topic's bound) behind, passes its time"),
    };
    match (wait.for_watermark, wait.most_ms) {
        (false, Some(0)) => {
            "none: a finding leaves with the batch that its event came in".to_owned()
        }
        (false, _) => format!("{delay} after an event, by the branch that it takes"),
        (true, Some(0)) => format!("{bound} after an event: {passes}"),
        (true, Some(_)) => format!("{delay} after an event, by its place in the window: {passes}"),
        (true, None) => format!("{delay} after an event, as long as its session lasts: {passes}"),
    }
}

/// What a reload of the rules costs a rule at most.
fn warmup_text(warmup_ms: i64) -> String {
    match warmup_ms {
        0 => "none: nothing is kept of rows that went by".to_owned(),
        ms => format!(
            "{} at most: where a reload changes what is kept, findings of so much event time are withheld",
            duration(ms)
        ),
    }
}

fn key_text(words: Words<'_>, sink: &Sink) -> String {
    let below = words.below(sink.node);
    let key = words.program.key().unwrap_or("a key");
    if below.iter().any(|node| words.lacks_key(*node)) {
        return format!(
            "not every operator is keyed by {key}, as the topic is: `run` refuses the rule; `replay` and \
             `backtest` take it"
        );
    }
    match below.iter().any(|node| words.is_by_key(*node)) {
        true => format!("{key}, which the topic is keyed by: `run` takes the rule"),
        false => "none: each row is judged alone, and `run` takes the rule".to_owned(),
    }
}
