//! The measuring loop: one round runs every bench once, so that a machine that slows down slows all.
//!
//! ```text
//!   warm-up   a b c
//!   round 1   a b c  ─▶ ratio of each to the first, within the round
//!   round 2   a b c  ─▶ …
//!   figure    median over the rounds; least and most beside it
//! ```
//!
//! The time is the CPU time of this thread where the kernel tells it (Linux), so that what else runs
//! on the machine takes nothing from the figure but caches and clock speed.

use std::fs;
use std::time::{Duration, Instant};

use crate::Result;
use crate::log::Log;

/// Something that takes in a whole log and is timed doing so.
pub struct Bench<'a> {
    /// How the tables call it.
    pub name: String,
    run: Box<Run<'a>>,
}

type Run<'a> = dyn FnMut(&Log) -> Result<()> + 'a;

impl<'a> Bench<'a> {
    /// `run` starts anew each time, and fails where it did not take in the whole log.
    pub fn new(name: impl Into<String>, run: impl FnMut(&Log) -> Result<()> + 'a) -> Self {
        Bench {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

/// The middle of several figures, the least and the most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median; of an even number of figures the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of at least one figure.
    pub fn of(mut figures: Vec<f64>) -> Self {
        assert!(!figures.is_empty(), "a spread needs a figure");
        figures.sort_by(f64::total_cmp);
        let (low, high) = ((figures.len() - 1) / 2, figures.len() / 2);
        Spread {
            median: (figures[low] + figures[high]) / 2.0,
            min: figures[0],
            max: figures[figures.len() - 1],
        }
    }
}

/// What one bench came to.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The bench's name.
    pub name: String,
    /// Events a second, round by round.
    rates: Vec<f64>,
    /// Events a second.
    pub rate: Spread,
    /// Its rate as a multiple of the first bench's in the same round.
    pub ratio: Spread,
    /// Microseconds an event, the median.
    pub micros: f64,
}

impl Figures {
    /// The rate as a multiple of another bench's in the same round.
    pub fn ratio_to(&self, other: &Figures) -> Spread {
        let rounds = self.rates.iter().zip(&other.rates);
        Spread::of(rounds.map(|(rate, other)| rate / other).collect())
    }
}

/// Runs the benches over the log, `rounds` times after a warm-up, and compares them with the first.
///
/// # Errors
/// The first that a bench returns.
pub fn measure(benches: &mut [Bench<'_>], log: &Log, rounds: usize) -> Result<Vec<Figures>> {
    let mut rates: Vec<Vec<f64>> = vec![Vec::with_capacity(rounds); benches.len()];
    for round in 0..=rounds {
        for (bench, rates) in benches.iter_mut().zip(&mut rates) {
            let started = Clock::now();
            (bench.run)(log)?;
            let taken = started.elapsed();
            if round > 0 {
                // A clock that ticks slower than a short run makes no infinite rate.
                rates.push(log.len() as f64 / taken.as_secs_f64().max(1e-9));
            }
        }
    }
    let first = rates[0].clone();
    let figures = benches.iter().zip(rates).map(|(bench, rates)| {
        let ratios = rates.iter().zip(&first).map(|(rate, first)| rate / first);
        let ratio = Spread::of(ratios.collect());
        let rate = Spread::of(rates.clone());
        Figures {
            name: bench.name.clone(),
            rates,
            rate,
            ratio,
            micros: 1e6 / rate.median,
        }
    });
    Ok(figures.collect())
}

/// CPU time of this thread, or else the wall clock.
enum Clock {
    Cpu(Duration),
    Wall(Instant),
}

impl Clock {
    fn now() -> Self {
        match cpu_time() {
            Some(time) => Clock::Cpu(time),
            None => Clock::Wall(Instant::now()),
        }
    }

    fn elapsed(&self) -> Duration {
        match self {
            Clock::Cpu(started) => cpu_time().unwrap_or_default().saturating_sub(*started),
            Clock::Wall(started) => started.elapsed(),
        }
    }
}

/// Which clock the figures are of.
pub fn clock() -> &'static str {
    match cpu_time() {
        Some(_) => "CPU time of one thread",
        None => "wall clock",
    }
}

/// The first field of `schedstat`: nanoseconds that the thread has run.
fn cpu_time() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos: u64 = text.split_whitespace().next()?.parse().ok()?;
    (nanos > 0).then(|| Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_middle_and_both_ends() {
        let odd = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((odd.min, odd.median, odd.max), (1.0, 2.0, 3.0));
        let even = Spread::of(vec![4.0, 1.0, 2.0, 3.0]);
        assert_eq!(even.median, 2.5);
    }

    #[test]
    fn the_first_bench_is_the_measure_of_the_others() {
        let mut log = Log::new(0);
        log.push(0, |out| out.push(b' '));
        let spin = |turns: u64| {
            move |_: &Log| {
                for turn in 0..turns {
                    std::hint::black_box(turn);
                }
                Ok(())
            }
        };
        let mut benches = [
            Bench::new("short", spin(20_000_000)),
            Bench::new("long", spin(200_000_000)),
        ];
        let figures = measure(&mut benches, &log, 3).unwrap();
        assert_eq!(figures[0].ratio.median, 1.0);
        assert!(figures[1].ratio.median < 0.6, "{figures:?}");
    }
}
