//! The GeoIP records that a partition knows, as columns: a batch's are taken from them by number.
//!
//! ```text
//!   number   country  city     as_org                 rows of a batch   1 0 1 1
//!   0        CH       Zürich   Example Net AG      ─▶ country           SE CH SE SE
//!   1        SE       Lund     Sample Hosting AB
//! ```
//!
//! A text is written once, however many rows have it: the batches share its bytes. Numbers hold until
//! [`GeoTable::clear`].

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;

use super::GeoRecord;
use crate::builder::Builder;
use crate::schema::{Geo, Ty};

/// The columns of the records, those that are read.
pub(crate) struct GeoTable {
    columns: Vec<Column>,
    length: u32,
}

struct Column {
    field: Geo,
    ty: Ty,
    values: Builder,
    /// The first of `values`, as many as it holds.
    finished: Option<ArrayRef>,
}

impl GeoTable {
    /// An empty table of these columns.
    pub(crate) fn new(fields: &[(Geo, Ty)]) -> Self {
        let columns = fields.iter().map(|&(field, ty)| Column {
            field,
            ty,
            values: Builder::of_shared_values(ty),
            finished: None,
        });
        Self {
            columns: columns.collect(),
            length: 0,
        }
    }

    /// How many records it holds.
    pub(crate) fn len(&self) -> usize {
        self.length as usize
    }

    /// Adds a record, and gives its number.
    pub(crate) fn push(&mut self, record: &GeoRecord) -> u32 {
        for column in &mut self.columns {
            append(column.field, record, &mut column.values);
        }
        self.length += 1;
        self.length - 1
    }

    /// A column of the records with these numbers. Costs a copy of the table's own column where
    /// records were added since the last call.
    pub(crate) fn gather(&mut self, field: Geo, numbers: &UInt32Array) -> ArrayRef {
        let column = self
            .columns
            .iter_mut()
            .find(|column| column.field == field)
            .expect("a column that is planned is in the table");
        let known = column.finished.as_ref();
        let finished = match known.filter(|known| known.len() == self.length as usize) {
            Some(known) => known,
            None => column.finished.insert(column.values.finish_cloned()),
        };
        take(finished, numbers, None).expect("a record is there before its number is")
    }

    /// Forgets the records and their numbers.
    pub(crate) fn clear(&mut self) {
        for column in &mut self.columns {
            column.values = Builder::of_shared_values(column.ty);
            column.finished = None;
        }
        self.length = 0;
    }
}

fn append(field: Geo, record: &GeoRecord, values: &mut Builder) {
    match field {
        Geo::Country => values.text(record.country.as_deref()),
        Geo::Subdivision => values.text(record.subdivision.as_deref()),
        Geo::City => values.text(record.city.as_deref()),
        Geo::Latitude => values.float(record.latitude),
        Geo::Longitude => values.float(record.longitude),
        Geo::AccuracyRadius => values.float(record.accuracy_radius_km),
        Geo::Asn => values.integer(record.asn),
        Geo::AsOrg => values.text(record.as_org.as_deref()),
        Geo::IpKind => values.text(Some(record.ip_kind)),
        Geo::IsAnonymous => values.boolean(Some(record.is_anonymous)),
        Geo::IsHosting => values.boolean(Some(record.is_hosting)),
    }
}
