//! Text of an alert made fit for a chat window: addresses hidden, fingerprints shortened, bounded
//! in length, and free of everything that a chat program would act on.

use std::net::IpAddr;

use serde_json::Value;

use crate::alert::FINGERPRINT_DIGITS;
use crate::readable::{self, shorten};

use super::ChatConfig;

/// How many hex digits of a fingerprint are shown.
const SHOWN_DIGITS: usize = 8;

/// `text` as it may be shown, at most `chars_max` characters before escaping.
pub(super) fn shown(text: &str, config: &ChatConfig, chars_max: usize) -> String {
    let text = if config.show_address {
        text.to_owned()
    } else {
        hide_addresses(text)
    };
    escape(&shorten(&shorten_fingerprints(&text), chars_max))
}

/// A figure of a row, as text that may be shown.
pub(super) fn shown_value(column: &str, value: &Value, config: &ChatConfig) -> String {
    shown(&readable::value(column, value), config, 120)
}

/// Cuts every `…` followed by 20 hex digits to the first eight of them.
fn shorten_fingerprints(text: &str) -> String {
    let mut short = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('…') {
        let (before, after) = rest.split_at(at + '…'.len_utf8());
        short.push_str(before);
        let digits = after
            .bytes()
            .take(FINGERPRINT_DIGITS)
            .take_while(u8::is_ascii_hexdigit);
        if digits.count() == FINGERPRINT_DIGITS {
            short.push_str(&after[..SHOWN_DIGITS]);
            rest = &after[FINGERPRINT_DIGITS..];
        } else {
            rest = after;
        }
    }
    short + rest
}

/// Puts `[address]` for every IPv4 and IPv6 address, its prefix length, brackets and port included.
fn hide_addresses(text: &str) -> String {
    let of_address = |c: char| c.is_ascii_hexdigit() || c == ':' || c == '.';
    let mut hidden = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(of_address) {
        hidden.push_str(&rest[..start]);
        let run = &rest[start..];
        let run = &run[..run.find(|c| !of_address(c)).unwrap_or(run.len())];
        rest = &rest[start + run.len()..];
        // A letter before or behind makes it a piece of a word: `face::` in `surface::`.
        let in_word =
            hidden.ends_with(char::is_alphanumeric) || rest.starts_with(char::is_alphanumeric);
        match address_len(run).filter(|_| !in_word) {
            None => hidden.push_str(run),
            Some(len) => {
                hidden.push_str("[address]");
                hidden.push_str(&run[len..]);
                let prefix = rest.strip_prefix('/').filter(|_| len == run.len());
                let digits = prefix.map_or(0, |p| p.bytes().take_while(u8::is_ascii_digit).count());
                if (1..=3).contains(&digits) {
                    rest = &rest[1 + digits..];
                }
            }
        }
    }
    hidden + rest
}

/// How much of a run of hex digits, colons and points is an address; a sentence's own point or
/// colon behind it is not. A port is.
fn address_len(run: &str) -> Option<usize> {
    let is_address = |text: &str| {
        text.contains(|c: char| c.is_ascii_hexdigit()) && text.parse::<IpAddr>().is_ok()
    };
    let bare = run.trim_end_matches(['.', ':']);
    let candidates = [run, bare];
    if let Some(whole) = candidates.into_iter().find(|text| is_address(text)) {
        return Some(whole.len());
    }
    let (host, port) = bare.rsplit_once(':')?;
    (is_address(host) && port.bytes().all(|b| b.is_ascii_digit())).then_some(bare.len())
}

/// Escapes what Slack reads as markup (`&`, `<`, `>`) and disarms what Mattermost does: mentions
/// (`@all`), links with a text of their own, code ticks. Control characters and those that turn the
/// direction of writing become spaces.
fn escape(text: &str) -> String {
    const ZERO_WIDTH_SPACE: char = '\u{200b}';
    let mut safe = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '`' => safe.push('\''),
            '@' => safe.extend([c, ZERO_WIDTH_SPACE]),
            ']' if matches!(chars.peek(), Some('(' | '[')) => safe.extend([c, ZERO_WIDTH_SPACE]),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' => {
                safe.push(' ')
            }
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_show_eight_digits() {
        for (text, short) in [
            (
                "kh_live_…0123456789abcdef0123 called",
                "kh_live_…01234567 called",
            ),
            ("…0123456789abcdef0123", "…01234567"),
            (
                "two: …0123456789abcdef0123, …ffff456789abcdef0123",
                "two: …01234567, …ffff4567",
            ),
            ("cut here… and …0123", "cut here… and …0123"),
        ] {
            assert_eq!(shorten_fingerprints(text), short);
        }
    }

    #[test]
    fn addresses_are_hidden_wherever_they_stand() {
        for (text, hidden) in [
            ("from 192.0.2.7.", "from [address]."),
            ("192.0.2.7", "[address]"),
            (
                "198.51.100.0/24, then 2001:db8::1",
                "[address], then [address]",
            ),
            ("2001:db8:0:1::/64: new", "[address]: new"),
            ("[2001:db8::1]:443", "[[address]]:443"),
            ("192.0.2.7:51234 called", "[address] called"),
            (
                "at 12:00:07, 1,234.5 requests, v1.2.3",
                "at 12:00:07, 1,234.5 requests, v1.2.3",
            ),
            ("surface::dead a::z std::fmt", "surface::dead a::z std::fmt"),
            ("…0123456789abcdef0123", "…0123456789abcdef0123"),
            ("é 192.0.2.7é", "é 192.0.2.7é"),
            (":: and . and a", ":: and . and a"),
        ] {
            assert_eq!(hide_addresses(text), hidden);
        }
    }

    #[test]
    fn markup_mentions_and_line_breaks_are_disarmed() {
        assert_eq!(
            escape("<!channel> & @all"),
            "&lt;!channel&gt; &amp; @\u{200b}all"
        );
        assert_eq!(
            escape("[x](http://e)`\n\u{202e}"),
            "[x]\u{200b}(http://e)'  "
        );
    }
}
