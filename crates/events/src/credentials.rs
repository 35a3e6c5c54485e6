//! A partition's memory of credentials, in front of the fingerprints that all partitions share: a key
//! that was just seen is found without a lock.
//!
//! It holds raw credentials, as the shared cache does, in memory alone: nothing prints or stores it. A
//! credential has one place, by its hash, and the last one there is the one remembered.

use std::hash::BuildHasher;

use arrayvec::ArrayString;
use foldhash::fast::RandomState;
use prefetch_index::prefetch_index;

use crate::fingerprint::{Code, Fingerprinter, Prefix};

/// Places for credentials, a power of two: 1 MB a partition.
const PLACES: usize = 16_384;
/// Of a credential without its public prefix: 32 random bytes in base64 have 43 characters. A longer one,
/// a token mostly, is looked up in the shared cache.
const REST_LENGTH_MAX: usize = 48;

/// A credential that is remembered, in one cache line: there are more places than a processor's nearer
/// caches hold, and a call reads one of them.
#[derive(Clone, Default)]
#[repr(align(64))]
struct Known {
    /// What follows the public prefix; nothing where none is remembered.
    rest: ArrayString<REST_LENGTH_MAX>,
    code: Code,
    prefix: Prefix,
}

const _: () = assert!(size_of::<Known>() == 64);

/// Where a credential is sought among the places, and its public prefix.
#[derive(Clone, Copy)]
pub(crate) struct Sought {
    place: usize,
    prefix: Prefix,
}

/// What was seen before.
pub(crate) struct Credentials {
    places: Box<[Known]>,
    hasher: RandomState,
}

impl Credentials {
    pub(crate) fn new() -> Self {
        Self {
            places: vec![Known::default(); PLACES].into(),
            hasher: RandomState::default(),
        }
    }

    /// The place where a credential is sought, which is brought nearer until its fingerprint is asked for.
    #[inline]
    pub(crate) fn seek(&self, credential: &str, fingerprinter: &Fingerprinter) -> Sought {
        let prefix = fingerprinter.prefix_of(credential);
        let rest = &credential[fingerprinter.prefix(prefix).len()..];
        let place = self.hasher.hash_one(rest) as usize % PLACES;
        prefetch_index(&self.places, place);
        Sought { place, prefix }
    }

    /// Writes the fingerprint of the credential that was sought over what `fingerprint` holds.
    pub(crate) fn write(
        &mut self,
        credential: &str,
        sought: Sought,
        fingerprinter: &Fingerprinter,
        fingerprint: &mut String,
    ) {
        let Sought { place, prefix } = sought;
        let rest = &credential[fingerprinter.prefix(prefix).len()..];
        let known = &mut self.places[place];
        if rest.is_empty() || known.prefix != prefix || known.rest != *rest {
            let code = fingerprinter.code(credential);
            match ArrayString::from(rest) {
                Ok(rest) => *known = Known { rest, code, prefix },
                Err(_) => return fingerprinter.write_parts(prefix, code, fingerprint),
            }
        }
        fingerprinter.write_parts(prefix, known.code, fingerprint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_has_its_fingerprint_again_and_after_others_took_its_place() {
        let prefixes = vec!["kh_live_".to_owned(), "kh_".to_owned()];
        let fingerprinter = Fingerprinter::new(b"a secret of some length", prefixes).unwrap();
        let mut credentials = Credentials::new();
        let mut found = String::from("what was there before");
        for round in 0..2 {
            for number in 0..2 * PLACES {
                // One in eight is longer than what is remembered, one has no public prefix.
                let length = if number % 8 == 0 { 100 } else { 20 };
                let prefix = if number % 8 == 1 { "" } else { "kh_live_" };
                let credential = format!("{prefix}{number:0length$}");
                let sought = credentials.seek(&credential, &fingerprinter);
                credentials.write(&credential, sought, &fingerprinter, &mut found);
                assert_eq!(
                    found,
                    fingerprinter.fingerprint(&credential),
                    "round {round}"
                );
                credentials.write(&credential, sought, &fingerprinter, &mut found);
                assert_eq!(found, fingerprinter.fingerprint(&credential));
            }
        }
    }
}
