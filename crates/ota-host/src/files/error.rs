//! Errors of opening files, as texts for people, and the mapping of the system's errors to the
//! core's.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ota_proto::StorageError;
use rustix::io::Errno;

use crate::files::cause::{Foreign, Kept, LOCK, NoLock, Unshared, Waited};

/// Why the data folder, a file in it or the version file cannot be used. Each error names its path.
#[derive(Debug)]
#[non_exhaustive]
pub enum HostError {
    /// Another agent uses this folder.
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// A symbolic link, folder or device has the name of a plain file.
    NotAFile {
        /// Its path.
        path: PathBuf,
    },
    /// The slot's options are invalid: an erase unit or capacity of 0.
    BadOptions,
    /// The file does not contain a firmware version: see [`ota_proto::Version`].
    BadVersion {
        /// Its path.
        path: PathBuf,
    },
    /// There is no link `current` to a slot `a` or `b`: no image was installed yet.
    NoSlots {
        /// The folder of the slots.
        dir: PathBuf,
    },
    /// The other slot is the way back of an image that is on trial or about to start.
    Busy {
        /// The folder of the slots.
        dir: PathBuf,
    },
    /// Another process is changing the slots or holds their lock.
    Waited {
        /// The lock.
        lock: PathBuf,
        /// How long this process waited for it.
        time: Duration,
    },
    /// Users who may not change the slots could hold the file in the lock's place.
    NoLock {
        /// Its path.
        path: PathBuf,
    },
    /// The slots' lock cannot be given to the users who may change the slots.
    Unshared {
        /// The lock.
        lock: PathBuf,
        /// The owner of the slots' folder.
        user: u32,
        /// Its group.
        group: u32,
    },
    /// The image is not the verified one.
    Altered {
        /// Its file.
        path: PathBuf,
    },
    /// The owner of the running files could not read the new ones, because they cannot be given to
    /// that user.
    Kept {
        /// The file or folder.
        path: PathBuf,
        /// The required owner.
        user: u32,
        /// The required group.
        group: u32,
    },
    /// Another file has replaced the verified image.
    Replaced {
        /// Its file.
        path: PathBuf,
    },
    /// A link on the path belongs neither to root nor to us, so its owner may redirect it at any
    /// time.
    ForeignLink {
        /// The path to open.
        path: PathBuf,
        /// The link.
        link: PathBuf,
        /// Its owner.
        user: u32,
    },
    /// Users other than root and the agent's may change a part of the path.
    Exposed {
        /// The path.
        path: PathBuf,
        /// That part.
        part: PathBuf,
    },
    /// The system reported an error.
    Io {
        /// The failed operation, as a verb: `create`, `open`, `read`.
        action: &'static str,
        /// Its file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl HostError {
    pub(crate) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.to_owned(), source.into());
        let inner = source.get_ref();
        if let Some(&Kept { user, group }) = inner.and_then(|why| why.downcast_ref()) {
            return Self::Kept { path, user, group };
        }
        if let Some(Foreign { link, user }) = inner.and_then(|why| why.downcast_ref()) {
            return Self::ForeignLink { path, link: link.clone(), user: *user };
        }
        if let Some(&Waited(time)) = inner.and_then(|why| why.downcast_ref()) {
            return Self::Waited { lock: path.join(LOCK), time };
        }
        if let Some(&Unshared { user, group }) = inner.and_then(|why| why.downcast_ref()) {
            return Self::Unshared { lock: path.join(LOCK), user, group };
        }
        if inner.is_some_and(|why| why.is::<NoLock>()) {
            return Self::NoLock { path: path.join(LOCK) };
        }
        Self::Io { action, path, source }
    }

    /// Maps the error to the core's.
    #[must_use]
    pub fn storage(&self) -> StorageError {
        match self {
            Self::Io { source, .. } => storage_error(source),
            Self::Kept { .. }
            | Self::ForeignLink { .. }
            | Self::Exposed { .. }
            | Self::NoLock { .. }
            | Self::Unshared { .. } => StorageError::ReadOnly,
            _ => StorageError::Failed,
        }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { dir } => write!(
                f,
                "another agent is using the data folder {}: stop it, or give this one its own",
                dir.display()
            ),
            Self::NotAFile { path } => {
                write!(f, "{} is not a plain file: remove it", path.display())
            }
            Self::BadOptions => {
                f.write_str("the slot's capacity and erase unit must be at least 1")
            }
            Self::BadVersion { path } => {
                write!(f, "{} holds no firmware version: {}", path.display(), ota_proto::BadVersion)
            }
            Self::NoSlots { dir } => {
                let dir = dir.display();
                write!(
                    f,
                    "{dir} has no running slot: put the running image into {dir}/a/image, its \
                     version into {dir}/a/version, and run ln -sn a {dir}/current"
                )
            }
            Self::Busy { dir } => write!(
                f,
                "the other slot in {} is still needed: the running image is not confirmed",
                dir.display()
            ),
            Self::Waited { lock, time } => waited(f, lock, *time),
            Self::NoLock { path } => write!(
                f,
                "{} is not a lock that only users with write access to its folder can hold: remove it",
                path.display()
            ),
            Self::Unshared { lock, user, group } => unshared(f, lock, *user, *group),
            Self::Altered { path } => write!(
                f,
                "the image in {} is not the one that was offered: it was changed after it was \
                 verified; find out by what",
                path.display()
            ),
            Self::Kept { path, user, group } => write!(
                f,
                "cannot give {} to user {user} and group {group}, who own what it replaces: let \
                 the agent run as root with CAP_CHOWN, or as that user",
                path.display()
            ),
            Self::Replaced { path } => write!(
                f,
                "{} is not the file that was verified: somebody put another one in its place; \
                 find out who, and close the folder to others",
                path.display()
            ),
            Self::ForeignLink { path, link, user } => write!(
                f,
                "cannot use {}: the link {} belongs to user {user}, who may point it elsewhere at \
                 any time: give it to root, or name what is behind it",
                path.display(),
                link.display()
            ),
            Self::Exposed { path, part } => exposed(f, path, part),
            Self::Io { action, path, source } => {
                write!(f, "cannot {action} {}: {source}{}", path.display(), advice(source))
            }
        }
    }
}

fn waited(f: &mut fmt::Formatter<'_>, lock: &Path, time: Duration) -> fmt::Result {
    write!(
        f,
        "waited {} s for {}, which another process holds: the slots are switched by one at a time, \
         the agent or ota agent start; lslocks says which one it is",
        time.as_secs(),
        lock.display()
    )
}

fn unshared(f: &mut fmt::Formatter<'_>, lock: &Path, user: u32, group: u32) -> fmt::Result {
    write!(
        f,
        "cannot give {} to user {user} and group {group}, who may change the slots: let the agent \
         run as root with CAP_CHOWN, or run ota agent start as that user first",
        lock.display()
    )
}

fn exposed(f: &mut fmt::Formatter<'_>, path: &Path, part: &Path) -> fmt::Result {
    write!(
        f,
        "{} is not safe for a command that runs with the agent's rights: others may change {}; let \
         root own it and nobody else write it, or name it in trusted_folders",
        path.display(),
        part.display()
    )
}

impl std::error::Error for HostError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A remedy, if one is known.
fn advice(error: &io::Error) -> &'static str {
    match storage_error(error) {
        StorageError::NoSpace => "; free some space there",
        StorageError::ReadOnly => "; make it writable for the user that the agent runs as",
        _ => "",
    }
}

/// Maps the system's error to the core's.
///
/// A full disk or quota is [`StorageError::NoSpace`]; a missing right is
/// [`StorageError::ReadOnly`]; a vanished file, mount or device is [`StorageError::Gone`];
/// everything else is [`StorageError::Failed`].
#[must_use]
pub fn storage_error(error: &io::Error) -> StorageError {
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => StorageError::NoSpace,
        Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => StorageError::ReadOnly,
        Some(Errno::NOENT | Errno::NOTDIR | Errno::STALE | Errno::NODEV | Errno::NXIO) => {
            StorageError::Gone
        }
        _ => StorageError::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_done_about_an_error_is_said() {
        let said = |why: Errno| HostError::io("write", Path::new("/d"), why).to_string();
        assert!(said(Errno::NOSPC).ends_with("; free some space there"));
        assert!(
            said(Errno::ROFS).ends_with("make it writable for the user that the agent runs as")
        );
        assert!(!said(Errno::IO).contains(';'), "nothing is known to help");
    }

    #[test]
    fn the_systems_errors_have_a_meaning_for_the_core() {
        for (errno, want) in [
            (Errno::NOSPC, StorageError::NoSpace),
            (Errno::DQUOT, StorageError::NoSpace),
            (Errno::FBIG, StorageError::NoSpace),
            (Errno::ROFS, StorageError::ReadOnly),
            (Errno::ACCESS, StorageError::ReadOnly),
            (Errno::PERM, StorageError::ReadOnly),
            (Errno::NOENT, StorageError::Gone),
            (Errno::STALE, StorageError::Gone),
            (Errno::NODEV, StorageError::Gone),
            (Errno::IO, StorageError::Failed),
            (Errno::INVAL, StorageError::Failed),
        ] {
            assert_eq!(storage_error(&errno.into()), want, "{errno:?}");
        }
        assert_eq!(storage_error(&io::ErrorKind::UnexpectedEof.into()), StorageError::Failed);
    }
}
