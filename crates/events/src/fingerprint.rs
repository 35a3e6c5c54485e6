//! Fingerprints: what stands for a raw credential everywhere behind decode.
//!
//! ```text
//!   kh_live_Zm9vYmFyYmF6…   HMAC-SHA-256 under the deployment's secret
//!   └──┬───┘                          │
//!      └ public prefix                ▼
//!   kh_live_…3f2a9c0d5b7e8f1a2c4d     20 hex digits, the first 80 bits
//! ```
//!
//! The secret makes the fingerprint of a guessed credential impossible to compute, so a fingerprint
//! may be shown. Eighty bits keep the chance of one collision among a million credentials below 10⁻¹².
//!
//! A cache holds the fingerprints of the credentials seen last; its hash is seeded, its entries and
//! bytes are bounded, and it compares the credentials whole.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{Error, Result};

/// The secret of `demo`, `replay` and `backtest`: known to everyone, so it keeps nothing secret.
pub const DEVELOPMENT_SECRET: &[u8] = b"keyhawk development secret, not for production";

/// Shortest secret taken, in bytes: the 128 bits that NIST SP 800-107 asks of an HMAC key at least.
const SECRET_LENGTH_MIN: usize = 16;
/// Longest public prefix taken; providers' are below 20.
const PREFIX_LENGTH_MAX: usize = 32;
/// Most public prefixes taken: each is searched for in every payload.
const PREFIXES_MAX: usize = 1_000;
/// Bytes of the code in a fingerprint, two hex digits each.
const CODE_BYTES: usize = 10;

/// The first bytes of an HMAC.
pub(crate) type Code = [u8; CODE_BYTES];

/// Locks of the cache, so that partitions seldom wait for each other.
const SHARDS: usize = 16;
/// Entries of both generations of a shard; about 100,000 in all.
const SHARD_ENTRIES_MAX: usize = 100_000 / SHARDS;
/// Bytes of credentials in a shard; 16 MiB in all, enough for 100,000 keys of 160 bytes.
const SHARD_BYTES_MAX: usize = (16 << 20) / SHARDS;
/// Longest credential that is kept; sprayed megabytes are hashed each time.
const CACHED_LENGTH_MAX: usize = 4096;

/// Turns credentials into fingerprints. Shared by all partitions; its `Debug` shows no secret.
pub struct Fingerprinter {
    keyed: Hmac<Sha256>,
    /// The longest first, so that the first match is the longest.
    prefixes: Vec<String>,
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
}

#[derive(Default)]
struct Shard {
    young: HashMap<Box<str>, Code, RandomState>,
    old: HashMap<Box<str>, Code, RandomState>,
    young_bytes: usize,
}

impl Fingerprinter {
    /// A fingerprinter under a secret, with the literal prefixes that are public and shown.
    ///
    /// # Errors
    /// The secret has fewer than 16 bytes; a prefix is empty, longer than 32 bytes, or holds a
    /// character that no token has; more than 1,000 prefixes.
    pub fn new(secret: &[u8], mut prefixes: Vec<String>) -> Result<Self> {
        if secret.len() < SECRET_LENGTH_MIN {
            return Err(Error::ShortSecret {
                length: secret.len(),
                length_min: SECRET_LENGTH_MIN,
            });
        }
        for (number, prefix) in prefixes.iter().enumerate() {
            let problem = if number == PREFIXES_MAX {
                "is one more than the 1,000 that are taken; leave some out"
            } else if prefix.is_empty() {
                "is empty and would match everything; leave it out"
            } else if prefix.len() > PREFIX_LENGTH_MAX {
                "is longer than 32 bytes; a public prefix is the part before the secret"
            } else if !prefix.bytes().all(is_token_byte) {
                "holds a character that no credential has; use letters, digits and _ - . ~ % + ="
            } else {
                continue;
            };
            return Err(Error::BadPrefix {
                prefix: prefix.clone(),
                problem,
            });
        }
        prefixes.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        prefixes.dedup();
        let keyed = Hmac::new_from_slice(secret).expect("HMAC takes keys of every length");
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Ok(Self {
            keyed,
            prefixes,
            hasher: RandomState::default(),
            shards,
        })
    }

    /// The fingerprint of a credential: `<longest public prefix>…<20 hex digits>`.
    pub fn fingerprint(&self, credential: &str) -> String {
        let mut fingerprint = String::new();
        self.write(credential, &mut fingerprint);
        fingerprint
    }

    /// Writes the fingerprint over what `fingerprint` holds.
    pub(crate) fn write(&self, credential: &str, fingerprint: &mut String) {
        let prefix = self.prefix_of(credential);
        self.write_parts(prefix, self.code(credential), fingerprint);
    }

    /// Writes the fingerprint of a credential with this public prefix and code over `fingerprint`.
    #[inline]
    pub(crate) fn write_parts(&self, prefix: Prefix, code: Code, fingerprint: &mut String) {
        fingerprint.clear();
        fingerprint.push_str(self.prefix(prefix));
        push_code(code, fingerprint);
    }

    /// The same digits without a prefix, for what is hashed but is no credential; writes over `hash`.
    pub(crate) fn write_hash(&self, value: &str, hash: &mut String) {
        hash.clear();
        push_code(self.code(value), hash);
    }

    /// The configured prefixes, the longest first.
    pub(crate) fn prefixes(&self) -> &[String] {
        &self.prefixes
    }

    /// The longest public prefix of a credential.
    pub(crate) fn prefix_of(&self, credential: &str) -> Prefix {
        if self.prefixes.is_empty() || is_jwt(credential) {
            return Prefix::default();
        }
        let mut prefixes = (1..).zip(&self.prefixes);
        let longest = prefixes.find(|(_, prefix)| credential.starts_with(prefix.as_str()));
        Prefix(longest.map_or(0, |(number, _)| number))
    }

    /// The text of a prefix.
    pub(crate) fn prefix(&self, prefix: Prefix) -> &str {
        match prefix.0 {
            0 => "",
            number => &self.prefixes[usize::from(number) - 1],
        }
    }

    /// The code of a text; remembered, so that one seen before is not computed again.
    pub(crate) fn code(&self, value: &str) -> Code {
        if value.len() > CACHED_LENGTH_MAX {
            return self.compute(value);
        }
        let hash = self.hasher.hash_one(value);
        // The low bits choose the bucket inside a map, so the high ones choose the map.
        let shard = &self.shards[(hash >> 60) as usize % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(code) = shard.young.get(value) {
            return *code;
        }
        let code = match shard.old.get(value) {
            Some(code) => *code,
            None => self.compute(value),
        };
        shard.insert(value, code);
        code
    }

    fn compute(&self, value: &str) -> Code {
        let mut mac = self.keyed.clone();
        mac.update(value.as_bytes());
        let mac = mac.finalize().into_bytes();
        let mut code = [0; CODE_BYTES];
        code.copy_from_slice(&mac[..CODE_BYTES]);
        code
    }
}

/// Which of the configured prefixes a credential has, counted from 1; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Prefix(u16);

fn push_code(code: Code, text: &mut String) {
    let mut digits = [0; 2 * CODE_BYTES];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(code) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    text.push('…');
    text.push_str(std::str::from_utf8(&digits).expect("hex digits are ASCII"));
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Lower-case hex digits of bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(HEX[usize::from(value)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

impl Shard {
    /// A credential enters the young generation; when that is half of the bound, the old one goes.
    fn insert(&mut self, value: &str, code: Code) {
        let full = self.young.len() >= SHARD_ENTRIES_MAX / 2
            || self.young_bytes + value.len() > SHARD_BYTES_MAX / 2;
        if full {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += value.len();
        self.young.insert(value.into(), code);
    }
}

impl fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fingerprinter")
            .field("prefixes", &self.prefixes)
            .finish_non_exhaustive()
    }
}

/// A JSON Web Token: three parts, the first a JSON object in base64url. Its beginning says nothing of
/// its issuer, so a configured prefix is never shown for one.
fn is_jwt(credential: &str) -> bool {
    credential.starts_with("eyJ") && credential.bytes().filter(|byte| *byte == b'.').count() >= 2
}

/// The characters of a credential in a URL or header: RFC 6750's, `/` left out, which separates
/// segments of a path, and `%`, since a URL may have encoded some.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'~' | b'%' | b'+' | b'=')
}
