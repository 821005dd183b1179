//! Whether a CONNECT is a device's.

use std::collections::BTreeMap;

use ota_proto::Identity;
use ota_proto::credentials::{self, Secret};

use crate::Cloud;
use crate::endpoint::{Login, Refusal};

/// The length of the platform's product ids in bytes.
const PRODUCT_ID: usize = 10;

/// What a login is held against.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The devices with their secrets, and whether others are taken.
    pub cloud: &'a Cloud,
    /// Every registered device by its client id.
    pub client_ids: &'a BTreeMap<String, Identity>,
    /// The certificates, in DER, of devices that have one in place of a secret.
    pub certificates: &'a BTreeMap<Identity, Vec<u8>>,
    /// Seconds since 1970.
    pub unix: u64,
}

/// Finds the device of a login and checks its password, or the certificate that it showed, in DER.
///
/// # Errors
/// [`Refusal`], as the device is told.
pub fn check(
    login: &Login,
    certificate: Option<&[u8]>,
    known: Known<'_>,
) -> Result<Identity, Refusal> {
    let named = login.user_name.split(';').next().unwrap_or("");
    let free = known.cloud.allows_unknown() && !known.client_ids.contains_key(&login.client_id);
    if login.user_name.is_empty() && !free {
        return Err(Refusal::BadCredentials);
    }
    if let Some(device) = known.client_ids.get(&login.client_id) {
        if named != login.client_id {
            return Err(Refusal::BadClientId);
        }
        if let Some(its) = known.certificates.get(device) {
            // The platform's certificate mode: a password is sent or not, and says nothing.
            let same = certificate == Some(its.as_slice());
            return if same { Ok(device.clone()) } else { Err(Refusal::BadCredentials) };
        }
        let secret = known.cloud.secret(device).ok_or(Refusal::UnknownDevice)?;
        let secret = Secret::from_bytes(secret.as_bytes()).map_err(|_| Refusal::BadCredentials)?;
        let (user, password) = (&login.user_name, &login.password);
        credentials::verify(user, password, named, &secret, known.unix)
            .map_err(|_| Refusal::BadCredentials)?;
        return Ok(device.clone());
    }
    if !known.cloud.allows_unknown() {
        return Err(Refusal::UnknownDevice);
    }
    let id = if login.client_id.is_empty() { named } else { login.client_id.as_str() };
    // A registered device does not get in without its password by leaving its client id out.
    if known.client_ids.contains_key(id) {
        return Err(Refusal::BadClientId);
    }
    let (product, name) = id.split_at_checked(PRODUCT_ID).ok_or(Refusal::BadClientId)?;
    Identity::new(product, name).map_err(|_| Refusal::BadClientId)
}
