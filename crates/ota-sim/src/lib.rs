//! A small deterministic world: one device, the cloud, a lossy link, a firmware server, flash that
//! loses power, and one virtual clock that jumps to the next wake-up.
//!
//! It works on messages and operations: what an adapter would do with sockets and files is done
//! here at once and in memory. Everything is [`Clone`], so a run can be forked at any step, and the
//! same [`Setup`] gives the same [`Trace`] on every machine. [`Invariants`] watch each step.
#![forbid(unsafe_code)]

mod app;
mod counts;
pub mod cuts;
mod field;
mod flash;
mod invariants;
mod journal;
mod link;
mod loader;
pub mod messages;
pub mod random;
mod server;
mod setup;
mod storage;
mod tear;
mod trace;
mod trouble;
pub mod walk;
pub mod wire;
mod world;

pub use app::{App, Install, Verdict};
pub use field::Met;
pub use flash::{Flash, FlashOp};
pub use invariants::Invariants;
pub use journal::JournalPlaces;
pub use link::{Direction, MessageFault};
pub use loader::Loader;
pub use messages::World;
pub use server::{FetchFault, Server};
pub use setup::{Image, Setup};
pub use storage::{Cut, Misreads, Storage, Unreadable};
pub use tear::{Mode, Tear};
pub use trace::{Heard, Said, Trace, What};
pub use trouble::Kind;
pub use world::{Layer, Outcome, Step};
