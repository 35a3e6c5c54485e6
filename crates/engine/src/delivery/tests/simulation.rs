//! Delivery under random faults: a model of a broker and a consumer group, and instances that crash.
//!
//! ```text
//!   log ──▶ reader ──▶ worker ──▶ Delivery ──▶ sent ──────▶ broker: published ids
//!                                    ▲  └────▶ commits ───▶ broker: offset, metadata, owner
//!                                    └── answers in any order, failures, revokes, losses, ticks
//! ```
//!
//! Each step is drawn from a seed: rows are read, answers come in any order, commits fail before or after
//! they took effect, partitions are revoked, lost and assigned elsewhere, a lost partition's owner goes on
//! as a zombie, instances crash or stop, and begin again at what the broker has committed. Whenever a
//! commit takes effect, everything below it must be published, and its metadata must equal what the log
//! says; at the end nothing may be missing or outstanding.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::*;

const SEEDS: u64 = 2_000;
const STEPS: usize = 400;
const SETTLE_STEPS_MAX: usize = 50_000;

/// SplitMix64: a whole simulation from one number.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

type Id = [u8; 16];

/// What the rows of a partition emit, row by row: a function of the log alone.
fn emitted(seed: u64, partition: usize, rows: usize) -> Vec<Vec<Id>> {
    let row = |offset: usize| {
        let place = mix(seed ^ mix((partition as u64) << 32 | offset as u64));
        let outputs = [0, 0, 0, 1, 1, 2, 3][(place % 7) as usize];
        let id = |n: u64| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&place.to_be_bytes());
            id[8..].copy_from_slice(&mix(place ^ n).to_be_bytes());
            id
        };
        (0..outputs).map(id).collect()
    };
    (0..rows).map(row).collect()
}

fn name(partition: usize) -> TopicPartition {
    TopicPartition {
        topic: "access".into(),
        partition: i32::try_from(partition).unwrap(),
    }
}

fn number(partition: &TopicPartition) -> usize {
    usize::try_from(partition.partition).unwrap()
}

/// A partition at the broker, and its truth.
struct Partition {
    rows: Vec<Vec<Id>>,
    committed: Option<(usize, CommitMetadata)>,
    owner: Option<(usize, Epoch)>,
}

impl Partition {
    fn committed_offset(&self) -> usize {
        self.committed.map_or(0, |(offset, _)| offset)
    }
}

struct Reader {
    epoch: Epoch,
    position: usize,
    paused: bool,
}

struct Sent {
    token: Token,
    id: Id,
    is_stub: bool,
}

struct Asked {
    partition: usize,
    epoch: Epoch,
    offset: usize,
    metadata: CommitMetadata,
}

/// One instance of Keyhawk.
struct Instance {
    delivery: Delivery,
    readers: BTreeMap<usize, Reader>,
    /// Batches that are read and not yet handed to delivery: (partition, epoch, from, to).
    worker: VecDeque<(usize, Epoch, usize, usize)>,
    sent: Vec<Sent>,
    commits: Vec<Asked>,
    /// Revoke callbacks that wait.
    revokes: BTreeSet<(usize, Epoch)>,
    /// Losses that the group has decided and the instance has not heard of.
    losses: Vec<(usize, Epoch)>,
    stopping: bool,
    stopped: bool,
}

impl Instance {
    fn new(in_flight_max: usize) -> Self {
        Self {
            delivery: Delivery::new(Config {
                in_flight_max,
                ..Config::default()
            }),
            readers: BTreeMap::new(),
            worker: VecDeque::new(),
            sent: Vec::new(),
            commits: Vec::new(),
            revokes: BTreeSet::new(),
            losses: Vec::new(),
            stopping: false,
            stopped: false,
        }
    }
}

/// Which kinds of fault a run has.
#[derive(Clone, Copy)]
struct Faults {
    /// Refusals, and failed commits: nothing is repeated because of them.
    answers: bool,
    /// Crashes, losses and stale commits: what was sent since the last commit is repeated.
    repeating: bool,
}

struct Simulation {
    random: Random,
    faults: Faults,
    partitions: Vec<Partition>,
    instances: Vec<Instance>,
    in_flight_max: usize,
    now_ms: i64,
    epoch: u64,
    /// How often each id is there, as itself or as a stub.
    published: BTreeMap<Id, usize>,
    /// Ids that an alarm said are nowhere.
    dropped: BTreeSet<Id>,
    /// Ids whose stub the broker refused: only these may be dropped.
    refused_stubs: BTreeSet<Id>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let faults = Faults {
            answers: random.percent(80),
            repeating: random.percent(75),
        };
        let partition = |partition| Partition {
            rows: emitted(seed, partition, 1 + random.below(60)),
            committed: None,
            owner: None,
        };
        let partitions = (0..3).map(partition).collect();
        let in_flight_max = 1 + random.below(20);
        Self {
            faults,
            partitions,
            instances: (0..2).map(|_| Instance::new(in_flight_max)).collect(),
            in_flight_max,
            now_ms: 0,
            epoch: 0,
            published: BTreeMap::new(),
            dropped: BTreeSet::new(),
            refused_stubs: BTreeSet::new(),
            random,
        }
    }

    fn run(mut self) -> usize {
        for _ in 0..STEPS {
            self.step();
        }
        self.faults = Faults {
            answers: false,
            repeating: false,
        };
        self.settle();
        let repeats = self.published.values().map(|times| times - 1).sum();
        for id in self
            .partitions
            .iter()
            .flat_map(|partition| partition.rows.iter().flatten())
        {
            assert!(
                self.published.contains_key(id) || self.dropped.contains(id),
                "{id:x?} is lost"
            );
        }
        repeats
    }

    /// Without further faults everything is read, published and committed, and stops cleanly.
    fn settle(&mut self) {
        for _ in 0..SETTLE_STEPS_MAX {
            let is_done =
                |partition: &Partition| partition.committed_offset() == partition.rows.len();
            if self.partitions.iter().all(is_done) {
                break;
            }
            self.work();
        }
        for partition in &self.partitions {
            assert_eq!(
                partition.committed_offset(),
                partition.rows.len(),
                "no progress"
            );
        }
        (0..self.instances.len()).for_each(|i| self.stop(i));
        for _ in 0..SETTLE_STEPS_MAX {
            if self.instances.iter().all(|instance| instance.stopped) {
                return;
            }
            self.answer_output();
            self.answer_commit();
            self.tick();
        }
        assert!(
            self.instances.iter().all(|instance| instance.stopped),
            "a stop does not end"
        );
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0 => self.revoke(),
            1 => {
                let i = self.random.below(self.instances.len());
                self.stop(i);
            }
            2 if self.faults.repeating => self.crash(),
            3 if self.faults.repeating => self.take_away(),
            4 if self.faults.repeating => self.give_up_revoke(),
            _ => self.work(),
        }
    }

    fn work(&mut self) {
        match self.random.below(12) {
            0..3 => self.read(),
            3..5 => self.process(),
            5..8 => self.answer_output(),
            8 => self.answer_commit(),
            9 => self.tick(),
            10 => self.assign(),
            _ => self.hear_of_loss(),
        }
    }

    fn read(&mut self) {
        let i = self.random.below(self.instances.len());
        let wanted = 1 + self.random.below(6);
        let instance = &mut self.instances[i];
        let Some(nth) =
            (!instance.readers.is_empty()).then(|| self.random.below(instance.readers.len()))
        else {
            return;
        };
        let (partition, reader) = instance.readers.iter_mut().nth(nth).unwrap();
        let to = self.partitions[*partition]
            .rows
            .len()
            .min(reader.position + wanted);
        if !reader.paused && to > reader.position {
            instance
                .worker
                .push_back((*partition, reader.epoch, reader.position, to));
            reader.position = to;
        }
    }

    fn process(&mut self) {
        let i = self.random.below(self.instances.len());
        self.process_on(i);
    }

    fn process_on(&mut self, i: usize) {
        let Some((partition, epoch, from, to)) = self.instances[i].worker.pop_front() else {
            return;
        };
        let output = |id: &Id| Output {
            id: *id,
            topic: OutputTopic::Alerts,
            key: None,
            payload: id.to_vec(),
        };
        let outputs = self.partitions[partition].rows[from..to]
            .iter()
            .flatten()
            .map(output)
            .collect();
        let next_offset = i64::try_from(to).unwrap();
        let revoked = self.instances[i].revokes.contains(&(partition, epoch));
        let sent = self.instances[i].sent.len();
        self.tell(
            i,
            Event::Batch {
                partition: name(partition),
                epoch,
                next_offset,
                outputs,
            },
        );
        assert!(
            !revoked || self.instances[i].sent.len() == sent,
            "a batch is taken after the revoke"
        );
    }

    fn answer_output(&mut self) {
        let i = self.random.below(self.instances.len());
        if self.instances[i].sent.is_empty() {
            return;
        }
        let nth = self.random.below(self.instances[i].sent.len());
        let Sent { token, id, is_stub } = self.instances[i].sent.swap_remove(nth);
        if self.faults.answers && self.random.percent(if is_stub { 30 } else { 5 }) {
            if is_stub {
                self.refused_stubs.insert(id);
            }
            let sent = self.instances[i].sent.len();
            self.tell(
                i,
                Event::Refused {
                    token,
                    reason: "no".into(),
                    stub: None,
                },
            );
            assert!(
                !is_stub || self.instances[i].sent.len() == sent,
                "a stub is tried again"
            );
        } else {
            *self.published.entry(id).or_default() += 1;
            self.tell(i, Event::Acknowledged { token });
        }
    }

    fn answer_commit(&mut self) {
        let i = self.random.below(self.instances.len());
        if self.instances[i].commits.is_empty() {
            return;
        }
        let nth = self.random.below(self.instances[i].commits.len());
        let asked = self.instances[i].commits.swap_remove(nth);
        let stale = self.partitions[asked.partition].owner != Some((i, asked.epoch));
        let spurious = self.faults.repeating && self.random.percent(3);
        let result = if stale || spurious {
            CommitResult::Stale
        } else if self.faults.answers && self.random.percent(20) {
            if self.random.percent(50) {
                self.commit(&asked);
            }
            CommitResult::Failed
        } else {
            self.commit(&asked);
            CommitResult::Done
        };
        let next_offset = i64::try_from(asked.offset).unwrap();
        self.tell(
            i,
            Event::Committed {
                partition: name(asked.partition),
                epoch: asked.epoch,
                next_offset,
                result,
            },
        );
    }

    /// A commit takes effect at the broker: the moment at which nothing below it may be missing.
    fn commit(&mut self, asked: &Asked) {
        let partition = &mut self.partitions[asked.partition];
        assert!(
            asked.offset >= partition.committed_offset(),
            "a commit goes back"
        );
        let below: Vec<&Id> = partition.rows[..asked.offset].iter().flatten().collect();
        for id in &below {
            assert!(
                self.published.contains_key(*id) || self.dropped.contains(*id),
                "offset {} is committed above the open output {id:x?}",
                asked.offset
            );
        }
        let mut digest = IdDigest::default();
        below[usize::try_from(asked.metadata.base_seq).unwrap()..]
            .iter()
            .for_each(|id| digest.add(id));
        assert_eq!(
            asked.metadata.seq,
            below.len() as u64,
            "seq counts what the log emitted"
        );
        assert_eq!(asked.metadata.digest, digest);
        partition.committed = Some((asked.offset, asked.metadata));
    }

    fn tick(&mut self) {
        let i = self.random.below(self.instances.len());
        self.now_ms += i64::try_from(self.random.below(150)).unwrap();
        self.tell(
            i,
            Event::Tick {
                now_ms: self.now_ms,
            },
        );
    }

    fn assign(&mut self) {
        let p = self.random.below(self.partitions.len());
        let i = self.random.below(self.instances.len());
        if self.partitions[p].owner.is_none() {
            self.assign_to(p, i);
        }
    }

    fn assign_to(&mut self, p: usize, i: usize) {
        if self.instances[i].stopping {
            return;
        }
        self.epoch += 1;
        let epoch = Epoch(self.epoch);
        let partition = &mut self.partitions[p];
        partition.owner = Some((i, epoch));
        let reader = Reader {
            epoch,
            position: partition.committed_offset(),
            paused: false,
        };
        let resume = partition.committed.map(|(_, metadata)| metadata);
        self.instances[i].readers.insert(p, reader);
        self.tell(
            i,
            Event::Assigned {
                partition: name(p),
                epoch,
                resume,
            },
        );
    }

    fn revoke(&mut self) {
        let p = self.random.below(self.partitions.len());
        let Some((i, epoch)) = self.partitions[p].owner else {
            return;
        };
        if self.instances[i].revokes.insert((p, epoch)) {
            self.instances[i].readers.remove(&p);
            self.tell(
                i,
                Event::Revoked {
                    partition: name(p),
                    epoch,
                },
            );
        }
    }

    /// The deadline of a revoke has passed.
    fn give_up_revoke(&mut self) {
        let i = self.random.below(self.instances.len());
        let Some((p, epoch)) = self.instances[i].revokes.first().copied() else {
            return;
        };
        self.tell(
            i,
            Event::Lost {
                partition: name(p),
                epoch,
            },
        );
        assert!(
            !self.instances[i].revokes.contains(&(p, epoch)),
            "the callback still waits"
        );
    }

    /// The group gives a partition to another, and its owner does not know yet.
    fn take_away(&mut self) {
        let p = self.random.below(self.partitions.len());
        let Some((i, epoch)) = self.partitions[p].owner.take() else {
            return;
        };
        self.instances[i].losses.push((p, epoch));
        let to = self.random.below(self.instances.len());
        self.assign_to(p, to);
    }

    fn hear_of_loss(&mut self) {
        let i = self.random.below(self.instances.len());
        let Some((p, epoch)) = self.instances[i].losses.pop() else {
            return;
        };
        self.instances[i]
            .readers
            .retain(|of, reader| *of != p || reader.epoch != epoch);
        self.tell(
            i,
            Event::Lost {
                partition: name(p),
                epoch,
            },
        );
    }

    /// Reading ends, what was read is processed, and delivery finishes.
    fn stop(&mut self, i: usize) {
        if self.instances[i].stopping {
            return;
        }
        self.instances[i].stopping = true;
        self.instances[i].readers.clear();
        while !self.instances[i].worker.is_empty() {
            self.process_on(i);
        }
        self.tell(i, Event::Stop);
    }

    /// What was under way may have reached the broker or not; another process begins.
    fn crash(&mut self) {
        let i = self.random.below(self.instances.len());
        let crashed = std::mem::replace(&mut self.instances[i], Instance::new(self.in_flight_max));
        for sent in crashed.sent {
            if self.random.percent(50) {
                *self.published.entry(sent.id).or_default() += 1;
            }
        }
        for asked in crashed.commits {
            if self.partitions[asked.partition].owner == Some((i, asked.epoch))
                && self.random.percent(50)
            {
                self.commit(&asked);
            }
        }
        self.leave(i);
    }

    fn leave(&mut self, i: usize) {
        for partition in &mut self.partitions {
            partition.owner = partition.owner.filter(|(owner, _)| *owner != i);
        }
    }

    /// An event to an instance, and its effects performed.
    fn tell(&mut self, i: usize, event: Event) {
        let mut effects = Vec::new();
        self.instances[i].delivery.handle(event, &mut effects);
        for effect in effects {
            self.perform(i, effect);
        }
    }

    fn perform(&mut self, i: usize, effect: Effect) {
        let instance = &mut self.instances[i];
        match effect {
            Effect::Produce {
                token, id, payload, ..
            } => {
                assert!(!instance.stopped, "an output after the stop");
                let is_stub = payload != id;
                assert_eq!(
                    is_stub,
                    payload.starts_with(br#"{"schema":"keyhawk.stub/1""#),
                    "the same id, another payload"
                );
                instance.sent.push(Sent { token, id, is_stub });
            }
            Effect::Commit {
                partition,
                epoch,
                next_offset,
                metadata,
            } => {
                let partition = number(&partition);
                let same = |other: &Asked| (other.partition, other.epoch) == (partition, epoch);
                assert!(!instance.commits.iter().any(same), "two commits in flight");
                let offset = usize::try_from(next_offset).unwrap();
                let metadata = CommitMetadata::parse(&metadata).unwrap();
                instance.commits.push(Asked {
                    partition,
                    epoch,
                    offset,
                    metadata,
                });
            }
            Effect::ReleaseRevoked { partition, epoch } => {
                let p = number(&partition);
                let waited = instance.revokes.remove(&(p, epoch));
                assert!(waited, "released twice, or never asked for");
                if self.partitions[p].owner == Some((i, epoch)) {
                    self.partitions[p].owner = None;
                }
            }
            Effect::Pause { partition, epoch } => {
                // A batch can come out of the worker after the reader has gone, and reach the bound.
                if let Some(reader) = instance.readers.get_mut(&number(&partition)) {
                    assert_eq!((reader.epoch, reader.paused), (epoch, false));
                    reader.paused = true;
                }
            }
            Effect::Resume { partition, epoch } => {
                if let Some(reader) = instance.readers.get_mut(&number(&partition)) {
                    assert_eq!((reader.epoch, reader.paused), (epoch, true));
                    reader.paused = false;
                }
            }
            Effect::Alarm(Alarm::StubRefused { id, .. }) => {
                assert!(
                    self.refused_stubs.contains(&id),
                    "dropped without having tried a stub"
                );
                self.dropped.insert(id);
            }
            Effect::Alarm(Alarm::CommitAbandoned { .. }) => {
                assert!(instance.stopping || !instance.revokes.is_empty());
            }
            Effect::Alarm(Alarm::OffsetWentBack { .. }) => {
                unreachable!("batches come in the order of the log")
            }
            Effect::Alarm(Alarm::OutputRefused { .. } | Alarm::CommitFailing { .. }) => {}
            Effect::Stopped => self.restart(i),
        }
    }

    /// A stop has ended: nothing is outstanding. While faults go on, another process begins.
    fn restart(&mut self, i: usize) {
        let instance = &mut self.instances[i];
        assert!(
            instance.stopping && !instance.stopped,
            "stopped unasked, or twice"
        );
        assert!(instance.revokes.is_empty(), "a revoke callback still waits");
        instance.stopped = true;
        for p in 0..self.partitions.len() {
            let Some(status) = instance.delivery.status(&name(p)) else {
                continue;
            };
            assert_eq!(status.in_flight, 0, "stopped with outputs in flight");
            let same = |asked: &Asked| (asked.partition, asked.epoch) == (p, status.epoch);
            assert!(
                !instance.commits.iter().any(same),
                "stopped with a commit in flight"
            );
        }
        self.leave(i);
        let settled = |p: &Partition| p.committed_offset() == p.rows.len();
        if !self.partitions.iter().all(settled) {
            // Of lost assignments something can still be under way, and counts.
            let sent = std::mem::take(&mut self.instances[i].sent);
            sent.iter()
                .for_each(|sent| *self.published.entry(sent.id).or_default() += 1);
            self.instances[i] = Instance::new(self.in_flight_max);
        }
    }
}

/// Says which seed it was, whatever panicked.
struct SeedOnPanic(u64);

impl Drop for SeedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("delivery simulation failed with seed {}", self.0);
        }
    }
}

#[test]
fn nothing_is_lost_under_random_faults() {
    let mut repeats = 0;
    for seed in 0..SEEDS {
        let _seed = SeedOnPanic(seed);
        let simulation = Simulation::new(seed);
        let repeating = simulation.faults.repeating;
        let repeated = simulation.run();
        assert!(
            repeating || repeated == 0,
            "{repeated} outputs were repeated without a crash or a loss"
        );
        repeats += repeated;
    }
    assert!(repeats > 0, "the faults reach what they should");
}
