//! Expressions that give a text.

use super::super::grammar::Feature::{Addresses, Fallible};
use super::super::grammar::{Exact, Expr, Maker, Production, Scope, Ty, Want, Width};
use super::{Make, base, bool, general, int, of, same, text, texts, time, wider};

general!(text, text_case, text_coalesce, text_nullif, text_field);

pub const TEXT: &[Production<Make>] = &[
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
