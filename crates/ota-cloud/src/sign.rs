//! Signed URLs in the style of the platform's object store (docs/protocol.md, Download).
//!
//! The whole signature is one percent-encoded query parameter, so a URL has no raw `&`, which the
//! vendor's C devices could not read:
//! `{base}{path}?sign=q-sign-algorithm%3Dsha1%26q-ak%3D…%26q-sign-time%3DSTART%3BEND%26…`.

use core::fmt;
use core::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha1::{Digest, Sha1};

/// The allowed difference of the signer's and the server's clocks, in seconds.
const SKEW: u64 = 60;
/// The longest parsed request target, in bytes.
const MAX_TARGET: usize = 4096;
/// The only access key id: this server has one key.
const ACCESS_KEY: &str = "stand-in";

/// Unescaped bytes of the parameter.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Unescaped bytes of a path.
const PATH: &AsciiSet = &VALUE.remove(b'/').remove(b':');

/// Makes and checks URLs that expire. `Debug` hides the key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UrlSigner {
    base: String,
    key: Vec<u8>,
    life: Duration,
}

/// The content of a valid URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Signed {
    /// The path, percent-decoded, from its `/` on.
    pub path: String,
    /// When it was signed, in Unix seconds.
    pub start: u64,
    /// The last second of its validity, in Unix seconds.
    pub end: u64,
}

/// Why a URL is refused: always with status 403.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The signature is right, but has expired (or is more than a minute ahead).
    Expired,
    /// The signature is not ours, not for this path, or unreadable.
    Forged,
    /// There is no signature.
    Missing,
}

impl UrlSigner {
    /// The lifetime of the platform's URLs: 24 h in every sample (docs/protocol.md, Download).
    pub const LIFE: Duration = Duration::from_secs(86_400);

    /// A signer for URLs under `base` (`http://host:port`, without a trailing slash). `key` may
    /// have any length. `life` is rounded to whole seconds.
    #[must_use]
    pub fn new(base: impl Into<String>, key: impl Into<Vec<u8>>, life: Duration) -> Self {
        Self { base: base.into(), key: key.into(), life }
    }

    /// The prefix of every path.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The URL of `path` (which begins with `/`), valid from `unix` (seconds) for the signer's
    /// lifetime. Signing the same path in the same second returns the same URL.
    #[must_use]
    pub fn sign(&self, path: &str, unix: u64) -> String {
        let time = format!("{unix};{}", unix.saturating_add(self.life.as_secs()));
        let signature =
            base16ct::lower::encode_string(&self.mac(path, &time).finalize().into_bytes());
        let value = value(&time, &signature);
        format!(
            "{}{}?sign={}",
            self.base,
            utf8_percent_encode(path, PATH),
            utf8_percent_encode(&value, VALUE)
        )
    }

    /// Checks a request target (`/path?sign=…`, as in the request line) at `unix` seconds. Other
    /// parameters are allowed and not signed.
    ///
    /// # Errors
    /// [`Refusal`] names the reason. Never panics, whatever the text.
    pub fn check(&self, target: &str, unix: u64) -> Result<Signed, Refusal> {
        let (path, query) = target.split_once('?').ok_or(Refusal::Missing)?;
        let value = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("sign="))
            .filter(|value| !value.is_empty())
            .ok_or(Refusal::Missing)?;
        if target.len() > MAX_TARGET {
            return Err(Refusal::Forged);
        }
        let path = percent_decode_str(path).decode_utf8().map_err(|_| Refusal::Forged)?;
        let value = percent_decode_str(value).decode_utf8().map_err(|_| Refusal::Forged)?;
        let field = |name: &str| {
            value.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        let time = field("q-sign-time").ok_or(Refusal::Forged)?;
        let given = field("q-signature").ok_or(Refusal::Forged)?;
        let given = base16ct::mixed::decode_vec(given).map_err(|_| Refusal::Forged)?;
        self.mac(&path, time).verify_slice(&given).map_err(|_| Refusal::Forged)?;
        // The signature covers only the time and the path; the rest must have exactly our format.
        if value != self::value(time, &base16ct::lower::encode_string(&given)) {
            return Err(Refusal::Forged);
        }
        let (start, end) = time.split_once(';').ok_or(Refusal::Forged)?;
        let start = start.parse().map_err(|_| Refusal::Forged)?;
        let end = end.parse().map_err(|_| Refusal::Forged)?;
        if unix > end || unix.saturating_add(SKEW) < start {
            return Err(Refusal::Expired);
        }
        Ok(Signed { path: path.into_owned(), start, end })
    }

    /// The object store's algorithm: a key for the time span, then the hash of the request, both
    /// HMAC-SHA1.
    fn mac(&self, path: &str, time: &str) -> Hmac<Sha1> {
        let mut span = keyed(&self.key);
        span.update(time.as_bytes());
        let mut mac =
            keyed(base16ct::lower::encode_string(&span.finalize().into_bytes()).as_bytes());
        let request = Sha1::digest(format!("get\n{path}\n\n\n").as_bytes());
        mac.update(
            format!("sha1\n{time}\n{}\n", base16ct::lower::encode_string(&request)).as_bytes(),
        );
        mac
    }
}

impl fmt::Debug for UrlSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UrlSigner")
            .field("base", &self.base)
            .field("key", &"…")
            .field("life", &self.life)
            .finish()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the URL has expired",
            Self::Forged => "the URL's signature is wrong",
            Self::Missing => "the URL is not signed",
        })
    }
}

impl core::error::Error for Refusal {}

/// The value of the parameter before percent-encoding.
fn value(time: &str, signature: &str) -> String {
    format!(
        "q-sign-algorithm=sha1&q-ak={ACCESS_KEY}&q-sign-time={time}&q-key-time={time}\
         &q-header-list=&q-url-param-list=&q-signature={signature}"
    )
}

/// An HMAC over a key of any length.
fn keyed(key: &[u8]) -> Hmac<Sha1> {
    // HMAC itself hashes a longer key first, so the result is the same.
    let mut block = [0; 64];
    let short = Sha1::digest(key);
    let key = if key.len() > block.len() { short.as_slice() } else { key };
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    Hmac::new(&block.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn signer() -> UrlSigner {
        UrlSigner::new("http://127.0.0.1:8080", *b"key", UrlSigner::LIFE)
    }

    fn target(url: &str) -> &str {
        url.strip_prefix("http://127.0.0.1:8080").unwrap()
    }

    #[test]
    fn one_parameter_and_a_day() {
        let url = signer().sign("/TESTPROD01_1.0.0", NOW);
        let head = "http://127.0.0.1:8080/TESTPROD01_1.0.0?sign=q-sign-algorithm%3Dsha1%26q-ak%3D\
                    stand-in%26q-sign-time%3D1700000000%3B1700086400%26q-key-time%3D1700000000%3B\
                    1700086400%26q-header-list%3D%26q-url-param-list%3D%26q-signature%3D";
        let signature = url.strip_prefix(head).unwrap();
        assert_eq!(signature.len(), 40);
        assert!(!url.contains('&') && url.len() < 512);
    }

    #[test]
    fn good_until_its_last_second() {
        let url = signer().sign("/a:b/c d", NOW);
        let good = Signed { path: "/a:b/c d".into(), start: NOW, end: NOW + 86_400 };
        assert_eq!(signer().check(target(&url), NOW), Ok(good.clone()));
        assert_eq!(signer().check(target(&url), NOW + 86_400), Ok(good.clone()));
        assert_eq!(signer().check(target(&url), NOW - 60), Ok(good));
        assert_eq!(signer().check(target(&url), NOW + 86_401), Err(Refusal::Expired));
        assert_eq!(signer().check(target(&url), NOW - 61), Err(Refusal::Expired));
    }

    #[test]
    fn any_changed_byte_is_refused() {
        let url = signer().sign("/TESTPROD01_1.0.0", NOW);
        let target = target(&url);
        assert!(signer().check(target, NOW).is_ok());
        for at in 0..target.len() {
            let mut bytes = target.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'7' { b'8' } else { b'7' };
            let text = String::from_utf8(bytes).unwrap();
            assert!(signer().check(&text, NOW).is_err(), "{text}");
        }
    }

    #[test]
    fn other_keys_paths_and_none() {
        let url = signer().sign("/a", NOW);
        let other = UrlSigner::new("", *b"yek", UrlSigner::LIFE);
        assert_eq!(other.check(target(&url), NOW), Err(Refusal::Forged));
        let moved = target(&url).replace("/a?", "/b?");
        assert_eq!(signer().check(&moved, NOW), Err(Refusal::Forged));
        for none in ["", "/a", "/a?", "/a?sign=", "/a?x=1", "?"] {
            assert_eq!(signer().check(none, NOW), Err(Refusal::Missing), "{none}");
        }
        for bad in ["/a?sign=x", "/a?sign=%", "/a?sign=%ff", "/%ff?sign=1", "/a?sign=é"] {
            assert_eq!(signer().check(bad, NOW), Err(Refusal::Forged), "{bad}");
        }
    }

    #[test]
    fn keys_of_any_length() {
        // Long keys are hashed, short ones padded: RFC 2202, cases 2 and 6.
        let mut short = keyed(b"Jefe");
        short.update(b"what do ya want for nothing?");
        let short = short.finalize().into_bytes();
        assert_eq!(
            base16ct::lower::encode_string(&short),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        );
        let mut long = keyed(&[0xaa; 80]);
        long.update(b"Test Using Larger Than Block-Size Key - Hash Key First");
        let long = long.finalize().into_bytes();
        assert_eq!(
            base16ct::lower::encode_string(&long),
            "aa4ae5e15272d00e95705637ce8a3b55ed402112"
        );
    }

    #[test]
    fn no_key_in_debug() {
        let text = format!("{:?}", signer());
        assert!(text.contains("127.0.0.1") && !text.contains("107") && !text.contains("key\""));
    }
}
