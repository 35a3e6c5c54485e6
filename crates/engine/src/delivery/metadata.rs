//! The text that stands beside an offset committed to Kafka: how many outputs lie below it, and which.
//!
//! ```text
//! keyhawk/1 base=1200 seq=1234 digest=5f1e0c…                one line of ASCII, below 4 KB
//!        │       │        │         └ sum of the hashes of the ids of outputs base … seq − 1
//!        │       │        └ outputs emitted since the log began, up to the committed offset
//!        │       └ where the digest begins: what the state stood at when this assignment took it up
//!        └ version of this format
//! ```
//!
//! A replay that starts where the state stood must emit `seq − base` outputs before the committed offset,
//! with this digest; if it does not, processing was not deterministic. The digest does not depend on the
//! order of the outputs, nor on whether one of them was replaced by a stub, since a stub keeps the id.

use std::fmt;

use sha2::{Digest, Sha256};

/// Kafka's default for `offset.metadata.max.bytes`: a longer text is refused with the commit.
pub const METADATA_BYTES_MAX: usize = 4096;

const NAME: &str = "keyhawk";
const VERSION: u32 = 1;

/// An order-free digest of a multiset of output ids.
///
/// The sum modulo 2^128 of the first 16 bytes of SHA-256 of each id. A sum, because under XOR two
/// outputs with one id would cancel out, and a repeated id is one of the faults to be seen. It finds
/// accidents, not forgeries: who can choose ids freely can make sums meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdDigest(u128);

impl IdDigest {
    /// Adds one id. Costs one SHA-256 block.
    pub fn add(&mut self, id: &[u8; 16]) {
        let hash = Sha256::digest(id);
        let mut prefix = [0_u8; 16];
        prefix.copy_from_slice(&hash[..16]);
        self.0 = self.0.wrapping_add(u128::from_be_bytes(prefix));
    }
}

impl fmt::Display for IdDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What a commit says beside its offset. `Display` writes the text, [`CommitMetadata::parse`] reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitMetadata {
    /// The number of outputs at which the digest begins; never above `seq`.
    pub base_seq: u64,
    /// The number of outputs that the partition emitted since its log began, up to the committed offset.
    pub seq: u64,
    /// The digest of the ids of the outputs `base_seq` up to, not including, `seq`.
    pub digest: IdDigest,
}

impl fmt::Display for CommitMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            base_seq,
            seq,
            digest,
        } = self;
        write!(
            f,
            "{NAME}/{VERSION} base={base_seq} seq={seq} digest={digest}"
        )
    }
}

impl CommitMetadata {
    /// Reads the text of a commit.
    ///
    /// # Errors
    ///
    /// The text is untrusted: any tool may commit for the group. Whatever is not exactly a text of this
    /// version is an error that says what was expected; nothing of the text is repeated in it.
    pub fn parse(text: &str) -> Result<Self, MetadataError> {
        if text.len() >= METADATA_BYTES_MAX {
            return Err(MetadataError::TooLong { bytes: text.len() });
        }
        let mut words = text.split(' ');
        let version = words
            .next()
            .and_then(|word| word.strip_prefix(NAME))
            .and_then(|word| word.strip_prefix('/'))
            .ok_or(MetadataError::Foreign)?;
        let version: u32 = decimal(version).ok_or(MetadataError::Foreign)?;
        if version != VERSION {
            return Err(MetadataError::Version { found: version });
        }
        let base_seq =
            decimal(field(words.next(), "base")?).ok_or(MetadataError::Field { name: "base" })?;
        let seq =
            decimal(field(words.next(), "seq")?).ok_or(MetadataError::Field { name: "seq" })?;
        let digest = field(words.next(), "digest")?;
        let is_hex = digest.len() == 32
            && digest
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let digest = Some(digest)
            .filter(|_| is_hex)
            .and_then(|digits| u128::from_str_radix(digits, 16).ok())
            .ok_or(MetadataError::Field { name: "digest" })?;
        if words.next().is_some() {
            return Err(MetadataError::Trailing);
        }
        if base_seq > seq {
            return Err(MetadataError::Order { base_seq, seq });
        }
        Ok(Self {
            base_seq,
            seq,
            digest: IdDigest(digest),
        })
    }
}

fn field<'a>(word: Option<&'a str>, name: &'static str) -> Result<&'a str, MetadataError> {
    word.and_then(|word| word.strip_prefix(name))
        .and_then(|word| word.strip_prefix('='))
        .ok_or(MetadataError::Field { name })
}

/// Digits only: `FromStr` for integers would also take a sign.
fn decimal<T: std::str::FromStr>(digits: &str) -> Option<T> {
    let is_decimal = digits.bytes().all(|b| b.is_ascii_digit());
    Some(digits)
        .filter(|_| is_decimal)
        .and_then(|digits| digits.parse().ok())
}

/// Why the text of a commit could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataError {
    /// Longer than Kafka would have taken from us.
    TooLong {
        /// The length of the text.
        bytes: usize,
    },
    /// Not written by Keyhawk: another tool has committed for this group, or nobody wrote a text.
    Foreign,
    /// Written by another version of Keyhawk.
    Version {
        /// The version that the text names.
        found: u32,
    },
    /// A field is missing, out of place or unreadable.
    Field {
        /// The field that was expected.
        name: &'static str,
    },
    /// More text after the last field.
    Trailing,
    /// The digest begins after it ends.
    Order {
        /// Where the digest begins.
        base_seq: u64,
        /// Where it ends.
        seq: u64,
    },
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metadata of a committed offset: ")?;
        match self {
            Self::TooLong { bytes } => {
                write!(
                    f,
                    "{bytes} bytes, expected fewer than {METADATA_BYTES_MAX}; was it written by Keyhawk?"
                )
            }
            Self::Foreign => write!(
                f,
                "does not begin with \"{NAME}/\" and a version; another tool has committed for this consumer group"
            ),
            Self::Version { found } => write!(
                f,
                "format version {found}, this Keyhawk reads version {VERSION}; run the version that wrote it, \
                 or commit the offset anew"
            ),
            Self::Field { name } => write!(
                f,
                "expected a readable \"{name}=\" field; commit the offset anew"
            ),
            Self::Trailing => {
                f.write_str("unexpected text after \"digest=\"; commit the offset anew")
            }
            Self::Order { base_seq, seq } => {
                write!(
                    f,
                    "base={base_seq} is above seq={seq}; commit the offset anew"
                )
            }
        }
    }
}

impl std::error::Error for MetadataError {}
