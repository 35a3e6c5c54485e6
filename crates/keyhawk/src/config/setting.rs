//! How each type of value is read from TOML.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use keyhawk_alerts::{Action, Mode};
use toml::Spanned;
use toml::de::DeValue;

use keyhawk_connectors::kafka::StartAt;

use super::{IdentityField, LogFormat, SecretSource, TopicTime};

/// A type that a key can have.
pub(super) trait Setting: Sized {
    /// Reads a value.
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong>;
}

/// What is wrong with a value, and which bytes of the file to point at.
#[derive(Debug)]
pub(super) enum Wrong {
    /// The value does not fit, for this reason.
    Value(Range<usize>, String),
    /// A secret in plain text.
    PlainSecret(Range<usize>),
}

/// The value is of another type than asked for.
fn type_error<T>(value: &Spanned<DeValue<'_>>, wanted: &str) -> Result<T, Wrong> {
    let found = value.get_ref().type_str();
    Err(Wrong::Value(
        value.span(),
        format!("expected {wanted}, found {} {found}", article(found)),
    ))
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    }
}

/// Reads a text by `FromStr`-like means, saying what it should have been.
fn from_text<T>(
    value: &Spanned<DeValue<'_>>,
    wanted: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Wrong> {
    let Some(text) = value.get_ref().as_str() else {
        return type_error(value, wanted);
    };
    parse(text)
        .ok_or_else(|| Wrong::Value(value.span(), format!("expected {wanted}, found {text:?}")))
}

/// One of a few words.
fn one_of<T: Copy>(value: &Spanned<DeValue<'_>>, words: &[(&str, T)]) -> Result<T, Wrong> {
    let names: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    from_text(value, &names.join(" or "), |text| {
        words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, meaning)| *meaning)
    })
}

impl Setting for String {
    /// No key of ours means anything by an empty text.
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        from_text(value, "a text that is not empty", |text| {
            (!text.trim().is_empty()).then(|| text.to_owned())
        })
    }
}

impl Setting for bool {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        value
            .get_ref()
            .as_bool()
            .map_or_else(|| type_error(value, "true or false"), Ok)
    }
}

/// A whole number in decimal digits.
fn whole<T: FromStr>(value: &Spanned<DeValue<'_>>) -> Result<T, Wrong> {
    let wanted = "a whole number, zero or more";
    let Some(number) = value.get_ref().as_integer() else {
        return type_error(value, wanted);
    };
    if number.radix() != 10 {
        return Err(Wrong::Value(
            value.span(),
            format!("expected {wanted}, in decimal digits"),
        ));
    }
    number.as_str().parse().map_err(|_| {
        Wrong::Value(
            value.span(),
            format!("expected {wanted}, found {}", number.as_str()),
        )
    })
}

impl Setting for u32 {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        whole(value)
    }
}

impl Setting for usize {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        whole(value)
    }
}

impl Setting for Duration {
    /// A number alone says no unit, so it is refused.
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        from_text(
            value,
            "a duration such as \"5m\", \"250ms\" or \"1.5s\"",
            |text| humantime::parse_duration(text).ok(),
        )
    }
}

impl Setting for ByteSize {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        from_text(value, "a size such as \"64MiB\" or \"500kB\"", |text| {
            text.parse().ok()
        })
    }
}

impl Setting for PathBuf {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        String::read(value).map(Self::from)
    }
}

impl Setting for SocketAddr {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        from_text(
            value,
            "an address and a port such as \"127.0.0.1:9187\"",
            |text| text.parse().ok(),
        )
    }
}

/// A list. Paths may also stand alone, since one database is the usual case.
impl<T: ListItem> Setting for Vec<T> {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        match value.get_ref().as_array() {
            Some(items) => items.iter().map(T::read).collect(),
            None if T::MAY_STAND_ALONE && value.get_ref().is_str() => Ok(vec![T::read(value)?]),
            None => type_error(value, "a list"),
        }
    }
}

/// What lists are made of.
pub(super) trait ListItem: Setting {
    /// Whether a single text is taken for a list of one.
    const MAY_STAND_ALONE: bool = false;
}

impl ListItem for String {}
impl ListItem for IdentityField {}
impl ListItem for Action {}
impl ListItem for PathBuf {
    const MAY_STAND_ALONE: bool = true;
}

impl Setting for IdentityField {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let words = [
            ("key_id", Self::KeyId),
            ("api_key", Self::ApiKey),
            ("consumer_id", Self::ConsumerId),
        ];
        one_of(value, &words)
    }
}

impl Setting for TopicTime {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        one_of(value, &[("end", Self::End), ("start", Self::Start)])
    }
}

impl Setting for StartAt {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        one_of(
            value,
            &[("earliest", Self::Earliest), ("latest", Self::Latest)],
        )
    }
}

impl Setting for Mode {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        one_of(value, &[("shadow", Self::Shadow), ("auto", Self::Auto)])
    }
}

impl Setting for Action {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        one_of(value, &Self::ALL.map(|action| (action.as_str(), action)))
    }
}

impl Setting for LogFormat {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        one_of(value, &[("text", Self::Text), ("json", Self::Json)])
    }
}

impl Setting for SecretSource {
    fn read(value: &Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let Some(table) = value.get_ref().as_table() else {
            return match value.get_ref() {
                DeValue::String(_) | DeValue::Integer(_) | DeValue::Array(_) => {
                    Err(Wrong::PlainSecret(value.span()))
                }
                _ => type_error(value, "a table with `file` or `env`"),
            };
        };
        let mut entries = table.iter();
        match (entries.next(), entries.next()) {
            (Some((key, value)), None) if key.get_ref() == "file" => {
                PathBuf::read(value).map(Self::File)
            }
            (Some((key, value)), None) if key.get_ref() == "env" => {
                String::read(value).map(Self::Env)
            }
            _ => {
                let reason = "expected a table with `file` or `env`, and nothing else".to_owned();
                Err(Wrong::Value(value.span(), reason))
            }
        }
    }
}
