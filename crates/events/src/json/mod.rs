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
//! Texts are searched for their ends sixteen bytes at a time (`marks`), member names are guessed from
//! the object before (`members`).
//!
//! Nesting is counted, not recursed: a text of a million brackets costs no stack, and is refused
//! past [`DEPTH_MAX`].

mod marks;
mod members;
mod scanner;
mod unescape;

use std::borrow::Cow;

pub(crate) use members::Members;
use scanner::Scanner;
use unescape::unescape;

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

/// The value that a JSON pointer's remaining tokens lead to, inside an array or object that was
/// scanned before. Cost: one scan of the value a token.
pub(crate) fn follow(text: &str, span: Span, tokens: &[String]) -> Span {
    let mut found = span;
    for token in tokens {
        let mut scanner = Scanner::new(text);
        scanner.go_to(found.begin as usize);
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
    scanner.go_to(array.begin as usize + 1);
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
