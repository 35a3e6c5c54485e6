//! The console: what machines ask a running instance over HTTP.
//!
//!   GET /metrics   Prometheus text
//!   GET /healthz   200 while the pipeline moves; 503 says: restart me
//!   GET /readyz    200 once rules are loaded and partitions assigned, else 503; details as JSON
//!
//! It runs on a thread and a runtime of its own, so that a busy pipeline still answers and a busy
//! console delays no record.

pub mod metric_names;
mod status;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::sync::oneshot;

use metric_names::{Kind, LATENCY_BUCKETS_S, METRICS};
pub use status::{HEARTBEAT_AGE_MS_MAX, Status};

/// Between scrapes histograms keep every value; this often they are folded into their buckets.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// How long answers under way may take once the console is told to stop.
const STOP_WAIT: Duration = Duration::from_secs(1);

/// Makes the process's recorder of metrics and describes every one of them. Further calls return
/// the same handle.
///
/// # Panics
///
/// If something else has installed a recorder in this process before.
pub fn install_metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let handle = PrometheusBuilder::new()
                .set_buckets(LATENCY_BUCKETS_S)
                .expect("the list of buckets is not empty")
                .install_recorder()
                .expect("nothing else in this process installs a recorder");
            describe_all();
            handle
        })
        .clone()
}

fn describe_all() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.unit, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.unit, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
}

/// A running console. Dropping it stops it too.
#[derive(Debug)]
pub struct ConsoleHandle {
    /// Where it listens; the port is the real one where 0 was asked for.
    pub local_addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ConsoleHandle {
    /// Stops listening and waits for answers under way, at most a second.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for ConsoleHandle {
    fn drop(&mut self) {
        // The sender's end is the signal, whether or not the other side still listens.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the console's thread panicked");
        }
    }
}

/// Listens on `address` and answers from `status` and `metrics` until the handle is dropped.
///
/// # Errors
///
/// The address cannot be listened on, or the system gives no thread.
pub fn serve(
    address: SocketAddr,
    status: Arc<Status>,
    metrics: PrometheusHandle,
) -> io::Result<ConsoleHandle> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let local_addr = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let (stop, stopped) = oneshot::channel();
    let router = router(status, metrics.clone());
    let thread = std::thread::Builder::new()
        .name("console".to_owned())
        .spawn(move || {
            runtime.block_on(answer(listener, router, metrics, stopped));
        })?;
    Ok(ConsoleHandle {
        local_addr,
        stop: Some(stop),
        thread: Some(thread),
    })
}

/// Answers until `stopped` resolves, then a little longer for what is under way.
async fn answer(
    listener: tokio::net::TcpListener,
    router: Router,
    metrics: PrometheusHandle,
    stopped: oneshot::Receiver<()>,
) {
    let (begin_stop, stop_begun) = oneshot::channel::<()>();
    let server = axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            // An error means that the other end is gone, which is the signal.
            let _ = stop_begun.await;
        })
        .into_future();
    let deadline = async move {
        let _ = stopped.await;
        drop(begin_stop);
        tokio::time::sleep(STOP_WAIT).await;
    };
    let upkeep = async move {
        let mut ticks = tokio::time::interval(UPKEEP_EVERY);
        loop {
            ticks.tick().await;
            metrics.run_upkeep();
        }
    };
    tokio::select! {
        ended = server => {
            if let Err(error) = ended {
                tracing::error!(%error, "the console ended, and answers no more");
            }
        }
        () = deadline => {}
        () = upkeep => {}
    }
}

fn router(status: Arc<Status>, metrics: PrometheusHandle) -> Router {
    let for_health = Arc::clone(&status);
    Router::new()
        .route(
            "/metrics",
            get(move || async move {
                let kind = [(
                    header::CONTENT_TYPE,
                    "text/plain; version=0.0.4; charset=utf-8",
                )];
                (kind, metrics.render())
            }),
        )
        .route(
            "/healthz",
            get(move || async move { json(for_health.health(status::clock_ms())) }),
        )
        .route(
            "/readyz",
            get(move || async move { json(status.readiness()) }),
        )
}

/// An answer of [`Status`]: whether all is well, and the details.
fn json((well, details): (bool, serde_json::Value)) -> impl IntoResponse {
    let code = if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        code,
        [(header::CONTENT_TYPE, "application/json")],
        format!("{details}\n"),
    )
}

#[cfg(test)]
mod tests;
