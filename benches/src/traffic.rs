//! Generated traffic: 10,000 keys or a million, some of them far busier than others.
//!
//! - The key of rank k makes a share of the calls that falls as k^-1.1 (Zipf's law).
//! - A key has a home network of `testdata/geoip/networks.json` with three addresses; one call in
//!   twenty comes from a further address of it, one in 5,000 from another network altogether. Nobody is
//!   at home in a VPN: after one call from elsewhere each call from there would be a finding.
//! - One call in fifty has a time up to 5 s before its place in the log.
//! - One call in 250 is refused.
//!
//! Events are made one at a time from a seed; memory is the keys'.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, UNIX_EPOCH};

use serde::Deserialize;

use crate::Result;
use crate::log::Log;

/// Calls a second of event time, where no other rate is asked for. Fewer spread the same events over more
/// windows, which costs more: a window's end costs a row for each key in it.
const CALLS_PER_SECOND: u32 = 100;
/// Monday, 2 March 2026, 00:00 UTC.
const START_MS: i64 = 1_772_409_600_000;
/// The most that a call's time lies before its place in the log.
const DISORDER_MS: u64 = 5_000;
/// The default bound of a topic: twice the disorder, so nothing is late.
const BOUND_MS: i64 = 10_000;
/// Exponent of Zipf's law.
const ZIPF: f64 = 1.1;

const NETWORKS: &str = include_str!("../../testdata/geoip/networks.json");

const ROUTES: [(&str, &str); 6] = [
    ("GET", "/v1/orders/{id}"),
    ("GET", "/v1/markets/{id}/ticker"),
    ("POST", "/v1/payments"),
    ("GET", "/v1/customers/{id}"),
    ("GET", "/v1/transactions?page={id}&page_size=50"),
    ("GET", "/v1/account/balance"),
];

const AGENTS: [&str; 4] = [
    "acme-sdk-python/3.4.1 (CPython 3.12; Linux x86_64)",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_3 like Mac OS X) AppWallet/7.21",
    "okhttp/4.12.0",
    "acme-sdk-node/12.0.3 (Node.js 22.14; linux)",
];

const TENANTS: [&str; 5] = ["northwind", "tailspin", "fabrikam", "litware", "proseware"];

/// A generator of calls.
pub struct Traffic {
    random: Random,
    networks: Vec<Network>,
    keys: Vec<Key>,
    /// Rising to 1: the share of the calls that the keys up to this one make.
    shares: Vec<f64>,
    calls_per_second: u32,
    made: i64,
}

struct Key {
    credential: String,
    /// Half of the keys have one.
    key_id: Option<String>,
    network: usize,
    hosts: [u64; 3],
}

impl Traffic {
    /// Traffic of so many keys, 100 calls a second of event time. The same for the same seed.
    pub fn new(keys: usize, seed: u64) -> Result<Self> {
        Self::at_rate(keys, seed, CALLS_PER_SECOND)
    }

    /// Traffic of so many keys, and of so many calls, one at least, a second of event time.
    pub fn at_rate(keys: usize, seed: u64, calls_per_second: u32) -> Result<Self> {
        let mut random = Random(seed);
        let networks = networks()?;
        let is_home = |at: &usize| !["vpn", "relay", "tor"].contains(&networks[*at].kind.as_str());
        let homes: Vec<usize> = (0..networks.len()).filter(is_home).collect();
        let mut shares = Vec::with_capacity(keys);
        let mut sum = 0.0;
        for rank in 1..=keys {
            sum += (rank as f64).powf(-ZIPF);
            shares.push(sum);
        }
        shares.iter_mut().for_each(|share| *share /= sum);
        let keys = (0..keys).map(|index| Key {
            credential: format!(
                "kh_live_{:016x}{:016x}{:08x}",
                random.next(),
                random.next(),
                random.below(1 << 32)
            ),
            key_id: (index % 2 == 0).then(|| format!("key_{index:07}")),
            network: homes[random.below(homes.len() as u64) as usize],
            hosts: [random.next(), random.next(), random.next()],
        });
        Ok(Traffic {
            keys: keys.collect(),
            random,
            networks,
            shares,
            calls_per_second,
            made: 0,
        })
    }

    /// The topic's bound under which none of the events is late, in ms.
    pub fn bound_ms(&self) -> i64 {
        BOUND_MS
    }

    /// The next `events` calls as a log.
    pub fn log(&mut self, events: usize) -> Log {
        let mut log = Log::new(BOUND_MS);
        for _ in 0..events {
            let arrival_ms = self.arrival_ms();
            log.push(arrival_ms, |out| self.write_json(out));
        }
        log
    }

    /// When the next call reaches the log, in ms since 1970.
    pub fn arrival_ms(&self) -> i64 {
        START_MS + self.made * 1000 / i64::from(self.calls_per_second)
    }

    /// Appends the next call as one JSON object, some 450 bytes.
    pub fn write_json(&mut self, out: &mut Vec<u8>) {
        let arrival_ms = self.arrival_ms();
        self.made += 1;
        let random = &mut self.random;
        let place = random.unit();
        let rank = self.shares.partition_point(|share| *share < place);
        let key = &self.keys[rank.min(self.keys.len() - 1)];
        let early_ms = match random.below(50) {
            0 => 1 + random.below(DISORDER_MS) as i64,
            _ => 0,
        };
        let time = UNIX_EPOCH + Duration::from_millis((arrival_ms - early_ms).max(0) as u64);
        let whence = random.below(5_000);
        let client_ip = match whence {
            0 => {
                let network = random.below(self.networks.len() as u64) as usize;
                self.networks[network].address(random.next())
            }
            1..250 => self.networks[key.network].address(random.next()),
            _ => self.networks[key.network].address(key.hosts[whence as usize % 3]),
        };
        let (auth_result, status) = match random.below(250) {
            0 => ("bad_signature", 401),
            _ => ("ok", 200),
        };
        let (method, path) = ROUTES[random.below(ROUTES.len() as u64) as usize];
        let (before, after) = path.split_once("{id}").unwrap_or((path, ""));
        let key_id = key.key_id.as_deref();
        let key_id = key_id.map(|id| format!(r#""key_id":"{id}","#));
        write!(
            out,
            concat!(
                r#"{{"event_id":"ev_{:016x}","event_time":"{}","client_ip":"{}","#,
                r#""api_key":"{}",{}"consumer_id":"app-{}","tenant":"{}","#,
                r#""auth_result":"{}","method":"{}","path":"{}{}{}","status":{},"#,
                r#""request_bytes":{},"response_bytes":{},"latency_us":{},"#,
                r#""user_agent":"{}","request_id":"req_{:016x}"}}"#,
            ),
            random.next(),
            humantime::format_rfc3339_millis(time),
            client_ip,
            key.credential,
            key_id.as_deref().unwrap_or_default(),
            rank,
            TENANTS[rank % TENANTS.len()],
            auth_result,
            method,
            before,
            random.below(9_000_000),
            after,
            status,
            200 + random.below(800),
            100 + random.below(40_000),
            3_000 + random.below(90_000),
            AGENTS[rank % AGENTS.len()],
            random.next(),
        )
        .expect("a write to memory does not fail");
    }
}

struct Network {
    first: IpAddr,
    prefix: u32,
    kind: String,
}

impl Network {
    /// An address of the network, the same for the same `host`.
    fn address(&self, host: u64) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => {
                let hosts = (1_u64 << (32 - self.prefix)) - 2;
                IpAddr::V4(Ipv4Addr::from(u32::from(first) + 1 + (host % hosts) as u32))
            }
            // A customer has a /64; what follows it is the device's.
            IpAddr::V6(first) => {
                let customers = 1_u64 << (64 - self.prefix);
                let customer = u128::from(host % customers) << 64;
                IpAddr::V6(Ipv6Addr::from(
                    u128::from(first) | customer | u128::from(host | 1),
                ))
            }
        }
    }
}

fn networks() -> Result<Vec<Network>> {
    #[derive(Deserialize)]
    struct Source {
        networks: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        network: String,
        kind: String,
    }
    let source: Source = serde_json::from_str(NETWORKS)?;
    let network = |entry: &Entry| -> Result<Network> {
        let (first, prefix) = entry.network.split_once('/').ok_or("a network without /")?;
        Ok(Network {
            first: first.parse()?,
            prefix: prefix.parse()?,
            kind: entry.kind.clone(),
        })
    };
    source.networks.iter().map(network).collect()
}

/// SplitMix64: a few instructions a number, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; its bias at these small ends does not matter here.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number in 0..1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_makes_its_share_of_the_calls() {
        let mut traffic = Traffic::new(1000, 1).unwrap();
        let log = traffic.log(20_000);
        let first = log.payloads().filter(|payload| {
            let event: serde_json::Value = serde_json::from_slice(payload).unwrap();
            event["consumer_id"] == "app-0"
        });
        // The sum of k^-1.1 to 1000 is 5.57.
        let share = first.count() as f64 / 20_000.0;
        assert!((share - 1.0 / 5.57).abs() < 0.01, "{share}");
    }

    #[test]
    fn the_same_seed_gives_the_same_calls() {
        let log = |seed| {
            let log = Traffic::new(10, seed).unwrap().log(100);
            log.payloads().map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        assert_eq!(log(5), log(5));
        assert_ne!(log(5), log(6));
    }
}
