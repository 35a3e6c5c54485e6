//! `baseline` as a call: its arguments, its refusals, its columns.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, StructArray},
    datatypes::{DataType, Float64Type, Int64Type, IntervalUnit, TimeUnit},
};
use datafusion_common::{DataFusionError, ScalarValue};

use crate::{batch, function, timestamps};

fn ts_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

#[test]
fn a_missing_step_is_a_plan_error_that_says_what_to_write() {
    let args = [
        Arc::new(Int64Array::from(vec![1])) as ArrayRef,
        timestamps([Some(0)]),
    ];
    let error = batch(&function("baseline").udf, &args, &[], false).unwrap_err();
    assert!(matches!(error, DataFusionError::Plan(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("baseline needs the distance of its windows: "),
        "{text}"
    );
    assert!(
        text.contains("baseline(requests, window_end, 600)"),
        "{text}"
    );
}

#[test]
fn arguments_coerce_to_a_count_or_a_measure() {
    let udf = function("baseline").udf;
    let naive = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let coerced = udf
        .coerce_types(&[DataType::UInt16, naive.clone()])
        .unwrap();
    assert_eq!(coerced, [DataType::Int64, ts_type()]);
    let measure = [
        DataType::Float32,
        ts_type(),
        DataType::Interval(IntervalUnit::DayTime),
        DataType::Boolean,
    ];
    let coerced = udf.coerce_types(&measure).unwrap();
    assert_eq!(coerced[0], DataType::Float64);
    assert_eq!(coerced[2], DataType::Interval(IntervalUnit::MonthDayNano));
    let decimal = [DataType::Decimal128(38, 18), ts_type(), DataType::Int32];
    let coerced = udf.coerce_types(&decimal).unwrap();
    assert_eq!(coerced, [DataType::Float64, ts_type(), DataType::Int64]);
}

#[test]
fn wrong_arguments_are_refused_by_name() {
    let baseline = function("baseline");
    let (count, ts) = (DataType::Int64, ts_type());
    let refusal = |types: &[DataType], literals: &[Option<ScalarValue>]| {
        baseline.fold(types, literals).err().unwrap().to_string()
    };
    let text = refusal(&[DataType::Utf8View, ts.clone()], &[None, None]);
    assert!(
        text.starts_with("baseline: `value` must be a number"),
        "{text}"
    );
    let text = refusal(&[count.clone(), count.clone()], &[None, None]);
    assert!(
        text.starts_with("baseline: `ts` must be a timestamp"),
        "{text}"
    );
    let text = refusal(std::slice::from_ref(&count), &[None]);
    assert!(
        text.starts_with("baseline cannot take 1 arguments"),
        "{text}"
    );
    let with_step = [count.clone(), ts.clone(), count.clone()];
    let text = refusal(&with_step, &[None, None, None]);
    assert!(text.ends_with("here it is computed from the row"), "{text}");
    for bad in [ScalarValue::Int64(Some(0)), ScalarValue::Int64(None)] {
        let text = refusal(&with_step, &[None, None, Some(bad)]);
        assert!(
            text.starts_with("baseline: `step` must be a literal"),
            "{text}"
        );
    }
    let month = ScalarValue::new_interval_mdn(1, 0, 0);
    let types = [count.clone(), ts.clone(), month.data_type()];
    assert!(refusal(&types, &[None, None, Some(month)]).contains("`step`"));
    let types = [count.clone(), ts, count, DataType::Boolean];
    let text = refusal(
        &types,
        &[None, None, Some(ScalarValue::Int64(Some(60))), None],
    );
    assert!(text.contains("`bounds` must be true or false"), "{text}");
}

#[test]
fn bounds_are_null_where_they_are_not_asked_for() {
    let counts: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), Some(6), None, Some(7)]));
    let args = [counts, timestamps((1..5).map(|row| Some(row * 600_000)))];
    let baseline = function("baseline");
    let literals = |bounds| {
        [
            ScalarValue::Int64(Some(600)),
            ScalarValue::Boolean(Some(bounds)),
        ]
    };
    let with = batch(&baseline.udf, &args, &literals(true), false).unwrap();
    let without = batch(&baseline.udf, &args, &literals(false), false).unwrap();
    let (with, without): (&StructArray, &StructArray) = (with.as_struct(), without.as_struct());
    for name in [
        "expected",
        "surprise",
        "surprise_low",
        "level_surprise",
        "n",
    ] {
        assert_eq!(with.column_by_name(name), without.column_by_name(name));
    }
    for name in ["lower", "upper"] {
        assert_eq!(without.column_by_name(name).unwrap().null_count(), 4);
        let column = with.column_by_name(name).unwrap();
        let nulls: Vec<bool> = (0..4).map(|row| column.is_null(row)).collect();
        assert_eq!(nulls, [true, false, true, false]);
    }
    let n = with
        .column_by_name("n")
        .unwrap()
        .as_primitive::<Int64Type>();
    assert_eq!(n.values(), &[0, 1, 2, 2]);
    let surprise = with
        .column_by_name("surprise")
        .unwrap()
        .as_primitive::<Float64Type>();
    assert_eq!(surprise.value(2), 0.0);
}

#[test]
fn an_array_of_another_integer_type_is_cast() {
    let baseline = function("baseline");
    let types = [DataType::Int32, ts_type(), DataType::Int64];
    let literals = [None, None, Some(ScalarValue::Int64(Some(600)))];
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![5, 6]));
    let wide: ArrayRef = Arc::new(Int64Array::from(vec![5, 6]));
    let ts = timestamps([Some(600_000), Some(1_200_999)]);
    let mut outputs = [narrow, wide].map(|counts| {
        let mut fold = baseline.fold(&types, &literals).unwrap();
        fold.resize(1);
        fold.update(&[0, 0], &[counts, ts.clone()]).unwrap()
    });
    let [narrow, wide] = &mut outputs;
    assert_eq!(narrow, wide);
}
