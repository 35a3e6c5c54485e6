//! Messages on their way to the brokers: queued, sent, and sent again where that may help.
//!
//! ```text
//!   push ─▶ waiting ─▶ sink ─▶ receipt: delivered     ─▶ Acknowledged
//!              ▲        │               refused        ─▶ Refused
//!              │        │               failed         ─▶ waiting, a second later
//!              └────────┘ queue full
//! ```
//!
//! A message is kept until its receipt, so that it can be sent again. What is kept is bounded by
//! delivery, which pauses partitions with too many messages in flight.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use keyhawk_connectors::kafka::{Delivery as Receipt, Refusal, Sink};
use keyhawk_engine::delivery::{Event, OutputTopic, Token};

use super::trouble::{Trouble, judge};
use crate::config;

/// The pause before a message is sent again.
const RESEND_AFTER: Duration = Duration::from_secs(1);
/// Failures are logged at most this often: while brokers are away every message may fail.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

struct Message {
    topic: OutputTopic,
    key: Option<Vec<u8>>,
    payload: Vec<u8>,
}

/// The way out.
pub(super) struct Outbox {
    sink: Sink,
    receipts: Receiver<Receipt>,
    topics: config::Output,
    messages: HashMap<u64, Message>,
    waiting: VecDeque<u64>,
    again: VecDeque<(Instant, u64)>,
    complained: Option<Instant>,
}

impl Outbox {
    pub(super) fn new(sink: Sink, receipts: Receiver<Receipt>, topics: config::Output) -> Self {
        Outbox {
            sink,
            receipts,
            topics,
            messages: HashMap::new(),
            waiting: VecDeque::new(),
            again: VecDeque::new(),
            complained: None,
        }
    }

    /// Takes a message and sends it as soon as there is room.
    pub(super) fn push(
        &mut self,
        token: Token,
        topic: OutputTopic,
        key: Option<Vec<u8>>,
        payload: Vec<u8>,
    ) {
        self.messages.insert(
            token.0,
            Message {
                topic,
                key,
                payload,
            },
        );
        self.waiting.push_back(token.0);
        self.send();
    }

    /// Whether messages wait for room, so that no further batch should be processed.
    pub(super) fn is_full(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Collects receipts, sends what waits, and appends to `events` what delivery is to be told.
    pub(super) fn pump(&mut self, now: Instant, events: &mut Vec<Event>) {
        while let Ok(Receipt { token, result }) = self.receipts.try_recv() {
            match result {
                Ok(()) => {
                    self.messages.remove(&token);
                    events.push(Event::Acknowledged {
                        token: Token(token),
                    });
                }
                Err(Refusal {
                    for_good: true,
                    reason,
                }) => {
                    self.messages.remove(&token);
                    events.push(Event::Refused {
                        token: Token(token),
                        reason,
                    });
                }
                Err(Refusal {
                    for_good: false,
                    reason,
                }) => {
                    self.again.push_back((now + RESEND_AFTER, token));
                    self.complain(now, token, &reason);
                }
            }
        }
        while self.again.front().is_some_and(|(due, _)| *due <= now) {
            self.waiting
                .extend(self.again.pop_front().map(|(_, token)| token));
        }
        self.send();
    }

    /// Hands waiting messages to the sink until its queue is full.
    fn send(&mut self) {
        while let Some(token) = self.waiting.front() {
            if let Some(message) = self.messages.get(token) {
                let topic = name(&self.topics, message.topic);
                if self
                    .sink
                    .send(topic, message.key.as_deref(), &message.payload, *token)
                    .is_err()
                {
                    return;
                }
            }
            self.waiting.pop_front();
        }
    }

    fn complain(&mut self, now: Instant, token: u64, reason: &str) {
        let quiet = self
            .complained
            .is_none_or(|last| now.duration_since(last) >= COMPLAIN_EVERY);
        if let Some(message) = self.messages.get(&token)
            && quiet
        {
            self.complained = Some(now);
            let topic = name(&self.topics, message.topic);
            judge(&Trouble::Outside(&format_args!(
                "topic {topic} took a message not yet, it is sent again until it does: {reason}"
            )));
        }
    }
}

fn name(topics: &config::Output, topic: OutputTopic) -> &str {
    match topic {
        OutputTopic::Alerts => &topics.alerts,
        OutputTopic::Commands => &topics.commands,
        OutputTopic::Shadow => &topics.shadow,
        OutputTopic::Late => &topics.late,
        OutputTopic::Dead => &topics.dead_letter,
    }
}
