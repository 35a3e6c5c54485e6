//! What delivery is told and what it asks for: its events, effects and alarms.
//!
//! Plain data, without a reference to the machine, a producer or a consumer. Every message about a
//! partition names the assignment that it belongs to, so that what is late can be told from what is due.

use std::fmt;
use std::sync::Arc;

use super::metadata::CommitMetadata;

/// A partition of a source topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name, shared because every batch and output names it.
    pub topic: Arc<str>,
    /// The partition's number in Kafka.
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// Tells the assignments of a partition to this instance apart. Whoever assigns counts it up each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Names one attempt to produce one output; travels through the producer and comes back in its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Which of Keyhawk's topics an output goes to; the pipeline knows their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutputTopic {
    /// Alerts, keyed by entity.
    Alerts,
    /// Commands that are to be carried out.
    Commands,
    /// Commands that only say what would have been done.
    Shadow,
    /// Late rows, decoded.
    Late,
    /// Records that could not be decoded.
    Dead,
}

impl OutputTopic {
    /// The word for it in stubs, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alerts => "alerts",
            Self::Commands => "commands",
            Self::Shadow => "shadow",
            Self::Late => "late",
            Self::Dead => "dead",
        }
    }

    /// Where the stub of a refused output goes: to the same topic, but for commands, of which a stub
    /// cannot be carried out, and nothing on their topic may be ignored.
    pub fn of_stub(self) -> Self {
        match self {
            Self::Commands => Self::Shadow,
            other => other,
        }
    }
}

/// One message that processing emitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// A digest of what the output is about, the same whenever its rows are processed again.
    pub id: [u8; 16],
    /// Where it goes.
    pub topic: OutputTopic,
    /// The message's key.
    pub key: Option<Vec<u8>>,
    /// The message's value.
    pub payload: Vec<u8>,
}

/// How a commit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitResult {
    /// The group has the offset.
    Done,
    /// It failed or its fate is unknown, and trying again may help: a timeout, a rebalance under way.
    Failed,
    /// The group refused it as one of a generation or a member that it no longer knows.
    Stale,
}

/// What the machine is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// The group gave us the partition; its reader stands at the committed offset and is not paused.
    Assigned {
        /// The partition.
        partition: TopicPartition,
        /// Above every epoch that the partition had on this instance.
        epoch: Epoch,
        /// What the committed offset carries; none where there is none that [`CommitMetadata::parse`]
        /// takes, and numbering begins at 0.
        resume: Option<CommitMetadata>,
    },
    /// The group asks for the partition, and its callback waits for [`Effect::ReleaseRevoked`].
    Revoked {
        /// The partition.
        partition: TopicPartition,
        /// Its assignment.
        epoch: Epoch,
    },
    /// The partition is already another's, or the pipeline cannot wait for its release any longer.
    Lost {
        /// The partition.
        partition: TopicPartition,
        /// Its assignment.
        epoch: Epoch,
    },
    /// Rows were processed. Batches of a partition come in the order of its log.
    Batch {
        /// The partition.
        partition: TopicPartition,
        /// The assignment under which the rows were read.
        epoch: Epoch,
        /// The offset after the last row: where reading would go on. Equal to the one before where time
        /// alone moved.
        next_offset: i64,
        /// All that these rows emitted, in order.
        outputs: Vec<Output>,
    },
    /// The broker has the output, on all in-sync replicas.
    Acknowledged {
        /// From [`Effect::Produce`].
        token: Token,
    },
    /// The broker will never take the output: too large, not authorised, no such topic.
    Refused {
        /// From [`Effect::Produce`].
        token: Token,
        /// The broker's words, for the stub; cut after 512 bytes.
        reason: String,
        /// The stub, where the caller can make one of the output's own kind; otherwise it is a plain
        /// `keyhawk.stub/1`.
        stub: Option<Vec<u8>>,
    },
    /// The answer to [`Effect::Commit`].
    Committed {
        /// The partition.
        partition: TopicPartition,
        /// Its assignment.
        epoch: Epoch,
        /// The offset that was to be committed.
        next_offset: i64,
        /// How it went.
        result: CommitResult,
    },
    /// Time passed. Expected a few times per commit interval.
    Tick {
        /// Milliseconds of any clock that does not go back, the same clock for every tick.
        now_ms: i64,
    },
    /// No further batch will come: finish, and say so.
    Stop,
}

/// What the pipeline is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Hand the message to the producer, and answer with `Acknowledged` or `Refused`.
    Produce {
        /// To be given back with the answer.
        token: Token,
        /// The output's id, which a stub shares with what it replaces.
        id: [u8; 16],
        /// Where it goes.
        topic: OutputTopic,
        /// The message's key.
        key: Option<Vec<u8>>,
        /// The message's value.
        payload: Vec<u8>,
    },
    /// Commit the offset with this text to the consumer group, and answer with `Committed`.
    Commit {
        /// The partition.
        partition: TopicPartition,
        /// Its assignment, to be given back with the answer.
        epoch: Epoch,
        /// The offset to commit.
        next_offset: i64,
        /// Shorter than [`METADATA_BYTES_MAX`](super::METADATA_BYTES_MAX).
        metadata: String,
    },
    /// The callback of this revoke may return: nothing of the partition is in flight any more.
    ReleaseRevoked {
        /// The partition.
        partition: TopicPartition,
        /// Its assignment.
        epoch: Epoch,
    },
    /// Stop fetching from the partition. A new assignment begins unpaused.
    Pause {
        /// The partition.
        partition: TopicPartition,
        /// Its assignment.
        epoch: Epoch,
    },
    /// Fetch from the partition again.
    Resume {
        /// The partition.
        partition: TopicPartition,
        /// Its assignment.
        epoch: Epoch,
    },
    /// Someone should look.
    Alarm(Alarm),
    /// After [`Event::Stop`]: all is acknowledged and committed. The consumer may leave the group.
    Stopped,
}

/// What a person should know of. `Display` says what happened and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A stub took the place of an output.
    OutputRefused {
        /// The source partition.
        partition: TopicPartition,
        /// The output's id.
        id: [u8; 16],
        /// Where it was to go.
        topic: OutputTopic,
        /// The broker's words.
        reason: String,
    },
    /// Not even the stub was taken: this output is nowhere but in this alarm.
    StubRefused {
        /// The source partition.
        partition: TopicPartition,
        /// The output's id.
        id: [u8; 16],
        /// Where it was to go.
        topic: OutputTopic,
        /// The broker's words.
        reason: String,
    },
    /// Commits of a partition keep failing.
    CommitFailing {
        /// The partition.
        partition: TopicPartition,
        /// Failures in a row.
        failures: u32,
    },
    /// A partition left without its last commit: outputs since then will be emitted again.
    CommitAbandoned {
        /// The partition.
        partition: TopicPartition,
        /// Its assignment.
        epoch: Epoch,
    },
    /// A batch ended before the position already processed.
    OffsetWentBack {
        /// The partition.
        partition: TopicPartition,
        /// The position already processed.
        expected_from: i64,
        /// Where the batch ended.
        next_offset: i64,
    },
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutputRefused {
                partition,
                id,
                topic,
                reason,
            } => write!(
                f,
                "the broker refused output {:032x} of {partition} for the {} topic ({reason}); a stub stands in \
                 its place: look at the topic's limits and permissions",
                u128::from_be_bytes(*id),
                topic.name(),
            ),
            Self::StubRefused {
                partition,
                id,
                topic,
                reason,
            } => write!(
                f,
                "the broker refused output {:032x} of {partition} for the {} topic, and its stub as well \
                 ({reason}); the output is dropped: mend the topic, then replay the partition to have it again",
                u128::from_be_bytes(*id),
                topic.name(),
            ),
            Self::CommitFailing {
                partition,
                failures,
            } => write!(
                f,
                "{failures} commits of {partition} failed in a row; detection goes on, a restart would repeat \
                 outputs: look at the brokers and the group coordinator"
            ),
            Self::CommitAbandoned { partition, .. } => write!(
                f,
                "{partition} left without its last commit because the group no longer knows this member; \
                 outputs since the commit before are sent again, with the same ids"
            ),
            Self::OffsetWentBack {
                partition,
                expected_from,
                next_offset,
            } => write!(
                f,
                "a batch of {partition} ended at offset {next_offset}, before {expected_from} already \
                 processed; it is dropped: a topic made anew needs a new assignment"
            ),
        }
    }
}
