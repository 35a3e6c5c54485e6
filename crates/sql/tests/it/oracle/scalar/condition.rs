//! Conditions.

use super::super::grammar::Feature::Addresses;
use super::super::grammar::{Exact, Expr, Maker, Production, Scope, Ty, Want, Width};
use super::super::text::Sql;
use super::{Make, base, bool, float, general, int, of, same, text, texts, time, wider};

general!(bool, bool_case, bool_coalesce, bool_nullif, bool_field);

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

pub const BOOL: &[Production<Make>] = &[
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
