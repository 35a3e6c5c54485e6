//! The table `events`: its columns, their types and their fixed order.
//!
//! Native columns first, in the order of the README's table; then those of `events.toml`, as
//! declared; then those that decode adds: place and network of the address, marks, and the record's
//! place in Kafka.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::Result;
use crate::extra::{self, ExtraColumn, ExtraKind};
use crate::number::{PRECISION, SCALE};

/// The table `events` of an installation.
#[derive(Debug, Clone)]
pub struct EventsSchema {
    arrow: SchemaRef,
    columns: Vec<ColumnDef>,
    extra: Vec<ExtraColumn>,
}

impl EventsSchema {
    /// The table with the added columns.
    ///
    /// # Errors
    /// A name, pointer or sensitivity that `parse_events_toml` would refuse.
    pub fn new(extra: Vec<ExtraColumn>) -> Result<Self> {
        extra::check(&extra)?;
        let native = NATIVE.iter().map(ColumnDef::of);
        let declared = extra.iter().enumerate().map(|(place, column)| ColumnDef {
            name: column.name.clone(),
            ty: match column.kind {
                ExtraKind::Text => Ty::Text,
                ExtraKind::Integer => Ty::Integer,
                ExtraKind::Decimal => Ty::Decimal,
                ExtraKind::Boolean => Ty::Boolean,
                ExtraKind::TextList => Ty::TextList,
            },
            nullable: true,
            origin: Origin::Extra(place),
        });
        let columns: Vec<ColumnDef> = native
            .chain(declared)
            .chain(ADDED.iter().map(ColumnDef::of))
            .collect();
        let fields: Vec<Field> = columns.iter().map(ColumnDef::field).collect();
        Ok(Self {
            arrow: Arc::new(Schema::new(fields)),
            columns,
            extra,
        })
    }

    /// The whole table's Arrow schema.
    pub fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    /// The columns of `events.toml`, as declared.
    pub fn extra(&self) -> &[ExtraColumn] {
        &self.extra
    }

    pub(crate) fn columns(&self) -> &[ColumnDef] {
        &self.columns
    }
}

/// One column of the table.
#[derive(Debug, Clone)]
pub(crate) struct ColumnDef {
    pub(crate) name: String,
    pub(crate) ty: Ty,
    pub(crate) nullable: bool,
    pub(crate) origin: Origin,
}

impl ColumnDef {
    fn of(native: &Native) -> Self {
        let Native(name, ty, null, origin) = *native;
        Self {
            name: name.to_string(),
            ty,
            nullable: matches!(null, Null),
            origin,
        }
    }

    pub(crate) fn field(&self) -> Field {
        Field::new(&self.name, self.ty.arrow(), self.nullable)
    }
}

/// A column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ty {
    Text,
    TextList,
    Integer,
    Decimal,
    Boolean,
    Float,
    Time,
    Int32,
}

impl Ty {
    fn arrow(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8View,
            Self::TextList => DataType::new_list(DataType::Utf8View, true),
            Self::Integer => DataType::Int64,
            Self::Decimal => DataType::Decimal128(PRECISION as u8, SCALE as i8),
            Self::Boolean => DataType::Boolean,
            Self::Float => DataType::Float64,
            Self::Time => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            Self::Int32 => DataType::Int32,
        }
    }
}

/// Where a column's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    EventTime,
    ClientIp,
    ClientNet,
    ApiKey,
    Credential,
    AuthResult,
    Path,
    Route,
    /// A text of the member of the same name.
    Member,
    /// One of the gateway's own ids: an empty text is null, as for identity.
    Id,
    /// A list of the member of the same name; a text is a list of one.
    List,
    /// A list; a text is split at spaces, as OAuth writes scopes (RFC 6749, section 3.3).
    SpacedList,
    /// The keyed hash of the member of the same name.
    Hashed,
    /// An integer of the member of the same name, not below the first and not above the second.
    Integer(i64, i64),
    Latency,
    Amount,
    /// Index into the columns of `events.toml`.
    Extra(usize),
    Geo(Geo),
    SecretInUrl,
    RecordTime,
    Topic,
    Partition,
    Offset,
    Late,
}

/// A field of what the GeoIP databases say of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Geo {
    Country,
    Subdivision,
    City,
    Latitude,
    Longitude,
    AccuracyRadius,
    Asn,
    AsOrg,
    IpKind,
    IsAnonymous,
    IsHosting,
}

/// Whether a column may be null; two words, so that the tables below read as tables.
#[derive(Clone, Copy)]
enum Nullness {
    Null,
    Never,
}
use Nullness::{Never, Null};

#[derive(Clone, Copy)]
struct Native(&'static str, Ty, Nullness, Origin);

const COUNT: Origin = Origin::Integer(0, i64::MAX);
const ANY: Origin = Origin::Integer(i64::MIN, i64::MAX);
/// Three digits; some gateways write 0 or 499 for calls that the client gave up.
const STATUS: Origin = Origin::Integer(0, 999);

const NATIVE: &[Native] = &[
    Native("event_id", Ty::Text, Null, Origin::Member),
    Native("event_time", Ty::Time, Never, Origin::EventTime),
    Native("client_ip", Ty::Text, Never, Origin::ClientIp),
    Native("client_net", Ty::Text, Never, Origin::ClientNet),
    Native("api_key", Ty::Text, Null, Origin::ApiKey),
    Native("credential", Ty::Text, Null, Origin::Credential),
    Native("key_id", Ty::Text, Null, Origin::Id),
    Native("consumer_id", Ty::Text, Null, Origin::Id),
    Native("tenant", Ty::Text, Null, Origin::Id),
    Native("auth_result", Ty::Text, Never, Origin::AuthResult),
    Native("method", Ty::Text, Null, Origin::Member),
    Native("path", Ty::Text, Null, Origin::Path),
    Native("route", Ty::Text, Null, Origin::Route),
    Native("operation", Ty::Text, Null, Origin::Member),
    Native("host", Ty::Text, Null, Origin::Member),
    Native("api_version", Ty::Text, Null, Origin::Member),
    Native("protocol", Ty::Text, Null, Origin::Member),
    Native("query_names", Ty::TextList, Null, Origin::List),
    Native("user_agent", Ty::Text, Null, Origin::Member),
    Native("referer", Ty::Text, Null, Origin::Member),
    Native("content_type", Ty::Text, Null, Origin::Member),
    Native("error_code", Ty::Text, Null, Origin::Member),
    Native("environment", Ty::Text, Null, Origin::Member),
    Native("region", Ty::Text, Null, Origin::Member),
    Native("tls_fingerprint", Ty::Text, Null, Origin::Member),
    Native("request_id", Ty::Text, Null, Origin::Member),
    Native("object_id", Ty::Text, Null, Origin::Member),
    Native("scopes", Ty::TextList, Null, Origin::SpacedList),
    Native("required_scope", Ty::Text, Null, Origin::Member),
    Native("asset", Ty::Text, Null, Origin::Member),
    Native("destination", Ty::Text, Null, Origin::Hashed),
    Native("status", Ty::Integer, Null, STATUS),
    Native("page", Ty::Integer, Null, ANY),
    Native("page_size", Ty::Integer, Null, ANY),
    // Some gateways write -1 for no limit.
    Native("rate_limit_remaining", Ty::Integer, Null, ANY),
    Native("request_bytes", Ty::Integer, Null, COUNT),
    Native("response_bytes", Ty::Integer, Null, COUNT),
    Native("latency_us", Ty::Integer, Null, Origin::Latency),
    Native("amount", Ty::Decimal, Null, Origin::Amount),
];

const ADDED: &[Native] = &[
    Native("country", Ty::Text, Null, Origin::Geo(Geo::Country)),
    Native("subdivision", Ty::Text, Null, Origin::Geo(Geo::Subdivision)),
    Native("city", Ty::Text, Null, Origin::Geo(Geo::City)),
    Native("latitude", Ty::Float, Null, Origin::Geo(Geo::Latitude)),
    Native("longitude", Ty::Float, Null, Origin::Geo(Geo::Longitude)),
    Native(
        "accuracy_radius_km",
        Ty::Float,
        Null,
        Origin::Geo(Geo::AccuracyRadius),
    ),
    Native("asn", Ty::Integer, Null, Origin::Geo(Geo::Asn)),
    Native("as_org", Ty::Text, Null, Origin::Geo(Geo::AsOrg)),
    Native("ip_kind", Ty::Text, Never, Origin::Geo(Geo::IpKind)),
    Native(
        "is_anonymous",
        Ty::Boolean,
        Never,
        Origin::Geo(Geo::IsAnonymous),
    ),
    Native(
        "is_hosting",
        Ty::Boolean,
        Never,
        Origin::Geo(Geo::IsHosting),
    ),
    Native("secret_in_url", Ty::Text, Null, Origin::SecretInUrl),
    Native("record_time", Ty::Time, Null, Origin::RecordTime),
    Native("_topic", Ty::Text, Never, Origin::Topic),
    Native("_partition", Ty::Int32, Never, Origin::Partition),
    Native("_offset", Ty::Integer, Never, Origin::Offset),
    Native("late", Ty::Boolean, Never, Origin::Late),
];

/// Whether the table has a column of that name without any `events.toml`.
pub(crate) fn is_native(name: &str) -> bool {
    NATIVE.iter().chain(ADDED).any(|native| native.0 == name)
}
