//! What the state says about the next value: three weighted forecasts of its logarithm.

use super::{
    Baseline, Params, WAVES,
    tail::{self, Tail, density4, density8, upper4, upper8},
};

/// One forecast: a Student distribution with a share of the mixture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expert {
    pub mean: f64,
    pub sigma: f64,
    pub weight: f64,
}

/// The mixture before a row is seen.
#[derive(Debug, Clone)]
pub(super) struct Forecast {
    /// A, with 8 degrees of freedom.
    pub level: Expert,
    /// B, with 8.
    pub deviation: Expert,
    /// J, with 4.
    pub burst: Expert,
    /// Shares of A and B together.
    pub normal_weight: f64,
    /// The ways into this row's regime: normal to burst, burst to burst, burst to normal.
    pub into_burst: f64,
    pub stay_burst: f64,
    pub leave_burst: f64,
    /// s: the rhythm at this moment.
    pub rhythm: f64,
    /// vA and vJ: variances of A and of J, without what is unsure about their means.
    pub level_variance: f64,
    pub burst_variance: f64,
}

/// How much of a row each part of the mixture accounts for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Regimes {
    pub level: f64,
    pub deviation: f64,
    pub burst: f64,
    /// 1 − `burst`.
    pub normal: f64,
}

impl Forecast {
    /// `state` has been aged to the row's window.
    pub(super) fn new(
        state: &Baseline,
        waves: &[f64; WAVES],
        count: bool,
        params: &Params,
    ) -> Self {
        let rhythm: f64 = state.rhythm.iter().zip(waves).map(|(c, x)| c * x).sum();
        let level = state.level + rhythm;
        let deviation = level + state.deviation;
        // Until a burst has been seen, one is thought of at half a log unit above the level.
        let burst =
            (state.burst_weight * state.burst + 0.05 * (level + 0.5)) / (state.burst_weight + 0.05);

        // Priors: 40 rows of variance 1/4 for A and B, one row of variance 4 for J.
        let level_variance = (10.0 + state.level_errors) / (40.0 + state.rows);
        let deviation_variance = (10.0 + state.deviation_errors) / (40.0 + state.rows);
        let burst_variance = (4.0 + state.burst_errors) / (1.0 + state.burst_weight);
        let cold = params.cold / (1.0 + f64::from(state.n) / 5.0);
        // Poisson noise of a count with this mean, in log units.
        let poisson = |mean: f64| {
            if count {
                libm::exp(-mean.max(-3.0))
            } else {
                0.0
            }
        };
        let unsure_level = 1.0 + 1.0 / (1.0 + state.level_weight);
        let unsure_burst = 1.0 + 1.0 / (1.0 + state.burst_weight);
        let sigma = |variance: f64, mean: f64| (variance + poisson(mean)).sqrt();

        // The chance of a burst after a normal row starts at 1 in 11, after a burst at 1 in 2.
        let onset = (1.0 + state.to_burst) / (11.0 + state.stay_normal + state.to_burst);
        let stay = (3.0 + state.stay_burst) / (6.0 + state.stay_burst + state.to_normal);
        let into_burst = (1.0 - state.in_burst) * onset;
        let stay_burst = state.in_burst * stay;
        let burst_weight = into_burst + stay_burst;
        let normal_weight = 1.0 - burst_weight;
        let level_share =
            (state.level_evidence + 4.0) / (state.level_evidence + state.deviation_evidence + 8.0);

        Self {
            level: Expert {
                mean: level,
                sigma: sigma(level_variance * unsure_level + cold, level),
                weight: normal_weight * level_share,
            },
            deviation: Expert {
                mean: deviation,
                sigma: sigma(deviation_variance * unsure_level + cold, deviation),
                weight: normal_weight * (1.0 - level_share),
            },
            burst: Expert {
                mean: burst,
                sigma: sigma(burst_variance * unsure_burst, burst),
                weight: burst_weight,
            },
            normal_weight,
            into_burst,
            stay_burst,
            leave_burst: state.in_burst * (1.0 - stay),
            rhythm,
            level_variance,
            burst_variance,
        }
    }

    /// The raw probability of a logarithm of `y` or more.
    pub(super) fn upper_tail(&self, y: f64) -> f64 {
        let Self {
            level,
            deviation,
            burst,
            ..
        } = self;
        level.weight * upper8((y - level.mean) / level.sigma)
            + deviation.weight * upper8((y - deviation.mean) / deviation.sigma)
            + burst.weight * upper4((y - burst.mean) / burst.sigma)
    }

    /// The raw probability of a logarithm of `y` or less.
    pub(super) fn lower_tail(&self, y: f64) -> f64 {
        let Self {
            level,
            deviation,
            burst,
            ..
        } = self;
        level.weight * upper8((level.mean - y) / level.sigma)
            + deviation.weight * upper8((deviation.mean - y) / deviation.sigma)
            + burst.weight * upper4((burst.mean - y) / burst.sigma)
    }

    /// The raw probability of a logarithm of `y` or more by A alone.
    pub(super) fn level_tail(&self, y: f64) -> f64 {
        upper8((y - self.level.mean) / self.level.sigma)
    }

    pub(super) fn expected(&self, count: bool) -> f64 {
        let Self {
            level,
            deviation,
            burst,
            ..
        } = self;
        let mean = level.weight * level.mean
            + deviation.weight * deviation.mean
            + burst.weight * burst.mean;
        from_log(mean, if count { 0.5 } else { 0.0 })
    }

    /// Where the surprise, low and high, reaches 3.
    pub(super) fn bounds(&self, state: &Baseline, count: bool) -> (f64, f64) {
        let raw = |tail: &Tail| tail.raw_at(tail::PROBABILITY_AT_3);
        let lower_at = raw(&state.lower_tail);
        let lower = self.bisect(|y| self.lower_tail(y) < lower_at);
        let upper_at = raw(&state.upper_tail);
        let upper = self.bisect(|y| self.upper_tail(y) > upper_at);
        (
            from_log(lower, if count { 1.0 } else { 0.0 }),
            from_log(upper, 0.0),
        )
    }

    /// The place where `below` turns from true to false, by 60 halvings: to the last bits of an f64.
    fn bisect(&self, below: impl Fn(f64) -> bool) -> f64 {
        let experts = [self.level, self.deviation, self.burst];
        let reach = 50.0
            * experts
                .iter()
                .fold(0.0, |most: f64, expert| most.max(expert.sigma));
        let mut low = experts
            .iter()
            .fold(f64::INFINITY, |least, expert| least.min(expert.mean));
        let mut high = experts
            .iter()
            .fold(f64::NEG_INFINITY, |most, expert| most.max(expert.mean));
        low -= reach;
        high += reach;
        let mut middle = 0.5 * (low + high);
        for _ in 0..60 {
            middle = 0.5 * (low + high);
            if below(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        middle
    }

    /// Who accounts for a logarithm of `y`.
    pub(super) fn regimes(&self, y: f64) -> Regimes {
        let Self {
            level,
            deviation,
            burst,
            ..
        } = self;
        let density = |expert: &Expert, of: fn(f64) -> f64| {
            expert.weight * of((y - expert.mean) / expert.sigma) / expert.sigma
        };
        let by_level = density(level, density8);
        let by_deviation = density(deviation, density8);
        let by_burst = density(burst, density4);
        let all = by_level + by_deviation + by_burst + 1e-300;
        let burst = by_burst / all;
        Regimes {
            level: by_level / all,
            deviation: by_deviation / all,
            burst,
            normal: 1.0 - burst,
        }
    }
}

/// A value from its logarithm, less a continuity correction, at least 0 and finite.
fn from_log(log: f64, correction: f64) -> f64 {
    (libm::exp(log) - correction).clamp(0.0, f64::MAX)
}
