//! A partition's memory of credentials, in front of the fingerprints that all partitions share: a key
//! that was just seen is found without a lock.
//!
//! It holds raw credentials, as the shared cache does, in memory alone: nothing prints or stores it. A
//! credential has one place, by its hash, and the last one there is the one remembered.

use std::hash::BuildHasher;

use arrayvec::ArrayString;
use foldhash::fast::RandomState;

use crate::fingerprint::Fingerprinter;

/// Places for credentials, a power of two: 2.4 MB a partition.
const PLACES: usize = 16_384;
/// A longer credential, a token mostly, is looked up in the shared cache.
const CREDENTIAL_LENGTH_MAX: usize = 80;
/// The longest public prefix, `…`, and the digits.
const FINGERPRINT_LENGTH_MAX: usize = 32 + 3 + 20;

#[derive(Clone, Default)]
struct Known {
    credential: ArrayString<CREDENTIAL_LENGTH_MAX>,
    fingerprint: ArrayString<FINGERPRINT_LENGTH_MAX>,
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

    /// Writes the fingerprint of a credential over what `fingerprint` holds.
    pub(crate) fn write(
        &mut self,
        credential: &str,
        fingerprinter: &Fingerprinter,
        fingerprint: &mut String,
    ) {
        let place = self.hasher.hash_one(credential) as usize % PLACES;
        let known = &mut self.places[place];
        if !credential.is_empty() && known.credential == *credential {
            fingerprint.clear();
            fingerprint.push_str(&known.fingerprint);
            return;
        }
        fingerprinter.write(credential, fingerprint);
        if let (Ok(credential), Ok(fingerprint)) = (
            ArrayString::from(credential),
            ArrayString::from(fingerprint),
        ) {
            *known = Known {
                credential,
                fingerprint,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_has_its_fingerprint_again_and_after_others_took_its_place() {
        let prefixes = vec!["kh_live_".to_owned()];
        let fingerprinter = Fingerprinter::new(b"a secret of some length", prefixes).unwrap();
        let mut credentials = Credentials::new();
        let mut found = String::from("what was there before");
        for round in 0..2 {
            for number in 0..2 * PLACES {
                // One in eight is longer than what is remembered.
                let length = if number % 8 == 0 { 100 } else { 20 };
                let credential = format!("kh_live_{number:0length$}");
                credentials.write(&credential, &fingerprinter, &mut found);
                assert_eq!(
                    found,
                    fingerprinter.fingerprint(&credential),
                    "round {round}"
                );
                credentials.write(&credential, &fingerprinter, &mut found);
                assert_eq!(found, fingerprinter.fingerprint(&credential));
            }
        }
    }
}
