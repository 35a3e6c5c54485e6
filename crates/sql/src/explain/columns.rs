//! What the columns of a program's nodes are, in the words of the rule.
//!
//! A column with a name that a query gave is that name. One that the planner named, such as `__arg_0`
//! or `count(Int64(1)) FILTER …`, is what a rule calls it further up, or else what it is computed from.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use keyhawk_engine::program::{
    Aggregate, AggregateKind, GroupColumn, KeyBy, Node, NodeId, NodeKind, Program, WindowPart,
};
use keyhawk_functions::{HOP_STARTS, WINDOW_END, WINDOW_SHIFT, WINDOW_START, WINDOW_TIME};

use super::expression::{Text, quoted, written};

/// The functions that the planner writes for the bounds of windows.
const BOUNDS: [&str; 5] = [
    HOP_STARTS,
    WINDOW_START,
    WINDOW_END,
    WINDOW_TIME,
    WINDOW_SHIFT,
];
/// The frame of an OVER that names none.
const DEFAULT_FRAME: &str = "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW";

/// What a rule calls the columns of a node further up, where it says.
pub(super) type Labels = Vec<Option<String>>;

/// Whether a name is one that a query gives, so that it needs no explanation.
pub(super) fn is_plain(name: &str) -> bool {
    !name.starts_with("__")
        && !name.is_empty()
        && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// Whether an expression is the bound of a window that the planner writes.
pub(super) fn is_bound(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let function = expr.downcast_ref::<ScalarFunctionExpr>();
    function.is_some_and(|function| BOUNDS.contains(&function.name()))
}

/// Where a node has a column from.
enum Source<'p> {
    /// It computes it over its input.
    Expression(&'p Arc<dyn PhysicalExpr>, NodeId),
    /// It passes a column of its input on.
    Column(NodeId, usize),
    /// From nowhere that is to be followed.
    Own,
}

/// Writes expressions over the nodes of a program.
#[derive(Clone, Copy)]
pub(super) struct Words<'p> {
    pub(super) program: &'p Program,
}

impl<'p> Words<'p> {
    pub(super) fn node(self, node: NodeId) -> &'p Node {
        &self.program.nodes()[node.0]
    }

    /// A column of a node: its name, or what it is.
    pub(super) fn column(self, node: NodeId, column: usize) -> Text {
        let name = self.node(node).schema.field(column).name();
        let text = match is_plain(name) {
            true => Text::atom(name),
            false => self.definition(node, column).cut(),
        };
        match self.is_of_rows(node, column) {
            true => Text::atom(format!("the last {} with rows", text.text)),
            false => text,
        }
    }

    /// Whether a column is the bound of the window that had rows, above a fill of silent ones: the bound
    /// of the window itself has the same name.
    fn is_of_rows(self, node: NodeId, column: usize) -> bool {
        let node = self.node(node);
        match &node.kind {
            NodeKind::Fill { bound, .. } => column == *bound,
            NodeKind::Filter { .. } | NodeKind::Order { .. } | NodeKind::Unnest { .. } => {
                self.is_of_rows(node.inputs[0], column)
            }
            _ => false,
        }
    }

    /// A column of a node: its name, what the rule calls it, or what it is.
    pub(super) fn labelled(self, node: NodeId, column: usize, labels: &Labels) -> Text {
        let name = self.node(node).schema.field(column).name();
        match labels.get(column).cloned().flatten() {
            Some(label) if !is_plain(name) => Text::atom(label),
            _ => self.column(node, column),
        }
    }

    /// An expression over the output of `input`.
    pub(super) fn expression(self, expr: &Arc<dyn PhysicalExpr>, input: NodeId) -> Text {
        written(expr, &|column| self.column(input, column))
    }

    /// Expressions, with commas.
    pub(super) fn expressions(self, all: &[Arc<dyn PhysicalExpr>], input: NodeId) -> String {
        let texts = all.iter().map(|expr| self.expression(expr, input).text);
        texts.collect::<Vec<_>>().join(", ")
    }

    /// What a column is computed from.
    fn definition(self, id: NodeId, column: usize) -> Text {
        let node = self.node(id);
        let name = node.schema.field(column).name();
        let input = |at: usize| node.inputs[at];
        match &node.kind {
            NodeKind::Scan | NodeKind::Union => Text::atom(name),
            NodeKind::Project { expressions } => self.expression(&expressions[column], input(0)),
            NodeKind::Filter { .. } | NodeKind::Order { .. } | NodeKind::Unnest { .. } => {
                self.column(input(0), column)
            }
            NodeKind::Tumble {
                groups, aggregates, ..
            }
            | NodeKind::Hop {
                groups, aggregates, ..
            }
            | NodeKind::Session {
                groups, aggregates, ..
            } => match groups.get(column) {
                Some(GroupColumn::Window(part)) => Text::atom(match part {
                    WindowPart::Start => "window_start",
                    WindowPart::End => "window_end",
                    WindowPart::Time => "window_time",
                }),
                Some(GroupColumn::Key(expr)) => self.expression(expr, input(0)),
                None => Text::atom(self.aggregate(&aggregates[column - groups.len()], input(0))),
            },
            NodeKind::Over { .. } => match column < self.width(input(0)) {
                true => self.column(input(0), column),
                false => Text::atom(call(name)),
            },
            NodeKind::Fill { bound, .. } => match column < self.width(input(0)) {
                true => self.column(input(0), column),
                false => self.column(input(0), *bound),
            },
            NodeKind::Lookup { .. } => match column < self.width(input(0)) {
                true => self.column(input(0), column),
                false => Text::atom(name),
            },
            NodeKind::WindowJoin { .. } => match column.checked_sub(self.width(input(0))) {
                None => self.column(input(0), column),
                Some(column) => self.column(input(1), column),
            },
        }
    }

    fn width(self, node: NodeId) -> usize {
        self.node(node).schema.fields().len()
    }

    /// A condition over the columns of a join's sides.
    pub(super) fn residual(
        self,
        expr: &Arc<dyn PhysicalExpr>,
        left: NodeId,
        right: &dyn Fn(usize) -> Text,
    ) -> String {
        let columns = |column: usize| match column.checked_sub(self.width(left)) {
            None => self.column(left, column),
            Some(column) => right(column),
        };
        written(expr, &columns).text
    }

    /// An aggregate as SQL writes it.
    pub(super) fn aggregate(self, aggregate: &Aggregate, input: NodeId) -> String {
        use AggregateKind::*;
        let of = |expr| self.expression(expr, input).text;
        let mut argument = match aggregate.argument.downcast_ref::<Literal>() {
            Some(literal) if aggregate.kind == Count && !literal.value().is_null() => {
                "*".to_owned()
            }
            _ => of(&aggregate.argument),
        };
        // What makes the order total is not the rule's.
        let order = aggregate.order.iter().filter_map(|(expr, options)| {
            let column = expr.downcast_ref::<Column>();
            if column.is_some_and(|column| column.name().starts_with('_')) {
                return None;
            }
            let descending = if options.descending { " DESC" } else { "" };
            Some(of(expr) + descending)
        });
        let order = order.collect::<Vec<_>>().join(", ");
        if !order.is_empty() {
            argument += &format!(" ORDER BY {order}");
        }
        let mut text = match aggregate.kind {
            Count => format!("count({argument})"),
            CountDistinct => format!("count(DISTINCT {argument})"),
            Sum => format!("sum({argument})"),
            Min => format!("min({argument})"),
            Max => format!("max({argument})"),
            Avg => format!("avg({argument})"),
            VarianceSample => format!("var({argument})"),
            VariancePopulation => format!("var_pop({argument})"),
            StddevSample => format!("stddev({argument})"),
            StddevPopulation => format!("stddev_pop({argument})"),
            BoolAnd => format!("bool_and({argument})"),
            BoolOr => format!("bool_or({argument})"),
            FirstValue => format!("first_value({argument})"),
            LastValue => format!("last_value({argument})"),
            ArrayFirst(_) => format!("array_agg({argument})"),
        };
        if aggregate.ignore_nulls {
            text += " IGNORE NULLS";
        }
        if let Some(filter) = &aggregate.filter {
            text += &format!(" FILTER (WHERE {})", of(filter));
        }
        text
    }

    /// The keys by which a node tells rows apart; empty where it does not.
    pub(super) fn keys(self, keys: &KeyBy, input: NodeId) -> String {
        match keys {
            KeyBy::Topic => self.program.key().unwrap_or("key").to_owned(),
            KeyBy::Columns(keys) => {
                let is_key = |key: &&Arc<dyn PhysicalExpr>| {
                    !key.is::<Literal>() && !self.is_window(key, input)
                };
                let keys: Vec<_> = keys.iter().filter(is_key).cloned().collect();
                self.expressions(&keys, input)
            }
        }
    }

    /// The event time that an expression over windows goes back to.
    pub(super) fn time(self, expr: &Arc<dyn PhysicalExpr>, input: NodeId) -> String {
        if let Some(column) = expr.downcast_ref::<Column>() {
            return self.time_column(input, column.index());
        }
        if let Some(function) = expr.downcast_ref::<ScalarFunctionExpr>()
            && let (true, Some(time)) = (is_bound(expr), function.args().first())
        {
            return self.time(time, input);
        }
        if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
            return self.time(binary.left(), input);
        }
        self.expression(expr, input).text
    }

    fn time_column(self, id: NodeId, column: usize) -> String {
        match self.source(id, column) {
            Source::Expression(expr, input) => self.time(expr, input),
            Source::Column(input, column) => self.time_column(input, column),
            Source::Own => self.column(id, column).text,
        }
    }

    /// Whether an expression is the bound of a window that the planner writes, passed on or not.
    fn is_window(self, expr: &Arc<dyn PhysicalExpr>, input: NodeId) -> bool {
        let Some(column) = expr.downcast_ref::<Column>() else {
            return is_bound(expr);
        };
        let (mut node, mut column) = (input, column.index());
        loop {
            match self.source(node, column) {
                Source::Expression(expr, input) => return self.is_window(expr, input),
                Source::Column(input, from) => (node, column) = (input, from),
                Source::Own => return false,
            }
        }
    }

    /// Where a node has a column from.
    fn source(self, id: NodeId, column: usize) -> Source<'p> {
        let node = self.node(id);
        match &node.kind {
            NodeKind::Project { expressions } => {
                Source::Expression(&expressions[column], node.inputs[0])
            }
            NodeKind::Filter { .. }
            | NodeKind::Order { .. }
            | NodeKind::Unnest { .. }
            | NodeKind::Over { .. }
            | NodeKind::Fill { .. }
            | NodeKind::Lookup { .. }
                if column < self.width(node.inputs[0]) =>
            {
                Source::Column(node.inputs[0], column)
            }
            _ => Source::Own,
        }
    }

    /// The time that the rows of a node are in order of.
    pub(super) fn order(self, id: NodeId) -> Option<String> {
        let node = self.node(id);
        match (&node.kind, &node.inputs[..]) {
            (NodeKind::Order { time, .. }, _) => Some(self.column(id, *time).text),
            (_, [input]) => self.order(*input),
            _ => None,
        }
    }

    /// What a node's readers call the columns of its inputs.
    pub(super) fn labels_below(self, id: NodeId, labels: &Labels) -> Vec<Labels> {
        let node = self.node(id);
        let plain = |schema: &Schema, column: usize| {
            let name = schema.field(column).name();
            is_plain(name).then(|| name.clone())
        };
        // The name nearest to where a column is computed is the one that conditions in between use.
        let own = |column: usize| {
            let label = labels.get(column).cloned().flatten();
            plain(&node.schema, column).or(label)
        };
        let mut below: Vec<Labels> = node
            .inputs
            .iter()
            .map(|input| vec![None; self.width(*input)])
            .collect();
        match &node.kind {
            NodeKind::Project { expressions } => {
                for (column, expr) in expressions.iter().enumerate() {
                    if let Some(from) = expr.downcast_ref::<Column>()
                        && below[0][from.index()].is_none()
                    {
                        below[0][from.index()] = own(column);
                    }
                }
            }
            NodeKind::Scan
            | NodeKind::Tumble { .. }
            | NodeKind::Hop { .. }
            | NodeKind::Session { .. } => {}
            NodeKind::Union => {
                for input in &mut below {
                    *input = (0..input.len()).map(own).collect();
                }
            }
            _ => {
                // The columns of all inputs, one after the other; those behind them are the node's.
                for (column, label) in below.iter_mut().flatten().enumerate() {
                    *label = (column < node.schema.fields().len())
                        .then(|| own(column))
                        .flatten();
                }
            }
        }
        below
    }
}

/// The call of a window function, from the name that DataFusion gives its column.
pub(super) fn call(name: &str) -> String {
    let (call, over) = match name.find(" PARTITION BY [") {
        Some(at) => name.split_at(at),
        None => (name, ""),
    };
    let frame = over.rfind("] ").map_or("", |at| &over[at + 2..]);
    let call = tidied(call);
    match frame {
        "" | DEFAULT_FRAME => call,
        frame => format!("{call} over {}", tidied(frame)),
    }
}

/// DataFusion's names of columns without the types of literals and the names of tables.
fn tidied(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if !(c.is_alphabetic() || c == '_') {
            text.push(c);
            rest = &rest[c.len_utf8()..];
            if c == ',' && !rest.starts_with(' ') {
                text.push(' ');
            }
            continue;
        }
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        let is_type = ["Utf8", "Utf8View", "LargeUtf8", "Boolean", "UInt64", "NULL"]
            .contains(&word)
            || ["Int", "UInt", "Float", "Interval", "Decimal", "Timestamp"]
                .iter()
                .any(|kind| word.strip_prefix(kind).is_some_and(|rest| !rest.is_empty()));
        if is_type && let Some((literal, after)) = literal(rest) {
            text += &literal;
            rest = after;
        } else if let Some(after) = rest.strip_prefix('.')
            && after.starts_with(|c: char| c.is_alphabetic() || c == '_')
        {
            rest = after;
        } else {
            text += word;
        }
    }
    text
}

/// A literal in parentheses, and what comes after it.
fn literal(text: &str) -> Option<(String, &str)> {
    if let Some(inside) = text.strip_prefix("(\"") {
        let end = inside.find("\")")?;
        return Some((quoted(&inside[..end]), &inside[end + 2..]));
    }
    let inside = text.strip_prefix('(')?;
    let end = inside.find(')')?;
    Some((inside[..end].to_owned(), &inside[end + 1..]))
}
