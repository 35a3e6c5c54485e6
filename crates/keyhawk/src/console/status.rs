//! How the instance is: written by the pipeline, read by the console.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// A pipeline whose last heartbeat is older does not move any more. It beats at least once a second
/// while all is well; half a minute allows for a broker that answers slowly, and is well below the
/// five minutes after which the consumer group gives the partitions to others.
pub const HEARTBEAT_AGE_MS_MAX: i64 = 30_000;

/// The state of an instance. Cheap to write: a heartbeat is one atomic store.
#[derive(Debug)]
pub struct Status {
    ready: AtomicBool,
    heartbeat_ms: AtomicI64,
    details: Mutex<BTreeMap<String, Value>>,
}

impl Status {
    /// An instance that starts at `now_ms` (milliseconds since 1970): not ready, and taken for
    /// healthy until its first heartbeat is due.
    pub fn new(now_ms: i64) -> Arc<Self> {
        Arc::new(Self {
            ready: AtomicBool::new(false),
            heartbeat_ms: AtomicI64::new(now_ms),
            details: Mutex::new(BTreeMap::new()),
        })
    }

    /// The pipeline moved at `now_ms`. Call it at least once a second, idle or not.
    pub fn heartbeat(&self, now_ms: i64) {
        self.heartbeat_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// Whether rules are loaded and partitions assigned.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Shows `value` under `name` in the details of `/readyz`, in place of an earlier one. Never a
    /// credential or any other secret.
    pub fn set_detail(&self, name: &str, value: Value) {
        self.details().insert(name.to_owned(), value);
    }

    /// The answer of `/healthz` at `now_ms`.
    pub(super) fn health(&self, now_ms: i64) -> (bool, Value) {
        let age_ms = now_ms
            .saturating_sub(self.heartbeat_ms.load(Ordering::Relaxed))
            .max(0);
        let healthy = age_ms <= HEARTBEAT_AGE_MS_MAX;
        (
            healthy,
            json!({ "healthy": healthy, "heartbeat_age_ms": age_ms }),
        )
    }

    /// The answer of `/readyz`.
    pub(super) fn readiness(&self) -> (bool, Value) {
        let ready = self.ready.load(Ordering::Relaxed);
        let details: serde_json::Map<String, Value> = self.details().clone().into_iter().collect();
        (ready, json!({ "ready": ready, "details": details }))
    }

    /// A map of values is whole whatever panicked beside it.
    fn details(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock, in milliseconds since 1970.
pub(super) fn clock_ms() -> i64 {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}
