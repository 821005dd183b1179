//! The shared part of the std adapters of the OTA core. This crate makes no decisions: the core
//! decides what to write and when, and this crate does it on a Unix file system such that a power
//! cut at any moment loses nothing that was answered.
//!
//! * [`DataDir`]: the folder, private and locked against a second agent.
//! * [`FileSlot`]: the image of a download, one plain file.
//! * [`JournalFile`]: the two places of the journal record, one preallocated file.
//! * [`Storage`], [`Lanes`]: both as jobs for a runtime's blocking pool.
//! * [`Switch`]: the interface to a boot loader; [`NoSwitch`] without one.
//! * [`AbSlots`]: two image folders and a link, a switch and boot loader for plain files.
//! * [`RestartMark`]: whether a restart has happened, for installers without a boot loader.
//! * [`Recordings`]: recordings of failed updates.
//! * [`VersionFile`]: the running version in a text file.
//! * [`Engine`]: client, storage and receive buffers behind one surface; [`Control`] is its side
//!   towards the application.
//! * [`Driver`]: one connection with its devices: the loop around an engine, on what a [`Runtime`]
//!   has, sockets, a timer and a pool.
//! * [`mod@updates`]: one device on one connection with one flat event, for the adapters' `Updates`.
//! * [`Clock`]: the only place here that asks what time it is.
//!
//! ```
//! use ota_host::{DataDir, FileSlot, JournalFile, NoSwitch, SlotOptions, Storage};
//!
//! # let temp = tempfile::tempdir().unwrap();
//! # let path = temp.path().join("data");
//! let dir = DataDir::open(&path)?;
//! let slot = FileSlot::open(&dir, SlotOptions::default())?;
//! let journal = JournalFile::open(&dir)?;
//! let mut storage = Storage::new(slot, journal, Box::new(NoSwitch));
//! assert!(storage.record().is_none(), "a first boot has no record");
//! # Ok::<(), ota_host::HostError>(())
//! ```
#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!("ota-host works on Unix systems only");

mod ab;
mod accept;
mod clock;
mod dir;
mod driver;
mod engine;
mod error;
mod journal;
mod lanes;
mod note;
mod recordings;
mod restart_mark;
mod rights;
mod slot;
mod storage;
mod switch;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
mod tls;
pub mod updates;
mod version_file;
mod walk;

pub use ab::{AbSlots, Running, Side};
pub use accept::{Image, settle};
pub use clock::Clock;
pub use dir::DataDir;
pub use driver::{Driver, Later, Runtime, Stream};
pub use engine::{Control, Engine, EngineError, Operation, Options, SignIn, Step, transport_error};
pub use error::{HostError, storage_error};
pub use journal::JournalFile;
pub use lanes::{Finished, Lanes, Task};
pub use note::Note;
pub use ota_wire::adapter::{Event, Piece};
pub use recordings::Recordings;
pub use restart_mark::{RestartMark, boot_id};
pub use slot::{FileSlot, SlotOptions, free_room};
pub use storage::{Ended, Job, Storage, Work};
#[cfg(any(test, feature = "test-faults"))]
pub use storage::{Fault, FaultHook};
pub use switch::{MemorySwitch, NoSwitch, Switch};
#[cfg(feature = "tls")]
pub use tls::{BadTls, Certificate, Renewal, Tls};
pub use version_file::{VersionFile, VersionRoom};
pub use walk::check_exposure;
