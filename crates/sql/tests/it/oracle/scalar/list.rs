//! Expressions that give a list of texts.

use super::super::grammar::{Expr, Production, Ty};
use super::{Make, base, text, texts};

pub const TEXTS: &[Production<Make>] = &[
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
