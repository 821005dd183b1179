//! The medium: an image, a journal and the name of the running version, each a file.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use ota_proto::{Digester, Done, Journal, Work};

const LEN: usize = Journal::LEN;

pub struct Flash {
    folder: PathBuf,
    image: File,
    journal: File,
    digester: Digester,
}

impl Flash {
    /// The longest image in bytes.
    pub const CAPACITY: u64 = 1 << 30;
    /// The erase unit in bytes. A download resumes at multiples of it.
    pub const ERASE: u32 = 64 * 1_024;

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
            // A place that was never written stays empty and is not a record.
            let _ = self.journal.read_exact_at(place, (n * LEN) as u64);
        }
        Journal::newest(&places).copied()
    }

    /// Performs the machine's work on slot and journal.
    pub fn run(&mut self, work: Work<&[u8]>) -> Done {
        match work {
            Work::Write { at, bytes } => self.image.write_all_at(bytes, at)?,
            Work::Sync => self.image.sync_all()?,
            Work::Digest { range } => {
                if range.start == 0 {
                    self.digester = Digester::default(); // else it goes on where the last range ended
                }
                let mut bytes = vec![0; (range.end - range.start) as usize];
                self.image.read_exact_at(&mut bytes, range.start)?;
                self.digester.update(&bytes);
                return Ok(Some(self.digester.clone().finish()));
            }
            // The record determines its place: a power cut can damage that place, but never both.
            Work::Persist(record) => {
                let at = Journal::place(&record) * LEN;
                self.journal.write_all_at(&record, at as u64)?;
                self.journal.sync_all()?;
            }
            // A file needs no erase, and there is no boot loader to ask.
            Work::Erase { .. } | Work::Slot(_) => {}
        }
        Ok(None)
    }
}
