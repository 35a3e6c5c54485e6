//! Frames against the definition: every value is computed again from the whole partition.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Array,
        Int64Array, StringViewArray, TimestampMillisecondArray, UInt32Array, UInt64Array,
    },
    compute::{cast, concat, take},
    datatypes::{
        DataType, Decimal128Type, Float64Type, Int64Type, TimeUnit, TimestampMillisecondType,
        UInt64Type,
    },
    row::{RowConverter, SortField},
};
use datafusion_common::ScalarValue;
use datafusion_expr::{
    WindowFrame, WindowFrameBound, WindowFrameUnits, window_state::WindowFrameContext,
};
use datafusion_functions_window::{
    nth_value::{first_value_udwf, last_value_udwf, nth_value_udwf},
    rank::{dense_rank_udwf, rank_udwf},
};
use datafusion_functions_window_common::partition::PartitionEvaluatorArgs;
use datafusion_physical_expr::{
    PhysicalExpr,
    expressions::{Column, Literal},
};
use keyhawk_functions::{
    KeyedFold,
    frame::{
        Frame, FrameEnd, FrameFunction, FrameStart, FrameUnits, frame_fold, frame_functions,
        frame_return_type,
    },
};

use crate::{Mix, of_key, timestamps};

const ROWS: usize = 160;
const KEYS: u32 = 3;

/// Rows of some keys, in the total order, with many ties.
struct Data {
    keys: Vec<u32>,
    times: ArrayRef,
}

impl Data {
    fn new(mix: &mut Mix) -> Self {
        let mut ms = 1_767_225_600_000;
        let times = (0..ROWS).map(|_| {
            ms += [0, 0, 0, 1, 2, 3, 30][mix.below(7) as usize];
            Some(ms)
        });
        Self {
            times: timestamps(times.collect::<Vec<_>>()),
            keys: (0..ROWS).map(|_| mix.below(KEYS.into()) as u32).collect(),
        }
    }

    fn ms(&self, row: usize) -> i64 {
        self.times
            .as_primitive::<TimestampMillisecondType>()
            .value(row)
    }

    /// Batches that never part rows of the same time.
    fn batches(&self, mix: &mut Mix) -> Vec<Range<usize>> {
        let mut batches = Vec::new();
        let mut start = 0;
        for end in 1..=ROWS {
            let whole = end == ROWS || self.ms(end) != self.ms(end - 1);
            if whole && (end == ROWS || mix.below(3) == 0) {
                batches.push(start..end);
                start = end;
            }
        }
        batches
    }

    /// The rows in the frame of each row, by the definition.
    fn frames(&self, frame: Frame) -> Vec<Vec<usize>> {
        let number: Vec<i64> = (0..ROWS)
            .map(|row| (0..row).filter(|&r| self.keys[r] == self.keys[row]).count() as i64)
            .collect();
        let at = |row: usize| match frame.units {
            FrameUnits::Rows => number[row],
            FrameUnits::Range => self.ms(row),
        };
        let in_frame = |row: usize, other: usize| {
            let distance = at(row) - at(other);
            let after_start = match frame.start {
                FrameStart::Unbounded => true,
                FrameStart::Preceding(start) => distance <= start as i64,
                FrameStart::CurrentRow => distance <= 0,
            };
            let before_end = match frame.end {
                FrameEnd::Preceding(end) => distance >= end as i64,
                FrameEnd::CurrentRow => distance >= 0,
            };
            self.keys[row] == self.keys[other] && after_start && before_end
        };
        (0..ROWS)
            .map(|row| (0..ROWS).filter(|&other| in_frame(row, other)).collect())
            .collect()
    }
}

fn frames() -> Vec<Frame> {
    let starts = [
        FrameStart::Unbounded,
        FrameStart::CurrentRow,
        FrameStart::Preceding(0),
        FrameStart::Preceding(1),
        FrameStart::Preceding(3),
        FrameStart::Preceding(12),
        FrameStart::Preceding(50),
        FrameStart::Preceding(u64::MAX),
    ];
    let ends = [
        FrameEnd::CurrentRow,
        FrameEnd::Preceding(0),
        FrameEnd::Preceding(1),
        FrameEnd::Preceding(3),
        FrameEnd::Preceding(10),
    ];
    let mut frames = Vec::new();
    for units in [FrameUnits::Rows, FrameUnits::Range] {
        for start in starts {
            for end in ends {
                let end_before_start = match (start, end) {
                    (FrameStart::Preceding(start), FrameEnd::Preceding(end)) => start < end,
                    (FrameStart::CurrentRow, FrameEnd::Preceding(end)) => end > 0,
                    _ => false,
                };
                let frame = Frame { units, start, end };
                // The definition above computes with signed numbers.
                let beyond = start == FrameStart::Preceding(u64::MAX);
                if end_before_start {
                    assert!(
                        frame_fold(FrameFunction::Count, &DataType::Null, frame, false).is_err()
                    );
                } else if !beyond {
                    frames.push(frame);
                }
            }
        }
    }
    frames
}

/// The values by a fold that sees random batches, and moves into another fold at random.
fn stream(
    make: &dyn Fn() -> Box<dyn KeyedFold>,
    data: &Data,
    args: &[ArrayRef],
    mix: &mut Mix,
) -> ArrayRef {
    let mut fold = make();
    let mut shift = 0;
    fold.resize(KEYS as usize);
    let mut outputs: Vec<ArrayRef> = Vec::new();
    for batch in data.batches(mix) {
        if mix.below(4) == 0 {
            let mut other = make();
            let shifted = mix.below(5) as u32;
            other.resize((KEYS + shifted) as usize);
            for key in 0..KEYS {
                let mut bytes = Vec::new();
                fold.snapshot(key + shift, &mut bytes);
                other.restore(key + shifted, &bytes).unwrap();
                let mut again = Vec::new();
                other.snapshot(key + shifted, &mut again);
                assert_eq!(bytes, again);
                if mix.below(16) == 0 {
                    for len in 1..bytes.len() {
                        assert!(other.restore(key + shifted, &bytes[..len]).is_err());
                    }
                    bytes.push(0);
                    assert!(other.restore(key + shifted, &bytes).is_err());
                }
            }
            (fold, shift) = (other, shifted);
        }
        let keys: Vec<u32> = data.keys[batch.clone()]
            .iter()
            .map(|key| key + shift)
            .collect();
        let args: Vec<ArrayRef> = args
            .iter()
            .map(|arg| arg.slice(batch.start, batch.len()))
            .collect();
        let output = fold.update(&keys, &args).unwrap();
        assert_eq!(output.data_type(), &fold.return_type());
        assert_eq!(output.len(), batch.len());
        outputs.push(output);
    }
    assert!(fold.memory() > 0);
    let outputs: Vec<&dyn Array> = outputs.iter().map(AsRef::as_ref).collect();
    concat(&outputs).unwrap()
}

fn whole(make: &dyn Fn() -> Box<dyn KeyedFold>, data: &Data, args: &[ArrayRef]) -> ArrayRef {
    let mut fold = make();
    fold.resize(KEYS as usize);
    fold.update(&data.keys, args).unwrap()
}

/// Runs `functions` as streams over every frame and compares with `expected`, which gets the values and
/// the rows in each row's frame.
fn check(
    seed: u64,
    functions: &[FrameFunction],
    values: impl Fn(&mut Mix) -> Vec<ArrayRef>,
    ignore_nulls: bool,
    expected: impl Fn(FrameFunction, &ArrayRef, &[Vec<usize>]) -> ArrayRef,
) {
    for seed in [seed, seed + 100] {
        let mut mix = Mix(seed);
        let data = Data::new(&mut mix);
        for frame in frames() {
            let rows = data.frames(frame);
            for values in values(&mut mix) {
                for &function in functions {
                    let value = values.data_type();
                    let make = || frame_fold(function, value, frame, ignore_nulls).unwrap();
                    let args = [Arc::clone(&values), Arc::clone(&data.times)];
                    let streamed = stream(&make, &data, &args, &mut mix);
                    let place = format!("{function:?} of {value} {frame}, seed {seed}");
                    assert_eq!(
                        streamed.data_type(),
                        &frame_return_type(function, value).unwrap()
                    );
                    assert_eq!(&streamed, &whole(&make, &data, &args), "{place}");
                    assert_near(&streamed, &expected(function, &values, &rows), &place);
                }
            }
        }
    }
}

/// Equal, and for doubles within 1e-9.
fn assert_near(found: &ArrayRef, expected: &ArrayRef, place: &str) {
    let DataType::Float64 = found.data_type() else {
        assert_eq!(found, expected, "{place}");
        return;
    };
    let doubles = |array: &ArrayRef| array.as_primitive::<Float64Type>().clone();
    for (row, pair) in doubles(found)
        .iter()
        .zip(doubles(expected).iter())
        .enumerate()
    {
        let near = match pair {
            (Some(found), Some(expected)) => {
                found.to_bits() == expected.to_bits()
                    || (found.is_nan() && expected.is_nan())
                    || (found - expected).abs() <= 1e-9 * expected.abs().max(1.0)
            }
            (found, expected) => found == expected,
        };
        assert!(near, "{place}, row {row}: {pair:?}");
    }
}

fn some_rows(mix: &mut Mix) -> Vec<Option<i64>> {
    let nulls = mix.below(3);
    (0..ROWS)
        .map(|_| (mix.below(4) >= nulls).then(|| mix.below(40) as i64 - 20))
        .collect()
}

fn decimals(values: &[Option<i64>], precision: u8, scale: i8) -> ArrayRef {
    let array: Decimal128Array = values.iter().map(|v| v.map(i128::from)).collect();
    Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
}

/// One column of every type that has an own way to be kept, and some that have not.
fn columns(mix: &mut Mix) -> Vec<ArrayRef> {
    let values = some_rows(mix);
    let integers: ArrayRef = Arc::new(Int64Array::from(values.clone()));
    let mut columns: Vec<ArrayRef> = [
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Float32,
    ]
    .iter()
    .map(|narrow| cast(&integers, narrow).unwrap())
    .collect();
    let natural: Int64Array = values.iter().map(|v| v.map(|v| v + 20)).collect();
    for unsigned in [
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
    ] {
        columns.push(cast(&natural, &unsigned).unwrap());
    }
    let doubles: Float64Array = values
        .iter()
        .map(|v| {
            v.map(|v| match v {
                19 => f64::NAN,
                18 => f64::NEG_INFINITY,
                17 => -0.0,
                v => v as f64 / 4.0,
            })
        })
        .collect();
    let texts: StringViewArray = values
        .iter()
        .map(|v| v.map(|v| "text longer than a view ".repeat((v + 20) as usize % 4) + "x"))
        .collect();
    let days: Date32Array = values.iter().map(|v| v.map(|v| v as i32)).collect();
    columns.push(Arc::new(doubles));
    columns.push(Arc::new(
        values
            .iter()
            .map(|v| v.map(|v| v > 0))
            .collect::<BooleanArray>(),
    ));
    columns.push(cast(&texts, &DataType::Utf8).unwrap());
    columns.push(Arc::new(texts));
    columns.push(Arc::new(days));
    columns.push(decimals(&values, 38, 4));
    columns.push(timestamps(values));
    columns.push(integers);
    columns
}

fn taken(values: &ArrayRef, rows: impl Iterator<Item = Option<usize>>) -> ArrayRef {
    let rows: UInt32Array = rows.map(|row| row.map(|row| row as u32)).collect();
    take(values, &rows, None).unwrap()
}

fn valid<'a>(values: &'a ArrayRef, rows: &'a [usize]) -> impl DoubleEndedIterator<Item = usize> {
    rows.iter().copied().filter(|&row| values.is_valid(row))
}

#[test]
fn count_is_of_values_that_are_not_null() {
    check(
        1,
        &[FrameFunction::Count],
        columns,
        false,
        |_, values, frames| {
            let counts = frames.iter().map(|rows| valid(values, rows).count() as i64);
            Arc::new(Int64Array::from_iter_values(counts))
        },
    );
}

#[test]
fn minimum_and_maximum_of_every_type() {
    check(
        2,
        &[FrameFunction::Min, FrameFunction::Max],
        columns,
        false,
        |function, values, frames| {
            let field = SortField::new(values.data_type().clone());
            let converter = RowConverter::new(vec![field]).unwrap();
            let order = converter.convert_columns(&[Arc::clone(values)]).unwrap();
            let extremes = frames.iter().map(|rows| match function {
                FrameFunction::Min => valid(values, rows).min_by_key(|&row| order.row(row)),
                _ => valid(values, rows).max_by_key(|&row| order.row(row)),
            });
            taken(values, extremes)
        },
    );
}

#[test]
fn first_last_and_nth_values_of_every_type() {
    let functions = [
        FrameFunction::FirstValue,
        FrameFunction::LastValue,
        FrameFunction::NthValue(0),
        FrameFunction::NthValue(2),
        FrameFunction::NthValue(5),
        FrameFunction::NthValue(-1),
        FrameFunction::NthValue(-3),
    ];
    for ignore_nulls in [false, true] {
        check(
            3,
            &functions,
            columns,
            ignore_nulls,
            |function, values, frames| {
                let picked = frames.iter().map(|rows| {
                    let mut rows: Vec<usize> = rows.clone();
                    if ignore_nulls {
                        rows.retain(|&row| values.is_valid(row));
                    }
                    let index = match function {
                        FrameFunction::FirstValue => 0,
                        FrameFunction::LastValue => rows.len().checked_sub(1)?,
                        FrameFunction::NthValue(n) if n < 0 => {
                            rows.len().checked_sub(-n as usize)?
                        }
                        FrameFunction::NthValue(n) => (n as usize).checked_sub(1)?,
                        _ => unreachable!(),
                    };
                    rows.get(index).copied()
                });
                taken(values, picked)
            },
        );
    }
}

#[test]
fn sums_of_integers_wrap_and_of_decimals_widen() {
    let values = |mix: &mut Mix| -> Vec<ArrayRef> {
        let values = some_rows(mix);
        let signed = values.iter().map(|v| v.map(|v| v << 58));
        let unsigned = values.iter().map(|v| v.map(|v| (v as u64) << 3));
        vec![
            Arc::new(signed.collect::<Int64Array>()),
            Arc::new(unsigned.collect::<UInt64Array>()),
            decimals(&values, 10, 2),
        ]
    };
    check(
        4,
        &[FrameFunction::Sum],
        values,
        false,
        |_, values, frames| match values.data_type() {
            DataType::Int64 => {
                let values_of = values.as_primitive::<Int64Type>();
                let sums = frames.iter().map(|rows| {
                    let of = valid(values, rows).map(|row| values_of.value(row));
                    of.reduce(i64::wrapping_add)
                });
                Arc::new(sums.collect::<Int64Array>())
            }
            DataType::UInt64 => {
                let values_of = values.as_primitive::<UInt64Type>();
                let sums = frames.iter().map(|rows| {
                    let of = valid(values, rows).map(|row| values_of.value(row));
                    of.reduce(u64::wrapping_add)
                });
                Arc::new(sums.collect::<UInt64Array>())
            }
            _ => {
                let values_of = values.as_primitive::<Decimal128Type>();
                let sums = frames.iter().map(|rows| {
                    let of = valid(values, rows).map(|row| values_of.value(row));
                    of.reduce(i128::wrapping_add)
                });
                let sums: Decimal128Array = sums.collect();
                Arc::new(sums.with_precision_and_scale(20, 2).unwrap())
            }
        },
    );
}

#[test]
fn averages_of_decimals_gain_four_digits() {
    let values = |mix: &mut Mix| {
        let values = some_rows(mix);
        vec![decimals(&values, 10, 2), decimals(&values, 38, 36)]
    };
    check(
        5,
        &[FrameFunction::Avg],
        values,
        false,
        |_, values, frames| {
            let (precision, scale, factor) = match values.data_type() {
                DataType::Decimal128(10, _) => (14, 6, 10_000),
                _ => (38, 38, 100),
            };
            let values_of = values.as_primitive::<Decimal128Type>();
            let averages = frames.iter().map(|rows| {
                let of = valid(values, rows).map(|row| values_of.value(row));
                let (count, sum) = of.fold((0, 0), |(count, sum), value| (count + 1, sum + value));
                (count > 0).then(|| sum * factor / count)
            });
            let averages: Decimal128Array = averages.collect();
            Arc::new(averages.with_precision_and_scale(precision, scale).unwrap())
        },
    );
}

#[test]
fn an_average_that_does_not_fit_its_type_is_null() {
    let values: Decimal128Array = [1, 10i128.pow(37)].into_iter().map(Some).collect();
    let values: ArrayRef = Arc::new(values.with_precision_and_scale(38, 0).unwrap());
    let mut fold = frame_fold(
        FrameFunction::Avg,
        values.data_type(),
        Frame::DEFAULT,
        false,
    )
    .unwrap();
    fold.resize(1);
    let averages = fold
        .update(&[0; 2], &[values, timestamps([Some(0), Some(1)])])
        .unwrap();
    let averages: Vec<_> = averages.as_primitive::<Decimal128Type>().iter().collect();
    assert_eq!(averages, [Some(10_000), None]);
}

#[test]
fn booleans_are_and_ed_and_or_ed() {
    let values = |mix: &mut Mix| -> Vec<ArrayRef> {
        let values = some_rows(mix);
        let mostly = values.iter().map(|v| v.map(|v| v > -15));
        let seldom = values.iter().map(|v| v.map(|v| v > 15));
        vec![
            Arc::new(mostly.collect::<BooleanArray>()),
            Arc::new(seldom.collect::<BooleanArray>()),
        ]
    };
    let functions = [FrameFunction::BoolAnd, FrameFunction::BoolOr];
    check(6, &functions, values, false, |function, values, frames| {
        let values_of = values.as_boolean();
        let verdicts = frames.iter().map(|rows| {
            let of = valid(values, rows).map(|row| values_of.value(row));
            of.reduce(|left, right| match function {
                FrameFunction::BoolAnd => left && right,
                _ => left || right,
            })
        });
        Arc::new(verdicts.collect::<BooleanArray>())
    });
}

const OF_DOUBLES: [FrameFunction; 6] = [
    FrameFunction::Sum,
    FrameFunction::Avg,
    FrameFunction::StddevSample,
    FrameFunction::StddevPopulation,
    FrameFunction::VarianceSample,
    FrameFunction::VariancePopulation,
];

#[test]
fn sums_averages_and_variances_of_doubles() {
    let values = |mix: &mut Mix| -> Vec<ArrayRef> {
        let values = some_rows(mix);
        let plain = values.iter().map(|v| v.map(|v| v as f64 / 7.0));
        let special = values.iter().map(|v| {
            v.map(|v| match v {
                19 => f64::NAN,
                18 => f64::INFINITY,
                v => v as f64,
            })
        });
        let (plain, special): (Float64Array, Float64Array) = (plain.collect(), special.collect());
        vec![Arc::new(plain), Arc::new(special)]
    };
    check(7, &OF_DOUBLES, values, false, |function, values, frames| {
        let values_of = values.as_primitive::<Float64Type>();
        let moments = frames.iter().map(|rows| {
            let of: Vec<f64> = valid(values, rows)
                .map(|row| values_of.value(row))
                .collect();
            let count = of.len() as f64;
            let sum: f64 = of.iter().sum();
            let mean = sum / count;
            let m2: f64 = of.iter().map(|value| (value - mean).powi(2)).sum();
            let population = if of.len() == 1 { 0.0 } else { m2 / count };
            let sample = m2 / (count - 1.0);
            match (function, of.len()) {
                (_, 0) => None,
                (FrameFunction::Sum, _) => Some(sum),
                (FrameFunction::Avg, _) => Some(mean),
                (FrameFunction::VariancePopulation, _) => Some(population),
                (FrameFunction::StddevPopulation, _) => Some(population.sqrt()),
                (_, 1) => None,
                (FrameFunction::VarianceSample, _) => Some(sample),
                _ => Some(sample.sqrt()),
            }
        });
        Arc::new(moments.collect::<Float64Array>())
    });
}

#[test]
fn a_double_that_leaves_a_frame_leaves_nothing_behind() {
    let frame = Frame {
        units: FrameUnits::Rows,
        start: FrameStart::Preceding(1),
        end: FrameEnd::CurrentRow,
    };
    let values: ArrayRef = Arc::new(Float64Array::from(vec![1e16, 1.0, 1.0, f64::NAN, 3.0, 4.0]));
    let results = |function| {
        let mut fold = frame_fold(function, &DataType::Float64, frame, false).unwrap();
        fold.resize(1);
        let results = fold.update(&[0; 6], std::slice::from_ref(&values)).unwrap();
        results.as_primitive::<Float64Type>().values().to_vec()
    };
    let sums = results(FrameFunction::Sum);
    assert_eq!(sums[..3], [1e16, 1e16, 2.0]);
    assert!(sums[3].is_nan() && sums[4].is_nan());
    assert_eq!(sums[5], 7.0);
    assert_eq!(results(FrameFunction::VariancePopulation)[2], 0.0);
    assert_eq!(results(FrameFunction::Avg)[5], 3.5);
}

#[test]
fn doubles_add_in_the_same_order_in_batch_and_stream() {
    let mut mix = Mix(8);
    let data = Data::new(&mut mix);
    let rough: Float64Array = (0..ROWS)
        .map(|_| {
            (mix.below(6) > 0)
                .then(|| (mix.below(2000) as f64 - 999.0) * 1.7_f64.powi(mix.below(90) as i32))
        })
        .collect();
    let truths: BooleanArray = (0..ROWS)
        .map(|_| (mix.below(6) > 0).then(|| mix.below(2) > 0))
        .collect();
    let functions = frame_functions();
    assert_eq!(functions.len(), 8);
    for function in functions {
        let values: ArrayRef = if function.name.contains("bool") {
            Arc::new(truths.clone())
        } else {
            Arc::new(rough.clone())
        };
        let args = [values, Arc::clone(&data.times)];
        for frame in frames() {
            let distance = |distance: Option<u64>| {
                ScalarValue::Int64(distance.map(|distance| distance as i64))
            };
            let literals = [
                ScalarValue::from(match frame.units {
                    FrameUnits::Rows => "rows",
                    FrameUnits::Range => "range",
                }),
                distance(match frame.start {
                    FrameStart::Unbounded => None,
                    FrameStart::Preceding(start) => Some(start),
                    FrameStart::CurrentRow => Some(0),
                }),
                distance(match frame.end {
                    FrameEnd::Preceding(end) => Some(end),
                    FrameEnd::CurrentRow => Some(0),
                }),
            ];
            let mut types: Vec<_> = args.iter().map(|arg| arg.data_type().clone()).collect();
            types.extend(literals.iter().map(ScalarValue::data_type));
            let mut constants = vec![None, None];
            constants.extend(literals.iter().cloned().map(Some));
            let make = || function.fold(&types, &constants).unwrap();
            let streamed = stream(&make, &data, &args, &mut mix);
            for key in 0..KEYS {
                let partition: Vec<ArrayRef> = args
                    .iter()
                    .map(|arg| of_key(arg, &data.keys, key))
                    .collect();
                let batch = crate::batch(&function.udf, &partition, &literals, false).unwrap();
                let of = of_key(&streamed, &data.keys, key);
                assert_eq!(&of, &batch, "{} {frame}", function.name);
            }
        }
    }
}

#[test]
fn arguments_of_the_planner_are_checked() {
    let sum = frame_functions().swap_remove(0);
    let error = |arg_types: &[DataType]| sum.udf.coerce_types(arg_types).unwrap_err().to_string();
    let time = DataType::Timestamp(TimeUnit::Second, None);
    let [value, units, bound] = [DataType::Int32, DataType::Utf8, DataType::Int32];
    let all = [value, time, units, bound, DataType::Null];
    assert_eq!(
        sum.udf.coerce_types(&all).unwrap()[3..],
        [DataType::Int64, DataType::Int64]
    );
    assert!(error(&all[..4]).contains("cannot take 4 arguments"));
    for wrong in 0..4 {
        let mut types = all.clone();
        types[wrong] = DataType::Boolean;
        assert!(error(&types).contains("must be"), "{wrong}");
    }
    let fold = |units: &str, start: Option<i64>, end: Option<i64>| {
        let literals = [
            None,
            None,
            Some(ScalarValue::from(units)),
            Some(ScalarValue::Int64(start)),
            Some(ScalarValue::Int64(end)),
        ];
        sum.fold(&all, &literals)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    assert_eq!(fold("rows", None, Some(0)), Ok(()));
    assert!(
        fold("groups", None, Some(0))
            .unwrap_err()
            .contains("`units`")
    );
    assert!(
        fold("rows", Some(-1), Some(0))
            .unwrap_err()
            .contains("`start`")
    );
    assert!(fold("rows", None, None).unwrap_err().contains("`end`"));
    assert_eq!(
        fold("range", Some(3), Some(5)).unwrap_err(),
        "sum: `frame` must be one that starts before it ends, \
         but here it is RANGE BETWEEN 3 PRECEDING AND 5 PRECEDING"
    );
    assert!(sum.fold(&all, &[]).is_err());
}

#[test]
fn ranks_are_datafusions() {
    let mut mix = Mix(9);
    let data = Data::new(&mut mix);
    for (function, udf) in [
        (FrameFunction::Rank, rank_udwf()),
        (FrameFunction::DenseRank, dense_rank_udwf()),
    ] {
        let make = || frame_fold(function, &DataType::Null, Frame::DEFAULT, false).unwrap();
        let args = [Arc::clone(&data.times)];
        let ranks = stream(&make, &data, &args, &mut mix);
        for key in 0..KEYS {
            let times = of_key(&data.times, &data.keys, key);
            let ms = times.as_primitive::<TimestampMillisecondType>();
            let mut peers: Vec<Range<usize>> = Vec::new();
            for row in 0..ms.len() {
                match peers.last_mut() {
                    Some(last) if ms.value(last.start) == ms.value(row) => last.end = row + 1,
                    _ => peers.push(row..row + 1),
                }
            }
            let args = PartitionEvaluatorArgs::new(&[], &[], false, false);
            let evaluator = udf.partition_evaluator_factory(args).unwrap();
            let expected = evaluator.evaluate_all_with_rank(ms.len(), &peers).unwrap();
            assert_eq!(&of_key(&ranks, &data.keys, key), &expected, "{function:?}");
        }
    }
}

/// DataFusion's own frame of each row, and its own first, last and nth value in it.
#[test]
fn frames_and_the_values_at_their_ends_are_datafusions() {
    let mut mix = Mix(10);
    let data = Data::new(&mut mix);
    let values: ArrayRef = Arc::new(Int64Array::from(some_rows(&mut mix)));
    for frame in frames() {
        for ignore_nulls in [false, true] {
            for (function, udf) in [
                (FrameFunction::FirstValue, first_value_udwf()),
                (FrameFunction::LastValue, last_value_udwf()),
                (FrameFunction::NthValue(2), nth_value_udwf()),
                (FrameFunction::NthValue(-2), nth_value_udwf()),
                (FrameFunction::NthValue(0), nth_value_udwf()),
            ] {
                let make = || frame_fold(function, &DataType::Int64, frame, ignore_nulls).unwrap();
                let args = [Arc::clone(&values), Arc::clone(&data.times)];
                let streamed = stream(&make, &data, &args, &mut mix);
                for key in 0..KEYS {
                    let partition = of_key(&values, &data.keys, key);
                    let times = of_key(&data.times, &data.keys, key);
                    let n = match function {
                        FrameFunction::NthValue(n) => n,
                        _ => 0,
                    };
                    let exprs: [Arc<dyn PhysicalExpr>; 2] = [
                        Arc::new(Column::new("x", 0)),
                        Arc::new(Literal::new(ScalarValue::Int64(Some(n)))),
                    ];
                    let args = PartitionEvaluatorArgs::new(&exprs, &[], false, ignore_nulls);
                    let mut evaluator = udf.partition_evaluator_factory(args).unwrap();
                    let expected = datafusion_frames(frame, &times).into_iter().map(|range| {
                        evaluator
                            .evaluate(std::slice::from_ref(&partition), &range)
                            .unwrap()
                    });
                    let expected = ScalarValue::iter_to_array(expected).unwrap();
                    assert_eq!(
                        &of_key(&streamed, &data.keys, key),
                        &expected,
                        "{function:?} {frame} ignore nulls {ignore_nulls}"
                    );
                }
            }
        }
    }
}

fn datafusion_frames(frame: Frame, times: &ArrayRef) -> Vec<Range<usize>> {
    let distance = |distance: Option<u64>| match (frame.units, distance) {
        (FrameUnits::Rows, distance) => ScalarValue::UInt64(distance),
        (FrameUnits::Range, None) => ScalarValue::Null,
        (FrameUnits::Range, Some(ms)) => ScalarValue::new_interval_mdn(0, 0, ms as i64 * 1_000_000),
    };
    let units = match frame.units {
        FrameUnits::Rows => WindowFrameUnits::Rows,
        FrameUnits::Range => WindowFrameUnits::Range,
    };
    let start = match frame.start {
        FrameStart::Unbounded => WindowFrameBound::Preceding(distance(None)),
        FrameStart::Preceding(start) => WindowFrameBound::Preceding(distance(Some(start))),
        FrameStart::CurrentRow => WindowFrameBound::CurrentRow,
    };
    let end = match frame.end {
        FrameEnd::Preceding(end) => WindowFrameBound::Preceding(distance(Some(end))),
        FrameEnd::CurrentRow => WindowFrameBound::CurrentRow,
    };
    let frame = Arc::new(WindowFrame::new_bounds(units, start, end));
    let mut context = WindowFrameContext::new(frame, vec![Default::default()]);
    let mut last = 0..0;
    (0..times.len())
        .map(|row| {
            let order_by = std::slice::from_ref(times);
            last = context
                .calculate_range(order_by, &last, times.len(), row)
                .unwrap();
            last.clone()
        })
        .collect()
}

#[test]
fn a_frame_without_a_start_has_constant_state() {
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
    let doubles = cast(&values, &DataType::Float64).unwrap();
    let times = timestamps((0..1000).map(Some));
    for units in [FrameUnits::Rows, FrameUnits::Range] {
        let start = FrameStart::Unbounded;
        let end = FrameEnd::CurrentRow;
        let frame = Frame { units, start, end };
        let mut folds = vec![];
        for function in [
            FrameFunction::Count,
            FrameFunction::Sum,
            FrameFunction::Min,
            FrameFunction::Max,
            FrameFunction::FirstValue,
            FrameFunction::LastValue,
            FrameFunction::NthValue(-3),
        ] {
            folds.push((function, &values));
        }
        folds.extend(OF_DOUBLES.map(|function| (function, &doubles)));
        for (function, values) in folds {
            let mut fold = frame_fold(function, values.data_type(), frame, false).unwrap();
            fold.resize(1);
            fold.update(&[0; 1000], &[Arc::clone(values), Arc::clone(&times)])
                .unwrap();
            let mut bytes = Vec::new();
            fold.snapshot(0, &mut bytes);
            assert!(bytes.len() < 80, "{function:?}: {}", bytes.len());
            assert!(fold.memory() < 400, "{function:?}: {}", fold.memory());
        }
    }
}

#[test]
fn room_for_a_burst_is_given_back() {
    let frame = Frame {
        units: FrameUnits::Range,
        start: FrameStart::Preceding(10),
        end: FrameEnd::CurrentRow,
    };
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..20_000).map(f64::from)));
    for function in [
        FrameFunction::Count,
        FrameFunction::Sum,
        FrameFunction::Min,
        FrameFunction::FirstValue,
    ] {
        let mut fold = frame_fold(function, &DataType::Float64, frame, false).unwrap();
        fold.resize(1);
        let burst = timestamps(std::iter::repeat_n(Some(0), 20_000));
        fold.update(&[0; 20_000], &[Arc::clone(&values), burst])
            .unwrap();
        assert!(fold.memory() > 20_000 * 8, "{function:?}");
        let later = timestamps((1..100).map(|i| Some(i * 11)));
        fold.update(&[0; 99], &[values.slice(0, 99), later])
            .unwrap();
        assert!(fold.memory() < 4_000, "{function:?}: {}", fold.memory());
    }
}

#[test]
fn a_row_without_a_time_is_in_no_frame() {
    let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 4]));
    let times = timestamps([Some(0), None, Some(0)]);
    let mut sum = frame_fold(FrameFunction::Sum, &DataType::Int64, Frame::DEFAULT, false).unwrap();
    sum.resize(1);
    let sums = sum.update(&[0; 3], &[values, Arc::clone(&times)]).unwrap();
    assert_eq!(
        sums.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(),
        [Some(1), None, Some(5)]
    );
    let mut rank = frame_fold(FrameFunction::Rank, &DataType::Null, Frame::DEFAULT, false).unwrap();
    rank.resize(1);
    let ranks = rank.update(&[0; 3], &[times]).unwrap();
    assert_eq!(
        ranks
            .as_primitive::<UInt64Type>()
            .iter()
            .collect::<Vec<_>>(),
        [Some(1), None, Some(1)]
    );
}

#[test]
fn distances_beyond_all_times_reach_the_first_and_the_last_moment() {
    let times: TimestampMillisecondArray = [i64::MIN, i64::MIN, 0, i64::MAX]
        .into_iter()
        .map(Some)
        .collect();
    let times: ArrayRef = Arc::new(times.with_timezone("UTC"));
    let counts = |start, end| {
        let units = FrameUnits::Range;
        let frame = Frame { units, start, end };
        let mut fold = frame_fold(FrameFunction::Count, &DataType::Int64, frame, false).unwrap();
        fold.resize(1);
        let ones: ArrayRef = Arc::new(Int64Array::from(vec![1; 4]));
        let counts = fold.update(&[0; 4], &[ones, Arc::clone(&times)]).unwrap();
        counts.as_primitive::<Int64Type>().values().to_vec()
    };
    let all = FrameStart::Preceding(u64::MAX);
    assert_eq!(counts(all, FrameEnd::CurrentRow), [2, 2, 3, 4]);
    assert_eq!(counts(all, FrameEnd::Preceding(1)), [0, 0, 2, 3]);
    assert_eq!(
        counts(FrameStart::Unbounded, FrameEnd::Preceding(u64::MAX)),
        [0, 0, 0, 2]
    );
}

#[test]
fn types_without_meaning_are_refused_by_name() {
    let error = |function, value: DataType| {
        frame_fold(function, &value, Frame::DEFAULT, false)
            .err()
            .unwrap()
            .to_string()
    };
    assert_eq!(
        error(FrameFunction::Sum, DataType::Utf8View),
        "sum: `value` must be an integer, a double or a decimal of 128 bits, \
         but here it is of type Utf8View"
    );
    assert!(error(FrameFunction::BoolOr, DataType::Int64).contains("a boolean"));
    assert!(error(FrameFunction::VarianceSample, DataType::Boolean).contains("a number"));
    let list = DataType::new_list(DataType::Int64, true);
    assert!(error(FrameFunction::Max, list).contains("an order"));
    assert!(error(FrameFunction::NthValue(i64::MIN), DataType::Int64).contains("a number of rows"));
}

#[test]
fn the_stored_bytes_stay_as_they_are() {
    let frame = Frame {
        units: FrameUnits::Rows,
        start: FrameStart::Preceding(1),
        end: FrameEnd::CurrentRow,
    };
    let values: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0, 4.0]));
    let mut fold = frame_fold(FrameFunction::Sum, &DataType::Float64, frame, false).unwrap();
    fold.resize(1);
    fold.update(&[0; 3], std::slice::from_ref(&values)).unwrap();
    let mut bytes = Vec::new();
    fold.snapshot(0, &mut bytes);
    let mut expected = vec![1];
    for integer in [3u64, 1, 2, 2.0f64.to_bits(), 1, 3, 4.0f64.to_bits()] {
        expected.extend(integer.to_le_bytes());
    }
    assert_eq!(bytes, expected);
}

#[test]
fn damaged_bytes_are_refused_or_harmless() {
    let mut mix = Mix(11);
    let data = Data::new(&mut mix);
    let columns = columns(&mut mix);
    for frame in frames() {
        for values in &columns {
            for function in [
                FrameFunction::Count,
                FrameFunction::Sum,
                FrameFunction::VarianceSample,
                FrameFunction::Max,
                FrameFunction::LastValue,
                FrameFunction::NthValue(3),
                FrameFunction::Rank,
            ] {
                let Ok(mut fold) = frame_fold(function, values.data_type(), frame, false) else {
                    continue;
                };
                let args = match function {
                    FrameFunction::Rank => vec![Arc::clone(&data.times)],
                    _ => vec![Arc::clone(values), Arc::clone(&data.times)],
                };
                fold.resize(KEYS as usize);
                fold.update(&data.keys, &args).unwrap();
                let mut intact = Vec::new();
                fold.snapshot(0, &mut intact);
                for _ in 0..4 {
                    let mut bytes = intact.clone();
                    let place = mix.below(bytes.len() as u64) as usize;
                    bytes[place] ^= 1 << mix.below(8);
                    if fold.restore(0, &bytes).is_err() {
                        let mut kept = Vec::new();
                        fold.snapshot(0, &mut kept);
                        assert_eq!(kept, intact, "a refused state changes nothing");
                    } else {
                        fold.update(&data.keys, &args).unwrap();
                        fold.restore(0, &intact).unwrap();
                    }
                }
            }
        }
    }
}
