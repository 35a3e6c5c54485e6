//! Faults: queries made of valid parts with one thing in them that no stream can follow.

use super::grammar::{Column, ENABLED, Maker, Role, Scope, Ty, Want, Width};
use super::query::RuleSet;

/// A fault and the query that has it: `None` where the random parts do not fit.
pub type Fault = (&'static str, fn(&mut Parts) -> Option<String>);

/// Valid parts of a query over one relation.
pub struct Parts {
    maker: Maker,
    name: String,
    scope: Scope,
}

impl Parts {
    /// The parts of a random relation, and the rule set that it belongs to.
    pub fn new(seed: u64) -> (Parts, RuleSet) {
        let mut maker = Maker::new(seed, ENABLED, None);
        let (set, _) = maker.rule_set();
        let at = maker.below(maker.relations.len());
        let relation = maker.relations[at].clone();
        let parts = Parts {
            maker,
            name: relation.name,
            scope: Scope {
                columns: relation.columns,
            },
        };
        (parts, set)
    }

    fn pick(&mut self, fits: impl Fn(&Column) -> bool) -> Option<String> {
        let columns: Vec<String> = self
            .scope
            .columns
            .iter()
            .filter(|column| fits(column))
            .map(|column| column.sql.to_string())
            .collect();
        self.maker.pick(&columns).cloned()
    }

    fn time(&mut self) -> Option<String> {
        self.pick(|column| column.role.orders())
    }

    /// A column that rows may be partitioned by.
    fn key(&mut self) -> Option<String> {
        self.pick(|column| {
            matches!(column.role, Role::Key | Role::Plain)
                && matches!(column.ty, Ty::Text | Ty::Int(_) | Ty::Bool)
        })
    }

    /// A column that is no time of any kind.
    fn timeless(&mut self) -> Option<String> {
        self.pick(|column| column.role == Role::Plain && matches!(column.ty, Ty::Int(_) | Ty::Text))
    }

    fn condition(&mut self) -> String {
        let scope = self.scope.clone();
        self.maker.condition(&scope, 1).sql.to_string()
    }

    fn value(&mut self) -> String {
        let scope = self.scope.clone();
        self.maker.any(&scope, 1).sql.to_string()
    }

    fn number(&mut self) -> String {
        let scope = self.scope.clone();
        let want = Want::Int(Width::Small);
        self.maker.scalar(&scope, want, 1).sql.to_string()
    }

    /// `FROM relation WHERE condition`, or without the condition.
    fn from(&mut self) -> String {
        let condition = match self.maker.chance(0.5) {
            true => format!(" WHERE {}", self.condition()),
            false => String::new(),
        };
        format!("FROM {}{condition}", self.name)
    }

    fn word(&mut self, of: &[&'static str]) -> &'static str {
        self.maker.word(of)
    }
}

pub const FAULTS: &[Fault] = &[
    ("order by", |p| {
        let (value, from) = (p.value(), p.from());
        let order = p.word(&["1", "v", "v DESC", "1 NULLS FIRST"]);
        Some(format!("SELECT {value} AS v {from} ORDER BY {order}"))
    }),
    ("order by in a subquery", |p| {
        let (value, from) = (p.value(), p.from());
        Some(format!(
            "SELECT v FROM (SELECT {value} AS v {from} ORDER BY v) AS s"
        ))
    }),
    ("limit", |p| {
        let (value, from) = (p.value(), p.from());
        let limit = p.word(&[
            "LIMIT 10",
            "OFFSET 3",
            "LIMIT 1 OFFSET 1",
            "FETCH FIRST 5 ROWS ONLY",
            "ORDER BY v LIMIT 3",
        ]);
        Some(format!("SELECT {value} AS v {from} {limit}"))
    }),
    ("group by without a window", |p| {
        let (key, from) = (p.timeless()?, p.from());
        Some(format!(
            "SELECT {key} AS k, count(*) AS n {from} GROUP BY {key}"
        ))
    }),
    ("an aggregate alone", |p| {
        let (number, from) = (p.number(), p.from());
        let function = p.word(&["count", "sum", "min", "avg", "stddev"]);
        Some(format!("SELECT {function}({number}) AS n {from}"))
    }),
    ("distinct without a window", |p| {
        let (key, from) = (p.timeless()?, p.from());
        let distinct = match p.maker.chance(0.7) {
            true => "DISTINCT".to_owned(),
            false => format!("DISTINCT ON ({key})"),
        };
        Some(format!("SELECT {distinct} {key} AS k {from}"))
    }),
    ("grouping sets", |p| {
        let (key, time) = (p.timeless()?, p.time()?);
        let name = p.name.clone();
        let groups = p.word(&["ROLLUP", "CUBE"]);
        Some(format!(
            "SELECT {key} AS k, count(*) AS n FROM tumble({name}, {time}, INTERVAL '1 minute') GROUP BY {groups} ({key}, window_end)"
        ))
    }),
    ("over without partition by", |p| {
        let (time, value, from) = (p.time()?, p.value(), p.from());
        let function = p.word(&["row_number()", "count(*)", "rank()"]);
        Some(match p.maker.chance(0.5) {
            true => format!("SELECT {value} AS v, {function} OVER (ORDER BY {time}) AS n {from}"),
            false => format!("SELECT {value} AS v, {function} OVER () AS n {from}"),
        })
    }),
    ("over without order by", |p| {
        let (key, from) = (p.key()?, p.from());
        let function = p.word(&["row_number()", "count(*)", "lag(1)"]);
        Some(format!(
            "SELECT {key} AS v, {function} OVER (PARTITION BY {key}) AS n {from}"
        ))
    }),
    ("over in descending order", |p| {
        let (key, time, from) = (p.key()?, p.time()?, p.from());
        let order = p.word(&["DESC", "DESC NULLS LAST"]);
        Some(format!(
            "SELECT row_number() OVER (PARTITION BY {key} ORDER BY {time} {order}) AS n {from}"
        ))
    }),
    ("over by what is no time", |p| {
        let (key, order, from) = (p.key()?, p.timeless()?, p.from());
        Some(format!(
            "SELECT row_number() OVER (PARTITION BY {key} ORDER BY {order}) AS n {from}"
        ))
    }),
    ("over by two columns", |p| {
        let (key, time, order, from) = (p.key()?, p.time()?, p.timeless()?, p.from());
        Some(format!(
            "SELECT row_number() OVER (PARTITION BY {key} ORDER BY {time}, {order}) AS n {from}"
        ))
    }),
    ("over by a changed time", |p| {
        let (key, time, from) = (p.key()?, p.time()?, p.from());
        Some(format!(
            "SELECT lag(1) OVER (PARTITION BY {key} ORDER BY {time} + INTERVAL '1 hour') AS n {from}"
        ))
    }),
    ("a frame with following", |p| {
        let (key, time, from) = (p.key()?, p.time()?, p.from());
        let frame = p.word(&[
            "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
            "ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
            "RANGE BETWEEN CURRENT ROW AND INTERVAL '1 minute' FOLLOWING",
            "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
        ]);
        Some(format!(
            "SELECT count(*) OVER (PARTITION BY {key} ORDER BY {time} {frame}) AS n {from}"
        ))
    }),
    ("a frame of groups or months", |p| {
        let (key, time, from) = (p.key()?, p.time()?, p.from());
        let frame = p.word(&[
            "GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW",
            "RANGE BETWEEN INTERVAL '1 month' PRECEDING AND CURRENT ROW",
            "RANGE BETWEEN INTERVAL '-1 minute' PRECEDING AND CURRENT ROW",
        ]);
        Some(format!(
            "SELECT count(*) OVER (PARTITION BY {key} ORDER BY {time} {frame}) AS n {from}"
        ))
    }),
    ("a function that looks ahead", |p| {
        let (key, time, from) = (p.key()?, p.time()?, p.from());
        let function = p.word(&["lead(1)", "ntile(4)", "cume_dist()", "percent_rank()"]);
        Some(format!(
            "SELECT {function} OVER (PARTITION BY {key} ORDER BY {time}) AS n {from}"
        ))
    }),
    ("distinct in over", |p| {
        let (key, time, value, from) = (p.key()?, p.time()?, p.number(), p.from());
        Some(format!(
            "SELECT count(DISTINCT {value}) OVER (PARTITION BY {key} ORDER BY {time}) AS n {from}"
        ))
    }),
    ("a window function in where", |p| {
        let (key, time, name) = (p.key()?, p.time()?, p.name.clone());
        Some(format!(
            "SELECT {key} AS k FROM {name} WHERE row_number() OVER (PARTITION BY {key} ORDER BY {time}) = 1"
        ))
    }),
    ("a full join", |p| {
        let (key, name) = (p.key()?, p.name.clone());
        Some(format!(
            "SELECT a.{key} AS k FROM {name} AS a FULL JOIN {name} AS b ON a.{key} = b.{key}"
        ))
    }),
    ("a join without an equality", |p| {
        let (key, name) = (p.key()?, p.name.clone());
        Some(match p.maker.below(3) {
            0 => format!("SELECT a.{key} AS k FROM {name} AS a, {name} AS b"),
            1 => format!("SELECT a.{key} AS k FROM {name} AS a CROSS JOIN {name} AS b"),
            _ => format!(
                "SELECT a.{key} AS k FROM {name} AS a JOIN {name} AS b ON a.{key} < b.{key}"
            ),
        })
    }),
    ("a join of streams without a window", |p| {
        let (key, name) = (p.key()?, p.name.clone());
        let kind = p.word(&["JOIN", "LEFT JOIN", "RIGHT JOIN"]);
        Some(format!(
            "SELECT a.{key} AS k FROM {name} AS a {kind} {name} AS b ON a.{key} = b.{key}"
        ))
    }),
    ("in or exists of a stream without a window", |p| {
        let (key, name) = (p.key()?, p.name.clone());
        let not = p.word(&["", "NOT "]);
        Some(match p.maker.chance(0.5) {
            true => format!(
                "SELECT a.{key} AS k FROM {name} AS a WHERE a.{key} {not}IN (SELECT b.{key} FROM {name} AS b)"
            ),
            false => format!(
                "SELECT a.{key} AS k FROM {name} AS a WHERE {not}EXISTS (SELECT 1 FROM {name} AS b WHERE a.{key} = b.{key})"
            ),
        })
    }),
    ("exists of a comparison", |p| {
        let (key, name) = (p.key()?, p.name.clone());
        Some(format!(
            "SELECT a.{key} AS k FROM {name} AS a WHERE EXISTS (SELECT 1 FROM {name} AS b WHERE a.{key} > b.{key})"
        ))
    }),
    ("a scalar subquery", |p| {
        let (number, name, from) = (p.number(), p.name.clone(), p.from());
        Some(format!(
            "SELECT {number} AS v, (SELECT max(1) FROM {name}) AS m {from}"
        ))
    }),
    ("union, intersect, except", |p| {
        let (value, name) = (p.value(), p.name.clone());
        let set = p.word(&[
            "UNION",
            "INTERSECT",
            "EXCEPT",
            "INTERSECT ALL",
            "EXCEPT ALL",
        ]);
        Some(format!(
            "SELECT {value} AS v FROM {name} {set} SELECT {value} AS v FROM {name}"
        ))
    }),
    ("a recursive query", |p| {
        let (number, name) = (p.number(), p.name.clone());
        Some(format!(
            "WITH RECURSIVE r AS (SELECT {number} AS n FROM {name} UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT n FROM r"
        ))
    }),
    ("a function of chance or of the clock", |p| {
        let (value, from) = (p.value(), p.from());
        let function = p.word(&[
            "now()",
            "random()",
            "uuid()",
            "current_date",
            "current_timestamp",
            "current_time",
        ]);
        Some(format!("SELECT {value} AS v, {function} AS n {from}"))
    }),
    ("a function of chance in a condition", |p| {
        let (key, name) = (p.key()?, p.name.clone());
        Some(format!(
            "SELECT {key} AS v FROM {name} WHERE random() < 0.5"
        ))
    }),
    ("an estimate", |p| {
        let (time, number, name) = (p.time()?, p.number(), p.name.clone());
        let function = p.word(&[
            "approx_distinct",
            "approx_median",
            "median",
            "string_agg",
            "corr",
            "bit_and",
        ]);
        Some(format!(
            "SELECT window_end, {function}({number}) AS n FROM tumble({name}, {time}, INTERVAL '1 minute') GROUP BY window_end"
        ))
    }),
    ("a whole array", |p| {
        let (time, value, name) = (p.time()?, p.value(), p.name.clone());
        let array = p.word(&[
            "array_agg",
            "array_length(array_agg",
            "array_slice(array_agg",
        ]);
        let end = match array {
            "array_agg" => ")",
            "array_length(array_agg" => "))",
            _ => "), 1, 100000)",
        };
        Some(format!(
            "SELECT window_end, {array}({value}{end} AS n FROM tumble({name}, {time}, INTERVAL '1 minute') GROUP BY window_end"
        ))
    }),
    ("a size that is none", |p| {
        let (time, name) = (p.time()?, p.name.clone());
        let size = p.word(&[
            "INTERVAL '1 month'",
            "INTERVAL '2 years'",
            "INTERVAL '0 seconds'",
            "INTERVAL '-5 minutes'",
            "INTERVAL '1 microsecond'",
            "5",
            "'x'",
            "NULL",
        ]);
        let call = match p.maker.below(3) {
            0 => format!("tumble({name}, {time}, {size})"),
            1 => format!("hop({name}, {time}, {size}, INTERVAL '1 hour')"),
            _ => format!("hop({name}, {time}, INTERVAL '1 second', {size})"),
        };
        Some(format!(
            "SELECT window_end, count(*) AS n FROM {call} GROUP BY window_end"
        ))
    }),
    ("a gap that is none", |p| {
        let (time, key, name) = (p.time()?, p.key()?, p.name.clone());
        let gap = p.word(&[
            "INTERVAL '1 month'",
            "INTERVAL '0 seconds'",
            "INTERVAL '-5 minutes'",
            "5",
        ]);
        Some(format!(
            "SELECT {key} AS k, window_end, count(*) AS n FROM session({name}, {time}, {gap}, {key}) GROUP BY {key}, window_end"
        ))
    }),
    ("too many panes", |p| {
        let (time, name) = (p.time()?, p.name.clone());
        let call = p.word(&[
            "INTERVAL '1 second', INTERVAL '1 day'",
            "INTERVAL '7 minutes', INTERVAL '1000 minutes 1 second'",
            "INTERVAL '2 hours', INTERVAL '1 hour'",
        ]);
        Some(format!(
            "SELECT window_end, count(*) AS n FROM hop({name}, {time}, {call}) GROUP BY window_end"
        ))
    }),
    ("windows over what is no time", |p| {
        let (key, name) = (p.timeless()?, p.name.clone());
        let call = match p.maker.below(3) {
            0 => format!("tumble({name}, {key}, INTERVAL '1 minute')"),
            1 => format!("hop({name}, {key}, INTERVAL '1 minute', INTERVAL '2 minutes')"),
            _ => format!("session({name}, {key}, INTERVAL '1 minute', {key})"),
        };
        Some(format!(
            "SELECT {key} AS k, window_end, count(*) AS n FROM {call} GROUP BY {key}, window_end"
        ))
    }),
    ("windows over a changed time", |p| {
        let (time, name) = (p.time()?, p.name.clone());
        Some(format!(
            "WITH c AS (SELECT {time} + INTERVAL '1 hour' AS later FROM {name}) SELECT window_end, count(*) AS n FROM tumble(c, later, INTERVAL '1 minute') GROUP BY window_end"
        ))
    }),
    ("a session by other keys", |p| {
        let (time, key, other, name) = (p.time()?, p.key()?, p.timeless()?, p.name.clone());
        if key == other {
            return None;
        }
        Some(match p.maker.below(3) {
            0 => format!(
                "SELECT {other} AS k, window_end, count(*) AS n FROM session({name}, {time}, INTERVAL '1 minute', {key}) GROUP BY {other}, window_end"
            ),
            1 => format!(
                "SELECT window_end, count(*) AS n FROM session({name}, {time}, INTERVAL '1 minute', {key}) GROUP BY window_end"
            ),
            _ => format!(
                "SELECT {key} AS k, window_start, count(*) AS n FROM session({name}, {time}, INTERVAL '1 minute', {key}) GROUP BY {key}, window_start"
            ),
        })
    }),
    ("the rows of a session", |p| {
        let (time, key, name) = (p.time()?, p.key()?, p.name.clone());
        Some(format!(
            "SELECT {key} AS k, window_end FROM session({name}, {time}, INTERVAL '1 minute', {key})"
        ))
    }),
    ("two windows in one group", |p| {
        let (time, name) = (p.time()?, p.name.clone());
        Some(format!(
            "WITH w AS (SELECT {time} AS t, window_end AS inner_end FROM tumble({name}, {time}, INTERVAL '5 minutes')) SELECT inner_end, window_end, count(*) AS n FROM tumble(w, t, INTERVAL '1 minute') GROUP BY inner_end, window_end"
        ))
    }),
    ("a time that its window held back", |p| {
        let (time, name) = (p.time()?, p.name.clone());
        // The bounds of a view's own windows are bounds above as well.
        if time.starts_with("window_") {
            return None;
        }
        Some(format!(
            "WITH w AS (SELECT {time} AS t, window_end AS e, count(*) AS n FROM tumble({name}, {time}, INTERVAL '5 minutes') GROUP BY {time}, window_end) SELECT window_end, count(*) AS n FROM tumble(w, t, INTERVAL '1 minute') GROUP BY window_end"
        ))
    }),
    ("an unknown name", |p| {
        let (value, from) = (p.value(), p.from());
        Some(match p.maker.below(4) {
            0 => format!("SELECT {value} AS v, no_such_column AS w {from}"),
            1 => format!("SELECT no_such_function({value}) AS v {from}"),
            2 => format!("SELECT {value} AS v FROM no_such_table"),
            _ => format!("SELECT x.{value} AS v {from}"),
        })
    }),
    ("a name of ours", |p| {
        let (value, from) = (p.value(), p.from());
        let name = p.word(&["__time", "__lineage_0", "__x", "__first_offset"]);
        Some(format!("SELECT {value} AS {name} {from}"))
    }),
    ("unnest", |p| {
        let (value, from) = (p.value(), p.from());
        Some(format!(
            "SELECT {value} AS v, unnest(['a', 'b']) AS u {from}"
        ))
    }),
    ("a parameter", |p| {
        let (value, name) = (p.value(), p.name.clone());
        Some(format!("SELECT {value} AS v FROM {name} WHERE $1 = 1"))
    }),
    ("another statement", |p| {
        let (value, from) = (p.value(), p.from());
        let statement = p.word(&["CREATE VIEW v AS ", "EXPLAIN ", "INSERT INTO events "]);
        Some(match p.maker.chance(0.5) {
            true => format!("{statement}SELECT {value} AS v {from}"),
            false => format!("SELECT {value} AS v {from}; SELECT 1 AS w {from}"),
        })
    }),
    ("no table", |p| {
        Some(
            p.word(&[
                "SELECT 1 AS v",
                "VALUES (1)",
                "",
                "SELECT",
                "SELECT v FROM (VALUES (1)) AS t (v)",
            ])
            .to_owned(),
        )
    }),
    ("match_recognize", |p| {
        let (key, time, name) = (p.key()?, p.time()?, p.name.clone());
        Some(format!(
            "SELECT * FROM {name} MATCH_RECOGNIZE (PARTITION BY {key} ORDER BY {time} MEASURES 1 AS m PATTERN (A B) DEFINE A AS true, B AS true)"
        ))
    }),
];
