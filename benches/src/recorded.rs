//! Recorded traffic: a real web server's access log as events.
//!
//! The log is `elastic-examples/apache_logs` of the data that stands beside the workspace: 10,000 lines
//! in Apache's combined format, four days of May 2015, 1,753 addresses, the seconds within a minute
//! shuffled. A web log has no keys, so each address is given a credential of its own. It is short, so it
//! is played several times, each time four days later.

use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use crate::Result;
use crate::log::Log;

/// The days that the log covers, 17 to 20 May.
const SPAN_MS: i64 = 4 * 86_400_000;
/// Lines stand less than a minute behind an earlier line's time.
const BOUND_MS: i64 = 60_000;

/// The log played `passes` times; None where the file is absent.
///
/// # Errors
/// A file that cannot be read; a line in another format.
pub fn web_log(passes: usize) -> Result<Option<Log>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data/elastic-examples/apache_logs");
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(path)?;
    let lines: Vec<Line<'_>> = text
        .lines()
        .enumerate()
        .map(|(index, line)| {
            Line::parse(line).ok_or_else(|| format!("line {}: not a combined log line", index + 1))
        })
        .collect::<std::result::Result<_, _>>()?;
    let mut log = Log::new(BOUND_MS);
    let mut latest_ms = i64::MIN;
    for pass in 0..passes {
        let later_ms = SPAN_MS * pass as i64;
        for line in &lines {
            let time_ms = line.time_ms + later_ms;
            latest_ms = latest_ms.max(time_ms);
            log.push(latest_ms, |out| line.write_json(time_ms, out));
        }
    }
    Ok(Some(log))
}

/// A line of the combined log format.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    address: &'a str,
    time_ms: i64,
    method: &'a str,
    path: &'a str,
    protocol: &'a str,
    status: u16,
    /// `-` where there was no body.
    bytes: u64,
    referer: &'a str,
    agent: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (head, rest) = line.split_once(" [")?;
        let address = head.split(' ').next()?;
        let (time, rest) = rest.split_once("] \"")?;
        let (request, rest) = rest.split_once("\" ")?;
        let mut request = request.split(' ');
        let (numbers, texts) = rest.split_once(" \"").unwrap_or((rest, ""));
        let (status, bytes) = numbers.split_once(' ')?;
        let (referer, agent) = texts.split_once("\" \"").unwrap_or((texts, ""));
        Some(Line {
            address,
            time_ms: time_ms(time)?,
            method: request.next()?,
            path: request.next()?,
            protocol: request.next()?,
            status: status.parse().ok()?,
            bytes: bytes.parse().unwrap_or(0),
            referer,
            agent: agent.trim_end_matches('"'),
        })
    }

    fn write_json(&self, time_ms: i64, out: &mut Vec<u8>) {
        let time = UNIX_EPOCH + Duration::from_millis(time_ms.max(0) as u64);
        let owner = self.address.replace(['.', ':'], "-");
        let event = json!({
            "event_time": humantime::format_rfc3339_millis(time).to_string(),
            "client_ip": self.address,
            "api_key": format!("kh_live_{owner}-0123456789abcdef"),
            "method": self.method,
            "path": self.path,
            "protocol": self.protocol,
            "status": self.status,
            "response_bytes": self.bytes,
            "referer": self.referer,
            "user_agent": self.agent,
        });
        serde_json::to_writer(out, &event).expect("a write to memory does not fail");
    }
}

/// The milliseconds since 1970 of `17/May/2015:10:05:03 +0000`; the log is in UTC throughout.
fn time_ms(text: &str) -> Option<i64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let local = text.strip_suffix(" +0000")?;
    let (date, time) = local.split_once(':')?;
    let mut date = date.split('/');
    let (day, month, year) = (date.next()?, date.next()?, date.next()?);
    let month = MONTHS.find(month)? / 3 + 1;
    let time = humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).ok()?;
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_combined_line_is_read() {
        let line = concat!(
            r#"203.0.113.7 - - [17/May/2015:10:05:03 +0000] "GET /a?b=c HTTP/1.1" 200 203023 "#,
            r#""http://example.com/" "Agent/1.0 (a; b)""#
        );
        let expected = Line {
            address: "203.0.113.7",
            time_ms: 1_431_857_103_000,
            method: "GET",
            path: "/a?b=c",
            protocol: "HTTP/1.1",
            status: 200,
            bytes: 203_023,
            referer: "http://example.com/",
            agent: "Agent/1.0 (a; b)",
        };
        assert_eq!(Line::parse(line), Some(expected));
        assert_eq!(Line::parse("not a log line"), None);
    }
}
