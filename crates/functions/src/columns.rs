//! How single values of each type are kept: a slot for one value, and how arrays are read and built.
//!
//! `lag` and the frames keep values of any type with it, a slot a value; numbers have the room of their
//! type, texts keep their room when the slot is used again, and every other type is kept as Arrow's row
//! encoding, whose bytes compare as the values do.

use std::{cmp::Ordering, marker::PhantomData, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BooleanArray,
        BooleanBuilder, PrimitiveArray, PrimitiveBuilder, StringViewArray, StringViewBuilder,
        new_null_array,
    },
    compute::cast,
    datatypes::DataType,
    row::{RowConverter, Rows, SortField},
};

use crate::{
    Error, Result,
    state::{FNV_OFFSET, Reader, fnv1a},
    text::StateText,
};

/// One type's way to keep values.
pub(crate) trait ValueColumn: Send {
    /// Holds one value that is not null.
    type Slot: Default + Send;
    /// A batch's values, ready to read by row.
    type Input;
    /// An array under construction.
    type Output;

    fn input(&self, array: &ArrayRef) -> Result<Self::Input>;
    fn is_null(input: &Self::Input, row: usize) -> bool;
    fn store(input: &Self::Input, row: usize, slot: &mut Self::Slot);
    /// The order of min and max: floats in IEEE 754's total order, texts by their bytes.
    fn compare(left: &Self::Slot, right: &Self::Slot) -> Ordering;

    fn output(&self, rows: usize) -> Self::Output;
    fn push(&self, output: &mut Self::Output, slot: &Self::Slot);
    fn push_null(&self, output: &mut Self::Output);
    fn finish(&self, output: Self::Output) -> Result<ArrayRef>;

    fn write(slot: &Self::Slot, out: &mut Vec<u8>);
    fn read(&self, reader: &mut Reader) -> Result<Self::Slot>;
    /// Bytes that the slot holds outside itself.
    fn heap(slot: &Self::Slot) -> usize;
}

/// Numbers and timestamps of 64 bits.
pub(crate) struct Primitives<T> {
    data_type: DataType,
    marker: PhantomData<fn() -> T>,
}

impl<T> Primitives<T> {
    pub(crate) fn new(data_type: &DataType) -> Self {
        Self {
            data_type: data_type.clone(),
            marker: PhantomData,
        }
    }
}

/// A number that is stored as its little-endian bytes, so without change.
pub(crate) trait Native: ArrowNativeTypeOp + Send {
    fn write(self, out: &mut Vec<u8>);
    fn read(reader: &mut Reader) -> Result<Self>;
}

macro_rules! native {
    ($($number:ty),*) => {$(
        impl Native for $number {
            fn write(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn read(reader: &mut Reader) -> Result<Self> {
                Ok(Self::from_le_bytes(reader.array()?))
            }
        }
    )*};
}

native!(i8, i16, i32, i64, i128, u8, u16, u32, u64, f32, f64);

impl<T: ArrowPrimitiveType<Native: Native>> ValueColumn for Primitives<T> {
    type Slot = T::Native;
    type Input = PrimitiveArray<T>;
    type Output = PrimitiveBuilder<T>;

    fn input(&self, array: &ArrayRef) -> Result<Self::Input> {
        Ok(array.as_primitive::<T>().clone())
    }

    fn is_null(input: &Self::Input, row: usize) -> bool {
        input.is_null(row)
    }

    fn store(input: &Self::Input, row: usize, slot: &mut Self::Slot) {
        *slot = input.value(row);
    }

    fn compare(left: &Self::Slot, right: &Self::Slot) -> Ordering {
        ArrowNativeTypeOp::compare(*left, *right)
    }

    fn output(&self, rows: usize) -> Self::Output {
        PrimitiveBuilder::with_capacity(rows).with_data_type(self.data_type.clone())
    }

    fn push(&self, output: &mut Self::Output, slot: &Self::Slot) {
        output.append_value(*slot);
    }

    fn push_null(&self, output: &mut Self::Output) {
        output.append_null();
    }

    fn finish(&self, mut output: Self::Output) -> Result<ArrayRef> {
        Ok(Arc::new(output.finish()))
    }

    fn write(slot: &Self::Slot, out: &mut Vec<u8>) {
        Native::write(*slot, out);
    }

    fn read(&self, reader: &mut Reader) -> Result<Self::Slot> {
        Native::read(reader)
    }

    fn heap(_slot: &Self::Slot) -> usize {
        0
    }
}

/// Booleans, a byte each.
pub(crate) struct Booleans;

impl ValueColumn for Booleans {
    type Slot = bool;
    type Input = BooleanArray;
    type Output = BooleanBuilder;

    fn input(&self, array: &ArrayRef) -> Result<Self::Input> {
        Ok(array.as_boolean().clone())
    }

    fn is_null(input: &Self::Input, row: usize) -> bool {
        input.is_null(row)
    }

    fn store(input: &Self::Input, row: usize, slot: &mut Self::Slot) {
        *slot = input.value(row);
    }

    fn compare(left: &Self::Slot, right: &Self::Slot) -> Ordering {
        left.cmp(right)
    }

    fn output(&self, rows: usize) -> Self::Output {
        BooleanBuilder::with_capacity(rows)
    }

    fn push(&self, output: &mut Self::Output, slot: &Self::Slot) {
        output.append_value(*slot);
    }

    fn push_null(&self, output: &mut Self::Output) {
        output.append_null();
    }

    fn finish(&self, mut output: Self::Output) -> Result<ArrayRef> {
        Ok(Arc::new(output.finish()))
    }

    fn write(slot: &Self::Slot, out: &mut Vec<u8>) {
        out.push(u8::from(*slot));
    }

    fn read(&self, reader: &mut Reader) -> Result<Self::Slot> {
        match reader.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(reader.damaged("a boolean is neither 0 nor 1")),
        }
    }

    fn heap(_slot: &Self::Slot) -> usize {
        0
    }
}

/// Texts; a network or a country has room in its slot.
pub(crate) struct Texts;

impl ValueColumn for Texts {
    type Slot = StateText<24>;
    type Input = StringViewArray;
    type Output = StringViewBuilder;

    fn input(&self, array: &ArrayRef) -> Result<Self::Input> {
        Ok(array.as_string_view().clone())
    }

    fn is_null(input: &Self::Input, row: usize) -> bool {
        input.is_null(row)
    }

    fn store(input: &Self::Input, row: usize, slot: &mut Self::Slot) {
        slot.set(input.value(row));
    }

    fn compare(left: &Self::Slot, right: &Self::Slot) -> Ordering {
        left.as_bytes().cmp(right.as_bytes())
    }

    fn output(&self, rows: usize) -> Self::Output {
        StringViewBuilder::with_capacity(rows)
    }

    fn push(&self, output: &mut Self::Output, slot: &Self::Slot) {
        output.append_value(&**slot);
    }

    fn push_null(&self, output: &mut Self::Output) {
        output.append_null();
    }

    fn finish(&self, mut output: Self::Output) -> Result<ArrayRef> {
        Ok(Arc::new(output.finish()))
    }

    fn write(slot: &Self::Slot, out: &mut Vec<u8>) {
        write_bytes(slot.as_bytes(), out);
    }

    fn read(&self, reader: &mut Reader) -> Result<Self::Slot> {
        let len = reader.u32()? as usize;
        match std::str::from_utf8(reader.bytes(len)?) {
            Ok(text) => Ok(text.into()),
            Err(_) => Err(reader.damaged("a text is not UTF-8")),
        }
    }

    fn heap(slot: &Self::Slot) -> usize {
        slot.heap()
    }
}

/// Any other type, each value in Arrow's row encoding, which a whole batch is converted to at once.
pub(crate) struct Encoded {
    data_type: DataType,
    converter: RowConverter,
    null: Vec<u8>,
}

/// Encoded rows one behind the other.
#[derive(Default)]
pub(crate) struct EncodedRows {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Encoded {
    pub(crate) fn new(function: &'static str, data_type: &DataType) -> Result<Self> {
        let fields = vec![SortField::new(data_type.clone())];
        if !RowConverter::supports_fields(&fields) {
            return Err(Error::Argument {
                function,
                argument: "value",
                expected: "of a type that has an order",
                found: format!("of type {data_type}"),
            });
        }
        let converter = RowConverter::new(fields)?;
        let null = converter
            .convert_columns(&[new_null_array(data_type, 1)])?
            .row(0)
            .data()
            .to_vec();
        Ok(Self {
            data_type: data_type.clone(),
            converter,
            null,
        })
    }
}

impl ValueColumn for Encoded {
    type Slot = Vec<u8>;
    type Input = (ArrayRef, Rows);
    type Output = EncodedRows;

    fn input(&self, array: &ArrayRef) -> Result<Self::Input> {
        let rows = self
            .converter
            .convert_columns(std::slice::from_ref(array))?;
        Ok((Arc::clone(array), rows))
    }

    fn is_null((array, _): &Self::Input, row: usize) -> bool {
        array.is_null(row)
    }

    fn store((_, rows): &Self::Input, row: usize, slot: &mut Self::Slot) {
        slot.clear();
        slot.extend_from_slice(rows.row(row).data());
    }

    fn compare(left: &Self::Slot, right: &Self::Slot) -> Ordering {
        left.cmp(right)
    }

    fn output(&self, rows: usize) -> Self::Output {
        EncodedRows {
            bytes: Vec::new(),
            ends: Vec::with_capacity(rows),
        }
    }

    fn push(&self, output: &mut Self::Output, slot: &Self::Slot) {
        output.bytes.extend_from_slice(slot);
        output.ends.push(output.bytes.len());
    }

    fn push_null(&self, output: &mut Self::Output) {
        self.push(output, &self.null);
    }

    fn finish(&self, output: Self::Output) -> Result<ArrayRef> {
        let parser = self.converter.parser();
        let starts = std::iter::once(0).chain(output.ends.iter().copied());
        let rows = starts
            .zip(&output.ends)
            .map(|(start, &end)| parser.parse(&output.bytes[start..end]));
        let array = self.converter.convert_rows(rows)?.swap_remove(0);
        // The encoding gives the plain values of a dictionary back.
        if array.data_type() == &self.data_type {
            Ok(array)
        } else {
            Ok(cast(&array, &self.data_type)?)
        }
    }

    /// A sum over the bytes stands before them: Arrow decodes rows that it encoded itself, and gives no
    /// promise for others.
    fn write(slot: &Self::Slot, out: &mut Vec<u8>) {
        out.extend_from_slice(&fnv1a(FNV_OFFSET, slot).to_le_bytes());
        write_bytes(slot, out);
    }

    fn read(&self, reader: &mut Reader) -> Result<Self::Slot> {
        let sum = reader.u64()?;
        let len = reader.u32()? as usize;
        let bytes = reader.bytes(len)?;
        if fnv1a(FNV_OFFSET, bytes) != sum {
            return Err(reader.damaged("a value does not match its sum"));
        }
        Ok(bytes.to_vec())
    }

    fn heap(slot: &Self::Slot) -> usize {
        slot.capacity()
    }
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let len = u32::try_from(bytes.len()).expect("a value of an array is below 4 GiB");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}
