//! Dynamic registration on Tencent Cloud IoT: a device that has only the secret of its product
//! requests its own.
//!
//! Registration is one HTTP POST to the region's gateway: [`Request`] makes the path, headers and
//! body, and [`Reply::decode`] parses the answer. The old form is for products whose gateway does
//! not support the new one.
//!
//! This crate reads no clock, draws no random numbers and does no IO. `Debug` hides secrets.
//!
//! # Features
//!
//! * `defmt`: `defmt::Format` for requests, replies and errors. What `Debug` hides is hidden there,
//!   too.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use aes::Aes128;
use base16ct::HexDisplay;
use base64ct::{Base64, Encoding as _};
use cbc::Decryptor;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ota_proto::Identity;
use ota_proto::credentials::{Algorithm, BadSecret, Secret};
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// The block length of both hashes in bytes. A longer key would have to be hashed first, so keys
/// are at most this long.
const BLOCK: usize = 64;

/// The longest accepted answer in bytes. One with a certificate and a key has about 5 KiB.
pub const MAX_REPLY: usize = 16 * 1024;

/// The secret that all devices of a product share. `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ProductSecret(String);

impl ProductSecret {
    /// Takes the secret as the console shows it: 16 to 64 printable ASCII characters. It is not
    /// decoded.
    ///
    /// # Errors
    /// [`BadSecret::Length`] if it is shorter or longer, or has other characters.
    pub fn new(text: &str) -> Result<Self, BadSecret> {
        let text = text.trim_ascii();
        let ok = (16..=BLOCK).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if ok { Ok(Self(text.into())) } else { Err(BadSecret::Length) }
    }

    /// The key of the answer: the first 16 characters.
    fn aes_key(&self) -> [u8; 16] {
        self.0.as_bytes().first_chunk().copied().unwrap_or_default()
    }

    /// The authentication code of a message with this secret.
    fn sign(&self, algorithm: Algorithm, message: &str) -> Vec<u8> {
        let mut key = [0; BLOCK];
        key.iter_mut().zip(self.0.bytes()).for_each(|(place, byte)| *place = byte);
        let (key, message) = (key.into(), message.as_bytes());
        match algorithm {
            Algorithm::HmacSha1 => {
                Hmac::<Sha1>::new(&key).chain_update(message).finalize().into_bytes().to_vec()
            }
            Algorithm::HmacSha256 => {
                Hmac::<Sha256>::new(&key).chain_update(message).finalize().into_bytes().to_vec()
            }
        }
    }
}

impl fmt::Debug for ProductSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProductSecret(..)")
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for ProductSecret {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "ProductSecret(..)");
    }
}

/// A request for a device's secret. Its fields are not secret.
///
/// ```
/// use ota_proto::Identity;
/// use ota_proto::credentials::Algorithm;
/// use ota_register::{ProductSecret, Request};
///
/// let identity = Identity::new("TESTPROD01", "dev001")?;
/// let request = Request {
///     identity: &identity,
///     host: "ap-guangzhou.gateway.tencentdevices.com",
///     algorithm: Algorithm::HmacSha256,
///     timestamp: 1_700_000_000,
///     nonce: 5456,
/// };
/// let secret = ProductSecret::new("ABCDEFGHIJKLMNOPQRSTUVWX")?;
/// assert_eq!(request.signature(&secret), "p+5oo3YADzNvIrA19qEBtDmfJfH4X6jBxf4jfXVAe5M=");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Request<'a> {
    /// The device.
    pub identity: &'a Identity,
    /// The gateway's host name, as in the `Host` header.
    pub host: &'a str,
    /// The signature algorithm.
    pub algorithm: Algorithm,
    /// Unix seconds; 0 without a clock.
    pub timestamp: u64,
    /// A random number.
    pub nonce: u32,
}

impl Request<'_> {
    /// The path of the POST.
    pub const PATH: &'static str = "/device/register";
    /// The `Content-Type` of the POST.
    pub const CONTENT_TYPE: &'static str = "application/json";
    /// The path of the old form's POST.
    pub const OLD_PATH: &'static str = "/register/dev";
    /// The `Content-Type` of the old form's POST, though its body is JSON.
    pub const OLD_CONTENT_TYPE: &'static str = "application/x-www-form-urlencoded";

    /// The body.
    #[must_use]
    pub fn body(&self) -> String {
        let (product, device) = (self.identity.product_id(), self.identity.device_name());
        format!(r#"{{"ProductId":"{product}","DeviceName":"{device}"}}"#)
    }

    /// The headers that sign the body. `Host`, `Content-Type` and `Content-Length` are also needed.
    #[must_use]
    pub fn headers(&self, secret: &ProductSecret) -> [(&'static str, String); 4] {
        [
            ("X-TC-Algorithm", self.algorithm.word().into()),
            ("X-TC-Timestamp", format!("{}", self.timestamp)),
            ("X-TC-Nonce", format!("{}", self.nonce)),
            ("X-TC-Signature", self.signature(secret)),
        ]
    }

    /// The text that is signed. The body is hashed with the algorithm's own hash, as the
    /// vendor's C SDK does.
    #[must_use]
    pub fn string_to_sign(&self) -> String {
        let body = self.body();
        let hash = match self.algorithm {
            Algorithm::HmacSha1 => Sha1::digest(body.as_bytes()).to_vec(),
            Algorithm::HmacSha256 => Sha256::digest(body.as_bytes()).to_vec(),
        };
        let hash = HexDisplay(&hash);
        let (host, path, word) = (self.host, Self::PATH, self.algorithm.word());
        format!("POST\n{host}\n{path}\n\n{word}\n{}\n{}\n{hash:x}", self.timestamp, self.nonce)
    }

    /// The signature: the authentication code in Base64.
    #[must_use]
    pub fn signature(&self, secret: &ProductSecret) -> String {
        Base64::encode_string(&secret.sign(self.algorithm, &self.string_to_sign()))
    }

    /// The text that the old form signs.
    #[must_use]
    pub fn old_string_to_sign(&self) -> String {
        let (product, device) = (self.identity.product_id(), self.identity.device_name());
        let (nonce, timestamp) = (self.nonce, self.timestamp);
        format!("deviceName={device}&nonce={nonce}&productId={product}&timestamp={timestamp}")
    }

    /// The signature of the old form: the Base64 of the code's hex digits, always with SHA-1.
    #[must_use]
    pub fn old_signature(&self, secret: &ProductSecret) -> String {
        let tag = secret.sign(Algorithm::HmacSha1, &self.old_string_to_sign());
        Base64::encode_string(format!("{:x}", HexDisplay(&tag)).as_bytes())
    }

    /// The body of the old form, with its signature.
    #[must_use]
    pub fn old_body(&self, secret: &ProductSecret) -> String {
        format!(
            concat!(
                r#"{{"deviceName":"{}","nonce":{},"productId":"{}","#,
                r#""timestamp":{},"signature":"{}"}}"#
            ),
            self.identity.device_name(),
            self.nonce,
            self.identity.product_id(),
            self.timestamp,
            self.old_signature(secret),
        )
    }
}

/// The platform's answer. `Debug` hides keys.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reply {
    /// The device's secret, for [`ota_proto::credentials::Login`].
    Secret(Secret),
    /// A certificate and its key, in PEM.
    Certificate {
        /// The certificate.
        cert: String,
        /// The private key.
        key: String,
    },
}

impl Reply {
    /// Parses the body of the answer, in either form.
    ///
    /// # Errors
    /// [`RegistrationError`] names the fault. Never panics, whatever the bytes.
    pub fn decode(body: &[u8], secret: &ProductSecret) -> Result<Self, RegistrationError> {
        if body.len() > MAX_REPLY {
            return Err(RegistrationError::TooLong);
        }
        let form: Form = serde_json::from_slice(body).map_err(|_| RegistrationError::Malformed)?;
        if let Some(code) = form.code.filter(|code| *code != 0) {
            return Err(RegistrationError::Refused(code));
        }
        let (payload, len) = match (&form.response, &form.payload) {
            (Some(new), _) => (new.payload.as_deref(), new.len),
            (None, payload) => (payload.as_deref(), None),
        };
        Self::decrypt(payload.ok_or(RegistrationError::Malformed)?, len, secret)
    }

    /// Decrypts the payload: Base64 of AES-128-CBC with zero padding. `len` is the length of the
    /// plain text in bytes; without it, zeros at the end are removed.
    ///
    /// # Errors
    /// [`RegistrationError`] names the fault; a wrong product secret is `Undecryptable`.
    pub fn decrypt(
        payload: &str,
        len: Option<usize>,
        secret: &ProductSecret,
    ) -> Result<Self, RegistrationError> {
        if payload.len() > MAX_REPLY {
            return Err(RegistrationError::TooLong);
        }
        let mut bytes = Base64::decode_vec(payload).map_err(|_| RegistrationError::Malformed)?;
        let plain = Decryptor::<Aes128>::new(&secret.aes_key().into(), &[b'0'; 16].into())
            .decrypt_padded::<NoPadding>(&mut bytes)
            .map_err(|_| RegistrationError::Malformed)?;
        let plain = match len {
            Some(len) => plain.get(..len).ok_or(RegistrationError::Malformed)?,
            None => {
                let end = plain.iter().rposition(|byte| *byte != 0);
                plain.get(..end.map_or(0, |end| end.saturating_add(1))).unwrap_or(&[])
            }
        };
        Self::from_plain(plain)
    }

    fn from_plain(plain: &[u8]) -> Result<Self, RegistrationError> {
        let plain: Plain =
            serde_json::from_slice(plain).map_err(|_| RegistrationError::Undecryptable)?;
        match (plain.psk, plain.client_cert, plain.client_key) {
            (Some(psk), _, _) => {
                let secret = Secret::from_base64(&psk);
                secret.map(Self::Secret).map_err(RegistrationError::Secret)
            }
            (None, Some(cert), Some(key)) => Ok(Self::Certificate { cert, key }),
            _ => Err(RegistrationError::Malformed),
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret(..)",
            Self::Certificate { .. } => "Certificate { .. }",
        })
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Reply {
    fn format(&self, f: defmt::Formatter<'_>) {
        match self {
            Self::Secret(_) => defmt::write!(f, "Secret(..)"),
            Self::Certificate { .. } => defmt::write!(f, "Certificate {{ .. }}"),
        }
    }
}

/// Why registration failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RegistrationError {
    /// The answer is longer than [`MAX_REPLY`].
    TooLong,
    /// The answer does not have the documented form.
    Malformed,
    /// The platform refused, with this code of the old form.
    Refused(i64),
    /// The payload does not decrypt to a credential: most likely the product secret is wrong.
    Undecryptable,
    /// The device secret in it is invalid.
    Secret(BadSecret),
}

impl fmt::Display for RegistrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("the answer is too long"),
            Self::Malformed => f.write_str("the answer does not have the documented form"),
            Self::Refused(code) => write!(f, "registration refused with code {code}"),
            Self::Undecryptable => f.write_str("the answer does not decrypt: wrong product secret"),
            Self::Secret(why) => write!(f, "the secret in the answer is invalid: {why}"),
        }
    }
}

impl core::error::Error for RegistrationError {}

/// Both forms of the answer.
#[derive(Deserialize)]
struct Form {
    #[serde(rename = "Response")]
    response: Option<Response>,
    code: Option<i64>,
    payload: Option<String>,
}

#[derive(Deserialize)]
struct Response {
    #[serde(rename = "Len")]
    len: Option<usize>,
    #[serde(rename = "Payload")]
    payload: Option<String>,
}

#[derive(Deserialize)]
struct Plain {
    psk: Option<String>,
    #[serde(rename = "clientCert")]
    client_cert: Option<String>,
    #[serde(rename = "clientKey")]
    client_key: Option<String>,
}
