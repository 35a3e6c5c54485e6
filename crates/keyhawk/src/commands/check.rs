//! `check`: loads rules and prints each problem with its place and its cure.

use crate::cli::CheckArgs;
use crate::commands::{CommandResult, Failure, status};
use crate::rule_set::{Error, RuleTexts, count};

pub(crate) fn run(args: &CheckArgs) -> CommandResult {
    match RuleTexts::read(&args.dir).and_then(RuleTexts::compile) {
        Ok(rules) => {
            for problem in &rules.compiled.unkeyed {
                anstream::println!("{}\n", warning(problem));
            }
            let rules = rules.compiled.rules.len();
            anstream::println!("{}: {} loaded", args.dir.display(), count(rules, "rule"));
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
fn warning(problem: &keyhawk_sql::Problem) -> keyhawk_sql::Problem {
    keyhawk_sql::Problem {
        level: keyhawk_sql::Level::Warning,
        ..problem.clone()
    }
}
