//! The device's identity, and the login of each connection.

use core::fmt;

use ota_proto::credentials::{APP_ID, Algorithm, Login, Secret, conn_id};
use ota_proto::{BadName, Identity, Rng};
use ota_wire::Client;
use ota_wire::adapter::{DriverEvent, LinkTarget};
use ota_wire::client::{self, DeviceIndex, Disconnect, LinkKind};
use ota_wire::mqtt::{self, Expiry};

use crate::driver::SignIn;

/// A device of the platform: its product id, its name, and its secret.
///
/// ```
/// use ota_embassy::Device;
///
/// let me = Device::new("TESTPROD01", "dev001", "MDEyMzQ1Njc4OWFiY2RlZg==".parse()?)?;
/// assert_eq!(format!("{me:?}"), "Device(TESTPROD01/dev001)");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Device {
    pub(super) identity: Identity,
    pub(super) secret: Secret,
}

impl Device {
    /// Makes a device that signs in with its secret, as the platform's console shows it.
    ///
    /// # Errors
    /// [`BadName`] if the product id or the name has a length or a character that the platform
    /// does not allow.
    pub fn new(product_id: &str, name: &str, secret: Secret) -> Result<Self, BadName> {
        Ok(Self { identity: Identity::new(product_id, name)?, secret })
    }

    /// Its product id and name, and its topics.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// Hides the secret.
impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({}/{})", self.identity.product_id(), self.identity.device_name())
    }
}

/// Hides the secret.
#[cfg(feature = "defmt")]
impl defmt::Format for Device {
    fn format(&self, f: defmt::Formatter<'_>) {
        let (product, name) = (self.identity.product_id(), self.identity.device_name());
        defmt::write!(f, "Device({=str}/{=str})", product, name);
    }
}

/// The current Unix time in seconds; `None` while it is unknown.
pub(super) type UnixTime<'d> = &'d dyn Fn() -> Option<u64>;

/// Logins with a device's secret.
pub(super) struct Logins<'d> {
    pub(super) secret: Secret,
    pub(super) unix_time: UnixTime<'d>,
    pub(super) rng: Rng,
    pub(super) expiry: Expiry,
}

impl SignIn for Logins<'_> {
    fn connecting(&mut self, client: &mut Client, target: &LinkTarget) {
        if target.link.kind != LinkKind::Broker {
            return;
        }
        let device = client.updater(DeviceIndex::FIRST);
        let login =
            device.and_then(|device| self.login(&device.config().identity, target.earliest_time));
        let taken = login.and_then(|login| client.set_login(login).ok());
        // The application id and the names are valid, and no login is longer than a report.
        debug_assert!(taken.is_some(), "a login that no session can work with");
    }

    fn told(&mut self, client: &mut Client, event: &DriverEvent) {
        match event {
            // The next connection gets a new login, so this one need not stay in memory.
            DriverEvent::Client(client::ClientEvent::Connected) => {
                let none = mqtt::ConnectLogin {
                    client_id: "none".into(),
                    user_name: None,
                    password: None,
                };
                let _ = client.set_login(none);
            }
            DriverEvent::Client(client::ClientEvent::Disconnected {
                cause: Disconnect::Session(why),
                ..
            }) if why.is_login_refused() => self.expiry.refused(),
            _ => {}
        }
    }
}

impl Logins<'_> {
    /// A clock with an earlier time than the journal's is not set.
    fn login(&mut self, identity: &Identity, earliest_time: u64) -> Option<mqtt::ConnectLogin> {
        let unix = (self.unix_time)().filter(|unix| *unix >= earliest_time);
        let (expiry, conn_id) = (self.expiry.next(unix), conn_id(self.rng.next_u64()));
        let login =
            Login::new(identity, &self.secret, Algorithm::HmacSha256, APP_ID, &conn_id, expiry);
        let Login { client_id, username, password, .. } = login.ok()?;
        Some(mqtt::ConnectLogin::new(client_id, username, password))
    }
}
