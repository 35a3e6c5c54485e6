//! Aggregates that give a value back exactly: count, sums of integers and decimals, booleans.
//!
//! ```text
//!   [ 3 ][ 9 ][ 4 ] total 16      5 enters: + 5, 3 leaves: − 3      [ 9 ][ 4 ][ 5 ] total 18
//! ```
//!
//! Integers add in wrapping arithmetic, where subtraction always undoes addition, overflow or not.
//! `bool_and` and `bool_or` count what is true. The average of a decimal divides a sum of 256 bits,
//! which does not overflow, and rounds towards zero, as DataFusion does.

use std::{collections::VecDeque, marker::PhantomData, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BooleanArray,
        BooleanBuilder, Int64Array, PrimitiveArray, PrimitiveBuilder,
    },
    buffer::NullBuffer,
    datatypes::{DataType, Decimal128Type, DecimalType, i256},
};

use super::fold::{Aggregate, Ring, read_ring, ring_heap, shrink, write_ring};
use crate::{Result, columns::Native, state::Reader};

/// A total that values enter and leave.
pub(super) trait Tally: Send {
    type Input;
    /// A value that is not null.
    type Element: Copy + Send;
    type Total: Copy + Default + Send;
    type Output;

    fn input(&self, array: &ArrayRef) -> Self::Input;
    fn element(input: &Self::Input, row: usize) -> Option<Self::Element>;
    fn add(total: &mut Self::Total, value: Self::Element);
    fn subtract(total: &mut Self::Total, value: Self::Element);

    fn output(&self, rows: usize) -> Self::Output;
    /// The value of `count` elements.
    fn push(&self, output: &mut Self::Output, total: Self::Total, count: u64);
    fn finish(&self, output: Self::Output) -> ArrayRef;

    fn write_element(value: Self::Element, out: &mut Vec<u8>);
    fn read_element(reader: &mut Reader) -> Result<Self::Element>;
    fn write_total(total: Self::Total, out: &mut Vec<u8>);
    fn read_total(reader: &mut Reader) -> Result<Self::Total>;
}

pub(super) struct Exact<T> {
    tally: T,
    bounded: bool,
}

impl<T> Exact<T> {
    pub(super) fn new(tally: T, bounded: bool) -> Self {
        Self { tally, bounded }
    }
}

/// One key's frame.
pub(super) struct Tallied<T: Tally> {
    total: T::Total,
    count: u64,
    /// What will have to leave; nothing where the frame has no start.
    values: Ring<T::Element>,
}

impl<T: Tally> Default for Tallied<T> {
    fn default() -> Self {
        Self {
            total: T::Total::default(),
            count: 0,
            values: VecDeque::new(),
        }
    }
}

impl<T: Tally> Aggregate for Exact<T> {
    type Input = T::Input;
    type Element = T::Element;
    type State = Tallied<T>;
    type Output = T::Output;

    fn input(&self, array: &ArrayRef) -> Result<Self::Input> {
        Ok(self.tally.input(array))
    }

    fn element(&mut self, input: &Self::Input, row: usize) -> Option<T::Element> {
        T::element(input, row)
    }

    fn enter(&mut self, state: &mut Tallied<T>, at: i64, value: T::Element) {
        T::add(&mut state.total, value);
        state.count += 1;
        if self.bounded {
            state.values.push_back((at, value));
        }
    }

    fn leave(&mut self, state: &mut Tallied<T>, low: i64) {
        while let Some((at, value)) = state.values.front()
            && *at < low
        {
            T::subtract(&mut state.total, *value);
            state.count -= 1;
            state.values.pop_front();
        }
        shrink(&mut state.values);
    }

    fn discard(&mut self, _value: T::Element) {}

    fn output(&self, rows: usize) -> Self::Output {
        self.tally.output(rows)
    }

    fn push(&self, output: &mut Self::Output, state: &Tallied<T>) {
        self.tally.push(output, state.total, state.count);
    }

    fn finish(&self, output: Self::Output) -> Result<ArrayRef> {
        Ok(self.tally.finish(output))
    }

    fn write_element(&self, value: &T::Element, out: &mut Vec<u8>) {
        T::write_element(*value, out);
    }

    fn read_element(&self, reader: &mut Reader) -> Result<T::Element> {
        T::read_element(reader)
    }

    /// Bounded: the values, of which the total follows. Otherwise the count and the total.
    fn write(&self, state: &Tallied<T>, out: &mut Vec<u8>) {
        if self.bounded {
            write_ring(&state.values, out, |value, out| {
                T::write_element(*value, out);
            });
        } else {
            out.extend_from_slice(&state.count.to_le_bytes());
            T::write_total(state.total, out);
        }
    }

    fn read(&self, reader: &mut Reader) -> Result<Tallied<T>> {
        let mut state = Tallied::default();
        if self.bounded {
            state.values = read_ring(reader, T::read_element)?;
            for (_, value) in &state.values {
                T::add(&mut state.total, *value);
                state.count += 1;
            }
        } else {
            state.count = reader.u64()?;
            if state.count > i64::MAX as u64 {
                return Err(reader.damaged("it counts more rows than can be"));
            }
            state.total = T::read_total(reader)?;
        }
        Ok(state)
    }

    fn heap(state: &Tallied<T>) -> usize {
        ring_heap(&state.values, |_| 0)
    }

    fn element_heap(_value: &T::Element) -> usize {
        0
    }

    fn reserve(&self) -> usize {
        0
    }
}

/// `count`: of any type, since it looks at nulls alone.
pub(super) struct Counted;

impl Tally for Counted {
    type Input = Option<NullBuffer>;
    type Element = ();
    type Total = ();
    type Output = Vec<i64>;

    fn input(&self, array: &ArrayRef) -> Self::Input {
        array.logical_nulls()
    }

    fn element(input: &Self::Input, row: usize) -> Option<()> {
        input
            .as_ref()
            .is_none_or(|nulls| nulls.is_valid(row))
            .then_some(())
    }

    fn add(_total: &mut (), _value: ()) {}

    fn subtract(_total: &mut (), _value: ()) {}

    fn output(&self, rows: usize) -> Self::Output {
        Vec::with_capacity(rows)
    }

    fn push(&self, output: &mut Self::Output, _total: (), count: u64) {
        output.push(count as i64);
    }

    fn finish(&self, output: Self::Output) -> ArrayRef {
        Arc::new(Int64Array::from(output))
    }

    fn write_element(_value: (), _out: &mut Vec<u8>) {}

    fn read_element(_reader: &mut Reader) -> Result<()> {
        Ok(())
    }

    fn write_total(_total: (), _out: &mut Vec<u8>) {}

    fn read_total(_reader: &mut Reader) -> Result<()> {
        Ok(())
    }
}

/// `sum` of integers and decimals.
pub(super) struct Summed<T> {
    result: DataType,
    marker: PhantomData<fn() -> T>,
}

impl<T> Summed<T> {
    pub(super) fn new(result: DataType) -> Self {
        Self {
            result,
            marker: PhantomData,
        }
    }
}

impl<T: ArrowPrimitiveType<Native: Native>> Tally for Summed<T> {
    type Input = PrimitiveArray<T>;
    type Element = T::Native;
    type Total = T::Native;
    type Output = PrimitiveBuilder<T>;

    fn input(&self, array: &ArrayRef) -> Self::Input {
        array.as_primitive::<T>().clone()
    }

    fn element(input: &Self::Input, row: usize) -> Option<T::Native> {
        input.is_valid(row).then(|| input.value(row))
    }

    fn add(total: &mut T::Native, value: T::Native) {
        *total = total.add_wrapping(value);
    }

    fn subtract(total: &mut T::Native, value: T::Native) {
        *total = total.sub_wrapping(value);
    }

    fn output(&self, rows: usize) -> Self::Output {
        PrimitiveBuilder::with_capacity(rows).with_data_type(self.result.clone())
    }

    fn push(&self, output: &mut Self::Output, total: T::Native, count: u64) {
        output.append_option((count > 0).then_some(total));
    }

    fn finish(&self, mut output: Self::Output) -> ArrayRef {
        Arc::new(output.finish())
    }

    fn write_element(value: T::Native, out: &mut Vec<u8>) {
        value.write(out);
    }

    fn read_element(reader: &mut Reader) -> Result<T::Native> {
        Native::read(reader)
    }

    fn write_total(total: T::Native, out: &mut Vec<u8>) {
        total.write(out);
    }

    fn read_total(reader: &mut Reader) -> Result<T::Native> {
        Native::read(reader)
    }
}

/// `avg` of decimals of 128 bits.
pub(super) struct Averaged {
    /// What the sum is multiplied with for the scale of the result.
    factor: i256,
    precision: u8,
    scale: i8,
}

impl Averaged {
    /// `scale` is that of the values; the result's is at least as fine.
    pub(super) fn new(scale: i8, precision: u8, result_scale: i8) -> Self {
        let finer = u32::from(result_scale.abs_diff(scale));
        Self {
            factor: i256::from_i128(10).pow_wrapping(finer),
            precision,
            scale: result_scale,
        }
    }
}

impl Tally for Averaged {
    type Input = PrimitiveArray<Decimal128Type>;
    type Element = i128;
    type Total = i256;
    type Output = PrimitiveBuilder<Decimal128Type>;

    fn input(&self, array: &ArrayRef) -> Self::Input {
        array.as_primitive::<Decimal128Type>().clone()
    }

    fn element(input: &Self::Input, row: usize) -> Option<i128> {
        input.is_valid(row).then(|| input.value(row))
    }

    fn add(total: &mut i256, value: i128) {
        *total = total.add_wrapping(i256::from_i128(value));
    }

    fn subtract(total: &mut i256, value: i128) {
        *total = total.sub_wrapping(i256::from_i128(value));
    }

    fn output(&self, rows: usize) -> Self::Output {
        let result = DataType::Decimal128(self.precision, self.scale);
        PrimitiveBuilder::with_capacity(rows).with_data_type(result)
    }

    fn push(&self, output: &mut Self::Output, total: i256, count: u64) {
        let average = total
            .checked_mul(self.factor)
            .and_then(|total| total.checked_div(i256::from_i128(i128::from(count))))
            .and_then(i256::to_i128)
            .filter(|&average| {
                Decimal128Type::validate_decimal_precision(average, self.precision, self.scale)
                    .is_ok()
            });
        output.append_option(average);
    }

    fn finish(&self, mut output: Self::Output) -> ArrayRef {
        Arc::new(output.finish())
    }

    fn write_element(value: i128, out: &mut Vec<u8>) {
        value.write(out);
    }

    fn read_element(reader: &mut Reader) -> Result<i128> {
        Native::read(reader)
    }

    fn write_total(total: i256, out: &mut Vec<u8>) {
        out.extend_from_slice(&total.to_le_bytes());
    }

    fn read_total(reader: &mut Reader) -> Result<i256> {
        Ok(i256::from_le_bytes(reader.array()?))
    }
}

/// `bool_and` and `bool_or`; the total is the number of values that are true.
pub(super) struct Judged {
    pub(super) and: bool,
}

impl Tally for Judged {
    type Input = BooleanArray;
    type Element = bool;
    type Total = u64;
    type Output = BooleanBuilder;

    fn input(&self, array: &ArrayRef) -> Self::Input {
        array.as_boolean().clone()
    }

    fn element(input: &Self::Input, row: usize) -> Option<bool> {
        input.is_valid(row).then(|| input.value(row))
    }

    fn add(total: &mut u64, value: bool) {
        *total = total.wrapping_add(u64::from(value));
    }

    fn subtract(total: &mut u64, value: bool) {
        *total = total.wrapping_sub(u64::from(value));
    }

    fn output(&self, rows: usize) -> Self::Output {
        BooleanBuilder::with_capacity(rows)
    }

    fn push(&self, output: &mut Self::Output, total: u64, count: u64) {
        let verdict = if self.and { total == count } else { total > 0 };
        output.append_option((count > 0).then_some(verdict));
    }

    fn finish(&self, mut output: Self::Output) -> ArrayRef {
        Arc::new(output.finish())
    }

    fn write_element(value: bool, out: &mut Vec<u8>) {
        out.push(u8::from(value));
    }

    fn read_element(reader: &mut Reader) -> Result<bool> {
        match reader.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(reader.damaged("a boolean is neither 0 nor 1")),
        }
    }

    fn write_total(total: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&total.to_le_bytes());
    }

    fn read_total(reader: &mut Reader) -> Result<u64> {
        reader.u64()
    }
}
