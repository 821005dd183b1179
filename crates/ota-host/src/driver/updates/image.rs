//! The verified image that an application installs.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use ota_proto::{Md5, Version};
use ota_wire::updates;

use crate::files::ab::AbSlots;
use crate::files::accept::Image;
use crate::files::error::HostError;

/// A verified image: it is complete, and its digest matches the offer.
#[derive(Clone, Debug)]
pub struct NewImage {
    file: Image,
    what: updates::NewImage,
}

impl NewImage {
    pub(super) fn new(file: Image, what: updates::NewImage) -> Self {
        Self { file, what }
    }

    /// The file. An installer that runs as another user must be able to read it: its rights are
    /// 0600.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.file.path()
    }

    /// The offered version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.what.version
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.what.size
    }

    /// Its digest. MD5 detects damage, not forgery: check a signature of your own.
    #[must_use]
    pub fn md5(&self) -> Md5 {
        self.what.md5
    }

    /// Checks that the file is still the one that was verified.
    ///
    /// # Errors
    /// [`HostError::Replaced`] if another file has its name; [`HostError::Io`].
    pub fn check(&self) -> Result<(), HostError> {
        self.file.check()
    }

    /// Copies the image into the slot that does not run, reads it back, and writes its version
    /// beside it. The slot can then be activated. Blocks: call it on the blocking pool.
    ///
    /// # Errors
    /// [`HostError::Altered`] if the file is not what was verified; as [`AbSlots::copy`] and
    /// [`AbSlots::seal`].
    pub fn copy_to(&self, slots: &AbSlots) -> Result<(), HostError> {
        slots.copy(&self.path(), self.size(), self.md5(), &AtomicBool::new(false))?;
        slots.seal(self.version())
    }
}

impl fmt::Display for NewImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.what, self.path().display())
    }
}
