//! The keys of an operator that keeps something for each, by number: those of the topic have theirs
//! already, those of other columns are given one here.
//!
//! ```text
//!   Topic       "kh_live_…9f31" ▶ 4711          the machine's number, for all operators alike
//!   Columns     ("kh_live_…9f31", "FR") ▶ 0     a number of this operator, given again once it is free
//! ```

use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::Schema;
use arrow::row::{RowConverter, SortField};
use datafusion_physical_expr::PhysicalExpr;

use super::Context;
use super::state::text;
use crate::error::{In, Result};
use crate::evaluate::evaluate;
use crate::keys::RowKeys;
use crate::program::KeyBy;
use crate::rows::Rows;

/// The keys that an operator knows.
pub(super) struct Keyed {
    operator: &'static str,
    by: By,
}

enum By {
    Topic,
    Columns {
        expressions: Vec<Arc<dyn PhysicalExpr>>,
        converter: Arc<RowConverter>,
        known: RowKeys,
    },
}

impl Keyed {
    /// None known yet.
    pub(super) fn new(operator: &'static str, keys: &KeyBy, input: &Schema) -> Result<Self> {
        let by = match keys {
            KeyBy::Topic => By::Topic,
            KeyBy::Columns(expressions) => {
                let fields = expressions
                    .iter()
                    .map(|expr| expr.data_type(input).map(SortField::new).within(operator))
                    .collect::<Result<_>>()?;
                let converter = Arc::new(RowConverter::new(fields).within(operator)?);
                By::Columns {
                    expressions: expressions.clone(),
                    known: RowKeys::new(&converter),
                    converter,
                }
            }
        };
        Ok(Keyed { operator, by })
    }

    /// Writes the number of each row's key over `numbers`, and returns how many numbers there are at
    /// most. Rows without the topic's key do not come to an operator that is keyed by it.
    pub(super) fn number(
        &mut self,
        rows: &Rows,
        context: &mut Context<'_>,
        numbers: &mut Vec<u32>,
    ) -> Result<usize> {
        numbers.clear();
        let operator = self.operator;
        match &mut self.by {
            By::Topic => {
                debug_assert!(rows.keys.null_count() == 0);
                numbers.extend(rows.keys.values().iter().copied());
                Ok(context.keys.len())
            }
            By::Columns {
                expressions,
                converter,
                known,
            } => {
                let columns = expressions
                    .iter()
                    .map(|expr| evaluate(expr, &rows.batch, context.failed, operator))
                    .collect::<Result<Vec<_>>>()?;
                let values = converter.convert_columns(&columns).within(operator)?;
                for row in &values {
                    numbers.push(known.intern(row.as_ref()));
                }
                Ok(known.len())
            }
        }
    }

    /// The number of a key that was saved.
    pub(super) fn restore(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Result<u32> {
        Ok(match &mut self.by {
            By::Topic => context.keys.intern(text(bytes)?),
            By::Columns { known, .. } => known.intern(bytes),
        })
    }

    /// The key's value, by which its state is saved.
    pub(super) fn bytes<'a>(&'a self, number: u32, context: &'a Context<'_>) -> &'a [u8] {
        match &self.by {
            By::Topic => context.keys.value(number).as_bytes(),
            By::Columns { known, .. } => known.bytes(number),
        }
    }

    /// Forgets a key of which nothing is kept any more.
    pub(super) fn forget(&mut self, number: u32) {
        if let By::Columns { known, .. } = &mut self.by {
            known.remove(number);
        }
    }

    /// Reads the keys where another plan does; they mean the same, and those that are known stay.
    pub(super) fn read_as(&mut self, plan: Keyed) {
        if let (
            By::Columns {
                expressions,
                converter,
                ..
            },
            By::Columns {
                expressions: new,
                converter: new_converter,
                ..
            },
        ) = (&mut self.by, plan.by)
        {
            *expressions = new;
            *converter = new_converter;
        }
    }

    pub(super) fn memory(&self) -> usize {
        match &self.by {
            By::Topic => 0,
            By::Columns { known, .. } => known.memory(),
        }
    }
}
