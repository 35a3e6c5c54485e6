//! What a habit is: when a key calls, in the local time of its home, and from which addresses.

use std::net::IpAddr;

use super::dice::Dice;

/// An hour in milliseconds.
pub(super) const HOUR_MS: i64 = 3_600_000;
/// A day in milliseconds.
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;

/// When a key calls.
#[derive(Clone, Debug)]
pub(super) enum Rhythm {
    /// So many calls every so often.
    Timer {
        period_ms: i64,
        offset_ms: i64,
        calls: u64,
    },
    /// Single calls, independent of each other.
    Flow { per_hour: f64, day: Day },
    /// Runs of calls, with pauses of some seconds between the calls.
    Sessions {
        per_hour: f64,
        day: Day,
        calls: f64,
        pause_ms: f64,
    },
}

/// The share of an average hour's rate that each hour of a local weekday has, and what a weekend
/// makes of it.
#[derive(Clone, Debug)]
pub(super) struct Day {
    pub(super) hours: &'static [f64; 24],
    pub(super) weekend: f64,
}

/// Round the clock.
pub(super) const EVEN: Day = Day {
    hours: &[1.0; 24],
    weekend: 1.0,
};

/// A public site: the trough before dawn, the top in the afternoon and evening.
pub(super) const SITE: Day = Day {
    hours: &[
        0.55, 0.42, 0.36, 0.33, 0.34, 0.42, 0.58, 0.80, 1.02, 1.18, 1.28, 1.33, //
        1.36, 1.38, 1.40, 1.41, 1.40, 1.38, 1.36, 1.34, 1.27, 1.13, 0.92, 0.72,
    ],
    weekend: 0.65,
};

/// People awake.
pub(super) const AWAKE: Day = Day {
    hours: &[
        0.30, 0.10, 0.03, 0.02, 0.02, 0.10, 0.55, 1.20, 1.45, 1.25, 1.15, 1.20, //
        1.55, 1.45, 1.20, 1.15, 1.25, 1.50, 1.65, 1.70, 1.70, 1.50, 1.15, 0.65,
    ],
    weekend: 1.1,
};

/// People at work, with a dent at noon and some late hours.
pub(super) const AT_WORK: Day = Day {
    hours: &[
        0.02, 0.00, 0.00, 0.00, 0.00, 0.00, 0.10, 0.70, 2.00, 2.70, 2.80, 2.60, //
        1.60, 2.30, 2.60, 2.50, 2.10, 1.30, 0.60, 0.25, 0.20, 0.15, 0.08, 0.04,
    ],
    weekend: 0.04,
};

/// Office hours to the letter.
pub(super) const OFFICE_HOURS: Day = Day {
    hours: &[
        0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.4, 2.8, 2.8, 2.6, //
        1.8, 2.4, 2.8, 2.6, 2.2, 1.6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
    ],
    weekend: 0.0,
};

/// An innocent rise in a key's rate.
#[derive(Clone, Debug)]
pub(super) enum Surge {
    /// A deploy: from this time of this day on (both counted from the scenario's start) the rate
    /// climbs to twice itself, over an hour.
    Deploy { day: i64, at_ms: i64 },
    /// A newsletter at this time of every other day: 1.6 times the rate, for half an hour.
    Campaign { at_ms: i64 },
}

/// Where a key calls from.
#[derive(Clone, Debug)]
pub(super) enum Haunts {
    /// Servers, any of them at each call.
    Machines(Vec<IpAddr>),
    /// Ever new addresses, some of these for each run.
    Pool(Vec<IpAddr>),
    /// An office, and a home for the evenings.
    Desk { office: IpAddr, home: IpAddr },
    /// A carrier's gateways, a list of addresses each, and Wi-Fi.
    Carrier {
        gateways: Vec<Vec<IpAddr>>,
        wifi: IpAddr,
    },
    /// VPN exits, used in this share of the sessions, and a home.
    Vpn {
        exits: Vec<IpAddr>,
        home: IpAddr,
        share: f64,
    },
    /// Two cities and the planes between them.
    Planes {
        home: Vec<IpAddr>,
        away: Vec<IpAddr>,
        flight_ms: i64,
    },
}

impl Rhythm {
    /// The same habits with so many times the runs, each of so many times the calls (a single call
    /// stays one).
    pub(super) fn times(&self, runs: f64, length: f64) -> Self {
        match self.clone() {
            Rhythm::Timer {
                period_ms,
                offset_ms,
                calls,
            } => Rhythm::Timer {
                period_ms: ((period_ms as f64 / runs) as i64).max(1),
                offset_ms,
                calls: ((calls as f64 * length) as u64).max(1),
            },
            Rhythm::Flow { per_hour, day } => Rhythm::Flow {
                per_hour: per_hour * runs,
                day,
            },
            Rhythm::Sessions {
                per_hour,
                day,
                calls,
                pause_ms,
            } => Rhythm::Sessions {
                per_hour: per_hour * runs,
                day,
                calls: (calls * length).max(1.0),
                pause_ms,
            },
        }
    }
}

impl Day {
    /// The rate at a local time as a multiple of the average weekday's; between hours in a straight
    /// line, weekends by their share.
    pub(super) fn at(&self, local_ms: i64) -> f64 {
        let in_day_ms = local_ms.rem_euclid(DAY_MS);
        let hour = (in_day_ms / HOUR_MS) as usize;
        let (this, next) = (self.hours[hour], self.hours[(hour + 1) % 24]);
        let into_hour = (in_day_ms % HOUR_MS) as f64 / HOUR_MS as f64;
        // 1970-01-01 was a Thursday: day 3 of a week that begins on Monday.
        let weekday = (local_ms.div_euclid(DAY_MS) + 3).rem_euclid(7);
        let share = if weekday >= 5 { self.weekend } else { 1.0 };
        (this + (next - this) * into_hour) * share
    }
}

impl Surge {
    /// What the rate is multiplied by, so long after the scenario's start.
    pub(super) fn factor(&self, since_start_ms: i64) -> f64 {
        match self {
            Surge::Deploy { day, at_ms } => {
                let climbed = (since_start_ms - day * DAY_MS - at_ms) as f64 / HOUR_MS as f64;
                1.0 + climbed.clamp(0.0, 1.0)
            }
            Surge::Campaign { at_ms } => {
                let (day, in_day_ms) = (since_start_ms / DAY_MS, since_start_ms % DAY_MS);
                let on = day % 2 == 1 && (*at_ms..at_ms + HOUR_MS / 2).contains(&in_day_ms);
                if on { 1.6 } else { 1.0 }
            }
        }
    }
}

impl Haunts {
    /// One of the addresses: where the key is most at home.
    pub(super) fn any_address(&self) -> IpAddr {
        match self {
            Haunts::Machines(addresses) | Haunts::Pool(addresses) => addresses[0],
            Haunts::Desk { office, .. } => *office,
            Haunts::Carrier { gateways, .. } => gateways[0][0],
            Haunts::Vpn { exits, .. } => exits[0],
            Haunts::Planes { home, .. } => home[0],
        }
    }

    /// An address for a call, or for a run of calls, at this local time. `last` is the gateway that
    /// was used last. None while nobody can call: on a plane.
    pub(super) fn address(
        &self,
        local_ms: i64,
        since_start_ms: i64,
        last: &mut usize,
        dice: &mut Dice,
    ) -> Option<IpAddr> {
        match self {
            Haunts::Machines(addresses) | Haunts::Pool(addresses) => Some(*dice.pick(addresses)),
            Haunts::Desk { office, home } => {
                let hour = local_ms.rem_euclid(DAY_MS) / HOUR_MS;
                let evening = !(8..18).contains(&hour);
                Some(if evening && dice.chance(0.7) {
                    *home
                } else {
                    *office
                })
            }
            Haunts::Carrier { gateways, wifi } => {
                if dice.chance(0.4) {
                    return Some(*wifi);
                }
                // A phone mostly stays with a gateway, and now and then is handed to another one.
                if dice.chance(0.25) {
                    *last = dice.below(gateways.len() as u64) as usize;
                }
                Some(*dice.pick(&gateways[*last % gateways.len()]))
            }
            Haunts::Vpn { exits, home, share } => Some(if dice.chance(*share) {
                *dice.pick(exits)
            } else {
                *home
            }),
            Haunts::Planes {
                home,
                away,
                flight_ms,
            } => {
                // Away from Tuesday's afternoon to Wednesday's, and again from Friday's morning to
                // Sunday's: counted from the start, which need not be a Monday.
                let in_week_ms = since_start_ms.rem_euclid(7 * DAY_MS);
                let stay = [
                    (DAY_MS + 15 * HOUR_MS, home),
                    (2 * DAY_MS + 16 * HOUR_MS, away),
                    (4 * DAY_MS + 6 * HOUR_MS, home),
                    (6 * DAY_MS + 10 * HOUR_MS, away),
                    (7 * DAY_MS, home),
                ];
                let mut landed_ms = 0;
                for (until_ms, place) in stay {
                    if in_week_ms < until_ms {
                        return (in_week_ms >= landed_ms).then(|| *dice.pick(place));
                    }
                    landed_ms = until_ms + flight_ms;
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Monday, 2 March 2026.
    const MONDAY_MS: i64 = 1_772_409_600_000;

    #[test]
    fn weekday_has_its_mean_and_weekend_its_share() {
        for day in [EVEN, SITE, AWAKE, AT_WORK, OFFICE_HOURS] {
            let mean_of = |days_on: i64| {
                let hours = (0..24).map(|hour| MONDAY_MS + days_on * DAY_MS + hour * HOUR_MS);
                hours.map(|at_ms| day.at(at_ms)).sum::<f64>() / 24.0
            };
            let friday = mean_of(4);
            assert!((0.9..1.1).contains(&friday), "{friday}");
            assert!((mean_of(5) - friday * day.weekend).abs() < 1e-9);
            assert!((mean_of(6) - friday * day.weekend).abs() < 1e-9);
            assert!((mean_of(7) - friday).abs() < 1e-9);
        }
    }

    #[test]
    fn deploy_doubles_the_rate_over_an_hour_for_good() {
        let deploy = Surge::Deploy {
            day: 2,
            at_ms: 13 * HOUR_MS,
        };
        let factor_at = |hours: f64| deploy.factor((hours * HOUR_MS as f64) as i64);
        assert_eq!(factor_at(60.0), 1.0);
        assert_eq!(factor_at(61.0), 1.0);
        assert_eq!(factor_at(61.5), 1.5);
        assert_eq!(factor_at(62.0), 2.0);
        assert_eq!(factor_at(100.0), 2.0);
    }

    #[test]
    fn campaign_lifts_half_an_hour_of_every_other_day() {
        let campaign = Surge::Campaign { at_ms: 9 * HOUR_MS };
        assert_eq!(campaign.factor(9 * HOUR_MS), 1.0);
        assert_eq!(campaign.factor(DAY_MS + 9 * HOUR_MS), 1.6);
        assert_eq!(campaign.factor(DAY_MS + 9 * HOUR_MS + HOUR_MS / 2), 1.0);
    }
}
