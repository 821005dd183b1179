//! Stores a few recordings of failed updates in the data folder.

use std::path::PathBuf;

use crate::files::dir::DataDir;
use crate::files::error::HostError;

const NAMES: [&str; 4] = ["failed-1.rec", "failed-2.rec", "failed-3.rec", "failed-4.rec"];

/// Keeps up to [`Recordings::MOST`] files: a new one replaces the oldest.
#[derive(Clone, Debug)]
pub struct Recordings(DataDir);

impl Recordings {
    /// The most files.
    pub const MOST: usize = NAMES.len();

    /// The recordings in this folder.
    #[must_use]
    pub fn new(dir: &DataDir) -> Self {
        Self(dir.clone())
    }

    /// Stores a recording durably and returns the path of its file, which only its owner can read.
    /// Blocks.
    ///
    /// # Errors
    /// [`HostError::Io`] if the system refuses.
    pub fn keep(&self, recording: &[u8]) -> Result<PathBuf, HostError> {
        let written = |name: &&'static str| {
            let found = self.0.stat(name).ok().flatten();
            found.map(|found| (found.st_mtime, found.st_mtime_nsec))
        };
        // An unused name counts as the oldest.
        let name = NAMES.into_iter().min_by_key(written).unwrap_or(NAMES[0]);
        self.0.replace(name, "failed.rec.new", recording)?;
        Ok(self.0.join(name))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_oldest_makes_room() {
        let temp = tempfile::tempdir().unwrap();
        let recordings = Recordings::new(&DataDir::open(temp.path().join("data")).unwrap());
        let paths: Vec<PathBuf> = (0..=4).map(|n| recordings.keep(&[n]).unwrap()).collect();
        assert_eq!(paths[0], paths[4]);
        for (n, path) in (1..).zip(&paths[1..]) {
            assert_eq!(std::fs::read(path).unwrap(), [n]);
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let recordings = std::fs::read_dir(temp.path().join("data")).unwrap();
        let names = recordings.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(names.filter(|name| name.contains("failed")).count(), Recordings::MOST);
    }
}
