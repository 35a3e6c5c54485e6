//! How sessions are saved: a row each, named by its start and key, never by a number.
//!
//! ```text
//!   key     start, i64 big-endian │ the topic's key as text, or the values in the row format
//!   state   last, i64 │ counted, u8 │ topic key: length u32 and text, or u32::MAX │ the aggregates
//! ```
//!
//! Numbers of the state are little-endian. Where sessions are keyed by the topic's key, the state does
//! not repeat it.

use super::table::{Key, NONE, Open, PENDING};
use super::{OPERATOR, Session};
use crate::error::{Error, Result};
use crate::keys::TopicKeys;
use crate::operators::state::{read_whole, split};
use crate::operators::{Context, StateRow};
use crate::program::KeyBy;

impl Session {
    /// The rows of state changed or deleted since the last call.
    pub(super) fn save(&mut self, keys: &TopicKeys) -> Vec<StateRow> {
        let mut changes: Vec<StateRow> = self
            .closed
            .drain(..)
            .map(|key| StateRow { key, state: None })
            .collect();
        for home in self.cohorts.homes() {
            let members = self.cohorts.members(home);
            let is_dirty =
                |&slot: &usize| members[slot] != NONE && self.table.get(members[slot]).dirty;
            let dirty: Vec<usize> = (0..members.len()).filter(is_dirty).collect();
            let ids: Vec<u32> = dirty.iter().map(|&slot| members[slot]).collect();
            let mut states: Vec<Vec<u8>> = ids.iter().map(|&id| self.state(id, keys)).collect();
            self.cohorts.save(home, &dirty, &mut states);
            for (id, state) in ids.into_iter().zip(states) {
                changes.push(StateRow {
                    key: self.state_key(id, keys),
                    state: Some(state),
                });
                let session = self.table.get_mut(id);
                (session.dirty, session.saved) = (false, true);
            }
        }
        changes
    }

    /// Takes saved rows; those of sessions that are here already replace them.
    pub(super) fn load(&mut self, rows: &[StateRow], context: &mut Context<'_>) -> Result<()> {
        let mut restored = Vec::new();
        let mut replaced = false;
        for row in rows {
            let Some(mut state) = row.state.as_deref() else {
                continue;
            };
            let (id, known) = self.restore_session(row, &mut state, context)?;
            replaced |= known;
            restored.push((self.table.end(id), id, state));
        }
        // Cohorts fill up by the ends.
        restored.sort_by_key(|&(end, ..)| end);
        for (end, id, mut state) in restored {
            let (home, slot) = self.cohorts.place(id, end)?;
            let session = self.table.get_mut(id);
            (session.home, session.slot) = (home, slot);
            self.cohorts.load(home, slot, &mut state)?;
            read_whole(state, OPERATOR)?;
        }
        if replaced {
            self.cohorts.file_all(&self.table)?;
        }
        self.cohorts.settle(&self.table)
    }

    /// A row of state is named by the start, big-endian, and the key by value.
    pub(super) fn state_key(&self, id: u32, keys: &TopicKeys) -> Vec<u8> {
        let start = self.table.get(id).start.to_be_bytes();
        [&start, self.key_bytes(id, keys)].concat()
    }

    /// What a row of state says before the aggregates.
    fn state(&self, id: u32, keys: &TopicKeys) -> Vec<u8> {
        let session = self.table.get(id);
        let mut state = session.last.to_le_bytes().to_vec();
        state.push(u8::from(session.counted));
        if let KeyBy::Columns(_) = self.plan.keys {
            match session.topic_key {
                NONE => state.extend(u32::MAX.to_le_bytes()),
                key => {
                    let text = keys.value(key);
                    state.extend((text.len() as u32).to_le_bytes());
                    state.extend(text.as_bytes());
                }
            }
        }
        state
    }

    /// Takes one row of state, except for its aggregates, in the place of the same session if that is
    /// here. The session is in no cohort yet.
    fn restore_session(
        &mut self,
        row: &StateRow,
        state: &mut &[u8],
        context: &mut Context<'_>,
    ) -> Result<(u32, bool)> {
        let mut key = row.key.as_slice();
        let start = i64::from_be_bytes(take_bytes(&mut key)?);
        let last = i64::from_le_bytes(take_bytes(state)?);
        let [counted] = take_bytes(state)?;
        let topic_key = match &self.plan.keys {
            KeyBy::Topic => context.keys.intern(text(key)?),
            KeyBy::Columns(_) => match u32::from_le_bytes(take_bytes(state)?) {
                u32::MAX => NONE,
                length => context.keys.intern(text(split(state, length as usize)?)?),
            },
        };
        if last < start {
            return Err(damaged(format!("a session from {start} to {last}")));
        }
        let key = match &self.plan.keys {
            KeyBy::Topic => Key::Topic(topic_key),
            KeyBy::Columns(_) => Key::Columns(key),
        };
        let session = Open {
            start,
            last,
            home: PENDING,
            slot: 0,
            topic_key,
            counted: counted != 0,
            dirty: false,
            saved: true,
        };
        Ok(match self.table.find(key, start) {
            Some(id) => {
                let known = self.table.get_mut(id);
                if known.home == PENDING {
                    return Err(damaged(format!("a session from {start} twice")));
                }
                let (home, slot) = (known.home, known.slot);
                *known = session;
                self.cohorts.leave(home, slot);
                (id, true)
            }
            None => (self.table.insert(key, session), false),
        })
    }
}

fn damaged(detail: String) -> Error {
    Error::State {
        operator: OPERATOR,
        detail,
    }
}

fn take_bytes<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let mut array = [0; N];
    array.copy_from_slice(split(bytes, N)?);
    Ok(array)
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| damaged(error.to_string()))
}
