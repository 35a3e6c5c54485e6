//! The rows of a batch by their keys: which row of a key follows which.
//!
//! ```text
//!   rows      0  1  2  3  4
//!   keys      a  b  a  a  b
//!   chain     ┌─────▶ 2 ─▶ 3          a: begins at 0, ends with 3
//!                └────────────▶ 4     b: begins at 1, ends with 4
//! ```
//!
//! Functions over the same rows share it: six lags of one rule find each row's predecessor once.

use std::cell::RefCell;
use std::rc::Rc;

use arrow::buffer::NullBuffer;

/// In the place of an entry: no row of the key came yet.
const NOWHERE: u32 = u32::MAX;
/// Marks what is no row of the batch, but the number of a key's first row in it.
const BEFORE: u32 = 1 << 31;

/// The key index of each row, and what follows from them, which is computed where it is asked for.
pub struct KeyRows<'a> {
    keys: &'a [u32],
    latest: RefCell<Latest>,
    chains: RefCell<Vec<(Option<NullBuffer>, Rc<Chain>)>>,
}

/// Room to find chains in, an entry a key index, which is kept from batch to batch.
#[derive(Debug, Default)]
pub struct Latest(Vec<u32>);

impl Latest {
    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.0.capacity() * size_of::<u32>()
    }
}

/// How the rows of each key follow each other, where only some of them count as predecessors.
pub(crate) struct Chain {
    /// Of each row where its predecessor is: (0, row of the batch), or (1, index in `keys`) where the key
    /// had none in this batch.
    pub(crate) places: Vec<(usize, usize)>,
    /// The keys of the batch as they first appear, and the last row of each that counts.
    pub(crate) keys: Vec<(usize, Option<usize>)>,
}

impl<'a> KeyRows<'a> {
    /// Rows with these key indices, in the total order.
    pub fn new(keys: &'a [u32]) -> Self {
        Self::with(keys, Latest::default())
    }

    /// The same, in room that [`into_latest`](Self::into_latest) gave back.
    pub fn with(keys: &'a [u32], latest: Latest) -> Self {
        Self {
            keys,
            latest: RefCell::new(latest),
            chains: RefCell::default(),
        }
    }

    /// The room, for the next batch.
    pub fn into_latest(self) -> Latest {
        self.latest.into_inner()
    }

    /// The key index of each row.
    pub fn keys(&self) -> &'a [u32] {
        self.keys
    }

    /// How the rows follow each other where those that are null in `counting` are nobody's predecessor.
    pub(crate) fn chain(&self, counting: Option<&NullBuffer>) -> Rc<Chain> {
        let mut chains = self.chains.borrow_mut();
        let known = chains.iter().find(|(known, _)| known.as_ref() == counting);
        if let Some((_, chain)) = known {
            return Rc::clone(chain);
        }
        let chain = Rc::new(self.find(counting));
        chains.push((counting.cloned(), Rc::clone(&chain)));
        chain
    }

    fn find(&self, counting: Option<&NullBuffer>) -> Chain {
        let latest = &mut self.latest.borrow_mut().0;
        let room = self.keys.iter().max().map_or(0, |&key| key as usize + 1);
        latest.resize(room.max(latest.len()), NOWHERE);
        let mut places = Vec::with_capacity(self.keys.len());
        let mut keys = Vec::new();
        for (row, &key) in self.keys.iter().enumerate() {
            let latest = &mut latest[key as usize];
            if *latest == NOWHERE {
                *latest = keys.len() as u32 | BEFORE;
                keys.push((key as usize, None));
            }
            places.push(((*latest >> 31) as usize, (*latest & !BEFORE) as usize));
            if counting.is_none_or(|counting| counting.is_valid(row)) {
                *latest = row as u32;
            }
        }
        for (key, last) in &mut keys {
            let latest = std::mem::replace(&mut latest[*key], NOWHERE);
            *last = (latest & BEFORE == 0).then_some(latest as usize);
        }
        Chain { places, keys }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_follows_the_last_of_its_key_that_counts() {
        let keys = [3, 1, 3, 3, 1, 3];
        let rows = KeyRows::new(&keys);
        let all = rows.chain(None);
        assert_eq!(all.places, [(1, 0), (1, 1), (0, 0), (0, 2), (0, 1), (0, 3)]);
        assert_eq!(all.keys, [(3, Some(5)), (1, Some(4))]);

        let counting = NullBuffer::from(vec![true, false, true, false, false, false]);
        let some = rows.chain(Some(&counting));
        assert_eq!(
            some.places,
            [(1, 0), (1, 1), (0, 0), (0, 2), (1, 1), (0, 2)]
        );
        assert_eq!(some.keys, [(3, Some(2)), (1, None)]);
        assert!(Rc::ptr_eq(&some, &rows.chain(Some(&counting.clone()))));
        assert!(!Rc::ptr_eq(&some, &rows.chain(None)));

        // The room is as it was.
        let rows = KeyRows::with(&keys, rows.into_latest());
        assert_eq!(rows.chain(None).places, all.places);
    }
}
