//! Whether a CONNECT is a device's.

use std::collections::BTreeMap;

use ota_proto::Identity;
use ota_proto::credentials::{self, Secret};

use super::endpoint::{Login, Refusal};
use crate::Cloud;

/// The length of the platform's product ids in bytes.
const PRODUCT_ID: usize = 10;

/// Finds the device of a login and checks its password at `unix` seconds.
pub(super) fn check(
    login: &Login,
    cloud: &Cloud,
    client_ids: &BTreeMap<String, Identity>,
    unix: u64,
) -> Result<Identity, Refusal> {
    let named = login.user_name.split(';').next().unwrap_or("");
    if let Some(device) = client_ids.get(&login.client_id) {
        if named != login.client_id {
            return Err(Refusal::BadClientId);
        }
        let secret = cloud.secret(device).ok_or(Refusal::UnknownDevice)?;
        let secret = Secret::from_bytes(secret.as_bytes()).map_err(|_| Refusal::BadCredentials)?;
        credentials::verify(&login.user_name, &login.password, named, &secret, unix)
            .map_err(|_| Refusal::BadCredentials)?;
        return Ok(device.clone());
    }
    if !cloud.allows_unknown() {
        return Err(Refusal::UnknownDevice);
    }
    let id = if login.client_id.is_empty() { named } else { login.client_id.as_str() };
    // A registered device does not get in without its password by leaving its client id out.
    if client_ids.contains_key(id) {
        return Err(Refusal::BadClientId);
    }
    let (product, name) = id.split_at_checked(PRODUCT_ID).ok_or(Refusal::BadClientId)?;
    Identity::new(product, name).map_err(|_| Refusal::BadClientId)
}
