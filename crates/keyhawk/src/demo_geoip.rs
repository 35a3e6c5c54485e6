//! The demo's GeoIP databases, which the binary carries, opened by way of files: that is how they are
//! read.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use keyhawk_events::{GeoConfig, GeoDatabases};

use crate::simulate;

/// Why they cannot be opened.
#[derive(Debug)]
pub enum Error {
    /// The files cannot be written.
    Unwritable {
        /// The folder for them, in the system's one for temporary files.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// They are damaged.
    Unopened(keyhawk_events::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unwritable { folder, source } => write!(
                f,
                "{}: the demo's GeoIP databases cannot be written there: {source}; name another folder in TMPDIR",
                folder.display()
            ),
            Error::Unopened(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

/// Opens them; nothing of them stays on the disk.
pub(crate) fn open() -> Result<GeoDatabases, Error> {
    static OPENED: AtomicU64 = AtomicU64::new(0);
    let nth = OPENED.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("keyhawk-demo-{}-{nth}", std::process::id()));
    let write = || -> io::Result<GeoConfig> {
        std::fs::create_dir_all(&folder)?;
        for (name, bytes) in simulate::databases() {
            std::fs::write(folder.join(name), bytes)?;
        }
        let file = |name: &str| vec![folder.join(name)];
        Ok(GeoConfig {
            city: file("demo-city.mmdb"),
            asn: file("demo-asn.mmdb"),
            anonymous: file("demo-anonymous.mmdb"),
        })
    };
    let config = write().map_err(|source| Error::Unwritable {
        folder: folder.clone(),
        source,
    });
    let opened = config.and_then(|config| GeoDatabases::open(&config).map_err(Error::Unopened));
    // They are loaded or mapped by now; the files may go.
    drop(std::fs::remove_dir_all(&folder));
    opened
}
