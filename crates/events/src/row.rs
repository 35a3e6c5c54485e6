//! One record's row: what can fail is read first, then the row is added to the builders.
//!
//! A dead letter must leave no half row behind, so `Row::read` turns every member that can be
//! unreadable into a pending value or the refusal, and `append` only adds.

use std::borrow::Cow;

use crate::builder::Builder;
use crate::clients::{Client, Clients};
use crate::dead::DeadReason;
use crate::extra::ExtraKind;
use crate::fingerprint::Fingerprinter;
use crate::json::{self, Kind, Span};
use crate::mask::{Masker, Own};
use crate::number::{self, NumberFault};
use crate::plan::{Identity, Plan, Source};
use crate::settings::TimeMeaning;
use crate::{route, time};

/// Why a record is a dead letter, and which field is at fault.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: DeadReason,
    pub(crate) field: Option<Cow<'static, str>>,
}

impl Refusal {
    pub(crate) fn of(reason: DeadReason) -> Self {
        Self {
            reason,
            field: None,
        }
    }

    #[cold]
    pub(crate) fn at(reason: DeadReason, field: &str) -> Self {
        Self {
            reason,
            field: Some(Cow::Owned(field.to_string())),
        }
    }

    fn number(fault: NumberFault, field: &str) -> Self {
        let reason = match fault {
            NumberFault::Unreadable => DeadReason::BadField,
            NumberFault::OutOfRange => DeadReason::OutOfRange,
        };
        Self::at(reason, field)
    }
}

/// A value read before the row is added, for the columns that need one.
#[derive(Clone, Copy, Default)]
pub(crate) enum Pending {
    /// Null, or a column whose value is taken from the payload when the row is added.
    #[default]
    Nothing,
    Integer(i64),
    Decimal(i128),
    Boolean(bool),
    Auth(&'static str),
    /// The place of an added column's value.
    At(Span),
}

/// Texts that are written anew for each row, kept to save their allocation.
#[derive(Default)]
pub(crate) struct Texts {
    pub(crate) fingerprint: String,
    pub(crate) scratch: String,
}

/// What a row's columns are made of.
pub(crate) struct Row<'a> {
    pub(crate) text: &'a str,
    pub(crate) spans: &'a [Span],
    pub(crate) event_time: i64,
    pub(crate) credential: Option<Cow<'a, str>>,
    /// Whether texts must be searched for credentials one by one.
    pub(crate) suspect: bool,
    latency_us: Option<i64>,
}

const AUTH_RESULTS: [&str; 6] = [
    "ok",
    "bad_key",
    "bad_signature",
    "expired",
    "forbidden",
    "none",
];

impl<'a> Row<'a> {
    /// Reads what can fail, but for the [`client`]. `pending` is as long as the plan's columns.
    pub(crate) fn read(
        plan: &Plan,
        meaning: TimeMeaning,
        text: &'a str,
        spans: &'a [Span],
        pending: &mut [Pending],
    ) -> Result<Self, Refusal> {
        let latency_us = match plan.latency {
            Some((us, ms)) => latency_us(text, spans[us], spans[ms])?,
            None => None,
        };
        let mut event_time = event_time(text, spans[plan.event_time])?;
        if meaning == TimeMeaning::Start {
            event_time = event_time
                .checked_add(latency_us.unwrap_or(0) / 1000)
                .ok_or(NumberFault::OutOfRange)
                .and_then(time::in_range)
                .map_err(|fault| Refusal::number(fault, "event_time"))?;
        }
        let row = Self {
            text,
            spans,
            event_time,
            credential: credential(text, spans[plan.api_key])?,
            suspect: false,
            latency_us,
        };
        for identity in &plan.identity {
            if let Identity::Member(slot, name) = *identity {
                row.check_text(spans[slot], name)?;
            }
        }
        for (column, pending) in plan.columns.iter().zip(pending) {
            *pending = row.pending(&column.source, &column.name)?;
        }
        Ok(row)
    }

    #[inline]
    fn pending(&self, source: &Source, name: &str) -> Result<Pending, Refusal> {
        Ok(match source {
            Source::Text(slot) | Source::Id(slot) | Source::Path(slot) | Source::Hashed(slot) => {
                self.check_text(self.spans[*slot], name)?;
                Pending::Nothing
            }
            Source::Route { route, path } => {
                self.check_text(self.spans[*route], "route")?;
                self.check_text(self.spans[*path], "path")?;
                Pending::Nothing
            }
            Source::SecretInUrl { members } => {
                for (slot, name) in members {
                    self.check_text(self.spans[*slot], name)?;
                }
                Pending::Nothing
            }
            Source::List { slot, .. } => {
                self.check_text(self.spans[*slot], name)?;
                Pending::Nothing
            }
            Source::Integer { slot, min, max } => {
                match self.integer(self.spans[*slot], *min, *max, name)? {
                    Some(value) => Pending::Integer(value),
                    None => Pending::Nothing,
                }
            }
            Source::Decimal(slot) => self.decimal(self.spans[*slot], name)?,
            Source::AuthResult { given, status } => {
                Pending::Auth(self.auth_result(self.spans[*given], self.spans[*status])?)
            }
            Source::Extra {
                slot, rest, kind, ..
            } => {
                let span = match rest.is_empty() {
                    true => self.spans[*slot],
                    false => json::follow(self.text, self.spans[*slot], rest),
                };
                self.extra(span, *kind, name)?
            }
            _ => Pending::Nothing,
        })
    }

    fn extra(&self, span: Span, kind: ExtraKind, name: &str) -> Result<Pending, Refusal> {
        Ok(match kind {
            ExtraKind::Text | ExtraKind::TextList => {
                self.check_text(span, name)?;
                Pending::At(span)
            }
            ExtraKind::Integer => match self.integer(span, i64::MIN, i64::MAX, name)? {
                Some(value) => Pending::Integer(value),
                None => Pending::Nothing,
            },
            ExtraKind::Decimal => self.decimal(span, name)?,
            ExtraKind::Boolean => match span.text(self.text).as_deref() {
                Some("true") => Pending::Boolean(true),
                Some("false") => Pending::Boolean(false),
                None if span.kind == Kind::Absent => Pending::Nothing,
                _ => return Err(Refusal::at(DeadReason::BadField, name)),
            },
        })
    }

    /// A text may be a text, a number or a truth value as written, or a list of these; it may not be
    /// an object.
    #[inline]
    fn check_text(&self, span: Span, name: &str) -> Result<(), Refusal> {
        match span.kind {
            Kind::Object => Err(Refusal::at(DeadReason::BadField, name)),
            Kind::Array => {
                let mut items = json::items(self.text, span);
                match items.any(|item| matches!(item.kind, Kind::Array | Kind::Object)) {
                    true => Err(Refusal::at(DeadReason::BadField, name)),
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn integer(&self, span: Span, min: i64, max: i64, name: &str) -> Result<Option<i64>, Refusal> {
        let value = integer(self.text, span).map_err(|fault| Refusal::number(fault, name))?;
        match value {
            Some(value) if value < min || value > max => {
                Err(Refusal::at(DeadReason::OutOfRange, name))
            }
            _ => Ok(value),
        }
    }

    fn decimal(&self, span: Span, name: &str) -> Result<Pending, Refusal> {
        let value = decimal(self.text, span).map_err(|fault| Refusal::number(fault, name))?;
        Ok(value.map_or(Pending::Nothing, Pending::Decimal))
    }

    fn auth_result(&self, given: Span, status: Span) -> Result<&'static str, Refusal> {
        let bad = || Refusal::at(DeadReason::BadField, "auth_result");
        if given.kind != Kind::Absent {
            let text = given.text(self.text).ok_or_else(bad)?;
            if !text.is_empty() {
                let known = AUTH_RESULTS.iter().find(|known| **known == text);
                return known.copied().ok_or_else(bad);
            }
        }
        Ok(match self.integer(status, 0, 999, "status")? {
            Some(401) => "bad_key",
            Some(403) => "forbidden",
            _ if self.credential.is_none() => "none",
            _ => "ok",
        })
    }

    /// The text of a member that was checked, a list's items joined by commas.
    fn member(&self, span: Span) -> Option<Cow<'a, str>> {
        if span.kind == Kind::Array {
            let items: Vec<_> = self.items(span).collect();
            return Some(Cow::Owned(items.join(",")));
        }
        span.text(self.text)
    }

    fn items(&self, span: Span) -> impl Iterator<Item = Cow<'a, str>> {
        let text = self.text;
        json::items(text, span).filter_map(move |item| item.text(text))
    }
}

fn event_time(text: &str, span: Span) -> Result<i64, Refusal> {
    let name = "event_time";
    let parsed = match span.kind {
        Kind::Absent => return Err(Refusal::at(DeadReason::MissingField, name)),
        Kind::Number => time::parse_ms(span.of(text)),
        Kind::Text => time::parse(span.of(text)),
        Kind::EscapedText => time::parse(span.text(text).as_deref().unwrap_or("")),
        _ => Err(NumberFault::Unreadable),
    };
    parsed.map_err(|fault| Refusal::number(fault, name))
}

/// The place of a client that is not simply a text; None for no address.
#[cold]
pub(crate) fn client(
    text: &str,
    span: Span,
    clients: &mut Clients,
) -> Result<Option<usize>, Refusal> {
    if span.kind == Kind::Absent {
        return Err(Refusal::at(DeadReason::MissingField, "client_ip"));
    }
    let written = span.text(text).filter(|_| span.kind == Kind::EscapedText);
    Ok(written.and_then(|text| {
        let sought = clients.seek(&text);
        clients.find(&text, sought)
    }))
}

fn credential(text: &str, span: Span) -> Result<Option<Cow<'_, str>>, Refusal> {
    match span.kind {
        Kind::Absent => Ok(None),
        Kind::Text | Kind::EscapedText | Kind::Number => {
            Ok(span.text(text).filter(|credential| !credential.is_empty()))
        }
        _ => Err(Refusal::at(DeadReason::BadField, "api_key")),
    }
}

/// The latency in µs: `latency_us`, or else `latency_ms`, a number with any fraction, rounded.
fn latency_us(text: &str, us: Span, ms: Span) -> Result<Option<i64>, Refusal> {
    let (value, name) = if us.kind != Kind::Absent {
        (integer(text, us), "latency_us")
    } else {
        const UNIT: i128 = 10i128.pow(number::SCALE as u32 - 3);
        let scaled = decimal(text, ms);
        let rounded = scaled.map(|value| value.map(|value| (value + UNIT / 2).div_euclid(UNIT)));
        let value = rounded.and_then(|value| match value.map(i64::try_from) {
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => Err(NumberFault::OutOfRange),
            None => Ok(None),
        });
        (value, "latency_ms")
    };
    match value {
        Ok(Some(value)) if value < 0 => Err(Refusal::at(DeadReason::OutOfRange, name)),
        value => value.map_err(|fault| Refusal::number(fault, name)),
    }
}

/// A number, or a text that holds one, as some log formats write numbers; an empty text is null.
fn integer(text: &str, span: Span) -> Result<Option<i64>, NumberFault> {
    match span.kind {
        Kind::Absent => Ok(None),
        Kind::Text if span.begin == span.end => Ok(None),
        Kind::Number | Kind::Text => number::integer(span.of(text)).map(Some),
        _ => Err(NumberFault::Unreadable),
    }
}

fn decimal(text: &str, span: Span) -> Result<Option<i128>, NumberFault> {
    match span.kind {
        Kind::Absent => Ok(None),
        Kind::Text if span.begin == span.end => Ok(None),
        Kind::Number | Kind::Text => number::decimal(span.of(text)).map(Some),
        _ => Err(NumberFault::Unreadable),
    }
}

/// What `append` needs besides the row.
pub(crate) struct Surroundings<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) masker: &'a Masker,
    pub(crate) fingerprinter: &'a Fingerprinter,
    pub(crate) client: Client<'a>,
    pub(crate) record_time: Option<i64>,
    pub(crate) offset: i64,
}

/// Adds the row to the builders, one value each but for the columns that are constant in a partition.
pub(crate) fn append(
    row: &Row<'_>,
    pending: &[Pending],
    around: &Surroundings<'_>,
    texts: &mut Texts,
    builders: &mut [Builder],
) {
    let Texts {
        fingerprint,
        scratch,
    } = texts;
    let own = row.credential.as_deref();
    let own = own.map(|credential| Own {
        credential,
        fingerprint: fingerprint.as_str(),
    });
    let masked = |text| match row.suspect {
        true => mask(around.masker, text, own),
        false => text,
    };
    let member = |slot: usize| row.member(row.spans[slot]).map(masked);
    let columns = around.plan.columns.iter().zip(pending).zip(builders);
    for ((column, pending), builder) in columns {
        match &column.source {
            Source::EventTime => builder.integer(Some(row.event_time)),
            Source::ClientIp => builder.text(Some(around.client.ip)),
            Source::ClientNet => {
                let [begin, end] = around.client.net;
                scratch.clear();
                scratch.push_str(begin);
                scratch.push_str(end);
                builder.text(Some(scratch));
            }
            Source::ApiKey => {
                let by = around
                    .plan
                    .identity
                    .iter()
                    .find_map(|identity| match *identity {
                        Identity::Fingerprint => own.map(|own| Cow::Borrowed(own.fingerprint)),
                        Identity::Member(slot, _) => member(slot).filter(|id| !id.is_empty()),
                    });
                builder.text(by.as_deref());
            }
            Source::Credential => builder.text(own.map(|own| own.fingerprint)),
            Source::AuthResult { .. } => match pending {
                Pending::Auth(result) => builder.text(Some(result)),
                _ => builder.text(None),
            },
            Source::Path(slot) => builder.text(member(*slot).as_deref().map(cut_query)),
            Source::Route { route, path } => match member(*route).filter(|r| !r.is_empty()) {
                Some(route) => builder.text(Some(&route)),
                None => match member(*path) {
                    Some(path) => {
                        route::template(cut_query(&path), scratch);
                        builder.text(Some(scratch));
                    }
                    None => builder.text(None),
                },
            },
            Source::Text(slot) => match row.spans[*slot] {
                span if span.kind == Kind::Text && !row.suspect => {
                    builder.text(Some(span.of(row.text)));
                }
                _ => builder.text(member(*slot).as_deref()),
            },
            Source::Id(slot) => {
                builder.text(member(*slot).as_deref().filter(|id| !id.is_empty()));
            }
            Source::List { slot, spaced } => {
                append_list(row, row.spans[*slot], *spaced, &masked, builder);
            }
            Source::Hashed(slot) => {
                append_hashed(
                    row,
                    row.spans[*slot],
                    around.fingerprinter,
                    scratch,
                    builder,
                );
            }
            Source::Integer { .. } => match pending {
                Pending::Integer(value) => builder.integer(Some(*value)),
                _ => builder.integer(None),
            },
            Source::Latency => builder.integer(row.latency_us),
            Source::Decimal(_) => append_pending(*pending, ExtraKind::Decimal, builder),
            Source::Extra {
                kind: kind @ (ExtraKind::Text | ExtraKind::TextList),
                hash,
                ..
            } => {
                let Pending::At(span) = *pending else {
                    continue;
                };
                match (kind, hash) {
                    (ExtraKind::Text, false) => {
                        builder.text(row.member(span).map(masked).as_deref());
                    }
                    (ExtraKind::Text, true) => {
                        append_hashed(row, span, around.fingerprinter, scratch, builder);
                    }
                    (_, false) => append_list(row, span, false, &masked, builder),
                    (_, true) => {
                        let hashed = |text: Cow<'_, str>| {
                            let mut hash = String::new();
                            around.fingerprinter.write_hash(&text, &mut hash);
                            Cow::Owned(hash)
                        };
                        append_list(row, span, false, &hashed, builder);
                    }
                }
            }
            Source::Extra { kind, .. } => append_pending(*pending, *kind, builder),
            Source::Dropped(kind) => append_pending(Pending::Nothing, *kind, builder),
            Source::SecretInUrl { members } => {
                let found = members.iter().find(|(slot, _)| {
                    row.suspect && holds_secret(row, row.spans[*slot], around.masker, own)
                });
                builder.text(found.map(|(_, name)| *name));
            }
            Source::RecordTime => builder.integer(around.record_time),
            Source::Offset => builder.integer(Some(around.offset)),
            // Gathered when the batch is finished.
            Source::Geo(_) => {}
            // The same in every row: added when the batch is finished.
            Source::Topic | Source::Partition | Source::Late => {}
        }
    }
}

fn mask<'t>(masker: &Masker, text: Cow<'t, str>, own: Option<Own<'_>>) -> Cow<'t, str> {
    match text {
        Cow::Borrowed(text) => masker.mask(text, own),
        Cow::Owned(text) => Cow::Owned(masker.mask(&text, own).into_owned()),
    }
}

fn holds_secret(row: &Row<'_>, span: Span, masker: &Masker, own: Option<Own<'_>>) -> bool {
    row.member(span)
        .is_some_and(|text| matches!(masker.mask(&text, own), Cow::Owned(_)))
}

/// The path without its query string and fragment.
fn cut_query(path: &str) -> &str {
    let end = memchr::memchr2(b'?', b'#', path.as_bytes()).unwrap_or(path.len());
    &path[..end]
}

fn append_list<'a>(
    row: &Row<'a>,
    span: Span,
    spaced: bool,
    change: &impl Fn(Cow<'a, str>) -> Cow<'a, str>,
    builder: &mut Builder,
) {
    match span.kind {
        Kind::Absent => builder.list(None::<std::iter::Empty<&str>>),
        Kind::Array => builder.list(Some(row.items(span).map(change))),
        _ if spaced => {
            let text = change(row.member(span).unwrap_or_default());
            builder.list(Some(text.split_ascii_whitespace()));
        }
        _ => builder.list(Some(row.member(span).map(change).into_iter())),
    }
}

fn append_hashed(
    row: &Row<'_>,
    span: Span,
    fingerprinter: &Fingerprinter,
    scratch: &mut String,
    builder: &mut Builder,
) {
    match row.member(span) {
        Some(text) if !text.is_empty() => {
            fingerprinter.write_hash(&text, scratch);
            builder.text(Some(scratch));
        }
        _ => builder.text(None),
    }
}

fn append_pending(pending: Pending, kind: ExtraKind, builder: &mut Builder) {
    match (kind, pending) {
        (ExtraKind::Integer, Pending::Integer(value)) => builder.integer(Some(value)),
        (ExtraKind::Integer, _) => builder.integer(None),
        (ExtraKind::Decimal, Pending::Decimal(value)) => builder.decimal(Some(value)),
        (ExtraKind::Decimal, _) => builder.decimal(None),
        (ExtraKind::Boolean, Pending::Boolean(value)) => builder.boolean(Some(value)),
        (ExtraKind::Boolean, _) => builder.boolean(None),
        (ExtraKind::Text, _) => builder.text(None),
        (ExtraKind::TextList, _) => builder.list(None::<std::iter::Empty<&str>>),
    }
}
