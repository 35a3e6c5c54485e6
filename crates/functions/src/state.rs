//! Reading and writing the state of one key: a version byte, then little-endian fields.

use crate::{Error, Result};

/// A cursor over the bytes of one key's state.
pub(crate) struct Reader<'a> {
    function: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks the version byte and stands behind it.
    pub(crate) fn new(function: &'static str, version: u8, bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Self {
            function,
            rest: bytes,
        };
        if reader.u8()? == version {
            Ok(reader)
        } else {
            Err(reader.damaged("its version is not one that this build knows"))
        }
    }

    pub(crate) fn damaged(&self, reason: &'static str) -> Error {
        Error::State {
            function: self.function,
            reason,
        }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.damaged("it ends too early"));
        };
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(crate) fn f64(&mut self) -> Result<f64> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    /// Nothing may be left over.
    pub(crate) fn finish(self) -> Result<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.damaged("there are bytes after its end"))
        }
    }
}

/// FNV-1a, 64 bits (Fowler, Noll and Vo): written out here because its values are stored, so they must
/// stay the same over versions and machines.
pub(crate) fn fnv1a(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = seed;
    for &byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

/// The hash of no bytes, from which [`fnv1a`] starts.
pub(crate) const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_gives_its_published_values() {
        assert_eq!(fnv1a(FNV_OFFSET, b""), 0xcbf29ce484222325);
        assert_eq!(fnv1a(FNV_OFFSET, b"a"), 0xaf63dc4c8601ec8c);
        assert_eq!(fnv1a(FNV_OFFSET, b"foobar"), 0x85944171f73967e8);
    }

    #[test]
    fn short_long_and_foreign_bytes_are_errors() {
        assert!(Reader::new("f", 1, &[]).is_err());
        assert!(Reader::new("f", 1, &[2]).is_err());
        assert!(Reader::new("f", 1, &[1, 0]).unwrap().u32().is_err());
        assert!(Reader::new("f", 1, &[1, 0]).unwrap().finish().is_err());
        assert!(Reader::new("f", 1, &[1]).unwrap().finish().is_ok());
    }
}
