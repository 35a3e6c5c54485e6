//! Masking: credentials that strayed into other members of an event, replaced by their fingerprints.
//!
//! Two things are looked for in every text: the row's own credential, percent-encoded or not, and any
//! token that begins with a configured public prefix. Nearly no row holds either, so the payload is
//! searched once as a whole; only where something turns up, or where escapes could hide it, is each
//! text searched by itself.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use memchr::memmem::{self, Finder};

use crate::fingerprint::{Fingerprinter, is_token_byte};

/// Shortest credential that is searched for; a shorter one would be found in ordinary words.
pub(crate) const OWN_LENGTH_MIN: usize = 4;
/// Token characters that must follow a public prefix; fewer are no secret, or the prefix alone.
const SECRET_LENGTH_MIN: usize = 8;

/// The credential of the row at hand.
#[derive(Clone, Copy)]
pub(crate) struct Own<'a> {
    pub(crate) credential: &'a str,
    pub(crate) fingerprint: &'a str,
}

/// Finds and replaces credentials in texts.
pub(crate) struct Masker {
    fingerprinter: Arc<Fingerprinter>,
    prefixes: Vec<Finder<'static>>,
    /// Those of the prefixes that begin with no other one: wherever one of all occurs, one of these
    /// does.
    roots: Vec<Finder<'static>>,
}

impl Masker {
    pub(crate) fn new(fingerprinter: Arc<Fingerprinter>) -> Self {
        let all = fingerprinter.prefixes();
        let is_root = |prefix: &&String| {
            !all.iter()
                .any(|other| other != *prefix && prefix.starts_with(other.as_str()))
        };
        let finder = |prefix: &String| Finder::new(prefix.as_bytes()).into_owned();
        let prefixes = all.iter().map(finder).collect();
        let roots = all.iter().filter(is_root).map(finder).collect();
        Self {
            fingerprinter,
            prefixes,
            roots,
        }
    }

    /// Whether texts of this payload must be searched one by one. `own` is the place of the row's
    /// credential in the payload, where it has one.
    pub(crate) fn is_suspect(&self, payload: &[u8], own: Option<Range<usize>>) -> bool {
        if memchr::memchr2(b'\\', b'%', payload).is_some() {
            return true;
        }
        let inside = |at: usize| own.as_ref().is_some_and(|own| own.contains(&at));
        if let Some(own) = &own
            && own.len() >= OWN_LENGTH_MIN
        {
            // A credential that begins with a public prefix is found where that is looked for.
            let needle = &payload[own.clone()];
            let is_prefixed = self
                .roots
                .iter()
                .any(|prefix| needle.starts_with(prefix.needle()));
            if !is_prefixed && memmem::find_iter(payload, needle).any(|at| !inside(at)) {
                return true;
            }
        }
        self.roots
            .iter()
            .any(|prefix| prefix.find_iter(payload).any(|at| !inside(at)))
    }

    /// The text with every credential in it replaced; borrowed where there was none.
    pub(crate) fn mask<'t>(&self, text: &'t str, own: Option<Own<'_>>) -> Cow<'t, str> {
        let text = match own {
            Some(own) if own.credential.len() >= OWN_LENGTH_MIN => mask_own(text, own),
            Some(own) if own.credential == text => Cow::Owned(own.fingerprint.to_string()),
            _ => Cow::Borrowed(text),
        };
        match text {
            Cow::Borrowed(text) => self.mask_prefixed(text),
            Cow::Owned(text) => Cow::Owned(self.mask_prefixed(&text).into_owned()),
        }
    }

    fn mask_prefixed<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let bytes = text.as_bytes();
        let mut tokens: Vec<Range<usize>> = Vec::new();
        for prefix in &self.prefixes {
            for begin in prefix.find_iter(bytes) {
                let secret = begin + prefix.needle().len();
                let length = bytes[secret..]
                    .iter()
                    .take_while(|byte| is_token_byte(**byte))
                    .count();
                let token = begin..secret + length;
                if length >= SECRET_LENGTH_MIN
                    && is_boundary(bytes, begin)
                    && !self.is_fingerprint(text, &token)
                {
                    tokens.push(token);
                }
            }
        }
        if tokens.is_empty() {
            return Cow::Borrowed(text);
        }
        tokens.sort_by_key(|token| token.start);
        let mut masked = String::with_capacity(text.len());
        let mut done = 0;
        for token in tokens {
            // A shorter prefix, or a token inside another's, has been replaced already.
            if token.start < done {
                continue;
            }
            masked.push_str(&text[done..token.start]);
            masked.push_str(&self.fingerprinter.fingerprint(&text[token.clone()]));
            done = token.end;
        }
        masked.push_str(&text[done..]);
        Cow::Owned(masked)
    }

    /// Whether the token is the public prefix of a fingerprint, a longer one than was searched for.
    fn is_fingerprint(&self, text: &str, token: &Range<usize>) -> bool {
        let prefix = &text.as_bytes()[token.clone()];
        text[token.end..].starts_with('…') && self.prefixes.iter().any(|p| p.needle() == prefix)
    }
}

/// Whether a token may begin here: at the start, behind a sign that no word has inside, or behind a
/// percent-encoded one.
fn is_boundary(bytes: &[u8], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|before| bytes[before]) else {
        return true;
    };
    let encoded = at >= 3
        && bytes[at - 3] == b'%'
        && bytes[at - 2].is_ascii_hexdigit()
        && bytes[at - 1].is_ascii_hexdigit();
    !before.is_ascii_alphanumeric() || encoded
}

fn mask_own<'t>(text: &'t str, own: Own<'_>) -> Cow<'t, str> {
    let mut places: Vec<Range<usize>> = memmem::find_iter(text.as_bytes(), own.credential)
        .map(|begin| begin..begin + own.credential.len())
        .collect();
    if memchr::memchr(b'%', text.as_bytes()).is_some() {
        let (decoded, origins) = percent_decoded(text.as_bytes());
        let encoded = memmem::find_iter(&decoded, own.credential);
        places.extend(encoded.map(|begin| origins[begin]..origins[begin + own.credential.len()]));
        places.sort_by_key(|place| place.start);
    }
    if places.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut masked = String::with_capacity(text.len());
    let mut done = 0;
    for place in places {
        if place.start < done {
            continue;
        }
        masked.push_str(&text[done..place.start]);
        masked.push_str(own.fingerprint);
        done = place.end;
    }
    masked.push_str(&text[done..]);
    Cow::Owned(masked)
}

/// The decoded bytes, and for each of them, and for the end, where it began.
fn percent_decoded(text: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let mut decoded = Vec::with_capacity(text.len());
    let mut origins = Vec::with_capacity(text.len() + 1);
    let value = |digit: u8| char::from(digit).to_digit(16);
    let mut at = 0;
    while at < text.len() {
        origins.push(at);
        let escape = match text[at..] {
            [b'%', high, low, ..] => value(high).zip(value(low)),
            _ => None,
        };
        match escape {
            Some((high, low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            None => {
                decoded.push(text[at]);
                at += 1;
            }
        }
    }
    origins.push(text.len());
    (decoded, origins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DEVELOPMENT_SECRET;

    fn masker() -> (Masker, Arc<Fingerprinter>) {
        let prefixes = vec!["kh_".to_string(), "kh_live_".to_string()];
        let fingerprinter = Arc::new(Fingerprinter::new(DEVELOPMENT_SECRET, prefixes).unwrap());
        (Masker::new(Arc::clone(&fingerprinter)), fingerprinter)
    }

    #[test]
    fn own_credential_is_masked_encoded_or_not() {
        let (masker, _) = masker();
        let own = Own {
            credential: "ab+c/d==",
            fingerprint: "…F",
        };
        for (text, expected) in [
            ("/x?k=ab+c/d==&y=1", "/x?k=…F&y=1"),
            ("/x?k=ab%2Bc%2fd%3D%3d&k=ab+c/d==", "/x?k=…F&k=…F"),
            ("%61b%2Bc%2fd==%", "…F%"),
            ("nothing é %zz", "nothing é %zz"),
        ] {
            assert_eq!(masker.mask(text, Some(own)), expected);
        }
    }

    #[test]
    fn prefixed_tokens_are_masked_at_boundaries() {
        let (masker, fingerprinter) = masker();
        let key = "kh_live_0123456789";
        let print = fingerprinter.fingerprint(key);
        assert!(print.starts_with("kh_live_…"));
        for text in [
            "/a?k=KEY&b",
            "KEY",
            "Bearer KEY, x",
            "/KEY/é",
            "k%3DKEY",
            "-KEY",
        ] {
            let with = |replacement: &str| text.replace("KEY", replacement);
            assert_eq!(masker.mask(&with(key), None), with(&print));
            // What has been masked stays as it is.
            assert_eq!(masker.mask(&with(&print), None), with(&print));
        }
        for text in ["kh_short", "xkh_live_0123456789", "kh_"] {
            assert!(
                matches!(masker.mask(text, None), Cow::Borrowed(_)),
                "{text}"
            );
        }
    }
}
