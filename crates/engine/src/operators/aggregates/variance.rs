//! Variance and standard deviation, of a sample and of a population.
//!
//! State: count, mean and the sum of squared distances from it (M2), 24 bytes a group; values come in
//! by Welford's step (Technometrics 4, 1962), whole groups by Chan, Golub and LeVeque's (1979). A sum
//! of squares would lose all digits where the mean is large and the spread small.
//!
//! Null without a value, and for a sample of one.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::datatypes::Float64Type;
use keyhawk_functions::one_nan;

use super::state::LittleEndian;
use super::{AccumulatorColumn, Argument, same};
use crate::error::Result;

/// Which measure of spread.
#[derive(Clone, Copy)]
pub(super) struct Spread {
    /// What the divisor is less than the count.
    less: u64,
    root: bool,
}

impl Spread {
    pub(super) const SAMPLE: Spread = Spread {
        less: 1,
        root: false,
    };
    pub(super) const POPULATION: Spread = Spread {
        less: 0,
        root: false,
    };

    /// The standard deviation in the place of the variance.
    pub(super) const fn root(self) -> Spread {
        Spread { root: true, ..self }
    }
}

#[derive(Clone, Copy, Default)]
struct Moments {
    count: u64,
    mean: f64,
    m2: f64,
}

impl Moments {
    fn push(&mut self, value: f64) {
        self.count += 1;
        let distance = value - self.mean;
        self.mean += distance / self.count as f64;
        self.m2 += distance * (value - self.mean);
    }

    fn merge(&mut self, other: Moments) {
        if self.count == 0 || other.count == 0 {
            if self.count == 0 {
                *self = other;
            }
            return;
        }
        let (mine, others) = (self.count as f64, other.count as f64);
        let count = mine + others;
        let distance = other.mean - self.mean;
        self.count += other.count;
        self.mean += distance * (others / count);
        self.m2 += other.m2 + distance * distance * (mine * others / count);
    }

    fn finish(&self, spread: Spread) -> Option<f64> {
        let divisor = self.count.checked_sub(spread.less).filter(|&n| n > 0)?;
        let variance = self.m2 / divisor as f64;
        Some(one_nan(if spread.root {
            variance.sqrt()
        } else {
            variance
        }))
    }
}

pub(super) struct Variance {
    spread: Spread,
    groups: Vec<Moments>,
}

impl Variance {
    pub(super) fn new(spread: Spread) -> Self {
        Variance {
            spread,
            groups: Vec::new(),
        }
    }
}

impl AccumulatorColumn for Variance {
    fn resize(&mut self, groups: usize) {
        self.groups.resize(groups, Moments::default());
    }

    fn update(&mut self, argument: &Argument, rows: Range<usize>, slots: &[u32]) -> Result<()> {
        let values = argument.values.as_primitive::<Float64Type>();
        argument.for_each(rows, slots, |row, slot| {
            self.groups[slot].push(values.value(row));
        });
        Ok(())
    }

    fn merge(&mut self, other: &dyn AccumulatorColumn, slots: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for (&moments, &slot) in other.groups.iter().zip(slots) {
            self.groups[slot as usize].merge(moments);
        }
        Ok(())
    }

    fn finish(&self) -> Result<ArrayRef> {
        let results = self.groups.iter().map(|group| group.finish(self.spread));
        Ok(Arc::new(results.collect::<Float64Array>()))
    }

    fn save(&self, slots: &[usize], out: &mut [Vec<u8>]) {
        for (&slot, out) in slots.iter().zip(out) {
            let Moments { count, mean, m2 } = self.groups[slot];
            count.write(out);
            mean.write(out);
            m2.write(out);
        }
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        self.groups[slot] = Moments {
            count: u64::read(bytes)?,
            mean: f64::read(bytes)?,
            m2: f64::read(bytes)?,
        };
        Ok(())
    }

    fn memory(&self) -> usize {
        self.groups.capacity() * size_of::<Moments>()
    }
}
