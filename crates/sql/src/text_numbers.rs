//! `count(DISTINCT text)` of a batch run, by the text's number.
//!
//! ```text
//!   count(DISTINCT client_ip)   ─▶   count(DISTINCT __text_number(client_ip))     203.0.113.7 ↦ 0
//!                                                                                 198.51.100.2 ↦ 1
//! ```
//!
//! DataFusion counts distinct integers of all groups in one set, and distinct texts in a set a group, to
//! which it hands the rows group by group. Two texts have one number only if they are equal, so the counts
//! are the same.
//!
//! State: each distinct text once, for as long as the plan runs.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, UInt64Array};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{
    Aggregate, ColumnarValue, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::binary_map::OutputType;
use datafusion::physical_expr_common::binary_view_map::ArrowBytesViewMap;

/// The node, with the numbers of texts counted where it counts distinct texts.
pub(crate) fn count_text_numbers(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Aggregate(aggregate) = &node else {
        return Ok(Transformed::no(node));
    };
    let schema = aggregate.input.schema();
    let mut is_changed = false;
    let mut exprs = Vec::with_capacity(aggregate.aggr_expr.len());
    for expr in &aggregate.aggr_expr {
        let name = expr.schema_name().to_string();
        let numbered = expr.clone().transform_down(|expr| match expr {
            Expr::AggregateFunction(function) => match text_of(&function) {
                Some(text) if text.get_type(schema)? == DataType::Utf8View => {
                    Ok(Transformed::yes(numbered(function)))
                }
                _ => Ok(Transformed::no(Expr::AggregateFunction(function))),
            },
            other => Ok(Transformed::no(other)),
        })?;
        is_changed |= numbered.transformed;
        // What reads the aggregate knows it by this name.
        exprs.push(numbered.data.alias_if_changed(name)?);
    }
    if !is_changed {
        return Ok(Transformed::no(node));
    }
    let input = Arc::clone(&aggregate.input);
    let aggregate = Aggregate::try_new(input, aggregate.group_expr.clone(), exprs)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}

/// The argument of a count of distinct values.
fn text_of(function: &AggregateFunction) -> Option<&Expr> {
    let is_count = function.func.name() == "count" && function.params.distinct;
    match function.params.args.as_slice() {
        [text] if is_count => Some(text),
        _ => None,
    }
}

fn numbered(mut function: AggregateFunction) -> Expr {
    let number = Arc::new(ScalarUDF::from(TextNumber::new()));
    let args = std::mem::take(&mut function.params.args);
    function.params.args = args
        .into_iter()
        .map(|text| number.call(vec![text]))
        .collect();
    Expr::AggregateFunction(function)
}

/// Numbers texts in the order in which they are first seen.
#[derive(Clone)]
struct TextNumber {
    signature: Signature,
    numbers: Arc<Mutex<ArrowBytesViewMap<u64>>>,
}

impl TextNumber {
    fn new() -> Self {
        TextNumber {
            // The same text has the same number for as long as the function lives.
            signature: Signature::exact(vec![DataType::Utf8View], Volatility::Immutable),
            numbers: Arc::new(Mutex::new(ArrowBytesViewMap::new(OutputType::Utf8View))),
        }
    }
}

impl fmt::Debug for TextNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TextNumber")
    }
}

impl PartialEq for TextNumber {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.numbers, &other.numbers)
    }
}

impl Eq for TextNumber {}

impl Hash for TextNumber {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.numbers).hash(state);
    }
}

impl ScalarUDFImpl for TextNumber {
    fn name(&self) -> &str {
        "__text_number"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::UInt64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = matches!(args.args[0], ColumnarValue::Scalar(_));
        let texts = args.args[0].to_array(args.number_rows)?;
        let nulls = texts.logical_nulls();
        let mut given = Vec::with_capacity(texts.len());
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = numbers.len() as u64;
        let number = |_: Option<&[u8]>| {
            next += 1;
            next - 1
        };
        numbers.insert_if_new(&texts, number, |number| given.push(number));
        drop(numbers);
        let given = UInt64Array::new(given.into(), nulls);
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&given, 0)?),
            false => ColumnarValue::Array(Arc::new(given)),
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, StringViewArray};
    use arrow::datatypes::{Field, UInt64Type};
    use datafusion::config::ConfigOptions;

    use super::*;

    fn numbers(function: &TextNumber, texts: &[Option<&str>]) -> UInt64Array {
        let texts: StringViewArray = texts.iter().collect();
        let rows = texts.len();
        let args = ScalarFunctionArgs {
            args: vec![ColumnarValue::Array(Arc::new(texts) as ArrayRef)],
            arg_fields: vec![Arc::new(Field::new("text", DataType::Utf8View, true))],
            number_rows: rows,
            return_field: Arc::new(Field::new("number", DataType::UInt64, true)),
            config_options: Arc::new(ConfigOptions::default()),
        };
        let numbers = function.invoke_with_args(args).unwrap();
        numbers
            .into_array(rows)
            .unwrap()
            .as_primitive::<UInt64Type>()
            .clone()
    }

    #[test]
    fn a_text_keeps_its_number_and_null_has_none() {
        let function = TextNumber::new();
        let long = "a text of more than twelve bytes";
        let first = numbers(&function, &[Some("a"), None, Some(long), Some("a")]);
        assert_eq!(first.value(0), first.value(3));
        assert_ne!(first.value(0), first.value(2));
        assert!(first.is_null(1));
        let second = numbers(&function, &[Some(long), Some("b"), None, Some("")]);
        assert_eq!(second.value(0), first.value(2));
        let new = [second.value(1), second.value(3)];
        assert!(!new.contains(&first.value(0)) && !new.contains(&first.value(2)));
        assert_ne!(new[0], new[1]);
    }
}
