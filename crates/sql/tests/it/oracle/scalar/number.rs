//! Expressions that give an integer, a float or a decimal.

use super::super::grammar::Feature::{Addresses, Fallible};
use super::super::grammar::{Exact, Expr, Maker, Production, Scope, Ty, Want, Width};
use super::super::text::Sql;
use super::{
    Make, at_least_same, base, bool, decimal, float, general, grid, int, of, same, small, text,
    texts, time, wider,
};

general!(int, int_case, int_coalesce, int_nullif, int_field);
general!(
    decimal,
    decimal_case,
    decimal_coalesce,
    decimal_nullif,
    decimal_field
);
general!(float, float_case, float_coalesce, float_nullif, float_field);

pub const INT: &[Production<Make>] = &[
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
    base("int_case_of_value", 1, |m, s, d| {
        let (of, a) = (text(m, s, d), int(m, s, d));
        let ty = a.ty.clone();
        let template = "CASE {} WHEN 'DE' THEN {} WHEN '' THEN 7 END";
        Some(Expr::new(template, [of, a], ty))
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

pub const FLOAT: &[Production<Make>] = &[
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
    base("float_case_of_value", 1, |m, s, d| {
        let of = m.scalar(s, Want::Text, d);
        let (a, b) = (same(m, s, d), same(m, s, d));
        let ty = at_least_same(&wider(&a, &b));
        let template = "CASE {} WHEN 'DE' THEN {} WHEN 'ok' THEN 0.5 ELSE {} END";
        Some(Expr::new(template, [of, a, b], ty))
    }),
    of(Addresses, "distance_km", |m, s, d| {
        let places = [same(m, s, d), same(m, s, 0), same(m, s, 0), same(m, s, 0)];
        let template = "distance_km({}, {}, {}, {})";
        Some(Expr::new(template, places, Ty::Float(Exact::Same)))
    }),
    of(Addresses, "travel_km", |m, s, d| {
        let places = [
            same(m, s, d),
            same(m, s, 0),
            grid(m, s, 0),
            same(m, s, 0),
            same(m, s, 0),
            grid(m, s, 0),
        ];
        let template = "travel_km({}, {}, {}, {}, {}, {})";
        Some(Expr::new(template, places, Ty::Float(Exact::Same)))
    }),
    of(Addresses, "speed_kmh", |m, s, d| {
        let parts = [same(m, s, d), time(m, s, 0), time(m, s, 0)];
        Some(Expr::new(
            "speed_kmh({}, {}, {})",
            parts,
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

pub const DECIMAL: &[Production<Make>] = &[
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
