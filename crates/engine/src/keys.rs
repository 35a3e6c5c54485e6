//! Dense numbers for keys: hashed once a batch, after which every operator groups by an integer.
//!
//! ```text
//!   "kh_live_…9f31"  ──▶ 0        columns of state are Vecs, index = number
//!   "key_0042"       ──▶ 1
//! ```
//!
//! A number means nothing outside one machine and one run: state leaves and enters by value.

mod row;
mod topic;

pub(crate) use row::RowKeys;
pub use topic::TopicKeys;
