//! Aggregate columns: one `Vec` a field, index = slot of a group. One such column serves all groups
//! of a window, and is dropped with it.

use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BooleanArray, Int64Array,
    PrimitiveArray, StringViewArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMillisecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::row::{RowConverter, SortField};
use foldhash::fast::FixedState;
use hashbrown::HashSet;

use crate::error::{Error, In, Result};
use crate::program::AggregateKind;

const OPERATOR: &str = "tumble";

/// The argument of an aggregate over one batch, and which rows count.
pub(crate) struct Argument {
    pub(crate) values: ArrayRef,
    /// Rows that FILTER keeps and whose value is not null; `None` where that is every row.
    pub(crate) counted: Option<BooleanBuffer>,
}

impl Argument {
    pub(crate) fn new(values: ArrayRef, filter: Option<&BooleanArray>) -> Self {
        let nulls = values
            .logical_nulls()
            .filter(|nulls| nulls.null_count() > 0)
            .map(NullBuffer::into_inner);
        let filter = filter.map(|mask| match mask.nulls() {
            Some(nulls) => mask.values() & nulls.inner(),
            None => mask.values().clone(),
        });
        let counted = match (nulls, filter) {
            (Some(nulls), Some(filter)) => Some(&nulls & &filter),
            (nulls, filter) => nulls.or(filter),
        };
        Argument { values, counted }
    }

    fn for_each(&self, rows: Range<usize>, slots: &[u32], mut f: impl FnMut(usize, usize)) {
        match &self.counted {
            None => rows
                .zip(slots)
                .for_each(|(row, &slot)| f(row, slot as usize)),
            Some(counted) => rows.zip(slots).for_each(|(row, &slot)| {
                if counted.value(row) {
                    f(row, slot as usize);
                }
            }),
        }
    }
}

/// The state of one aggregate for all groups of a window.
pub(crate) trait AccumulatorColumn: Send {
    /// Makes room for groups 0..groups.
    fn resize(&mut self, groups: usize);
    /// Takes in `rows` of the argument; `slots[i]` is the group of the i-th of them.
    fn update(&mut self, argument: &Argument, rows: Range<usize>, slots: &[u32]) -> Result<()>;
    /// The results, a row a group.
    fn finish(&self) -> Result<ArrayRef>;
    /// Appends the state of each of the groups `slots` to its bytes in `out`.
    fn save(&self, slots: &[usize], out: &mut [Vec<u8>]);
    /// Takes the state of one group from the front of `bytes`, in the place of what it had.
    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()>;
    /// Bytes held.
    fn memory(&self) -> usize;
}

/// An aggregate's column for an argument of a type, or why there is none.
pub(crate) fn accumulator(
    kind: AggregateKind,
    argument: &DataType,
    result: &DataType,
) -> Result<Box<dyn AccumulatorColumn>> {
    let unsupported = || Error::Shape {
        operator: OPERATOR,
        detail: format!("{kind:?} over {argument} is not computed incrementally"),
    };
    Ok(match kind {
        AggregateKind::Count => Box::new(Count::default()),
        AggregateKind::CountDistinct => Box::new(CountDistinct::new(argument)?),
        AggregateKind::Sum => match argument {
            DataType::Int64 => Box::new(Sum::<Int64Type>::new(result, i64::wrapping_add)),
            DataType::UInt64 => Box::new(Sum::<UInt64Type>::new(result, u64::wrapping_add)),
            DataType::Float64 => Box::new(Sum::<Float64Type>::new(result, |a, b| a + b)),
            DataType::Decimal128(..) => {
                Box::new(Sum::<Decimal128Type>::new(result, i128::wrapping_add))
            }
            _ => return Err(unsupported()),
        },
        AggregateKind::Min | AggregateKind::Max => {
            let max = kind == AggregateKind::Max;
            match argument {
                DataType::Int8 => Box::new(Extreme::<Int8Type>::new(result, max)),
                DataType::Int16 => Box::new(Extreme::<Int16Type>::new(result, max)),
                DataType::Int32 => Box::new(Extreme::<Int32Type>::new(result, max)),
                DataType::Int64 => Box::new(Extreme::<Int64Type>::new(result, max)),
                DataType::UInt8 => Box::new(Extreme::<UInt8Type>::new(result, max)),
                DataType::UInt16 => Box::new(Extreme::<UInt16Type>::new(result, max)),
                DataType::UInt32 => Box::new(Extreme::<UInt32Type>::new(result, max)),
                DataType::UInt64 => Box::new(Extreme::<UInt64Type>::new(result, max)),
                DataType::Float64 => {
                    let worst = if max { f64::MIN } else { f64::MAX };
                    Box::new(Extreme::<Float64Type>::new(result, max).starting_from(worst))
                }
                DataType::Decimal128(..) => Box::new(Extreme::<Decimal128Type>::new(result, max)),
                DataType::Timestamp(TimeUnit::Millisecond, _) => {
                    Box::new(Extreme::<TimestampMillisecondType>::new(result, max))
                }
                DataType::Utf8View => Box::new(ExtremeText {
                    max,
                    values: Vec::new(),
                }),
                _ => return Err(unsupported()),
            }
        }
    })
}

/// Splits `n` bytes off the front.
pub(crate) fn split<'a>(bytes: &mut &'a [u8], n: usize) -> Result<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(n).ok_or_else(|| Error::State {
        operator: OPERATOR,
        detail: format!("{n} bytes expected, {} left", bytes.len()),
    })?;
    *bytes = tail;
    Ok(head)
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let mut array = [0; N];
    array.copy_from_slice(split(bytes, N)?);
    Ok(array)
}

#[derive(Default)]
struct Count {
    counts: Vec<i64>,
}

impl AccumulatorColumn for Count {
    fn resize(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
    }

    fn update(&mut self, argument: &Argument, rows: Range<usize>, slots: &[u32]) -> Result<()> {
        argument.for_each(rows, slots, |_, slot| self.counts[slot] += 1);
        Ok(())
    }

    fn finish(&self) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from(self.counts.clone())))
    }

    fn save(&self, slots: &[usize], out: &mut [Vec<u8>]) {
        for (&slot, out) in slots.iter().zip(out) {
            out.extend(self.counts[slot].to_le_bytes());
        }
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        self.counts[slot] = i64::from_le_bytes(take_array(bytes)?);
        Ok(())
    }

    fn memory(&self) -> usize {
        self.counts.capacity() * 8
    }
}

/// Values are told apart by 128 bits of hash: for a million values in a group, the chance that two
/// of them share one is below 1e-26.
struct CountDistinct {
    converter: Option<RowConverter>,
    seen: HashSet<(u32, u128), foldhash::fast::RandomState>,
    counts: Vec<i64>,
    hashers: [FixedState; 2],
}

impl CountDistinct {
    fn new(argument: &DataType) -> Result<Self> {
        let converter = match argument {
            DataType::Utf8View | DataType::Int64 => None,
            other => Some(RowConverter::new(vec![SortField::new(other.clone())]).within(OPERATOR)?),
        };
        Ok(CountDistinct {
            converter,
            seen: HashSet::default(),
            counts: Vec::new(),
            hashers: [
                FixedState::with_seed(0x6b65_7968),
                FixedState::with_seed(0x6177_6b21),
            ],
        })
    }

    fn insert(&mut self, slot: usize, hash: u128) {
        if self.seen.insert((slot as u32, hash)) {
            self.counts[slot] += 1;
        }
    }

    fn hash(&self, bytes: &[u8]) -> u128 {
        let [low, high] = &self.hashers;
        (u128::from(high.hash_one(bytes)) << 64) | u128::from(low.hash_one(bytes))
    }
}

impl AccumulatorColumn for CountDistinct {
    fn resize(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
    }

    fn update(&mut self, argument: &Argument, rows: Range<usize>, slots: &[u32]) -> Result<()> {
        let values = Arc::clone(&argument.values);
        if let Some(text) = values.as_any().downcast_ref::<StringViewArray>() {
            argument.for_each(rows, slots, |row, slot| {
                let hash = self.hash(text.value(row).as_bytes());
                self.insert(slot, hash);
            });
        } else if let (None, Some(integers)) =
            (&self.converter, values.as_primitive_opt::<Int64Type>())
        {
            argument.for_each(rows, slots, |row, slot| {
                self.insert(slot, integers.value(row) as u128)
            });
        } else if let Some(converter) = &self.converter {
            let converted = converter.convert_columns(&[values]).within(OPERATOR)?;
            argument.for_each(rows, slots, |row, slot| {
                let hash = self.hash(converted.row(row).as_ref());
                self.insert(slot, hash);
            });
        }
        Ok(())
    }

    fn finish(&self) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from(self.counts.clone())))
    }

    fn save(&self, slots: &[usize], out: &mut [Vec<u8>]) {
        let mut hashes: Vec<Option<Vec<u128>>> = vec![None; self.counts.len()];
        slots
            .iter()
            .for_each(|&slot| hashes[slot] = Some(Vec::new()));
        for (slot, hash) in &self.seen {
            if let Some(hashes) = &mut hashes[*slot as usize] {
                hashes.push(*hash);
            }
        }
        for (&slot, out) in slots.iter().zip(out) {
            let hashes = hashes[slot].get_or_insert_default();
            hashes.sort_unstable();
            out.extend((hashes.len() as u64).to_le_bytes());
            hashes
                .iter()
                .for_each(|hash| out.extend(hash.to_le_bytes()));
        }
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        if self.counts[slot] > 0 {
            self.seen.retain(|(of, _)| *of as usize != slot);
            self.counts[slot] = 0;
        }
        for _ in 0..u64::from_le_bytes(take_array(bytes)?) {
            let hash = u128::from_le_bytes(take_array(bytes)?);
            self.insert(slot, hash);
        }
        Ok(())
    }

    fn memory(&self) -> usize {
        self.seen.capacity() * 33 + self.counts.capacity() * 8
    }
}

/// A sum that is null until the first value.
struct Sum<T: ArrowPrimitiveType> {
    result: DataType,
    sums: Vec<T::Native>,
    seen: Vec<bool>,
    add: fn(T::Native, T::Native) -> T::Native,
}

impl<T: ArrowPrimitiveType> Sum<T> {
    fn new(result: &DataType, add: fn(T::Native, T::Native) -> T::Native) -> Self {
        Sum {
            result: result.clone(),
            sums: Vec::new(),
            seen: Vec::new(),
            add,
        }
    }
}

impl<T: ArrowPrimitiveType> AccumulatorColumn for Sum<T>
where
    T::Native: LittleEndian,
{
    fn resize(&mut self, groups: usize) {
        self.sums.resize(groups, T::Native::default());
        self.seen.resize(groups, false);
    }

    fn update(&mut self, argument: &Argument, rows: Range<usize>, slots: &[u32]) -> Result<()> {
        let values = argument.values.as_primitive::<T>();
        argument.for_each(rows, slots, |row, slot| {
            self.sums[slot] = (self.add)(self.sums[slot], values.value(row));
            self.seen[slot] = true;
        });
        Ok(())
    }

    fn finish(&self) -> Result<ArrayRef> {
        primitive_column::<T>(&self.sums, &self.seen, &self.result)
    }

    fn save(&self, slots: &[usize], out: &mut [Vec<u8>]) {
        for (&slot, out) in slots.iter().zip(out) {
            out.push(u8::from(self.seen[slot]));
            self.sums[slot].write(out);
        }
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        self.seen[slot] = split(bytes, 1)?[0] != 0;
        self.sums[slot] = T::Native::read(bytes)?;
        Ok(())
    }

    fn memory(&self) -> usize {
        self.sums.capacity() * size_of::<T::Native>() + self.seen.capacity()
    }
}

/// The least or greatest value. It is compared as DataFusion's accumulator does, so that a float that
/// is NaN or infinite gives the same: a value replaces the current one if it is better or if the two
/// cannot be compared, and the first current one is the type's worst finite value.
struct Extreme<T: ArrowPrimitiveType> {
    result: DataType,
    max: bool,
    worst: T::Native,
    values: Vec<T::Native>,
    seen: Vec<bool>,
}

impl<T: ArrowPrimitiveType> Extreme<T> {
    fn new(result: &DataType, max: bool) -> Self {
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

    fn starting_from(self, worst: T::Native) -> Self {
        Extreme { worst, ..self }
    }
}

impl<T: ArrowPrimitiveType> AccumulatorColumn for Extreme<T>
where
    T::Native: LittleEndian,
{
    fn resize(&mut self, groups: usize) {
        self.values.resize(groups, self.worst);
        self.seen.resize(groups, false);
    }

    fn update(&mut self, argument: &Argument, rows: Range<usize>, slots: &[u32]) -> Result<()> {
        let values = argument.values.as_primitive::<T>();
        let max = self.max;
        argument.for_each(rows, slots, |row, slot| {
            let value = values.value(row);
            let better = match value.partial_cmp(&self.values[slot]) {
                Some(Ordering::Greater) => max,
                Some(Ordering::Less) => !max,
                Some(Ordering::Equal) => false,
                None => true,
            };
            if better {
                self.values[slot] = value;
            }
            self.seen[slot] = true;
        });
        Ok(())
    }

    fn finish(&self) -> Result<ArrayRef> {
        primitive_column::<T>(&self.values, &self.seen, &self.result)
    }

    fn save(&self, slots: &[usize], out: &mut [Vec<u8>]) {
        for (&slot, out) in slots.iter().zip(out) {
            out.push(u8::from(self.seen[slot]));
            self.values[slot].write(out);
        }
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        self.seen[slot] = split(bytes, 1)?[0] != 0;
        self.values[slot] = T::Native::read(bytes)?;
        Ok(())
    }

    fn memory(&self) -> usize {
        self.values.capacity() * size_of::<T::Native>() + self.seen.capacity()
    }
}

fn primitive_column<T: ArrowPrimitiveType>(
    values: &[T::Native],
    seen: &[bool],
    result: &DataType,
) -> Result<ArrayRef> {
    let nulls = NullBuffer::from(seen.to_vec());
    let array = PrimitiveArray::<T>::new(ScalarBuffer::from(values.to_vec()), Some(nulls));
    if result.is_temporal() || matches!(result, DataType::Decimal128(..)) {
        // The same integers under the result's own zone, precision and scale.
        return Ok(Arc::new(array.with_data_type(result.clone())));
    }
    cast(&array, result).within(OPERATOR)
}

struct ExtremeText {
    max: bool,
    values: Vec<Option<Box<str>>>,
}

impl AccumulatorColumn for ExtremeText {
    fn resize(&mut self, groups: usize) {
        self.values.resize(groups, None);
    }

    fn update(&mut self, argument: &Argument, rows: Range<usize>, slots: &[u32]) -> Result<()> {
        let values = argument.values.as_string_view();
        let max = self.max;
        argument.for_each(rows, slots, |row, slot| {
            let value = values.value(row);
            let better = match &self.values[slot] {
                None => true,
                Some(current) if max => value > &**current,
                Some(current) => value < &**current,
            };
            if better {
                self.values[slot] = Some(value.into());
            }
        });
        Ok(())
    }

    fn finish(&self) -> Result<ArrayRef> {
        Ok(Arc::new(
            self.values
                .iter()
                .map(Option::as_deref)
                .collect::<StringViewArray>(),
        ))
    }

    fn save(&self, slots: &[usize], out: &mut [Vec<u8>]) {
        for (&slot, out) in slots.iter().zip(out) {
            match &self.values[slot] {
                None => out.extend(u32::MAX.to_le_bytes()),
                Some(value) => {
                    out.extend((value.len() as u32).to_le_bytes());
                    out.extend(value.as_bytes());
                }
            }
        }
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        self.values[slot] = match u32::from_le_bytes(take_array(bytes)?) {
            u32::MAX => None,
            length => {
                let text = split(bytes, length as usize)?;
                let text = std::str::from_utf8(text).map_err(|error| Error::State {
                    operator: OPERATOR,
                    detail: format!("text expected: {error}"),
                })?;
                Some(text.into())
            }
        };
        Ok(())
    }

    fn memory(&self) -> usize {
        self.values.capacity() * 16
            + self
                .values
                .iter()
                .flatten()
                .map(|value| value.len())
                .sum::<usize>()
    }
}

/// Numbers in the state format: little-endian, as wide as they are.
pub(crate) trait LittleEndian: Sized {
    fn write(self, out: &mut Vec<u8>);
    fn read(bytes: &mut &[u8]) -> Result<Self>;
}

macro_rules! little_endian {
    ($($number:ty),*) => {$(
        impl LittleEndian for $number {
            fn write(self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
            fn read(bytes: &mut &[u8]) -> Result<Self> {
                Ok(<$number>::from_le_bytes(take_array(bytes)?))
            }
        }
    )*};
}

little_endian!(i8, i16, i32, i64, i128, u8, u16, u32, u64, f64);
