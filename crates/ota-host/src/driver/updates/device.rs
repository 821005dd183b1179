//! A device's identity, and the login of each connection.

use std::fmt;

use ota_proto::credentials::{APP_ID, Algorithm, BadLogin, Login, Secret, conn_id};
use ota_proto::{BadName, Identity, Rng};
use ota_wire::mqtt;

/// A device of the platform: its product id, its name and its credentials.
///
/// ```
/// use ota_host::updates::{Device, Secret};
///
/// let me = Device::new("TESTPROD01", "dev001", Secret::from_base64("MDEyMzQ1Njc4OWFiY2RlZg==")?)?;
/// assert_eq!(format!("{me:?}"), "Device(TESTPROD01/dev001)");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Device {
    identity: Identity,
    /// `None` if its TLS certificate signs in.
    secret: Option<Secret>,
    app_id: String,
}

impl Device {
    /// A device that signs in with its secret, as the platform's console shows it.
    ///
    /// # Errors
    /// [`BadName`] if the product id or the name has a length or a character that the platform
    /// does not allow.
    pub fn new(product_id: &str, name: &str, secret: Secret) -> Result<Self, BadName> {
        Ok(Self { secret: Some(secret), ..Self::certified(product_id, name)? })
    }

    /// A device that signs in with a TLS certificate, which `Builder::tls` takes.
    ///
    /// # Errors
    /// As [`Device::new`].
    pub fn certified(product_id: &str, name: &str) -> Result<Self, BadName> {
        let identity = Identity::new(product_id, name)?;
        Ok(Self { identity, secret: None, app_id: APP_ID.to_owned() })
    }

    /// Signs in under another application id than [`APP_ID`].
    #[must_use]
    pub fn app_id(mut self, app_id: &str) -> Self {
        app_id.clone_into(&mut self.app_id);
        self
    }

    /// Its product id and name, and its topics.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// A login that is valid until `expiry`, in Unix seconds.
    pub(super) fn login(&self, seed: u64, expiry: u64) -> Result<mqtt::ConnectLogin, BadLogin> {
        let conn_id = conn_id(Rng::new(seed).next_u64());
        let (me, app_id) = (&self.identity, self.app_id.as_str());
        let Some(secret) = &self.secret else {
            let login = Login::certified(me, app_id, &conn_id, expiry)?;
            let (client_id, user_name) = (login.client_id, Some(login.username));
            return Ok(mqtt::ConnectLogin { client_id, user_name, password: None });
        };
        let login = Login::new(me, secret, Algorithm::HmacSha256, app_id, &conn_id, expiry)?;
        Ok(mqtt::ConnectLogin::new(login.client_id, login.username, login.password))
    }
}

/// Without the secret.
impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({}/{})", self.identity.product_id(), self.identity.device_name())
    }
}
