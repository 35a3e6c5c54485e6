//! `min(x)` and `max(x)`. State: a value and a flag a group.
//!
//! Numbers are compared as DataFusion's accumulator does, so that a float that is NaN or infinite
//! gives the same: a value replaces the current one if it is better or if the two cannot be compared,
//! and the first current one is the type's worst finite value. So after a NaN everything starts anew;
//! a group remembers that it had one, since a merge must do what the values one by one would.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, StringViewArray};
use arrow::datatypes::DataType;
use smallvec::SmallVec;

use super::state::{LittleEndian, read_optional, text, write_optional};
use super::values::Encoding;
use super::{AccumulatorColumn, Argument, primitive_column, same};
use crate::error::Result;

/// What a group of [`Extreme`] has seen.
const NOTHING: u8 = 0;
const VALUES: u8 = 1;
const INCOMPARABLE: u8 = 2;

pub(super) struct Extreme<T: ArrowPrimitiveType> {
    result: DataType,
    max: bool,
    worst: T::Native,
    values: Vec<T::Native>,
    seen: Vec<u8>,
}

impl<T: ArrowPrimitiveType> Extreme<T> {
    pub(super) fn new(result: &DataType, max: bool) -> Self {
        let worst = if max {
            T::Native::MIN_TOTAL_ORDER
        } else {
            T::Native::MAX_TOTAL_ORDER
        };
        Extreme {
            result: result.clone(),
            max,
            worst,
            values: Vec::new(),
            seen: Vec::new(),
        }
    }

    pub(super) fn starting_from(self, worst: T::Native) -> Self {
        Extreme { worst, ..self }
    }

    #[inline]
    fn take(&mut self, slot: usize, value: T::Native) {
        let order = value.partial_cmp(&self.values[slot]);
        let better = match order {
            Some(Ordering::Greater) => self.max,
            Some(Ordering::Less) => !self.max,
            Some(Ordering::Equal) => false,
            None => true,
        };
        if better {
            self.values[slot] = value;
        }
        let seen = if order.is_none() {
            INCOMPARABLE
        } else {
            VALUES
        };
        self.seen[slot] = self.seen[slot].max(seen);
    }
}

impl<T: ArrowPrimitiveType> AccumulatorColumn for Extreme<T>
where
    T::Native: LittleEndian,
{
    fn resize(&mut self, groups: usize) {
        self.values.resize(groups, self.worst);
        self.seen.resize(groups, NOTHING);
    }

    fn update(&mut self, argument: &Argument, rows: Range<usize>, slots: &[u32]) -> Result<()> {
        let values = argument.values.as_primitive::<T>();
        argument.for_each(rows, slots, |row, slot| self.take(slot, values.value(row)));
        Ok(())
    }

    fn merge(&mut self, other: &dyn AccumulatorColumn, slots: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for ((&value, &seen), &slot) in other.values.iter().zip(&other.seen).zip(slots) {
            let slot = slot as usize;
            match seen {
                NOTHING => {}
                VALUES => self.take(slot, value),
                _ => {
                    self.values[slot] = value;
                    self.seen[slot] = INCOMPARABLE;
                }
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<ArrayRef> {
        let valid: Vec<bool> = self.seen.iter().map(|&seen| seen != NOTHING).collect();
        primitive_column::<T>(&self.values, valid.into(), &self.result)
    }

    fn save(&self, slots: &[usize], out: &mut [Vec<u8>]) {
        for (&slot, out) in slots.iter().zip(out) {
            self.seen[slot].write(out);
            self.values[slot].write(out);
        }
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        self.seen[slot] = u8::read(bytes)?.min(INCOMPARABLE);
        self.values[slot] = T::Native::read(bytes)?;
        Ok(())
    }

    fn memory(&self) -> usize {
        self.values.capacity() * size_of::<T::Native>() + self.seen.capacity()
    }
}

/// A value where it stands: most texts that rules compare are short, and are found without another step.
type Bytes = SmallVec<[u8; 24]>;

/// Text and binary values, compared by their bytes.
pub(super) struct ExtremeBytes {
    max: bool,
    /// How values are held that are not `Utf8View`.
    encoding: Option<Encoding>,
    values: Vec<Option<Bytes>>,
}

impl ExtremeBytes {
    pub(super) fn new(argument: &DataType, max: bool) -> Result<Self> {
        let encoding = match argument {
            DataType::Utf8View => None,
            other => Some(Encoding::new(other)?),
        };
        Ok(ExtremeBytes {
            max,
            encoding,
            values: Vec::new(),
        })
    }
}

/// Puts the value in the place of the current one if it is better.
fn take(max: bool, current: &mut Option<Bytes>, value: &[u8]) {
    match current {
        None => *current = Some(Bytes::from_slice(value)),
        Some(current) => {
            let better = match max {
                true => value > current.as_slice(),
                false => value < current.as_slice(),
            };
            if better {
                current.clear();
                current.extend_from_slice(value);
            }
        }
    }
}

impl AccumulatorColumn for ExtremeBytes {
    fn resize(&mut self, groups: usize) {
        self.values.resize(groups, None);
    }

    fn update(&mut self, argument: &Argument, rows: Range<usize>, slots: &[u32]) -> Result<()> {
        if self.encoding.is_some() {
            let values = argument.encoded()?;
            argument.for_each_in(rows, slots, &mut self.values, |row, current| {
                take(self.max, current, values.row(row).as_ref());
            });
        } else {
            let values = argument.values.as_string_view();
            argument.for_each_in(rows, slots, &mut self.values, |row, current| {
                take(self.max, current, values.value(row).as_bytes());
            });
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn AccumulatorColumn, slots: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for (value, &slot) in other.values.iter().zip(slots) {
            if let Some(value) = value {
                take(self.max, &mut self.values[slot as usize], value);
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<ArrayRef> {
        let values = self.values.iter().map(Option::as_deref);
        match &self.encoding {
            Some(encoding) => encoding.decode(values),
            None => {
                let texts = values.map(|value| value.map(text).transpose());
                Ok(Arc::new(texts.collect::<Result<StringViewArray>>()?))
            }
        }
    }

    fn save(&self, slots: &[usize], out: &mut [Vec<u8>]) {
        for (&slot, out) in slots.iter().zip(out) {
            write_optional(self.values[slot].as_deref(), out);
        }
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        let value = read_optional(bytes)?;
        if let (None, Some(value)) = (&self.encoding, value) {
            text(value)?;
        }
        self.values[slot] = value.map(Bytes::from_slice);
        Ok(())
    }

    fn memory(&self) -> usize {
        let spilled = self.values.iter().flatten().filter(|value| value.spilled());
        let bytes = spilled.map(SmallVec::capacity);
        self.values.capacity() * size_of::<Option<Bytes>>() + bytes.sum::<usize>()
    }
}
