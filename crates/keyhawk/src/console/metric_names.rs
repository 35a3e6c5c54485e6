//! The metrics, all of them, in one plain list.
//!
//! A metric that is not here must not be counted, and one that is here must be: a test compares the
//! list with the sources.

use metrics::Unit;

/// What a metric is to Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, until the process ends.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts by size, in the buckets of [`LATENCY_BUCKETS_S`].
    Histogram,
}

/// A metric.
#[derive(Debug)]
pub struct Metric {
    /// The whole name, as Prometheus sees it.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// What one is one of.
    pub unit: Unit,
    /// What it tells, with its labels.
    pub help: &'static str,
}

const fn metric(name: &'static str, kind: Kind, unit: Unit, help: &'static str) -> Metric {
    Metric {
        name,
        kind,
        unit,
        help,
    }
}

/// All metrics, in the order in which a record meets them.
pub const METRICS: &[Metric] = &[
    metric(
        "keyhawk_source_records_total",
        Kind::Counter,
        Unit::Count,
        "Records read, by `topic` and `partition`.",
    ),
    metric(
        "keyhawk_source_bytes_total",
        Kind::Counter,
        Unit::Bytes,
        "Payload bytes read, by `topic` and `partition`.",
    ),
    metric(
        "keyhawk_lag_records",
        Kind::Gauge,
        Unit::Count,
        "Records that are in the log and not yet read, by `topic` and `partition`.",
    ),
    metric(
        "keyhawk_source_rebalances_total",
        Kind::Counter,
        Unit::Count,
        "Changes of the assigned partitions, by `kind`: assigned, revoked, lost.",
    ),
    metric(
        "keyhawk_source_recreations_total",
        Kind::Counter,
        Unit::Count,
        "Consumers made anew, by `reason`: stalled, fatal.",
    ),
    metric(
        "keyhawk_source_commits_total",
        Kind::Counter,
        Unit::Count,
        "Commits of offsets, by `result`: ok, failed, stale.",
    ),
    metric(
        "keyhawk_source_errors_total",
        Kind::Counter,
        Unit::Count,
        "Errors that the consumer reported; it goes on by itself.",
    ),
    metric(
        "keyhawk_rows_total",
        Kind::Counter,
        Unit::Count,
        "Records decoded into rows, late ones included.",
    ),
    metric(
        "keyhawk_late_rows_total",
        Kind::Counter,
        Unit::Count,
        "Rows that came later than the topic's lateness allows.",
    ),
    metric(
        "keyhawk_dead_letters_total",
        Kind::Counter,
        Unit::Count,
        "Records that could not be read, by `reason`.",
    ),
    metric(
        "keyhawk_watermark_delay_seconds",
        Kind::Gauge,
        Unit::Seconds,
        "How far a partition's watermark is behind the clock, by `topic` and `partition`.",
    ),
    metric(
        "keyhawk_keys",
        Kind::Gauge,
        Unit::Count,
        "Keys that a partition's rules have seen, by `topic` and `partition`.",
    ),
    metric(
        "keyhawk_state_bytes",
        Kind::Gauge,
        Unit::Bytes,
        "Memory that a partition's rules hold as state, by `topic` and `partition`.",
    ),
    metric(
        "keyhawk_archive_rows_total",
        Kind::Counter,
        Unit::Count,
        "Rows in complete files of the archive, late ones included.",
    ),
    metric(
        "keyhawk_archive_bytes_total",
        Kind::Counter,
        Unit::Bytes,
        "Bytes of complete files of the archive.",
    ),
    metric(
        "keyhawk_archive_files_total",
        Kind::Counter,
        Unit::Count,
        "Files of the archive that were completed.",
    ),
    metric(
        "keyhawk_archive_errors_total",
        Kind::Counter,
        Unit::Count,
        "Tries to write to the archive that failed; each is tried again for a while.",
    ),
    metric(
        "keyhawk_archive_lost_rows_total",
        Kind::Counter,
        Unit::Count,
        "Rows that are not archived, since their file could not be written.",
    ),
    metric(
        "keyhawk_archive_waiting_files",
        Kind::Gauge,
        Unit::Count,
        "Complete files of the archive that wait for their upload to an object store.",
    ),
    metric(
        "keyhawk_store_requests_total",
        Kind::Counter,
        Unit::Count,
        "Requests to object stores, by `operation` and `result`; tries of one request count once.",
    ),
    metric(
        "keyhawk_store_read_bytes_total",
        Kind::Counter,
        Unit::Bytes,
        "Bytes of objects that were read.",
    ),
    metric(
        "keyhawk_store_written_bytes_total",
        Kind::Counter,
        Unit::Bytes,
        "Bytes of objects that were written.",
    ),
    metric(
        "keyhawk_findings_total",
        Kind::Counter,
        Unit::Count,
        "Rows that rules returned, by `rule`.",
    ),
    metric(
        "keyhawk_findings_withheld_total",
        Kind::Counter,
        Unit::Count,
        "Rows that rules returned while they warm up after a reload, and that became no alert, by `rule`.",
    ),
    metric(
        "keyhawk_warming_rules",
        Kind::Gauge,
        Unit::Count,
        "Rules that warm up after a reload, in whichever partition.",
    ),
    metric(
        "keyhawk_rule_reloads_total",
        Kind::Counter,
        Unit::Count,
        "Changes of the rule directory that were taken up or not, by `result`: ok, refused.",
    ),
    metric(
        "keyhawk_alerts_total",
        Kind::Counter,
        Unit::Count,
        "Alerts opened, repeats not counted, by `rule` and `severity`.",
    ),
    metric(
        "keyhawk_commands_total",
        Kind::Counter,
        Unit::Count,
        "Commands decided by the guard, by `mode`: given (auto) or told (shadow).",
    ),
    metric(
        "keyhawk_rule_errors_total",
        Kind::Counter,
        Unit::Count,
        "Rows on which an expression of a `rule`, or of a view that it reads, failed and gave null.",
    ),
    metric(
        "keyhawk_alert_latency_seconds",
        Kind::Histogram,
        Unit::Seconds,
        "From the time of the record that released a finding to its alert.",
    ),
    metric(
        "keyhawk_sink_records_total",
        Kind::Counter,
        Unit::Count,
        "Records written, by `topic` and `result`: ok, refused, failed.",
    ),
    metric(
        "keyhawk_sink_recreations_total",
        Kind::Counter,
        Unit::Count,
        "Producers made anew.",
    ),
    metric(
        "keyhawk_webhook_attempts_total",
        Kind::Counter,
        Unit::Count,
        "Tries to send a chat message, by `result`: ok, retry, refused.",
    ),
    metric(
        "keyhawk_chat_messages_total",
        Kind::Counter,
        Unit::Count,
        "Chat messages done with, by `result`: sent, dead_letter.",
    ),
    metric(
        "keyhawk_chat_unreadable_total",
        Kind::Counter,
        Unit::Count,
        "Records of the alerts topic that are no alerts and were passed over.",
    ),
];

/// Upper bounds of the latency buckets, in seconds. An alert may wait for its record's batch (20
/// ms) or for its window to close (minutes), so they reach from the one to the other, about 2.5
/// apart.
pub const LATENCY_BUCKETS_S: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_end_by_their_kind() {
        let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            assert!(metric.name.starts_with("keyhawk_"), "{}", metric.name);
            assert_eq!(
                metric.name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{}",
                metric.name
            );
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }

    #[test]
    fn buckets_rise() {
        assert!(LATENCY_BUCKETS_S.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
