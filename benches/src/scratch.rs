//! A folder for the files that a bench makes, gone when it ends.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Result;

/// An empty folder of this process.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes it among the system's temporary files.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn new() -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("keyhawk-benches-{}-{number}", process::id());
        let folder = env::temp_dir().join(name);
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Scratch(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays among the temporary files.
        drop(fs::remove_dir_all(&self.0));
    }
}
