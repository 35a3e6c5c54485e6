//! The published vectors, and inputs that no client should send.

use std::{collections::HashMap, fs, path::PathBuf};

use super::*;

/// None, with a loud word, where the vectors are not at hand.
fn vectors(name: &str) -> Option<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/baseline")
        .join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            eprintln!(
                "SKIPPED: no baseline vectors at {}: {error}",
                path.display()
            );
            None
        }
    }
}

fn assert_near(found: f64, expected: f64, what: impl Fn() -> String) {
    let error = (found - expected).abs() / expected.abs().max(1.0);
    assert!(
        error <= 1e-9,
        "{}: found {found:e}, expected {expected:e}",
        what()
    );
}

/// Folds the values of a vector file, compares each row, and gives the state that remains.
fn follow(name: &str, step_s: i64, counts: bool, prior: Option<Prior>) -> Option<Baseline> {
    let text = vectors(&format!("{name}.csv"))?;
    let params = Params::new(step_s, prior);
    let (mut with, mut without) = (Baseline::default(), Baseline::default());
    for (line, row) in text.lines().skip(1).enumerate() {
        let cells: Vec<&str> = row.split(',').collect();
        let value = match counts {
            true => Value::Count(cells[1].parse().unwrap()),
            false => Value::Measure(cells[1].parse().unwrap()),
        };
        let ts_s = cells[0].parse().unwrap();
        let found = with.observe(value, ts_s, &params, true);
        let bare = without.observe(value, ts_s, &params, false);
        assert_eq!(
            bare,
            Observation {
                bounds: None,
                ..found
            }
        );
        let columns = [
            ("expected", found.expected),
            ("lower", found.bounds.map(|(lower, _)| lower)),
            ("upper", found.bounds.map(|(_, upper)| upper)),
            ("surprise", Some(found.surprise)),
            ("surprise_low", Some(found.surprise_low)),
            ("level_surprise", Some(found.level_surprise)),
            ("n", Some(f64::from(found.n))),
        ];
        for ((column, found), cell) in columns.into_iter().zip(&cells[2..]) {
            let place = || format!("{name}.csv line {}, {column}", line + 2);
            match (found, cell.parse::<f64>().ok()) {
                (Some(found), Some(expected)) => assert_near(found, expected, place),
                (None, None) => {}
                different => panic!("{}: {different:?}", place()),
            }
        }
        if let (Some(lower), Some(upper)) = (found.bounds.map(|b| b.0), found.bounds.map(|b| b.1)) {
            let value: f64 = cells[1].parse().unwrap();
            assert_eq!(
                value >= upper,
                found.surprise >= 3.0,
                "{name}.csv line {}",
                line + 2
            );
            assert!(lower <= upper);
        }
    }
    assert_eq!(with, without);
    Some(with)
}

fn assert_state(name: &str, state: &Baseline) {
    let text = vectors("state.csv").unwrap();
    let mut lines = text.lines();
    let header = lines.next().unwrap().split(',').skip(1);
    let row = lines
        .find_map(|line| line.strip_prefix(&format!("{name},")))
        .unwrap();
    let expected: HashMap<_, f64> = header
        .zip(row.split(',').map(|cell| cell.parse().unwrap()))
        .collect();
    let numbers = state.numbers();
    let names = [
        "m",
        "W",
        "N",
        "S_A",
        "d",
        "W_d",
        "S_B",
        "R_A",
        "R_B",
        "b",
        "W_J",
        "S_J",
        "c_nn",
        "c_nb",
        "c_bn",
        "c_bb",
        "q",
        "c0",
        "c1",
        "c2",
        "c3",
        "c4",
        "c5",
        "c6",
        "c7",
        "c8",
        "c9",
        "tail_upper_n",
        "tail_upper_z",
        "tail_upper_e",
        "tail_lower_n",
        "tail_lower_z",
        "tail_lower_e",
        "tail_level_n",
        "tail_level_z",
        "tail_level_e",
    ];
    for (column, number) in names.iter().zip(numbers) {
        assert_near(number, expected[column], || {
            format!("state of {name}, {column}")
        });
    }
    assert_eq!(state.last as f64, expected["last_k"]);
    assert_eq!(f64::from(state.n), expected["n"]);
}

macro_rules! vector_tests {
    ($($test:ident: $name:literal, $step:literal, $counts:literal, $prior:expr;)*) => {$(
        #[test]
        fn $test() {
            if let Some(state) = follow($name, $step, $counts, $prior) {
                assert_state($name, &state);
            }
        }
    )*};
}

vector_tests! {
    steady_counts_equal_the_vectors: "steady", 600, true, None;
    counts_with_a_gap_of_three_days_equal_the_vectors: "sparse", 60, true, None;
    a_burst_that_becomes_the_norm_equals_the_vectors: "shift", 3600, true, None;
    measures_with_zero_rows_equal_the_vectors: "bytes", 600, false, None;
    a_real_client_equals_the_vectors: "client16", 600, true, None;
    a_cohort_prior_equals_the_vectors: "prior", 600, true,
        Some(Prior { mean: 8.4, deviation: 1.7 });
}

/// Numbers that look random and are the same on every run (SplitMix64).
struct Mix(u64);

impl Mix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn wild_value(mix: &mut Mix) -> Value {
    const MEASURES: [f64; 12] = [
        0.0,
        -0.0,
        -1.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE,
        5e-324,
        f64::MAX,
        1.0,
        9_007_199_254_740_992.0,
        1e-9,
    ];
    const COUNTS: [i64; 7] = [0, -1, i64::MIN, i64::MAX, 1 << 53, 1, 2];
    let pick = mix.next() as usize;
    match mix.next() % 4 {
        0 => Value::Measure(MEASURES[pick % MEASURES.len()]),
        1 => Value::Measure((mix.next() % 100_000) as f64 / 7.0),
        2 => Value::Count(COUNTS[pick % COUNTS.len()]),
        _ => Value::Count((mix.next() % 1000) as i64),
    }
}

fn wild_ts(mix: &mut Mix, ts_s: i64) -> i64 {
    match mix.next() % 16 {
        0 => ts_s,
        1 => ts_s.saturating_sub(3600),
        2 => ts_s.saturating_add(5 * 365 * 86_400),
        3 => i64::MIN,
        4 => i64::MAX,
        5 => 0,
        _ => ts_s.saturating_add(600),
    }
}

#[test]
fn no_input_leads_to_nan_or_a_negative_surprise() {
    let priors = [
        None,
        Some(Prior {
            mean: 8.4,
            deviation: 1.7,
        }),
    ];
    for seed in 0..60 {
        let mut mix = Mix(seed);
        let step_s = [1, 7, 60, 600, 3600, 86_400, 10_000_000, i64::MAX][seed as usize % 8];
        let params = Params::new(step_s, priors[seed as usize % 2]);
        let mut state = Baseline::default();
        let mut ts_s = 1_767_225_600;
        for row in 0..800 {
            ts_s = wild_ts(&mut mix, ts_s);
            let value = wild_value(&mut mix);
            let found = state.observe(value, ts_s, &params, row % 8 == 0);
            let bounds = found
                .bounds
                .map_or([0.0; 2], |(lower, upper)| [lower, upper]);
            let numbers = [found.surprise, found.surprise_low, found.level_surprise];
            let all = numbers
                .iter()
                .chain(&bounds)
                .chain(&found.expected)
                .chain(&state.rhythm);
            for number in all {
                assert!(
                    number.is_finite(),
                    "seed {seed}, row {row}, {value:?}: {found:?}"
                );
            }
            assert!(
                numbers.iter().all(|number| *number >= 0.0),
                "seed {seed}, row {row}"
            );
            assert!(state.numbers().iter().all(|number| number.is_finite()));
        }
        // What a fold reaches is what a restore accepts.
        let mut bytes = Vec::new();
        state.snapshot(1, &mut bytes);
        assert_eq!(
            Baseline::restore(Reader::new("baseline", 1, &bytes).unwrap()).unwrap(),
            state
        );
    }
}

#[test]
fn a_row_treated_as_absent_changes_nothing() {
    let params = Params::new(600, None);
    let mut state = Baseline::default();
    for row in 0..30 {
        state.observe(Value::Count(50 + row), row * 600, &params, false);
    }
    let before = state.clone();
    for value in [
        Value::Count(0),
        Value::Count(-5),
        Value::Measure(f64::NAN),
        Value::Measure(0.0),
        Value::Measure(f64::INFINITY),
    ] {
        assert_eq!(
            state.observe(value, 31 * 600, &params, true),
            Observation::silent(30)
        );
        assert_eq!(state, before);
    }
}

#[test]
fn student_tails_have_their_tabulated_values() {
    // Quantiles of Student's t from any table: 2.776 and 4.604 (4 degrees), 2.306 and 3.355 (8).
    for (tail, expected) in [
        (tail::upper4(2.776_445_105), 0.025),
        (tail::upper4(4.604_094_871), 0.005),
        (tail::upper8(2.306_004_135), 0.025),
        (tail::upper8(3.355_387_331), 0.005),
        (tail::upper4(0.0), 0.5),
        (tail::upper8(0.0), 0.5),
        (tail::upper8(-2.306_004_135), 0.975),
    ] {
        assert!((tail - expected).abs() < 1e-9, "{tail} is not {expected}");
    }
    // Far out the tail of 4 degrees falls as 3 x⁻⁴.
    let far = tail::upper4(1e6) * 1e24;
    assert!((far - 3.0).abs() < 1e-6, "{far}");
}

#[test]
fn the_tail_layer_inverts() {
    let mut layer = tail::Tail::default();
    for row in 0..400 {
        let raw = f64::from(row % 37 + 1) / 40.0 * 0.9;
        layer.learn(raw * raw * raw, 0.999);
        for calibrated in [1e-9, 1e-3, tail::PROBABILITY_AT_3, 0.01, 0.2, 0.9] {
            let back = layer.calibrate(layer.raw_at(calibrated));
            assert!(
                (back / calibrated - 1.0).abs() < 1e-9,
                "{back} is not {calibrated}"
            );
        }
    }
    assert!((tail::surprise(tail::PROBABILITY_AT_3) - 3.0).abs() < 1e-12);
}

#[test]
fn damaged_state_is_an_error() {
    let params = Params::new(600, None);
    let mut state = Baseline::default();
    for row in 0..50 {
        state.observe(Value::Count(50 + row % 7), row * 600, &params, false);
    }
    let mut bytes = Vec::new();
    state.snapshot(1, &mut bytes);
    assert_eq!(bytes.len(), 1 + 4 + 8 + 36 * 8);
    let restore = |bytes: &[u8]| Reader::new("baseline", 1, bytes).and_then(Baseline::restore);
    for len in 0..bytes.len() {
        assert!(restore(&bytes[..len]).is_err(), "{len} bytes were taken");
    }
    for bad in [f64::NAN, f64::INFINITY, -1e300] {
        let mut damaged = bytes.clone();
        damaged[13..21].copy_from_slice(&bad.to_le_bytes());
        assert!(restore(&damaged).is_err(), "a level of {bad} was taken");
    }
    let mut young = Vec::new();
    let mut state = Baseline::default();
    state.observe(Value::Count(5), 600, &params, false);
    state.snapshot(1, &mut young);
    assert_eq!(young.len(), 1 + 4 + 8 + 9 * 8);
}
