//! Student tails in closed form, and the layer that turns a raw tail probability into a calibrated one.
//!
//! With a = |x|, R = √(ν + a²) and w = a / R, the upper tail of Student's t with an even number ν of
//! degrees of freedom is a polynomial in 1 − w, which is computed as ν / (R² (1 + w)) and so keeps its
//! precision far out.

/// Raw probabilities below this are peaks, the ones that the layer models.
const THRESHOLD: f64 = 0.05;

/// A peak teaches at most this much excess, so that one monster does not blind the key.
const EXCESS_MAX: f64 = 5.0;

/// The smallest probability in use: about the smallest float, so that a surprise is always finite.
const LEAST: f64 = 1e-300;

/// The calibrated probability whose [`surprise`] is 3: 10^(−3.8 / 1.4).
pub(super) const PROBABILITY_AT_3: f64 = 1.930_697_728_883_249_6e-3;

/// The upper tail of Student's t, 4 degrees of freedom.
pub(super) fn upper4(x: f64) -> f64 {
    let (o, w) = tail_terms(x, 4.0);
    let tail = o * o * (2.0 + w) / 4.0;
    if x < 0.0 { 1.0 - tail } else { tail }
}

/// The upper tail of Student's t, 8 degrees of freedom.
pub(super) fn upper8(x: f64) -> f64 {
    let (o, w) = tail_terms(x, 8.0);
    let square = o * o;
    let tail = square * square * (16.0 + w * (29.0 + w * (20.0 + w * 5.0))) / 32.0;
    if x < 0.0 { 1.0 - tail } else { tail }
}

/// 1 − w and w.
fn tail_terms(x: f64, freedom: f64) -> (f64, f64) {
    let a = x.abs();
    let square = freedom + a * a;
    let w = a / square.sqrt();
    (freedom / (square * (1.0 + w)), w)
}

/// The density of Student's t, 4 degrees of freedom.
pub(super) fn density4(x: f64) -> f64 {
    let s = 1.0 + x * x / 4.0;
    0.375 / (s * s * s.sqrt())
}

/// The density of Student's t, 8 degrees of freedom: 35 / (32 √8) (1 + x²/8)^(−9/2).
pub(super) fn density8(x: f64) -> f64 {
    const SCALE: f64 = 35.0 / (64.0 * std::f64::consts::SQRT_2);
    let s = 1.0 + x * x / 8.0;
    let square = s * s;
    SCALE / (square * square * s.sqrt())
}

/// Peaks over a threshold: how often a key's raw probability falls below 0.05, and how far. The excess
/// is exponential with a Gamma prior, so its forecast is a Lomax distribution.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Tail {
    /// t_n: rows.
    pub rows: f64,
    /// t_z: peaks.
    pub peaks: f64,
    /// t_e: sum of the peaks' excesses, in log units.
    pub excess: f64,
}

impl Tail {
    /// The share of peaks; the prior is 10 rows at the nominal 0.05.
    fn share(&self) -> f64 {
        (0.5 + self.peaks) / (10.0 + self.rows)
    }

    /// The calibrated probability for a raw one.
    pub(super) fn calibrate(&self, raw: f64) -> f64 {
        let share = self.share();
        if raw < THRESHOLD {
            let excess = excess(raw);
            let (shape, scale) = (10.0 + self.peaks, 10.0 + self.excess);
            share * libm::exp(-shape * libm::log1p(excess / scale))
        } else {
            share + (1.0 - share) * (raw - THRESHOLD) / (1.0 - THRESHOLD)
        }
    }

    /// The raw probability that [`calibrate`](Self::calibrate) turns into `calibrated`.
    pub(super) fn raw_at(&self, calibrated: f64) -> f64 {
        let share = self.share();
        if calibrated < share {
            let (shape, scale) = (10.0 + self.peaks, 10.0 + self.excess);
            let excess = scale * libm::expm1(libm::log(share / calibrated) / shape);
            (THRESHOLD * libm::exp(-excess)).max(LEAST)
        } else {
            THRESHOLD + (calibrated - share) * (1.0 - THRESHOLD) / (1.0 - share)
        }
    }

    pub(super) fn learn(&mut self, raw: f64, decay: f64) {
        self.rows = decay * self.rows + 1.0;
        self.peaks *= decay;
        self.excess *= decay;
        if raw < THRESHOLD {
            self.peaks += 1.0;
            self.excess += excess(raw).min(EXCESS_MAX);
        }
    }
}

fn excess(raw: f64) -> f64 {
    // ln 0.05
    const LN_THRESHOLD: f64 = -2.995_732_273_553_991;
    LN_THRESHOLD - libm::log(raw.max(LEAST))
}

/// −log₁₀ of a calibrated probability; above 2 the slope is 1.4, the one recalibration shared by all
/// keys: without it the layer is too cautious.
pub(super) fn surprise(probability: f64) -> f64 {
    let r = -libm::log10(probability.max(LEAST));
    (r + 0.4 * (r - 2.0).max(0.0)).max(0.0)
}
