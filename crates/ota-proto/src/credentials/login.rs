//! The MQTT login (docs/protocol.md, Connection), which the device makes and the cloud checks.

use alloc::format;
use alloc::string::String;
use core::fmt;

use super::{APP_ID, Algorithm, Hex, Secret};
use crate::identity::Identity;
use crate::rng::Rng;

/// How long a login of [`Identity::login`] is valid: a day in seconds.
const VALID: u64 = 86_400;

/// 2100-01-01 in Unix seconds: the expiry of a login without a known time.
const FAR: u64 = 4_102_444_800;

/// The login fields of a CONNECT. `Debug` hides the password.
///
/// [`Identity::login`] makes it from the device's data; [`Login::new`] has all settings.
///
/// ```
/// use ota_proto::Identity;
/// use ota_proto::credentials::{APP_ID, Algorithm, Login, Secret, verify};
///
/// let identity = Identity::new("TESTPROD01", "dev001")?;
/// let secret = Secret::from_base64("MDEyMzQ1Njc4OWFiY2RlZg==")?;
/// let login =
///     Login::new(&identity, &secret, Algorithm::HmacSha256, APP_ID, "AbC12", 4_102_444_800)?;
/// assert_eq!(login.username, "TESTPROD01dev001;12010126;AbC12;4102444800");
/// assert!(login.password.starts_with("18e5ca24") && login.password.ends_with(";hmacsha256"));
/// // The cloud's half:
/// verify(&login.username, &login.password, &login.client_id, &secret, 1_700_000_000)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Login {
    /// `{product}{device}`.
    pub client_id: String,
    /// `{product}{device};{application};{connection};{expiry}`.
    pub username: String,
    /// `{hex};{algorithm}`, the signature of the user name; empty if a certificate signs in.
    pub password: String,
}

impl Login {
    /// Signs in as `identity`.
    ///
    /// `app_id` is [`super::APP_ID`] or another one, `conn_id` five letters or digits ([`conn_id`]
    /// makes them from a random number), `expiry` the Unix time in seconds at which the login
    /// expires. A device without a clock uses a time that no clock reaches, as the vendor's SDKs
    /// do.
    ///
    /// # Errors
    /// [`BadLogin`] names the fault.
    pub fn new(
        identity: &Identity,
        secret: &Secret,
        algorithm: Algorithm,
        app_id: &str,
        conn_id: &str,
        expiry: u64,
    ) -> Result<Self, BadLogin> {
        Ok(Self::certified(identity, app_id, conn_id, expiry)?.signed(secret, algorithm))
    }

    /// Makes a login without a password, for a TLS certificate that proves the identity. See
    /// [`Login::new`].
    ///
    /// # Errors
    /// [`BadLogin`] names the fault.
    pub fn certified(
        identity: &Identity,
        app_id: &str,
        conn_id: &str,
        expiry: u64,
    ) -> Result<Self, BadLogin> {
        if app_id.is_empty() || !app_id.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BadLogin::AppId);
        }
        if conn_id.len() != 5 || !conn_id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(BadLogin::ConnId);
        }
        Ok(Self::named(identity, app_id, conn_id, expiry))
    }

    fn named(identity: &Identity, app_id: &str, conn_id: &str, expiry: u64) -> Self {
        let client_id = format!("{}{}", identity.product_id(), identity.device_name());
        let username = format!("{client_id};{app_id};{conn_id};{expiry}");
        Self { client_id, username, password: String::new() }
    }

    fn signed(mut self, secret: &Secret, algorithm: Algorithm) -> Self {
        let tag = algorithm.sign(secret.expose(), self.username.as_bytes());
        self.password = format!("{};{}", Hex(tag.as_bytes()), algorithm.word());
        self
    }
}

/// Feature `credentials`.
impl Identity {
    /// The MQTT login of one connection: make one for each. It is valid for a day.
    ///
    /// `unix_time` is the current Unix time in seconds; without it, for example if the clock is not
    /// set, the login does not expire. `random` identifies this connection in the cloud's logs. Use
    /// [`Login::new`] for another algorithm, application id or expiry, and [`Login::certified`] for
    /// a device with a TLS certificate.
    ///
    /// ```
    /// use ota_proto::Identity;
    ///
    /// let me = Identity::new("TESTPROD01", "dev001")?;
    /// let secret = "MDEyMzQ1Njc4OWFiY2RlZg==".parse()?;
    /// let login = me.login(&secret, Some(1_700_000_000), 7);
    /// assert_eq!(login.client_id, "TESTPROD01dev001");
    /// assert!(login.username.starts_with("TESTPROD01dev001;12010126;"));
    /// assert!(login.username.ends_with(";1700086400"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn login(&self, secret: &Secret, unix_time: Option<u64>, random: u64) -> Login {
        let expiry = unix_time.map_or(FAR, |unix| unix.saturating_add(VALID));
        let conn_id = conn_id(Rng::new(random).next_u64());
        Login::named(self, APP_ID, &conn_id, expiry).signed(secret, Algorithm::default())
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Login {
    fn format(&self, f: defmt::Formatter<'_>) {
        let (id, user) = (self.client_id.as_str(), self.username.as_str());
        defmt::write!(f, "Login {{ client_id: {=str}, username: {=str}, .. }}", id, user);
    }
}

/// Five letters and digits from a random number, for the cloud's logs.
#[must_use]
pub fn conn_id(random: u64) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let digit = |power: u32| {
        let digit = random.checked_div(62_u64.saturating_pow(power)).unwrap_or(0) % 62;
        let letter = usize::try_from(digit).ok().and_then(|digit| LETTERS.get(digit));
        char::from(*letter.unwrap_or(&b'0'))
    };
    (0..5).map(digit).collect()
}

/// A parsed user name. Do not trust its content before [`verify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Username<'a> {
    /// Product id and device name without a separator.
    pub client_id: &'a str,
    /// The kind of SDK.
    pub app_id: &'a str,
    /// Random letters and digits of this connection.
    pub conn_id: &'a str,
    /// When the login expires, in Unix seconds by the protocol. The vendor's Python SDK sends
    /// milliseconds, its C SDK a number far in the future.
    pub expiry: u64,
}

impl<'a> Username<'a> {
    /// Parses a user name: four parts, none empty, the last one a number below 2⁶⁴.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';');
        let mut part = || parts.next().filter(|part| !part.is_empty());
        let (client_id, app_id, conn_id, expiry) = (part()?, part()?, part()?, part()?);
        if parts.next().is_some() {
            return None;
        }
        let digits = expiry.bytes().all(|byte| byte.is_ascii_digit());
        let expiry = expiry.parse().ok().filter(|_| digits)?;
        Some(Self { client_id, app_id, conn_id, expiry })
    }
}

/// The cloud's check of a login: whether the device with this client id and secret made it, and
/// whether it is still valid at `unix_now` in seconds.
///
/// The password is compared in constant time. [`LoginError::Expired`] is reported only if the
/// signature is right.
///
/// # Errors
/// [`LoginError`] names the fault.
pub fn verify(
    username: &str,
    password: &str,
    client_id: &str,
    secret: &Secret,
    unix_now: u64,
) -> Result<(), LoginError> {
    let parsed = Username::parse(username).ok_or(LoginError::Username)?;
    if parsed.client_id != client_id {
        return Err(LoginError::ClientId);
    }
    let (hex, word) = password.split_once(';').ok_or(LoginError::Password)?;
    let algorithm = Algorithm::from_word(word).ok_or(LoginError::Algorithm)?;
    let mut tag = [0; 32];
    let tag = base16ct::mixed::decode(hex, &mut tag).map_err(|_| LoginError::Password)?;
    if tag.len() != algorithm.tag_len()
        || !algorithm.check(secret.expose(), username.as_bytes(), tag)
    {
        return Err(LoginError::Password);
    }
    if parsed.expiry < unix_now { Err(LoginError::Expired) } else { Ok(()) }
}

/// Why a login is refused: the device's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LoginError {
    /// The user name does not have four parts.
    Username,
    /// The user name is for another client id.
    ClientId,
    /// The password names an algorithm that is not known.
    Algorithm,
    /// The password is not the signature of the user name.
    Password,
    /// The login has expired.
    Expired,
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Username => "not a user name of a device",
            Self::ClientId => "user name and client id differ",
            Self::Algorithm => "unknown signature algorithm",
            Self::Password => "wrong password",
            Self::Expired => "the login has expired",
        })
    }
}

impl core::error::Error for LoginError {}

/// Why a login cannot be made: the caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BadLogin {
    /// The application id is not a number.
    AppId,
    /// The connection id is not five letters or digits.
    ConnId,
}

impl fmt::Display for BadLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AppId => "an application id is a number",
            Self::ConnId => "a connection id is five letters or digits",
        })
    }
}

impl core::error::Error for BadLogin {}
