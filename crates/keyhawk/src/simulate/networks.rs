//! The networks that simulated calls come from: those of `testdata/geoip/networks.json`.
//!
//! The demo's GeoIP databases are made from the same file, so every simulated address is known to
//! them, with the place, the AS and the kind of network that the simulation means.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Deserialize;

/// The source of the networks, part of the binary.
const SOURCE: &str = include_str!("../../../../testdata/geoip/networks.json");

/// The mean radius of the earth.
const EARTH_RADIUS_KM: f64 = 6371.0;

/// The customers of an IPv6 network that the simulation tells apart.
const IPV6_CUSTOMERS: u64 = 0x4000;

/// What a network is used for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NetworkKind {
    /// A carrier's gateways: the place is the gateway's, the phone may be 100 km off.
    Mobile,
    /// Lines of homes.
    Residential,
    /// One firm's address range.
    Office,
    /// Servers for rent.
    Hosting,
    /// Exits of a VPN.
    Vpn,
    /// Exits of Tor.
    Tor,
    /// A privacy relay of a device's maker.
    Relay,
}

/// A city with its true coordinates, in degrees.
#[derive(Debug, Deserialize)]
pub(crate) struct City {
    pub(crate) name: String,
    pub(super) country: String,
    latitude: f64,
    longitude: f64,
}

impl City {
    /// How far the local day is ahead of UTC: by the sun, to the hour, which is what people's habits
    /// follow closely enough here.
    pub(super) fn ahead_of_utc_ms(&self) -> i64 {
        (self.longitude / 15.0).round() as i64 * 3_600_000
    }

    /// The great circle's length to another city, by the haversine formula.
    pub(super) fn distance_km(&self, other: &City) -> f64 {
        let (from, to) = (self.latitude.to_radians(), other.latitude.to_radians());
        let north = libm::sin((to - from) / 2.0);
        let east = libm::sin((other.longitude - self.longitude).to_radians() / 2.0);
        let half_chord = north * north + libm::cos(from) * libm::cos(to) * east * east;
        2.0 * EARTH_RADIUS_KM * libm::asin(libm::sqrt(half_chord.min(1.0)))
    }
}

/// One network: its first address, prefix length, use and place.
#[derive(Debug)]
pub(crate) struct Network {
    first: IpAddr,
    prefix: u32,
    pub(super) kind: NetworkKind,
    pub(super) asn: u32,
    /// Index into [`Networks::cities`].
    pub(super) city: usize,
}

impl Network {
    /// Whether an address belongs to this network.
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (u32::from(first) ^ u32::from(address)) >> (32 - self.prefix) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (u128::from(first) ^ u128::from(address)) >> (128 - self.prefix) == 0
            }
            _ => false,
        }
    }

    /// How many hosts have addresses of their own: those of [`Network::address`] repeat after them.
    pub(crate) fn hosts(&self) -> u64 {
        match self.first {
            IpAddr::V4(_) => (1_u64 << (32 - self.prefix)) - 2,
            IpAddr::V6(_) => IPV6_CUSTOMERS,
        }
    }

    /// An address of this network, the same for the same `host`; never the network's own or its
    /// broadcast address.
    pub(crate) fn address(&self, host: u64) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => {
                let host = host % self.hosts();
                IpAddr::V4(Ipv4Addr::from(u32::from(first) + 1 + host as u32))
            }
            IpAddr::V6(first) => {
                // A customer has a /64 of the network; what follows it is the device's.
                let customer = u128::from(host % self.hosts()) << 64;
                let device = host.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                IpAddr::V6(Ipv6Addr::from(
                    u128::from(first) | customer | u128::from(device),
                ))
            }
        }
    }
}

/// All networks and cities.
#[derive(Debug)]
pub(crate) struct Networks {
    pub(crate) cities: Vec<City>,
    networks: Vec<Network>,
}

impl Networks {
    /// Those of the demo. Costs a parse of some 40 kB.
    pub(crate) fn shipped() -> Self {
        #[derive(Deserialize)]
        struct Source {
            cities: Vec<City>,
            networks: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            network: String,
            kind: NetworkKind,
            asn: u32,
            city: String,
        }
        const SOUND: &str = "networks.json is part of the binary and its tests read all of it";
        let source: Source = serde_json::from_str(SOURCE).expect(SOUND);
        let networks = source
            .networks
            .iter()
            .map(|entry| {
                let (first, prefix) = entry.network.split_once('/').expect(SOUND);
                let in_city = |city: &City| city.name == entry.city;
                Network {
                    first: first.parse().expect(SOUND),
                    prefix: prefix.parse().expect(SOUND),
                    kind: entry.kind,
                    asn: entry.asn,
                    city: source.cities.iter().position(in_city).expect(SOUND),
                }
            })
            .collect();
        Self {
            cities: source.cities,
            networks,
        }
    }

    /// The index of the city with this name; the name is one of the file's.
    pub(super) fn city(&self, name: &str) -> usize {
        self.cities
            .iter()
            .position(|city| city.name == name)
            .expect("the simulation names cities of networks.json only; its tests name all of them")
    }

    /// All networks of a kind in a city, in the order of the file.
    pub(crate) fn of(&self, kind: NetworkKind, city: usize) -> Vec<&Network> {
        let wanted = |network: &&Network| network.kind == kind && network.city == city;
        self.networks.iter().filter(wanted).collect()
    }

    /// All networks of a kind, in the order of the file.
    pub(super) fn of_kind(&self, kind: NetworkKind) -> Vec<&Network> {
        self.networks
            .iter()
            .filter(|network| network.kind == kind)
            .collect()
    }

    /// The network that an address belongs to; the address is one that [`Network::address`] gave.
    pub(super) fn holding(&self, address: IpAddr) -> &Network {
        self.networks
            .iter()
            .find(|network| network.holds(address))
            .expect("every simulated address is of a network of networks.json")
    }

    /// The cities of the same country within `reach_km` of a city, itself first, then by distance.
    pub(super) fn around(&self, city: usize, reach_km: f64) -> Vec<usize> {
        let home = &self.cities[city];
        let mut near: Vec<(f64, usize)> = self
            .cities
            .iter()
            .enumerate()
            .filter(|(_, other)| other.country == home.country)
            .map(|(index, other)| (home.distance_km(other), index))
            .filter(|(distance_km, _)| *distance_km <= reach_km)
            .collect();
        near.sort_by(|one, other| one.0.total_cmp(&other.0));
        near.into_iter().map(|(_, index)| index).collect()
    }
}
