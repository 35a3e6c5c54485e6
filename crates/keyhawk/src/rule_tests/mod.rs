//! Rule tests: `rules/NAME.test.toml` says what makes the rule `NAME` fire and, above all, what must stay
//! silent. Each case runs alone, through both engines, which must agree.
//!
//! ```text
//!   NAME.sql, views ─▶ one rule ──────────────────┐
//!   NAME.test.toml ─▶ case ─▶ events ─▶ decoder ──┼─▶ stream ─┐
//!                      │                          └─▶ batch ──┴─▶ rows found ─┐
//!                      └─▶ rows expected ─────────────────────────────────────┴─▶ passed, or a diff
//! ```
//!
//! ```toml
//! [[case]]
//! name = "a burst of wrong signatures is found"
//! events = [
//!   { at = "1h", place = "Berlin", auth_result = "bad_signature", repeat = 60, every = "5s" },
//! ]
//! expect = [{ key_id = "k1", refused = 60 }]
//! ```
//!
//! | field of an event | meaning | default |
//! |---|---|---|
//! | `at` | time after Monday, 2 March 2026, 0:00 UTC: `"3d 2h"`, `"+10m"`, or milliseconds | 0 |
//! | `repeat`, `every` | so many events, so far apart | 1, `"1m"` |
//! | `days` | all of that again on so many days in a row | 1 |
//! | `place`, `network` | an address of a network of that city and kind, as the demo's GeoIP databases know it (`testdata/geoip/networks.json`) | `"Berlin"`, `"residential"` |
//! | `nth` | which address of the network | 1 |
//! | any other | a field of the event, as a gateway sends it | `key_id = "k1"` (none beside an `api_key`), `auth_result = "ok"` |
//!
//! `expect` holds part of a row for each finding: every expected row is found once, and nothing else is.
//! What a row does not name may be anything. A time is written as `at` is, or in RFC 3339. Numbers are
//! equal within 1e-9 of each other. Events come to the log in the order of their times, all in one
//! partition; at the end time goes to infinity, and every window closes.

mod case;
mod diff;
mod error;
mod events;
mod expected;
mod junit;
mod paths;
mod run;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyhawk_events::EventsSchema;
use keyhawk_sql::{Place, Problem, RuleFiles, SourceFile, nearest};

pub use diff::{Failure, Line, Mark};
pub use error::Error;
pub use junit::junit;

use crate::rule_set::{self, RuleSet, RuleTexts};
use case::Case;
use events::Vocabulary;
use expected::Row;
use paths::{Chosen, Wanted};

/// What the name of a test file ends in.
const ENDING: &str = ".test.toml";

/// Tests that loaded, ready to run.
pub struct Tests {
    suites: Vec<Suite>,
    untested: Vec<PathBuf>,
}

/// The tests of one rule.
struct Suite {
    rule: String,
    source: SourceFile,
    /// The rule alone, with the views that it reads.
    rules: RuleSet,
    cases: Vec<(Case, Vec<Row>)>,
}

/// How the tests went.
#[derive(Debug)]
pub struct Report {
    /// By directory, then by rule.
    pub suites: Vec<SuiteReport>,
    /// The files of rules that were asked for and have no tests.
    pub untested: Vec<PathBuf>,
    /// From the first case to the last.
    pub elapsed: Duration,
}

/// How the tests of one rule went.
#[derive(Debug)]
pub struct SuiteReport {
    /// The rule.
    pub rule: String,
    /// The file of its tests.
    pub path: PathBuf,
    /// In the order of the file.
    pub cases: Vec<CaseReport>,
}

/// How one case went.
#[derive(Debug)]
pub struct CaseReport {
    /// Its name.
    pub name: String,
    /// The line of the name, from 1.
    pub line: usize,
    /// How many rows it expects; 0 where the rule must stay silent.
    pub expected: usize,
    /// What both engines took.
    pub elapsed: Duration,
    /// What differs; nothing where the case passed.
    pub failure: Option<Failure>,
}

impl SuiteReport {
    /// How many cases failed.
    pub fn failed(&self) -> usize {
        let failed = self.cases.iter().filter(|case| case.failure.is_some());
        failed.count()
    }
}

impl Report {
    /// How many cases passed.
    pub fn passed(&self) -> usize {
        let cases: usize = self.suites.iter().map(|suite| suite.cases.len()).sum();
        cases - self.failed()
    }

    /// How many cases failed.
    pub fn failed(&self) -> usize {
        self.suites.iter().map(SuiteReport::failed).sum()
    }
}

impl Tests {
    /// Reads and compiles what `paths` name: rule directories, rules or test files.
    ///
    /// # Errors
    /// A path that is none of these, a file that cannot be read, or all problems of the rules and test
    /// files.
    pub fn load(paths: &[PathBuf]) -> Result<Tests, Error> {
        let mut tests = Tests {
            suites: Vec::new(),
            untested: Vec::new(),
        };
        let mut problems = Vec::new();
        for wanted in paths::wanted(paths)? {
            tests.load_dir(&wanted, &mut problems)?;
        }
        if problems.is_empty() {
            Ok(tests)
        } else {
            Err(Error::Problems(problems))
        }
    }

    fn load_dir(&mut self, wanted: &Wanted, problems: &mut Vec<Problem>) -> Result<(), Error> {
        let texts = RuleTexts::read(&wanted.dir).map_err(Error::Rules)?;
        let files = test_files(&wanted.dir.join("rules"))?;
        let names: BTreeSet<&str> = texts.files.rules.iter().map(SourceFile::name).collect();
        let is_chosen = |name: &str| match &wanted.chosen {
            Chosen::All => true,
            Chosen::Rules(rules) => rules.contains(name),
        };
        if let Chosen::Rules(rules) = &wanted.chosen
            && let Some(missing) = rules.iter().find(|name| {
                !names.contains(name.as_str()) && files.iter().all(|(rule, _)| rule != *name)
            })
        {
            return Err(Error::NoSuchRule {
                dir: wanted.dir.clone(),
                rule: missing.clone(),
                near: nearest(missing, names).map(str::to_owned),
            });
        }
        let schema = EventsSchema::new(texts.columns.clone())
            .map_err(|error| Error::Rules(rule_set::Error::Columns(error)))?;
        let vocabulary = Vocabulary::new(&schema);
        for (rule, source) in &files {
            if !names.contains(rule.as_str()) && is_chosen(rule) {
                let start = Place::of_bytes(&source.text, 0..0);
                let help = match nearest(rule, names.iter().copied()) {
                    Some(near) => format!("did you mean {near}{ENDING}?"),
                    None => "a test file is named for its rule".to_owned(),
                };
                let message = format!("there is no rule `{rule}` beside this test file");
                problems.push(Problem::new(source, start, message).help(help));
            }
        }
        for file in texts
            .files
            .rules
            .iter()
            .filter(|file| is_chosen(file.name()))
        {
            let Some((rule, source)) = files.iter().find(|(rule, _)| rule == file.name()) else {
                self.untested.push(PathBuf::from(&file.path));
                continue;
            };
            let cases = case::parse(source, &vocabulary).map_err(|more| problems.extend(more));
            let alone = RuleTexts {
                files: RuleFiles {
                    views: texts.files.views.clone(),
                    rules: vec![file.clone()],
                    tables: texts.files.tables.clone(),
                },
                columns: texts.columns.clone(),
                tables: texts.tables.clone(),
            };
            let rules = match alone.compile() {
                Ok(rules) => rules,
                Err(rule_set::Error::Problems(more)) => {
                    // A view's problems are every rule's.
                    for problem in more {
                        if !problems.contains(&problem) {
                            problems.push(problem);
                        }
                    }
                    continue;
                }
                Err(error) => return Err(Error::Rules(error)),
            };
            let Ok(cases) = cases else { continue };
            let schema = &rules.compiled.rules[0].schema;
            let mut resolved = Vec::with_capacity(cases.len());
            for case in cases {
                match expected::rows(source, &case.expect, schema) {
                    Ok(rows) => resolved.push((case, rows)),
                    Err(more) => problems.extend(more),
                }
            }
            self.suites.push(Suite {
                rule: rule.clone(),
                source: source.clone(),
                rules,
                cases: resolved,
            });
        }
        Ok(())
    }

    /// Runs every case, on as many threads as the machine has cores.
    ///
    /// # Errors
    /// Not where a case fails: only where the demo's GeoIP databases cannot be opened, or the system
    /// gives no thread's runtime.
    pub fn run(&self) -> Result<Report, Error> {
        run::run(self)
    }
}

/// The test files of a folder with the names of their rules, by name.
fn test_files(folder: &Path) -> Result<Vec<(String, SourceFile)>, Error> {
    let unreadable = |path: &Path, source| Error::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, error))? {
        let path = entry.map_err(|error| unreadable(folder, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(rule) = name.and_then(|name| name.strip_suffix(ENDING)) {
            let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
            let source = SourceFile {
                path: path.display().to_string(),
                text,
            };
            files.push((rule.to_owned(), source));
        }
    }
    files.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(files)
}
