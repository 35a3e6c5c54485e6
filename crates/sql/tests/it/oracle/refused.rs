//! What must be refused: queries made of valid parts with one thing in them that no stream can follow.
//! Each is refused when it loads, at a place, with a help; and random damage to valid queries gives
//! either a refusal or a rule that runs on both engines alike.
//!
//! ```text
//!   valid relations, keys, conditions ─▶ template of a fault ─▶ compile ─▶ a problem, its place, its help
//!   valid query ─▶ tokens lost, doubled, swapped ─▶ compile ─┬▶ a problem
//!                                                            └▶ both engines, which agree
//! ```

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use keyhawk_sql::{Problem, RuleFiles, compile};
use keyhawk_testkit::random::generator;
use rand::RngExt;

use super::check::{Wrong, check, files, rule_file};
use super::data;
use super::grammar::{Column, ENABLED, Maker, Role, Scope, Ty, Want, Width};
use super::query::RuleSet;
use super::run::{Failure, quietly};
use super::slt::entity_of;
use super::{STACK, is_known, setting};
use crate::events::schema;

/// A fault and the query that has it: `None` where the random parts do not fit.
type Fault = (&'static str, fn(&mut Parts) -> Option<String>);

/// Valid parts of a query over one relation.
struct Parts {
    maker: Maker,
    name: String,
    scope: Scope,
}

impl Parts {
    /// The parts of a random relation, and the rule set that it belongs to.
    fn new(seed: u64) -> (Parts, RuleSet) {
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

const FAULTS: &[Fault] = &[
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

/// How many queries of each fault are tried.
const SAMPLES: usize = 12;

#[test]
fn what_no_stream_can_follow_is_refused_at_its_place() {
    let mut wrong = String::new();
    let mut counts = Vec::new();
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            for (name, fault) in FAULTS {
                let mut tried = 0;
                for seed in 1..400 {
                    let (mut parts, set) = Parts::new(seed);
                    let Some(query) = fault(&mut parts) else {
                        continue;
                    };
                    tried += 1;
                    if let Err(error) = must_be_refused(&set, &query) {
                        writeln!(wrong, "{name}, seed {seed}: {error}\n{query}\n").unwrap();
                        break;
                    }
                    if tried == SAMPLES {
                        break;
                    }
                }
                counts.push((*name, tried));
            }
            for (name, tried) in counts {
                assert!(tried > 0 || wrong.contains(name), "{name}: never tried");
            }
            assert!(wrong.is_empty(), "\n{wrong}");
        })
        .unwrap()
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// Compiles a query above the views of a rule set, which are valid.
fn must_be_refused(set: &RuleSet, query: &str) -> Result<(), String> {
    let mut files = files(set);
    files.rules = vec![rule_file("refused", query, &entity_of(query))];
    let problems = problems(&files).map_err(|failure| failure.to_string())?;
    let Some(problem) = problems.first() else {
        return Err("it loads".to_owned());
    };
    placed(problem, &files)
}

fn problems(files: &RuleFiles) -> Result<Vec<Problem>, Failure> {
    quietly(|| {
        Ok(compile(files, &schema(), "api_key")
            .err()
            .unwrap_or_default())
    })
}

/// Whether a problem says where it is and what it is about.
fn placed(problem: &Problem, files: &RuleFiles) -> Result<(), String> {
    let mut all = files.rules.iter().chain(&files.views);
    let Some(file) = all.find(|file| file.path == problem.path) else {
        return Err(format!("no file of the rule set is at fault: {problem}"));
    };
    let lines = file.text.lines().count().max(1);
    let place = problem.place;
    let line = file.text.lines().nth(place.line.saturating_sub(1));
    let in_line = line.is_none_or(|line| place.column <= line.chars().count() + 1);
    if place.line == 0 || place.line > lines || place.column == 0 || !in_line {
        return Err(format!("a place that is none: {problem}"));
    }
    if problem.message.trim().is_empty() {
        return Err("no message".to_owned());
    }
    for ours in [
        "__window",
        "__frame",
        "__arg",
        "__session",
        "__hop",
        "Internal error",
        "panicked",
    ] {
        if problem.message.contains(ours) {
            return Err(format!(
                "the message speaks of what no analyst wrote: {problem}"
            ));
        }
    }
    Ok(())
}

/// Words, numbers, texts and single signs of a query.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut open = false;
    let mut quoted = false;
    for c in text.chars() {
        let part = quoted || c == '\'' || c.is_alphanumeric() || c == '_' || c == '.';
        match tokens.last_mut() {
            Some(last) if open && part => last.push(c),
            Some(last)
                if ["<", ">", "=", "|", "!", ":", "-"].contains(&last.as_str())
                    && "=>|:~".contains(c) =>
            {
                last.push(c);
            }
            _ if c.is_whitespace() => {}
            _ => tokens.push(c.to_string()),
        }
        quoted ^= c == '\'';
        open = part;
    }
    tokens
}

/// How many damaged queries are tried in a usual run.
const DAMAGED: u64 = 3_000;

#[test]
fn damaged_queries_are_refused_or_run_alike_on_both_engines() {
    let first = setting("KEYHAWK_ORACLE_SEED", 1);
    let last = first + setting("KEYHAWK_ORACLE_CASES", DAMAGED).min(100 * DAMAGED);
    let next = AtomicU64::new(first);
    let wrong = Mutex::new(String::new());
    let running = AtomicU64::new(0);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let work = || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last || !wrong.lock().unwrap().is_empty() {
                        return;
                    }
                    match damaged(seed) {
                        Ok(runs) => drop(running.fetch_add(u64::from(runs), Ordering::Relaxed)),
                        Err(error) => wrong.lock().unwrap().push_str(&error),
                    }
                }
            };
            std::thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, work)
                .unwrap();
        }
    });
    let (wrong, running) = (wrong.into_inner().unwrap(), running.into_inner());
    eprintln!(
        "{} damaged queries, {running} of which still run",
        last - first
    );
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(
        last - first < 1000 || running > (last - first) / 50,
        "the damage is too great to test anything"
    );
}

/// Damages one query of a rule set; whether it still runs.
fn damaged(seed: u64) -> Result<bool, String> {
    let (set, _) = Maker::new(seed, ENABLED, None).rule_set();
    let mut random = generator(seed);
    let mut files = files(&set);
    let rule = random.random_range(0..files.rules.len());
    let query = set.rules[rule].1.to_string();
    let mut rest = tokens(&query);
    for _ in 0..random.random_range(1..3) {
        let at = random.random_range(0..rest.len());
        let other = random.random_range(0..rest.len());
        match random.random_range(0..5) {
            0 if rest.len() > 1 => drop(rest.remove(at)),
            1 => rest.insert(at, rest[other].clone()),
            2 => rest.swap(at, other),
            3 => rest[at] = rest[other].clone(),
            _ => rest[at] = "NULL".to_owned(),
        }
    }
    let text = rest.join(" ");
    let name = &set.rules[rule].0;
    let entity = files.rules[rule]
        .text
        .lines()
        .nth(2)
        .map(|line| line.to_owned());
    files.rules[rule] = rule_file(name, &text, "");
    if let Some(entity) = entity {
        let header = format!("entity = \"\"");
        files.rules[rule].text = files.rules[rule].text.replacen(&header, &entity, 1);
    }
    let describe = |what: &str| {
        format!(
            "KEYHAWK_ORACLE_SEED={seed} KEYHAWK_ORACLE_CASES=1: {what}\n{}-- damaged: {text}\n",
            super::check::printed(&set)
        )
    };
    let compiled = quietly(|| Ok(compile(&files, &schema(), "api_key")));
    let compiled = match compiled.map_err(|failure| describe(&failure.to_string()))? {
        Ok(compiled) => compiled,
        Err(problems) => {
            for problem in &problems {
                placed(problem, &files).map_err(|error| describe(&error))?;
            }
            return Ok(false);
        }
    };
    let table = data::table(&mut random, 30);
    match check(&compiled, &table, seed, true) {
        Ok(_) => Ok(true),
        Err(wrong) if is_known(&wrong) => Ok(true),
        // Damage may compare floats that both engines round in their own way.
        Err(Wrong::Different(_)) => Ok(true),
        Err(wrong) => Err(describe(&wrong.to_string())),
    }
}
