//! The sizes of the data folder and of its disk.

use std::path::Path;

/// Bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk {
    /// The database with its log.
    pub(crate) store: u64,
    /// Free ones of the disk.
    pub(crate) free: u64,
    /// All of the disk.
    pub(crate) all: u64,
}

impl Disk {
    /// Reads them. Blocking, but not for long.
    pub(crate) fn read(data: &Path) -> Option<Self> {
        let found = rustix::fs::statvfs(data).ok()?;
        let files = ["cloud.db", "cloud.db-wal"].map(|name| std::fs::metadata(data.join(name)));
        let len = |sum: u64, file: std::fs::Metadata| sum.saturating_add(file.len());
        let store = files.into_iter().flatten().fold(0, len);
        let of = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        // Blocks that only root may use are not free for the service, and not full either.
        let all = found.f_blocks.saturating_sub(found.f_bfree).saturating_add(found.f_bavail);
        Some(Self { store, free: of(found.f_bavail), all: of(all) })
    }
}
