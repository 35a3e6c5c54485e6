//! The sessions that an operator holds, by number, and the latest one of each key.
//!
//! ```text
//!   key ──▶ latest ──▶ [ 0: start, last, home, slot … ][ 1 ][ free ][ 3 ]
//! ```
//!
//! Numbers of sessions that left are given again, and a key is held as long as a session of it: memory
//! follows the most sessions that were open at once. Only for the topic's keys are 4 bytes kept each,
//! as the machine keeps their text anyway.

use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use keyhawk_functions::SessionLimits;

pub(super) const NONE: u32 = u32::MAX;
/// The home of a session that is about to be given one.
pub(super) const PENDING: u32 = u32::MAX - 1;

/// One session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    /// The times of its first and last rows.
    pub(super) start: i64,
    pub(super) last: i64,
    /// The cohort with its aggregates, and its slot there; `NONE` for a number that is free.
    pub(super) home: u32,
    pub(super) slot: u32,
    /// The number of the topic's key, or `NONE`.
    pub(super) topic_key: u32,
    /// Whether a row of it passed the filter.
    pub(super) counted: bool,
    /// Whether it changed since the last snapshot, and whether a snapshot holds it.
    pub(super) dirty: bool,
    pub(super) saved: bool,
}

/// How a session's key is given.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key<'a> {
    /// The number of the topic's key.
    Topic(u32),
    /// Values in the row format.
    Columns(&'a [u8]),
}

#[derive(Debug)]
enum Latest {
    /// Index = number of the topic's key.
    Topic(Vec<u32>),
    Columns(HashTable<u32>, RandomState),
}

#[derive(Debug)]
pub(super) struct Table {
    limits: SessionLimits,
    open: Vec<Open>,
    /// The key of each session in the row format; empty for keys of the topic.
    values: Vec<Box<[u8]>>,
    free: Vec<u32>,
    latest: Latest,
}

impl Table {
    pub(super) fn by_topic(limits: SessionLimits) -> Self {
        Table::new(limits, Latest::Topic(Vec::new()))
    }

    pub(super) fn by_columns(limits: SessionLimits) -> Self {
        let latest = Latest::Columns(HashTable::new(), RandomState::default());
        Table::new(limits, latest)
    }

    fn new(limits: SessionLimits, latest: Latest) -> Self {
        Table {
            limits,
            open: Vec::new(),
            values: Vec::new(),
            free: Vec::new(),
            latest,
        }
    }

    pub(super) fn get(&self, id: u32) -> &Open {
        &self.open[id as usize]
    }

    pub(super) fn get_mut(&mut self, id: u32) -> &mut Open {
        &mut self.open[id as usize]
    }

    /// The key's values in the row format; empty for keys of the topic.
    pub(super) fn value(&self, id: u32) -> &[u8] {
        &self.values[id as usize]
    }

    /// The end of a session as it stands; rows can only move it on.
    pub(super) fn end(&self, id: u32) -> i64 {
        let open = self.get(id);
        self.limits.end(open.start, open.last)
    }

    /// The numbers of all sessions.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        let used = |&id: &u32| self.get(id).home != NONE;
        (0..self.open.len() as u32).filter(used)
    }

    /// The session of a key that started last.
    pub(super) fn latest(&self, key: Key<'_>) -> Option<u32> {
        match (&self.latest, key) {
            (Latest::Topic(latest), Key::Topic(key)) => {
                latest.get(key as usize).copied().filter(|&id| id != NONE)
            }
            (Latest::Columns(latest, hasher), Key::Columns(key)) => {
                let same = |&id: &u32| &*self.values[id as usize] == key;
                latest.find(hasher.hash_one(key), same).copied()
            }
            _ => unreachable!("keys are given as the table was made for"),
        }
    }

    /// The session of a key that started at `start`.
    pub(super) fn find(&self, key: Key<'_>, start: i64) -> Option<u32> {
        let latest = self.latest(key)?;
        if self.get(latest).start == start {
            return Some(latest);
        }
        self.ids().find(|&id| {
            self.get(id).start == start
                && match key {
                    Key::Topic(key) => self.get(id).topic_key == key,
                    Key::Columns(key) => self.value(id) == key,
                }
        })
    }

    /// Gives a session a number; of its key's sessions the latest is the one that starts last.
    pub(super) fn insert(&mut self, key: Key<'_>, session: Open) -> u32 {
        let value = match key {
            Key::Topic(_) => Box::default(),
            Key::Columns(key) => key.into(),
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.open[id as usize] = session;
                self.values[id as usize] = value;
                id
            }
            None => {
                self.open.push(session);
                self.values.push(value);
                u32::try_from(self.open.len() - 1)
                    .expect("an operator holds fewer than 2^32 sessions")
            }
        };
        let (open, values) = (&self.open, &self.values);
        let later = |than: u32| than == NONE || open[than as usize].start <= session.start;
        match (&mut self.latest, key) {
            (Latest::Topic(latest), Key::Topic(key)) => {
                let key = key as usize;
                if latest.len() <= key {
                    latest.resize(key + 1, NONE);
                }
                if later(latest[key]) {
                    latest[key] = id;
                }
            }
            (Latest::Columns(latest, hasher), Key::Columns(key)) => {
                let mut entry = latest
                    .entry(
                        hasher.hash_one(key),
                        |&other| &*values[other as usize] == key,
                        |&other| hasher.hash_one(&*values[other as usize]),
                    )
                    .or_insert(id);
                if later(*entry.get()) {
                    *entry.get_mut() = id;
                }
            }
            _ => unreachable!("keys are given as the table was made for"),
        }
        id
    }

    /// Frees a session's number.
    pub(super) fn remove(&mut self, id: u32) {
        match &mut self.latest {
            Latest::Topic(latest) => {
                let key = self.open[id as usize].topic_key as usize;
                if latest[key] == id {
                    latest[key] = NONE;
                }
            }
            Latest::Columns(latest, hasher) => {
                let hash = hasher.hash_one(&*self.values[id as usize]);
                if let Ok(entry) = latest.find_entry(hash, |&other| other == id) {
                    entry.remove();
                }
            }
        }
        self.open[id as usize].home = NONE;
        self.values[id as usize] = Box::default();
        self.free.push(id);
    }

    pub(super) fn memory(&self) -> usize {
        let latest = match &self.latest {
            Latest::Topic(latest) => latest.capacity() * size_of::<u32>(),
            Latest::Columns(latest, _) => latest.capacity() * 5,
        };
        latest
            + self.open.capacity() * size_of::<Open>()
            + self.free.capacity() * size_of::<u32>()
            + self.values.capacity() * size_of::<Box<[u8]>>()
            + self.values.iter().map(|value| value.len()).sum::<usize>()
    }
}
