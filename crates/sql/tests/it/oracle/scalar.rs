//! Scalar expressions: a list of productions for every type.

mod condition;
mod list;
mod number;
mod text;
mod time;

use rand::RngExt;

use self::condition::BOOL;
use self::list::TEXTS;
use self::number::{DECIMAL, FLOAT, INT};
use self::text::TEXT;
use self::time::TIME;
use super::grammar::Feature::{self, Base};
use super::grammar::{Exact, Expr, Maker, Production, Scope, Ty, Want, Width, production};
use super::text::Sql;

type Make = fn(&mut Maker, &Scope, usize) -> Option<Expr>;

const fn base(name: &'static str, weight: u32, make: Make) -> Production<Make> {
    production(name, Base, weight, make)
}

const fn of(feature: Feature, name: &'static str, make: Make) -> Production<Make> {
    production(name, feature, 2, make)
}

/// Every scalar production, for the test that counts them.
pub fn names() -> Vec<(&'static str, Feature)> {
    let lists = [TEXT, INT, FLOAT, BOOL, TIME, DECIMAL, TEXTS];
    lists
        .iter()
        .flat_map(|list| {
            list.iter()
                .map(|production| (production.name, production.feature))
        })
        .collect()
}

impl Maker {
    /// An expression of a kind, at most so many levels deep.
    pub fn scalar(&mut self, scope: &Scope, want: Want, depth: usize) -> Expr {
        if depth == 0 || self.chance(0.3) {
            return self.leaf(scope, want);
        }
        let list = match want {
            Want::Text => TEXT,
            Want::Int(_) => INT,
            Want::Float(_) => FLOAT,
            Want::Bool => BOOL,
            Want::Time => TIME,
            Want::Decimal => DECIMAL,
            Want::Texts => TEXTS,
        };
        let made = self.produce(list, |maker, make| {
            let made = make(maker, scope, depth - 1)?;
            want.takes(&made.ty).then_some(made)
        });
        made.unwrap_or_else(|| self.leaf(scope, want))
    }

    /// A column or a literal.
    fn leaf(&mut self, scope: &Scope, want: Want) -> Expr {
        if self.chance(0.85)
            && let Some(column) = self.column(scope, want)
        {
            return column;
        }
        self.literal(want)
    }

    /// A column of a kind, if there is one.
    pub fn column(&mut self, scope: &Scope, want: Want) -> Option<Expr> {
        let leaves = scope.leaves();
        let fitting: Vec<Expr> = leaves
            .into_iter()
            .filter(|leaf| want.takes(&leaf.ty))
            .collect();
        self.pick(&fitting).cloned()
    }

    /// A literal of a kind.
    pub fn literal(&mut self, want: Want) -> Expr {
        let (text, ty) = match want {
            Want::Text => {
                let words = [
                    "'DE'", "''", "'key-0'", "'ok'", "'x''y'", "'é'", "'12'", "'200'",
                ];
                (self.word(&words).to_owned(), Ty::Text)
            }
            Want::Int(width) => {
                let wild = width == Width::Wild && self.chance(0.1);
                let text = if wild {
                    self.word(&["9223372036854775807", "-9223372036854775807", "4294967296"])
                        .to_owned()
                } else {
                    self.word(&["0", "1", "2", "3", "7", "100", "200", "401", "-1"])
                        .to_owned()
                };
                (text, Ty::Int(if wild { Width::Wild } else { Width::Small }))
            }
            Want::Float(_) => {
                let text = self.word(&["0.5", "-1.25", "0.0", "2.0", "100.75"]);
                (text.to_owned(), Ty::Float(Exact::Grid))
            }
            Want::Bool => (
                self.word(&["true", "false", "CAST(NULL AS BOOLEAN)"])
                    .to_owned(),
                Ty::Bool,
            ),
            Want::Time => {
                let minute = self.random.random_range(0..180);
                let (hour, minute) = (minute / 60, minute % 60);
                (
                    format!(
                        "arrow_cast('2023-11-15T{hour:02}:{minute:02}:00Z', 'Timestamp(Millisecond, Some(\"UTC\"))')"
                    ),
                    Ty::Time,
                )
            }
            Want::Decimal => {
                let text = self.word(&["1.5", "0", "-2", "12.25"]);
                (format!("CAST({text} AS DECIMAL(38, 18))"), Ty::Decimal)
            }
            Want::Texts => (
                self.word(&["['read', 'write']", "['admin']", "make_array('read', '')"])
                    .to_owned(),
                Ty::Texts,
            ),
        };
        Expr {
            sql: Sql::text(text),
            ty,
        }
    }

    /// A condition.
    pub fn condition(&mut self, scope: &Scope, depth: usize) -> Expr {
        let made = self.produce(BOOL, |maker, make| make(maker, scope, depth));
        made.unwrap_or_else(|| self.leaf(scope, Want::Bool))
    }

    /// An expression of any kind that a SELECT may give, and its type.
    pub fn any(&mut self, scope: &Scope, depth: usize) -> Expr {
        let want = self.any_want();
        self.scalar(scope, want, depth)
    }

    pub fn any_want(&mut self) -> Want {
        let wants = [
            Want::Text,
            Want::Text,
            Want::Int(Width::Small),
            Want::Int(Width::Wild),
            Want::Float(Exact::Grid),
            Want::Float(Exact::Loose),
            Want::Bool,
            Want::Time,
            Want::Decimal,
            Want::Texts,
        ];
        wants[self.below(wants.len())]
    }
}

fn text(m: &mut Maker, s: &Scope, d: usize) -> Expr {
    m.scalar(s, Want::Text, d)
}

fn small(m: &mut Maker, s: &Scope, d: usize) -> Expr {
    m.scalar(s, Want::Int(Width::Small), d)
}

fn int(m: &mut Maker, s: &Scope, d: usize) -> Expr {
    m.scalar(s, Want::Int(Width::Wild), d)
}

fn grid(m: &mut Maker, s: &Scope, d: usize) -> Expr {
    m.scalar(s, Want::Float(Exact::Grid), d)
}

fn same(m: &mut Maker, s: &Scope, d: usize) -> Expr {
    m.scalar(s, Want::Float(Exact::Same), d)
}

fn float(m: &mut Maker, s: &Scope, d: usize) -> Expr {
    m.scalar(s, Want::Float(Exact::Loose), d)
}

fn bool(m: &mut Maker, s: &Scope, d: usize) -> Expr {
    m.scalar(s, Want::Bool, d)
}

fn time(m: &mut Maker, s: &Scope, d: usize) -> Expr {
    m.scalar(s, Want::Time, d)
}

fn decimal(m: &mut Maker, s: &Scope, d: usize) -> Expr {
    m.scalar(s, Want::Decimal, d)
}

fn texts(m: &mut Maker, s: &Scope, d: usize) -> Expr {
    m.scalar(s, Want::Texts, d)
}

/// The wider of two.
fn wider(a: &Expr, b: &Expr) -> Ty {
    match (&a.ty, &b.ty) {
        (Ty::Int(a), Ty::Int(b)) => Ty::Int(*a.max(b)),
        (Ty::Float(a), Ty::Float(b)) => Ty::Float(*a.max(b)),
        (a, _) => a.clone(),
    }
}

/// Of floats: at least as loose as Same.
fn at_least_same(ty: &Ty) -> Ty {
    match ty {
        Ty::Float(exact) => Ty::Float((*exact).max(Exact::Same)),
        other => other.clone(),
    }
}

/// `CASE`, `coalesce`, `nullif` and a struct's field, for any kind.
macro_rules! general {
    ($kind:ident, $case:ident, $coalesce:ident, $nullif:ident, $field:ident) => {
        fn $case(m: &mut Maker, s: &Scope, d: usize) -> Option<Expr> {
            let (a, b) = ($kind(m, s, d), $kind(m, s, d));
            let ty = wider(&a, &b);
            let condition = m.condition(s, d);
            Some(if m.chance(0.8) {
                Expr::new("CASE WHEN {} THEN {} ELSE {} END", [condition, a, b], ty)
            } else {
                let ty = a.ty.clone();
                Expr::new("CASE WHEN {} THEN {} END", [condition, a], ty)
            })
        }
        fn $coalesce(m: &mut Maker, s: &Scope, d: usize) -> Option<Expr> {
            let (a, b) = ($kind(m, s, d), $kind(m, s, d));
            let ty = wider(&a, &b);
            Some(Expr::new("coalesce({}, {})", [a, b], ty))
        }
        fn $nullif(m: &mut Maker, s: &Scope, d: usize) -> Option<Expr> {
            let (a, b) = ($kind(m, s, d), $kind(m, s, 0));
            if matches!(a.ty, Ty::Float(Exact::Loose)) || matches!(b.ty, Ty::Float(Exact::Loose)) {
                return None;
            }
            let ty = a.ty.clone();
            Some(Expr::new("nullif({}, {})", [a, b], ty))
        }
        fn $field(m: &mut Maker, s: &Scope, d: usize) -> Option<Expr> {
            let a = $kind(m, s, d);
            let ty = a.ty.clone();
            let other = m.any(s, 0);
            let template = m.word(&[
                "named_struct('a', {}, 'b', {})['a']",
                "struct({}, {})['c0']",
                "get_field(named_struct('a', {}, 'b', {}), 'a')",
            ]);
            Some(Expr::new(template, [a, other], ty))
        }
    };
}

use general;
