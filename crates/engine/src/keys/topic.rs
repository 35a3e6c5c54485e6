//! The topic's keys by number, for all operators of one machine.
//!
//! ```text
//!   hash ──▶ slots   [ part of the hash, number ]      open addressing, three in four taken at most
//!                                  │
//!            texts   [ …, "key_0042", … ]              by number; short ones stand in their place
//! ```
//!
//! A key that is known costs two reads of memory that is mostly in no near cache. A column is looked up
//! in steps, a few rows each, which ask for the memory of all of them before they use the first.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, StringViewArray, StringViewBuilder, UInt32Array, UInt32Builder,
};
use foldhash::quality::RandomState;
use keyhawk_functions::StateText;
use prefetch_index::prefetch_index;

/// In the place of a number: no key.
const NONE: u32 = u32::MAX;
/// Rows whose memory is asked for together: more than a processor fetches at once, and few enough that
/// the first are still near when they are used.
const STEP: usize = 32;
/// Slots to begin with, a power of two.
const SLOTS_MIN: usize = 64;

/// The topic's keys (the column `api_key` of `events`) that one machine has seen.
#[derive(Debug, Default)]
pub struct TopicKeys {
    slots: Vec<Slot>,
    texts: Vec<Text>,
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// The upper half of the hash; the lower one says where the slot is.
    tag: u32,
    number: u32,
}

/// A key's text. The fingerprint of a credential has 23 bytes and those of its public prefix.
type Text = StateText<32>;

/// A row of a column on its way to its number.
#[derive(Clone, Copy)]
enum Step {
    Null,
    /// As the row before.
    Same,
    Hashed(u64),
    /// A hash, and the number of a key whose hash has the same tag.
    Likely(u64, u32),
}

impl TopicKeys {
    /// How many distinct keys were seen.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether no key was seen.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The number of `value`, given one if it is new.
    pub fn intern(&mut self, value: &str) -> u32 {
        self.intern_hashed(value, self.hasher.hash_one(value))
    }

    fn intern_hashed(&mut self, value: &str, hash: u64) -> u32 {
        if (self.texts.len() + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let mut place = self.place(hash);
        loop {
            let slot = self.slots[place];
            if slot.number == NONE {
                break;
            }
            if slot.tag == tag(hash) && self.value(slot.number) == value {
                return slot.number;
            }
            place = (place + 1) & (self.slots.len() - 1);
        }
        let number = u32::try_from(self.texts.len())
            .ok()
            .filter(|number| *number != NONE)
            .expect("a machine holds fewer than 2^32 keys");
        self.slots[place] = Slot {
            tag: tag(hash),
            number,
        };
        self.texts.push(Text::from(value));
        number
    }

    /// The slot at which the search for a hash begins.
    #[inline]
    fn place(&self, hash: u64) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    /// The number of the first key whose hash has the same tag; mostly the one sought.
    #[inline]
    fn likely(&self, hash: u64) -> Option<u32> {
        let mut place = self.place(hash);
        loop {
            let slot = self.slots[place];
            if slot.number == NONE {
                return None;
            }
            if slot.tag == tag(hash) {
                return Some(slot.number);
            }
            place = (place + 1) & (self.slots.len() - 1);
        }
    }

    /// Twice the slots, and every key in its new one.
    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).max(SLOTS_MIN);
        let empty = Slot {
            tag: 0,
            number: NONE,
        };
        self.slots = vec![empty; slots];
        for (text, number) in self.texts.iter().zip(0..) {
            let hash = self.hasher.hash_one(&**text);
            let mut place = self.place(hash);
            while self.slots[place].number != NONE {
                place = (place + 1) & (slots - 1);
            }
            let tag = tag(hash);
            self.slots[place] = Slot { tag, number };
        }
    }

    /// The numbers of a column of keys; null for null.
    pub fn intern_column(&mut self, column: &StringViewArray) -> UInt32Array {
        if self.slots.is_empty() {
            self.grow();
        }
        let mut numbers = UInt32Builder::with_capacity(column.len());
        let mut last = NONE;
        for begin in (0..column.len()).step_by(STEP) {
            let mut steps = [Step::Null; STEP];
            let steps = &mut steps[..STEP.min(column.len() - begin)];
            for (step, row) in steps.iter_mut().zip(begin..) {
                if column.is_null(row) {
                    continue;
                }
                let value = column.value(row);
                // A burst of one client.
                let repeats = row > 0 && column.is_valid(row - 1) && column.value(row - 1) == value;
                *step = match repeats {
                    true => Step::Same,
                    false => {
                        let hash = self.hasher.hash_one(value);
                        prefetch_index(&self.slots, self.place(hash));
                        Step::Hashed(hash)
                    }
                };
            }
            for step in steps.iter_mut() {
                if let Step::Hashed(hash) = *step
                    && let Some(number) = self.likely(hash)
                {
                    prefetch_index(&self.texts, number as usize);
                    *step = Step::Likely(hash, number);
                }
            }
            for (step, row) in steps.iter().zip(begin..) {
                last = match *step {
                    Step::Null => {
                        numbers.append_null();
                        continue;
                    }
                    Step::Same => last,
                    Step::Likely(_, number) if self.value(number) == column.value(row) => number,
                    Step::Likely(hash, _) | Step::Hashed(hash) => {
                        self.intern_hashed(column.value(row), hash)
                    }
                };
                numbers.append_value(last);
            }
        }
        numbers.finish()
    }

    /// The text of a key.
    #[inline]
    pub fn value(&self, key: u32) -> &str {
        &self.texts[key as usize]
    }

    /// A column of the texts of `keys`.
    pub fn column(&self, keys: impl ExactSizeIterator<Item = u32>) -> ArrayRef {
        let mut builder = StringViewBuilder::with_capacity(keys.len());
        for key in keys {
            builder.append_value(self.value(key));
        }
        Arc::new(builder.finish())
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
            + self.texts.capacity() * size_of::<Text>()
            + self.texts.iter().map(Text::heap).sum::<usize>()
    }
}

fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn keys_have_the_numbers_of_their_first_appearance_however_they_come() {
        // Numbers by a map, which is slower and plainly right.
        let mut expected: HashMap<String, u32> = HashMap::new();
        let mut keys = TopicKeys::default();
        let mut state = 7u64;
        for round in 0..40 {
            let texts: Vec<Option<String>> = (0..997)
                .map(|row| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let number = (state >> 33) % 3000;
                    match number % 10 {
                        0 => None,
                        1 => Some(String::new()),
                        2 => Some(format!("{number:0100}")),
                        // A burst, over the end of a step too.
                        3 => Some(format!("burst_{round}_{}", row / 100)),
                        _ => Some(format!("key_{number}")),
                    }
                })
                .collect();
            let column: StringViewArray = texts.iter().map(Option::as_deref).collect();
            let found = keys.intern_column(&column);
            for (row, text) in texts.iter().enumerate() {
                let Some(text) = text else {
                    assert!(found.is_null(row));
                    continue;
                };
                let next = expected.len() as u32;
                let number = *expected.entry(text.clone()).or_insert(next);
                assert_eq!(found.value(row), number, "round {round}, row {row}: {text}");
                assert_eq!(keys.value(number), text);
                assert_eq!(keys.intern(text), number);
            }
        }
        assert_eq!(keys.len(), expected.len());
        assert!(keys.memory() >= expected.keys().map(String::len).sum());
    }
}
