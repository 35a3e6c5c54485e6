//! A physical expression as an analyst would have written it.
//!
//! ```text
//!   get_field(baseline@8, surprise) > 4 AND ip_kind@3 != vpn AND ip_kind@3 != tor
//!   baseline['surprise'] > 4 AND ip_kind NOT IN ('vpn', 'tor')
//! ```
//!
//! The optimiser has taken IN lists and `coalesce` apart; they are put together again. Columns are
//! written by the caller, who knows what those without a name of their own stand for.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr,
    Literal, NegativeExpr, NotExpr, TryCastExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

/// An expression's text, and how strongly it holds together beside operators.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) text: String,
    strength: u8,
}

const OR: u8 = 5;
const AND: u8 = 10;
const NOT: u8 = 12;
const COMPARED: u8 = 15;
const ATOM: u8 = u8::MAX;
/// Longer definitions are cut short where they stand for a column.
const DEFINITION_MAX: usize = 240;

impl Text {
    /// A name, or what stands in parentheses of its own.
    pub(super) fn atom(text: impl Into<String>) -> Text {
        Text {
            text: text.into(),
            strength: ATOM,
        }
    }

    fn of(strength: u8, text: String) -> Text {
        Text { text, strength }
    }

    /// The text beside an operator of a strength.
    fn beside(&self, strength: u8) -> String {
        if self.strength < strength {
            format!("({})", self.text)
        } else {
            self.text.clone()
        }
    }

    /// The same, of a length that a line can hold.
    pub(super) fn cut(self) -> Text {
        match self.text.char_indices().nth(DEFINITION_MAX) {
            Some((at, _)) => Text::atom(format!("{}…", &self.text[..at])),
            None => self,
        }
    }
}

/// Writes columns, by their number.
pub(super) type Columns<'c> = &'c dyn Fn(usize) -> Text;

/// The text of an expression.
pub(super) fn written(expr: &Arc<dyn PhysicalExpr>, columns: Columns<'_>) -> Text {
    let of = |expr: &Arc<dyn PhysicalExpr>| written(expr, columns);
    let list = |all: &[Arc<dyn PhysicalExpr>]| {
        let texts = all.iter().map(|expr| of(expr).text);
        texts.collect::<Vec<_>>().join(", ")
    };
    if let Some(column) = expr.downcast_ref::<Column>() {
        columns(column.index())
    } else if let Some(literal) = expr.downcast_ref::<Literal>() {
        Text::atom(literal_text(literal.value()))
    } else if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        binary_text(binary, columns)
    } else if let Some(not) = expr.downcast_ref::<NotExpr>() {
        Text::of(NOT, format!("NOT {}", of(not.arg()).beside(NOT)))
    } else if let Some(null) = expr.downcast_ref::<IsNullExpr>() {
        let argument = of(null.arg()).beside(COMPARED + 1);
        Text::of(COMPARED, format!("{argument} IS NULL"))
    } else if let Some(null) = expr.downcast_ref::<IsNotNullExpr>() {
        let argument = of(null.arg()).beside(COMPARED + 1);
        Text::of(COMPARED, format!("{argument} IS NOT NULL"))
    } else if let Some(minus) = expr.downcast_ref::<NegativeExpr>() {
        Text::of(50, format!("-{}", of(minus.arg()).beside(50)))
    } else if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        Text::atom(cast_text("CAST", &of(cast.expr()), cast.cast_type()))
    } else if let Some(cast) = expr.downcast_ref::<TryCastExpr>() {
        Text::atom(cast_text("TRY_CAST", &of(cast.expr()), cast.cast_type()))
    } else if let Some(within) = expr.downcast_ref::<InListExpr>() {
        let not = if within.negated() { " NOT" } else { "" };
        let value = of(within.expr()).beside(COMPARED + 1);
        let values = list(within.list());
        Text::of(COMPARED, format!("{value}{not} IN ({values})"))
    } else if let Some(like) = expr.downcast_ref::<LikeExpr>() {
        let not = if like.negated() { " NOT" } else { "" };
        let name = if like.case_insensitive() {
            "ILIKE"
        } else {
            "LIKE"
        };
        let [value, pattern] = [like.expr(), like.pattern()].map(|side| of(side).beside(30));
        Text::of(COMPARED, format!("{value}{not} {name} {pattern}"))
    } else if let Some(case) = expr.downcast_ref::<CaseExpr>() {
        case_text(case, columns)
    } else if let Some(function) = expr.downcast_ref::<ScalarFunctionExpr>() {
        match (function.name(), function.args()) {
            ("get_field", [value, fields @ ..]) => {
                let fields = fields.iter().map(|field| format!("[{}]", of(field).text));
                let value = of(value).beside(ATOM);
                Text::atom(format!("{value}{}", fields.collect::<String>()))
            }
            (name, args) => {
                let name = name.trim_start_matches('_');
                Text::atom(format!("{name}({})", list(args)))
            }
        }
    } else {
        Text::of(0, expr.to_string())
    }
}

fn binary_text(binary: &BinaryExpr, columns: Columns<'_>) -> Text {
    match binary.op() {
        Operator::And => chain(binary, Operator::NotEq, columns),
        Operator::Or => chain(binary, Operator::Eq, columns),
        op => {
            let strength = op.precedence();
            let name = match op {
                Operator::NotEq => "<>".to_owned(),
                op => op.to_string(),
            };
            let left = written(binary.left(), columns).beside(match op {
                // a = (b = c) is not a = b = c.
                Operator::Eq | Operator::NotEq => strength + 1,
                _ => strength,
            });
            let right = written(binary.right(), columns).beside(strength + 1);
            Text::of(strength, format!("{left} {name} {right}"))
        }
    }
}

/// A chain of AND or OR, its comparisons of one value with several literals as one list.
fn chain(binary: &BinaryExpr, compared: Operator, columns: Columns<'_>) -> Text {
    let op = binary.op();
    let (strength, word, list) = match op {
        Operator::And => (AND, " AND ", "NOT IN"),
        _ => (OR, " OR ", "IN"),
    };
    let mut links = Vec::new();
    flatten(binary.left(), *op, &mut links);
    flatten(binary.right(), *op, &mut links);
    // The value of each link, where it is compared with literals, and its texts.
    let mut parts: Vec<(Option<String>, Vec<String>)> = Vec::new();
    for link in links {
        let pair = link.downcast_ref::<BinaryExpr>().and_then(|link| {
            let literal = link.right().downcast_ref::<Literal>()?;
            (*link.op() == compared).then(|| {
                let value = written(link.left(), columns).beside(COMPARED + 1);
                (value, literal_text(literal.value()))
            })
        });
        match (pair, parts.last_mut()) {
            (Some((value, literal)), Some((Some(last), literals))) if *last == value => {
                literals.push(literal);
            }
            (Some((value, literal)), _) => parts.push((Some(value), vec![literal])),
            (None, _) => parts.push((None, vec![written(link, columns).beside(strength)])),
        }
    }
    let sign = if *op == Operator::And { "<>" } else { "=" };
    let mut texts = parts
        .iter()
        .map(|(value, texts)| match (value, &texts[..]) {
            (Some(value), [literal]) => format!("{value} {sign} {literal}"),
            (Some(value), literals) => format!("{value} {list} ({})", literals.join(", ")),
            (None, texts) => texts.concat(),
        });
    let text = texts.by_ref().collect::<Vec<_>>().join(word);
    let strength = match &parts[..] {
        [_] => COMPARED,
        _ => strength,
    };
    Text::of(strength, text)
}

fn flatten<'e>(
    expr: &'e Arc<dyn PhysicalExpr>,
    op: Operator,
    links: &mut Vec<&'e Arc<dyn PhysicalExpr>>,
) {
    match expr.downcast_ref::<BinaryExpr>() {
        Some(binary) if *binary.op() == op => {
            flatten(binary.left(), op, links);
            flatten(binary.right(), op, links);
        }
        _ => links.push(expr),
    }
}

fn case_text(case: &CaseExpr, columns: Columns<'_>) -> Text {
    let of = |expr: &Arc<dyn PhysicalExpr>| written(expr, columns).text;
    let branches = case.when_then_expr();
    if let (None, [(when, then)], Some(otherwise)) = (case.expr(), branches, case.else_expr())
        && let Some(present) = when.downcast_ref::<IsNotNullExpr>()
        && present.arg() == then
    {
        return Text::atom(format!("coalesce({}, {})", of(then), of(otherwise)));
    }
    let mut text = String::from("CASE");
    if let Some(value) = case.expr() {
        text += &format!(" {}", of(value));
    }
    for (when, then) in branches {
        text += &format!(" WHEN {} THEN {}", of(when), of(then));
    }
    if let Some(otherwise) = case.else_expr() {
        text += &format!(" ELSE {}", of(otherwise));
    }
    Text::atom(text + " END")
}

fn cast_text(word: &str, value: &Text, to: &DataType) -> String {
    let to = match to {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "TEXT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "REAL".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Timestamp(..) => "TIMESTAMP".to_owned(),
        other => other.to_string(),
    };
    format!("{word}({} AS {to})", value.text)
}

/// A literal as SQL writes it, on one line.
pub(super) fn literal_text(value: &ScalarValue) -> String {
    if value.is_null() {
        return "NULL".to_owned();
    }
    if let Some(text) = value.try_as_str().flatten() {
        return quoted(text);
    }
    match value {
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            let ms = i64::from(interval.days) * 86_400_000 + interval.nanoseconds / 1_000_000;
            format!("INTERVAL '{}'", duration(ms))
        }
        _ if value.data_type().is_temporal() => {
            let text = value
                .to_array()
                .and_then(|array| Ok(array_value_to_string(&array, 0)?));
            quoted(&text.unwrap_or_else(|_| value.to_string()))
        }
        other => other.to_string(),
    }
}

/// Text in quotes, without anything that moves a cursor.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| match c {
        '\'' => "''".to_owned(),
        c if c.is_control() => c.escape_unicode().to_string(),
        c => c.to_string(),
    };
    format!("'{}'", text.chars().map(plain).collect::<String>())
}

/// A length of time as people write it: `10m`, `1h 30m`.
pub(super) fn duration(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    // Days are the longest unit: how long a month is depends on which.
    const DAY_MS: u64 = 86_400_000;
    let (days, rest) = (ms.unsigned_abs() / DAY_MS, ms.unsigned_abs() % DAY_MS);
    let rest = humantime::format_duration(Duration::from_millis(rest)).to_string();
    match (days, rest.as_str()) {
        (0, rest) => format!("{sign}{rest}"),
        (days, "0s") => format!("{sign}{days}d"),
        (days, rest) => format!("{sign}{days}d {rest}"),
    }
}
