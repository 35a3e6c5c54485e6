//! The records of the databases, the few fields of them that are used, in the two schemas.
//!
//! ```text
//!   MaxMind (nested)                            DB-IP Lite as mmdb (flat)
//!   country.iso_code            "GB"            country_code     "GB"
//!   subdivisions[0].iso_code    "ENG"           state1           "England"
//!   city.names.en               "London"        city             "London"
//!   location.latitude           51.5142         latitude         51.5142 (a 32-bit float)
//!   location.accuracy_radius    10              —
//! ```
//!
//! Which is which is read from `database_type`: the flat files call themselves `city ipv4` and
//! `city ipv6` (a first word `city`, `country` or `dbip-city`); every other type is nested. DB-IP's own
//! `DBIP-City-Lite.mmdb` is nested, as MaxMind's.

use std::sync::Arc;

use maxminddb::{LookupResult, MaxMindDbError};
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};

use super::radius;

/// How a database of places lays out its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Nested,
    Flat,
}

impl Layout {
    pub(super) fn of(database_type: &str) -> Self {
        let first = database_type.split_whitespace().next().unwrap_or("");
        let flat = ["city", "country", "dbip-city"];
        if flat.contains(&first) {
            Self::Flat
        } else {
            Self::Nested
        }
    }
}

/// Where an address is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Place {
    pub(super) country: Option<Arc<str>>,
    pub(super) subdivision: Option<Arc<str>>,
    pub(super) city: Option<Arc<str>>,
    /// Latitude, longitude, accuracy radius in km.
    pub(super) position: Option<(f64, f64, f64)>,
}

pub(super) type Found<'a> = LookupResult<'a, Vec<u8>>;
type Decoded<T> = Result<Option<T>, MaxMindDbError>;

pub(super) fn place(found: &Found<'_>, layout: Layout) -> Decoded<Place> {
    Ok(match layout {
        Layout::Nested => found.decode::<Nested<'_>>()?.map(Nested::place),
        Layout::Flat => found.decode::<Flat<'_>>()?.map(Flat::place),
    })
}

#[derive(serde::Deserialize)]
struct Nested<'a> {
    #[serde(borrow, default)]
    country: Option<Coded<'a>>,
    #[serde(borrow, default)]
    subdivisions: Option<Vec<Coded<'a>>>,
    #[serde(borrow, default)]
    city: Option<Named<'a>>,
    #[serde(default)]
    location: Option<Location>,
}

#[derive(serde::Deserialize)]
struct Coded<'a> {
    iso_code: Option<&'a str>,
    #[serde(borrow, default)]
    names: Option<Names<'a>>,
}

#[derive(serde::Deserialize)]
struct Named<'a> {
    #[serde(borrow, default)]
    names: Option<Names<'a>>,
}

#[derive(serde::Deserialize)]
struct Names<'a> {
    en: Option<&'a str>,
}

#[derive(serde::Deserialize)]
struct Location {
    latitude: Option<Degrees>,
    longitude: Option<Degrees>,
    accuracy_radius: Option<u16>,
}

impl Nested<'_> {
    fn place(self) -> Place {
        let english = |names: Option<Names<'_>>| names.and_then(|names| text(names.en));
        let country = self.country.and_then(|country| text(country.iso_code));
        let subdivision = self.subdivisions.and_then(|list| list.into_iter().next());
        let subdivision = subdivision.and_then(|s| text(s.iso_code).or(english(s.names)));
        let city = self.city.and_then(|city| english(city.names));
        let location = self.location;
        let degrees = location.as_ref().map(|l| (l.latitude, l.longitude));
        let radius_km = location.and_then(|l| l.accuracy_radius);
        Place::new(country, subdivision, city, degrees, radius_km)
    }
}

#[derive(serde::Deserialize)]
struct Flat<'a> {
    country_code: Option<&'a str>,
    state1: Option<&'a str>,
    city: Option<&'a str>,
    latitude: Option<Degrees>,
    longitude: Option<Degrees>,
}

impl Flat<'_> {
    fn place(self) -> Place {
        let degrees = Some((self.latitude, self.longitude));
        Place::new(
            text(self.country_code),
            text(self.state1),
            text(self.city),
            degrees,
            None,
        )
    }
}

impl Place {
    fn new(
        country: Option<Arc<str>>,
        subdivision: Option<Arc<str>>,
        city: Option<Arc<str>>,
        degrees: Option<(Option<Degrees>, Option<Degrees>)>,
        radius_km: Option<u16>,
    ) -> Self {
        let position = match degrees {
            Some((Some(Degrees(latitude)), Some(Degrees(longitude))))
                // (0, 0) is what databases write for an unknown place, not a spot in the Atlantic.
                if latitude.abs() <= 90.0
                    && longitude.abs() <= 180.0
                    && (latitude, longitude) != (0.0, 0.0) =>
            {
                let default = || {
                    radius::default_km(city.is_some(), subdivision.is_some(), country.as_deref())
                };
                Some((latitude, longitude, radius_km.map_or_else(default, f64::from)))
            }
            _ => None,
        };
        Self {
            country,
            subdivision,
            city,
            position,
        }
    }
}

fn text(text: Option<&str>) -> Option<Arc<str>> {
    text.filter(|text| !text.is_empty()).map(Arc::from)
}

/// Degrees of latitude or longitude. A 32-bit float has seven digits, so its digits past the fifth
/// behind the point (a metre) say nothing and are rounded away.
#[derive(Debug, Clone, Copy)]
struct Degrees(f64);

impl<'de> Deserialize<'de> for Degrees {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyFloat;
        impl Visitor<'_> for AnyFloat {
            type Value = Degrees;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("degrees as a float")
            }

            fn visit_f32<E: serde::de::Error>(self, value: f32) -> Result<Degrees, E> {
                self.visit_f64((f64::from(value) * 1e5).round() / 1e5)
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Degrees, E> {
                if value.is_finite() {
                    Ok(Degrees(value))
                } else {
                    Err(E::custom("not finite"))
                }
            }
        }
        deserializer
            .deserialize_any(AnyFloat)
            .map_err(D::Error::custom)
    }
}

/// The network's operator.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Network {
    pub(super) asn: Option<i64>,
    pub(super) organization: Option<Arc<str>>,
}

pub(super) fn network(found: &Found<'_>) -> Decoded<Network> {
    #[derive(serde::Deserialize)]
    struct Record<'a> {
        autonomous_system_number: Option<u32>,
        autonomous_system_organization: Option<&'a str>,
    }
    let record = found.decode::<Record<'_>>()?;
    Ok(record.map(|record| Network {
        asn: record.autonomous_system_number.map(i64::from),
        organization: text(record.autonomous_system_organization),
    }))
}

/// What kind of address it is; all false where the database says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
pub(super) struct Anonymity {
    pub(super) is_anonymous: bool,
    pub(super) is_anonymous_vpn: bool,
    pub(super) is_hosting_provider: bool,
    pub(super) is_public_proxy: bool,
    pub(super) is_residential_proxy: bool,
    pub(super) is_tor_exit_node: bool,
}

pub(super) fn anonymity(found: &Found<'_>) -> Decoded<Anonymity> {
    found.decode()
}
