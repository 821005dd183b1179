//! Parses certificates strictly: only those that a private CA issues with P-256 keys. Everything
//! else is rejected, including unknown critical extensions.

use core::net::Ipv4Addr;

use ota_proto::TlsError;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERAL_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const DNS_NAME: u8 = 0x82;
const ADDRESS: u8 = 0x87;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

const TRUE: &[u8] = &[0xff];
/// ecdsa-with-SHA256.
const ALGORITHM: &[u8] = &[OID, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// ecPublicKey on the curve prime256v1.
const KEY: &[u8] =
    &[OID, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, OID, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];

/// Bits of the first octet of the key usage.
const DIGITAL_SIGNATURE: u8 = 0x80;
const CERTIFICATE_SIGNATURE: u8 = 0x04;

/// The fields of a certificate, as they were sent.
pub(super) struct Certificate<'a> {
    /// The signed bytes.
    pub(super) signed: &'a [u8],
    /// The signature: ECDSA with SHA-256, in DER.
    pub(super) signature: &'a [u8],
    pub(super) issuer: &'a [u8],
    pub(super) subject: &'a [u8],
    /// Start and end in seconds since 1970, inclusive.
    pub(super) valid: (u64, u64),
    /// A point of P-256.
    pub(super) key: &'a [u8],
    names: Der<'a>,
    is_authority: bool,
    usage: Option<u8>,
    /// Whether the purposes include servers, if there are purposes.
    server: Option<bool>,
}

impl<'a> Certificate<'a> {
    /// Parses a certificate; `None` if it is not one of those described above. [`fault`] returns
    /// the reason.
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let mut whole = Der(der).only(SEQUENCE)?;
        let (SEQUENCE, signed, tbs) = whole.any()? else { return None };
        let algorithm = whole.take(SEQUENCE).filter(|algorithm| *algorithm == ALGORITHM)?;
        let signature = whole.bits()?;
        whole.end()?;
        let mut tbs = Der(tbs);
        tbs.take(VERSION).filter(|version| *version == [INTEGER, 1, 2])?;
        tbs.take(INTEGER)?;
        tbs.take(SEQUENCE).filter(|same| *same == algorithm)?;
        let issuer = tbs.take(SEQUENCE)?;
        let mut validity = Der(tbs.take(SEQUENCE)?);
        let valid = (validity.time()?, validity.time()?);
        validity.end()?;
        let subject = tbs.take(SEQUENCE)?;
        let mut info = Der(tbs.take(SEQUENCE)?);
        info.take(SEQUENCE).filter(|kind| *kind == KEY)?;
        let key = info.bits()?;
        info.end()?;
        let extensions = Der(tbs.take(EXTENSIONS)?).only(SEQUENCE)?;
        tbs.end()?;
        let (names, is_authority, usage, server) = (Der(&[]), false, None, None);
        let bare = Self {
            signed,
            signature,
            issuer,
            subject,
            valid,
            key,
            names,
            is_authority,
            usage,
            server,
        };
        bare.with(extensions)
    }

    fn with(mut self, mut extensions: Der<'a>) -> Option<Self> {
        while !extensions.0.is_empty() {
            let mut extension = Der(extensions.take(SEQUENCE)?);
            let kind = extension.take(OID)?;
            let critical = extension.maybe(BOOLEAN).is_some();
            let value = Der(extension.take(OCTETS)?);
            extension.end()?;
            match kind {
                [0x55, 0x1d, 15] => self.usage = Der(value.0).bits()?.first().copied(),
                [0x55, 0x1d, 17] => self.names = value.only(SEQUENCE)?,
                [0x55, 0x1d, 19] => {
                    self.is_authority = value.only(SEQUENCE)?.maybe(BOOLEAN) == Some(TRUE);
                }
                [0x55, 0x1d, 37] => {
                    let mut purposes = value.only(SEQUENCE)?;
                    let mut server = false;
                    while !purposes.0.is_empty() {
                        server |= purposes.take(OID)? == SERVER_AUTH;
                    }
                    self.server = Some(server);
                }
                _ if critical => return None,
                _ => {}
            }
        }
        Some(self)
    }

    /// Whether it may issue other certificates.
    pub(super) fn is_authority(&self) -> bool {
        self.is_authority && self.usage.is_none_or(|usage| usage & CERTIFICATE_SIGNATURE != 0)
    }

    /// Whether it claims to be a CA's, which a server certificate does not.
    pub(super) fn claims_authority(&self) -> bool {
        self.is_authority
    }

    /// Whether it may be used by a server.
    pub(super) fn is_server(&self) -> bool {
        let signs = self.usage.is_none_or(|usage| usage & DIGITAL_SIGNATURE != 0);
        !self.is_authority && signs && self.server != Some(false)
    }

    /// Whether the host is among its names: without wildcards, and never by its subject.
    pub(super) fn names(&self, host: &str) -> bool {
        let address = host.parse::<Ipv4Addr>().map(|address| address.octets());
        let mut names = self.names;
        while let Some((kind, _, name)) = names.any() {
            let same = match (kind, &address) {
                (DNS_NAME, Err(_)) => name.eq_ignore_ascii_case(host.as_bytes()),
                (ADDRESS, Ok(address)) => name == address,
                _ => false,
            };
            if same {
                return true;
            }
        }
        false
    }
}

/// Why [`Certificate::read`] rejects it.
pub(super) fn fault(der: &[u8]) -> TlsError {
    unsupported(der).unwrap_or(TlsError::Unfit)
}

/// The kind of a certificate that is not supported.
fn unsupported(der: &[u8]) -> Option<TlsError> {
    let mut whole = Der(der).only(SEQUENCE)?;
    let mut tbs = Der(whole.take(SEQUENCE)?);
    if tbs.maybe(VERSION).is_none() {
        // Only version 1 omits its number.
        return tbs.take(INTEGER).map(|_| TlsError::Version1);
    }
    tbs.take(INTEGER)?;
    let algorithm = tbs.take(SEQUENCE)?;
    // Issuer, validity, subject.
    for _ in 0..3 {
        tbs.take(SEQUENCE)?;
    }
    let key = Der(tbs.take(SEQUENCE)?).take(SEQUENCE)?;
    (algorithm != ALGORITHM || key != KEY).then_some(TlsError::Algorithm)
}

/// A sequence of DER elements.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Returns the next element: its tag, all of it, and its content.
    fn any(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (tag, head, len) = match *self.0 {
            [tag, len @ ..=0x7f, ..] => (tag, 2, usize::from(len)),
            [tag, 0x81, len @ 0x80..=0xff, ..] => (tag, 3, usize::from(len)),
            [tag, 0x82, high @ 1..=0xff, low, ..] => {
                (tag, 4, usize::from(u16::from_be_bytes([high, low])))
            }
            _ => return None,
        };
        let (all, rest) = self.0.split_at_checked(head + len)?;
        self.0 = rest;
        Some((tag, all, all.get(head..)?))
    }

    /// Returns the next element's content if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, _, content) = self.any()?;
        (found == tag).then_some(content)
    }

    /// The same, but takes nothing if the tag differs.
    fn maybe(&mut self, tag: u8) -> Option<&'a [u8]> {
        (self.0.first() == Some(&tag)).then(|| self.take(tag)).flatten()
    }

    /// Returns the content of the only element.
    fn only(mut self, tag: u8) -> Option<Self> {
        let content = self.take(tag)?;
        self.end()?;
        Some(Self(content))
    }

    /// A bit string of whole octets.
    fn bits(&mut self) -> Option<&'a [u8]> {
        let (unused, bits) = self.take(BITS)?.split_first()?;
        (*unused < 8).then_some(bits)
    }

    fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    /// Parses a time in seconds since 1970; earlier times count as 0.
    fn time(&mut self) -> Option<u64> {
        let (tag, _, text) = self.any()?;
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = text.split_at_checked(2)?;
                let year = number(year)?;
                (if year < 50 { 2_000 + year } else { 1_900 + year }, rest)
            }
            GENERAL_TIME => {
                let (year, rest) = text.split_at_checked(4)?;
                (number(year)?, rest)
            }
            _ => return None,
        };
        let [a, b, c, d, e, f, g, h, i, j, b'Z'] = *rest else { return None };
        let (month, day) = (number(&[a, b])?, number(&[c, d])?);
        let (hour, minute, second) = (number(&[e, f])?, number(&[g, h])?, number(&[i, j])?);
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        // Years begin in March, so that the leap day is a year's last day.
        let year = if month < 3 { year.saturating_sub(1) } else { year };
        let days = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let days = 365 * year + year / 4 + year / 400 + days - year / 100;
        let seconds = hour * 3_600 + minute * 60 + second;
        Some(days.saturating_sub(719_468) * 86_400 + seconds)
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| {
        digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests;
