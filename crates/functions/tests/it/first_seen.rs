//! `first_seen` on values worked out by hand.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, StringArray, StringViewArray},
    datatypes::{Int64Type, TimestampMillisecondType},
};
use keyhawk_functions::{KeyedFold, VALUES_PER_KEY};

use crate::{function, timestamps};

const DAY_MS: i64 = 86_400_000;

type Row = (bool, Option<i64>, Option<i64>, Option<i64>, Option<i64>);

fn fold(values: &ArrayRef) -> Box<dyn KeyedFold> {
    let ts = timestamps([]).data_type().clone();
    let mut fold = function("first_seen")
        .fold(&[values.data_type().clone(), ts], &[None, None])
        .unwrap();
    fold.resize(3);
    fold
}

/// (is_new, first_ts, values, age, active_days) a row.
fn rows(output: &ArrayRef) -> Vec<Row> {
    let output = output.as_struct();
    let integer = |name: &str, row: usize| {
        let column = output
            .column_by_name(name)
            .unwrap()
            .as_primitive::<Int64Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    let first = output.column_by_name("first_ts").unwrap();
    let first = first.as_primitive::<TimestampMillisecondType>();
    let is_new = output.column_by_name("is_new").unwrap().as_boolean();
    (0..output.len())
        .map(|row| {
            let first_ts = first.is_valid(row).then(|| first.value(row));
            assert!(is_new.is_valid(row));
            (
                is_new.value(row),
                first_ts,
                integer("values", row),
                integer("age", row),
                integer("active_days", row),
            )
        })
        .collect()
}

#[test]
fn a_key_and_its_countries() {
    let texts = [
        Some("DE"),
        Some("DE"),
        Some("FR"),
        None,
        Some("DE"),
        Some("FR"),
    ];
    let values: ArrayRef = Arc::new(StringViewArray::from_iter(texts));
    // The last row is two days after the one before, which is one day after the first.
    let ts = [1000, 2500, 61_000, 70_000, DAY_MS, 3 * DAY_MS + 1].map(Some);
    let output = fold(&values)
        .update(&[0; 6], &[values.clone(), timestamps(ts)])
        .unwrap();
    assert_eq!(
        rows(&output),
        [
            (true, Some(1000), Some(0), Some(0), Some(0)),
            (false, Some(1000), Some(1), Some(1), Some(0)),
            (true, Some(61_000), Some(1), Some(60), Some(0)),
            (false, None, None, None, None),
            (false, Some(1000), Some(2), Some(86_399), Some(1)),
            (false, Some(61_000), Some(2), Some(259_199), Some(2)),
        ]
    );
}

#[test]
fn keys_do_not_share_what_they_know() {
    let values: ArrayRef = Arc::new(Int64Array::from(vec![7, 7, 7]));
    let ts = timestamps([Some(0), Some(1), Some(2)]);
    let output = fold(&values)
        .update(&[0, 1, 0], &[values.clone(), ts])
        .unwrap();
    let is_new: Vec<bool> = rows(&output).iter().map(|row| row.0).collect();
    assert_eq!(is_new, [true, true, false]);
}

#[test]
fn a_row_without_a_time_changes_nothing() {
    let values: ArrayRef = Arc::new(Int64Array::from(vec![7, 7]));
    let ts = timestamps([None, Some(5)]);
    let output = fold(&values)
        .update(&[0, 0], &[values.clone(), ts])
        .unwrap();
    assert_eq!(rows(&output)[0], (false, None, None, None, None));
    assert_eq!(rows(&output)[1], (true, Some(5), Some(0), Some(0), Some(0)));
}

#[test]
fn a_full_set_forgets_the_value_not_seen_for_longest() {
    let bound = VALUES_PER_KEY as i64;
    // 0 … 63, then 0 again, so that 1 is the one not seen for longest; 64 pushes it out.
    let values: Vec<i64> = (0..bound).chain([0, bound, 0, 1, 3]).collect();
    let rows_in = values.len();
    let ts = timestamps((0..rows_in as i64).map(|row| Some(row * 1000)));
    let values: ArrayRef = Arc::new(Int64Array::from(values));
    let output = fold(&values)
        .update(&vec![0; rows_in], &[values.clone(), ts])
        .unwrap();
    let last: Vec<Row> = rows(&output)[VALUES_PER_KEY..].to_vec();
    let is_new: Vec<bool> = last.iter().map(|row| row.0).collect();
    assert_eq!(is_new, [false, true, false, true, false]);
    assert!(last.iter().all(|row| row.2 == Some(bound)));
}

#[test]
fn a_value_is_the_same_in_every_array_type() {
    let view: ArrayRef = Arc::new(StringViewArray::from(vec!["203.0.113.0/24"]));
    let plain: ArrayRef = Arc::new(StringArray::from(vec!["203.0.113.0/24"]));
    let mut texts = fold(&view);
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![-5]));
    let wide: ArrayRef = Arc::new(Int64Array::from(vec![-5]));
    let mut integers = fold(&narrow);
    let ts = timestamps([Some(9)]);
    for (fold, first, second) in [(&mut texts, view, plain), (&mut integers, narrow, wide)] {
        assert!(rows(&fold.update(&[1], &[first, ts.clone()]).unwrap())[0].0);
        assert!(!rows(&fold.update(&[1], &[second, ts.clone()]).unwrap())[0].0);
    }
}

#[test]
fn the_stored_bytes_stay_as_they_are() {
    let values: ArrayRef = Arc::new(StringViewArray::from(vec!["DE"]));
    let mut fold = fold(&values);
    fold.update(&[2], &[values, timestamps([Some(DAY_MS + 5)])])
        .unwrap();
    let mut bytes = Vec::new();
    fold.snapshot(2, &mut bytes);
    // FNV-1a of "tDE", worked out apart from this crate.
    let hash = [b't', b'D', b'E']
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let mut expected = vec![1];
    expected.extend((DAY_MS + 5).to_le_bytes());
    expected.extend(1_i64.to_le_bytes());
    expected.extend(0_u32.to_le_bytes());
    expected.push(1);
    expected.extend(hash.to_le_bytes());
    expected.extend((DAY_MS + 5).to_le_bytes());
    expected.extend((DAY_MS + 5).to_le_bytes());
    assert_eq!(bytes, expected);
}
