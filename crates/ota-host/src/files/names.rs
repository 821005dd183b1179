//! Names of private files in an open folder.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;

/// The mode of every created file: access for the owner only.
pub(crate) const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Creates a file and replaces any of that name.
pub(crate) fn fresh(dir: &File, name: &Path) -> io::Result<File> {
    clear(dir, name)?;
    create(dir, name)
}

/// Creates a file if nothing has this name, not even a dangling link.
pub(crate) fn create(dir: &File, name: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(fs::openat(dir, name, flags, PRIVATE)?))
}

/// A file without a name, which disappears when it is closed. If the system does not support that,
/// it has this name for a moment.
pub(crate) fn nameless(dir: &File, name: &Path) -> io::Result<File> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match fs::openat(dir, ".", flags, PRIVATE) {
            Ok(file) => return Ok(File::from(file)),
            // The file system or an old kernel does not support it, or a policy forbids unnamed
            // files.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT | Errno::ACCESS) => {}
            Err(why) => return Err(why.into()),
        }
    }
    let file = fresh(dir, name)?;
    clear(dir, name)?;
    Ok(file)
}

/// Removes a file if it exists.
pub(crate) fn clear(dir: &File, name: &Path) -> io::Result<()> {
    match fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(why) => Err(why.into()),
    }
}

/// Whether the open file was removed: data that is written to it is lost.
pub(crate) fn is_unlinked(file: &File) -> io::Result<bool> {
    Ok(fs::fstat(file)?.st_nlink == 0)
}
