//! `baseline` as SQL sees it: `baseline(value, ts [, step [, bounds]])`.
//!
//! | argument | type | meaning |
//! |---|---|---|
//! | `value` | any integer: a count; any other number: a measure | what is judged |
//! | `ts` | timestamp | the end of the row's window |
//! | `step` | literal seconds or interval | the distance of the windows; the planner fills it in from `tumble` or `hop` |
//! | `bounds` | literal boolean, true | false leaves `lower` and `upper` null, at a tenth of the cost |
//!
//! Returns a struct of `expected`, `lower`, `upper`, `surprise`, `surprise_low`, `level_surprise`
//! (double) and `n` (bigint), described at [`Observation`](super::Observation).
//!
//! A call with two arguments type-checks, so that a planner can see it in a plan and add the step; it
//! cannot be evaluated.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, Float64Array, Int64Array, NullBufferBuilder, StructArray,
        new_null_array,
    },
    buffer::NullBuffer,
    datatypes::{DataType, Field, Fields, Float64Type, Int64Type},
};
use datafusion_common::ScalarValue;

use super::{Baseline, Observation, Params, Value};
use crate::{
    Error, KeyRows, KeyedFold, Result, WindowFunction,
    arguments::{coerce_seconds, coerce_timestamp, column, timestamps, whole_seconds},
    state::Reader,
};

const NAME: &str = "baseline";
const USAGE: &str = "baseline(value, ts), or baseline(value, ts, step) with the step in seconds";
const VERSION: u8 = 1;

pub(crate) fn window_function() -> WindowFunction {
    WindowFunction::new(NAME, u32::from(VERSION), return_type(), coerce, make)
}

fn fields() -> Fields {
    let double = |name| Field::new(name, DataType::Float64, true);
    Fields::from(vec![
        double("expected"),
        double("lower"),
        double("upper"),
        double("surprise"),
        double("surprise_low"),
        double("level_surprise"),
        Field::new("n", DataType::Int64, true),
    ])
}

fn return_type() -> DataType {
    DataType::Struct(fields())
}

fn coerce(arg_types: &[DataType]) -> Result<Vec<DataType>> {
    if !(2..=4).contains(&arg_types.len()) {
        return Err(Error::ArgumentCount {
            function: NAME,
            usage: USAGE,
            found: arg_types.len(),
        });
    }
    let wrong = |argument, expected, found: &DataType| Error::Argument {
        function: NAME,
        argument,
        expected,
        found: format!("of type {found}"),
    };
    let mut coerced = vec![
        match &arg_types[0] {
            DataType::Null => DataType::Int64,
            integer if integer.is_integer() => DataType::Int64,
            number if number.is_numeric() => DataType::Float64,
            other => return Err(wrong("value", "a number", other)),
        },
        coerce_timestamp(NAME, "ts", &arg_types[1])?,
    ];
    if let Some(step) = arg_types.get(2) {
        let seconds = coerce_seconds(step).ok_or_else(|| wrong("step", STEP, step))?;
        coerced.push(seconds);
    }
    match arg_types.get(3) {
        None => {}
        Some(DataType::Boolean | DataType::Null) => coerced.push(DataType::Boolean),
        Some(other) => return Err(wrong("bounds", BOUNDS, other)),
    }
    Ok(coerced)
}

const STEP: &str = "a literal number of whole seconds, or an interval of days or less";
const BOUNDS: &str = "true or false";

fn make(arg_types: &[DataType], literals: &[Option<ScalarValue>]) -> Result<Box<dyn KeyedFold>> {
    let value_type = coerce(arg_types)?.swap_remove(0);
    let wrong = |argument, expected, found: Option<&ScalarValue>| Error::Argument {
        function: NAME,
        argument,
        expected,
        found: found.map_or("computed from the row".to_owned(), ToString::to_string),
    };
    if arg_types.len() < 3 {
        return Err(Error::StepMissing);
    }
    let step = literals.get(2).and_then(Option::as_ref);
    let step_s = step
        .and_then(whole_seconds)
        .ok_or_else(|| wrong("step", STEP, step))?;
    let bounds = match literals.get(3).and_then(Option::as_ref) {
        _ if arg_types.len() < 4 => true,
        Some(ScalarValue::Boolean(Some(bounds))) => *bounds,
        other => return Err(wrong("bounds", BOUNDS, other)),
    };
    let params = Params::new(step_s, None);
    Ok(Box::new(BaselineFold {
        value_type,
        params,
        bounds,
        keys: Vec::new(),
    }))
}

struct BaselineFold {
    value_type: DataType,
    params: Params,
    bounds: bool,
    keys: Vec<Baseline>,
}

impl BaselineFold {
    fn fold(
        &mut self,
        keys: &[u32],
        args: &[ArrayRef],
        value: impl Fn(usize) -> Option<Value>,
    ) -> Result<Columns> {
        let times = timestamps(args, 1)?;
        let mut columns = Columns::with_capacity(keys.len(), self.bounds);
        for (row, &key) in keys.iter().enumerate() {
            let state = &mut self.keys[key as usize];
            let observation = match value(row) {
                Some(value) if times.is_valid(row) => {
                    let ts_s = times.value(row).div_euclid(1000);
                    state.observe(value, ts_s, &self.params, self.bounds)
                }
                _ => Observation::silent(state.n()),
            };
            columns.push(&observation);
        }
        Ok(columns)
    }
}

impl KeyedFold for BaselineFold {
    fn return_type(&self) -> DataType {
        return_type()
    }

    fn resize(&mut self, keys: usize) {
        self.keys
            .resize_with(keys.max(self.keys.len()), Baseline::default);
    }

    fn update_rows(&mut self, rows: &KeyRows<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
        let keys = rows.keys();
        let values = column(args, 0, &self.value_type)?;
        let valid = |row: usize| values.is_valid(row);
        let columns = if self.value_type == DataType::Int64 {
            let counts = values.as_primitive::<Int64Type>();
            self.fold(keys, args, |row| {
                valid(row).then(|| Value::Count(counts.value(row)))
            })?
        } else {
            let measures = values.as_primitive::<Float64Type>();
            self.fold(keys, args, |row| {
                valid(row).then(|| Value::Measure(measures.value(row)))
            })?
        };
        columns.finish()
    }

    fn snapshot(&self, key: u32, out: &mut Vec<u8>) {
        self.keys[key as usize].snapshot(VERSION, out);
    }

    fn restore(&mut self, key: u32, bytes: &[u8]) -> Result<()> {
        self.keys[key as usize] = if bytes.is_empty() {
            Baseline::default()
        } else {
            Baseline::restore(Reader::new(NAME, VERSION, bytes)?)?
        };
        Ok(())
    }

    fn memory(&self) -> usize {
        self.keys.capacity() * size_of::<Baseline>()
    }
}

/// The output's columns under construction.
struct Columns {
    /// Null together: `expected`, and the bounds where they are computed.
    judged: NullBufferBuilder,
    expected: Vec<f64>,
    bounds: Option<(Vec<f64>, Vec<f64>)>,
    surprise: Vec<f64>,
    surprise_low: Vec<f64>,
    level_surprise: Vec<f64>,
    n: Vec<i64>,
}

impl Columns {
    fn with_capacity(rows: usize, bounds: bool) -> Self {
        let column = || Vec::with_capacity(rows);
        Self {
            judged: NullBufferBuilder::new(rows),
            expected: column(),
            bounds: bounds.then(|| (column(), column())),
            surprise: column(),
            surprise_low: column(),
            level_surprise: column(),
            n: Vec::with_capacity(rows),
        }
    }

    fn push(&mut self, observation: &Observation) {
        self.judged.append(observation.expected.is_some());
        self.expected.push(observation.expected.unwrap_or_default());
        if let Some((lower, upper)) = &mut self.bounds {
            let (low, high) = observation.bounds.unwrap_or_default();
            lower.push(low);
            upper.push(high);
        }
        self.surprise.push(observation.surprise);
        self.surprise_low.push(observation.surprise_low);
        self.level_surprise.push(observation.level_surprise);
        self.n.push(i64::from(observation.n));
    }

    fn finish(mut self) -> Result<ArrayRef> {
        let judged = self.judged.finish();
        let doubles = |numbers: Vec<f64>, nulls: Option<NullBuffer>| -> ArrayRef {
            Arc::new(Float64Array::new(numbers.into(), nulls))
        };
        let rows = self.n.len();
        let (lower, upper) = match self.bounds {
            Some((lower, upper)) => (
                doubles(lower, judged.clone()),
                doubles(upper, judged.clone()),
            ),
            None => {
                let nulls = new_null_array(&DataType::Float64, rows);
                (Arc::clone(&nulls), nulls)
            }
        };
        let columns = vec![
            doubles(self.expected, judged),
            lower,
            upper,
            doubles(self.surprise, None),
            doubles(self.surprise_low, None),
            doubles(self.level_surprise, None),
            Arc::new(Int64Array::from(self.n)) as ArrayRef,
        ];
        Ok(Arc::new(StructArray::try_new(fields(), columns, None)?))
    }
}
