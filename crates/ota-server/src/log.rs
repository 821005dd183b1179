//! What the service tells a person or a test: every message and every change.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use ota_proto::{Identity, Instant};
use tokio::sync::broadcast;

use ota_cloud::broker::Lost;
use ota_cloud::endpoint::Refusal;
use ota_cloud::fault::Fault;
use ota_cloud::{CloudError, EventKind};

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// When, on the service's clock: since its start.
    pub at: Instant,
    /// Which device, where one is known.
    pub device: Option<Identity>,
    /// What.
    pub what: What,
}

/// What an [`Entry`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// A device logged in.
    LoggedIn {
        /// From where.
        peer: SocketAddr,
        /// With MQTT 3.1 instead of 3.1.1.
        legacy: bool,
    },
    /// A login was refused.
    LoginRefused {
        /// From where.
        peer: SocketAddr,
        /// The client id, cut to 64 characters. It is the client's choice: escape it for a screen.
        client_id: String,
        /// Why.
        why: Refusal,
    },
    /// A device's connection ended, also one that never logged in; or one to the firmware server
    /// broke.
    Closed {
        /// From where.
        peer: SocketAddr,
        /// Why, in words.
        why: String,
    },
    /// A message from a device.
    Received {
        /// Its topic.
        topic: String,
        /// Its bytes.
        payload: Payload,
    },
    /// A message that was handed to a device's connection, or to the broker's.
    Sent {
        /// Its topic.
        topic: String,
        /// Its bytes.
        payload: Payload,
    },
    /// A message for a device that has not subscribed to its topic, or is not there: lost, as
    /// everything at QoS 0.
    NotSent {
        /// Its topic.
        topic: String,
    },
    /// A device's message was refused; it changed nothing.
    Refused {
        /// Its topic.
        topic: String,
        /// What is wrong with it.
        error: CloudError,
    },
    /// A device published to a topic that is not its own; the message was dropped.
    Foreign {
        /// The topic.
        topic: String,
    },
    /// A device subscribed.
    Subscribed {
        /// The filters that were granted.
        granted: Vec<String>,
        /// The filters that were not: not its own, at QoS 2, or too many.
        refused: Vec<String>,
    },
    /// Something the cloud concluded.
    Event(EventKind),
    /// A fault struck.
    Fault {
        /// Which.
        fault: Fault,
    },
    /// A connection was closed at once, since there are as many as allowed.
    TurnedAway {
        /// From where.
        peer: SocketAddr,
        /// How many are allowed.
        most: usize,
    },
    /// A firmware is offered no more.
    Withdrawn {
        /// Its product.
        product_id: String,
        /// Its version.
        version: String,
        /// Why, in words.
        why: String,
    },
    /// A request to the firmware server was answered.
    Request {
        /// From where.
        peer: SocketAddr,
        /// The method; it is the client's choice: escape it for a screen.
        method: String,
        /// The path, without its query.
        path: String,
        /// The status; 0 when a fault keeps the answer back.
        status: u16,
        /// The bytes of the image that the answer promises.
        range: Range<u64>,
        /// What is wrong, in words; empty when the image is sent.
        why: String,
    },
    /// A call of the API was answered.
    Called {
        /// From where.
        peer: SocketAddr,
        /// The id of its key; empty where none was good.
        key: String,
        /// The method; empty when it was none of the API's calls.
        method: &'static str,
        /// The path, with names in braces instead of the caller's.
        path: &'static str,
        /// The status.
        status: u16,
    },
    /// The store refuses, or takes what it is given again. With a device: its row cannot be read.
    Store {
        /// Why; `None` when it works again.
        why: Option<String>,
    },
    /// The cloud is a client of its broker, and subscribed: reports come from now on.
    BrokerJoined {
        /// The broker's URL, without login.
        broker: String,
    },
    /// There is no connection to the broker.
    BrokerLost {
        /// The broker's URL, without login.
        broker: String,
        /// Why.
        why: Lost,
        /// When it is tried again.
        retry: Duration,
    },
    /// The reader was too slow and this many entries are gone.
    Lost(u64),
}

/// A message's bytes. `Debug` and `Display` hide the users, passwords and queries of URLs,
/// which are credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Bytes);

impl Payload {
    /// Copies, so that an entry does not keep a connection's whole buffer.
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }

    /// The bytes as they were, signatures included. Do not print them but on a desk.
    #[must_use]
    pub fn reveal(&self) -> &Bytes {
        &self.0
    }

    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Payload {
    /// The text, with `…` instead of the user, password and query of every URL.
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

/// Where a URL ends that stands here. Not at a quote that is a part of it.
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

/// A stream of entries, from the moment it was asked for.
#[derive(Debug)]
pub struct Log(pub(super) broadcast::Receiver<Entry>);

impl Log {
    /// The next entry; `None` when the service has stopped. A reader that falls behind by more
    /// than the configured number finds [`What::Lost`] and goes on with what is left.
    ///
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<Entry> {
        match self.0.recv().await {
            Ok(entry) => Some(entry),
            Err(broadcast::error::RecvError::Lagged(n)) => {
                Some(Entry { at: Instant::ZERO, device: None, what: What::Lost(n) })
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
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
