//! Session windows: the rows of a key without a silence of the gap between them.
//!
//! ```text
//!   rows   ×  × ×   ×               ×  ×
//!          ├─ session 1 ──┤         ├─ session 2 ─┤
//!        start      last  end       start
//!                   ├─gap─┤                            end = min(last + gap, start + max)
//! ```
//!
//! A row starts a new session where there is none, or where the one before it has ended: its time is
//! at or after that end. [`SessionLimits`] is the one place that says where the end is; the streaming
//! operator and the batch function `__session(ts, gap_ms, max_ms)` both ask it.
//!
//! `__session` is a window function over a key's rows in the total order, which the planner writes where
//! a query says `session`. It returns a struct a row, `start` and `end` of its session as
//! timestamp(ms, UTC), both null where the time is null. It looks ahead to the session's last row, so
//! it is no [`KeyedFold`](crate::KeyedFold).

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, StructArray, TimestampMillisecondArray},
    buffer::ScalarBuffer,
    datatypes::{DataType, Field, FieldRef, Fields, Int64Type},
};
use datafusion_expr::{PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl};
use datafusion_functions_window_common::{
    field::WindowUDFFieldArgs, partition::PartitionEvaluatorArgs,
};

use crate::{
    Error, Result,
    arguments::{coerce_timestamp, timestamp_type, timestamps},
};

/// Name of the window function `(ts, gap_ms, max_ms)` that gives the bounds of a row's session.
pub const SESSION: &str = "__session";

const USAGE: &str = "__session(ts, gap_ms, max_ms)";

/// The window functions that the planner writes for `session`; in batch only, the stream has an
/// operator.
pub fn session_functions() -> Vec<Arc<WindowUDF>> {
    vec![Arc::new(WindowUDF::from(SessionUdf {
        signature: Signature::user_defined(Volatility::Immutable),
    }))]
}

/// What ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// The silence that ends it, in milliseconds above 0.
    pub gap_ms: i64,
    /// The greatest length, in milliseconds above 0.
    pub max_ms: Option<i64>,
}

impl SessionLimits {
    /// The end of a session whose first and last rows have these times. It does not belong to the
    /// session: a row of this time starts the next one. Saturates at the end of the 64-bit range.
    pub fn end(self, start_ms: i64, last_ms: i64) -> i64 {
        let silent = last_ms.saturating_add(self.gap_ms);
        match self.max_ms {
            Some(max_ms) => silent.min(start_ms.saturating_add(max_ms)),
            None => silent,
        }
    }
}

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("start", timestamp_type(), true),
        Field::new("end", timestamp_type(), true),
    ])
}

#[derive(Debug)]
struct SessionUdf {
    signature: Signature,
}

/// A function is its name: there is one of it.
impl PartialEq for SessionUdf {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for SessionUdf {}

impl Hash for SessionUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        SESSION.hash(state);
    }
}

impl WindowUDFImpl for SessionUdf {
    fn name(&self) -> &str {
        SESSION
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> datafusion_common::Result<Vec<DataType>> {
        Ok(coerce(arg_types)?)
    }

    fn field(&self, args: WindowUDFFieldArgs) -> datafusion_common::Result<FieldRef> {
        let bounds = DataType::Struct(fields());
        Ok(Arc::new(Field::new(args.name(), bounds, true)))
    }

    fn partition_evaluator(
        &self,
        args: PartitionEvaluatorArgs,
    ) -> datafusion_common::Result<Box<dyn PartitionEvaluator>> {
        if args.ignore_nulls() {
            return Err(Error::Modifier {
                function: SESSION,
                modifier: "IGNORE NULLS",
            }
            .into());
        }
        Ok(Box::new(SessionEvaluator))
    }
}

fn coerce(arg_types: &[DataType]) -> Result<Vec<DataType>> {
    let [ts, lengths @ ..] = arg_types else {
        return Err(Error::ArgumentCount {
            function: SESSION,
            usage: USAGE,
            found: 0,
        });
    };
    if lengths.len() != 2 {
        return Err(Error::ArgumentCount {
            function: SESSION,
            usage: USAGE,
            found: arg_types.len(),
        });
    }
    let mut types = vec![coerce_timestamp(SESSION, "ts", ts)?];
    for (argument, found) in ["gap_ms", "max_ms"].into_iter().zip(lengths) {
        if !found.is_integer() && !found.is_null() {
            return Err(Error::Argument {
                function: SESSION,
                argument,
                expected: "an integer",
                found: format!("of type {found}"),
            });
        }
        types.push(DataType::Int64);
    }
    Ok(types)
}

/// One partition: all rows of a key.
#[derive(Debug)]
struct SessionEvaluator;

impl PartitionEvaluator for SessionEvaluator {
    fn evaluate_all(
        &mut self,
        values: &[ArrayRef],
        num_rows: usize,
    ) -> datafusion_common::Result<ArrayRef> {
        let times = timestamps(values, 0)?;
        if num_rows == 0 {
            return Ok(arrow::array::new_empty_array(&DataType::Struct(fields())));
        }
        Ok(bounds(&times, limits(values)?))
    }
}

/// The lengths are literals, the same in every row.
fn limits(values: &[ArrayRef]) -> Result<SessionLimits> {
    let literal = |index: usize| {
        let array = values.get(index)?.as_primitive_opt::<Int64Type>()?;
        array.is_valid(0).then(|| array.value(0))
    };
    let refused = |argument, expected, found: Option<i64>| Error::Argument {
        function: SESSION,
        argument,
        expected,
        found: found.map_or_else(|| "null".to_owned(), |found| found.to_string()),
    };
    let gap_ms = match literal(1) {
        Some(gap_ms) if gap_ms > 0 => gap_ms,
        other => {
            let expected = "a literal number of milliseconds above 0";
            return Err(refused("gap_ms", expected, other));
        }
    };
    let max_ms = match literal(2) {
        None | Some(0) => None,
        Some(max_ms) if max_ms > 0 => Some(max_ms),
        other => {
            let expected = "a literal number of milliseconds above 0, or 0 for no greatest length";
            return Err(refused("max_ms", expected, other));
        }
    };
    Ok(SessionLimits { gap_ms, max_ms })
}

fn bounds(times: &TimestampMillisecondArray, limits: SessionLimits) -> ArrayRef {
    let mut starts = vec![0; times.len()];
    let mut ends = vec![0; times.len()];
    // The open session: its first row, and the times of its first and last rows.
    let mut open: Option<(usize, i64, i64)> = None;
    for row in (0..times.len()).filter(|&row| times.is_valid(row)) {
        let time = times.value(row);
        open = Some(match open {
            Some((first, start, last)) if time < limits.end(start, last) => {
                (first, start, last.max(time))
            }
            ended => {
                if let Some((first, start, last)) = ended {
                    ends[first..row].fill(limits.end(start, last));
                }
                (row, time, time)
            }
        });
        starts[row] = open.map_or(time, |(_, start, _)| start);
    }
    if let Some((first, start, last)) = open {
        ends[first..].fill(limits.end(start, last));
    }
    let column = |values: Vec<i64>| {
        let nulls = times.nulls().cloned();
        let array = TimestampMillisecondArray::new(ScalarBuffer::from(values), nulls);
        Arc::new(array.with_timezone("UTC")) as ArrayRef
    };
    Arc::new(StructArray::new(
        fields(),
        vec![column(starts), column(ends)],
        None,
    ))
}
