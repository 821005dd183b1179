//! A firmware version string, held inline.

use core::fmt;
use core::str;

/// A firmware version: 1 to 32 bytes of printable ASCII without `"`, `\` and spaces.
///
/// The platform's own alphabet is `[A-Za-z0-9._-]` (docs/protocol.md, The cloud's side). A device
/// may already run another version, so the core accepts a little more. It is data, never a path.
///
/// ```
/// use ota_proto::Version;
///
/// assert_eq!(Version::new("1.2.0-rc_1")?.as_str(), "1.2.0-rc_1");
/// assert!(Version::new("../../etc/passwd with spaces").is_err());
/// # Ok::<(), ota_proto::BadVersion>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "snapshot", serde(try_from = "StoredVersion"))]
pub struct Version {
    len: u8,
    bytes: [u8; Version::MAX],
}

impl Version {
    /// The longest version in bytes (docs/protocol.md, Device to cloud).
    pub const MAX: usize = 32;

    /// Makes a version.
    ///
    /// # Errors
    /// [`BadVersion`] if it is empty, longer than [`Version::MAX`] bytes or has a byte outside the
    /// alphabet.
    pub fn new(text: &str) -> Result<Self, BadVersion> {
        let ok = |b: &u8| b.is_ascii_graphic() && *b != b'"' && *b != b'\\';
        if text.is_empty() || !text.as_bytes().iter().all(ok) {
            return Err(BadVersion);
        }
        let mut bytes = [0; Self::MAX];
        let place = bytes.get_mut(..text.len()).ok_or(BadVersion)?;
        place.copy_from_slice(text.as_bytes());
        let len = u8::try_from(text.len()).map_err(|_| BadVersion)?;
        Ok(Self { len, bytes })
    }

    /// The version as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or(&[]);
        debug_assert!(!bytes.is_empty() && bytes.is_ascii(), "`new` has checked the text");
        str::from_utf8(bytes).unwrap_or("")
    }
}

/// Checks the content of a snapshot, which may be anything.
#[cfg(feature = "snapshot")]
#[derive(serde::Deserialize)]
struct StoredVersion {
    len: u8,
    bytes: [u8; Version::MAX],
}

#[cfg(feature = "snapshot")]
impl TryFrom<StoredVersion> for Version {
    type Error = BadVersion;

    fn try_from(StoredVersion { len, bytes }: StoredVersion) -> Result<Self, BadVersion> {
        let text = bytes.get(..usize::from(len)).ok_or(BadVersion)?;
        Self::new(str::from_utf8(text).map_err(|_| BadVersion)?)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Version {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}", self.as_str());
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is not a version: it is empty, over 32 bytes, or has a byte that is not printable
/// ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BadVersion;

impl fmt::Display for BadVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a version is 1 to 32 printable ASCII characters without quotes and spaces")
    }
}

impl core::error::Error for BadVersion {}
