//! The configuration of a session.

use alloc::string::String;
use core::fmt;

use ota_proto::Micros;

use super::packet::{Connect, Request};

/// The configuration of a [`super::Session`]. [`SessionConfig::new`] has the defaults.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct SessionConfig {
    /// The login.
    pub login: ConnectLogin,
    /// Memory limits.
    pub limits: SessionLimits,
    /// Time-outs and intervals.
    pub timing: SessionTiming,
}

impl SessionConfig {
    /// Returns the defaults for this login.
    #[must_use]
    pub fn new(login: ConnectLogin) -> Self {
        Self { login, limits: SessionLimits::default(), timing: SessionTiming::default() }
    }

    /// Rejects values that would make a session impossible.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let SessionLimits { packet, tx, ota_tx, window, ota_window, tries, inbound, .. } =
            self.limits;
        let control = self.limits.control();
        if packet < 128 || tx <= control.saturating_add(ota_tx) {
            return Err(ConfigError::Bytes);
        }
        if window <= ota_window || ota_window == 0 || inbound == 0 || tries == 0 {
            return Err(ConfigError::Window);
        }
        let SessionTiming { keep_alive, connack, suback, puback, .. } = self.timing;
        let SessionTiming { pingresp, write, blocked, resubscribe, .. } = self.timing;
        let whole = Micros::from_secs(keep_alive.as_secs());
        if keep_alive.is_zero() || keep_alive != whole || self.timing.keep_alive_secs().is_none() {
            return Err(ConfigError::KeepAlive);
        }
        let all = [connack, suback, puback, pingresp, write, blocked, resubscribe];
        if all.iter().any(|time| time.is_zero()) {
            return Err(ConfigError::Time);
        }
        self.login.check(tx, keep_alive)
    }
}

/// The fields of CONNECT that name the device (docs/protocol.md, Connection).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ConnectLogin {
    /// Client identifier, 1 to 65,535 bytes.
    pub client_id: String,
    /// User name, at most 65,535 bytes.
    pub user_name: Option<String>,
    /// Password, at most 65,535 bytes; it needs a user name.
    pub password: Option<Password>,
}

impl ConnectLogin {
    /// Makes a login with user name and password.
    #[must_use]
    pub fn new(client_id: String, user_name: String, password: String) -> Self {
        Self { client_id, user_name: Some(user_name), password: Some(Password(password)) }
    }

    pub(super) fn check(&self, tx: usize, keep_alive: Micros) -> Result<(), ConfigError> {
        if self.client_id.is_empty() || (self.password.is_some() && self.user_name.is_none()) {
            return Err(ConfigError::Login);
        }
        match Request::Connect(self.connect(keep_alive)).encoded_len() {
            Ok(len) if len <= tx => Ok(()),
            _ => Err(ConfigError::Login),
        }
    }

    pub(super) fn connect(&self, keep_alive: Micros) -> Connect<'_> {
        Connect {
            client_id: &self.client_id,
            keep_alive: u16::try_from(keep_alive.as_secs()).unwrap_or(u16::MAX),
            user_name: self.user_name.as_deref(),
            password: self.password.as_ref().map(|secret| secret.0.as_bytes()),
        }
    }
}

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Password {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Password(..)");
    }
}

/// Memory limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SessionLimits {
    /// Longest accepted packet in bytes, with its header; longer messages are skipped. The caller's
    /// receive buffer must hold as much. At least 128. Default 4,096.
    pub packet: usize,
    /// Bytes that wait for the transport. Default 4,096.
    pub tx: usize,
    /// The part of `tx` that only OTA packets may use: at least the longest report of a device,
    /// which is its topic and 265 bytes. Default 1,024.
    pub ota_tx: usize,
    /// Publications whose completion was not polled yet. Default 8.
    pub window: usize,
    /// The part of `window` that only OTA publications may use. At least 1. Default 2.
    pub ota_window: usize,
    /// Bytes of application messages of QoS 1 that are kept across connections until they are
    /// acknowledged or given up. Default 3,584.
    pub kept: usize,
    /// Sessions that send a kept message before it is given up. At least 1. Default 5.
    pub tries: u8,
    /// Inbound messages of QoS 1 whose acknowledgement was not sent yet. Default 8.
    pub inbound: usize,
    /// Subscriptions. Default 16.
    pub subscriptions: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            packet: 4_096,
            tx: 4_096,
            ota_tx: 1_024,
            window: 8,
            ota_window: 2,
            kept: 3_584,
            tries: 5,
            inbound: 8,
            subscriptions: 16,
        }
    }
}

impl SessionLimits {
    /// Bytes of `tx` kept free for PUBACKs (4 each), PINGREQ and DISCONNECT (2 each).
    pub(super) const fn control(&self) -> usize {
        self.inbound.saturating_mul(4).saturating_add(4)
    }
}

/// Time-outs and intervals of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SessionTiming {
    /// Longest silence before a PINGREQ; whole seconds, 1 to 65,535 (the platform takes up to
    /// 900: docs/protocol.md, Connection). Default 60 s.
    pub keep_alive: Micros,
    /// From the connection to CONNACK. Default 10 s.
    pub connack: Micros,
    /// From sending SUBSCRIBE or UNSUBSCRIBE to its answer. Default 10 s.
    pub suback: Micros,
    /// From sending PUBLISH of QoS 1 to PUBACK. Default 10 s.
    pub puback: Micros,
    /// From sending PINGREQ to PINGRESP. Default 10 s.
    pub pingresp: Micros,
    /// How long the transport may accept no byte although some wait. Default 10 s.
    pub write: Micros,
    /// How long the application may leave [`SessionLimits::inbound`] messages unacknowledged, which stops
    /// all reading. Default 60 s.
    pub blocked: Micros,
    /// From a refused subscription that does not end the session to the next SUBSCRIBE. Default 60
    /// s.
    pub resubscribe: Micros,
}

impl Default for SessionTiming {
    fn default() -> Self {
        let ten = Micros::from_secs(10);
        Self {
            keep_alive: Micros::from_secs(60),
            connack: ten,
            suback: ten,
            puback: ten,
            pingresp: ten,
            write: ten,
            blocked: Micros::from_secs(60),
            resubscribe: Micros::from_secs(60),
        }
    }
}

impl SessionTiming {
    fn keep_alive_secs(&self) -> Option<u16> {
        u16::try_from(self.keep_alive.as_secs()).ok()
    }
}

/// The caller's fault: a configuration that no session can work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConfigError {
    /// The login is empty, too long for [`SessionLimits::tx`], or has a password without a user name.
    Login,
    /// `packet` is below 128 bytes, `tx` leaves nothing besides its reserved part, or a limit on
    /// the firmware server's answers is 0.
    Bytes,
    /// `window` leaves nothing besides `ota_window`, or `ota_window`, `inbound` or `tries` is 0.
    Window,
    /// The keep-alive is not 1 to 65,535 whole seconds.
    KeepAlive,
    /// A time is below a microsecond.
    Time,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Login => "login is empty, too long, or a password without a user name",
            Self::Bytes => "buffer limits are too small",
            Self::Window => "windows are too small",
            Self::KeepAlive => "keep-alive is not 1 to 65,535 whole seconds",
            Self::Time => "a time limit is zero",
        })
    }
}

impl core::error::Error for ConfigError {}
