//! Expressions that give a time.

use super::super::grammar::{Exact, Expr, Maker, Production, Scope, Ty};
use super::{Make, base, general, time, wider};

general!(time, time_case, time_coalesce, time_nullif, time_field);

pub const TIME: &[Production<Make>] = &[
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
    base("time_bin", 1, |m, s, d| {
        let template = m.word(&[
            "date_bin(INTERVAL '7 minutes', {})",
            "date_bin(INTERVAL '1 hour', {})",
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
