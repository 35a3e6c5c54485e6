//! The integration tests of the binary and its pipeline.
//!
//! | module | what it holds us to |
//! |---|---|
//! | [`stream_equals_batch`] | both engines find the same, however the log is cut |
//! | [`rule_tests`] | the cases beside each shipped rule |
//! | [`command_line`] | the real binary: outputs, messages, exit statuses |
//! | [`explain`] | a rule's operators, shown |
//! | [`secrets`] | no output holds a piece of a credential |
//! | [`dependency_graph`] | the arrows between crates |
//! | [`docs`] | each example, refusal and delay of `docs/sql.md` |
//! | [`history`] | what was decoded comes back from Parquet, and the rules find the same in it |
//! | [`objects`] | history and archives in an object store are those in a folder |
//! | [`archive`] | what a partition archives, and its configuration |
//! | [`prompt`] | questions over history, and what is said to a wrong one |
//! | [`metrics`] | the list of metrics and the sources |

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "tests read and write files")]
#![allow(missing_docs, reason = "tests")]

mod archive;
mod binary;
mod command_line;
mod dependency_graph;
mod docs;
mod engines;
mod explain;
mod history;
mod metrics;
mod objects;
mod prompt;
mod rule_tests;
mod secrets;
mod stream_equals_batch;
mod traffic;
