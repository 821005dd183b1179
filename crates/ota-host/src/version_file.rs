//! The running version in a text file.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ota_proto::Version;

use crate::dir::replace;
use crate::error::HostError;
use crate::rights::Rights;

/// More than any version with its line end; what is longer is none.
const MOST: u64 = 256;

/// A file that holds a firmware version and nothing else. Its path is the operator's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VersionFile {
    path: PathBuf,
}

impl VersionFile {
    /// The file at this path, which need not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the version; white space around it is ignored.
    ///
    /// # Errors
    /// [`HostError::BadVersion`], or [`HostError::Io`] when it cannot be read.
    pub fn read(&self) -> Result<Version, HostError> {
        let mut bytes = Vec::new();
        File::open(&self.path)
            .and_then(|file| file.take(MOST).read_to_end(&mut bytes))
            .map_err(|why| HostError::io("read", &self.path, why))?;
        let whole = (bytes.len() as u64) < MOST;
        let text = std::str::from_utf8(&bytes).ok().filter(|_| whole);
        text.and_then(|text| Version::new(text.trim_ascii()).ok())
            .ok_or_else(|| HostError::BadVersion { path: self.path.clone() })
    }

    /// Writes the version and a line end. A cut leaves the old version or the new one, and it is
    /// durable when this returns `Ok`. The owner and the rights of an existing file are kept, a new
    /// one is 0600; of a link, the file that it points to is replaced.
    ///
    /// # Errors
    /// [`HostError::Kept`]; [`HostError::Io`].
    pub fn write(&self, version: &Version) -> Result<(), HostError> {
        self.put(version).map_err(|why| HostError::io("write", &self.path, why))
    }

    fn put(&self, version: &Version) -> io::Result<()> {
        let (path, rights) = match self.path.canonicalize() {
            Ok(path) => {
                let rights = Rights::of(&path.metadata()?);
                (path, rights)
            }
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                (self.path.clone(), Rights::PRIVATE)
            }
            Err(why) => return Err(why),
        };
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut temp = std::ffi::OsString::from(".");
        temp.push(name);
        temp.push(".new");
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        let dir = File::open(parent.unwrap_or(Path::new(".")))?;
        replace(&dir, name.as_ref(), temp.as_ref(), format!("{version}\n").as_bytes(), rights)
    }
}
