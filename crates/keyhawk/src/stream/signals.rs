//! SIGTERM and SIGINT: the first asks for a stop, the second ends the process at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit status after a second signal: nothing was finished.
const IMPATIENT: i32 = 130;

/// Calls `stop` on the first signal, from a thread of its own that lives as long as the process.
///
/// # Errors
///
/// The system gives no thread or takes no handler.
pub(super) fn watch(stop: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        )
    };
    let wait = move || {
        runtime.block_on(either(&mut terminate, &mut interrupt));
        stop();
        runtime.block_on(either(&mut terminate, &mut interrupt));
        tracing::warn!("a second signal: ended at once, the rest is read again at the next start");
        std::process::exit(IMPATIENT);
    };
    std::thread::Builder::new()
        .name("kh-signals".to_owned())
        .spawn(wait)?;
    Ok(())
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
