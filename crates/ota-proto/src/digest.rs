//! The digest of an image.

use core::fmt;

use md5::{Digest as _, Md5 as Hasher};

/// An MD5 digest, which the platform provides for integrity. It does not prove authenticity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub struct Md5(pub [u8; 16]);

impl Md5 {
    /// Parses 32 hex digits of either case.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut out = [0; 16];
        let whole = base16ct::mixed::decode(text, &mut out).is_ok_and(|read| read.len() == 16);
        whole.then_some(Self(out))
    }
}

impl fmt::Display for Md5 {
    /// 32 lower-case hex digits, the cloud's format.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Md5({self})")
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Md5 {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Md5({=u128:032x})", u128::from_be_bytes(self.0));
    }
}

/// A running hash. The caller computes it where it likes: on a pool thread, or in small steps on a
/// microcontroller. Hashing 4 KiB takes about 6 µs on a desktop core.
///
/// ```
/// use ota_proto::Digester;
///
/// let mut digester = Digester::new();
/// digester.update(b"ab");
/// digester.update(b"c");
/// assert_eq!(digester.finish().to_string(), "900150983cd24fb0d6963f7d28e17f72");
/// ```
#[derive(Clone, Default)]
pub struct Digester(Hasher);

impl Digester {
    /// An empty hash.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next bytes of the image.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The digest of everything added.
    #[must_use]
    pub fn finish(self) -> Md5 {
        Md5(self.0.finalize().into())
    }
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digester(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_in_any_chunking() {
        let mut digester = Digester::new();
        digester.update(b"ab");
        digester.update(b"c");
        let md5 = digester.finish();
        assert_eq!(md5, Md5::from_hex("900150983CD24FB0D6963F7D28E17F72").unwrap());
        extern crate alloc;
        assert_eq!(alloc::format!("{md5}"), "900150983cd24fb0d6963f7d28e17f72");
    }

    #[test]
    fn refuses_what_is_no_digest() {
        for text in ["", "900150983CD24FB0D6963F7D28E17F7", "900150983CD24FB0D6963F7D28E17F7g"] {
            assert_eq!(Md5::from_hex(text), None);
        }
        assert_eq!(Md5::from_hex("+00150983CD24FB0D6963F7D28E17F72"), None);
    }
}
