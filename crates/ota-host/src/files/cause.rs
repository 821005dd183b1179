//! Causes that an [`io::Error`](std::io::Error) carries here, and that have their own variants of
//! [`HostError`].
//!
//! Functions that know a folder only by its descriptor return an [`io::Error`](std::io::Error);
//! their callers know the path and add it.
//!
//! [`HostError`]: crate::HostError

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The name of the lock of two slots, in their folder.
pub(crate) const LOCK: &str = "switch.lock";

/// A link on the path belongs to another user.
#[derive(Clone, Debug)]
pub(crate) struct Foreign {
    pub(crate) link: PathBuf,
    pub(crate) user: u32,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the link {} belongs to user {}", self.link.display(), self.user)
    }
}

impl std::error::Error for Foreign {}

/// A file could not be given to this user and group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it cannot be given to user {} and group {}", self.user, self.group)
    }
}

impl std::error::Error for Kept {}

/// Another process holds the lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited(pub(crate) Duration);

impl fmt::Display for Waited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waited {:?} for another process", self.0)
    }
}

impl std::error::Error for Waited {}

/// The lock cannot be given to the users who may change the slots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unshared {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl fmt::Display for Unshared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the lock cannot be given to user {} and group {}", self.user, self.group)
    }
}

impl std::error::Error for Unshared {}

/// Any user could hold the file in the lock's place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoLock;

impl fmt::Display for NoLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another file has the lock's name")
    }
}

impl std::error::Error for NoLock {}
