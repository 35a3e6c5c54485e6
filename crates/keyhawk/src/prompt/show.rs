//! Answers as text that a person reads.
//!
//! ```text
//!   ┌─────────┬──────────┐        a table, where the terminal is wide enough or there is none
//!   │ api_key ┆ requests │        numbers stand to the right
//!   ╞═════════╪══════════╡
//!   │ k1      ┆      120 │
//!   └─────────┴──────────┘
//!   row 1                         one row below the other, where it is not
//!     api_key   k1
//!     requests  120
//! ```
//!
//! Values come from outside: what would steer a terminal is written as its escape.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use keyhawk_sql::{Answer, Kind, Relation};

use crate::rule_set::count;

/// Rows of an answer that are shown.
const ROWS_SHOWN: usize = 100;

/// The first rows of an answer, and a remark on how many there are. `width` is the terminal's, in columns.
pub(super) fn answer(
    answer: &Answer,
    width: Option<usize>,
) -> Result<(String, String), ArrowError> {
    let rows: usize = answer.batches.iter().map(RecordBatch::num_rows).sum();
    let cells = cells(&answer.batches)?;
    let table = table(&answer.schema, &cells);
    let is_wider = |width| table.lines().any(|line| line.chars().count() > width);
    let text = match width {
        Some(width) if !cells.is_empty() && is_wider(width) => records(&answer.schema, &cells),
        _ => table,
    };
    let remark = match rows {
        _ if rows > cells.len() => {
            format!("{} rows, the first {} of them shown", rows, cells.len())
        }
        _ => count(rows, "row"),
    };
    Ok((text, remark))
}

/// The values of the rows that are shown.
fn cells(batches: &[RecordBatch]) -> Result<Vec<Vec<String>>, ArrowError> {
    let options = FormatOptions::new().with_null("NULL");
    let mut cells = Vec::new();
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows().min(ROWS_SHOWN - cells.len()) {
            let value = |column: &ArrayFormatter<'_>| {
                let text = column.value(row).try_to_string()?;
                Ok(printable(&text))
            };
            cells.push(
                columns
                    .iter()
                    .map(value)
                    .collect::<Result<_, ArrowError>>()?,
            );
        }
    }
    Ok(cells)
}

fn table(schema: &SchemaRef, rows: &[Vec<String>]) -> String {
    let mut table = framed();
    let names = schema.fields().iter().map(|field| printable(field.name()));
    table.set_header(names);
    for row in rows {
        let cells = row.iter().zip(schema.fields()).map(|(value, field)| {
            let alignment = match field.data_type().is_numeric() {
                true => CellAlignment::Right,
                false => CellAlignment::Left,
            };
            Cell::new(value).set_alignment(alignment)
        });
        table.add_row(cells);
    }
    format!("{table}\n")
}

fn records(schema: &SchemaRef, rows: &[Vec<String>]) -> String {
    let names: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| printable(field.name()))
        .collect();
    let longest = names.iter().map(|name| name.chars().count()).max();
    let longest = longest.unwrap_or_default();
    let mut text = String::new();
    for (row, number) in rows.iter().zip(1..) {
        text.push_str(&format!("row {number}\n"));
        for (name, value) in names.iter().zip(row) {
            text.push_str(&format!("  {name:longest$}  {value}\n"));
        }
    }
    text
}

/// The tables and views.
pub(super) fn relations(relations: &[Relation]) -> String {
    let mut table = framed();
    table.set_header(["name", "is", "columns"]);
    for relation in relations {
        let kind = match relation.kind {
            Kind::Events => "the history",
            Kind::View => "a view",
            Kind::Table => "a reference table",
        };
        let columns = Cell::new(relation.schema.fields().len());
        table.add_row([
            Cell::new(&relation.name),
            Cell::new(kind),
            columns.set_alignment(CellAlignment::Right),
        ]);
    }
    format!("{table}\n")
}

/// The columns of one of them.
pub(super) fn columns(relation: &Relation) -> String {
    let mut table = framed();
    table.set_header([format!("{}: column", relation.name), "type".to_owned()]);
    for field in relation.schema.fields() {
        table.add_row([printable(field.name()), type_name(field.data_type())]);
    }
    format!("{table}\n")
}

fn framed() -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// A type as the README names it.
fn type_name(kind: &DataType) -> String {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision}, {scale})"),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::Float64 => "float".to_owned(),
        kind if kind.is_integer() => "integer".to_owned(),
        DataType::List(item) => format!("list of {}", type_name(item.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| format!("{} {}", field.name(), type_name(field.data_type())))
                .collect();
            format!("struct ({})", fields.join(", "))
        }
        kind => kind.to_string(),
    }
}

/// Without characters that a terminal obeys, or that turn the direction of a text.
fn printable(text: &str) -> String {
    let is_plain = |c: char| {
        !(c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
    };
    if text.chars().all(is_plain) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match is_plain(c) {
            true => shown.push(c),
            false => shown.extend(c.escape_default()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn rows(numbers: i64) -> Answer {
        let texts = (0..numbers).map(|n| (n != 1).then(|| format!("a\u{1b}[2J{n}")));
        let texts: ArrayRef = Arc::new(texts.collect::<StringArray>());
        let numbers: ArrayRef = Arc::new((0..numbers).collect::<Int64Array>());
        let batch = RecordBatch::try_from_iter([("name", texts), ("number", numbers)]).unwrap();
        Answer {
            schema: batch.schema(),
            batches: vec![batch],
        }
    }

    #[test]
    fn at_most_a_hundred_rows_are_shown_and_all_are_counted() {
        let (text, remark) = answer(&rows(250), None).unwrap();
        assert_eq!(remark, "250 rows, the first 100 of them shown");
        assert!(
            text.contains("a\\u{1b}[2J99") && !text.contains("J100"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'));
        let (text, remark) = answer(&rows(0), Some(5)).unwrap();
        assert_eq!(remark, "0 rows");
        assert!(text.contains("name") && text.contains("number"), "{text}");
    }

    #[test]
    fn a_table_wider_than_the_terminal_becomes_records() {
        let (text, _) = answer(&rows(2), Some(12)).unwrap();
        assert_eq!(
            text,
            "row 1\n  name    a\\u{1b}[2J0\n  number  0\nrow 2\n  name    NULL\n  number  1\n"
        );
        let (text, _) = answer(&rows(2), Some(80)).unwrap();
        assert!(text.starts_with('┌'), "{text}");
    }
}
