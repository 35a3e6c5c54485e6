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
use prefetch_index::prefetch_index;

use crate::address;
use crate::geoip::{GeoCache, GeoDatabases};
use crate::schema::{Geo, Ty};

/// Places for addresses, a power of two: 1 MB a partition.
const PLACES: usize = 16_384;
/// `[2001:0db8:…]:44321` has 47 characters, the address itself 39. With a longer text come a zone id, or
/// an address not written canonically; it is not remembered.
const TEXTS_LENGTH_MAX: usize = 48;

/// How networks end: the /24 of an IPv4 address, the /64 of an IPv6 address.
const NET_ENDS: [&str; 2] = ["0/24", "::/64"];

/// Where a call came from.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    /// The canonical text.
    pub(crate) ip: &'a str,
    /// Its /24 or /64, in two pieces.
    pub(crate) net: [&'a str; 2],
    /// The number of its GeoIP record; 0 where no column of it is read.
    pub(crate) geo: u32,
}

/// A client that is remembered, in one cache line: there are more places than a processor's nearer
/// caches hold, and a call reads one of them.
///
/// ```text
///   [2001:db8::9]:443        as the gateway wrote it
///    └───┬────┘
///        ip, which is mostly part of it and otherwise stands behind it
///    └──┬───┘ + ::/64        the network begins as the address does
/// ```
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Place {
    texts: ArrayString<TEXTS_LENGTH_MAX>,
    text_length: u8,
    ip_begin: u8,
    ip_length: u8,
    net_length: u8,
    /// Which of the ends of networks.
    net_end: u8,
    geo: u32,
}

const _: () = assert!(size_of::<Place>() == 64);

impl Place {
    /// None where it does not fit.
    fn new(text: &str, ip: &str, net: &str, geo: u32) -> Option<Self> {
        let mut texts = ArrayString::from(text).ok()?;
        let ip_begin = match text.find(ip) {
            Some(begin) => begin,
            None => {
                texts.try_push_str(ip).ok()?;
                text.len()
            }
        };
        let mut ends = NET_ENDS.iter().zip(0..);
        let (begin, net_end) = ends.find_map(|(end, number)| {
            let begin = net.strip_suffix(end)?;
            ip.starts_with(begin).then_some((begin, number))
        })?;
        Some(Place {
            texts,
            text_length: text.len() as u8,
            ip_begin: ip_begin as u8,
            ip_length: ip.len() as u8,
            net_length: begin.len() as u8,
            net_end,
            geo,
        })
    }

    #[inline]
    fn text(&self) -> &str {
        &self.texts[..usize::from(self.text_length)]
    }

    #[inline]
    fn client(&self) -> Client<'_> {
        let ip = &self.texts[usize::from(self.ip_begin)..][..usize::from(self.ip_length)];
        Client {
            ip,
            net: [
                &ip[..usize::from(self.net_length)],
                NET_ENDS[usize::from(self.net_end)],
            ],
            geo: self.geo,
        }
    }
}

/// Where a text is sought among the places.
#[derive(Clone, Copy)]
pub(crate) struct Sought(usize);

/// What was seen before, and the databases to look up the rest. An address has one place, by the hash
/// of its text, and the last one there is the one remembered.
pub(crate) struct Clients {
    places: Box<[Place]>,
    hasher: RandomState,
    geo: GeoCache,
    /// The columns of GeoIP records that are read.
    columns: Vec<(Geo, Ty)>,
    /// What was last learned, for a client that fits into no place.
    ip: String,
    net: String,
    number: u32,
}

impl Clients {
    /// Clients with these columns of their GeoIP records; without one, no record is looked up.
    pub(crate) fn new(databases: Arc<GeoDatabases>, geo: &[(Geo, Ty)]) -> Self {
        Self {
            places: vec![Place::default(); PLACES].into(),
            hasher: RandomState::default(),
            geo: GeoCache::new(databases, geo),
            columns: geo.to_vec(),
            ip: String::new(),
            net: String::new(),
            number: 0,
        }
    }

    pub(crate) fn databases(&self) -> &GeoDatabases {
        self.geo.databases()
    }

    /// Uses other databases from now on. The numbers of records that rows have hold.
    pub(crate) fn set_databases(&mut self, databases: Arc<GeoDatabases>) {
        self.geo.set_databases(databases);
        self.places.fill(Place::default());
    }

    /// A column of the GeoIP records with these numbers.
    pub(crate) fn gather(&mut self, field: Geo, numbers: &UInt32Array) -> ArrayRef {
        self.geo.gather(field, numbers)
    }

    /// To be called when no row that is not in a batch yet has a number of a record.
    pub(crate) fn batch_is_finished(&mut self) {
        if self.geo.is_full() {
            self.geo.clear();
            self.places.fill(Place::default());
        }
    }

    /// Reads other columns of GeoIP records from now on; only when no row that is not in a batch yet
    /// has a number of one.
    pub(crate) fn set_columns(&mut self, geo: &[(Geo, Ty)]) {
        if self.columns != geo {
            *self = Self::new(Arc::new(self.databases().clone()), geo);
        }
    }

    /// The place where `text` is sought, which is brought nearer: it is mostly in no near cache, and other
    /// work can be done until it is there.
    #[inline]
    pub(crate) fn seek(&self, text: &str) -> Sought {
        let place = self.hasher.hash_one(text) as usize % PLACES;
        prefetch_index(&self.places, place);
        Sought(place)
    }

    /// The place of the client that `text` names, good until the next call; None for no address.
    #[inline]
    pub(crate) fn find(&mut self, text: &str, sought: Sought) -> Option<usize> {
        let Sought(place) = sought;
        if !text.is_empty() && self.places[place].text() == text {
            return Some(place);
        }
        self.learn(text, place)
    }

    fn learn(&mut self, text: &str, place: usize) -> Option<usize> {
        let address = address::parse(text)?;
        address::write(address, &mut self.ip, &mut self.net);
        self.number = match self.columns.is_empty() {
            true => 0,
            false => self.geo.lookup(address),
        };
        let Some(known) = Place::new(text, &self.ip, &self.net, self.number) else {
            return Some(PLACES);
        };
        self.places[place] = known;
        Some(place)
    }

    /// The client at a place.
    #[inline]
    pub(crate) fn get(&self, place: usize) -> Client<'_> {
        match self.places.get(place) {
            Some(known) => known.client(),
            None => Client {
                ip: &self.ip,
                net: [&self.net, ""],
                geo: self.number,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    const KIND: [(Geo, Ty); 1] = [(Geo::IpKind, Ty::Text)];

    fn found(clients: &mut Clients, text: &str) -> Option<usize> {
        let sought = clients.seek(text);
        clients.find(text, sought)
    }

    #[test]
    fn an_address_is_the_same_again_in_every_writing_and_after_others_took_its_place() {
        let mut clients = Clients::new(Arc::new(GeoDatabases::none()), &KIND);
        let long_zone = format!("fe80::1%{}", "z".repeat(100));
        let longest = "[2001:1db8:1111:2222:3333:4444:5555:6666]:65535".to_owned();
        for round in 0..3 {
            for (text, ip, net) in [
                ("203.0.113.9", "203.0.113.9", "203.0.113.0/24"),
                ("203.0.113.9:443", "203.0.113.9", "203.0.113.0/24"),
                (
                    "2001:db8:1:2:3:4:5:6",
                    "2001:db8:1:2:3:4:5:6",
                    "2001:db8:1:2::/64",
                ),
                ("[2001:db8::9]:65535", "2001:db8::9", "2001:db8::/64"),
                ("2001:0DB8::0009", "2001:db8::9", "2001:db8::/64"),
                (&longest, &longest[1..40], "2001:1db8:1111:2222::/64"),
                // Neither begins the network as the address does.
                (
                    "2001:0db8:0000:0000:0000:0000:0000:0009",
                    "2001:db8::9",
                    "2001:db8::/64",
                ),
                ("fe80::1:2:3:4:5", "fe80::1:2:3:4:5", "fe80:0:0:1::/64"),
                ("::1", "::1", "::/64"),
                ("::ffff:203.0.113.9", "203.0.113.9", "203.0.113.0/24"),
                (&long_zone, "fe80::1", "fe80::/64"),
            ] {
                let number = found(&mut clients, text).unwrap();
                let client = clients.get(number);
                assert_eq!(
                    (client.ip, &*client.net.concat()),
                    (ip, net),
                    "round {round}: {text}"
                );
            }
            assert_eq!(found(&mut clients, "nowhere"), None);
            for number in 0..2 * PLACES {
                let text = format!("10.{}.{}.{round}", number >> 8, number & 255);
                let place = found(&mut clients, &text).unwrap();
                assert_eq!(clients.get(place).ip, text);
            }
        }
    }

    #[test]
    fn no_record_is_looked_up_where_none_is_read() {
        let mut clients = Clients::new(Arc::new(GeoDatabases::none()), &[]);
        for text in ["203.0.113.9", "203.0.114.9"] {
            let place = found(&mut clients, text).unwrap();
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
                let place = found(&mut clients, &text).unwrap();
                numbers.push(clients.get(place).geo);
            }
            if batch == 1 {
                // Those looked up before the databases changed are not lost.
                clients.set_databases(Arc::new(GeoDatabases::none()));
            }
            for number in 10_000..20_000 {
                let place = found(&mut clients, &format!("10.0.{}.{batch}", number & 255)).unwrap();
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
