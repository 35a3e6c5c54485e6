//! The batch side of a fold: a `WindowUDF` that runs one partition through it.
//!
//! DataFusion hands a whole partition, sorted, to `evaluate_all`; the evaluator makes a fold of one key
//! and calls `update` with key 0 on every row. A frame clause has no influence: a fold sees the rows
//! from the partition's start to the current one, and those that have a frame take it as arguments.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    datatypes::{DataType, Field, FieldRef, Schema},
};
use datafusion_common::ScalarValue;
use datafusion_expr::{
    ColumnarValue, PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl,
};
use datafusion_functions_window_common::{
    field::WindowUDFFieldArgs, partition::PartitionEvaluatorArgs,
};

use crate::{Error, KeyedFold, Result};

type Coerce = fn(&[DataType]) -> Result<Vec<DataType>>;
type MakeFold = fn(&[DataType], &[Option<ScalarValue>]) -> Result<Box<dyn KeyedFold>>;

/// A window function: its name and version, its batch form, and the fold behind both forms.
#[derive(Debug, Clone)]
pub struct WindowFunction {
    /// As SQL writes it.
    pub name: &'static str,
    /// Raised whenever the values or the state bytes change, so that a fingerprint of a plan which
    /// contains it tells old state from new.
    pub version: u32,
    /// What the batch engine registers.
    pub udf: Arc<WindowUDF>,
    make: MakeFold,
}

impl WindowFunction {
    pub(crate) fn new(
        name: &'static str,
        version: u32,
        return_type: DataType,
        coerce: Coerce,
        make: MakeFold,
    ) -> Self {
        let udf = FoldUdf {
            name,
            signature: Signature::user_defined(Volatility::Immutable),
            return_type,
            coerce,
            make,
        };
        Self {
            name,
            version,
            udf: Arc::new(WindowUDF::from(udf)),
            make,
        }
    }

    /// Plans the fold for a call: `arg_types` are the types of its arguments (coerced ones, or what the
    /// coercion accepts), and `literals[i]` is the value of argument `i` where it is a literal.
    ///
    /// Errors are the mistakes of a rule's author: wrong types, or a literal missing.
    pub fn fold(
        &self,
        arg_types: &[DataType],
        literals: &[Option<ScalarValue>],
    ) -> Result<Box<dyn KeyedFold>> {
        (self.make)(arg_types, literals)
    }
}

/// A [`WindowFunction`] as DataFusion sees it.
struct FoldUdf {
    name: &'static str,
    signature: Signature,
    return_type: DataType,
    coerce: Coerce,
    make: MakeFold,
}

/// A function is its name: there is one of each.
impl PartialEq for FoldUdf {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for FoldUdf {}

impl Hash for FoldUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Debug for FoldUdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FoldUdf")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl WindowUDFImpl for FoldUdf {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> datafusion_common::Result<Vec<DataType>> {
        Ok((self.coerce)(arg_types)?)
    }

    fn field(&self, args: WindowUDFFieldArgs) -> datafusion_common::Result<FieldRef> {
        Ok(Arc::new(Field::new(
            args.name(),
            self.return_type.clone(),
            true,
        )))
    }

    fn partition_evaluator(
        &self,
        args: PartitionEvaluatorArgs,
    ) -> datafusion_common::Result<Box<dyn PartitionEvaluator>> {
        if args.ignore_nulls() {
            return Err(Error::Modifier {
                function: self.name,
                modifier: "IGNORE NULLS",
            }
            .into());
        }
        // An expression that evaluates without columns is a constant, a cast literal included.
        let no_columns = RecordBatch::try_new_with_options(
            Arc::new(Schema::empty()),
            vec![],
            &RecordBatchOptions::new().with_row_count(Some(1)),
        )?;
        let literals: Vec<_> = args
            .input_exprs()
            .iter()
            .map(|expr| match expr.evaluate(&no_columns) {
                Ok(ColumnarValue::Scalar(value)) => Some(value),
                Ok(ColumnarValue::Array(array)) => ScalarValue::try_from_array(&array, 0).ok(),
                Err(_) => None,
            })
            .collect();
        let arg_types: Vec<_> = args
            .input_fields()
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        Ok(Box::new(FoldEvaluator {
            name: self.name,
            fold: (self.make)(&arg_types, &literals)?,
        }))
    }
}

/// One partition of a batch query: a fold with one key.
struct FoldEvaluator {
    name: &'static str,
    fold: Box<dyn KeyedFold>,
}

impl fmt::Debug for FoldEvaluator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FoldEvaluator")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl PartitionEvaluator for FoldEvaluator {
    fn evaluate_all(
        &mut self,
        values: &[ArrayRef],
        num_rows: usize,
    ) -> datafusion_common::Result<ArrayRef> {
        self.fold.resize(1);
        self.fold.restore(0, &[])?;
        Ok(self.fold.update(&vec![0; num_rows], values)?)
    }
}
