//! Inputs and outputs of the engine.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time;

use ota_proto::OpId;
use ota_wire::adapter::{DriverEvent, LinkTarget};
use ota_wire::client::{AddError, DeviceIndex, Link};
use ota_wire::mqtt::{self, Expiry};

use crate::driver::lanes::Task;
use crate::driver::tls::Trust;
#[cfg(feature = "tls")]
use crate::driver::tls::{Renewal, Tls};

/// The id of a storage job.
pub type Operation = (DeviceIndex, OpId);

/// The adapter's options, in addition to the client's configuration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Bytes of each of the two buffers for firmware: one receives while the other is written to
    /// the slot. They exist only while the firmware server's link is open. Raised to the longest
    /// line of a response head. Default 256 KiB: a quarter of that cost the agent a quarter more
    /// time and CPU for an image, in `cargo xtask bench`.
    pub store_buffer: usize,
    /// The trusted CAs, and the client certificate. `None`, the default: the public CAs, and no
    /// client certificate.
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
    /// Called before each connection with TLS, to update the trusted certificates. `None`, the
    /// default: they never change.
    #[cfg(feature = "tls")]
    pub renewal: Option<Renewal>,
    /// Refuse a firmware server whose address is loopback, link-local, private or otherwise not on
    /// the internet, at each redirect; the broker's own addresses are exempt. Default `false`,
    /// because many firmware servers are on private networks.
    pub public_store_only: bool,
    /// Bytes of the latest inputs to keep for [`super::Control::recording`]; 0, the default, for
    /// none.
    pub record: usize,
    /// Makes a login for each connection. `None`, the default: the login of the configuration, or
    /// of [`super::Control::set_login`], is used for all.
    pub sign_in: Option<SignIn>,
}

/// Makes a login for each connection, with its own expiry.
#[derive(Clone)]
pub struct SignIn {
    pub(super) make: Arc<dyn Fn(u64) -> mqtt::ConnectLogin + Send + Sync>,
    pub(super) expiry: Expiry,
}

impl SignIn {
    /// Calls `make` with an expiry in Unix seconds, which `expiry` decides. It is [`Expiry::FAR`]
    /// while the clock is not set, and once after a refused login; `make` may report that.
    #[must_use]
    pub fn new(
        expiry: Expiry,
        make: impl Fn(u64) -> mqtt::ConnectLogin + Send + Sync + 'static,
    ) -> Self {
        Self { make: Arc::new(make), expiry }
    }
}

/// Hides the closure.
impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignIn").field("expiry", &self.expiry).finish_non_exhaustive()
    }
}

impl Options {
    /// The TLS settings at the start.
    pub(in crate::driver) fn trust(&self) -> Trust {
        #[cfg(feature = "tls")]
        return Trust::new(self.tls.clone(), self.renewal.clone());
        #[cfg(not(feature = "tls"))]
        Trust
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            store_buffer: 256 * 1024,
            public_store_only: false,
            record: 0,
            sign_in: None,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "tls")]
            renewal: None,
        }
    }
}

/// The next task of an adapter.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// Open this link; answer with [`super::Engine::handle_connected`] or
    /// [`super::Engine::handle_connect_failed`]. The previous link of its kind was closed.
    Connect(LinkTarget),
    /// Close this link, or stop opening it. Needs no answer.
    Close(Link),
    /// Run this on the blocking pool; answer with [`super::Engine::handle_finished`].
    Run(Task<Operation>),
    /// Pass this event to the application.
    Event(DriverEvent),
    /// Wait for a link, a job, the application or this moment, whichever comes first; at that
    /// moment call [`super::Engine::poll`].
    Wait(Option<time::Instant>),
}

/// Errors of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EngineError {
    /// The caller's fault: no MQTT session can work with the configuration.
    Session(mqtt::ConfigError),
    /// The caller's fault: the device cannot be added.
    Device(AddError),
    /// The caller's fault: the broker requires TLS, but this build has none.
    NoTls,
    /// The environment's fault: the runtime dropped a storage job, as it does when it shuts down.
    /// The engine is unusable.
    Lost,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(why) => why.fmt(f),
            Self::Device(why) => why.fmt(f),
            Self::NoTls => f.write_str("this build has no TLS: use an unencrypted broker address"),
            Self::Lost => f.write_str("the runtime dropped a storage job: it is shutting down"),
        }
    }
}

impl Error for EngineError {}
