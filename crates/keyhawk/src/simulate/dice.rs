//! Random numbers that are the same on every machine and with every version of a library.
//!
//! Only the raw stream comes from outside (`ChaCha8`, whose output is fixed by its definition). What
//! is made of it is written here, with `exp` and `ln` of `libm`, so that a seed means the same
//! traffic for as long as this file stands.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// One stream of random numbers; streams of the same seed do not overlap.
#[derive(Debug)]
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    /// The `stream`-th stream of `seed`.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut stream_of_seed = ChaCha8Rng::seed_from_u64(seed);
        stream_of_seed.set_stream(stream);
        Self(stream_of_seed)
    }

    /// All 64 bits at random.
    pub(super) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Even on [0, 1), in steps of 2⁻⁵³.
    pub(super) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number in 0..`end`. `end` is at least 1; the bias is below `end` / 2⁶⁴.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    /// True with this probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One element, all alike. `choices` is not empty.
    pub(super) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// An exponential waiting time with this mean.
    pub(super) fn waiting(&mut self, mean: f64) -> f64 {
        -mean * libm::log(1.0 - self.unit())
    }

    /// Nearly normal, mean 0 and deviation 1: the sum of four even ones, so never beyond ±3.5.
    pub(super) fn normal(&mut self) -> f64 {
        let sum = self.unit() + self.unit() + self.unit() + self.unit();
        // Four even variables have the variance 4/12.
        (sum - 2.0) * 1.732_050_807_568_877_2
    }

    /// Log-normal around `median`, with this deviation of the logarithm.
    pub(super) fn around(&mut self, median: f64, deviation: f64) -> f64 {
        median * libm::exp(deviation * self.normal())
    }
}
