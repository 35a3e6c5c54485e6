//! Late rows, the watermark, future times, and their independence of where batches end.

use keyhawk_events::{DeadReason, Decoded, Record, TopicSettings};

use crate::{Random, Setup};

const BASE: i64 = 1_700_000_000_000;

fn at(seconds: i64) -> String {
    format!(
        r#"{{"event_time":{},"client_ip":"203.0.113.9","api_key":"k-{seconds}"}}"#,
        BASE + seconds * 1000
    )
}

fn decode(settings: TopicSettings, rows: &[(i64, Option<i64>)]) -> Decoded {
    let mut decoder = Setup {
        settings,
        ..Setup::default()
    }
    .decoder();
    for (offset, (seconds, record_seconds)) in rows.iter().enumerate() {
        decoder.push(Record {
            payload: Some(at(*seconds).as_bytes()),
            offset: offset as i64,
            record_time_ms: record_seconds.map(|seconds| BASE + seconds * 1000),
        });
    }
    decoder.finish()
}

fn watermarks(decoded: &Decoded) -> Vec<i64> {
    decoded
        .watermarks
        .iter()
        .map(|time_ms| (time_ms - BASE) / 1000)
        .collect()
}

#[test]
fn late_row_goes_to_the_late_output_and_moves_nothing() {
    let rows = [(0, None), (20, None), (10, None), (9, None), (15, None)];
    let decoded = decode(TopicSettings::new("t"), &rows);
    assert_eq!(watermarks(&decoded), [-10, 10, 10, 10]);
    assert_eq!(decoded.late.len(), 1);
    assert_eq!(decoded.late[0].offset, 3);
    let json: serde_json::Value = serde_json::from_str(&decoded.late[0].json).unwrap();
    assert_eq!(json["late"], true);
    assert_eq!(json["event_time"], "2023-11-14T22:13:29.000Z");
    assert_eq!(json["_offset"], 3);
    assert!(
        !decoded.late[0].json.contains("k-9"),
        "{}",
        decoded.late[0].json
    );
    assert_eq!(
        (
            decoded.counts.records,
            decoded.counts.events,
            decoded.counts.late
        ),
        (5, 4, 1)
    );
}

#[test]
fn fast_clock_does_not_make_the_others_late() {
    // The second row's clock is 50 s fast; the record's time bounds what it does to the watermark.
    let decoded = decode(
        TopicSettings::new("t"),
        &[(0, Some(0)), (51, Some(1)), (2, Some(2))],
    );
    assert_eq!(decoded.late, []);
    assert_eq!(watermarks(&decoded), [-10, -9, -8]);
}

#[test]
fn time_far_ahead_of_the_record_is_a_dead_letter() {
    let decoded = decode(
        TopicSettings::new("t"),
        &[(0, Some(0)), (61, Some(1)), (62, Some(1))],
    );
    assert_eq!(decoded.events.num_rows(), 2);
    assert_eq!(decoded.dead[0].reason, DeadReason::FutureTime);
}

#[test]
fn step_bounds_a_row_where_record_times_are_not_trusted() {
    let mut settings = TopicSettings::new("t");
    settings.step_ms_max = Some(5_000);
    let rows = [(0, Some(0)), (1_000_000, Some(0)), (3, Some(3)), (-6, None)];
    let decoded = decode(settings, &rows);
    assert_eq!(watermarks(&decoded), [-10, -5, -5]);
    assert_eq!(decoded.late.len(), 1);
    assert_eq!(decoded.dead, []);
}

#[test]
fn watermark_starts_at_the_beginning_of_time() {
    let mut decoder = Setup::default().decoder();
    assert_eq!(decoder.watermark(), i64::MIN);
    decoder.push(Record {
        payload: Some(at(0).as_bytes()),
        offset: 0,
        record_time_ms: None,
    });
    decoder.finish();
    assert_eq!(decoder.watermark(), BASE - 10_000);
}

#[test]
fn settings_out_of_range_are_refused() {
    let mut settings = TopicSettings::new("t");
    settings.bound_ms = -1;
    let schema = std::sync::Arc::new(keyhawk_events::EventsSchema::new(Vec::new()).unwrap());
    let refused = keyhawk_events::Decoder::new(
        schema,
        None,
        settings,
        0,
        crate::fingerprinter(),
        std::sync::Arc::default(),
    );
    assert!(refused.unwrap_err().to_string().contains("`bound` is -1"));
}

#[test]
fn split_into_batches_changes_no_output() {
    let seed = 7;
    let mut random = Random(seed);
    let payloads: Vec<Vec<u8>> = (0..600)
        .map(|place| match random.below(20) {
            0 => b"{\"event_time\":".to_vec(),
            1 => at(place - 30).into_bytes(),
            2 => at(place).replace("203.0.113.9", "2001:db8::1").into_bytes(),
            _ => at(place - random.below(10) as i64).into_bytes(),
        })
        .collect();
    let run = |cuts: &mut dyn FnMut(usize) -> bool| {
        let mut decoder = Setup::default().decoder();
        let (mut rows, mut watermarks, mut late, mut dead) = (vec![], vec![], vec![], vec![]);
        for (offset, payload) in payloads.iter().enumerate() {
            decoder.push(crate::record(payload, offset as i64));
            if cuts(offset) || offset + 1 == payloads.len() {
                let decoded = decoder.finish();
                rows.push(decoded.events);
                watermarks.extend(decoded.watermarks);
                late.extend(decoded.late);
                dead.extend(decoded.dead);
            }
        }
        let schema = rows[0].schema();
        let rows = arrow::compute::concat_batches(&schema, &rows).unwrap();
        (format!("{rows:?}"), watermarks, late, dead)
    };
    let whole = run(&mut |_| false);
    assert!(!whole.2.is_empty() && !whole.3.is_empty());
    assert!(whole.1.is_sorted());
    assert_eq!(whole, run(&mut |_| true), "seed {seed}");
    for _ in 0..5 {
        assert_eq!(whole, run(&mut |_| random.below(7) == 0), "seed {seed}");
    }
}
