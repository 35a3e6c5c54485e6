//! Escapes in JSON texts.

/// The text behind the escapes of a scanned string. Half of a surrogate pair becomes U+FFFD: whoever
/// can write one into a user agent must not be able to turn his calls into dead letters.
pub(crate) fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        text.push_str(&rest[..at]);
        let escape = rest.as_bytes().get(at + 1).copied().unwrap_or(b'\\');
        rest = rest.get(at + 2..).unwrap_or("");
        match escape {
            b'b' => text.push('\u{8}'),
            b'f' => text.push('\u{c}'),
            b'n' => text.push('\n'),
            b'r' => text.push('\r'),
            b't' => text.push('\t'),
            b'u' => {
                let high = code_unit(&mut rest);
                let low = match (high, rest.strip_prefix("\\u")) {
                    (0xD800..0xDC00, Some(mut after)) => match code_unit(&mut after) {
                        low @ 0xDC00..0xE000 => {
                            rest = after;
                            Some(low)
                        }
                        _ => None,
                    },
                    _ => None,
                };
                let scalar = match low {
                    Some(low) => 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00),
                    None => high,
                };
                text.push(char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            plain => text.push(char::from(plain)),
        }
    }
    text.push_str(rest);
    text
}

/// Takes four hexadecimal digits off the front.
fn code_unit(rest: &mut &str) -> u32 {
    let (digits, after) = rest.split_at_checked(4).unwrap_or(("", rest));
    *rest = after;
    u32::from_str_radix(digits, 16).unwrap_or(0xFFFD)
}
