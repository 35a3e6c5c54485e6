//! `lag(value, offset, default)` as a fold: the value some rows back, of the same key.
//!
//! The value is that of the `offset`-th row before this one, nulls included; with IGNORE NULLS it is the
//! `offset`-th previous value that is not null. Where there is none, it is the default. Offset 0 is the
//! row's own value. Batch: DataFusion's own `lag`.
//!
//! State a key: the last `offset` values (with IGNORE NULLS: that are not null). Offset 1, the common
//! case, keeps them in two columns; a larger one keeps a ring a key, which grows with the rows seen.
//!
//! ```text
//! offset 1    occupied: [u8; keys]      values: [T; keys]
//! offset 3    rings: [[oldest … newest]; keys]
//! ```
//!
//! Of a batch, offset 1 reads what a key kept once and keeps the key's last value once: between them the
//! values are those of other rows of the batch, and are gathered from it.
//!
//! ```text
//! rows      a  b  a  a  b              kept of a: 7, of b: nothing
//! values    1  2  3  4  5
//! lag       7  ∅  1  3  2              kept of a: 4, of b: 5
//! ```

use std::{collections::VecDeque, sync::Arc};

use arrow::{
    array::ArrayRef,
    compute::interleave,
    datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMillisecondType},
};
use datafusion_common::ScalarValue;
use prefetch_index::prefetch_index;

use crate::{
    Error, KeyRows, KeyedFold, Result,
    arguments::column,
    columns::{Booleans, Encoded, Primitives, Texts, ValueColumn},
    state::Reader,
};

const NAME: &str = "lag";
const VERSION: u8 = 1;
/// What a key keeps is asked for so many keys before it is read: it is mostly in no near cache.
const KEYS_AHEAD: usize = 8;

/// The fold of `lag(value, offset, default)` over values of type `value`.
///
/// Bigint, double, boolean, timestamp(ms) and Utf8View have columns of their own; any other type that
/// Arrow can encode as a sortable row is kept encoded. A negative offset, which would look ahead, and a
/// default that cannot be cast to `value` are errors.
pub fn lag_fold(
    value: &DataType,
    offset: i64,
    default: Option<ScalarValue>,
    ignore_nulls: bool,
) -> Result<Box<dyn KeyedFold>> {
    let Ok(offset) = usize::try_from(offset) else {
        return Err(Error::Argument {
            function: NAME,
            argument: "offset",
            expected: "0 or more, since a stream has no rows ahead",
            found: offset.to_string(),
        });
    };
    let default = match default {
        Some(scalar) if !scalar.is_null() => Some(scalar.cast_to(value)?.to_array()?),
        _ => None,
    };
    let plan = Plan {
        value: value.clone(),
        offset,
        default,
        ignore_nulls,
    };
    match value {
        DataType::Int64 => plan.fold(Primitives::<Int64Type>::new(value)),
        DataType::Float64 => plan.fold(Primitives::<Float64Type>::new(value)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            plan.fold(Primitives::<TimestampMillisecondType>::new(value))
        }
        DataType::Boolean => plan.fold(Booleans),
        DataType::Utf8View => plan.fold(Texts),
        other => plan.fold(Encoded::new(NAME, other)?),
    }
}

struct Plan {
    value: DataType,
    offset: usize,
    default: Option<ArrayRef>,
    ignore_nulls: bool,
}

impl Plan {
    fn fold<C: ValueColumn + 'static>(self, column: C) -> Result<Box<dyn KeyedFold>> {
        let default = match &self.default {
            Some(array) => {
                let mut slot = C::Slot::default();
                C::store(&column.input(array)?, 0, &mut slot);
                Some(slot)
            }
            None => None,
        };
        let memory = match self.offset {
            0 => Memory::None,
            1 => Memory::Last {
                occupied: Vec::new(),
                values: Vec::new(),
            },
            _ => Memory::Rings(Vec::new()),
        };
        let Self {
            value,
            offset,
            ignore_nulls,
            ..
        } = self;
        Ok(Box::new(LagFold {
            column,
            value,
            offset,
            default,
            ignore_nulls,
            memory,
        }))
    }
}

struct LagFold<C: ValueColumn> {
    column: C,
    value: DataType,
    offset: usize,
    /// None is null.
    default: Option<C::Slot>,
    ignore_nulls: bool,
    memory: Memory<C::Slot>,
}

/// What is remembered; index = key id.
enum Memory<S> {
    /// Offset 0.
    None,
    /// Offset 1.
    Last {
        occupied: Vec<Occupied>,
        values: Vec<S>,
    },
    /// Larger offsets: at most `offset` values a key, the oldest first, None where null.
    Rings(Vec<VecDeque<Option<S>>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occupied {
    Nothing,
    Null,
    Value,
}

impl<C: ValueColumn> KeyedFold for LagFold<C> {
    fn return_type(&self) -> DataType {
        self.value.clone()
    }

    fn resize(&mut self, keys: usize) {
        match &mut self.memory {
            Memory::None => {}
            Memory::Last { occupied, values } => {
                let keys = keys.max(occupied.len());
                occupied.resize(keys, Occupied::Nothing);
                values.resize_with(keys, C::Slot::default);
            }
            Memory::Rings(rings) => rings.resize_with(keys.max(rings.len()), VecDeque::new),
        }
    }

    fn update_rows(&mut self, rows: &KeyRows<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
        let array = column(args, 0, &self.value)?;
        let input = self.column.input(&array)?;
        let push = |output: &mut C::Output, value: Option<&C::Slot>| match value {
            Some(value) => self.column.push(output, value),
            None => self.column.push_null(output),
        };
        match &mut self.memory {
            Memory::None => Ok(Arc::clone(&array)),
            Memory::Last { occupied, values } => {
                let chain = rows.chain(array.nulls().filter(|_| self.ignore_nulls));
                let mut kept = self.column.output(chain.keys.len());
                for (place, &(key, last)) in chain.keys.iter().enumerate() {
                    if let Some(&(soon, _)) = chain.keys.get(place + KEYS_AHEAD) {
                        prefetch_index(&*values, soon);
                    }
                    push(
                        &mut kept,
                        match occupied[key] {
                            Occupied::Nothing => self.default.as_ref(),
                            Occupied::Null => None,
                            Occupied::Value => Some(&values[key]),
                        },
                    );
                    let Some(row) = last else {
                        continue;
                    };
                    occupied[key] = match C::is_null(&input, row) {
                        true => Occupied::Null,
                        false => {
                            C::store(&input, row, &mut values[key]);
                            Occupied::Value
                        }
                    };
                }
                let kept = self.column.finish(kept)?;
                Ok(interleave(&[&array, &kept], &chain.places)?)
            }
            Memory::Rings(rings) => {
                let keys = rows.keys();
                let mut output = self.column.output(keys.len());
                for (row, &key) in keys.iter().enumerate() {
                    let ring = &mut rings[key as usize];
                    let full = ring.len() == self.offset;
                    let value = match ring.front() {
                        Some(oldest) if full => oldest.as_ref(),
                        _ => self.default.as_ref(),
                    };
                    push(&mut output, value);
                    let null = C::is_null(&input, row);
                    if null && self.ignore_nulls {
                        continue;
                    }
                    // The oldest slot is used again, so that a full ring of texts allocates nothing.
                    let freed = if full {
                        ring.pop_front().flatten()
                    } else {
                        None
                    };
                    ring.push_back((!null).then(|| {
                        let mut slot = freed.unwrap_or_default();
                        C::store(&input, row, &mut slot);
                        slot
                    }));
                }
                self.column.finish(output)
            }
        }
    }

    /// The number of values, then the values, the oldest first, each behind a byte 0 (null) or 1.
    fn snapshot(&self, key: u32, out: &mut Vec<u8>) {
        let key = key as usize;
        let start = out.len();
        out.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
        let mut written = 0u32;
        let mut write = |value: Option<&C::Slot>| {
            written += 1;
            out.push(u8::from(value.is_some()));
            if let Some(value) = value {
                C::write(value, out);
            }
        };
        match &self.memory {
            Memory::None => {}
            Memory::Last {
                occupied, values, ..
            } => match occupied[key] {
                Occupied::Nothing => {}
                Occupied::Null => write(None),
                Occupied::Value => write(Some(&values[key])),
            },
            Memory::Rings(rings) => rings[key].iter().for_each(|value| write(value.as_ref())),
        }
        out[start + 1..start + 5].copy_from_slice(&written.to_le_bytes());
    }

    fn restore(&mut self, key: u32, bytes: &[u8]) -> Result<()> {
        let mut ring = VecDeque::new();
        if !bytes.is_empty() {
            let mut reader = Reader::new(NAME, VERSION, bytes)?;
            let values = reader.u32()? as usize;
            if values > self.offset {
                return Err(reader.damaged("it holds more values than the offset needs"));
            }
            for _ in 0..values {
                ring.push_back(match reader.u8()? {
                    0 if self.ignore_nulls => {
                        return Err(reader.damaged("it holds a null where nulls are ignored"));
                    }
                    0 => None,
                    1 => Some(self.column.read(&mut reader)?),
                    _ => return Err(reader.damaged("a value is neither null nor not null")),
                });
            }
            reader.finish()?;
        }
        let key = key as usize;
        match &mut self.memory {
            Memory::None => {}
            Memory::Last {
                occupied, values, ..
            } => match ring.pop_front() {
                None => {
                    occupied[key] = Occupied::Nothing;
                    values[key] = C::Slot::default();
                }
                Some(None) => occupied[key] = Occupied::Null,
                Some(Some(value)) => {
                    occupied[key] = Occupied::Value;
                    values[key] = value;
                }
            },
            Memory::Rings(rings) => rings[key] = ring,
        }
        Ok(())
    }

    fn memory(&self) -> usize {
        match &self.memory {
            Memory::None => 0,
            Memory::Last { occupied, values } => {
                occupied.capacity()
                    + values.capacity() * size_of::<C::Slot>()
                    + values.iter().map(C::heap).sum::<usize>()
            }
            Memory::Rings(rings) => {
                let of_ring = |ring: &VecDeque<Option<C::Slot>>| {
                    ring.capacity() * size_of::<Option<C::Slot>>()
                        + ring.iter().flatten().map(C::heap).sum::<usize>()
                };
                rings.capacity() * size_of::<VecDeque<Option<C::Slot>>>()
                    + rings.iter().map(of_ring).sum::<usize>()
            }
        }
    }
}
