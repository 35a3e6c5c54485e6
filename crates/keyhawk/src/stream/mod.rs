//! The run over Kafka: topics in; alerts, commands, late rows, dead letters and chat messages out.
//!
//! ```text
//!   kh-source ──▶ events ─┐                                          ┌──▶ kh-sink ──▶ Kafka
//!                         ├─▶ kh-pipeline: Partition … ─▶ Delivery ──┤
//!   kh-sink ──▶ receipts ─┤        ▲                                 └──▶ kh-source: commits
//!   kh-geoip ─▶ databases ┤        └─ held batches, revokes, ticks
//!   kh-rules ─▶ rules ────┘
//!                                          └──▶ kh-archive ──▶ files of history
//!
//!   main: waits for a signal or the pipeline's end        kh-chat: alerts topic ─▶ webhook
//! ```
//!
//! One thread owns all partitions and every decision; what is asynchronous happens in the client's
//! own threads and comes back as messages. State is in memory: windows that are open at a stop are
//! forgotten, and so is what a key was seen to do before.

mod archive;
mod geo_watch;
mod lane;
mod late_share;
mod outbox;
mod outputs;
mod pipeline;
mod releases;
mod rule_watch;
mod setup;
mod signals;
mod topics;
mod trouble;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keyhawk_sql::Problem;

use crate::config::{self, Config};
use crate::{history, partition, rule_set};

/// How long a rebalance or a stop waits for outputs and commits. With the four seconds that the
/// source may take to leave the group and the two and a half of the sink, a stop stays below ten.
const RELEASE_WAIT: Duration = Duration::from_secs(3);
/// How long after a signal the archive's files may take to be complete; they are at it from the moment
/// at which the partitions are given back.
const ARCHIVE_WITHIN: Duration = Duration::from_secs(9);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By a signal, with everything published and committed as far as the brokers allowed.
    Stopped,
    /// A partition met a broken invariant; the others were finished first.
    Failed,
}

/// Why a run did not start.
#[derive(Debug)]
pub enum Error {
    /// The configuration lacks something that only `run` needs.
    Config(config::Error),
    /// The rule directory did not load.
    Rules(rule_set::Error),
    /// Rules need state across partitions.
    Unkeyed(Vec<Problem>),
    /// A topic is keyed by a column that the rules were not compiled for.
    KeyedBy {
        /// The topic.
        topic: String,
        /// Its key.
        column: String,
    },
    /// The secret, a prefix, a topic's settings or a GeoIP database.
    Events(keyhawk_events::Error),
    /// A partition's pipeline cannot be made.
    Partition(partition::Error),
    /// The archive's folder.
    Archive(history::Error),
    /// Kafka or the webhook's address.
    Connect(keyhawk_connectors::Error),
    /// The console's address cannot be had.
    Console {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system gave no thread or no signal handler.
    System {
        /// What it was for.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Config(error) => error.fmt(f),
            Error::Rules(error) => error.fmt(f),
            Error::Unkeyed(problems) => {
                for problem in problems {
                    writeln!(f, "{problem}\n")?;
                }
                write!(
                    f,
                    "{} need state across partitions, which `run` does not have; `replay` runs them",
                    rule_set::count(problems.len(), "place")
                )
            }
            Error::KeyedBy { topic, column } => write!(
                f,
                "topic {topic} is keyed by {column}, and rules keep their state by {}: key its \
                 records by that, or replay it from files",
                rule_set::KEY
            ),
            Error::Events(error) => error.fmt(f),
            Error::Partition(error) => error.fmt(f),
            Error::Archive(error) => write!(
                f,
                "the archive: {error}; set another `folder` in [archive], or none"
            ),
            Error::Connect(error) => error.fmt(f),
            Error::Console { address, source } => write!(
                f,
                "the console cannot listen on {address}: {source}; set another address or port \
                 with `listen` in [console]"
            ),
            Error::System { doing, source } => write!(f, "{doing}: {source}"),
        }
    }
}

impl std::error::Error for Error {}

/// Why the main thread wakes up.
enum Wake {
    Stop,
    PipelineEnded,
}

/// Runs until SIGTERM or SIGINT, or until a partition fails; blocks. Logging is set up already.
///
/// # Errors
///
/// Whatever keeps the run from starting. Afterwards nothing is an error: the outside is waited
/// for, and bad records and failing rows are counted.
pub fn run(config: &Config) -> Result<Ended, Error> {
    let ready = setup::prepare(config)?;
    let control = ready.control();
    let stopping = Arc::new(AtomicBool::new(false));
    let (wake, woken) = channel();
    let system = |doing| move |source| Error::System { doing, source };

    let on_signal = wake.clone();
    let rules = rule_watch::spawn(
        &config.rules,
        ready.rule_files.clone(),
        ready.rules(),
        ready.status(),
    )
    .map_err(system("starting the thread that watches the rules"))?;
    let asker = rules.asker();
    let look = move || {
        tracing::info!("looking at the rules, as SIGHUP asks for");
        drop(asker.send(rule_watch::Look::AtOnce));
    };
    signals::watch(move || drop(on_signal.send(Wake::Stop)), look)
        .map_err(system("handling signals"))?;
    let geo = geo_watch::spawn(ready.geo.as_ref().clone(), config.geoip.reload)
        .map_err(system("starting the thread that watches GeoIP files"))?;
    let setup::Ready {
        pipeline,
        console,
        chat,
        archive,
        ..
    } = ready;
    let pipeline = pipeline.with(geo, rules, Arc::clone(&stopping));
    let thread = std::thread::Builder::new()
        .name("kh-pipeline".to_owned())
        .spawn(move || {
            let _ended = OnDrop(wake);
            pipeline.run()
        })
        .map_err(system("starting the pipeline"))?;

    if let Ok(Wake::Stop) = woken.recv() {
        tracing::info!("stopping: what was read is finished, published and committed");
    }
    let archive_until = Instant::now() + ARCHIVE_WITHIN;
    stopping.store(true, Ordering::Release);
    if let Some(archive) = &archive {
        archive.hurry();
    }
    control.stop();
    // Side by side with the pipeline's end: a message under way may take its time.
    if let Some(chat) = chat {
        chat.stop();
    }
    let ended = thread.join().unwrap_or_else(|_| {
        tracing::error!("the pipeline panicked; this is a fault of Keyhawk, please report it");
        Ended::Failed
    });
    if let Some(archive) = archive {
        archive.wait(archive_until);
    }
    console.stop();
    tracing::info!("stopped");
    Ok(ended)
}

/// Tells the main thread that the pipeline has ended, also by a panic.
struct OnDrop(std::sync::mpsc::Sender<Wake>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        drop(self.0.send(Wake::PipelineEnded));
    }
}

/// The clock, in milliseconds since 1970.
fn now_ms() -> i64 {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

/// A duration in whole milliseconds, the longest for what does not fit.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
