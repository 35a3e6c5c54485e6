//! Scalar expressions: a list of productions for every type.

use rand::RngExt;

use super::grammar::Feature::{self, Addresses, Base, Fallible};
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

general!(text, text_case, text_coalesce, text_nullif, text_field);
general!(int, int_case, int_coalesce, int_nullif, int_field);
general!(float, float_case, float_coalesce, float_nullif, float_field);
general!(bool, bool_case, bool_coalesce, bool_nullif, bool_field);
general!(time, time_case, time_coalesce, time_nullif, time_field);
general!(
    decimal,
    decimal_case,
    decimal_coalesce,
    decimal_nullif,
    decimal_field
);

const TEXT: &[Production<Make>] = &[
    base("text_case", 2, text_case),
    base("text_coalesce", 2, text_coalesce),
    base("text_nullif", 1, text_nullif),
    base("text_struct_field", 1, text_field),
    base("text_concat", 2, |m, s, d| {
        let template = m.word(&[
            "{} || '/' || {}",
            "concat({}, '-', {})",
            "concat_ws(',', {}, {})",
        ]);
        Some(Expr::new(
            template,
            [text(m, s, d), text(m, s, d)],
            Ty::Text,
        ))
    }),
    base("text_case_of_letters", 2, |m, s, d| {
        let template = m.word(&[
            "upper({})",
            "lower({})",
            "initcap({})",
            "reverse({})",
            "btrim({})",
            "ltrim({})",
        ]);
        Some(Expr::new(template, [text(m, s, d)], Ty::Text))
    }),
    base("text_part", 2, |m, s, d| {
        let template = m.word(&[
            "substr({}, 2)",
            "substr({}, 1, 3)",
            "left({}, 4)",
            "right({}, 2)",
            "split_part({}, '/', 2)",
            "split_part({}, '.', 1)",
            "replace({}, '1', '')",
            "translate({}, 'ae', 'xy')",
            "lpad({}, 6, '_')",
            "repeat({}, 2)",
        ]);
        Some(Expr::new(template, [text(m, s, d)], Ty::Text))
    }),
    base("text_regex", 2, |m, s, d| {
        let template = m.word(&[
            "regexp_replace({}, '[0-9]+', '#')",
            "regexp_replace({}, '/[^/]*$', '')",
            "regexp_match({}, '^/v([0-9]+)')[1]",
        ]);
        Some(Expr::new(template, [text(m, s, d)], Ty::Text))
    }),
    base("text_of_int", 1, |m, s, d| {
        Some(Expr::new("CAST({} AS VARCHAR)", [int(m, s, d)], Ty::Text))
    }),
    base("text_of_float", 1, |m, s, d| {
        Some(Expr::new("CAST({} AS VARCHAR)", [same(m, s, d)], Ty::Text))
    }),
    base("text_of_bool", 1, |m, s, d| {
        Some(Expr::new("CAST({} AS VARCHAR)", [bool(m, s, d)], Ty::Text))
    }),
    base("text_of_time", 1, |m, s, d| {
        let template = m.word(&[
            "CAST({} AS VARCHAR)",
            "to_char({}, '%Y-%m-%d %H:%M')",
            "CAST({} AS DATE)::VARCHAR",
        ]);
        Some(Expr::new(template, [time(m, s, d)], Ty::Text))
    }),
    base("text_of_texts", 1, |m, s, d| {
        let template = m.word(&[
            "array_to_string({}, ',')",
            "{}[1]",
            "array_to_string({}, '|', '?')",
        ]);
        Some(Expr::new(template, [texts(m, s, d)], Ty::Text))
    }),
    of(Addresses, "ip_net", |m, s, _| {
        let template = m.word(&[
            "ip_net({}, 24, 64)",
            "ip_net({}, 16, 48)",
            "ip_net({}, 0, 0)",
            "ip_net({}, 32, 128)",
        ]);
        Some(Expr::new(template, [text(m, s, 0)], Ty::Text))
    }),
    of(Fallible, "text_fails", |m, s, _| {
        let template = m.word(&["chr({})", "repeat('ab', {})", "split_part('a/b', '/', {})"]);
        let column = m.column(s, Want::Int(Width::Small))?;
        Some(Expr::new(template, [column], Ty::Text))
    }),
];

const INT: &[Production<Make>] = &[
    base("int_case", 2, int_case),
    base("int_coalesce", 2, int_coalesce),
    base("int_nullif", 1, int_nullif),
    base("int_struct_field", 1, int_field),
    base("int_sum", 3, |m, s, d| {
        let (a, b) = (int(m, s, d), int(m, s, d));
        let ty = wider(&a, &b);
        let template = m.word(&["({} + {})", "({} - {})"]);
        Some(Expr::new(template, [a, b], ty))
    }),
    base("int_product", 1, |m, s, d| {
        Some(Expr::new(
            "({} * {})",
            [int(m, s, d), int(m, s, d)],
            Ty::Int(Width::Wild),
        ))
    }),
    base("int_quotient", 2, |m, s, d| {
        let template = m.word(&["({} / 7)", "({} % 3)", "({} / 100)", "({} % 10)"]);
        let a = int(m, s, d);
        let ty = a.ty.clone();
        Some(Expr::new(template, [a], ty))
    }),
    base("int_quotient_of_null", 1, |m, s, d| {
        // i64::MIN / -1 overflows, so that the divisor is never negative.
        let a = int(m, s, d);
        let ty = a.ty.clone();
        Some(Expr::new(
            "({} / nullif(abs({}), 0))",
            [a, small(m, s, d)],
            ty,
        ))
    }),
    base("int_abs", 1, |m, s, d| {
        Some(Expr::new(
            "abs({})",
            [small(m, s, d)],
            Ty::Int(Width::Small),
        ))
    }),
    base("int_sign", 1, |m, s, d| {
        let a = int(m, s, d);
        let ty = a.ty.clone();
        Some(Expr::new("(- {})", [a], ty))
    }),
    base("int_extreme", 1, |m, s, d| {
        let (a, b) = (int(m, s, d), int(m, s, d));
        let ty = wider(&a, &b);
        let template = m.word(&["greatest({}, {})", "least({}, {})"]);
        Some(Expr::new(template, [a, b], ty))
    }),
    base("int_bits", 1, |m, s, d| {
        let template = m.word(&["({} & 12)", "({} | 3)", "({} # 5)"]);
        let template = template.replace('#', "^");
        let a = int(m, s, d);
        let ty = a.ty.clone();
        Some(Expr::new(&template, [a], ty))
    }),
    base("int_of_text", 2, |m, s, d| {
        let template = m.word(&[
            "CAST(length({}) AS BIGINT)",
            "CAST(strpos({}, '/') AS BIGINT)",
            "CAST(octet_length({}) AS BIGINT)",
            "TRY_CAST({} AS INT)::BIGINT",
            "regexp_count({}, '[a-z]')",
        ]);
        Some(Expr::new(template, [text(m, s, d)], Ty::Int(Width::Small)))
    }),
    base("int_of_any_text", 1, |m, s, d| {
        Some(Expr::new(
            "TRY_CAST({} AS BIGINT)",
            [text(m, s, d)],
            Ty::Int(Width::Wild),
        ))
    }),
    base("int_of_float", 1, |m, s, d| {
        Some(Expr::new(
            "TRY_CAST({} AS BIGINT)",
            [same(m, s, d)],
            Ty::Int(Width::Wild),
        ))
    }),
    base("int_of_bool", 1, |m, s, d| {
        Some(Expr::new(
            "CAST({} AS BIGINT)",
            [bool(m, s, d)],
            Ty::Int(Width::Small),
        ))
    }),
    base("int_of_time", 2, |m, s, d| {
        let template = m.word(&[
            "CAST(date_part('minute', {}) AS BIGINT)",
            "CAST(extract(hour FROM {}) AS BIGINT)",
            "CAST(date_part('dow', {}) AS BIGINT)",
            "CAST(date_part('second', {}) AS BIGINT)",
        ]);
        Some(Expr::new(template, [time(m, s, d)], Ty::Int(Width::Small)))
    }),
    base("int_of_times", 1, |m, s, d| {
        Some(Expr::new(
            "((CAST({} AS BIGINT) - CAST({} AS BIGINT)) / 1000)",
            [time(m, s, d), time(m, s, d)],
            Ty::Int(Width::Wild),
        ))
    }),
    base("int_of_texts", 1, |m, s, d| {
        let template = m.word(&[
            "CAST(array_length({}) AS BIGINT)",
            "CAST(cardinality({}) AS BIGINT)",
        ]);
        Some(Expr::new(template, [texts(m, s, d)], Ty::Int(Width::Small)))
    }),
    base("int_of_odd", 2, |m, s, _| {
        let odd = s.find(|column| column.ty == Ty::Odd);
        let odd = m.pick(&odd)?.sql.clone();
        Some(Expr {
            sql: Sql::new("CAST({} AS BIGINT)", [odd]),
            ty: Ty::Int(Width::Small),
        })
    }),
    of(Fallible, "int_fails", |m, s, d| {
        let template = m.word(&["({} / {})", "({} % {})"]);
        // A literal alone would fail when the rule loads.
        let divisor = m.column(s, Want::Int(Width::Wild))?;
        let ty = Ty::Int(Width::Wild);
        Some(Expr::new(template, [int(m, s, d), divisor], ty))
    }),
    of(Fallible, "int_cast_fails", |m, s, _| {
        let (want, template) = [
            (Want::Text, "CAST({} AS BIGINT)"),
            (Want::Float(Exact::Same), "CAST({} AS BIGINT)"),
            (Want::Int(Width::Wild), "CAST(CAST({} AS INT) AS BIGINT)"),
            (Want::Int(Width::Wild), "abs({})"),
            (Want::Int(Width::Wild), "({} / -1)"),
        ][m.below(5)];
        let column = m.column(s, want)?;
        Some(Expr::new(template, [column], Ty::Int(Width::Wild)))
    }),
];

const FLOAT: &[Production<Make>] = &[
    base("float_case", 2, float_case),
    base("float_coalesce", 2, float_coalesce),
    base("float_nullif", 1, float_nullif),
    of(Fallible, "float_fails", |m, s, _| {
        let column = m.column(s, Want::Float(Exact::Same))?;
        Some(Expr::new("sqrt({})", [column], Ty::Float(Exact::Same)))
    }),
    base("float_struct_field", 1, float_field),
    base("float_sum_of_grid", 2, |m, s, d| {
        let template = m.word(&["({} + {})", "({} - {})"]);
        Some(Expr::new(
            template,
            [grid(m, s, d), grid(m, s, d)],
            Ty::Float(Exact::Grid),
        ))
    }),
    base("float_double", 1, |m, s, d| {
        let template = m.word(&["({} * 2)", "({} * -1.0)", "({} * 4.0)"]);
        Some(Expr::new(template, [grid(m, s, d)], Ty::Float(Exact::Grid)))
    }),
    base("float_arithmetic", 2, |m, s, d| {
        let template = m.word(&["({} + {})", "({} - {})", "({} * {})", "({} / {})"]);
        Some(Expr::new(
            template,
            [same(m, s, d), same(m, s, d)],
            Ty::Float(Exact::Same),
        ))
    }),
    base("float_scaled", 1, |m, s, d| {
        let template = m.word(&["({} / 3.0)", "({} * 1.1)"]);
        let a = float(m, s, d);
        let ty = at_least_same(&a.ty);
        Some(Expr::new(template, [a], ty))
    }),
    base("float_function", 2, |m, s, d| {
        let template = m.word(&[
            "sqrt(abs({}))",
            "ln(abs({}))",
            "round({}, 1)",
            "floor({})",
            "ceil({})",
            "abs({})",
            "exp({})",
            "power({}, 2)",
            "signum({})",
            "trunc({})",
        ]);
        Some(Expr::new(template, [same(m, s, d)], Ty::Float(Exact::Same)))
    }),
    base("float_of_small_int", 2, |m, s, d| {
        Some(Expr::new(
            "CAST({} AS DOUBLE)",
            [small(m, s, d)],
            Ty::Float(Exact::Grid),
        ))
    }),
    base("float_of_int", 1, |m, s, d| {
        Some(Expr::new(
            "CAST({} AS DOUBLE)",
            [int(m, s, d)],
            Ty::Float(Exact::Same),
        ))
    }),
    base("float_of_decimal", 1, |m, s, d| {
        Some(Expr::new(
            "CAST({} AS DOUBLE)",
            [decimal(m, s, d)],
            Ty::Float(Exact::Same),
        ))
    }),
    base("float_of_text", 1, |m, s, d| {
        Some(Expr::new(
            "TRY_CAST({} AS DOUBLE)",
            [text(m, s, d)],
            Ty::Float(Exact::Same),
        ))
    }),
    base("float_of_nan", 1, |m, s, d| {
        Some(Expr::new(
            "nanvl({}, {})",
            [same(m, s, d), same(m, s, d)],
            Ty::Float(Exact::Same),
        ))
    }),
    base("float_extreme", 1, |m, s, d| {
        let template = m.word(&["greatest({}, {})", "least({}, {})"]);
        let (a, b) = (same(m, s, d), same(m, s, d));
        let ty = wider(&a, &b);
        Some(Expr::new(template, [a, b], ty))
    }),
];

const COMPARE: [&str; 8] = [
    "{} = {}",
    "{} <> {}",
    "{} < {}",
    "{} <= {}",
    "{} > {}",
    "{} >= {}",
    "{} IS DISTINCT FROM {}",
    "{} IS NOT DISTINCT FROM {}",
];

const BOOL: &[Production<Make>] = &[
    base("bool_case", 1, bool_case),
    base("bool_coalesce", 1, bool_coalesce),
    base("bool_nullif", 1, bool_nullif),
    base("bool_struct_field", 1, bool_field),
    base("bool_column", 2, |m, s, _| m.column(s, Want::Bool)),
    base("bool_and", 3, |m, s, d| {
        let template = m.word(&[
            "({} AND {})",
            "({} OR {})",
            "({} AND NOT {})",
            "({} OR NOT {})",
        ]);
        Some(Expr::new(
            template,
            [bool(m, s, d), bool(m, s, d)],
            Ty::Bool,
        ))
    }),
    base("bool_not", 1, |m, s, d| {
        let template = m.word(&[
            "(NOT {})",
            "({} IS TRUE)",
            "({} IS NOT TRUE)",
            "({} IS FALSE)",
            "({} IS UNKNOWN)",
        ]);
        Some(Expr::new(template, [bool(m, s, d)], Ty::Bool))
    }),
    base("null_test", 2, |m, s, d| {
        let template = m.word(&["({} IS NULL)", "({} IS NOT NULL)"]);
        Some(Expr::new(template, [m.any(s, d)], Ty::Bool))
    }),
    base("compare_text", 3, |m, s, d| compare(m, s, d, Want::Text)),
    base("compare_int", 4, |m, s, d| {
        compare(m, s, d, Want::Int(Width::Wild))
    }),
    base("compare_float", 2, |m, s, d| {
        compare(m, s, d, Want::Float(Exact::Same))
    }),
    base("compare_time", 2, |m, s, d| compare(m, s, d, Want::Time)),
    base("compare_decimal", 1, |m, s, d| {
        compare(m, s, d, Want::Decimal)
    }),
    base("compare_bool", 1, |m, s, d| compare(m, s, d, Want::Bool)),
    base("compare_texts", 1, |m, s, d| {
        Some(Expr::new(
            "({} = {})",
            [texts(m, s, d), texts(m, s, d)],
            Ty::Bool,
        ))
    }),
    base("threshold", 1, |m, s, d| {
        let template = m.word(&[
            "({} > 17.1234567)",
            "({} < -0.3141592)",
            "({} <= 0.7182818)",
        ]);
        Some(Expr::new(template, [float(m, s, d)], Ty::Bool))
    }),
    base("in_texts", 2, |m, s, d| {
        let template = m.word(&[
            "({} IN ('DE', 'FR', ''))",
            "({} NOT IN ('ok', 'US'))",
            "({} IN ('key-0', 'key-3', 'key-4', 'key-5'))",
            "({} IN ('DE', NULL))",
        ]);
        Some(Expr::new(template, [text(m, s, d)], Ty::Bool))
    }),
    base("in_ints", 2, |m, s, d| {
        let template = m.word(&[
            "({} IN (200, 201, 404))",
            "({} NOT IN (0, 1, 2))",
            "({} IN (3))",
        ]);
        Some(Expr::new(template, [int(m, s, d)], Ty::Bool))
    }),
    base("in_expressions", 1, |m, s, d| {
        Some(Expr::new(
            "({} IN ({}, {}))",
            [int(m, s, d), int(m, s, d), int(m, s, 0)],
            Ty::Bool,
        ))
    }),
    base("between_ints", 1, |m, s, d| {
        let template = m.word(&["({} BETWEEN {} AND {})", "({} NOT BETWEEN {} AND {})"]);
        Some(Expr::new(
            template,
            [int(m, s, d), int(m, s, 0), int(m, s, 0)],
            Ty::Bool,
        ))
    }),
    base("between_times", 1, |m, s, d| {
        Some(Expr::new(
            "({} BETWEEN {} AND {})",
            [time(m, s, d), time(m, s, 0), time(m, s, 0)],
            Ty::Bool,
        ))
    }),
    base("like", 2, |m, s, d| {
        let template = m.word(&[
            "({} LIKE 'key-%')",
            "({} NOT LIKE '%e%')",
            "({} LIKE '_E')",
            "({} ILIKE 'g%')",
            "({} LIKE '/v1/users/%')",
            "({} NOT ILIKE 'PY%')",
            "({} LIKE '%')",
        ]);
        Some(Expr::new(template, [text(m, s, d)], Ty::Bool))
    }),
    base("regex", 2, |m, s, d| {
        let template = m.word(&[
            "regexp_like({}, '^/v[0-9]+/')",
            "({} ~ '^k')",
            "({} !~ '[0-9]$')",
            "({} ~* 'CURL')",
        ]);
        Some(Expr::new(template, [text(m, s, d)], Ty::Bool))
    }),
    base("text_predicate", 1, |m, s, d| {
        let template = m.word(&[
            "starts_with({}, 'k')",
            "ends_with({}, '0')",
            "contains({}, '/')",
        ]);
        Some(Expr::new(template, [text(m, s, d)], Ty::Bool))
    }),
    base("in_list_column", 2, |m, s, d| {
        let template = m.word(&[
            "array_has({}, 'read')",
            "array_has_any({}, ['read', 'admin'])",
            "array_has_all({}, ['write'])",
        ]);
        Some(Expr::new(template, [texts(m, s, d)], Ty::Bool))
    }),
    base("is_nan", 1, |m, s, d| {
        let template = m.word(&["isnan({})", "iszero({})"]);
        Some(Expr::new(template, [same(m, s, d)], Ty::Bool))
    }),
    base("compare_odd", 2, |m, s, _| {
        let odd = s.find(|column| column.ty == Ty::Odd);
        let odd = m.pick(&odd)?.sql.clone();
        let template = m.word(&["({} = 1)", "({} <= 3)", "({} > 2)", "({} % 2 = 1)"]);
        Some(Expr {
            sql: Sql::new(template, [odd]),
            ty: Ty::Bool,
        })
    }),
    of(Addresses, "ip_in", |m, s, _| {
        let template = m.word(&[
            "ip_in({}, '192.0.2.0/24')",
            "ip_in({}, '10.0.0.0/8,2001:db8::/32')",
            "NOT ip_in({}, '198.51.100.7')",
        ]);
        Some(Expr::new(template, [text(m, s, 0)], Ty::Bool))
    }),
];

fn compare(m: &mut Maker, s: &Scope, d: usize, want: Want) -> Option<Expr> {
    let template = format!("({})", m.word(&COMPARE));
    Some(Expr::new(
        &template,
        [m.scalar(s, want, d), m.scalar(s, want, d)],
        Ty::Bool,
    ))
}

const TIME: &[Production<Make>] = &[
    base("time_case", 1, time_case),
    base("time_coalesce", 1, time_coalesce),
    base("time_nullif", 1, time_nullif),
    base("time_struct_field", 1, time_field),
    base("time_trunc", 2, |m, s, d| {
        let template = m.word(&[
            "date_trunc('minute', {})",
            "date_trunc('hour', {})",
            "date_trunc('day', {})",
        ]);
        Some(Expr::new(template, [time(m, s, d)], Ty::Time))
    }),
    base("time_shift", 2, |m, s, d| {
        let template = m.word(&[
            "({} + INTERVAL '5 minutes')",
            "({} - INTERVAL '1 hour')",
            "({} + INTERVAL '1 day 250 milliseconds')",
            "({} - INTERVAL '1 month')",
        ]);
        Some(Expr::new(template, [time(m, s, d)], Ty::Time))
    }),
    base("time_extreme", 1, |m, s, d| {
        let template = m.word(&["greatest({}, {})", "least({}, {})"]);
        Some(Expr::new(
            template,
            [time(m, s, d), time(m, s, d)],
            Ty::Time,
        ))
    }),
];

const DECIMAL: &[Production<Make>] = &[
    base("decimal_case", 1, decimal_case),
    base("decimal_coalesce", 1, decimal_coalesce),
    base("decimal_nullif", 1, decimal_nullif),
    base("decimal_struct_field", 1, decimal_field),
    base("decimal_of_int", 1, |m, s, d| {
        Some(Expr::new(
            "CAST({} AS DECIMAL(38, 18))",
            [small(m, s, d)],
            Ty::Decimal,
        ))
    }),
    base("decimal_extreme", 1, |m, s, d| {
        let template = m.word(&["greatest({}, {})", "least({}, {})"]);
        Some(Expr::new(
            template,
            [decimal(m, s, d), decimal(m, s, d)],
            Ty::Decimal,
        ))
    }),
];

const TEXTS: &[Production<Make>] = &[
    base("texts_case", 1, |m, s, d| {
        let condition = m.condition(s, d);
        Some(Expr::new(
            "CASE WHEN {} THEN {} END",
            [condition, texts(m, s, d)],
            Ty::Texts,
        ))
    }),
    base("texts_made", 2, |m, s, d| {
        let template = m.word(&["make_array({}, {})", "[{}, {}]"]);
        Some(Expr::new(
            template,
            [text(m, s, d), text(m, s, d)],
            Ty::Texts,
        ))
    }),
    base("texts_function", 2, |m, s, d| {
        let template = m.word(&[
            "array_sort({})",
            "array_distinct({})",
            "array_reverse({})",
            "array_slice({}, 1, 2)",
        ]);
        Some(Expr::new(template, [texts(m, s, d)], Ty::Texts))
    }),
    base("texts_appended", 1, |m, s, d| {
        let template = m.word(&["array_append({}, {})", "array_remove({}, {})"]);
        Some(Expr::new(
            template,
            [texts(m, s, d), text(m, s, d)],
            Ty::Texts,
        ))
    }),
    base("texts_split", 1, |m, s, d| {
        Some(Expr::new(
            "string_to_array({}, '/')",
            [text(m, s, d)],
            Ty::Texts,
        ))
    }),
];
