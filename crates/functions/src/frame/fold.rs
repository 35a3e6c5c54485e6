//! The driver of every frame but the ranks': which rows enter, which leave, when a value is read.
//!
//! ```text
//!   new row ──▶ [ ahead: rows nearer than the frame's end ] ──enter──▶ [ the frame ] ──leave──▶
//! ```
//!
//! For each row of a key at position `p` (its number, or its time): what lies before `p − start` leaves,
//! the row queues, what has come to lie at or before `p − end` enters. With ROWS the value is read
//! then; with a RANGE once all rows of the same time have been through, so that it counts peers.
//! These steps depend on the key's rows alone, so the order of every addition does, too.
//!
//! State a key: that of the aggregate; its row number, if the frame counts rows and has a bound; a ring
//! of the rows ahead, if the frame ends before the current row.

use std::collections::VecDeque;

use arrow::{
    array::{Array, ArrayRef, TimestampMillisecondArray},
    datatypes::DataType,
};

use super::{Frame, FrameUnits};
use crate::{
    KeyRows, KeyedFold, Result,
    arguments::{column, timestamps},
    state::Reader,
};

const VERSION: u8 = 1;

/// The rows of one key in position order, with what is kept of each.
pub(super) type Ring<E> = VecDeque<(i64, E)>;

/// What a function keeps of the rows in a frame.
pub(super) trait Aggregate: Send {
    /// A batch's values, ready to read by row.
    type Input;
    /// What one row adds.
    type Element: Send;
    /// What is kept of one key.
    type State: Default + Send;
    /// An array under construction.
    type Output;

    fn input(&self, array: &ArrayRef) -> Result<Self::Input>;
    /// None where the row adds nothing, such as a null.
    fn element(&mut self, input: &Self::Input, row: usize) -> Option<Self::Element>;

    /// The row at `at` enters: positions never go back.
    fn enter(&mut self, state: &mut Self::State, at: i64, element: Self::Element);
    /// All rows before `low` leave. Not called for a frame without a start.
    fn leave(&mut self, state: &mut Self::State, low: i64);
    /// A row that was ahead is left behind without ever having been in the frame.
    fn discard(&mut self, element: Self::Element);

    fn output(&self, rows: usize) -> Self::Output;
    /// The value over the rows that are in the frame.
    fn push(&self, output: &mut Self::Output, state: &Self::State);
    fn finish(&self, output: Self::Output) -> Result<ArrayRef>;

    fn write_element(&self, element: &Self::Element, out: &mut Vec<u8>);
    fn read_element(&self, reader: &mut Reader) -> Result<Self::Element>;
    fn write(&self, state: &Self::State, out: &mut Vec<u8>);
    fn read(&self, reader: &mut Reader) -> Result<Self::State>;
    /// Bytes that the state holds outside itself.
    fn heap(state: &Self::State) -> usize;
    /// Bytes that the element holds outside itself.
    fn element_heap(element: &Self::Element) -> usize;
    /// Bytes that the function holds for no key.
    fn reserve(&self) -> usize;
}

pub(super) struct FrameFold<A: Aggregate> {
    aggregate: A,
    function: &'static str,
    value: DataType,
    result: DataType,
    units: FrameUnits,
    /// None: from the first row.
    start: Option<u64>,
    end: u64,
    states: Vec<A::State>,
    /// Rows so far; empty where positions are times or do not matter.
    rows: Vec<i64>,
    /// Empty where the frame ends with the current row.
    ahead: Vec<Ring<A::Element>>,
}

impl<A: Aggregate> FrameFold<A> {
    pub(super) fn new(
        aggregate: A,
        function: &'static str,
        value: DataType,
        result: DataType,
        frame: Frame,
    ) -> Self {
        Self {
            aggregate,
            function,
            value,
            result,
            units: frame.units,
            start: frame.start(),
            end: frame.end(),
            states: Vec::new(),
            rows: Vec::new(),
            ahead: Vec::new(),
        }
    }

    fn counts_rows(&self) -> bool {
        self.units == FrameUnits::Rows && (self.start.is_some() || self.end > 0)
    }

    fn take(&mut self, input: &A::Input, row: usize, key: usize, at: i64) {
        let state = &mut self.states[key];
        let low = self.start.map(|start| at.saturating_sub_unsigned(start));
        if let Some(low) = low {
            self.aggregate.leave(state, low);
        }
        let element = self.aggregate.element(input, row);
        if self.end == 0 {
            if let Some(element) = element {
                self.aggregate.enter(state, at, element);
            }
            return;
        }
        let ahead = &mut self.ahead[key];
        if let Some(element) = element {
            ahead.push_back((at, element));
        }
        let Some(high) = at.checked_sub_unsigned(self.end) else {
            return;
        };
        while ahead.front().is_some_and(|(at, _)| *at <= high) {
            let Some((at, element)) = ahead.pop_front() else {
                return;
            };
            if low.is_some_and(|low| at < low) {
                self.aggregate.discard(element);
            } else {
                self.aggregate.enter(state, at, element);
            }
        }
        shrink(ahead);
    }

    fn update_rows(&mut self, keys: &[u32], input: &A::Input, output: &mut A::Output) {
        let counts_rows = self.counts_rows();
        for (row, &key) in keys.iter().enumerate() {
            let key = key as usize;
            let mut at = 0;
            if counts_rows {
                self.rows[key] += 1;
                at = self.rows[key];
            }
            self.take(input, row, key, at);
            self.aggregate.push(output, &self.states[key]);
        }
    }

    /// A row without a time is in no frame, and its own frame is empty.
    fn update_range(
        &mut self,
        keys: &[u32],
        input: &A::Input,
        times: &TimestampMillisecondArray,
        output: &mut A::Output,
    ) {
        let time = |row: usize| times.is_valid(row).then(|| times.value(row));
        let empty = A::State::default();
        let mut start = 0;
        while start < keys.len() {
            let at = time(start);
            let mut end = start + 1;
            while end < keys.len() && time(end) == at {
                end += 1;
            }
            match at {
                Some(at) => {
                    for (row, &key) in (start..end).zip(&keys[start..end]) {
                        self.take(input, row, key as usize, at);
                    }
                    for &key in &keys[start..end] {
                        self.aggregate.push(output, &self.states[key as usize]);
                    }
                }
                None => {
                    for _ in start..end {
                        self.aggregate.push(output, &empty);
                    }
                }
            }
            start = end;
        }
    }
}

impl<A: Aggregate> KeyedFold for FrameFold<A> {
    fn return_type(&self) -> DataType {
        self.result.clone()
    }

    fn resize(&mut self, keys: usize) {
        let keys = keys.max(self.states.len());
        self.states.resize_with(keys, A::State::default);
        if self.counts_rows() {
            self.rows.resize(keys, 0);
        }
        if self.end > 0 {
            self.ahead.resize_with(keys, VecDeque::new);
        }
    }

    fn update_rows(&mut self, rows: &KeyRows<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
        let keys = rows.keys();
        let input = self.aggregate.input(&column(args, 0, &self.value)?)?;
        let mut output = self.aggregate.output(keys.len());
        match self.units {
            FrameUnits::Rows => self.update_rows(keys, &input, &mut output),
            FrameUnits::Range => {
                let times = timestamps(args, 1)?;
                self.update_range(keys, &input, &times, &mut output);
            }
        }
        self.aggregate.finish(output)
    }

    /// The row number and the rows ahead, where there are such, then the aggregate.
    fn snapshot(&self, key: u32, out: &mut Vec<u8>) {
        let key = key as usize;
        out.push(VERSION);
        if self.counts_rows() {
            out.extend_from_slice(&self.rows[key].to_le_bytes());
        }
        if self.end > 0 {
            write_ring(&self.ahead[key], out, |element, out| {
                self.aggregate.write_element(element, out);
            });
        }
        self.aggregate.write(&self.states[key], out);
    }

    fn restore(&mut self, key: u32, bytes: &[u8]) -> Result<()> {
        let key = key as usize;
        let mut rows = 0;
        let mut ahead = VecDeque::new();
        let mut state = A::State::default();
        if !bytes.is_empty() {
            let mut reader = Reader::new(self.function, VERSION, bytes)?;
            if self.counts_rows() {
                rows = reader.i64()?;
                if !(0..=i64::MAX / 2).contains(&rows) {
                    return Err(reader.damaged("it counts more rows than can be"));
                }
            }
            if self.end > 0 {
                ahead = read_ring(&mut reader, |reader| self.aggregate.read_element(reader))?;
            }
            state = self.aggregate.read(&mut reader)?;
            reader.finish()?;
        }
        self.states[key] = state;
        if self.counts_rows() {
            self.rows[key] = rows;
        }
        if self.end > 0 {
            self.ahead[key] = ahead;
        }
        Ok(())
    }

    fn memory(&self) -> usize {
        self.aggregate.reserve()
            + self.states.capacity() * size_of::<A::State>()
            + self.states.iter().map(A::heap).sum::<usize>()
            + self.rows.capacity() * size_of::<i64>()
            + self.ahead.capacity() * size_of::<Ring<A::Element>>()
            + self
                .ahead
                .iter()
                .map(|ring| ring_heap(ring, A::element_heap))
                .sum::<usize>()
    }
}

/// Gives room back once a ring fills less than a quarter of it, so that a burst does not stay paid for.
pub(super) fn shrink<E>(ring: &mut Ring<E>) {
    if ring.capacity() > 64 && ring.len() < ring.capacity() / 4 {
        ring.shrink_to(ring.len() * 2);
    }
}

pub(super) fn ring_heap<E>(ring: &Ring<E>, heap: impl Fn(&E) -> usize) -> usize {
    ring.capacity() * size_of::<(i64, E)>()
        + ring.iter().map(|(_, element)| heap(element)).sum::<usize>()
}

/// The number of elements, then each behind its position.
pub(super) fn write_ring<E>(ring: &Ring<E>, out: &mut Vec<u8>, write: impl Fn(&E, &mut Vec<u8>)) {
    out.extend_from_slice(&(ring.len() as u64).to_le_bytes());
    for (at, element) in ring {
        out.extend_from_slice(&at.to_le_bytes());
        write(element, out);
    }
}

pub(super) fn read_ring<E>(
    reader: &mut Reader,
    read: impl Fn(&mut Reader) -> Result<E>,
) -> Result<Ring<E>> {
    let mut ring: Ring<E> = VecDeque::new();
    for _ in 0..reader.u64()? {
        let at = reader.i64()?;
        if ring.back().is_some_and(|(last, _)| *last > at) {
            return Err(reader.damaged("its rows are not in order"));
        }
        ring.push_back((at, read(reader)?));
    }
    Ok(ring)
}
