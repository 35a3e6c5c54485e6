//! `test`: runs the tests that stand beside rules, and shows what differs.

use crate::cli::TestArgs;
use crate::commands::{CommandResult, Failure, status};
use crate::rule_tests::{Mark, Report, Tests, junit};

pub(crate) fn run(args: &TestArgs) -> CommandResult {
    let tests = Tests::load(&args.paths).map_err(Failure::of)?;
    let report = tests.run().map_err(Failure::of)?;
    if let Some(path) = &args.junit {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::of(format!("{}: cannot be written: {error}", path.display()))
        };
        let xml = junit(&report).map_err(|error| failed(&error))?;
        std::fs::write(path, xml).map_err(|error| failed(&error))?;
    }
    print(&report);
    Ok(status(report.failed() == 0))
}

fn print(report: &Report) {
    let width = report.suites.iter().map(|suite| suite.rule.chars().count());
    let width = width.max().unwrap_or_default();
    for suite in &report.suites {
        let failed = suite.failed();
        let passed = suite.cases.len() - failed;
        let failed = match failed {
            0 => String::new(),
            _ => format!(", \x1b[31m{failed} failed\x1b[0m"),
        };
        anstream::println!("{:<width$}  {passed} passed{failed}", suite.rule);
        for case in &suite.cases {
            let Some(failure) = &case.failure else {
                continue;
            };
            anstream::println!(
                "\n\x1b[1m{}:{}: {}\x1b[0m",
                suite.path.display(),
                case.line,
                case.name
            );
            for line in &failure.lines {
                let color = match line.mark {
                    Mark::Expected => "\x1b[31m",
                    Mark::Found => "\x1b[32m",
                    Mark::Note | Mark::Both => "",
                };
                let reset = if color.is_empty() { "" } else { "\x1b[0m" };
                anstream::println!("  {color}{line}{reset}");
            }
            anstream::println!();
        }
    }
    for path in &report.untested {
        anstream::println!(
            "note: {} has no tests; they would stand in {}",
            path.display(),
            path.with_extension("test.toml").display()
        );
    }
    anstream::println!(
        "{} passed, {} failed in {:.1} s",
        report.passed(),
        report.failed(),
        report.elapsed.as_secs_f64()
    );
}
