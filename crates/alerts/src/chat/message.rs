//! One alert as one message: whether to get up, decided within a minute.
//!
//! ```text
//!   [HIGH] rate_spike: …01234567 made 4,200 requests in ten minutes; 80.2 expected
//!   │ Who    api_key …01234567 · key_id 17 · tenant acme        Where  NL · AS64500 Example Net
//!   │ Why    requests 4,200 (80.2 expected, surprise 9.1)       When   12:00:00 to 12:10:00 UTC …
//!   │ First  https://runbooks.example/rate_spike
//!   │ alert 00ff… · prod
//! ```

use serde_json::{Map, Value, json};

use crate::alert::{Alert, Entity};
use crate::readable;
use crate::rule::Severity;
use crate::time::TimeMs;

use super::ChatConfig;
use super::text::{shown, shown_value};

const SUMMARY_CHARS_MAX: usize = 400;
const NAME_CHARS_MAX: usize = 80;
const RUNBOOK_CHARS_MAX: usize = 400;
const REASONS_MAX: usize = 4;

/// The body of the webhook's request for one alert. Its size is bounded whatever the alert holds:
/// below 20 KB, and seldom above 2 KB.
pub fn message(alert: &Alert, config: &ChatConfig) -> Value {
    let summary = shown(&alert.summary, config, SUMMARY_CHARS_MAX);
    let again = if alert.count > 1 {
        let times = readable::value("count", &json!(alert.count));
        format!(", again, {times} times since {}", clock(alert.first_seen))
    } else {
        String::new()
    };
    let rule = shown(&alert.rule, config, NAME_CHARS_MAX);
    let text = format!("{}{rule}{again}: {summary}", tag(alert.severity));

    let mut fields = vec![field("Who", &who(&alert.entity, config), true)];
    fields.extend(place(&alert.row, config).map(|place| field("Where", &place, true)));
    if config.show_address
        && let Some(address) = alert
            .row
            .get("client_ip")
            .filter(|address| !address.is_null())
    {
        fields.push(field(
            "Address",
            &shown_value("client_ip", address, config),
            true,
        ));
    }
    if !alert.why.is_empty() {
        fields.push(field("Why", &why(alert, config), false));
    }
    fields.push(field("When", &when(alert), false));
    if let Some(runbook) = &alert.runbook {
        fields.push(field(
            "First",
            &shown(runbook, config, RUNBOOK_CHARS_MAX),
            false,
        ));
    }
    json!({
        "text": text,
        "attachments": [{
            "color": color(alert.severity),
            "fallback": text,
            "fields": fields,
            "footer": format!(
                "alert {} · {}",
                shown(&alert.id, config, NAME_CHARS_MAX),
                shown(&alert.deployment, config, NAME_CHARS_MAX),
            ),
        }],
    })
}

/// `[HIGH] `.
pub(super) fn tag(severity: Severity) -> String {
    format!("[{}] ", severity.as_str().to_uppercase())
}

/// Red for what must be acted on, grey for what need not; told apart by the tag as well.
pub(super) fn color(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "#7a7f87",
        Severity::Medium => "#d99a00",
        Severity::High => "#d2422e",
        Severity::Critical => "#8c1020",
    }
}

pub(super) fn field(title: &str, value: &str, short: bool) -> Value {
    json!({ "title": title, "value": value, "short": short })
}

/// Whom an alert is about, in one line.
pub(super) fn who(entity: &Entity, config: &ChatConfig) -> String {
    let value = entity.value.as_deref().unwrap_or("unknown");
    let mut who = format!(
        "{} {}",
        shown(&entity.kind, config, NAME_CHARS_MAX),
        shown(value, config, NAME_CHARS_MAX)
    );
    let more = [
        ("key_id", &entity.key_id),
        ("tenant", &entity.tenant),
        ("environment", &entity.environment),
    ];
    for (title, name) in more {
        if let Some(name) = name.as_deref().filter(|name| *name != value) {
            who.push_str(&format!(
                " · {title} {}",
                shown(name, config, NAME_CHARS_MAX)
            ));
        }
    }
    who
}

/// Country and network operator, as far as the row knows them.
fn place(row: &Map<String, Value>, config: &ChatConfig) -> Option<String> {
    let get = |column: &str| {
        let value = row.get(column).filter(|value| !value.is_null())?;
        Some(shown(
            &readable::value(column, value),
            config,
            NAME_CHARS_MAX,
        ))
    };
    let operator = match (get("asn").map(|asn| format!("AS{asn}")), get("as_org")) {
        (Some(asn), Some(name)) => Some(format!("{asn} {name}")),
        (asn, name) => asn.or(name),
    };
    let parts: Vec<_> = [get("country"), operator].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" · "))
}

/// A line a reason.
fn why(alert: &Alert, config: &ChatConfig) -> String {
    let lines = alert.why.iter().take(REASONS_MAX).map(|why| {
        let mut usual = Vec::new();
        if !why.expected.is_null() {
            usual.push(format!(
                "{} expected",
                shown_value("expected", &why.expected, config)
            ));
        }
        if !why.surprise.is_null() {
            usual.push(format!(
                "surprise {}",
                shown_value("surprise", &why.surprise, config)
            ));
        }
        let usual = if usual.is_empty() {
            String::new()
        } else {
            format!(" ({})", usual.join(", "))
        };
        let name = shown(&why.name, config, NAME_CHARS_MAX);
        format!(
            "{name} {}{usual}",
            shown_value(&why.name, &why.observed, config)
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The window shown, or the time from the first finding to the last.
fn when(alert: &Alert) -> String {
    let (from, to) = match (alert.window_start, alert.window_end) {
        (Some(start), Some(end)) => (start, end),
        _ => (alert.first_seen, alert.last_seen),
    };
    let day = from.to_string()[..10].to_owned();
    if from == to {
        format!("{day}, {}", clock(from))
    } else if to.to_string().starts_with(&day) {
        format!(
            "{day}, {} to {}",
            clock(from).trim_end_matches(" UTC"),
            clock(to)
        )
    } else {
        format!(
            "{day}, {} to {}, {}",
            clock(from),
            &to.to_string()[..10],
            clock(to)
        )
    }
}

/// `12:00:07 UTC`.
fn clock(time: TimeMs) -> String {
    format!("{} UTC", &time.to_string()[11..19])
}
