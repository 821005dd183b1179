//! The journal in one preallocated file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use ota_proto::journal::{JournalError, Record};
use ota_proto::{Journal, StorageError};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::files::dir::DataDir;
use crate::files::error::{HostError, storage_error};
use crate::files::names::is_unlinked;
use crate::files::slot::drop_cache;

const NAME: &str = "journal";
const TEMP: &str = "journal.new";

/// The distance of the two places in bytes: a block of every common file system, so that a torn
/// write of one place cannot touch the other.
const STRIDE: usize = 4096;
const LEN: usize = 2 * STRIDE;

/// The two places of the journal record in the file `journal`.
///
/// The file is written in full when it is created, so a disk that fills up later cannot prevent an
/// update of it (on file systems that overwrite in place).
#[derive(Debug)]
pub struct JournalFile {
    file: File,
    _dir: DataDir,
}

impl JournalFile {
    /// Opens the journal, or creates an empty one with mode 0600. A file that is too short is
    /// extended with zeros and keeps its content. No content is an error.
    ///
    /// # Errors
    /// [`HostError::NotAFile`] if something else has its name; [`HostError::Io`] if the system
    /// refuses.
    pub fn open(dir: &DataDir) -> Result<Self, HostError> {
        let path = dir.join(NAME);
        let file = match dir.open_file(NAME, OFlags::empty()) {
            Err(HostError::Io { source, .. })
                if Errno::from_io_error(&source) == Some(Errno::NOENT) =>
            {
                dir.replace(NAME, TEMP, &[0; LEN])?;
                dir.open_file(NAME, OFlags::empty())?
            }
            other => other?,
        };
        fill_up(&file).map_err(|why| HostError::io("repair", &path, why))?;
        Ok(Self { file, _dir: dir.clone() })
    }

    /// Returns the newest valid record; `None` if both places are empty, torn, foreign or
    /// unreadable.
    ///
    /// The record is then written durably again: it may never have left the cache, and a torn place
    /// may read differently next time. A failure of that is ignored, because the record is valid
    /// anyway.
    #[must_use]
    pub fn load(&self) -> Option<[u8; Journal::LEN]> {
        // An unreadable place counts as torn; the other one may be valid.
        let read = |place: usize| {
            Journal::read_place(|| {
                let mut block = [0; Journal::LEN];
                let read = self.file.read_exact_at(&mut block, offset(place));
                if read.is_err() || !Journal::is_believed(&block) {
                    // The next read must come from the medium.
                    drop_cache(&self.file, 0);
                }
                read.ok().map(|()| block)
            })
        };
        let blocks = [read(0), read(1)];
        let _ = self.settle(&blocks);
        Journal::newest(blocks.iter().flatten()).copied()
    }

    /// Rewrites valid records in place, and erases a place that was read and contains none.
    fn settle(&self, blocks: &[Option<[u8; Journal::LEN]>; 2]) -> io::Result<()> {
        for (place, block) in blocks.iter().enumerate() {
            let Some(block) = block else { continue };
            let lasting = match Record::decode(block) {
                // A record of another release may be needed after a downgrade.
                Ok(_) | Err(JournalError::Format) => block,
                Err(_) => &[0; Journal::LEN],
            };
            self.file.write_all_at(lasting, offset(place))?;
        }
        self.file.sync_data()
    }

    /// Writes the record to the place that [`Journal::place`] names. It is durable once this
    /// returns `Ok`.
    ///
    /// # Errors
    /// [`StorageError`]. That place may then contain anything; the other one is unchanged. The same
    /// record may be written again.
    pub fn persist(&mut self, record: &[u8; Journal::LEN]) -> Result<(), StorageError> {
        let write = || {
            self.file.write_all_at(record, offset(Journal::place(record)))?;
            self.file.sync_data()?;
            is_unlinked(&self.file)
        };
        match write() {
            Ok(false) => Ok(()),
            Ok(true) => Err(StorageError::Gone),
            Err(why) => Err(storage_error(&why)),
        }
    }
}

fn offset(place: usize) -> u64 {
    if place == 0 { 0 } else { STRIDE as u64 }
}

fn fill_up(file: &File) -> io::Result<()> {
    let have = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if let Some(missing) = [0_u8; LEN].get(have..).filter(|rest| !rest.is_empty()) {
        file.write_all_at(missing, have as u64)?;
        file.sync_all()?;
    }
    Ok(())
}
