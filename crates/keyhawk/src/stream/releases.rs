//! Revokes that wait for the pipeline, each until its partitions are done or time is up.
//!
//! When a partition is done depends on how the source serves commits meanwhile. In a rebalance it
//! answers them within the revoke, so that a partition is done once delivery has let go of it. At a
//! stop, and when the watchdog replaces the consumer, answers come only after the revoke is
//! released, so that a partition is done once its last commit is sent.

use std::time::{Duration, Instant};

use keyhawk_connectors::kafka::{ReleaseReason, Revoked};
use keyhawk_engine::delivery::{Delivery, Epoch, TopicPartition};

/// The source gives up waiting at its own deadline; the pipeline lets go a little earlier.
const BEFORE_DEADLINE: Duration = Duration::from_millis(300);

/// A partition under the assignment that ends.
pub(super) type Leaving = (TopicPartition, Epoch);

struct Release {
    /// Dropping it lets the source go on.
    revoked: Revoked,
    waiting: Vec<Leaving>,
    deadline: Instant,
}

/// The revokes that are not released yet.
#[derive(Default)]
pub(super) struct Releases {
    open: Vec<Release>,
}

impl Releases {
    /// Adds a revoke; the source waits for it for `wait`, counted from now.
    pub(super) fn add(
        &mut self,
        revoked: Revoked,
        waiting: Vec<Leaving>,
        now: Instant,
        wait: Duration,
    ) {
        let deadline = now + wait.saturating_sub(BEFORE_DEADLINE);
        self.open.push(Release {
            revoked,
            waiting,
            deadline,
        });
    }

    /// Releases revokes that are done. Returns the partitions of a rebalance that may be waited for
    /// no longer: delivery is to take them as lost.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        delivery: &Delivery,
        sent: impl Fn(&TopicPartition) -> Option<i64>,
    ) -> Vec<Leaving> {
        let mut lost = Vec::new();
        for mut release in std::mem::take(&mut self.open) {
            let by_sending = matches!(
                release.revoked.reason,
                ReleaseReason::Stop | ReleaseReason::Replaced
            );
            release.waiting.retain(|(partition, epoch)| {
                !is_done(
                    delivery,
                    partition,
                    *epoch,
                    by_sending.then(|| sent(partition)),
                )
            });
            if release.waiting.is_empty() {
                release.revoked.done();
            } else if now >= release.deadline {
                tracing::warn!(
                    partitions = release.waiting.len(),
                    reason = ?release.revoked.reason,
                    "outputs or commits were not acknowledged in time; what is not committed is \
                     read again, and its outputs repeated with the same ids"
                );
                if release.revoked.reason != ReleaseReason::Stop {
                    lost.append(&mut release.waiting);
                }
                release.revoked.done();
            } else {
                self.open.push(release);
            }
        }
        lost
    }
}

/// Whether nothing of the partition is waited for. `sent` is the offset of its commit under way,
/// where a commit that was sent is enough.
fn is_done(
    delivery: &Delivery,
    partition: &TopicPartition,
    epoch: Epoch,
    sent: Option<Option<i64>>,
) -> bool {
    let Some(status) = delivery
        .status(partition)
        .filter(|status| status.epoch == epoch)
    else {
        return true;
    };
    let Some(sent) = sent else { return false };
    let committed = status.next_offset == status.committed_offset;
    status.in_flight == 0 && (committed || status.next_offset == sent)
}

#[cfg(test)]
mod tests {
    use keyhawk_engine::delivery::{Config, Event};

    use super::*;

    #[test]
    fn a_partition_is_done_when_its_last_commit_is_sent_or_delivery_let_go() {
        let partition = TopicPartition {
            topic: "t".into(),
            partition: 0,
        };
        let epoch = Epoch(1);
        let mut delivery = Delivery::new(Config::default());
        let mut effects = Vec::new();
        let mut tell = |delivery: &mut Delivery, event| delivery.handle(event, &mut effects);
        let done = |delivery: &Delivery, sent| is_done(delivery, &partition, epoch, sent);
        assert!(done(&delivery, None), "not held");

        let assigned = Event::Assigned {
            partition: partition.clone(),
            epoch,
            resume: None,
        };
        tell(&mut delivery, assigned);
        assert!(done(&delivery, Some(None)), "nothing to commit");
        assert!(!done(&delivery, None), "still held");

        let batch = Event::Batch {
            partition: partition.clone(),
            epoch,
            next_offset: 7,
            outputs: Vec::new(),
        };
        tell(&mut delivery, batch);
        assert!(!done(&delivery, Some(None)), "its commit is not sent");
        assert!(
            !done(&delivery, Some(Some(5))),
            "an earlier commit is under way"
        );
        assert!(done(&delivery, Some(Some(7))));

        tell(
            &mut delivery,
            Event::Lost {
                partition: partition.clone(),
                epoch,
            },
        );
        assert!(done(&delivery, None));
    }
}
