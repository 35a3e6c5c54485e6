//! Makes the small GeoIP databases of `testdata/geoip` from its `networks.json`.
//!
//! ```text
//! cargo run -p keyhawk-testkit --example make_geoip [FOLDER]
//! ```
//!
//! FOLDER holds `networks.json` and receives the databases; without it, `testdata/geoip` is meant.
//!
//! The same source gives the same bytes: nothing is read but the source, the build time that the
//! databases state is a constant, and equal records are written once, in the order of the source.

#![allow(
    clippy::disallowed_methods,
    reason = "it reads files and looks at the clock"
)]

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs;
use std::io::BufWriter;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use maxminddb_writer::Database;
use maxminddb_writer::metadata::IpVersion;
use maxminddb_writer::paths::IpAddrWithMask;
use serde::{Deserialize, Serialize};

/// 2026-03-01 00:00 UTC, the day before the demo's traffic begins.
const BUILD_EPOCH_S: u64 = 1_772_323_200;

#[derive(Deserialize)]
struct Source {
    accuracy_radius_km: BTreeMap<String, u16>,
    continents: BTreeMap<String, String>,
    countries: Vec<Country>,
    cities: Vec<City>,
    organisations: Vec<Organisation>,
    networks: Vec<Network>,
}

#[derive(Deserialize)]
struct Country {
    code: String,
    name: String,
    continent: String,
}

#[derive(Deserialize)]
struct City {
    name: String,
    country: String,
    subdivision: Option<String>,
    subdivision_name: Option<String>,
    latitude: f64,
    longitude: f64,
    time_zone: String,
}

#[derive(Deserialize)]
struct Organisation {
    asn: u32,
    name: String,
}

#[derive(Deserialize)]
struct Network {
    network: String,
    kind: String,
    asn: u32,
    city: String,
}

/// A map with the name in the one language that these databases have.
#[derive(Serialize)]
struct Names<'a> {
    en: &'a str,
}

/// MaxMind's City record, with the `traits.user_type` that its Enterprise database adds.
#[derive(Serialize)]
struct CityRecord<'a> {
    city: Named<'a>,
    continent: Continent<'a>,
    country: Coded<'a>,
    location: Location<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subdivisions: Option<[Coded<'a>; 1]>,
    traits: Traits,
}

#[derive(Serialize)]
struct Named<'a> {
    names: Names<'a>,
}

#[derive(Serialize)]
struct Continent<'a> {
    code: &'a str,
    names: Names<'a>,
}

#[derive(Serialize)]
struct Coded<'a> {
    iso_code: &'a str,
    names: Names<'a>,
}

#[derive(Serialize)]
struct Location<'a> {
    accuracy_radius: u16,
    latitude: f64,
    longitude: f64,
    time_zone: &'a str,
}

#[derive(Serialize)]
struct Traits {
    user_type: &'static str,
}

#[derive(Serialize)]
struct AsnRecord<'a> {
    autonomous_system_number: u32,
    autonomous_system_organization: &'a str,
}

/// MaxMind's Anonymous-IP record: a flag that is not set is left out, never written as false.
#[derive(Serialize)]
struct AnonymousRecord {
    is_anonymous: bool,
    #[serde(skip_serializing_if = "is_false")]
    is_anonymous_vpn: bool,
    #[serde(skip_serializing_if = "is_false")]
    is_hosting_provider: bool,
    #[serde(skip_serializing_if = "is_false")]
    is_public_proxy: bool,
    #[serde(skip_serializing_if = "is_false")]
    is_tor_exit_node: bool,
}

/// DB-IP Lite's flat City record: 32-bit coordinates, no accuracy radius, empty text for unknown.
#[derive(Serialize)]
struct FlatRecord<'a> {
    city: &'a str,
    country_code: &'a str,
    latitude: f32,
    longitude: f32,
    postcode: &'static str,
    state1: &'a str,
    state2: &'static str,
    timezone: &'a str,
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// The `user_type` that MaxMind uses for a kind of network.
fn user_type(kind: &str) -> Result<&'static str, String> {
    match kind {
        "mobile" => Ok("cellular"),
        "residential" => Ok("residential"),
        "office" => Ok("business"),
        "hosting" | "vpn" | "tor" => Ok("hosting"),
        "relay" => Ok("consumer_privacy_network"),
        _ => Err(format!("networks.json: no such kind of network: {kind}")),
    }
}

/// What Anonymous-IP says of a kind of network; nothing of mobile, residential and office ones.
fn anonymous(kind: &str) -> Option<AnonymousRecord> {
    let of = |vpn, hosting, proxy, tor| AnonymousRecord {
        is_anonymous: true,
        is_anonymous_vpn: vpn,
        is_hosting_provider: hosting,
        is_public_proxy: proxy,
        is_tor_exit_node: tor,
    };
    match kind {
        "hosting" => Some(of(false, true, false, false)),
        "vpn" => Some(of(true, true, false, false)),
        "relay" => Some(of(false, false, true, false)),
        "tor" => Some(of(false, false, false, true)),
        _ => None,
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/geoip");
    let folder = std::env::args_os().nth(1).map_or(shipped, PathBuf::from);
    let source: Source = serde_json::from_slice(&fs::read(folder.join("networks.json"))?)?;
    let networks = &source.networks;
    write(
        &folder.join("demo-city.mmdb"),
        "GeoIP2-City",
        IpVersion::V6,
        networks,
        |network| city_record(&source, network).map(Some),
    )?;
    write(
        &folder.join("demo-asn.mmdb"),
        "GeoLite2-ASN",
        IpVersion::V6,
        networks,
        |network| asn_record(&source, network).map(Some),
    )?;
    write(
        &folder.join("demo-anonymous.mmdb"),
        "GeoIP2-Anonymous-IP",
        IpVersion::V6,
        networks,
        |network| Ok(anonymous(&network.kind)),
    )?;
    for (file, database_type, version) in [
        ("demo-city-ipv4-flat.mmdb", "city ipv4", IpVersion::V4),
        ("demo-city-ipv6-flat.mmdb", "city ipv6", IpVersion::V6),
    ] {
        let of_version =
            |network: &Network| network.network.contains(':') == matches!(version, IpVersion::V6);
        write(
            &folder.join(file),
            database_type,
            version,
            networks.iter().filter(|network| of_version(network)),
            |network| flat_record(&source, network).map(Some),
        )?;
    }
    Ok(())
}

/// Writes one database with a record for each network that has one.
fn write<'a, R: Serialize>(
    path: &Path,
    database_type: &str,
    version: IpVersion,
    networks: impl IntoIterator<Item = &'a Network>,
    record_of: impl Fn(&'a Network) -> Result<Option<R>, String>,
) -> Result<(), Box<dyn Error>> {
    let mut database = Database::default();
    database.metadata.ip_version = version;
    database.metadata.database_type = database_type.to_owned();
    database.metadata.languages = vec!["en".to_owned()];
    database.metadata.binary_format_major_version = 2;
    database.metadata.build_epoch = BUILD_EPOCH_S;
    // One language only: the writer keeps these in a hash map, whose order would differ by the run.
    database.metadata.description = HashMap::from([(
        "en".to_owned(),
        "Keyhawk's demo networks: documentation and benchmark addresses only".to_owned(),
    )]);

    let mut written = HashMap::new();
    for network in networks {
        let Some(record) = record_of(network)? else {
            continue;
        };
        let text = serde_json::to_string(&record)?;
        let place = match written.get(&text) {
            Some(place) => *place,
            None => {
                let place = database.insert_value(&record)?;
                written.insert(text, place);
                place
            }
        };
        database.insert_node(path_of(&network.network, version)?, place);
    }
    database.write_to(BufWriter::new(fs::File::create(path)?))?;
    Ok(())
}

/// Where a network stands in the tree: an IPv4 one of an IPv6 database stands below `::/96`.
fn path_of(network: &str, version: IpVersion) -> Result<IpAddrWithMask, Box<dyn Error>> {
    let (address, length) = network
        .split_once('/')
        .ok_or_else(|| format!("networks.json: {network} has no prefix length"))?;
    let length: u8 = length.parse()?;
    Ok(match (address.parse()?, version) {
        (IpAddr::V4(address), IpVersion::V6) => IpAddrWithMask::new(
            IpAddr::V6(Ipv6Addr::from(u128::from(u32::from(address)))),
            length + 96,
        ),
        (address, _) => IpAddrWithMask::new(address, length),
    })
}

fn city_record<'a>(source: &'a Source, network: &Network) -> Result<CityRecord<'a>, String> {
    let city = city_of(source, network)?;
    let country = source
        .countries
        .iter()
        .find(|country| country.code == city.country)
        .ok_or_else(|| format!("networks.json: no country {}", city.country))?;
    let continent = source
        .continents
        .get(&country.continent)
        .ok_or_else(|| format!("networks.json: no continent {}", country.continent))?;
    let accuracy_radius = *source
        .accuracy_radius_km
        .get(&network.kind)
        .ok_or_else(|| format!("networks.json: no radius for {}", network.kind))?;
    let subdivision = city
        .subdivision
        .as_deref()
        .zip(city.subdivision_name.as_deref());
    Ok(CityRecord {
        city: Named {
            names: Names { en: &city.name },
        },
        continent: Continent {
            code: &country.continent,
            names: Names { en: continent },
        },
        country: Coded {
            iso_code: &country.code,
            names: Names { en: &country.name },
        },
        location: Location {
            accuracy_radius,
            latitude: city.latitude,
            longitude: city.longitude,
            time_zone: &city.time_zone,
        },
        subdivisions: subdivision.map(|(iso_code, name)| {
            [Coded {
                iso_code,
                names: Names { en: name },
            }]
        }),
        traits: Traits {
            user_type: user_type(&network.kind)?,
        },
    })
}

fn asn_record<'a>(source: &'a Source, network: &Network) -> Result<AsnRecord<'a>, String> {
    let organisation = source
        .organisations
        .iter()
        .find(|organisation| organisation.asn == network.asn)
        .ok_or_else(|| {
            format!(
                "networks.json: no organisation has AS number {}",
                network.asn
            )
        })?;
    Ok(AsnRecord {
        autonomous_system_number: organisation.asn,
        autonomous_system_organization: &organisation.name,
    })
}

fn flat_record<'a>(source: &'a Source, network: &Network) -> Result<FlatRecord<'a>, String> {
    let city = city_of(source, network)?;
    Ok(FlatRecord {
        city: &city.name,
        country_code: &city.country,
        latitude: city.latitude as f32,
        longitude: city.longitude as f32,
        postcode: "",
        state1: city.subdivision_name.as_deref().unwrap_or(""),
        state2: "",
        timezone: &city.time_zone,
    })
}

fn city_of<'a>(source: &'a Source, network: &Network) -> Result<&'a City, String> {
    source
        .cities
        .iter()
        .find(|city| city.name == network.city)
        .ok_or_else(|| format!("networks.json: no city {}", network.city))
}
