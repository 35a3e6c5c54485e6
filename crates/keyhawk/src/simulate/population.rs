//! Who calls: the keys of the simulated API, each with its habits.
//!
//! A key's kind says when it calls (its rhythm, in the local time of its home) and from where (its
//! haunts). None of it was chosen to please a detector: phones hop between carriers' gateways,
//! offices share an address, deploys double a rate, people fly, and some clients call with an old
//! secret all day long.

use std::collections::BTreeMap;

use super::dice::Dice;
use super::event::Credential;
use super::habits::{Haunts, Rhythm, Surge};
use super::networks::Networks;
use super::routes::Route;

/// What uses a key.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// A job by the clock, on a rented server.
    Cron,
    /// A site's servers: calls all day, most in the afternoon, fewer at weekends.
    WebBackend,
    /// An app on a phone: sessions, by carrier gateways and the Wi-Fi at home.
    Mobile,
    /// Somebody at a desk; colleagues share the office's address.
    Office,
    /// Builds: bursts in working hours from ever new servers of one place.
    CiRunner,
    /// Somebody who lives behind a VPN, some of them only half the time.
    VpnUser,
    /// A partner's low-rate integration, in working hours only.
    Partner,
    /// A program that trades around the clock at an even rate.
    Trading,
    /// Somebody who flies to a second city every week, at the speed of planes.
    Traveller,
}

/// All kinds, with how many of a thousand keys are of it.
pub(super) const KINDS: [(Kind, usize); 9] = [
    (Kind::Cron, 170),
    (Kind::WebBackend, 120),
    (Kind::Mobile, 300),
    (Kind::Office, 200),
    (Kind::CiRunner, 80),
    (Kind::VpnUser, 40),
    (Kind::Partner, 60),
    (Kind::Trading, 20),
    (Kind::Traveller, 10),
];

/// One key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its place in the population, from 0.
    pub index: usize,
    /// What uses it.
    pub kind: Kind,
    /// The raw key that its calls carry.
    pub credential: Credential,
    /// The gateway's public id, for about half of the keys.
    pub key_id: Option<String>,
    /// The gateway's name for the program that uses it.
    pub consumer_id: String,
    /// The customer whose key it is.
    pub tenant: &'static str,
    /// Of how many a kind this is the how-manieth, from 0: the cast of the attacks and look-alikes
    /// is chosen by it.
    pub(super) nth: usize,
    pub(super) ahead_of_utc_ms: i64,
    pub(super) rhythm: Rhythm,
    /// Deviation of the logarithm of the rate from hour to hour.
    pub(super) moodiness: f64,
    pub(super) surge: Option<Surge>,
    pub(super) haunts: Haunts,
    pub(super) routes: &'static [Route],
    pub(super) user_agent: &'static str,
    /// The share of its calls that the gateway refuses.
    pub(super) refused: f64,
}

impl Key {
    /// By what the gateway's log identifies the key: its id, else the raw key. A secret where there
    /// is no id.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.key_id
            .as_deref()
            .unwrap_or_else(|| self.credential.expose())
    }
}

/// The kinds of a population of so many keys, in no telling order. At least one key of each kind:
/// a smaller number is raised to that.
pub(super) fn kinds(keys: usize, dice: &mut Dice) -> Vec<Kind> {
    let keys = keys.max(KINDS.len());
    let mut kinds: Vec<Kind> = KINDS.iter().map(|(kind, _)| *kind).collect();
    // Largest shortfall first, so that the shares hold at every size and nothing is left over.
    let mut counts = [1_usize; KINDS.len()];
    while kinds.len() < keys {
        let shortfall =
            |at: &usize| (KINDS[*at].1 * (kinds.len() + 1)) as i64 - 1000 * counts[*at] as i64;
        let next = (0..KINDS.len())
            .max_by_key(shortfall)
            .expect("there are kinds");
        counts[next] += 1;
        kinds.push(KINDS[next].0);
    }
    for at in (1..kinds.len()).rev() {
        kinds.swap(at, dice.below(at as u64 + 1) as usize);
    }
    kinds
}

/// Makes keys, counting those of each kind.
pub(super) struct Maker<'a> {
    pub(super) networks: &'a Networks,
    pub(super) dice: Dice,
}

impl<'a> Maker<'a> {
    pub(super) fn new(networks: &'a Networks, dice: Dice) -> Self {
        Self { networks, dice }
    }

    /// The whole population of a scenario.
    pub(super) fn all(mut self, keys: usize) -> Vec<Key> {
        let kinds = kinds(keys, &mut self.dice);
        let mut made: Vec<Key> = Vec::with_capacity(kinds.len());
        let mut of_kind = BTreeMap::new();
        for (index, kind) in kinds.into_iter().enumerate() {
            let nth = of_kind.entry(kind).or_insert(0);
            made.push(self.key(index, kind, *nth));
            *nth += 1;
        }
        made
    }

    fn key(&mut self, index: usize, kind: Kind, nth: usize) -> Key {
        let habits = match kind {
            Kind::Cron => self.cron(nth),
            Kind::WebBackend => self.web_backend(nth),
            Kind::Mobile => self.mobile(nth),
            Kind::Office => self.office(nth),
            Kind::CiRunner => self.ci_runner(),
            Kind::VpnUser => self.vpn_user(nth),
            Kind::Partner => self.partner(nth),
            Kind::Trading => self.trading(),
            Kind::Traveller => self.traveller(),
        };
        // Every second key of a kind has an id, the first backend (whose id an attacker knows) and
        // not the first trader (who is known by the fingerprint alone) among them.
        let has_id = nth.is_multiple_of(2) == (kind != Kind::Trading && kind != Kind::Partner);
        Key {
            index,
            kind,
            credential: self.credential(),
            key_id: has_id.then(|| format!("key_{index:04}")),
            consumer_id: format!("{}-{index}", habits.consumer),
            tenant: habits.tenant,
            nth,
            ahead_of_utc_ms: self.networks.cities[habits.home].ahead_of_utc_ms(),
            rhythm: habits.rhythm,
            moodiness: habits.moodiness,
            surge: habits.surge,
            haunts: habits.haunts,
            routes: habits.routes,
            user_agent: habits.user_agent,
            refused: habits.refused,
        }
    }

    fn credential(&mut self) -> Credential {
        Credential(raw_key(&mut self.dice).into_boxed_str())
    }
}

/// A key as such services give them out: a public prefix, then 192 random bits in base64url.
pub(super) fn raw_key(dice: &mut Dice) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let secret = (0..32).map(|_| char::from(ALPHABET[dice.below(64) as usize]));
    "kh_live_".chars().chain(secret).collect()
}
