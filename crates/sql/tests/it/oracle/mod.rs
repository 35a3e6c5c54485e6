//! The oracle: a machine that invents valid queries and events, and holds the stream against the batch.
//!
//! ```text
//!   seed ─▶ grammar ─▶ rule set ─▶ compile ─┬─▶ machine, cut and restarted ─┐
//!   seed ─▶ data ───▶ events ───────────────┴─▶ DataFusion ─────────────────┴─▶ the same rows, the same ids?
//!                                                              no ─▶ shrink ─▶ a .slt file and its seed
//! ```
//!
//! A longer run, and the repetition of a failing one, are one command:
//!
//! ```text
//! KEYHAWK_ORACLE_CASES=100000 cargo test --workspace --test it -- oracle::
//! KEYHAWK_ORACLE_SEED=4711 KEYHAWK_ORACLE_CASES=1 cargo test --workspace --test it -- oracle::
//! ```
//!
//! `KEYHAWK_ORACLE_SEED` is the seed of the first rule set, and every other one's is the next number.
//! `KEYHAWK_ORACLE_CASES` counts pairs of a rule set and a table of events. With
//! `KEYHAWK_ORACLE_FAILURES` a run goes on until that many rule sets have failed.

mod aggregate;
mod check;
mod damaged;
mod data;
mod faults;
mod from;
mod grammar;
mod join;
mod literal;
mod over;
mod query;
mod refused;
mod run;
mod scalar;
mod select;
mod shrink;
mod slt;
mod table;
mod text;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keyhawk_testkit::random::generator;

use self::check::{check, compiled};
use self::grammar::{ENABLED, Feature, Maker};
use self::shrink::Case;

/// Pairs of a rule set and a table in a usual run.
const CASES: usize = 3_200;
/// Tables for each rule set: most of a case's cost is compiling its queries.
const TABLES: usize = 8;
/// DataFusion's planner recurses over queries.
const STACK: usize = 16 << 20;

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a whole number, and not `{value}`"))
    })
}

/// How often each production was part of a query, and of one that was refused, with the first refusal.
#[derive(Default)]
struct Counts {
    productions: BTreeMap<&'static str, (usize, usize, String)>,
}

impl Counts {
    fn add(&mut self, production: &'static str, refusal: Option<&str>) {
        let (made, refused, first) = self.productions.entry(production).or_default();
        *made += 1;
        if let Some(refusal) = refusal {
            *refused += 1;
            if first.is_empty() {
                *first = refusal.to_owned();
            }
        }
    }
}

/// What the workers of a run have in common.
struct Run {
    next: AtomicU64,
    cases: AtomicUsize,
    findings: AtomicUsize,
    compile: Mutex<Duration>,
    refused: AtomicUsize,
    /// By message: how many, and the first rule set.
    refusals: Mutex<BTreeMap<String, (usize, String)>>,
    failures: Mutex<Vec<String>>,
}

#[test]
fn stream_equals_batch_for_random_rule_sets_and_events() {
    let first = setting("KEYHAWK_ORACLE_SEED", 1);
    let cases = setting("KEYHAWK_ORACLE_CASES", CASES as u64) as usize;
    let failures = setting("KEYHAWK_ORACLE_FAILURES", 2) as usize;
    let started = Instant::now();
    let run = Run {
        next: AtomicU64::new(first),
        cases: AtomicUsize::new(0),
        findings: AtomicUsize::new(0),
        compile: Mutex::new(Duration::ZERO),
        refused: AtomicUsize::new(0),
        refusals: Mutex::new(BTreeMap::new()),
        failures: Mutex::new(Vec::new()),
    };
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let work = || {
                while run.cases.load(Ordering::Relaxed) < cases
                    && run.failures.lock().unwrap().len() < failures
                {
                    one_rule_set(&run, run.next.fetch_add(1, Ordering::Relaxed));
                }
            };
            std::thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, work)
                .unwrap();
        }
    });
    let sets = run.next.load(Ordering::Relaxed) - first;
    let refused = run.refused.load(Ordering::Relaxed);
    eprintln!(
        "oracle, seeds from {first}: {} cases of {sets} rule sets, {refused} of them refused, {} findings, {:.0} s, {:.0} s of them compiling",
        run.cases.load(Ordering::Relaxed),
        run.findings.load(Ordering::Relaxed),
        started.elapsed().as_secs_f64(),
        run.compile.lock().unwrap().as_secs_f64(),
    );
    let mut refusals: Vec<(String, (usize, String))> =
        run.refusals.into_inner().unwrap().into_iter().collect();
    refusals.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    for (_, (count, example)) in refusals.iter().take(20) {
        eprintln!("refused {count} times, for example by {example}");
    }
    let failures = run.failures.into_inner().unwrap();
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
    assert!(
        refused * 10 <= sets as usize,
        "{refused} of {sets} rule sets were refused, which the generator takes for valid"
    );
}

fn one_rule_set(run: &Run, seed: u64) {
    let (set, _) = Maker::new(seed, ENABLED, None).rule_set();
    let started = Instant::now();
    let compiled = compiled(&set);
    *run.compile.lock().unwrap() += started.elapsed();
    let compiled = match compiled {
        Ok(Ok(compiled)) => compiled,
        Ok(Err(problems)) => {
            run.refused.fetch_add(1, Ordering::Relaxed);
            let mut refusals = run.refusals.lock().unwrap();
            let refusal = refusals
                .entry(problems[0].message.clone())
                .or_insert_with(|| {
                    (
                        0,
                        format!("seed {seed}\n{}\n{}", problems[0], check::printed(&set)),
                    )
                });
            refusal.0 += 1;
            return;
        }
        Err(panic) => {
            let set = check::printed(&set);
            let text = format!("KEYHAWK_ORACLE_SEED={seed}: compiling ended in {panic}\n{set}");
            run.failures.lock().unwrap().push(text);
            return;
        }
    };
    let failing = ENABLED.contains(&Feature::Fallible);
    for table in 0..TABLES as u64 {
        let seed_of_table = seed.wrapping_mul(1000).wrapping_add(table);
        let mut random = generator(seed_of_table);
        let rows = [0, 1, 3, 10, 30, 60, 100, 150][table as usize % 8];
        let case = Case {
            set: set.clone(),
            table: data::table(&mut random, rows),
            seed: seed_of_table,
            failing,
        };
        run.cases.fetch_add(1, Ordering::Relaxed);
        match check(&compiled, &case.table, case.seed, failing) {
            Ok(findings) => drop(run.findings.fetch_add(findings, Ordering::Relaxed)),
            Err(wrong) => {
                let small = case.shrink(&wrong);
                let wrong = small.wrong().unwrap_or(wrong);
                let why = format!("KEYHAWK_ORACLE_SEED={seed} KEYHAWK_ORACLE_CASES=1\n{wrong}");
                run.failures
                    .lock()
                    .unwrap()
                    .push(slt::of_case(&small, &why));
                return;
            }
        }
    }
}

/// How many queries of each production are compiled.
const SAMPLES: usize = 12;

#[test]
fn every_production_of_an_enabled_feature_compiles() {
    let counts = Mutex::new(Counts::default());
    let names: Vec<(&'static str, Feature)> = [
        scalar::names(),
        aggregate::names(),
        over::names(),
        query::names(),
    ]
    .concat()
    .into_iter()
    .filter(|(_, feature)| ENABLED.contains(feature))
    .collect();
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let work = || {
                while let Some((name, _)) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    sample(name, &counts);
                }
            };
            std::thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, work)
                .unwrap();
        }
    });
    let counts = counts.into_inner().unwrap();
    let mut bad = String::new();
    for (name, _) in &names {
        match counts.productions.get(name) {
            None => writeln!(bad, "{name} was never made").unwrap(),
            Some((made, refused, first)) if refused * 10 > *made => {
                writeln!(bad, "{name}: {refused} of {made} refused, first\n{first}").unwrap();
            }
            Some(_) => {}
        }
    }
    assert!(bad.is_empty(), "\n{bad}");
}

/// Makes queries with a production, and counts those that compile.
fn sample(name: &'static str, counts: &Mutex<Counts>) {
    let mut made = 0;
    for seed in 0..400 {
        let (set, used) = Maker::new(seed, ENABLED, Some(name)).rule_set();
        let with = |(_, productions): &&(String, Vec<&'static str>)| productions.contains(&name);
        let Some((of, _)) = used.iter().find(with) else {
            continue;
        };
        let refusal = match compiled(&set) {
            Ok(Ok(_)) => None,
            Ok(Err(problems)) => {
                // The query itself, not another one of the set.
                let is_of = |path: &str| path.ends_with(&format!("/{of}.sql"));
                problems
                    .iter()
                    .find(|problem| is_of(&problem.path))
                    .map(|problem| format!("{problem}\n{}", check::printed(&set)))
            }
            Err(panic) => Some(panic.to_string()),
        };
        counts.lock().unwrap().add(name, refusal.as_deref());
        made += 1;
        if made == SAMPLES {
            return;
        }
    }
}

#[test]
fn files_of_sqllogictest_hold_on_both_engines() {
    use slt::Engine;
    let only = std::env::var("KEYHAWK_SLT").ok();
    let other = std::env::var_os("KEYHAWK_SLT_DIR").map(std::path::PathBuf::from);
    let bless = std::env::var_os("KEYHAWK_BLESS").is_some_and(|value| value == "1");
    let mut paths: Vec<_> = std::fs::read_dir(other.clone().unwrap_or_else(slt::directory))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "slt"))
        .collect();
    paths.sort();
    assert!(other.is_some() || paths.len() > 5, "the files are gone");
    let mut wrong = String::new();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if only
            .as_ref()
            .is_some_and(|only| !name.contains(only.as_str()))
        {
            continue;
        }
        if bless {
            slt::bless(&path).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut engines = vec![Engine::Batch];
        engines.extend((0..8).map(Engine::Stream));
        engines.extend((2..5).map(Engine::Replay));
        for engine in engines {
            if let Err(error) = slt::run(&name, &text, engine) {
                writeln!(wrong, "{name}, {engine:?}: {error}\n").unwrap();
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
