//! The chat's reader tells every alert, whatever the chat answers and whenever it is restarted.

use std::time::{Duration, Instant};

use keyhawk_alerts::ChatConfig;
use keyhawk_connectors::kafka::Properties;
use keyhawk_connectors::{AlertsReader, AlertsReaderConfig, SecretUrl, WebhookConfig};
use keyhawk_testkit::http::{Answer, Server};
use keyhawk_testkit::kafka::{Broker, Produce};
use serde_json::json;

use crate::Harness;

const LONG: Duration = Duration::from_secs(60);

fn alert(rule: &str, number: usize) -> Produce {
    let entity = format!("key-{number:03}");
    let alert = json!({
        "schema": "keyhawk.alert/1",
        "id": format!("{number:032x}"),
        "status": "open",
        "deployment": "test",
        "rule": rule,
        "rule_version": "1",
        "severity": "high",
        "severity_id": 3,
        "entity": {
            "type": "api_key", "value": entity, "key_id": entity, "tenant": null,
            "environment": null,
        },
        "first_seen": "2026-01-01T00:00:00.000Z",
        "last_seen": "2026-01-01T00:00:00.000Z",
        "count": 1,
        "window_start": null,
        "window_end": null,
        "summary": format!("{entity} does something odd"),
        "why": [],
        "evidence": [],
        "tags": [],
        "runbook": null,
        "row": {},
        "emitted_at": "2026-01-01T00:00:00.000Z",
    });
    Produce {
        key: Some(entity.into_bytes()),
        payload: Some(alert.to_string().into_bytes()),
        ..Produce::default()
    }
}

fn topics(harness: &Harness, broker: &Broker, url: &str) -> AlertsReaderConfig {
    let mut webhook = WebhookConfig::new(SecretUrl::new(url).unwrap(), 3);
    webhook.backoff = Duration::from_millis(50);
    webhook.backoff_max = Duration::from_millis(100);
    let config = AlertsReaderConfig {
        brokers: broker.brokers().to_owned(),
        properties: Properties::default(),
        alerts_topic: harness.fresh("alerts"),
        group_id: harness.fresh("chat"),
        dead_letter_topic: harness.fresh("chat-dead"),
        chat: ChatConfig::default(),
        webhook,
    };
    broker.create_topic(&config.alerts_topic, 1, &[]).unwrap();
    broker
        .create_topic(&config.dead_letter_topic, 1, &[])
        .unwrap();
    config
}

fn committed(broker: &Broker, config: &AlertsReaderConfig) -> i64 {
    broker
        .committed(&config.group_id, &config.alerts_topic, 1)
        .unwrap()[0]
        .0
}

pub fn chat_goes_on_after_a_restart_and_forgets_no_message(
    harness: &'static Harness,
    broker: &Broker,
) {
    let server = Server::start([
        Answer::status(429).header("Retry-After", "1"),
        Answer::status(500),
        Answer::status(200),
        Answer::status(200),
    ])
    .unwrap();
    let mut config = topics(harness, broker, &server.url());
    // While the chat is away, the reader tries until it is stopped.
    config.webhook.tries_max = 10_000;
    server.script((0..2_000).map(|_| Answer::status(503)));
    broker
        .produce(
            &config.alerts_topic,
            (0..6).map(|number| alert("rate_spike", number)),
        )
        .unwrap();
    let reader = AlertsReader::spawn(config.clone()).unwrap();
    assert_eq!(server.wait_accepted(2, LONG).len(), 2);
    // It is at the third by now, and is refused again and again.
    let tried = server.requests().len();
    let deadline = Instant::now() + LONG;
    while server.requests().len() < tried + 3 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    let begun = Instant::now();
    reader.stop();
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "the stop took {:?}",
        begun.elapsed()
    );
    assert_eq!(committed(broker, &config), 2);

    let later = Server::start([]).unwrap();
    config.webhook.url = SecretUrl::new(later.url()).unwrap();
    let reader = AlertsReader::spawn(config.clone()).unwrap();
    let told = later.wait_accepted(4, LONG);
    reader.stop();
    let told: Vec<String> = server.accepted().into_iter().chain(told).collect();
    assert_eq!(told.len(), 6, "{told:?}");
    for (number, text) in told.iter().enumerate() {
        assert!(text.contains(&format!("key-{number:03}")), "{text}");
    }
    assert_eq!(committed(broker, &config), 6);
    assert!(
        broker
            .consume_all(&config.dead_letter_topic)
            .unwrap()
            .is_empty()
    );
}

pub fn a_message_that_chat_refuses_becomes_a_dead_letter(
    harness: &'static Harness,
    broker: &Broker,
) {
    let server = Server::start([
        Answer::status(200),
        Answer::status(400),
        Answer::status(500),
        Answer::status(500),
        Answer::status(500),
    ])
    .unwrap();
    let mut config = topics(harness, broker, &server.url());
    config.webhook.tries_max = 3;
    let junk = Produce {
        payload: Some(b"no alert".to_vec()),
        ..Produce::default()
    };
    let records = [0, 1].map(|number| alert("rate_spike", number));
    let more = [2, 3].map(|number| alert("rate_spike", number));
    broker
        .produce(
            &config.alerts_topic,
            records.into_iter().chain([junk]).chain(more),
        )
        .unwrap();
    let reader = AlertsReader::spawn(config.clone()).unwrap();
    // The first and the last are told, the second is refused, the third given up after three tries.
    assert_eq!(server.wait_accepted(2, LONG).len(), 2);
    reader.stop();
    assert_eq!(server.requests().len(), 6);
    assert_eq!(committed(broker, &config), 5);
    let letters: Vec<serde_json::Value> = broker
        .consume_all(&config.dead_letter_topic)
        .unwrap()
        .iter()
        .map(|record| serde_json::from_slice(record.payload.as_deref().unwrap()).unwrap())
        .collect();
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0]["reason"], "the webhook answered 400");
    assert_eq!(letters[1]["tries"], 3);
    for (number, letter) in (1..).zip(&letters) {
        assert_eq!(letter["id"], format!("{number:032x}"));
        assert!(
            letter["body"]
                .to_string()
                .contains(&format!("key-{number:03}"))
        );
        assert!(
            !letter.to_string().contains("SECRET"),
            "the URL leaked: {letter}"
        );
    }
}

pub fn a_storm_becomes_one_message_and_is_committed_after_it(
    harness: &'static Harness,
    broker: &Broker,
) {
    let server = Server::start([]).unwrap();
    let mut config = topics(harness, broker, &server.url());
    config.chat.storm_interval_ms = 1_500;
    broker
        .produce(
            &config.alerts_topic,
            (0..60).map(|number| alert("new_country", number)),
        )
        .unwrap();
    let reader = AlertsReader::spawn(config.clone()).unwrap();
    let told = server.wait_accepted(21, LONG);
    assert_eq!(told.len(), 21);
    assert!(told[20].contains("60 entities"), "{}", told[20]);
    reader.stop();
    assert_eq!(server.accepted().len(), 21);
    assert_eq!(committed(broker, &config), 60);
}
