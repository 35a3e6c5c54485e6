//! Messages arrive whatever the other side answers first, and the URL stays secret.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use keyhawk_connectors::{Failure, Outcome, SecretUrl, StopFlag, Webhook, WebhookConfig};
use keyhawk_testkit::http::{Answer, Server};
use serde_json::json;

fn config(url: &str) -> WebhookConfig {
    let mut config = WebhookConfig::new(SecretUrl::new(url).unwrap(), 7);
    config.backoff = Duration::from_millis(20);
    config.backoff_max = Duration::from_millis(80);
    config
}

fn send(config: WebhookConfig) -> Outcome {
    Webhook::new(config).send(&json!({"text": "hello"}), &StopFlag::new())
}

#[test]
fn a_message_is_sent_after_429_and_500_and_retry_after_is_obeyed() {
    let server = Server::start([
        Answer::status(429).header("Retry-After", "1"),
        Answer::status(500),
        Answer::status(503),
    ])
    .unwrap();
    assert_eq!(send(config(&server.url())), Outcome::Sent { tries: 4 });
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    let waited = requests[1].at - requests[0].at;
    assert!(
        waited >= Duration::from_secs(1) && waited < Duration::from_secs(3),
        "{waited:?}"
    );
    assert!(requests[3].at - requests[1].at < Duration::from_secs(2));
    assert!(
        requests
            .iter()
            .all(|request| request.body == br#"{"text":"hello"}"#)
    );
}

#[test]
fn a_date_in_retry_after_is_obeyed() {
    // The date has whole seconds, so that up to one of these may be lost to rounding.
    let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(3));
    let server = Server::start([Answer::status(503).header("Retry-After", &date)]).unwrap();
    assert_eq!(send(config(&server.url())), Outcome::Sent { tries: 2 });
    let requests = server.requests();
    let waited = requests[1].at - requests[0].at;
    assert!(waited >= Duration::from_millis(1_500), "{waited:?}");
}

#[test]
fn refusals_are_final_and_redirections_are_refusals() {
    for status in [301, 307, 400, 401, 403, 404, 410, 413] {
        let server =
            Server::start([Answer::status(status).header("Location", "http://127.0.0.1:1/")])
                .unwrap();
        let outcome = send(config(&server.url()));
        assert_eq!(
            outcome,
            Outcome::Refused {
                failure: Failure::Status(status),
                tries: 1
            }
        );
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn a_message_is_given_up_after_the_last_try() {
    let server = Server::start((0..10).map(|_| Answer::status(500))).unwrap();
    let mut config = config(&server.url());
    config.tries_max = 3;
    assert_eq!(
        send(config),
        Outcome::GaveUp {
            failure: Failure::Status(500),
            tries: 3
        }
    );
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn no_answer_and_nobody_there_are_tried_again() {
    let server = Server::start([Answer::status(200).after(Duration::from_millis(400))]).unwrap();
    let mut slow = config(&server.url());
    slow.timeout = Duration::from_millis(150);
    slow.tries_max = 1;
    assert_eq!(
        send(slow),
        Outcome::GaveUp {
            failure: Failure::Timeout,
            tries: 1
        }
    );

    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut nobody = config(&format!("http://{closed}/T0SECRET"));
    nobody.tries_max = 2;
    let outcome = send(nobody);
    assert!(
        matches!(
            &outcome,
            Outcome::GaveUp {
                failure: Failure::Connection(_),
                tries: 2
            }
        ),
        "{outcome:?}"
    );
    let Outcome::GaveUp { failure, .. } = outcome else {
        unreachable!()
    };
    let shown = format!("{failure} {failure:?}");
    assert!(
        !shown.contains("SECRET") && !shown.contains("127.0.0.1"),
        "{shown}"
    );
}

#[test]
fn a_stop_ends_the_pause() {
    let server = Server::start([Answer::status(429).header("Retry-After", "60")]).unwrap();
    let stop = StopFlag::new();
    let begun = Instant::now();
    let sending = std::thread::spawn({
        let (stop, config) = (stop.clone(), config(&server.url()));
        move || Webhook::new(config).send(&json!({}), &stop)
    });
    while server.requests().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    stop.set();
    assert_eq!(sending.join().unwrap(), Outcome::Stopped);
    assert!(begun.elapsed() < Duration::from_secs(10));
}
