//! The device's side of a firmware update on Tencent Cloud IoT, as a pure state machine.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod chance;
mod code;
mod config;
#[cfg(feature = "credentials")]
pub mod credentials;
mod digest;
mod error;
mod identity;
pub mod journal;
pub mod message;
mod output;
mod time;
mod updater;
pub mod url;
mod version;

pub use chance::Rng;
pub use code::{Reason, ResultCode};
pub use config::{Comparator, Config, ConfigError, Downgrade, Hold, Limits, Timing, Verify};
pub use digest::{Digester, Md5};
pub use error::{
    BufferTooSmall, FetchError, MessageError, Misuse, StorageError, TlsError, TransportError,
};
pub use identity::{BadName, Identity, Topic, TopicKind};
pub use journal::{Journal, Outcome};
pub use output::{
    Body, Boot, ContentRange, Event, Installed, Offer, OpId, Output, PubId, QoS, ResponseHead,
    SlotAction, SlotInfo, SlotState, State, Timer, Write,
};
pub use time::Instant;
pub use updater::{Gate, Updater};
pub use version::{BadVersion, Version};
