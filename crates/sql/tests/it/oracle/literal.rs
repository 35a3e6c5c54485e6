//! Cells as SQL literals, and back: what stands in an INSERT.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{
    Expr, Insert, SetExpr, Statement, TableObject, UnaryOperator, Value as Literal,
};

use super::table::{START_MS, Value};

impl Value {
    /// The cell as a literal.
    pub fn sql(&self) -> String {
        match self {
            Value::Null => "NULL".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) if value.is_finite() => format!("{value:e}"),
            Value::Float(value) => format!("'{value}'"),
            Value::Decimal(units) => {
                let one = 10_i128.pow(18);
                let sign = if *units < 0 { "-" } else { "" };
                let units = units.unsigned_abs();
                let one = one.unsigned_abs();
                format!("{sign}{}.{:018}", units / one, units % one)
            }
            Value::Time(ms) => format!("'{}'", time_text(*ms)),
            Value::Text(text) => quoted(text),
            Value::Texts(texts) => {
                let texts: Vec<String> = texts
                    .iter()
                    .map(|text| text.as_deref().map_or("NULL".to_owned(), quoted))
                    .collect();
                format!("[{}]", texts.join(", "))
            }
        }
    }
}

/// A text literal; control characters would break the lines of a file.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Milliseconds since 1970 as `2023-11-15T00:00:07.250Z`.
pub fn time_text(ms: i64) -> String {
    let array = arrow::array::TimestampMillisecondArray::from(vec![ms]).with_timezone("UTC");
    arrow::util::display::array_value_to_string(&array, 0).unwrap()
}

/// A time: RFC 3339, or a time of the first day of tests such as `00:00:07.25` or `1d 02:00:00`.
fn time_ms(text: &str) -> Result<i64, String> {
    let unreadable = || format!("`{text}` is no time; write 00:00:07 or 2023-11-15T00:00:07Z");
    if text.contains('T') {
        let parsed = arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text);
        return parsed
            .map(|nanos| nanos.div_euclid(1_000_000))
            .map_err(|_| unreadable());
    }
    let (days, clock) = match text.split_once("d ") {
        Some((days, clock)) => (days.parse::<i64>().map_err(|_| unreadable())?, clock),
        None => (0, text),
    };
    let parts: Vec<&str> = clock.split(':').collect();
    let [hours, minutes, seconds] = parts.as_slice() else {
        return Err(unreadable());
    };
    let whole = |part: &str| part.parse::<i64>().map_err(|_| unreadable());
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let fraction = format!("{fraction:0<3}");
    let minutes = (days * 24 + whole(hours)?) * 60 + whole(minutes)?;
    Ok(START_MS + (minutes * 60 + whole(seconds)?) * 1000 + whole(&fraction[..3])?)
}

/// What `INSERT INTO table (columns) VALUES …` says: the table, the columns, and the rows.
pub struct Insertion {
    pub table: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

/// Reads an INSERT; `kind` gives the type of a table's column.
pub fn insertion(
    statement: &Statement,
    kind: impl Fn(&str, &str) -> Option<DataType>,
) -> Result<Insertion, String> {
    let Statement::Insert(Insert {
        table: TableObject::TableName(table),
        columns,
        source: Some(source),
        ..
    }) = statement
    else {
        return Err("write INSERT INTO events (columns) VALUES …".to_owned());
    };
    let SetExpr::Values(values) = source.body.as_ref() else {
        return Err("write VALUES after INSERT INTO".to_owned());
    };
    let table = table.to_string();
    let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
    let kinds = columns.iter().map(|column| {
        kind(&table, column).ok_or_else(|| format!("`{table}` has no column `{column}`"))
    });
    let kinds: Vec<DataType> = kinds.collect::<Result<_, _>>()?;
    let mut rows = Vec::with_capacity(values.rows.len());
    for row in &values.rows {
        let row: Vec<&Expr> = row.content.iter().collect();
        if row.len() != columns.len() {
            return Err(format!(
                "{} values for {} columns",
                row.len(),
                columns.len()
            ));
        }
        let cells = row
            .iter()
            .zip(&columns)
            .zip(&kinds)
            .map(|((expr, column), kind)| {
                cell(expr, kind).map_err(|error| format!("{column}: {error}"))
            });
        rows.push(cells.collect::<Result<_, _>>()?);
    }
    Ok(Insertion {
        table,
        columns,
        rows,
    })
}

fn integer(expr: &Expr) -> Result<i64, String> {
    number(expr)?
        .parse()
        .map_err(|_| format!("`{expr}` is no whole number"))
}

/// The digits of a number, its sign before them.
fn number(expr: &Expr) -> Result<String, String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Literal::Number(number, _) => Ok(number.to_string()),
            Literal::SingleQuotedString(text) => Ok(text.clone()),
            _ => Err(format!("`{expr}` is no number")),
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => Ok(format!("-{}", number(expr)?)),
        _ => Err(format!("`{expr}` is no number")),
    }
}

fn text(expr: &Expr) -> Result<&str, String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Literal::SingleQuotedString(text) => Ok(text),
            _ => Err(format!("`{expr}` is no text")),
        },
        _ => Err(format!("`{expr}` is no text")),
    }
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if value.value == Literal::Null)
}

fn cell(expr: &Expr, kind: &DataType) -> Result<Value, String> {
    if is_null(expr) {
        return Ok(Value::Null);
    }
    Ok(match kind {
        DataType::Boolean => match expr {
            Expr::Value(value) => match value.value {
                Literal::Boolean(value) => Value::Bool(value),
                _ => return Err(format!("`{expr}` is neither true nor false")),
            },
            _ => return Err(format!("`{expr}` is neither true nor false")),
        },
        DataType::Int64 | DataType::Int32 => Value::Int(integer(expr)?),
        DataType::Float64 => Value::Float(
            number(expr)?
                .parse()
                .map_err(|_| format!("`{expr}` is no number"))?,
        ),
        DataType::Decimal128(..) => Value::Decimal(decimal(&number(expr)?)?),
        DataType::Timestamp(..) => Value::Time(time_ms(text(expr)?)?),
        DataType::Utf8View => Value::Text(text(expr)?.into()),
        DataType::List(_) => match expr {
            Expr::Array(array) => {
                let texts = array.elem.iter().map(|item| {
                    if is_null(item) {
                        return Ok(None);
                    }
                    text(item).map(|text| Some(Arc::from(text)))
                });
                Value::Texts(texts.collect::<Result<_, String>>()?)
            }
            _ => return Err(format!("`{expr}` is no list; write ['a', 'b']")),
        },
        other => return Err(format!("no literal is of {other}")),
    })
}

fn decimal(text: &str) -> Result<i128, String> {
    let unreadable = || format!("`{text}` is no decimal of at most 18 places");
    let (digits, negative) = match text.strip_prefix('-') {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    let (whole, places) = digits.split_once('.').unwrap_or((digits, ""));
    if places.len() > 18 {
        return Err(unreadable());
    }
    let units: i128 = format!("{whole}{places:0<18}")
        .parse()
        .map_err(|_| unreadable())?;
    Ok(if negative { -units } else { units })
}
