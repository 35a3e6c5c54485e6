//! Looks at the GeoIP files now and then, and hands changed databases to the pipeline.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use keyhawk_events::{GeoDatabases, ReloadOutcome};

/// A running watch. Dropping it ends its thread.
pub(super) struct GeoWatch {
    pub(super) changed: Receiver<Arc<GeoDatabases>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Watches the files of these databases; a damaged file leaves the old one in use and is logged.
///
/// # Errors
///
/// The system gives no thread.
pub(super) fn spawn(mut databases: GeoDatabases, every: Duration) -> io::Result<GeoWatch> {
    let (sender, changed) = channel();
    let (stop, stopped) = channel::<()>();
    let thread = std::thread::Builder::new().name("kh-geoip".to_owned()).spawn(move || {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(every) {
            let mut reloaded = false;
            for outcome in databases.reload_if_changed() {
                match outcome {
                    ReloadOutcome::Reloaded { path } => {
                        reloaded = true;
                        tracing::info!(path = %path.display(), "a GeoIP database was reloaded");
                    }
                    ReloadOutcome::Kept { path, error } => tracing::warn!(
                        path = %path.display(),
                        "a GeoIP database changed and cannot be used, the old one stays: {error}"
                    ),
                }
            }
            if reloaded && sender.send(Arc::new(databases.clone())).is_err() {
                return;
            }
        }
    })?;
    Ok(GeoWatch {
        changed,
        stop: Some(stop),
        thread: Some(thread),
    })
}

impl Drop for GeoWatch {
    fn drop(&mut self) {
        // The channel's end is the signal.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches GeoIP files panicked");
        }
    }
}
