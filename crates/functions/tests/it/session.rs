//! `__session` over one partition, and `__hop_starts`.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{DataType, TimestampMillisecondType},
};
use datafusion_common::ScalarValue;
use datafusion_expr::ColumnarValue;
use keyhawk_functions::{HOP_STARTS, SessionLimits, session_functions};

use crate::{batch, scalar::call, timestamps};

type Bound = Option<i64>;

fn sessions(
    times: &[Bound],
    gap: ScalarValue,
    max: ScalarValue,
) -> Result<Vec<(Bound, Bound)>, String> {
    let udf = session_functions().remove(0);
    let times = timestamps(times.iter().copied());
    let bounds =
        batch(&udf, std::slice::from_ref(&times), &[gap, max], false).map_err(|e| e.to_string())?;
    let part = |name: &str| {
        let column = bounds.as_struct().column_by_name(name).unwrap().clone();
        assert_eq!(column.data_type(), times.data_type());
        let values: Vec<Bound> = column
            .as_primitive::<TimestampMillisecondType>()
            .iter()
            .collect();
        values
    };
    Ok(part("start").into_iter().zip(part("end")).collect())
}

fn milliseconds(ms: i64) -> ScalarValue {
    ScalarValue::Int64(Some(ms))
}

#[test]
fn a_silence_of_the_gap_ends_a_session() {
    let times = [0, 9, 18, 28, 28, 40].map(Some);
    let first = (Some(0), Some(28));
    let second = (Some(28), Some(38));
    let third = (Some(40), Some(50));
    for max in [milliseconds(0), ScalarValue::Int64(None), ScalarValue::Null] {
        let found = sessions(&times, milliseconds(10), max).unwrap();
        assert_eq!(found, [first, first, first, second, second, third]);
    }
}

#[test]
fn a_session_of_the_greatest_length_ends_and_the_next_row_starts_one() {
    let times = [0, 5, 10, 14, 15, 20].map(Some);
    let first = (Some(0), Some(15));
    let second = (Some(15), Some(30));
    let found = sessions(&times, milliseconds(10), milliseconds(15)).unwrap();
    assert_eq!(found, [first, first, first, first, second, second]);
    // Shorter than the gap, it alone decides.
    let found = sessions(&[Some(0), Some(2)], milliseconds(10), milliseconds(2)).unwrap();
    assert_eq!(found, [(Some(0), Some(2)), (Some(2), Some(4))]);
}

#[test]
fn a_row_without_a_time_has_no_session_and_parts_none() {
    let found = sessions(
        &[None, Some(1), None, Some(2), None],
        milliseconds(5),
        milliseconds(0),
    );
    let bounds = (Some(1), Some(7));
    let none = (None, None);
    assert_eq!(found.unwrap(), [none, bounds, none, bounds, none]);
    assert_eq!(sessions(&[], milliseconds(5), milliseconds(0)).unwrap(), []);
}

#[test]
fn an_end_beyond_all_times_is_the_last_one() {
    let limits = SessionLimits {
        gap_ms: 10,
        max_ms: Some(100),
    };
    assert_eq!(limits.end(i64::MAX - 5, i64::MAX - 3), i64::MAX);
    assert_eq!(limits.end(i64::MIN, i64::MIN + 95), i64::MIN + 100);
}

#[test]
fn lengths_that_are_none_are_refused() {
    for gap in [milliseconds(0), milliseconds(-1), ScalarValue::Int64(None)] {
        let error = sessions(&[Some(0)], gap, milliseconds(0)).unwrap_err();
        assert!(
            error.contains("`gap_ms` must be a literal number of milliseconds above 0"),
            "{error}"
        );
    }
    let error = sessions(&[Some(0)], milliseconds(1), milliseconds(-1)).unwrap_err();
    assert!(error.contains("`max_ms` must be"), "{error}");
    let udf = session_functions().remove(0);
    let coerced = |types: &[DataType]| udf.coerce_types(types).map_err(|error| error.to_string());
    let time = timestamps([]).data_type().clone();
    assert_eq!(
        coerced(&[DataType::Null, DataType::Int32, DataType::Null]).unwrap(),
        [time.clone(), DataType::Int64, DataType::Int64]
    );
    let error = coerced(&[time.clone(), DataType::Int64]).unwrap_err();
    assert!(
        error.contains("write __session(ts, gap_ms, max_ms)"),
        "{error}"
    );
    assert!(coerced(&[]).is_err());
    let error = coerced(&[time.clone(), DataType::Utf8, DataType::Int64]).unwrap_err();
    assert!(error.contains("`gap_ms` must be an integer"), "{error}");
    let error = batch(
        &udf,
        &[timestamps([Some(0)])],
        &[milliseconds(1), milliseconds(0)],
        true,
    );
    assert!(error.unwrap_err().to_string().contains("IGNORE NULLS"));
}

#[test]
fn a_moment_is_in_the_hopping_windows_that_started_within_the_size() {
    let ts = timestamps([Some(0), Some(25), None, Some(-1)]);
    let starts = |size, slide| {
        let scalar = |ms| ColumnarValue::Scalar(milliseconds(ms));
        let args = vec![
            ColumnarValue::Array(Arc::clone(&ts)),
            scalar(size),
            scalar(slide),
        ];
        match call(HOP_STARTS, args, 4)? {
            ColumnarValue::Array(array) => Ok(array),
            ColumnarValue::Scalar(scalar) => panic!("a scalar: {scalar}"),
        }
    };
    let found: datafusion_common::Result<ArrayRef> = starts(20, 10);
    let found = found.unwrap();
    let lists = found.as_list::<i32>();
    let item = DataType::List(Arc::new(arrow::datatypes::Field::new_list_field(
        ts.data_type().clone(),
        true,
    )));
    assert_eq!(lists.data_type(), &item);
    let rows: Vec<Option<Vec<i64>>> = lists
        .iter()
        .map(|list| {
            Some(
                list?
                    .as_primitive::<TimestampMillisecondType>()
                    .values()
                    .to_vec(),
            )
        })
        .collect();
    let expected = [
        Some(vec![-10, 0]),
        Some(vec![10, 20]),
        None,
        Some(vec![-20, -10]),
    ];
    assert_eq!(rows, expected);
    let apart = starts(5, 10).unwrap();
    let lengths: Vec<_> = apart
        .as_list::<i32>()
        .iter()
        .map(|list| list.map(|list| list.len()))
        .collect();
    assert_eq!(lengths, [Some(1), Some(0), None, Some(0)]);
    for (size, slide) in [(0, 1), (1, 0), (-5, 5)] {
        let error = starts(size, slide).unwrap_err().to_string();
        assert!(
            error.contains("must be a literal number of milliseconds above 0"),
            "{error}"
        );
    }
}
