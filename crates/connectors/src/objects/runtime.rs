//! The thread on which requests run, so that whoever waits for one needs no runtime of its own.
//!
//! ```text
//!   any thread ──▶ start(request) ──▶ kh-objects: all requests of a `Stores`, interleaved
//!        └──◀── wait() ◀── a channel ◀──┘
//! ```
//!
//! Waiting blocks the thread that waits, also one that runs tasks. The thread ends with the last handle;
//! requests that are under way then are dropped.

use std::future::Future;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::{Error, Result};

/// A handle of the thread.
pub(super) struct Runtime {
    handle: Handle,
    /// Ends the thread when it is dropped.
    _ends: oneshot::Sender<()>,
}

impl Runtime {
    pub(super) fn start() -> Result<Runtime> {
        let failed = |error: std::io::Error| Error::Client {
            doing: "starting the thread for object stores",
            reason: error.to_string(),
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .thread_name("kh-objects")
            .build()
            .map_err(failed)?;
        let handle = runtime.handle().clone();
        let (ends, ended) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("kh-objects".to_owned())
            .spawn(move || drop(runtime.block_on(ended)))
            .map_err(failed)?;
        Ok(Runtime {
            handle,
            _ends: ends,
        })
    }

    /// Begins a request.
    pub(super) fn start_request<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
    ) -> Pending<T> {
        let (send, answer) = sync_channel(1);
        self.handle.spawn(async move {
            // Whoever asked may have gone.
            drop(send.try_send(request.await));
        });
        Pending(answer)
    }
}

/// A request that is under way.
pub(super) struct Pending<T>(Receiver<T>);

impl<T> Pending<T> {
    /// Blocks until the answer is there; None where the request panicked.
    pub(super) fn wait(self) -> Option<T> {
        self.0.recv().ok()
    }
}
