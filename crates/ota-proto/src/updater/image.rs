//! The identity of an image.

use crate::digest::Md5;
use crate::journal::Target;
use crate::version::Version;

/// The identity of an image: two offers with equal values offer the same image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Image {
    pub(super) version: Version,
    pub(super) md5: Md5,
    pub(super) size: u64,
}

impl Image {
    /// Whether the journal's target is this image.
    pub(super) fn is(&self, target: &Target) -> bool {
        self.version == target.version && self.md5 == target.md5 && self.size == target.size
    }

    /// The image of the journal's target.
    pub(super) fn of(target: &Target) -> Self {
        Self { version: target.version, md5: target.md5, size: target.size }
    }
}
