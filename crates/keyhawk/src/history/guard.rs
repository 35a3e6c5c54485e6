//! Reads Parquet without trusting it: a panic of the reader becomes an error.
//!
//! The decoder of the `parquet` crate checks most of what a file says, and asserts some of it: a damaged
//! bit width of a dictionary page, say, stops the thread (`bit_util.rs`, version 59). Files are input, and
//! input stops nobody.

use std::any::Any;
use std::cell::Cell;
use std::fmt::Display;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether this thread reads a file now, so that a panic is no fault of the program.
    static IS_READING: Cell<bool> = const { Cell::new(false) };
}

/// What `read` gives, its error or its panic as a sentence. What `read` borrows is not to be read again
/// after an error: it may be half changed.
pub(crate) fn guarded<T, E: Display>(read: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    static QUIET: Once = Once::new();
    // The hook would print each panic, with a backtrace where one is asked for.
    QUIET.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !IS_READING.get() {
                usual(panic);
            }
        }));
    });
    IS_READING.set(true);
    let read = panic::catch_unwind(AssertUnwindSafe(read));
    IS_READING.set(false);
    match read {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("its bytes are damaged ({})", said(panic.as_ref()))),
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_words() {
        let read: Result<(), String> = guarded(|| -> Result<(), String> { panic!("bits: {}", 65) });
        assert_eq!(read, Err("its bytes are damaged (bits: 65)".to_owned()));
        let read: Result<(), String> = guarded(|| Err("no footer"));
        assert_eq!(read, Err("no footer".to_owned()));
        assert_eq!(guarded(|| Ok::<_, String>(7)), Ok(7));
    }
}
