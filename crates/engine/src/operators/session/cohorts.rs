//! Cohorts: sessions that will end at about the same time, with their aggregates in columns of their
//! own, so that what ends together is emitted and freed together.
//!
//! ```text
//!   end     ├── cohort 0 ──┤├── cohort 1 ──┤├── cohort 2, open to later ends ──▶
//!   slots   a b c d          e f g           h i
//! ```
//!
//! A session comes into the cohort of the end that it has at that moment. Rows that extend it do not
//! move it: they touch its slot of the columns and nothing else. Once time has passed a cohort's ends,
//! the sessions that were extended move, all at once, to the cohorts of the ends that they have by
//! then. So a session moves at most once a row, a busy one once a gap, and one of a single row never.
//!
//! Deadlines are as lazy: each session stands once, in the heap of the cohort of the end that it was
//! filed with. Its turn shows whether that is its end still; if not, it is filed again.
//!
//! Between two advances: a heap's ends lie within its cohort's range, no session's end is below the
//! range of its home, and the least end of all stands at the top of the first heap that is not empty.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use keyhawk_functions::SessionLimits;

use super::OPERATOR;
use super::table::{NONE, Table};
use crate::error::{In, Result};
use crate::operators::aggregates::{AccumulatorColumn, Argument, Computed};

/// Parts of a gap after which a cohort may be full. An emission reads the columns of its cohort whole:
/// more parts make that cheaper, and the rows of a batch touch more sets of columns.
const PARTS: i64 = 32;
/// Slots before which a cohort is not full: where few sessions are open, or a batch spans many gaps,
/// a set of columns for each would cost more than all else.
const SLOTS: usize = 1024;
/// Slots of sessions that left before a cohort is worth being rebuilt without them.
const DEAD: usize = 64;

pub(super) type Columns = Vec<Box<dyn AccumulatorColumn>>;

/// Empty columns of state, one an aggregate.
fn columns(aggregates: &[Computed]) -> Result<Columns> {
    aggregates.iter().map(Computed::column).collect()
}

struct Cohort {
    /// Ends from here to the next cohort's, or to any where it is the last.
    from: i64,
    deadlines: BinaryHeap<Reverse<(i64, u32)>>,
    /// The session of each slot; `NONE` once it left.
    members: Vec<u32>,
    live: usize,
    columns: Columns,
}

impl Cohort {
    fn admit(&mut self, id: u32) -> u32 {
        self.members.push(id);
        self.live += 1;
        (self.members.len() - 1) as u32
    }

    /// The columns, with room for every member.
    fn columns(&mut self) -> &mut Columns {
        let slots = self.members.len();
        self.columns
            .iter_mut()
            .for_each(|column| column.resize(slots));
        &mut self.columns
    }
}

pub(super) struct Cohorts {
    aggregates: Arc<[Computed]>,
    width_ms: i64,
    /// The number of each cohort by the least end that it takes.
    by_from: BTreeMap<i64, u32>,
    all: Vec<Cohort>,
    free: Vec<u32>,
    /// No end was filed above it.
    greatest: i64,
}

impl Cohorts {
    /// Computes the same aggregates from batches with other columns.
    pub(super) fn compute(&mut self, aggregates: &Arc<[Computed]>) {
        self.aggregates = Arc::clone(aggregates);
    }

    pub(super) fn new(aggregates: Arc<[Computed]>, limits: SessionLimits) -> Self {
        let length = limits
            .max_ms
            .map_or(limits.gap_ms, |max| max.min(limits.gap_ms));
        Cohorts {
            aggregates,
            width_ms: (length / PARTS).max(1),
            by_from: BTreeMap::new(),
            all: Vec::new(),
            free: Vec::new(),
            greatest: i64::MIN,
        }
    }

    /// One more than the greatest number of a cohort.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    fn add(&mut self, from: i64) -> Result<u32> {
        let cohort = Cohort {
            from,
            deadlines: BinaryHeap::new(),
            members: Vec::new(),
            live: 0,
            columns: columns(&self.aggregates)?,
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.all[number as usize] = cohort;
                number
            }
            None => {
                self.all.push(cohort);
                (self.all.len() - 1) as u32
            }
        };
        self.by_from.insert(from, number);
        Ok(number)
    }

    /// The cohort of an end; none where it is below all of them.
    fn of(&self, end: i64) -> Option<u32> {
        let (_, &number) = self.by_from.range(..=end).next_back()?;
        Some(number)
    }

    fn file(&mut self, id: u32, end: i64) -> Result<()> {
        let cohort = match self.of(end) {
            Some(cohort) => cohort,
            None => self.add(end)?,
        };
        self.greatest = self.greatest.max(end);
        self.all[cohort as usize].deadlines.push(Reverse((end, id)));
        Ok(())
    }

    /// Takes in a session and its deadline; gives its home and its slot there.
    pub(super) fn place(&mut self, id: u32, end: i64) -> Result<(u32, u32)> {
        match self.by_from.last_key_value() {
            None => self.greatest = i64::MIN,
            Some((&from, &last)) => {
                // Ends of new sessions rise with time, so that they mostly go to the last cohort.
                let slots = self.all[last as usize].members.len();
                if end > self.greatest
                    && slots >= SLOTS
                    && end.saturating_sub(from) >= self.width_ms
                {
                    self.add(end)?;
                }
            }
        }
        self.file(id, end)?;
        let home = self.of(end).expect("the deadline was filed in a cohort");
        Ok((home, self.all[home as usize].admit(id)))
    }

    /// Takes in rows: `slots[i]` is the slot in `home` of the i-th of them.
    pub(super) fn update(
        &mut self,
        home: u32,
        arguments: &[Argument],
        rows: Range<usize>,
        slots: &[u32],
    ) -> Result<()> {
        let columns = self.all[home as usize].columns();
        for (column, argument) in columns.iter_mut().zip(arguments) {
            column.update(argument, rows.clone(), slots)?;
        }
        Ok(())
    }

    /// The first cohort, the least end in its range, and the least of the next one.
    pub(super) fn first(&self) -> Option<(u32, i64, Option<i64>)> {
        let mut cohorts = self.by_from.iter();
        let (&from, &first) = cohorts.next()?;
        Some((first, from, cohorts.next().map(|(&next, _)| next)))
    }

    /// Takes out of the first cohort's deadlines the sessions whose end `is_due`, by their ends.
    pub(super) fn pop(
        &mut self,
        first: u32,
        is_due: impl Fn(i64) -> bool,
        table: &Table,
    ) -> Result<Vec<u32>> {
        let mut due = Vec::new();
        while let Some(&Reverse((end, id))) = self.all[first as usize].deadlines.peek()
            && is_due(end)
        {
            self.all[first as usize].deadlines.pop();
            match table.end(id) {
                now if now == end => due.push(id),
                now => self.file(id, now)?,
            }
        }
        Ok(due)
    }

    /// The aggregates of members of a cohort, in the order of `slots`.
    pub(super) fn finish(&mut self, home: u32, slots: &UInt32Array) -> Result<Vec<ArrayRef>> {
        let cohort = &mut self.all[home as usize];
        let whole = slots.len() == cohort.members.len()
            && slots.values().iter().copied().eq(0..slots.len() as u32);
        let finished = cohort.columns().iter().map(|column| {
            let all = column.finish()?;
            match whole {
                true => Ok(all),
                false => take(&all, slots, None).within(OPERATOR),
            }
        });
        finished.collect()
    }

    /// Frees the slot of a session that left.
    pub(super) fn leave(&mut self, home: u32, slot: u32) {
        let cohort = &mut self.all[home as usize];
        cohort.members[slot as usize] = NONE;
        cohort.live -= 1;
    }

    /// After an emission: a cohort whose ends have `passed` hands on who is left and is gone; one that
    /// holds mostly the slots of those who left is made anew.
    pub(super) fn tidy(&mut self, home: u32, passed: bool, table: &mut Table) -> Result<()> {
        let cohort = &mut self.all[home as usize];
        debug_assert!(!passed || cohort.deadlines.is_empty());
        let dead = cohort.members.len() - cohort.live;
        let gone = passed || (cohort.live == 0 && cohort.deadlines.is_empty());
        if !gone && (dead <= cohort.live || dead < DEAD) {
            return Ok(());
        }
        let members = std::mem::take(&mut cohort.members);
        cohort.live = 0;
        let columns = match gone {
            true => {
                cohort.deadlines = BinaryHeap::new();
                self.by_from.remove(&cohort.from);
                self.free.push(home);
                std::mem::take(&mut cohort.columns)
            }
            false => std::mem::replace(&mut cohort.columns, columns(&self.aggregates)?),
        };
        self.admit_all(&members, columns, table)
    }

    /// Moves the members that are left to the cohorts of their ends.
    fn admit_all(
        &mut self,
        members: &[u32],
        mut columns: Columns,
        table: &mut Table,
    ) -> Result<()> {
        let left: Vec<usize> = (0..members.len())
            .filter(|&slot| members[slot] != NONE)
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        let mut states = vec![Vec::new(); left.len()];
        for column in &mut columns {
            column.resize(members.len());
            column.save(&left, &mut states);
        }
        for &slot in &left {
            let id = members[slot];
            let end = table.end(id);
            let home = match self.of(end) {
                Some(home) => home,
                None => self.add(end)?,
            };
            let session = table.get_mut(id);
            session.home = home;
            session.slot = self.all[home as usize].admit(id);
        }
        for (slot, state) in left.into_iter().zip(states) {
            let session = table.get(members[slot]);
            self.load(session.home, session.slot, &mut state.as_slice())?;
        }
        Ok(())
    }

    /// Appends the state of members of a cohort to their bytes in `out`.
    pub(super) fn save(&mut self, home: u32, slots: &[usize], out: &mut [Vec<u8>]) {
        let columns = self.all[home as usize].columns();
        columns.iter().for_each(|column| column.save(slots, out));
    }

    /// Takes the state of one member from the front of `bytes`.
    pub(super) fn load(&mut self, home: u32, slot: u32, bytes: &mut &[u8]) -> Result<()> {
        let columns = self.all[home as usize].columns();
        columns
            .iter_mut()
            .try_for_each(|column| column.load(slot as usize, bytes))
    }

    /// The numbers of the cohorts, by their ends.
    pub(super) fn homes(&self) -> Vec<u32> {
        self.by_from.values().copied().collect()
    }

    /// The sessions of a cohort's slots; `NONE` for those that left.
    pub(super) fn members(&self, home: u32) -> &[u32] {
        &self.all[home as usize].members
    }

    /// Files all deadlines anew, where an end may have become an earlier one.
    pub(super) fn file_all(&mut self, table: &Table) -> Result<()> {
        for cohort in &mut self.all {
            cohort.deadlines.clear();
        }
        table.ids().try_for_each(|id| self.file(id, table.end(id)))
    }

    /// Brings the least end of all to the top of the first heap.
    pub(super) fn settle(&mut self, table: &Table) -> Result<()> {
        loop {
            let mut homes = self.by_from.values();
            let Some((home, end, id)) = homes.find_map(|&home| {
                let Reverse((end, id)) = self.all[home as usize].deadlines.peek()?;
                Some((home, *end, *id))
            }) else {
                return Ok(());
            };
            let now = table.end(id);
            if now == end {
                return Ok(());
            }
            self.all[home as usize].deadlines.pop();
            self.file(id, now)?;
        }
    }

    /// The least end of all sessions, once settled.
    pub(super) fn least_end(&self) -> Option<i64> {
        let mut tops = self.by_from.values().filter_map(|&home| {
            let Reverse((end, _)) = self.all[home as usize].deadlines.peek()?;
            Some(*end)
        });
        tops.next()
    }

    pub(super) fn memory(&self) -> usize {
        let cohort = |cohort: &Cohort| {
            cohort.members.capacity() * size_of::<u32>()
                + cohort.deadlines.capacity() * size_of::<(i64, u32)>()
                + cohort
                    .columns
                    .iter()
                    .map(|column| column.memory())
                    .sum::<usize>()
        };
        self.all.iter().map(cohort).sum()
    }
}
