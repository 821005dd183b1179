//! A short text of the application in the data folder.

use std::fmt;

use crate::files::dir::DataDir;
use crate::files::error::HostError;

const TEMP: &str = "note.new";

/// The longest note.
const MOST: usize = 512;

/// A text that the application needs after a restart, in a file of the data folder. A power cut
/// leaves the old text or the new one.
#[derive(Clone)]
pub struct Note {
    dir: DataDir,
    name: &'static str,
}

impl Note {
    /// Opens the note of this name in this folder. Writes are exclusive.
    #[must_use]
    pub fn new(dir: &DataDir, name: &'static str) -> Self {
        Self { dir: dir.clone(), name }
    }

    /// Returns its text; `None` if there is no file, or it is longer than 512 bytes.
    ///
    /// # Errors
    /// [`HostError::NotAFile`], [`HostError::Io`].
    pub fn read(&self) -> Result<Option<String>, HostError> {
        self.dir.read_text(self.name, MOST)
    }

    /// Replaces the text, durably. Blocks.
    ///
    /// # Errors
    /// [`HostError::Io`].
    pub fn write(&self, text: &str) -> Result<(), HostError> {
        self.dir.replace(self.name, TEMP, text.as_bytes())
    }

    /// Removes it if it exists. Blocks.
    ///
    /// # Errors
    /// [`HostError::Io`].
    pub fn remove(&self) -> Result<(), HostError> {
        let explain = |why| HostError::io("remove", &self.dir.join(self.name), why);
        if self.dir.stat(self.name).map_err(explain)?.is_none() {
            return Ok(());
        }
        self.dir.remove(self.name).and_then(|()| self.dir.sync()).map_err(explain)
    }
}

impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Note").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_kept_replaced_and_removed() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path().join("data")).unwrap();
        let note = Note::new(&dir, "note");
        assert_eq!(note.read().unwrap(), None);
        note.remove().unwrap();
        for text in ["one", "another"] {
            note.write(text).unwrap();
            assert_eq!(Note::new(&dir, "note").read().unwrap().as_deref(), Some(text));
        }
        note.remove().unwrap();
        assert_eq!(note.read().unwrap(), None);
        std::fs::write(dir.path().join("note"), "x".repeat(513)).unwrap();
        assert_eq!(note.read().unwrap(), None, "nothing of ours is so long");
    }
}
