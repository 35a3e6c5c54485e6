//! Findings and time become alerts, proposals and commands.
//!
//! ```text
//!   Finding ──▶ Dedup ──┬──▶ Alert ─────▶ alerts topic ──▶ Grouper ──▶ ChatMessage
//!   (one row of a rule) │
//!                       └──▶ Proposal ──▶ Guard ──┬──▶ Command, to be carried out
//!                                                 └──▶ Command, shadow: what would have been done
//! ```
//!
//! - [`Dedup`] is an operator of the partition machine and runs on event time alone: what it emits
//!   is a function of the findings and of the watermarks, so a replay emits it again, ids included.
//! - [`Guard`] is a stage of its own, one for the whole deployment, and runs on the time of day that
//!   its caller passes in. Its input and its output are plain serde messages.
//! - [`Grouper`] turns alerts, read back from their topic, into webhook messages, and a storm of
//!   them into one.
//!
//! Nothing here reads a clock, a file or a socket. Times are milliseconds since 1970 UTC; in JSON
//! they are RFC 3339 text in UTC with milliseconds ([`TimeMs`]).
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod alert;
pub mod chat;
mod command;
mod dedup;
mod digest;
mod error;
mod explain;
mod finding;
mod guard;
mod readable;
mod rule;
mod template;
mod time;

pub use alert::{ALERT_SCHEMA, ALERT_SCHEMA_ID, Alert, Entity, Status, alert_id, stamp};
pub use chat::{ChatConfig, ChatMessage, Grouper, message};
pub use command::{
    COMMAND_SCHEMA, COMMAND_SCHEMA_ID, Command, CommandMode, CommandTopic, Proposal, Target,
};
pub use dedup::{Dedup, DedupEntry, Emitted, UPDATE_INTERVAL_MS};
pub use error::{Error, Result};
pub use explain::{Why, WhySpec};
pub use finding::{Evidence, Finding};
pub use guard::{
    BUDGET_RULE, Decision, EVIDENCE_MAX_AGE_MS, Guard, GuardConfig, Mode, ShadowReason,
};
pub use rule::{Action, AlertRule, Severity};
pub use template::Template;
pub use time::TimeMs;
