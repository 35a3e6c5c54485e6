//! `explain`, as a person meets it.

use crate::binary::{keyhawk, root, write};

fn explain(arguments: &[&str]) -> crate::binary::Run {
    let rules = root().join("sql");
    let mut all = vec!["explain", "--rules", rules.to_str().unwrap()];
    all.extend(arguments);
    keyhawk(&all, b"")
}

#[test]
fn a_rule_is_a_tree_from_its_findings_to_the_events() {
    let run = explain(&["rate_spike"]);
    assert_eq!(run.status, 0, "{run:?}");
    let operators = [
        " filter",
        " over",
        " order",
        " tumble",
        " filter",
        " scan ×4",
    ];
    let mut rest = run.stdout.as_str();
    for operator in operators {
        let at = rest.find(operator);
        let at = at.unwrap_or_else(|| panic!("{operator:?} is not in its place:\n{}", run.stdout));
        rest = &rest[at + operator.len()..];
    }
    assert!(
        run.stdout.contains("10s to 10m 10s after an event"),
        "{}",
        run.stdout
    );
    assert!(!run.stdout.contains('\x1b'), "{}", run.stdout);
}

#[test]
fn without_a_rule_each_has_a_line() {
    let run = explain(&[]);
    assert_eq!(run.status, 0, "{run:?}");
    let lines: Vec<Vec<&str>> = run
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines.len(), 5, "{}", run.stdout);
    assert_eq!(lines[2][..3], ["impossible_travel", "10s", "yes"]);
}

#[test]
fn the_bound_of_the_topic_is_that_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("keyhawk.toml");
    write(&config, "[topics.calls]\nlateness = \"30s\"\n");
    let run = explain(&["impossible_travel", "--config", config.to_str().unwrap()]);
    assert_eq!(run.status, 0, "{run:?}");
    assert!(run.stdout.contains("30s after an event"), "{}", run.stdout);
}

#[test]
fn an_unknown_rule_is_an_error_with_the_nearest_name() {
    let run = explain(&["rate_spikes"]);
    assert_eq!(run.status, 2, "{run:?}");
    assert!(
        run.stderr.contains("did you mean `rate_spike`?"),
        "{}",
        run.stderr
    );
    let run = explain(&["xyz"]);
    assert_eq!(run.status, 2, "{run:?}");
    assert!(run.stderr.contains("lists them all"), "{}", run.stderr);
}
