//! Aggregates over a window: a list of productions.

use super::grammar::Feature::{self, Aggregates, Base, NanExtremes};
use super::grammar::{Exact, Expr, Maker, Production, Role, Scope, Ty, Want, Width, production};
use super::text::Sql;

/// Where a FILTER stands that is not at an aggregate's end.
const PLACE: &str = "<filter>";

type Make = fn(&mut Maker, &Scope) -> Option<Expr>;

/// Every aggregate production, for the test that counts them.
pub fn names() -> Vec<(&'static str, Feature)> {
    AGGREGATES
        .iter()
        .map(|production| (production.name, production.feature))
        .collect()
}

impl Maker {
    /// An aggregate over rows of a scope, one in four with a FILTER.
    pub fn aggregate(&mut self, scope: &Scope) -> Expr {
        let made = self.produce(AGGREGATES, |maker, make| make(maker, scope));
        let made = made.unwrap_or_else(|| Expr {
            sql: Sql::text("count(*)"),
            ty: Ty::Int(Width::Small),
        });
        let filter = if self.chance(0.25) {
            self.used.insert("aggregate_filter");
            let condition = self.condition(scope, 1).sql;
            Sql::new(" FILTER (WHERE {})", [condition])
        } else {
            Sql::text("")
        };
        // It stands before IGNORE NULLS, and inside of array_slice.
        let text = made.sql.to_string();
        let sql = if text.contains(PLACE) {
            made.sql.replaced(PLACE, &filter)
        } else {
            Sql::new("{}{}", [made.sql, filter])
        };
        Expr { sql, ty: made.ty }
    }

    /// An ORDER BY for an aggregate that depends on it: mostly none, or a time, or anything else, whose
    /// ties the total order settles.
    fn aggregate_order(&mut self, scope: &Scope) -> Sql {
        let times = scope.find(|column| column.role == Role::Time);
        if let Some(time) = self.pick(&times)
            && self.chance(0.3)
        {
            return Sql::new(" ORDER BY {}", [time.sql.clone()]);
        }
        if self.chance(0.7) {
            return Sql::text("");
        }
        self.used.insert("aggregate_order");
        let wants = [
            Want::Int(Width::Wild),
            Want::Text,
            Want::Time,
            Want::Float(Exact::Same),
        ];
        let want = wants[self.below(wants.len())];
        let Some(by) = self.column(scope, want) else {
            return Sql::text("");
        };
        let direction = self.word(&["", " DESC", " DESC NULLS LAST", " NULLS FIRST"]);
        Sql::new(&format!(" ORDER BY {{}}{direction}"), [by.sql])
    }
}

fn extreme(m: &mut Maker, s: &Scope, want: Want) -> Option<Expr> {
    let argument = m.scalar(s, want, 1);
    let ty = argument.ty.clone();
    let template = m.word(&["min({})", "max({})"]);
    Some(Expr::new(template, [argument], ty))
}

/// A measure whose variance is far from the ends of a float.
fn measure(m: &mut Maker, s: &Scope) -> Expr {
    if m.chance(0.5) {
        m.scalar(s, Want::Int(Width::Small), 1)
    } else {
        m.scalar(s, Want::Float(Exact::Grid), 1)
    }
}

const AGGREGATES: &[Production<Make>] = &[
    production("count_rows", Base, 4, |m, _| {
        let sql = m.word(&["count(*)", "count(1)"]);
        Some(Expr {
            sql: Sql::text(sql),
            ty: Ty::Int(Width::Small),
        })
    }),
    production("count_values", Base, 2, |m, s| {
        Some(Expr::new("count({})", [m.any(s, 1)], Ty::Int(Width::Small)))
    }),
    production("count_distinct", Base, 3, |m, s| {
        let argument = m.any(s, 1);
        if argument.ty == Ty::Float(Exact::Loose) {
            return None;
        }
        Some(Expr::new(
            "count(DISTINCT {})",
            [argument],
            Ty::Int(Width::Small),
        ))
    }),
    production("sum_of_ints", Base, 3, |m, s| {
        let argument = m.scalar(s, Want::Int(Width::Wild), 1);
        let ty = argument.ty.clone();
        Some(Expr::new("sum({})", [argument], ty))
    }),
    production("sum_of_grid", Base, 2, |m, s| {
        let argument = m.scalar(s, Want::Float(Exact::Grid), 1);
        Some(Expr::new("sum({})", [argument], Ty::Float(Exact::Grid)))
    }),
    production("sum_of_decimals", Base, 1, |m, s| {
        // Of another precision, so that it mixes with no other decimal.
        Some(Expr::new(
            "sum({})",
            [m.scalar(s, Want::Decimal, 1)],
            Ty::Output,
        ))
    }),
    production("min_max_of_ints", Base, 2, |m, s| {
        extreme(m, s, Want::Int(Width::Wild))
    }),
    production("min_max_of_floats", Base, 2, |m, s| {
        let argument = m.scalar(s, Want::Float(Exact::Same), 1);
        let ty = argument.ty.clone();
        let template = m.word(&["min(nanvl({}, 0.5))", "max(nanvl({}, 0.5))"]);
        Some(Expr::new(template, [argument], ty))
    }),
    production("min_max_of_nan", NanExtremes, 2, |m, s| {
        extreme(m, s, Want::Float(Exact::Same))
    }),
    production("min_max_of_decimals", Base, 1, |m, s| {
        extreme(m, s, Want::Decimal)
    }),
    production("min_max_of_times", Base, 2, |m, s| {
        extreme(m, s, Want::Time)
    }),
    production("min_max_of_texts", Base, 2, |m, s| {
        let column = m.column(s, Want::Text)?;
        Some(Expr::new("min({})", [column], Ty::Text))
    }),
    production("min_max_of_text_expressions", Aggregates, 1, |m, s| {
        extreme(m, s, Want::Text)
    }),
    production("min_max_of_bools", Aggregates, 1, |m, s| {
        extreme(m, s, Want::Bool)
    }),
    production("avg_of_ints", Aggregates, 2, |m, s| {
        let argument = m.scalar(s, Want::Int(Width::Small), 1);
        Some(Expr::new("avg({})", [argument], Ty::Float(Exact::Same)))
    }),
    production("avg_of_grid", Aggregates, 1, |m, s| {
        let argument = m.scalar(s, Want::Float(Exact::Grid), 1);
        Some(Expr::new("avg({})", [argument], Ty::Float(Exact::Same)))
    }),
    production("avg_of_decimals", Aggregates, 1, |m, s| {
        Some(Expr::new(
            "avg({})",
            [m.scalar(s, Want::Decimal, 1)],
            Ty::Output,
        ))
    }),
    production("variance", Aggregates, 2, |m, s| {
        let template = m.word(&[
            "stddev({})",
            "stddev_pop({})",
            "var_samp({})",
            "var_pop({})",
            "stddev_samp({})",
            "var({})",
        ]);
        Some(Expr::new(
            template,
            [measure(m, s)],
            Ty::Float(Exact::Loose),
        ))
    }),
    production("bool_and_or", Aggregates, 2, |m, s| {
        let template = m.word(&["bool_and({})", "bool_or({})"]);
        Some(Expr::new(template, [m.scalar(s, Want::Bool, 1)], Ty::Bool))
    }),
    production("first_last_value", Aggregates, 3, |m, s| {
        let argument = m.any(s, 1);
        let ty = argument.ty.clone();
        let order = m.aggregate_order(s);
        let function = m.word(&["first_value", "last_value"]);
        let nulls = m.word(&["", " IGNORE NULLS", " RESPECT NULLS"]);
        let template = format!("{function}({{}}{{}}){PLACE}{nulls}");
        Some(Expr {
            sql: Sql::new(&template, [argument.sql, order]),
            ty,
        })
    }),
    production("first_values", Aggregates, 2, |m, s| {
        let argument = m.any(s, 1);
        let ty = if argument.ty == Ty::Text {
            Ty::Texts
        } else {
            Ty::Output
        };
        let order = m.aggregate_order(s);
        let n = m.word(&["1", "2", "5", "100"]);
        let template = format!("array_slice(array_agg({{}}{{}}){PLACE}, 1, {n})");
        Some(Expr {
            sql: Sql::new(&template, [argument.sql, order]),
            ty,
        })
    }),
];
