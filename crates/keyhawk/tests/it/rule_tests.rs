//! The cases beside the shipped rules, and `keyhawk test` itself: what it says of a case that fails, of a
//! file that is wrong, and to a CI system.

use std::path::{Path, PathBuf};

use keyhawk::rule_set::RuleTexts;
use keyhawk::rule_tests::{Error, Report, Tests, junit};

use crate::binary::{Run, keyhawk, root, write};

/// What a shipped rule's test file must hold at least.
const FIRING_MIN: usize = 2;
const SILENT_MIN: usize = 3;

/// Refused calls in ten minutes, as `auth_failures` counts them.
const RULE: &str = "/*
severity   = \"low\"
entity     = \"api_key\"
thresholds = \"3 is what a test can count.\"
*/
SELECT api_key, window_start, count(*) AS refused, max(status) AS status
FROM tumble(events, event_time, INTERVAL '10 minutes')
WHERE auth_result = 'bad_key'
GROUP BY api_key, window_start
HAVING count(*) >= 3
";

fn report(paths: &[PathBuf]) -> Report {
    let tests = Tests::load(paths).unwrap_or_else(|error| panic!("{error}"));
    tests.run().unwrap_or_else(|error| panic!("{error}"))
}

/// A rule directory with the rule `bursts` and these tests.
fn bursts(folder: &Path, tests: &str) -> PathBuf {
    write(&folder.join("rules/bursts.sql"), RULE);
    write(&folder.join("rules/bursts.test.toml"), tests);
    folder.to_owned()
}

/// `keyhawk test` with these paths.
fn run(paths: &[&Path], more: &[&str]) -> Run {
    let paths = paths.iter().map(|path| path.to_str().unwrap());
    let arguments: Vec<&str> = ["test"]
        .into_iter()
        .chain(paths)
        .chain(more.iter().copied())
        .collect();
    keyhawk(&arguments, b"")
}

/// What a run printed, without the folder and without the time that it took.
fn printed(run: &Run, folder: &Path) -> String {
    let text = format!("{}{}", run.stdout, run.stderr);
    let text = text.replace(folder.to_str().unwrap(), "DIR");
    let lines = text
        .lines()
        .map(|line| match line.split_once(" failed in ") {
            Some((counts, _)) => format!("{counts} failed in TIME\n"),
            None => format!("{line}\n"),
        });
    lines.collect()
}

#[test]
fn cases_beside_the_rules_fire_and_stay_silent_in_both_engines() {
    // The folder, and not what the binary carries: an author who edits a rule need not build anything.
    let report = report(&[root().join("sql")]);
    for suite in &report.suites {
        for case in &suite.cases {
            if let Some(failure) = &case.failure {
                panic!(
                    "{}:{}: {}\n{failure}",
                    suite.path.display(),
                    case.line,
                    case.name
                );
            }
        }
    }
    assert_eq!((report.passed(), report.failed()), (40, 0));
    assert!(report.untested.is_empty(), "{:?}", report.untested);
}

#[test]
fn each_shipped_rule_has_cases_that_fire_and_more_that_stay_silent() {
    let report = report(&[root().join("sql")]);
    let rules = RuleTexts::shipped().files.rules;
    for rule in &rules {
        let suite = report.suites.iter().find(|suite| suite.rule == rule.name());
        let cases = &suite
            .unwrap_or_else(|| panic!("{} has no tests", rule.name()))
            .cases;
        let firing = cases.iter().filter(|case| case.expected > 0).count();
        let silent = cases.len() - firing;
        assert!(
            firing >= FIRING_MIN,
            "{}: {firing} cases fire; write {FIRING_MIN}",
            rule.name()
        );
        assert!(
            silent >= SILENT_MIN,
            "{}: {silent} cases stay silent; write {SILENT_MIN}",
            rule.name()
        );
    }
    assert_eq!(report.suites.len(), rules.len());
}

#[test]
fn the_readmes_test_passes_beside_its_rule() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut blocks = readme
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let test = blocks.find(|block| block.starts_with("[[case]]")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let rule = std::fs::read(root().join("sql/rules/auth_failures.sql")).unwrap();
    write(&folder.path().join("rules/auth_failures.sql"), rule);
    write(&folder.path().join("rules/auth_failures.test.toml"), test);
    let report = report(&[folder.path().to_owned()]);
    assert_eq!((report.passed(), report.failed()), (1, 0), "{report:?}");
}

#[test]
fn a_failing_case_is_a_diff_with_its_file_line_and_name() {
    let folder = tempfile::tempdir().unwrap();
    let dir = bursts(
        folder.path(),
        r#"
[[case]]
name = "two bursts, one of them miscounted"
events = [
  { at = "1h", auth_result = "bad_key", repeat = 3, every = "10s" },
  { at = "+2h", key_id = "another-key", auth_result = "bad_key", status = 401, repeat = 5, every = 250 },
]
expect = [
  { api_key = "k1", window_start = "+1h", refused = 3 },
  { api_key = "another-key", window_start = 7_200_000, refused = 6 },
]

[[case]]
name = "a burst that nobody expected"
events = [{ at = "1h 5m 0s 500ms", auth_result = "bad_key", repeat = 4, every = "0s" }]
expect = []

[[case]]
name = "a burst that does not come"
events = []
expect = [{ refused = 3 }]

[[case]]
name = "all as expected"
events = [{ auth_result = "bad_key", repeat = 2 }]
expect = []
"#,
    );
    let run = run(&[&dir], &[]);
    assert_eq!(run.status, 1, "{run:?}");
    assert_eq!(
        printed(&run, folder.path()),
        "bursts  1 passed, 3 failed

DIR/rules/bursts.test.toml:3: two bursts, one of them miscounted
  expected (-) and found by both engines (+):
    api_key      window_start          refused
    k1           2026-03-02T01:00:00Z  3
  - another-key  2026-03-02T02:00:00Z  6
  + another-key  2026-03-02T02:00:00Z  5


DIR/rules/bursts.test.toml:14: a burst that nobody expected
  expected (-) and found by both engines (+):
    api_key  window_start          refused
  + k1       2026-03-02T01:00:00Z  4


DIR/rules/bursts.test.toml:19: a burst that does not come
  expected (-) and found by both engines (+):
    api_key  window_start  refused
  -                        3

1 passed, 3 failed in TIME
"
    );
}

#[test]
fn a_wrong_test_file_is_refused_whole_with_every_place_and_cure() {
    let folder = tempfile::tempdir().unwrap();
    let dir = bursts(
        folder.path(),
        r#"[[case]]
nam = "misspelt"
events = [{ auth_reslt = "bad_key", repat = 3 }]
expect = []

[[case]]
name = "values"
events = [
  { at = "soon", repeat = 0 },
  { place = "Berln" },
  { network = "residental" },
  { place = "Nairobi", network = "tor" },
  { client_ip = "10.0.0.1", place = "Berlin" },
  { country = "DE", event_time = 5 },
  { nth = 1000000 },
  { repeat = 2000, days = 2000 },
  { at = "90000d" },
]
expect = [{}, 5]

[[case]]
name = "values"
expect = []
"#,
    );
    let run = run(&[&dir], &[]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{run:?}");
    let text = printed(&run, folder.path());
    for (place, words) in [
        ("2:1", "a case has no `nam`"),
        ("2:1", "did you mean `name`?"),
        ("3:13", "did you mean `auth_result`?"),
        ("3:37", "did you mean `repeat`?"),
        ("9:10", "\"3d 2h\""),
        ("9:27", "a whole number from 1"),
        ("10:13", "did you mean \"Berlin\"?"),
        ("11:15", "did you mean \"residential\"?"),
        ("12:34", "no tor network in Nairobi"),
        ("13:37", "`place` chooses an address"),
        ("14:5", "Keyhawk makes it"),
        ("14:21", "write its time as at"),
        ("15:11", "addresses"),
        ("16:3", "more than 1000000 events"),
        ("17:3", "more than ten years"),
        ("19:10", "`expect` takes a list of tables"),
        ("22:8", "the case of line 7 has the same name"),
        ("there is no `events`", "events = [{"),
        ("1:1", "a case needs a `name`"),
    ] {
        let places = [format!("bursts.test.toml:{place}\n"), place.to_owned()];
        assert!(
            places.iter().any(|place| text.contains(place)) && text.contains(words),
            "{place}: {words} is not in:\n{text}"
        );
    }
    assert!(
        text.contains("in the rules and tests; nothing was run"),
        "{text}"
    );
}

#[test]
fn an_expected_row_names_columns_that_the_rule_selects_and_values_that_they_can_have() {
    let folder = tempfile::tempdir().unwrap();
    let dir = bursts(
        folder.path(),
        "[[case]]\nname = \"a\"\nevents = []\nexpect = [{ refusd = 3, refused = \"3\", window_start = \"noon\", api_key = 1 }]\n",
    );
    let run = run(&[&dir], &[]);
    assert_eq!(run.status, 2);
    let text = printed(&run, folder.path());
    let expected = "error: the rule does not select `refusd`
  --> DIR/rules/bursts.test.toml:4:13
   |
 4 | expect = [{ refusd = 3, refused = \"3\", window_start = \"noon\", api_key = 1 }]
   |             ^^^^^^
   = help: did you mean `refused`?
";
    assert!(text.contains(expected), "{text}");
    for (place, wanted) in [
        ("4:35", "it is a whole number"),
        ("4:55", "in RFC 3339 and UTC"),
        ("4:73", "it is a text"),
    ] {
        assert!(
            text.contains(&format!("bursts.test.toml:{place}\n")),
            "{place}: {text}"
        );
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    assert!(text.contains("4 problems"), "{text}");
}

#[test]
fn an_event_that_the_decoder_refuses_fails_its_case() {
    let folder = tempfile::tempdir().unwrap();
    let dir = bursts(
        folder.path(),
        "[[case]]\nname = \"a\"\nevents = [{}, { status = 5000, repeat = 9 }]\nexpect = []\n",
    );
    let run = run(&[&dir], &[]);
    assert_eq!(run.status, 1);
    let text = printed(&run, folder.path());
    assert!(
        text.contains("this is no event: out_of_range `status`"),
        "{text}"
    );
    assert_eq!(text.matches("bursts.test.toml:3:15").count(), 1, "{text}");
}

#[test]
fn paths_choose_rules_and_rules_without_tests_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let one = "[[case]]\nname = \"silence\"\nevents = [{}]\nexpect = []\n";
    let dir = bursts(folder.path(), one);
    let rules = dir.join("rules");
    write(
        &rules.join("bare.sql"),
        std::fs::read(rules.join("bursts.sql")).unwrap(),
    );
    let passed = "bursts  1 passed\n";
    let note =
        "note: DIR/rules/bare.sql has no tests; they would stand in DIR/rules/bare.test.toml\n";
    for (path, expected) in [
        (dir.clone(), format!("{passed}{note}")),
        (rules.clone(), format!("{passed}{note}")),
        (rules.join("bursts.sql"), passed.to_owned()),
        (rules.join("bursts.test.toml"), passed.to_owned()),
        (rules.join("bare.sql"), note.to_owned()),
    ] {
        let run = run(&[&path], &[]);
        assert_eq!(run.status, 0, "{run:?}");
        let count = usize::from(expected.contains("bursts  1"));
        let expected = format!("{expected}{count} passed, 0 failed in TIME\n");
        assert_eq!(printed(&run, folder.path()), expected, "{}", path.display());
    }
    // Each case once, however often it is named.
    let twice = run(&[&rules.join("bursts.sql"), &dir, &rules], &[]);
    assert!(
        twice.stdout.contains("\n1 passed, 0 failed"),
        "{}",
        twice.stdout
    );

    for (path, words) in [
        (folder.path().join("nowhere"), "cannot be read"),
        (root().join("testdata"), "name a rule directory"),
        (
            root().join("sql/views/usage_1h.sql"),
            "name a rule directory",
        ),
        (root().join("README.md"), "name a rule directory"),
    ] {
        let run = run(&[&path], &[]);
        assert_eq!(run.status, 2, "{run:?}");
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }

    write(&rules.join("burst.test.toml"), one);
    let run = run(&[&dir], &[]);
    assert_eq!(run.status, 2);
    let text = printed(&run, folder.path());
    for words in [
        "there is no rule `burst`",
        "burst.test.toml:1:1",
        "did you mean bursts.test.toml?",
    ] {
        assert!(text.contains(words), "{words} is not in:\n{text}");
    }
}

#[test]
fn a_broken_rule_is_shown_as_check_shows_it_and_another_rules_tests_run_alone() {
    let folder = tempfile::tempdir().unwrap();
    let dir = bursts(
        folder.path(),
        "[[case]]\nname = \"a\"\nevents = []\nexpect = []\n",
    );
    let rules = dir.join("rules");
    let broken = RULE.replace("max(status)", "max(staus)");
    write(&rules.join("broken.sql"), broken);
    write(
        &rules.join("broken.test.toml"),
        "[[case]]\nname = \"a\"\nevents = []\nexpect = []\n",
    );
    let Err(Error::Problems(problems)) = Tests::load(&[dir]) else {
        panic!("a rule that does not compile has no tests to run");
    };
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!((problems[0].place.line, problems[0].place.column), (6, 56));
    assert_eq!(report(&[rules.join("bursts.sql")]).passed(), 1);
}

#[test]
fn tests_know_the_fields_that_events_toml_declares() {
    let folder = tempfile::tempdir().unwrap();
    let rule = RULE.replace("max(status) AS status", "max(plan) AS plan");
    write(&folder.path().join("rules/r.sql"), rule);
    write(
        &folder.path().join("events.toml"),
        "[[column]]\nname = \"plan\"\npointer = \"/account/plan\"\ntype = \"text\"\n",
    );
    let event = |field: &str| {
        format!(
            "[[case]]\nname = \"a\"\nevents = [{{ auth_result = \"bad_key\", repeat = 3, {field} }}]\nexpect = [{{ plan = \"gold\" }}]\n"
        )
    };
    let tests = folder.path().join("rules/r.test.toml");
    write(&tests, event("account.plan = \"gold\""));
    let report = report(std::slice::from_ref(&tests));
    assert_eq!(report.passed(), 1, "{report:?}");
    write(&tests, event("plan = \"gold\""));
    let run = run(&[&tests], &[]);
    assert!(
        run.stderr.contains("an event has no `plan`"),
        "{}",
        run.stderr
    );
}

#[test]
fn junit_holds_a_suite_a_rule_and_a_test_a_case() {
    let folder = tempfile::tempdir().unwrap();
    let dir = bursts(
        folder.path(),
        "[[case]]\nname = \"silence\"\nevents = []\nexpect = []\n\n[[case]]\nname = \"<three> & more\"\nevents = [{ key_id = \"k<1>\", auth_result = \"bad_key\", repeat = 3 }]\nexpect = []\n",
    );
    let file = folder.path().join("report.xml");
    let run = run(&[&dir], &["--junit", file.to_str().unwrap()]);
    assert_eq!(run.status, 1, "{run:?}");
    let xml = std::fs::read_to_string(&file).unwrap();
    let read = quick_junit::Report::deserialize_from_str(&xml).unwrap();
    assert_eq!((read.tests, read.failures, read.errors), (2, 1, 0));
    let [suite] = &read.test_suites[..] else {
        panic!("{xml}");
    };
    assert_eq!(
        (suite.name.as_str(), suite.tests, suite.failures),
        ("bursts", 2, 1)
    );
    let [silence, three] = &suite.test_cases[..] else {
        panic!("{xml}");
    };
    assert_eq!(silence.status, quick_junit::TestCaseStatus::success());
    assert_eq!(three.name.as_str(), "<three> & more");
    assert_eq!(three.classname.as_deref(), Some("bursts"));
    assert_eq!(three.extra["line"].as_str(), "7");
    assert!(
        three.extra["file"].ends_with("rules/bursts.test.toml"),
        "{xml}"
    );
    let quick_junit::TestCaseStatus::NonSuccess { description, .. } = &three.status else {
        panic!("{xml}");
    };
    let description = description.as_deref().unwrap();
    assert!(description.contains("+ k<1>"), "{description}");
    assert!(!xml.contains('\u{1b}'));

    // The library writes the same; and a place that cannot be written is named.
    let report = report(std::slice::from_ref(&dir));
    assert!(junit(&report).unwrap().contains("&lt;three&gt; &amp; more"));
    let nowhere = folder.path().join("no/such/folder/report.xml");
    let run = self::run(&[&dir], &["--junit", nowhere.to_str().unwrap()]);
    assert_eq!(run.status, 2);
    assert!(
        run.stderr.contains("no/such/folder/report.xml"),
        "{}",
        run.stderr
    );
}
