//! The bytes that may end a text, found a block at a time.
//!
//! ```text
//!   "path":"/v1/orders","status":200,…     64 bytes
//!   1____1_1__________1_1______1______     one bit each: quote, backslash or control character
//! ```
//!
//! The end of a text is then the next bit, whatever its length, and each byte of a record is looked at
//! once for all texts in it.

use wide::u8x16;

/// Bytes of a block: one for each bit of a word.
const BLOCK: usize = u64::BITS as usize;
const LANES: usize = 16;

/// The marks of one block of a text. Blocks count from the text's beginning.
pub(super) struct Marks {
    /// None of a text has this number, which stands for no block yet.
    block: usize,
    bits: u64,
}

impl Default for Marks {
    fn default() -> Self {
        Marks {
            block: usize::MAX,
            bits: 0,
        }
    }
}

impl Marks {
    /// The place of the first quote, backslash or control character at or after `at`, or the end. All
    /// calls are about the same bytes.
    #[inline]
    pub(super) fn next(&mut self, bytes: &[u8], at: usize) -> usize {
        let mut block = at / BLOCK;
        let mut rest = !0 << (at % BLOCK);
        loop {
            if self.block != block {
                self.bits = marks_of(bytes, block);
                self.block = block;
            }
            let found = self.bits & rest;
            if found != 0 {
                return block * BLOCK + found.trailing_zeros() as usize;
            }
            // The last block is marked behind its end.
            if (block + 1) * BLOCK > bytes.len() {
                return bytes.len();
            }
            rest = !0;
            block += 1;
        }
    }
}

#[inline]
fn marks_of(bytes: &[u8], block: usize) -> u64 {
    let rest = bytes.get(block * BLOCK..).unwrap_or(&[]);
    match rest.first_chunk() {
        Some(block) => marks(block),
        None => {
            // What is behind the end is a control character.
            let mut last = [0; BLOCK];
            last[..rest.len()].copy_from_slice(rest);
            marks(&last)
        }
    }
}

#[inline]
fn marks(block: &[u8; BLOCK]) -> u64 {
    let (lanes, _) = block.as_chunks::<LANES>();
    let mut bits = 0;
    for (number, lanes) in lanes.iter().enumerate() {
        let lanes = u8x16::new(*lanes);
        let quote = lanes.simd_eq(u8x16::splat(b'"'));
        let backslash = lanes.simd_eq(u8x16::splat(b'\\'));
        let control = lanes.min(u8x16::splat(0x1f)).simd_eq(lanes);
        let marked = (quote | backslash | control).to_bitmask();
        bits |= u64::from(marked) << (number * LANES);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_is_found_from_everywhere_and_the_end_behind_the_last() {
        let is_mark = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
        for length in 0..300_usize {
            // Every byte there is, at every place of a block.
            let bytes: Vec<u8> = (0..length)
                .map(|at| (at * 7 + length) as u8 | 0x20)
                .collect();
            let sparse = [b'"', b'\\', 0, 0x1f, b'\n'];
            let mut marked = bytes.clone();
            for (turn, at) in (length % 50..length).step_by(51).enumerate() {
                marked[at] = sparse[turn % sparse.len()];
            }
            for bytes in [bytes, marked, (0..length).map(|at| at as u8).collect()] {
                let mut marks = Marks::default();
                for at in 0..=length {
                    let next = bytes[at..].iter().position(is_mark);
                    let expected = next.map_or(length, |next| at + next);
                    assert_eq!(
                        marks.next(&bytes, at),
                        expected,
                        "{length} bytes, from {at}"
                    );
                }
            }
        }
    }
}
