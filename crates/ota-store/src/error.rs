//! Errors of a store, by who is at fault.

use std::fmt;
use std::path::Path;

use crate::row::{DeviceKey, Kind};

/// Why nothing was stored or read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// Rows were changed since they were loaded. Nothing was written.
    Conflict(Conflict),
    /// The request is invalid for every store. Nothing was written.
    Invalid {
        /// The reason.
        what: String,
    },
    /// Another process uses the data folder, or another program has locked the database.
    Locked {
        /// The locked file.
        path: String,
        /// The id of that process, if known.
        holder: Option<u32>,
    },
    /// File or folder cannot be written.
    ReadOnly {
        /// The system's error.
        why: String,
    },
    /// The disk is full. Nothing was lost: the next commit works once there is room.
    Full {
        /// The system's error.
        why: String,
    },
    /// The file is damaged, or is not a database.
    Corrupt {
        /// The place or the fault.
        why: String,
    },
    /// The file is another program's database.
    Foreign {
        /// The file.
        path: String,
    },
    /// A newer version of this program wrote the file.
    Newer {
        /// The schema of the file.
        found: u32,
        /// The newest known schema.
        known: u32,
    },
    /// The file to write already exists.
    Exists {
        /// The file.
        path: String,
    },
    /// Another error of the system.
    Io {
        /// The operation, and the system's error.
        why: String,
    },
}

/// The rows that were changed since they were loaded, in the order of the commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflict {
    /// Devices.
    pub devices: Vec<DeviceKey>,
    /// Items.
    pub items: Vec<(Kind, String)>,
}

impl Conflict {
    pub(crate) const fn is_empty(&self) -> bool {
        self.devices.is_empty() && self.items.is_empty()
    }
}

impl StoreError {
    /// Maps errors of the file system like those of a database.
    pub(crate) fn io(what: &str, path: &Path, why: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let text = format!("{what} {}: {why}", path.display());
        match why.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { why: text },
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { why: text }
            }
            ErrorKind::AlreadyExists => Self::Exists { path: path.display().to_string() },
            _ => Self::Io { why: text },
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(conflict) => {
                let rows = conflict.devices.len().saturating_add(conflict.items.len());
                write!(f, "{rows} rows were changed meanwhile: load them again (")?;
                let devices = conflict.devices.iter().map(ToString::to_string);
                let items =
                    conflict.items.iter().map(|(kind, id)| format!("kind {} {id:?}", kind.0));
                let named: Vec<_> = devices.chain(items).take(5).collect();
                write!(f, "{}{})", named.join(", "), if rows > 5 { ", …" } else { "" })
            }
            Self::Invalid { what } => write!(f, "the store does not take {what}"),
            Self::Locked { path, holder } => {
                write!(f, "{path} is in use by another process")?;
                if let Some(id) = holder {
                    write!(f, " ({id})")?;
                }
                f.write_str(": stop that process, or name another folder")
            }
            Self::ReadOnly { why } => {
                write!(f, "{why}: give this user the right to write there, or mount it writable")
            }
            Self::Full { why } => {
                write!(f, "{why}: make room; nothing was lost, and the next attempt continues")
            }
            Self::Corrupt { why } => {
                write!(f, "the database is damaged: {why}; keep the file and restore a backup")
            }
            Self::Foreign { path } => {
                write!(f, "{path} is another program's database: name another folder")
            }
            Self::Newer { found, known } => write!(
                f,
                "the database has schema {found}, this program knows up to {known}: run the \
                 version that wrote it, or a newer one"
            ),
            Self::Exists { path } => {
                write!(f, "{path} exists already and is not overwritten: name another file")
            }
            Self::Io { why } => f.write_str(why),
        }
    }
}

impl std::error::Error for StoreError {}
