//! The operators: small synchronous things, one a file, that turn rows and the advance of time into
//! rows.
//!
//! The machine calls, for each batch and each node in order: `process` with the rows that the node's
//! inputs emitted, then, once the whole batch is in, again `process` with what the inputs emitted as
//! time moved, and `advance`. So within `advance` every row that the new watermark promises is there.

mod aggregates;
mod blocks;
mod fill;
mod filter;
mod groups;
mod hop;
mod key_index;
mod keyed;
mod lookup;
mod order;
mod over;
mod pairs;
mod project;
mod scan;
mod session;
mod state;
mod tumble;
mod union;
mod unnest;
mod window_join;

pub(crate) use aggregates::accumulator;
pub(crate) use fill::Fill;
pub(crate) use filter::Filter;
pub(crate) use hop::{Hop, Span};
pub(crate) use lookup::Lookup;
pub use lookup::LookupIndex;
pub(crate) use order::Order;
pub(crate) use over::Over;
pub(crate) use project::Project;
pub(crate) use scan::Scan;
pub(crate) use session::Session;
pub(crate) use tumble::Tumble;
pub(crate) use union::Union;
pub(crate) use unnest::Unnest;
pub(crate) use window_join::WindowJoin;

use std::any::Any;

use crate::error::{Error, Result};
use crate::keys::TopicKeys;
use crate::rows::Rows;

/// What operators share while a batch moves through them.
pub struct Context<'a> {
    /// The keys by number.
    pub keys: &'a mut TopicKeys,
    /// Rows for which an expression failed; they hold null.
    pub failed: &'a mut u64,
    /// The watermark to which time had moved before this call; at a restore, that of the machine
    /// which saved the state. In milliseconds since 1970.
    pub watermark: i64,
    /// The greatest event time that has come; `i64::MIN` before the first, and where the program does
    /// not read it.
    pub greatest: &'a mut i64,
}

/// One row of saved state: a key by value, and what is known of it; `None` where it was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRow {
    /// The key's value in a form of the operator's own, never an intern number.
    pub key: Vec<u8>,
    /// The state, or `None` for a key that is gone.
    pub state: Option<Vec<u8>>,
}

/// A stateful or stateless step of a program. There are no default bodies: state forgotten by
/// accident should not compile.
pub trait Operator: Any + Send {
    /// Rows arrive on one of the inputs: state is updated, and what is certain already is emitted.
    fn process(
        &mut self,
        input: usize,
        rows: &Rows,
        context: &mut Context<'_>,
        out: &mut Vec<Rows>,
    ) -> Result<()>;

    /// Time moves to `watermark`, which never falls: windows close, ordered rows leave, state is
    /// freed. `i64::MAX` is the end of a finite input.
    fn advance(
        &mut self,
        watermark: i64,
        context: &mut Context<'_>,
        out: &mut Vec<Rows>,
    ) -> Result<()>;

    /// The lowest watermark at which `advance` would have something to do.
    fn next_deadline(&self) -> Option<i64>;

    /// The rows of state changed or deleted since the last call; after a restore, since that.
    /// Changes nothing that `process` or `advance` can see.
    fn snapshot(&mut self, context: &Context<'_>) -> Result<Vec<StateRow>>;

    /// Takes saved rows of any subset of keys, at a batch boundary, into this machine's own numbers.
    fn restore(&mut self, rows: &[StateRow], context: &mut Context<'_>) -> Result<()>;

    /// Goes on with the state of a node of the same meaning in another program, of which this one,
    /// still empty, takes the place. The numbers of the topic's keys stay. `alike` says that the two
    /// compute the same values too; where they do not, state is carried over by value.
    fn take_over(&mut self, old: Box<dyn Operator>, alike: bool) -> Result<()>;

    /// Bytes of state held.
    fn memory(&self) -> usize;
}

/// The operator of the same kind whose state another takes over.
fn same_kind<T: Operator>(old: Box<dyn Operator>, operator: &'static str) -> Result<Box<T>> {
    let old: Box<dyn Any> = old;
    old.downcast().map_err(|_| Error::Shape {
        operator,
        detail: "the state of an operator of another kind".to_owned(),
    })
}
