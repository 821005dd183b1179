//! Reads certificate fields that rustls does not expose.

use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode as _, SliceReader, Tag, Tagged as _};

/// Returns the start of validity of an accepted certificate, in Unix seconds; `None` if it cannot
/// be read.
pub(super) fn valid_from(certificate: &[u8]) -> Option<u64> {
    let mut whole = within(AnyRef::from_der(certificate).ok()?)?;
    let mut signed = within(AnyRef::decode(&mut whole).ok()?)?;
    // Version, serial number, algorithm, issuer.
    for _ in 0..4 {
        AnyRef::decode(&mut signed).ok()?;
    }
    let mut validity = within(AnyRef::decode(&mut signed).ok()?)?;
    let from = AnyRef::decode(&mut validity).ok()?;
    let since_1970 = match from.tag() {
        Tag::UtcTime => from.decode_as::<UtcTime>().ok()?.to_unix_duration(),
        _ => from.decode_as::<GeneralizedTime>().ok()?.to_unix_duration(),
    };
    Some(since_1970.as_secs())
}

fn within(element: AnyRef<'_>) -> Option<SliceReader<'_>> {
    SliceReader::new(element.value()).ok()
}
