//! How a device authenticates: the MQTT user name and password derived from its secret, and the
//! cloud's check of them (docs/protocol.md, Connection). The crate `ota-register` requests a
//! device's secret.
//!
//! `Debug` never shows a secret. Nothing here reads a clock or draws random numbers.

mod login;

use alloc::string::String;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::hint::black_box;
use core::str::FromStr;

use base64ct::{Base64, Encoding as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::Sha256;

pub use login::{BadLogin, Login, LoginError, Username, conn_id, verify};

/// The application id in the vendor's documents and Java SDK (docs/protocol.md, Connection). The C
/// and Python SDKs use `21010406`; both work.
pub const APP_ID: &str = "12010126";

/// The block length of both hashes in bytes. A longer key would have to be hashed first, so keys
/// are at most this long.
const BLOCK: usize = 64;

/// A device's secret key, 1 to [`Secret::MAX`] raw bytes, held inline.
///
/// `Debug` hides it, and comparison takes constant time.
#[derive(Clone, Eq)]
pub struct Secret {
    len: u8,
    bytes: [u8; Secret::MAX],
}

impl Secret {
    /// The longest secret in raw bytes: 64 characters of Base64.
    pub const MAX: usize = 48;

    /// Decodes the secret as the console shows it: Base64 with padding. Surrounding white space is
    /// ignored, so the content of a file with a line end is accepted.
    ///
    /// # Errors
    /// [`BadSecret`] names the fault.
    pub fn from_base64(text: &str) -> Result<Self, BadSecret> {
        let text = text.trim_ascii();
        // The longest text has 64 characters; a longer one needs no decoding.
        let mut buf = [0; Self::MAX];
        if text.len() > 64 {
            return Err(BadSecret::Length);
        }
        let bytes = Base64::decode(text, &mut buf).map_err(|_| BadSecret::Base64)?;
        Self::from_bytes(bytes)
    }

    /// Copies the raw bytes.
    ///
    /// # Errors
    /// [`BadSecret::Length`] if there are none, or more than [`Secret::MAX`].
    pub fn from_bytes(secret: &[u8]) -> Result<Self, BadSecret> {
        let mut bytes = [0; Self::MAX];
        let place = bytes.get_mut(..secret.len()).ok_or(BadSecret::Length)?;
        place.copy_from_slice(secret);
        let len = u8::try_from(secret.len()).map_err(|_| BadSecret::Length)?;
        if len == 0 { Err(BadSecret::Length) } else { Ok(Self { len, bytes }) }
    }

    /// The raw bytes, for TLS-PSK and for storing. Handle with care.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        let bytes = self.bytes.get(..usize::from(self.len));
        debug_assert!(bytes.is_some(), "a secret has at most this many bytes");
        bytes.unwrap_or(&[])
    }

    /// The secret in Base64, for storing. Handle with care.
    #[must_use]
    pub fn expose_base64(&self) -> String {
        Base64::encode_string(self.expose())
    }
}

/// Does the same as [`Secret::from_base64`], for `text.parse()`.
impl FromStr for Secret {
    type Err = BadSecret;

    fn from_str(text: &str) -> Result<Self, BadSecret> {
        Self::from_base64(text)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.bytes.iter().zip(&other.bytes);
        let difference = pairs.fold(self.len ^ other.len, |sum, (a, b)| black_box(sum | (a ^ b)));
        difference == 0
    }
}

impl Hash for Secret {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expose().hash(state);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Secret {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Secret(..)");
    }
}

/// The signature algorithm of a login or a request. Every signer must implement each algorithm, so
/// the enum is exhaustive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Algorithm {
    /// HMAC with SHA-1, as in the vendor's C and Python SDKs.
    HmacSha1,
    /// HMAC with SHA-256, as in the vendor's documents and Java SDK.
    #[default]
    HmacSha256,
}

impl Algorithm {
    /// The word on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::HmacSha1 => "hmacsha1",
            Self::HmacSha256 => "hmacsha256",
        }
    }

    /// The algorithm with this word on the wire.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::HmacSha1, Self::HmacSha256].into_iter().find(|algorithm| algorithm.word() == word)
    }

    /// The authentication code of a message with a key of at most [`BLOCK`] bytes.
    fn sign(self, key: &[u8], message: &[u8]) -> Tag {
        let mut tag = Tag { bytes: [0; 32], len: 0 };
        match self {
            Self::HmacSha1 => {
                let mac = Hmac::<Sha1>::new(&block(key).into()).chain_update(message);
                tag.put(&mac.finalize().into_bytes());
            }
            Self::HmacSha256 => {
                let mac = Hmac::<Sha256>::new(&block(key).into()).chain_update(message);
                tag.put(&mac.finalize().into_bytes());
            }
        }
        tag
    }

    /// Whether `tag` is the authentication code of the message. Takes constant time.
    fn check(self, key: &[u8], message: &[u8], tag: &[u8]) -> bool {
        let key = block(key).into();
        match self {
            Self::HmacSha1 => {
                Hmac::<Sha1>::new(&key).chain_update(message).verify_slice(tag).is_ok()
            }
            Self::HmacSha256 => {
                Hmac::<Sha256>::new(&key).chain_update(message).verify_slice(tag).is_ok()
            }
        }
    }

    /// The length of an authentication code in bytes.
    const fn tag_len(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
        }
    }
}

/// The text is not a valid secret. The error does not contain the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BadSecret {
    /// It is not Base64, or its padding is missing.
    Base64,
    /// It is empty or too long.
    Length,
}

impl fmt::Display for BadSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base64 => "the secret is not Base64",
            Self::Length => "the secret is empty or too long",
        })
    }
}

impl core::error::Error for BadSecret {}

/// A key padded with zeros, as HMAC requires for a short key.
fn block(key: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    debug_assert!(key.len() <= BLOCK, "a longer key would be hashed first");
    block.iter_mut().zip(key).for_each(|(place, byte)| *place = *byte);
    block
}

/// An authentication code of either algorithm.
struct Tag {
    bytes: [u8; 32],
    len: usize,
}

impl Tag {
    fn put(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.bytes.len(), "no code is longer");
        self.bytes.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
        self.len = bytes.len();
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// Bytes as lower-case hex digits.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
