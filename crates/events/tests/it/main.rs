//! Tests of the crate through its public API, in one binary.

#![allow(
    clippy::disallowed_methods,
    reason = "tests read files, wait and look at the clock"
)]
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod corpus;
mod events;
mod geoip;
mod lateness;
mod secrets;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use keyhawk_events::{
    DEVELOPMENT_SECRET, Decoded, Decoder, EventsSchema, ExtraColumn, Fingerprinter, GeoDatabases,
    Record, TopicSettings, parse_events_toml,
};

/// A fingerprinter as `demo` has it, with two prefixes.
pub(crate) fn fingerprinter() -> Arc<Fingerprinter> {
    let prefixes = vec!["kh_".to_string(), "kh_live_".to_string()];
    Arc::new(Fingerprinter::new(DEVELOPMENT_SECRET, prefixes).unwrap())
}

/// A decoder's parts, to be changed before it is made.
pub(crate) struct Setup {
    pub(crate) settings: TopicSettings,
    pub(crate) extra: Vec<ExtraColumn>,
    pub(crate) columns: Option<BTreeSet<String>>,
    pub(crate) geo: GeoDatabases,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            settings: TopicSettings::new("gateway"),
            extra: Vec::new(),
            columns: None,
            geo: GeoDatabases::none(),
        }
    }
}

impl Setup {
    pub(crate) fn extra(mut self, toml: &str) -> Self {
        self.extra = parse_events_toml(toml, "events.toml").unwrap();
        self
    }

    pub(crate) fn columns(mut self, names: &[&str]) -> Self {
        self.columns = Some(names.iter().map(|name| name.to_string()).collect());
        self
    }

    pub(crate) fn decoder(&self) -> Decoder {
        let schema = Arc::new(EventsSchema::new(self.extra.clone()).unwrap());
        let columns = self.columns.as_ref();
        let settings = self.settings.clone();
        let geo = Arc::new(self.geo.clone());
        Decoder::new(schema, columns, settings, 3, fingerprinter(), geo).unwrap()
    }

    /// Decodes payloads as offsets 0, 1, …, without record times.
    pub(crate) fn decode<T: AsRef<[u8]>>(&self, payloads: &[T]) -> Decoded {
        let mut decoder = self.decoder();
        for (offset, payload) in payloads.iter().enumerate() {
            decoder.push(record(payload.as_ref(), offset as i64));
        }
        decoder.finish()
    }
}

pub(crate) fn record(payload: &[u8], offset: i64) -> Record<'_> {
    Record {
        payload: Some(payload),
        offset,
        record_time_ms: None,
    }
}

/// The value of a column in a row as text: lists with their brackets, times in ms; None for null.
pub(crate) fn cell(decoded: &Decoded, column: &str, row: usize) -> Option<String> {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::TimestampMillisecondType;
    use arrow::util::display::array_value_to_string;
    let array = decoded.events.column_by_name(column).unwrap();
    if let Some(times) = array.as_primitive_opt::<TimestampMillisecondType>() {
        return times.is_valid(row).then(|| times.value(row).to_string());
    }
    array
        .is_valid(row)
        .then(|| array_value_to_string(array, row).unwrap())
}

/// An event with the required members and these.
pub(crate) fn event(members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(r#"{{"event_time":1700000000000,"client_ip":"203.0.113.9"{comma}{members}}}"#)
}

/// A file or folder of the data that stands beside the workspace, or None, loudly.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let full = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared")
        .join(path);
    if !full.exists() {
        eprintln!("SKIPPED: {} is not there", full.display());
        return None;
    }
    Some(full)
}

/// SplitMix64: small, and the same everywhere for a seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}
