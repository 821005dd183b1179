//! The signature `TC3-HMAC-SHA256`.

use core::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest, Sha256};

use super::error::{ApiError, Code};
use crate::calendar::day;

/// The allowed difference between a request's time and ours, in seconds.
pub const SKEW: u64 = 300;

/// How long a signature that changed something is stored, in seconds: even one with the latest
/// accepted time has then expired.
pub const REPLAY: u64 = 2 * SKEW + 1;

const ALGORITHM: &str = "TC3-HMAC-SHA256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The request without its body. `Debug` shows only the method: a query may have a secret, and a
/// header the signature.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// `POST` or `GET`.
    pub method: &'a str,
    /// The raw query of a GET, without `?`; empty for a POST.
    pub query: &'a str,
    /// Names in any case, raw values.
    pub headers: &'a [(&'a str, &'a str)],
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("method", &self.method).finish_non_exhaustive()
    }
}

impl<'a> Request<'a> {
    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }

    fn required(&self, name: &str) -> Result<&'a str, ApiError> {
        self.header(name).filter(|value| !value.is_empty()).ok_or_else(|| ApiError::missing(name))
    }
}

/// The unproved claim of a signed request. [`verify`](Self::verify) proves it. `Debug` hides the
/// signature, which is valid for a while.
#[derive(Clone)]
pub struct Claim<'a> {
    /// The key's id.
    pub secret_id: &'a str,
    /// `X-TC-Action`.
    pub action: &'a str,
    /// `X-TC-Version`.
    pub version: &'a str,
    /// `X-TC-Timestamp`: Unix seconds.
    pub timestamp: u64,
    /// The signature must cover the action, or an attacker in between could change it.
    pub signs_action: bool,
    /// The signature must cover the body.
    pub signs_body: bool,
    /// The key in the table of used signatures.
    pub signature: [u8; 32],
    date: &'a str,
    service: &'a str,
    signed: &'a str,
    timestamp_text: &'a str,
}

impl fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("secret_id", &self.secret_id)
            .field("action", &self.action)
            .field("version", &self.version)
            .field("timestamp", &self.timestamp)
            .finish_non_exhaustive()
    }
}

impl<'a> Claim<'a> {
    /// Parses the headers at a time in Unix seconds.
    ///
    /// # Errors
    /// [`Code::MissingParameter`], [`Code::InvalidAuthorization`], [`Code::TokenFailure`] for
    /// temporary credentials, [`Code::SignatureExpire`].
    pub fn read(request: &Request<'a>, now: u64) -> Result<Self, ApiError> {
        let action = request.required("X-TC-Action")?;
        let version = request.required("X-TC-Version")?;
        let timestamp_text = request.required("X-TC-Timestamp")?;
        let authorization = request.required("Authorization")?;
        let bad = || {
            let form = "Authorization is not `TC3-HMAC-SHA256 Credential=…, SignedHeaders=…, \
                 Signature=…`";
            ApiError::new(Code::InvalidAuthorization, form)
        };
        if request.header("X-TC-Token").is_some_and(|token| !token.is_empty()) {
            let none = "temporary credentials are not supported";
            return Err(ApiError::new(Code::TokenFailure, none));
        }
        let fields = authorization.strip_prefix(ALGORITHM).ok_or_else(bad)?;
        let field = |name: &str| {
            let mut found = fields.split(',').filter_map(|field| field.trim().split_once('='));
            found.find(|(known, _)| *known == name).map(|(_, value)| value).ok_or_else(bad)
        };
        let mut scope = field("Credential")?.split('/');
        let mut part = || scope.next().filter(|part| !part.is_empty()).ok_or_else(bad);
        let (secret_id, date, service, last) = (part()?, part()?, part()?, part()?);
        if last != "tc3_request" || scope.next().is_some() {
            return Err(bad());
        }
        let signed = field("SignedHeaders")?;
        let signs = |name: &str| signed.split(';').any(|known| known == name);
        if !(signs("content-type") && signs("host")) {
            let what = "SignedHeaders must have content-type and host";
            return Err(ApiError::new(Code::InvalidAuthorization, what));
        }
        let mut signature = [0; 32];
        let hex = base16ct::lower::decode(field("Signature")?, &mut signature);
        if hex.is_ok_and(|bytes| bytes.len() == 32) {
            // The value fits.
        } else {
            return Err(bad());
        }
        let digits = timestamp_text.bytes().all(|byte| byte.is_ascii_digit());
        let timestamp = timestamp_text.parse::<u64>().ok().filter(|_| digits);
        let timestamp = timestamp.ok_or_else(|| {
            ApiError::new(Code::InvalidParameter, "X-TC-Timestamp is not Unix seconds")
        })?;
        if timestamp.abs_diff(now) > SKEW || date != day(timestamp) {
            let what = "X-TC-Timestamp is over 5 minutes from the server's time, or of another \
                 day than the credential";
            return Err(ApiError::new(Code::SignatureExpire, what));
        }
        Ok(Self {
            secret_id,
            action,
            version,
            timestamp,
            signs_action: signs("x-tc-action"),
            signs_body: request.header("X-TC-Content-SHA256") != Some(UNSIGNED),
            signature,
            date,
            service,
            signed,
            timestamp_text,
        })
    }

    /// Checks that the key signed the request. `body` is the SHA-256 of the body, of an empty one
    /// for a GET.
    ///
    /// Two deviations of clients are accepted: one signs the host without the port that it sends,
    /// some sign the action in lower case.
    ///
    /// # Errors
    /// [`Code::SignatureFailure`].
    pub fn verify(
        &self,
        request: &Request<'_>,
        body: [u8; 32],
        secret_key: &[u8],
    ) -> Result<(), ApiError> {
        let body = if self.signs_body { body } else { Sha256::digest(UNSIGNED).into() };
        let key = self.key(secret_key);
        for port in [true, false] {
            for lower in [false, true] {
                let Some(text) = self.to_sign(request, body, port, lower) else { continue };
                if mac(&key, text.as_bytes()).verify_slice(&self.signature).is_ok() {
                    return Ok(());
                }
            }
        }
        let what = "the signature does not fit the request and the key";
        Err(ApiError::new(Code::SignatureFailure, what))
    }

    fn key(&self, secret_key: &[u8]) -> [u8; 32] {
        let digest = |key: &[u8], text: &str| -> [u8; 32] {
            mac(key, text.as_bytes()).finalize().into_bytes().into()
        };
        let first = [b"TC3", secret_key].concat();
        digest(&digest(&digest(&first, self.date), self.service), "tc3_request")
    }

    /// The text to sign; `None` if a signed header is missing.
    fn to_sign(
        &self,
        request: &Request<'_>,
        body: [u8; 32],
        port: bool,
        lower: bool,
    ) -> Option<String> {
        let mut text = format!("{}\n/\n{}\n", request.method, request.query);
        for name in self.signed.split(';') {
            let mut value = request.header(name)?;
            if name == "host" && !port {
                value = value.rsplit_once(':').map_or(value, |(host, _)| host);
            }
            let lowered = value.to_ascii_lowercase();
            let value = if name == "x-tc-action" && lower { &lowered } else { value };
            text.push_str(name);
            text.push(':');
            text.push_str(value);
            text.push('\n');
        }
        text.push('\n');
        text.push_str(self.signed);
        text.push('\n');
        text.push_str(&base16ct::lower::encode_string(&body));
        let hashed = base16ct::lower::encode_string(&Sha256::digest(text));
        let Self { timestamp_text, date, service, .. } = self;
        Some(format!("{ALGORITHM}\n{timestamp_text}\n{date}/{service}/tc3_request\n{hashed}"))
    }
}

/// Signs a call: a POST of JSON, including the action.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned<'a> {
    /// `X-TC-Action`.
    pub action: &'a str,
    /// `Host`, with the port if it has one.
    pub host: &'a str,
    /// `iotexplorer` or `iotcloud`.
    pub service: &'a str,
    /// Unix seconds.
    pub now: u64,
    /// The body.
    pub body: &'a [u8],
}

impl Unsigned<'_> {
    /// The content type of the request.
    pub const CONTENT_TYPE: &'static str = "application/json";

    /// The value of `Authorization`. The action is signed in lower case, like on the vendor's newer
    /// pages.
    #[must_use]
    pub fn sign(&self, secret_id: &str, secret_key: &[u8]) -> String {
        let (now, action) = (self.now.to_string(), self.action.to_ascii_lowercase());
        let headers = [
            ("content-type", Self::CONTENT_TYPE),
            ("host", self.host),
            ("x-tc-action", action.as_str()),
        ];
        let request = Request { method: "POST", query: "", headers: &headers };
        let (date, signed) = (day(self.now), "content-type;host;x-tc-action");
        let claim = Claim {
            secret_id,
            action: self.action,
            version: "",
            timestamp: self.now,
            signs_action: true,
            signs_body: true,
            signature: [0; 32],
            date: &date,
            service: self.service,
            signed,
            timestamp_text: &now,
        };
        let body = Sha256::digest(self.body).into();
        // All signed headers are present.
        let text = claim.to_sign(&request, body, true, false).unwrap_or_default();
        let signature = mac(&claim.key(secret_key), text.as_bytes()).finalize().into_bytes();
        let signature = base16ct::lower::encode_string(&signature);
        format!(
            "{ALGORITHM} Credential={secret_id}/{date}/{}/tc3_request, SignedHeaders={signed}, \
             Signature={signature}",
            self.service
        )
    }
}

fn mac(key: &[u8], text: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new(&block::<Sha256>(key).into());
    mac.update(text);
    mac
}

/// The first block of HMAC for a key of any length: a long one is hashed first.
pub(super) fn block<D: Digest>(key: &[u8]) -> [u8; 64] {
    let mut block = [0; 64];
    let hashed;
    let short = if key.len() > block.len() {
        hashed = D::digest(key);
        hashed.as_slice()
    } else {
        key
    };
    for (to, from) in block.iter_mut().zip(short) {
        *to = *from;
    }
    block
}
