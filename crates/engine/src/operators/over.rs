//! Window functions: `OVER (PARTITION BY key ORDER BY time)`, a row out for each row in.
//!
//! ```text
//!   rows in the total order ──▶ [ key 0: state ][ key 1: state ] … ──▶ the rows, a column more each
//!
//!   key 0   ×  × ×  ×                          × ×       a row later than the retention after the one
//!                   └────── retention ──────┤            before it starts its key anew
//!                                     state is freed
//! ```
//!
//! In:    rows from an [`Order`](super::Order) with the same time, so that each key's rows come in
//!        the total order.
//! Out:   the input's columns, then one a function. Adds no delay.
//! State: a fold a function, with constant or frame-sized state a key, for keys with a row within the
//!        retention and a sixteenth of it. A key's state lies in a slot, and the slot of a key that is
//!        gone is the next new key's. Freeing has no deadline of its own, since nothing comes of it: it
//!        happens when time moves for anything else.
//! Batch: DataFusion's window operator over the same Sort, with the same folds behind our functions, and
//!        `__generation` among its keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef, TimestampMillisecondType};
use datafusion_physical_expr::PhysicalExpr;
use keyhawk_functions::{KeyRows, KeyedFold, Latest};
use prefetch_index::prefetch_index;

use super::groups::NONE;
use super::keyed::Keyed;
use super::state::{LittleEndian, read_whole, split};
use super::{Context, Operator, StateRow, same_kind};
use crate::error::{Error, In, Result};
use crate::evaluate::evaluate;
use crate::program::{KeyBy, OverFunction, Retention};
use crate::rows::Rows;

const OPERATOR: &str = "over";

/// Idle keys are looked for once in such a part of the retention.
const PARTS: i64 = 16;
/// And not more often than this: frames may be shorter than what is worth a look.
const PART_MS_MIN: i64 = 1_000;

/// What is known of a key is asked for so many rows before it is read: it is mostly in no near cache.
const ROWS_AHEAD: usize = 8;

/// In the place of a time: no row with one has come. No gap follows it.
const NEVER: i64 = i64::MAX;

/// State of every function for every key.
pub(crate) struct Over {
    keys: Keyed,
    retention: Retention,
    functions: Vec<Function>,
    schema: SchemaRef,
    /// What is known of each key; index = its number.
    known: Vec<Known>,
    slots: Slots,
    /// The numbers of keys by when to look whether they are idle, in parts of the retention; each key
    /// that has a slot once. Their rows move them only when they are looked at.
    looks: BTreeMap<i64, Vec<u32>>,
    /// State rows of keys that were freed since the last snapshot and had been saved by an earlier one.
    gone: Vec<Vec<u8>>,
    numbers: Vec<u32>,
    latest: Latest,
}

struct Function {
    fold: Box<dyn KeyedFold>,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
}

/// What is known of a key besides the state in its slot.
#[derive(Debug, Clone)]
struct Known {
    /// The time of its last row.
    last: i64,
    /// `NONE` where it has no state.
    slot: u32,
    /// Whether its state changed since the last snapshot, and whether an earlier one holds it.
    dirty: bool,
    saved: bool,
}

impl Default for Known {
    fn default() -> Self {
        Known {
            last: NEVER,
            slot: NONE,
            dirty: false,
            saved: false,
        }
    }
}

/// The places of keys in the columns of state; those that are free hold the initial state.
#[derive(Default)]
struct Slots {
    len: u32,
    free: Vec<u32>,
}

impl Slots {
    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.len += 1;
            self.len - 1
        })
    }
}

impl Over {
    pub(crate) fn new(
        keys: &KeyBy,
        retention: &Retention,
        functions: &[OverFunction],
        input: &Schema,
        schema: SchemaRef,
    ) -> Result<Self> {
        let functions = functions
            .iter()
            .map(|function| {
                let fold = (function.fold)().within(OPERATOR)?;
                Ok(Function {
                    fold,
                    arguments: function.arguments.clone(),
                })
            })
            .collect::<Result<_>>()?;
        Ok(Over {
            keys: Keyed::new(OPERATOR, keys, input)?,
            retention: retention.clone(),
            functions,
            schema,
            known: Vec::new(),
            slots: Slots::default(),
            looks: BTreeMap::new(),
            gone: Vec::new(),
            numbers: Vec::new(),
            latest: Latest::default(),
        })
    }

    /// Puts the slot of each row's key in the place of its number. Returns the slots of keys that started
    /// anew, which hold what nobody reads any more.
    fn find_slots(&mut self, rows: &Rows, context: &mut Context<'_>) -> Result<Vec<u32>> {
        let times = evaluate(&self.retention.time, &rows.batch, context.failed, OPERATOR)?;
        let Some(times) = times.as_primitive_opt::<TimestampMillisecondType>() else {
            return Err(Error::Shape {
                operator: OPERATOR,
                detail: format!("time of type {}, expected milliseconds", times.data_type()),
            });
        };
        let mut left = Vec::new();
        for row in 0..self.numbers.len() {
            if let Some(&soon) = self.numbers.get(row + ROWS_AHEAD) {
                prefetch_index(&self.known, soon as usize);
            }
            let number = &mut self.numbers[row];
            let key = *number;
            let known = &mut self.known[key as usize];
            let time = match times.is_valid(row) {
                true => times.values()[row],
                false => known.last,
            };
            if known.slot == NONE {
                known.slot = self.slots.take();
                let part = part(&self.retention, time);
                self.looks.entry(part).or_default().push(key);
            } else if time.saturating_sub(known.last) > self.retention.ms {
                left.push(known.slot);
                known.slot = self.slots.take();
            }
            known.last = time;
            known.dirty = true;
            *number = known.slot;
        }
        Ok(left)
    }

    /// Puts slots back into their initial state, for keys to come.
    fn free(&mut self, slots: &[u32]) -> Result<()> {
        for function in &mut self.functions {
            for &slot in slots {
                function.fold.restore(slot, &[]).within(OPERATOR)?;
            }
        }
        self.slots.free.extend(slots);
        Ok(())
    }

    /// Frees the keys of which no row can come any more that would know them; `bound` is the time
    /// before which no row comes.
    fn free_idle(&mut self, bound: i64, context: &Context<'_>) -> Result<()> {
        let mut idle = Vec::new();
        while let Some(first) = self.looks.first_entry()
            && part_start(&self.retention, *first.key()) <= bound
        {
            let (now, keys) = first.remove_entry();
            for key in keys {
                let due = part(&self.retention, self.known[key as usize].last);
                if due > now {
                    self.looks.entry(due).or_default().push(key);
                    continue;
                }
                let known = std::mem::take(&mut self.known[key as usize]);
                if known.saved {
                    self.gone.push(self.keys.bytes(key, context).to_vec());
                }
                self.keys.forget(key);
                idle.push(known.slot);
            }
        }
        self.free(&idle)
    }
}

/// How long a part of the retention is.
fn part_ms(retention: &Retention) -> i64 {
    (retention.ms / PARTS).max(PART_MS_MIN)
}

/// The part of the retention at whose start a key is idle whose last row has this time.
fn part(retention: &Retention, last: i64) -> i64 {
    let known_until = last.saturating_add(retention.ms);
    known_until.div_euclid(part_ms(retention)) + 1
}

/// The first millisecond of a part.
fn part_start(retention: &Retention, part: i64) -> i64 {
    part.saturating_mul(part_ms(retention))
}

impl Operator for Over {
    fn process(
        &mut self,
        _: usize,
        rows: &Rows,
        context: &mut Context<'_>,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let keys = self.keys.number(rows, context, &mut self.numbers)?;
        self.known
            .resize(keys.max(self.known.len()), Known::default());
        let left = self.find_slots(rows, context)?;
        let mut columns: Vec<ArrayRef> = rows.batch.columns().to_vec();
        let by_slot = KeyRows::with(&self.numbers, std::mem::take(&mut self.latest));
        for function in &mut self.functions {
            let arguments = function
                .arguments
                .iter()
                .map(|expr| evaluate(expr, &rows.batch, context.failed, OPERATOR))
                .collect::<Result<Vec<_>>>()?;
            function.fold.resize(self.slots.len as usize);
            columns.push(
                function
                    .fold
                    .update_rows(&by_slot, &arguments)
                    .within(OPERATOR)?,
            );
        }
        self.latest = by_slot.into_latest();
        self.free(&left)?;
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).within(OPERATOR)?;
        out.push(Rows {
            batch,
            keys: rows.keys.clone(),
            release: rows.release.clone(),
        });
        Ok(())
    }

    fn advance(
        &mut self,
        watermark: i64,
        context: &mut Context<'_>,
        _: &mut Vec<Rows>,
    ) -> Result<()> {
        match self.retention.complete_ms {
            Some(complete_ms) => self.free_idle(watermark.saturating_add(complete_ms), context),
            None => Ok(()),
        }
    }

    fn next_deadline(&self) -> Option<i64> {
        None
    }

    fn snapshot(&mut self, context: &Context<'_>) -> Result<Vec<StateRow>> {
        let gone = self.gone.drain(..);
        let mut changes: Vec<StateRow> = gone.map(|key| StateRow { key, state: None }).collect();
        for (key, known) in self.known.iter_mut().enumerate() {
            if !std::mem::take(&mut known.dirty) {
                continue;
            }
            known.saved = true;
            let mut state = Vec::new();
            known.last.write(&mut state);
            for function in &self.functions {
                let mut section = Vec::new();
                function.fold.snapshot(known.slot, &mut section);
                state.extend((section.len() as u32).to_le_bytes());
                state.extend(section);
            }
            changes.push(StateRow {
                key: self.keys.bytes(key as u32, context).to_vec(),
                state: Some(state),
            });
        }
        Ok(changes)
    }

    fn restore(&mut self, rows: &[StateRow], context: &mut Context<'_>) -> Result<()> {
        for row in rows {
            let Some(mut state) = row.state.as_deref() else {
                continue;
            };
            let key = self.keys.restore(&row.key, context)?;
            let room = self.known.len().max(key as usize + 1);
            self.known.resize(room, Known::default());
            let known = &mut self.known[key as usize];
            known.last = i64::read(&mut state)?;
            known.saved = true;
            if known.slot == NONE {
                known.slot = self.slots.take();
                let part = part(&self.retention, known.last);
                self.looks.entry(part).or_default().push(key);
            }
            for function in &mut self.functions {
                let mut length = [0; 4];
                length.copy_from_slice(split(&mut state, 4)?);
                let section = split(&mut state, u32::from_le_bytes(length) as usize)?;
                function.fold.resize(self.slots.len as usize);
                function
                    .fold
                    .restore(known.slot, section)
                    .within(OPERATOR)?;
            }
            read_whole(state, OPERATOR)?;
        }
        Ok(())
    }

    fn take_over(&mut self, old: Box<dyn Operator>, alike: bool) -> Result<()> {
        let Over {
            keys,
            retention,
            functions,
            schema,
            ..
        } = std::mem::replace(self, *same_kind(old, OPERATOR)?);
        self.schema = schema;
        // For how long keys are known is part of the meaning; the time may be another column.
        self.retention = retention;
        self.keys.read_as(keys);
        let slots = self.known.iter().map(|known| known.slot);
        let slots: Vec<u32> = slots.filter(|slot| *slot != NONE).collect();
        for (old, new) in self.functions.iter_mut().zip(functions) {
            old.arguments = new.arguments;
            if !alike {
                let mut fold = new.fold;
                fold.resize(self.slots.len as usize);
                for &slot in &slots {
                    let mut state = Vec::new();
                    old.fold.snapshot(slot, &mut state);
                    fold.restore(slot, &state).within(OPERATOR)?;
                }
                old.fold = fold;
            }
        }
        Ok(())
    }

    fn memory(&self) -> usize {
        let looks = self.looks.values().map(|keys| keys.capacity() * 4 + 32);
        self.keys.memory()
            + self.known.capacity() * size_of::<Known>()
            + self.slots.free.capacity() * 4
            + self.latest.memory()
            + looks.sum::<usize>()
            + self
                .functions
                .iter()
                .map(|function| function.fold.memory())
                .sum::<usize>()
    }
}
