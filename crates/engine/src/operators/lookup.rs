//! The join of streamed rows with a reference table, by equality.
//!
//! ```text
//!   rows     10.0.0.7 /login         table  /login → public, rate 10        one index, made once and
//!            10.0.0.8 /x                    /admin → staff,  rate 1         shared by all machines
//!
//!   inner    10.0.0.7 /login public 10      left adds   10.0.0.8 /x null null
//! ```
//!
//! In:    any rows. A null in a key equals nothing.
//! Out:   inner, left: the input's columns, then the table's, in the order of the input and for one
//!        row in the order of the table; semi, anti: the input's rows. Topic keys, releases and the
//!        delay of every time are the input's.
//! NOT IN: the null-aware anti join. A null in the table's key lets no row pass, whatever the residual
//!        condition says of it; a row whose key is null passes only if the table is empty.
//! State: none. The table and its index belong to the program.
//! Batch: DataFusion's hash join, `null_aware` for NOT IN.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::is_not_null;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;

use super::key_index::KeyIndex;
use super::pairs::{Pairing, Right};
use super::{Context, Operator, StateRow};
use crate::error::{Error, In, Result};
use crate::evaluate::evaluate;
use crate::program::{JoinKind, ReferenceTable};
use crate::rows::Rows;

const OPERATOR: &str = "lookup";

/// A reference table by the values of some expressions over it. Made once for a program, and read by
/// all of its machines.
#[derive(Debug)]
pub struct LookupIndex {
    table: Arc<ReferenceTable>,
    index: KeyIndex,
    has_null: bool,
    failed: u64,
}

impl LookupIndex {
    /// Evaluates `keys` over the table's rows, and indexes them in O(rows).
    ///
    /// # Errors
    /// No key at all, keys that cannot be evaluated, or a table of 2^32 - 1 rows and more.
    pub fn new(table: Arc<ReferenceTable>, keys: &[Arc<dyn PhysicalExpr>]) -> Result<Self> {
        let mut failed = 0;
        let columns = keys
            .iter()
            .map(|key| evaluate(key, &table.rows, &mut failed, OPERATOR))
            .collect::<Result<Vec<_>>>()?;
        let index = KeyIndex::new(OPERATOR, &columns)?;
        Ok(LookupIndex {
            index,
            has_null: columns.iter().any(|column| column.logical_null_count() > 0),
            table,
            failed,
        })
    }

    /// The table.
    pub fn table(&self) -> &Arc<ReferenceTable> {
        &self.table
    }

    /// How many times a key's expression failed on a row of the table; such a key is null.
    pub fn failed_rows(&self) -> u64 {
        self.failed
    }

    /// Bytes that the index holds, once for all machines, without the table's own rows.
    pub fn memory(&self) -> usize {
        self.index.memory()
    }
}

/// No state, nothing to wait for.
pub(crate) struct Lookup {
    index: Arc<LookupIndex>,
    kind: JoinKind,
    on: Vec<Arc<dyn PhysicalExpr>>,
    pairing: Pairing,
}

impl Lookup {
    pub(crate) fn new(
        index: &Arc<LookupIndex>,
        kind: JoinKind,
        on: &[Arc<dyn PhysicalExpr>],
        residual: Option<&Arc<dyn PhysicalExpr>>,
        input: &Schema,
        schema: SchemaRef,
    ) -> Result<Self> {
        let types = on
            .iter()
            .map(|key| key.data_type(input).within(OPERATOR))
            .collect::<Result<Vec<_>>>()?;
        let expected = index.index.types();
        if types != expected {
            return Err(Error::Shape {
                operator: OPERATOR,
                detail: format!(
                    "keys of {types:?}; those of table {} are {expected:?}",
                    index.table.name
                ),
            });
        }
        if kind == JoinKind::NullAwareAnti && on.len() != 1 {
            return Err(Error::Shape {
                operator: OPERATOR,
                detail: format!("NOT IN compares one key, not {}", on.len()),
            });
        }
        let table = index.table.rows.schema();
        Ok(Lookup {
            index: Arc::clone(index),
            kind,
            on: on.to_vec(),
            pairing: Pairing::new(OPERATOR, kind, residual, input, &table, schema)?,
        })
    }

    fn table(&self) -> &RecordBatch {
        &self.index.table.rows
    }
}

impl Operator for Lookup {
    fn process(
        &mut self,
        _: usize,
        rows: &Rows,
        context: &mut Context<'_>,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        let mut keys: Vec<ArrayRef> = self
            .on
            .iter()
            .map(|key| evaluate(key, &rows.batch, context.failed, OPERATOR))
            .collect::<Result<_>>()?;
        let mut left = rows.clone();
        if self.kind == JoinKind::NullAwareAnti && self.table().num_rows() > 0 {
            if self.index.has_null {
                return Ok(());
            }
            if keys[0].logical_null_count() > 0 {
                let known = is_not_null(&keys[0]).within(OPERATOR)?;
                left = left.filter(&known, OPERATOR)?;
                keys[0] = arrow::compute::filter(&keys[0], &known).within(OPERATOR)?;
            }
        }
        let groups = self.index.index.find(OPERATOR, &keys)?;
        let right = Right {
            index: &self.index.index,
            batch: self.table(),
            keys: None,
        };
        self.pairing
            .pair(&left, &right, &groups, context.failed, out)
    }

    fn advance(&mut self, _: i64, _: &mut Context<'_>, _: &mut Vec<Rows>) -> Result<()> {
        Ok(())
    }

    fn next_deadline(&self) -> Option<i64> {
        None
    }

    fn snapshot(&mut self, _: &Context<'_>) -> Result<Vec<StateRow>> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: &[StateRow], _: &mut Context<'_>) -> Result<()> {
        Ok(())
    }

    fn take_over(&mut self, _: Box<dyn Operator>, _: bool) -> Result<()> {
        Ok(())
    }

    fn memory(&self) -> usize {
        0
    }
}
