//! The running version in a text file.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ota_proto::Version;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};

use crate::files::error::HostError;
use crate::files::rights::Rights;
use crate::files::walk::{Place, folder_in, place};
use crate::files::whole::{Spare, Written};

/// Longer than any version with its line end; a longer file is invalid.
const MOST: u64 = 256;

/// A file that contains only a firmware version. The operator chooses its path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VersionFile {
    path: PathBuf,
}

/// Reserved room for the next version, and for the note of [`crate::Image::accept`], so that a disk
/// that fills up cannot prevent them.
#[derive(Clone, Debug, Default)]
pub struct VersionRoom {
    version: Spare,
    pub(crate) note: Spare,
}

impl VersionFile {
    /// The file at this path, which may not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the version; surrounding white space is ignored.
    ///
    /// # Errors
    /// [`HostError::BadVersion`], [`HostError::ForeignLink`], or [`HostError::Io`] if it cannot be
    /// read.
    pub fn read(&self) -> Result<Version, HostError> {
        let place = place(&self.path).map_err(|why| HostError::io("read", &self.path, why))?;
        read(&place.dir, &place.name, &self.path)
    }

    /// Writes the version and a line end. A power cut leaves the old version or the new one, and it
    /// is durable once this returns `Ok`. Keeps the owner and the rights of an existing file; a new
    /// one has mode 0600. Of a link that root or we own, the target is replaced.
    ///
    /// # Errors
    /// [`HostError::Kept`]; [`HostError::ForeignLink`]; [`HostError::NotAFile`];
    /// [`HostError::Io`].
    pub fn write(&self, version: &Version) -> Result<(), HostError> {
        self.write_in(&VersionRoom::default(), version)
    }

    /// Checks whether [`VersionFile::write`] would succeed now, as far as that is known, so that a
    /// problem is found before a download. Changes nothing.
    ///
    /// # Errors
    /// Those of [`VersionFile::write`].
    pub fn check(&self) -> Result<(), HostError> {
        let explain = |why| HostError::io("write", &self.path, why);
        let Place { dir, name } = place(&self.path).map_err(explain)?;
        let rights = self.rights(&dir, &name)?;
        let temp = temp(&name);
        let found = fs::statat(&dir, &temp, AtFlags::SYMLINK_NOFOLLOW);
        if found.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory) {
            return Err(HostError::NotAFile { path: self.path.with_file_name(temp) });
        }
        let mut probe = OsString::from(".");
        probe.push(&name);
        probe.push(format!(".try.{}", std::process::id()));
        let dir = folder_in(&dir, ".").map_err(explain)?;
        rights.check(&dir, probe.as_ref()).map_err(explain)
    }

    /// Reserves the room for [`VersionFile::write_in`], and checks the same as
    /// [`VersionFile::check`].
    ///
    /// # Errors
    /// Those of [`VersionFile::write`].
    pub fn reserve(&self, room: &VersionRoom) -> Result<(), HostError> {
        self.check()?;
        let take = || {
            let Place { dir, name } = place(&self.path)?;
            room.version.take(&folder_in(&dir, ".")?, temp(&name).as_ref())
        };
        take().map_err(|why| HostError::io("make room for", &self.path, why))
    }

    /// Like [`VersionFile::write`], in room that was reserved before.
    ///
    /// # Errors
    /// Those of [`VersionFile::write`].
    pub fn write_in(&self, room: &VersionRoom, version: &Version) -> Result<(), HostError> {
        let mut next = self.prepare(room, version)?;
        next.rename()?;
        next.sync()
    }

    /// Runs all steps of [`VersionFile::write_in`] that change nothing yet.
    pub(crate) fn prepare(
        &self,
        room: &VersionRoom,
        version: &Version,
    ) -> Result<NextVersion<'_>, HostError> {
        let explain = |why| HostError::io("write", &self.path, why);
        let Place { dir, name } = place(&self.path).map_err(explain)?;
        let rights = self.rights(&dir, &name)?;
        let written = written(&dir, &name, version, rights, &room.version).map_err(explain)?;
        Ok(NextVersion { path: &self.path, name, written })
    }

    /// Returns the version if the file contains one.
    pub(crate) fn find(&self) -> Result<Option<Version>, HostError> {
        match self.read() {
            Ok(version) => Ok(Some(version)),
            Err(HostError::BadVersion { .. }) => Ok(None),
            Err(HostError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(why) => Err(why),
        }
    }

    /// Runs the last step but one of [`VersionFile::write_in`] if all earlier ones were done for
    /// this version. Returns whether the file names it now.
    pub(crate) fn rename_next(&self, version: &Version) -> bool {
        let Ok(Place { dir, name }) = place(&self.path) else { return false };
        let temp = temp(&name);
        let is_whole = read(&dir, &temp, &self.path).ok() == Some(*version);
        is_whole && fs::renameat(&dir, &temp, &dir, &name).is_ok()
    }

    /// Makes the current name durable.
    pub(crate) fn sync(&self) -> Result<(), HostError> {
        let sync = || folder_in(&place(&self.path)?.dir, ".")?.sync_all();
        sync().map_err(|why| HostError::io("write", &self.path, why))
    }

    /// The owner and rights for the next file.
    fn rights(&self, dir: &File, name: &OsStr) -> Result<Rights, HostError> {
        let explain = |why| HostError::io("write", &self.path, why);
        match open(dir, name) {
            Ok(file) if !is_plain(&file) => Err(HostError::NotAFile { path: self.path.clone() }),
            Ok(file) => Ok(Rights::of(&file.metadata().map_err(explain)?)),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Rights::PRIVATE),
            Err(why) => Err(explain(why)),
        }
    }
}

/// A version that is written but not yet renamed: the rename and its sync are left.
#[derive(Debug)]
pub(crate) struct NextVersion<'a> {
    path: &'a Path,
    name: OsString,
    written: Written<File>,
}

impl NextVersion<'_> {
    pub(crate) fn rename(&mut self) -> Result<(), HostError> {
        let done = self.written.rename(self.name.as_ref());
        done.map_err(|why| HostError::io("write", self.path, why))
    }

    pub(crate) fn sync(&self) -> Result<(), HostError> {
        self.written.sync().map_err(|why| HostError::io("write", self.path, why))
    }
}

/// Reads the version from a file in a folder; `path` is its name in
/// messages. Symbolic links are rejected.
pub(crate) fn read(dir: &File, name: &OsStr, path: &Path) -> Result<Version, HostError> {
    let bad = || HostError::BadVersion { path: path.to_owned() };
    let explain = |why| HostError::io("read", path, why);
    let file = open(dir, name).map_err(explain)?;
    if !is_plain(&file) {
        return Err(bad());
    }
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).map_err(explain)?;
    let whole = (bytes.len() as u64) < MOST;
    let text = std::str::from_utf8(&bytes).ok().filter(|_| whole);
    text.and_then(|text| Version::new(text.trim_ascii()).ok()).ok_or_else(bad)
}

/// Writes a file with this version and replaces the old one.
pub(crate) fn write(dir: &File, name: &OsStr, version: &Version, rights: Rights) -> io::Result<()> {
    let mut next = written(dir, name, version, rights, &Spare::default())?;
    next.rename(name.as_ref())?;
    next.sync()
}

fn written(
    dir: &File,
    name: &OsStr,
    version: &Version,
    rights: Rights,
    spare: &Spare,
) -> io::Result<Written<File>> {
    let temp = temp(name);
    // The folder may be open only for its names, which does not allow syncing it.
    let dir = folder_in(dir, ".")?;
    let text = format!("{version}\n");
    let file = spare.open(&dir, temp.as_ref(), text.len())?;
    Written::new(&file, dir, temp.as_ref(), text.as_bytes(), rights)
}

fn temp(name: &OsStr) -> OsString {
    let mut temp = OsString::from(".");
    temp.push(name);
    temp.push(".new");
    temp
}

/// A named pipe in its place must not block.
fn open(dir: &File, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(File::from(fs::openat(dir, name, flags, Mode::empty())?))
}

fn is_plain(file: &File) -> bool {
    file.metadata().is_ok_and(|found| found.is_file())
}
