//! The old signatures, `HmacSHA1` and `HmacSHA256`: everything is a form field, including the
//! signature.

use core::fmt;
use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use ota_proto::credentials::Secret;
use percent_encoding::percent_decode_str;
use sha1::Sha1;
use sha2::Sha256;

use super::error::{ApiError, Code};
use super::params::Params;
use super::tc3::{SKEW, block};

/// The longest form in bytes, like the vendor's.
const MAX_FORM: usize = 1_024 * 1_024;

/// A request with an old signature, unproved until [`verify`](Self::verify). The signature covers
/// everything, including the action and its parameters.
///
/// The signed text contains raw names and values, joined with `&` and `=`. A form is refused if
/// another one has the same signed text.
#[derive(Clone)]
pub struct OldClaim {
    fields: BTreeMap<String, String>,
    params: Params,
    method: String,
    host: String,
    is_sha256: bool,
    signature: Vec<u8>,
}

/// Hides the signature and the parameters.
impl fmt::Debug for OldClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OldClaim")
            .field("secret_id", &self.secret_id())
            .field("action", &self.action())
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

impl OldClaim {
    /// Parses a form, the query of a GET or the body of a POST, at a time in Unix seconds.
    ///
    /// # Errors
    /// [`Code::MissingParameter`], [`Code::InvalidParameter`], [`Code::TokenFailure`],
    /// [`Code::SignatureExpire`], [`Code::SignatureFailure`] for a malformed
    /// signature, [`Code::InvalidRequest`] for an invalid host.
    pub fn read(method: &str, host: &str, form: &str, now: u64) -> Result<Self, ApiError> {
        let host_char = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
        if !host.bytes().all(host_char) {
            return Err(ApiError::new(Code::InvalidRequest, "Host is invalid"));
        }
        let params = Params::from_form(form, MAX_FORM)?;
        let fields = fields(form)?;
        let field = |name: &str| {
            let value = fields.get(name).filter(|value| !value.is_empty());
            value.map(String::as_str).ok_or_else(|| ApiError::missing(name))
        };
        for name in ["Action", "Version", "SecretId", "Nonce"] {
            field(name)?;
        }
        if fields.get("Token").is_some_and(|token| !token.is_empty()) {
            let none = "temporary credentials are not supported";
            return Err(ApiError::new(Code::TokenFailure, none));
        }
        let is_sha256 = match fields.get("SignatureMethod").map(String::as_str) {
            None | Some("" | "HmacSHA1") => false,
            Some("HmacSHA256") => true,
            Some(_) => {
                let what = "SignatureMethod is HmacSHA1 or HmacSHA256";
                return Err(ApiError::new(Code::InvalidParameter, what));
            }
        };
        let time = field("Timestamp")?;
        let digits = time.bytes().all(|byte| byte.is_ascii_digit());
        let time = time.parse::<u64>().ok().filter(|_| digits).ok_or_else(|| {
            ApiError::new(Code::InvalidParameter, "Timestamp is not Unix seconds")
        })?;
        if time.abs_diff(now) > SKEW {
            let what = "Timestamp is over 5 minutes from the server's time";
            return Err(ApiError::new(Code::SignatureExpire, what));
        }
        let signature = Secret::from_base64(field("Signature")?).map_err(|_| failure())?;
        Ok(Self {
            signature: signature.expose().to_vec(),
            fields,
            params,
            method: method.to_owned(),
            host: host.to_owned(),
            is_sha256,
        })
    }

    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// The key's id.
    #[must_use]
    pub fn secret_id(&self) -> &str {
        self.field("SecretId")
    }

    /// `Action`.
    #[must_use]
    pub fn action(&self) -> &str {
        self.field("Action")
    }

    /// `Version`.
    #[must_use]
    pub fn version(&self) -> &str {
        self.field("Version")
    }

    /// The parameters, including the common ones.
    #[must_use]
    pub const fn params(&self) -> &Params {
        &self.params
    }

    /// The key in the table of used signatures.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Checks that the key signed the request, with the host as it was sent, or without its port.
    ///
    /// # Errors
    /// [`Code::SignatureFailure`].
    pub fn verify(&self, secret_key: &[u8]) -> Result<(), ApiError> {
        let bare = self.host.rsplit_once(':').map_or(self.host.as_str(), |(host, _)| host);
        for host in [self.host.as_str(), bare] {
            let text = self.to_sign(host);
            let fits = if self.is_sha256 {
                let mut mac = Hmac::<Sha256>::new(&block::<Sha256>(secret_key).into());
                mac.update(text.as_bytes());
                mac.verify_slice(&self.signature).is_ok()
            } else {
                let mut mac = Hmac::<Sha1>::new(&block::<Sha1>(secret_key).into());
                mac.update(text.as_bytes());
                mac.verify_slice(&self.signature).is_ok()
            };
            if fits {
                return Ok(());
            }
        }
        Err(failure())
    }

    /// Names in ASCII order, raw values.
    fn to_sign(&self, host: &str) -> String {
        let mut text = format!("{}{host}/?", self.method);
        let signed = self.fields.iter().filter(|(name, _)| *name != "Signature");
        for (at, (name, value)) in signed.enumerate() {
            if at > 0 {
                text.push('&');
            }
            text.push_str(name);
            text.push('=');
            text.push_str(value);
        }
        text
    }
}

fn failure() -> ApiError {
    let what = "the signature does not fit the request and the key";
    ApiError::new(Code::SignatureFailure, what)
}

/// The fields of a form; names must be unique.
fn fields(form: &str) -> Result<BTreeMap<String, String>, ApiError> {
    let bad = |what| ApiError::new(Code::InvalidParameter, what);
    let mut fields = BTreeMap::new();
    for pair in form.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = |text: &str| {
            let text = text.replace('+', " ");
            let text = percent_decode_str(&text).decode_utf8().map(|text| text.into_owned());
            text.map_err(|_| bad("the form is not UTF-8"))
        };
        let (name, value) = (decoded(name)?, decoded(value)?);
        if name.contains(['&', '=']) || value.split('&').skip(1).any(|rest| rest.contains('=')) {
            return Err(bad(
                "the form can be read in two ways, for the old signatures escape no & \
                 and =: sign it with TC3-HMAC-SHA256",
            ));
        }
        if fields.insert(name, value).is_some() {
            return Err(bad("a name occurs twice in the form"));
        }
    }
    Ok(fields)
}
