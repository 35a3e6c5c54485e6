//! Complete files of the archive move to an object store, on a thread of their own.
//!
//! ```text
//!   kh-archive ──▶ SPOOL/*.parquet ──▶ kh-upload: looks each second ──▶ objects
//!                        ▲                  │ fails: wait 1 s, 2 s, 4 s … 60 s, again
//!                        └──── they stay ◀──┘
//! ```
//!
//! Neither detection nor the writing of files waits for the store. At the end all that waits is tried
//! once more; what is left then is uploaded by the next start.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::history::{Error, Spool};

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Starts the thread, which ends, and drops `end`, some time after what is returned is dropped.
pub(super) fn spawn(spool: Spool, end: Sender<()>) -> io::Result<Sender<()>> {
    let (files, no_more_files) = channel();
    let uploads = Uploads {
        spool,
        wait: LOOK,
        told: String::new(),
    };
    thread::Builder::new()
        .name("kh-upload".to_owned())
        .spawn(move || {
            let _end = end;
            uploads.run(&no_more_files);
        })?;
    Ok(files)
}

/// Says that files are not uploaded, and what becomes of them.
pub(super) fn left_behind(spool: &Path) {
    tracing::warn!(
        spool = %spool.display(),
        "files of the archive wait for their upload: the next start with the same [archive] uploads them"
    );
}

struct Uploads {
    spool: Spool,
    wait: Duration,
    /// The last error, so that it is logged once and not at each try.
    told: String,
}

impl Uploads {
    fn run(mut self, no_more_files: &Receiver<()>) {
        loop {
            self.upload();
            if let Err(RecvTimeoutError::Disconnected) = no_more_files.recv_timeout(self.wait) {
                break;
            }
        }
        if self.upload() > 0 {
            left_behind(self.spool.folder());
        }
    }

    /// Uploads what waits, and says how many files still do.
    fn upload(&mut self) -> usize {
        let files = match self.spool.waiting() {
            Ok(files) => files,
            Err(error) => {
                self.failed(&error);
                return 0;
            }
        };
        let mut waiting = files.len();
        for file in &files {
            show(waiting);
            match self.spool.upload(file) {
                Ok(()) => waiting -= 1,
                // Whatever refuses one file refuses the next.
                Err(error @ Error::Store(keyhawk_connectors::Error::Store { .. })) => {
                    self.failed(&error);
                    return waiting;
                }
                Err(error) => self.failed(&error),
            }
        }
        show(waiting);
        if waiting == 0 {
            self.wait = LOOK;
            if !self.told.is_empty() {
                tracing::info!("the archive is uploaded again");
                self.told.clear();
            }
        }
        waiting
    }

    fn failed(&mut self, error: &Error) {
        metrics::counter!("keyhawk_archive_errors_total").increment(1);
        let error = error.to_string();
        if self.told != error {
            let spool = self.spool.folder().display();
            tracing::warn!(%spool, "the archive: {error}; files wait on this machine, and are tried again");
            self.told = error;
        }
        self.wait = (self.wait * 2).min(WAIT_MAX);
    }
}

fn show(waiting: usize) {
    metrics::gauge!("keyhawk_archive_waiting_files").set(waiting as f64);
}

#[cfg(test)]
mod tests;
