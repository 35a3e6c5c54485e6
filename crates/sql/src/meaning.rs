//! The canonical text of an expression: two expressions over the same input have the same text exactly
//! if they mean the same.
//!
//! Nodes of a program are shared, and state is kept over a reload, by this text, so nothing that a
//! rule can write may be ambiguous in it: a column is its place in the input (`⟨requests#3⟩`), whatever
//! a query calls its table, and a literal carries its type, text escaped and bytes whole. What a query
//! calls the result is no part of it.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::Expr;
use keyhawk_engine::program::column;

/// The canonical text of expressions over `input`.
pub(crate) fn meaning<'e>(
    expressions: impl IntoIterator<Item = &'e Expr>,
    input: &DFSchema,
) -> Result<String> {
    Ok(meanings(expressions, input)?.join(", "))
}

/// The canonical text of each expression over `input`.
pub(crate) fn meanings<'e>(
    expressions: impl IntoIterator<Item = &'e Expr>,
    input: &DFSchema,
) -> Result<Vec<String>> {
    meanings_over(expressions, input, |place, name| column(0, name, place))
}

/// The same, with columns written otherwise: `written` gets a column's place and name.
pub(crate) fn meanings_over<'e>(
    expressions: impl IntoIterator<Item = &'e Expr>,
    input: &DFSchema,
    written: impl Fn(usize, &str) -> String,
) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for expr in expressions {
        let canonical = expr.clone().transform_up(|expr| {
            let name = match expr {
                Expr::Column(column) => written(input.index_of_column(&column)?, &column.name),
                Expr::Literal(value, _) => literal(&value)?,
                Expr::Alias(alias) => return Ok(Transformed::yes(*alias.expr)),
                _ => return Ok(Transformed::no(expr)),
            };
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(
                name,
            ))))
        })?;
        texts.push(canonical.data.to_string());
    }
    Ok(texts)
}

fn literal(value: &ScalarValue) -> Result<String> {
    let kind = value.data_type();
    if value.is_null() {
        return Ok(format!("{kind}(NULL)"));
    }
    if let Some(text) = value.try_as_str().flatten() {
        // Beyond ASCII are only the marks of columns.
        return Ok(format!("{kind}(\"{}\")", text.escape_default()));
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
