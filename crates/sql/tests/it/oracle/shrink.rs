//! A failing case made small: rules and views dropped, then events by halves, then parts of queries, then
//! cells; each step is kept where the smaller case fails in the same way.

use super::check::{Wrong, check, compiled};
use super::query::RuleSet;
use super::table::{Table, Value};

/// A rule set and a table on which the engines disagree.
#[derive(Debug, Clone)]
pub struct Case {
    pub set: RuleSet,
    pub table: Table,
    pub seed: u64,
    pub failing: bool,
}

/// How many smaller cases are tried before what is small enough has to do.
const TRIES: usize = 4000;

impl Case {
    /// What is wrong with the case, if it compiles and anything is.
    pub fn wrong(&self) -> Option<Wrong> {
        match compiled(&self.set) {
            Ok(Ok(compiled)) => check(&compiled, &self.table, self.seed, self.failing).err(),
            _ => None,
        }
    }

    /// The smallest case found that is wrong in the same way.
    pub fn shrink(mut self, wrong: &Wrong) -> Case {
        let mut tries = TRIES;
        loop {
            let before = tries;
            let smaller = self.smaller(wrong, &mut tries);
            if !smaller || tries == 0 || before == tries {
                return self;
            }
        }
    }

    fn take(&mut self, smaller: Case, wrong: &Wrong, tries: &mut usize) -> bool {
        if *tries == 0 {
            return false;
        }
        *tries -= 1;
        let is_like = smaller.wrong().is_some_and(|found| found.is_like(wrong));
        if is_like {
            *self = smaller;
        }
        is_like
    }

    /// One round of every kind of step; whether any was taken.
    fn smaller(&mut self, wrong: &Wrong, tries: &mut usize) -> bool {
        let mut any = false;
        for at in (0..self.set.rules.len()).rev() {
            let mut smaller = self.clone();
            smaller.set.rules.remove(at);
            any |= !smaller.set.rules.is_empty() && self.take(smaller, wrong, tries);
        }
        for at in (0..self.set.views.len()).rev() {
            let mut smaller = self.clone();
            smaller.set.views.remove(at);
            any |= self.take(smaller, wrong, tries);
        }
        for at in (0..self.set.tables.len()).rev() {
            let mut smaller = self.clone();
            smaller.set.tables.remove(at);
            any |= self.take(smaller, wrong, tries);
        }
        any |= self.fewer_rows(wrong, tries);
        any |= self.simpler_queries(wrong, tries);
        any |= self.fewer_rows(wrong, tries);
        any |= self.smaller_tables(wrong, tries);
        any |= self.emptier_cells(wrong, tries);
        any
    }

    /// Leaves out events: halves, then quarters, at last single ones.
    fn fewer_rows(&mut self, wrong: &Wrong, tries: &mut usize) -> bool {
        let mut any = false;
        let mut piece = self.table.rows.len().div_ceil(2);
        while piece > 0 {
            let mut start = 0;
            while start < self.table.rows.len() {
                let end = (start + piece).min(self.table.rows.len());
                let mut smaller = self.clone();
                smaller.table.rows.drain(start..end);
                if self.take(smaller, wrong, tries) {
                    any = true;
                } else {
                    start = end;
                }
            }
            piece /= 2;
        }
        any
    }

    fn simpler_queries(&mut self, wrong: &Wrong, tries: &mut usize) -> bool {
        let mut any = false;
        let files = self.set.rules.len() + self.set.views.len();
        for file in 0..files {
            'again: loop {
                let query = self.file(file).clone();
                for less in query.smaller() {
                    let mut smaller = self.clone();
                    *smaller.file_mut(file) = less;
                    if self.take(smaller, wrong, tries) {
                        any = true;
                        continue 'again;
                    }
                }
                break;
            }
        }
        any
    }

    fn file(&self, file: usize) -> &super::text::Query {
        let rules = self.set.rules.len();
        if file < rules {
            &self.set.rules[file].1
        } else {
            &self.set.views[file - rules].1
        }
    }

    fn file_mut(&mut self, file: usize) -> &mut super::text::Query {
        let rules = self.set.rules.len();
        if file < rules {
            &mut self.set.rules[file].1
        } else {
            &mut self.set.views[file - rules].1
        }
    }

    fn smaller_tables(&mut self, wrong: &Wrong, tries: &mut usize) -> bool {
        let mut any = false;
        for table in 0..self.set.tables.len() {
            for row in (0..self.set.tables[table].rows.len()).rev() {
                let mut smaller = self.clone();
                smaller.set.tables[table].rows.remove(row);
                any |= self.take(smaller, wrong, tries);
            }
        }
        any
    }

    /// Makes whole columns null, then all rows of one partition.
    fn emptier_cells(&mut self, wrong: &Wrong, tries: &mut usize) -> bool {
        let mut any = false;
        for column in 0..self.table.columns.len() {
            let is_null = |row: &super::table::Row| row.cells[column] == Value::Null;
            if self.table.columns[column] == "event_time" || self.table.rows.iter().all(is_null) {
                continue;
            }
            let mut smaller = self.clone();
            smaller
                .table
                .rows
                .iter_mut()
                .for_each(|row| row.cells[column] = Value::Null);
            any |= self.take(smaller, wrong, tries);
        }
        if self.table.rows.iter().any(|row| row.partition != 0) {
            let mut smaller = self.clone();
            smaller
                .table
                .rows
                .iter_mut()
                .for_each(|row| row.partition = 0);
            any |= self.take(smaller, wrong, tries);
        }
        any
    }
}
