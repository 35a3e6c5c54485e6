//! Minimum and maximum: a queue of the values that may yet be the answer.
//!
//! ```text
//!   max, values 7 3 5 2   queue [7 5 2]      4 enters ──▶ [7 5 4]      7 leaves ──▶ [5 4]
//! ```
//!
//! A value that enters removes those before it that it equals or outdoes: they leave sooner and can
//! never be the answer again. So the queue is sorted, its front is the answer, and every value is
//! pushed and popped once. A frame without a start keeps its front alone.

use std::cmp::Ordering;

use arrow::array::ArrayRef;

use super::fold::{Aggregate, Ring, read_ring, ring_heap, shrink, write_ring};
use crate::{Result, columns::ValueColumn, state::Reader};

pub(super) struct Extreme<C: ValueColumn> {
    column: C,
    /// What a value that may stay is to one that enters after it.
    outdone_by: Ordering,
    bounded: bool,
    spare: Spare<C::Slot>,
}

impl<C: ValueColumn> Extreme<C> {
    pub(super) fn new(column: C, min: bool, bounded: bool) -> Self {
        let outdone_by = if min {
            Ordering::Less
        } else {
            Ordering::Greater
        };
        Self {
            column,
            outdone_by,
            bounded,
            spare: Spare::default(),
        }
    }
}

impl<C: ValueColumn> Aggregate for Extreme<C> {
    type Input = C::Input;
    type Element = C::Slot;
    type State = Ring<C::Slot>;
    type Output = C::Output;

    fn input(&self, array: &ArrayRef) -> Result<Self::Input> {
        self.column.input(array)
    }

    fn element(&mut self, input: &Self::Input, row: usize) -> Option<C::Slot> {
        if C::is_null(input, row) {
            return None;
        }
        let mut slot = self.spare.take();
        C::store(input, row, &mut slot);
        Some(slot)
    }

    fn enter(&mut self, queue: &mut Ring<C::Slot>, at: i64, value: C::Slot) {
        while let Some((_, last)) = queue.back() {
            if C::compare(last, &value) != self.outdone_by {
                if let Some((_, slot)) = queue.pop_back() {
                    self.spare.give(slot);
                }
            } else if self.bounded {
                break;
            } else {
                self.spare.give(value);
                return;
            }
        }
        queue.push_back((at, value));
    }

    fn leave(&mut self, queue: &mut Ring<C::Slot>, low: i64) {
        while queue.front().is_some_and(|(at, _)| *at < low) {
            if let Some((_, slot)) = queue.pop_front() {
                self.spare.give(slot);
            }
        }
        shrink(queue);
    }

    fn discard(&mut self, value: C::Slot) {
        self.spare.give(value);
    }

    fn output(&self, rows: usize) -> Self::Output {
        self.column.output(rows)
    }

    fn push(&self, output: &mut Self::Output, queue: &Ring<C::Slot>) {
        match queue.front() {
            Some((_, value)) => self.column.push(output, value),
            None => self.column.push_null(output),
        }
    }

    fn finish(&self, output: Self::Output) -> Result<ArrayRef> {
        self.column.finish(output)
    }

    fn write_element(&self, value: &C::Slot, out: &mut Vec<u8>) {
        C::write(value, out);
    }

    fn read_element(&self, reader: &mut Reader) -> Result<C::Slot> {
        self.column.read(reader)
    }

    fn write(&self, queue: &Ring<C::Slot>, out: &mut Vec<u8>) {
        write_ring(queue, out, C::write);
    }

    fn read(&self, reader: &mut Reader) -> Result<Ring<C::Slot>> {
        read_ring(reader, |reader| self.column.read(reader))
    }

    fn heap(queue: &Ring<C::Slot>) -> usize {
        ring_heap(queue, C::heap)
    }

    fn element_heap(value: &C::Slot) -> usize {
        C::heap(value)
    }

    fn reserve(&self) -> usize {
        self.spare.memory(C::heap)
    }
}

/// Slots of values that are gone, so that the next text allocates nothing. Of numbers none is kept.
#[derive(Default)]
pub(super) struct Spare<S>(Vec<S>);

/// How many are kept: about as many as leave at once; a few kB.
const SPARE_SLOTS: usize = 64;

impl<S: Default> Spare<S> {
    pub(super) fn take(&mut self) -> S {
        self.0.pop().unwrap_or_default()
    }

    pub(super) fn give(&mut self, slot: S) {
        if std::mem::needs_drop::<S>() && self.0.len() < SPARE_SLOTS {
            self.0.push(slot);
        }
    }

    pub(super) fn memory(&self, heap: impl Fn(&S) -> usize) -> usize {
        self.0.capacity() * size_of::<S>() + self.0.iter().map(heap).sum::<usize>()
    }
}
