//! The request, as bytes.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::net::Ipv6Addr;

use ota_proto::url::Url;

use super::RequestError;

/// The `User-Agent` that is sent.
pub const USER_AGENT: &str = concat!("ota-wire/", env!("CARGO_PKG_VERSION"));

pub(super) fn encode(
    url: &Url<'_>,
    user: Option<&str>,
    from: u64,
    fresh: bool,
    max: usize,
) -> Result<Vec<u8>, RequestError> {
    let basic = user.map(basic).transpose()?;
    let v6 = url.host.contains(':');
    let caches = if fresh { "\r\nCache-Control: no-cache" } else { "" };
    if !is_host(url.host, v6) {
        return Err(RequestError::Host);
    }
    let slash = match url.target.bytes().next() {
        None | Some(b'?') => "/",
        Some(b'/') => "",
        Some(_) => return Err(RequestError::Target),
    };
    // Whatever could end the request line or begin another header is outside this range.
    if !url.target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(RequestError::Target);
    }
    let mut size = Size { len: 0, max };
    write_to(&mut size, url, basic.as_deref(), (from, caches), v6, slash)
        .map_err(|fmt::Error| RequestError::TooLong)?;
    // Exactly as much as is needed: growing by doubling would hold twice the bound.
    let mut out = Exact(Vec::with_capacity(size.len));
    write_to(&mut out, url, basic.as_deref(), (from, caches), v6, slash)
        .map_err(|fmt::Error| RequestError::TooLong)?;
    Ok(out.0)
}

/// User and password in the form of `Authorization: Basic` (RFC 7617): without a colon the password
/// is empty.
#[cfg(feature = "url-user")]
fn basic(user: &str) -> Result<String, RequestError> {
    use base64ct::Encoding as _;
    let (mut plain, mut rest) = (Vec::with_capacity(user.len().saturating_add(1)), user.as_bytes());
    while let Some((&first, behind)) = rest.split_first() {
        let hex = behind.get(..2).filter(|_| first == b'%').and_then(|hex| {
            let hex = core::str::from_utf8(hex).ok()?;
            let digits = hex.bytes().all(|digit| digit.is_ascii_hexdigit());
            digits.then(|| u8::from_str_radix(hex, 16).ok()).flatten()
        });
        plain.push(hex.unwrap_or(first));
        rest = hex.and_then(|_| behind.get(2..)).unwrap_or(behind);
    }
    if !user.contains(':') {
        plain.push(b':');
    }
    Ok(base64ct::Base64::encode_string(&plain))
}

#[cfg(not(feature = "url-user"))]
fn basic(_: &str) -> Result<String, RequestError> {
    Err(RequestError::User)
}

fn is_host(host: &str, v6: bool) -> bool {
    if v6 {
        return host.parse::<Ipv6Addr>().is_ok();
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !host.is_empty() && host.bytes().all(fits)
}

// Its copies would cost flash.
#[inline(never)]
fn write_to(
    out: &mut dyn Write,
    url: &Url<'_>,
    basic: Option<&str>,
    (from, caches): (u64, &str),
    v6: bool,
    slash: &str,
) -> fmt::Result {
    write!(out, "GET {slash}{} HTTP/1.1\r\nHost: ", url.target)?;
    if v6 {
        write!(out, "[{}]", url.host)?;
    } else {
        out.write_str(url.host)?;
    }
    if url.port != if url.tls { 443 } else { 80 } {
        write!(out, ":{}", url.port)?;
    }
    if let Some(basic) = basic {
        write!(out, "\r\nAuthorization: Basic {basic}")?;
    }
    if from > 0 {
        write!(out, "\r\nRange: bytes={from}-")?;
    }
    write!(out, "{caches}\r\nAccept-Encoding: identity\r\nUser-Agent: {USER_AGENT}")?;
    out.write_str("\r\nConnection: close\r\n\r\n")
}

/// Counts bytes, up to so many.
struct Size {
    len: usize,
    max: usize,
}

impl Write for Size {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.len = self.len.saturating_add(text.len());
        if self.len > self.max { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Keeps bytes, as many as there is room for.
struct Exact(Vec<u8>);

impl Write for Exact {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() > self.0.capacity().saturating_sub(self.0.len()) {
            return Err(fmt::Error);
        }
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
