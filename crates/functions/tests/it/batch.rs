//! One core: the batch evaluator and the fold agree to the bit, through a move of the state.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringViewArray};
use datafusion_common::ScalarValue;

use crate::{Mix, assert_stream_equals_batch, function, timestamps};

fn times(mix: &mut Mix, rows: usize) -> ArrayRef {
    let mut ms = 1_767_225_600_000;
    timestamps((0..rows).map(|_| {
        ms += [0, 1, 600_000, 600_000, 600_000, 90_000_000][mix.below(6) as usize];
        (mix.below(50) > 0).then_some(ms)
    }))
}

#[test]
fn baseline_of_counts_streams_as_it_batches() {
    for (seed, bounds) in [(1, true), (2, false)] {
        let mut mix = Mix(seed);
        let counts: Int64Array = (0..1200)
            .map(|_| (mix.below(9) > 0).then(|| mix.below(500) as i64 - 3))
            .collect();
        let args: [ArrayRef; 2] = [Arc::new(counts), times(&mut mix, 1200)];
        let baseline = function("baseline");
        let literals = [
            ScalarValue::Int64(Some(600)),
            ScalarValue::Boolean(Some(bounds)),
        ];
        let make = || {
            let types: Vec<_> = args.iter().map(|arg| arg.data_type().clone()).collect();
            let types = [types, literals.iter().map(ScalarValue::data_type).collect()].concat();
            let [step, bounds] = literals.clone();
            baseline
                .fold(&types, &[None, None, Some(step), Some(bounds)])
                .unwrap()
        };
        assert_stream_equals_batch(&make, &baseline.udf, &args, &literals, false, seed);
    }
}

#[test]
fn baseline_of_measures_streams_as_it_batches() {
    let mut mix = Mix(3);
    let measures: Float64Array = (0..900)
        .map(|_| match mix.below(20) {
            0 => None,
            1 => Some(f64::NAN),
            2 => Some(0.0),
            _ => Some(mix.below(1_000_000) as f64 / 3.0),
        })
        .collect();
    let args: [ArrayRef; 2] = [Arc::new(measures), times(&mut mix, 900)];
    let baseline = function("baseline");
    let step = ScalarValue::new_interval_mdn(0, 0, 600_000_000_000);
    let make = || {
        let types = [
            args[0].data_type().clone(),
            args[1].data_type().clone(),
            step.data_type(),
        ];
        baseline
            .fold(&types, &[None, None, Some(step.clone())])
            .unwrap()
    };
    assert_stream_equals_batch(
        &make,
        &baseline.udf,
        &args,
        std::slice::from_ref(&step),
        false,
        3,
    );
}

#[test]
fn first_seen_streams_as_it_batches() {
    for (seed, distinct) in [(4, 7), (5, 90)] {
        let mut mix = Mix(seed);
        let texts: StringViewArray = (0..2000)
            .map(|_| {
                let value = mix.below(distinct);
                (value > 0).then(|| format!("2001:db8:0:{value:x}::/64"))
            })
            .collect();
        let args: [ArrayRef; 2] = [Arc::new(texts), times(&mut mix, 2000)];
        let first_seen = function("first_seen");
        let make = || {
            let types = [args[0].data_type().clone(), args[1].data_type().clone()];
            first_seen.fold(&types, &[None, None]).unwrap()
        };
        assert_stream_equals_batch(&make, &first_seen.udf, &args, &[], false, seed);
    }
}

#[test]
fn ignore_nulls_is_refused_by_name() {
    let args = [
        Arc::new(Int64Array::from(vec![1])) as ArrayRef,
        timestamps([Some(0)]),
    ];
    let udf = function("first_seen").udf;
    let error = crate::batch(&udf, &args, &[], true)
        .unwrap_err()
        .to_string();
    assert!(error.contains("first_seen has no IGNORE NULLS"), "{error}");
}
