//! Texts that state keeps: a short one stands in its place, so that reading it costs one read of memory.

use std::fmt;
use std::ops::Deref;

use arrayvec::ArrayString;

/// A text that can be written anew; up to `N` bytes are not allocated.
#[derive(Clone)]
pub enum StateText<const N: usize> {
    /// In its place.
    Short(ArrayString<N>),
    /// Elsewhere; the room is kept until a short one is written.
    Long(String),
}

impl<const N: usize> StateText<N> {
    /// Writes another text over this one.
    #[inline]
    pub fn set(&mut self, text: &str) {
        match (ArrayString::from(text), &mut *self) {
            (Ok(short), _) => *self = StateText::Short(short),
            (Err(_), StateText::Long(long)) => {
                long.clear();
                long.push_str(text);
            }
            (Err(_), StateText::Short(_)) => *self = StateText::Long(text.to_owned()),
        }
    }

    /// Bytes held outside of itself.
    pub fn heap(&self) -> usize {
        match self {
            StateText::Short(_) => 0,
            StateText::Long(long) => long.capacity(),
        }
    }
}

impl<const N: usize> Default for StateText<N> {
    fn default() -> Self {
        StateText::Short(ArrayString::new())
    }
}

impl<const N: usize> From<&str> for StateText<N> {
    fn from(text: &str) -> Self {
        let mut new = StateText::default();
        new.set(text);
        new
    }
}

impl<const N: usize> Deref for StateText<N> {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        match self {
            StateText::Short(text) => text,
            StateText::Long(text) => text,
        }
    }
}

impl<const N: usize> fmt::Debug for StateText<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_what_was_last_written() {
        let mut text = StateText::<8>::from("12345678");
        assert_eq!((&*text, text.heap()), ("12345678", 0));
        for long in ["123456789", "longer than what has room", "ä longer one"] {
            text.set(long);
            assert_eq!(&*text, long);
            assert!(text.heap() >= long.len());
        }
        text.set("");
        assert_eq!((&*text, text.heap()), ("", 0));
    }
}
