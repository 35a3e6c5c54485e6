//! A log with everything in it: simulated calls with attacks, damaged records, late rows.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::SystemTime;

use keyhawk::simulate::{Attack, AttackKind, Scenario, SimulatedEvent};
use keyhawk_testkit::kafka::{Broker, Produce};
use keyhawk_testkit::random::{generator, random_jwt, random_key};

use super::expected::Place;

pub const PARTITIONS: usize = 4;
pub const HOUR_MS: i64 = 3_600_000;
/// The public beginning of the keys.
pub const PREFIX: &str = "kh_live_";
/// The attacks that are found.
pub const FOUND: [AttackKind; 4] = [
    AttackKind::NewCountry,
    AttackKind::RateSpike,
    AttackKind::ImpossibleTravel,
    AttackKind::AuthFailures,
];
/// The reasons of the dead letters, in the order in which records are damaged.
pub const REASONS: [&str; 6] = [
    "not_json",
    "not_utf8",
    "missing_field",
    "bad_field",
    "future_time",
    "no_payload",
];

/// One record in a hundred is damaged, and one event in 400 is there a second time, an hour older.
const DAMAGED_EVERY: usize = 100;
const LATE_EVERY: usize = 400;

/// Monday, 3 March 2025: past on every machine, so that no time lies in a record's future.
const START_MS: i64 = 1_740_960_000_000;

/// Five days of some sixty keys, four attacks on the fifth.
pub fn four_attacks() -> Scenario {
    let last_ms = START_MS + 4 * 24 * HOUR_MS;
    let attack = |kind, from_ms: i64, minutes: i64| Attack {
        kind,
        start_ms: last_ms + from_ms,
        end_ms: last_ms + from_ms + minutes * 60_000,
    };
    Scenario {
        seed: 2025,
        keys: 60,
        start_ms: START_MS,
        days: 5,
        partitions: PARTITIONS as u32,
        attacks: vec![
            attack(AttackKind::NewCountry, HOUR_MS, 20),
            attack(AttackKind::RateSpike, 10 * HOUR_MS + 600_000, 40),
            attack(AttackKind::ImpossibleTravel, 13 * HOUR_MS, 20),
            attack(AttackKind::AuthFailures, 16 * HOUR_MS + 31 * 60_000, 5),
        ],
    }
}

/// One day of a few keys, with a burst of refused calls about noon, where the log is cut in half.
pub fn one_burst() -> Scenario {
    let start_ms = START_MS + 11 * HOUR_MS;
    let attack = Attack {
        kind: AttackKind::AuthFailures,
        start_ms,
        end_ms: start_ms + 3 * HOUR_MS,
    };
    Scenario {
        keys: 20,
        days: 1,
        attacks: vec![attack],
        ..four_attacks()
    }
}

/// A record, as it is produced.
pub struct Record {
    pub partition: usize,
    pub offset: i64,
    pub arrival_ms: i64,
    pub payload: Option<Vec<u8>>,
    /// As shippers do it: by the gateway's id, else by the raw credential.
    key: Option<Vec<u8>>,
}

/// All records in the order of their arrival, and what must become of those that are no good.
pub struct Traffic {
    pub records: Vec<Record>,
    pub dead: BTreeMap<Place, &'static str>,
    pub late: BTreeSet<Place>,
    /// The secret parts of all credentials.
    pub secrets: Vec<String>,
    ends: [i64; PARTITIONS],
}

impl Traffic {
    /// Plays the scenario with random credentials of its own; seasoned, with damaged records and
    /// late rows.
    pub fn make(scenario: &Scenario, seasoned: bool) -> Traffic {
        let credentials = Credentials::random(scenario);
        let mut traffic = Traffic {
            records: Vec::new(),
            dead: BTreeMap::new(),
            late: BTreeSet::new(),
            secrets: credentials.secrets.clone(),
            ends: [0; PARTITIONS],
        };
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_millis();
        for (number, event) in scenario.events().enumerate() {
            let (line, key) = credentials.line(&event);
            let partition = event.partition as usize;
            if seasoned && number % DAMAGED_EVERY == DAMAGED_EVERY - 1 {
                let kind = number / DAMAGED_EVERY % REASONS.len();
                let place = (partition as i32, traffic.ends[partition]);
                traffic.dead.insert(place, REASONS[kind]);
                traffic.push(&event, key.clone(), damaged(&line, REASONS[kind], now));
            }
            let is_doubled = seasoned && number % LATE_EVERY == 0;
            let older =
                is_doubled.then(|| at_time(&line, &(event.event_time_ms - HOUR_MS).to_string()));
            traffic.push(&event, key.clone(), Some(line.into_bytes()));
            // Behind the event itself, so that its partition has a time to be late against.
            if let Some(older) = older {
                traffic
                    .late
                    .insert((partition as i32, traffic.ends[partition]));
                traffic.push(&event, key, Some(older.into_bytes()));
            }
        }
        traffic
    }

    fn push(&mut self, event: &SimulatedEvent, key: Option<Vec<u8>>, payload: Option<Vec<u8>>) {
        let partition = event.partition as usize;
        let offset = self.ends[partition];
        self.ends[partition] += 1;
        self.records.push(Record {
            partition,
            offset,
            arrival_ms: event.arrival_ms,
            payload,
            key,
        });
    }

    /// Whether the record is one that must come out late.
    pub fn is_late(&self, number: usize) -> bool {
        let record = &self.records[number];
        self.late
            .contains(&(record.partition as i32, record.offset))
    }

    /// The offset after the last record of each partition.
    pub fn ends(&self) -> BTreeMap<i32, i64> {
        self.ends_of(self.records.len())
    }

    /// The same after so many records.
    pub fn ends_of(&self, records: usize) -> BTreeMap<i32, i64> {
        let mut ends: BTreeMap<i32, i64> = (0..PARTITIONS as i32)
            .map(|partition| (partition, 0))
            .collect();
        for record in &self.records[..records] {
            ends.insert(record.partition as i32, record.offset + 1);
        }
        ends
    }

    /// Writes a range of the records.
    pub fn produce(&self, broker: &Broker, topic: &str, range: Range<usize>) {
        let records = self.records[range].iter().map(|record| Produce {
            partition: Some(record.partition as i32),
            key: record.key.clone(),
            payload: record.payload.clone(),
            time_ms: None,
        });
        broker.produce(topic, records).unwrap();
    }
}

/// Other credentials in place of the simulated ones: random keys, and tokens for one in five.
struct Credentials {
    by_simulated: BTreeMap<String, String>,
    secrets: Vec<String>,
}

impl Credentials {
    fn random(scenario: &Scenario) -> Credentials {
        let mut random = generator(scenario.seed);
        let mut credentials = Credentials {
            by_simulated: BTreeMap::new(),
            secrets: Vec::new(),
        };
        for key in scenario.population() {
            let credential = if key.index % 5 == 3 {
                let token = random_jwt(&mut random);
                credentials
                    .secrets
                    .push(token.split_once('.').unwrap().1.to_owned());
                token
            } else {
                let credential = random_key(&mut random, PREFIX);
                credentials
                    .secrets
                    .push(credential[PREFIX.len()..].to_owned());
                credential
            };
            credentials
                .by_simulated
                .insert(key.credential.expose().to_owned(), credential);
        }
        credentials
    }

    /// The event's line, and the key of its record.
    fn line(&self, event: &SimulatedEvent) -> (String, Option<Vec<u8>>) {
        let mut line = Vec::new();
        event.write_json(&mut line);
        let line = String::from_utf8(line.trim_ascii_end().to_vec()).unwrap();
        let Some(key) = event.key() else {
            return (line, None);
        };
        let simulated = key.credential.expose();
        let credential = &self.by_simulated[simulated];
        let record_key = key.key_id.as_ref().unwrap_or(credential);
        (
            line.replace(simulated, credential),
            Some(record_key.clone().into_bytes()),
        )
    }
}

fn damaged(line: &str, reason: &str, now_ms: u128) -> Option<Vec<u8>> {
    let bytes = match reason {
        "not_json" => line.as_bytes()[..line.len() * 2 / 3].to_vec(),
        "not_utf8" => [line.as_bytes(), &[0xff, 0xfe]].concat(),
        "missing_field" => line.replace("\"client_ip\"", "\"client\"").into_bytes(),
        "bad_field" => at_time(line, "\"yesterday\"").into_bytes(),
        "future_time" => at_time(line, &(now_ms + 86_400_000).to_string()).into_bytes(),
        _ => return None,
    };
    Some(bytes)
}

/// The line with another value for its event time.
fn at_time(line: &str, value: &str) -> String {
    let name = "\"event_time\":";
    let start = line.find(name).unwrap() + name.len();
    let end = start + line[start..].find(',').unwrap();
    format!("{}{value}{}", &line[..start], &line[end..])
}
