//! The members of an object by their names.

use super::scanner::Scanner;
use super::{Fault, Kind, Span, unescape};

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
    written: Written,
    slot: Option<usize>,
    /// The members that came after it, the latest found first; 0 is none.
    next: [u8; 2],
}

/// A stretch of bytes that others are compared with: most names are, with a few instructions and no call.
#[derive(Debug, Default)]
struct Written {
    bytes: Box<[u8]>,
    /// The first bytes, zeros behind them, and ones where there are any.
    head: [u128; 2],
    mask: [u128; 2],
}

/// Bytes compared at once.
const HEAD_BYTES: usize = 32;

impl Written {
    fn new(bytes: &[u8]) -> Self {
        let mut written = Written {
            bytes: bytes.into(),
            ..Written::default()
        };
        if bytes.len() <= HEAD_BYTES {
            let (mut head, mut mask) = ([0; HEAD_BYTES], [0; HEAD_BYTES]);
            head[..bytes.len()].copy_from_slice(bytes);
            mask[..bytes.len()].fill(0xff);
            written.head = halves(&head);
            written.mask = halves(&mask);
        }
        written
    }

    /// Whether `text` begins with it.
    #[inline]
    fn begins(&self, text: &[u8]) -> bool {
        match text.first_chunk::<HEAD_BYTES>() {
            Some(first) if self.bytes.len() <= HEAD_BYTES => {
                let [low, high] = halves(first);
                let differs =
                    (low ^ self.head[0]) & self.mask[0] | (high ^ self.head[1]) & self.mask[1];
                differs == 0
            }
            _ => text.starts_with(&self.bytes),
        }
    }
}

#[inline]
fn halves(bytes: &[u8; HEAD_BYTES]) -> [u128; 2] {
    let (halves, _) = bytes.as_chunks::<16>();
    [
        u128::from_le_bytes(halves[0]),
        u128::from_le_bytes(halves[1]),
    ]
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
            if next != 0 && seen.written.begins(&scanner.bytes[scanner.at..]) {
                scanner.at += seen.written.bytes.len();
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
        let known = self
            .seen
            .iter()
            .position(|seen| *seen.written.bytes == *written);
        let place = match known {
            Some(place) => place,
            None if self.seen.len() < SEEN_MAX && written.len() <= GUESS_BYTES_MAX => {
                self.seen.push(Seen {
                    written: Written::new(written),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_found_at_a_beginning_alone_however_little_follows() {
        for length in 1..100 {
            let written: Vec<u8> = (0..length).map(|at| b'a' + at % 26).collect();
            let stretch = Written::new(&written);
            for more in [0, 1, 40] {
                let mut text = written.clone();
                text.resize(written.len() + more, b'!');
                assert!(stretch.begins(&text), "{length} and {more}");
                for at in 0..written.len() {
                    text[at] ^= 1;
                    assert!(!stretch.begins(&text), "{length} and {more}, at {at}");
                    text[at] ^= 1;
                }
            }
            assert!(!stretch.begins(&written[..written.len() - 1]));
        }
    }
}
