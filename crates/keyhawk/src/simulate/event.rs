//! One simulated call, and how it is written as the JSON object that a gateway would log.

use std::fmt;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use super::population::Key;
use super::routes::Route;

/// A raw API key. `Debug` shows none of it.
#[derive(Clone, Eq, PartialEq)]
pub struct Credential(pub(super) Box<str>);

impl Credential {
    /// The raw text: a secret, for writing events only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(hidden)")
    }
}

/// What the gateway decided about a call's credential.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Auth {
    /// Accepted.
    Ok,
    /// There is no such key.
    BadKey,
    /// The key exists; the call was not signed with its secret.
    BadSignature,
    /// The key has expired.
    Expired,
    /// The key is good, the call not allowed to it.
    Forbidden,
    /// There was no credential.
    None,
}

impl Auth {
    /// As the event writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Auth::Ok => "ok",
            Auth::BadKey => "bad_key",
            Auth::BadSignature => "bad_signature",
            Auth::Expired => "expired",
            Auth::Forbidden => "forbidden",
            Auth::None => "none",
        }
    }
}

/// By whom a call is, as far as the gateway can tell.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// With a key's own credential.
    Key(Arc<Key>),
    /// Under a key's public id, with another credential.
    Pretender(Arc<Key>, Credential),
    /// Without any.
    Stranger,
}

/// One call, in memory; [`write_json`](Self::write_json) gives the line.
#[derive(Clone, Debug)]
pub struct SimulatedEvent {
    /// When the response ended, milliseconds since 1970 UTC.
    pub event_time_ms: i64,
    /// When it reached the log, at most five seconds later: events come in this order, and a Kafka
    /// record would carry it as its timestamp.
    pub arrival_ms: i64,
    /// Where it lies, so that one identity's events all lie together.
    pub partition: u32,
    /// Which of the scenario's attacks it belongs to, by index; not part of the written line.
    pub attack: Option<usize>,
    /// The caller's address.
    pub client_ip: IpAddr,
    /// The gateway's verdict.
    pub auth: Auth,
    /// The HTTP status.
    pub status: u16,
    pub(super) caller: Caller,
    pub(super) route: &'static Route,
    /// The number of the object in the path, or of the page.
    pub(super) object: u64,
    pub(super) user_agent: &'static str,
    pub(super) event_id: u64,
    pub(super) request_id: u64,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) latency_us: u64,
}

impl SimulatedEvent {
    /// The key that the call is under, rightly or not; none for a call without one.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        match &self.caller {
            Caller::Key(key) | Caller::Pretender(key, _) => Some(key),
            Caller::Stranger => None,
        }
    }

    /// Appends the event as one line of NDJSON, its newline included, some 450 bytes. Holds the raw
    /// credential, as the logs of gateways do.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"event_id\":\"ev_");
        push_hex(out, self.event_id);
        out.extend_from_slice(b"\",\"event_time\":\"");
        push_time(out, self.event_time_ms);
        out.extend_from_slice(b"\",\"client_ip\":\"");
        write!(out, "{}", self.client_ip).expect("a write to memory does not fail");
        out.push(b'"');
        match &self.caller {
            Caller::Key(key) => {
                push_text(out, "api_key", key.credential.expose());
                push_names(out, key);
            }
            Caller::Pretender(key, credential) => {
                push_text(out, "api_key", credential.expose());
                push_names(out, key);
            }
            Caller::Stranger => {}
        }
        push_text(out, "auth_result", self.auth.name());
        push_text(out, "method", self.route.method);
        out.extend_from_slice(b",\"path\":\"");
        self.push_path(out);
        out.push(b'"');
        push_text(out, "route", self.route.template);
        push_number(out, "status", u64::from(self.status));
        push_number(out, "request_bytes", self.request_bytes);
        push_number(out, "response_bytes", self.response_bytes);
        push_number(out, "latency_us", self.latency_us);
        push_text(out, "user_agent", self.user_agent);
        out.extend_from_slice(b",\"request_id\":\"req_");
        push_hex(out, self.request_id);
        out.extend_from_slice(b"\"}\n");
    }

    fn push_path(&self, out: &mut Vec<u8>) {
        let template = self.route.template;
        match template.split_once("{id}") {
            Some((before, after)) => {
                out.extend_from_slice(before.as_bytes());
                push_decimal(out, self.object);
                out.extend_from_slice(after.as_bytes());
            }
            None => out.extend_from_slice(template.as_bytes()),
        }
        if self.route.paged {
            out.extend_from_slice(b"?page=");
            push_decimal(out, 1 + self.object % 9);
            out.extend_from_slice(b"&page_size=50");
        }
    }
}

fn push_names(out: &mut Vec<u8>, key: &Key) {
    if let Some(key_id) = &key.key_id {
        push_text(out, "key_id", key_id);
    }
    push_text(out, "consumer_id", &key.consumer_id);
    push_text(out, "tenant", key.tenant);
}

/// A text member; the simulation's texts hold nothing that JSON would escape.
fn push_text(out: &mut Vec<u8>, name: &str, value: &str) {
    debug_assert!(
        value
            .bytes()
            .all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\')
    );
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

fn push_number(out: &mut Vec<u8>, name: &str, value: u64) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    push_decimal(out, value);
}

fn push_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

fn push_hex(out: &mut Vec<u8>, value: u64) {
    for byte in value.to_be_bytes() {
        out.push(b"0123456789abcdef"[usize::from(byte >> 4)]);
        out.push(b"0123456789abcdef"[usize::from(byte & 15)]);
    }
}

/// RFC 3339 in UTC with milliseconds; right from 1970 to 9999.
fn push_time(out: &mut Vec<u8>, time_ms: i64) {
    let time_ms = time_ms.max(0) as u64;
    let (year, month, day) = civil_date(time_ms / 86_400_000);
    let in_day_ms = time_ms % 86_400_000;
    for (value, width, after) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (in_day_ms / 3_600_000, 2, b':'),
        (in_day_ms / 60_000 % 60, 2, b':'),
        (in_day_ms / 1000 % 60, 2, b'.'),
        (in_day_ms % 1000, 3, b'Z'),
    ] {
        for place in (0..width).rev() {
            out.push(b'0' + (value / 10_u64.pow(place) % 10) as u8);
        }
        out.push(after);
    }
}

/// Year, month and day of a number of days since 1970.
fn civil_date(days: u64) -> (u64, u64, u64) {
    // Years are counted from March, so that the leap day is a year's last; 719,468 days lie between
    // 0000-03-01 and 1970-01-01, and 400 years hold 146,097.
    let days = days + 719_468;
    let (era, in_era) = (days / 146_097, days % 146_097);
    let year_of_era = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // From March on, months have 31, 30, 31, 30, 31 days, over and over: 153 in five.
    let month_from_march = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_written_as_rfc_3339() {
        for (time_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_772_409_600_000, "2026-03-02T00:00:00.000Z"),
            (1_798_761_599_999, "2026-12-31T23:59:59.999Z"),
        ] {
            let mut out = Vec::new();
            push_time(&mut out, time_ms);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn debug_output_hides_a_credential() {
        let credential = Credential("kh_live_secret".into());
        assert_eq!(format!("{credential:?}"), "Credential(hidden)");
    }
}
