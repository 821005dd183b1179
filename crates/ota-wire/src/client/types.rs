//! Inputs and outputs of a client.

use alloc::string::String;
use core::fmt;
use core::ops::Range;

use ota_proto::{Instant, MessageError, Micros, OpId, Peer, TransportError, Work};

use crate::http;
use crate::mqtt::{self, AckId, PublishHandle, ReconnectConfig, SessionError, SubId};

/// The index of a client's device: 0 has the login of the connection, the others are its
/// sub-devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DeviceIndex(pub(super) usize);

impl DeviceIndex {
    /// The device with the login of the connection.
    pub const FIRST: Self = Self(0);

    /// Its index in the order of [`super::Client::add_device`], from 0.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }
}

/// One connection of a client. It includes an epoch: late inputs of a closed one are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Link {
    /// Its kind. There is at most one open link of each kind.
    pub kind: LinkKind,
    pub(super) epoch: u32,
}

impl Link {
    /// Makes the next link, with a new epoch.
    pub(super) fn next(epoch: &mut u32, kind: LinkKind) -> Self {
        *epoch = epoch.wrapping_add(1);
        Self { kind, epoch: *epoch }
    }
}

/// The kind of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum LinkKind {
    /// MQTT, to the broker.
    Broker,
    /// HTTP, to the firmware server.
    Store,
}

impl LinkKind {
    /// The peer, in the machines' terms.
    #[must_use]
    pub const fn peer(self) -> Peer {
        match self {
            Self::Broker => Peer::Broker,
            Self::Store => Peer::Store,
        }
    }
}

/// The configuration of a client. [`ClientConfig::new`] has the defaults.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct ClientConfig {
    /// The broker's host name or address.
    pub host: String,
    /// The broker's port.
    pub port: u16,
    /// Whether the broker uses TLS.
    pub tls: bool,
    /// The MQTT session: login, limits, times.
    pub mqtt: mqtt::SessionConfig,
    /// When to connect again.
    pub reconnect: ReconnectConfig,
    /// Limits on the framing of the firmware server.
    pub http: http::FetchLimits,
    /// The longest time for connecting: name, TCP and TLS. Default 10 s.
    pub connect: Micros,
    /// The seed of all random numbers: use a different one for each device.
    pub seed: u64,
}

impl ClientConfig {
    /// Makes the defaults for this broker and login.
    #[must_use]
    pub fn new(host: String, port: u16, tls: bool, login: mqtt::ConnectLogin, seed: u64) -> Self {
        Self {
            host,
            port,
            tls,
            mqtt: mqtt::SessionConfig::new(login),
            reconnect: ReconnectConfig::default(),
            http: http::FetchLimits::default(),
            connect: Micros::from_secs(10),
            seed,
        }
    }

    /// Raises the limits for a machine with more memory: packets of 16 KiB and
    /// [`http::FetchLimits::large`]. Larger values stay.
    pub fn enlarge(&mut self) {
        let (packet, large) = (&mut self.mqtt.limits.packet, http::FetchLimits::large());
        *packet = (*packet).max(16 * 1024);
        self.http.line = self.http.line.max(large.line);
        self.http.request = self.http.request.max(large.request);
    }

    /// Checks the settings outside the MQTT session.
    pub(super) fn check(&self) -> Result<(), mqtt::ConfigError> {
        // Without one of them, a link that fails at once would be opened again at the same time.
        let ReconnectConfig { min_interval, base, cap, cap_open, .. } = self.reconnect;
        let between = min_interval.max(base.min(cap).min(cap_open));
        if [between, self.connect].iter().any(|time| time.is_zero()) {
            return Err(mqtt::ConfigError::Time);
        }
        if [self.http.head, self.http.line, self.http.request].contains(&0) {
            return Err(mqtt::ConfigError::Bytes);
        }
        Ok(())
    }

    /// Divides all times by this, for tests and demonstrations. The keep-alive has whole seconds.
    pub fn divide_times(&mut self, by: u32) {
        let (mqtt, reconnect) = (&mut self.mqtt.timing, &mut self.reconnect);
        let keep_alive = mqtt.keep_alive.as_secs().checked_div(by.into()).unwrap_or(0).max(1);
        mqtt.keep_alive = Micros::from_secs(keep_alive);
        for time in [
            &mut mqtt.connack,
            &mut mqtt.suback,
            &mut mqtt.puback,
            &mut mqtt.pingresp,
            &mut mqtt.write,
            &mut mqtt.blocked,
            &mut mqtt.resubscribe,
            &mut reconnect.min_interval,
            &mut reconnect.base,
            &mut reconnect.cap,
            &mut reconnect.cap_open,
            &mut reconnect.stable,
            &mut reconnect.spread,
            &mut reconnect.kick_window,
            &mut self.connect,
        ] {
            *time = time.part(by);
        }
    }
}

/// Does the same for a device as [`ClientConfig::enlarge`]: payloads of 16 KiB and URLs of 4 KiB, and
/// with the feature `url-user` also URLs with a user and password.
pub fn enlarge_device(config: &mut ota_proto::Config) {
    let limits = &mut config.limits;
    limits.payload = limits.payload.max(16 * 1024);
    limits.url = limits.url.max(4 * 1024);
    config.url_user |= cfg!(feature = "url-user");
}

/// An output of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Output<'a> {
    /// Open this link; answer with `handle_connected` (after TLS) or `handle_connect_failed`. An
    /// older link of the same kind was closed before.
    Connect {
        /// The link.
        link: Link,
        /// Host name or address.
        host: &'a str,
        /// Port.
        port: u16,
        /// With TLS, the certificate checked against `host`.
        tls: bool,
    },
    /// Close this link, or stop opening it. Needs no answer.
    Close {
        /// The link.
        link: Link,
    },
    /// Perform this work of a device's slot or journal; answer with
    /// [`ota_proto::Updater::handle_done`] through [`super::Client::updater_mut`]. Writes come as
    /// [`Found::Write`].
    Do {
        /// The device.
        device: DeviceIndex,
        /// The operation.
        op: OpId,
        /// The work.
        work: Work<Range<usize>>,
    },
    /// Pass this event to the application.
    Event(ClientEvent),
    /// Nothing to do before the deadline.
    Idle {
        /// When to call [`super::Client::handle_timeout`].
        deadline: Option<Instant>,
        /// The purpose of the deadline.
        timer: Option<Timer>,
        /// Whether to read from the broker's link.
        read_broker: bool,
        /// Whether to read from the firmware server's link.
        read_store: bool,
    },
}

/// Hides the bytes of a record.
#[cfg(feature = "defmt")]
impl defmt::Format for Output<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        match self {
            Self::Connect { link, host, port, tls } => {
                defmt::write!(f, "Connect({}, {=str}:{=u16}, tls: {=bool})", link, host, port, tls);
            }
            Self::Close { link } => defmt::write!(f, "Close({})", link),
            Self::Do { device, op, work } => defmt::write!(f, "Do({}, {}, {})", device, op, work),
            Self::Event(event) => defmt::write!(f, "Event({})", event),
            Self::Idle { deadline, timer, .. } => defmt::write!(f, "Idle({}, {})", deadline, timer),
        }
    }
}

/// The purpose of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Timer {
    /// A device's update.
    Device(DeviceIndex, ota_proto::Timer),
    /// The MQTT session.
    Mqtt(mqtt::SessionTimer),
    /// The next connection to the broker.
    Reconnect,
    /// A connection that is being opened.
    Connect,
}

/// Events for the application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ClientEvent {
    /// An event of a device's update.
    Device {
        /// The device.
        device: DeviceIndex,
        /// The event.
        event: ota_proto::Event,
    },
    /// The broker accepted the login.
    Connected,
    /// The broker's link is closed, or could not be opened.
    Disconnected {
        /// The reason.
        cause: Disconnect,
        /// When the next one opens.
        retry_at: Instant,
    },
    /// The peer ended three sessions within a minute: most likely another client uses the same
    /// login.
    Kicked,
    /// The application left [`mqtt::SessionLimits::inbound`] messages without
    /// [`super::Client::acknowledge`] for [`mqtt::SessionTiming::blocked`], and messages for the devices
    /// wait behind them. The next connection leaves its subscriptions out until the devices have
    /// their replies. [`ClientEvent::Subscribed`] reports that they are back.
    LeftOut,
    /// A message on a device's topic is not a cloud message. It had no effect.
    BadMessage {
        /// The device.
        device: DeviceIndex,
        /// The fault.
        error: MessageError,
    },
    /// A message was longer than the limit and was skipped.
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The server retains a message on a device's topic and sends it to each new subscriber. An old
    /// message is neither an offer nor a reply: it had no effect. Reported once per session.
    Retained {
        /// The device.
        device: DeviceIndex,
    },
    /// A message of the application was sent (QoS 0) or acknowledged (QoS 1).
    Published(PublishHandle),
    /// A message of the application at QoS 1 is given up: it was sent in [`mqtt::SessionLimits::tries`]
    /// sessions, none of which lasted until its acknowledgement.
    GivenUp(PublishHandle),
    /// A subscription of the application is active.
    Subscribed(SubId),
    /// The broker refused a subscription of the application, or of a sub-device. It is requested
    /// again every minute ([`mqtt::SessionTiming::resubscribe`]) and reported once per connection.
    SubscribeRefused(SubId),
    /// A subscription of the application is removed.
    Unsubscribed(SubId),
}

/// Why the broker's link is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Disconnect {
    /// It could not be opened, or it broke.
    Transport(TransportError),
    /// The session ended it.
    Session(SessionError),
    /// The application asked for it.
    Planned,
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(why) => why.fmt(f),
            Self::Session(why) => why.fmt(f),
            Self::Planned => f.write_str("asked for"),
        }
    }
}

/// The result of one call of [`super::Client::handle_received`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub struct Received {
    /// Consumed bytes at the front of the buffer. Those in a span of `found` must stay in place
    /// until that is handled.
    pub consumed: usize,
    /// The content for the adapter. Spans count from the front of the given buffer.
    pub found: Option<Found>,
}

/// Content for the adapter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Found {
    /// A [`Work::Write`] for a device's slot; answer with [`ota_proto::Updater::handle_done`].
    Write {
        /// The device.
        device: DeviceIndex,
        /// The operation.
        op: OpId,
        /// Where in the slot, in bytes from its start.
        at: u64,
        /// The span of the bytes.
        span: Range<usize>,
    },
    /// A message on one of the application's topics.
    Message {
        /// Its topic.
        topic: Range<usize>,
        /// Its payload.
        payload: Range<usize>,
        /// For [`super::Client::acknowledge`] once the application has taken it.
        ack: Option<AckId>,
    },
}

/// Why a device could not be added: the caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AddError {
    /// Its configuration is invalid.
    Config(ota_proto::ConfigError),
    /// Its topic cannot be subscribed: too many devices, or the same one twice.
    Subscribe(mqtt::SubscribeError),
    /// A limit of [`ClientConfig`] is too small for what this device sends, receives or fetches.
    Limit {
        /// The field.
        what: &'static str,
        /// The minimum value, in bytes.
        needed: usize,
    },
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(why) => why.fmt(f),
            Self::Subscribe(why) => why.fmt(f),
            Self::Limit { what, needed } => {
                write!(f, "the limit `{what}` must be at least {needed} bytes")
            }
        }
    }
}

impl core::error::Error for AddError {}

/// The owner of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Owner {
    Device(DeviceIndex, ota_proto::PubId),
    Application,
}
