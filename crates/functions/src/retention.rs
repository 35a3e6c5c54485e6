//! Retention: a key that was silent for longer than this starts anew.
//!
//! ```text
//!   rows of a key      ×  ×   ×                      ×   ×
//!   generation         0  0   0   silence > retention 1   1
//! ```
//!
//! `__retention(time, retention_ms)` stands among the keys of an OVER and says that its partitions are
//! cut so. Nobody evaluates it: the streaming operator keeps each key's last time, and for the batch the
//! planner writes the window function `__generation(time, retention_ms)` below, which numbers a key's
//! generations in the total order. A row without a time belongs to the generation of the row before it.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array},
    compute::SortOptions,
    datatypes::{DataType, Field, FieldRef, Int64Type},
};
use datafusion_expr::{
    ColumnarValue, PartitionEvaluator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, WindowUDF, WindowUDFImpl,
};
use datafusion_functions_window_common::{
    field::WindowUDFFieldArgs, partition::PartitionEvaluatorArgs,
};

use crate::{Error, Result, arguments::timestamps};

/// Name of the scalar function `(time, retention_ms)` that says in PARTITION BY how keys start anew.
pub const RETENTION: &str = "__retention";
/// Name of the window function `(time, retention_ms)` that numbers the generations of a key, from 0.
pub const GENERATION: &str = "__generation";

/// What stands in PARTITION BY in the place of a column of generations. Volatile, so that no optimizer
/// computes it in a column of its own.
pub fn retention_function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(RetentionUdf {
        signature: Signature::any(2, Volatility::Volatile),
    }))
}

/// The window function that numbers generations; in batch only.
pub fn generation_function() -> Arc<WindowUDF> {
    Arc::new(WindowUDF::from(GenerationUdf {
        signature: Signature::any(2, Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RetentionUdf {
    signature: Signature,
}

impl ScalarUDFImpl for RetentionUdf {
    fn name(&self) -> &str {
        RETENTION
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> datafusion_common::Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> datafusion_common::Result<ColumnarValue> {
        Err(Error::Argument {
            function: RETENTION,
            argument: "time",
            expected: "nobody to evaluate it: it says how an OVER is cut",
            found: "a row".to_owned(),
        }
        .into())
    }
}

#[derive(Debug)]
struct GenerationUdf {
    signature: Signature,
}

/// A function is its name: there is one of it.
impl PartialEq for GenerationUdf {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for GenerationUdf {}

impl Hash for GenerationUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        GENERATION.hash(state);
    }
}

impl WindowUDFImpl for GenerationUdf {
    fn name(&self) -> &str {
        GENERATION
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn field(&self, args: WindowUDFFieldArgs) -> datafusion_common::Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::Int64, false)))
    }

    /// Generations of a key rise, so that rows in the order of key and time are in the order of key and
    /// generation too: that is what a window partitioned by both asks of its input.
    fn sort_options(&self) -> Option<SortOptions> {
        Some(SortOptions {
            descending: false,
            nulls_first: false,
        })
    }

    fn partition_evaluator(
        &self,
        _: PartitionEvaluatorArgs,
    ) -> datafusion_common::Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(GenerationEvaluator))
    }
}

/// One partition: all rows of a key.
#[derive(Debug)]
struct GenerationEvaluator;

impl PartitionEvaluator for GenerationEvaluator {
    fn evaluate_all(
        &mut self,
        values: &[ArrayRef],
        num_rows: usize,
    ) -> datafusion_common::Result<ArrayRef> {
        let times = timestamps(values, 0)?;
        let retention_ms = retention_ms(values, num_rows)?;
        let mut last: Option<i64> = None;
        let mut generation = 0;
        let generations = times.iter().map(|time| {
            if let Some(time) = time {
                if last.is_some_and(|last| time.saturating_sub(last) > retention_ms) {
                    generation += 1;
                }
                last = Some(time);
            }
            generation
        });
        Ok(Arc::new(Int64Array::from_iter_values(generations)))
    }
}

/// The retention is a literal, the same in every row.
fn retention_ms(values: &[ArrayRef], num_rows: usize) -> Result<i64> {
    let literal = values
        .get(1)
        .and_then(|array| array.as_primitive_opt::<Int64Type>())
        .filter(|array| num_rows > 0 && array.is_valid(0))
        .map(|array| array.value(0));
    match literal {
        Some(ms) if ms >= 0 => Ok(ms),
        None if num_rows == 0 => Ok(0),
        other => Err(Error::Argument {
            function: GENERATION,
            argument: "retention_ms",
            expected: "a literal number of milliseconds",
            found: other.map_or_else(|| "null".to_owned(), |ms| ms.to_string()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampMillisecondArray;

    use super::*;

    fn generations(times: Vec<Option<i64>>, retention_ms: i64) -> Vec<i64> {
        let rows = times.len();
        let times = TimestampMillisecondArray::from(times).with_timezone("UTC");
        let retention = Int64Array::from(vec![retention_ms; rows]);
        let values: [ArrayRef; 2] = [Arc::new(times), Arc::new(retention)];
        let found = GenerationEvaluator.evaluate_all(&values, rows).unwrap();
        found.as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn a_silence_longer_than_the_retention_starts_a_generation() {
        let times = [0, 10, 20, 31, 31, 100].map(Some).to_vec();
        assert_eq!(generations(times, 10), [0, 0, 0, 1, 1, 2]);
    }

    #[test]
    fn a_row_without_a_time_changes_nothing() {
        let times = vec![None, Some(i64::MIN), None, Some(i64::MAX), None];
        assert_eq!(generations(times, 5), [0, 0, 0, 1, 1]);
        assert!(generations(vec![], 5).is_empty());
    }

    #[test]
    fn a_retention_that_is_no_length_is_an_error() {
        let times = Arc::new(TimestampMillisecondArray::from(vec![1])) as ArrayRef;
        let negative = Arc::new(Int64Array::from(vec![-1])) as ArrayRef;
        let error = GenerationEvaluator
            .evaluate_all(&[times, negative], 1)
            .unwrap_err();
        assert!(error.to_string().contains("retention_ms"), "{error}");
    }
}
