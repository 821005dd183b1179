//! The shared part of the std adapters of the OTA core. This crate makes no decisions: the core
//! decides what to write and when, and this crate does it on a Unix file system such that a power
//! cut at any moment loses nothing that was answered.
//!
//! Two modules, `files` and `driver`; `driver` uses `files`, never the other way.
//!
//! Files:
//!
//! * [`DataDir`]: the folder, private and locked against a second agent.
//! * [`FileSlot`]: the image of a download, one plain file.
//! * [`JournalFile`]: the two places of the journal record, one preallocated file.
//! * [`Storage`]: both as jobs for a runtime's blocking pool.
//! * [`Switch`]: the interface to a boot loader; [`NoSwitch`] without one.
//! * [`AbSlots`]: two image folders and a link, a switch and boot loader for plain files.
//! * [`RestartMark`]: whether a restart has happened, for installers without a boot loader.
//! * [`Recordings`]: recordings of failed updates.
//! * [`VersionFile`]: the running version in a text file.
//!
//! The connection:
//!
//! * [`Lanes`]: the storage's jobs in two queues, so that the journal does not wait for the slot.
//! * [`Engine`]: client, storage and receive buffers behind one surface; [`Control`] is its side
//!   towards the application.
//! * [`Driver`]: one connection with its devices. It runs an engine on the sockets, the timer and the
//!   pool of a [`Runtime`]. [`driver!`] writes an adapter's own one.
//! * [`mod@updates`]: one device on one connection with one flat event, for the adapters' `Updates`.
//! * [`Clock`]: the only place here that reads the clock.
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

mod driver;
mod files;

pub use driver::clock::Clock;
pub use driver::engine::{Control, Engine, EngineError, Operation, Options, SignIn, Step};
pub use driver::lanes::{Finished, Lanes, Task};
pub use driver::run::Driver;
pub use driver::runtime::Runtime;
pub use driver::stream::{Later, Stream, transport_error};
#[cfg(feature = "tls")]
pub use driver::tls::{BadTls, Certificate, Renewal, Tls};
pub use driver::updates;
pub use files::ab::{AbSlots, Running, Side};
pub use files::accept::{Image, settle};
pub use files::dir::DataDir;
pub use files::error::{HostError, storage_error};
pub use files::journal::JournalFile;
pub use files::note::Note;
pub use files::recordings::Recordings;
pub use files::restart_mark::{RestartMark, boot_id};
pub use files::slot::{FileSlot, SlotOptions, free_room};
pub use files::storage::{Ended, Job, Storage, Work};
#[cfg(any(test, feature = "test-faults"))]
pub use files::storage::{Fault, FaultHook};
pub use files::switch::{MemorySwitch, NoSwitch, Switch};
pub use files::version_file::{VersionFile, VersionRoom};
pub use files::walk::check_exposure;
/// For [`driver!`], whose users need not depend on it.
#[doc(hidden)]
pub use ota_proto;
pub use ota_wire::adapter::{DriverEvent, Piece};
