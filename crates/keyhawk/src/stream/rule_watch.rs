//! Looks at the rule directory now and then, and at once when asked; hands changed rules, compiled, to
//! the pipeline.
//!
//! ```text
//!   names, sizes, times ──changed──▶ settled? ──▶ read, compile ──▶ run takes it? ──▶ pipeline
//!        every `reload`, SIGHUP           └─ not yet: again            └─ no: said, the old set stays
//! ```
//!
//! Compiling takes a while, and is done here so that detection does not wait. A directory that does not
//! load is looked at again when it changes, not before.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use keyhawk_alerts::TimeMs;
use serde_json::json;

use super::{Error, now_ms};
use crate::config;
use crate::console::Status;
use crate::rule_set::{RuleSet, RuleTexts};
use crate::tables;

/// Somebody is still writing while the files change within this time.
const SETTLED: Duration = Duration::from_millis(300);
/// How often that is waited for: a directory that never rests is read all the same, and what is half
/// written does not load.
const SETTLE_TRIES: usize = 10;

/// A running watch. Dropping it ends its thread.
pub(super) struct RuleWatch {
    pub(super) changed: Receiver<Arc<RuleSet>>,
    to_thread: Sender<Look>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is told.
pub(super) enum Look {
    /// Look now.
    AtOnce,
    /// Look no more.
    End,
}

/// Reads a rule directory for `run`.
///
/// # Errors
/// What does not load, and rules that need state across partitions.
pub(super) fn load(dir: &Path) -> Result<Arc<RuleSet>, Error> {
    let rules = RuleTexts::read(dir)
        .and_then(RuleTexts::compile)
        .map_err(Error::Rules)?;
    if !rules.compiled.unkeyed.is_empty() {
        return Err(Error::Unkeyed(rules.compiled.unkeyed));
    }
    Ok(Arc::new(rules))
}

/// Keeps the versions of the reference tables that are in force from now on. That they cannot be kept
/// stops no detection.
pub(super) fn keep_tables(rules: &RuleSet, history: Option<&Path>) {
    let Some(folder) = history else {
        return;
    };
    if let Err(error) = tables::history::keep(folder, &rules.tables, TimeMs(now_ms())) {
        tracing::error!(
            "versions of reference tables are not kept, no backtest can read them: {error}"
        );
    }
}

/// Shows the rules in force in `/readyz`.
pub(super) fn show(rules: &RuleSet, status: &Status) {
    status.set_detail(
        "rules",
        json!({
            "count": rules.alerts.len(),
            "version": rules.version,
            "since": TimeMs(now_ms()),
        }),
    );
}

/// Says that a change of the directory is not taken up.
pub(super) fn refuse(error: &dyn std::fmt::Display, status: &Status) {
    metrics::counter!("keyhawk_rule_reloads_total", "result" => "refused").increment(1);
    tracing::error!("the rules changed and do not load, those in force stay:\n{error}");
    status.set_detail(
        "rules_refused",
        json!({ "at": TimeMs(now_ms()), "problem": error.to_string() }),
    );
}

/// Watches a directory of which the rules in force were loaded after `known` was taken.
///
/// # Errors
///
/// The system gives no thread.
pub(super) fn spawn(
    settings: &config::Rules,
    mut known: Stamp,
    in_force: &RuleSet,
    status: Arc<Status>,
) -> io::Result<RuleWatch> {
    let config::Rules {
        dir,
        reload,
        tables_history,
    } = settings.clone();
    let (sender, changed) = channel();
    let (to_thread, looks) = channel::<Look>();
    let mut version = in_force.version.clone();
    let watch = move || {
        loop {
            let is_asked = match looks.recv_timeout(reload) {
                Ok(Look::AtOnce) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Ok(Look::End) | Err(RecvTimeoutError::Disconnected) => return,
            };
            if !is_asked && stamp(&dir) == known {
                continue;
            }
            known = settled(&dir);
            match load(&dir) {
                Ok(rules) if rules.version == version => {
                    status.set_detail("rules_refused", json!(null));
                }
                Ok(rules) => {
                    version.clone_from(&rules.version);
                    keep_tables(&rules, tables_history.as_deref());
                    if sender.send(rules).is_err() {
                        return;
                    }
                }
                Err(error) => refuse(&error, &status),
            }
        }
    };
    let thread = thread::Builder::new()
        .name("kh-rules".to_owned())
        .spawn(watch)?;
    Ok(RuleWatch {
        changed,
        to_thread,
        thread: Some(thread),
    })
}

impl RuleWatch {
    /// What asks for a look at once.
    pub(super) fn asker(&self) -> Sender<Look> {
        self.to_thread.clone()
    }
}

/// What tells that a file changed: its size and the time of its last change.
pub(super) type Stamp = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

/// The files of a rule directory. What cannot be read now is as if it were not there.
pub(super) fn stamp(dir: &Path) -> Stamp {
    let mut files = Stamp::new();
    let mut add = |path: PathBuf| {
        if let Ok(about) = fs::metadata(&path) {
            files.insert(path, (about.len(), about.modified().ok()));
        }
    };
    add(dir.join("events.toml"));
    for folder in ["rules", "views", "tables"] {
        let entries = fs::read_dir(dir.join(folder)).into_iter().flatten();
        entries.flatten().for_each(|entry| add(entry.path()));
    }
    files
}

/// The files once they have not changed for a moment.
fn settled(dir: &Path) -> Stamp {
    let mut before = stamp(dir);
    for _ in 0..SETTLE_TRIES {
        thread::sleep(SETTLED);
        let now = stamp(dir);
        if now == before {
            break;
        }
        before = now;
    }
    before
}

impl Drop for RuleWatch {
    fn drop(&mut self) {
        // The channel stays open: signals hold an end of it as long as the process lives.
        drop(self.to_thread.send(Look::End));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches the rules panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_tells_new_changed_and_missing_files() {
        let dir = tempfile::tempdir().unwrap();
        let rules = dir.path().join("rules");
        fs::create_dir(&rules).unwrap();
        let empty = stamp(dir.path());
        fs::write(rules.join("a.sql"), "SELECT 1").unwrap();
        let one = stamp(dir.path());
        assert_ne!(empty, one);
        fs::write(rules.join("a.sql"), "SELECT 12").unwrap();
        let changed = stamp(dir.path());
        assert_ne!(one, changed);
        fs::remove_file(rules.join("a.sql")).unwrap();
        assert_eq!(stamp(dir.path()), empty);
        fs::write(dir.path().join("events.toml"), "").unwrap();
        assert_ne!(stamp(dir.path()), empty);
    }
}
