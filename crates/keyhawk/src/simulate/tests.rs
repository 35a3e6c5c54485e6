//! What the simulation promises to those who use it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::merge::DELAY_MS_MAX;
use super::networks::NetworkKind;
use super::*;

/// FNV-1a of the first 10,000 lines of the demo. Changed on purpose only: the demo's expected table
/// is about exactly these events.
const DEMO_DIGEST: u64 = 0xbfa8_d6db_c337_881f;

fn line(event: &SimulatedEvent) -> String {
    let mut out = Vec::new();
    event.write_json(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_seed_gives_the_same_bytes_everywhere() {
    let mut bytes = Vec::new();
    for event in demo().events().take(10_000) {
        event.write_json(&mut bytes);
    }
    assert_eq!(fnv1a(&bytes), DEMO_DIGEST, "found {:#018x}", fnv1a(&bytes));
}

#[test]
fn another_seed_gives_other_keys_and_other_events() {
    let other = Scenario { seed: 7, ..demo() };
    assert_ne!(
        other.population()[0].credential,
        demo().population()[0].credential
    );
    let first = |scenario: &Scenario| line(&scenario.events().next().unwrap());
    assert_ne!(first(&other), first(&demo()));
}

#[test]
fn attacks_change_no_call_of_anybody_else() {
    let quiet = Scenario {
        attacks: Vec::new(),
        ..demo()
    };
    let ids = |scenario: &Scenario| -> BTreeSet<u64> {
        let own = scenario.events().filter(|event| event.attack.is_none());
        own.map(|event| event.event_id).collect()
    };
    assert_eq!(ids(&quiet), ids(&demo()));
}

#[test]
fn demo_has_the_size_that_it_is_said_to_have() {
    let scenario = demo();
    let mut events_of = BTreeMap::new();
    let mut total = 0_usize;
    for event in scenario.events() {
        total += 1;
        *events_of
            .entry(event.key().map(|key| key.kind))
            .or_insert(0_usize) += 1;
    }
    assert!(
        (400_000..700_000).contains(&total),
        "{total}: {events_of:?}"
    );
    let between = |kind, low, high| {
        let found = events_of[&Some(kind)];
        assert!((low..high).contains(&found), "{kind:?}: {found}");
    };
    between(Kind::Cron, 30_000, 150_000);
    between(Kind::WebBackend, 150_000, 400_000);
    between(Kind::Mobile, 15_000, 100_000);
    between(Kind::Office, 20_000, 120_000);
    between(Kind::CiRunner, 10_000, 80_000);
    between(Kind::VpnUser, 2_000, 20_000);
    between(Kind::Partner, 500, 6_000);
    between(Kind::Trading, 50_000, 130_000);
    between(Kind::Traveller, 500, 6_000);
    assert!(
        (1_000..6_000).contains(&events_of[&None]),
        "{:?}",
        events_of[&None]
    );
}

#[test]
fn events_come_in_arrival_order_and_at_most_five_seconds_late() {
    let scenario = Scenario {
        days: 1,
        attacks: Vec::new(),
        ..demo()
    };
    let (mut arrived_ms, mut newest_ms, mut behind, mut total) = (0, 0, 0, 0);
    for event in scenario.events() {
        assert!(event.arrival_ms >= arrived_ms);
        arrived_ms = event.arrival_ms;
        assert!((0..=DELAY_MS_MAX).contains(&(event.arrival_ms - event.event_time_ms)));
        assert!(event.event_time_ms >= newest_ms - DELAY_MS_MAX);
        behind += usize::from(event.event_time_ms < newest_ms - 100);
        total += 1;
        newest_ms = newest_ms.max(event.event_time_ms);
        assert!((scenario.start_ms..scenario.end_ms()).contains(&event.event_time_ms));
    }
    let share = behind as f64 / total as f64;
    assert!((0.01..0.03).contains(&share), "{share}");
}

#[test]
fn every_line_is_a_json_object_with_what_an_event_needs() {
    let scenario = demo();
    let keys = scenario.population();
    let mut with_key_id = 0;
    for event in scenario.events().step_by(13).take(20_000) {
        let line = line(&event);
        assert_eq!(line.find('\n'), Some(line.len() - 1), "one line");
        let object: Value = serde_json::from_str(&line).unwrap();
        for name in [
            "event_id",
            "event_time",
            "client_ip",
            "auth_result",
            "method",
            "path",
            "route",
            "status",
            "request_bytes",
            "response_bytes",
            "latency_us",
            "user_agent",
            "request_id",
        ] {
            assert!(!object[name].is_null(), "{name} in {line}");
        }
        assert!(
            object["client_ip"]
                .as_str()
                .unwrap()
                .parse::<std::net::IpAddr>()
                .is_ok()
        );
        assert_eq!(
            object["event_time"].as_str().unwrap().len(),
            "2026-03-02T00:00:00.000Z".len()
        );
        let Some(key) = event.key() else {
            assert!(object["api_key"].is_null() && object["key_id"].is_null());
            continue;
        };
        let key = &keys[key.index];
        let raw = object["api_key"].as_str().unwrap();
        assert!(raw.starts_with("kh_live_") && raw.len() == 40);
        assert_eq!(raw == key.credential.expose(), event.auth != Auth::BadKey);
        assert_eq!(object["key_id"].as_str(), key.key_id.as_deref());
        assert_eq!(event.partition, scenario.partition_of(key.identity()));
        with_key_id += usize::from(key.key_id.is_some());
    }
    assert!((5_000..15_000).contains(&with_key_id), "{with_key_id}");
}

#[test]
fn raw_keys_look_random_and_half_of_the_keys_have_an_id() {
    let keys = demo().population();
    let raw: BTreeSet<&str> = keys.iter().map(|key| key.credential.expose()).collect();
    assert_eq!(raw.len(), 300);
    let letters: BTreeSet<char> = raw.iter().flat_map(|raw| raw[8..].chars()).collect();
    assert_eq!(letters.len(), 64, "all of base64url occurs");
    let ids = keys.iter().filter(|key| key.key_id.is_some()).count();
    assert!((130..170).contains(&ids), "{ids}");
    assert!(!format!("{:?}", keys[0]).contains(&keys[0].credential.expose()[8..]));
}

#[test]
fn labels_lie_on_the_last_day_and_name_different_keys() {
    let scenario = demo();
    let labels = scenario.labels();
    assert_eq!(labels.len(), AttackKind::ALL.len());
    for label in &labels {
        assert!(label.start_ms >= scenario.end_ms() - DAY_MS && label.start_ms < label.end_ms);
        assert!(label.end_ms <= scenario.end_ms());
        assert_eq!(label.expected == Expected::Missed, label.rules.is_empty());
    }
    let victims: BTreeSet<usize> = labels.iter().map(|label| label.key).collect();
    assert_eq!(victims.len(), labels.len());
    let named = |name| labels.iter().find(|label| label.name == name).unwrap();
    assert!(
        named("auth_failures").key_id.is_some(),
        "its id is what the attacker knows"
    );
    assert!(
        named("rate_spike").key_id.is_none(),
        "one attack is on a key known by fingerprint only"
    );
}

#[test]
fn attacks_come_under_their_keys_within_their_spans_at_their_rates() {
    let scenario = demo();
    let labels = scenario.labels();
    let mut found = vec![0_usize; labels.len()];
    let mut own = vec![0_usize; labels.len()];
    for event in scenario.events() {
        let Some(attack) = event.attack else {
            for (at, label) in labels.iter().enumerate() {
                let under = event.key().is_some_and(|key| key.index == label.key);
                let within = (label.start_ms..label.end_ms).contains(&event.event_time_ms);
                own[at] += usize::from(under && within);
            }
            continue;
        };
        let label = &labels[attack];
        found[attack] += 1;
        assert_eq!(event.key().unwrap().index, label.key);
        assert!((label.start_ms..label.end_ms).contains(&event.event_time_ms));
        if label.name == "auth_failures" {
            assert!(matches!(event.auth, Auth::BadKey | Auth::BadSignature));
        }
    }
    let counts: BTreeMap<&str, (usize, usize)> = labels
        .iter()
        .map(|label| label.name)
        .zip(found.into_iter().zip(own))
        .collect();
    let (spike, usual) = counts["rate_spike"];
    assert!(spike > 10 * usual && spike > 600, "{spike} against {usual}");
    assert!((500..700).contains(&counts["auth_failures"].0));
    assert!((15..60).contains(&counts["impossible_travel"].0));
    assert!(
        counts["impossible_travel"].1 > 0,
        "the office calls at the same time"
    );
    assert!((15..60).contains(&counts["new_country"].0));
    assert_eq!(counts["new_country"].1, 0, "the partner sleeps");
    let (stealthy, usual) = counts["stealthy_use"];
    assert!(
        stealthy > 0 && stealthy * 3 < usual,
        "{stealthy} against {usual}"
    );
}

#[test]
fn new_country_leaves_time_for_a_plane() {
    let networks = Networks::shipped();
    let (warsaw, istanbul) = (networks.city("Warsaw"), networks.city("Istanbul"));
    let hours = networks.cities[warsaw].distance_km(&networks.cities[istanbul]) / 900.0;
    let scenario = demo();
    let label = scenario
        .labels()
        .into_iter()
        .find(|label| label.name == "new_country")
        .unwrap();
    let own = |event: &SimulatedEvent| {
        event.attack.is_none() && event.key().is_some_and(|key| key.index == label.key)
    };
    let mut days = BTreeSet::new();
    for event in scenario.events().filter(own) {
        let away_ms =
            (label.start_ms - event.event_time_ms).max(event.event_time_ms - label.end_ms);
        assert!(away_ms as f64 > hours * HOUR_MS as f64, "{away_ms} ms");
        days.insert((event.event_time_ms - scenario.start_ms) / DAY_MS);
    }
    assert_eq!(
        days.len(),
        5,
        "a call on every day, so that three days are learned"
    );
}

#[test]
fn travellers_fly_and_never_jump() {
    let networks = Networks::shipped();
    let mut last: BTreeMap<usize, (usize, i64)> = BTreeMap::new();
    let mut journeys = 0;
    let mut learned = BTreeSet::new();
    let scenario = demo();
    // In time order: what arrives late would look like a jump back.
    let mut events: Vec<SimulatedEvent> = scenario
        .events()
        .filter(|event| event.key().is_some_and(|key| key.kind == Kind::Traveller))
        .collect();
    events.sort_by_key(|event| event.event_time_ms);
    for event in events {
        let key = event.key().unwrap().index;
        let city = networks.holding(event.client_ip).city;
        let at_ms = event.event_time_ms;
        if let Some((from, left_ms)) = last.insert(key, (city, at_ms))
            && from != city
        {
            let distance_km = networks.cities[from].distance_km(&networks.cities[city]);
            let hours = (at_ms - left_ms) as f64 / HOUR_MS as f64;
            assert!(distance_km / hours < 900.0, "{distance_km} km in {hours} h");
            journeys += 1;
        }
        let country = &networks.cities[city].country;
        if at_ms < scenario.start_ms + 3 * DAY_MS {
            learned.insert((key, country.clone()));
        } else {
            assert!(learned.contains(&(key, country.clone())), "seen before");
        }
    }
    assert!(journeys >= 6, "{journeys}");
}

#[test]
fn carriers_hand_a_phone_to_gateways_of_other_cities_of_the_country() {
    let networks = Networks::shipped();
    let mut cities: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for event in demo().events().filter(|event| event.attack.is_none()) {
        let Some(key) = event.key().filter(|key| key.kind == Kind::Mobile) else {
            continue;
        };
        cities
            .entry(key.index)
            .or_default()
            .insert(networks.holding(event.client_ip).city);
    }
    assert!(cities.values().filter(|cities| cities.len() > 1).count() > 20);
    for cities in cities.values() {
        let countries: BTreeSet<&str> = cities
            .iter()
            .map(|city| networks.cities[*city].country.as_str())
            .collect();
        assert_eq!(countries.len(), 1);
    }
}

#[test]
fn office_keys_share_an_address_and_vpn_users_come_and_go() {
    let networks = Networks::shipped();
    let mut keys_at: BTreeMap<std::net::IpAddr, BTreeSet<usize>> = BTreeMap::new();
    let mut vpn_and_home: BTreeMap<usize, BTreeSet<bool>> = BTreeMap::new();
    for event in demo().events().filter(|event| event.attack.is_none()) {
        let network = networks.holding(event.client_ip);
        match event.key() {
            Some(key) if network.kind == NetworkKind::Office => {
                keys_at
                    .entry(event.client_ip)
                    .or_default()
                    .insert(key.index);
            }
            Some(key) if key.kind == Kind::VpnUser => {
                let by_vpn = network.kind == NetworkKind::Vpn;
                vpn_and_home.entry(key.index).or_default().insert(by_vpn);
            }
            _ => {}
        }
    }
    assert!(keys_at.values().all(|keys| keys.len() == 4));
    let both = vpn_and_home.values().filter(|ways| ways.len() == 2).count();
    assert!(both > 0 && both < vpn_and_home.len());
}

#[test]
fn innocent_refusals_trickle_and_some_key_is_refused_all_day() {
    let mut refused: BTreeMap<usize, BTreeMap<i64, usize>> = BTreeMap::new();
    for event in demo().events().filter(|event| event.attack.is_none()) {
        if let Some(key) = event.key().filter(|_| event.auth != Auth::Ok) {
            let window = event.event_time_ms / (10 * MINUTE_MS);
            *refused
                .entry(key.index)
                .or_default()
                .entry(window)
                .or_insert(0) += 1;
        }
    }
    assert!(refused.len() > 100, "{} keys", refused.len());
    assert!(
        refused
            .values()
            .all(|windows| windows.values().all(|count| *count < 50))
    );
    let busiest = refused.values().map(|windows| windows.len()).max().unwrap();
    assert!(busiest > 100, "refused in {busiest} windows of 720");
}

#[test]
fn refused_for_now_is_tried_again() {
    let events: Vec<SimulatedEvent> = Scenario {
        days: 1,
        attacks: Vec::new(),
        ..demo()
    }
    .events()
    .collect();
    let limited = events.iter().filter(|event| event.status == 429).count();
    let share = limited as f64 / events.len() as f64;
    assert!((0.002..0.008).contains(&share), "{share}");
    let first = events.iter().position(|event| event.status == 429).unwrap();
    let retry = events[first + 1..].iter().find(|event| {
        event.key().map(|key| key.index) == events[first].key().map(|key| key.index)
            && event.route.template == events[first].route.template
            && event.client_ip == events[first].client_ip
    });
    let pause_ms = retry.unwrap().event_time_ms - events[first].event_time_ms;
    assert!((0..60_000).contains(&pause_ms), "{pause_ms}");
}

#[test]
fn every_kind_is_in_every_population_and_shares_hold() {
    for keys in [0, 9, 50, 300, 10_000] {
        let population = Scenario { keys, ..demo() }.population();
        assert_eq!(population.len(), keys.max(9));
        for (kind, share) in population::KINDS {
            let count = population.iter().filter(|key| key.kind == kind).count();
            let wanted = (share * population.len()).div_ceil(1000);
            assert!(
                count >= 1 && count.abs_diff(wanted) <= 2,
                "{kind:?} of {keys}: {count}"
            );
        }
    }
}

#[test]
fn databases_are_small_and_whole() {
    let size: usize = databases().iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(size < 300_000, "{size}");
    for (name, bytes) in databases() {
        let marker = b"\xab\xcd\xefMaxMind.com";
        assert!(
            bytes.windows(marker.len()).any(|window| window == marker),
            "{name}"
        );
    }
}
