//! Random traffic that is hard on an engine, and small enough to be cut at every row.
//!
//! Each key has a quiet life of a call or few in ten minutes. On its last day come a burst of calls, a
//! burst of refused ones, and calls from far away; VPN exits, refused calls and unknown addresses stand
//! between. Over all of it: ties (half of the times are whole seconds, some whole minutes), rows that
//! come late by less than the bound, by the bound exactly and by more, records that are damaged, empty
//! lines, calls without a key on every partition, ids with odd characters.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::binary::root;

/// Monday, 2 March 2026.
pub const START_MS: i64 = 1_772_409_600_000;
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// The topic's default bound.
const BOUND_MS: i64 = 10_000;

/// Numbers that a seed repeats: splitmix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: i64) -> i64 {
        (self.bits() % end.unsigned_abs()) as i64
    }

    pub fn percent(&mut self, share: i64) -> bool {
        self.below(100) < share
    }

    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as i64) as usize]
    }
}

/// A network of the demo's GeoIP databases.
pub struct Network {
    first: IpAddr,
    pub kind: String,
}

impl Network {
    /// The `nth` address after the network's own.
    pub fn address(&self, nth: u32) -> String {
        match self.first {
            IpAddr::V4(first) => Ipv4Addr::from(u32::from(first) + nth).to_string(),
            IpAddr::V6(first) => Ipv6Addr::from(u128::from(first) + u128::from(nth)).to_string(),
        }
    }
}

/// The networks of `testdata/geoip/networks.json`.
pub fn networks() -> Vec<Network> {
    let text = std::fs::read_to_string(root().join("testdata/geoip/networks.json")).unwrap();
    let source: Value = serde_json::from_str(&text).unwrap();
    let network = |entry: &Value| Network {
        first: entry["network"]
            .as_str()
            .unwrap()
            .split('/')
            .next()
            .unwrap()
            .parse()
            .unwrap(),
        kind: entry["kind"].as_str().unwrap().to_owned(),
    };
    source["networks"]
        .as_array()
        .unwrap()
        .iter()
        .map(network)
        .collect()
}

/// Ids as no gateway should make them; an identity is any text.
const ODD_IDS: [&str; 7] = [
    "plain-1",
    "schlüssel/ß \"q\" \\",
    "ключ\u{1f511}",
    "a b\tc",
    "{id}",
    "'; DROP TABLE events --",
    "\u{0}\u{7f}",
];

/// What is generated.
pub struct Stress {
    pub seed: u64,
    pub keys: usize,
    pub partitions: usize,
    pub days: i64,
}

impl Stress {
    /// Writes one file a partition.
    pub fn write(&self, folder: &Path) -> Vec<PathBuf> {
        let mut dice = Dice(self.seed);
        let networks = networks();
        let mut logs: Vec<Vec<(i64, u64, Vec<u8>)>> = vec![Vec::new(); self.partitions];
        for key in 0..self.keys {
            let partition = key % self.partitions;
            let name = who(key);
            for (time_ms, mut event) in self.life(&networks, &mut dice) {
                event.extend(name.clone());
                deliver(&mut dice, time_ms, event, &mut logs[partition]);
            }
        }
        // Calls without a key, everywhere; refused and accepted ones, enough to be a burst if they
        // were one key's.
        for log in &mut logs {
            for _ in 0..40 * self.days {
                let time_ms = START_MS + dice.below(self.days * DAY_MS);
                let mut event = call(&mut dice, "198.18.3.7", "none");
                match dice.below(4) {
                    0 => drop(event.insert("api_key".to_owned(), Value::Null)),
                    1 => drop(event.insert("key_id".to_owned(), json!(""))),
                    2 => drop(event.insert("auth_result".to_owned(), json!("ok"))),
                    _ => drop(event.insert("auth_result".to_owned(), json!("bad_key"))),
                }
                deliver(&mut dice, time_ms, event, log);
            }
        }
        let write = |(partition, mut log): (usize, Vec<(i64, u64, Vec<u8>)>)| {
            log.sort_unstable();
            let mut bytes = Vec::new();
            for (.., line) in log {
                bytes.extend(line);
                bytes.push(b'\n');
            }
            let path = folder.join(format!("partition-{partition}.ndjson"));
            std::fs::write(&path, bytes).unwrap();
            path
        };
        logs.into_iter().enumerate().map(write).collect()
    }

    /// All calls of a key, by the time at which they happened.
    fn life(&self, networks: &[Network], dice: &mut Dice) -> Vec<(i64, Map<String, Value>)> {
        let settled: Vec<&Network> = networks
            .iter()
            .filter(|network| matches!(network.kind.as_str(), "residential" | "mobile"))
            .collect();
        let hidden: Vec<&Network> = networks
            .iter()
            .filter(|network| matches!(network.kind.as_str(), "vpn" | "tor" | "relay"))
            .collect();
        let home = dice.pick(&settled).address(9);
        let neighbour = dice.pick(&settled).address(17);
        let mut calls = Vec::new();
        for window in 0..self.days * 144 {
            for _ in 0..1 + dice.below(4) {
                let time_ms = START_MS + window * 10 * MINUTE_MS + dice.below(10 * MINUTE_MS);
                let auth =
                    *dice.pick(&["ok", "ok", "ok", "ok", "ok", "forbidden", "bad_signature"]);
                let (address, auth) = match dice.below(100) {
                    0..3 => (address_in(&settled, dice), "bad_signature"),
                    3..8 => (address_in(&hidden, dice), "ok"),
                    8..10 => ("10.1.2.3".to_owned(), auth),
                    _ => (home.clone(), auth),
                };
                calls.push((time_ms, call(dice, &address, auth)));
            }
        }
        let last_day_ms = START_MS + (self.days - 1) * DAY_MS;
        let somewhere = |dice: &mut Dice| last_day_ms + dice.below(DAY_MS - 60 * MINUTE_MS);
        let burst_ms = somewhere(dice) / (10 * MINUTE_MS) * 10 * MINUTE_MS;
        for _ in 0..260 + dice.below(200) {
            let time_ms = burst_ms + dice.below(10 * MINUTE_MS);
            calls.push((time_ms, call(dice, &home, "ok")));
        }
        let refused_ms = somewhere(dice) / (10 * MINUTE_MS) * 10 * MINUTE_MS;
        for _ in 0..45 + dice.below(60) {
            let time_ms = refused_ms + dice.below(10 * MINUTE_MS);
            let auth = *dice.pick(&["bad_key", "bad_signature", "expired"]);
            calls.push((time_ms, call(dice, &neighbour, auth)));
        }
        for _ in 0..6 {
            let time_ms = somewhere(dice);
            let away = address_in(&settled, dice);
            calls.push((time_ms, call(dice, &away, "ok")));
            // In the same millisecond at home.
            calls.push((time_ms, call(dice, &home, "ok")));
        }
        calls
    }
}

fn address_in(networks: &[&Network], dice: &mut Dice) -> String {
    let nth = 1 + dice.below(3) as u32;
    dice.pick(networks).address(nth)
}

/// The fields that say whose call it is: an odd id, a long one, or a credential alone.
fn who(key: usize) -> Map<String, Value> {
    let fields = match key % 4 {
        3 => json!({"api_key": format!("kh_live_{key:043}")}),
        2 => json!({"key_id": format!("long-{key}-{}", "x".repeat(300)), "tenant": "acme"}),
        _ => {
            let id = ODD_IDS[key % ODD_IDS.len()];
            json!({"key_id": format!("{id}{key}"), "tenant": "tenänt", "api_key": "kh_live_shared_by_all_0001"})
        }
    };
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn call(dice: &mut Dice, client_ip: &str, auth_result: &str) -> Map<String, Value> {
    let mut event = Map::new();
    event.insert("client_ip".to_owned(), json!(client_ip));
    if auth_result == "bad_key" && dice.percent(30) {
        event.insert("status".to_owned(), json!(401));
    } else {
        event.insert("auth_result".to_owned(), json!(auth_result));
    }
    if dice.percent(80) {
        event.insert("response_bytes".to_owned(), json!(dice.below(1 << 40)));
    }
    event
}

/// Brings a call to the log: at once, a little later, or too late; now and then damaged.
fn deliver(
    dice: &mut Dice,
    time_ms: i64,
    mut event: Map<String, Value>,
    log: &mut Vec<(i64, u64, Vec<u8>)>,
) {
    let time_ms = match dice.below(10) {
        0..5 => time_ms,
        5..9 => time_ms / 1000 * 1000,
        _ => time_ms / MINUTE_MS * MINUTE_MS,
    };
    event.insert("event_time".to_owned(), json!(time_ms));
    let delay_ms = match dice.below(100) {
        0..50 => 0,
        50..85 => dice.below(BOUND_MS),
        85..95 => BOUND_MS - 1 + dice.below(3),
        95..98 => BOUND_MS + dice.below(BOUND_MS),
        _ => dice.below(10 * MINUTE_MS),
    };
    let mut line = serde_json::to_vec(&event).unwrap();
    match dice.below(300) {
        0 => line.truncate(line.len() / 2),
        1 => line.clear(),
        2 => line.insert(3, 0xff),
        _ => {}
    }
    log.push((time_ms + delay_ms, dice.bits(), line));
}
