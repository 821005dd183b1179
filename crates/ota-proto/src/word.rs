//! Case-insensitive words of protocols.

/// Whether two words are equal, ignoring the case of ASCII letters.
///
/// ```
/// use ota_proto::same_word;
///
/// assert!(same_word(b"Content-Length", b"content-length"));
/// assert!(!same_word(b"gzip", b"zip"));
/// ```
#[must_use]
// Not inlined: each copy costs flash.
#[inline(never)]
pub fn same_word(one: &[u8], other: &[u8]) -> bool {
    one.eq_ignore_ascii_case(other)
}
