//! Just enough of a URL for a download: http and https, taken apart and joined.

use alloc::string::String;
use core::fmt;

/// An absolute `http` or `https` URL, taken apart. The query is kept byte for byte: it is a
/// signature. `Debug` and `Display` hide it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Url<'a> {
    /// `https`.
    pub tls: bool,
    /// The host name or address, without brackets.
    pub host: &'a str,
    /// The port, 443 or 80 unless given.
    pub port: u16,
    /// Path and query, as sent in the request line; empty stands for `/`. No fragment.
    pub target: &'a str,
}

/// Why a text is no usable URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BadUrl {
    /// Neither `http` nor `https`.
    Scheme,
    /// The host is missing or has bytes that no host has; also when a user name is given.
    Host,
    /// Not a port from 1 to 65535.
    Port,
    /// Controls, spaces or bytes outside ASCII.
    Bytes,
    /// Longer than the caller's limit.
    TooLong,
}

impl<'a> Url<'a> {
    /// Takes an absolute URL apart.
    ///
    /// # Errors
    /// [`BadUrl`], by what is wrong.
    pub fn parse(text: &'a str) -> Result<Self, BadUrl> {
        let _ = text;
        Err(BadUrl::Scheme)
    }

    /// The absolute URL that a `Location` header means when it answers a request for `self`:
    /// absolute, `//host/path`, `/path`, `?query` or a relative path, dot segments removed.
    ///
    /// # Errors
    /// [`BadUrl`], by what is wrong with the result; `TooLong` above `max` bytes.
    pub fn join(&self, location: &str, max: usize) -> Result<String, BadUrl> {
        let _ = (location, max);
        Err(BadUrl::Scheme)
    }
}

impl fmt::Display for Url<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)
    }
}

impl fmt::Debug for Url<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
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
