//! `check`: loads rules and prints each problem with its place and its cure. Warnings change no exit
//! status, and come once there is no error.

use keyhawk_sql::{Level, Problem};

use crate::cli::CheckArgs;
use crate::commands::{CommandResult, Failure, status};
use crate::rule_set::{Error, RuleTexts, count};

pub(crate) fn run(args: &CheckArgs) -> CommandResult {
    match RuleTexts::read(&args.dir).and_then(RuleTexts::compile) {
        Ok(rules) => {
            let unkeyed = rules.compiled.unkeyed.iter().map(warning);
            let warnings: Vec<Problem> = unkeyed
                .chain(rules.compiled.warnings.iter().cloned())
                .collect();
            for warning in &warnings {
                anstream::println!("{warning}\n");
            }
            let mut summary = format!("{} loaded", count(rules.compiled.rules.len(), "rule"));
            if !warnings.is_empty() {
                summary += &format!(", {}", count(warnings.len(), "warning"));
            }
            anstream::println!("{}: {summary}", args.dir.display());
            Ok(status(true))
        }
        Err(Error::Problems(problems)) => {
            for problem in &problems {
                anstream::println!("{problem}\n");
            }
            anstream::println!(
                "{}: {}",
                args.dir.display(),
                count(problems.len(), "problem")
            );
            Ok(status(false))
        }
        Err(error @ Error::Columns(_)) => {
            anstream::println!("error: {error}");
            Ok(status(false))
        }
        Err(error) => Err(Failure::of(error)),
    }
}

/// A rule that only files can be run through: `run` refuses it.
fn warning(problem: &Problem) -> Problem {
    Problem {
        level: Level::Warning,
        ..problem.clone()
    }
}
