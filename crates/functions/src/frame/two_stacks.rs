//! Sum, average and variance of doubles: a queue of aggregates that never takes a value back.
//!
//! ```text
//!              front: aggregates of the tails          back: values
//!   leaves ◀── [ a+b+c ][ b+c ][ c ]          │        [ d ][ e ] ◀── enters        newest = d + e
//!              the frame's value = (a+b+c) ⊕ (d+e)
//! ```
//!
//! Subtraction does not undo an addition of doubles: after 1e16 + 1 − 1e16 the 1 is lost. So a value
//! that leaves is not subtracted: the front holds the aggregate of each tail of the older rows, and to
//! drop the oldest row is to pop one. When the front is empty, the back is turned over into it, once
//! for each value, so a row costs O(1) over its life. Where the front ends is part of the state, since
//! the order of additions depends on it; it follows from the key's rows alone.
//!
//! Variance keeps the mean and the sum of squared distances from it: a value is added after Welford
//! ("Note on a Method for Calculating Corrected Sums of Squares and Products", Technometrics 4, 1962),
//! and two aggregates are merged after Chan, Golub and LeVeque ("Updating Formulae and a Pairwise
//! Algorithm for Computing Sample Variances", 1979). How many values an aggregate holds follows from
//! its place.
//!
//! A frame without a start needs no front: it is one aggregate, built as DataFusion builds it.

use std::{collections::VecDeque, marker::PhantomData, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, Float64Array, Float64Builder},
    datatypes::Float64Type,
};

use super::fold::{Aggregate, Ring, read_ring, ring_heap, shrink, write_ring};
use crate::{Result, one_nan::one_nan, state::Reader};

/// An aggregate of some values, whose number the caller knows.
pub(super) trait Mergeable: Default + Copy + Send {
    /// Adds a value to `count` others.
    fn add(&mut self, count: u64, value: f64);
    /// The aggregate of both; neither is empty.
    fn merge(self, count: u64, other: Self, other_count: u64) -> Self;
    /// The sum, or the sum of squared distances from the mean.
    fn total(self) -> f64;
    fn write(self, out: &mut Vec<u8>);
    fn read(reader: &mut Reader) -> Result<Self>;
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Total(f64);

impl Mergeable for Total {
    fn add(&mut self, _count: u64, value: f64) {
        self.0 += value;
    }

    fn merge(self, _count: u64, other: Self, _other_count: u64) -> Self {
        Self(self.0 + other.0)
    }

    fn total(self) -> f64 {
        self.0
    }

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&one_nan(self.0).to_le_bytes());
    }

    fn read(reader: &mut Reader) -> Result<Self> {
        Ok(Self(reader.f64()?))
    }
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Spread {
    mean: f64,
    /// Sum of squared distances from the mean.
    m2: f64,
}

impl Mergeable for Spread {
    fn add(&mut self, count: u64, value: f64) {
        let distance = value - self.mean;
        self.mean += distance / (count + 1) as f64;
        self.m2 += distance * (value - self.mean);
    }

    fn merge(self, count: u64, other: Self, other_count: u64) -> Self {
        let all = (count + other_count) as f64;
        let (count, other_count) = (count as f64, other_count as f64);
        let distance = other.mean - self.mean;
        Self {
            mean: self.mean + distance * (other_count / all),
            m2: self.m2 + other.m2 + distance * distance * (count * other_count / all),
        }
    }

    fn total(self) -> f64 {
        self.m2
    }

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&one_nan(self.mean).to_le_bytes());
        out.extend_from_slice(&one_nan(self.m2).to_le_bytes());
    }

    fn read(reader: &mut Reader) -> Result<Self> {
        Ok(Self {
            mean: reader.f64()?,
            m2: reader.f64()?,
        })
    }
}

/// What is read from the aggregate; `lost` is the degrees of freedom taken off the count.
#[derive(Debug, Clone, Copy)]
pub(super) enum Moments {
    Sum,
    Average,
    Variance { lost: u64 },
    Deviation { lost: u64 },
}

impl Moments {
    /// `count` is above 0.
    fn of(self, total: f64, count: u64) -> Option<f64> {
        let variance = |lost: u64| match count - lost {
            0 => None,
            // A single value is no distance from itself, even if it is infinite.
            _ if count == 1 => Some(0.0),
            degrees => Some(total / degrees as f64),
        };
        let value = match self {
            Self::Sum => Some(total),
            Self::Average => Some(total / count as f64),
            Self::Variance { lost } => variance(lost),
            Self::Deviation { lost } => variance(lost).map(f64::sqrt),
        };
        value.map(one_nan)
    }
}

pub(super) struct TwoStacks<M> {
    result: Moments,
    bounded: bool,
    marker: PhantomData<fn() -> M>,
}

impl<M> TwoStacks<M> {
    pub(super) fn new(result: Moments, bounded: bool) -> Self {
        Self {
            result,
            bounded,
            marker: PhantomData,
        }
    }
}

/// One key's frame.
#[derive(Default)]
pub(super) struct Stacks<M> {
    /// Aggregates of the tails of the older rows, the shortest tail first: element i holds i + 1 values,
    /// and its position is that of the oldest.
    front: Vec<(i64, M)>,
    /// The newer values; none is kept where the frame has no start.
    back: Ring<f64>,
    /// Aggregate of the newer values.
    newest: M,
    /// Number of the newer values.
    count: u64,
}

impl<M: Mergeable> Stacks<M> {
    /// Turns the back over, except for its rows before `low`, into the empty front.
    fn turn(&mut self, low: i64) {
        let gone = self.back.partition_point(|(at, _)| *at < low);
        let mut tail = M::default();
        for (at, value) in self.back.range(gone..).rev() {
            tail.add(self.front.len() as u64, *value);
            self.front.push((*at, tail));
        }
        self.back.clear();
        shrink(&mut self.back);
        self.newest = M::default();
        self.count = 0;
    }
}

impl<M: Mergeable> Aggregate for TwoStacks<M> {
    type Input = Float64Array;
    type Element = f64;
    type State = Stacks<M>;
    type Output = Float64Builder;

    fn input(&self, array: &ArrayRef) -> Result<Self::Input> {
        Ok(array.as_primitive::<Float64Type>().clone())
    }

    fn element(&mut self, input: &Self::Input, row: usize) -> Option<f64> {
        input.is_valid(row).then(|| input.value(row))
    }

    fn enter(&mut self, state: &mut Stacks<M>, at: i64, value: f64) {
        if self.bounded {
            state.back.push_back((at, value));
        }
        state.newest.add(state.count, value);
        state.count += 1;
    }

    fn leave(&mut self, state: &mut Stacks<M>, low: i64) {
        while state.front.last().is_some_and(|(at, _)| *at < low) {
            state.front.pop();
        }
        if state.front.is_empty() && state.back.front().is_some_and(|(at, _)| *at < low) {
            state.turn(low);
        }
        if state.front.capacity() > 64 && state.front.len() < state.front.capacity() / 4 {
            state.front.shrink_to(state.front.len() * 2);
        }
    }

    fn discard(&mut self, _value: f64) {}

    fn output(&self, rows: usize) -> Self::Output {
        Float64Builder::with_capacity(rows)
    }

    fn push(&self, output: &mut Self::Output, state: &Stacks<M>) {
        let older = state.front.len() as u64;
        let all = match (state.front.last(), state.count) {
            (None, 0) => {
                output.append_null();
                return;
            }
            (None, _) => state.newest,
            (Some((_, tail)), 0) => *tail,
            (Some((_, tail)), count) => tail.merge(older, state.newest, count),
        };
        output.append_option(self.result.of(all.total(), older + state.count));
    }

    fn finish(&self, mut output: Self::Output) -> Result<ArrayRef> {
        Ok(Arc::new(output.finish()))
    }

    fn write_element(&self, value: &f64, out: &mut Vec<u8>) {
        out.extend_from_slice(&value.to_le_bytes());
    }

    fn read_element(&self, reader: &mut Reader) -> Result<f64> {
        reader.f64()
    }

    /// Bounded: the front, the oldest row first, and the back. Otherwise the count and the aggregate.
    fn write(&self, state: &Stacks<M>, out: &mut Vec<u8>) {
        if self.bounded {
            let front = state.front.iter().rev().copied().collect();
            write_ring(&front, out, |tail, out| tail.write(out));
            write_ring(&state.back, out, |value, out| {
                self.write_element(value, out)
            });
        } else {
            out.extend_from_slice(&state.count.to_le_bytes());
            state.newest.write(out);
        }
    }

    fn read(&self, reader: &mut Reader) -> Result<Stacks<M>> {
        let mut state = Stacks::default();
        if !self.bounded {
            state.count = reader.u64()?;
            if state.count > i64::MAX as u64 {
                return Err(reader.damaged("it counts more rows than can be"));
            }
            state.newest = M::read(reader)?;
            return Ok(state);
        }
        let front: Ring<M> = read_ring(reader, M::read)?;
        state.front = front.into_iter().rev().collect();
        let back: VecDeque<_> = read_ring(reader, |reader| self.read_element(reader))?;
        if let (Some((older, _)), Some((newer, _))) = (state.front.first(), back.front())
            && older > newer
        {
            return Err(reader.damaged("its rows are not in order"));
        }
        for (_, value) in &back {
            state.newest.add(state.count, *value);
            state.count += 1;
        }
        state.back = back;
        Ok(state)
    }

    fn heap(state: &Stacks<M>) -> usize {
        state.front.capacity() * size_of::<(i64, M)>() + ring_heap(&state.back, |_| 0)
    }

    fn element_heap(_value: &f64) -> usize {
        0
    }

    fn reserve(&self) -> usize {
        0
    }
}
