//! The scanner: one value after the other, each checked against the grammar.

use super::marks::Marks;
use super::{DEPTH_MAX, Fault, Kind, Span, items};

/// Goes through a text once, from left to right, and checks the grammar on its way.
pub(super) struct Scanner<'a> {
    pub(super) text: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    pub(super) depth: u32,
    marks: Marks,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
            depth: 0,
            marks: Marks::default(),
        }
    }

    /// A place to go on from.
    pub(super) fn go_to(&mut self, at: usize) {
        self.at = at;
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    pub(super) fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    #[inline]
    pub(super) fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    pub(super) fn end(&mut self) -> Result<(), Fault> {
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
    pub(super) fn value(&mut self) -> Result<Span, Fault> {
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
    pub(super) fn string(&mut self) -> Result<Span, Fault> {
        let begin = self.at;
        let mut kind = Kind::Text;
        loop {
            self.at = self.marks.next(self.bytes, self.at);
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
    pub(super) fn member_named(&mut self, name: &str) -> Span {
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
    pub(super) fn item_at(&mut self, token: &str) -> Span {
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
