//! Key files: checks that no other user could have read or written one.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::geteuid;

/// The most links on a path, like the system's limit.
const MOST_LINKS: usize = 40;

/// Why a file is rejected.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unfit {
    /// It is a folder, a pipe or a device.
    NotRegular,
    /// It belongs to another user than root.
    Foreign,
    /// Users other than its owner may read or write it.
    Exposed,
    /// It is a symbolic link that another user could have created: a part of the path to its target
    /// belongs to another user, or others may write it.
    Way,
    /// The system's error.
    System(io::Error),
}

impl Unfit {
    /// The reason as a text, without the system's error.
    #[must_use]
    pub const fn text(&self) -> &'static str {
        match self {
            Self::NotRegular => "it is not a regular file",
            Self::Foreign => "it is another user's, who may know the key: chown it, or remove it",
            Self::Exposed => "others than its owner may read it: chmod 600",
            Self::Way => {
                "it is a symbolic link, and a part of the way to its file is another user's, or \
                 others may write it: name the file itself"
            }
            Self::System(_) => "the system refuses",
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(why) => why.fmt(f),
            other => f.write_str(other.text()),
        }
    }
}

impl std::error::Error for Unfit {}

/// Opens a key file: a regular file of the process's user or of root, which only its owner may
/// read. A symbolic link is followed if only these two users could have created each part of its
/// path, because mounted secrets that change atomically use links.
///
/// # Errors
/// [`Unfit`].
pub fn open(path: &Path) -> Result<File, Unfit> {
    let file = match open_itself(path) {
        Err(why) if why.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            open_itself(&follow(path)?)
        }
        opened => opened,
    };
    let file = file.map_err(Unfit::System)?;
    let metadata = file.metadata().map_err(Unfit::System)?;
    if !metadata.is_file() {
        return Err(Unfit::NotRegular);
    }
    if !is_ours(&metadata) {
        return Err(Unfit::Foreign);
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(Unfit::Exposed);
    }
    Ok(file)
}

/// Does not open links. A pipe would block the start.
fn open_itself(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(path)
}

fn is_ours(metadata: &Metadata) -> bool {
    [0, geteuid().as_raw()].contains(&metadata.uid())
}

/// Resolves all links of the path. Only these users can write to its folders, so nobody else can
/// change it before its use. In a folder with the sticky bit nobody can rename the files of others.
fn follow(path: &Path) -> Result<PathBuf, Unfit> {
    let path = std::path::absolute(path).map_err(Unfit::System)?;
    let (mut at, mut todo, mut links) = (PathBuf::from("/"), Vec::new(), 0_usize);
    push(&path, &mut todo);
    check(&at)?;
    while let Some(part) = todo.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(part);
        if !check(&next)? {
            at = next;
            continue;
        }
        links = links.saturating_add(1);
        if links > MOST_LINKS {
            return Err(Unfit::System(Errno::LOOP.into()));
        }
        let target = fs::read_link(&next).map_err(Unfit::System)?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        push(&target, &mut todo);
    }
    Ok(at)
}

/// Adds the parts of a path before the pending ones.
fn push(path: &Path, todo: &mut Vec<OsString>) {
    let parts = path.components().rev();
    todo.extend(parts.filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    }));
}

/// Whether this part of the path is a link.
fn check(part: &Path) -> Result<bool, Unfit> {
    let metadata = fs::symlink_metadata(part).map_err(Unfit::System)?;
    let is_open = metadata.is_dir() && metadata.mode() & 0o022 != 0;
    let is_sticky = metadata.mode() & 0o1000 != 0;
    if !is_ours(&metadata) || is_open && !is_sticky {
        return Err(Unfit::Way);
    }
    Ok(metadata.is_symlink())
}
