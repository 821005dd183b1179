//! The bytes of an image.

use std::sync::Arc;

use core::fmt;
use core::hash::{Hash, Hasher};

use ota_proto::{Digester, Md5};

use crate::fault::mix;

/// The bytes of an image: held, or made on the fly.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// Bytes in memory, shared.
    Bytes(Arc<[u8]>),
    /// Bytes that follow from a seed and their place: an image of any size without memory.
    Generated {
        /// The seed.
        seed: u64,
        /// The size in bytes.
        len: u64,
    },
    /// Bytes that are elsewhere, in a file most likely: whoever has the socket reads them when
    /// [`Connection::wants`](super::Connection::wants) asks.
    Stored {
        /// Where.
        place: Arc<str>,
        /// The size in bytes.
        len: u64,
        /// The digest.
        md5: Md5,
    },
}

impl Content {
    /// The size in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            // A slice's length fits on every platform there is.
            Self::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Self::Generated { len, .. } | Self::Stored { len, .. } => *len,
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the bytes from `at` on to `out` and returns how many there were: none of what is
    /// elsewhere.
    pub fn read(&self, at: u64, out: &mut [u8]) -> usize {
        match self {
            Self::Bytes(bytes) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                let rest = bytes.get(at..).unwrap_or(&[]);
                out.iter_mut().zip(rest).map(|(to, from)| *to = *from).count()
            }
            Self::Generated { seed, len } => {
                let places = at..*len;
                out.iter_mut().zip(places).map(|(to, at)| *to = generated(*seed, at)).count()
            }
            Self::Stored { .. } => 0,
        }
    }

    /// The digest of all the bytes. Reads those that are here: 6 µs for 4 KiB.
    #[must_use]
    pub fn md5(&self) -> Md5 {
        let mut digester = Digester::new();
        match self {
            Self::Bytes(bytes) => {
                digester.update(bytes);
                return digester.finish();
            }
            Self::Stored { md5, .. } => return *md5,
            Self::Generated { .. } => {}
        }
        let mut block = [0; 4_096];
        let mut at = 0_u64;
        loop {
            let n = self.read(at, &mut block);
            if n == 0 {
                return digester.finish();
            }
            digester.update(block.get(..n).unwrap_or(&[]));
            at = at.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
        }
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.len())
    }
}

fn generated(seed: u64, at: u64) -> u8 {
    let [byte, ..] = mix(seed, at >> 3).rotate_right((at as u32 & 7) << 3).to_le_bytes();
    byte
}

/// An image with what the server says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) content: Content,
    pub(super) md5: Md5,
}

impl File {
    pub(super) fn new(content: Content) -> Self {
        let md5 = content.md5();
        Self { content, md5 }
    }
}

impl Hash for File {
    /// The digest stands for the bytes: images are large and states are hashed often.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.content.len().hash(state);
        self.md5.hash(state);
    }
}
