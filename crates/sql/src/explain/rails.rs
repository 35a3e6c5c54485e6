//! The drawing of a tree of operators: rails, names in a column, text wrapped beside them.

use std::collections::BTreeMap;

use keyhawk_engine::Bound;
use keyhawk_engine::program::{NodeId, NodeKind, Sink};

use super::columns::{Labels, Words};
use super::describe::Description;
use super::{Head, Line, WIDTH};

/// The width of the column of names.
const NAMES: usize = 19;
/// Text is never narrower, however deep its branch.
const TEXT_MIN: usize = 30;

/// A tree as it is drawn.
pub(super) struct Drawing<'d> {
    words: Words<'d>,
    bounds: &'d [Bound],
    readers: Vec<usize>,
    /// The numbers of the nodes that are drawn already.
    numbers: BTreeMap<NodeId, usize>,
    /// What the projection above a filter calls its expressions, by their text.
    aliases: Vec<(String, String)>,
    lines: &'d mut Vec<Line>,
}

impl<'d> Drawing<'d> {
    pub(super) fn new(words: Words<'d>, bounds: &'d [Bound], lines: &'d mut Vec<Line>) -> Self {
        Drawing {
            words,
            bounds,
            readers: words.readers(),
            numbers: BTreeMap::new(),
            aliases: Vec::new(),
            lines,
        }
    }

    /// Draws a rule's operators.
    pub(super) fn rule(&mut self, sink: &Sink) {
        self.chain(sink.node, Labels::new(), "");
    }

    /// Draws a node and what it reads, down to where inputs part.
    fn chain(&mut self, mut node: NodeId, mut labels: Labels, rail: &str) {
        loop {
            let shown = self.words.is_shown(node);
            let inputs = self.words.node(node).inputs.clone();
            if shown && let Some(number) = self.numbers.get(&node) {
                let name = self.describe(node, &labels).operator;
                let text = format!("number {number} above, and what it reads");
                let rail = format!("{rail}└─ ");
                paragraph(self.lines, &rail, Head::Operator, name, &text);
                return;
            }
            if shown {
                self.node(node, &labels, rail, inputs.is_empty());
            }
            let mut below = self.words.labels_below(node, &labels);
            match (&inputs[..], below.pop()) {
                ([input], Some(last)) => (node, labels) = (*input, last),
                (_, Some(last)) => {
                    below.push(last);
                    return self.branches(node, below, rail);
                }
                _ => return,
            }
        }
    }

    /// Draws what a node of several inputs reads, each on its own rail.
    fn branches(&mut self, node: NodeId, labels: Vec<Labels>, rail: &str) {
        let inputs = self.words.node(node).inputs.clone();
        let is_join = matches!(self.words.node(node).kind, NodeKind::WindowJoin { .. });
        let count = inputs.len();
        for (place, (input, labels)) in inputs.into_iter().zip(labels).enumerate() {
            let name = match (is_join, place) {
                (true, 0) => "left".to_owned(),
                (true, _) => "right".to_owned(),
                (false, place) => format!("branch {}", place + 1),
            };
            let last = place + 1 == count;
            let branch = format!("{rail}{}", if last { "└─ " } else { "├─ " });
            paragraph(self.lines, &branch, Head::More, &name, "");
            let rail = format!("{rail}{}", if last { "   " } else { "│  " });
            self.chain(input, labels, &rail);
        }
    }

    fn describe(&self, node: NodeId, labels: &Labels) -> Description {
        let bound = &self.bounds[node.0];
        self.words.describe(node, labels, bound)
    }

    fn node(&mut self, node: NodeId, labels: &Labels, rail: &str, last: bool) {
        let number = self.numbers.len() + 1;
        self.numbers.insert(node, number);
        let description = self.describe(node, labels);
        let shared = match self.readers[node.0] {
            0 | 1 => String::new(),
            rules => format!(" ×{rules}"),
        };
        let name = format!("{number} {}{shared}", description.operator);
        let first = format!("{rail}{}", if last { "└─ " } else { "├─ " });
        let more = format!("{rail}{}", if last { "   " } else { "│  " });
        let mut does = description.does.iter();
        let text = does.next().map_or("", String::as_str);
        let text = match self.words.node(node).kind {
            NodeKind::Filter { .. } => aliased(text, &self.aliases),
            NodeKind::Project { .. } => {
                let named = description
                    .does
                    .iter()
                    .filter_map(|text| text.split_once(" = "));
                let named = named.map(|(name, text)| (text.to_owned(), name.to_owned()));
                self.aliases = named.collect();
                text.to_owned()
            }
            _ => {
                self.aliases.clear();
                text.to_owned()
            }
        };
        let start = self.lines.len();
        paragraph(self.lines, &first, Head::Operator, &name, &text);
        for line in &mut self.lines[start + 1..] {
            line.rail.clone_from(&more);
        }
        for text in does {
            paragraph(self.lines, &more, Head::More, "", text);
        }
        for (name, text) in &description.properties {
            paragraph(self.lines, &more, Head::Property, name, text);
        }
    }
}

/// A condition with the names of what the rule has named: what stands in parentheses, and calls.
fn aliased(text: &str, aliases: &[(String, String)]) -> String {
    let mut text = text.to_owned();
    for (long, name) in aliases {
        text = text.replace(&format!("({long})"), name);
        let is_call = long.ends_with(')') && long.find('(') == long.find(|c: char| !is_word(c));
        if !is_call || !balanced(long) {
            continue;
        }
        let mut from = 0;
        while let Some(at) = text[from..].find(long.as_str()) {
            let at = from + at;
            from = at + 1;
            if !text[..at].ends_with(is_word) {
                text.replace_range(at..at + long.len(), name);
                from = at + name.len();
            }
        }
    }
    text
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether the first parenthesis is closed by the last character.
fn balanced(call: &str) -> bool {
    let mut open = 0;
    let mut closed = call.char_indices().filter_map(|(at, c)| {
        open += i32::from(c == '(') - i32::from(c == ')');
        (c == ')' && open == 0).then_some(at)
    });
    closed.next() == Some(call.len() - 1)
}

/// Adds a name and a text beside it, in as many lines as it takes.
pub(super) fn paragraph(lines: &mut Vec<Line>, rail: &str, kind: Head, name: &str, text: &str) {
    let name = match kind {
        Head::Property => format!("  {name}"),
        _ => name.to_owned(),
    };
    let width = WIDTH
        .saturating_sub(rail.chars().count() + NAMES)
        .max(TEXT_MIN);
    for (place, text) in wrapped(text, width).into_iter().enumerate() {
        let (kind, name) = match place {
            0 => (kind, name.as_str()),
            _ => (Head::More, ""),
        };
        // What goes on stands two further in.
        let indent = if place > 0 { "  " } else { "" };
        lines.push(Line {
            rail: rail.to_owned(),
            kind,
            name: format!("{name:<NAMES$}"),
            text: format!("{indent}{text}"),
        });
    }
}

/// Cuts a text into lines between words; a word that is wider than a line has one to itself.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        // Lines after the first are indented.
        let room = if lines.len() > 1 { width - 2 } else { width };
        let line = lines.last_mut().expect("there is a first line");
        let length = line.chars().count();
        if length == 0 {
            line.push_str(word);
        } else if length + 1 + word.chars().count() <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
