//! What each member of an event becomes, and what makes a dead letter.

use keyhawk_events::{DeadReason, IdentitySource, TimeMeaning};

use crate::{Setup, cell, event, fingerprinter, record};

fn one(members: &str, column: &str) -> Option<String> {
    let decoded = Setup::default().decode(&[event(members)]);
    assert_eq!(decoded.dead, [], "{members}");
    cell(&decoded, column, 0)
}

fn refused(setup: &Setup, payload: &str) -> (DeadReason, Option<String>) {
    let decoded = setup.decode(&[payload]);
    assert_eq!(decoded.dead.len(), 1, "{payload}");
    assert_eq!(decoded.events.num_rows(), 0);
    let letter = &decoded.dead[0];
    (
        letter.reason,
        letter.field.as_ref().map(|field| field.to_string()),
    )
}

#[test]
fn members_become_columns() {
    let members = r#""event_id":"e1","tenant":"t","method":"GET","path":"/v1/orders/7?a=1#x","host":"api",
        "query_names":["a","b"],"scopes":"read write","status":200,"page":-2,"response_bytes":12,
        "latency_us":1500,"amount":-0.10,"destination":"wallet-1","api_version":1.10,"tls_fingerprint":null"#;
    let decoded = Setup::default().decode(&[event(members)]);
    let hash = fingerprinter().fingerprint("wallet-1");
    for (column, expected) in [
        ("event_id", Some("e1")),
        ("event_time", Some("1700000000000")),
        ("client_ip", Some("203.0.113.9")),
        ("client_net", Some("203.0.113.0/24")),
        ("path", Some("/v1/orders/7")),
        ("route", Some("/v1/orders/{id}")),
        ("query_names", Some("[a, b]")),
        ("scopes", Some("[read, write]")),
        ("status", Some("200")),
        ("page", Some("-2")),
        ("latency_us", Some("1500")),
        ("amount", Some("-0.100000000000000000")),
        ("destination", Some(hash.as_str())),
        ("api_version", Some("1.10")),
        ("tls_fingerprint", None),
        ("user_agent", None),
        ("ip_kind", Some("unknown")),
        ("is_hosting", Some("false")),
        ("_topic", Some("gateway")),
        ("_partition", Some("3")),
        ("_offset", Some("0")),
        ("late", Some("false")),
    ] {
        assert_eq!(cell(&decoded, column, 0).as_deref(), expected, "{column}");
    }
}

#[test]
fn identity_is_the_first_present_of_the_list() {
    let print = fingerprinter().fingerprint("secret-1");
    let both = r#""api_key":"secret-1","key_id":"k1","consumer_id":"c1""#;
    assert_eq!(one(both, "api_key").as_deref(), Some("k1"));
    assert_eq!(one(both, "credential"), Some(print.clone()));
    assert_eq!(
        one(r#""api_key":"secret-1","key_id":"""#, "api_key"),
        Some(print)
    );
    assert_eq!(one(r#""api_key":"""#, "api_key"), None);
    assert_eq!(one(r#""api_key":null"#, "credential"), None);
    let mut setup = Setup::default();
    setup.settings.identity = vec![IdentitySource::ConsumerId, IdentitySource::KeyId];
    let decoded = setup.decode(&[event(both), event(r#""api_key":"secret-1""#)]);
    assert_eq!(cell(&decoded, "api_key", 0).as_deref(), Some("c1"));
    assert_eq!(cell(&decoded, "api_key", 1), None);
}

#[test]
fn auth_result_is_given_or_derived_from_status() {
    let key = r#""api_key":"secret-1""#;
    for (members, expected) in [
        (format!("{key},\"status\":401"), "bad_key"),
        (format!("{key},\"status\":403"), "forbidden"),
        ("\"status\":401".into(), "bad_key"),
        ("\"status\":200".into(), "none"),
        (format!("{key},\"status\":500"), "ok"),
        (key.to_string(), "ok"),
        (
            format!("{key},\"status\":401,\"auth_result\":\"expired\""),
            "expired",
        ),
    ] {
        assert_eq!(
            one(&members, "auth_result").as_deref(),
            Some(expected),
            "{members}"
        );
    }
    let unknown = refused(&Setup::default(), &event(r#""auth_result":"fine""#));
    assert_eq!(unknown, (DeadReason::BadField, Some("auth_result".into())));
}

#[test]
fn route_is_taken_before_it_is_templated() {
    assert_eq!(
        one(r#""path":"/a/1","route":"/a/:n""#, "route").as_deref(),
        Some("/a/:n")
    );
    assert_eq!(
        one(r#""path":"/a/1?b=2","route":"""#, "route").as_deref(),
        Some("/a/{id}")
    );
    assert_eq!(one("", "route"), None);
}

#[test]
fn latency_in_milliseconds_is_taken_as_a_number() {
    assert_eq!(
        one(r#""latency_ms":1.2345"#, "latency_us").as_deref(),
        Some("1235")
    );
    assert_eq!(
        one(r#""latency_ms":2,"latency_us":7"#, "latency_us").as_deref(),
        Some("7")
    );
}

#[test]
fn start_time_gets_the_latency_added_even_where_nobody_reads_it() {
    let mut setup = Setup::default().columns(&["event_time"]);
    setup.settings.time = TimeMeaning::Start;
    let decoded = setup.decode(&[event(r#""latency_ms":1500.9"#), event("")]);
    assert_eq!(
        cell(&decoded, "event_time", 0).as_deref(),
        Some("1700000001500")
    );
    assert_eq!(
        cell(&decoded, "event_time", 1).as_deref(),
        Some("1700000000000")
    );
    let huge = refused(&setup, &event(r#""latency_us":9223372036854775807"#));
    assert_eq!(huge.0, DeadReason::OutOfRange);
}

#[test]
fn damaged_records_are_dead_letters_with_the_reason() {
    let mut setup = Setup::default();
    setup.settings.dead_letter_payload = true;
    let field = |name: &str| Some(name.to_string());
    let deep = event(&format!("\"x\":{}", "[".repeat(300)));
    for (payload, reason, name) in [
        ("", DeadReason::NotJson, None),
        ("{\"event_time\":1", DeadReason::NotJson, None),
        ("[1]", DeadReason::NotAnObject, None),
        (deep.as_str(), DeadReason::TooDeep, None),
        (
            r#"{"event_time":1}"#,
            DeadReason::MissingField,
            field("client_ip"),
        ),
        (
            r#"{"client_ip":"::1","event_time":null}"#,
            DeadReason::MissingField,
            field("event_time"),
        ),
        (
            r#"{"client_ip":"::1","event_time":"noon"}"#,
            DeadReason::BadField,
            field("event_time"),
        ),
        (
            r#"{"client_ip":"::1","event_time":1.5}"#,
            DeadReason::BadField,
            field("event_time"),
        ),
        (
            r#"{"client_ip":"::1","event_time":-1}"#,
            DeadReason::OutOfRange,
            field("event_time"),
        ),
        (
            r#"{"client_ip":"host","event_time":1}"#,
            DeadReason::BadField,
            field("client_ip"),
        ),
        (
            &event("\"status\":1000"),
            DeadReason::OutOfRange,
            field("status"),
        ),
        (
            &event("\"status\":\"x\""),
            DeadReason::BadField,
            field("status"),
        ),
        (
            &event("\"request_bytes\":-1"),
            DeadReason::OutOfRange,
            field("request_bytes"),
        ),
        (
            &event("\"page\":9223372036854775808"),
            DeadReason::OutOfRange,
            field("page"),
        ),
        (
            &event("\"amount\":1e30"),
            DeadReason::OutOfRange,
            field("amount"),
        ),
        (
            &event("\"latency_ms\":-1"),
            DeadReason::OutOfRange,
            field("latency_ms"),
        ),
        (&event("\"path\":{}"), DeadReason::BadField, field("path")),
        (
            &event("\"query_names\":[[]]"),
            DeadReason::BadField,
            field("query_names"),
        ),
        (
            &event("\"api_key\":[1]"),
            DeadReason::BadField,
            field("api_key"),
        ),
    ] {
        assert_eq!(refused(&setup, payload), (reason, name), "{payload}");
    }
    let mut decoder = setup.decoder();
    decoder.push(record(b"\"\xff\"", 4));
    decoder.push(keyhawk_events::Record {
        payload: None,
        offset: 5,
        record_time_ms: None,
    });
    decoder.push(record(event("").as_bytes(), 6));
    let decoded = decoder.finish();
    let reasons: Vec<_> = decoded.dead.iter().map(|letter| letter.reason).collect();
    assert_eq!(reasons, [DeadReason::NotUtf8, DeadReason::NoPayload]);
    assert_eq!(decoded.events.num_rows(), 1, "nothing stops");
    assert_eq!(decoded.last_offset, Some(6));
    let json: serde_json::Value = serde_json::from_str(&decoded.dead[0].to_json()).unwrap();
    assert_eq!(json["reason"], "not_utf8");
    assert_eq!(
        (&json["offset"], &json["partition"]),
        (&4.into(), &3.into())
    );
    assert_eq!(json["digest"].as_str().unwrap().len(), 64);
}

#[test]
fn payload_of_a_dead_letter_is_redacted() {
    let mut setup = Setup::default();
    let dead = r#"{"api_key":"short-key","user_agent":"see short-key","id":"0123456789abcdef","status":"x""#;
    assert_eq!(setup.decode(&[dead]).dead[0].payload, None);
    setup.settings.dead_letter_payload = true;
    let payload = setup.decode(&[event(&dead[1..])]).dead[0]
        .payload
        .clone()
        .unwrap();
    assert!(payload.contains("\"status\":\"x\""), "{payload}");
    assert!(
        !payload.contains("short-key") && !payload.contains("0123456789"),
        "{payload}"
    );
    // Cut off inside the credential.
    let cut = setup
        .decode(&[r#"{"status":200,"api_key":"abcdefghi"#])
        .dead[0]
        .payload
        .clone();
    assert_eq!(
        cut.as_deref(),
        Some(r#"{"status":200,"api_key":"[redacted]"#)
    );
}

#[test]
fn optional_fields_are_read_leniently_where_nothing_is_lost() {
    let decoded = Setup::default().decode(&[event(
        r#""user_agent":"\ud800","object_id":["a",2,null],"asset":true,"status":"404","query_names":"q","path":"""#,
    )]);
    for (column, expected) in [
        ("user_agent", "\u{fffd}"),
        ("object_id", "a,2"),
        ("asset", "true"),
        ("status", "404"),
        ("query_names", "[q]"),
        ("path", ""),
    ] {
        assert_eq!(
            cell(&decoded, column, 0).as_deref(),
            Some(expected),
            "{column}"
        );
    }
}

#[test]
fn extra_columns_follow_their_pointers() {
    let setup = Setup::default().extra(
        r#"
        [[column]]
        name = "plan"
        pointer = "/account/plan"
        type = "text"
        [[column]]
        name = "score"
        pointer = "/scores/1"
        type = "decimal"
        [[column]]
        name = "code"
        pointer = "/status"
        type = "integer"
        [[column]]
        name = "mobile"
        pointer = "/mobile"
        type = "boolean"
        [[column]]
        name = "email"
        pointer = "/account/email"
        type = "text"
        sensitivity = "hash"
        [[column]]
        name = "tags"
        pointer = "/tags"
        type = "text_list"
        [[column]]
        name = "ssn"
        pointer = "/ssn"
        type = "text"
        sensitivity = "drop"
        "#,
    );
    let full = r#""account":{"plan":"gold","email":"a@b"},"scores":[1,2.5],"status":200,"mobile":true,"tags":["x"],"ssn":"1""#;
    let decoded = setup.decode(&[event(full), event("")]);
    assert_eq!(decoded.dead, []);
    let hash = fingerprinter().fingerprint("a@b");
    for (column, expected) in [
        ("plan", Some("gold")),
        ("score", Some("2.500000000000000000")),
        ("code", Some("200")),
        ("status", Some("200")),
        ("mobile", Some("true")),
        ("email", Some(hash.as_str())),
        ("tags", Some("[x]")),
        ("ssn", None),
    ] {
        assert_eq!(cell(&decoded, column, 0).as_deref(), expected, "{column}");
        assert_eq!(cell(&decoded, column, 1), None, "{column}");
    }
    let bad = refused(&setup, &event(r#""account":{"plan":{}}"#));
    assert_eq!(bad, (DeadReason::BadField, Some("plan".into())));
}

#[test]
fn unread_columns_are_not_decoded() {
    let setup = Setup::default().columns(&["route", "api_key", "_offset"]);
    let decoded = setup.decode(&[event(r#""status":"x","path":"/a/1","api_key":"secret-1""#)]);
    let schema = decoded.events.schema();
    let names: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    assert_eq!(names, ["api_key", "route", "_offset"]);
    assert_eq!(cell(&decoded, "route", 0).as_deref(), Some("/a/{id}"));
    assert_eq!(
        Setup::default()
            .columns(&[])
            .decode(&[event("")])
            .events
            .num_rows(),
        1
    );
    let mut unknown = Setup::default().columns(&["nope"]);
    let schema = std::sync::Arc::new(keyhawk_events::EventsSchema::new(Vec::new()).unwrap());
    let refused = keyhawk_events::Decoder::new(
        schema,
        unknown.columns.take().as_ref(),
        unknown.settings,
        0,
        fingerprinter(),
        std::sync::Arc::default(),
    );
    assert!(refused.unwrap_err().to_string().contains("`nope`"));
}
