//! Detection mathematics, one core behind the batch query and the stream.
//!
//! ```text
//!                       ┌────────────── KeyedFold ──────────────┐
//! stream: rows of many  │ state: columns, index = dense key id  │  one value a row
//! keys, total order ───▶│ update(keys, args)                    ├──▶
//!                       └───────────────────▲───────────────────┘
//! batch: one partition ── WindowUDF ────────┘ the same code, every key index 0
//! ```
//!
//! A window function is a [`KeyedFold`]: rows come in the total order, each gives one value, and what
//! is remembered of a key is small and bounded. The streaming OVER operator drives the fold directly;
//! the batch engine reaches the same fold through a `WindowUDF`, one partition at a time, so that the
//! two results are equal to the bit.
//!
//! Everything that SQL can call is in two plain lists, [`window_functions`] and [`scalar_functions`].
//! `lag`, `row_number` and the functions over a frame are DataFusion's own in batch; here are only their
//! folds, [`lag_fold`], [`row_number_fold`] and [`frame_fold`](frame::frame_fold). Frames of doubles are
//! ours in both modes, under the names in [`frame_functions`](frame::frame_functions).
//! [`session_functions`] are what the planner writes for session windows in batch, and
//! [`retention_function`] and [`generation_function`] for keys that start anew after a silence, and
//! [`fill_function`] for windows that are filled.
//!
//! Nothing in this crate does I/O, reads a clock or draws a random number, and mathematics that a
//! result depends on comes from `libm`, so that every machine computes the same bits.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

use std::sync::Arc;

use datafusion_expr::ScalarUDF;

mod arguments;
pub mod baseline;
mod columns;
mod error;
mod fill;
mod first_seen;
mod fold;
pub mod frame;
mod hop;
mod ip;
mod ip_in;
mod ip_net;
mod key_rows;
mod lag;
mod one_nan;
mod retention;
mod row_number;
mod session;
mod state;
mod text;
mod travel;
mod window;
mod window_bounds;

pub use error::{Error, Result};
pub use fill::{FILL, FillLimits, fill_function};
pub use first_seen::VALUES_PER_KEY;
pub use fold::KeyedFold;
pub use hop::HOP_STARTS;
pub use key_rows::{KeyRows, Latest};
pub use lag::lag_fold;
pub use one_nan::one_nan;
pub use retention::{GENERATION, RETENTION, generation_function, retention_function};
pub use row_number::row_number_fold;
pub use session::{SESSION, SessionLimits, session_functions};
pub use text::StateText;
pub use travel::EARTH_RADIUS_KM;
pub use window::WindowFunction;
pub use window_bounds::{WINDOW_END, WINDOW_SHIFT, WINDOW_START, WINDOW_TIME, window_shift};

/// Every window function of ours that SQL can call: `baseline` and `first_seen`.
pub fn window_functions() -> Vec<WindowFunction> {
    vec![baseline::window_function(), first_seen::window_function()]
}

/// Every scalar function of ours that SQL can call, and those that the planner writes where a rule says
/// `tumble` or `hop`.
pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let mut all = travel::scalar_functions();
    all.extend(ip_in::scalar_functions());
    all.extend(ip_net::scalar_functions());
    all.extend(window_bounds::scalar_functions());
    all.extend(hop::scalar_functions());
    all
}
