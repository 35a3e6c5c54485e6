//! A partition's cache of GeoIP records, by network.
//!
//! Clients of one network have one record in nearly all cases, so the key is the /24 or /64 of the
//! address. Where a database splits such a network, its entry says so and the whole address is the
//! key. The cache is bounded and starts anew when it is full; a record costs under a microsecond to
//! find again.

use std::net::IpAddr;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::GeoDatabases;
use super::table::GeoTable;
use crate::schema::{Geo, Ty};

/// Records at most once a batch is finished: about 4 MB a partition where all columns are read.
const RECORDS_MAX: usize = 16_384;

/// What was looked up before, and the databases to look up the rest.
pub(crate) struct GeoCache {
    databases: Arc<GeoDatabases>,
    networks: HashMap<Key, Entry, RandomState>,
    records: GeoTable,
}

#[derive(PartialEq, Eq, Hash, Clone, Copy)]
enum Key {
    Net4(u32),
    Net6(u64),
    Whole(IpAddr),
}

#[derive(Clone, Copy)]
enum Entry {
    /// The number of its record.
    Record(u32),
    /// The network's addresses differ.
    Split,
}

impl GeoCache {
    /// An empty cache for these columns of the records.
    pub(crate) fn new(databases: Arc<GeoDatabases>, fields: &[(Geo, Ty)]) -> Self {
        Self {
            databases,
            networks: HashMap::default(),
            records: GeoTable::new(fields),
        }
    }

    pub(crate) fn databases(&self) -> &GeoDatabases {
        &self.databases
    }

    /// Uses other databases from the next lookup on. Numbers given before hold.
    pub(crate) fn set_databases(&mut self, databases: Arc<GeoDatabases>) {
        self.databases = databases;
        self.networks.clear();
    }

    /// The number of the record for an address.
    pub(crate) fn lookup(&mut self, ip: IpAddr) -> u32 {
        let network = match ip {
            IpAddr::V4(v4) => Key::Net4(u32::from(v4) >> 8),
            IpAddr::V6(v6) => Key::Net6((u128::from(v6) >> 64) as u64),
        };
        for key in [network, Key::Whole(ip)] {
            match self.networks.get(&key) {
                Some(Entry::Record(number)) => return *number,
                Some(Entry::Split) => {}
                None => break,
            }
        }
        let (record, bits) = self.databases.lookup_network(ip);
        let number = self.records.push(&record);
        // A network is private or not as a whole, but for ::/64, which holds ::1 and much else.
        let whole = match ip {
            IpAddr::V4(_) => bits <= 24,
            IpAddr::V6(v6) => bits <= 64 && u128::from(v6) >> 64 != 0,
        };
        if whole {
            self.networks.insert(network, Entry::Record(number));
        } else {
            self.networks.insert(network, Entry::Split);
            self.networks.insert(Key::Whole(ip), Entry::Record(number));
        }
        number
    }

    /// A column of the records with these numbers.
    pub(crate) fn gather(&mut self, field: Geo, numbers: &UInt32Array) -> ArrayRef {
        self.records.gather(field, numbers)
    }

    /// Whether it is full, and must be emptied once no open batch has a number of it.
    pub(crate) fn is_full(&self) -> bool {
        self.records.len() > RECORDS_MAX
    }

    /// Forgets everything but the databases.
    pub(crate) fn clear(&mut self) {
        self.networks.clear();
        self.records.clear();
    }
}
