//! Random input that a seed repeats, and the search for a leaked key.
//!
//! A test prints its seed, so that a failure can be played again.

use std::ops::Range;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The alphabet of base64url (RFC 4648, section 5), which is what keys are made of.
const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// How much of a secret must show for it to count as leaked, in characters.
///
/// Eight base64url characters are 48 bits: that they appear by chance in megabytes of output is
/// out of the question, and less than that would help nobody to use a key.
pub const PIECE: usize = 8;

/// The generator behind everything here: the same numbers for the same seed on every machine.
pub fn generator(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Cuts `0..len` into adjoining, non-empty ranges at random places.
///
/// Some of the cuts fall close together and some far apart, and a fifth of the seeds cut at every
/// single row. No range is returned for a length of 0.
pub fn random_splits(seed: u64, len: usize) -> Vec<Range<usize>> {
    let mut random = generator(seed);
    let longest = match random.random_range(0..5) {
        0 => 1,
        1 => 3,
        2 => 17,
        3 => 256,
        _ => len.max(1),
    };
    let mut splits = Vec::new();
    let mut start = 0;
    while start < len {
        let end = (start + random.random_range(1..=longest)).min(len);
        splits.push(start..end);
        start = end;
    }
    splits
}

/// `len` random characters of base64url.
pub fn base64url(random: &mut impl Rng, len: usize) -> String {
    (0..len)
        .map(|_| char::from(BASE64URL[random.random_range(0..BASE64URL.len())]))
        .collect()
}

/// A random API key: `prefix`, then 43 characters of base64url (256 bits).
///
/// The prefix is public; what follows is the secret part.
pub fn random_key(random: &mut impl Rng, prefix: &str) -> String {
    format!("{prefix}{}", base64url(random, 43))
}

/// A random JSON Web Token: three parts of base64url, the first of which is a real header.
///
/// The header is the same in most tokens of the world, and so it is not part of the secret; the
/// payload and the signature are random.
pub fn random_jwt(random: &mut impl Rng) -> String {
    let payload = base64url(random, 96);
    let signature = base64url(random, 43);
    format!("{JWT_HEADER}.{payload}.{signature}")
}

/// `{"alg":"HS256","typ":"JWT"}` in base64url.
const JWT_HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// The pieces of a secret that must appear nowhere: every run of [`PIECE`] characters of it.
///
/// `secret` is the part after a public prefix; a secret shorter than a piece is one piece.
pub fn secret_pieces(secret: &str) -> Vec<&str> {
    let starts: Vec<usize> = secret
        .char_indices()
        .map(|(at, _)| at)
        .chain([secret.len()])
        .collect();
    if starts.len() <= PIECE + 1 {
        return if secret.is_empty() {
            Vec::new()
        } else {
            vec![secret]
        };
    }
    starts
        .windows(PIECE + 1)
        .map(|piece| &secret[piece[0]..piece[PIECE]])
        .collect()
}

/// Where a secret shows in an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// Which of the secrets, as an index into those searched for.
    pub secret: usize,
    /// Where in the output its piece begins, in bytes.
    pub at: usize,
    /// The bytes around it, for the message of the failed test.
    pub around: String,
}

/// The first piece of any of the secrets in `haystack`.
///
/// `secrets` are secret parts, without their public prefix. The pieces go into a hash set and the
/// haystack is read once, so that thousands of secrets against megabytes of output take seconds.
pub fn find_leak(haystack: &[u8], secrets: &[String]) -> Option<Leak> {
    let mut whole: std::collections::HashMap<&[u8], usize> = std::collections::HashMap::new();
    let mut short: Vec<(usize, &[u8])> = Vec::new();
    for (index, secret) in secrets.iter().enumerate() {
        for piece in secret_pieces(secret) {
            if piece.len() == PIECE {
                whole.entry(piece.as_bytes()).or_insert(index);
            } else {
                short.push((index, piece.as_bytes()));
            }
        }
    }
    let leak = |secret: usize, at: usize| Leak {
        secret,
        at,
        around: String::from_utf8_lossy(
            &haystack[at.saturating_sub(40)..(at + 48).min(haystack.len())],
        )
        .into_owned(),
    };
    for (at, piece) in haystack.windows(PIECE).enumerate() {
        if let Some(secret) = whole.get(piece) {
            return Some(leak(*secret, at));
        }
    }
    short.into_iter().find_map(|(secret, piece)| {
        haystack
            .windows(piece.len())
            .position(|at| at == piece)
            .map(|at| leak(secret, at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_cover_everything_in_order_and_repeat_with_the_seed() {
        for seed in 0..50 {
            let splits = random_splits(seed, 1000);
            assert_eq!(splits, random_splits(seed, 1000));
            let mut next = 0;
            for split in splits {
                assert_eq!(split.start, next);
                assert!(split.end > split.start);
                next = split.end;
            }
            assert_eq!(next, 1000);
        }
        assert!(random_splits(1, 0).is_empty());
    }

    #[test]
    fn a_piece_of_a_key_is_found_wherever_it_stands() {
        let mut random = generator(7);
        let keys: Vec<String> = (0..20).map(|_| random_key(&mut random, "")).collect();
        let clean = base64url(&mut random, 10_000);
        assert_eq!(find_leak(clean.as_bytes(), &keys), None);
        for start in [0, 17, keys[13].len() - PIECE] {
            let leaky = format!("{clean}{}{clean}", &keys[13][start..start + PIECE]);
            let leak = find_leak(leaky.as_bytes(), &keys).unwrap();
            assert_eq!((leak.secret, leak.at), (13, clean.len()));
        }
    }

    #[test]
    fn pieces_of_a_secret_are_all_its_runs_of_eight() {
        assert_eq!(
            secret_pieces("abcdefghij"),
            ["abcdefgh", "bcdefghi", "cdefghij"]
        );
        assert_eq!(secret_pieces("abcdefgh"), ["abcdefgh"]);
        assert_eq!(secret_pieces("abc"), ["abc"]);
        assert!(secret_pieces("").is_empty());
    }

    #[test]
    fn a_token_has_three_parts() {
        assert_eq!(random_jwt(&mut generator(1)).split('.').count(), 3);
    }
}
