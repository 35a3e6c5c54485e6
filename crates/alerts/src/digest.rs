//! Ids: the first 16 bytes of a SHA-256 over length-prefixed parts, as 32 hex digits.
//!
//! The prefix (eight bytes, little endian, before each part) keeps `("ab", "c")` apart from
//! `("a", "bc")`. 128 bits are enough for ids that nobody gains by forging: an attacker who could
//! choose two findings with one id would only merge alerts about himself.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// The id of these parts, in this order.
pub(crate) fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let mut id = String::with_capacity(32);
    for byte in hash.finalize().iter().take(16) {
        let _ = write!(id, "{byte:02x}");
    }
    id
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn an_id_is_32_hex_digits_and_keeps_parts_apart() {
        assert_eq!(digest(&["prod", "rate_spike", "00ff"]).len(), 32);
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&["ab"]), digest(&["ab", ""]));
    }
}
