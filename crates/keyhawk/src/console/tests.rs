//! The console over real connections.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::*;

fn start(status: &Arc<Status>) -> ConsoleHandle {
    let address = "127.0.0.1:0".parse().unwrap();
    serve(address, Arc::clone(status), install_metrics()).unwrap()
}

/// The status code and the body.
fn ask(console: &ConsoleHandle, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(console.local_addr).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: keyhawk\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, body.to_owned())
}

fn ask_json(console: &ConsoleHandle, path: &str) -> (u16, Value) {
    let (code, body) = ask(console, path);
    (code, serde_json::from_str(&body).unwrap())
}

#[test]
fn health_follows_the_heartbeat() {
    let now_ms = status::clock_ms();
    let status = Status::new(now_ms - HEARTBEAT_AGE_MS_MAX - 1000);
    let console = start(&status);
    let (code, body) = ask_json(&console, "/healthz");
    assert_eq!((code, &body["healthy"]), (503, &json!(false)));

    status.heartbeat(status::clock_ms());
    let (code, body) = ask_json(&console, "/healthz");
    assert_eq!((code, &body["healthy"]), (200, &json!(true)));
    assert!(body["heartbeat_age_ms"].as_i64().unwrap() < HEARTBEAT_AGE_MS_MAX);
}

#[test]
fn a_heartbeat_never_goes_back() {
    let status = Status::new(1_000_000);
    status.heartbeat(5_000);
    assert_eq!(status.health(1_000_001).1["heartbeat_age_ms"], 1);
}

#[test]
fn readiness_comes_with_details() {
    let status = Status::new(status::clock_ms());
    let console = start(&status);
    let (code, body) = ask_json(&console, "/readyz");
    assert_eq!(
        (code, body),
        (503, json!({ "ready": false, "details": {} }))
    );

    status.set_detail("rules", json!(4));
    status.set_detail(
        "partitions",
        json!([{ "topic": "api-access", "partition": 0 }]),
    );
    status.set_detail("rules", json!(5));
    status.set_ready(true);
    let (code, body) = ask_json(&console, "/readyz");
    assert_eq!(code, 200);
    assert_eq!(body["details"]["rules"], 5);
    assert_eq!(body["details"]["partitions"][0]["topic"], "api-access");
}

#[test]
fn metrics_are_prometheus_text_with_help() {
    let console = start(&Status::new(status::clock_ms()));
    metrics::counter!("keyhawk_dead_letters_total", "reason" => "not_json").increment(3);
    metrics::histogram!("keyhawk_alert_latency_seconds").record(0.3);
    let (code, body) = ask(&console, "/metrics");
    assert_eq!(code, 200);
    assert!(
        body.contains("keyhawk_dead_letters_total{reason=\"not_json\"} 3"),
        "{body}"
    );
    assert!(
        body.contains("# HELP keyhawk_dead_letters_total Records that could"),
        "{body}"
    );
    assert!(
        body.contains("# TYPE keyhawk_alert_latency_seconds histogram"),
        "{body}"
    );
    assert!(
        body.contains("keyhawk_alert_latency_seconds_bucket{le=\"0.5\"} 1"),
        "{body}"
    );
    assert!(
        body.contains("keyhawk_alert_latency_seconds_bucket{le=\"0.25\"} 0"),
        "{body}"
    );
}

#[test]
fn other_paths_are_not_found() {
    let console = start(&Status::new(0));
    assert_eq!(ask(&console, "/").0, 404);
}

#[test]
fn stop_closes_the_port_in_time_even_with_a_silent_client() {
    let console = start(&Status::new(0));
    let address = console.local_addr;
    let mut silent = TcpStream::connect(address).unwrap();
    silent.write_all(b"GET /metr").unwrap();
    assert_eq!(ask(&console, "/readyz").0, 503);
    let before = std::time::Instant::now();
    console.stop();
    assert!(before.elapsed() < STOP_WAIT * 4, "{:?}", before.elapsed());
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_taken_port_is_an_error() {
    let console = start(&Status::new(0));
    let second = serve(console.local_addr, Status::new(0), install_metrics());
    assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
}
