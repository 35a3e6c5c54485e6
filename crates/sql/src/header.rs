//! The header of a rule or view: TOML in the file's first comment. A view may go without.
//!
//! ```sql
//! /*
//! severity = "high"
//! entity   = "api_key"
//! */
//! SELECT …
//! ```

use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;

use crate::problem::{Place, Problem, SourceFile, nearest};

/// The levels that a rule's findings can have.
pub const SEVERITIES: [&str; 4] = ["low", "medium", "high", "critical"];
/// What a rule can ask the gateway to do.
pub const ACTIONS: [&str; 7] = [
    "suspend",
    "revoke",
    "lift",
    "rotate",
    "throttle",
    "restrict_network",
    "step_up",
];

/// What a rule says of itself. Only `severity` and `entity` are required.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleHeader {
    /// `low`, `medium`, `high` or `critical`.
    #[serde(default)]
    pub severity: String,
    /// The column that says whom a finding is about.
    #[serde(default)]
    pub entity: String,
    /// What to propose to the gateway. Only for a rule that reads `auth_result = 'ok'` alone.
    pub action: Option<String>,
    /// Findings of one entity within this time of each other are one alert. Default one hour.
    #[serde(default = "default_dedup", deserialize_with = "duration")]
    pub dedup: Duration,
    /// How long a suspension or restriction lasts before it is lifted. Default one hour.
    #[serde(default = "default_dedup", deserialize_with = "duration")]
    pub lift_after: Duration,
    /// For how long its OVERs know a key that is silent: a row that comes later starts the key anew.
    /// Default 400 days, or the longest frame where all are of RANGE.
    #[serde(default, deserialize_with = "retention")]
    pub retention: Option<Duration>,
    /// How much history the rule's functions over history need: for so long after a reload that left
    /// them none its findings are withheld. Default what the query says, else a day.
    #[serde(default, deserialize_with = "some_duration")]
    pub warmup: Option<Duration>,
    /// Catalogue entries: `owasp:API4:2023`, `attack:T1499`.
    #[serde(default)]
    pub tags: Vec<String>,
    /// One line for people; `{column}` stands for a column of the finding.
    pub summary: Option<String>,
    /// Where the steps for the engineer on call are written.
    pub runbook: Option<String>,
    /// Which columns explain a finding: the observed value, what was expected, how surprising.
    #[serde(default)]
    pub why: Vec<Why>,
    /// What the rule finds.
    pub finds: Option<String>,
    /// Why that matters.
    pub matters: Option<String>,
    /// What it does not find.
    pub misses: Option<String>,
    /// What innocently resembles it.
    pub resembles: Option<String>,
    /// What to do first.
    pub first_step: Option<String>,
    /// Where its thresholds come from.
    pub thresholds: Option<String>,
}

/// What a view says of itself, for those who read it. All of it is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewHeader {
    /// For how long its OVERs know a key that is silent; as in a rule.
    #[serde(default, deserialize_with = "retention")]
    pub retention: Option<Duration>,
    /// What its rows are.
    pub finds: Option<String>,
    /// What they are good for.
    pub matters: Option<String>,
    /// What they leave out.
    pub misses: Option<String>,
    /// What they are easily taken for.
    pub resembles: Option<String>,
    /// Where its thresholds come from.
    pub thresholds: Option<String>,
    /// Why it is there although no rule reads it; `check` then does not warn of that.
    pub unread: Option<String>,
}

impl RuleHeader {
    /// The retention of the file's OVERs, in milliseconds.
    pub(crate) fn retention_ms(&self) -> Option<i64> {
        self.retention.map(whole_ms)
    }
}

impl ViewHeader {
    /// The retention of the file's OVERs, in milliseconds.
    pub(crate) fn retention_ms(&self) -> Option<i64> {
        self.retention.map(whole_ms)
    }
}

fn whole_ms(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

/// One line of an alert's explanation: names of columns.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// What people call it; default the observed column's name.
    pub name: Option<String>,
    /// The column of the observed value.
    pub observed: String,
    /// The column of the expected value.
    pub expected: Option<String>,
    /// The column of the surprise.
    pub surprise: Option<String>,
}

fn default_dedup() -> Duration {
    Duration::from_secs(3600)
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| {
        serde::de::Error::custom(format!(
            "`{text}` is no duration such as \"1h\" or \"10m\": {error}"
        ))
    })
}

/// A hundred years: what is meant by more is for ever, which no state can promise.
const RETENTION_DAYS_MAX: u64 = 36_500;

fn retention<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let refused = |why: &str| {
        Err(serde::de::Error::custom(format!(
            "`{text}` is no retention: {why}"
        )))
    };
    // A unit is a month or a year if it begins so; minutes are `m`, `min` or `minutes`.
    let has_long_unit = text
        .split(|c: char| !c.is_alphabetic())
        .any(|unit| unit.starts_with('M') || unit.starts_with("mon") || unit.starts_with('y'));
    if has_long_unit {
        return refused("months and years differ in length");
    }
    let Ok(length) = humantime::parse_duration(&text) else {
        return refused("it is a length of time");
    };
    if length.is_zero() || !length.as_nanos().is_multiple_of(1_000_000) {
        return refused("it is a whole number of milliseconds, above 0");
    }
    if length > Duration::from_secs(RETENTION_DAYS_MAX * 86_400) {
        return refused("it is 36500 days at most");
    }
    Ok(Some(length))
}

fn some_duration<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// The span of the TOML inside the file's first comment, in bytes; `None` where there is none.
fn toml_span(text: &str) -> Option<Range<usize>> {
    let start = text.find(|c: char| !c.is_whitespace())?;
    let inside = start + 2;
    if !text[start..].starts_with("/*") {
        return None;
    }
    let end = text[inside..].find("*/").map(|at| inside + at)?;
    Some(inside..end)
}

/// Reads the header of a rule file.
pub fn parse_header(file: &SourceFile) -> Result<RuleHeader, Vec<Problem>> {
    let start = Place {
        line: 1,
        column: 1,
        length: 1,
    };
    let Some(span) = toml_span(&file.text) else {
        return Err(vec![
            Problem::new(
                file,
                start,
                "a rule begins with a header, and this file has none",
            )
            .help("begin it with /* severity = \"medium\"  (a line each)  entity = \"api_key\" */"),
        ]);
    };
    let header: RuleHeader = match toml::from_str(&file.text[span.clone()]) {
        Ok(header) => header,
        Err(error) => return Err(vec![toml_problem(file, span.start, &error)]),
    };
    let place = |key: &str| {
        value_place(
            file,
            key,
            match key {
                "severity" => &header.severity,
                _ => header.action.as_deref().unwrap_or_default(),
            },
        )
    };
    let mut problems = Vec::new();
    if header.severity.is_empty() {
        problems.push(
            Problem::new(file, start, "the header has no `severity`")
                .help("add severity = \"low\", \"medium\", \"high\" or \"critical\""),
        );
    } else if !SEVERITIES.contains(&header.severity.as_str()) {
        problems.push(
            Problem::new(
                file,
                place("severity"),
                format!("`{}` is no severity", header.severity),
            )
            .help("write \"low\", \"medium\", \"high\" or \"critical\""),
        );
    }
    if header.entity.is_empty() {
        problems.push(
            Problem::new(file, start, "the header has no `entity`")
                .help("add entity = \"api_key\", or whichever column says whom a finding is about"),
        );
    }
    if let Some(action) = &header.action
        && !ACTIONS.contains(&action.as_str())
    {
        let known = nearest(action, ACTIONS)
            .map_or(String::new(), |name| format!("did you mean \"{name}\"? "));
        problems.push(
            Problem::new(file, place("action"), format!("`{action}` is no action"))
                .help(format!("{known}actions are {}", ACTIONS.join(", "))),
        );
    }
    if problems.is_empty() {
        Ok(header)
    } else {
        Err(problems)
    }
}

/// Reads the header of a view file; a view without one says nothing of itself.
///
/// # Errors
/// What is no TOML, an unknown key, a value that is no text.
pub fn parse_view_header(file: &SourceFile) -> Result<ViewHeader, Vec<Problem>> {
    let Some(span) = toml_span(&file.text) else {
        return Ok(ViewHeader::default());
    };
    toml::from_str(&file.text[span.clone()])
        .map_err(|error| vec![toml_problem(file, span.start, &error)])
}

/// The place of a key of the header, or of the file's beginning.
pub(crate) fn key_place(file: &SourceFile, key: &str) -> Place {
    let start = Place {
        line: 1,
        column: 1,
        length: 1,
    };
    match key_span(file, key) {
        Some(span) => Place::of_bytes(&file.text, span.start..span.start + key.len()),
        None => start,
    }
}

/// The place of a name within a key's value: `"name"`, or `{name}` in a template.
pub(crate) fn value_place(file: &SourceFile, key: &str, name: &str) -> Place {
    let Some(span) = key_span(file, key) else {
        return key_place(file, key);
    };
    let value = &file.text[span.clone()];
    let quoted = [('"', '"'), ('\'', '\''), ('{', '}')]
        .iter()
        .filter_map(|(open, close)| value.find(&format!("{open}{name}{close}")))
        .min();
    match quoted {
        Some(at) => Place::of_bytes(
            &file.text,
            span.start + at..span.start + at + name.len() + 2,
        ),
        None => key_place(file, key),
    }
}

/// The bytes of the header from a key, at the beginning of a line, to the end of the header.
fn key_span(file: &SourceFile, key: &str) -> Option<Range<usize>> {
    let span = toml_span(&file.text)?;
    let body = &file.text[span.clone()];
    let at = body.match_indices(key).map(|(at, _)| at).find(|&at| {
        let rest = body[at + key.len()..].trim_start();
        body[..at]
            .rsplit('\n')
            .next()
            .is_some_and(|before| before.trim().is_empty())
            && rest.starts_with('=')
    })?;
    Some(span.start + at..span.end)
}

fn toml_problem(file: &SourceFile, offset: usize, error: &toml::de::Error) -> Problem {
    let span = error.span().unwrap_or(0..0);
    let place = Place::of_bytes(&file.text, offset + span.start..offset + span.end);
    let message = error.message();
    // serde names the keys that it knows after the one that it does not.
    let (said, expected) = message
        .split_once(", expected one of ")
        .unwrap_or((message, ""));
    let problem = Problem::new(file, place, format!("the header: {said}"));
    if let Some(unknown) = said
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split('`').next())
    {
        let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        return match nearest(unknown, known.iter().copied()) {
            Some(name) => problem.help(format!("did you mean `{name}`?")),
            None => problem.help(format!("there are {}", known.join(", "))),
        };
    }
    problem.help(match message {
        _ if message.contains("is no retention") => "write \"90d\" or \"12h\"",
        _ if message.contains("is no duration") => {
            "write a number and its unit: \"90s\", \"10m\", \"1h\", \"7d\""
        }
        _ if message.contains("expected a string") => "put the value in quotes",
        _ => "the comment at the top of a rule or view is TOML: key = value, text in quotes",
    })
}
