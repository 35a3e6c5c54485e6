//! The real binary, as a person meets it: outputs, messages, exit statuses.

use std::path::{Path, PathBuf};

use crate::binary::{Run, keyhawk, over_files, root, sorted, write};
use crate::traffic::Stress;

const HEADER: &str = "/*\nseverity = \"low\"\nentity = \"api_key\"\n*/\n";

/// A configuration with the demo's GeoIP databases, and whatever else.
fn config(folder: &Path, more: &str) -> PathBuf {
    let geoip = root().join("testdata/geoip");
    let file = |name: &str| toml::Value::from(geoip.join(name).to_str().unwrap());
    let path = folder.join("keyhawk.toml");
    let text = format!(
        "{more}\n[geoip]\ncity = {}\nasn = {}\nanonymous = {}\n",
        file("demo-city.mmdb"),
        file("demo-asn.mmdb"),
        file("demo-anonymous.mmdb")
    );
    write(&path, text);
    path
}

/// Holds that a run ended by itself with a message that names what it is about.
fn assert_refused(run: &Run, status: i32, words: &[&str]) {
    assert_eq!(run.status, status, "{run:?}");
    let said = format!("{}{}", run.stdout, run.stderr);
    for word in words {
        assert!(said.contains(word), "{word:?} is not in:\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn replay_and_backtest_write_the_same_lines() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = Stress {
        seed: 77,
        keys: 4,
        partitions: 2,
        days: 4,
    }
    .write(folder.path());
    let config = config(folder.path(), "deployment = \"unit\"");
    let rules = root().join("sql");
    let replay = over_files("replay", &rules, Some(&config), &inputs);
    let backtest = over_files("backtest", &rules, Some(&config), &inputs);
    assert_eq!(
        (replay.status, backtest.status),
        (0, 0),
        "{}{}",
        replay.stderr,
        backtest.stderr
    );
    assert!(replay.stdout.lines().count() > 10, "{}", replay.stdout);
    assert_eq!(sorted(&replay.stdout), sorted(&backtest.stdout));

    // The summary: what was read, and each rule with its findings.
    for run in [&replay, &backtest] {
        for words in [
            " events, ",
            " late, ",
            " unreadable, ",
            "rate_spike",
            "impossible_travel",
            "new_country",
        ] {
            assert!(
                run.stderr.contains(words),
                "{words:?} is not in:\n{}",
                run.stderr
            );
        }
        assert!(run.stderr.contains("development secret"), "{}", run.stderr);
        let found: usize = run
            .stderr
            .lines()
            .filter_map(|line| {
                let (count, rule) = line.trim().split_once("  ")?;
                rules
                    .join(format!("rules/{rule}.sql"))
                    .exists()
                    .then(|| count.parse::<usize>().unwrap())
            })
            .sum();
        assert_eq!(found, run.stdout.lines().count(), "{}", run.stderr);
    }
}

#[test]
fn a_dash_is_standard_input_and_output() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = Stress {
        seed: 78,
        keys: 2,
        partitions: 1,
        days: 2,
    }
    .write(folder.path());
    let rules = root().join("sql");
    let (rules, bytes) = (rules.to_str().unwrap(), std::fs::read(&inputs[0]).unwrap());
    let output = folder.path().join("findings.ndjson");
    for command in ["replay", "backtest"] {
        let from_file = [
            command,
            "--rules",
            rules,
            "--input",
            inputs[0].to_str().unwrap(),
            "--output",
            output.to_str().unwrap(),
        ];
        let from_file = keyhawk(&from_file, b"");
        assert_eq!(
            (from_file.status, from_file.stdout.as_str()),
            (0, ""),
            "{}",
            from_file.stderr
        );
        let piped = keyhawk(
            &[command, "--rules", rules, "--input", "-", "--output", "-"],
            &bytes,
        );
        assert_eq!(piped.status, 0, "{}", piped.stderr);
        assert_eq!(piped.stdout, std::fs::read_to_string(&output).unwrap());
        assert!(!piped.stdout.is_empty());
    }
}

#[test]
fn an_empty_input_has_no_findings() {
    let rules = root().join("sql");
    for command in ["replay", "backtest"] {
        let run = keyhawk(
            &[
                command,
                "--rules",
                rules.to_str().unwrap(),
                "--input",
                "-",
                "--output",
                "-",
            ],
            b"",
        );
        assert_eq!((run.status, run.stdout.as_str()), (0, ""), "{}", run.stderr);
        assert!(
            run.stderr.contains("0 events, 0 late, 0 unreadable"),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (rules, absent) = (root().join("sql"), folder.path().join("absent.ndjson"));
    let input = folder.path().join("events.ndjson");
    write(&input, "");
    for command in ["replay", "backtest"] {
        let run = over_files(command, &rules, None, std::slice::from_ref(&absent));
        assert_refused(&run, 2, &["absent.ndjson", "name a file of events"]);

        let run = over_files(command, folder.path(), None, std::slice::from_ref(&input));
        assert_refused(&run, 2, &[folder.path().to_str().unwrap(), "rules"]);

        let config = folder.path().join("keyhawk.toml");
        write(&config, "[topics.api-access]\nlatenes = \"5s\"\n");
        let run = over_files(command, &rules, Some(&config), std::slice::from_ref(&input));
        assert_refused(&run, 2, &["keyhawk.toml:2", "latenes", "lateness"]);

        write(&config, "[geoip]\ncity = \"nowhere.mmdb\"\n");
        let run = over_files(command, &rules, Some(&config), std::slice::from_ref(&input));
        assert_refused(&run, 2, &["nowhere.mmdb"]);
    }
    let run = keyhawk(
        &[
            "run",
            "--config",
            folder.path().join("none.toml").to_str().unwrap(),
        ],
        b"",
    );
    assert_refused(&run, 2, &["none.toml"]);
    assert_refused(&keyhawk(&["replay", "--inputs", "x"], b""), 2, &["--input"]);
}

#[test]
fn an_input_that_is_missing_leaves_the_old_output_alone() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("findings.ndjson");
    write(&output, "yesterday's\n");
    let (rules, absent) = (root().join("sql"), folder.path().join("absent.ndjson"));
    let arguments = |input: &Path| {
        [
            "--rules",
            rules.to_str().unwrap(),
            "--input",
            input.to_str().unwrap(),
            "--output",
            output.to_str().unwrap(),
        ]
        .map(str::to_owned)
    };
    for command in ["replay", "backtest"] {
        // The input is absent, or it is the output itself.
        for input in [&absent, &output] {
            let arguments = arguments(input);
            let arguments: Vec<&str> = [command]
                .into_iter()
                .chain(arguments.iter().map(String::as_str))
                .collect();
            assert_eq!(keyhawk(&arguments, b"").status, 2);
            assert_eq!(std::fs::read_to_string(&output).unwrap(), "yesterday's\n");
        }
    }
}

#[test]
fn check_is_content_with_the_shipped_rules() {
    let run = keyhawk(&["check", root().join("sql").to_str().unwrap()], b"");
    assert_eq!(run.status, 0, "{}{}", run.stdout, run.stderr);
    // And says nothing else: the shipped rules and views have no warning.
    assert!(
        run.stdout.ends_with("sql: 4 rules loaded\n"),
        "{}",
        run.stdout
    );
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.stdout);
}

#[test]
fn check_warns_after_the_rules_loaded_and_changes_no_exit_status() {
    let folder = tempfile::tempdir().unwrap();
    write(
        &folder.path().join("rules/errors.sql"),
        format!("{HEADER}SELECT api_key FROM events WHERE status > 499\n"),
    );
    let view = folder.path().join("views/calls.sql");
    write(&view, "SELECT api_key FROM events\n");
    let run = keyhawk(&["check", folder.path().to_str().unwrap()], b"");
    assert_refused(
        &run,
        0,
        &[
            "warning: the rule compares with 499",
            "errors.sql:5:43",
            "thresholds = ",
            "warning: no rule reads the view `calls`",
            "1 rule loaded, 2 warnings",
        ],
    );

    write(
        &view,
        "/*\nfind = \"calls\"\n*/\nSELECT api_key FROM events\n",
    );
    let run = keyhawk(&["check", folder.path().to_str().unwrap()], b"");
    assert_refused(
        &run,
        1,
        &["calls.sql:2:1", "did you mean `finds`?", "1 problem"],
    );
}

#[test]
fn check_shows_each_problem_with_its_place_and_its_cure() {
    let folder = tempfile::tempdir().unwrap();
    let rule = |name: &str| folder.path().join("rules").join(name);
    write(
        &rule("typo.sql"),
        format!("{HEADER}SELECT api_key, user_agnt FROM events\n"),
    );
    write(
        &rule("header.sql"),
        "/*\nseverity = \"huge\"\nentity = \"api_key\"\n*/\nSELECT api_key FROM events\n",
    );
    write(
        &rule("rash.sql"),
        "/*\nseverity = \"high\"\nentity = \"api_key\"\naction = \"suspend\"\n*/\nSELECT api_key FROM events\n",
    );
    let run = keyhawk(&["check", folder.path().to_str().unwrap()], b"");
    assert_refused(
        &run,
        1,
        &[
            "typo.sql:5:17",
            "5 | SELECT api_key, user_agnt FROM events",
            "^^^^^^^^^",
            "user_agent",
        ],
    );
    assert_refused(
        &run,
        1,
        &[
            "header.sql:2:12",
            "huge",
            "critical",
            "rash.sql:4",
            "auth_result = 'ok'",
        ],
    );
    assert_refused(&run, 1, &["3 problems"]);

    // The same rules stop a run, with the same words.
    let input = folder.path().join("events.ndjson");
    write(&input, "");
    let run = over_files("replay", folder.path(), None, &[input]);
    assert_refused(&run, 2, &["typo.sql:5:17", "3 problems"]);
}

#[test]
fn columns_of_events_toml_are_columns_in_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("sql");
    write(
        &dir.join("events.toml"),
        "[[column]]\nname = \"plan\"\npointer = \"/account/plan\"\ntype = \"text\"\n\n\
         [[column]]\nname = \"seats\"\npointer = \"/account/seats\"\ntype = \"integer\"\n\n\
         [[column]]\nname = \"owner\"\npointer = \"/account/owner\"\ntype = \"text\"\nsensitivity = \"hash\"\n\n\
         [[column]]\nname = \"card\"\npointer = \"/account/card\"\ntype = \"text\"\nsensitivity = \"drop\"\n",
    );
    let sql =
        "SELECT event_time, api_key, plan, seats, owner, card FROM events WHERE plan = 'gold'\n";
    write(&dir.join("rules/gold.sql"), format!("{HEADER}{sql}"));
    let input = folder.path().join("events.ndjson");
    let event = |plan: &str| {
        format!(
            "{{\"event_time\":1772409600000,\"client_ip\":\"192.0.2.1\",\"key_id\":\"k\",\"account\":\
             {{\"plan\":\"{plan}\",\"seats\":7,\"owner\":\"ada@example.org\",\"card\":\"4111111111111111\"}}}}\n"
        )
    };
    write(&input, event("gold") + &event("tin"));

    let check = keyhawk(&["check", dir.to_str().unwrap()], b"");
    assert_eq!(check.status, 0, "{}{}", check.stdout, check.stderr);
    let replay = over_files("replay", &dir, None, std::slice::from_ref(&input));
    let backtest = over_files("backtest", &dir, None, std::slice::from_ref(&input));
    assert_eq!(
        (replay.status, backtest.status),
        (0, 0),
        "{}{}",
        replay.stderr,
        backtest.stderr
    );
    assert_eq!(replay.stdout, backtest.stdout);
    let line: serde_json::Value = serde_json::from_str(&replay.stdout).unwrap();
    let row = &line["row"];
    assert_eq!((&row["plan"], &row["seats"]), (&"gold".into(), &7.into()));
    let owner = row["owner"].as_str().unwrap();
    assert!(
        owner.starts_with('…') && owner.chars().count() == 21,
        "{owner}"
    );
    assert!(row["card"].is_null());
    assert!(!replay.stdout.contains("ada") && !replay.stdout.contains("4111"));

    write(
        &dir.join("events.toml"),
        "[[column]]\nname = \"status\"\npointer = \"/s\"\ntype = \"text\"\n",
    );
    assert_refused(
        &keyhawk(&["check", dir.to_str().unwrap()], b""),
        1,
        &["events.toml:2", "status"],
    );
    for command in ["replay", "backtest"] {
        let run = over_files(command, &dir, None, std::slice::from_ref(&input));
        assert_refused(&run, 2, &["events.toml:2", "status"]);
    }
}

#[test]
fn fingerprints_are_stable_and_show_no_credential() {
    let (key, token) = ("kh_live_0123456789abcdef", "eyJhbGciOiJIUzI1NiJ9.e30.c2ln");
    let input = format!("{key}\n{token}\r\n\n");
    // HMAC-SHA-256 under the development secret, by another implementation; the first 80 bits.
    let run = keyhawk(&["fingerprint"], input.as_bytes());
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert_eq!(
        run.stdout,
        "…63dafd057c0b62d78d88\n…0ba052a18bc689ce4f1d\n\n"
    );
    assert!(run.stderr.contains("development secret"), "{}", run.stderr);

    let folder = tempfile::tempdir().unwrap();
    write(
        &folder.path().join("secret"),
        "a secret of this installation\n",
    );
    let config = config(
        folder.path(),
        "[identity]\nsecret = { file = \"secret\" }\nprefixes = [\"kh_live_\", \"eyJ\"]\n",
    );
    let run = keyhawk(
        &["fingerprint", "--config", config.to_str().unwrap()],
        input.as_bytes(),
    );
    assert_eq!(run.status, 0, "{}", run.stderr);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(
        lines[0].starts_with("kh_live_…") && !lines[0].contains("63dafd05"),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with('…'),
        "a token's beginning is no prefix: {lines:?}"
    );
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(
        !said.contains("0123456789") && !said.contains("of this installation"),
        "{said}"
    );
}

#[test]
fn the_demo_ends_with_the_expected_table() {
    let run = keyhawk(&["demo"], b"");
    assert_eq!(run.status, 0, "{}{}", run.stdout, run.stderr);
    let table_at = run.stdout.find('┌').unwrap();
    let (alerts, table) = run.stdout.split_at(table_at);
    for rule in [
        "rate_spike",
        "impossible_travel",
        "new_country",
        "auth_failures",
    ] {
        assert!(alerts.contains(rule), "no alert of {rule}:\n{alerts}");
        assert!(table.contains(rule), "{rule} is not in the table:\n{table}");
    }
    assert!(
        table.contains("as expected") && !table.contains("NOT AS EXPECTED"),
        "{table}"
    );
    assert!(table.contains("missed"), "{table}");
    assert!(table.contains("false alert"), "{table}");
    assert!(
        !run.stdout.contains("kh_live_") || run.stdout.contains("kh_live_…"),
        "{}",
        run.stdout
    );
}

#[test]
fn help_tells_a_newcomer_what_each_command_is_for() {
    let help = keyhawk(&["--help"], b"");
    assert_eq!(help.status, 0);
    for command in [
        "demo",
        "run",
        "replay",
        "backtest",
        "archive",
        "check",
        "test",
        "fingerprint",
        "lag",
    ] {
        assert!(
            help.stdout.contains(&format!("\n  {command} ")),
            "{command}: {}",
            help.stdout
        );
        assert_eq!(keyhawk(&[command, "--help"], b"").status, 0);
    }
}
