//! The durable state of the cloud's half of a firmware update. It decides nothing: rows go in,
//! rows come out.
//!
//! * [`Store`] loads a set of devices and commits a set; [`Read`] lists pages, events and counts.
//!   [`Memory`] is the model, [`Sqlite`] survives.
//! * [`seal`] keeps device secrets and API secrets under a master key; [`audit`] chains lines.
//! * [`Images`] keeps firmware, named by SHA-256.
//!
//! Time and chance are inputs here, too: a moment is a number of microseconds since the Unix
//! epoch, a nonce comes from the caller. Both traits are synchronous: the owner of a store gives
//! it a thread.
//!
//! ```
//! use ota_store::{Commit, DeviceKey, DeviceRow, Memory, Store as _};
//!
//! # fn main() -> Result<(), ota_store::StoreError> {
//! let mut store = Memory::new();
//! let key = DeviceKey::new("TESTPROD01", "dev001");
//! let mut row = DeviceRow::new(key.clone());
//! row.wake = Some(60_000_000);
//! store.commit(&Commit { devices: vec![row], ..Commit::default() })?;
//!
//! assert_eq!(store.due(60_000_000, 500)?, [key.clone()]);
//! let row = store.load(&[key])?.remove(0);
//! assert_eq!(row.map(|row| row.rev), Some(1));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod audit;
mod chain;
mod commit;
mod error;
mod folder;
mod images;
mod memory;
pub mod private;
mod row;
pub mod seal;
mod sqlite;
mod store;

pub use commit::{Commit, Committed, SecretWrite};
pub use error::{Conflict, StoreError};
pub use folder::DataFolder;
pub use images::{Claim, ImageError, ImageName, Images, Limits, Stored, Upload};
pub use memory::Memory;
pub use row::{
    AuditLine, DeviceKey, DeviceRow, Event, Item, Kind, Link, Micros, NewAudit, NewEvent, Sealed,
    SecretId,
};
pub use sqlite::{Held, Sqlite, backup, check_backup, verify_audit};
pub use store::{
    CountFault, Counting, EventQuery, Filter, Page, Query, Read, Store, VersionFilter,
};
