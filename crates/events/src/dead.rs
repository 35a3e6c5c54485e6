//! Dead letters: records that are no events, with the reason, and never with a credential.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::fingerprint::hex;
use crate::mask::{Masker, Own};

/// Why a record is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeadReason {
    /// The record has no value (a tombstone of a compacted topic).
    NoPayload,
    /// The payload has 4 GiB or more.
    TooLarge,
    /// The payload is not UTF-8.
    NotUtf8,
    /// The payload is not JSON.
    NotJson,
    /// JSON, but no object.
    NotAnObject,
    /// More than 127 levels of nesting.
    TooDeep,
    /// A required field is absent or null.
    MissingField,
    /// A field holds what cannot be read as its type.
    BadField,
    /// A number or time is outside its field's range.
    OutOfRange,
    /// The event time is further ahead of the record's time than the topic allows.
    FutureTime,
}

impl DeadReason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::NoPayload,
        Self::TooLarge,
        Self::NotUtf8,
        Self::NotJson,
        Self::NotAnObject,
        Self::TooDeep,
        Self::MissingField,
        Self::BadField,
        Self::OutOfRange,
        Self::FutureTime,
    ];

    /// The reason's name in dead letters and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoPayload => "no_payload",
            Self::TooLarge => "too_large",
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::TooDeep => "too_deep",
            Self::MissingField => "missing_field",
            Self::BadField => "bad_field",
            Self::OutOfRange => "out_of_range",
            Self::FutureTime => "future_time",
        }
    }
}

/// What is written to the dead-letter topic for a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Why.
    pub reason: DeadReason,
    /// The field at fault, where it is one field's.
    pub field: Option<Cow<'static, str>>,
    /// Source topic.
    pub topic: Arc<str>,
    /// Source partition.
    pub partition: i32,
    /// Source offset.
    pub offset: i64,
    /// Bytes of the payload.
    pub length: usize,
    /// SHA-256 of the payload, in hex.
    pub digest: String,
    /// The payload, redacted; only where the topic asks for it.
    pub payload: Option<String>,
}

impl DeadLetter {
    /// The letter as one JSON object:
    /// `{"schema":"keyhawk.dead_letter/1","reason","field","topic","partition","offset","length","digest","payload"}`,
    /// `field` and `payload` only where they are known.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::Map::new();
        json.insert("schema".into(), "keyhawk.dead_letter/1".into());
        json.insert("reason".into(), self.reason.as_str().into());
        if let Some(field) = &self.field {
            json.insert("field".into(), field.as_ref().into());
        }
        json.insert("topic".into(), self.topic.as_ref().into());
        json.insert("partition".into(), self.partition.into());
        json.insert("offset".into(), self.offset.into());
        json.insert("length".into(), self.length.into());
        json.insert("digest".into(), self.digest.as_str().into());
        if let Some(payload) = &self.payload {
            json.insert("payload".into(), payload.as_str().into());
        }
        serde_json::Value::Object(json).to_string()
    }
}

pub(crate) fn digest(payload: &[u8]) -> String {
    hex(&Sha256::digest(payload))
}

/// Shortest run of token characters that is replaced: shorter ones are words and names.
const RUN_LENGTH_MIN: usize = 16;
/// The same where a credential is to be expected: behind its name, and at a payload's cut-off end.
const EXPECTED_RUN_LENGTH_MIN: usize = 4;
/// What stands for a run.
const REDACTED: &str = "[redacted]";

/// The payload without anything that could be a credential: the row's own and prefixed ones are
/// replaced by fingerprints, then every run of 16 or more token characters. Shorter runs go too where
/// the record is damaged inside its credential: from the name `api_key` to the next comma or brace,
/// and at the end.
pub(crate) fn redact(payload: &[u8], masker: &Masker, own: Option<Own<'_>>) -> String {
    let text = String::from_utf8_lossy(payload);
    let masked = masker.mask(&text, own);
    let mut redacted = String::with_capacity(masked.len());
    let expected = expected_places(&masked);
    let mut run = 0..0;
    for (at, sign) in masked.char_indices() {
        if is_token(sign) {
            run.end = at + sign.len_utf8();
            continue;
        }
        push_run(&masked, run, &expected, &mut redacted);
        redacted.push(sign);
        run = at + sign.len_utf8()..at + sign.len_utf8();
    }
    push_run(&masked, run, &expected, &mut redacted);
    redacted
}

fn push_run(text: &str, run: Range<usize>, expected: &[Range<usize>], redacted: &mut String) {
    let at_end = run.end == text.len();
    let is_expected = at_end || expected.iter().any(|place| place.contains(&run.start));
    let length_min = if is_expected {
        EXPECTED_RUN_LENGTH_MIN
    } else {
        RUN_LENGTH_MIN
    };
    redacted.push_str(if run.len() >= length_min {
        REDACTED
    } else {
        &text[run]
    });
}

/// From behind each `api_key` to the next comma or brace.
fn expected_places(text: &str) -> Vec<Range<usize>> {
    const NAME: &str = "api_key";
    let begin_of = |(at, _): (usize, &str)| at + NAME.len();
    let range = |begin: usize| {
        let end = text[begin..]
            .find([',', '}'])
            .map_or(text.len(), |length| begin + length);
        begin..end
    };
    text.match_indices(NAME).map(begin_of).map(range).collect()
}

/// The signs of credentials, those that join parts of one in JSON and in base64 too, and what stands
/// for bytes that are no UTF-8.
fn is_token(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || "_-.~%+=/\\\u{fffd}".contains(sign)
}
