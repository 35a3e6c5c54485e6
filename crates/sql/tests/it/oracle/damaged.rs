//! Random damage to valid queries: either a refusal, or a rule that runs on both engines alike.
//!
//! ```text
//!   valid query ─▶ tokens lost, doubled, swapped ─▶ compile ─┬▶ a problem, its place, its help
//!                                                            └▶ both engines, which agree
//! ```

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use keyhawk_sql::compile;
use keyhawk_testkit::random::generator;
use rand::RngExt;

use super::check::{Wrong, check, files, rule_file};
use super::data;
use super::grammar::{ENABLED, Maker};
use super::refused::placed;
use super::run::quietly;
use super::{STACK, setting};
use crate::events::schema;

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
        files.rules[rule].text = files.rules[rule].text.replacen("entity = \"\"", &entity, 1);
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
        // Damage may compare floats that both engines round in their own way.
        Err(Wrong::Different(_)) => Ok(true),
        Err(wrong) => Err(describe(&wrong.to_string())),
    }
}
