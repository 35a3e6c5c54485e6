//! `first_value`, `last_value` and `nth_value`: one of the frame's values, counted from an end.
//!
//! | from | frame | kept |
//! |---|---|---|
//! | the start, n-th | with a start | the values in the frame |
//! | the start, n-th | without a start | the first n values of the key |
//! | the end, n-th | any | the last n values, as long as they are in the frame |
//!
//! Nulls count as values, unless IGNORE NULLS leaves them out.

use std::collections::VecDeque;

use arrow::array::ArrayRef;

use super::{
    FrameFunction,
    extreme::Spare,
    fold::{Aggregate, Ring, read_ring, ring_heap, shrink, write_ring},
};
use crate::{Error, Result, columns::ValueColumn, state::Reader};

/// Which value; both count from 1.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pick {
    Never,
    First(usize),
    Last(usize),
}

impl Pick {
    pub(super) fn new(function: FrameFunction) -> Result<Self> {
        let n = match function {
            FrameFunction::LastValue => -1,
            FrameFunction::NthValue(n) => n,
            _ => 1,
        };
        let Ok(distance) = usize::try_from(n.unsigned_abs()) else {
            return Err(refused(function, n));
        };
        match n {
            0 => Ok(Self::Never),
            // DataFusion refuses it as well: it has no opposite.
            i64::MIN => Err(refused(function, n)),
            1.. => Ok(Self::First(distance)),
            _ => Ok(Self::Last(distance)),
        }
    }
}

fn refused(function: FrameFunction, n: i64) -> Error {
    Error::Argument {
        function: function.name(),
        argument: "n",
        expected: "a number of rows",
        found: n.to_string(),
    }
}

pub(super) struct Nth<C: ValueColumn> {
    column: C,
    pick: Pick,
    ignore_nulls: bool,
    bounded: bool,
    spare: Spare<C::Slot>,
}

impl<C: ValueColumn> Nth<C> {
    pub(super) fn new(column: C, pick: Pick, ignore_nulls: bool, bounded: bool) -> Self {
        Self {
            column,
            pick,
            ignore_nulls,
            bounded,
            spare: Spare::default(),
        }
    }

    /// The most values that are kept of a key.
    fn limit(&self) -> usize {
        match self.pick {
            Pick::Never => 0,
            Pick::First(_) if self.bounded => usize::MAX,
            Pick::First(n) | Pick::Last(n) => n,
        }
    }
}

impl<C: ValueColumn> Aggregate for Nth<C> {
    type Input = C::Input;
    /// None is null.
    type Element = Option<C::Slot>;
    type State = Ring<Option<C::Slot>>;
    type Output = C::Output;

    fn input(&self, array: &ArrayRef) -> Result<Self::Input> {
        self.column.input(array)
    }

    fn element(&mut self, input: &Self::Input, row: usize) -> Option<Self::Element> {
        if C::is_null(input, row) {
            return (!self.ignore_nulls).then_some(None);
        }
        let mut slot = self.spare.take();
        C::store(input, row, &mut slot);
        Some(Some(slot))
    }

    fn enter(&mut self, ring: &mut Self::State, at: i64, value: Self::Element) {
        if ring.len() >= self.limit() {
            if !matches!(self.pick, Pick::Last(_)) {
                self.discard(value);
                return;
            }
            if let Some((_, oldest)) = ring.pop_front() {
                self.discard(oldest);
            }
        }
        ring.push_back((at, value));
    }

    fn leave(&mut self, ring: &mut Self::State, low: i64) {
        while ring.front().is_some_and(|(at, _)| *at < low) {
            if let Some((_, value)) = ring.pop_front() {
                self.discard(value);
            }
        }
        shrink(ring);
    }

    fn discard(&mut self, value: Self::Element) {
        if let Some(slot) = value {
            self.spare.give(slot);
        }
    }

    fn output(&self, rows: usize) -> Self::Output {
        self.column.output(rows)
    }

    fn push(&self, output: &mut Self::Output, ring: &Self::State) {
        let index = match self.pick {
            Pick::Never => None,
            Pick::First(n) => n.checked_sub(1),
            Pick::Last(n) => ring.len().checked_sub(n),
        };
        match index.and_then(|index| ring.get(index)) {
            Some((_, Some(value))) => self.column.push(output, value),
            _ => self.column.push_null(output),
        }
    }

    fn finish(&self, output: Self::Output) -> Result<ArrayRef> {
        self.column.finish(output)
    }

    /// A byte 0 (null) or 1 before the value.
    fn write_element(&self, value: &Self::Element, out: &mut Vec<u8>) {
        out.push(u8::from(value.is_some()));
        if let Some(slot) = value {
            C::write(slot, out);
        }
    }

    fn read_element(&self, reader: &mut Reader) -> Result<Self::Element> {
        match reader.u8()? {
            0 if self.ignore_nulls => {
                Err(reader.damaged("it holds a null where nulls are ignored"))
            }
            0 => Ok(None),
            1 => Ok(Some(self.column.read(reader)?)),
            _ => Err(reader.damaged("a value is neither null nor not null")),
        }
    }

    fn write(&self, ring: &Self::State, out: &mut Vec<u8>) {
        write_ring(ring, out, |value, out| self.write_element(value, out));
    }

    fn read(&self, reader: &mut Reader) -> Result<Self::State> {
        let ring: VecDeque<_> = read_ring(reader, |reader| self.read_element(reader))?;
        if ring.len() > self.limit() {
            return Err(reader.damaged("it holds more values than the function needs"));
        }
        Ok(ring)
    }

    fn heap(ring: &Self::State) -> usize {
        ring_heap(ring, Self::element_heap)
    }

    fn element_heap(value: &Self::Element) -> usize {
        value.as_ref().map_or(0, C::heap)
    }

    fn reserve(&self) -> usize {
        self.spare.memory(C::heap)
    }
}
