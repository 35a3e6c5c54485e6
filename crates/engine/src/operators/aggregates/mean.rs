//! `avg(x)`: a sum and a count a group; null without a value.
//!
//! A float's mean is a float. A decimal's has four digits more behind the point, as the type of the
//! result says, and is cut off there, towards zero; the sum is kept in 256 bits, in which it cannot
//! overflow. A mean with too many digits for its type is null, where DataFusion fails the query.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Float64Array};
use arrow::datatypes::{Decimal128Type, DecimalType, Float64Type, i256};
use keyhawk_functions::one_nan;

use super::state::LittleEndian;
use super::{AccumulatorColumn, Argument, OPERATOR, same};
use crate::error::{In, Result};

#[derive(Default)]
pub(super) struct MeanFloat {
    sums: Vec<f64>,
    counts: Vec<u64>,
}

impl AccumulatorColumn for MeanFloat {
    fn resize(&mut self, groups: usize) {
        self.sums.resize(groups, 0.0);
        self.counts.resize(groups, 0);
    }

    fn update(&mut self, argument: &Argument, rows: Range<usize>, slots: &[u32]) -> Result<()> {
        let values = argument.values.as_primitive::<Float64Type>();
        argument.for_each(rows, slots, |row, slot| {
            self.sums[slot] += values.value(row);
            self.counts[slot] += 1;
        });
        Ok(())
    }

    fn merge(&mut self, other: &dyn AccumulatorColumn, slots: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for ((sum, count), &slot) in other.sums.iter().zip(&other.counts).zip(slots) {
            self.sums[slot as usize] += sum;
            self.counts[slot as usize] += count;
        }
        Ok(())
    }

    fn finish(&self) -> Result<ArrayRef> {
        let mean = |(&sum, &count): (&f64, &u64)| (count > 0).then(|| one_nan(sum / count as f64));
        let means = self.sums.iter().zip(&self.counts).map(mean);
        Ok(Arc::new(means.collect::<Float64Array>()))
    }

    fn save(&self, slots: &[usize], out: &mut [Vec<u8>]) {
        for (&slot, out) in slots.iter().zip(out) {
            self.sums[slot].write(out);
            self.counts[slot].write(out);
        }
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        self.sums[slot] = f64::read(bytes)?;
        self.counts[slot] = u64::read(bytes)?;
        Ok(())
    }

    fn memory(&self) -> usize {
        (self.sums.capacity() + self.counts.capacity()) * 8
    }
}

pub(super) struct MeanDecimal {
    sums: Vec<i256>,
    counts: Vec<u64>,
    /// What takes a sum to the scale of the result.
    factor: i256,
    precision: u8,
    scale: i8,
}

impl MeanDecimal {
    /// For values of scale `from`, which is not above the result's.
    pub(super) fn new(from: i8, precision: u8, scale: i8) -> Self {
        MeanDecimal {
            sums: Vec::new(),
            counts: Vec::new(),
            factor: i256::from_i128(10).wrapping_pow((scale - from) as u32),
            precision,
            scale,
        }
    }

    fn mean(&self, sum: i256, count: u64) -> Option<i128> {
        let sum = sum.checked_mul(self.factor)?;
        let mean = sum.checked_div(i256::from_i128(i128::from(count)))?;
        let mean = mean.to_i128()?;
        Decimal128Type::validate_decimal_precision(mean, self.precision, self.scale).ok()?;
        Some(mean)
    }
}

impl AccumulatorColumn for MeanDecimal {
    fn resize(&mut self, groups: usize) {
        self.sums.resize(groups, i256::ZERO);
        self.counts.resize(groups, 0);
    }

    fn update(&mut self, argument: &Argument, rows: Range<usize>, slots: &[u32]) -> Result<()> {
        let values = argument.values.as_primitive::<Decimal128Type>();
        argument.for_each(rows, slots, |row, slot| {
            let value = i256::from_i128(values.value(row));
            self.sums[slot] = self.sums[slot].wrapping_add(value);
            self.counts[slot] += 1;
        });
        Ok(())
    }

    fn merge(&mut self, other: &dyn AccumulatorColumn, slots: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for ((&sum, count), &slot) in other.sums.iter().zip(&other.counts).zip(slots) {
            let slot = slot as usize;
            self.sums[slot] = self.sums[slot].wrapping_add(sum);
            self.counts[slot] += count;
        }
        Ok(())
    }

    fn finish(&self) -> Result<ArrayRef> {
        let means = self.sums.iter().zip(&self.counts);
        let means = means.map(|(&sum, &count)| self.mean(sum, count));
        let means = means.collect::<Decimal128Array>();
        Ok(Arc::new(
            means
                .with_precision_and_scale(self.precision, self.scale)
                .within(OPERATOR)?,
        ))
    }

    fn save(&self, slots: &[usize], out: &mut [Vec<u8>]) {
        for (&slot, out) in slots.iter().zip(out) {
            self.sums[slot].write(out);
            self.counts[slot].write(out);
        }
    }

    fn load(&mut self, slot: usize, bytes: &mut &[u8]) -> Result<()> {
        self.sums[slot] = i256::read(bytes)?;
        self.counts[slot] = u64::read(bytes)?;
        Ok(())
    }

    fn memory(&self) -> usize {
        self.sums.capacity() * 32 + self.counts.capacity() * 8
    }
}
