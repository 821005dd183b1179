//! Writes the request.

use alloc::string::String;
use alloc::vec::Vec;

use ota_proto::Decimal;
use ota_proto::url::{Url, is_v6};

use super::RequestError;

/// The value of `User-Agent`.
pub const USER_AGENT: &str = concat!("ota-wire/", env!("CARGO_PKG_VERSION"));

pub(super) fn encode(
    url: &Url<'_>,
    user: Option<&str>,
    from: u64,
    fresh: bool,
    max: usize,
) -> Result<Vec<u8>, RequestError> {
    let basic = user.map(basic).transpose()?;
    let v6 = url.host.bytes().any(|byte| byte == b':');
    let caches = if fresh { "\r\nCache-Control: no-cache" } else { "" };
    if !is_host(url.host, v6) {
        return Err(RequestError::Host);
    }
    let slash = match url.target.bytes().next() {
        None | Some(b'?') => "/",
        Some(b'/') => "",
        Some(_) => return Err(RequestError::Target),
    };
    // Excludes all bytes that could end the request line or begin another header.
    if !url.target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(RequestError::Target);
    }
    let mut len = 0_usize;
    let mut count = |part: &str| len = len.saturating_add(part.len());
    write_to(&mut count, url, basic.as_deref(), (from, caches), v6, slash);
    if len > max {
        return Err(RequestError::TooLong);
    }
    // Allocates the exact size: doubling would temporarily hold twice the bound.
    let mut out = Vec::with_capacity(len);
    let mut put = |part: &str| out.extend_from_slice(part.as_bytes());
    write_to(&mut put, url, basic.as_deref(), (from, caches), v6, slash);
    Ok(out)
}

/// Formats user and password for `Authorization: Basic` (RFC 7617): without a colon the password is
/// empty.
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
        return is_v6(host);
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !host.is_empty() && host.bytes().all(fits)
}

/// Writes the parts of the request without `core::fmt`, whose copies for two callers would cost
/// flash.
#[inline(never)]
fn write_to(
    put: &mut dyn FnMut(&str),
    url: &Url<'_>,
    basic: Option<&str>,
    (from, caches): (u64, &str),
    v6: bool,
    slash: &str,
) {
    let (open, close) = if v6 { ("[", "]") } else { ("", "") };
    for part in ["GET ", slash, url.target, " HTTP/1.1\r\nHost: ", open, url.host, close] {
        put(part);
    }
    if url.port != if url.tls { 443 } else { 80 } {
        put(":");
        put(Decimal::new(url.port.into()).as_str());
    }
    if let Some(basic) = basic {
        put("\r\nAuthorization: Basic ");
        put(basic);
    }
    if from > 0 {
        put("\r\nRange: bytes=");
        put(Decimal::new(from).as_str());
        put("-");
    }
    put(caches);
    put("\r\nAccept-Encoding: identity\r\nUser-Agent: ");
    put(USER_AGENT);
    put("\r\nConnection: close\r\n\r\n");
}
