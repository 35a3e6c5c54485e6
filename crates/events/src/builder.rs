//! Arrow builders of the columns of `events`, one a column that is read.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Decimal128Builder, Float64Builder, Int32Builder, Int64Builder,
    ListBuilder, RecordBatch, RecordBatchOptions, StringViewBuilder, TimestampMillisecondBuilder,
};
use arrow::datatypes::SchemaRef;

use crate::number::{PRECISION, SCALE};
use crate::schema::Ty;

/// The values of one column since the last batch.
pub(crate) enum Builder {
    Text(StringViewBuilder),
    TextList(ListBuilder<StringViewBuilder>),
    Integer(Int64Builder),
    Int32(Int32Builder),
    Decimal(Decimal128Builder),
    Boolean(BooleanBuilder),
    Float(Float64Builder),
    Time(TimestampMillisecondBuilder),
    /// A column that is made as a whole when the batch is finished.
    Whole(Option<ArrayRef>),
}

impl Builder {
    pub(crate) fn new(ty: Ty) -> Self {
        Self::with_capacity(ty, 0)
    }

    /// With room for so many rows.
    fn with_capacity(ty: Ty, rows: usize) -> Self {
        match ty {
            Ty::Text => Self::Text(StringViewBuilder::with_capacity(rows)),
            Ty::TextList => {
                let items = StringViewBuilder::with_capacity(rows);
                Self::TextList(ListBuilder::with_capacity(items, rows))
            }
            Ty::Integer => Self::Integer(Int64Builder::with_capacity(rows)),
            Ty::Int32 => Self::Int32(Int32Builder::with_capacity(rows)),
            Ty::Decimal => {
                let built = Decimal128Builder::with_capacity(rows)
                    .with_precision_and_scale(PRECISION as u8, SCALE as i8)
                    .expect("38 digits, 18 of them behind the point, are a valid decimal type");
                Self::Decimal(built)
            }
            Ty::Boolean => Self::Boolean(BooleanBuilder::with_capacity(rows)),
            Ty::Float => Self::Float(Float64Builder::with_capacity(rows)),
            Ty::Time => {
                let built = TimestampMillisecondBuilder::with_capacity(rows);
                Self::Time(built.with_timezone("UTC"))
            }
        }
    }

    /// Of values that many rows have in common: a text that is there already is not written again.
    pub(crate) fn of_shared_values(ty: Ty) -> Self {
        match Self::new(ty) {
            Self::Text(builder) => Self::Text(builder.with_deduplicate_strings()),
            builder => builder,
        }
    }

    /// The whole column of a batch.
    pub(crate) fn give(&mut self, column: ArrayRef) {
        let Self::Whole(given) = self else {
            return wrong_type();
        };
        *given = Some(column);
    }

    #[inline]
    pub(crate) fn text(&mut self, value: Option<&str>) {
        let Self::Text(builder) = self else {
            return wrong_type();
        };
        match value {
            Some(value) => builder.append_value(value),
            None => builder.append_null(),
        }
    }

    /// The same text for `rows` rows.
    pub(crate) fn text_repeated(&mut self, value: &str, rows: usize) {
        let Self::Text(builder) = self else {
            return wrong_type();
        };
        builder
            .try_append_value_n(value, rows)
            .expect("a topic's name is far shorter than a string view may be");
    }

    pub(crate) fn list<'a, T: AsRef<str> + 'a>(&mut self, items: Option<impl Iterator<Item = T>>) {
        let Self::TextList(builder) = self else {
            return wrong_type();
        };
        let is_valid = items.is_some();
        for item in items.into_iter().flatten() {
            builder.values().append_value(item);
        }
        builder.append(is_valid);
    }

    #[inline]
    pub(crate) fn integer(&mut self, value: Option<i64>) {
        match self {
            Self::Integer(builder) => builder.append_option(value),
            Self::Time(builder) => builder.append_option(value),
            _ => wrong_type(),
        }
    }

    pub(crate) fn int32_repeated(&mut self, value: i32, rows: usize) {
        let Self::Int32(builder) = self else {
            return wrong_type();
        };
        builder.append_value_n(value, rows);
    }

    #[inline]
    pub(crate) fn decimal(&mut self, value: Option<i128>) {
        let Self::Decimal(builder) = self else {
            return wrong_type();
        };
        builder.append_option(value);
    }

    #[inline]
    pub(crate) fn boolean(&mut self, value: Option<bool>) {
        let Self::Boolean(builder) = self else {
            return wrong_type();
        };
        builder.append_option(value);
    }

    pub(crate) fn boolean_repeated(&mut self, value: bool, rows: usize) {
        let Self::Boolean(builder) = self else {
            return wrong_type();
        };
        builder.append_n(rows, value);
    }

    #[inline]
    pub(crate) fn float(&mut self, value: Option<f64>) {
        let Self::Float(builder) = self else {
            return wrong_type();
        };
        builder.append_option(value);
    }

    /// The values so far, which stay.
    pub(crate) fn finish_cloned(&self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish_cloned()),
            Self::TextList(builder) => Arc::new(builder.finish_cloned()),
            Self::Integer(builder) => Arc::new(builder.finish_cloned()),
            Self::Int32(builder) => Arc::new(builder.finish_cloned()),
            Self::Decimal(builder) => Arc::new(builder.finish_cloned()),
            Self::Boolean(builder) => Arc::new(builder.finish_cloned()),
            Self::Float(builder) => Arc::new(builder.finish_cloned()),
            Self::Time(builder) => Arc::new(builder.finish_cloned()),
            Self::Whole(given) => given.clone().expect(GIVEN),
        }
    }

    /// As it is to begin with, and with room for so many rows; `ty` is its type.
    fn anew(&self, ty: Ty, rows: usize) -> Self {
        match self {
            Self::Whole(_) => Self::Whole(None),
            _ => Self::with_capacity(ty, rows),
        }
    }

    /// The values.
    fn into_array(self) -> ArrayRef {
        match self {
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::TextList(mut builder) => Arc::new(builder.finish()),
            Self::Integer(mut builder) => Arc::new(builder.finish()),
            Self::Int32(mut builder) => Arc::new(builder.finish()),
            Self::Decimal(mut builder) => Arc::new(builder.finish()),
            Self::Boolean(mut builder) => Arc::new(builder.finish()),
            Self::Float(mut builder) => Arc::new(builder.finish()),
            Self::Time(mut builder) => Arc::new(builder.finish()),
            Self::Whole(given) => given.expect(GIVEN),
        }
    }
}

const GIVEN: &str = "a whole column is given before the batch is finished";

/// The schema pairs every origin of values with the type that its builder has.
fn wrong_type() {
    debug_assert!(false, "a column's origin and its type disagree");
}

/// Takes the rows out of the builders of columns with these types. There is room for as many then: one batch
/// is mostly as large as the one before it.
pub(crate) fn finish(
    schema: &SchemaRef,
    types: impl Iterator<Item = Ty>,
    builders: &mut [Builder],
    rows: usize,
) -> RecordBatch {
    let arrays = builders.iter_mut().zip(types).map(|(builder, ty)| {
        let anew = builder.anew(ty, rows);
        std::mem::replace(builder, anew).into_array()
    });
    let arrays = arrays.collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)
        .expect("every row adds one value to every builder, and required columns are never null")
}
