//! What goes wrong while it runs, whose it is, and what becomes of it: the policy in one place.
//!
//! | whose | example | what becomes of it |
//! |---|---|---|
//! | the rule's author | an expression fails on a row | null for the row, counted, goes on |
//! | the sender | a record that is no event | dead letter, counted, goes on |
//! | an outside system | brokers away, an output refused | logged, waited for or replaced by a stub |
//! | Keyhawk | a broken invariant | the partition stops, the process ends after the others |

use std::fmt;

use keyhawk_engine::delivery::TopicPartition;

use crate::partition;

/// One thing that went wrong.
pub(super) enum Trouble<'a> {
    /// Rows on which an expression of a rule, or of a view below it, failed.
    FailedRows {
        partition: &'a TopicPartition,
        rule: &'a str,
        rows: u64,
    },
    /// A record that is no event.
    BadRecord { reason: &'static str },
    /// Kafka, or a topic's limits or rights.
    Outside(&'a dyn fmt::Display),
    /// A partition's engine cannot go on.
    Invariant {
        partition: &'a TopicPartition,
        error: &'a partition::Error,
    },
}

/// Whether the partition goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    GoOn,
    StopPartition,
}

/// Counts and logs it, and says what is to be done.
pub(super) fn judge(trouble: &Trouble<'_>) -> Verdict {
    match trouble {
        Trouble::FailedRows {
            partition,
            rule,
            rows,
        } => {
            metrics::counter!("keyhawk_rule_errors_total", "rule" => (*rule).to_owned())
                .increment(*rows);
            tracing::debug!(%partition, rule, rows, "an expression failed on rows");
            Verdict::GoOn
        }
        Trouble::BadRecord { reason } => {
            metrics::counter!("keyhawk_dead_letters_total", "reason" => *reason).increment(1);
            Verdict::GoOn
        }
        Trouble::Outside(what) => {
            tracing::warn!("{what}");
            Verdict::GoOn
        }
        Trouble::Invariant { partition, error } => {
            tracing::error!(
                %partition,
                "the partition stops, and Keyhawk once the others are finished; its records since \
                 the last commit are read again at the next start: {error}"
            );
            Verdict::StopPartition
        }
    }
}
