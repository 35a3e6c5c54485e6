//! `demo`: five days of made-up traffic through the real pipeline, and a table of what was found.
//!
//! The traffic is generated line by line, as a file of it would be read; each partition of it has a
//! decoder, a machine and a dedup of its own, as under `run`.

use std::sync::Arc;
use std::time::Instant;

use comfy_table::{ContentArrangement, Table, presets};
use keyhawk_alerts::{Alert, Emitted, Severity};
use keyhawk_events::{DEVELOPMENT_SECRET, Fingerprinter, Record, TopicSettings};

use crate::cli::DemoArgs;
use crate::commands::{CommandResult, Failure, status};
use crate::demo_geoip;
use crate::partition::{Partition, Processed};
use crate::rule_set::RuleTexts;
use crate::simulate::{self, Expected, Label, Scenario};

/// How much of the traffic is taken in at once: alerts appear in about the order of their times.
const SLICE_MS: i64 = 10 * 60_000;
/// An alert up to this long after an attack's end still belongs to it: a window has to close.
const GRACE_MS: i64 = 30 * 60_000;

pub(crate) fn run(args: &DemoArgs) -> CommandResult {
    let scenario = simulate::demo();
    if let Some(brokers) = &args.produce {
        return produce(&scenario, brokers);
    }
    let started = Instant::now();
    let rules = Arc::new(RuleTexts::shipped().compile().map_err(Failure::of)?);
    let fingerprinter = Fingerprinter::new(DEVELOPMENT_SECRET, vec!["kh_live_".to_owned()]);
    let fingerprinter = Arc::new(fingerprinter.map_err(Failure::of)?);
    let geo = Arc::new(demo_geoip::open().map_err(Failure::of)?);
    let partitions = (0..scenario.partitions).map(|partition| {
        let topic = TopicSettings::new("demo");
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        Partition::new(&rules, "demo", topic, partition, &fingerprinter, &geo).map_err(Failure::of)
    });
    let mut partitions = partitions.collect::<Result<Vec<_>, _>>()?;

    anstream::println!(
        "{} keys, {} days of traffic, {} rules. Attacks come on the last day.\n\
         Keys show as fingerprints, made here with the development secret.\n",
        scenario.keys,
        scenario.days,
        rules.alerts.len()
    );
    let mut found = Found::new(scenario.labels(), &fingerprinter);
    let mut offsets = vec![0_i64; partitions.len()];
    let mut line = Vec::new();
    let mut slice_end = scenario.start_ms + SLICE_MS;
    for event in scenario.events() {
        if event.arrival_ms >= slice_end {
            slice_end += SLICE_MS;
            for partition in &mut partitions {
                found.take(partition.process().map_err(Failure::of)?);
            }
        }
        line.clear();
        event.write_json(&mut line);
        let index = event.partition as usize;
        partitions[index].push(Record {
            payload: Some(line.trim_ascii_end()),
            offset: offsets[index],
            record_time_ms: Some(event.arrival_ms),
        });
        offsets[index] += 1;
    }
    for partition in &mut partitions {
        found.take(partition.finish().map_err(Failure::of)?);
    }
    let events: i64 = offsets.iter().sum();
    anstream::println!();
    let good = found.table();
    let seconds = started.elapsed().as_secs_f64();
    anstream::println!("{events} events in {seconds:.1} s, on one core.");
    if !good {
        anstream::println!("This is not the expected table; please report it.");
    }
    Ok(status(good))
}

/// What was found so far, and of which attack.
struct Found {
    labels: Vec<Label>,
    /// The entity of each attack's victim, as alerts name it.
    victims: Vec<String>,
    alerts: Vec<Alert>,
}

impl Found {
    fn new(labels: Vec<Label>, fingerprinter: &Fingerprinter) -> Self {
        let victims = labels
            .iter()
            .map(|label| match &label.key_id {
                Some(key_id) => key_id.clone(),
                None => fingerprinter.fingerprint(label.credential.expose()),
            })
            .collect();
        Found {
            labels,
            victims,
            alerts: Vec::new(),
        }
    }

    fn take(&mut self, processed: Processed) {
        let alerts = processed
            .emitted
            .into_iter()
            .filter_map(|emitted| match emitted {
                // A repeat tells of the same alert again; here the first is enough.
                Emitted::Alert(alert) if alert.count == 1 => Some(*alert),
                _ => None,
            });
        let before = self.alerts.len();
        self.alerts.extend(alerts);
        self.alerts[before..].iter().for_each(print);
    }

    /// The attack that an alert is about.
    fn attack(&self, alert: &Alert) -> Option<usize> {
        let at = alert.first_seen.0;
        let entity = alert.entity.value.as_deref();
        self.labels
            .iter()
            .zip(&self.victims)
            .position(|(label, victim)| {
                entity == Some(victim) && at >= label.start_ms && at <= label.end_ms + GRACE_MS
            })
    }

    /// Prints the table, and says whether it is the expected one.
    fn table(&self) -> bool {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(TABLE_WIDTH);
        table.set_header(["attack", "found", "by", "after", "and that is"]);
        let mut good = true;
        for (index, label) in self.labels.iter().enumerate() {
            let hits: Vec<&Alert> = self
                .alerts
                .iter()
                .filter(|alert| self.attack(alert) == Some(index))
                .collect();
            let first = hits.iter().min_by_key(|alert| alert.first_seen.0);
            let as_expected = match label.expected {
                Expected::Missed => hits.is_empty(),
                Expected::Found => label
                    .rules
                    .iter()
                    .all(|rule| hits.iter().any(|hit| hit.rule == *rule)),
            };
            good &= as_expected;
            let mut by: Vec<&str> = hits.iter().map(|hit| hit.rule.as_str()).collect();
            by.sort_unstable();
            by.dedup();
            let expected = match label.expected {
                Expected::Found => "found",
                Expected::Missed => "missed, being too much like the key's own use",
            };
            table.add_row([
                label.title.to_owned(),
                if hits.is_empty() { "no" } else { "yes" }.to_owned(),
                by.join(", "),
                first.map_or(String::new(), |alert| {
                    after(alert.first_seen.0 - label.start_ms)
                }),
                if as_expected {
                    "as expected"
                } else {
                    "NOT AS EXPECTED"
                }
                .to_owned()
                    + ": "
                    + expected,
            ]);
        }
        anstream::println!("{table}");
        let false_alerts: Vec<&Alert> = self
            .alerts
            .iter()
            .filter(|alert| self.attack(alert).is_none())
            .collect();
        let days = "in five days";
        match false_alerts.len() {
            0 => anstream::println!("No false alert {days}."),
            1 => anstream::println!("One false alert {days}: {}.", false_alerts[0].rule),
            n => anstream::println!("{n} false alerts {days}."),
        }
        good && false_alerts.len() == FALSE_ALERTS
    }
}

/// An alert in two lines: when and what, then the sentence.
fn print(alert: &Alert) {
    let color = match alert.severity {
        Severity::Critical | Severity::High => "\x1b[1;31m",
        Severity::Medium => "\x1b[1;33m",
        Severity::Low => "\x1b[1;36m",
    };
    let time = alert.first_seen.to_string();
    let time = time.get(..16).unwrap_or(&time).replace('T', " ");
    anstream::println!("{time}  {color}{:<8}\x1b[0m {}", alert.severity, alert.rule);
    anstream::println!("                  {}", alert.summary);
}

/// Columns of a terminal that most have.
const TABLE_WIDTH: u16 = 100;

/// False alerts of the demo's own seed.
const FALSE_ALERTS: usize = 0;

/// `40 s`, `12 min`, `3 h 05 min`.
fn after(ms: i64) -> String {
    let seconds = ms / 1000;
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Writes the demo's traffic to a topic, for the compose file.
fn produce(scenario: &Scenario, brokers: &str) -> CommandResult {
    use keyhawk_connectors::kafka::{Sink, SinkConfig};
    let (sink, receipts) = Sink::new(SinkConfig::new(brokers)).map_err(Failure::of)?;
    let mut line = Vec::new();
    let mut sent = 0_u64;
    for event in scenario.events() {
        line.clear();
        event.write_json(&mut line);
        let key = event.key().map(|key| key.identity().to_owned());
        let key = key.as_deref().map(str::as_bytes);
        sink.send_within(
            std::time::Duration::from_secs(60),
            "api-access",
            key,
            line.trim_ascii_end(),
            sent,
        )
        .map_err(|_| Failure::of(format!("{brokers} took no record for a minute")))?;
        sent += 1;
        while receipts.try_recv().is_ok() {}
    }
    if !sink.flush(std::time::Duration::from_secs(60)) {
        return Err(Failure::of(format!(
            "{brokers} did not acknowledge all records within a minute"
        )));
    }
    anstream::println!("{sent} events written to api-access");
    Ok(status(true))
}
