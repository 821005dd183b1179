//! The URL functions that a download needs: parsing http and https URLs, and resolving relative
//! ones.

use alloc::string::String;
use core::fmt;

use crate::decimal::{Decimal, number};
use crate::word::same_word;

/// A parsed absolute `http` or `https` URL. The query is kept byte for byte: it is a signature.
/// `Debug` and `Display` show neither path nor query.
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
    /// Path and query, as sent in the request line, without a fragment. If it does not begin with
    /// `/` (it is empty, or only a query), the request needs a `/` before it.
    pub target: &'a str,
}

/// Why a URL is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BadUrl {
    /// Neither `http` nor `https`.
    Scheme,
    /// The host is missing or has invalid bytes; or there is a user name where none is accepted.
    Host,
    /// Not a port from 1 to 65535.
    Port,
    /// Control characters, spaces or bytes outside ASCII.
    Bytes,
    /// Longer than the caller's limit.
    TooLong,
}

impl<'a> Url<'a> {
    /// Parses an absolute URL. The host is a DNS name, an IPv4 address or an IPv6 address in
    /// brackets without a zone; a user name is refused.
    ///
    /// # Errors
    /// [`BadUrl`] names the fault; never `TooLong`.
    pub fn parse(text: &'a str) -> Result<Self, BadUrl> {
        match Self::parse_with_user(text)? {
            (url, None) => Ok(url),
            (_, Some(_)) => Err(BadUrl::Host),
        }
    }

    /// Like [`Url::parse`], but also returns the user name and password before the host as they are
    /// written: `user:password`, percent-encoded. They are a credential of this origin.
    ///
    /// # Errors
    /// [`BadUrl`] names the fault; never `TooLong`.
    pub fn parse_with_user(text: &'a str) -> Result<(Self, Option<&'a str>), BadUrl> {
        check_bytes(text)?;
        let (scheme, rest) = once(text, b':').ok_or(BadUrl::Scheme)?;
        let rest = rest.strip_prefix("//").ok_or(BadUrl::Scheme)?;
        let tls = match scheme {
            _ if same_word(scheme.as_bytes(), b"https") => true,
            _ if same_word(scheme.as_bytes(), b"http") => false,
            _ => return Err(BadUrl::Scheme),
        };
        let rest = without_fragment(rest);
        let (authority, target) = part(rest, find(rest, b'/', b'?'));
        let (user, authority) = match last(authority, b'@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, authority),
        };
        let (host, port) = split_authority(authority)?;
        let port = if port.is_empty() { default_port(tls) } else { parse_port(port)? };
        // In a user name `@` would be escaped. Without that the intended host is ambiguous.
        if user.is_some_and(|user| once(user, b'@').is_some()) {
            return Err(BadUrl::Host);
        }
        Ok((Self { tls, host, port, target }, user))
    }

    /// Whether scheme, host and port are the same: the scope of a credential.
    #[must_use]
    pub fn is_same_origin(&self, other: &Url<'_>) -> bool {
        (self.tls, self.port) == (other.tls, other.port)
            && same_word(self.host.as_bytes(), other.host.as_bytes())
    }

    /// Resolves the `Location` of an answer to a request for `self`: an absolute URL,
    /// `//host/path`, `/path`, `?query` or a relative path, with dot segments removed. Its query is
    /// kept byte for byte, and so is its own user name; its fragment is dropped.
    ///
    /// # Errors
    /// [`BadUrl`] names the fault of the result; `TooLong` above `max` bytes.
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
        if path.starts_with("/") {
            return self.write(None, None, (path, query), max);
        }
        let (own_path, own_query) = split_query(self.target);
        if !path.is_empty() {
            let own_path = own_path.strip_prefix("/").unwrap_or(own_path);
            let directory = last(own_path, b'/').map(|(directory, _)| directory);
            return self.write(None, directory, (path, query), max);
        }
        let query = if query.is_empty() { own_query } else { query };
        self.write(None, None, (own_path, query), max)
    }

    /// Adds a user name and password.
    pub(crate) fn with_user(&self, user: &str, max: usize) -> Result<String, BadUrl> {
        self.write(Some(user), None, split_query(self.target), max)
    }

    /// Makes a URL of this origin with a path below a directory, dot segments removed, and a query.
    fn write(
        &self,
        user: Option<&str>,
        directory: Option<&str>,
        (path, query): (&str, &str),
        max: usize,
    ) -> Result<String, BadUrl> {
        // Allocates enough at once: doubling would temporarily hold three times as much.
        let parts =
            [user.unwrap_or_default(), self.host, directory.unwrap_or_default(), path, query];
        let rest = parts.iter().fold(ORIGIN, |sum, part| sum.saturating_add(part.len()));
        let mut out = String::with_capacity(rest.min(max));
        self.each_origin_part(user, &mut |part| out.push_str(part));
        let origin = out.len();
        if let Some(directory) = directory {
            push_path(&mut out, origin, directory, false);
        }
        push_path(&mut out, origin, path.strip_prefix("/").unwrap_or(path), true);
        out.push_str(query);
        if out.len() > max { Err(BadUrl::TooLong) } else { Ok(out) }
    }
}

/// Appends a path, dot segments removed; `whole`: the path ends here.
#[inline(never)]
fn push_path(out: &mut String, origin: usize, path: &str, whole: bool) {
    let mut rest = Some(path);
    while let Some(path) = rest {
        let (segment, behind) = part(path, find(path, b'/', b'/'));
        rest = behind.get(1..);
        match segment {
            "." => {}
            ".." => out.truncate(last(out, b'/').map_or(0, |(front, _)| front.len()).max(origin)),
            _ => {
                out.push('/');
                out.push_str(segment);
                continue;
            }
        }
        if whole && rest.is_none() {
            out.push('/');
        }
    }
}

/// The length of a URL besides its parts: scheme, brackets, port and separators.
const ORIGIN: usize = 24;

impl fmt::Display for Url<'_> {
    /// Scheme, host and port: `https://host:8443`. The path may contain an account name, and the
    /// query is a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut done = Ok(());
        self.each_origin_part(None, &mut |part| done = done.and_then(|()| f.write_str(part)));
        done
    }
}

impl Url<'_> {
    /// The parts scheme, user, host and port: `core::fmt` would cost 2 KiB of flash.
    fn each_origin_part(&self, user: Option<&str>, put: &mut dyn FnMut(&str)) {
        put(if self.tls { "https://" } else { "http://" });
        if let Some(user) = user {
            put(user);
            put("@");
        }
        let v6 = once(self.host, b':').is_some();
        put(if v6 { "[" } else { "" });
        put(self.host);
        put(if v6 { "]" } else { "" });
        if self.port != default_port(self.tls) {
            put(":");
            put(Decimal::new(self.port.into()).as_str());
        }
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
            Self::Host => "the host is missing or invalid",
            Self::Port => "the port is invalid",
            Self::Bytes => "a byte is invalid in a URL",
            Self::TooLong => "too long",
        })
    }
}

impl core::error::Error for BadUrl {}

/// Formats a URL without its query and without user and password, which are credentials.
pub(crate) struct Redacted<'a>(pub(crate) &'a str);

impl Redacted<'_> {
    /// The placeholder for user and password, the visible part, and the placeholder for the query.
    fn parts(&self) -> [&str; 3] {
        let (shown, query) = match self.0.split_once('?') {
            Some((shown, _)) => (shown, "?…"),
            None => (self.0, ""),
        };
        let is_path =
            |before: &str| before.split_once("://").map_or(before, |(_, rest)| rest).contains('/');
        match shown.rsplit_once('@') {
            // This may be a path or a password with a slash, so the host is unknown.
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

/// A stored URL: `Debug` hides its query.
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
    part(text, find(text, b'#', b'#')).0
}

/// Path and query; the query keeps its `?`.
fn split_query(target: &str) -> (&str, &str) {
    part(target, find(target, b'?', b'?'))
}

/// The index of the first of these two ASCII bytes, or the length. Searching by bytes saves the
/// flash of searching for characters.
#[inline(never)]
fn find(text: &str, one: u8, other: u8) -> usize {
    text.bytes().position(|byte| byte == one || byte == other).unwrap_or(text.len())
}

/// Splits the text in two.
#[inline(never)]
fn part(text: &str, at: usize) -> (&str, &str) {
    text.split_at_checked(at).unwrap_or((text, ""))
}

/// The parts before and after the first of these bytes.
fn once(text: &str, byte: u8) -> Option<(&str, &str)> {
    let (before, behind) = part(text, find(text, byte, byte));
    Some((before, behind.get(1..)?))
}

/// The parts before and after the last of these bytes.
#[inline(never)]
fn last(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = text.bytes().rposition(|other| other == byte)?;
    let (before, behind) = part(text, at);
    Some((before, behind.get(1..)?))
}

/// Whether the text begins with a scheme of any name and a colon (RFC 3986 §3.1).
fn has_scheme(text: &str) -> bool {
    once(text, b':').is_some_and(|(scheme, _)| {
        scheme.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    })
}

/// Host without brackets, and the port's digits.
fn split_authority(authority: &str) -> Result<(&str, &str), BadUrl> {
    if let Some(rest) = authority.strip_prefix("[") {
        let (host, rest) = once(rest, b']').filter(|(host, _)| is_v6(host)).ok_or(BadUrl::Host)?;
        let port = match rest.strip_prefix(":") {
            Some(port) => port,
            None if rest.is_empty() => "",
            None => return Err(BadUrl::Host),
        };
        return Ok((host, port));
    }
    let (host, port) = once(authority, b':').unwrap_or((authority, ""));
    if is_host(host) { Ok((host, port)) } else { Err(BadUrl::Host) }
}

/// Labels of 1 to 63 letters, digits, `-` and `_`, at most 253 bytes in all; a final dot is
/// allowed.
fn is_host(host: &str) -> bool {
    let labels = host.strip_suffix(".").unwrap_or(host).as_bytes();
    let ok = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let mut parts = labels.split(|b| *b == b'.');
    labels.len() <= 253
        && parts.all(|label| (1..=63).contains(&label.len()) && label.iter().all(ok))
}

/// Whether a host is an IPv6 address without a zone: the same as [`core::net::Ipv6Addr`] accepts,
/// in a fifth of its flash.
///
/// ```
/// use ota_proto::url::is_v6;
///
/// assert!(is_v6("2001:db8::1") && is_v6("::ffff:192.0.2.1"));
/// assert!(!is_v6("fe80::1%eth0") && !is_v6("192.0.2.1"));
/// ```
#[must_use]
pub fn is_v6(host: &str) -> bool {
    let host = host.as_bytes();
    let Some(at) = host.windows(2).position(|two| two == b"::") else {
        return groups(host, true) == Some(8);
    };
    let (front, behind) = host.split_at_checked(at).unwrap_or_default();
    debug_assert!(behind.starts_with(b"::"), "it was found there");
    let back = behind.get(2..).unwrap_or_default();
    // The gap replaces at least one group, and an IPv4 address is only allowed at the end.
    match (groups(front, false), groups(back, true)) {
        (Some(front), Some(back)) => front.saturating_add(back) <= 7,
        _ => false,
    }
}

/// The number of groups of 16 bits; `v4`: the last two may be an IPv4 address.
fn groups(text: &[u8], v4: bool) -> Option<usize> {
    if text.is_empty() {
        return Some(0);
    }
    let mut count = 0_usize;
    let mut parts = text.split(|byte| *byte == b':').peekable();
    while let Some(group) = parts.next() {
        let hex = (1..=4).contains(&group.len()) && group.iter().all(u8::is_ascii_hexdigit);
        count = match hex {
            true => count.saturating_add(1),
            false if v4 && parts.peek().is_none() && is_v4(group) => count.saturating_add(2),
            false => return None,
        };
    }
    Some(count)
}

/// Four numbers up to 255, without leading zeros.
fn is_v4(text: &[u8]) -> bool {
    let is_byte = |part: &[u8]| {
        let plain = part.len() <= 3 && (part.len() == 1 || part.first() != Some(&b'0'));
        plain && number(part).is_some_and(|number| number <= 255)
    };
    let mut count = 0_usize;
    for part in text.split(|byte| *byte == b'.') {
        count = count.saturating_add(1);
        if !is_byte(part) {
            return false;
        }
    }
    count == 4
}

const fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

fn parse_port(digits: &str) -> Result<u16, BadUrl> {
    let port = number(digits.as_bytes()).and_then(|port| u16::try_from(port).ok());
    port.filter(|port| *port > 0).ok_or(BadUrl::Port)
}
