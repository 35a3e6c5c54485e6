//! The message that takes the place of an output that the broker refuses for good.
//!
//! ```json
//! {"schema":"keyhawk.stub/1","id":"<32 hex digits>","topic":"alerts","reason":"…","payload_bytes":1048577}
//! ```
//!
//! It goes to the topic and under the key of the output that it replaces, so that whoever follows the
//! topic finds the id, and the reason in place of the content. It is small and plain: what made the
//! broker refuse the output (its size, most often) is not in it.

use std::fmt::Write;

use super::OutputTopic;

/// The reason is the broker's text; cut here, so that a stub stays below 4 KB however it is escaped.
const REASON_BYTES_MAX: usize = 512;

/// The stub's payload, UTF-8 JSON.
pub(super) fn payload(
    id: &[u8; 16],
    topic: OutputTopic,
    reason: &str,
    payload_bytes: usize,
) -> Vec<u8> {
    let mut json = String::with_capacity(160 + reason.len().min(REASON_BYTES_MAX));
    json.push_str(r#"{"schema":"keyhawk.stub/1","id":""#);
    for byte in id {
        push(&mut json, format_args!("{byte:02x}"));
    }
    push(
        &mut json,
        format_args!(r#"","topic":"{}","reason":""#, topic.name()),
    );
    let end = reason.floor_char_boundary(REASON_BYTES_MAX);
    for c in reason[..end].chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c.is_control() => push(&mut json, format_args!("\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    push(
        &mut json,
        format_args!(r#"","payload_bytes":{payload_bytes}}}"#),
    );
    json.into_bytes()
}

fn push(json: &mut String, text: std::fmt::Arguments<'_>) {
    json.write_fmt(text)
        .expect("writing to a String does not fail");
}
