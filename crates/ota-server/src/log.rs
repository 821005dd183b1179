//! The log: every message and every change, for people and tests.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use ota_proto::{Identity, Instant};
use tokio::sync::broadcast;

use ota_cloud::alert::Alert;
use ota_cloud::broker::Lost;
use ota_cloud::endpoint::Refusal;
use ota_cloud::fault::Fault;
use ota_cloud::{CloudError, EventKind};

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The time on the service's clock, since its start.
    pub at: Instant,
    /// The device, if one is known.
    pub device: Option<Identity>,
    /// What happened.
    pub what: What,
}

/// What an [`Entry`] reports.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// A device logged in.
    LoggedIn {
        /// The peer's address.
        peer: SocketAddr,
        /// Whether the client used MQTT 3.1 instead of 3.1.1.
        legacy: bool,
    },
    /// A login was refused.
    LoginRefused {
        /// The peer's address.
        peer: SocketAddr,
        /// The client id, cut to 64 characters. The client chose it: escape it before printing.
        client_id: String,
        /// The reason.
        why: Refusal,
    },
    /// A device's connection ended, whether or not it had logged in; or a connection to the
    /// firmware server broke.
    Closed {
        /// The peer's address.
        peer: SocketAddr,
        /// The reason, in words.
        why: String,
    },
    /// A message from a device.
    Received {
        /// Its topic.
        topic: String,
        /// Its bytes.
        payload: Payload,
    },
    /// A message was queued for a device's connection, or for the broker's.
    Sent {
        /// Its topic.
        topic: String,
        /// Its bytes.
        payload: Payload,
    },
    /// A message for a device that is not subscribed to its topic or not connected. It is lost, as
    /// QoS 0 permits.
    NotSent {
        /// Its topic.
        topic: String,
    },
    /// A device's message was refused; it changed nothing.
    Refused {
        /// Its topic.
        topic: String,
        /// The error.
        error: CloudError,
    },
    /// A device published to a topic that is not its own. The message was dropped.
    Foreign {
        /// The topic.
        topic: String,
    },
    /// A device subscribed.
    Subscribed {
        /// The granted filters.
        granted: Vec<String>,
        /// The refused filters: not the device's own, at QoS 2, or too many.
        refused: Vec<String>,
    },
    /// The cloud recorded an event.
    Event(EventKind),
    /// A fault was injected.
    Fault {
        /// The fault.
        fault: Fault,
    },
    /// A connection was closed at once, because the most allowed are open.
    TurnedAway {
        /// The peer's address.
        peer: SocketAddr,
        /// The most that are allowed.
        most: usize,
    },
    /// A firmware is no longer offered.
    Withdrawn {
        /// Its product.
        product_id: String,
        /// Its version.
        version: String,
        /// The reason, in words.
        why: String,
    },
    /// A request to the firmware server was answered.
    Request {
        /// The peer's address.
        peer: SocketAddr,
        /// The method. The client chose it: escape it before printing.
        method: String,
        /// The path, without its query.
        path: String,
        /// The status; 0 if a fault kept the answer back.
        status: u16,
        /// The number of image bytes that the answer announces.
        range: Range<u64>,
        /// The error, in words; empty if the image is sent.
        why: String,
    },
    /// A call of the API was answered.
    Called {
        /// The peer's address.
        peer: SocketAddr,
        /// The id of its key; empty without a valid key.
        key: String,
        /// The method; empty if the request matched no call of the API.
        method: &'static str,
        /// The path of the call, with placeholders in braces instead of the caller's values.
        path: &'static str,
        /// The status.
        status: u16,
        /// The id of the request, as in its answer and in its line of the audit.
        request: String,
    },
    /// The store refuses, or works again. With a device: the row of that device cannot be read.
    Store {
        /// The reason; `None` when the store works again.
        why: Option<String>,
    },
    /// Something that an operator should act on began or ended.
    Alert {
        /// The alert.
        alert: Alert,
        /// Whether it began.
        raised: bool,
        /// For people.
        text: String,
    },
    /// The certificate's files changed and are used from now on.
    Certificate {
        /// Why they cannot be used: the old ones stay.
        why: Option<String>,
    },
    /// The cloud joined its broker and subscribed: reports arrive from now on.
    BrokerJoined {
        /// The broker's URL, without user and password.
        broker: String,
    },
    /// The connection to the broker failed or ended.
    BrokerLost {
        /// The broker's URL, without user and password.
        broker: String,
        /// The reason.
        why: Lost,
        /// The time until the next try.
        retry: Duration,
    },
    /// The reader was too slow, and this many entries are lost.
    Lost(u64),
}

/// The bytes of a message. `Debug` and `Display` hide the users, passwords and queries of URLs,
/// because they are credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Bytes);

impl Payload {
    /// Copies the bytes, so that an entry does not keep a connection's whole buffer alive.
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }

    /// The original bytes, including signatures. Print them only for debugging.
    #[must_use]
    pub fn reveal(&self) -> &Bytes {
        &self.0
    }

    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Payload {
    /// The text, with `…` for the user, password and query of every URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(&self.0);
        let mut rest: &str = &text;
        loop {
            let (word, after) = rest.split_at_checked(word_end(rest)).unwrap_or((rest, ""));
            write_word(f, word)?;
            let mut after = after.chars();
            let Some(end) = after.next() else { return Ok(()) };
            f.write_char(end)?;
            rest = after.as_str();
        }
    }
}

/// Finds the end of the URL that starts here. A quote that is part of the URL does not end it.
fn word_end(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().find(|(_, letter)| {
        let ends = matches!(letter, '"' | ' ') && !escaped;
        escaped = *letter == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at)
}

fn write_word(f: &mut fmt::Formatter<'_>, word: &str) -> fmt::Result {
    let url = ["://", r":\/\/"].into_iter().find_map(|mark| {
        let (scheme, rest) = word.split_once(mark)?;
        Some((scheme, mark, rest))
    });
    let Some((scheme, mark, rest)) = url else { return f.write_str(word) };
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?…"));
    let (user, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("…@", rest));
    write!(f, "{scheme}{mark}{user}{rest}{query}")
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({self})")
    }
}

/// A stream of log entries, starting when it was created.
#[derive(Debug)]
pub struct Log(pub(super) broadcast::Receiver<Entry>);

impl Log {
    /// The next entry; `None` when the service has stopped. A reader that falls behind by more than
    /// the configured number gets [`What::Lost`] and continues with the entries that are left.
    ///
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<Entry> {
        match self.0.recv().await {
            Ok(entry) => Some(entry),
            Err(broadcast::error::RecvError::Lagged(n)) => Some(lost(n)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// The next entry where there is one already.
    pub fn try_next(&mut self) -> Option<Entry> {
        match self.0.try_recv() {
            Ok(entry) => Some(entry),
            Err(broadcast::error::TryRecvError::Lagged(n)) => Some(lost(n)),
            Err(_) => None,
        }
    }
}

fn lost(n: u64) -> Entry {
    Entry { at: Instant::ZERO, device: None, what: What::Lost(n) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_urls_are_hidden() {
        for (text, shown) in [
            (r#"{"url":"http://h/p?sign=a%3Db","v":"1?"}"#, r#"{"url":"http://h/p?…","v":"1?"}"#),
            (r#"{"url":"https:\/\/h\/p?a=1&b=2"}"#, r#"{"url":"https:\/\/h\/p?…"}"#),
            ("see http://h/p?secret and ?", "see http://h/p?… and ?"),
            ("http://h/p?cut", "http://h/p?…"),
            (
                r#"{"url":"https://user:pass@h/p?a=b","v":"1"}"#,
                r#"{"url":"https://…@h/p?…","v":"1"}"#,
            ),
            (
                r#"{"url":"https:\/\/user:p@ss@h:1\/p","v":"@"}"#,
                r#"{"url":"https:\/\/…@h:1\/p","v":"@"}"#,
            ),
            (r#"{"url":"http://u:\"p@h/p?a\"b","v":1}"#, r#"{"url":"http://…@h/p?…","v":1}"#),
            (r#"{"v":"a\\","url":"http://u@h"}"#, r#"{"v":"a\\","url":"http://…@h"}"#),
            ("mail u@h, not http://u@h", "mail u@h, not http://…@h"),
            ("no url? none", "no url? none"),
            ("", ""),
        ] {
            let payload = Payload::new(text.as_bytes());
            assert_eq!(payload.to_string(), shown);
            assert_eq!(payload.reveal(), text.as_bytes());
        }
        assert_eq!(Payload::new(b"\xff?").to_string(), "\u{fffd}?");
    }
}
