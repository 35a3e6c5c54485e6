//! Window functions: a list of productions, and the frames that they take.

use super::grammar::Feature::{self, Base, Frames};
use super::grammar::{
    Exact, Expr, Maker, Production, Role, Scope, Ty, Want, Width, Windows, production,
};
use super::text::Sql;

/// PARTITION BY and ORDER BY of an OVER.
#[derive(Debug, Clone)]
pub struct Over {
    pub keys: Vec<Sql>,
    pub order: Sql,
    pub order_role: Role,
}

impl Over {
    /// As it stands in the parentheses.
    pub fn sql(&self) -> Sql {
        Sql::new(
            "PARTITION BY {} ORDER BY {}",
            [Sql::list(self.keys.iter().cloned()), self.order.clone()],
        )
    }
}

/// What stands before OVER, and a frame after the order.
pub struct Call {
    pub function: Expr,
    pub frame: Option<String>,
    /// Whether it takes a FILTER.
    pub filters: bool,
}

type Make = fn(&mut Maker, &Scope, &Over) -> Option<Call>;

/// Every production of a window function, for the test that counts them.
pub fn names() -> Vec<(&'static str, Feature)> {
    FUNCTIONS
        .iter()
        .map(|production| (production.name, production.feature))
        .collect()
}

impl Maker {
    /// A window function over `over`, which may stand under the name of a WINDOW clause.
    pub fn over(&mut self, scope: &Scope, over: &Over, name: Option<&str>) -> Option<Expr> {
        let call = self.produce(FUNCTIONS, |maker, make| make(maker, scope, over))?;
        let ty = call.function.ty.clone();
        let mut call = call;
        if call.filters && self.chance(0.2) {
            self.used.insert("over_filter");
            let condition = self.condition(scope, 1).sql;
            call.function.sql = Sql::new("{} FILTER (WHERE {})", [call.function.sql, condition]);
        }
        let sql = match (name, &call.frame) {
            (Some(name), None) => Sql::new(&format!("{{}} OVER {name}"), [call.function.sql]),
            (_, None) => Sql::new("{} OVER ({})", [call.function.sql, over.sql()]),
            (_, Some(frame)) => Sql::new(
                &format!("{{}} OVER ({{}} {frame})"),
                [call.function.sql, over.sql()],
            ),
        };
        Some(Expr { sql, ty })
    }

    /// A bounded or unbounded frame that ends at the current row or before it.
    fn frame(&mut self) -> String {
        let rows = self.chance(0.5);
        let unit = if rows { "ROWS" } else { "RANGE" };
        let distances: &[&'static str] = if rows {
            &["1", "2", "3", "10"]
        } else {
            &[
                "INTERVAL '1 second'",
                "INTERVAL '1 minute'",
                "INTERVAL '10 minutes'",
                "INTERVAL '1 hour'",
                "INTERVAL '1 day'",
            ]
        };
        let at = self.below(distances.len());
        let near = distances[self.below(at + 1)];
        let far = distances[at];
        match self.below(7) {
            6 => format!("{unit} BETWEEN CURRENT ROW AND CURRENT ROW"),
            0 => format!("{unit} BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"),
            1 => format!("{unit} UNBOUNDED PRECEDING"),
            2 => format!("{unit} BETWEEN UNBOUNDED PRECEDING AND {near} PRECEDING"),
            3 => format!("{unit} BETWEEN {far} PRECEDING AND {near} PRECEDING"),
            4 => format!("{unit} {far} PRECEDING"),
            _ => format!("{unit} BETWEEN {far} PRECEDING AND CURRENT ROW"),
        }
    }

    fn maybe_frame(&mut self) -> Option<String> {
        self.chance(0.75).then(|| self.frame())
    }
}

fn plain(function: Expr) -> Option<Call> {
    Some(Call {
        function,
        frame: None,
        filters: false,
    })
}

fn framed(m: &mut Maker, function: Expr) -> Option<Call> {
    let frame = m.maybe_frame();
    Some(Call {
        function,
        frame,
        filters: true,
    })
}

/// A literal of the type of an argument, for the default of lag.
fn default(m: &mut Maker, ty: &Ty) -> Option<Sql> {
    let want = match ty {
        Ty::Text => Want::Text,
        Ty::Int(_) => Want::Int(Width::Small),
        Ty::Float(_) => Want::Float(Exact::Grid),
        _ => return None,
    };
    Some(m.literal(want).sql)
}

const FUNCTIONS: &[Production<Make>] = &[
    production("row_number", Base, 3, |_, _, _| {
        plain(Expr {
            sql: Sql::text("row_number()"),
            ty: Ty::Odd,
        })
    }),
    production("lag", Base, 4, |m, s, _| {
        let argument = m.any(s, 1);
        let ty = argument.ty.clone();
        let back = m.word(&["", ", 1", ", 2", ", 5"]);
        let nulls = if m.chance(0.3) { " IGNORE NULLS" } else { "" };
        if !back.is_empty()
            && m.chance(0.4)
            && let Some(default) = default(m, &ty)
        {
            let template = format!("lag({{}}{back}, {{}}){nulls}");
            let sql = Sql::new(&template, [argument.sql, default]);
            return plain(Expr { sql, ty });
        }
        plain(Expr::new(
            &format!("lag({{}}{back}){nulls}"),
            [argument],
            ty,
        ))
    }),
    production("first_seen", Base, 3, |m, s, over| {
        let value = if m.chance(0.7) {
            m.scalar(s, Want::Text, 1)
        } else {
            m.scalar(s, Want::Int(Width::Wild), 1)
        };
        let ty = Ty::Struct(vec![
            ("is_new", Ty::Bool),
            ("first_ts", Ty::Time),
            ("values", Ty::Int(Width::Small)),
            ("age", Ty::Int(Width::Small)),
            ("active_days", Ty::Int(Width::Small)),
        ]);
        let sql = Sql::new("first_seen({}, {})", [value.sql, over.order.clone()]);
        plain(Expr { sql, ty })
    }),
    production("baseline", Base, 3, |m, s, over| {
        let value = if m.chance(0.7) {
            m.scalar(s, Want::Int(Width::Wild), 1)
        } else {
            m.scalar(s, Want::Float(Exact::Same), 1)
        };
        let float = Ty::Float(Exact::Same);
        let ty = Ty::Struct(vec![
            ("expected", float.clone()),
            ("lower", float.clone()),
            ("upper", float.clone()),
            ("surprise", float.clone()),
            ("surprise_low", float.clone()),
            ("level_surprise", float),
            ("n", Ty::Int(Width::Small)),
        ]);
        let step = match &over.order_role {
            Role::Bound {
                kind: Windows::Tumble | Windows::Hop,
                whole_seconds: true,
                ..
            } if m.chance(0.7) => "",
            _ => m.word(&[", INTERVAL '1 minute'", ", 600", ", INTERVAL '1 day'"]),
        };
        let template = format!("baseline({{}}, {{}}{step})");
        let sql = Sql::new(&template, [value.sql, over.order.clone()]);
        plain(Expr { sql, ty })
    }),
    production("rank", Frames, 2, |m, _, _| {
        let function = m.word(&["rank()", "dense_rank()"]);
        plain(Expr {
            sql: Sql::text(function),
            ty: Ty::Odd,
        })
    }),
    production("over_count", Frames, 4, |m, s, _| {
        let argument = m.any(s, 1);
        let function = match m.below(3) {
            0 => Expr::new("count({})", [argument], Ty::Int(Width::Small)),
            _ => Expr {
                sql: Sql::text("count(*)"),
                ty: Ty::Int(Width::Small),
            },
        };
        framed(m, function)
    }),
    production("over_sum_of_ints", Frames, 3, |m, s, _| {
        let argument = m.scalar(s, Want::Int(Width::Wild), 1);
        let ty = argument.ty.clone();
        framed(m, Expr::new("sum({})", [argument], ty))
    }),
    production("over_sum_of_floats", Frames, 2, |m, s, _| {
        let argument = m.scalar(s, Want::Float(Exact::Grid), 1);
        framed(m, Expr::new("sum({})", [argument], Ty::Float(Exact::Grid)))
    }),
    production("over_sum_of_decimals", Frames, 1, |m, s, _| {
        let argument = m.scalar(s, Want::Decimal, 1);
        framed(m, Expr::new("sum({})", [argument], Ty::Output))
    }),
    production("over_avg", Frames, 2, |m, s, _| {
        let want = [Want::Int(Width::Small), Want::Float(Exact::Same)][m.below(2)];
        let argument = m.scalar(s, want, 1);
        framed(m, Expr::new("avg({})", [argument], Ty::Float(Exact::Same)))
    }),
    production("over_min_max", Frames, 3, |m, s, _| {
        let want = [
            Want::Int(Width::Wild),
            Want::Float(Exact::Same),
            Want::Time,
            Want::Text,
            Want::Decimal,
            Want::Bool,
        ][m.below(6)];
        let argument = m.scalar(s, want, 1);
        let ty = argument.ty.clone();
        let template = m.word(&["min({})", "max({})"]);
        framed(m, Expr::new(template, [argument], ty))
    }),
    production("over_variance", Frames, 2, |m, s, _| {
        let want = [Want::Int(Width::Small), Want::Float(Exact::Same)][m.below(2)];
        let argument = m.scalar(s, want, 1);
        let template = m.word(&[
            "stddev({})",
            "stddev_pop({})",
            "stddev_samp({})",
            "var({})",
            "var_samp({})",
            "var_pop({})",
        ]);
        framed(m, Expr::new(template, [argument], Ty::Float(Exact::Loose)))
    }),
    production("over_bool_and_or", Frames, 2, |m, s, _| {
        let argument = m.scalar(s, Want::Bool, 1);
        let template = m.word(&["bool_and({})", "bool_or({})"]);
        framed(m, Expr::new(template, [argument], Ty::Bool))
    }),
    production("over_first_last_value", Frames, 3, |m, s, _| {
        let argument = m.any(s, 1);
        let ty = argument.ty.clone();
        let function = m.word(&["first_value", "last_value"]);
        let nulls = m.word(&["", " IGNORE NULLS"]);
        let frame = m.maybe_frame();
        let function = Expr::new(&format!("{function}({{}}){nulls}"), [argument], ty);
        Some(Call {
            function,
            frame,
            filters: false,
        })
    }),
    production("over_nth_value", Frames, 2, |m, s, _| {
        let argument = m.any(s, 1);
        let ty = argument.ty.clone();
        let n = m.word(&["1", "2", "3"]);
        let nulls = m.word(&["", "", " IGNORE NULLS"]);
        let frame = m.maybe_frame();
        let function = Expr::new(&format!("nth_value({{}}, {n}){nulls}"), [argument], ty);
        Some(Call {
            function,
            frame,
            filters: false,
        })
    }),
];
