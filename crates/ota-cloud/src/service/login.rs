//! Whether a CONNECT is a device's.

use ota_proto::Identity;
use ota_proto::credentials::{self, Secret};

use super::endpoint::{Login, Refusal};
use super::hub::Hub;

/// The length of the platform's product ids in bytes.
const PRODUCT_ID: usize = 10;

/// Finds the device of a login and checks its password, or the certificate that it showed.
pub(super) fn check(
    login: &Login,
    certificate: Option<&[u8]>,
    hub: &Hub,
) -> Result<Identity, Refusal> {
    let named = login.user_name.split(';').next().unwrap_or("");
    if let Some(device) = hub.client_ids.get(&login.client_id) {
        if named != login.client_id {
            return Err(Refusal::BadClientId);
        }
        if let Some(known) = hub.certificates.get(device) {
            // The platform's certificate mode: a password is sent or not, and says nothing.
            let same = certificate == Some(known.as_slice());
            return if same { Ok(device.clone()) } else { Err(Refusal::BadCredentials) };
        }
        let secret = hub.cloud.secret(device).ok_or(Refusal::UnknownDevice)?;
        let secret = Secret::from_bytes(secret.as_bytes()).map_err(|_| Refusal::BadCredentials)?;
        let (user, password) = (&login.user_name, &login.password);
        credentials::verify(user, password, named, &secret, hub.clock.unix())
            .map_err(|_| Refusal::BadCredentials)?;
        return Ok(device.clone());
    }
    if !hub.cloud.allows_unknown() {
        return Err(Refusal::UnknownDevice);
    }
    let id = if login.client_id.is_empty() { named } else { login.client_id.as_str() };
    // A registered device does not get in without its password by leaving its client id out.
    if hub.client_ids.contains_key(id) {
        return Err(Refusal::BadClientId);
    }
    let (product, name) = id.split_at_checked(PRODUCT_ID).ok_or(Refusal::BadClientId)?;
    Identity::new(product, name).map_err(|_| Refusal::BadClientId)
}
