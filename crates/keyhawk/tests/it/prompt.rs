//! `keyhawk sql`: questions over history, and what is said to a wrong one.

use std::path::{Path, PathBuf};

use crate::binary::{Run, keyhawk, root, write};
use crate::traffic::START_MS;

/// A rule directory with views, one on the other, the first of them read before it is planned; a
/// reference table; a column of its own.
fn rules(folder: &Path) -> PathBuf {
    let rules = folder.join("rules");
    let header = "/*\nseverity = \"low\"\nentity = \"api_key\"\n*/\n";
    for (path, text) in [
        (
            "rules/r.sql",
            format!("{header}SELECT api_key, event_time FROM events WHERE status = 599\n"),
        ),
        (
            "views/a_busy.sql",
            "SELECT api_key, requests FROM usage WHERE requests > 1\n".to_owned(),
        ),
        (
            "views/usage.sql",
            "SELECT api_key, window_start, count(*) AS requests\n\
             FROM tumble(events, event_time, INTERVAL '1 minute')\nGROUP BY api_key, window_start\n"
                .to_owned(),
        ),
        (
            "tables/owners.csv",
            "api_key,owner\nk1,Ada\nk2,Grace\n".to_owned(),
        ),
        (
            "events.toml",
            "[[column]]\nname = \"plan\"\npointer = \"/plan\"\ntype = \"text\"\n".to_owned(),
        ),
    ] {
        std::fs::create_dir_all(rules.join(path).parent().unwrap()).unwrap();
        write(&rules.join(path), text);
    }
    rules
}

/// Five calls in three minutes: three of k1, one of k2, one of k3.
fn events(folder: &Path) -> PathBuf {
    let calls = [
        ("k1", 0, 200),
        ("k1", 10, 500),
        ("k2", 20, 200),
        ("k1", 70, 200),
        ("k3", 130, 404),
    ];
    let lines = calls.map(|(key, second, status)| {
        format!(
            "{{\"event_time\":{},\"client_ip\":\"192.0.2.1\",\"key_id\":\"{key}\",\"status\":{status},\"auth_result\":\"ok\",\"plan\":\"free\"}}\n",
            START_MS + second * 1000
        )
    });
    let path = folder.join("events.ndjson");
    write(&path, lines.concat());
    path
}

struct History {
    folder: tempfile::TempDir,
    input: PathBuf,
    rules: PathBuf,
}

impl History {
    /// The calls, as Parquet where asked for.
    fn new(parquet: bool) -> History {
        let folder = tempfile::tempdir().unwrap();
        let rules = rules(folder.path());
        let mut input = events(folder.path());
        if parquet {
            let history = folder.path().join("history");
            let [output, lines, columns] =
                [&history, &input, &rules].map(|path| path.to_str().unwrap());
            let run = keyhawk(
                &[
                    "archive", "--rules", columns, "--input", lines, "--output", output,
                ],
                b"",
            );
            assert_eq!(run.status, 0, "{}", run.stderr);
            input = history.join("*.parquet");
        }
        History {
            folder,
            input,
            rules,
        }
    }

    fn run(&self, more: &[&str], stdin: &str) -> Run {
        let [input, rules] = [&self.input, &self.rules].map(|path| path.to_str().unwrap());
        let arguments = [&["sql", "--input", input, "--rules", rules], more].concat();
        keyhawk(&arguments, stdin.as_bytes())
    }

    fn ask(&self, question: &str) -> Run {
        self.run(&["-c", question], "")
    }

    /// The cells of the answer's rows.
    fn rows(&self, question: &str) -> Vec<Vec<String>> {
        let run = self.ask(question);
        assert_eq!(run.status, 0, "{question}: {}", run.stderr);
        cells(&run.stdout)
    }
}

/// The rows of a drawn table, without its header.
fn cells(table: &str) -> Vec<Vec<String>> {
    let body = table.lines().skip_while(|line| !line.starts_with('╞'));
    body.filter(|line| line.starts_with('│'))
        .map(|line| {
            let line = line.trim_matches('│');
            line.split(['┆', '│'])
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect()
}

fn as_texts<'a>(rows: &'a [Vec<String>]) -> Vec<Vec<&'a str>> {
    let row = |row: &'a Vec<String>| row.iter().map(String::as_str).collect();
    rows.iter().map(row).collect()
}

#[test]
fn a_question_may_sort_limit_and_ask_within_another_over_parquet_and_lines() {
    for parquet in [true, false] {
        let history = History::new(parquet);
        for (question, expected) in [
            (
                "SELECT api_key, count(*) AS n FROM events GROUP BY api_key ORDER BY n DESC, api_key LIMIT 2",
                vec![vec!["k1", "3"], vec!["k2", "1"]],
            ),
            (
                "SELECT api_key FROM events WHERE status = (SELECT max(status) FROM events);",
                vec![vec!["k1"]],
            ),
            (
                "SELECT count(*), max(plan) FROM events",
                vec![vec!["5", "free"]],
            ),
            ("SELECT count(*) FROM events", vec![vec!["5"]]),
            ("SELECT 1 + 1", vec![vec!["2"]]),
            (
                "SELECT e.api_key, o.owner FROM events e LEFT JOIN owners o ON e.api_key = o.api_key \
                 WHERE status <> 200 ORDER BY 1",
                vec![vec!["k1", "Ada"], vec!["k3", "NULL"]],
            ),
            ("SELECT * FROM a_busy", vec![vec!["k1", "2"]]),
            (
                "SELECT max(requests) FROM usage WHERE api_key IN (SELECT api_key FROM a_busy)",
                vec![vec!["2"]],
            ),
            (
                "SELECT api_key, count(*) FROM session(events, event_time, INTERVAL '1 minute', api_key) \
                 GROUP BY api_key, window_start ORDER BY 1, 2",
                vec![
                    vec!["k1", "1"],
                    vec!["k1", "2"],
                    vec!["k2", "1"],
                    vec!["k3", "1"],
                ],
            ),
            (
                "SELECT count(*) FROM hop(events, event_time, INTERVAL '1 minute', INTERVAL '2 minutes')",
                vec![vec!["10"]],
            ),
            (
                "SELECT api_key, lag(status) OVER (PARTITION BY api_key ORDER BY event_time) AS before \
                 FROM events ORDER BY event_time DESC LIMIT 2",
                vec![vec!["k3", "NULL"], vec!["k1", "500"]],
            ),
            (
                "SELECT round(distance_km(0.0, 0.0, 0.0, 1.0)) FROM owners LIMIT 1",
                vec![vec!["111.0"]],
            ),
        ] {
            let rows = history.rows(question);
            assert_eq!(as_texts(&rows), expected, "{question}");
        }
    }
}

#[test]
fn the_shipped_views_can_be_asked() {
    let history = History::new(true);
    let run = keyhawk(
        &[
            "sql",
            "--input",
            history.input.to_str().unwrap(),
            "--rules",
            root().join("sql").to_str().unwrap(),
            "-c",
            "SELECT api_key, requests, baseline['n'] IS NOT NULL FROM usage_10m ORDER BY api_key",
        ],
        b"",
    );
    assert_eq!(run.status, 0, "{}", run.stderr);
    let rows = cells(&run.stdout);
    assert_eq!(rows.len(), 3, "{}", run.stdout);
    assert_eq!(rows[0][..2], ["k1", "3"], "{}", run.stdout);
}

#[test]
fn a_question_has_filled_windows_and_forgets_keys_as_the_stream_does() {
    let history = History::new(false);
    // The minute at 02:00 ends after the last call, so that no silence in it is certain yet.
    let filled = "SELECT api_key, requests
                  FROM (SELECT api_key, window_start, count(*) AS requests
                        FROM tumble(events, event_time, INTERVAL '1 minute', fill => 2)
                        GROUP BY api_key, window_start)
                  ORDER BY api_key, window_start";
    let expected = [
        ["k1", "2"],
        ["k1", "1"],
        ["k2", "1"],
        ["k2", "0"],
        ["k3", "1"],
    ];
    assert_eq!(as_texts(&history.rows(filled)), expected);
    write(
        &history.rules.join("views/calls.sql"),
        "/*\nretention = \"59s\"\n*/\n\
         SELECT api_key, event_time, row_number() OVER (PARTITION BY api_key ORDER BY event_time) AS n\n\
         FROM events\n",
    );
    let numbers = history.rows("SELECT api_key, n FROM calls ORDER BY api_key, event_time");
    let expected = [
        ["k1", "1"],
        ["k1", "2"],
        ["k1", "1"],
        ["k2", "1"],
        ["k3", "1"],
    ];
    assert_eq!(as_texts(&numbers), expected);
}

#[test]
fn a_wrong_question_is_shown_with_a_caret_and_what_to_write() {
    let history = History::new(true);
    for (question, words) in [
        (
            "SELECT api_kye FROM events",
            &[
                "there is no column `api_kye`",
                "question:1:8",
                "^^^^^^^",
                "did you mean `api_key`?",
            ][..],
        ),
        (
            "SELECT 1 FROM event",
            &["no table or view `event`", "did you mean `events`?", "^"],
        ),
        ("SELECT\n  1 +\nFROM events", &["question:3:1", "^"]),
        (
            "DROP TABLE events",
            &["history is only read here", "write SELECT"],
        ),
        (
            "SELECT 1 / (status - 200) FROM events",
            &["ivide by zero", "nullif(…, 0)"],
        ),
        (
            "SELECT 1 FROM tumble(events, event_time, INTERVAL '1 month')",
            &["cannot be months", "write days"],
        ),
        (
            "SELECT 'open",
            &["Unterminated string literal", "question:1:8"],
        ),
    ] {
        let run = history.ask(question);
        assert_eq!(
            (run.status, run.stdout.as_str()),
            (2, ""),
            "{question}: {run:?}"
        );
        for word in words {
            assert!(
                run.stderr.contains(word),
                "{word:?} is not in:\n{}",
                run.stderr
            );
        }
        assert!(run.stderr.starts_with("fingerprints") || run.stderr.starts_with("error: "));
    }
}

#[test]
fn piped_questions_and_commands_are_answered_in_turn_until_one_is_wrong() {
    let history = History::new(true);
    let script = "\\d\n\\d owners\nSELECT ';' AS a,\n  count(*) AS n -- ;\nFROM events;\n\
                  SELECT 7 AS b; SELECT 8 AS c\n;\nSELECT 9 AS d";
    let run = history.run(&[], script);
    assert_eq!(run.status, 0, "{}", run.stderr);
    let places = [
        "a_busy",
        "owners: column",
        "text",
        " 5 │",
        "│ 7 │",
        "│ 8 │",
        "│ 9 │",
    ]
    .map(|words| {
        run.stdout
            .find(words)
            .unwrap_or_else(|| panic!("{words}: {}", run.stdout))
    });
    assert!(places.is_sorted(), "{places:?}\n{}", run.stdout);
    assert_eq!(run.stderr.matches("1 row, ").count(), 4, "{}", run.stderr);

    let run = history.run(&[], "SELECT 1;\nSELECT nothing;\nSELECT 2;\n");
    assert_eq!(run.status, 2);
    assert!(
        run.stdout.contains("1 │") && !run.stdout.contains("2 │"),
        "{}",
        run.stdout
    );

    let run = history.run(&[], "\\q\nSELECT 1;\n");
    assert_eq!((run.status, run.stdout.as_str()), (0, ""), "{}", run.stderr);
    let run = history.run(&[], "\\dt\n");
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("no command `\\dt`"), "{}", run.stderr);
    let run = history.run(&["-c", "\\?"], "");
    assert!(
        run.stdout.contains("tumble(events") && run.stdout.contains("baseline"),
        "{}",
        run.stdout
    );
}

#[test]
fn a_view_that_does_not_load_is_told_and_the_others_are_there() {
    let history = History::new(false);
    write(
        &history.rules.join("views/broken.sql"),
        "SELECT nothing FROM events\n",
    );
    let run = history.ask("SELECT count(*) FROM usage");
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert!(run.stderr.contains("broken.sql:1:8"), "{}", run.stderr);
    let run = history.ask("SELECT * FROM broken");
    assert_eq!(run.status, 2);
    assert!(
        run.stderr.contains("the view `broken` did not load"),
        "{}",
        run.stderr
    );
}

#[test]
fn answers_are_cut_at_a_hundred_rows_and_inputs_are_checked_first() {
    let history = History::new(false);
    let run = history.ask("SELECT a._offset FROM events a, events b, events c");
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert_eq!(cells(&run.stdout).len(), 100);
    assert!(
        run.stderr
            .contains("125 rows, the first 100 of them shown, "),
        "{}",
        run.stderr
    );

    for (input, words) in [("-", "from a pipe"), ("nowhere.parquet", "cannot be read")] {
        let run = keyhawk(&["sql", "--input", input, "-c", "SELECT 1"], b"");
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{run:?}");
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
    drop(history.folder);
}
