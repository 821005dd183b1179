//! Storage on a Unix file system: a power cut at any moment loses nothing that was answered.
//!
//! | module | what it keeps |
//! |---|---|
//! | `dir` | the data folder: private and locked |
//! | `slot`, `journal` | the image of a download; the journal record |
//! | `storage` | both and the switch, as jobs |
//! | `accept` | the verified image, and how it becomes the accepted one |
//! | `switch`, `ab`, `restart_mark` | what selects the next version to start: two slots and a link, or a note |
//! | `version_file`, `note`, `recordings` | the running version; texts; recordings |
//! | `walk`, `names`, `rights`, `whole` | safe paths; private files; owners and rights; files that are replaced whole |
//! | `error`, `cause` | errors, with their paths and without |
//!
//! Every call here blocks. This module has no clock, no socket and no runtime, and uses nothing of
//! [`driver`](crate::driver), which runs its jobs.

pub(crate) mod ab;
pub(crate) mod accept;
pub(crate) mod cause;
pub(crate) mod dir;
pub(crate) mod error;
pub(crate) mod journal;
pub(crate) mod names;
pub(crate) mod note;
pub(crate) mod recordings;
pub(crate) mod restart_mark;
pub(crate) mod rights;
pub(crate) mod slot;
pub(crate) mod storage;
pub(crate) mod switch;
pub(crate) mod version_file;
pub(crate) mod walk;
pub(crate) mod whole;
