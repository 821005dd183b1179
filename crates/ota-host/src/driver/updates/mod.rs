//! One device on one connection, for an application that needs nothing else: the base of the
//! adapters' `Updates`.
//!
//! Nothing is decided here. [`OneDevice`] owns a [`Driver`](crate::Driver) with one device, makes
//! its nested events one flat [`Event`], and passes commands on. The macro [`crate::updates!`]
//! writes an adapter's `Updates`, so that each method stands on the adapter's own page; [`Builder`]
//! opens it. Sub-devices, several devices and storage of one's own need the
//! [`Driver`](crate::Driver) itself.

mod builder;
mod device;
mod image;
mod one_device;
mod write;

pub use builder::{Builder, OpenError};
pub use device::Device;
pub use image::NewImage;
pub use one_device::{OneDevice, Open};

/// An event. `Display` is a sentence for a log; `Debug` hides secrets and payloads.
///
/// An application must handle [`Event::Install`] and [`Event::Restart`], [`Event::Trial`] if it has
/// a boot loader or two slots, and [`Event::Offered`] and [`Event::Ready`] if it has configured
/// them. It may log the others.
pub type Event = ota_wire::updates::Event<NewImage>;

#[cfg(feature = "tls")]
pub use crate::driver::tls::{BadTls, Certificate, Renewal, Tls};
pub use crate::files::ab::AbSlots;
pub use crate::files::error::HostError;
pub use crate::files::restart_mark::boot_id;
pub use crate::files::slot::SlotOptions;
pub use crate::files::switch::Switch;
pub use ota_proto::credentials::{BadSecret, Secret};
pub use ota_proto::{
    Answer, BadName, Command, Downgrade, InstallFault, Installed, Md5, MessageError, Misuse, Offer,
    Order, Outcome, QoS, Reason, Region, SlotAction, SlotState, State, StorageError, TlsError,
    TransportError, Version,
};
pub use ota_wire::client::Disconnect;
pub use ota_wire::mqtt::{PublishError, PublishHandle, SessionError, SubId, SubscribeError};
#[doc(hidden)]
pub use ota_wire::update_commands;
pub use ota_wire::updates::{Message, Status};
