//! `baseline(value, ts, step)`: what is normal for one key, learned row by row in constant state.
//!
//! It answers each row with how surprising its value is: `surprise` = −log₁₀ of the calibrated
//! probability that normal use of this key gives a value at least this high, given that the key is
//! active. A surprise of 4 is one window in ten thousand.
//!
//! ```text
//!            ┌ A: slow level + daily and weekly rhythm ┐
//!   ln value │ B: A + the recent deviation             │ mixture ─▶ raw tail ─▶ tail layer ─▶ surprise
//!            └ J: the key's own bursts                 ┘ (Markov)                (calibrates)
//!                         ▲                                  │
//!                         └── learns, clipped and weighted ──┘
//! ```
//!
//! Everything is done on logarithms. Two forecasts, A and B, compete inside a normal regime; a second
//! regime J has its own level, and a two-state Markov chain moves between them, so that an hour of
//! attack is one onset and not sixty observations. The mixture gives a raw tail probability, and a small
//! Bayesian peaks-over-threshold layer (after Siffer et al., Anomaly Detection in Streams with Extreme
//! Value Theory, 2017), learned a key, makes it a calibrated one. Old evidence fades by discounting
//! (West and Harrison, Bayesian Forecasting and Dynamic Models), in windows elapsed for levels and in
//! rows for scales.
//!
//! A window without requests has no row; a gap costs one multiplication a number, however long it is.
//! A row whose value is null, not finite, zero or negative is treated as if absent: it teaches nothing,
//! its surprises are 0, and `expected`, `lower` and `upper` are null. Time that stands still or runs
//! backwards counts as one window.
//!
//! The half-lives, prior weights and floors below were found by coordinate search on recorded traffic of
//! 43 clients over 14 days, for the most injected misuse found at few false alerts; the optimum is flat,
//! so that a factor of two in most of them hardly matters.
//!
//! State: 38 numbers a key, 304 bytes in memory; below [`GROWN`] rows a snapshot holds 9 of them.

mod forecast;
mod function;
mod tail;
#[cfg(test)]
mod tests;

use forecast::{Forecast, Regimes};
pub(crate) use function::window_function;
use tail::Tail;

use crate::{Result, state::Reader};

const DAY_S: f64 = 86_400.0;
const WEEK_S: f64 = 604_800.0;

/// Rows that a key needs before rhythm, bursts and the tail layers learn; until then every row counts in
/// full towards the level.
pub const GROWN: u32 = 10;

/// Rows that a key needs before `level_surprise` is above 0: the level alone is too vague before.
pub const LEVEL_JUDGED: u32 = 20;

/// A row's value: what it is decides how its noise is modelled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Something counted, such as requests: small ones have Poisson noise and a continuity correction.
    Count(i64),
    /// Something measured, such as bytes or a latency.
    Measure(f64),
}

/// The logarithms of a value that the fold works with.
#[derive(Debug, Clone, Copy)]
struct Logs {
    /// To learn from.
    middle: f64,
    /// To judge whether it is high.
    upper: f64,
    /// To judge whether it is low.
    lower: f64,
    /// Whether it is a count.
    count: bool,
}

impl Logs {
    fn of(value: Value) -> Option<Self> {
        match value {
            Value::Count(count) if count > 0 => {
                let v = count as f64;
                Some(Self {
                    middle: libm::log(v + 0.5),
                    upper: libm::log(v),
                    lower: libm::log(v + 1.0),
                    count: true,
                })
            }
            Value::Measure(v) if v > 0.0 && v.is_finite() => {
                let log = libm::log(v);
                Some(Self {
                    middle: log,
                    upper: log,
                    lower: log,
                    count: false,
                })
            }
            _ => None,
        }
    }
}

/// What one row is answered with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// The forecast; None on a key's first row and on a row treated as absent.
    pub expected: Option<f64>,
    /// Lower and upper bound of normal: outside exactly when the surprise on that side is 3 or more.
    /// None where not asked for or where `expected` is None.
    pub bounds: Option<(f64, f64)>,
    /// −log₁₀ of the probability of a value at least this high.
    pub surprise: f64,
    /// −log₁₀ of the probability of a value at most this low.
    pub surprise_low: f64,
    /// `surprise` by level and rhythm alone, blind to what the key did in the last minutes: for use that
    /// lasts or creeps up.
    pub level_surprise: f64,
    /// Rows learned before this one.
    pub n: u32,
}

impl Observation {
    /// Of a row that cannot be judged.
    fn silent(n: u32) -> Self {
        let (surprise, surprise_low, level_surprise) = (0.0, 0.0, 0.0);
        Self {
            expected: None,
            bounds: None,
            surprise,
            surprise_low,
            level_surprise,
            n,
        }
    }
}

/// Mean and standard deviation of the logarithmic level over the keys of a cohort, from which a new key
/// starts, so that its first row is judged already.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prior {
    /// Mean of the log levels.
    pub mean: f64,
    /// Standard deviation of the log levels.
    pub deviation: f64,
}

/// A factor applied once a window.
#[derive(Debug, Clone, Copy)]
struct Decay {
    once: f64,
    log: f64,
}

impl Decay {
    /// A half after `days`, with windows `step_days` apart.
    fn half_life(days: f64, step_days: f64) -> Self {
        Self::from_log(-step_days / days * std::f64::consts::LN_2)
    }

    fn from_log(log: f64) -> Self {
        Self {
            once: libm::exp(log),
            log,
        }
    }

    fn over(self, windows: i64) -> f64 {
        match windows {
            ..=0 => 1.0,
            1 => self.once,
            _ => libm::exp(self.log * windows as f64),
        }
    }
}

/// What the folds of all keys share: the step, its decays, and the prior.
#[derive(Debug, Clone)]
pub struct Params {
    step_s: i64,
    prior: Option<Prior>,
    /// κ²: how unsure a new key's level is, in log units squared.
    cold: f64,
    /// δL, half-life 3 days: weight of the level, a window.
    level: Decay,
    /// δd, half-life 10 minutes but at most half a window: weight of the deviation, a window.
    deviation_weight: Decay,
    /// The deviation's own way back to 0, a window.
    deviation: Decay,
    /// δR, half-life 7 days: the burst regime, a window.
    burst: Decay,
    /// δS, half-life 2 days: scales, a row.
    scale: f64,
    /// δE, half-life 1 day: evidence for A and B, a row.
    evidence: f64,
    /// δT, half-life 7 days: tail layers, a row.
    tail: f64,
    /// η: how fast the rhythm learns, a row.
    rhythm: f64,
}

impl Params {
    /// Parameters for windows `step_s` seconds apart; a step below 1 is taken as 1. `prior` is None
    /// unless the key's cohort is known.
    pub fn new(step_s: i64, prior: Option<Prior>) -> Self {
        let step_s = step_s.max(1);
        let days = step_s as f64 / DAY_S;
        let half_life = |half_life_days| Decay::half_life(half_life_days, days);
        let week = half_life(7.0);
        let deviation_weight = half_life(1.0 / 144.0);
        let half = Decay::from_log(-std::f64::consts::LN_2);
        Self {
            step_s,
            prior,
            cold: 1.0 + prior.map_or(0.0, |prior| prior.deviation * prior.deviation),
            level: half_life(3.0),
            deviation_weight: if deviation_weight.log < half.log {
                half
            } else {
                deviation_weight
            },
            deviation: Decay::from_log(libm::log(0.9)),
            burst: week,
            scale: half_life(2.0).once,
            evidence: half_life(1.0).once,
            tail: week.once,
            rhythm: 2.0 * (1.0 - week.once),
        }
    }
}

/// The waves of the rhythm: cos and sin of the daily harmonics 1 to 4, then of the week.
const WAVES: usize = 10;

/// The state of one key. The default is a key that has shown no row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Baseline {
    /// m and W: the level of A and its weight.
    level: f64,
    level_weight: f64,
    /// N and S_A: rows and squared errors of A.
    rows: f64,
    level_errors: f64,
    /// d, W_d and S_B: the recent deviation, its weight, and squared errors of B.
    deviation: f64,
    deviation_weight: f64,
    deviation_errors: f64,
    /// R_A and R_B: evidence for A and for B.
    level_evidence: f64,
    deviation_evidence: f64,
    /// b, W_J and S_J: level, weight and squared errors of the burst regime.
    burst: f64,
    burst_weight: f64,
    burst_errors: f64,
    /// nn, nb, bn and bb: transitions between normal and burst.
    stay_normal: f64,
    to_burst: f64,
    to_normal: f64,
    stay_burst: f64,
    /// q: the probability that the last row was of a burst.
    in_burst: f64,
    /// c: amplitudes of the rhythm.
    rhythm: [f64; WAVES],
    upper_tail: Tail,
    lower_tail: Tail,
    level_tail: Tail,
    /// Index of the last row's window, ⌊ts / step⌋.
    last: i64,
    /// Rows learned.
    n: u32,
}

impl Baseline {
    /// Judges one row by what came before it, then learns from it. Rows come in the order of `ts_s`,
    /// seconds since 1970. `bounds` makes the call about ten times as dear.
    pub fn observe(
        &mut self,
        value: Value,
        ts_s: i64,
        params: &Params,
        bounds: bool,
    ) -> Observation {
        let n = self.n;
        let Some(y) = Logs::of(value) else {
            return Observation::silent(n);
        };
        let window = ts_s.div_euclid(params.step_s);
        if n == 0 {
            let Some(prior) = params.prior else {
                self.level = y.middle;
                self.level_weight = 1.0;
                self.deviation_weight = 1.0;
                self.last = window;
                self.n = 1;
                return Observation::silent(0);
            };
            self.level = prior.mean;
        } else {
            self.age(window.saturating_sub(self.last).max(1), params);
        }

        let waves = waves(ts_s.saturating_sub(ts_s.rem_euclid(params.step_s)));
        let forecast = Forecast::new(self, &waves, y.count, params);
        let raw_upper = forecast.upper_tail(y.upper);
        let raw_lower = forecast.lower_tail(y.lower);
        let raw_level = forecast.level_tail(y.upper);
        let observation = Observation {
            expected: Some(forecast.expected(y.count)),
            bounds: bounds.then(|| forecast.bounds(self, y.count)),
            surprise: tail::surprise(self.upper_tail.calibrate(raw_upper)),
            surprise_low: tail::surprise(self.lower_tail.calibrate(raw_lower)),
            level_surprise: if n < LEVEL_JUDGED {
                0.0
            } else {
                tail::surprise(self.level_tail.calibrate(raw_level))
            },
            n,
        };

        let regimes = forecast.regimes(y.middle);
        self.learn_normal(y.middle, &waves, &forecast, &regimes, params);
        if n >= GROWN {
            self.upper_tail.learn(raw_upper, params.tail);
            self.lower_tail.learn(raw_lower, params.tail);
            self.level_tail.learn(raw_level, params.tail);
            self.learn_burst(y.middle, &forecast, &regimes);
            self.adopt_lasting_burst(&forecast);
        }
        self.last = window;
        self.n = n.saturating_add(1);
        observation
    }

    /// Rows learned so far.
    pub fn n(&self) -> u32 {
        self.n
    }

    /// Lets `windows` windows pass.
    fn age(&mut self, windows: i64, params: &Params) {
        self.level_weight *= params.level.over(windows);
        self.deviation_weight *= params.deviation_weight.over(windows);
        self.deviation *= params.deviation.over(windows);
        let burst = params.burst.over(windows);
        self.burst_weight *= burst;
        self.burst_errors *= burst;
        self.stay_normal *= burst;
        self.to_burst *= burst;
        self.to_normal *= burst;
        self.stay_burst *= burst;
    }

    /// Teaches A, B and the rhythm. The weight, which is small where the row looks like a burst, and the
    /// clip at 4 σ keep an attack from teaching the baseline.
    fn learn_normal(
        &mut self,
        y: f64,
        waves: &[f64; WAVES],
        forecast: &Forecast,
        regimes: &Regimes,
        params: &Params,
    ) {
        let grown = self.n >= GROWN;
        let weight = if grown { regimes.normal.max(0.01) } else { 1.0 };
        let clip = |mean: f64, sigma: f64| (y - mean).clamp(-4.0 * sigma, 4.0 * sigma);
        let level_error = clip(forecast.level.mean, forecast.level.sigma);
        let deviation_error = clip(forecast.deviation.mean, forecast.deviation.sigma);
        self.rows = params.scale * self.rows + weight;
        self.level_errors = params.scale * self.level_errors + weight * level_error * level_error;
        self.deviation_errors =
            params.scale * self.deviation_errors + weight * deviation_error * deviation_error;
        self.level_weight += weight;
        self.level += weight / self.level_weight * level_error;
        if grown {
            for (amplitude, wave) in self.rhythm.iter_mut().zip(waves) {
                *amplitude += params.rhythm * weight * level_error * wave;
            }
        }
        self.deviation_weight += weight;
        self.deviation += weight / (self.deviation_weight + 0.2) * deviation_error;
        self.level_evidence = params.evidence * self.level_evidence + regimes.level;
        self.deviation_evidence = params.evidence * self.deviation_evidence + regimes.deviation;
    }

    /// Teaches the burst regime and how the key moves in and out of it.
    fn learn_burst(&mut self, y: f64, forecast: &Forecast, regimes: &Regimes) {
        let burst = regimes.burst;
        // Of the paths to this row, (last, now): their shares of the probability.
        let into = forecast.into_burst / forecast.burst.weight * burst;
        let stayed = forecast.stay_burst / forecast.burst.weight * burst;
        let out = forecast.leave_burst / forecast.normal_weight * regimes.normal;

        let error = y - forecast.burst.mean;
        let clip = 4.0 * forecast.burst.sigma.max(0.5);
        if self.burst_weight > 0.01 {
            let clipped = error.clamp(-clip, clip);
            let weight = self.burst_weight;
            self.burst_errors += burst * clipped * clipped * weight / (weight + burst);
            self.burst = forecast.burst.mean + burst / (weight + burst + 0.05) * error;
        } else {
            self.burst = y;
        }
        self.burst_weight += burst;
        self.to_burst += into;
        self.stay_burst += stayed;
        self.to_normal += out;
        self.stay_normal += (regimes.normal - out).max(0.0);
        self.in_burst = burst;
    }

    /// A burst that takes most of the key's rows has become the norm: the regimes change places.
    fn adopt_lasting_burst(&mut self, forecast: &Forecast) {
        let in_burst = self.stay_burst + self.to_burst;
        let in_normal = self.stay_normal + self.to_normal;
        if in_burst <= 1.1 * in_normal + 20.0 {
            return;
        }
        let (level, level_weight) = (self.level, self.level_weight);
        let rows = self.rows.min(self.burst_weight);
        self.deviation_errors *= rows / self.rows;
        self.level = self.burst - forecast.rhythm;
        self.burst = level + forecast.rhythm;
        self.level_weight = self.burst_weight.min(level_weight);
        self.burst_weight = level_weight;
        self.level_errors = forecast.burst_variance * rows;
        self.burst_errors = forecast.level_variance * level_weight;
        self.rows = rows;
        self.deviation = 0.0;
        std::mem::swap(&mut self.stay_normal, &mut self.stay_burst);
        std::mem::swap(&mut self.to_burst, &mut self.to_normal);
        self.in_burst = 1.0 - self.in_burst;
    }

    /// The state behind a version byte: n; from the first row on, the last window and the 9 numbers of
    /// a young key; from [`GROWN`] rows on, the other 27.
    pub(crate) fn snapshot(&self, version: u8, out: &mut Vec<u8>) {
        out.push(version);
        out.extend_from_slice(&self.n.to_le_bytes());
        if self.n == 0 {
            return;
        }
        out.extend_from_slice(&self.last.to_le_bytes());
        let numbers = self.numbers();
        let held = if self.n < GROWN { YOUNG } else { NUMBERS };
        for number in &numbers[..held] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// Reads what [`snapshot`](Self::snapshot) wrote. Numbers that no fold can reach are refused, so that
    /// damaged bytes never lead to NaN.
    pub(crate) fn restore(mut reader: Reader) -> Result<Self> {
        let n = reader.u32()?;
        if n == 0 {
            reader.finish()?;
            return Ok(Self::default());
        }
        let last = reader.i64()?;
        let mut numbers = [0.0; NUMBERS];
        let held = if n < GROWN { YOUNG } else { NUMBERS };
        for (index, number) in numbers[..held].iter_mut().enumerate() {
            *number = reader.f64()?;
            let signed = SIGNED.contains(&index) || RHYTHM.contains(&index);
            let least = if signed { -LARGEST } else { 0.0 };
            if !(least..=LARGEST).contains(number) {
                return Err(reader.damaged("a number is out of its range"));
            }
        }
        let state = Self::from_numbers(&numbers, last, n);
        if state.in_burst > 1.0 {
            return Err(reader.damaged("a probability is above 1"));
        }
        reader.finish()?;
        Ok(state)
    }

    /// The 36 floats, in the order of the stored format.
    fn numbers(&self) -> [f64; NUMBERS] {
        let mut numbers = [0.0; NUMBERS];
        numbers[..RHYTHM.start].copy_from_slice(&[
            self.level,
            self.level_weight,
            self.rows,
            self.level_errors,
            self.deviation,
            self.deviation_weight,
            self.deviation_errors,
            self.level_evidence,
            self.deviation_evidence,
            self.burst,
            self.burst_weight,
            self.burst_errors,
            self.stay_normal,
            self.to_burst,
            self.to_normal,
            self.stay_burst,
            self.in_burst,
        ]);
        numbers[RHYTHM].copy_from_slice(&self.rhythm);
        let tails = [self.upper_tail, self.lower_tail, self.level_tail];
        for (place, tail) in numbers[RHYTHM.end..].chunks_exact_mut(3).zip(tails) {
            place.copy_from_slice(&[tail.rows, tail.peaks, tail.excess]);
        }
        numbers
    }

    fn from_numbers(numbers: &[f64; NUMBERS], last: i64, n: u32) -> Self {
        let mut rhythm = [0.0; WAVES];
        rhythm.copy_from_slice(&numbers[RHYTHM]);
        let tail = |at: usize| Tail {
            rows: numbers[at],
            peaks: numbers[at + 1],
            excess: numbers[at + 2],
        };
        Self {
            level: numbers[0],
            level_weight: numbers[1],
            rows: numbers[2],
            level_errors: numbers[3],
            deviation: numbers[4],
            deviation_weight: numbers[5],
            deviation_errors: numbers[6],
            level_evidence: numbers[7],
            deviation_evidence: numbers[8],
            burst: numbers[9],
            burst_weight: numbers[10],
            burst_errors: numbers[11],
            stay_normal: numbers[12],
            to_burst: numbers[13],
            to_normal: numbers[14],
            stay_burst: numbers[15],
            in_burst: numbers[16],
            rhythm,
            upper_tail: tail(RHYTHM.end),
            lower_tail: tail(RHYTHM.end + 3),
            level_tail: tail(RHYTHM.end + 6),
            last,
            n,
        }
    }
}

/// Floats of a state, and those of them that a young key has.
const NUMBERS: usize = 36;
const YOUNG: usize = 9;
/// Where the amplitudes of the rhythm stand among them.
const RHYTHM: std::ops::Range<usize> = 17..27;
/// Levels and the deviation, which may be negative.
const SIGNED: [usize; 3] = [0, 4, 9];
/// Far above what any sum of squared, clipped logarithms can reach.
const LARGEST: f64 = 1e18;

/// The rhythm's waves at the start of a window. The higher daily harmonics follow from the first by the
/// addition theorem.
fn waves(window_start_s: i64) -> [f64; WAVES] {
    let angle = |period: f64| {
        std::f64::consts::TAU * (window_start_s.rem_euclid(period as i64) as f64 / period)
    };
    let mut waves = [0.0; WAVES];
    let (sin, cos) = libm::sincos(angle(DAY_S));
    let (mut s, mut c) = (sin, cos);
    for pair in waves[..WAVES - 2].chunks_exact_mut(2) {
        pair.copy_from_slice(&[c, s]);
        (c, s) = (c * cos - s * sin, s * cos + c * sin);
    }
    let (sin, cos) = libm::sincos(angle(WEEK_S));
    waves[WAVES - 2..].copy_from_slice(&[cos, sin]);
    waves
}
