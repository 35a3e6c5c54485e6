//! `lag` and `row_number` against DataFusion's own.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int32Array,
        Int64Array, StringViewArray, StructArray, UInt64Array,
    },
    compute::cast,
    datatypes::{DataType, Field, Int64Type},
};
use datafusion_common::ScalarValue;
use datafusion_functions_window::lead_lag::lag_udwf;
use keyhawk_functions::{lag_fold, row_number_fold};

use crate::{Mix, assert_stream_equals_batch, stream, timestamps};

const ROWS: usize = 300;

fn integers(mix: &mut Mix) -> Vec<Option<i64>> {
    (0..ROWS)
        .map(|_| (mix.below(3) > 0).then(|| mix.below(100) as i64))
        .collect()
}

/// Columns of every type that has a store of its own, and of some that have not.
fn columns(seed: u64) -> Vec<(ArrayRef, ScalarValue)> {
    let mut mix = Mix(seed);
    let values = integers(&mut mix);
    let ints: ArrayRef = Arc::new(Int64Array::from(values.clone()));
    let texts: StringViewArray = values
        .iter()
        .map(|v| v.map(|v| "a long enough text ".repeat(v as usize % 3)))
        .collect();
    let floats: Float64Array = values
        .iter()
        .map(|v| v.map(|v| v as f64 / 8.0 - 2.0))
        .collect();
    let bools: BooleanArray = values.iter().map(|v| v.map(|v| v % 2 == 0)).collect();
    let narrow: Int32Array = values.iter().map(|v| v.map(|v| v as i32)).collect();
    let decimals: Decimal128Array = values
        .iter()
        .map(|v| v.map(|v| i128::from(v) << 70))
        .collect();
    let decimals = decimals.with_precision_and_scale(38, 18).unwrap();
    let field = Arc::new(Field::new("x", DataType::Int64, true));
    let structs = StructArray::from(vec![(field, ints.clone())]);
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    vec![
        (
            Arc::new(texts.clone()),
            ScalarValue::Utf8View(Some("none".to_owned())),
        ),
        (Arc::new(floats), ScalarValue::Float64(Some(-0.5))),
        (Arc::new(bools), ScalarValue::Boolean(Some(true))),
        (timestamps(values), ScalarValue::Null),
        (Arc::new(narrow), ScalarValue::Int32(Some(-1))),
        (Arc::new(decimals), ScalarValue::Decimal128(Some(7), 38, 18)),
        (Arc::new(structs), ScalarValue::Null),
        (cast(&texts, &dictionary).unwrap(), ScalarValue::Null),
        (ints, ScalarValue::Int64(Some(-1))),
    ]
}

#[test]
fn lag_equals_datafusions_for_every_type_and_offset() {
    for seed in 0..3 {
        for (values, default) in columns(seed) {
            for offset in [0, 1, 2, 5, 1000] {
                for ignore_nulls in [false, true] {
                    for default in [None, Some(default.clone())] {
                        let make = || {
                            let value = values.data_type();
                            lag_fold(value, offset, default.clone(), ignore_nulls).unwrap()
                        };
                        let mut literals = vec![ScalarValue::Int64(Some(offset))];
                        literals.extend(default.clone());
                        assert_stream_equals_batch(
                            &make,
                            &lag_udwf(),
                            std::slice::from_ref(&values),
                            &literals,
                            ignore_nulls,
                            seed + 10,
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn lag_by_hand() {
    let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4)]));
    let lag = |offset, ignore_nulls| {
        let default = Some(ScalarValue::Int32(Some(-1)));
        let mut fold = lag_fold(&DataType::Int64, offset, default, ignore_nulls).unwrap();
        fold.resize(1);
        let output = fold.update(&[0; 4], std::slice::from_ref(&values)).unwrap();
        output
            .as_primitive::<Int64Type>()
            .iter()
            .collect::<Vec<_>>()
    };
    assert_eq!(lag(1, false), [Some(-1), Some(1), None, Some(3)]);
    assert_eq!(lag(1, true), [Some(-1), Some(1), Some(1), Some(3)]);
    assert_eq!(lag(2, false), [Some(-1), Some(-1), Some(1), None]);
    assert_eq!(lag(2, true), [Some(-1), Some(-1), Some(-1), Some(1)]);
    assert_eq!(lag(0, false), [Some(1), None, Some(3), Some(4)]);
}

#[test]
fn looking_ahead_is_refused() {
    let error = lag_fold(&DataType::Int64, -1, None, false)
        .err()
        .unwrap()
        .to_string();
    assert_eq!(
        error,
        "lag: `offset` must be 0 or more, since a stream has no rows ahead, but here it is -1"
    );
    let default = Some(ScalarValue::from("not a number"));
    assert!(lag_fold(&DataType::Int64, 1, default, false).is_err());
}

#[test]
fn a_damaged_value_of_any_type_is_an_error() {
    for (values, _) in columns(1) {
        let mut fold = lag_fold(values.data_type(), 2, None, true).unwrap();
        fold.resize(1);
        fold.update(&vec![0; values.len()], std::slice::from_ref(&values))
            .unwrap();
        let mut bytes = Vec::new();
        fold.snapshot(0, &mut bytes);
        for flipped in 0..6 {
            let mut damaged = bytes.clone();
            damaged[flipped] ^= 0x80;
            assert!(
                fold.restore(0, &damaged).is_err(),
                "{} {flipped}",
                values.data_type()
            );
        }
    }
}

#[test]
fn row_number_counts_the_rows_of_each_key() {
    let keys = [0, 1, 0, 0, 1, 2];
    let numbers = stream(&row_number_fold, &keys, &[], 3);
    let expected: ArrayRef = Arc::new(UInt64Array::from(vec![1, 1, 2, 3, 2, 1]));
    assert_eq!(numbers.as_ref(), expected.as_ref());
}
