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

use keyhawk_alerts::{Alert, Command};
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
                    let message = self.messages.remove(&token);
                    let stub = message.and_then(|message| stub(&message, &reason));
                    events.push(Event::Refused {
                        token: Token(token),
                        reason,
                        stub,
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

/// An alert or command without what made it too large or strange, so that whoever follows the topic
/// still reads messages of its schema.
fn stub(message: &Message, reason: &str) -> Option<Vec<u8>> {
    match message.topic {
        OutputTopic::Alerts => {
            let alert: Alert = serde_json::from_slice(&message.payload).ok()?;
            serde_json::to_vec(&alert.stub(reason)).ok()
        }
        OutputTopic::Commands | OutputTopic::Shadow => {
            let command: Command = serde_json::from_slice(&message.payload).ok()?;
            serde_json::to_vec(&command.stub(reason)).ok()
        }
        OutputTopic::Late | OutputTopic::Dead => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: OutputTopic, payload: &str) -> Message {
        Message {
            topic,
            key: None,
            payload: payload.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_refused_alert_leaves_an_alert_without_its_row() {
        let alert = r#"{"schema":"keyhawk.alert/1","id":"00ff","status":"open","deployment":"d","rule":"r",
            "rule_version":"1","severity":"high","severity_id":3,
            "entity":{"type":"api_key","value":"k","key_id":null,"tenant":null,"environment":null},
            "first_seen":"2026-03-02T00:00:00.000Z","last_seen":"2026-03-02T00:00:00.000Z","count":1,
            "window_start":null,"window_end":null,"summary":"s","why":[],"evidence":[],"tags":[],
            "runbook":null,"row":{"large":"value"},"emitted_at":null}"#;
        let stub = stub(&message(OutputTopic::Alerts, alert), "message too large").unwrap();
        let stub: Alert = serde_json::from_slice(&stub).unwrap();
        assert_eq!((stub.id.as_str(), stub.row.len()), ("00ff", 0));
        assert!(
            stub.summary.contains("message too large"),
            "{}",
            stub.summary
        );
    }

    #[test]
    fn a_refused_late_row_leaves_the_plain_stub() {
        assert_eq!(stub(&message(OutputTopic::Late, "{}"), "no"), None);
    }
}
