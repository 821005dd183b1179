//! Owner and rights of files.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use rustix::io::Errno;

use crate::files::cause::Kept;
use crate::files::names::nameless;

/// The owner and rights that a file copies from the one it replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    mode: u32,
    /// User and group; `None` means the creator's.
    owner: Option<(u32, u32)>,
}

impl Rights {
    /// The rights of a file for its creator only.
    pub(crate) const PRIVATE: Self = Self { mode: 0o600, owner: None };

    /// Those of this file or folder.
    pub(crate) fn of(found: &Metadata) -> Self {
        let mode = found.mode() & if found.is_dir() { 0o7777 } else { 0o777 };
        Self { mode, owner: Some((found.uid(), found.gid())) }
    }

    /// Applies them. The file may then be out of our own reach: the ownership is changed last,
    /// which needs only the right to give files away.
    pub(crate) fn give(self, file: &File) -> io::Result<()> {
        let found = file.metadata()?;
        if found.mode() & 0o7777 != self.mode {
            file.set_permissions(Permissions::from_mode(self.mode))?;
        }
        let Some((user, group)) = self.owner else { return Ok(()) };
        let other = |want: u32, has: u32| Some(want).filter(|_| want != has);
        let (new_user, new_group) = (other(user, found.uid()), other(group, found.gid()));
        if new_user.is_none() && new_group.is_none() {
            return Ok(());
        }
        match fchown(file, new_user, new_group) {
            Err(why) if is_refusal(&why) && self.are_everybodys() => Ok(()),
            Err(why) if is_refusal(&why) => {
                Err(io::Error::new(io::ErrorKind::PermissionDenied, Kept { user, group }))
            }
            done => done,
        }
    }

    /// Checks whether they can be applied to a file in this folder. Leaves nothing behind; `name`
    /// is used for a moment.
    pub(crate) fn check(self, dir: &File, name: &Path) -> io::Result<()> {
        // Some bits of a folder mean something else on a file.
        match nameless(dir, name) {
            Ok(file) => Self { mode: self.mode & 0o777, ..self }.give(&file),
            // The name is in use, so the result is unknown.
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(why) => Err(why),
        }
    }

    /// Whether everybody may read and run what the owner and the group may: then the owner does not
    /// matter.
    fn are_everybodys(self) -> bool {
        ((self.mode >> 6) | (self.mode >> 3)) & 0o5 & !self.mode == 0
    }
}

/// The kernel's errors for users who may not give files away, or not to an unknown user.
fn is_refusal(why: &io::Error) -> bool {
    matches!(Errno::from_io_error(why), Some(Errno::PERM | Errno::INVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The user `nobody` by convention; tests do not run as this user.
    const OTHER: u32 = 65_534;

    fn rights(mode: u32) -> Rights {
        Rights { mode, owner: Some((OTHER, OTHER)) }
    }

    #[test]
    fn whose_it_is_matters_when_not_everybody_may_read_or_run_it() {
        for (mode, everybodys) in [
            (0o755, true),
            (0o644, true),
            (0o775, true),
            (0o666, true),
            (0o2755, true),
            (0o700, false),
            (0o600, false),
            (0o750, false),
            (0o754, false),
            (0o640, false),
            (0o744, false),
        ] {
            assert_eq!(rights(mode).are_everybodys(), everybodys, "{mode:o}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn rights_that_are_right_are_left_alone() {
        // No user may change the mode of this file.
        let file = File::open("/proc/self/status").unwrap();
        let found = file.metadata().unwrap();
        assert!(file.set_permissions(found.permissions()).is_err());
        Rights::of(&found).give(&file).unwrap();
    }

    #[test]
    fn only_one_who_may_not_give_it_away_is_refused() {
        for (why, refused) in
            [(Errno::PERM, true), (Errno::INVAL, true), (Errno::IO, false), (Errno::ROFS, false)]
        {
            assert_eq!(is_refusal(&why.into()), refused, "{why}");
        }
        assert!(!is_refusal(&io::Error::other("something else")));
    }

    #[test]
    fn a_file_is_given_away_or_it_is_said_that_it_cannot_be() {
        let file = tempfile::tempfile().unwrap();
        Rights::of(&file.metadata().unwrap()).give(&file).unwrap();
        match rights(0o600).give(&file) {
            Ok(()) => {
                let found = file.metadata().unwrap();
                assert_eq!((found.uid(), found.gid()), (OTHER, OTHER));
            }
            // The tests run as a user who may not.
            Err(why) => {
                let kept = why.get_ref().and_then(|why| why.downcast_ref::<Kept>());
                assert_eq!(kept.map(|kept| (kept.user, kept.group)), Some((OTHER, OTHER)));
                rights(0o644).give(&file).unwrap();
            }
        }
    }
}
