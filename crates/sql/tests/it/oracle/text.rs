//! Queries as trees of text, so that they can be printed, and made smaller part by part.
//!
//! ```text
//!   Query ── ctes: name AS Query
//!        └── branches: Select UNION ALL Select …
//!   Select ── items, FROM, WHERE, GROUP BY, HAVING, WINDOW, QUALIFY: each a list of Sql
//!   Sql ── text and Sql, in turn: `coalesce(` upper(country) `, ` 'x' `)`
//! ```
//!
//! The tree knows nothing of types: a smaller query that does not compile is no smaller case.

use std::fmt;

/// An expression: text, and the expressions in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sql(Vec<Piece>);

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Sub(Sql),
}

impl Sql {
    /// Text alone.
    pub fn text(text: impl Into<String>) -> Sql {
        Sql(vec![Piece::Text(text.into())])
    }

    /// A template whose `{}` are expressions.
    pub fn new(template: &str, subs: impl IntoIterator<Item = Sql>) -> Sql {
        let mut subs = subs.into_iter();
        let mut pieces = Vec::new();
        for (place, text) in template.split("{}").enumerate() {
            if place > 0 {
                pieces.push(Piece::Sub(subs.next().expect("an expression for each {}")));
            }
            if !text.is_empty() {
                pieces.push(Piece::Text(text.to_owned()));
            }
        }
        assert!(
            subs.next().is_none(),
            "more expressions than {{}} in {template}"
        );
        Sql(pieces)
    }

    /// Expressions with commas between.
    pub fn list(items: impl IntoIterator<Item = Sql>) -> Sql {
        let mut pieces = Vec::new();
        for item in items {
            if !pieces.is_empty() {
                pieces.push(Piece::Text(", ".to_owned()));
            }
            pieces.push(Piece::Sub(item));
        }
        Sql(pieces)
    }

    /// The expression with another in the place of a part of its own text.
    pub fn replaced(&self, place: &str, by: &Sql) -> Sql {
        let mut pieces = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => match text.split_once(place) {
                    Some((before, after)) => {
                        pieces.push(Piece::Text(before.to_owned()));
                        pieces.push(Piece::Sub(by.clone()));
                        pieces.push(Piece::Text(after.to_owned()));
                    }
                    None => pieces.push(piece.clone()),
                },
                Piece::Sub(_) => pieces.push(piece.clone()),
            }
        }
        Sql(pieces)
    }

    /// The expression with one of its parts in the place of another that holds it, every way.
    fn smaller(&self) -> Vec<Sql> {
        let mut smaller = Vec::new();
        for (at, piece) in self.0.iter().enumerate() {
            let Piece::Sub(sub) = piece else {
                continue;
            };
            smaller.push(sub.clone());
            for less in sub.smaller() {
                let mut pieces = self.0.clone();
                pieces[at] = Piece::Sub(less);
                smaller.push(Sql(pieces));
            }
        }
        smaller
    }
}

impl fmt::Display for Sql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Sub(sub) => sub.fmt(f),
        })
    }
}

/// What stands in FROM.
#[derive(Debug, Clone, PartialEq)]
pub enum From {
    /// `events AS e`, `tumble(minute, window_time, INTERVAL '1 hour')`, a join.
    Text(String),
    /// `(SELECT …) AS alias`.
    Subquery(Box<Query>, String),
    /// `left JOIN right ON …`, the conditions joined by AND.
    Join {
        left: Box<From>,
        kind: &'static str,
        right: Box<From>,
        on: Vec<Sql>,
    },
}

impl Default for From {
    fn default() -> From {
        From::Text("events".to_owned())
    }
}

/// One SELECT.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Select {
    pub distinct: bool,
    pub items: Vec<(Sql, Option<String>)>,
    pub from: From,
    /// Joined by AND.
    pub filters: Vec<Sql>,
    pub groups: Vec<Sql>,
    /// Joined by AND.
    pub having: Vec<Sql>,
    pub windows: Vec<(String, Sql)>,
    /// Joined by AND.
    pub qualify: Vec<Sql>,
}

/// A query: CTEs, then one SELECT or several under UNION ALL.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub ctes: Vec<(String, Query)>,
    pub branches: Vec<Select>,
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            From::Text(text) => f.write_str(text),
            From::Subquery(query, alias) => write!(f, "({query}) AS {alias}"),
            From::Join {
                left,
                kind,
                right,
                on,
            } => {
                write!(f, "{left} {kind} {right}")?;
                for (place, condition) in on.iter().enumerate() {
                    let before = if place == 0 { "ON" } else { "AND" };
                    write!(f, " {before} {condition}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.distinct {
            "SELECT DISTINCT "
        } else {
            "SELECT "
        })?;
        for (place, (sql, alias)) in self.items.iter().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            write!(f, "{comma}{sql}")?;
            if let Some(alias) = alias {
                write!(f, " AS {alias}")?;
            }
        }
        write!(f, " FROM {}", self.from)?;
        let mut list = |word: &str, between: &str, parts: &[Sql]| {
            for (place, part) in parts.iter().enumerate() {
                let before = if place == 0 { word } else { between };
                write!(f, " {before} {part}")?;
            }
            Ok(())
        };
        list("WHERE", "AND", &self.filters)?;
        list("GROUP BY", ",", &self.groups)?;
        list("HAVING", "AND", &self.having)?;
        for (place, (name, sql)) in self.windows.iter().enumerate() {
            let before = if place == 0 { " WINDOW" } else { "," };
            write!(f, "{before} {name} AS ({sql})")?;
        }
        let mut list = |word: &str, between: &str, parts: &[Sql]| {
            for (place, part) in parts.iter().enumerate() {
                let before = if place == 0 { word } else { between };
                write!(f, " {before} {part}")?;
            }
            Ok(())
        };
        list("QUALIFY", "AND", &self.qualify)
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, query)) in self.ctes.iter().enumerate() {
            let before = if place == 0 { "WITH " } else { ", " };
            write!(f, "{before}{name} AS ({query})")?;
        }
        if !self.ctes.is_empty() {
            f.write_str(" ")?;
        }
        for (place, select) in self.branches.iter().enumerate() {
            if place > 0 {
                f.write_str(" UNION ALL ")?;
            }
            select.fmt(f)?;
        }
        Ok(())
    }
}

impl From {
    /// What stands in FROM with one part less; of a join either side alone, too.
    fn smaller(&self) -> Vec<From> {
        match self {
            From::Text(_) => Vec::new(),
            From::Subquery(query, alias) => query
                .smaller()
                .into_iter()
                .map(|less| From::Subquery(Box::new(less), alias.clone()))
                .collect(),
            From::Join {
                left,
                kind,
                right,
                on,
            } => {
                let with = |left: &From, right: &From, on: Vec<Sql>| From::Join {
                    left: Box::new(left.clone()),
                    kind,
                    right: Box::new(right.clone()),
                    on,
                };
                let mut all = vec![left.as_ref().clone(), right.as_ref().clone()];
                for at in 0..on.len() {
                    let mut fewer = on.clone();
                    fewer.remove(at);
                    all.push(with(left, right, fewer));
                }
                all.extend(
                    left.smaller()
                        .iter()
                        .map(|less| with(less, right, on.clone())),
                );
                all.extend(
                    right
                        .smaller()
                        .iter()
                        .map(|less| with(left, less, on.clone())),
                );
                all
            }
        }
    }
}

/// Every list with one element less, each a clone of `whole` changed by `put`.
fn without_one<W: Clone, T: Clone>(
    whole: &W,
    list: &[T],
    least: usize,
    put: impl Fn(&mut W, Vec<T>),
    all: &mut Vec<W>,
) {
    if list.len() <= least {
        return;
    }
    for at in 0..list.len() {
        let mut shorter = list.to_vec();
        shorter.remove(at);
        let mut changed = whole.clone();
        put(&mut changed, shorter);
        all.push(changed);
    }
}

impl Select {
    /// Selects with one part less, the boldest first.
    fn smaller(&self) -> Vec<Select> {
        let mut all = Vec::new();
        without_one(
            self,
            &self.filters,
            0,
            |select, list| select.filters = list,
            &mut all,
        );
        without_one(
            self,
            &self.having,
            0,
            |select, list| select.having = list,
            &mut all,
        );
        without_one(
            self,
            &self.qualify,
            0,
            |select, list| select.qualify = list,
            &mut all,
        );
        without_one(
            self,
            &self.items,
            1,
            |select, list| select.items = list,
            &mut all,
        );
        without_one(
            self,
            &self.groups,
            1,
            |select, list| select.groups = list,
            &mut all,
        );
        without_one(
            self,
            &self.windows,
            0,
            |select, list| select.windows = list,
            &mut all,
        );
        if self.distinct {
            all.push(Select {
                distinct: false,
                ..self.clone()
            });
        }
        for from in self.from.smaller() {
            all.push(Select {
                from,
                ..self.clone()
            });
        }
        for at in 0..self.items.len() {
            for less in self.items[at].0.smaller() {
                let mut changed = self.clone();
                changed.items[at].0 = less;
                all.push(changed);
            }
        }
        type Part = fn(&mut Select) -> &mut Vec<Sql>;
        let parts: [Part; 4] = [
            |select| &mut select.filters,
            |select| &mut select.groups,
            |select| &mut select.having,
            |select| &mut select.qualify,
        ];
        for part in parts {
            let list = part(&mut self.clone()).clone();
            for (at, sql) in list.iter().enumerate() {
                for less in sql.smaller() {
                    let mut changed = self.clone();
                    part(&mut changed)[at] = less;
                    all.push(changed);
                }
            }
        }
        all
    }
}

impl Query {
    /// Queries with one part less, the boldest first.
    pub fn smaller(&self) -> Vec<Query> {
        let mut all = Vec::new();
        without_one(
            self,
            &self.ctes,
            0,
            |query, list| query.ctes = list,
            &mut all,
        );
        without_one(
            self,
            &self.branches,
            1,
            |query, list| query.branches = list,
            &mut all,
        );
        for at in 0..self.branches.len() {
            if let From::Subquery(query, _) = &self.branches[at].from
                && self.ctes.is_empty()
                && self.branches.len() == 1
            {
                all.push(query.as_ref().clone());
            }
            for less in self.branches[at].smaller() {
                let mut changed = self.clone();
                changed.branches[at] = less;
                all.push(changed);
            }
        }
        for at in 0..self.ctes.len() {
            for less in self.ctes[at].1.smaller() {
                let mut changed = self.clone();
                changed.ctes[at].1 = less;
                all.push(changed);
            }
        }
        all
    }
}
