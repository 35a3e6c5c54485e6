//! A partition's time over rows that decode has judged already.
//!
//! Follows the running maximum of the decoder: min(event time, record time) where record times are the
//! broker's, event times that move it by at most `step_ms_max` where they are not. The late rows are
//! marked, so nothing is decided here; but the engine takes no row from below a watermark that it was
//! given, and a row that would be one is reported.

use keyhawk_events::TopicSettings;

/// The running maximum of one partition, and its bound.
pub(super) struct Clock {
    running_ms: Option<i64>,
    pub(super) bound_ms: i64,
    step_ms_max: Option<i64>,
}

impl Clock {
    pub(super) fn new(settings: &TopicSettings) -> Self {
        Clock {
            running_ms: None,
            bound_ms: settings.bound_ms,
            step_ms_max: settings.step_ms_max,
        }
    }

    /// The watermark, in ms since 1970: `i64::MIN` before the first row.
    pub(super) fn watermark(&self) -> i64 {
        self.running_ms.map_or(i64::MIN, |running_ms| {
            running_ms.saturating_sub(self.bound_ms)
        })
    }

    /// Moves time by a row; says by how much the row lies below the watermark before it, if it does.
    pub(super) fn advance(&mut self, event_ms: i64, record_ms: Option<i64>) -> Option<i64> {
        let watermark = self.watermark();
        let behind = (event_ms < watermark).then(|| watermark.saturating_sub(event_ms));
        let record_ms = record_ms.filter(|_| self.step_ms_max.is_none());
        let time_ms = record_ms.map_or(event_ms, |record_ms| record_ms.min(event_ms));
        self.running_ms = Some(match (self.running_ms, self.step_ms_max) {
            (None, _) => time_ms,
            (Some(running_ms), None) => running_ms.max(time_ms),
            (Some(running_ms), Some(step_ms_max)) => {
                running_ms.max(time_ms.min(running_ms.saturating_add(step_ms_max)))
            }
        });
        behind
    }
}
