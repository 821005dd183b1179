//! Checks whether a CONNECT is a device's.

use std::fmt;

use ota_proto::Identity;
use ota_proto::credentials::{self, Secret};

use crate::endpoint::{Login, Refusal};

/// The length of the platform's product ids in bytes.
const PRODUCT_ID: usize = 10;

/// The credentials of a registered device. `Debug` hides them.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Proof {
    /// None: it cannot log in.
    None,
    /// The secret's raw bytes.
    Secret(Vec<u8>),
    /// A certificate, in DER.
    Certificate(Vec<u8>),
}

impl Proof {
    /// The stored form: a letter for its kind, and the bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, bytes): (u8, &[u8]) = match self {
            Self::None => (b'n', &[]),
            Self::Secret(bytes) => (b's', bytes),
            Self::Certificate(bytes) => (b'c', bytes),
        };
        [&[kind], bytes].concat()
    }

    /// Reads the stored form; `None` if it is invalid.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, bytes) = bytes.split_first()?;
        match kind {
            b'n' if bytes.is_empty() => Some(Self::None),
            b's' => Some(Self::Secret(bytes.to_vec())),
            b'c' => Some(Self::Certificate(bytes.to_vec())),
            _ => None,
        }
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Secret(_) => "Secret(…)",
            Self::Certificate(_) => "Certificate(…)",
        })
    }
}

/// The data for checking a login.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The registered device that has the [`client_id`] of the login.
    pub device: Option<(&'a Identity, &'a Proof)>,
    /// Whether unregistered devices are accepted.
    pub allow_unknown: bool,
    /// Seconds since 1970.
    pub unix: u64,
}

/// The client id of a login: its own, or else the one in its user name.
#[must_use]
pub fn client_id(login: &Login) -> &str {
    if login.client_id.is_empty() { named(login) } else { &login.client_id }
}

fn named(login: &Login) -> &str {
    login.user_name.split(';').next().unwrap_or("")
}

/// The devices of these products that could have this client id, which is product and name without
/// a separator.
pub fn devices_of<'a>(
    client_id: &'a str,
    products: impl Iterator<Item = &'a str> + 'a,
) -> impl Iterator<Item = Identity> + 'a {
    products.filter_map(|product| Identity::new(product, client_id.strip_prefix(product)?).ok())
}

/// Finds the device of a login and checks its password, or its certificate in DER.
///
/// # Errors
/// The [`Refusal`] for the device.
pub fn check(
    login: &Login,
    certificate: Option<&[u8]>,
    known: Known<'_>,
) -> Result<Identity, Refusal> {
    let named = named(login);
    let device = known.device.filter(|_| !login.client_id.is_empty());
    if login.user_name.is_empty() && (device.is_some() || !known.allow_unknown) {
        return Err(Refusal::BadCredentials);
    }
    if let Some((device, proof)) = device {
        if named != login.client_id {
            return Err(Refusal::BadClientId);
        }
        return check_proof(login, certificate, proof, known.unix).map(|()| device.clone());
    }
    if !known.allow_unknown {
        return Err(Refusal::UnknownDevice);
    }
    // A registered device cannot avoid its password by omitting its client id.
    if known.device.is_some() {
        return Err(Refusal::BadClientId);
    }
    let (product, name) =
        client_id(login).split_at_checked(PRODUCT_ID).ok_or(Refusal::BadClientId)?;
    Identity::new(product, name).map_err(|_| Refusal::BadClientId)
}

fn check_proof(
    login: &Login,
    certificate: Option<&[u8]>,
    proof: &Proof,
    unix: u64,
) -> Result<(), Refusal> {
    let good = match proof {
        // The platform's certificate mode: a password is optional and ignored.
        Proof::Certificate(its) => certificate == Some(its.as_slice()),
        Proof::Secret(secret) => Secret::from_bytes(secret).is_ok_and(|secret| {
            let (user, password) = (&login.user_name, &login.password);
            credentials::verify(user, password, &login.client_id, &secret, unix).is_ok()
        }),
        Proof::None => false,
    };
    if good { Ok(()) } else { Err(Refusal::BadCredentials) }
}
