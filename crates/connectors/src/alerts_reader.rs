//! Chat messages from the alerts topic, in a consumer group of their own.
//!
//! ```text
//!   keyhawk.alerts ──▶ Source ──▶ Grouper ──▶ messages ──▶ Webhook ──▶ chat
//!        ▲                                       │ after the last try
//!        │                                       └──▶ dead-letter topic
//!        └── commit: all alerts before the oldest one that is not sent
//! ```
//!
//! An offset is committed only once the messages of the alerts before it were sent or are on the
//! dead-letter topic. After a crash the rest is read again: no alert is forgotten, and a few may be
//! told twice. No partition of the pipeline waits for the chat.
//!
//! What waits here is bounded: the source hands on at most three batches of
//! [`QUEUE`] alerts a partition, and the messages of one are made at a time. A storm's
//! alerts are summed up, and only their offsets are kept, in runs.

mod pending;

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use keyhawk_alerts::{Alert, ChatConfig, ChatMessage, Grouper};
use serde_json::json;

use crate::kafka::{
    Assigned, Batch, Delivery, Properties, Refusal, ReleaseReason, Revoked, Sink, SinkConfig,
    Source, SourceConfig, SourceControl, SourceEvent,
};
use crate::webhook::{Outcome, StopFlag, Webhook, WebhookConfig};
use crate::{Error, Result};
use pending::Pending;

/// Alerts in a batch of the reader's source.
const QUEUE: usize = 128;

/// How long the reader waits for events when nothing is due, so that it notices a stop.
const IDLE: Duration = Duration::from_millis(200);

/// The pause before a dead letter that the brokers did not take is sent again.
const RESEND: Duration = Duration::from_secs(1);

/// What is read, where it goes, and what becomes of the rest.
#[derive(Clone, Debug)]
pub struct AlertsReaderConfig {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// The operator's librdkafka properties.
    pub properties: Properties,
    /// The topic of alerts.
    pub alerts_topic: String,
    /// The reader's consumer group; never the pipeline's.
    pub group_id: String,
    /// The topic of messages that the chat did not take.
    pub dead_letter_topic: String,
    /// What messages show, and when a rule's alerts become one message.
    pub chat: ChatConfig,
    /// Where messages go.
    pub webhook: WebhookConfig,
}

/// A running reader. Dropping it stops it.
pub struct AlertsReader {
    source: Option<Source>,
    stop: StopFlag,
    worker: Option<JoinHandle<()>>,
}

impl AlertsReader {
    /// Starts reading. Brokers or a chat that cannot be reached are waited for.
    ///
    /// # Errors
    ///
    /// Where librdkafka refuses a property or no thread can be had.
    pub fn spawn(config: AlertsReaderConfig) -> Result<AlertsReader> {
        let mut from = SourceConfig::new(
            config.brokers.clone(),
            config.group_id.clone(),
            [config.alerts_topic.clone()],
        );
        from.client_id = "keyhawk-chat".to_owned();
        from.properties = config.properties.clone();
        from.batch_rows = QUEUE;
        from.prefetch_batches = 2;
        let mut to = SinkConfig::new(config.brokers.clone());
        to.client_id = "keyhawk-chat".to_owned();
        to.properties = config.properties.clone();
        let (sink, receipts) = Sink::new(to)?;
        let (source, events) = Source::spawn(from)?;
        let stop = StopFlag::new();
        let worker = Worker {
            control: source.control(),
            stop: stop.clone(),
            webhook: Webhook::new(config.webhook.clone()),
            grouper: Grouper::new(config.chat.clone()),
            pending: Pending::default(),
            messages: VecDeque::new(),
            sink,
            receipts,
            tokens: 0,
            config,
        };
        let worker = std::thread::Builder::new()
            .name("kh-chat".to_owned())
            .spawn(move || worker.run(&events))
            .map_err(|error| Error::Client {
                doing: "starting the thread of the chat",
                reason: error.to_string(),
            })?;
        Ok(AlertsReader {
            source: Some(source),
            stop,
            worker: Some(worker),
        })
    }

    /// Stops: ends the message in hand (within the webhook's time-out), commits what was sent, and
    /// leaves the group. What was not sent is read again after the next start.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.set();
        if let Some(source) = self.source.take() {
            source.join();
        }
        if let Some(worker) = self.worker.take()
            && worker.join().is_err()
        {
            tracing::error!("the thread of the chat panicked; restart Keyhawk");
        }
    }
}

impl Drop for AlertsReader {
    fn drop(&mut self) {
        self.end();
    }
}

struct Worker {
    config: AlertsReaderConfig,
    control: SourceControl,
    stop: StopFlag,
    webhook: Webhook,
    grouper: Grouper,
    pending: Pending,
    /// Messages that are to be sent now, oldest first.
    messages: VecDeque<ChatMessage>,
    sink: Sink,
    receipts: Receiver<Delivery>,
    tokens: u64,
}

impl Worker {
    fn run(mut self, events: &Receiver<SourceEvent>) {
        loop {
            let event = match events.recv_timeout(self.patience()) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match event {
                Some(SourceEvent::Batch(batch)) => self.take(&batch),
                Some(SourceEvent::Revoked(revoked)) => self.release(revoked),
                Some(SourceEvent::Error(error)) => {
                    tracing::warn!(%error, "reading alerts for the chat");
                }
                Some(SourceEvent::Assigned(_) | SourceEvent::Committed { .. }) | None => {}
                Some(SourceEvent::Stopped) => return,
            }
            if !self.stop.is_set() {
                self.messages.extend(self.grouper.due(now_ms()));
                self.deliver();
            }
        }
    }

    fn patience(&self) -> Duration {
        let left = self.grouper.next_deadline().map_or(IDLE, |due| {
            Duration::from_millis(u64::try_from(due - now_ms()).unwrap_or(0))
        });
        left.min(IDLE)
    }

    fn take(&mut self, batch: &Batch) {
        for record in batch.records() {
            let payload = record.payload.unwrap_or_default();
            // A record that is no alert (an operator's typing, a later schema) holds up nothing.
            match serde_json::from_slice::<Alert>(payload) {
                Ok(alert) => {
                    let number = self.grouper.push(alert, now_ms());
                    self.pending.read(batch.assigned(), number, record.offset);
                }
                Err(_) => {
                    metrics::counter!("keyhawk_chat_unreadable_total").increment(1);
                    tracing::warn!(
                        topic = %batch.assigned().topic,
                        partition = batch.assigned().partition,
                        offset = record.offset,
                        "a record of the alerts topic is no alert, and the chat leaves it out"
                    );
                    self.pending.skip(batch.assigned(), record.offset);
                }
            }
        }
        self.commit();
    }

    /// Sends what is due, oldest first, until it is done or a stop is asked for.
    fn deliver(&mut self) {
        while let Some(message) = self.messages.front() {
            let outcome = self.webhook.send(&message.body, &self.stop);
            let (failure, tries) = match outcome {
                Outcome::Stopped => return,
                Outcome::Sent { .. } => {
                    metrics::counter!("keyhawk_chat_messages_total", "result" => "sent")
                        .increment(1);
                    self.messages.pop_front();
                    self.commit();
                    continue;
                }
                Outcome::Refused { failure, tries } | Outcome::GaveUp { failure, tries } => {
                    (failure, tries)
                }
            };
            tracing::warn!(
                message = %message.id,
                rule = %message.rule,
                tries,
                topic = %self.config.dead_letter_topic,
                "a chat message becomes a dead letter: {failure}"
            );
            let letter = json!({
                "schema": "keyhawk.chat_dead/1",
                "id": message.id,
                "rule": message.rule,
                "alerts": message.alerts,
                "reason": failure.to_string(),
                "tries": tries,
                "body": message.body,
            });
            let (key, letter) = (message.id.clone(), letter.to_string());
            if !self.bury(&key, &letter) {
                return;
            }
            metrics::counter!("keyhawk_chat_messages_total", "result" => "dead_letter")
                .increment(1);
            self.messages.pop_front();
            self.commit();
        }
    }

    /// Writes a dead letter and waits for its receipt; false where a stop came first.
    fn bury(&mut self, key: &str, letter: &str) -> bool {
        let topic = &self.config.dead_letter_topic;
        loop {
            self.tokens += 1;
            let token = self.tokens;
            let queued = self
                .sink
                .send(topic, Some(key.as_bytes()), letter.as_bytes(), token);
            while queued.is_ok() {
                if self.stop.is_set() {
                    return false;
                }
                match self.receipts.recv_timeout(IDLE) {
                    // One of an earlier try that a stop did not wait for.
                    Ok(receipt) if receipt.token != token => {}
                    Ok(Delivery { result: Ok(()), .. }) => return true,
                    Ok(Delivery {
                        result:
                            Err(Refusal {
                                for_good: true,
                                reason,
                            }),
                        ..
                    }) => {
                        tracing::error!(
                            message = key,
                            topic,
                            "a dead letter of the chat was refused for good and is left out; the \
                             alerts topic has its alerts: {reason}"
                        );
                        return true;
                    }
                    Ok(Delivery {
                        result: Err(refusal),
                        ..
                    }) => {
                        tracing::warn!(
                            topic,
                            "a dead letter of the chat is sent again: {}",
                            refusal.reason
                        );
                        break;
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return false,
                }
            }
            if self.stop.pause(RESEND) {
                return false;
            }
        }
    }

    /// Commits all alerts before the oldest one that is neither sent nor buried.
    fn commit(&mut self) {
        let waiting = self.messages.iter().map(|message| message.first);
        let oldest = waiting.chain(self.grouper.oldest_held()).min();
        for (assigned, next_offset) in self.pending.done_before(oldest) {
            self.control.commit(&assigned, next_offset, "");
        }
    }

    /// Lets go of partitions. What is held of them is read again by their next owner.
    fn release(&mut self, revoked: Revoked) {
        let gone = |assigned: &Assigned| revoked.partitions.contains(assigned);
        self.pending.forget(gone);
        // Where nothing is left, what is held would only be told twice.
        if self.pending.is_empty() && revoked.reason != ReleaseReason::Replaced {
            self.messages.clear();
            self.grouper = Grouper::new(self.config.chat.clone());
        }
        revoked.done();
    }
}

fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}
