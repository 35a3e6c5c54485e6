//! Warnings: what runs as it is written, and may not be what its author wants.
//!
//! ```text
//! warning: the rule compares with 50, and its header does not say where that comes from
//!   --> sql/rules/bursts.sql:9:20
//!    |
//!  9 | HAVING count(*) >= 50
//!    |                    ^^
//!    = help: add thresholds = "50 is …" to the header: whoever is woken by it will ask
//! ```
//!
//! - A rule that compares with a number, and says nothing of `thresholds`. Only `<`, `<=`, `>`, `>=` and
//!   BETWEEN count, since `status = 401` is a code; nor does 0, which asks whether there is any.
//! - A view that no rule reads, itself or through others, unless its header says why it is there.
//! - An integer that is made a float, summed or not, only to be compared with a whole number.
//!
//! A warning never changes what a rule finds, nor whether it loads.

use std::collections::BTreeSet;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::compile::RuleFiles;
use crate::header::{RuleHeader, parse_view_header};
use crate::problem::{Level, Place, Problem, SourceFile, find, tokens};

/// A rule directory that loaded.
pub(crate) struct Reviewed<'a> {
    pub(crate) files: &'a RuleFiles,
    /// The views that rules read.
    pub(crate) read: BTreeSet<&'a str>,
    /// The headers of the rules, in their order.
    pub(crate) headers: Vec<&'a RuleHeader>,
    /// The plan of a file as it is written, before anything is optimised.
    pub(crate) plan: &'a dyn Fn(&SourceFile) -> Option<LogicalPlan>,
}

/// All warnings, rules first, in the order of the files.
pub(crate) fn warnings(reviewed: &Reviewed<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (file, header) in reviewed.files.rules.iter().zip(&reviewed.headers) {
        if header.thresholds.is_none() {
            problems.extend(unexplained(file));
        }
        problems.extend(needless_floats(file, reviewed));
    }
    for file in &reviewed.files.views {
        if !reviewed.read.contains(file.name()) {
            problems.extend(unread(file));
        }
        problems.extend(needless_floats(file, reviewed));
    }
    problems
        .into_iter()
        .map(|problem| Problem {
            level: Level::Warning,
            ..problem
        })
        .collect()
}

fn unread(file: &SourceFile) -> Option<Problem> {
    let header = parse_view_header(file).unwrap_or_default();
    header.unread.is_none().then(|| {
        let message = format!("no rule reads the view `{}`", file.name());
        Problem::new(file, find(file, &[]), message)
            .help("delete it, or say in its header what it is kept for: unread = \"…\"")
    })
}

/// The numbers that a query compares with, where its header says nothing of them.
fn unexplained(file: &SourceFile) -> Option<Problem> {
    let tokens = tokens(file);
    let mut thresholds: Vec<(&TokenWithSpan, &str)> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Token::Number(number, _) = &token.token else {
            continue;
        };
        let is_zero = number.parse::<f64>().is_ok_and(|number| number == 0.0);
        if !is_zero && is_compared(&tokens, at) {
            thresholds.push((token, number));
        }
    }
    let place = Place::of_span(thresholds.first()?.0.span)?;
    let mut numbers: Vec<&str> = Vec::new();
    for (_, number) in thresholds {
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    let (last, others) = numbers.split_last()?;
    let list = match others {
        [] => (*last).to_owned(),
        _ => format!("{} and {last}", others.join(", ")),
    };
    let (it, is) = match others {
        [] => ("that comes", "is"),
        _ => ("they come", "are"),
    };
    let message =
        format!("the rule compares with {list}, and its header does not say where {it} from");
    let help = format!(
        "add thresholds = \"{list} {is} …\" to the header: whoever is woken by it will ask"
    );
    Some(Problem::new(file, place, message).help(help))
}

/// Whether the number at a place stands beside a comparison that is no equality.
fn is_compared(tokens: &[TokenWithSpan], at: usize) -> bool {
    let token = |at: Option<usize>| at.and_then(|at| tokens.get(at)).map(|token| &token.token);
    let is_order = |token: Option<&Token>| {
        matches!(
            token,
            Some(Token::Lt | Token::LtEq | Token::Gt | Token::GtEq)
        )
    };
    let is_word = |token: Option<&Token>, word: &str| matches!(token, Some(Token::Word(found)) if found.value.eq_ignore_ascii_case(word));
    // ROWS BETWEEN 5 PRECEDING AND … is a frame.
    let after = token(Some(at + 1));
    if is_word(after, "preceding") || is_word(after, "following") {
        return false;
    }
    // A sign belongs to its number.
    let before = match token(at.checked_sub(1)) {
        Some(Token::Minus | Token::Plus) => at.checked_sub(2),
        _ => at.checked_sub(1),
    };
    let between = is_word(token(before), "between")
        // BETWEEN low AND high, where the low one is a number or a name.
        || is_word(token(before), "and")
            && before.is_some_and(|and| {
                (2..=3).any(|back| is_word(token(and.checked_sub(back)), "between"))
            });
    is_order(token(before)) || is_order(after) || between
}

/// Comparisons of a float that is an integer's with a whole number.
fn needless_floats(file: &SourceFile, reviewed: &Reviewed<'_>) -> Vec<Problem> {
    let Some(plan) = (reviewed.plan)(file) else {
        return Vec::new();
    };
    let mut columns: BTreeSet<String> = BTreeSet::new();
    // The visitors never fail.
    let _ = plan.apply(|node| {
        if let LogicalPlan::Filter(filter) = node {
            let below = Below {
                schema: filter.input.schema(),
                aggregate: match filter.input.as_ref() {
                    LogicalPlan::Aggregate(aggregate) => Some(aggregate),
                    _ => None,
                },
            };
            let _ = filter.predicate.apply(|expr| {
                columns.extend(below.needless_float(expr));
                Ok(TreeNodeRecursion::Continue)
            });
        }
        Ok(TreeNodeRecursion::Continue)
    });
    columns
        .iter()
        .map(|column| {
            let near = [
                format!("CAST ( {column} AS"),
                format!("{column} :: "),
                "CAST".to_owned(),
            ];
            let message = format!(
                "`{column}` is an integer, and is made a float to be compared with a whole number"
            );
            Problem::new(file, find(file, &near), message).help(format!(
                "write `{column}` without the CAST: integers are exact, and faster"
            ))
        })
        .collect()
}

/// What a filter stands on.
struct Below<'a> {
    schema: &'a DFSchema,
    aggregate: Option<&'a Aggregate>,
}

impl Below<'_> {
    /// The integer column of a comparison that needs no float.
    fn needless_float(&self, expr: &Expr) -> Option<String> {
        let Expr::BinaryExpr(binary) = expr else {
            return None;
        };
        let is_comparison = matches!(
            binary.op,
            Operator::Eq
                | Operator::NotEq
                | Operator::Lt
                | Operator::LtEq
                | Operator::Gt
                | Operator::GtEq
        );
        if !is_comparison {
            return None;
        }
        match (binary.left.as_ref(), binary.right.as_ref()) {
            (float, number) if is_whole(number) => self.float_of_integer(float),
            (number, float) if is_whole(number) => self.float_of_integer(float),
            _ => None,
        }
    }

    fn float_of_integer(&self, expr: &Expr) -> Option<String> {
        if let Some(column) = cast_integer(expr, self.schema) {
            return Some(column);
        }
        // HAVING names an aggregate by its column.
        let (Expr::Column(column), Some(aggregate)) = (expr, self.aggregate) else {
            return None;
        };
        let at = aggregate.schema.maybe_index_of_column(column)?;
        let computed = aggregate
            .aggr_expr
            .get(at.checked_sub(aggregate.group_expr.len())?)?;
        let Expr::AggregateFunction(function) = computed.clone().unalias() else {
            return None;
        };
        let stays_whole = ["sum", "min", "max"].contains(&function.func.name());
        let argument = function.params.args.first().filter(|_| stays_whole)?;
        cast_integer(argument, aggregate.input.schema())
    }
}

/// The column of `CAST(column AS DOUBLE)` where it is an integer.
fn cast_integer(expr: &Expr, schema: &DFSchema) -> Option<String> {
    let Expr::Cast(cast) = expr else {
        return None;
    };
    let Expr::Column(column) = cast.expr.as_ref() else {
        return None;
    };
    let from = cast.expr.get_type(schema).ok()?;
    let to = expr.get_type(schema).ok()?;
    (to.is_floating() && from.is_integer()).then(|| column.name.clone())
}

/// Whether a literal is a whole number.
fn is_whole(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Float64(Some(number)), _) => number.fract() == 0.0,
        Expr::Literal(value, _) => value.data_type().is_integer(),
        _ => false,
    }
}
