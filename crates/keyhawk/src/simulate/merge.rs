//! All streams in one, in the order in which a log would receive them.
//!
//! Events leave the gateways at their time and reach the log a little later: nearly all at once,
//! one in fifty up to five seconds late, so that the log is disordered by at most that much.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::dice::Dice;
use super::event::SimulatedEvent;

/// The share of events that reach the log late.
const DELAYED_SHARE: f64 = 0.02;
/// The longest delay.
pub(super) const DELAY_MS_MAX: i64 = 5_000;

/// A stream of events in the order of their times.
pub(super) type Source = Box<dyn Iterator<Item = SimulatedEvent> + Send>;

/// Merges streams that are each in time order.
pub(super) struct Merge {
    sources: Vec<Source>,
    /// The next event of each source.
    heads: Vec<Option<SimulatedEvent>>,
    /// Time and source of each head.
    next: BinaryHeap<Reverse<(i64, usize)>>,
    /// Events on their way to the log: arrival, number, and place in `travelling`.
    arriving: BinaryHeap<Reverse<(i64, u64, usize)>>,
    travelling: Vec<Option<SimulatedEvent>>,
    free: Vec<usize>,
    sent: u64,
    dice: Dice,
}

impl Merge {
    pub(super) fn new(mut sources: Vec<Source>, dice: Dice) -> Self {
        let heads: Vec<_> = sources.iter_mut().map(Iterator::next).collect();
        let next = heads
            .iter()
            .enumerate()
            .filter_map(|(at, head)| head.as_ref().map(|head| Reverse((head.event_time_ms, at))))
            .collect();
        Self {
            sources,
            heads,
            next,
            arriving: BinaryHeap::new(),
            travelling: Vec::new(),
            free: Vec::new(),
            sent: 0,
            dice,
        }
    }

    /// Takes the earliest head and sends it on its way.
    fn send(&mut self, source: usize) {
        let Some(mut event) = self.heads[source].take() else {
            return;
        };
        if let Some(head) = self.sources[source].next() {
            self.next.push(Reverse((head.event_time_ms, source)));
            self.heads[source] = Some(head);
        }
        let delay_ms = if self.dice.chance(DELAYED_SHARE) {
            self.dice.below(DELAY_MS_MAX as u64 + 1)
        } else {
            self.dice.below(20)
        };
        event.arrival_ms = event.event_time_ms + delay_ms as i64;
        self.sent += 1;
        let arrival_ms = event.arrival_ms;
        let place = self.free.pop().unwrap_or(self.travelling.len());
        if place == self.travelling.len() {
            self.travelling.push(Some(event));
        } else {
            self.travelling[place] = Some(event);
        }
        self.arriving.push(Reverse((arrival_ms, self.sent, place)));
    }
}

impl Iterator for Merge {
    type Item = SimulatedEvent;

    fn next(&mut self) -> Option<SimulatedEvent> {
        loop {
            let departure = self.next.peek().map(|Reverse(head)| *head);
            let arrival_ms = self
                .arriving
                .peek()
                .map(|Reverse((arrival_ms, ..))| *arrival_ms);
            match (departure, arrival_ms) {
                // Whoever has not left by then arrives later still, or at the same time.
                (Some((time_ms, source)), arrival_ms)
                    if arrival_ms.is_none_or(|arrival_ms| time_ms <= arrival_ms) =>
                {
                    self.next.pop();
                    self.send(source);
                }
                (_, Some(_)) => {
                    let Reverse((_, _, place)) = self.arriving.pop()?;
                    self.free.push(place);
                    return self.travelling[place].take();
                }
                _ => return None,
            }
        }
    }
}
