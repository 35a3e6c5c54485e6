//! No output holds a piece of a credential: findings, alerts, late rows, dead letters, what is printed.
//!
//! Random keys and JSON Web Tokens come as credentials, and stand in the other texts of their events
//! too: in path, referer, user agent and error code, percent-encoded at times; in rows that are in time,
//! late, or damaged in many ways. Eight characters of a secret in a row count as a leak.

use std::path::Path;

use keyhawk::rule_set::RuleTexts;
use keyhawk_alerts::Emitted;
use keyhawk_testkit::random::{find_leak, generator, random_jwt, random_key};
use serde_json::json;

use crate::binary::{over_files, write};
use crate::engines::{Engines, Log};
use crate::traffic::{Dice, START_MS};

const SEED: u64 = 4711;
const PREFIX: &str = "kh_live_";

/// A rule that shows every text a credential can hide in, and one whose alerts do.
fn rules(dir: &Path) {
    let header = |more: &str| {
        format!("/*\nseverity = \"low\"\nentity = \"credential\"\ndedup = \"0s\"\n{more}*/\n")
    };
    let columns = "event_time, api_key, credential, path, route, referer, user_agent, error_code, request_id, \
                   operation, query_names, secret_in_url, destination";
    write(
        &dir.join("rules/all.sql"),
        format!("{}SELECT {columns} FROM events\n", header("")),
    );
    write(
        &dir.join("rules/told.sql"),
        format!(
            "{}SELECT {columns} FROM events WHERE secret_in_url IS NOT NULL\n",
            header("summary = \"{credential} at {path} by {user_agent}: {error_code}\"\n")
        ),
    );
}

/// Events, the secret parts of all credentials in them, and how many events are sound.
fn traffic() -> (Vec<u8>, Vec<String>) {
    let (mut random, mut dice) = (generator(SEED), Dice(SEED));
    let (mut log, mut secrets) = (Vec::new(), Vec::new());
    for nth in 0..600 {
        let key = if dice.percent(30) {
            let token = random_jwt(&mut random);
            secrets.extend(token.split('.').skip(1).map(str::to_owned));
            token
        } else {
            let prefix = if dice.percent(50) { PREFIX } else { "" };
            let key = random_key(&mut random, prefix);
            secrets.push(key[prefix.len()..].to_owned());
            key
        };
        // Another one's key, which only its public prefix gives away.
        let other = random_key(&mut random, PREFIX);
        secrets.push(other[PREFIX.len()..].to_owned());
        let encoded: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let shown = if dice.percent(20) { &encoded } else { &key };
        // Two of a hundred are late.
        let time_ms = START_MS + nth * 1000 - if dice.percent(2) { 60_000 } else { 0 };
        let event = json!({
            "event_time": time_ms,
            "client_ip": "198.18.3.7",
            "api_key": key,
            "path": format!("/v1/keys/{shown}/use?api_key={shown}&other={other}"),
            "referer": format!("https://example.org/?token={shown}#{other}"),
            "user_agent": format!("agent/1.0 ({shown}) Bearer {other}"),
            "error_code": shown,
            "request_id": other,
            "operation": format!("use,{key},{other}"),
            "query_names": [key, other],
            "destination": key,
        });
        let mut line = event.to_string();
        match dice.below(20) {
            0 => line = line.replace("198.18.3.7", "nowhere"),
            1 => line = line.replacen("\"event_time\"", "\"time\"", 1),
            2 => line = line.replacen(':', " ", 1),
            3 => line = format!("[{line}]"),
            4 => line = format!("not JSON: {line}"),
            5 => {
                // Cut anywhere, inside a credential most of the time.
                let end = 60 + dice.below(line.len() as i64 - 60) as usize;
                line.truncate(line.floor_char_boundary(end));
            }
            6 => line = line.replacen("1772", "9999999999999", 1),
            _ => {}
        }
        log.extend(line.as_bytes());
        log.push(b'\n');
    }
    (log, secrets)
}

fn assert_clean(what: &str, text: &str, secrets: &[String]) {
    if let Some(leak) = find_leak(text.as_bytes(), secrets) {
        panic!(
            "seed {SEED}: {what} hold a piece of a credential at byte {}: …{}…",
            leak.at, leak.around
        );
    }
}

#[test]
fn what_replay_and_backtest_write_holds_no_credential() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("sql");
    rules(&dir);
    let (log, secrets) = traffic();
    let input = folder.path().join("events.ndjson");
    write(&input, log);
    let config = folder.path().join("keyhawk.toml");
    write(
        &config,
        format!(
            "[identity]\nprefixes = [\"{PREFIX}\"]\n\n[topics.api-access]\ndead_letter_payload = true\n"
        ),
    );
    for command in ["replay", "backtest"] {
        let run = over_files(command, &dir, Some(&config), std::slice::from_ref(&input));
        assert_eq!(run.status, 0, "{}", run.stderr);
        assert!(run.stdout.lines().count() > 500, "{}", run.stderr);
        assert_clean("findings", &run.stdout, &secrets);
        assert_clean("messages", &run.stderr, &secrets);
    }
}

#[test]
fn what_a_partition_emits_holds_no_credential() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("sql");
    rules(&dir);
    let (log, secrets) = traffic();
    let input = folder.path().join("events.ndjson");
    write(&input, log);
    for payload in [false, true] {
        let mut engines = Engines::new(RuleTexts::read(&dir).unwrap(), true);
        engines.reading.topic.dead_letter_payload = payload;
        let log = Log::read(&input);
        let processed = engines.partition(0, &log, &[0..200, 200..log.len()]);
        assert!(
            !processed.late.is_empty() && processed.dead.len() > 100,
            "{:?}",
            processed.counts
        );
        assert!(processed.emitted.len() > 500);
        for emitted in &processed.emitted {
            let text = match emitted {
                Emitted::Alert(alert) => serde_json::to_string(alert).unwrap(),
                Emitted::Proposal(proposal) => serde_json::to_string(proposal).unwrap(),
            };
            assert_clean("alerts", &text, &secrets);
            assert_clean(
                "alerts, as they are debugged,",
                &format!("{emitted:?}"),
                &secrets,
            );
        }
        for late in &processed.late {
            assert_clean("late rows", &late.json, &secrets);
        }
        for dead in &processed.dead {
            assert_eq!(dead.payload.is_some(), payload);
            assert_clean("dead letters", &dead.to_json(), &secrets);
        }
    }
}
