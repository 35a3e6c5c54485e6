//! The configuration file `keyhawk.toml`.
//!
//!   text ──parse──▶ what it says ──resolve──▶ what it means: [`Config`]
//!          known keys, fitting values         absolute paths, secrets read, no contradiction
//!
//! All keys with their documentation and defaults stand in one list (`keys.rs`). Unknown keys are
//! refused with the nearest known name; secrets are taken from files and environment variables
//! only.

mod document;
mod error;
mod keys;
mod parse;
mod resolve;
mod sample;
mod secret;
mod sections;
mod setting;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use error::{Error, Place};
pub use secret::Secret;
use secret::SecretSource;
pub use sections::{
    Archive, ArchiveTo, Chat, Config, Console, GeoIp, Identity, IdentityField, Kafka, Log,
    LogFormat, Output, Rules, Topic, TopicTime,
};

/// Reads a configuration file, the secrets that it names included.
///
/// # Errors
///
/// The file or a secret cannot be read, or the file is refused; see [`Error`].
pub fn load(path: &Path) -> Result<Config, Error> {
    let unreadable = |cause| Error::Unreadable {
        path: path.to_path_buf(),
        cause,
    };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let absolute = std::path::absolute(path).map_err(unreadable)?;
    let base = absolute
        .parent()
        .map_or_else(PathBuf::new, Path::to_path_buf);
    resolve::resolve(parse::parse(path, &text)?, &base, &|name| {
        std::env::var(name).ok()
    })
}

/// The configuration of an empty file in the folder `base`, for commands that were given none.
pub fn defaults(base: &Path) -> Config {
    parse::parse(Path::new("keyhawk.toml"), "")
        .and_then(|file| resolve::resolve(file, base, &|_| None))
        .expect("the defaults hold together; a test reads them")
}

/// A configuration file that states every key with its documentation and default.
pub fn sample() -> String {
    sample::render(false)
}

impl Config {
    /// The secret for fingerprints, which `run` cannot do without.
    ///
    /// # Errors
    ///
    /// [`Error::NoFingerprintSecret`] where the file names none.
    pub fn fingerprint_secret(&self) -> Result<&Secret, Error> {
        self.identity
            .secret
            .as_ref()
            .ok_or(Error::NoFingerprintSecret)
    }
}
