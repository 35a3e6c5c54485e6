//! Secrets: where the file says that one is, and the value itself, which no output shows.

use std::fmt;
use std::path::PathBuf;

/// Where a secret is kept. The configuration file never holds the secret itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file, without its trailing line ends.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
}

/// A secret value. Neither `Debug` nor any error shows it, nor how long it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a value that is a secret from here on.
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value, for the one place that needs it. Never log it, never put it into an error.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
