//! The medium: an image, a journal and the name of the running version, each a file.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use ota_proto::{Digester, Done, Journal, Md5, SlotInfo, StorageError, Work};

const LEN: usize = Journal::LEN;

pub struct Flash {
    folder: PathBuf,
    image: File,
    journal: File,
    digester: Digester,
}

impl Flash {
    pub fn open(folder: &str) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let folder = PathBuf::from(folder);
        let open = |name| {
            File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(folder.join(name))
        };
        let (image, journal) = (open("slot.img")?, open("journal")?);
        Ok(Self { folder, image, journal, digester: Digester::default() })
    }

    /// Capacity, erase unit and write unit in bytes. Checkpoints are multiples of the second.
    pub fn info(&self) -> SlotInfo {
        SlotInfo { capacity: 1 << 30, erase: 64 * 1_024, write: 1 }
    }

    pub fn running(&self) -> String {
        fs::read_to_string(self.folder.join("version")).unwrap_or_else(|_| "0.1.0".to_owned())
    }

    pub fn set_running(&self, version: &str) -> io::Result<()> {
        fs::write(self.folder.join("version"), version)
    }

    /// The newest valid record of the journal's two places.
    pub fn record(&self) -> Option<[u8; LEN]> {
        let mut places = [[0; LEN]; 2];
        for (n, place) in places.iter_mut().enumerate() {
            // A place that was never written stays empty, and is no record.
            let _ = self.journal.read_exact_at(place, (n * LEN) as u64);
        }
        Journal::newest(&places).copied()
    }

    /// Does what the machine asks of the slot and the journal.
    pub fn run(&mut self, work: Work<&[u8]>) -> Done {
        match work {
            Work::Write { at, bytes } => self.image.write_all_at(bytes, at).map_err(fault)?,
            Work::Sync => self.image.sync_all().map_err(fault)?,
            Work::Digest { range } => return self.digest(range).map(Some).map_err(fault),
            // To the place that the record names: a cut may cost that place, never both.
            Work::Persist(record) => {
                let at = Journal::place(&record) * LEN;
                self.journal.write_all_at(&record, at as u64).map_err(fault)?;
                self.journal.sync_all().map_err(fault)?;
            }
            // A file needs no erase, and there is no boot loader to ask.
            Work::Erase { .. } | Work::Slot(_) => {}
        }
        Ok(None)
    }

    /// The digest of everything up to the end of the range, which goes on where the last one ended.
    fn digest(&mut self, range: Range<u64>) -> io::Result<Md5> {
        if range.start == 0 {
            self.digester = Digester::default();
        }
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.image.read_exact_at(&mut bytes, range.start)?;
        self.digester.update(&bytes);
        Ok(self.digester.clone().finish())
    }
}

fn fault(why: io::Error) -> StorageError {
    match why.kind() {
        ErrorKind::StorageFull => StorageError::NoSpace,
        ErrorKind::ReadOnlyFilesystem => StorageError::ReadOnly,
        _ => StorageError::Failed,
    }
}
