//! Windows put together from panes in a constant number of merges a pane, whatever their length.
//!
//! Time is cut into blocks of a window's size, aligned to 1970, so that a window holds the end of one
//! block and the beginning of the next; both are known when it closes.
//!
//! ```text
//!   panes           0   1   2   3   4 │ 5   6   7   8   9 │      size 5 panes, slide 1
//!   suffixes            1──────────▶│ │                          made at once, from the end, when the
//!                           2──────▶│ │                          first window over this border closes
//!                               3──▶│ │
//!   prefix                            │ 5 ▶ 6 ▶ 7 …              grows by the panes that close
//!   window 3                    3──▶│ + │ 5 ▶ 6 ▶ 7            two merges of groups
//! ```
//!
//! (van Herk, Pattern Recognition Letters 13, 1992.) Retracting what leaves would be cheaper, but is
//! wrong for minima and not exact for floats; two stacks that turn over when one is empty would put
//! their border wherever a machine began, and a float would depend on restarts. Here it depends on
//! event time alone. Distinct values are not merged but counted as they come and go ([`SlidingDistinct`]).
//!
//! State: at most (size / slide) suffixes, each with the groups of its panes; all of it can be made
//! again from the panes, and is, once a block. So is the numbering of groups, which thereby forgets
//! keys that are gone.

use std::collections::BTreeMap;

use arrow::array::ArrayRef;

use super::aggregates::{AccumulatorColumn, CountDistinct, SlidingDistinct};
use super::groups::{Grouping, Groups, NONE, Window, floor};
use crate::error::Result;
use crate::keys::{RowKeys, TopicKeys};
use crate::rows::Rows;

/// What is merged of the panes of the windows over one border between blocks.
pub(super) struct Blocks {
    size_ms: i64,
    slide_ms: i64,
    /// The border, while anything is merged.
    border: Option<i64>,
    names: Names,
    /// The number of each group of the panes that have entered, by the start of the pane.
    numbers: BTreeMap<i64, Vec<u32>>,
    /// The merged panes from a window's start to the border, the earliest start last. A window without
    /// an entry of its own has that of the next start, as there are no panes between.
    suffixes: Vec<(i64, Merged)>,
    /// The merged panes from the border on that have entered.
    prefix: Merged,
    prefix_slots: Vec<u32>,
    /// One an aggregate, for those that are counted and not merged.
    distinct: Vec<Option<SlidingDistinct>>,
    /// Panes that start before it have entered, and change no more.
    pub(super) entered: i64,
    scratch: Scratch,
}

/// Buffers used again and again.
#[derive(Default)]
struct Scratch {
    /// Which slot the group of a number has; `NONE` for all between two uses.
    slot_of: Vec<u32>,
    slots: Vec<u32>,
}

impl Blocks {
    pub(super) fn new(grouping: &Grouping, size_ms: i64, slide_ms: i64) -> Result<Self> {
        Ok(Blocks {
            size_ms,
            slide_ms,
            border: None,
            names: Names::new(grouping),
            numbers: BTreeMap::new(),
            suffixes: Vec::new(),
            prefix: Merged::new(grouping)?,
            prefix_slots: Vec::new(),
            distinct: counted(grouping)?,
            entered: i64::MIN,
            scratch: Scratch::default(),
        })
    }

    /// Forgets what is merged; it is made again from the panes when the next window closes.
    pub(super) fn clear(&mut self, grouping: &Grouping) -> Result<()> {
        *self = Blocks::new(grouping, self.size_ms, self.slide_ms)?;
        Ok(())
    }

    /// The rows of a window, or nothing if no pane of it has a group. Windows close in the order of
    /// their starts; every pane of this one is complete.
    pub(super) fn close(
        &mut self,
        window: Window,
        panes: &mut BTreeMap<i64, Groups>,
        grouping: &Grouping,
        keys: &TopicKeys,
    ) -> Result<Option<Rows>> {
        let border = floor(window.start.saturating_add(self.size_ms - 1), self.size_ms);
        if self.border != Some(border) {
            self.clear(grouping)?;
            self.border = Some(border);
            self.entered = window.start;
            self.enter(panes, border)?;
            self.make_suffixes(panes.range(window.start..border), grouping)?;
        }
        let from = self.entered;
        self.enter(panes, window.end)?;
        for (start, pane) in panes.range(from..window.end) {
            let numbers = &self.numbers[start];
            let columns = mergeable(pane.aggregates());
            self.prefix.absorb(
                numbers,
                columns,
                &mut self.prefix_slots,
                &mut self.scratch.slots,
            )?;
        }
        while self
            .suffixes
            .last()
            .is_some_and(|(start, _)| *start < window.start)
        {
            self.suffixes.pop();
        }
        let suffix = self.suffixes.last().map(|(_, merged)| merged);
        let both;
        let merged = match (suffix, self.prefix.numbers.is_empty()) {
            (None, true) => return Ok(None),
            (None, false) => &self.prefix,
            (Some(suffix), true) => suffix,
            (Some(suffix), false) => {
                both = Merged::of(&[suffix, &self.prefix], grouping, &mut self.scratch)?;
                &both
            }
        };
        let mut results = Vec::with_capacity(self.distinct.len());
        let mut columns = merged.columns.iter();
        for distinct in &self.distinct {
            match distinct {
                Some(distinct) => results.push(distinct.counts(&merged.numbers)),
                None => results.extend(columns.next().map(|column| column.finish()).transpose()?),
            }
        }
        let (key_columns, topic_keys) = self.names.of(&merged.numbers, keys, grouping)?;
        grouping
            .emit(window, key_columns, &topic_keys, results)
            .map(Some)
    }

    /// A pane is freed, after every window that holds it has closed.
    pub(super) fn leave(&mut self, start: i64, pane: &Groups) -> Result<()> {
        let Some(numbers) = self.numbers.remove(&start) else {
            return Ok(());
        };
        for (distinct, column) in self.distinct.iter_mut().zip(pane.aggregates()) {
            if let Some(distinct) = distinct {
                distinct.leave(&**column, &numbers, start)?;
            }
        }
        Ok(())
    }

    /// Numbers the groups of the panes that start before `end`, and counts their distinct values.
    fn enter(&mut self, panes: &mut BTreeMap<i64, Groups>, end: i64) -> Result<()> {
        for (&start, pane) in panes.range_mut(self.entered..end) {
            pane.close();
            let numbers = self.names.number(pane);
            for (distinct, column) in self.distinct.iter_mut().zip(pane.aggregates()) {
                if let Some(distinct) = distinct {
                    distinct.enter(&**column, &numbers, start)?;
                }
            }
            self.numbers.insert(start, numbers);
        }
        self.entered = end;
        Ok(())
    }

    /// Merges panes from the last to the first, and keeps what there is at each start of a window.
    fn make_suffixes<'a>(
        &mut self,
        panes: impl DoubleEndedIterator<Item = (&'a i64, &'a Groups)>,
        grouping: &Grouping,
    ) -> Result<()> {
        let panes: Vec<_> = panes.collect();
        let window = |start: &i64| floor(*start, self.slide_ms);
        for chunk in panes
            .chunk_by(|one, other| window(one.0) == window(other.0))
            .rev()
        {
            let mut merged = Merged::new(grouping)?;
            let Scratch { slot_of, slots } = &mut self.scratch;
            for (start, pane) in chunk {
                let columns = mergeable(pane.aggregates());
                merged.absorb(&self.numbers[*start], columns, slot_of, slots)?;
            }
            if let Some((_, later)) = self.suffixes.last() {
                merged.absorb(&later.numbers, later.columns.iter(), slot_of, slots)?;
            }
            merged.forget(slot_of);
            let (start, _) = chunk[0];
            self.suffixes.push((floor(*start, self.slide_ms), merged));
        }
        Ok(())
    }

    pub(super) fn memory(&self) -> usize {
        let numbers = self.numbers.values().map(|numbers| numbers.capacity() * 4);
        let suffixes = self.suffixes.iter().map(|(_, merged)| merged.memory());
        let distinct = self.distinct.iter().flatten().map(SlidingDistinct::memory);
        self.names.memory()
            + self.prefix.memory()
            + (self.prefix_slots.capacity() + self.scratch.slot_of.capacity()) * 4
            + numbers.chain(suffixes).chain(distinct).sum::<usize>()
    }
}

/// The aggregates that are counted as panes come and go.
fn counted(grouping: &Grouping) -> Result<Vec<Option<SlidingDistinct>>> {
    let columns = grouping.columns()?;
    Ok(columns
        .iter()
        .map(|column| is_counted(column).then(SlidingDistinct::default))
        .collect())
}

type Column = Box<dyn AccumulatorColumn>;

fn is_counted(column: &Column) -> bool {
    let any: &dyn std::any::Any = &**column;
    any.is::<CountDistinct>()
}

/// The columns that are merged.
fn mergeable(columns: &[Column]) -> impl Iterator<Item = &Column> {
    columns.iter().filter(|column| !is_counted(column))
}

/// The groups of several panes as one: their numbers, and a slot each in the columns.
struct Merged {
    numbers: Vec<u32>,
    columns: Vec<Column>,
}

impl Merged {
    fn new(grouping: &Grouping) -> Result<Self> {
        let columns = grouping.columns()?.into_iter();
        Ok(Merged {
            numbers: Vec::new(),
            columns: columns.filter(|column| !is_counted(column)).collect(),
        })
    }

    /// Earlier parts first.
    fn of(parts: &[&Merged], grouping: &Grouping, scratch: &mut Scratch) -> Result<Self> {
        let mut merged = Merged::new(grouping)?;
        for part in parts {
            merged.absorb(
                &part.numbers,
                part.columns.iter(),
                &mut scratch.slot_of,
                &mut scratch.slots,
            )?;
        }
        merged.forget(&mut scratch.slot_of);
        Ok(merged)
    }

    /// Takes in groups of later times. `slot_of` gives the slot of a number here, `slots` is scratch.
    fn absorb<'a>(
        &mut self,
        numbers: &[u32],
        columns: impl Iterator<Item = &'a Column>,
        slot_of: &mut Vec<u32>,
        slots: &mut Vec<u32>,
    ) -> Result<()> {
        slots.clear();
        for &number in numbers {
            let place = number as usize;
            if slot_of.len() <= place {
                slot_of.resize(place + 1, NONE);
            }
            if slot_of[place] == NONE {
                slot_of[place] = self.numbers.len() as u32;
                self.numbers.push(number);
            }
            slots.push(slot_of[place]);
        }
        for (mine, other) in self.columns.iter_mut().zip(columns) {
            mine.resize(self.numbers.len());
            mine.merge(&**other, slots)?;
        }
        Ok(())
    }

    /// Takes the slots of its numbers out of `slot_of`.
    fn forget(&self, slot_of: &mut [u32]) {
        self.numbers
            .iter()
            .for_each(|&number| slot_of[number as usize] = NONE);
    }

    fn memory(&self) -> usize {
        let columns = self.columns.iter().map(|column| column.memory());
        self.numbers.capacity() * 4 + columns.sum::<usize>()
    }
}

/// Numbers for groups that mean the same in every pane: that of the topic's key, or of a table.
enum Names {
    Topic,
    Columns {
        known: RowKeys,
        /// The number of the topic's key of each.
        topic_keys: Vec<u32>,
    },
}

impl Names {
    fn new(grouping: &Grouping) -> Self {
        match grouping.by_topic() {
            true => Names::Topic,
            false => Names::Columns {
                known: RowKeys::new(&grouping.converter),
                topic_keys: Vec::new(),
            },
        }
    }

    /// The number of each group of a pane.
    fn number(&mut self, pane: &Groups) -> Vec<u32> {
        match self {
            Names::Topic => pane.topic_keys().to_vec(),
            Names::Columns { known, topic_keys } => {
                let slots = pane.topic_keys().iter().enumerate();
                slots
                    .map(|(slot, &topic_key)| {
                        let number = known.intern(pane.key_bytes(slot));
                        if number as usize == topic_keys.len() {
                            topic_keys.push(topic_key);
                        }
                        number
                    })
                    .collect()
            }
        }
    }

    /// The columns of the keys of numbers, and the numbers of their topic's keys.
    fn of(
        &self,
        numbers: &[u32],
        keys: &TopicKeys,
        grouping: &Grouping,
    ) -> Result<(Vec<ArrayRef>, Vec<u32>)> {
        Ok(match self {
            Names::Topic => (vec![keys.column(numbers.iter().copied())], numbers.to_vec()),
            Names::Columns { known, topic_keys } => (
                known.columns_of(numbers, grouping.operator)?,
                numbers
                    .iter()
                    .map(|&number| topic_keys[number as usize])
                    .collect(),
            ),
        })
    }

    fn memory(&self) -> usize {
        match self {
            Names::Topic => 0,
            Names::Columns { known, topic_keys } => known.memory() + topic_keys.capacity() * 4,
        }
    }
}
