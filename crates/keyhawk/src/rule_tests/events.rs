//! The events of a case, from a few words each to the lines that a gateway would send.
//!
//! ```text
//!   { at = "1h", repeat = 2, every = "5s", place = "Lagos" }
//!     ─▶ {"event_time":…01:00:00,"client_ip":"198.18.9.1","key_id":"k1","auth_result":"ok"}
//!     ─▶ {"event_time":…01:00:05,"client_ip":"198.18.9.1","key_id":"k1","auth_result":"ok"}
//! ```

use std::collections::BTreeSet;
use std::ops::Range;

use keyhawk_events::EventsSchema;
use keyhawk_sql::nearest;
use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::case::{Node, Reader};
use crate::simulate::{NetworkKind, Networks};

/// Monday, 2 March 2026, 0:00 UTC: where the times of all cases begin.
pub(super) const START_MS: i64 = 1_772_409_600_000;
const DAY_MS: i64 = 86_400_000;
/// The last time of a case after its start: ten years.
const SPAN_MS_MAX: i64 = 3_653 * DAY_MS;
/// The most events of one entry: what makes a case of seconds, and no more.
const EVENTS_MAX: i64 = 1_000_000;

/// The fields of an entry that are no fields of an event.
const OURS: [&str; 7] = ["at", "repeat", "every", "days", "place", "network", "nth"];

/// The columns of `events` that no event brings with it.
const MADE: [&str; 20] = [
    "event_time",
    "client_net",
    "credential",
    "country",
    "subdivision",
    "city",
    "latitude",
    "longitude",
    "accuracy_radius_km",
    "asn",
    "as_org",
    "ip_kind",
    "is_anonymous",
    "is_hosting",
    "secret_in_url",
    "record_time",
    "_topic",
    "_partition",
    "_offset",
    "late",
];

const KINDS: [(&str, NetworkKind); 7] = [
    ("mobile", NetworkKind::Mobile),
    ("residential", NetworkKind::Residential),
    ("office", NetworkKind::Office),
    ("hosting", NetworkKind::Hosting),
    ("vpn", NetworkKind::Vpn),
    ("tor", NetworkKind::Tor),
    ("relay", NetworkKind::Relay),
];

/// What an entry may say.
pub(super) struct Vocabulary {
    /// The fields of an event.
    fields: BTreeSet<String>,
    networks: Networks,
}

impl Vocabulary {
    /// That of a table of events, with the columns of `events.toml`.
    pub(super) fn new(schema: &EventsSchema) -> Self {
        let extra = schema.extra();
        let is_extra = |name: &str| extra.iter().any(|column| column.name == name);
        let native = schema.arrow().fields().iter().map(|field| field.name());
        let native = native.filter(|name| !is_extra(name) && !MADE.contains(&name.as_str()));
        // Of a pointer's path the first token is a field of the event.
        let tokens = extra
            .iter()
            .filter_map(|column| column.pointer.split('/').nth(1));
        let tokens = tokens.map(|token| token.replace("~1", "/").replace("~0", "~"));
        let latency = std::iter::once("latency_ms".to_owned());
        Vocabulary {
            fields: native.cloned().chain(tokens).chain(latency).collect(),
            networks: Networks::shipped(),
        }
    }
}

/// An entry of `events`: one event, or many that differ in their times alone.
pub(super) struct Entry {
    /// Where it stands in the file.
    pub(super) span: Range<usize>,
    /// The event as JSON, without its opening brace and without its time.
    rest: String,
    at_ms: i64,
    every_ms: i64,
    repeat: i64,
    days: i64,
}

impl Entry {
    /// The times, in ms since 1970, and lines of its events.
    pub(super) fn lines(&self) -> impl Iterator<Item = (i64, String)> {
        let day =
            move |day: i64| (0..self.repeat).map(move |nth| day * DAY_MS + nth * self.every_ms);
        let offsets = (0..self.days).flat_map(day);
        offsets.map(|offset_ms| {
            let time_ms = START_MS + self.at_ms + offset_ms;
            (time_ms, format!("{{\"event_time\":{time_ms},{}", self.rest))
        })
    }
}

/// Reads an entry; what is wrong with it goes to the reader.
pub(super) fn read(
    node: &Node<'_>,
    vocabulary: &Vocabulary,
    reader: &mut Reader<'_>,
) -> Option<Entry> {
    let table = node.get_ref().as_table()?;
    let mut event = Map::new();
    if let Some(address) = address(table, node, vocabulary, reader) {
        event.insert("client_ip".to_owned(), Value::from(address));
    }
    if !table.contains_key("api_key") {
        event.insert("key_id".to_owned(), Value::from("k1"));
    }
    event.insert("auth_result".to_owned(), Value::from("ok"));
    for (key, value) in table {
        let name: &str = key.get_ref();
        if vocabulary.fields.contains(name) {
            event.insert(name.to_owned(), reader.json(value).unwrap_or_default());
        } else if !OURS.contains(&name) {
            let (message, help) = unknown(name, vocabulary);
            reader.wrong(key.span(), message, help);
        }
    }
    // All of them, so that all that is wrong is said at once.
    let times = (
        duration_ms(table, "at", 0, reader),
        duration_ms(table, "every", 60_000, reader),
        count(table, "repeat", reader),
        count(table, "days", reader),
    );
    let (Some(at_ms), Some(every_ms), Some(repeat), Some(days)) = times else {
        return None;
    };
    if repeat.saturating_mul(days) > EVENTS_MAX {
        let message = format!("this makes more than {EVENTS_MAX} events");
        reader.wrong(node.span(), message, "write a smaller `repeat` or `days`");
        return None;
    }
    let last_ms = (repeat - 1)
        .saturating_mul(every_ms)
        .saturating_add((days - 1).saturating_mul(DAY_MS))
        .saturating_add(at_ms);
    if last_ms > SPAN_MS_MAX {
        let message = "the last of these events is more than ten years after the first day";
        reader.wrong(
            node.span(),
            message,
            "write a smaller `at`, `every` or `days`",
        );
        return None;
    }
    let json = Value::from(event).to_string();
    Some(Entry {
        span: node.span(),
        rest: json.strip_prefix('{').unwrap_or(&json).to_owned(),
        at_ms,
        every_ms,
        repeat,
        days,
    })
}

/// What is wrong with a field that events do not have, and what may have been meant.
fn unknown(name: &str, vocabulary: &Vocabulary) -> (String, String) {
    if name == "event_time" {
        let message = "an event of a test has no `event_time`".to_owned();
        return (message, "write its time as at = \"1h\"".to_owned());
    }
    if MADE.contains(&name) {
        let message = format!("no event brings `{name}`: Keyhawk makes it");
        let help = "it follows from place = \"…\", network = \"…\" or client_ip = \"…\" for what is known of an \
                    address, and from the other fields for the rest";
        return (message, help.to_owned());
    }
    let known = OURS
        .into_iter()
        .chain(vocabulary.fields.iter().map(String::as_str));
    let help = match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            "README.md lists the fields of an event; more are declared in events.toml".to_owned()
        }
    };
    (format!("an event has no `{name}`"), help)
}

/// The address that place, network and number mean; none where the event names its own.
fn address(
    table: &DeTable<'_>,
    node: &Node<'_>,
    vocabulary: &Vocabulary,
    reader: &mut Reader<'_>,
) -> Option<String> {
    if table.contains_key("client_ip") {
        for name in ["place", "network", "nth"] {
            if let Some(value) = table.get(name) {
                let message = format!("`{name}` chooses an address, and `client_ip` is one");
                reader.wrong(value.span(), message, "write one or the other");
            }
        }
        return None;
    }
    let place = text(table, "place", "Berlin", reader)?;
    let network = text(table, "network", "residential", reader)?;
    let nth = count(table, "nth", reader)?;
    let span = |name: &str| table.get(name).map_or(node.span(), Spanned::span);
    let networks = &vocabulary.networks;
    let names = || networks.cities.iter().map(|city| city.name.as_str());
    let Some(city) = networks.cities.iter().position(|city| city.name == place) else {
        let help = match nearest(&place, names()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
        };
        let message = format!("the demo's databases have no \"{place}\"");
        reader.wrong(span("place"), message, help);
        return None;
    };
    let Some((_, kind)) = KINDS.iter().find(|(name, _)| *name == network) else {
        let kinds: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        let help = match nearest(&network, kinds.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("there are {}", kinds.join(", ")),
        };
        let message = format!("\"{network}\" is no kind of network");
        reader.wrong(span("network"), message, help);
        return None;
    };
    let Some(found) = networks.of(*kind, city).first().copied() else {
        let others = KINDS
            .iter()
            .filter(|(_, kind)| !networks.of(*kind, city).is_empty());
        let others: Vec<&str> = others.map(|(name, _)| *name).collect();
        let message = format!("the demo's databases have no {network} network in {place}");
        let help = format!("in {place} there are {}", others.join(", "));
        reader.wrong(span("network"), message, help);
        return None;
    };
    let host = nth.unsigned_abs() - 1;
    if host >= found.hosts() {
        let message = format!("this network has {} addresses", found.hosts());
        reader.wrong(span("nth"), message, "write a smaller `nth`");
        return None;
    }
    Some(found.address(host).to_string())
}

fn text(table: &DeTable<'_>, name: &str, default: &str, reader: &mut Reader<'_>) -> Option<String> {
    let Some(node) = table.get(name) else {
        return Some(default.to_owned());
    };
    let text = node.get_ref().as_str();
    if text.is_none() {
        reader.wrong_type(node, name, "a text");
    }
    text.map(str::to_owned)
}

/// A number from 1, which is the default.
fn count(table: &DeTable<'_>, name: &str, reader: &mut Reader<'_>) -> Option<i64> {
    let Some(node) = table.get(name) else {
        return Some(1);
    };
    let number = node.get_ref().as_integer();
    let number =
        number.and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
    let number = number.filter(|number| *number >= 1);
    if number.is_none() {
        let message = format!("`{name}` takes a whole number from 1");
        reader.wrong(node.span(), message, format!("write {name} = 1, or more"));
    }
    number
}

fn duration_ms(
    table: &DeTable<'_>,
    name: &str,
    default: i64,
    reader: &mut Reader<'_>,
) -> Option<i64> {
    let Some(node) = table.get(name) else {
        return Some(default);
    };
    let read = match node.get_ref() {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
        DeValue::String(text) => offset_ms(text),
        _ => None,
    };
    let read = read.filter(|ms| *ms >= 0);
    if read.is_none() {
        let message =
            format!("`{name}` takes a time such as \"10m\" or \"3d 2h\", or milliseconds");
        let help = "write numbers with units (ms, s, m, h, d), or a whole number of milliseconds";
        reader.wrong(node.span(), message, help);
    }
    read
}

/// The milliseconds of `"3d 2h"` or `"+10m"`.
pub(super) fn offset_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    let duration = humantime::parse_duration(text.strip_prefix('+').unwrap_or(text)).ok()?;
    i64::try_from(duration.as_millis()).ok()
}
