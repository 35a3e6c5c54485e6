//! A JSON scanner that finds where the wanted members of one object begin and end, and builds nothing.
//!
//! ```text
//!   {"status":200,"path":"/a\/b","extra":{"x":[1,2]}}
//!             ~~~         ~~~~~~         ~~~~~~~~~~~   one `Span` each: kind, begin, end
//! ```
//!
//! The whole text is checked against RFC 8259's grammar, wanted or not, so that a record is JSON or
//! is not, whatever the rules read. Texts are unescaped, and numbers turned into integers or
//! decimals, only by the columns that need them; a number is kept as the sender wrote it, so an
//! amount never passes through a float.
//!
//! `serde_json` does the same job at about half the speed, since it must hand every member to a
//! visitor; decoding is most of what the engine does with a row. The tests hold the two to the same
//! verdict on every text, damaged ones above all.
//!
//! Nesting is counted, not recursed: a text of a million brackets costs no stack, and is refused
//! past [`DEPTH_MAX`].

use std::borrow::Cow;

/// Deepest nesting of arrays and objects taken, as in `serde_json`.
pub(crate) const DEPTH_MAX: u32 = 127;

/// Why a text is not a usable JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The grammar is broken.
    Syntax,
    /// JSON, but no object.
    NotAnObject,
    /// More than [`DEPTH_MAX`] levels of nesting.
    TooDeep,
}

/// What stands at a [`Span`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    /// The member was not in the object, or it is `null`, which means the same.
    #[default]
    Absent,
    True,
    False,
    /// A number, as written.
    Number,
    /// A text without escapes, quotes left out.
    Text,
    /// A text with escapes still in it, quotes left out.
    EscapedText,
    /// An array or object, brackets included.
    Array,
    Object,
}

/// A value's place in the scanned text, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) kind: Kind,
    pub(crate) begin: u32,
    pub(crate) end: u32,
}

impl Span {
    /// The value as written.
    pub(crate) fn of<'a>(&self, text: &'a str) -> &'a str {
        &text[self.begin as usize..self.end as usize]
    }

    /// The text, unescaped, of a text; the digits of a number; `true` or `false`. None for the rest.
    pub(crate) fn text<'a>(&self, text: &'a str) -> Option<Cow<'a, str>> {
        match self.kind {
            Kind::Text | Kind::Number => Some(Cow::Borrowed(self.of(text))),
            Kind::EscapedText => Some(Cow::Owned(unescape(self.of(text)))),
            Kind::True => Some(Cow::Borrowed("true")),
            Kind::False => Some(Cow::Borrowed("false")),
            Kind::Absent | Kind::Array | Kind::Object => None,
        }
    }
}

/// The wanted member names, and a guess at the order in which they come.
///
/// Producers write the members of their events in one order and leave some out, so the name after a
/// given one is nearly always one of the two that came after it last. These are compared first, quotes
/// and colon included; the slower way finds the name's end and looks it up. The guess changes no result.
#[derive(Debug)]
pub(crate) struct Members {
    /// (name, slot), by name's length, then as added.
    by_length: Vec<Vec<(Box<[u8]>, usize)>>,
    slots: usize,
    /// The first stands for the object's beginning.
    seen: Vec<Seen>,
}

/// A member of an earlier object.
#[derive(Debug, Default)]
struct Seen {
    /// `"name":`
    written: Box<[u8]>,
    slot: Option<usize>,
    /// The members that came after it, the latest found first; 0 is none.
    next: [u8; 2],
}

/// Members remembered for the guess; longer objects take the slower way for the rest.
const SEEN_MAX: usize = 128;
/// Longest member name remembered for the guess.
const GUESS_BYTES_MAX: usize = 64;

impl Members {
    pub(crate) fn new() -> Self {
        Self {
            by_length: Vec::new(),
            slots: 0,
            seen: vec![Seen::default()],
        }
    }

    /// The slot of a name, which is new or was added before.
    pub(crate) fn add(&mut self, name: &str) -> usize {
        if let Some(slot) = self.slot(name.as_bytes()) {
            return slot;
        }
        if self.by_length.len() <= name.len() {
            self.by_length.resize_with(name.len() + 1, Vec::new);
        }
        let slot = self.slots;
        self.by_length[name.len()].push((name.as_bytes().into(), slot));
        self.slots += 1;
        self.seen.truncate(1);
        self.seen[0].next = [0; 2];
        slot
    }

    pub(crate) fn len(&self) -> usize {
        self.slots
    }

    fn slot(&self, name: &[u8]) -> Option<usize> {
        let candidates = self.by_length.get(name.len())?;
        candidates
            .iter()
            .find(|(known, _)| **known == *name)
            .map(|(_, slot)| *slot)
    }

    /// Scans one object and writes the place of each wanted member to its slot of `spans`, which is
    /// as long as [`Self::len`]; the last of several members of one name counts.
    pub(crate) fn scan(&mut self, text: &str, spans: &mut [Span]) -> Result<(), Fault> {
        spans.fill(Span::default());
        let mut scanner = Scanner::new(text);
        scanner.skip_space();
        if scanner.peek() != Some(b'{') {
            scanner.value()?;
            scanner.end()?;
            return Err(Fault::NotAnObject);
        }
        scanner.at += 1;
        scanner.depth = 1;
        scanner.skip_space();
        if scanner.peek() == Some(b'}') {
            scanner.at += 1;
            return scanner.end();
        }
        let mut before = 0;
        loop {
            let slot;
            (before, slot) = self.member(&mut scanner, before)?;
            let span = scanner.value()?;
            if let Some(slot) = slot {
                spans[slot] = span;
            }
            scanner.skip_space();
            match scanner.next() {
                Some(b',') => scanner.skip_space(),
                Some(b'}') => return scanner.end(),
                _ => return Err(Fault::Syntax),
            }
        }
    }

    /// Reads `"name":` and the space after it. Returns the member's place in `seen`, 0 where it has
    /// none, and its slot.
    #[inline]
    fn member(
        &mut self,
        scanner: &mut Scanner<'_>,
        before: usize,
    ) -> Result<(usize, Option<usize>), Fault> {
        for next in self.seen[before].next {
            let seen = &self.seen[usize::from(next)];
            if next != 0 && scanner.bytes[scanner.at..].starts_with(&seen.written) {
                scanner.at += seen.written.len();
                scanner.skip_space();
                return Ok((usize::from(next), seen.slot));
            }
        }
        self.unguessed_member(scanner, before)
    }

    #[cold]
    fn unguessed_member(
        &mut self,
        scanner: &mut Scanner<'_>,
        before: usize,
    ) -> Result<(usize, Option<usize>), Fault> {
        let begin = scanner.at;
        if scanner.next() != Some(b'"') {
            return Err(Fault::Syntax);
        }
        let name = scanner.string()?;
        let slot = match name.kind {
            Kind::EscapedText => self.slot(unescape(name.of(scanner.text)).as_bytes()),
            _ => self.slot(name.of(scanner.text).as_bytes()),
        };
        scanner.skip_space();
        if scanner.next() != Some(b':') {
            return Err(Fault::Syntax);
        }
        let written = &scanner.bytes[begin..scanner.at];
        let known = self.seen.iter().position(|seen| *seen.written == *written);
        let place = match known {
            Some(place) => place,
            None if self.seen.len() < SEEN_MAX && written.len() <= GUESS_BYTES_MAX => {
                self.seen.push(Seen {
                    written: written.into(),
                    slot,
                    next: [0; 2],
                });
                self.seen.len() - 1
            }
            None => 0,
        };
        if place != 0 {
            let next = &mut self.seen[before].next;
            *next = [place as u8, next[0]];
        }
        scanner.skip_space();
        Ok((place, slot))
    }
}

/// The value that a JSON pointer's remaining tokens lead to, inside an array or object that was
/// scanned before. Cost: one scan of the value a token.
pub(crate) fn follow(text: &str, span: Span, tokens: &[String]) -> Span {
    let mut found = span;
    for token in tokens {
        let mut scanner = Scanner::new(text);
        scanner.at = found.begin as usize;
        found = match found.kind {
            Kind::Object => scanner.member_named(token),
            Kind::Array => scanner.item_at(token),
            _ => Span::default(),
        };
    }
    found
}

/// The items of an array that was scanned before.
pub(crate) fn items(text: &str, array: Span) -> Items<'_> {
    let mut scanner = Scanner::new(text);
    scanner.at = array.begin as usize + 1;
    Items { scanner }
}

/// Iterates over an array's items.
pub(crate) struct Items<'a> {
    scanner: Scanner<'a>,
}

impl Iterator for Items<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        self.scanner.skip_space();
        match self.scanner.peek()? {
            b']' => return None,
            b',' => {
                self.scanner.at += 1;
                self.scanner.skip_space();
            }
            _ => {}
        }
        self.scanner.value().ok()
    }
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
            depth: 0,
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn end(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(Fault::Syntax)
        }
    }

    #[inline]
    fn span(&self, kind: Kind, begin: usize, end: usize) -> Span {
        // The decoder refuses payloads of 4 GiB and more before it scans them.
        Span {
            kind,
            begin: begin as u32,
            end: end as u32,
        }
    }

    /// One value of any kind; the scanner stands at its first byte, and then behind it.
    #[inline]
    fn value(&mut self) -> Result<Span, Fault> {
        let begin = self.at;
        match self.next() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => {
                self.at = begin;
                self.number()?;
                Ok(self.span(Kind::Number, begin, self.at))
            }
            Some(b'n') => self.word(b"ull", Kind::Absent, begin),
            Some(b't') => self.word(b"rue", Kind::True, begin),
            Some(b'f') => self.word(b"alse", Kind::False, begin),
            Some(open @ (b'{' | b'[')) => {
                self.nested(open)?;
                let kind = if open == b'{' {
                    Kind::Object
                } else {
                    Kind::Array
                };
                Ok(self.span(kind, begin, self.at))
            }
            _ => Err(Fault::Syntax),
        }
    }

    fn word(&mut self, rest: &[u8], kind: Kind, begin: usize) -> Result<Span, Fault> {
        if !self.bytes[self.at..].starts_with(rest) {
            return Err(Fault::Syntax);
        }
        self.at += rest.len();
        Ok(self.span(kind, begin, self.at))
    }

    /// A text whose opening quote has been read.
    #[inline]
    fn string(&mut self) -> Result<Span, Fault> {
        let begin = self.at;
        let mut kind = Kind::Text;
        loop {
            self.at = plain_end(self.bytes, self.at);
            match self.next() {
                Some(b'"') => return Ok(self.span(kind, begin, self.at - 1)),
                Some(b'\\') => {
                    kind = Kind::EscapedText;
                    match self.next() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                        Some(b'u') => {
                            let digits = self.bytes.get(self.at..self.at + 4);
                            if !digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)) {
                                return Err(Fault::Syntax);
                            }
                            self.at += 4;
                        }
                        _ => return Err(Fault::Syntax),
                    }
                }
                // A control character, or the end.
                _ => return Err(Fault::Syntax),
            }
        }
    }

    #[inline]
    fn digits(&mut self) -> bool {
        let begin = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at > begin
    }

    #[inline]
    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else if !self.digits() {
            return Err(Fault::Syntax);
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if !self.digits() {
                return Err(Fault::Syntax);
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if !self.digits() {
                return Err(Fault::Syntax);
            }
        }
        Ok(())
    }

    /// The rest of an array or object whose opening bracket has been read.
    fn nested(&mut self, open: u8) -> Result<(), Fault> {
        // One bit a level, the lowest the innermost: 1 is an object.
        let mut objects: u128 = 0;
        let outside = self.depth;
        self.open(open, &mut objects)?;
        let mut first = true;
        loop {
            self.skip_space();
            let close = if objects & 1 == 1 { b'}' } else { b']' };
            match self.peek() {
                Some(byte) if byte == close => {
                    self.at += 1;
                    self.depth -= 1;
                    objects >>= 1;
                    if self.depth == outside {
                        return Ok(());
                    }
                    first = false;
                    continue;
                }
                Some(b',') if !first => {
                    self.at += 1;
                    self.skip_space();
                }
                Some(_) if first => {}
                _ => return Err(Fault::Syntax),
            }
            if objects & 1 == 1 {
                if self.next() != Some(b'"') {
                    return Err(Fault::Syntax);
                }
                self.string()?;
                self.skip_space();
                if self.next() != Some(b':') {
                    return Err(Fault::Syntax);
                }
                self.skip_space();
            }
            match self.peek() {
                Some(inner @ (b'{' | b'[')) => {
                    self.at += 1;
                    self.open(inner, &mut objects)?;
                    first = true;
                }
                _ => {
                    self.value()?;
                    first = false;
                }
            }
        }
    }

    fn open(&mut self, bracket: u8, objects: &mut u128) -> Result<(), Fault> {
        if self.depth == DEPTH_MAX {
            return Err(Fault::TooDeep);
        }
        self.depth += 1;
        *objects = *objects << 1 | u128::from(bracket == b'{');
        Ok(())
    }

    /// The last member of that name in the object at the scanner.
    fn member_named(&mut self, name: &str) -> Span {
        let mut found = Span::default();
        self.at += 1;
        loop {
            self.skip_space();
            if let Some(b',') = self.peek() {
                self.at += 1;
                self.skip_space();
            }
            if self.next() != Some(b'"') {
                return found;
            }
            let Ok(key) = self.string() else { return found };
            self.skip_space();
            self.at += 1;
            self.skip_space();
            let Ok(value) = self.value() else {
                return found;
            };
            if key.text(self.text).is_some_and(|key| key == name) {
                found = value;
            }
        }
    }

    /// The item with that index in the array at the scanner.
    fn item_at(&mut self, token: &str) -> Span {
        // RFC 6901: no leading zeros; `-` is the item behind the last, which is never there.
        let canonical = token == "0" || !token.starts_with(['0', '+']);
        let index = if canonical {
            token.parse::<usize>().ok()
        } else {
            None
        };
        let array = self.span(Kind::Array, self.at, self.bytes.len());
        index
            .and_then(|index| items(self.text, array).nth(index))
            .unwrap_or_default()
    }
}

/// The place of the first quote, backslash or control character at or after `at`, or the end.
#[inline]
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Eight bytes at once. A byte's high bit is set in the mask where the byte is one of the three;
    // a borrow can only set further bits above the lowest true one, which is the one used.
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = word ^ (ONES * u64::from(b'"'));
        let quote = quote.wrapping_sub(ONES) & !quote;
        let backslash = word ^ (ONES * u64::from(b'\\'));
        let backslash = backslash.wrapping_sub(ONES) & !backslash;
        let found = (control | quote | backslash) & HIGH;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(byte) = bytes.get(at) {
        if matches!(byte, b'"' | b'\\' | 0..0x20) {
            return at;
        }
        at += 1;
    }
    at
}

/// The text behind the escapes of a scanned string. Half of a surrogate pair becomes U+FFFD: whoever
/// can write one into a user agent must not be able to turn his calls into dead letters.
fn unescape(raw: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(text: &str, names: &[&str]) -> Result<Vec<Option<String>>, Fault> {
        let mut members = Members::new();
        for name in names {
            members.add(name);
        }
        let mut spans = vec![Span::default(); members.len()];
        members.scan(text, &mut spans)?;
        // A second time, with the guess in place.
        let first = spans.clone();
        members.scan(text, &mut spans)?;
        assert_eq!(first, spans);
        Ok(spans
            .iter()
            .map(|span| span.text(text).map(Cow::into_owned))
            .collect())
    }

    #[test]
    fn wanted_members_are_found_and_the_last_of_a_name_counts() {
        let text =
            r#" { "a" : 1.50 , "b":{"a":[2,{"a":"}"}]}, "c":"x\n\u00e9\ud83d\ude00", "a":7 } "#;
        let found = scanned(text, &["a", "c", "d"]).unwrap();
        assert_eq!(found, [Some("7".into()), Some("x\né😀".into()), None]);
        assert_eq!(
            scanned(r#"{"\u0061":3}"#, &["a"]).unwrap(),
            [Some("3".into())]
        );
        assert_eq!(
            scanned(r#"{"a":"\ud800x"}"#, &["a"]).unwrap(),
            [Some("\u{fffd}x".into())]
        );
    }

    #[test]
    fn verdict_equals_serde_json() {
        let texts = [
            "{}",
            "{ }",
            "{\"a\":}",
            "{\"a\":01}",
            "{\"a\":-}",
            "{\"a\":1.}",
            "{\"a\":1e}",
            "{\"a\":1e+5}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\":[1,]}",
            "{\"a\":[,1]}",
            "{\"a\":[]}",
            "{\"a\":{}}",
            "{\"a\":{\"b\":[{}]}}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12g4\"}",
            "{\"a\":\"\t\"}",
            "{\"a\":tru}",
            "{\"a\":nul",
            "{\"a\"",
            "{\"a\":1}x",
            "{\"a\":1} ",
            "[1,2",
            "[1 2]",
            "\"x\"",
            "12",
            "",
            " ",
            "{\"a\" 1}",
            "{a:1}",
            "{\"a\":[1}}",
            "{\"a\":-0.0e-0}",
            "{\"a\":\"0123456\\\"78901234567\"}",
            "nulll",
            "{\"a\":+1}",
            "{\"a\":.5}",
        ];
        for text in texts {
            let ours = match scanned(text, &["a"]) {
                Ok(_) | Err(Fault::NotAnObject) => true,
                Err(_) => false,
            };
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
            assert_eq!(ours, theirs, "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_recursion() {
        let deep = format!("{{\"a\":{}", "[".repeat(1_000_000));
        assert_eq!(scanned(&deep, &["b"]), Err(Fault::TooDeep));
        let nested = DEPTH_MAX as usize - 1;
        let fits = format!("{{\"a\":{}{}}}", "[".repeat(nested), "]".repeat(nested));
        assert!(scanned(&fits, &["a"]).is_ok());
    }

    #[test]
    fn pointers_lead_into_objects_and_arrays() {
        let text = r#"{"a":{"b":[10,{"c/d":"x"},30],"e":null}}"#;
        let mut members = Members::new();
        members.add("a");
        let mut spans = [Span::default()];
        members.scan(text, &mut spans).unwrap();
        let at = |tokens: &[&str]| {
            let tokens: Vec<String> = tokens.iter().map(|token| token.to_string()).collect();
            follow(text, spans[0], &tokens)
                .text(text)
                .map(Cow::into_owned)
        };
        assert_eq!(at(&["b", "1", "c/d"]), Some("x".into()));
        assert_eq!(at(&["b", "2"]), Some("30".into()));
        for none in [
            &["b", "3"][..],
            &["b", "01"],
            &["b", "-"],
            &["e"],
            &["x", "y"],
            &["b", "0", "z"],
        ] {
            assert_eq!(at(none), None, "{none:?}");
        }
    }
}
