//! Which members of an event a decoder reads, given the columns that somebody reads.
//!
//! A column that nobody reads is neither built nor is its member decoded; what a column is derived
//! from is decoded with it (`route` from `path`, `auth_result` from `status`). The time, the address
//! and the credential are always decoded: lateness, dead letters and masking need them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::extra::{ExtraColumn, ExtraKind, Sensitivity, pointer_tokens};
use crate::json::Members;
use crate::schema::{EventsSchema, Geo, Origin, Ty};
use crate::settings::{IdentitySource, TimeMeaning, TopicSettings};
use crate::{Error, Result};

/// The members to find and the columns to build from them.
pub(crate) struct Plan {
    pub(crate) schema: SchemaRef,
    pub(crate) members: Members,
    pub(crate) columns: Vec<Planned>,
    pub(crate) event_time: usize,
    pub(crate) client_ip: usize,
    pub(crate) api_key: usize,
    /// Read where a latency is: (`latency_us`, `latency_ms`).
    pub(crate) latency: Option<(usize, usize)>,
    /// What the column `api_key` is made of; empty where it is not read.
    pub(crate) identity: Vec<Identity>,
    /// The columns of GeoIP records that are read.
    pub(crate) geo: Vec<(Geo, Ty)>,
}

/// One column of the batches.
pub(crate) struct Planned {
    pub(crate) name: Cow<'static, str>,
    pub(crate) ty: Ty,
    pub(crate) source: Source,
}

/// A step of the list that says whom a call is by.
#[derive(Clone, Copy)]
pub(crate) enum Identity {
    Fingerprint,
    /// A slot, and the name of its member.
    Member(usize, &'static str),
}

/// A column's origin with the slots of its members.
#[derive(Clone)]
pub(crate) enum Source {
    EventTime,
    ClientIp,
    ClientNet,
    ApiKey,
    Credential,
    AuthResult {
        given: usize,
        status: usize,
    },
    Path(usize),
    Route {
        route: usize,
        path: usize,
    },
    Text(usize),
    Id(usize),
    List {
        slot: usize,
        spaced: bool,
    },
    Hashed(usize),
    Integer {
        slot: usize,
        min: i64,
        max: i64,
    },
    Latency,
    Decimal(usize),
    Extra {
        slot: usize,
        rest: Vec<String>,
        kind: ExtraKind,
        hash: bool,
    },
    /// A column whose values are not kept.
    Dropped(ExtraKind),
    Geo(Geo),
    SecretInUrl {
        members: [(usize, &'static str); 3],
    },
    RecordTime,
    Topic,
    Partition,
    Offset,
    Late,
}

impl Plan {
    pub(crate) fn new(
        events: &EventsSchema,
        columns: Option<&BTreeSet<String>>,
        topic: &TopicSettings,
    ) -> Result<Self> {
        for name in columns.into_iter().flatten() {
            if !events.columns().iter().any(|column| column.name == *name) {
                return Err(Error::UnknownColumn { name: name.clone() });
            }
        }
        let mut members = Members::new();
        let event_time = members.add("event_time");
        let client_ip = members.add("client_ip");
        let api_key = members.add("api_key");
        let mut planned = Vec::new();
        let mut fields: Vec<Field> = Vec::new();
        let mut latency = topic.time == TimeMeaning::Start;
        let mut identity = Vec::new();
        let mut geo = Vec::new();
        for column in events.columns() {
            if columns.is_some_and(|columns| !columns.contains(&column.name)) {
                continue;
            }
            match column.origin {
                Origin::Latency => latency = true,
                Origin::Geo(field) => geo.push((field, column.ty)),
                Origin::ApiKey => identity = identities(&topic.identity, &mut members),
                _ => {}
            }
            fields.push(column.field());
            planned.push(Planned {
                name: Cow::Owned(column.name.clone()),
                ty: column.ty,
                source: source(&column.name, column.origin, events.extra(), &mut members),
            });
        }
        let latency = latency.then(|| (members.add("latency_us"), members.add("latency_ms")));
        Ok(Self {
            schema: Arc::new(Schema::new(fields)),
            members,
            columns: planned,
            event_time,
            client_ip,
            api_key,
            latency,
            identity,
            geo,
        })
    }
}

fn identities(sources: &[IdentitySource], members: &mut Members) -> Vec<Identity> {
    let mut identity_of = |source: &IdentitySource| match source {
        IdentitySource::KeyId => Identity::Member(members.add("key_id"), "key_id"),
        IdentitySource::ConsumerId => Identity::Member(members.add("consumer_id"), "consumer_id"),
        IdentitySource::ApiKey => Identity::Fingerprint,
    };
    sources.iter().map(&mut identity_of).collect()
}

fn source(name: &str, origin: Origin, extra: &[ExtraColumn], members: &mut Members) -> Source {
    match origin {
        Origin::EventTime => Source::EventTime,
        Origin::ClientIp => Source::ClientIp,
        Origin::ClientNet => Source::ClientNet,
        Origin::ApiKey => Source::ApiKey,
        Origin::Credential => Source::Credential,
        Origin::AuthResult => Source::AuthResult {
            given: members.add("auth_result"),
            status: members.add("status"),
        },
        Origin::Path => Source::Path(members.add("path")),
        Origin::Route => Source::Route {
            route: members.add("route"),
            path: members.add("path"),
        },
        Origin::Member => Source::Text(members.add(name)),
        Origin::Id => Source::Id(members.add(name)),
        Origin::List => Source::List {
            slot: members.add(name),
            spaced: false,
        },
        Origin::SpacedList => Source::List {
            slot: members.add(name),
            spaced: true,
        },
        Origin::Hashed => Source::Hashed(members.add(name)),
        Origin::Integer(min, max) => Source::Integer {
            slot: members.add(name),
            min,
            max,
        },
        Origin::Latency => Source::Latency,
        Origin::Amount => Source::Decimal(members.add(name)),
        Origin::Extra(place) => extra_source(&extra[place], members),
        Origin::Geo(field) => Source::Geo(field),
        Origin::SecretInUrl => {
            let names = ["path", "query_names", "referer"];
            Source::SecretInUrl {
                members: names.map(|name| (members.add(name), name)),
            }
        }
        Origin::RecordTime => Source::RecordTime,
        Origin::Topic => Source::Topic,
        Origin::Partition => Source::Partition,
        Origin::Offset => Source::Offset,
        Origin::Late => Source::Late,
    }
}

fn extra_source(column: &ExtraColumn, members: &mut Members) -> Source {
    if column.sensitivity == Sensitivity::Drop {
        return Source::Dropped(column.kind);
    }
    let mut rest = pointer_tokens(&column.pointer);
    let slot = members.add(&rest.remove(0));
    let hash = column.sensitivity == Sensitivity::Hash;
    Source::Extra {
        slot,
        rest,
        kind: column.kind,
        hash,
    }
}
