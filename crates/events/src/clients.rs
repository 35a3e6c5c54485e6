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
use arrow::array::{ArrayRef, UInt32Array};
use foldhash::fast::RandomState;

use crate::address;
use crate::geoip::{GeoCache, GeoDatabases};
use crate::schema::{Geo, Ty};

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
    /// The number of its GeoIP record; 0 where no column of it is read.
    pub(crate) geo: u32,
}

/// What was seen before, and the databases to look up the rest. An address has one place, by the hash
/// of its text, and the last one there is the one remembered.
pub(crate) struct Clients {
    places: Box<[Client]>,
    hasher: RandomState,
    geo: GeoCache,
    /// The columns of GeoIP records that are read.
    columns: Vec<(Geo, Ty)>,
    ip: String,
    net: String,
}

impl Clients {
    /// Clients with these columns of their GeoIP records; without one, no record is looked up.
    pub(crate) fn new(databases: Arc<GeoDatabases>, geo: &[(Geo, Ty)]) -> Self {
        Self {
            // One more, for what is not remembered.
            places: vec![Client::default(); PLACES + 1].into(),
            hasher: RandomState::default(),
            geo: GeoCache::new(databases, geo),
            columns: geo.to_vec(),
            ip: String::new(),
            net: String::new(),
        }
    }

    pub(crate) fn databases(&self) -> &GeoDatabases {
        self.geo.databases()
    }

    /// Uses other databases from now on. The numbers of records that rows have hold.
    pub(crate) fn set_databases(&mut self, databases: Arc<GeoDatabases>) {
        self.geo.set_databases(databases);
        self.places.fill(Client::default());
    }

    /// A column of the GeoIP records with these numbers.
    pub(crate) fn gather(&mut self, field: Geo, numbers: &UInt32Array) -> ArrayRef {
        self.geo.gather(field, numbers)
    }

    /// To be called when no row that is not in a batch yet has a number of a record.
    pub(crate) fn batch_is_finished(&mut self) {
        if self.geo.is_full() {
            self.geo.clear();
            self.places.fill(Client::default());
        }
    }

    /// Reads other columns of GeoIP records from now on; only when no row that is not in a batch yet
    /// has a number of one.
    pub(crate) fn set_columns(&mut self, geo: &[(Geo, Ty)]) {
        if self.columns != geo {
            *self = Self::new(Arc::new(self.databases().clone()), geo);
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
            geo: match self.columns.is_empty() {
                true => 0,
                false => self.geo.lookup(address),
            },
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
    use arrow::array::AsArray;

    use super::*;

    const KIND: [(Geo, Ty); 1] = [(Geo::IpKind, Ty::Text)];

    #[test]
    fn an_address_is_the_same_again_in_every_writing_and_after_others_took_its_place() {
        let mut clients = Clients::new(Arc::new(GeoDatabases::none()), &KIND);
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
        let mut clients = Clients::new(Arc::new(GeoDatabases::none()), &[]);
        for text in ["203.0.113.9", "203.0.114.9"] {
            let place = clients.find(text).unwrap();
            assert_eq!(clients.get(place).geo, 0);
        }
    }

    #[test]
    fn records_begin_anew_between_batches_and_are_right_in_each() {
        let mut clients = Clients::new(Arc::new(GeoDatabases::none()), &KIND);
        let mut greatest = 0;
        for batch in 0..3 {
            let mut numbers = Vec::new();
            // A network each, every other one private; more in a batch than are kept.
            for number in 0..10_000 {
                let first = ["10", "11"][number % 2];
                let text = format!("{first}.{}.{}.{batch}", number >> 8, number & 255);
                let place = clients.find(&text).unwrap();
                numbers.push(clients.get(place).geo);
            }
            if batch == 1 {
                // Those looked up before the databases changed are not lost.
                clients.set_databases(Arc::new(GeoDatabases::none()));
            }
            for number in 10_000..20_000 {
                let place = clients
                    .find(&format!("10.0.{}.{batch}", number & 255))
                    .unwrap();
                numbers.push(clients.get(place).geo);
            }
            greatest = greatest.max(*numbers.iter().max().unwrap());
            let kinds = clients.gather(Geo::IpKind, &UInt32Array::from(numbers));
            for (row, kind) in kinds.as_string_view().iter().enumerate() {
                let expected = match row < 10_000 && row % 2 == 1 {
                    true => "unknown",
                    false => "private",
                };
                assert_eq!(kind, Some(expected), "batch {batch}, row {row}");
            }
            clients.batch_is_finished();
        }
        assert!(
            greatest < 25_000,
            "records were never forgotten: {greatest}"
        );
    }
}
