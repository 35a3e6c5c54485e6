//! Window functions: `OVER (PARTITION BY key ORDER BY time)`, a row out for each row in.
//!
//! ```text
//!   rows in the total order ──▶ [ key 0: state ][ key 1: state ] … ──▶ the rows, a column more each
//! ```
//!
//! In:    rows from an [`Order`](super::Order) with the same time, so that each key's rows come in
//!        the total order.
//! Out:   the input's columns, then one a function. Adds no delay.
//! State: a fold a function, with constant state a key; keys are kept.
//! Batch: DataFusion's window operator over the same Sort, with the same folds behind our functions.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion_physical_expr::PhysicalExpr;
use keyhawk_functions::KeyedFold;

use super::state::{read_whole, split};
use super::{Context, Operator, StateRow, same_kind};
use crate::error::{Error, In, Result};
use crate::evaluate::evaluate;
use crate::keys::RowKeys;
use crate::program::{KeyBy, OverFunction};
use crate::rows::Rows;

const OPERATOR: &str = "over";

/// State of every function for every key.
pub(crate) struct Over {
    keys: Partition,
    functions: Vec<Function>,
    schema: SchemaRef,
    /// Keys whose state changed since the last snapshot.
    dirty: Vec<bool>,
    numbers: Vec<u32>,
}

struct Function {
    fold: Box<dyn KeyedFold>,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
}

enum Partition {
    Topic,
    Columns(Vec<Arc<dyn PhysicalExpr>>, Arc<RowConverter>, RowKeys),
}

impl Over {
    pub(crate) fn new(
        keys: &KeyBy,
        functions: &[OverFunction],
        input: &Schema,
        schema: SchemaRef,
    ) -> Result<Self> {
        let keys = match keys {
            KeyBy::Topic => Partition::Topic,
            KeyBy::Columns(expressions) => {
                let fields = expressions
                    .iter()
                    .map(|expr| expr.data_type(input).map(SortField::new).within(OPERATOR))
                    .collect::<Result<_>>()?;
                let converter = Arc::new(RowConverter::new(fields).within(OPERATOR)?);
                let known = RowKeys::new(&converter);
                Partition::Columns(expressions.clone(), converter, known)
            }
        };
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
            keys,
            functions,
            schema,
            dirty: Vec::new(),
            numbers: Vec::new(),
        })
    }

    /// Numbers the partition of each row, and says how many partitions there are.
    fn number(&mut self, rows: &Rows, context: &mut Context<'_>) -> Result<usize> {
        self.numbers.clear();
        match &mut self.keys {
            Partition::Topic => {
                // A plan partitioned by the topic's key filters out rows without it.
                self.numbers.extend(rows.keys.values().iter().copied());
                Ok(context.keys.len())
            }
            Partition::Columns(expressions, converter, known) => {
                let columns = expressions
                    .iter()
                    .map(|expr| evaluate(expr, &rows.batch, context.failed, OPERATOR))
                    .collect::<Result<Vec<_>>>()?;
                let values = converter.convert_columns(&columns).within(OPERATOR)?;
                for row in &values {
                    self.numbers.push(known.intern(row.as_ref()));
                }
                Ok(known.len())
            }
        }
    }
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
        debug_assert!(!matches!(self.keys, Partition::Topic) || rows.keys.null_count() == 0);
        let keys = self.number(rows, context)?;
        self.dirty.resize(keys.max(self.dirty.len()), false);
        self.numbers
            .iter()
            .for_each(|&key| self.dirty[key as usize] = true);
        let mut columns: Vec<ArrayRef> = rows.batch.columns().to_vec();
        for function in &mut self.functions {
            let arguments = function
                .arguments
                .iter()
                .map(|expr| evaluate(expr, &rows.batch, context.failed, OPERATOR))
                .collect::<Result<Vec<_>>>()?;
            function.fold.resize(keys);
            columns.push(
                function
                    .fold
                    .update(&self.numbers, &arguments)
                    .within(OPERATOR)?,
            );
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).within(OPERATOR)?;
        out.push(Rows {
            batch,
            keys: rows.keys.clone(),
            release: rows.release.clone(),
        });
        Ok(())
    }

    fn advance(&mut self, _: i64, _: &mut Context<'_>, _: &mut Vec<Rows>) -> Result<()> {
        Ok(())
    }

    fn next_deadline(&self) -> Option<i64> {
        None
    }

    fn snapshot(&mut self, context: &Context<'_>) -> Result<Vec<StateRow>> {
        let mut changes = Vec::new();
        for key in 0..self.dirty.len() {
            if !std::mem::take(&mut self.dirty[key]) {
                continue;
            }
            let value = match &self.keys {
                Partition::Topic => context.keys.value(key as u32).as_bytes().to_vec(),
                Partition::Columns(_, _, known) => known.bytes(key as u32).to_vec(),
            };
            let mut state = Vec::new();
            for function in &self.functions {
                let mut section = Vec::new();
                function.fold.snapshot(key as u32, &mut section);
                state.extend((section.len() as u32).to_le_bytes());
                state.extend(section);
            }
            changes.push(StateRow {
                key: value,
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
            let key = match &mut self.keys {
                Partition::Topic => {
                    let text = std::str::from_utf8(&row.key).map_err(|error| Error::State {
                        operator: OPERATOR,
                        detail: error.to_string(),
                    })?;
                    context.keys.intern(text)
                }
                Partition::Columns(_, _, known) => known.intern(&row.key),
            };
            self.dirty
                .resize(self.dirty.len().max(key as usize + 1), false);
            for function in &mut self.functions {
                let mut length = [0; 4];
                length.copy_from_slice(split(&mut state, 4)?);
                let section = split(&mut state, u32::from_le_bytes(length) as usize)?;
                function.fold.resize(self.dirty.len());
                function.fold.restore(key, section).within(OPERATOR)?;
            }
            read_whole(state, OPERATOR)?;
        }
        Ok(())
    }

    fn take_over(&mut self, old: Box<dyn Operator>, alike: bool) -> Result<()> {
        let Over {
            keys,
            functions,
            schema,
            ..
        } = std::mem::replace(self, *same_kind(old, OPERATOR)?);
        self.schema = schema;
        if let (
            Partition::Columns(expressions, converter, _),
            Partition::Columns(new, new_converter, _),
        ) = (&mut self.keys, keys)
        {
            *expressions = new;
            *converter = new_converter;
        }
        let states = u32::try_from(self.dirty.len()).expect("fewer than 2^32 keys");
        for (old, new) in self.functions.iter_mut().zip(functions) {
            old.arguments = new.arguments;
            if !alike {
                let mut fold = new.fold;
                fold.resize(self.dirty.len());
                for key in 0..states {
                    let mut state = Vec::new();
                    old.fold.snapshot(key, &mut state);
                    fold.restore(key, &state).within(OPERATOR)?;
                }
                old.fold = fold;
            }
        }
        Ok(())
    }

    fn memory(&self) -> usize {
        let keys = match &self.keys {
            Partition::Topic => 0,
            Partition::Columns(_, _, known) => known.memory(),
        };
        keys + self
            .functions
            .iter()
            .map(|function| function.fold.memory())
            .sum::<usize>()
    }
}
