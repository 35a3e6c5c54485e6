//! The way of an archive to an object store: files are written on this machine, and move when they are
//! complete.
//!
//! ```text
//!   ArchiveWriter ──▶ SPOOL/.….tmp ──renamed──▶ SPOOL/NAME.parquet ──▶ PREFIX/NAME.parquet, then removed here
//!                      unfinished                 complete, waits
//! ```
//!
//! What waits in the folder is moved by whoever uses it next, also after a crash: a file of that name is
//! whole, and the same file moved twice is one object. Several processes may share a folder.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::path::{Path, PathBuf};

use keyhawk_connectors::{Bucket, Error as StoreError, StoreFailure, StoreUrl, Stores};
use sha2::{Digest, Sha256};

use super::Error;
use super::locate::has_ending;

/// Digits of the digest that tells the folders of several stores apart.
const DIGITS: usize = 12;
/// An empty object that says whether objects can be written; readers take `.parquet` only.
const PROBE: &str = ".keyhawk-probe";

/// A folder whose complete files become objects below a URL.
pub struct Spool {
    folder: PathBuf,
    url: StoreUrl,
    bucket: Bucket,
}

impl Spool {
    /// A spool in this folder, or in one of its own below the system's temporary folder, which nobody else
    /// may read. No request is made.
    ///
    /// # Errors
    /// A store that is not built in, or not set up; a folder that cannot be made, or is somebody else's.
    pub fn open(url: &StoreUrl, folder: Option<&Path>, stores: &Stores) -> Result<Self, Error> {
        let bucket = stores.bucket(url).map_err(Error::Store)?;
        let folder = match folder {
            Some(folder) => {
                fs::create_dir_all(folder).map_err(|error| unwritable(folder, error))?;
                folder.to_owned()
            }
            None => private(url)?,
        };
        let key = url.key().trim_end_matches('/');
        let slash = if key.is_empty() { "" } else { "/" };
        Ok(Spool {
            url: url.with_key(&format!("{key}{slash}")),
            folder,
            bucket,
        })
    }

    /// Where the files are written.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where they go.
    pub fn url(&self) -> &StoreUrl {
        &self.url
    }

    /// Writes an object, and removes it again where that is allowed.
    ///
    /// # Errors
    /// What the store said; [`is_passing`] tells whether that may be otherwise soon.
    pub fn probe(&self) -> Result<(), Error> {
        let key = format!("{}{PROBE}", self.url.key());
        self.bucket.put(&key, "").map_err(Error::Store)?;
        drop(self.bucket.delete(&key));
        Ok(())
    }

    /// The complete files, by their names.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn waiting(&self) -> Result<Vec<PathBuf>, Error> {
        let unreadable = |source| Error::Unreadable {
            path: self.folder.clone(),
            source,
        };
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let hidden = path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if has_ending(&path) && !hidden && path.is_file() {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    /// Moves one of them; one that is gone was moved by another process.
    ///
    /// # Errors
    /// A file that cannot be read or removed; what the store said.
    pub fn upload(&self, file: &Path) -> Result<(), Error> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let key = format!("{}{name}", self.url.key());
        match self.bucket.put_file(&key, file) {
            Ok(_) => {}
            Err(StoreError::File { .. }) if !file.exists() => return Ok(()),
            Err(error) => return Err(Error::Store(error)),
        }
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritable(file, error)),
            _ => Ok(()),
        }
    }
}

/// Whether an error may well be gone soon, without anybody's doing.
pub fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Store(StoreError::Store { failure, .. }) if StoreFailure::may_pass(*failure))
}

/// A folder below the temporary one, the same for the same URL.
fn private(url: &StoreUrl) -> Result<PathBuf, Error> {
    let digest = Sha256::digest(url.to_string().trim_end_matches('/').as_bytes());
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = std::env::temp_dir().join(format!("keyhawk-spool-{}", &digits[..DIGITS]));
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(&folder)
        .and_then(|()| is_ours(&folder))
        .map_err(|error| unwritable(&folder, error))?;
    Ok(folder)
}

/// Whoever may write to the temporary folder could have made it first, and would read all events.
#[cfg(unix)]
fn is_ours(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let path = folder.join(format!(".probe.{}.tmp", std::process::id()));
    let file = File::create(&path)?;
    let us = file.metadata()?.uid();
    fs::remove_file(&path)?;
    let found = fs::symlink_metadata(folder)?;
    if found.is_dir() && found.uid() == us && found.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(io::Error::other(
        "it is there already and not ours alone; remove it, or name another folder as `spool` in [archive]",
    ))
}

#[cfg(not(unix))]
fn is_ours(_: &Path) -> io::Result<()> {
    Ok(())
}

fn unwritable(path: &Path, error: io::Error) -> Error {
    Error::Unwritable {
        path: path.to_owned(),
        problem: error.to_string(),
    }
}
