//! GeoIP: where an address is, whose network it is in, and whether it hides someone.
//!
//! ```text
//!   City (one file, or one for IPv4 and one for IPv6) ─▶ country … accuracy_radius_km
//!   ASN                                               ─▶ asn, as_org
//!   Anonymous-IP                                      ─▶ ip_kind, is_anonymous, is_hosting
//! ```
//!
//! Each is optional. A file is read whole into memory once, not mapped: a mapped file that is cut
//! short while it is read ends the process, and no database may do that. Opening verifies the whole
//! file (structure of the tree, every record), so that damage is found before the database is used and
//! not at some address of tomorrow.
//!
//! `ip_kind`, the first that holds: `private` (an address of no public network), `tor`, `vpn`, `relay`
//! (a public or residential proxy: the client is somewhere else), `hosting`, `unknown`.

mod cache;
mod radius;
mod records;
mod table;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use hashbrown::HashSet;
use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use sha2::{Digest, Sha256};

pub(crate) use cache::GeoCache;
use records::{Anonymity, Found, Layout, Network, Place};

use crate::fingerprint::hex;
use crate::{Error, Result, address};

/// The database files; each list may be empty. Of several files of one kind the first that knows an
/// address answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GeoConfig {
    /// Places: MaxMind's City, Country or Enterprise, or DB-IP Lite, the latter often as two files.
    pub city: Vec<PathBuf>,
    /// Autonomous systems.
    pub asn: Vec<PathBuf>,
    /// MaxMind's Anonymous-IP.
    pub anonymous: Vec<PathBuf>,
}

/// What the databases say of an address.
#[derive(Debug, Clone, PartialEq)]
pub struct GeoRecord {
    /// ISO 3166-1 alpha-2 code.
    pub country: Option<Arc<str>>,
    /// MaxMind: the ISO 3166-2 code's second part; DB-IP: the name.
    pub subdivision: Option<Arc<str>>,
    /// The English name.
    pub city: Option<Arc<str>>,
    /// Degrees; null where the database has (0, 0).
    pub latitude: Option<f64>,
    /// Degrees.
    pub longitude: Option<f64>,
    /// The place is within this many kilometres; null where there is no position.
    pub accuracy_radius_km: Option<f64>,
    /// Number of the autonomous system.
    pub asn: Option<i64>,
    /// Organisation behind it.
    pub as_org: Option<Arc<str>>,
    /// See the order in this module's documentation.
    pub ip_kind: &'static str,
    /// The Anonymous-IP database says so.
    pub is_anonymous: bool,
    /// The address belongs to a hosting provider.
    pub is_hosting: bool,
}

/// What became of a database file that had changed.
#[derive(Debug)]
pub enum ReloadOutcome {
    /// The new file is in use.
    Reloaded {
        /// The file.
        path: PathBuf,
    },
    /// The new file is no sound database; the old one stays in use until the file changes again.
    Kept {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: Error,
    },
}

/// The open databases. A clone shares the files' contents.
#[derive(Clone, Default)]
pub struct GeoDatabases {
    databases: Vec<Database>,
    failed_lookups: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    City(Layout),
    Asn,
    Anonymous,
}

#[derive(Clone)]
struct Database {
    path: PathBuf,
    role: Role,
    /// The file that `reader` was made from, or the newer one that was refused.
    stamp: Option<Stamp>,
    digest: [u8; 32],
    reader: Arc<Reader<Vec<u8>>>,
}

/// Tells one version of a file from the next without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl GeoDatabases {
    /// Reads and verifies the files.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged, or is of another kind than its list.
    pub fn open(config: &GeoConfig) -> Result<Self> {
        let kinds = [
            (&config.city, Role::City(Layout::Nested)),
            (&config.asn, Role::Asn),
            (&config.anonymous, Role::Anonymous),
        ];
        let mut databases = Vec::new();
        for (paths, role) in kinds {
            for path in paths {
                databases.push(Database::open(path, role)?);
            }
        }
        Ok(Self {
            databases,
            failed_lookups: Arc::default(),
        })
    }

    /// No databases: every address is unknown, or private.
    pub fn none() -> Self {
        Self::default()
    }

    /// What is known of an address. A record that cannot be read counts as unknown, see
    /// [`Self::failed_lookups`].
    pub fn lookup(&self, ip: IpAddr) -> GeoRecord {
        self.lookup_network(ip).0
    }

    /// Records that could not be read since the databases were opened, all clones together.
    pub fn failed_lookups(&self) -> u64 {
        self.failed_lookups.load(Ordering::Relaxed)
    }

    /// Looks at the files' length, time and inode, and opens those that changed. A sound file is put
    /// to use at once; of a damaged one it is told once. Clones made before keep the old contents.
    pub fn reload_if_changed(&mut self) -> Vec<ReloadOutcome> {
        let mut outcomes = Vec::new();
        for database in &mut self.databases {
            let stamp = Stamp::of(&database.path);
            if stamp == database.stamp {
                continue;
            }
            let path = database.path.clone();
            match Database::open(&path, database.role) {
                Ok(new) => {
                    *database = new;
                    outcomes.push(ReloadOutcome::Reloaded { path });
                }
                Err(error) => {
                    database.stamp = stamp;
                    outcomes.push(ReloadOutcome::Kept { path, error });
                }
            }
        }
        outcomes
    }

    /// SHA-256, in hex, over the kinds and contents of the databases in use, in their order. Equal
    /// digests give equal records.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for database in &self.databases {
            hash.update(database.role.name());
            hash.update(database.digest);
        }
        hex(&hash.finalize())
    }

    /// The record, and how many leading bits of the address it depends on.
    fn lookup_network(&self, ip: IpAddr) -> (GeoRecord, u8) {
        let (mut place, mut network, mut anonymity) = (None, None, None);
        let mut bits = 0;
        for database in &self.databases {
            let answered = match database.role {
                Role::City(_) => place.is_some(),
                Role::Asn => network.is_some(),
                Role::Anonymous => anonymity.is_some(),
            };
            let metadata = database.reader.metadata();
            if answered || (metadata.ip_version == 4 && ip.is_ipv6()) {
                continue;
            }
            let mut read = || -> std::result::Result<u8, MaxMindDbError> {
                let found = database.reader.lookup(ip)?;
                match database.role {
                    Role::City(layout) => place = records::place(&found, layout)?,
                    Role::Asn => network = records::network(&found)?,
                    Role::Anonymous => anonymity = records::anonymity(&found)?,
                }
                prefix_bits(&found, ip)
            };
            match read() {
                Ok(prefix) => bits = bits.max(prefix),
                Err(_) => {
                    self.failed_lookups.fetch_add(1, Ordering::Relaxed);
                    bits = u8::MAX;
                }
            }
        }
        let record = GeoRecord::new(
            ip,
            place.unwrap_or_default(),
            network.unwrap_or_default(),
            anonymity.unwrap_or_default(),
        );
        (record, bits)
    }
}

/// The length of the network that the record is for, in bits of the address's own family.
fn prefix_bits(found: &Found<'_>, ip: IpAddr) -> std::result::Result<u8, MaxMindDbError> {
    let network = found.network()?;
    // An IPv4 address may be answered by a network of the IPv6 tree that holds all of IPv4.
    Ok(if network.is_ipv4() == ip.is_ipv4() {
        network.prefix()
    } else {
        u8::MAX
    })
}

impl GeoRecord {
    fn new(ip: IpAddr, place: Place, network: Network, anonymity: Anonymity) -> Self {
        let ip_kind = if address::is_private(ip) {
            "private"
        } else if anonymity.is_tor_exit_node {
            "tor"
        } else if anonymity.is_anonymous_vpn {
            "vpn"
        } else if anonymity.is_public_proxy || anonymity.is_residential_proxy {
            "relay"
        } else if anonymity.is_hosting_provider {
            "hosting"
        } else {
            "unknown"
        };
        Self {
            country: place.country,
            subdivision: place.subdivision,
            city: place.city,
            latitude: place.position.map(|position| position.0),
            longitude: place.position.map(|position| position.1),
            accuracy_radius_km: place.position.map(|position| position.2),
            asn: network.asn,
            as_org: network.organization,
            ip_kind,
            is_anonymous: anonymity.is_anonymous,
            is_hosting: anonymity.is_hosting_provider,
        }
    }
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::City(_) => "city",
            Self::Asn => "asn",
            Self::Anonymous => "anonymous",
        }
    }

    /// The role of a database of that type in a list of this role; None where it cannot serve.
    fn of(self, database_type: &str) -> Option<Self> {
        let lower = database_type.to_ascii_lowercase();
        let is_one_of = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        match self {
            Self::City(_) if is_one_of(&["city", "country", "enterprise"]) => {
                Some(Self::City(Layout::of(&lower)))
            }
            Self::Asn if is_one_of(&["asn", "isp"]) => Some(Self::Asn),
            Self::Anonymous if is_one_of(&["anonymous"]) => Some(Self::Anonymous),
            _ => None,
        }
    }
}

impl Database {
    fn open(path: &Path, role: Role) -> Result<Self> {
        let unreadable = |source| Error::UnreadableDatabase {
            path: path.to_path_buf(),
            source,
        };
        let damaged = |problem: MaxMindDbError| Error::DamagedDatabase {
            path: path.to_path_buf(),
            problem: problem.to_string(),
        };
        // Before the contents: a file that changes meanwhile is then seen as changed the next time.
        let stamp = Stamp::of(path);
        #[expect(
            clippy::disallowed_methods,
            reason = "a database is opened where its path is given, and nowhere else"
        )]
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let digest = Sha256::digest(&bytes).into();
        let reader = Reader::from_source(bytes).map_err(damaged)?;
        let database_type = &reader.metadata().database_type;
        let role = role.of(database_type).ok_or_else(|| Error::WrongDatabase {
            path: path.to_path_buf(),
            database_type: database_type.clone(),
            expected: role.name(),
        })?;
        verify(&reader, role).map_err(damaged)?;
        Ok(Self {
            path: path.to_path_buf(),
            role,
            stamp,
            digest,
            reader: Arc::new(reader),
        })
    }
}

/// Walks the whole tree and reads every record once, as lookups will. The reader's own `verify` asks
/// more, a description for one, which DB-IP's files lack.
fn verify(reader: &Reader<Vec<u8>>, role: Role) -> std::result::Result<(), MaxMindDbError> {
    // A tree of n nodes has at most 2 n leaves; more come from a cycle.
    let mut leaves_left = u64::from(reader.metadata().node_count) * 2 + 1;
    let mut seen = HashSet::new();
    for found in reader.networks(WithinOptions::default().include_networks_without_data())? {
        let found = found?;
        leaves_left = leaves_left
            .checked_sub(1)
            .ok_or_else(|| MaxMindDbError::invalid_database("the search tree has a cycle"))?;
        if found.offset().is_some_and(|offset| seen.insert(offset)) {
            match role {
                Role::City(layout) => drop(records::place(&found, layout)?),
                Role::Asn => drop(records::network(&found)?),
                Role::Anonymous => {
                    records::anonymity(&found)?;
                }
            }
        }
    }
    Ok(())
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Some(Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            inode,
        })
    }
}

impl fmt::Debug for GeoDatabases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self
            .databases
            .iter()
            .map(|database| (&database.path, database.role));
        f.debug_list().entries(files).finish()
    }
}
