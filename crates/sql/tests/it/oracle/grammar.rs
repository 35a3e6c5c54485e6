//! The grammar's machinery: features, productions, types, and what is in scope.
//!
//! ```text
//!   production  a name, the feature that it belongs to, a weight, and a function that makes a part
//!   type        what an expression is, and how far both engines may differ in it
//!   role        what the planner knows of a column: the key, an event time, a window's bound
//! ```
//!
//! A feature that is in [`ENABLED`] is generated, and its productions must compile.

use std::collections::BTreeSet;

use keyhawk_testkit::random::generator;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::text::{Query, Sql};

/// A part of the language that is switched on as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// Filters, projections, views, tumbling windows with count, sum, min, max and count DISTINCT, and
    /// OVER with lag, row_number, first_seen and baseline.
    Base,
    /// Averages, variances, booleans, first and last values, arrays; DISTINCT over a window.
    Aggregates,
    /// OVER with ROWS and RANGE, and the functions that want a frame.
    Frames,
    /// UNION ALL.
    Union,
    /// Hopping windows.
    Hop,
    /// Session windows.
    Session,
    /// Joins with reference tables.
    Tables,
    /// Joins of two windowed views on window and key.
    WindowJoin,
    /// `ip_in` and `ip_net`, and the functions of places.
    Addresses,
    /// Least and greatest of floats that may be no number.
    NanExtremes,
    /// Expressions that fail on some rows.
    Fallible,
}

/// What is generated today. A feature is switched on by a line here.
pub const ENABLED: &[Feature] = &[
    Feature::Base,
    Feature::Aggregates,
    Feature::Frames,
    Feature::Union,
    Feature::Hop,
    Feature::Session,
    Feature::Tables,
    Feature::WindowJoin,
    Feature::Addresses,
    Feature::NanExtremes,
    Feature::Fallible,
];

/// One way to make a part of a query.
pub struct Production<M: 'static> {
    pub name: &'static str,
    pub feature: Feature,
    pub weight: u32,
    pub make: M,
}

/// A production of a list.
pub const fn production<M>(
    name: &'static str,
    feature: Feature,
    weight: u32,
    make: M,
) -> Production<M> {
    Production {
        name,
        feature,
        weight,
        make,
    }
}

/// How wide an integer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// So small that sums of sums stay exact in a float.
    Small,
    /// Up to the ends of its type.
    Wild,
}

/// How far a float may differ between the engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exact {
    /// Not at all, and neither may its sums: a small multiple of a quarter, or no number.
    Grid,
    /// Not at all, but sums of it depend on their order.
    Same,
    /// By rounding: nothing may turn on it but thresholds that it never comes near.
    Loose,
}

/// The type of an expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Ty {
    Text,
    Int(Width),
    /// An integer of another type than bigint, which mixes badly: it is compared with literals, cast,
    /// or taken as it is.
    Odd,
    Float(Exact),
    Bool,
    Time,
    Decimal,
    Texts,
    /// A list of what it says, which nothing but a rule's output takes.
    Output,
    Struct(Vec<(&'static str, Ty)>),
}

/// What kind of expression is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    Text,
    Int(Width),
    Float(Exact),
    Bool,
    Time,
    Decimal,
    Texts,
}

impl Want {
    /// Whether an expression of a type will do.
    pub fn takes(self, ty: &Ty) -> bool {
        match (self, ty) {
            (Want::Int(most), Ty::Int(width)) => *width <= most,
            (Want::Float(most), Ty::Float(exact)) => *exact <= most,
            (Want::Text, Ty::Text)
            | (Want::Bool, Ty::Bool)
            | (Want::Time, Ty::Time)
            | (Want::Decimal, Ty::Decimal)
            | (Want::Texts, Ty::Texts) => true,
            _ => false,
        }
    }
}

/// Which part of a window a bound is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    Start,
    End,
    Time,
}

/// How a window's span is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windows {
    Tumble,
    Hop,
    /// Whether sessions have a greatest length.
    Session(bool),
}

/// What the planner knows of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    Plain,
    /// The column that the topic is keyed by.
    Key,
    /// An event time that no window has held back.
    Time,
    /// A window's bound; bounds of the same span have the same window.
    Bound {
        part: Part,
        kind: Windows,
        window: String,
        /// In whole seconds, as a baseline's step must be.
        whole_seconds: bool,
    },
    /// What was an event time until its rows waited for a window.
    Held,
}

impl Role {
    /// Whether rows can be put in order by it: all but the start of a session that may be endless.
    pub fn orders(&self) -> bool {
        let endless = matches!(
            self,
            Role::Bound {
                part: Part::Start,
                kind: Windows::Session(false),
                ..
            }
        );
        matches!(self, Role::Time | Role::Bound { .. }) && !endless
    }

    /// Whether rows can be grouped by it anywhere above its window.
    pub fn groups(&self) -> bool {
        match self {
            Role::Bound { kind, .. } => !matches!(kind, Windows::Session(_)),
            _ => false,
        }
    }

    /// What the role is once rows have waited for a column of the role `leader`.
    pub fn behind(&self, leader: &Role) -> Role {
        match (self, leader) {
            (Role::Time | Role::Bound { .. }, Role::Time) => self.clone(),
            (Role::Bound { window, .. }, Role::Bound { window: of, .. }) if window == of => {
                self.clone()
            }
            (Role::Time | Role::Bound { .. }, _) => Role::Held,
            _ => self.clone(),
        }
    }
}

/// A column in scope, or an expression that a SELECT may name like one.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// As it is written.
    pub sql: Sql,
    /// Its own name, without a table's.
    pub name: String,
    pub ty: Ty,
    pub role: Role,
}

impl Column {
    pub fn new(name: &str, ty: Ty, role: Role) -> Column {
        Column {
            sql: Sql::text(name),
            name: name.to_owned(),
            ty,
            role,
        }
    }
}

/// What expressions may name.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    pub columns: Vec<Column>,
}

impl Scope {
    pub fn find(&self, matches: impl Fn(&Column) -> bool) -> Vec<&Column> {
        self.columns
            .iter()
            .filter(|column| matches(column))
            .collect()
    }

    /// The columns, and the fields of those that are structs.
    pub fn leaves(&self) -> Vec<Expr> {
        let mut leaves = Vec::new();
        for column in &self.columns {
            if let Ty::Struct(fields) = &column.ty {
                for (name, ty) in fields {
                    leaves.push(Expr {
                        sql: Sql::new(&format!("{{}}['{name}']"), [column.sql.clone()]),
                        ty: ty.clone(),
                    });
                }
            } else {
                leaves.push(Expr {
                    sql: column.sql.clone(),
                    ty: column.ty.clone(),
                });
            }
        }
        leaves
    }
}

/// An expression.
#[derive(Debug, Clone)]
pub struct Expr {
    pub sql: Sql,
    pub ty: Ty,
}

impl Expr {
    pub fn new(template: &str, subs: impl IntoIterator<Item = Expr>, ty: Ty) -> Expr {
        let subs = subs.into_iter().map(|sub| sub.sql);
        Expr {
            sql: Sql::new(template, subs),
            ty,
        }
    }
}

/// A table, view or CTE.
#[derive(Debug, Clone)]
pub struct Relation {
    pub name: String,
    pub columns: Vec<Column>,
}

/// Makes random parts of queries.
pub struct Maker {
    pub random: ChaCha8Rng,
    enabled: Vec<Feature>,
    /// A production that is to be taken wherever it can be.
    forced: Option<&'static str>,
    /// The productions that the query at hand was made by.
    pub used: BTreeSet<&'static str>,
    names: usize,
    /// The tables and views that a query may read.
    pub relations: Vec<Relation>,
    /// The reference tables that it may join.
    pub tables: Vec<Relation>,
    /// The CTEs of the query at hand.
    pub ctes: Vec<(String, Query)>,
    /// What they are.
    pub cte_relations: Vec<Relation>,
}

impl Maker {
    pub fn new(seed: u64, enabled: &[Feature], forced: Option<&'static str>) -> Maker {
        Maker {
            random: generator(seed),
            enabled: enabled.to_vec(),
            forced,
            used: BTreeSet::new(),
            names: 0,
            relations: Vec::new(),
            tables: Vec::new(),
            ctes: Vec::new(),
            cte_relations: Vec::new(),
        }
    }

    pub fn has(&self, feature: Feature) -> bool {
        self.enabled.contains(&feature)
    }

    /// A name that nothing has yet.
    pub fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }

    pub fn pick<'t, T>(&mut self, of: &'t [T]) -> Option<&'t T> {
        if of.is_empty() {
            return None;
        }
        Some(&of[self.random.random_range(0..of.len())])
    }

    /// One of several texts.
    pub fn word(&mut self, of: &[&'static str]) -> &'static str {
        of[self.random.random_range(0..of.len())]
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.random.random_range(0..bound)
    }

    /// What one of the enabled productions makes, by weight; another's where one has nothing to give.
    pub fn produce<M, T>(
        &mut self,
        productions: &'static [Production<M>],
        mut make: impl FnMut(&mut Maker, &M) -> Option<T>,
    ) -> Option<T> {
        let mut left: Vec<&Production<M>> = productions
            .iter()
            .filter(|production| self.has(production.feature))
            .collect();
        while !left.is_empty() {
            let forced = left
                .iter()
                .position(|production| Some(production.name) == self.forced);
            let at = match forced {
                Some(at) if self.chance(0.6) => at,
                _ => {
                    let total: u32 = left.iter().map(|production| production.weight).sum();
                    let mut ticket = self.random.random_range(0..total);
                    left.iter()
                        .position(|production| {
                            let hit = ticket < production.weight;
                            ticket = ticket.wrapping_sub(production.weight);
                            hit
                        })
                        .unwrap_or(0)
                }
            };
            let production = left.remove(at);
            if let Some(made) = make(self, &production.make) {
                self.used.insert(production.name);
                return Some(made);
            }
        }
        None
    }
}
