//! Walks paths by descriptors, so that another user cannot redirect our file work: each name is
//! opened once and kept open, and a link is followed only if it belongs to root or to us.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::files::cause::Foreign;
use crate::files::error::HostError;

/// The most links on one path, like the kernel's limit.
const LINKS: u8 = 40;

/// The deepest nesting of folders to remove, so that a deep tree cannot exhaust the stack or the
/// descriptors.
const DEPTH: u8 = 64;

/// Opens any type of entry, to examine it.
#[cfg(any(target_os = "linux", target_os = "android"))]
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const LOOK: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A name in an open folder. The entry may not exist yet.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) dir: File,
    pub(crate) name: OsString,
}

/// Opens a folder. Follows links on the path only if root or we own them.
pub(crate) fn folder(path: &Path) -> io::Result<File> {
    if let Some(dir) = without_links(path)? {
        return Ok(dir);
    }
    let end = walk(path, &mut |_, _| {})?;
    let last = end.last.ok_or(Errno::NOENT)?;
    Ok(File::from(fs::openat(last, ".", FOLDER, Mode::empty())?))
}

/// Resolves a path, following all links.
pub(crate) fn place(path: &Path) -> io::Result<Place> {
    let end = walk(path, &mut |_, _| {})?;
    let name = end.name.ok_or(Errno::ISDIR)?;
    Ok(Place { dir: File::from(end.dir), name })
}

/// Opens a folder in another one, without following a link.
pub(crate) fn folder_in(dir: &File, name: impl AsRef<Path>) -> io::Result<File> {
    let flags = FOLDER.union(OFlags::NOFOLLOW);
    Ok(File::from(fs::openat(dir, name.as_ref(), flags, Mode::empty())?))
}

/// The identity of a file or folder, independent of its name.
pub(crate) fn identity(stat: &Stat) -> (u64, u64) {
    // Their types differ between systems.
    #[allow(clippy::unnecessary_cast, trivial_numeric_casts, reason = "not on every system")]
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// Removes the entry of this name, a folder with all its content. Follows no link; a missing entry
/// is not an error.
pub(crate) fn remove(dir: &File, name: &OsStr) -> io::Result<()> {
    remove_within(dir, name, DEPTH)
}

fn remove_within(dir: &File, name: &OsStr, depth: u8) -> io::Result<()> {
    match fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Linux returns EISDIR; POSIX specifies EPERM.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(why) => return Err(why.into()),
    }
    let within = folder_in(dir, name)?;
    let depth = depth.checked_sub(1).ok_or(Errno::LOOP)?;
    let names: Vec<OsString> = Dir::read_from(&within)?
        .map(|entry| entry.map(|entry| OsString::from_vec(entry.file_name().to_bytes().to_vec())))
        .collect::<Result<_, _>>()?;
    for name in names.iter().filter(|name| *name != "." && *name != "..") {
        remove_within(&within, name, depth)?;
    }
    match fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(why) => Err(why.into()),
    }
}

/// Refuses a path of which users other than root and us may change a part: they could replace a
/// file that a command uses with our rights.
///
/// `trusted` names folders for which the operator takes responsibility, with all their content. A
/// folder like `/tmp`, where everybody may write but nobody may rename the files of others, is
/// allowed on the path to our own files. So is one that root's group (0) may write.
///
/// # Errors
/// [`HostError::Exposed`]; [`HostError::ForeignLink`]; [`HostError::Io`] if a part of the path
/// cannot be examined.
pub fn check_exposure(path: &Path, trusted: &[PathBuf]) -> Result<(), HostError> {
    let explain = |why| HostError::io("look at", path, why);
    let whole = std::path::absolute(path).map_err(explain)?;
    let mut parts: Vec<(PathBuf, Stat)> = Vec::new();
    walk(&whole, &mut |at, stat| parts.push((at.to_owned(), *stat))).map_err(explain)?;
    let owners: Vec<bool> = parts.iter().map(|(_, stat)| is_ours(stat)).collect();
    for (n, (at, stat)) in parts.iter().enumerate() {
        let link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        let sticky = stat.st_mode & 0o1000 != 0 && owners.get(n + 1).copied().unwrap_or(false);
        // Root chooses the members of root's group.
        let others = if stat.st_gid == 0 { 0o002 } else { 0o022 };
        let writable = !link && stat.st_mode & others != 0 && !sticky;
        if (writable || !is_ours(stat)) && !trusted.iter().any(|folder| at.starts_with(folder)) {
            return Err(HostError::Exposed { path: path.to_owned(), part: at.clone() });
        }
    }
    Ok(())
}

fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == 0 || stat.st_uid == geteuid().as_raw()
}

/// Opens the folder in one call if no part of the path is a link. `None` if one is, or if the
/// system lacks or forbids the call.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn without_links(path: &Path) -> io::Result<Option<File>> {
    use rustix::fs::{CWD, ResolveFlags, openat2};
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(CWD, here_if_empty(path), FOLDER, Mode::empty(), resolve) {
        Ok(dir) => Ok(Some(File::from(dir))),
        Err(Errno::LOOP | Errno::NOSYS | Errno::PERM | Errno::AGAIN) => Ok(None),
        Err(why) => Err(why.into()),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn without_links(_: &Path) -> io::Result<Option<File>> {
    Ok(None)
}

fn here_if_empty(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// The position of a walk.
struct WalkEnd {
    /// The folder of the last name.
    dir: OwnedFd,
    /// The last name; `None` if the path ends without one.
    name: Option<OsString>,
    /// The entry of that name.
    last: Option<OwnedFd>,
}

/// Walks step by step, and passes each part with its position to the callback.
fn walk(path: &Path, seen: &mut dyn FnMut(&Path, &Stat)) -> io::Result<WalkEnd> {
    let mut left: VecDeque<OsString> = names(path);
    let (mut dir, mut at) = start(path)?;
    seen(&at, &fs::fstat(&dir)?);
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            dir = fs::openat(&dir, "..", LOOK, Mode::empty())?;
            at.push("..");
            continue;
        }
        let found = match fs::openat(&dir, &name, LOOK, Mode::empty()) {
            Ok(found) => found,
            Err(Errno::NOENT) if left.is_empty() => {
                return Ok(WalkEnd { dir, name: Some(name), last: None });
            }
            Err(why) => return Err(why.into()),
        };
        let stat = fs::fstat(&found)?;
        seen(&at.join(&name), &stat);
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            links += 1;
            if links > LINKS {
                return Err(Errno::LOOP.into());
            }
            if !is_ours(&stat) {
                let foreign = Foreign { link: at.join(&name), user: stat.st_uid };
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, foreign));
            }
            let to = fs::readlinkat(&found, "", Vec::new())?.into_bytes();
            let to = PathBuf::from(OsString::from_vec(to));
            if to.is_absolute() {
                (dir, at) = start(&to)?;
            }
            let mut next = names(&to);
            next.append(&mut left);
            left = next;
            continue;
        }
        if left.is_empty() {
            return Ok(WalkEnd { dir, name: Some(name), last: Some(found) });
        }
        dir = found;
        at.push(name);
    }
    let last = fs::openat(&dir, ".", LOOK, Mode::empty())?;
    Ok(WalkEnd { dir, name: None, last: Some(last) })
}

fn start(path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let from = if path.is_absolute() { "/" } else { "." };
    Ok((fs::open(from, LOOK, Mode::empty())?, PathBuf::from(from)))
}

/// The names of a path, without `.` and empty ones.
fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// Makes the names in a folder durable. A folder that may be written but not read cannot be synced
/// itself; then the new file is, with its whole file system.
pub(crate) fn sync_names(dir: &File, made: impl AsFd) -> io::Result<()> {
    match fs::openat(dir, ".", FOLDER, Mode::empty()) {
        Ok(dir) => File::from(dir).sync_all(),
        Err(Errno::ACCESS) => flush(made),
        Err(why) => Err(why.into()),
    }
}

/// Makes everything written to this file system durable.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn flush(within: impl AsFd) -> io::Result<()> {
    Ok(fs::syncfs(within)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn flush(_: impl AsFd) -> io::Result<()> {
    fs::sync();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs as files;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink};

    use super::*;

    const OTHER: u32 = 65_534;

    #[test]
    fn our_own_links_are_followed_and_those_of_others_are_not() {
        let temp = tempfile::tempdir().unwrap();
        let at = temp.path();
        files::create_dir_all(at.join("real/data")).unwrap();
        let want = files::metadata(at.join("real/data")).unwrap().ino();
        symlink(at.join("real"), at.join("absolute")).unwrap();
        symlink("real/../real", at.join("relative")).unwrap();
        for path in ["real/data", "absolute/data", "relative/data", "real/../relative/./data"] {
            let dir = folder(&at.join(path)).unwrap();
            assert_eq!(dir.metadata().unwrap().ino(), want, "{path}");
            let found = place(&at.join(path)).unwrap();
            assert_eq!(found.name, "data", "{path}");
        }
        symlink("loop", at.join("loop")).unwrap();
        assert_eq!(
            Errno::from_io_error(&folder(&at.join("loop/x")).unwrap_err()),
            Some(Errno::LOOP)
        );
        assert!(place(&at.join("real/none")).is_ok(), "what is not there yet has a place");
        assert!(place(&at.join("none/none")).is_err());
        if lchown(at.join("absolute"), Some(OTHER), None).is_err() {
            return; // Only root gives links away.
        }
        for result in
            [folder(&at.join("absolute/data")).map(drop), place(&at.join("absolute")).map(drop)]
        {
            let why = HostError::io("open", at, result.unwrap_err());
            assert!(matches!(&why, HostError::ForeignLink { user: OTHER, .. }), "{why}");
            assert!(why.to_string().contains("/absolute belongs to user 65534"), "{why}");
        }
    }

    #[test]
    fn as_many_links_are_followed_as_the_kernel_follows() {
        let temp = tempfile::tempdir().unwrap();
        let at = temp.path();
        files::create_dir(at.join("0")).unwrap();
        for n in 1..=usize::from(LINKS) + 1 {
            symlink((n - 1).to_string(), at.join(n.to_string())).unwrap();
        }
        let end = |n: u8| folder(&at.join(n.to_string()));
        let want = files::metadata(at.join("0")).unwrap().ino();
        assert_eq!(end(LINKS).unwrap().metadata().unwrap().ino(), want);
        let long = end(LINKS + 1).unwrap_err();
        assert_eq!(Errno::from_io_error(&long), Some(Errno::LOOP));
    }

    #[test]
    fn removing_follows_no_link_and_ends_in_a_tree_without_end() {
        let temp = tempfile::tempdir().unwrap();
        let at = temp.path();
        files::create_dir_all(at.join("victim")).unwrap();
        files::write(at.join("victim/precious"), "x").unwrap();
        files::create_dir_all(at.join("b/tree/deep")).unwrap();
        symlink(at.join("victim"), at.join("b/tree/deep/link")).unwrap();
        files::write(at.join("b/tree/file"), "x").unwrap();
        symlink(at.join("victim"), at.join("link")).unwrap();
        let dir = folder(at).unwrap();
        for name in ["b", "link", "nothing"] {
            remove(&dir, name.as_ref()).unwrap();
            assert!(!at.join(name).is_symlink() && !at.join(name).exists(), "{name}");
        }
        assert!(at.join("victim/precious").exists());
        let deep: PathBuf = std::iter::repeat_n("d", usize::from(DEPTH) + 2).collect();
        files::create_dir_all(at.join(&deep)).unwrap();
        assert!(remove(&dir, "d".as_ref()).is_err(), "not more than it can hold");
        let long = remove(&dir, "x".repeat(256).as_ref()).unwrap_err();
        assert_eq!(
            Errno::from_io_error(&long),
            Some(Errno::NAMETOOLONG),
            "no error is passed over"
        );
    }

    #[test]
    fn a_path_that_others_may_change_is_exposed() {
        let temp = tempfile::tempdir().unwrap();
        let (at, data) = (temp.path(), temp.path().join("srv/data"));
        let srv = temp.path().join("srv");
        files::create_dir_all(&data).unwrap();
        let mode = |path: &Path, mode| {
            files::set_permissions(path, files::Permissions::from_mode(mode)).unwrap();
        };
        let refused = |want: &Path| match check_exposure(&data, &[]) {
            Err(HostError::Exposed { part, .. }) => assert_eq!(part, want),
            other => panic!("{other:?}"),
        };
        mode(&srv, 0o755);
        check_exposure(&data, &[]).unwrap();
        check_exposure(&data.join("version"), &[]).unwrap();
        mode(&srv, 0o777);
        refused(&srv);
        mode(&srv, 0o775);
        match files::metadata(&srv).unwrap().gid() {
            0 => {
                check_exposure(&data, &[]).unwrap();
                std::os::unix::fs::chown(&srv, None, Some(OTHER)).unwrap();
                refused(&srv);
            }
            _ => refused(&srv),
        }
        mode(&srv, 0o777);
        check_exposure(&data, std::slice::from_ref(&srv)).unwrap();
        mode(&srv, 0o1777);
        check_exposure(&data, &[]).unwrap();
        mode(&data, 0o1777);
        refused(&data);
        mode(&data, 0o700);
        symlink(&data, at.join("link")).unwrap();
        check_exposure(&at.join("link"), &[]).unwrap();
        mode(&srv, 0o777);
        assert!(check_exposure(&at.join("link"), &[]).is_err(), "behind the link, too");
        mode(&srv, 0o755);
        if std::os::unix::fs::chown(&srv, Some(OTHER), None).is_ok() {
            refused(&srv);
        }
    }
}
