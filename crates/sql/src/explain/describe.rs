//! What one node does, keeps and waits for, in an analyst's words.

use std::sync::Arc;

use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use keyhawk_engine::program::{
    Aggregate, AggregateKind, GroupColumn, JoinKind, KeyBy, LookupIndex, NodeId, NodeKind,
    OverFunction,
};
use keyhawk_engine::{Bound, Kept, State};

use super::columns::{Labels, Words, call, is_bound, is_plain};
use super::expression::{Text, duration, written};

/// A node in words.
pub(super) struct Description {
    pub(super) operator: &'static str,
    /// What it does: a sentence, then what it computes.
    pub(super) does: Vec<String>,
    /// What else is to be known of it.
    pub(super) properties: Vec<(&'static str, String)>,
}

impl Words<'_> {
    /// Whether an analyst should see a node: columns that are only passed on or renamed say nothing.
    pub(super) fn is_shown(self, id: NodeId) -> bool {
        let node = self.node(id);
        match &node.kind {
            NodeKind::Project { .. } => !self.computed(id, &Labels::new()).is_empty(),
            // The rows of filled windows are said to be there where they are made.
            NodeKind::Unnest { column } => !self.program.lists_filled(node.inputs[0], *column),
            _ => true,
        }
    }

    /// The columns of a projection that it computes and names.
    fn computed(self, id: NodeId, labels: &Labels) -> Vec<String> {
        let node = self.node(id);
        let NodeKind::Project { expressions } = &node.kind else {
            return Vec::new();
        };
        let input = node.inputs[0];
        let below = self.labels_below(id, labels);
        let columns = |column: usize| self.labelled(input, column, &below[0]);
        let named = expressions.iter().zip(node.schema.fields());
        let named = named.filter(|(expr, field)| {
            let passed = expr.downcast_ref::<Column>();
            let is_told = match passed {
                // Where it had no name, the node that computes it tells this one.
                Some(column) => {
                    let before = self.node(input).schema.field(column.index()).name();
                    is_plain(before) && before != field.name()
                }
                None => !is_bound(expr),
            };
            is_plain(field.name()) && is_told
        });
        named
            .map(|(expr, field)| format!("{} = {}", field.name(), written(expr, &columns).text))
            .collect()
    }

    /// A node in words; `labels` are what the rule calls its columns.
    pub(super) fn describe(self, id: NodeId, labels: &Labels, bound: &Bound) -> Description {
        let node = self.node(id);
        let input = node.inputs.first().copied().unwrap_or(id);
        let mut properties = Vec::new();
        let mut state = |text: String, wakes: &str| {
            properties.push(("state", format!("{}  {text}", self.fingerprint(id))));
            properties.push(("wakes", wakes.to_owned()));
        };
        let window_end = "every row goes in; a window leaves when the watermark passes its end";
        let (operator, does) = match &node.kind {
            NodeKind::Scan => {
                let fields = node.schema.fields().len();
                let does = format!("events: {fields} columns, those that any rule reads");
                ("scan", vec![does])
            }
            NodeKind::Filter { predicate } => {
                let columns = |column: usize| self.labelled(input, column, labels);
                ("filter", vec![written(predicate, &columns).text])
            }
            NodeKind::Project { .. } => ("compute", self.computed(id, labels)),
            NodeKind::Tumble {
                time,
                size_ms,
                keys,
                groups,
                aggregates,
                ..
            } => {
                let windows = match bound_ahead(self, id) {
                    Some((size, slide)) => format!(
                        "windows of {}, one every {}; each row counted in every one that holds it",
                        duration(size),
                        duration(slide)
                    ),
                    None => format!("windows of {}", duration(*size_ms)),
                };
                let time = self.time(time, input);
                let mut does = vec![format!("{windows}, by {time}{}", self.each(keys, input))];
                does.extend(self.groups(id, groups, aggregates, labels));
                if let State::Windows { open } = bound.state {
                    let what = "open window";
                    state(
                        self.rows(keys, input, open, what) + &self.beside(aggregates, input),
                        window_end,
                    );
                }
                ("tumble", does)
            }
            NodeKind::Hop {
                time,
                size_ms,
                slide_ms,
                keys,
                groups,
                aggregates,
                ..
            } => {
                let time = self.time(time, input);
                let mut does = vec![format!(
                    "windows of {}, one every {}, by {time}{}",
                    duration(*size_ms),
                    duration(*slide_ms),
                    self.each(keys, input)
                )];
                does.extend(self.groups(id, groups, aggregates, labels));
                if let State::Panes { open, pane_ms } = bound.state {
                    let what = format!("pane of {}", duration(pane_ms));
                    let text = self.rows(keys, input, open, &what);
                    let text = text + &self.beside(aggregates, input);
                    state(text + "; in memory also what is merged of them", window_end);
                }
                ("hop", does)
            }
            NodeKind::Session {
                time,
                gap_ms,
                max_ms,
                keys,
                groups,
                aggregates,
                filter,
                ..
            } => {
                let time = self.time(time, input);
                let max = max_ms.map(|ms| format!(", of {} at most", duration(ms)));
                let mut does = vec![format!(
                    "sessions that {} without a row end{}, by {time}{}",
                    duration(*gap_ms),
                    max.unwrap_or_default(),
                    self.each(keys, input)
                )];
                if let Some(filter) = filter {
                    let filter = self.expression(filter, input).text;
                    does.push(format!("of rows where {filter}"));
                }
                does.extend(self.groups(id, groups, aggregates, labels));
                if let State::Sessions { idle_ms } = bound.state {
                    let text = format!(
                        "a row for each key with a row in the last {}",
                        duration(idle_ms)
                    );
                    state(
                        text + &self.beside(aggregates, input),
                        "every row goes in; a session leaves when the watermark passes its end",
                    );
                }
                ("session", does)
            }
            NodeKind::Order { time, .. } => {
                let time = self.column(id, *time).text;
                let text = match bound.state {
                    State::Waiting { span_ms: 0 } => {
                        "none between two steps of the watermark: rows come when they are complete"
                            .to_owned()
                    }
                    State::Waiting { span_ms } => {
                        format!("the rows of the last {}", duration(span_ms))
                    }
                    _ => String::new(),
                };
                let wakes = format!("a row leaves when the watermark passes its {time}");
                state(text, &wakes);
                ("order", vec![format!("rows in order of {time}")])
            }
            NodeKind::Over {
                keys, functions, ..
            } => {
                let width = self.node(input).schema.fields().len();
                let order = self.order(input);
                let order = order.map_or(String::new(), |time| format!(" in order of {time}"));
                let mut does = vec![format!("for each {}{order}", self.keys(keys, input))];
                let fields = &node.schema.fields()[width..];
                does.extend(
                    fields
                        .iter()
                        .enumerate()
                        .map(|(place, field)| named(labels.get(width + place), call(field.name()))),
                );
                let names = fields.iter().map(|field| field.name().as_str());
                if let State::Keys { idle_ms } = bound.state {
                    let text = format!(
                        "for each key with a row in the last {}: {}",
                        duration(idle_ms),
                        kept(functions.iter().zip(names))
                    );
                    state(text, "every row, in that order");
                }
                ("over", does)
            }
            NodeKind::Fill { keys, limits, .. } => {
                let windows = match limits.windows {
                    1 => "1 window".to_owned(),
                    windows => format!("{windows} windows"),
                };
                let does = format!(
                    "up to {windows} of {} without rows after each one with rows{}",
                    duration(limits.size_ms),
                    self.each(keys, input)
                );
                if let State::Filling { span_ms } = bound.state {
                    let text = format!(
                        "a row for each key with one in the last {}",
                        duration(span_ms)
                    );
                    state(
                        text,
                        "every row; a filled one leaves when the watermark passes its window",
                    );
                }
                ("fill", vec![does])
            }
            NodeKind::Lookup {
                index,
                kind,
                on,
                residual,
            } => (
                "lookup",
                self.lookup(index, *kind, on, residual.as_ref(), input),
            ),
            NodeKind::WindowJoin {
                kind,
                time,
                on,
                residual,
                ..
            } => {
                let right = node.inputs[1];
                let pair = |left, other| {
                    let [left, right] = [
                        self.expression(left, input).text,
                        self.expression(other, right).text,
                    ];
                    match left == right {
                        true => left,
                        false => format!("{left} = {right}"),
                    }
                };
                let mut pairs = vec![pair(&time[0], &time[1])];
                pairs.extend(
                    on[0]
                        .iter()
                        .zip(&on[1])
                        .map(|(left, right)| pair(left, right)),
                );
                let mut does = vec![format!("{} on {}", join(*kind), pairs.join(", "))];
                if let Some(residual) = residual {
                    let other = |column: usize| self.column(right, column);
                    let residual = self.residual(residual, input, &other);
                    does.push(format!("and {residual}"));
                }
                let text = match bound.state {
                    State::Waiting { span_ms } if span_ms > 0 => format!(
                        "the rows of one side that wait for the other, those of {}",
                        duration(span_ms)
                    ),
                    _ => "none between two steps of the watermark: both sides come together"
                        .to_owned(),
                };
                state(
                    text,
                    "when the watermark passes a window's end on both sides",
                );
                ("window join", does)
            }
            NodeKind::Union => {
                let branches = node.inputs.len();
                ("union", vec![format!("the rows of {branches} branches")])
            }
            NodeKind::Unnest { column } => {
                let does = match self.program.hop_starts(input, *column) {
                    Some((size, slide)) => format!(
                        "a row for each window of {}, one every {}, that holds it",
                        duration(size),
                        duration(slide)
                    ),
                    None => format!(
                        "a row for each element of {}",
                        self.column(id, *column).text
                    ),
                };
                ("unnest", vec![does])
            }
        };
        if self.lacks_key(id) {
            let key = self.program.key().unwrap_or("the topic's key");
            properties.push(("key", format!("without {key}: `run` refuses it")));
        }
        Description {
            operator,
            does,
            properties,
        }
    }

    /// Whether a node keeps state by key, and the topic's key is not among them.
    pub(super) fn lacks_key(self, id: NodeId) -> bool {
        self.is_by_key(id) && !self.node(id).keyed
    }

    /// Whether all rows of a key must come to the same machine.
    pub(super) fn is_by_key(self, id: NodeId) -> bool {
        matches!(
            self.node(id).kind,
            NodeKind::Tumble { .. }
                | NodeKind::Hop { .. }
                | NodeKind::Session { .. }
                | NodeKind::Over { .. }
                | NodeKind::Fill { .. }
                | NodeKind::WindowJoin { .. }
        )
    }

    /// What a node means with all below it, in eight digits.
    fn fingerprint(self, id: NodeId) -> String {
        self.node(id).state().chars().take(8).collect()
    }

    fn each(self, keys: &KeyBy, input: NodeId) -> String {
        match self.keys(keys, input) {
            keys if keys.is_empty() => ", over all keys".to_owned(),
            keys => format!(", for each {keys}"),
        }
    }

    /// What a window computes, under the names that the rule gives.
    fn groups(
        self,
        id: NodeId,
        groups: &[GroupColumn],
        aggregates: &[Aggregate],
        labels: &Labels,
    ) -> Vec<String> {
        let node = self.node(id);
        let columns = aggregates.iter().zip(&node.schema.fields()[groups.len()..]);
        let columns = columns.enumerate();
        columns
            .filter(|(_, (_, field))| !field.name().starts_with("__"))
            .map(|(place, (aggregate, _))| {
                let text = self.aggregate(aggregate, node.inputs[0]);
                named(labels.get(groups.len() + place), text)
            })
            .collect()
    }

    /// How many rows there are at most.
    fn rows(self, keys: &KeyBy, input: NodeId, open: u64, what: &str) -> String {
        let rows = if open == 1 { "row" } else { "rows" };
        match self.keys(keys, input).is_empty() {
            true => format!("{open} {rows} at most, one for each {what}"),
            false => format!("keys × {open} {rows} at most, one for each key and {what}"),
        }
    }

    /// What grows with the values in a group.
    fn beside(self, aggregates: &[Aggregate], input: NodeId) -> String {
        let mut distinct: Vec<String> = Vec::new();
        let mut lists: Vec<String> = Vec::new();
        for aggregate in aggregates {
            let text = || self.expression(&aggregate.argument, input).text;
            let (into, text) = match aggregate.kind {
                AggregateKind::CountDistinct => (&mut distinct, text()),
                AggregateKind::ArrayFirst(n) => (&mut lists, format!("{n} of {}", text())),
                _ => continue,
            };
            if !into.contains(&text) {
                into.push(text);
            }
        }
        let mut more = String::new();
        if !distinct.is_empty() {
            more += &format!("; in each the distinct values of {}", distinct.join(", "));
        }
        if !lists.is_empty() {
            more += &format!("; in each the first {}", lists.join(", "));
        }
        more
    }

    fn lookup(
        self,
        index: &Arc<LookupIndex>,
        kind: JoinKind,
        on: &[Arc<dyn PhysicalExpr>],
        residual: Option<&Arc<dyn PhysicalExpr>>,
        input: NodeId,
    ) -> Vec<String> {
        let table = index.table();
        // The name says what was done to the table: `table countries code, risk filter …`.
        let name = table.name.strip_prefix("table ").unwrap_or(&table.name);
        let name = name.split(' ').next().unwrap_or(name);
        let rows = match table.rows.num_rows() {
            1 => "1 row".to_owned(),
            rows => format!("{rows} rows"),
        };
        let keys = self.expressions(on, input);
        let mut does = vec![format!("table {name} ({rows}): {} by {keys}", join(kind))];
        if let Some(residual) = residual {
            let schema = table.rows.schema();
            let right = |column: usize| Text::atom(schema.field(column).name());
            does.push(format!("and {}", self.residual(residual, input, &right)));
        }
        does
    }
}

/// What a join does with the rows of its left side.
fn join(kind: JoinKind) -> &'static str {
    match kind {
        JoinKind::Inner => "join",
        JoinKind::Left => "left join",
        JoinKind::Semi => "keep rows with a match",
        JoinKind::Anti => "keep rows without a match",
        JoinKind::NullAwareAnti => "keep rows that are NOT IN it",
    }
}

fn named(label: Option<&Option<String>>, text: String) -> String {
    match label {
        Some(Some(label)) => format!("{label} = {text}"),
        _ => text,
    }
}

/// The hopping windows that rows were repeated for below a window of one slide.
fn bound_ahead(words: Words<'_>, id: NodeId) -> Option<(i64, i64)> {
    let mut at = id;
    loop {
        let [input] = words.node(at).inputs[..] else {
            return None;
        };
        match &words.node(input).kind {
            NodeKind::Unnest { column } => {
                return words
                    .program
                    .hop_starts(words.node(input).inputs[0], *column);
            }
            NodeKind::Filter { .. }
            | NodeKind::Project { .. }
            | NodeKind::Order { .. }
            | NodeKind::Over { .. }
            | NodeKind::Lookup { .. } => at = input,
            _ => return None,
        }
    }
}

/// What functions keep of a key, equal ones counted.
fn kept<'f>(functions: impl Iterator<Item = (&'f OverFunction, &'f str)>) -> String {
    let mut all: Vec<(String, String, usize)> = Vec::new();
    for (function, name) in functions {
        let name = name.split('(').next().unwrap_or(name);
        let keeps = match function.keeps {
            Kept::Constant => "a few numbers".to_owned(),
            Kept::Values(1) => "1 value".to_owned(),
            Kept::Values(n) => format!("up to {n} values"),
            Kept::Rows(1) => "values of the last row".to_owned(),
            Kept::Rows(n) => format!("values of the last {n} rows"),
            Kept::SpanMs(ms) => {
                let ms = i64::try_from(ms).unwrap_or(i64::MAX);
                format!("values of the last {}", duration(ms))
            }
        };
        match all
            .iter_mut()
            .find(|(known, kept, _)| known == name && *kept == keeps)
        {
            Some((_, _, count)) => *count += 1,
            None => all.push((name.to_owned(), keeps, 1)),
        }
    }
    let texts = all.iter().map(|(name, keeps, count)| match count {
        1 => format!("{keeps} ({name})"),
        _ => format!("{count} × {keeps} ({name})"),
    });
    texts.collect::<Vec<_>>().join(", ")
}
