//! The attacks that are hidden in the traffic, and what a detector should make of each.

use std::sync::Arc;

use super::dice::Dice;
use super::event::Credential;
use super::habits::{EVEN, Rhythm};
use super::networks::{NetworkKind, Networks};
use super::population::{Key, Kind};
use super::traffic::{Intrusion, KeyTraffic, Span};

/// What an intruder does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AttackKind {
    /// A trader's key at fifteen times its usual rate, from its own hosting network.
    RateSpike,
    /// A key of a Frankfurt office, used at the same time from a home in São Paulo, a call every
    /// 40 seconds.
    ImpossibleTravel,
    /// A Warsaw partner's key, used from Istanbul hours after its own last call: a plane could have
    /// flown that.
    NewCountry,
    /// Two calls a second under a backend's id, all of them refused.
    AuthFailures,
    /// A phone's key, used in the same rhythm through the same carrier of the same city, 15 % on top
    /// of its own calls.
    Stealthy,
}

impl AttackKind {
    /// All kinds.
    pub const ALL: [AttackKind; 5] = [
        AttackKind::RateSpike,
        AttackKind::ImpossibleTravel,
        AttackKind::NewCountry,
        AttackKind::AuthFailures,
        AttackKind::Stealthy,
    ];

    /// A short name in the form of a rule's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            AttackKind::RateSpike => "rate_spike",
            AttackKind::ImpossibleTravel => "impossible_travel",
            AttackKind::NewCountry => "new_country",
            AttackKind::AuthFailures => "auth_failures",
            AttackKind::Stealthy => "stealthy_use",
        }
    }

    /// One sentence for a person who has never seen any of this.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            AttackKind::RateSpike => {
                "stolen trading key at 15 times its rate, from its own network"
            }
            AttackKind::ImpossibleTravel => "key of a Frankfurt office also used from São Paulo",
            AttackKind::NewCountry => {
                "partner key used at night from a country it never called from"
            }
            AttackKind::AuthFailures => "burst of refused calls under a known key id",
            AttackKind::Stealthy => "key of a phone abused slowly from the same city and carrier",
        }
    }

    /// Whether it should be found.
    #[must_use]
    pub fn expected(self) -> Expected {
        match self {
            AttackKind::Stealthy => Expected::Missed,
            _ => Expected::Found,
        }
    }

    /// The rules that should alert on the key in the attack's span.
    #[must_use]
    pub fn rules(self) -> &'static [&'static str] {
        match self {
            AttackKind::RateSpike => &["rate_spike"],
            AttackKind::ImpossibleTravel => &["impossible_travel", "new_country"],
            AttackKind::NewCountry => &["new_country"],
            AttackKind::AuthFailures => &["auth_failures"],
            AttackKind::Stealthy => &[],
        }
    }

    /// Whose keys it is done to.
    fn victims(self) -> Kind {
        match self {
            AttackKind::RateSpike => Kind::Trading,
            AttackKind::ImpossibleTravel => Kind::Office,
            AttackKind::NewCountry => Kind::Partner,
            AttackKind::AuthFailures => Kind::WebBackend,
            AttackKind::Stealthy => Kind::Mobile,
        }
    }
}

/// What a detector should make of an attack.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// It alerts.
    Found,
    /// It cannot tell this from the key's own use, and says so.
    Missed,
}

/// One attack of a scenario. Each kind has one victim, the first key of the kind that it is done to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attack {
    /// What is done.
    pub kind: AttackKind,
    /// The first instant, milliseconds since 1970 UTC.
    pub start_ms: i64,
    /// The instant after the last.
    pub end_ms: i64,
}

/// The truth about an attack, to hold a detector's alerts against.
#[derive(Clone, Debug)]
pub struct Label {
    /// A short name, such as `rate_spike`.
    pub name: &'static str,
    /// One sentence for people.
    pub title: &'static str,
    /// The attacked key's public id, where it has one.
    pub key_id: Option<String>,
    /// The attacked raw key; where there is no id, its fingerprint is the entity of the alerts.
    pub credential: Credential,
    /// The attacked key's place in the population.
    pub key: usize,
    /// The first instant, milliseconds since 1970 UTC.
    pub start_ms: i64,
    /// The instant after the last.
    pub end_ms: i64,
    /// Whether it should be found.
    pub expected: Expected,
    /// The rules that should alert.
    pub rules: &'static [&'static str],
}

impl Attack {
    /// The attacked key.
    pub(super) fn victim<'a>(&self, keys: &'a [Arc<Key>]) -> &'a Arc<Key> {
        keys.iter()
            .find(|key| key.kind == self.kind.victims() && key.nth == 0)
            .expect("every population has a first key of every kind")
    }

    /// What there is to know of it.
    pub(super) fn label(&self, keys: &[Arc<Key>]) -> Label {
        let victim = self.victim(keys);
        Label {
            name: self.kind.name(),
            title: self.kind.title(),
            key_id: victim.key_id.clone(),
            credential: victim.credential.clone(),
            key: victim.index,
            start_ms: self.start_ms,
            end_ms: self.end_ms,
            expected: self.kind.expected(),
            rules: self.kind.rules(),
        }
    }

    /// The intruder's calls.
    pub(super) fn traffic(
        &self,
        attack: usize,
        victim: &Arc<Key>,
        networks: &Networks,
        span: Span,
        partition: u32,
        mut dice: Dice,
    ) -> KeyTraffic {
        let flow = |per_hour| Rhythm::Flow {
            per_hour,
            day: EVEN,
        };
        let home_in = |city, dice: &mut Dice| {
            let network = networks.of(NetworkKind::Residential, networks.city(city))[0];
            vec![network.address(dice.bits() >> 8)]
        };
        let (rhythm, addresses, user_agent) = match self.kind {
            AttackKind::RateSpike => {
                let own = networks.holding(victim.haunts.any_address());
                let addresses = (200..204).map(|host| own.address(host)).collect();
                (
                    victim.rhythm.times(14.0, 1.0),
                    addresses,
                    Some("python-requests/2.32.3"),
                )
            }
            AttackKind::ImpossibleTravel => (
                flow(90.0),
                home_in("São Paulo", &mut dice),
                Some("curl/8.12.1"),
            ),
            AttackKind::NewCountry => (
                flow(90.0),
                home_in("Istanbul", &mut dice),
                Some("python-requests/2.32.3"),
            ),
            AttackKind::AuthFailures => {
                let mut from = networks.of_kind(NetworkKind::Tor);
                from.extend(networks.of(NetworkKind::Hosting, networks.city("Dubai")));
                let addresses = (0..24)
                    .map(|host| from[host as usize % from.len()].address(30 + host))
                    .collect();
                (flow(7_200.0), addresses, Some("Mozilla/5.0"))
            }
            AttackKind::Stealthy => {
                let own = networks.holding(victim.haunts.any_address());
                let addresses = (0..4).map(|_| own.address(dice.bits() >> 8)).collect();
                // Fifteen hundredths of the calls: three sessions for five, of a quarter the length.
                (victim.rhythm.times(0.6, 0.25), addresses, None)
            }
        };
        let intrusion = Intrusion {
            attack,
            addresses,
            without_secret: self.kind == AttackKind::AuthFailures,
            user_agent,
        };
        KeyTraffic::intruder(Arc::clone(victim), rhythm, intrusion, span, partition, dice)
    }
}
