//! Which offsets may be committed, given which alerts are done.
//!
//! Alerts are numbered in the order in which they were read, over all partitions. Kept are runs of
//! alerts whose numbers and offsets both go up by one, so that a storm of a million is one entry.

use std::collections::VecDeque;

use crate::kafka::Assigned;

/// Alerts that were read and are not done, and what may be committed.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// By number.
    runs: VecDeque<Run>,
    /// Partitions whose next records, up to this offset, were left out with nothing before them
    /// pending.
    skipped: Vec<(Assigned, i64)>,
}

#[derive(Debug)]
struct Run {
    assigned: Assigned,
    number: u64,
    offset: i64,
    length: u64,
    /// The offset to commit once the whole run is done; records left out after it included.
    next_offset: i64,
}

impl Pending {
    /// Notes an alert that was read; numbers and, by partition, offsets rise.
    pub(super) fn read(&mut self, assigned: &Assigned, number: u64, offset: i64) {
        if let Some(last) = self.runs.back_mut()
            && last.assigned == *assigned
            && last.number + last.length == number
            && last.next_offset == offset
            && last.offset.checked_add_unsigned(last.length) == Some(offset)
        {
            last.length += 1;
            last.next_offset = offset + 1;
            return;
        }
        self.runs.push_back(Run {
            assigned: assigned.clone(),
            number,
            offset,
            length: 1,
            next_offset: offset + 1,
        });
    }

    /// Notes a record that was left out: it is done when those before it are.
    pub(super) fn skip(&mut self, assigned: &Assigned, offset: i64) {
        match self
            .runs
            .iter_mut()
            .rev()
            .find(|run| run.assigned == *assigned)
        {
            Some(run) => run.next_offset = offset + 1,
            None => {
                self.skipped.retain(|(other, _)| other != assigned);
                self.skipped.push((assigned.clone(), offset + 1));
            }
        }
    }

    /// Takes off all alerts with a number below `oldest` (all where there is none), and returns what
    /// may be committed now, one offset a partition.
    pub(super) fn done_before(&mut self, oldest: Option<u64>) -> Vec<(Assigned, i64)> {
        let oldest = oldest.unwrap_or(u64::MAX);
        let mut commits = std::mem::take(&mut self.skipped);
        let mut note = |assigned: &Assigned, next_offset: i64| match commits
            .iter_mut()
            .find(|(other, _)| other == assigned)
        {
            Some((_, offset)) => *offset = next_offset,
            None => commits.push((assigned.clone(), next_offset)),
        };
        while let Some(run) = self.runs.front_mut() {
            if run.number >= oldest {
                break;
            }
            let done = (oldest - run.number).min(run.length);
            if done == run.length {
                note(&run.assigned, run.next_offset);
                self.runs.pop_front();
                continue;
            }
            run.number += done;
            run.offset = run.offset.saturating_add_unsigned(done);
            run.length -= done;
            note(&run.assigned, run.offset);
            break;
        }
        commits
    }

    /// Forgets partitions.
    pub(super) fn forget(&mut self, gone: impl Fn(&Assigned) -> bool) {
        self.runs.retain(|run| !gone(&run.assigned));
        self.skipped.retain(|(assigned, _)| !gone(assigned));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(partition: i32) -> Assigned {
        Assigned {
            topic: "alerts".into(),
            partition,
            epoch: 1,
        }
    }

    #[test]
    fn only_what_lies_before_the_oldest_undone_alert_is_committed() {
        let (a, b) = (partition(0), partition(1));
        let mut pending = Pending::default();
        for (number, offset) in (0..5).zip(10..) {
            pending.read(&a, number, offset);
        }
        pending.read(&b, 5, 70);
        pending.read(&a, 6, 15);
        assert_eq!(pending.runs.len(), 3);
        assert_eq!(pending.done_before(Some(0)), []);
        assert_eq!(pending.done_before(Some(3)), [(a.clone(), 13)]);
        assert_eq!(pending.done_before(Some(6)), [(a.clone(), 15), (b, 71)]);
        assert_eq!(pending.done_before(None), [(a, 16)]);
        assert!(pending.is_empty());
    }

    #[test]
    fn records_left_out_are_committed_with_those_before_them() {
        let (a, b) = (partition(0), partition(1));
        let mut pending = Pending::default();
        pending.skip(&b, 4);
        pending.read(&a, 0, 10);
        pending.skip(&a, 11);
        pending.read(&a, 1, 12);
        assert_eq!(pending.done_before(Some(0)), [(b, 5)]);
        assert_eq!(pending.done_before(Some(1)), [(a.clone(), 12)]);
        assert_eq!(pending.done_before(None), [(a, 13)]);
    }

    #[test]
    fn a_partition_that_is_gone_is_not_committed() {
        let (a, b) = (partition(0), partition(1));
        let mut pending = Pending::default();
        pending.read(&a, 0, 10);
        pending.read(&b, 1, 20);
        pending.forget(|assigned| *assigned == a);
        assert_eq!(pending.done_before(None), [(b, 21)]);
    }
}
