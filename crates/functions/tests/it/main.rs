//! The functions as their users call them: through the plain lists, on Arrow arrays.

#![allow(
    clippy::disallowed_methods,
    reason = "tests read files, wait and look at the clock"
)]
#![allow(clippy::unwrap_used)]

mod baseline;
mod batch;
mod first_seen;
mod frame;
mod ip;
mod lag;
mod scalar;
mod session;

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, RecordBatch, TimestampMillisecondArray, UInt32Array},
    compute::{concat, take},
    datatypes::{DataType, Field, FieldRef, Schema},
};
use datafusion_common::ScalarValue;
use datafusion_functions_window_common::partition::PartitionEvaluatorArgs;
use datafusion_physical_expr::{
    PhysicalExpr,
    expressions::{Column, Literal},
};
use keyhawk_functions::{KeyedFold, WindowFunction, window_functions};

/// Numbers that look random and are the same on every run (SplitMix64).
struct Mix(u64);

impl Mix {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn function(name: &str) -> WindowFunction {
    window_functions()
        .into_iter()
        .find(|function| function.name == name)
        .unwrap()
}

fn timestamps(ms: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    let array: TimestampMillisecondArray = ms.into_iter().collect();
    Arc::new(array.with_timezone("UTC"))
}

/// The values of one partition by DataFusion's window function: the first arguments are columns, the
/// rest literals.
fn batch(
    udf: &datafusion_expr::WindowUDF,
    columns: &[ArrayRef],
    literals: &[ScalarValue],
    ignore_nulls: bool,
) -> datafusion_common::Result<ArrayRef> {
    let mut fields: Vec<FieldRef> = Vec::new();
    let mut exprs: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        let name = format!("c{index}");
        fields.push(Arc::new(Field::new(
            &name,
            column.data_type().clone(),
            true,
        )));
        exprs.push(Arc::new(Column::new(&name, index)));
    }
    let rows = columns[0].len();
    let schema = Arc::new(Schema::new(fields.clone()));
    let input = RecordBatch::try_new(schema, columns.to_vec())?;
    for literal in literals {
        fields.push(Arc::new(Field::new("literal", literal.data_type(), true)));
        exprs.push(Arc::new(Literal::new(literal.clone())));
    }
    let args = PartitionEvaluatorArgs::new(&exprs, &fields, false, ignore_nulls);
    let mut evaluator = udf.partition_evaluator_factory(args)?;
    let values: datafusion_common::Result<Vec<ArrayRef>> = exprs
        .iter()
        .map(|expr| expr.evaluate(&input)?.into_array(rows))
        .collect();
    evaluator.evaluate_all(&values?, rows)
}

/// What a fold answers when the rows come in batches of random length, its keys numbered sparsely, and
/// half way the whole state moves into another fold under other numbers.
fn stream(
    make: &dyn Fn() -> Box<dyn KeyedFold>,
    keys: &[u32],
    args: &[ArrayRef],
    seed: u64,
) -> ArrayRef {
    let mut mix = Mix(seed);
    let key_count = keys.iter().max().map_or(0, |&key| key as usize + 1);
    let mut fold = make();
    let mut shift = 0;
    fold.resize(key_count);
    let mut outputs: Vec<ArrayRef> = Vec::new();
    let mut start = 0;
    let mut moved = false;
    while start < keys.len() {
        if !moved && start >= keys.len() / 2 {
            moved = true;
            let mut other = make();
            let shifted = key_count as u32 + 3;
            other.resize(key_count + shifted as usize);
            for key in 0..key_count as u32 {
                let mut bytes = vec![0xee];
                fold.snapshot(key, &mut bytes);
                assert_eq!(bytes.remove(0), 0xee, "a snapshot appends");
                other.restore(key + shifted, &bytes).unwrap();
                let mut again = Vec::new();
                other.snapshot(key + shifted, &mut again);
                assert_eq!(bytes, again);
                // Damage is an error and not a panic.
                for len in 1..bytes.len() {
                    assert!(other.restore(key + shifted, &bytes[..len]).is_err());
                }
                bytes.push(0);
                assert!(other.restore(key + shifted, &bytes).is_err());
            }
            fold = other;
            shift = shifted;
        }
        let len = (1 + mix.below(40) as usize).min(keys.len() - start);
        let batch_keys: Vec<u32> = keys[start..start + len]
            .iter()
            .map(|key| key + shift)
            .collect();
        let batch_args: Vec<ArrayRef> = args.iter().map(|arg| arg.slice(start, len)).collect();
        let output = fold.update(&batch_keys, &batch_args).unwrap();
        assert_eq!(output.len(), len);
        assert_eq!(output.data_type(), &fold.return_type());
        outputs.push(output);
        start += len;
    }
    assert!(fold.memory() > 0 || fold.return_type() != DataType::UInt64);
    let outputs: Vec<&dyn Array> = outputs.iter().map(AsRef::as_ref).collect();
    concat(&outputs).unwrap()
}

/// The rows of `key`, in order.
fn of_key(array: &ArrayRef, keys: &[u32], key: u32) -> ArrayRef {
    let rows = keys
        .iter()
        .enumerate()
        .filter(|&(_, of)| *of == key)
        .map(|(row, _)| row as u32);
    take(array, &UInt32Array::from_iter_values(rows), None).unwrap()
}

/// A stream over random keys equals, key by key, what the batch function gives.
fn assert_stream_equals_batch(
    make: &dyn Fn() -> Box<dyn KeyedFold>,
    udf: &datafusion_expr::WindowUDF,
    args: &[ArrayRef],
    literals: &[ScalarValue],
    ignore_nulls: bool,
    seed: u64,
) {
    let mut mix = Mix(seed);
    let keys: Vec<u32> = (0..args[0].len()).map(|_| mix.below(5) as u32).collect();
    let streamed = stream(make, &keys, args, seed);
    for key in 0..5 {
        let partition: Vec<ArrayRef> = args.iter().map(|arg| of_key(arg, &keys, key)).collect();
        if partition[0].is_empty() {
            continue;
        }
        let expected = batch(udf, &partition, literals, ignore_nulls).unwrap();
        assert_eq!(
            &of_key(&streamed, &keys, key),
            &expected,
            "seed {seed}, key {key}"
        );
    }
}
