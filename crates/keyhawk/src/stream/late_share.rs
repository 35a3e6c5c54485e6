//! Notices when too many of a topic's rows are late.
//!
//! ```text
//!   minutes   │ −9 │ −8 │ … │ −1 │ now │      rows and late rows of ten minutes, a topic
//!   alert if  late / rows > 0.1 % and rows ≥ 1,000, at most once in ten minutes
//! ```
//!
//! The minutes are those of this instance's clock: what matters to an operator is that rules have
//! begun to miss rows, whatever time those rows claim.

use std::collections::BTreeMap;
use std::collections::VecDeque;

const MINUTE_MS: i64 = 60_000;
/// The time over which shares are taken, and the least between two alerts of a topic.
const WINDOW_MINUTES: i64 = 10;
/// Below so many rows one late row would be above the share.
const ROWS_MIN: u64 = 1_000;
/// One in a thousand: the share that the lateness bound is meant to keep (p99.9).
const ROWS_PER_LATE_ROW: u64 = 1_000;

/// The late share of a topic that was found too high.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLate {
    /// Rows of the last ten minutes, late ones included.
    pub(super) rows: u64,
    /// The late ones among them.
    pub(super) late: u64,
}

impl TooLate {
    /// In percent, to two digits.
    pub(super) fn percent(self) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of ten minutes are far below 2^53"
        )]
        let share = self.late as f64 / self.rows as f64;
        (share * 10_000.0).round() / 100.0
    }
}

/// The counts of every topic.
#[derive(Debug, Default)]
pub(super) struct LateShare {
    topics: BTreeMap<String, Minutes>,
}

#[derive(Debug, Default)]
struct Minutes {
    /// Minute since 1970, rows, late rows; oldest first, at most ten.
    counts: VecDeque<(i64, u64, u64)>,
    alerted_ms: Option<i64>,
}

impl LateShare {
    /// Counts rows of a topic, late ones included, and says when their share calls for an alert.
    pub(super) fn count(
        &mut self,
        topic: &str,
        now_ms: i64,
        rows: u64,
        late: u64,
    ) -> Option<TooLate> {
        if !self.topics.contains_key(topic) {
            self.topics.insert(topic.to_owned(), Minutes::default());
        }
        self.topics.get_mut(topic)?.count(now_ms, rows, late)
    }
}

impl Minutes {
    fn count(&mut self, now_ms: i64, rows: u64, late: u64) -> Option<TooLate> {
        let minute = now_ms.div_euclid(MINUTE_MS);
        match self.counts.back_mut() {
            // A clock that goes back counts on in the last minute.
            Some((last, all, some)) if *last >= minute => {
                *all += rows;
                *some += late;
            }
            _ => self.counts.push_back((minute, rows, late)),
        }
        while self
            .counts
            .front()
            .is_some_and(|(first, ..)| *first <= minute - WINDOW_MINUTES)
        {
            self.counts.pop_front();
        }
        let sum = |(rows, late), (_, more, later): &(i64, u64, u64)| (rows + more, late + later);
        let (rows, late) = self.counts.iter().fold((0, 0), sum);
        let quiet = self
            .alerted_ms
            .is_none_or(|alerted| now_ms.saturating_sub(alerted) >= WINDOW_MINUTES * MINUTE_MS);
        if rows < ROWS_MIN || late * ROWS_PER_LATE_ROW <= rows || !quiet {
            return None;
        }
        self.alerted_ms = Some(now_ms);
        Some(TooLate { rows, late })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_above_one_in_a_thousand_is_told_once_in_ten_minutes() {
        let mut share = LateShare::default();
        assert_eq!(share.count("t", 0, 999, 999), None, "too few rows to tell");
        assert_eq!(
            share.count("t", 1, 1, 0),
            Some(TooLate {
                rows: 1000,
                late: 999
            })
        );
        assert_eq!(
            share.count("t", 9 * MINUTE_MS, 1000, 1000),
            None,
            "told already"
        );
        let again = share.count("t", 10 * MINUTE_MS + 1, 1000, 3);
        assert_eq!(
            again,
            Some(TooLate {
                rows: 2000,
                late: 1003
            }),
            "the first minute has left"
        );
    }

    #[test]
    fn exactly_one_in_a_thousand_is_no_alert() {
        let mut share = LateShare::default();
        assert_eq!(share.count("t", 0, 5_000, 5), None);
        assert_eq!(
            share.count("t", 0, 0, 1),
            Some(TooLate {
                rows: 5_000,
                late: 6
            })
        );
    }

    #[test]
    fn topics_are_counted_apart() {
        let mut share = LateShare::default();
        assert_eq!(share.count("a", 0, 100_000, 0), None);
        assert!(
            share
                .count("b", 0, 2_000, 100)
                .is_some_and(|found| found.percent() == 5.0)
        );
    }
}
