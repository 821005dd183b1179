//! The images that the firmware server serves. A URL's path is a key here and never a file name.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use bytes::Bytes;
use ota_proto::{Digester, Md5};

/// Where an image's bytes are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Source {
    /// In memory.
    Memory(Bytes),
    /// In a file, which is read again for every request and must not change.
    File(PathBuf),
}

/// An image with what was found when it was added.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) source: Source,
    pub(super) size: u64,
    pub(super) md5: Md5,
    modified: Option<SystemTime>,
}

impl Image {
    /// Reads the image once and hashes it. Blocking.
    pub(super) fn read(source: Source) -> io::Result<Self> {
        let mut digester = Digester::new();
        let (size, modified) = match &source {
            Source::Memory(bytes) => {
                digester.update(bytes);
                (bytes.len() as u64, None)
            }
            Source::File(path) => {
                let mut file = File::open(path)?;
                let before = file.metadata()?;
                if !before.is_file() {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
                }
                let mut buf = vec![0; 64 * 1024];
                let mut size = 0_u64;
                loop {
                    let n = file.read(&mut buf)?;
                    let Some(data) = buf.get(..n).filter(|data| !data.is_empty()) else { break };
                    digester.update(data);
                    size = size.saturating_add(data.len() as u64);
                }
                (size, modified(&before))
            }
        };
        Ok(Self { source, size, md5: digester.finish(), modified })
    }

    /// A file whose bytes were hashed before, and are never changed. Blocking, but not for long.
    pub(super) fn kept(path: PathBuf, md5: Md5) -> io::Result<Self> {
        let metadata = std::fs::metadata(&path)?;
        let (size, modified) = (metadata.len(), modified(&metadata));
        Ok(Self { source: Source::File(path), size, md5, modified })
    }

    /// Whether the file is still the one that was hashed, as far as its size and time tell.
    pub(super) fn is_unchanged(&self, now: &Metadata) -> bool {
        now.len() == self.size && modified(now) == self.modified
    }

    /// What is wrong with the image now, as far as its file's size and time tell. Blocking, but
    /// not for long.
    pub(super) fn trouble(&self) -> Option<String> {
        match std::fs::metadata(self.path()?) {
            Ok(now) if self.is_unchanged(&now) => None,
            Ok(_) => Some(CHANGED.into()),
            Err(error) => Some(format!("the firmware's file cannot be read: {error}")),
        }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::File(path) => Some(path),
            Source::Memory(_) => None,
        }
    }
}

/// What an image's file must not do.
pub(super) const CHANGED: &str =
    "its file changed after it was added; start again, best with another version";

/// The images by the path of their URL.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf(Arc<RwLock<BTreeMap<String, Arc<Image>>>>);

impl Shelf {
    pub(super) fn get(&self, path: &str) -> Option<Arc<Image>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    pub(super) fn insert(&self, path: String, image: Image) {
        let mut images = self.0.write().unwrap_or_else(PoisonError::into_inner);
        images.insert(path, Arc::new(image));
    }

    pub(super) fn remove(&self, path: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(path);
    }
}

fn modified(metadata: &Metadata) -> Option<SystemTime> {
    metadata.modified().ok()
}
