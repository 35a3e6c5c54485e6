//! The scalar functions as DataFusion calls them.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Float64Array},
    datatypes::{DataType, Field, Float64Type, TimestampMillisecondType},
};
use datafusion_common::{ScalarValue, config::ConfigOptions};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, Volatility};
use keyhawk_functions::{WINDOW_END, WINDOW_START, WINDOW_TIME, scalar_functions};

use crate::timestamps;

pub(crate) fn call(
    name: &str,
    args: Vec<ColumnarValue>,
    rows: usize,
) -> datafusion_common::Result<ColumnarValue> {
    let udf = scalar_functions()
        .into_iter()
        .find(|udf| udf.name() == name)
        .unwrap();
    assert_eq!(udf.signature().volatility, Volatility::Immutable);
    let types: Vec<DataType> = args.iter().map(ColumnarValue::data_type).collect();
    let arg_fields = types
        .iter()
        .map(|t| Arc::new(Field::new("arg", t.clone(), true)))
        .collect();
    let return_field = Arc::new(Field::new("out", udf.return_type(&types)?, true));
    let config_options = Arc::new(ConfigOptions::default());
    udf.invoke_with_args(ScalarFunctionArgs {
        args,
        arg_fields,
        number_rows: rows,
        return_field,
        config_options,
    })
}

fn doubles(values: &[Option<f64>]) -> ColumnarValue {
    ColumnarValue::Array(Arc::new(Float64Array::from(values.to_vec())))
}

fn double(value: f64) -> ColumnarValue {
    ColumnarValue::Scalar(ScalarValue::Float64(Some(value)))
}

fn numbers(value: ColumnarValue) -> Vec<Option<f64>> {
    match value {
        ColumnarValue::Array(array) => array.as_primitive::<Float64Type>().iter().collect(),
        ColumnarValue::Scalar(scalar) => panic!("a scalar: {scalar}"),
    }
}

#[test]
fn null_and_nan_coordinates_give_null() {
    let lat2 = doubles(&[Some(0.0), None, Some(f64::NAN), Some(f64::INFINITY)]);
    let args = vec![double(0.0), double(0.0), lat2, double(1.0)];
    let km = numbers(call("distance_km", args, 4).unwrap());
    assert!((km[0].unwrap() - 111.195_08).abs() < 1e-4, "{km:?}");
    assert_eq!(km[1..], [None, None, None]);
}

#[test]
fn scalars_give_a_scalar() {
    let value = call("distance_km", vec![double(1.0); 4], 5).unwrap();
    assert!(
        matches!(
            value,
            ColumnarValue::Scalar(ScalarValue::Float64(Some(0.0)))
        ),
        "{value:?}"
    );
}

#[test]
fn travel_is_the_distance_less_both_radii() {
    let radius = doubles(&[Some(50.0), Some(100.0), None]);
    let args = vec![
        double(0.0),
        double(0.0),
        radius,
        double(0.0),
        double(1.0),
        double(20.0),
    ];
    let km = numbers(call("travel_km", args, 3).unwrap());
    assert!((km[0].unwrap() - 41.195_08).abs() < 1e-4, "{km:?}");
    assert_eq!(km[1..], [Some(0.0), None]);
}

#[test]
fn speed_in_no_time_is_infinite_unless_nothing_was_travelled() {
    let km = doubles(&[
        Some(900.0),
        Some(900.0),
        Some(1.0),
        Some(0.0),
        None,
        Some(1.0),
    ]);
    let from = timestamps([0, 3_600_000, 7, 7, 7, 7].map(Some));
    let to = timestamps([Some(3_600_000), Some(0), Some(7), Some(7), Some(7), None]);
    let args = vec![km, ColumnarValue::Array(from), ColumnarValue::Array(to)];
    let kmh = numbers(call("speed_kmh", args, 6).unwrap());
    assert_eq!(
        kmh,
        [
            Some(900.0),
            Some(900.0),
            Some(f64::INFINITY),
            Some(0.0),
            None,
            None
        ]
    );
}

#[test]
fn window_bounds_floor_towards_the_past() {
    let ts: ArrayRef = timestamps([Some(0), Some(599_999), Some(600_000), Some(-1), None]);
    let size = ColumnarValue::Scalar(ScalarValue::Int64(Some(600_000)));
    let bound = |name| {
        let args = vec![ColumnarValue::Array(ts.clone()), size.clone()];
        match call(name, args, 5).unwrap() {
            ColumnarValue::Array(array) => {
                assert_eq!(array.data_type(), ts.data_type());
                array
                    .as_primitive::<TimestampMillisecondType>()
                    .iter()
                    .collect::<Vec<_>>()
            }
            ColumnarValue::Scalar(scalar) => panic!("a scalar: {scalar}"),
        }
    };
    assert_eq!(
        bound(WINDOW_START),
        [Some(0), Some(0), Some(600_000), Some(-600_000), None]
    );
    assert_eq!(
        bound(WINDOW_END),
        [Some(600_000), Some(600_000), Some(1_200_000), Some(0), None]
    );
    assert_eq!(
        bound(WINDOW_TIME),
        [
            Some(599_999),
            Some(599_999),
            Some(1_199_999),
            Some(-1),
            None
        ]
    );
}

#[test]
fn a_window_size_must_be_a_literal_above_zero() {
    let ts = || ColumnarValue::Array(timestamps([Some(0)]));
    let zero = ColumnarValue::Scalar(ScalarValue::Int64(Some(0)));
    let error = call(WINDOW_END, vec![ts(), zero], 1)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`size_ms` must be a literal number of milliseconds above 0"),
        "{error}"
    );
    assert!(call(WINDOW_END, vec![ts(), ts()], 1).is_err());
}

#[test]
fn argument_types_are_refused_by_name() {
    for udf in scalar_functions() {
        assert!(
            udf.coerce_types(&[DataType::Utf8View]).is_err(),
            "{}",
            udf.name()
        );
    }
    let distance = scalar_functions()
        .into_iter()
        .find(|udf| udf.name() == "distance_km")
        .unwrap();
    let types = [
        DataType::Float32,
        DataType::Int64,
        DataType::Null,
        DataType::Decimal128(9, 6),
    ];
    assert_eq!(
        distance.coerce_types(&types).unwrap(),
        [const { DataType::Float64 }; 4]
    );
    let types = [
        DataType::Float64,
        DataType::Float64,
        DataType::Utf8View,
        DataType::Float64,
    ];
    let error = distance.coerce_types(&types).unwrap_err().to_string();
    assert!(
        error.contains("distance_km: `lat2` must be a number"),
        "{error}"
    );
}
