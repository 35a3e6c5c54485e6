//! SIGTERM and SIGINT: the first asks for a stop, the second ends the process at once. SIGHUP asks to
//! look at the rules.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit status after a second signal: nothing was finished.
const IMPATIENT: i32 = 130;

/// Calls `stop` on the first signal that asks for it, and `look` on each that asks to look at the
/// rules, from a thread of its own that lives as long as the process.
///
/// # Errors
///
/// The system gives no thread or takes no handler.
pub(super) fn watch(
    stop: impl FnOnce() + Send + 'static,
    look: impl Fn() + Send + 'static,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        }
    };
    let wait = move || {
        runtime.block_on(signals.stop(&look));
        stop();
        runtime.block_on(signals.stop(&look));
        tracing::warn!("a second signal: ended at once, the rest is read again at the next start");
        std::process::exit(IMPATIENT);
    };
    std::thread::Builder::new()
        .name("kh-signals".to_owned())
        .spawn(wait)?;
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Waits until a stop is asked for.
    async fn stop(&mut self, look: &impl Fn()) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => look(),
            }
        }
    }
}
