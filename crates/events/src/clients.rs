//! A partition's memory of client addresses: most calls come from an address that was seen before.
//!
//! ```text
//!   "203.0.113.9:443"  ──▶  203.0.113.9   203.0.113.0/24   GeoIP record
//! ```
//!
//! By the text as the gateway wrote it, so that for a known one nothing is parsed, written or looked up.
//! The memory is bounded: a forgotten address costs a microsecond to learn again.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrayvec::ArrayString;
use foldhash::fast::RandomState;

use crate::address;
use crate::geoip::{GeoCache, GeoDatabases, GeoRecord};

/// Places for addresses, a power of two: 2.5 MB a partition.
const PLACES: usize = 16_384;
/// A longer text is no address, but for one with a long zone id, which is not worth remembering.
const TEXT_LENGTH_MAX: usize = 48;
/// Of an IPv6 address with all its digits: `2001:0db8:…` has 39 characters.
const IP_LENGTH_MAX: usize = 39;
/// The same with `/64` behind it.
const NET_LENGTH_MAX: usize = IP_LENGTH_MAX + 3;

/// Where a call came from. All in one place, so that a known client is one stretch of memory.
#[derive(Clone, Default)]
pub(crate) struct Client {
    /// As the gateway wrote it.
    text: ArrayString<TEXT_LENGTH_MAX>,
    /// The canonical text.
    pub(crate) ip: ArrayString<IP_LENGTH_MAX>,
    /// Its /24 or /64.
    pub(crate) net: ArrayString<NET_LENGTH_MAX>,
    /// None where no column of it is read.
    pub(crate) geo: Option<Arc<GeoRecord>>,
}

/// What was seen before, and the databases to look up the rest. An address has one place, by the hash
/// of its text, and the last one there is the one remembered.
pub(crate) struct Clients {
    places: Box<[Client]>,
    hasher: RandomState,
    geo: GeoCache,
    reads_geo: bool,
    ip: String,
    net: String,
}

impl Clients {
    /// `reads_geo` says whether a client's GeoIP record is wanted at all.
    pub(crate) fn new(databases: Arc<GeoDatabases>, reads_geo: bool) -> Self {
        Self {
            // One more, for what is not remembered.
            places: vec![Client::default(); PLACES + 1].into(),
            hasher: RandomState::default(),
            geo: GeoCache::new(databases),
            reads_geo,
            ip: String::new(),
            net: String::new(),
        }
    }

    pub(crate) fn databases(&self) -> &GeoDatabases {
        self.geo.databases()
    }

    /// Uses other databases from now on.
    pub(crate) fn set_databases(&mut self, databases: Arc<GeoDatabases>) {
        *self = Self::new(databases, self.reads_geo);
    }

    /// Says whether a client's GeoIP record is wanted from now on.
    pub(crate) fn set_reads_geo(&mut self, databases: Arc<GeoDatabases>, reads_geo: bool) {
        if self.reads_geo != reads_geo {
            *self = Self::new(databases, reads_geo);
        }
    }

    /// The place of the client that `text` names, good until the next call; None for no address.
    #[inline]
    pub(crate) fn find(&mut self, text: &str) -> Option<usize> {
        let place = self.hasher.hash_one(text) as usize % PLACES;
        if !text.is_empty() && self.places[place].text == *text {
            return Some(place);
        }
        self.learn(text, place)
    }

    fn learn(&mut self, text: &str, place: usize) -> Option<usize> {
        let address = address::parse(text)?;
        let (place, text) = match ArrayString::from(text) {
            Ok(text) => (place, text),
            Err(_) => (PLACES, ArrayString::new()),
        };
        address::write(address, &mut self.ip, &mut self.net);
        let fits = "an address has no more than 39 characters";
        self.places[place] = Client {
            text,
            ip: ArrayString::from(&self.ip).expect(fits),
            net: ArrayString::from(&self.net).expect(fits),
            geo: self.reads_geo.then(|| self.geo.lookup(address)),
        };
        Some(place)
    }

    /// The client at a place.
    #[inline]
    pub(crate) fn get(&self, place: usize) -> &Client {
        &self.places[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_same_again_in_every_writing_and_after_others_took_its_place() {
        let mut clients = Clients::new(Arc::new(GeoDatabases::none()), true);
        let long_zone = format!("fe80::1%{}", "z".repeat(100));
        for round in 0..3 {
            for (text, ip, net) in [
                ("203.0.113.9", "203.0.113.9", "203.0.113.0/24"),
                ("203.0.113.9:443", "203.0.113.9", "203.0.113.0/24"),
                ("::ffff:203.0.113.9", "203.0.113.9", "203.0.113.0/24"),
                (&long_zone, "fe80::1", "fe80::/64"),
            ] {
                let number = clients.find(text).unwrap();
                let client = clients.get(number);
                assert_eq!(
                    (&*client.ip, &*client.net),
                    (ip, net),
                    "round {round}: {text}"
                );
                assert!(client.geo.is_some());
            }
            assert_eq!(clients.find("nowhere"), None);
            for number in 0..2 * PLACES {
                let text = format!("10.{}.{}.{round}", number >> 8, number & 255);
                let place = clients.find(&text).unwrap();
                assert_eq!(*clients.get(place).ip, *text);
            }
        }
    }

    #[test]
    fn no_record_is_looked_up_where_none_is_read() {
        let mut clients = Clients::new(Arc::new(GeoDatabases::none()), false);
        let number = clients.find("203.0.113.9").unwrap();
        assert!(clients.get(number).geo.is_none());
    }
}
