//! The events of one device, in one flat enum.

use std::fmt;
use std::time::Duration;

use ota_proto::{Answer, MessageError, Outcome, Reason, StorageError, TlsError, Version};
use ota_proto::{Instant, TransportError};
use ota_wire::client::{self, Disconnect};
use ota_wire::mqtt::packet::ConnectCode;
use ota_wire::mqtt::{PublishHandle, SessionError, SubId};

use super::image::NewImage;

/// What happened. `Display` says it in a sentence, for a log; `Debug` shows no secret and no
/// payload.
///
/// An application must react to [`Event::Install`] and [`Event::Restart`], to [`Event::Trial`] if
/// it has a boot loader or two slots, and to the questions that it enabled: [`Event::Offered`] and
/// [`Event::Ready`]. The rest is for its log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The cloud offers a version. Only with `Builder::ask_to_download`: answer with `accept`,
    /// `defer` or `refuse`.
    Offered {
        /// The version.
        version: Version,
        /// Its size in bytes.
        size: u64,
    },
    /// The download starts, or resumes at this byte.
    Downloading {
        /// How many bytes are stored already.
        from: u64,
    },
    /// This much of the image is stored.
    Progress {
        /// Percent, 0 to 99.
        percent: u8,
    },
    /// The download failed for now and is tried again.
    Retrying {
        /// Why.
        reason: Reason,
        /// What the server answered, if that explains it.
        answer: Option<Answer>,
    },
    /// The image is verified: `image` names it. With `Builder::ask_to_approve` answer with
    /// `approve` or `veto`, with `Builder::ask_to_install` answer with `install`.
    Ready,
    /// Install this image now, then call `installed`. The update waits for it for ten minutes.
    Install(NewImage),
    /// The installation takes too long: stop it, then call `installed` with a failure.
    StopInstall,
    /// Restart now: the boot loader, or whoever starts the program, starts the new version, or
    /// after a roll-back the old one. Raised again if nothing happens.
    Restart,
    /// This program is the new version, on trial. Test it, then call `confirm` or `roll_back`.
    Trial,
    /// The update succeeded: this version runs, and stays.
    Done {
        /// The version.
        version: Version,
    },
    /// The update failed. The old version runs.
    Failed {
        /// The version that was offered.
        version: Version,
        /// Why.
        reason: Reason,
        /// What the server answered, if that explains it.
        answer: Option<Answer>,
    },
    /// The new version was started and did not last. The old version runs.
    RolledBack {
        /// The version that was offered.
        version: Version,
        /// Why.
        reason: Reason,
    },
    /// The cloud has the result of the update.
    Reported(Outcome),
    /// The cloud has the version that runs.
    VersionReported,
    /// The cloud refused the version that runs. It is reported again later.
    VersionRefused {
        /// The cloud's code, not 0.
        code: i64,
    },
    /// The cloud offers another version instead of this one.
    Superseded,
    /// The cloud no longer offers the version. What is stored of it is kept.
    Withdrawn,
    /// The offer was refused: this image failed here too often.
    Banned,
    /// Too many updates failed. The next one starts after this time.
    HeldBack {
        /// How long.
        wait: Duration,
    },
    /// The data folder or the slot cannot be written. It is tried again.
    StorageTrouble(StorageError),
    /// The previous image was removed, because the next one needed its room.
    ImageRemoved {
        /// Its size in bytes.
        bytes: u64,
    },

    /// The broker accepted the login.
    Connected,
    /// There is no connection to the broker, or no longer.
    Disconnected {
        /// The broker's host and port.
        broker: String,
        /// Why.
        cause: Disconnect,
        /// The next connection is tried after this time.
        retry_in: Duration,
    },
    /// The broker ended three connections within a minute: another program uses the same login.
    Kicked,
    /// The login of this connection does not expire: the clock is not set, or the broker refused
    /// one that expires.
    LastingLogin,
    /// A message of the cloud could not be read. It had no effect.
    BadMessage(MessageError),
    /// The broker repeats an old message for this device. It had no effect.
    Retained,

    /// A message on one of the application's own topics. The broker is told that it was taken when
    /// `next` is called again.
    Message(Message),
    /// A message that was longer than the limit was skipped.
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A message of the application was sent (QoS 0), or the broker has it (QoS 1).
    Published(PublishHandle),
    /// A message of the application at QoS 1 was given up: it was sent in five connections, and
    /// none lasted until the broker's answer.
    GivenUp(PublishHandle),
    /// The broker accepted a subscription.
    Subscribed(SubId),
    /// The broker refused a subscription. It is asked again every minute.
    SubscribeRefused(SubId),
    /// A subscription has ended.
    Unsubscribed(SubId),
    /// The application did not take its messages for too long: its subscriptions are suspended
    /// until the device has heard from the cloud.
    Suspended,
}

/// A message on one of the application's own topics.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Without the payload.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({:?}, {} bytes)", self.topic, self.payload.len())
    }
}

impl Event {
    /// Makes a flat event of a client's event that is not about an update.
    pub(super) fn of_client(
        event: client::ClientEvent,
        broker: &str,
        now: Instant,
    ) -> Option<Self> {
        Some(match event {
            client::ClientEvent::Connected => Self::Connected,
            client::ClientEvent::Disconnected { cause, retry_at } => {
                let retry_in = retry_at.since(now);
                Self::Disconnected { broker: broker.to_owned(), cause, retry_in }
            }
            client::ClientEvent::Kicked => Self::Kicked,
            client::ClientEvent::LeftOut => Self::Suspended,
            client::ClientEvent::BadMessage { error, .. } => Self::BadMessage(error),
            client::ClientEvent::TooLong { len } => Self::TooLong { len },
            client::ClientEvent::Retained { .. } => Self::Retained,
            client::ClientEvent::Published(handle) => Self::Published(handle),
            client::ClientEvent::GivenUp(handle) => Self::GivenUp(handle),
            client::ClientEvent::Subscribed(id) => Self::Subscribed(id),
            client::ClientEvent::SubscribeRefused(id) => Self::SubscribeRefused(id),
            client::ClientEvent::Unsubscribed(id) => Self::Unsubscribed(id),
            _ => return None,
        })
    }

    /// Makes the event of the end of an update.
    pub(super) fn of_end(version: Version, outcome: Outcome, answer: Option<Answer>) -> Self {
        use Reason as R;
        match outcome {
            Outcome::Done => Self::Done { version },
            Outcome::Failed(
                reason @ (R::NotConfirmed
                | R::RolledBack
                | R::BootFailed
                | R::NotDurable
                | R::NoAnswer),
            ) => Self::RolledBack { version, reason },
            Outcome::Failed(reason) => Self::Failed { version, reason, answer },
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offered { version, size } => {
                write!(f, "the cloud offers version {version} ({size} bytes)")
            }
            Self::Downloading { from: 0 } => f.write_str("the download starts"),
            Self::Downloading { from } => write!(f, "the download resumes at byte {from}"),
            Self::Progress { percent } => write!(f, "{percent} % of the image is stored"),
            Self::Retrying { reason, answer } => {
                write!(f, "the download failed for now: {reason}{}", Said(answer))
            }
            Self::Ready => f.write_str("the image is verified"),
            Self::Install(image) => {
                write!(f, "version {} is to be installed from ", image.version)?;
                write!(f, "{}", image.path().display())
            }
            Self::StopInstall => f.write_str("the installation takes too long and must stop"),
            Self::Restart => f.write_str("a restart is needed to continue the update"),
            Self::Trial => f.write_str("the new version runs on trial"),
            Self::Done { version } => write!(f, "the update to version {version} succeeded"),
            Self::Failed { version, reason, answer } => {
                write!(f, "the update to version {version} failed: {reason}")?;
                write!(f, "{}{}", Said(answer), what_to_do(*reason))
            }
            Self::RolledBack { version, reason } => {
                write!(f, "version {version} did not last: {reason}")
            }
            Self::Reported(Outcome::Done) => f.write_str("the cloud knows that the update is done"),
            Self::Reported(Outcome::Failed(reason)) => {
                write!(f, "the cloud knows that the update failed: {reason}")
            }
            Self::VersionReported => f.write_str("the cloud knows which version runs"),
            Self::VersionRefused { code } => {
                write!(f, "the cloud refused the version report with code {code}")
            }
            Self::Superseded => f.write_str("the cloud offers another version instead"),
            Self::Withdrawn => f.write_str("the cloud no longer offers the update"),
            Self::Banned => f.write_str("the offer is refused: this image failed here too often"),
            Self::HeldBack { wait } => {
                write!(f, "too many updates failed; the next one starts in {}", Span(*wait))
            }
            Self::StorageTrouble(why) => write!(f, "cannot write to the data folder: {why}"),
            Self::ImageRemoved { bytes } => {
                write!(f, "the previous image ({bytes} bytes) was removed to make room")
            }
            _ => self.fmt_link(f),
        }
    }
}

impl Event {
    /// The connection, and the application's own messages.
    fn fmt_link(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("connected to the broker"),
            Self::Disconnected { broker, cause, retry_in } => {
                write!(f, "no connection to {broker}: {cause}{}; ", advice(*cause))?;
                write!(f, "the next try is in {}", Span(*retry_in))
            }
            Self::Kicked => {
                f.write_str("the broker keeps ending the connection: does another program use ")?;
                f.write_str("the same login?")
            }
            Self::LastingLogin => {
                f.write_str("this login does not expire: the clock is not set, or the broker ")?;
                f.write_str("refused the last login")
            }
            Self::BadMessage(why) => write!(f, "a message of the cloud was ignored: {why}"),
            Self::Retained => f.write_str("the broker repeats an old message; it was ignored"),
            Self::Message(Message { topic, payload }) => {
                write!(f, "a message of {} bytes arrived on {topic}", payload.len())
            }
            Self::TooLong { len } => write!(f, "a message of {len} bytes is too long: skipped"),
            Self::Published(_) => f.write_str("a message was sent"),
            Self::GivenUp(_) => f.write_str("a message was given up: the broker never took it"),
            Self::Subscribed(_) => f.write_str("a subscription was accepted"),
            Self::SubscribeRefused(_) => f.write_str("the broker refused a subscription"),
            Self::Unsubscribed(_) => f.write_str("a subscription has ended"),
            Self::Suspended => f.write_str("messages were not taken: subscriptions are suspended"),
            // `Display` says the rest.
            _ => Ok(()),
        }
    }
}

/// The server's answer, printed after the reason.
struct Said<'a>(&'a Option<Answer>);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |answer| write!(f, ": {answer}"))
    }
}

/// A time in the largest unit that a person would use.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            millis @ 0..=9_999 => write!(f, "{}.{} s", millis / 1_000, millis % 1_000 / 100),
            millis @ 10_000..=599_999 => write!(f, "{} s", millis / 1_000),
            millis => write!(f, "{} min", millis / 60_000),
        }
    }
}

/// What a person can do about an update that failed.
fn what_to_do(reason: Reason) -> &'static str {
    match reason {
        Reason::PlainHttp => " (its URL has no TLS: call `Builder::allow_http` to take it)",
        _ => "",
    }
}

/// What a person can do about a broker that is not reached.
fn advice(cause: Disconnect) -> &'static str {
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
        TlsError::Untrusted => " (give `Builder::ca_pem` the certificate of its CA)",
        TlsError::ClockNotSet => " (set the clock; if it is right, remove the data folder)",
        TlsError::ClientRefused => " (check the certificate that `Builder::tls` was given)",
        TlsError::NotTls | TlsError::Handshake => {
            " (give `Builder::broker` the port for TLS, or call `Builder::without_tls`)"
        }
        TlsError::Unavailable => " (build with the feature `tls`)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use ota_proto::{Media, Micros};
    use ota_wire::mqtt::SessionTimer;

    use super::*;

    /// A person reads these: each kind has a sentence of its own.
    #[test]
    fn each_event_of_an_update_is_a_sentence() {
        let version = Version::new("1.0.0").unwrap();
        let answer = Answer::new(503, None, Media::default(), false);
        let failed = |reason, answer| Event::of_end(version, Outcome::Failed(reason), answer);
        let offered = Event::Offered { version, size: 5 };
        for (event, text) in [
            (offered, "the cloud offers version 1.0.0 (5 bytes)"),
            (Event::Downloading { from: 0 }, "the download starts"),
            (Event::Downloading { from: 7 }, "the download resumes at byte 7"),
            (Event::Progress { percent: 40 }, "40 % of the image is stored"),
            (
                Event::Retrying { reason: Reason::ServerError, answer },
                "the download failed for now: store answers with a server error: 503",
            ),
            (Event::Ready, "the image is verified"),
            (Event::StopInstall, "the installation takes too long and must stop"),
            (Event::Restart, "a restart is needed to continue the update"),
            (Event::Trial, "the new version runs on trial"),
            (Event::of_end(version, Outcome::Done, None), "the update to version 1.0.0 succeeded"),
            (
                failed(Reason::PlainHttp, None),
                "the update to version 1.0.0 failed: plain http refused (its URL has no TLS: call \
                 `Builder::allow_http` to take it)",
            ),
            (
                failed(Reason::BootFailed, None),
                "version 1.0.0 did not last: rolled back: did not start",
            ),
            (Event::Reported(Outcome::Done), "the cloud knows that the update is done"),
            (
                Event::Reported(Outcome::Failed(Reason::NoSpace)),
                "the cloud knows that the update failed: no space",
            ),
            (Event::VersionReported, "the cloud knows which version runs"),
            (
                Event::VersionRefused { code: -3 },
                "the cloud refused the version report with code -3",
            ),
            (Event::Superseded, "the cloud offers another version instead"),
            (Event::Withdrawn, "the cloud no longer offers the update"),
            (Event::Banned, "the offer is refused: this image failed here too often"),
            (
                Event::HeldBack { wait: Duration::from_secs(600) },
                "too many updates failed; the next one starts in 10 min",
            ),
            (
                Event::StorageTrouble(StorageError::NoSpace),
                "cannot write to the data folder: no space left",
            ),
            (
                Event::ImageRemoved { bytes: 9 },
                "the previous image (9 bytes) was removed to make room",
            ),
        ] {
            assert_eq!(event.to_string(), text, "{event:?}");
        }
    }

    #[test]
    fn what_happens_to_the_connection_is_a_sentence_without_payloads() {
        let gone = |cause, millis| Event::Disconnected {
            broker: "broker:8883".into(),
            cause,
            retry_in: Duration::from_millis(millis),
        };
        let tls = |why| gone(Disconnect::Transport(TransportError::Tls(why)), 12_000);
        let message = Message { topic: "room/1".into(), payload: b"hidden".to_vec() };
        for (event, text) in [
            (Event::Connected, "connected to the broker"),
            (
                gone(Disconnect::Session(SessionError::TimedOut(SessionTimer::PingResp)), 4_950),
                "no connection to broker:8883: no PINGRESP in time; the next try is in 4.9 s",
            ),
            (
                tls(TlsError::Untrusted),
                "no connection to broker:8883: TLS: certificate is not from a trusted authority \
                 (give `Builder::ca_pem` the certificate of its CA); the next try is in 12 s",
            ),
            (Event::Message(message.clone()), "a message of 6 bytes arrived on room/1"),
            (Event::TooLong { len: 70_000 }, "a message of 70000 bytes is too long: skipped"),
        ] {
            assert_eq!(event.to_string(), text, "{event:?}");
        }
        assert!(!format!("{:?}", Event::Message(message)).contains("hidden"));
    }

    #[test]
    fn every_refusal_of_tls_that_a_setting_causes_names_the_setting() {
        for (why, word) in [
            (TlsError::WrongHost, "Builder::broker"),
            (TlsError::Untrusted, "Builder::ca_pem"),
            (TlsError::ClockNotSet, "clock"),
            (TlsError::ClientRefused, "Builder::tls"),
            (TlsError::NotTls, "Builder::without_tls"),
            (TlsError::Unavailable, "feature `tls`"),
        ] {
            let text = advice(Disconnect::Transport(TransportError::Tls(why)));
            assert!(text.contains(word), "{why:?}: {text}");
        }
        let text = advice(Disconnect::Session(SessionError::SpeaksTls));
        assert!(text.contains("Builder::without_tls"));
        assert!(advice(Disconnect::Transport(TransportError::Resolve)).contains("region"));
        assert_eq!(advice(Disconnect::Planned), "");
    }

    #[test]
    fn a_connection_that_is_lost_says_when_the_next_one_is_tried() {
        let now = Instant::from_micros(5_000_000);
        let retry_at = now + Micros::from_secs(3);
        let lost = client::ClientEvent::Disconnected { cause: Disconnect::Planned, retry_at };
        let event = Event::of_client(lost, "host:1", now).unwrap();
        assert_eq!(
            event.to_string(),
            "no connection to host:1: asked for; the next try is in 3.0 s"
        );
    }
}
