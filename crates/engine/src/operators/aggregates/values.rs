//! Columns of one value a group, set from a row of a batch: what `first_value` and `last_value` hold.
//!
//! Common types are held as they are, the rest in Arrow's row format, which has a form for each type.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray, StringViewArray,
    new_null_array,
};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};

use super::state::{LittleEndian, read_optional, text, write_optional};
use super::{Argument, OPERATOR, primitive_column};
use crate::error::{Error, In, Result};

/// A nullable value a group; null until it is set.
pub(super) trait Values: Send + 'static {
    /// The values of a batch, in the form in which they are read row by row.
    type Source<'a>;

    fn source(argument: &Argument) -> Result<Self::Source<'_>>;
    fn resize(&mut self, groups: usize);
    fn set(&mut self, slot: usize, source: &Self::Source<'_>, row: usize);
    fn set_from(&mut self, slot: usize, other: &Self, others: usize);
    fn finish(&self) -> Result<ArrayRef>;
    fn save(&self, slot: usize, out: &mut Vec<u8>);
    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()>;
    fn memory(&self) -> usize;
}

pub(super) struct Primitives<T: ArrowPrimitiveType> {
    data_type: DataType,
    values: Vec<T::Native>,
    valid: Vec<bool>,
}

impl<T: ArrowPrimitiveType> Primitives<T> {
    pub(super) fn new(data_type: &DataType) -> Self {
        Primitives {
            data_type: data_type.clone(),
            values: Vec::new(),
            valid: Vec::new(),
        }
    }
}

impl<T: ArrowPrimitiveType> Values for Primitives<T>
where
    T::Native: LittleEndian,
{
    type Source<'a> = &'a PrimitiveArray<T>;

    fn source(argument: &Argument) -> Result<Self::Source<'_>> {
        argument
            .values
            .as_primitive_opt()
            .ok_or_else(|| Error::Shape {
                operator: OPERATOR,
                detail: format!("values of another type: {}", argument.values.data_type()),
            })
    }

    fn resize(&mut self, groups: usize) {
        self.values.resize(groups, T::Native::default());
        self.valid.resize(groups, false);
    }

    fn set(&mut self, slot: usize, source: &Self::Source<'_>, row: usize) {
        self.valid[slot] = source.is_valid(row);
        self.values[slot] = source.value(row);
    }

    fn set_from(&mut self, slot: usize, other: &Self, others: usize) {
        self.valid[slot] = other.valid[others];
        self.values[slot] = other.values[others];
    }

    fn finish(&self) -> Result<ArrayRef> {
        primitive_column::<T>(&self.values, self.valid.clone().into(), &self.data_type)
    }

    fn save(&self, slot: usize, out: &mut Vec<u8>) {
        u8::from(self.valid[slot]).write(out);
        if self.valid[slot] {
            self.values[slot].write(out);
        }
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        self.valid[slot] = u8::read(bytes)? != 0;
        if self.valid[slot] {
            self.values[slot] = T::Native::read(bytes)?;
        }
        Ok(())
    }

    fn memory(&self) -> usize {
        self.values.capacity() * size_of::<T::Native>() + self.valid.capacity()
    }
}

#[derive(Default)]
pub(super) struct Booleans {
    values: Vec<Option<bool>>,
}

impl Values for Booleans {
    type Source<'a> = &'a BooleanArray;

    fn source(argument: &Argument) -> Result<Self::Source<'_>> {
        Ok(argument.values.as_boolean())
    }

    fn resize(&mut self, groups: usize) {
        self.values.resize(groups, None);
    }

    fn set(&mut self, slot: usize, source: &Self::Source<'_>, row: usize) {
        self.values[slot] = source.is_valid(row).then(|| source.value(row));
    }

    fn set_from(&mut self, slot: usize, other: &Self, others: usize) {
        self.values[slot] = other.values[others];
    }

    fn finish(&self) -> Result<ArrayRef> {
        Ok(Arc::new(
            self.values.iter().copied().collect::<BooleanArray>(),
        ))
    }

    fn save(&self, slot: usize, out: &mut Vec<u8>) {
        let code: u8 = match self.values[slot] {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        };
        code.write(out);
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        self.values[slot] = match u8::read(bytes)? {
            0 => None,
            code => Some(code == 2),
        };
        Ok(())
    }

    fn memory(&self) -> usize {
        self.values.capacity()
    }
}

/// Bytes a group, whose buffer stays with it, so that a value that changes often allocates seldom.
#[derive(Default)]
struct Buffers {
    bytes: Vec<Vec<u8>>,
    valid: Vec<bool>,
}

impl Buffers {
    fn resize(&mut self, groups: usize) {
        self.bytes.resize_with(groups, Vec::new);
        self.valid.resize(groups, false);
    }

    fn set(&mut self, slot: usize, value: Option<&[u8]>) {
        self.valid[slot] = value.is_some();
        if let Some(value) = value {
            self.bytes[slot].clear();
            self.bytes[slot].extend_from_slice(value);
        }
    }

    fn get(&self, slot: usize) -> Option<&[u8]> {
        self.valid[slot].then(|| self.bytes[slot].as_slice())
    }

    fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        (0..self.bytes.len()).map(|slot| self.get(slot))
    }

    fn memory(&self) -> usize {
        let bytes = self.bytes.iter().map(Vec::capacity).sum::<usize>();
        self.bytes.capacity() * size_of::<Vec<u8>>() + self.valid.capacity() + bytes
    }
}

#[derive(Default)]
pub(super) struct Text {
    values: Buffers,
}

impl Values for Text {
    type Source<'a> = &'a StringViewArray;

    fn source(argument: &Argument) -> Result<Self::Source<'_>> {
        Ok(argument.values.as_string_view())
    }

    fn resize(&mut self, groups: usize) {
        self.values.resize(groups);
    }

    fn set(&mut self, slot: usize, source: &Self::Source<'_>, row: usize) {
        let value = source.is_valid(row).then(|| source.value(row).as_bytes());
        self.values.set(slot, value);
    }

    fn set_from(&mut self, slot: usize, other: &Self, others: usize) {
        self.values.set(slot, other.values.get(others));
    }

    fn finish(&self) -> Result<ArrayRef> {
        let texts = self.values.iter();
        let texts = texts.map(|value| value.map(text).transpose());
        Ok(Arc::new(texts.collect::<Result<StringViewArray>>()?))
    }

    fn save(&self, slot: usize, out: &mut Vec<u8>) {
        write_optional(self.values.get(slot), out);
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        let value = read_optional(bytes)?;
        value.map(text).transpose()?;
        self.values.set(slot, value);
        Ok(())
    }

    fn memory(&self) -> usize {
        self.values.memory()
    }
}

/// Values of any type in Arrow's row format.
pub(super) struct Encoded {
    encoding: Encoding,
    values: Buffers,
}

impl Encoded {
    pub(super) fn new(data_type: &DataType) -> Result<Self> {
        Ok(Encoded {
            encoding: Encoding::new(data_type)?,
            values: Buffers::default(),
        })
    }
}

impl Values for Encoded {
    type Source<'a> = &'a Rows;

    fn source(argument: &Argument) -> Result<Self::Source<'_>> {
        argument.encoded()
    }

    fn resize(&mut self, groups: usize) {
        self.values.resize(groups);
    }

    fn set(&mut self, slot: usize, source: &Self::Source<'_>, row: usize) {
        // Null has a form of its own in the row format.
        self.values.set(slot, Some(source.row(row).as_ref()));
    }

    fn set_from(&mut self, slot: usize, other: &Self, others: usize) {
        self.values.set(slot, other.values.get(others));
    }

    fn finish(&self) -> Result<ArrayRef> {
        self.encoding.decode(self.values.iter())
    }

    fn save(&self, slot: usize, out: &mut Vec<u8>) {
        write_optional(self.values.get(slot), out);
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        let value = read_optional(bytes)?;
        self.values.set(slot, value);
        Ok(())
    }

    fn memory(&self) -> usize {
        self.values.memory()
    }
}

/// The way back from Arrow's row format.
pub(super) struct Encoding {
    converter: RowConverter,
    null: Vec<u8>,
}

impl Encoding {
    pub(super) fn new(data_type: &DataType) -> Result<Self> {
        let converter =
            RowConverter::new(vec![SortField::new(data_type.clone())]).within(OPERATOR)?;
        let null = converter
            .convert_columns(&[new_null_array(data_type, 1)])
            .within(OPERATOR)?;
        let null = null.row(0).as_ref().to_vec();
        Ok(Encoding { converter, null })
    }

    /// The column of encoded values.
    pub(super) fn decode<'a>(
        &'a self,
        values: impl Iterator<Item = Option<&'a [u8]>>,
    ) -> Result<ArrayRef> {
        let parser = self.converter.parser();
        let rows = values.map(|value| parser.parse(value.unwrap_or(&self.null)));
        let mut columns = self.converter.convert_rows(rows).within(OPERATOR)?;
        columns.pop().ok_or_else(|| Error::Shape {
            operator: OPERATOR,
            detail: "no column of decoded values".to_owned(),
        })
    }
}
