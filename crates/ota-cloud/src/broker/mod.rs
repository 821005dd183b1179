//! The cloud as a client of another MQTT broker, instead of its own endpoint, IO-free.
//!
//! It subscribes to [`FILTER`] and publishes to `$ota/update/…`. The broker authenticates its
//! clients, and must ensure that a device publishes only to its own topic. The cloud does not see
//! devices connect or disconnect: a device is present from its first report on. While the broker is
//! away, messages to send wait; with a client id ([`Broker::set_client_id`]) the broker also queues
//! the reports of that time.

mod fence;
mod session;
mod types;

use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;

pub use session::Session;
pub use types::{Event, Lost, Refused};

/// The cloud's subscription.
pub const FILTER: &str = "$ota/report/+/+";

/// The broker's address and the cloud's login. `Debug` hides the password.
#[derive(Clone)]
pub struct Broker {
    host: String,
    port: u16,
    secure: bool,
    user: String,
    password: String,
    client_id: Option<String>,
    /// The keep-alive: a ping is sent after half of it. Default 60 s.
    pub keep_alive: Duration,
    /// How long the broker may take to connect, to answer, or to read waiting bytes. Default 10 s.
    pub answer: Duration,
    /// The first pause before another attempt, doubled each time up to a minute. After refusals the
    /// first pause is four times as long. Default 1 s.
    pub pause: Duration,
}

/// A broker's URL, or one of its other settings, is invalid. Does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BadBroker {
    /// The scheme is neither `mqtt://` nor `mqtts://`.
    Scheme,
    /// There is no host, it has invalid characters, or something follows the port.
    Host,
    /// The port is not 1 to 65535.
    Port,
    /// User name, password or client id is empty, over 1,024 bytes, or has control characters; or
    /// there is a password without a user name.
    Login,
}

impl Broker {
    /// Parses `mqtt[s]://[user:password@]host[:port]`. User name and password may be
    /// percent-encoded. The port is 1883, or 8883 with `mqtts`.
    ///
    /// # Errors
    /// [`BadBroker`] names the invalid part.
    pub fn from_url(url: &str) -> Result<Self, BadBroker> {
        let (scheme, rest) = url.split_once("://").ok_or(BadBroker::Scheme)?;
        let (secure, standard) = match scheme {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            _ => return Err(BadBroker::Scheme),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        let (host, port) = host_and_port(place)?;
        let mut broker = Self {
            host: host.to_owned(),
            port: port.unwrap_or(standard),
            secure,
            user: String::new(),
            password: String::new(),
            client_id: None,
            keep_alive: Duration::from_secs(60),
            answer: Duration::from_secs(10),
            pause: Duration::from_secs(1),
        };
        if let Some(login) = login {
            let decode = |text: &str| match percent_decode_str(text).decode_utf8() {
                Ok(text) => Ok(text.into_owned()),
                Err(_) => Err(BadBroker::Login),
            };
            let (user, password) = match login.split_once(':') {
                Some((user, password)) => (user, Some(decode(password)?)),
                None => (login, None),
            };
            broker.user = text(decode(user)?)?;
            if let Some(password) = password {
                broker.set_password(password)?;
            }
        }
        Ok(broker)
    }

    /// Sets the password, instead of one in the URL.
    ///
    /// # Errors
    /// [`BadBroker::Login`].
    pub fn set_password(&mut self, password: impl Into<String>) -> Result<(), BadBroker> {
        if self.user.is_empty() {
            return Err(BadBroker::Login);
        }
        self.password = text(password.into())?;
        Ok(())
    }

    /// Sets a client id that no other client of the broker has. The broker then keeps the session
    /// when the connection breaks. Without one the broker assigns an id to each connection.
    ///
    /// # Errors
    /// [`BadBroker::Login`].
    pub fn set_client_id(&mut self, id: impl Into<String>) -> Result<(), BadBroker> {
        self.client_id = Some(text(id.into())?);
        Ok(())
    }

    /// The broker's name or address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it uses TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// An empty client id lets the broker choose, which MQTT 3.1.1 allows with a clean session.
    fn client_id(&self) -> &str {
        self.client_id.as_deref().unwrap_or("")
    }

    fn keeps_session(&self) -> bool {
        self.client_id.is_some()
    }

    fn login(&self) -> Option<(&str, &str)> {
        (!self.user.is_empty()).then_some((&self.user, &self.password))
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("url", &self.to_string()).finish_non_exhaustive()
    }
}

impl fmt::Display for Broker {
    /// The URL without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for BadBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "it begins with neither mqtt:// nor mqtts://",
            Self::Host => "the host is missing or invalid",
            Self::Port => "the port is not 1 to 65535",
            Self::Login => {
                "a user name, a password or a client id is empty, too long or has control \
                 characters, or there is a password without a user name"
            }
        })
    }
}

impl std::error::Error for BadBroker {}

/// Parses `host[:port]`; an IPv6 address is in brackets.
fn host_and_port(place: &str) -> Result<(&str, Option<u16>), BadBroker> {
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or(BadBroker::Host)?)),
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let odd = |c: char| c.is_whitespace() || c.is_control() || "/?#@[]".contains(c);
    if host.is_empty() || host.contains(odd) {
        return Err(BadBroker::Host);
    }
    let number = |text: &str| text.parse().ok().filter(|port| *port != 0).ok_or(BadBroker::Port);
    Ok((host, port.map(number).transpose()?))
}

/// Whether a text is allowed in a CONNECT.
fn text(text: String) -> Result<String, BadBroker> {
    let good = (1..=1024).contains(&text.len()) && !text.contains(char::is_control);
    if good { Ok(text) } else { Err(BadBroker::Login) }
}

fn half(span: Duration) -> Duration {
    span.checked_div(2).unwrap_or(span)
}
