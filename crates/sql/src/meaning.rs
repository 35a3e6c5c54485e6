//! The canonical text of an expression: two expressions over the same input have the same text exactly
//! if they mean the same.
//!
//! Nodes of a program are shared, and state is kept over a reload, by this text, so nothing that a
//! rule can write may be ambiguous in it: a column is its place in the input (`requests#3`), whatever
//! a query calls its table, and a literal carries its type, text escaped and bytes whole.

use std::fmt::Write;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::Expr;

/// The canonical text of expressions over `input`.
pub(crate) fn meaning<'e>(
    expressions: impl IntoIterator<Item = &'e Expr>,
    input: &DFSchema,
) -> Result<String> {
    let mut text = String::new();
    for expr in expressions {
        if !text.is_empty() {
            text.push_str(", ");
        }
        let canonical = expr.clone().transform(|expr| {
            let name = match &expr {
                Expr::Column(column) => {
                    let place = input.index_of_column(column)?;
                    let plain = |c: char| {
                        if c.is_ascii_alphanumeric() || c == '_' {
                            c
                        } else {
                            '_'
                        }
                    };
                    format!(
                        "{}#{place}",
                        column.name.chars().map(plain).collect::<String>()
                    )
                }
                Expr::Literal(value, _) => literal(value)?,
                _ => return Ok(Transformed::no(expr)),
            };
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(
                name,
            ))))
        })?;
        // Writing to a String cannot fail.
        let _ = write!(text, "{}", canonical.data);
    }
    Ok(text)
}

fn literal(value: &ScalarValue) -> Result<String> {
    let kind = value.data_type();
    if value.is_null() {
        return Ok(format!("{kind}(NULL)"));
    }
    if let Some(text) = value.try_as_str().flatten() {
        return Ok(format!("{kind}({text:?})"));
    }
    Ok(match value {
        ScalarValue::Binary(Some(bytes))
        | ScalarValue::LargeBinary(Some(bytes))
        | ScalarValue::BinaryView(Some(bytes))
        | ScalarValue::FixedSizeBinary(_, Some(bytes)) => {
            let hex = bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>();
            format!("{kind}(0x{hex})")
        }
        _ if kind.is_nested() => format!("{kind}({:?})", value.to_array()?.to_data()),
        other => format!("{kind}({other})"),
    })
}
