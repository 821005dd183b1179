//! Firmware updates on embassy: [`Driver`] joins the OTA core to embassy-net sockets, embassy-time
//! and NOR flash, and decides nothing.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod driver;
mod flash;
mod network;
mod socket;
mod time;

pub use driver::{Buffers, Driver};
#[cfg(feature = "boot")]
pub use flash::BootSwitch;
pub use flash::{
    FlashError, FlashJournal, FlashSlot, FlashStorage, Found, NoSwitch, Storage, Switch,
};
pub use network::{Network, SocketBuffers, Tcp, TcpStream};
pub use ota_wire::adapter::{EngineError as Error, Event};
pub use ota_wire::client::{Config, DeviceIndex};
pub use time::{to_core, to_ticks};
