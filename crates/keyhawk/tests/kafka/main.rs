//! All tests that need a Kafka, in one binary that owns the broker.
//!
//! The broker is started by the first test that needs it, and so not for `--list`; it is ended after
//! the last, also where tests panicked. Where none can be had, each test fails with the sentence
//! that says what to install. A test that stops the broker runs alone, the others side by side.

#![allow(
    clippy::disallowed_methods,
    reason = "tests read files, wait and look at the clock"
)]
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

mod connectors;
mod run;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use keyhawk_testkit::kafka::Broker;
use libtest_mimic::{Arguments, Failed, Trial};

static HARNESS: Harness = Harness {
    broker: Mutex::new(Start::NotYet),
    peace: RwLock::new(()),
    topics: AtomicU32::new(0),
};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = [connectors::trials(&HARNESS), run::trials(&HARNESS)]
        .into_iter()
        .flatten()
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    HARNESS.end();
    conclusion.exit_code()
}

/// The broker of this run, and who may disturb it.
pub struct Harness {
    broker: Mutex<Start>,
    peace: RwLock<()>,
    topics: AtomicU32,
}

enum Start {
    NotYet,
    Running(Arc<Broker>),
    Failed(String),
}

impl Harness {
    /// A test that shares the broker with others.
    pub fn trial(&'static self, name: &str, test: fn(&'static Harness, &Broker)) -> Trial {
        Trial::test(name, move || {
            let _peace = self.peace.read().unwrap_or_else(PoisonError::into_inner);
            test(self, &*self.broker()?);
            Ok(())
        })
    }

    /// A test that has the broker for itself, to stop it and start it again.
    pub fn trial_alone(&'static self, name: &str, test: fn(&'static Harness, &Broker)) -> Trial {
        Trial::test(name, move || {
            let _peace = self.peace.write().unwrap_or_else(PoisonError::into_inner);
            let broker = self.broker()?;
            if broker.can_restart() {
                test(self, &broker);
            } else {
                eprintln!("SKIPPED: named brokers are not restarted by a test");
            }
            Ok(())
        })
    }

    /// A name for a topic or a group that no other test and no earlier run has used.
    pub fn fresh(&self, name: &str) -> String {
        let number = self.topics.fetch_add(1, Ordering::Relaxed);
        let run = std::time::SystemTime::now()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_millis();
        format!("{name}-{run:x}-{number}")
    }

    fn broker(&self) -> Result<Arc<Broker>, Failed> {
        let mut start = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*start, Start::NotYet) {
            *start = match Broker::start() {
                Ok(broker) => Start::Running(Arc::new(broker)),
                Err(error) => Start::Failed(error.to_string()),
            };
        }
        match &*start {
            Start::Running(broker) => Ok(Arc::clone(broker)),
            Start::Failed(reason) => Err(reason.into()),
            Start::NotYet => unreachable!("it was just started"),
        }
    }

    fn end(&self) {
        let mut start = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        // Dropping the broker ends it.
        *start = Start::NotYet;
    }
}
