//! Webhook messages in Slack's incoming format, which Mattermost and others take too.
//!
//! ```text
//!   Alert ──▶ Grouper ──┬── few entities ──▶ message()        one alert
//!                       └── a storm ───────▶ storm message    the count and the five loudest
//! ```
//!
//! A message has a `text` (what a phone shows) and one legacy attachment with fields: the one form
//! that both Slack and Mattermost lay out. Everything that came with a request may have been chosen
//! by an attacker, so no text of an alert can mention a channel, hide a link or break a line.

mod message;
mod storm;
mod text;

pub use message::message;
pub use storm::{ChatMessage, Grouper};

/// What chat shows, and from when on it groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatConfig {
    /// Whether client addresses are shown. Default: false; country and network operator are shown
    /// anyway.
    pub show_address: bool,
    /// A rule that alerts on more entities than this within `storm_window_ms` is a storm. Default
    /// 20.
    pub storm_entities: usize,
    /// See there. Default: ten minutes.
    pub storm_window_ms: i64,
    /// How often a storm is summed up, and so how long an alert of a storm waits at most. Default:
    /// one minute.
    pub storm_interval_ms: i64,
}

impl Default for ChatConfig {
    fn default() -> Self {
        Self {
            show_address: false,
            storm_entities: 20,
            storm_window_ms: 600_000,
            storm_interval_ms: 60_000,
        }
    }
}
