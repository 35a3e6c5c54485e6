//! Believable API-gateway traffic with known attacks in it, for the demo, for tests and for trying
//! out rules.
//!
//! ```text
//!  networks.json ─▶ population ─▶ one stream a key ─┐
//!                      │                            ├─▶ merge ─▶ events in arrival order
//!                      └─▶ attacks ─▶ one stream ───┘      (time order, slightly disturbed)
//! ```
//!
//! Everything follows from a [`Scenario`]: the same one gives the same bytes on every machine. No
//! clock is read, nothing is written and nothing is opened; the GeoIP databases of
//! [`databases`] are part of the binary and know every address that is used.

mod attacks;
mod casting;
mod dice;
mod event;
mod habits;
mod merge;
mod networks;
mod population;
mod routes;
#[cfg(test)]
mod tests;
mod traffic;

use std::sync::Arc;

pub use attacks::{Attack, AttackKind, Expected, Label};
pub use event::{Auth, Credential, SimulatedEvent};
pub(crate) use networks::{NetworkKind, Networks};
pub use population::{Key, Kind};

use dice::Dice;
use merge::{Merge, Source};
use population::Maker;
use traffic::{KeyTraffic, Span, Strangers};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

// Streams of random numbers: the population's, the merge's, the strangers', then one an attack and
// one a key, so that another attack or another key changes no other key's calls.
const POPULATION_STREAM: u64 = 0;
const MERGE_STREAM: u64 = 1;
const STRANGERS_STREAM: u64 = 2;
const ATTACKS_STREAM: u64 = 1 << 16;
const KEYS_STREAM: u64 = 1 << 32;

/// The demo's GeoIP databases by file name, as `testdata/geoip` has them: MaxMind's City, ASN and
/// Anonymous-IP schemas, and DB-IP's flat City schema for IPv4 and IPv6. About 70 kB in all.
#[must_use]
pub fn databases() -> [(&'static str, &'static [u8]); 5] {
    macro_rules! database {
        ($name:literal) => {
            (
                $name,
                include_bytes!(concat!("../../../../testdata/geoip/", $name)).as_slice(),
            )
        };
    }
    [
        database!("demo-city.mmdb"),
        database!("demo-asn.mmdb"),
        database!("demo-anonymous.mmdb"),
        database!("demo-city-ipv4-flat.mmdb"),
        database!("demo-city-ipv6-flat.mmdb"),
    ]
}

/// What is simulated. Public data: change what you like, and the traffic follows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scenario {
    /// Decides everything that is random.
    pub seed: u64,
    /// How many keys there are; at least nine, one of each kind (a smaller number is raised).
    pub keys: usize,
    /// The first instant, milliseconds since 1970 UTC: a midnight.
    pub start_ms: i64,
    /// How long it lasts.
    pub days: u32,
    /// Over how many partitions the log is spread; at least one.
    pub partitions: u32,
    /// What is hidden in the traffic. At most one of a kind, as each kind has one victim.
    pub attacks: Vec<Attack>,
}

/// Five working days of 300 keys, some half a million events, with five attacks on the fifth day.
#[must_use]
pub fn demo() -> Scenario {
    // Monday, 2 March 2026.
    let start_ms = 1_772_409_600_000;
    let last_day_ms = start_ms + 4 * DAY_MS;
    let attack = |kind, from_ms, minutes| Attack {
        kind,
        start_ms: last_day_ms + from_ms,
        end_ms: last_day_ms + from_ms + minutes * MINUTE_MS,
    };
    Scenario {
        seed: 2026,
        keys: 300,
        start_ms,
        days: 5,
        partitions: 4,
        attacks: vec![
            attack(AttackKind::NewCountry, HOUR_MS, 20),
            attack(AttackKind::RateSpike, 10 * HOUR_MS + 10 * MINUTE_MS, 40),
            attack(AttackKind::ImpossibleTravel, 13 * HOUR_MS, 20),
            attack(AttackKind::AuthFailures, 16 * HOUR_MS + 31 * MINUTE_MS, 5),
            attack(AttackKind::Stealthy, 0, 24 * 60),
        ],
    }
}

impl Scenario {
    /// The instant after the last.
    #[must_use]
    pub fn end_ms(&self) -> i64 {
        self.start_ms + i64::from(self.days) * DAY_MS
    }

    /// The keys, in the order of their index.
    #[must_use]
    pub fn population(&self) -> Vec<Arc<Key>> {
        self.population_over(&Networks::shipped())
    }

    fn population_over(&self, networks: &Networks) -> Vec<Arc<Key>> {
        let maker = Maker::new(networks, Dice::new(self.seed, POPULATION_STREAM));
        maker.all(self.keys).into_iter().map(Arc::new).collect()
    }

    /// The truth about each attack, in the order of [`attacks`](Self::attacks).
    #[must_use]
    pub fn labels(&self) -> Vec<Label> {
        let keys = self.population();
        self.attacks
            .iter()
            .map(|attack| attack.label(&keys))
            .collect()
    }

    /// All events, in the order in which they reach the log: at most five seconds out of the order
    /// of their times. Made as they are asked for; memory grows with the keys, not with the days.
    pub fn events(&self) -> impl Iterator<Item = SimulatedEvent> + Send + use<> {
        let networks = Networks::shipped();
        let keys = self.population_over(&networks);
        let span = Span {
            scenario_start_ms: self.start_ms,
            start_ms: self.start_ms,
            end_ms: self.end_ms(),
        };
        let dice = |stream| Dice::new(self.seed, stream);
        let mut sources: Vec<Source> = Vec::with_capacity(keys.len() + self.attacks.len() + 1);
        for (at, key) in keys.iter().enumerate() {
            let partition = self.partition_of(key.identity());
            let dice = dice(KEYS_STREAM + at as u64);
            sources.push(Box::new(KeyTraffic::new(
                Arc::clone(key),
                span,
                partition,
                dice,
            )));
        }
        for (at, attack) in self.attacks.iter().enumerate() {
            let victim = attack.victim(&keys);
            let partition = self.partition_of(victim.identity());
            let span = Span {
                start_ms: attack.start_ms.max(span.start_ms),
                end_ms: attack.end_ms.min(span.end_ms),
                ..span
            };
            let dice = dice(ATTACKS_STREAM + at as u64);
            let traffic = attack.traffic(at, victim, &networks, span, partition, dice);
            sources.push(Box::new(traffic));
        }
        let partitions = self.partitions.max(1);
        let strangers = Strangers::new(&networks, span, partitions, dice(STRANGERS_STREAM));
        sources.push(Box::new(strangers));
        Merge::new(sources, dice(MERGE_STREAM))
    }

    /// The partition of all events under an identity ([`Key::identity`]).
    #[must_use]
    pub fn partition_of(&self, identity: &str) -> u32 {
        (fnv1a(identity.as_bytes()) % u64::from(self.partitions.max(1))) as u32
    }
}

/// The 64-bit FNV-1a hash: short, and the same everywhere.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
