//! GeoIP against MaxMind's test data, the flat schema, damaged files, and reloading.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use keyhawk_events::{EventsSchema, GeoConfig, GeoDatabases, GeoRecord, ReloadOutcome};
use maxminddb_writer::metadata::IpVersion;
use maxminddb_writer::paths::IpAddrWithMask;
use serde_json::Value;

use crate::{Setup, cell, record, shared};

/// (first address, record) of each network of a source file.
fn source(path: &Path) -> Vec<(IpAddr, Value)> {
    let text = fs::read_to_string(path).unwrap();
    let list: Vec<HashMap<String, Value>> = serde_json::from_str(&text).unwrap();
    let networks = list.into_iter().flatten();
    networks
        .map(|(network, record)| (first_address(&network), record))
        .collect()
}

fn first_address(network: &str) -> IpAddr {
    let (address, bits) = network.split_once('/').unwrap();
    let bits: u32 = bits.parse().unwrap();
    match address.parse().unwrap() {
        // `::a.b.c.d/n` with n of 96 and more is an IPv4 network.
        IpAddr::V6(v6) if bits >= 96 && u128::from(v6) >> 32 == 0 => {
            IpAddr::V4(Ipv4Addr::from(u128::from(v6) as u32))
        }
        address => address,
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_string)
}

fn owned(text: &Option<std::sync::Arc<str>>) -> Option<String> {
    text.as_deref().map(str::to_string)
}

fn city(path: PathBuf) -> GeoDatabases {
    GeoDatabases::open(&GeoConfig {
        city: vec![path],
        ..GeoConfig::default()
    })
    .unwrap()
}

#[test]
fn every_city_network_gives_its_record() {
    let Some(shared) = shared("geoip") else {
        return;
    };
    for name in ["GeoIP2-City-Test", "GeoLite2-City-Test"] {
        let databases = city(shared.join(format!("test-data/{name}.mmdb")));
        let networks = source(&shared.join(format!("source-data/{name}.json")));
        assert!(networks.len() > 100);
        for (ip, record) in &networks {
            let found = databases.lookup(*ip);
            let location = &record["location"];
            let degrees = (
                location["latitude"].as_f64(),
                location["longitude"].as_f64(),
            );
            let degrees = if degrees == (Some(0.0), Some(0.0)) {
                (None, None)
            } else {
                degrees
            };
            assert_eq!(
                owned(&found.country),
                text(&record["country"]["iso_code"]),
                "{ip}"
            );
            assert_eq!(
                owned(&found.city),
                text(&record["city"]["names"]["en"]),
                "{ip}"
            );
            let subdivision = &record["subdivisions"][0];
            let subdivision = text(&subdivision["iso_code"]).or(text(&subdivision["names"]["en"]));
            assert_eq!(owned(&found.subdivision), subdivision, "{ip}");
            assert_eq!((found.latitude, found.longitude), degrees, "{ip}");
            assert_eq!(
                found.accuracy_radius_km.is_some(),
                degrees.0.is_some(),
                "{ip}"
            );
            if let (Some(radius), Some(_)) = (location["accuracy_radius"].as_f64(), degrees.0) {
                assert_eq!(found.accuracy_radius_km, Some(radius), "{ip}");
            }
        }
        assert_eq!(databases.failed_lookups(), 0);
        eprintln!("{name}: {} networks", networks.len());
    }
}

#[test]
fn every_asn_network_gives_its_record() {
    let Some(shared) = shared("geoip") else {
        return;
    };
    let path = shared.join("test-data/GeoLite2-ASN-Test.mmdb");
    let config = GeoConfig {
        asn: vec![path],
        ..GeoConfig::default()
    };
    let databases = GeoDatabases::open(&config).unwrap();
    let networks = source(&shared.join("source-data/GeoLite2-ASN-Test.json"));
    for (ip, record) in &networks {
        let found = databases.lookup(*ip);
        assert_eq!(
            found.asn,
            record["autonomous_system_number"].as_i64(),
            "{ip}"
        );
        let organization = text(&record["autonomous_system_organization"]);
        assert_eq!(owned(&found.as_org), organization, "{ip}");
    }
    eprintln!("GeoLite2-ASN-Test: {} networks", networks.len());
}

#[test]
fn every_anonymous_network_gives_its_record() {
    let Some(shared) = shared("geoip") else {
        return;
    };
    let path = shared.join("test-data/GeoIP2-Anonymous-IP-Test.mmdb");
    let config = GeoConfig {
        anonymous: vec![path],
        ..GeoConfig::default()
    };
    let databases = GeoDatabases::open(&config).unwrap();
    let networks = source(&shared.join("source-data/GeoIP2-Anonymous-IP-Test.json"));
    for (ip, record) in &networks {
        let is = |flag: &str| record[flag].as_bool().unwrap_or(false);
        let kind = if is("is_tor_exit_node") {
            "tor"
        } else if is("is_anonymous_vpn") {
            "vpn"
        } else if is("is_public_proxy") || is("is_residential_proxy") {
            "relay"
        } else if is("is_hosting_provider") {
            "hosting"
        } else {
            "unknown"
        };
        let found = databases.lookup(*ip);
        assert_eq!(found.ip_kind, kind, "{ip}");
        assert_eq!(found.is_anonymous, is("is_anonymous"), "{ip}");
        assert_eq!(found.is_hosting, is("is_hosting_provider"), "{ip}");
    }
    assert_eq!(networks.len(), 12);
}

#[test]
fn damaged_files_give_an_error_or_an_answer() {
    let Some(shared) = shared("geoip") else {
        return;
    };
    let mut files = Vec::new();
    for folder in [
        "bad-data/libmaxminddb",
        "bad-data/maxminddb-golang",
        "bad-data/maxminddb-python",
        "test-data",
    ] {
        let entries = fs::read_dir(shared.join(folder)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    let (mut refused, mut opened) = (0, 0);
    for path in files
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "mmdb"))
    {
        // Each in every role, its own and others'.
        for role in 0..3 {
            let mut config = GeoConfig::default();
            [&mut config.city, &mut config.asn, &mut config.anonymous][role].push(path.clone());
            match GeoDatabases::open(&config) {
                Err(error) => {
                    assert!(error.to_string().contains("mmdb"));
                    refused += 1;
                }
                Ok(databases) => {
                    look_everywhere(&databases);
                    opened += 1;
                }
            }
        }
    }
    eprintln!("{refused} refused, {opened} opened and answered");
}

fn look_everywhere(databases: &GeoDatabases) {
    for high in 0..=255u8 {
        databases.lookup(Ipv4Addr::new(high, high.wrapping_mul(7), 1, 1).into());
        databases.lookup(Ipv6Addr::from(u128::from(high) << 120 | 1).into());
    }
    databases.lookup("2001:218::1".parse().unwrap());
}

#[test]
fn flipped_bytes_of_a_database_never_panic() {
    let Some(shared) = shared("geoip") else {
        return;
    };
    let sound = fs::read(shared.join("test-data/GeoIP2-City-Test.mmdb")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("city.mmdb");
    let mut random = crate::Random(3);
    let mut opened = 0;
    for _ in 0..60 {
        let mut bytes = sound.clone();
        for _ in 0..=random.below(3) {
            let place = random.below(bytes.len());
            bytes[place] = random.next() as u8;
        }
        if random.below(4) == 0 {
            bytes.truncate(random.below(bytes.len()));
        }
        fs::write(&path, &bytes).unwrap();
        let config = GeoConfig {
            city: vec![path.clone()],
            ..GeoConfig::default()
        };
        if let Ok(databases) = GeoDatabases::open(&config) {
            look_everywhere(&databases);
            opened += 1;
        }
    }
    eprintln!("{opened} of 60 damaged files opened and answered");
}

#[derive(serde::Serialize)]
struct Flat {
    country_code: &'static str,
    state1: &'static str,
    city: &'static str,
    latitude: f32,
    longitude: f32,
}

const DALLAS: Flat = Flat {
    country_code: "US",
    state1: "Texas",
    city: "Dallas",
    latitude: 32.7767,
    longitude: -96.797,
};

fn flat_database(path: &Path, ip_version: IpVersion, networks: &[(&str, Flat)]) {
    let mut database = maxminddb_writer::Database::default();
    database.metadata.database_type = match ip_version {
        IpVersion::V4 => "city ipv4".into(),
        IpVersion::V6 => "city ipv6".into(),
    };
    database.metadata.ip_version = ip_version;
    database.metadata.binary_format_major_version = 2;
    database
        .metadata
        .description
        .insert("en".into(), "made by a test".into());
    for (network, record) in networks {
        let record = database.insert_value(record).unwrap();
        database.insert_node(network.parse::<IpAddrWithMask>().unwrap(), record);
    }
    database.write_to(fs::File::create(path).unwrap()).unwrap();
}

#[test]
fn flat_schema_is_read_from_two_files_with_default_radii() {
    let folder = tempfile::tempdir().unwrap();
    let (v4, v6) = (folder.path().join("v4.mmdb"), folder.path().join("v6.mmdb"));
    let state = Flat { city: "", ..DALLAS };
    let country = Flat {
        state1: "",
        city: "",
        ..DALLAS
    };
    let nowhere = Flat {
        latitude: 0.0,
        longitude: 0.0,
        ..DALLAS
    };
    let networks = [
        ("198.51.100.0/25", DALLAS),
        ("198.51.100.128/25", state),
        ("203.0.113.0/24", country),
        ("192.0.2.0/24", nowhere),
    ];
    flat_database(&v4, IpVersion::V4, &networks);
    flat_database(&v6, IpVersion::V6, &[("2001:db8::/32", DALLAS)]);
    let config = GeoConfig {
        city: vec![v4, v6],
        ..GeoConfig::default()
    };
    let databases = GeoDatabases::open(&config).unwrap();
    let at = |ip: &str| databases.lookup(ip.parse().unwrap());
    let dallas = at("198.51.100.1");
    assert_eq!(owned(&dallas.city).as_deref(), Some("Dallas"));
    assert_eq!(owned(&dallas.subdivision).as_deref(), Some("Texas"));
    assert_eq!(
        (dallas.latitude, dallas.longitude),
        (Some(32.7767), Some(-96.797))
    );
    assert_eq!(dallas.accuracy_radius_km, Some(50.0));
    assert_eq!(at("198.51.100.200").accuracy_radius_km, Some(300.0));
    assert_eq!(at("203.0.113.1").accuracy_radius_km, Some(1769.0));
    let nowhere = at("192.0.2.1");
    assert_eq!((nowhere.latitude, nowhere.accuracy_radius_km), (None, None));
    assert_eq!(owned(&nowhere.country).as_deref(), Some("US"));
    assert_eq!(owned(&at("2001:db8::1").city).as_deref(), Some("Dallas"));
    assert_eq!(at("8.8.8.8").country, None);

    // Through the decoder's cache: a /24 that the database splits, and one that it does not.
    let setup = Setup {
        geo: databases,
        ..Setup::default()
    };
    let ips = [
        "198.51.100.1",
        "198.51.100.200",
        "198.51.100.2",
        "203.0.113.1",
        "203.0.113.2",
        "10.1.2.3",
    ];
    let payloads: Vec<String> = ips
        .iter()
        .map(|ip| format!(r#"{{"event_time":1700000000000,"client_ip":"{ip}"}}"#))
        .collect();
    let decoded = setup.decode(&payloads);
    let column = |name: &str| {
        (0..ips.len())
            .map(|row| cell(&decoded, name, row))
            .collect::<Vec<_>>()
    };
    let radii: Vec<_> = column("accuracy_radius_km");
    let radii: Vec<_> = radii.iter().map(Option::as_deref).collect();
    assert_eq!(
        radii,
        [
            Some("50.0"),
            Some("300.0"),
            Some("50.0"),
            Some("1769.0"),
            Some("1769.0"),
            None
        ]
    );
    assert_eq!(column("ip_kind")[5].as_deref(), Some("private"));
}

#[test]
fn other_columns_between_batches_are_those_of_a_decoder_made_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("v4.mmdb");
    flat_database(&file, IpVersion::V4, &[("198.51.100.0/25", DALLAS)]);
    let geo = city(file);
    let payloads = ["198.51.100.7", "203.0.113.9", "198.51.100.9"].map(|ip| {
        format!(
            r#"{{"event_time":1700000000000,"client_ip":"{ip}","path":"/a","api_key":"k","status":9}}"#
        )
    });
    let reading = |names: &[&str]| {
        Setup {
            geo: geo.clone(),
            ..Setup::default()
        }
        .columns(names)
    };
    let mut decoder = reading(&["api_key", "country"]).decoder();
    let schema = EventsSchema::new(Vec::new()).unwrap();
    let mut offset = 0;
    for names in [
        &["api_key", "country"][..],
        &["city", "country", "ip_kind", "path"],
        &["latitude", "path", "_topic"],
        &["status"],
        &["city", "client_ip", "event_time"],
    ] {
        let columns: BTreeSet<String> = names.iter().map(|name| name.to_string()).collect();
        decoder.set_columns(&schema, Some(&columns)).unwrap();
        let watermark = decoder.watermark();
        for payload in &payloads {
            decoder.push(record(payload.as_bytes(), offset));
            offset += 1;
        }
        let decoded = decoder.finish();
        assert_eq!(decoded.events, reading(names).decode(&payloads).events);
        assert!(
            offset == 3 || decoder.watermark() == watermark,
            "time stays"
        );
    }
    let unknown = BTreeSet::from(["country".to_owned(), "nowhere".to_owned()]);
    assert!(decoder.set_columns(&schema, Some(&unknown)).is_err());
    decoder.push(record(payloads[0].as_bytes(), offset));
    let decoded = decoder.finish();
    assert_eq!(cell(&decoded, "city", 0).as_deref(), Some("Dallas"));
}

#[test]
fn cached_lookups_equal_direct_ones() {
    let Some(shared) = shared("geoip") else {
        return;
    };
    let test_data = |name: &str| vec![shared.join("test-data").join(name)];
    let config = GeoConfig {
        city: test_data("GeoIP2-City-Test.mmdb"),
        asn: test_data("GeoLite2-ASN-Test.mmdb"),
        anonymous: test_data("GeoIP2-Anonymous-IP-Test.mmdb"),
    };
    let databases = GeoDatabases::open(&config).unwrap();
    let mut ips: Vec<IpAddr> = Vec::new();
    for name in [
        "GeoIP2-City-Test",
        "GeoLite2-ASN-Test",
        "GeoIP2-Anonymous-IP-Test",
    ] {
        let networks = source(&shared.join(format!("source-data/{name}.json")));
        ips.extend(networks.into_iter().take(400).map(|(ip, _)| ip));
    }
    for last in 0..=255 {
        ips.push(Ipv4Addr::new(81, 2, 69, last).into());
        ips.push(Ipv4Addr::new(6, 1, 0, last).into());
    }
    let payloads: Vec<String> = ips
        .iter()
        .map(|ip| format!(r#"{{"event_time":1700000000000,"client_ip":"{ip}"}}"#))
        .collect();
    let setup = Setup {
        geo: databases.clone(),
        ..Setup::default()
    };
    let decoded = setup.decode(&payloads);
    for (row, ip) in ips.iter().enumerate() {
        let ip = match ip {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(*ip, IpAddr::V4),
            IpAddr::V4(_) => *ip,
        };
        let GeoRecord {
            city, ip_kind, asn, ..
        } = databases.lookup(ip);
        assert_eq!(cell(&decoded, "city", row), owned(&city), "{ip}");
        assert_eq!(
            cell(&decoded, "ip_kind", row).as_deref(),
            Some(ip_kind),
            "{ip}"
        );
        assert_eq!(
            cell(&decoded, "asn", row),
            asn.map(|asn| asn.to_string()),
            "{ip}"
        );
    }
}

#[test]
fn changed_file_is_picked_up_and_a_damaged_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("city.mmdb");
    flat_database(&path, IpVersion::V4, &[("198.51.100.0/24", DALLAS)]);
    let mut databases = city(path.clone());
    let before = databases.clone();
    let digest = databases.digest();
    let ip: IpAddr = "198.51.100.1".parse().unwrap();
    assert!(databases.reload_if_changed().is_empty());

    fs::write(&path, b"not a database").unwrap();
    let outcomes = databases.reload_if_changed();
    assert!(
        matches!(&outcomes[..], [ReloadOutcome::Kept { .. }]),
        "{outcomes:?}"
    );
    assert!(databases.reload_if_changed().is_empty(), "told once");
    assert_eq!(owned(&databases.lookup(ip).city).as_deref(), Some("Dallas"));
    assert_eq!(databases.digest(), digest);

    let austin = Flat {
        city: "Austin",
        ..DALLAS
    };
    flat_database(&path, IpVersion::V4, &[("198.51.100.0/24", austin)]);
    let outcomes = databases.reload_if_changed();
    assert!(
        matches!(&outcomes[..], [ReloadOutcome::Reloaded { .. }]),
        "{outcomes:?}"
    );
    assert_eq!(owned(&databases.lookup(ip).city).as_deref(), Some("Austin"));
    assert_eq!(owned(&before.lookup(ip).city).as_deref(), Some("Dallas"));
    assert_ne!(databases.digest(), digest);

    fs::remove_file(&path).unwrap();
    assert!(matches!(
        &databases.reload_if_changed()[..],
        [ReloadOutcome::Kept { .. }]
    ));
    assert_eq!(owned(&databases.lookup(ip).city).as_deref(), Some("Austin"));
}

#[test]
fn database_of_another_kind_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("city.mmdb");
    flat_database(&path, IpVersion::V4, &[("198.51.100.0/24", DALLAS)]);
    let config = GeoConfig {
        asn: vec![path],
        ..GeoConfig::default()
    };
    let message = GeoDatabases::open(&config).unwrap_err().to_string();
    assert!(
        message.contains("`city ipv4`") && message.contains("asn"),
        "{message}"
    );
}
