//! The operations on the slots' folder, so that tests can cut the power between any two.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};

use rustix::fs::{self, Mode, OFlags};

use crate::files::names::clear;
use crate::files::whole::{Spare, fill};

/// Names are of files right in the folder.
pub(super) trait Files: fmt::Debug + Send + Sync {
    /// A small file's text.
    fn read(&self, name: &str) -> io::Result<String>;
    /// Reserves the room for the next [`Files::write`] of this name.
    fn reserve(&self, _name: &str) -> io::Result<()> {
        Ok(())
    }
    /// Writes a new file and replaces any of that name; its bytes are durable, its name is not yet.
    fn write(&self, name: &str, text: &str) -> io::Result<()>;
    /// Returns the target of a link.
    fn read_link(&self, name: &str) -> io::Result<String>;
    /// Creates a link and replaces any file of that name.
    fn link(&self, name: &str, to: &str) -> io::Result<()>;
    /// Renames a file and replaces the target.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes all names durable.
    fn sync(&self) -> io::Result<()>;
}

/// The longest file that is read.
const MOST: u64 = 512;

/// A folder of the system.
#[derive(Debug)]
pub(super) struct Folder(pub(super) File, pub(super) Spare);

impl Files for Folder {
    fn read(&self, name: &str) -> io::Result<String> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(fs::openat(&self.0, name, flags, Mode::empty())?);
        let mut text = String::new();
        file.take(MOST).read_to_string(&mut text)?;
        Ok(text)
    }

    fn reserve(&self, name: &str) -> io::Result<()> {
        self.1.take(&self.0, name.as_ref())
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let file = self.1.open(&self.0, name.as_ref(), text.len())?;
        fill(&file, text.as_bytes())?;
        file.sync_all()
    }

    fn read_link(&self, name: &str) -> io::Result<String> {
        let to = fs::readlinkat(&self.0, name, Vec::new())?;
        to.into_string().map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn link(&self, name: &str, to: &str) -> io::Result<()> {
        clear(&self.0, name.as_ref())?;
        Ok(fs::symlinkat(to, &self.0, name)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(fs::renameat(&self.0, from, &self.0, to)?)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}
