//! The archive of a run: a thread of its own that writes decoded rows to files of history.
//!
//! ```text
//!   kh-pipeline ──▶ rows of a batch, ends of assignments ──▶ kh-archive: a writer a partition ──▶ files
//!        ▲                     at most 16                         │ a write fails: wait, again; in
//!        └── batches wait while the queue is full ◀───────────────┘ the end the file is given up
//!
//!   where the archive is in an object store:      files ──▶ kh-upload ──▶ objects, see upload.rs
//! ```
//!
//! Detection and its commits do not wait for files, so the archive may have less than what is committed,
//! and what is read again may be there twice (readers drop repeats by topic, partition and offset):
//!
//! | what happens | rows that are missing |
//! |---|---|
//! | a stop, a rebalance | none: files are completed, within the time that a stop has |
//! | a slow disk | none: batches wait, and then Kafka |
//! | a full or failing disk, for less than [`PATIENCE`] | none: writes are tried again |
//! | for longer | the unfinished file's, and the batches' until a write succeeds; counted and logged |
//! | a crash | those of unfinished files, no older than `file_age_max` |
//! | an object store that fails, for however long | none: complete files wait in the spool, a disk as above |
//! | a stop or a crash meanwhile | none of those that wait: the next start uploads them, if the spool is still there |
//!
//! Missing rows that Kafka still has are archived when the group's offsets are set back.
//!
//! State: a queue of batches; for each partition with an unfinished file one row group, compressed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use keyhawk_connectors::Stores;
use keyhawk_engine::delivery::TopicPartition;
use keyhawk_events::{Decoded, EventsSchema};

use super::Error;
use crate::config;
use crate::history::{
    ArchiveSettings, ArchiveWriter, Error as HistoryError, Retry, Spool, Written, all_rows,
    is_passing,
};

mod upload;

/// Batches that may wait to be written: a second's worth, and some 100 MB where they are full.
const QUEUE_BATCHES: usize = 16;
/// How long writes are tried again. Detection waits as long, once the queue is full.
const PATIENCE: Duration = Duration::from_secs(30);
/// The first wait between two tries; each is twice the one before, up to a limit.
const WAIT_MIN: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How often a wait looks whether the process stops.
const GLANCE: Duration = Duration::from_millis(50);
/// How often files are looked at for their age.
const LOOK: Duration = Duration::from_secs(1);

/// The pipeline's end of the archive. Dropping it completes all files.
pub(super) struct Archive {
    to_thread: Sender<Message>,
    shared: Arc<Shared>,
}

/// The main thread's end of the archive.
pub(super) struct ArchiveThread {
    shared: Arc<Shared>,
    ended: Receiver<()>,
    /// Where complete files wait for their upload.
    spool: Option<PathBuf>,
}

/// Where an archive is written.
pub(super) enum Destination {
    Folder(PathBuf),
    Store(Spool),
}

enum Message {
    Rows(TopicPartition, Box<Decoded>),
    Close(TopicPartition),
    Table(Arc<EventsSchema>),
}

#[derive(Default)]
struct Shared {
    queued: AtomicUsize,
    /// The process stops: nothing is waited for.
    hurry: AtomicBool,
    /// The thread has ended: the pipeline did, or it is by a fault of ours.
    is_gone: AtomicBool,
}

/// Opens the destination; no request is made.
///
/// # Errors
/// A store that is not built in, or not set up.
pub(super) fn destination(
    settings: &config::Archive,
    stores: &Stores,
) -> Result<Destination, Error> {
    Ok(match &settings.to {
        config::ArchiveTo::Folder(folder) => Destination::Folder(folder.clone()),
        config::ArchiveTo::Store { url, spool } => {
            Destination::Store(Spool::open(url, spool.as_deref(), stores).map_err(Error::Archive)?)
        }
    })
}

/// Starts the archive.
///
/// # Errors
/// A folder that cannot be made or written to; a store that refuses; no thread.
pub(super) fn spawn(
    settings: &config::Archive,
    destination: Destination,
    table: &Arc<EventsSchema>,
) -> Result<(Archive, ArchiveThread), Error> {
    let (folder, spool) = match destination {
        Destination::Folder(folder) => (folder, None),
        Destination::Store(spool) => (spool.folder().to_owned(), Some(spool)),
    };
    let archive = ArchiveSettings {
        folder,
        file_bytes_max: settings.file_bytes_max,
    };
    // Makes the folder, and says what is wrong before the first event.
    ArchiveWriter::new(&archive, table).map_err(Error::Archive)?;
    probe(&archive.folder).map_err(Error::Archive)?;
    match &spool {
        Some(spool) => {
            ask(spool)?;
            tracing::info!(url = %spool.url(), spool = %archive.folder.display(), "events are archived");
        }
        None => tracing::info!(folder = %archive.folder.display(), "events are archived"),
    }
    let no_thread = |source| Error::System {
        doing: "starting the thread that writes the archive",
        source,
    };
    let shared = Arc::new(Shared::default());
    let (to_thread, messages) = channel();
    let (mut end, ended) = channel();
    let waits_in = spool.as_ref().map(|spool| spool.folder().to_owned());
    if let Some(spool) = spool {
        // The files are complete first, and then they are uploaded.
        end = upload::spawn(spool, end).map_err(no_thread)?;
    }
    let worker = Worker {
        patience: Arc::new(Patience::new(PATIENCE, Arc::clone(&shared))),
        shared: Arc::clone(&shared),
        settings: archive,
        age_max: settings.file_age_max,
        table: Arc::clone(table),
        open: BTreeMap::new(),
    };
    let gone = Gone(Arc::clone(&shared));
    thread::Builder::new()
        .name("kh-archive".to_owned())
        .spawn(move || {
            // Dropped in the end, also by a panic, the guard first.
            let _end: Sender<()> = end;
            let _gone = gone;
            worker.run(&messages);
        })
        .map_err(no_thread)?;
    let archive = Archive {
        to_thread,
        shared: Arc::clone(&shared),
    };
    let thread = ArchiveThread {
        shared,
        ended,
        spool: waits_in,
    };
    Ok((archive, thread))
}

/// Whether objects can be written. A store that is away does not keep detection from its work: files wait.
fn ask(spool: &Spool) -> Result<(), Error> {
    match spool.probe() {
        Err(error) if is_passing(&error) => {
            let folder = spool.folder().display();
            tracing::warn!(%folder, "the archive: {error}; files wait on this machine");
            Ok(())
        }
        asked => asked.map_err(Error::Archive),
    }
}

/// Writes a file and removes it.
fn probe(folder: &Path) -> Result<(), HistoryError> {
    let path = folder.join(format!(".probe.{}.tmp", std::process::id()));
    File::create(&path)
        .and_then(|_| fs::remove_file(&path))
        .map_err(|error| HistoryError::Unwritable {
            path,
            problem: error.to_string(),
        })
}

struct Gone(Arc<Shared>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.is_gone.store(true, Ordering::Release);
    }
}

impl Archive {
    /// Whether batches are to wait.
    pub(super) fn is_full(&self) -> bool {
        self.shared.queued.load(Ordering::Acquire) >= QUEUE_BATCHES
            && !self.shared.is_gone.load(Ordering::Acquire)
    }

    /// Takes the rows of a batch, in the order of the log.
    pub(super) fn push(&self, partition: &TopicPartition, decoded: Box<Decoded>) {
        let rows = decoded.counts.events + decoded.counts.late;
        if rows == 0 {
            return;
        }
        self.shared.queued.fetch_add(1, Ordering::AcqRel);
        if (self
            .to_thread
            .send(Message::Rows(partition.clone(), decoded)))
        .is_err()
        {
            // It panicked; the panic was printed.
            lost(partition, rows);
        }
    }

    /// Writes the columns of another table from the next batch on; files of the old one are completed.
    pub(super) fn set_table(&self, table: &Arc<EventsSchema>) {
        drop(self.to_thread.send(Message::Table(Arc::clone(table))));
    }

    /// Completes the partition's file: the partition goes to another instance, or comes anew.
    pub(super) fn close(&self, partition: &TopicPartition) {
        drop(self.to_thread.send(Message::Close(partition.clone())));
    }
}

impl ArchiveThread {
    /// Says that the process stops, so that failed writes are not waited for.
    pub(super) fn hurry(&self) {
        self.shared.hurry.store(true, Ordering::Release);
    }

    /// Waits until the files are complete; the pipeline's end is dropped already.
    pub(super) fn wait(&self, deadline: Instant) {
        let patience = deadline.saturating_duration_since(Instant::now());
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(patience) {
            let is_written = self.shared.is_gone.load(Ordering::Acquire);
            if let (true, Some(spool)) = (is_written, &self.spool) {
                return upload::left_behind(spool);
            }
            tracing::error!(
                "the archive's files are not complete in time: the rows in them are not archived, \
                 and will not be unless the group's offsets are set back"
            );
        }
    }
}

fn lost(partition: &TopicPartition, rows: u64) {
    if rows > 0 {
        metrics::counter!("keyhawk_archive_lost_rows_total").increment(rows);
        tracing::error!(
            %partition,
            rows,
            "rows are not archived, and will not be unless the group's offsets are set back"
        );
    }
}

/// How long failing writes are tried again. Once it is used up each has one try, until one succeeds.
struct Patience {
    limit: Duration,
    shared: Arc<Shared>,
    waited_ms: AtomicU64,
    /// The last error, so that it is logged once and not at each try.
    told: Mutex<String>,
}

impl Patience {
    fn new(limit: Duration, shared: Arc<Shared>) -> Self {
        Patience {
            limit,
            shared,
            waited_ms: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    /// Counts an error, and waits; says whether to try again.
    fn try_again(&self, error: &dyn fmt::Display) -> bool {
        metrics::counter!("keyhawk_archive_errors_total").increment(1);
        let error = error.to_string();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != error {
            tracing::warn!("the archive: {error}; tried again for {:?}", self.limit);
            *told = error;
        }
        drop(told);
        let waited = Duration::from_millis(self.waited_ms.load(Ordering::Relaxed));
        if waited >= self.limit {
            return false;
        }
        // Waits double, so that what was waited is about as long as the next wait.
        let wait = waited.clamp(WAIT_MIN, WAIT_MAX).min(self.limit - waited);
        let until = Instant::now() + wait;
        while Instant::now() < until {
            if self.shared.hurry.load(Ordering::Acquire) {
                return false;
            }
            thread::sleep(GLANCE.min(wait));
        }
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.waited_ms.fetch_add(wait_ms.max(1), Ordering::Relaxed);
        true
    }

    /// Something was written.
    fn renew(&self) {
        self.waited_ms.store(0, Ordering::Relaxed);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.is_empty() {
            tracing::info!("the archive writes again");
            told.clear();
        }
    }
}

/// The thread.
struct Worker {
    settings: ArchiveSettings,
    age_max: Duration,
    table: Arc<EventsSchema>,
    patience: Arc<Patience>,
    shared: Arc<Shared>,
    open: BTreeMap<TopicPartition, Open>,
}

/// A partition's writer: one each, so that a file given up takes no other partition's along.
struct Open {
    writer: ArchiveWriter,
    pushed: u64,
    /// What was complete when it was last counted.
    counted: Written,
    /// When the unfinished file was begun.
    since: Instant,
}

impl Open {
    /// Rows that are in no complete file.
    fn unfinished(&self) -> u64 {
        self.pushed.saturating_sub(self.writer.written().rows)
    }
}

impl Worker {
    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            match messages.recv_timeout(LOOK) {
                Ok(Message::Rows(partition, decoded)) => {
                    self.write(&partition, &decoded);
                    self.shared.queued.fetch_sub(1, Ordering::AcqRel);
                }
                Ok(Message::Close(partition)) => self.close(&partition),
                Ok(Message::Table(table)) => {
                    self.close_all();
                    self.table = table;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.complete_old();
        }
        self.close_all();
    }

    fn close_all(&mut self) {
        while let Some(partition) = self.open.keys().next().cloned() {
            self.close(&partition);
        }
    }

    /// Writes rows, again and again where they cannot be written.
    fn write(&mut self, partition: &TopicPartition, decoded: &Decoded) {
        let rows = match all_rows(decoded) {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!(%partition, "a fault of Keyhawk, please report it: {error}");
                return lost(partition, decoded.counts.events + decoded.counts.late);
            }
        };
        loop {
            let pushed = self.opened(partition).and_then(|open| {
                let count = rows.num_rows() as u64;
                let before = open.writer.written().files;
                let began = open.unfinished() == 0;
                open.writer.push(&rows)?;
                open.pushed += count;
                if began || open.writer.written().files > before {
                    open.since = Instant::now();
                }
                Ok(())
            });
            match pushed {
                Ok(()) => {
                    self.count(partition);
                    return self.patience.renew();
                }
                Err(error) => {
                    self.give_up(partition);
                    if !self.patience.try_again(&error) {
                        return lost(partition, rows.num_rows() as u64);
                    }
                }
            }
        }
    }

    fn opened(&mut self, partition: &TopicPartition) -> Result<&mut Open, HistoryError> {
        if !self.open.contains_key(partition) {
            let patience = Arc::clone(&self.patience);
            let retry: Retry = Arc::new(move |error: &io::Error| patience.try_again(error));
            let writer = ArchiveWriter::new(&self.settings, &self.table)?.retry_with(retry);
            let open = Open {
                writer,
                pushed: 0,
                counted: Written::default(),
                since: Instant::now(),
            };
            self.open.insert(partition.clone(), open);
        }
        Ok(self
            .open
            .get_mut(partition)
            .expect("it was inserted just now"))
    }

    /// Counts the files that were completed since the last time.
    fn count(&mut self, partition: &TopicPartition) {
        if let Some(open) = self.open.get_mut(partition) {
            let (now, before) = (open.writer.written(), open.counted);
            metrics::counter!("keyhawk_archive_files_total").increment(now.files - before.files);
            metrics::counter!("keyhawk_archive_rows_total").increment(now.rows - before.rows);
            metrics::counter!("keyhawk_archive_bytes_total").increment(now.bytes - before.bytes);
            open.counted = now;
        }
    }

    /// Drops the partition's writer, and with it the unfinished file.
    fn give_up(&mut self, partition: &TopicPartition) {
        self.count(partition);
        if let Some(open) = self.open.remove(partition) {
            lost(partition, open.unfinished());
        }
    }

    /// Completes the partition's file. A file that cannot be completed is not there.
    fn close(&mut self, partition: &TopicPartition) {
        let Some(open) = self.open.get_mut(partition) else {
            return;
        };
        match open.writer.flush() {
            Ok(()) => self.patience.renew(),
            Err(error) => {
                metrics::counter!("keyhawk_archive_errors_total").increment(1);
                tracing::warn!(%partition, "the archive: {error}");
            }
        }
        self.give_up(partition);
    }

    fn complete_old(&mut self) {
        let is_old = |open: &Open| open.unfinished() > 0 && open.since.elapsed() >= self.age_max;
        let old = self.open.iter().filter(|(_, open)| is_old(open));
        let old: Vec<TopicPartition> = old.map(|(partition, _)| partition.clone()).collect();
        for partition in old {
            self.close(&partition);
        }
    }
}

#[cfg(test)]
mod tests;
