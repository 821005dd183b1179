//! Just enough of a URL for a download: http and https, taken apart and joined.

use alloc::string::String;
use core::fmt;
use core::net::Ipv6Addr;

/// An absolute `http` or `https` URL, taken apart. The query is kept byte for byte: it is a
/// signature. `Debug` and `Display` show neither path nor query.
///
/// ```
/// use ota_proto::url::Url;
///
/// let url = Url::parse("https://store.example:8443/a/fw.bin?sign=x%3D1")?;
/// assert_eq!((url.tls, url.host, url.port), (true, "store.example", 8443));
/// assert_eq!(url.target, "/a/fw.bin?sign=x%3D1");
/// assert_eq!(url.join("../b?sign=y", 1024)?, "https://store.example:8443/b?sign=y");
/// assert_eq!(url.to_string(), "https://store.example:8443");
/// # Ok::<(), ota_proto::url::BadUrl>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Url<'a> {
    /// `https`.
    pub tls: bool,
    /// The host name or address, without brackets.
    pub host: &'a str,
    /// The port, 443 or 80 unless given.
    pub port: u16,
    /// Path and query, as sent in the request line, without a fragment. When it does not begin
    /// with `/` (it is empty, or a query alone), a `/` must be sent before it.
    pub target: &'a str,
}

/// Why a text is no usable URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BadUrl {
    /// Neither `http` nor `https`.
    Scheme,
    /// The host is missing or has bytes that no host has; also when a user name is given where
    /// none is taken.
    Host,
    /// Not a port from 1 to 65535.
    Port,
    /// Controls, spaces or bytes outside ASCII.
    Bytes,
    /// Longer than the caller's limit.
    TooLong,
}

impl<'a> Url<'a> {
    /// Takes an absolute URL apart. The host is a DNS name, an IPv4 address or an IPv6 address in
    /// brackets without a zone; a user name is refused.
    ///
    /// # Errors
    /// [`BadUrl`], by what is wrong; never `TooLong`.
    pub fn parse(text: &'a str) -> Result<Self, BadUrl> {
        match Self::parse_with_user(text)? {
            (url, None) => Ok(url),
            (_, Some(_)) => Err(BadUrl::Host),
        }
    }

    /// As [`Url::parse`], with the user name and password that stand before the host, as they are
    /// written: `user:password`, percent-encoded. They are a credential of this origin.
    ///
    /// # Errors
    /// [`BadUrl`], by what is wrong; never `TooLong`.
    pub fn parse_with_user(text: &'a str) -> Result<(Self, Option<&'a str>), BadUrl> {
        check_bytes(text)?;
        let (scheme, rest) = text.split_once(':').ok_or(BadUrl::Scheme)?;
        let rest = rest.strip_prefix("//").ok_or(BadUrl::Scheme)?;
        let tls = match scheme {
            _ if scheme.eq_ignore_ascii_case("https") => true,
            _ if scheme.eq_ignore_ascii_case("http") => false,
            _ => return Err(BadUrl::Scheme),
        };
        let rest = without_fragment(rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, authority),
        };
        let (host, port) = split_authority(authority)?;
        let port = if port.is_empty() { default_port(tls) } else { parse_port(port)? };
        // In a user name it would be escaped: who knows which host is meant.
        if user.is_some_and(|user| user.contains('@')) {
            return Err(BadUrl::Host);
        }
        Ok((Self { tls, host, port, target }, user))
    }

    /// The same scheme, host and port: what a credential is for.
    #[must_use]
    pub fn is_same_origin(&self, other: &Url<'_>) -> bool {
        (self.tls, self.port) == (other.tls, other.port)
            && self.host.eq_ignore_ascii_case(other.host)
    }

    /// The absolute URL that a `Location` header means when it answers a request for `self`:
    /// absolute, `//host/path`, `/path`, `?query` or a relative path, dot segments removed. Its
    /// query is kept byte for byte, and so is a user name of its own; its fragment is dropped.
    ///
    /// # Errors
    /// [`BadUrl`], by what is wrong with the result; `TooLong` above `max` bytes.
    pub fn join(&self, location: &str, max: usize) -> Result<String, BadUrl> {
        check_bytes(location)?;
        let location = without_fragment(location);
        if has_scheme(location) {
            let (url, user) = Url::parse_with_user(location)?;
            return url.write(user, None, split_query(url.target), max);
        }
        if location.starts_with("//") {
            let mut absolute = String::from(if self.tls { "https:" } else { "http:" });
            absolute.push_str(location);
            let (url, user) = Url::parse_with_user(&absolute)?;
            return url.write(user, None, split_query(url.target), max);
        }
        let (path, query) = split_query(location);
        if path.starts_with('/') {
            return self.write(None, None, (path, query), max);
        }
        let (own_path, own_query) = split_query(self.target);
        if !path.is_empty() {
            let own_path = own_path.strip_prefix('/').unwrap_or(own_path);
            let directory = own_path.rsplit_once('/').map(|(directory, _)| directory);
            return self.write(None, directory, (path, query), max);
        }
        let query = if query.is_empty() { own_query } else { query };
        self.write(None, None, (own_path, query), max)
    }

    /// This URL with a user name and password.
    pub(crate) fn with_user(&self, user: &str, max: usize) -> Result<String, BadUrl> {
        self.write(Some(user), None, split_query(self.target), max)
    }

    /// This origin with a path behind a directory, dot segments removed, and a query.
    fn write(
        &self,
        user: Option<&str>,
        directory: Option<&str>,
        (path, query): (&str, &str),
        max: usize,
    ) -> Result<String, BadUrl> {
        // As much as may be needed: growing by doubling would hold three times as much for a moment.
        let parts =
            [user.unwrap_or_default(), self.host, directory.unwrap_or_default(), path, query];
        let rest = parts.iter().fold(ORIGIN, |sum, part| sum.saturating_add(part.len()));
        let mut out = String::with_capacity(rest.min(max));
        // Writing to a string cannot fail.
        let _ = self.write_origin(&mut out, user);
        let origin = out.len();
        let path = path.strip_prefix('/').unwrap_or(path);
        let directory = directory.into_iter().flat_map(|directory| directory.split('/'));
        let mut segments = directory.chain(path.split('/')).peekable();
        while let Some(segment) = segments.next() {
            let last = segments.peek().is_none();
            match segment {
                "." => {}
                ".." => out.truncate(out.rfind('/').unwrap_or(0).max(origin)),
                _ => {
                    out.push('/');
                    out.push_str(segment);
                    continue;
                }
            }
            if last {
                out.push('/');
            }
        }
        out.push_str(query);
        if out.len() > max { Err(BadUrl::TooLong) } else { Ok(out) }
    }
}

/// Bytes of a URL besides its parts: scheme, brackets, port and separators.
const ORIGIN: usize = 24;

impl fmt::Display for Url<'_> {
    /// Scheme, host and port: `https://host:8443`. The path may name an account, the query is a
    /// credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_origin(f, None)
    }
}

impl Url<'_> {
    fn write_origin(&self, f: &mut dyn fmt::Write, user: Option<&str>) -> fmt::Result {
        f.write_str(if self.tls { "https://" } else { "http://" })?;
        if let Some(user) = user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(self.host)?;
        }
        if self.port == default_port(self.tls) { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl fmt::Debug for Url<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Url<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        let scheme = if self.tls { "https" } else { "http" };
        defmt::write!(f, "Url({=str}://{=str}:{=u16})", scheme, self.host, self.port);
    }
}

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "neither http nor https",
            Self::Host => "no usable host",
            Self::Port => "no usable port",
            Self::Bytes => "bytes that no URL has",
            Self::TooLong => "too long",
        })
    }
}

impl core::error::Error for BadUrl {}

/// Shows a URL without its query and without a user and password, which are credentials.
pub(crate) struct Redacted<'a>(pub(crate) &'a str);

impl Redacted<'_> {
    /// What stands for user and password, what is shown, and what stands for the query.
    fn parts(&self) -> [&str; 3] {
        let (shown, query) = match self.0.split_once('?') {
            Some((shown, _)) => (shown, "?…"),
            None => (self.0, ""),
        };
        let is_path =
            |before: &str| before.split_once("://").map_or(before, |(_, rest)| rest).contains('/');
        match shown.rsplit_once('@') {
            // A path, or a password with a slash: of which host this is a path nobody knows.
            Some((before, _)) if is_path(before) => ["…@…", "", query],
            Some((_, behind)) => ["…@", behind, query],
            None => ["", shown, query],
        }
    }
}

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [user, shown, query] = self.parts();
        write!(f, "\"{user}{shown}{query}\"")
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Redacted<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        let [user, shown, query] = self.parts();
        defmt::write!(f, "{=str}{=str}{=str}", user, shown, query);
    }
}

/// A URL that is kept: `Debug` hides its query.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct SecretUrl(pub(crate) String);

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Redacted(&self.0).fmt(f)
    }
}

/// A URL is printable ASCII without spaces.
fn check_bytes(text: &str) -> Result<(), BadUrl> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(()) } else { Err(BadUrl::Bytes) }
}

fn without_fragment(text: &str) -> &str {
    text.split_once('#').map_or(text, |(before, _)| before)
}

/// Path and query; the query keeps its `?`.
fn split_query(target: &str) -> (&str, &str) {
    let at = target.find('?').unwrap_or(target.len());
    target.split_at_checked(at).unwrap_or((target, ""))
}

/// Whether the text begins with a scheme of any name and a colon (RFC 3986 §3.1).
fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    })
}

/// Host without brackets, and the port's digits.
fn split_authority(authority: &str) -> Result<(&str, &str), BadUrl> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(BadUrl::Host)?;
        host.parse::<Ipv6Addr>().map_err(|_| BadUrl::Host)?;
        let port = match rest.strip_prefix(':') {
            Some(port) => port,
            None if rest.is_empty() => "",
            None => return Err(BadUrl::Host),
        };
        return Ok((host, port));
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    if is_host(host) { Ok((host, port)) } else { Err(BadUrl::Host) }
}

/// Labels of 1 to 63 letters, digits, `-` and `_`, 253 bytes in all; one dot at the end is fine.
fn is_host(host: &str) -> bool {
    let labels = host.strip_suffix('.').unwrap_or(host);
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    labels.len() <= 253
        && labels.split('.').all(|label| (1..=63).contains(&label.len()) && label.bytes().all(ok))
}

const fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

fn parse_port(digits: &str) -> Result<u16, BadUrl> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadUrl::Port);
    }
    match digits.parse() {
        Ok(0) | Err(_) => Err(BadUrl::Port),
        Ok(port) => Ok(port),
    }
}
