//! Rule files to a program, or a refusal that says where and why.
//!
//! ```text
//!   rule.sql ──▶ DataFusion's planner ──▶ logical plan ──▶ preparation: refuse, add key filters, the
//!                                                          total order, hidden columns of lineage
//!            ──▶ analysis and a chosen list of optimizer rules ──┬──▶ lowering ──▶ engine::Program
//!                                                                └──▶ DataFusion runs it: backtest
//! ```
//!
//! Both modes run the same optimised plan. No file is read here: texts come in, batches go out.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod actions;
mod arrays;
mod as_the_stream;
mod batch;
mod catalog;
mod compile;
mod error;
pub mod explain;
mod expressions;
mod fill;
mod frame;
mod header;
mod header_columns;
mod inspect;
mod lineage;
mod lower;
mod meaning;
mod one_nan;
mod origin;
mod planner_error;
mod problem;
mod question;
mod retention;
mod shared;
mod text_numbers;
mod warnings;
mod windows;

pub use batch::{Backtest, greatest_time};
pub use compile::{Compiled, Rule, RuleFiles, compile};
pub use error::{Error, Result};
pub use header::{
    ACTIONS, RuleHeader, SEVERITIES, ViewHeader, Why, parse_header, parse_view_header,
};
pub use problem::{Level, Place, Problem, SourceFile, nearest};
pub use question::{Answer, Kind, Prompt, Question, Relation, is_complete, questions};
