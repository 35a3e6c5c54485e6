//! Routes from paths: segments that name one object become `{id}`.
//!
//! `/v1/orders/81723/items/6f1c…` and `/v1/orders/81724/items/09ab…` are one route. A segment is an id
//! where it is a number, a UUID, sixteen or more hexadecimal digits, a masked credential, or a long
//! token that mixes letters and digits as random text does and words do not.

/// Shortest run of hexadecimal digits that is taken for a hash: 64 bits.
const HASH_LENGTH_MIN: usize = 16;
/// Shortest mixed token that is taken for an id; object ids such as `cus_9s6XKzkNRiz8i3` have 18.
const TOKEN_LENGTH_MIN: usize = 16;
/// Digits in a mixed token; `create-payment-intent-v2` has one.
const TOKEN_DIGITS_MIN: usize = 2;

/// The route of a path, written over `route`. The path has no query string.
pub(crate) fn template(path: &str, route: &mut String) {
    route.clear();
    for (place, segment) in path.split('/').enumerate() {
        if place > 0 {
            route.push('/');
        }
        route.push_str(if is_id(segment) { "{id}" } else { segment });
    }
}

fn is_id(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    let (mut digits, mut hex_letters, mut letters, mut dashes) = (0usize, 0usize, 0usize, 0usize);
    for byte in bytes {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'a'..=b'f' | b'A'..=b'F' => hex_letters += 1,
            b'g'..=b'z' | b'G'..=b'Z' => letters += 1,
            b'-' => dashes += 1,
            b'_' | b'.' | b'~' | b'%' | b'=' | b'+' | b':' => {}
            // The ellipsis of a fingerprint is the one sign outside ASCII that makes an id.
            _ => return segment.contains('…'),
        }
    }
    let length = bytes.len();
    if digits == length {
        return length > 0;
    }
    if length < HASH_LENGTH_MIN {
        return false;
    }
    let hex = digits + hex_letters;
    hex == length
        || is_uuid(bytes, hex, dashes)
        || (length >= TOKEN_LENGTH_MIN && digits >= TOKEN_DIGITS_MIN && hex_letters + letters > 0)
}

fn is_uuid(bytes: &[u8], hex: usize, dashes: usize) -> bool {
    hex == 32
        && dashes == 4
        && bytes.len() == 36
        && [8, 13, 18, 23].iter().all(|at| bytes[*at] == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_placeholders_and_words_stay() {
        for (path, expected) in [
            ("/v1/orders/81723/items", "/v1/orders/{id}/items"),
            ("/a/6f1c2b3a-0000-4000-8000-0123456789ab", "/a/{id}"),
            ("/a/6F1C2B3A-AAAA-BBBB-CCCC-ABCDEFABCDEF/b", "/a/{id}/b"),
            ("/blob/deadbeefdeadbeef", "/blob/{id}"),
            ("/c/cus_9s6XKzkNRiz8i3", "/c/{id}"),
            ("/k/kh_live_…0123456789abcdef0123", "/k/{id}"),
            (
                "/v2/oauth2/create-payment-intent-v2",
                "/v2/oauth2/create-payment-intent-v2",
            ),
            ("/facade/added/beef", "/facade/added/beef"),
            ("/straße/日本", "/straße/日本"),
            ("/", "/"),
            ("", ""),
            ("//7", "//{id}"),
        ] {
            let mut route = "old".to_string();
            template(path, &mut route);
            assert_eq!(route, expected);
        }
    }
}
