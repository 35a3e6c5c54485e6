//! Any bytes through the decoder: no panic, one outcome a record, and a watermark that never falls.
//!
//! The first byte chooses the settings, the rest are records, a line each. Run it with
//! `cargo +nightly fuzz run --fuzz-dir crates/events/fuzz decode testdata/decode-corpus`.

#![no_main]

use std::sync::Arc;

use keyhawk_events::{
    DEVELOPMENT_SECRET, Decoder, EventsSchema, Fingerprinter, GeoDatabases, Record, TimeMeaning,
    TopicSettings, parse_events_toml,
};
use libfuzzer_sys::fuzz_target;

const EXTRA: &str = r#"
[[column]]
name = "plan"
pointer = "/account/plan"
type = "text"
[[column]]
name = "score"
pointer = "/scores/1"
type = "decimal"
"#;

fuzz_target!(|data: &[u8]| {
    let Some((choice, records)) = data.split_first() else {
        return;
    };
    let mut settings = TopicSettings::new("fuzz");
    settings.dead_letter_payload = choice & 1 != 0;
    settings.step_ms_max = (choice & 2 != 0).then_some(1000);
    settings.time = if choice & 4 != 0 {
        TimeMeaning::Start
    } else {
        TimeMeaning::End
    };
    let extra = parse_events_toml(EXTRA, "events.toml").expect("the columns above are sound");
    let schema = Arc::new(EventsSchema::new(extra).expect("the columns above are sound"));
    let prefixes = vec!["kh_live_".to_string()];
    let fingerprinter = Fingerprinter::new(DEVELOPMENT_SECRET, prefixes).expect("a sound prefix");
    let geo = Arc::new(GeoDatabases::none());
    let mut decoder = Decoder::new(schema, None, settings, 0, Arc::new(fingerprinter), geo)
        .expect("every column is read, and the settings are in range");
    for (offset, payload) in records.split(|byte| *byte == b'\n').enumerate() {
        let record_time_ms = (choice & 8 != 0).then_some(1_772_366_400_000);
        decoder.push(Record {
            payload: Some(payload),
            offset: offset as i64,
            record_time_ms,
        });
    }
    let decoded = decoder.finish();
    let counts = decoded.counts;
    assert_eq!(counts.records, counts.events + counts.late + counts.dead);
    assert_eq!(decoded.events.num_rows() as u64, counts.events);
    assert_eq!(decoded.watermarks.len() as u64, counts.events);
    assert!(decoded.watermarks.is_sorted());
});
