//! Every aggregate against a computation over all rows of a group at once: with nulls, filters, any
//! cuts, state saved and loaded under other slots, and columns merged in any grouping.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    Float32Array, Float64Array, Int64Array, ListArray, StringViewArray, TimestampMillisecondArray,
    UInt16Array, new_null_array,
};
use arrow::compute::{SortOptions, concat, sort_to_indices, take};
use arrow::datatypes::{DataType, Decimal128Type, Field, Float64Type, Int64Type, TimeUnit};
use arrow::row::{RowConverter, Rows, SortField};
use arrow::util::display::array_value_to_string;
use keyhawk_testkit::random::generator;
use rand::RngExt;

use super::{AccumulatorColumn, Argument, SlidingDistinct, accumulator};
use crate::program::AggregateKind;

const GROUPS: usize = 5;

/// Rows of one argument: values, the mask of a filter, a unique order, and a group each.
struct Data {
    values: ArrayRef,
    filter: Option<BooleanArray>,
    order: Int64Array,
    descending: bool,
    groups: Vec<usize>,
}

impl Data {
    fn random(data_type: &DataType, rows: usize, seed: u64) -> Data {
        let mut random = generator(seed);
        let nulls = random.random_range(0..3);
        let mut integer = |low: i64, high: i64| {
            (0..rows)
                .map(|_| {
                    (nulls == 0 || random.random_range(0..3) > 0)
                        .then(|| random.random_range(low..high))
                })
                .collect::<Vec<Option<i64>>>()
        };
        let text = |value: Option<i64>| {
            value.map(|value| "x".repeat((value % 3 * 9) as usize) + &value.to_string())
        };
        let values: ArrayRef = match data_type {
            DataType::Int64 => Arc::new(Int64Array::from(integer(-20, 20))),
            DataType::UInt16 => Arc::new(
                integer(0, 20)
                    .into_iter()
                    .map(|value| value.map(|value| value as u16))
                    .collect::<UInt16Array>(),
            ),
            DataType::Float64 => Arc::new(
                integer(-2_000, 2_000)
                    .into_iter()
                    .map(|value| value.map(|value| value as f64 / 8.0))
                    .collect::<Float64Array>(),
            ),
            DataType::Float32 => Arc::new(
                integer(-20, 20)
                    .into_iter()
                    .map(|value| value.map(|value| value as f32 / 4.0))
                    .collect::<Float32Array>(),
            ),
            DataType::Decimal128(precision, scale) => Arc::new(
                integer(-1_000_000, 1_000_000)
                    .into_iter()
                    .map(|value| value.map(i128::from))
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(*precision, *scale)
                    .unwrap(),
            ),
            DataType::Boolean => Arc::new(
                integer(0, 6)
                    .into_iter()
                    .map(|value| value.map(|value| value > 0))
                    .collect::<BooleanArray>(),
            ),
            DataType::Date32 => Arc::new(
                integer(-20, 20)
                    .into_iter()
                    .map(|value| value.map(|value| value as i32))
                    .collect::<Date32Array>(),
            ),
            DataType::Timestamp(..) => {
                Arc::new(TimestampMillisecondArray::from(integer(-20, 20)).with_timezone("UTC"))
            }
            DataType::Utf8View => Arc::new(
                integer(0, 30)
                    .into_iter()
                    .map(text)
                    .collect::<StringViewArray>(),
            ),
            DataType::Binary => Arc::new(
                integer(0, 30)
                    .into_iter()
                    .map(text)
                    .map(|value| value.map(String::into_bytes))
                    .collect::<BinaryArray>(),
            ),
            DataType::List(_) => Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(
                integer(0, 4)
                    .into_iter()
                    .map(|value| value.map(|value| (0..value).map(Some).collect::<Vec<_>>())),
            )),
            other => unreachable!("no values of {other}"),
        };
        let filter = match random.random_range(0..3) {
            0 => None,
            _ => Some(
                (0..rows)
                    .map(|_| match random.random_range(0..6) {
                        0 => None,
                        1 => Some(false),
                        _ => Some(true),
                    })
                    .collect(),
            ),
        };
        let mut order: Vec<i64> = (0..rows as i64).collect();
        for at in (1..rows).rev() {
            order.swap(at, random.random_range(0..=at));
        }
        Data {
            values,
            filter,
            order: order.into(),
            descending: random.random_bool(0.5),
            groups: (0..rows).map(|_| random.random_range(0..GROUPS)).collect(),
        }
    }

    /// Two columns, the first of which has ties.
    fn keys(&self) -> Rows {
        let options = SortOptions {
            descending: self.descending,
            nulls_first: false,
        };
        let coarse: Int64Array = self.order.unary(|order| order / 10);
        let fields = [DataType::Int64, DataType::Int64]
            .map(|data_type| SortField::new_with_options(data_type, options));
        RowConverter::new(fields.to_vec())
            .unwrap()
            .convert_columns(&[Arc::new(coarse), Arc::new(self.order.clone())])
            .unwrap()
    }

    fn argument(&self) -> Argument {
        Argument::new(
            Arc::clone(&self.values),
            self.filter.as_ref(),
            Some(self.keys()),
        )
    }

    /// The rows of a group that the filter keeps, in the order.
    fn kept(&self, group: usize) -> Vec<u64> {
        let kept = |row: &usize| match &self.filter {
            Some(filter) => filter.is_valid(*row) && filter.value(*row),
            None => true,
        };
        let mut rows: Vec<usize> = (0..self.groups.len())
            .filter(|&row| self.groups[row] == group)
            .filter(kept)
            .collect();
        rows.sort_by_key(|&row| match self.descending {
            true => -self.order.value(row),
            false => self.order.value(row),
        });
        rows.into_iter().map(|row| row as u64).collect()
    }

    fn rows(&self, indices: &[u64]) -> ArrayRef {
        let indices = arrow::array::UInt64Array::from(indices.to_vec());
        take(&self.values, &indices, None).unwrap()
    }

    /// What the aggregate of a group must be, a column of one row.
    fn expected(
        &self,
        kind: AggregateKind,
        ignore_nulls: bool,
        group: usize,
        result: &DataType,
    ) -> ArrayRef {
        let kept = self.kept(group);
        let counted: Vec<u64> = kept
            .iter()
            .copied()
            .filter(|&row| self.values.is_valid(row as usize))
            .collect();
        let values = self.rows(&counted);
        let n = values.len();
        let picked = if ignore_nulls { &counted } else { &kept };
        let one = |row: Option<&u64>| match row {
            Some(&row) => self.rows(&[row]),
            None => new_null_array(self.values.data_type(), 1),
        };
        let float = |value: Option<f64>| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
        let moments = || {
            let values = values.as_primitive::<Float64Type>().values();
            let mean = values.iter().sum::<f64>() / n as f64;
            values
                .iter()
                .map(|value| (value - mean).powi(2))
                .sum::<f64>()
        };
        match kind {
            AggregateKind::Count => Arc::new(Int64Array::from(vec![n as i64])),
            AggregateKind::CountDistinct => {
                let distinct: HashSet<String> = (0..n)
                    .map(|row| array_value_to_string(&values, row).unwrap())
                    .collect();
                Arc::new(Int64Array::from(vec![distinct.len() as i64]))
            }
            AggregateKind::Sum if n == 0 => new_null_array(result, 1),
            AggregateKind::Sum => match self.values.data_type() {
                DataType::Int64 => Arc::new(Int64Array::from(vec![
                    values
                        .as_primitive::<Int64Type>()
                        .values()
                        .iter()
                        .sum::<i64>(),
                ])),
                _ => float(Some(
                    values.as_primitive::<Float64Type>().values().iter().sum(),
                )),
            },
            AggregateKind::Avg => match result {
                DataType::Float64 => {
                    let sum: f64 = values.as_primitive::<Float64Type>().values().iter().sum();
                    float((n > 0).then(|| sum / n as f64))
                }
                DataType::Decimal128(precision, scale) => {
                    let sum: i128 = values
                        .as_primitive::<Decimal128Type>()
                        .values()
                        .iter()
                        .sum();
                    let mean = (n > 0).then(|| sum * 10_000 / n as i128);
                    let array = Decimal128Array::from(vec![mean]);
                    Arc::new(array.with_precision_and_scale(*precision, *scale).unwrap())
                }
                other => unreachable!("no mean as {other}"),
            },
            AggregateKind::VariancePopulation => float((n > 0).then(|| moments() / n as f64)),
            AggregateKind::VarianceSample => float((n > 1).then(|| moments() / (n - 1) as f64)),
            AggregateKind::StddevPopulation => {
                float((n > 0).then(|| (moments() / n as f64).sqrt()))
            }
            AggregateKind::StddevSample => {
                float((n > 1).then(|| (moments() / (n - 1) as f64).sqrt()))
            }
            AggregateKind::BoolAnd => {
                let all = values.as_boolean().false_count() == 0;
                Arc::new(BooleanArray::from(vec![(n > 0).then_some(all)]))
            }
            AggregateKind::BoolOr => {
                let any = values.as_boolean().true_count() > 0;
                Arc::new(BooleanArray::from(vec![(n > 0).then_some(any)]))
            }
            AggregateKind::Min | AggregateKind::Max => {
                let sorted = sort_to_indices(&values, None, None).unwrap();
                let place = match kind {
                    AggregateKind::Min => sorted.values().first(),
                    _ => sorted.values().last(),
                };
                one(place.map(|&place| &counted[place as usize]))
            }
            AggregateKind::FirstValue => one(picked.first()),
            AggregateKind::LastValue => one(picked.last()),
            AggregateKind::ArrayFirst(_) if kept.is_empty() => new_null_array(result, 1),
            AggregateKind::ArrayFirst(most) => {
                let values = self.rows(&kept[..kept.len().min(most as usize)]);
                let DataType::List(item) = result else {
                    unreachable!("a list")
                };
                let offsets = arrow::buffer::OffsetBuffer::from_lengths([values.len()]);
                Arc::new(ListArray::new(Arc::clone(item), offsets, values, None))
            }
        }
    }

    /// Takes rows in, cut at random.
    fn update(
        &self,
        column: &mut dyn AccumulatorColumn,
        rows: std::ops::Range<usize>,
        slot_of: &[u32],
        seed: u64,
    ) {
        let mut random = generator(seed);
        let argument = self.argument();
        let mut row = rows.start;
        while row < rows.end {
            let end = random.random_range(row + 1..=rows.end);
            let slots: Vec<u32> = (row..end).map(|row| slot_of[self.groups[row]]).collect();
            column.update(&argument, row..end, &slots).unwrap();
            row = end;
        }
    }
}

/// Every kind with types of arguments, and the result's type.
fn cases() -> Vec<(AggregateKind, bool, DataType, DataType)> {
    use AggregateKind::*;
    let utc = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
    let every = [
        DataType::Int64,
        DataType::UInt16,
        DataType::Float64,
        DataType::Float32,
        DataType::Decimal128(10, 2),
        DataType::Boolean,
        DataType::Date32,
        utc,
        DataType::Utf8View,
        DataType::Binary,
        list.clone(),
    ];
    let mut cases = Vec::new();
    for data_type in &every {
        for kind in [Count, CountDistinct] {
            cases.push((kind, false, data_type.clone(), DataType::Int64));
        }
        for kind in [FirstValue, LastValue] {
            for ignore_nulls in [false, true] {
                cases.push((kind, ignore_nulls, data_type.clone(), data_type.clone()));
            }
        }
        for most in [1, 3, 40] {
            let item = Arc::new(Field::new_list_field(data_type.clone(), true));
            cases.push((
                ArrayFirst(most),
                false,
                data_type.clone(),
                DataType::List(item),
            ));
        }
        if *data_type != list {
            for kind in [Min, Max] {
                cases.push((kind, false, data_type.clone(), data_type.clone()));
            }
        }
    }
    for kind in [
        VarianceSample,
        VariancePopulation,
        StddevSample,
        StddevPopulation,
        Avg,
        Sum,
    ] {
        cases.push((kind, false, DataType::Float64, DataType::Float64));
    }
    cases.push((Sum, false, DataType::Int64, DataType::Int64));
    cases.push((
        Avg,
        false,
        DataType::Decimal128(10, 2),
        DataType::Decimal128(14, 6),
    ));
    cases.push((
        Avg,
        false,
        DataType::Decimal128(30, 2),
        DataType::Decimal128(34, 6),
    ));
    for kind in [BoolAnd, BoolOr] {
        cases.push((kind, false, DataType::Boolean, DataType::Boolean));
    }
    cases
}

/// Equal, floats but for rounding.
fn assert_same(found: &ArrayRef, expected: &ArrayRef, what: &str) {
    assert_eq!(found.data_type(), expected.data_type(), "{what}");
    assert_eq!(found.len(), expected.len(), "{what}");
    let (Some(found), Some(expected)) = (
        found.as_primitive_opt::<Float64Type>(),
        expected.as_primitive_opt::<Float64Type>(),
    ) else {
        assert_eq!(found, expected, "{what}");
        return;
    };
    for (found, expected) in found.iter().zip(expected) {
        match (found, expected) {
            (Some(found), Some(expected)) => assert!(
                (found - expected).abs() <= 1e-9 * expected.abs().max(1e-3),
                "{what}: {found}, expected {expected}"
            ),
            (found, expected) => assert_eq!(found, expected, "{what}"),
        }
    }
}

fn new(case: &(AggregateKind, bool, DataType, DataType)) -> Box<dyn AccumulatorColumn> {
    let mut column = accumulator(case.0, case.1, &case.2, &case.3).unwrap();
    column.resize(GROUPS);
    column
}

fn move_state(from: &dyn AccumulatorColumn, to: &mut dyn AccumulatorColumn, slots: &[u32]) {
    let all: Vec<usize> = (0..GROUPS).collect();
    let mut states = vec![Vec::new(); GROUPS];
    from.save(&all, &mut states);
    for (state, &slot) in states.iter().zip(slots) {
        let mut bytes = state.as_slice();
        to.load(slot as usize, &mut bytes).unwrap();
        assert!(bytes.is_empty(), "what was saved is read to its end");
        for length in 0..state.len() {
            assert!(
                to.load(slot as usize, &mut &state[..length]).is_err(),
                "{length} of {} bytes",
                state.len()
            );
        }
        to.load(slot as usize, &mut state.as_slice()).unwrap();
    }
}

const SAME: [u32; GROUPS] = [0, 1, 2, 3, 4];
const OTHER: [u32; GROUPS] = [3, 0, 4, 2, 1];

/// The results by group, for a column whose group i stands at `slots[i]`.
fn results(column: &dyn AccumulatorColumn, slots: &[u32]) -> ArrayRef {
    let slots = arrow::array::UInt32Array::from(slots.to_vec());
    take(&column.finish().unwrap(), &slots, None).unwrap()
}

#[test]
fn every_aggregate_is_what_all_rows_at_once_give() {
    for (number, case) in cases().iter().enumerate() {
        for seed in 0..12 {
            let rows = [0, 3, 40, 200][seed as usize % 4];
            let data = Data::random(&case.2, rows, seed * 1_000 + number as u64);
            let what = format!("{case:?}, seed {seed}");
            let expected: Vec<ArrayRef> = (0..GROUPS)
                .map(|group| data.expected(case.0, case.1, group, &case.3))
                .collect();
            let expected: Vec<&dyn Array> = expected.iter().map(AsRef::as_ref).collect();
            let expected = concat(&expected).unwrap();

            let mut whole = new(case);
            data.update(&mut *whole, 0..rows, &SAME, seed);
            assert_same(&results(&*whole, &SAME), &expected, &what);

            // Saved in the middle, and loaded into other slots over what was there.
            let middle = rows / 2;
            let mut before = new(case);
            data.update(&mut *before, 0..middle, &SAME, seed);
            let mut after = new(case);
            data.update(&mut *after, 0..rows, &OTHER, seed);
            move_state(&*before, &mut *after, &OTHER);
            data.update(&mut *after, middle..rows, &OTHER, seed + 1);
            assert_same(&results(&*after, &OTHER), &expected, &what);

            // Three parts merged from either side.
            let cuts = [0, rows / 3, rows / 2, rows];
            let parts: Vec<_> = (0..3)
                .map(|part| {
                    let slots = if part == 1 { &OTHER } else { &SAME };
                    let mut column = new(case);
                    data.update(&mut *column, cuts[part]..cuts[part + 1], slots, seed);
                    column
                })
                .collect();
            // Group i of the second part stands at OTHER[i]: where its group at slot s goes.
            let mut back = [0; GROUPS];
            (0..GROUPS).for_each(|group| back[OTHER[group] as usize] = group as u32);
            let mut left = new(case);
            left.merge(&*parts[0], &SAME).unwrap();
            left.merge(&*parts[1], &back).unwrap();
            left.merge(&*parts[2], &SAME).unwrap();
            assert_same(&results(&*left, &SAME), &expected, &what);
            let mut tail = new(case);
            tail.merge(&*parts[1], &back).unwrap();
            tail.merge(&*parts[2], &SAME).unwrap();
            let mut right = new(case);
            right.merge(&*parts[0], &SAME).unwrap();
            right.merge(&*tail, &SAME).unwrap();
            assert_same(&results(&*right, &SAME), &expected, &what);
        }
    }
}

#[test]
fn the_state_of_many_distinct_values_does_not_depend_on_how_they_came() {
    let case = (
        AggregateKind::CountDistinct,
        false,
        DataType::Utf8View,
        DataType::Int64,
    );
    let value = |i: usize| format!("{}{i}", "a value of more than fifteen bytes ".repeat(i % 2));
    let save = |order: &mut dyn Iterator<Item = usize>| {
        let values: StringViewArray = order.map(|i| Some(value(i))).collect();
        let rows = values.len();
        let mut column = new(&case);
        let argument = Argument::new(Arc::new(values), None, None);
        column.update(&argument, 0..rows, &vec![2; rows]).unwrap();
        let mut out = vec![Vec::new()];
        column.save(&[2], &mut out);
        (column.finish().unwrap(), out)
    };
    for n in [1, 2, 16, 17, 500] {
        let forth = save(&mut (0..n));
        let back = save(&mut (0..n).chain((0..n).rev()));
        assert_eq!(forth.1, back.1);
        assert_eq!(forth.0.as_primitive::<Int64Type>().value(2), n as i64);
        assert_eq!(back.0.as_primitive::<Int64Type>().value(2), n as i64);
    }
}

/// The format is read by later versions: it changes on purpose only.
#[test]
fn distinct_values_are_saved_in_a_settled_form() {
    let case = (
        AggregateKind::CountDistinct,
        false,
        DataType::Utf8View,
        DataType::Int64,
    );
    let values = StringViewArray::from(vec!["", "192.0.2.7", "2001:db8::8a2e:370:7334"]);
    let mut column = new(&case);
    let argument = Argument::new(Arc::new(values), None, None);
    column.update(&argument, 0..3, &[0, 1, 2]).unwrap();
    let mut out = vec![Vec::new(); 3];
    column.save(&[0, 1, 2], &mut out);
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    assert_eq!(
        hex(&out[0]),
        "0100000000000000".to_owned() + &"0".repeat(32)
    );
    assert_eq!(
        hex(&out[1]),
        "01000000000000003139322e302e322e3700000000000009"
    );
    assert_eq!(
        hex(&out[2]),
        "01000000000000003600a284344191f1cf4ac7c58ab556ff"
    );
}

#[test]
fn a_nan_starts_a_minimum_anew_in_rows_and_in_merges_alike() {
    let case = (
        AggregateKind::Min,
        false,
        DataType::Float64,
        DataType::Float64,
    );
    let column = |values: &[f64]| {
        let argument = Argument::new(Arc::new(Float64Array::from(values.to_vec())), None, None);
        let mut column = new(&case);
        column
            .update(&argument, 0..values.len(), &vec![0; values.len()])
            .unwrap();
        column
    };
    let values = [3.0, f64::NAN, 7.0, 5.0];
    let whole = column(&values).finish().unwrap();
    assert_eq!(whole.as_primitive::<Float64Type>().value(0), 5.0);
    for cut in 0..=values.len() {
        let mut head = column(&values[..cut]);
        head.merge(&*column(&values[cut..]), &SAME).unwrap();
        assert_eq!(&head.finish().unwrap(), &whole, "cut at {cut}");
    }
}

#[test]
fn a_variance_keeps_its_digits_far_from_zero() {
    let case = (
        AggregateKind::VariancePopulation,
        false,
        DataType::Float64,
        DataType::Float64,
    );
    let mut merged = new(&case);
    for part in 0..10 {
        let values: Vec<f64> = (0..100)
            .map(|i| 1e9 + f64::from((part * 100 + i) % 2))
            .collect();
        let argument = Argument::new(Arc::new(Float64Array::from(values)), None, None);
        let mut column = new(&case);
        column.update(&argument, 0..100, &[0; 100]).unwrap();
        merged.merge(&*column, &SAME).unwrap();
    }
    let variance = merged.finish().unwrap();
    let variance = variance.as_primitive::<Float64Type>().value(0);
    assert!((variance - 0.25).abs() < 1e-9, "{variance}");
}

#[test]
fn columns_of_different_aggregates_are_not_merged() {
    let count = new(&(
        AggregateKind::Count,
        false,
        DataType::Int64,
        DataType::Int64,
    ));
    let mut sum = new(&(AggregateKind::Sum, false, DataType::Int64, DataType::Int64));
    assert!(sum.merge(&*count, &SAME).is_err());
}

#[test]
fn distinct_values_of_panes_that_come_and_go_are_counted_as_of_one_set() {
    let case = (
        AggregateKind::CountDistinct,
        false,
        DataType::Int64,
        DataType::Int64,
    );
    for seed in 0..20 {
        let mut random = generator(seed);
        let panes: Vec<Data> = (0..20)
            .map(|pane| Data::random(&DataType::Int64, 30, seed * 100 + pane))
            .collect();
        let columns: Vec<_> = panes
            .iter()
            .map(|data| {
                let mut column = new(&case);
                data.update(&mut *column, 0..30, &SAME, seed);
                column
            })
            .collect();
        let mut sliding = SlidingDistinct::default();
        let (mut first, mut next) = (0, 0);
        while next < panes.len() {
            for _ in 0..random.random_range(1..4) {
                if next < panes.len() {
                    sliding.enter(&*columns[next], &OTHER, next as i64).unwrap();
                    next += 1;
                }
            }
            for _ in 0..random.random_range(0..3) {
                if first + 1 < next {
                    sliding
                        .leave(&*columns[first], &OTHER, first as i64)
                        .unwrap();
                    first += 1;
                }
            }
            let mut union = new(&case);
            for column in &columns[first..next] {
                union.merge(&**column, &SAME).unwrap();
            }
            assert_eq!(
                &sliding.counts(&OTHER),
                &union.finish().unwrap(),
                "seed {seed}"
            );
        }
    }
}
