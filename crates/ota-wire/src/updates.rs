//! The events of an application with one device: one flat [`Event`] for the adapter, the client and
//! the machine, with a sentence for each.
//!
//! An adapter for one device translates with [`Event::of`]. One with several devices passes on
//! [`adapter::DriverEvent`], which names the device. Each adapter exports [`Event`] with its own
//! image.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use ota_proto::{
    Answer, Instant, Md5, MessageError, Offer, Outcome, Reason, State, StorageError, TlsError,
    TransportError, Updater, Version,
};

use crate::adapter;
use crate::client::{self, Client, DeviceIndex, Disconnect};
use crate::mqtt::packet::ConnectCode;
use crate::mqtt::{PublishHandle, SessionError, SubId};

/// An event. `Display` is a sentence for a log; `Debug` hides secrets and payloads. `I` is the
/// image that an adapter passes to the installer.
///
/// An application must handle [`Event::Install`] and [`Event::Restart`], [`Event::Trial`] if it has
/// a boot loader or two slots, and [`Event::Offered`] and [`Event::Ready`] if it has configured
/// them. It may log the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event<I = NewImage> {
    /// The cloud offers a version. Only with `Builder::ask_to_download`: answer with `accept`,
    /// `defer` or `refuse`.
    Offered {
        /// The version.
        version: Version,
        /// Its size in bytes.
        size: u64,
    },
    /// The download starts, or resumes.
    Downloading {
        /// Bytes already stored.
        from: u64,
    },
    /// The stored part of the image.
    Progress {
        /// Percent, 0 to 99.
        percent: u8,
    },
    /// The download failed and will be repeated.
    Retrying {
        /// The reason.
        reason: Reason,
        /// The server's answer, if it explains the reason.
        answer: Option<Answer>,
    },
    /// The image is verified. With `Builder::ask_to_approve` answer with `approve` or `veto`, with
    /// `Builder::ask_to_install` answer with `install`.
    Ready,
    /// Install this image now, then call `installed`. The update waits for it for ten minutes.
    Install(I),
    /// The installation takes too long: stop it, then call `installed` with a failure.
    StopInstall,
    /// Restart now. The boot loader, or the program's supervisor, then starts the new version, or
    /// after a roll-back the old one. Raised again if nothing happens.
    Restart,
    /// This program is the new version, on trial. Test it, then call `confirm` or `roll_back`.
    Trial,
    /// The update succeeded: this version is running and confirmed.
    Done {
        /// The version.
        version: Version,
    },
    /// The update failed. The old version is running.
    Failed {
        /// The offered version.
        version: Version,
        /// The reason.
        reason: Reason,
        /// The server's answer, if it explains the reason.
        answer: Option<Answer>,
    },
    /// The new version was rolled back. The old version is running.
    RolledBack {
        /// The offered version.
        version: Version,
        /// The reason.
        reason: Reason,
    },
    /// The cloud has the result of the update.
    Reported(Outcome),
    /// The cloud has the running version.
    VersionReported,
    /// The cloud refused the version report. It is repeated later.
    VersionRefused {
        /// The cloud's code, not 0.
        code: i64,
    },
    /// The cloud offers another version instead of this one.
    Superseded,
    /// The cloud no longer offers the version. The stored bytes are kept.
    Withdrawn,
    /// The offer was refused: this image failed here too often.
    Banned,
    /// Too many updates failed. The next one starts after this time.
    HeldBack {
        /// The time until then.
        wait: Duration,
    },
    /// The journal or the slot cannot be written. The device tries again.
    StorageTrouble(StorageError),
    /// The previous image was removed, because the next one needed its room. Only on hosts.
    ImageRemoved {
        /// Its size in bytes.
        bytes: u64,
    },

    /// The broker accepted the login.
    Connected,
    /// The connection to the broker could not be opened, or has ended.
    Disconnected {
        /// The broker's host.
        host: String,
        /// Its port.
        port: u16,
        /// The reason.
        cause: Disconnect,
        /// The time until the next try.
        retry_in: Duration,
    },
    /// The broker ended three connections within a minute: most likely another program uses the
    /// same login.
    Kicked,
    /// The login of this connection does not expire: the clock is not set, or the broker refused
    /// one that expires. Only on hosts; elsewhere many devices have no clock.
    LastingLogin,
    /// A message from the cloud is invalid. It had no effect.
    BadMessage(MessageError),
    /// The broker retains an old message for this device. It had no effect.
    Retained,

    /// A message on one of the application's own topics. The next call of `next` acknowledges it.
    Message(Message),
    /// A message that was longer than the limit was skipped.
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A message of the application was sent (QoS 0) or acknowledged (QoS 1).
    Published(PublishHandle),
    /// A message of the application at QoS 1 was given up: it was sent in five connections, and
    /// none lasted until its acknowledgement.
    GivenUp(PublishHandle),
    /// The broker accepted a subscription.
    Subscribed(SubId),
    /// The broker refused a subscription. It is requested again every minute.
    SubscribeRefused(SubId),
    /// A subscription has ended.
    Unsubscribed(SubId),
    /// The application did not acknowledge its messages for too long: its subscriptions are
    /// suspended until the device has its replies from the cloud.
    Suspended,
}

/// A verified image: it is complete, and its digest matches the offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct NewImage {
    /// The offered version.
    pub version: Version,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub md5: Md5,
}

impl NewImage {
    /// The image of an offer.
    #[must_use]
    pub const fn of(offer: Offer<'_>) -> Self {
        Self { version: offer.version, size: offer.size, md5: offer.md5 }
    }
}

impl fmt::Display for NewImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {} ({} bytes)", self.version, self.size)
    }
}

/// A message on one of the application's own topics.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Hides the payload.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({:?}, {} bytes)", self.topic, self.payload.len())
    }
}

/// Hides the payload.
#[cfg(feature = "defmt")]
impl defmt::Format for Message {
    fn format(&self, f: defmt::Formatter<'_>) {
        let (topic, len) = (self.topic.as_str(), self.payload.len());
        defmt::write!(f, "Message({=str}, {=usize} bytes)", topic, len);
    }
}

/// The state of a device's update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Status {
    /// The running version.
    pub running: Version,
    /// The state of its update.
    pub state: State,
    /// The offered version, if any.
    pub offered: Option<Version>,
    /// Stored bytes and size of the image, during an update.
    pub stored: Option<(u64, u64)>,
    /// The result that the cloud must still get.
    pub owed: Option<Outcome>,
    /// Whether the broker has accepted the login of this connection.
    pub connected: bool,
}

impl Status {
    /// Returns the state of a device of this client.
    #[must_use]
    pub fn of(client: &Client, device: DeviceIndex) -> Option<Self> {
        let updater = client.updater(device)?;
        Some(Self {
            running: updater.running(),
            state: updater.state(),
            offered: updater.offer().map(|offer| offer.version),
            stored: updater.progress(),
            owed: updater.owed(),
            connected: client.is_connected(),
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Idle => "no update",
            State::Offered => "an offer waits for an answer",
            State::Deferred => "the offer is deferred",
            State::Fetching => "downloading",
            State::Waiting => "waiting to go on with the download",
            State::Verifying => "verifying",
            State::Ready => "verified",
            State::Installing => "installing",
            State::Restarting => "restarting",
            State::Trial => "on trial",
            _ => "updating",
        };
        let link = if self.connected { "connected" } else { "not connected" };
        write!(f, "version {}, {link}; {state}", self.running)?;
        if let Some(version) = self.offered {
            write!(f, ", version {version}")?;
        }
        let downloads = matches!(self.state, State::Fetching | State::Waiting);
        if let Some((stored, size)) = self.stored.filter(|_| downloads) {
            write!(f, ", {stored} of {size} bytes")?;
        }
        Ok(())
    }
}

impl<I> Event<I> {
    /// Translates an event of an adapter with one device, whose client this is. `image` makes the
    /// installer's image. `None` if that makes none, and for events that only a later version of
    /// the core has.
    pub fn of(
        event: adapter::DriverEvent,
        client: &Client,
        now: Instant,
        image: impl FnOnce(NewImage) -> Option<I>,
    ) -> Option<Self> {
        match event {
            adapter::DriverEvent::Message { topic, payload, .. } => {
                Some(Self::Message(Message { topic, payload }))
            }
            adapter::DriverEvent::Client(client::ClientEvent::Device { device, event }) => {
                Self::of_update(event, client.updater(device)?, now, image)
            }
            adapter::DriverEvent::Client(event) => Self::of_client(event, client, now),
        }
    }

    fn of_update(
        event: ota_proto::Event,
        updater: &Updater,
        now: Instant,
        image: impl FnOnce(NewImage) -> Option<I>,
    ) -> Option<Self> {
        use ota_proto::Event as E;
        Some(match event {
            E::Offered => {
                let offer = updater.offer()?;
                Self::Offered { version: offer.version, size: offer.size }
            }
            E::Started { from } => Self::Downloading { from },
            E::Progress { percent } => Self::Progress { percent },
            E::Retry { cause } => {
                let answer = updater.answer().filter(|_| cause.is_explained());
                Self::Retrying { reason: cause, answer }
            }
            E::Ready => Self::Ready,
            E::Install { .. } => {
                let offer = updater.offer();
                // An attempt that installs has an offer.
                debug_assert!(offer.is_some(), "an installation without an offer");
                Self::Install(image(NewImage::of(offer?))?)
            }
            E::StopInstall => Self::StopInstall,
            E::Restart => Self::Restart,
            E::Trial => Self::Trial,
            E::Finished { version, outcome, answer } => Self::of_end(version, outcome, answer),
            E::Reported { outcome } => Self::Reported(outcome),
            E::VersionAccepted => Self::VersionReported,
            E::VersionRefused { code } => Self::VersionRefused { code },
            E::Superseded => Self::Superseded,
            E::Withdrawn => Self::Withdrawn,
            E::Banned => Self::Banned,
            E::HeldBack { until } => Self::HeldBack { wait: until.since(now) },
            E::StorageTrouble(why) => Self::StorageTrouble(why),
            _ => return None,
        })
    }

    /// Translates an event of the client, other than those of its devices' updates.
    fn of_client(event: client::ClientEvent, client: &Client, now: Instant) -> Option<Self> {
        use client::ClientEvent as E;
        Some(match event {
            // `of_update` translates it.
            E::Device { .. } => return None,
            E::Connected => Self::Connected,
            E::Disconnected { cause, retry_at } => {
                let (host, port) = client.broker();
                let retry_in = retry_at.since(now);
                Self::Disconnected { host: host.to_owned(), port, cause, retry_in }
            }
            E::Kicked => Self::Kicked,
            E::LeftOut => Self::Suspended,
            E::BadMessage { error, .. } => Self::BadMessage(error),
            E::TooLong { len } => Self::TooLong { len },
            E::Retained { .. } => Self::Retained,
            E::Published(handle) => Self::Published(handle),
            E::GivenUp(handle) => Self::GivenUp(handle),
            E::Subscribed(id) => Self::Subscribed(id),
            E::SubscribeRefused(id) => Self::SubscribeRefused(id),
            E::Unsubscribed(id) => Self::Unsubscribed(id),
        })
    }

    /// The event for the end of an update.
    const fn of_end(version: Version, outcome: Outcome, answer: Option<Answer>) -> Self {
        match outcome {
            Outcome::Done => Self::Done { version },
            Outcome::Failed(reason) if reason.is_roll_back() => {
                Self::RolledBack { version, reason }
            }
            Outcome::Failed(reason) => Self::Failed { version, reason, answer },
        }
    }

    /// The machine's event, which has the same sentence.
    fn to_update(&self) -> Option<ota_proto::Event> {
        use ota_proto::Event as E;
        let end = |version, outcome, answer| E::Finished { version, outcome, answer };
        Some(match *self {
            Self::Downloading { from } => E::Started { from },
            Self::Progress { percent } => E::Progress { percent },
            Self::Retrying { reason, .. } => E::Retry { cause: reason },
            Self::Ready => E::Ready,
            Self::StopInstall => E::StopInstall,
            Self::Restart => E::Restart,
            Self::Trial => E::Trial,
            Self::Done { version } => end(version, Outcome::Done, None),
            Self::Failed { version, reason, answer } => {
                end(version, Outcome::Failed(reason), answer)
            }
            Self::RolledBack { version, reason } => end(version, Outcome::Failed(reason), None),
            Self::Reported(outcome) => E::Reported { outcome },
            Self::VersionReported => E::VersionAccepted,
            Self::VersionRefused { code } => E::VersionRefused { code },
            Self::Superseded => E::Superseded,
            Self::Withdrawn => E::Withdrawn,
            Self::Banned => E::Banned,
            Self::StorageTrouble(why) => E::StorageTrouble(why),
            _ => return None,
        })
    }
}

impl<I: fmt::Display> fmt::Display for Event<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(event) = self.to_update() {
            event.fmt(f)?;
        }
        match self {
            Self::Offered { version, size } => {
                write!(f, "the cloud offers version {version} ({size} bytes)")
            }
            Self::Retrying { answer: Some(answer), .. } => write!(f, ": {answer}"),
            Self::Install(image) => write!(f, "to be installed: {image}"),
            Self::Failed { reason: Reason::PlainHttp, .. } => {
                f.write_str(" (its URL has no TLS: call `Builder::allow_http` to accept it)")
            }
            Self::HeldBack { wait } => {
                write!(f, "too many updates failed; the next one starts in {}", Span(*wait))
            }
            Self::ImageRemoved { bytes } => {
                write!(f, "the previous image ({bytes} bytes) was removed to make room")
            }
            Self::Disconnected { host, port, cause, retry_in } => {
                write!(f, "no connection to {host}:{port}: {cause}{}; ", advice(*cause))?;
                write!(f, "the next try is in {}", Span(*retry_in))
            }
            Self::BadMessage(why) => write!(f, "a message of the cloud was ignored: {why}"),
            Self::Message(Message { topic, payload }) => {
                write!(f, "a message of {} bytes arrived on {topic}", payload.len())
            }
            Self::TooLong { len } => write!(f, "a message of {len} bytes is too long: skipped"),
            _ => f.write_str(self.link_text()),
        }
    }
}

impl<I> Event<I> {
    /// The sentence of an event of the connection that has no data for a person. Empty for others.
    const fn link_text(&self) -> &'static str {
        match self {
            Self::Connected => "connected to the broker",
            Self::Kicked => {
                "the broker keeps ending the connection: does another program use the same login?"
            }
            Self::LastingLogin => {
                "this login does not expire: the clock is not set, or the broker refused the last \
                 login"
            }
            Self::Retained => "the broker repeats an old message; it was ignored",
            Self::Published(_) => "a message was sent",
            Self::GivenUp(_) => "a message was given up: the broker never took it",
            Self::Subscribed(_) => "a subscription was accepted",
            Self::SubscribeRefused(_) => "the broker refused a subscription",
            Self::Unsubscribed(_) => "a subscription has ended",
            Self::Suspended => "messages were not taken: subscriptions are suspended",
            _ => "",
        }
    }
}

/// A duration for people: seconds, or minutes from ten on.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0..=9 => write!(f, "{}.{} s", self.0.as_secs(), self.0.subsec_millis() / 100),
            seconds @ 10..=599 => write!(f, "{seconds} s"),
            seconds => write!(f, "{} min", seconds / 60),
        }
    }
}

/// Advice for a person if the broker cannot be reached.
const fn advice(cause: Disconnect) -> &'static str {
    use ConnectCode::{Credentials, Identifier, NotAuthorized};
    let why = match cause {
        Disconnect::Transport(TransportError::Tls(why)) => why,
        Disconnect::Transport(TransportError::Resolve) => {
            return " (check the product id, the region and the name server)";
        }
        Disconnect::Session(SessionError::Refused(Credentials | Identifier | NotAuthorized)) => {
            return " (check the product id, the device name, and the secret or certificate)";
        }
        Disconnect::Session(SessionError::SpeaksTls) => {
            return " (do not call `Builder::without_tls`)";
        }
        _ => return "",
    };
    match why {
        TlsError::WrongHost => " (give `Builder::broker` the name that the certificate is for)",
        TlsError::Untrusted => " (trust the certificate of its CA; on hosts `Builder::ca_pem`)",
        TlsError::ClockNotSet => {
            " (set the clock; if it is right, remove the data folder or the journal)"
        }
        TlsError::ClientRefused => " (check the device's certificate; on hosts `Builder::tls`)",
        TlsError::NotTls | TlsError::Handshake => {
            " (give `Builder::broker` the port for TLS, or call `Builder::without_tls`)"
        }
        TlsError::Unavailable => " (build with the feature `tls`)",
        _ => "",
    }
}
