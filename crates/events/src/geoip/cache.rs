//! A partition's cache of GeoIP records, by network.
//!
//! Clients of one network have one record in nearly all cases, so the key is the /24 or /64 of the
//! address. Where a database splits such a network, its entry says so and the whole address is the
//! key. The cache is bounded and starts anew when it is full; a record costs under a microsecond to
//! find again.

use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{GeoDatabases, GeoRecord};

/// Entries at most: about 4 MB a partition.
const ENTRIES_MAX: usize = 16_384;

/// What was looked up before, and the databases to look up the rest.
pub(crate) struct GeoCache {
    databases: Arc<GeoDatabases>,
    networks: HashMap<Key, Entry, RandomState>,
}

#[derive(PartialEq, Eq, Hash, Clone, Copy)]
enum Key {
    Net4(u32),
    Net6(u64),
    Whole(IpAddr),
}

enum Entry {
    Record(Arc<GeoRecord>),
    /// The network's addresses differ.
    Split,
}

impl GeoCache {
    pub(crate) fn new(databases: Arc<GeoDatabases>) -> Self {
        Self {
            databases,
            networks: HashMap::default(),
        }
    }

    pub(crate) fn databases(&self) -> &GeoDatabases {
        &self.databases
    }

    pub(crate) fn lookup(&mut self, ip: IpAddr) -> Arc<GeoRecord> {
        let network = match ip {
            IpAddr::V4(v4) => Key::Net4(u32::from(v4) >> 8),
            IpAddr::V6(v6) => Key::Net6((u128::from(v6) >> 64) as u64),
        };
        for key in [network, Key::Whole(ip)] {
            match self.networks.get(&key) {
                Some(Entry::Record(record)) => return Arc::clone(record),
                Some(Entry::Split) => {}
                None => break,
            }
        }
        let (record, bits) = self.databases.lookup_network(ip);
        let record = Arc::new(record);
        if self.networks.len() + 2 > ENTRIES_MAX {
            self.networks.clear();
        }
        // A network is private or not as a whole, but for ::/64, which holds ::1 and much else.
        let whole = match ip {
            IpAddr::V4(_) => bits <= 24,
            IpAddr::V6(v6) => bits <= 64 && u128::from(v6) >> 64 != 0,
        };
        if whole {
            self.networks
                .insert(network, Entry::Record(Arc::clone(&record)));
        } else {
            self.networks.insert(network, Entry::Split);
            self.networks
                .insert(Key::Whole(ip), Entry::Record(Arc::clone(&record)));
        }
        record
    }
}
