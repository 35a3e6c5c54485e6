//! URLs of object stores: `SCHEME://BUCKET/KEY`, cut by hand.
//!
//! ```text
//!   s3://bucket/history/api-access.*.parquet
//!   └── root ──┘└────────── key ───────────┘     the key as the store has it: nothing is decoded
//! ```
//!
//! A parser of URLs would take a `?` of a pattern for the begin of a query, and `%2F` in a key for a slash.

use std::fmt;

use crate::{Error, Result};

/// The stores, their schemes, and the feature of Cargo that brings each.
pub(super) const STORES: [(StoreKind, &[&str], &str); 3] = [
    (StoreKind::S3, &["s3", "s3a"], "s3"),
    (StoreKind::Gcs, &["gs"], "gcs"),
    (
        StoreKind::Azure,
        &["az", "azure", "adl", "abfs", "abfss"],
        "azure",
    ),
];

const EXPECTED: &str = "s3://bucket/key, gs://bucket/key, az://container/key or \
                        abfss://container@account.dfs.core.windows.net/key";

/// Whose interface a store speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    S3,
    Gcs,
    Azure,
}

/// A place in an object store: one object, a prefix, or a pattern of keys. Holds no credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUrl {
    kind: StoreKind,
    root: String,
    key: String,
}

impl StoreUrl {
    /// Whether a text begins with the scheme of an object store, so that [`parse`](Self::parse) takes it
    /// or says what is wrong with it.
    pub fn is_one(text: &str) -> bool {
        kind_of(text).is_some()
    }

    /// Cuts a URL into its parts.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUrl`]: no bucket, or a credential in it, which the error does not quote.
    pub fn parse(text: &str) -> Result<StoreUrl> {
        let wrong = |expected| Error::StoreUrl {
            url: redacted(text),
            expected,
        };
        let (kind, rest) = kind_of(text).ok_or_else(|| wrong(EXPECTED))?;
        let (authority, key) = rest.split_once('/').unwrap_or((rest, ""));
        // Only Azure has something before the `@`: a container. A colon there is a password's.
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        if user.is_some_and(|user| kind != StoreKind::Azure || user.contains(':')) {
            return Err(wrong(
                "a URL without credentials, which are read from the environment",
            ));
        }
        let is_host = |char: char| char.is_ascii_alphanumeric() || "-._@".contains(char);
        if authority.is_empty() || !authority.chars().all(is_host) {
            return Err(wrong(EXPECTED));
        }
        Ok(StoreUrl {
            kind,
            root: text[..text.len() - rest.len() + authority.len()].to_owned(),
            key: key.to_owned(),
        })
    }

    /// `s3://bucket`.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// What follows the root's slash; may be empty.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The same with another key.
    pub fn with_key(&self, key: &str) -> StoreUrl {
        StoreUrl {
            key: key.to_owned(),
            ..self.clone()
        }
    }

    pub(super) fn kind(&self) -> StoreKind {
        self.kind
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.root, self.key)
    }
}

fn kind_of(text: &str) -> Option<(StoreKind, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    STORES
        .iter()
        .find(|(_, schemes, _)| schemes.contains(&scheme))
        .map(|(kind, ..)| (*kind, rest))
}

/// The text without what stands before an `@` in its host.
fn redacted(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (authority, key) = rest.split_once('/').unwrap_or((rest, ""));
    match rest.rsplit_once('@') {
        // A password may hold slashes.
        Some((_, rest)) if !authority.contains('@') || authority.contains(':') => {
            format!("{scheme}://…@{rest}")
        }
        Some(_) => {
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://…@{host}/{key}")
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_root_and_a_key_that_is_left_as_it_is() {
        let parts = |text: &str| {
            let url = StoreUrl::parse(text).unwrap();
            (url.root().to_owned(), url.key().to_owned())
        };
        let pair = |root: &str, key: &str| (root.to_owned(), key.to_owned());
        assert_eq!(parts("s3://bucket"), pair("s3://bucket", ""));
        assert_eq!(
            parts("s3://bucket/a/b?.%2F*.parquet"),
            pair("s3://bucket", "a/b?.%2F*.parquet")
        );
        assert_eq!(
            parts("abfss://logs@account.dfs.core.windows.net/x/"),
            pair("abfss://logs@account.dfs.core.windows.net", "x/")
        );
    }

    #[test]
    fn what_is_no_url_of_a_store_is_refused_and_a_credential_in_it_is_not_repeated() {
        for text in ["/a/b", "file:///a", "http://host/a", "a:b"] {
            assert!(!StoreUrl::is_one(text), "{text}");
        }
        for text in ["s3://", "s3:///key", "gs://a b/key"] {
            assert!(StoreUrl::is_one(text));
            let said = StoreUrl::parse(text).unwrap_err().to_string();
            assert!(said.contains("expected s3://bucket/key"), "{said}");
        }
        for text in [
            "s3://AKIA:SECRET@bucket/key",
            "s3://AKIA:SEC/SECRET@bucket/key",
            "s3://SECRET@bucket/key",
            "abfss://logs:SECRET@account/key",
        ] {
            let error = StoreUrl::parse(text).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(!said.contains("SEC"), "{said}");
            assert!(!said.contains("AKIA"), "{said}");
        }
    }
}
