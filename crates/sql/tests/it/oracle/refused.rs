//! What must be refused: queries made of valid parts with one thing in them that no stream can follow.
//! Each is refused when it loads, at a place, with a help.
//!
//! ```text
//!   valid relations, keys, conditions ─▶ template of a fault ─▶ compile ─▶ a problem, its place, its help
//! ```

use std::fmt::Write;

use keyhawk_sql::{Problem, RuleFiles, compile};

use super::STACK;
use super::check::{files, rule_file};
use super::faults::{FAULTS, Parts};
use super::query::RuleSet;
use super::run::{Failure, quietly};
use super::slt::entity_of;
use crate::events::schema;

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
pub fn placed(problem: &Problem, files: &RuleFiles) -> Result<(), String> {
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
