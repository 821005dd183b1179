//! Firmware updates on tokio: [`Driver`] joins the OTA core to TCP sockets, a timer and the
//! blocking pool, and decides nothing.
#![forbid(unsafe_code)]

mod driver;
mod socket;

pub use driver::Driver;
pub use ota_host::{Control, EngineError as Error, Event, Options};
pub use ota_wire::client::{Config, DeviceIndex};
