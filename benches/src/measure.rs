//! The measuring loop: the benches take turns slice by slice of the log, so that a machine that slows
//! down slows all of them alike.
//!
//! ```text
//!   warm-up                  as below, its times forgotten
//!   round 1   slice 1   a b c
//!             slice 2   a b c
//!             …                 ─▶ ratio of each to the first, within the round
//!   round 2   …
//!   figure    median over the rounds; least and most beside it
//! ```
//!
//! The time is the CPU time of this thread where the system tells it, so that what else runs on the
//! machine takes nothing from the figure but caches and clock speed. These change within seconds where a
//! processor is shared; a slice takes a tenth of one or two, so that both sides of a ratio meet the same,
//! and what a bench finds in the caches is its own but for the slice's beginning.

use std::ops::Range;
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;

use crate::Result;
use crate::log::Log;
use crate::stages::BATCH_ROWS;

/// Records that one bench takes in before the next has its turn: whole batches, so that no batch is cut
/// that would not be cut otherwise.
const SLICE_ROWS: usize = 8 * BATCH_ROWS;

/// What takes in a log from its beginning and is timed doing so.
pub trait Stage {
    /// Takes in the records with these offsets, which follow those of the call before.
    ///
    /// # Errors
    /// A record that is no event, or late.
    fn take(&mut self, log: &Log, offsets: Range<usize>) -> Result<()>;

    /// Brings it to an end, once, behind the last record.
    ///
    /// # Errors
    /// Not every record of the log was taken in.
    fn finish(&mut self, log: &Log) -> Result<()>;
}

/// A stage that takes the whole log in one go, such as one that reads it from a file.
pub struct Whole<F>(pub F);

impl<F: FnMut(&Log) -> Result<()>> Stage for Whole<F> {
    fn take(&mut self, _log: &Log, _offsets: Range<usize>) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self, log: &Log) -> Result<()> {
        (self.0)(log)
    }
}

/// Lets a stage take in a whole log.
///
/// # Errors
/// What the stage returns.
pub fn run(stage: &mut impl Stage, log: &Log) -> Result<()> {
    stage.take(log, 0..log.len())?;
    stage.finish(log)
}

/// A stage that is timed.
pub struct Bench<'a> {
    /// How the tables call it.
    pub name: String,
    start: Box<Start<'a>>,
}

type Start<'a> = dyn FnMut() -> Result<Box<dyn Stage + 'a>> + 'a;

impl<'a> Bench<'a> {
    /// `start` makes the stage anew for each round.
    pub fn new<S: Stage + 'a>(
        name: impl Into<String>,
        mut start: impl FnMut() -> Result<S> + 'a,
    ) -> Self {
        Bench {
            name: name.into(),
            start: Box::new(move || Ok(Box::new(start()?))),
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
        let times = one_round(benches, log)?;
        if round > 0 {
            for (rates, time) in rates.iter_mut().zip(times) {
                // A clock that ticks slower than a short run makes no infinite rate.
                rates.push(log.len() as f64 / time.as_secs_f64().max(1e-9));
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

/// The time that each bench takes for the log, from its start to its end.
fn one_round(benches: &mut [Bench<'_>], log: &Log) -> Result<Vec<Duration>> {
    let mut times = vec![Duration::ZERO; benches.len()];
    let mut stages = Vec::with_capacity(benches.len());
    for (bench, time) in benches.iter_mut().zip(&mut times) {
        let started = Clock::now();
        stages.push((bench.start)()?);
        *time += started.elapsed();
    }
    for begin in (0..log.len()).step_by(SLICE_ROWS) {
        let offsets = begin..log.len().min(begin + SLICE_ROWS);
        for (stage, time) in stages.iter_mut().zip(&mut times) {
            let started = Clock::now();
            stage.take(log, offsets.clone())?;
            *time += started.elapsed();
        }
    }
    for (mut stage, time) in stages.into_iter().zip(&mut times) {
        let started = Clock::now();
        stage.finish(log)?;
        drop(stage);
        *time += started.elapsed();
    }
    Ok(times)
}

/// CPU time of this thread, or else the wall clock.
enum Clock {
    Cpu(ThreadTime),
    Wall(Instant),
}

impl Clock {
    fn now() -> Self {
        match ThreadTime::try_now() {
            Ok(time) => Clock::Cpu(time),
            Err(_) => Clock::Wall(Instant::now()),
        }
    }

    fn elapsed(&self) -> Duration {
        match self {
            Clock::Cpu(started) => started.elapsed(),
            Clock::Wall(started) => started.elapsed(),
        }
    }
}

/// Which clock the figures are of.
pub fn clock() -> &'static str {
    match Clock::now() {
        Clock::Cpu(_) => "CPU time of one thread",
        Clock::Wall(_) => "wall clock",
    }
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

    /// Spins for each record, and counts what it takes in.
    struct Spin {
        turns: u64,
        taken: usize,
    }

    impl Stage for Spin {
        fn take(&mut self, _log: &Log, offsets: Range<usize>) -> Result<()> {
            assert_eq!(offsets.start, self.taken);
            self.taken = offsets.end;
            for turn in 0..self.turns * offsets.len() as u64 {
                std::hint::black_box(turn);
            }
            Ok(())
        }

        fn finish(&mut self, log: &Log) -> Result<()> {
            assert_eq!(self.taken, log.len());
            Ok(())
        }
    }

    #[test]
    fn the_first_bench_is_the_measure_of_the_others() {
        let mut log = Log::new(0);
        for _ in 0..SLICE_ROWS + SLICE_ROWS / 2 {
            log.push(0, |out| out.push(b' '));
        }
        let spin = |turns: u64| move || Ok(Spin { turns, taken: 0 });
        let mut benches = [
            Bench::new("short", spin(200)),
            Bench::new("long", spin(2000)),
        ];
        let figures = measure(&mut benches, &log, 3).unwrap();
        assert_eq!(figures[0].ratio.median, 1.0);
        assert!(figures[1].ratio.median < 0.6, "{figures:?}");
    }
}
