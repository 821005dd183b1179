//! The stream of records below embedded-tls, shared by its two halves.

use core::cell::RefCell;
use core::future::poll_fn;
use core::ops::RangeInclusive;
use core::pin::pin;

use embedded_io_async::{Error as _, ErrorKind, ErrorType, Read, Write};

const HEAD: usize = 5;
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// All record types (RFC 8446, 5.1).
const RECORDS: RangeInclusive<u8> = CHANGE_CIPHER_SPEC..=APPLICATION_DATA;

/// The bytes that every record of a server has.
const VERSION: [u8; 2] = [3, 3];

/// The least content of an encrypted record: one byte for its type, and the tag.
const SEALED: u16 = 17;

/// The state of reading a peer's records.
pub(super) struct Records<S> {
    pub(super) stream: S,
    head: [u8; HEAD],
    /// Read bytes of a header.
    have: usize,
    /// Remaining bytes of a record's content.
    left: usize,
    /// The type of the last record.
    last: Option<u8>,
}

impl<S> Records<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, head: [0; HEAD], have: 0, left: 0, last: None }
    }

    /// Checks bytes that were read.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] if a record is not allowed: after the first one all must be
    /// encrypted, except one without meaning. embedded-tls would accept unencrypted ones from any
    /// attacker, and panics on empty ones. [`ErrorKind::Unsupported`] if the first byte is not a
    /// record's: the peer does not use TLS.
    fn note(&mut self, bytes: &[u8]) -> Result<(), ErrorKind> {
        let first = self.last.is_none() && self.have == 0;
        if first && bytes.first().is_some_and(|kind| !RECORDS.contains(kind)) {
            return Err(ErrorKind::Unsupported);
        }
        if self.fits(bytes) { Ok(()) } else { Err(ErrorKind::InvalidData) }
    }

    fn fits(&mut self, bytes: &[u8]) -> bool {
        if self.left > 0 {
            self.left = self.left.saturating_sub(bytes.len());
            return self.last != Some(CHANGE_CIPHER_SPEC) || bytes == [1];
        }
        for (to, byte) in self.head.iter_mut().skip(self.have).zip(bytes) {
            *to = *byte;
        }
        self.have = self.have.saturating_add(bytes.len());
        if self.have < HEAD {
            return true;
        }
        let [kind, version @ .., high, low] = self.head;
        let len = u16::from_be_bytes([high, low]);
        let fits = match (self.last, kind) {
            _ if version != VERSION => false,
            (None, HANDSHAKE | ALERT) => len > 0,
            (Some(HANDSHAKE), CHANGE_CIPHER_SPEC) => len == 1,
            (Some(_), APPLICATION_DATA) => len >= SEALED,
            _ => false,
        };
        (self.have, self.left, self.last) = (0, usize::from(len), Some(kind));
        fits
    }
}

/// One of the two halves.
pub(super) struct Half<'a, S>(pub(super) &'a RefCell<Records<S>>);

impl<S> Clone for Half<'_, S> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<S> ErrorType for Half<'_, S> {
    type Error = ErrorKind;
}

impl<S: Read> Read for Half<'_, S> {
    /// Reads a header or a content, never beyond.
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        poll_fn(|cx| {
            let records = &mut *self.0.borrow_mut();
            let most = if records.left > 0 { records.left } else { HEAD - records.have };
            let most = buf.len().min(most);
            let Some(room) = buf.get_mut(..most) else { return Err(ErrorKind::Other).into() };
            // A pending future is dropped, as the driver does.
            let read = pin!(records.stream.read(room)).poll(cx);
            read.map(|read| {
                let count = read.map_err(|error| error.kind())?;
                records.note(room.get(..count).unwrap_or_default())?;
                Ok(count)
            })
        })
        .await
    }
}

impl<S: Write> Write for Half<'_, S> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        poll_fn(|cx| {
            let stream = &mut self.0.borrow_mut().stream;
            pin!(stream.write(buf)).poll(cx).map_err(|error| error.kind())
        })
        .await
    }

    /// Does nothing: the stack sends what it has accepted.
    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::{ErrorKind, Records};

    /// Whether all of these are accepted, however they are split.
    fn fits(records: &[&[u8]]) -> bool {
        [1, 4, 5].map(|most| pieces(records, most)).into_iter().all(|fits| fits)
    }

    fn pieces(records: &[&[u8]], most: usize) -> bool {
        let mut seen = Records::new(());
        records.iter().all(|record| {
            let (head, content) = record.split_at(5);
            let pieces: Vec<&[u8]> = head.chunks(most).chain(content.chunks(most)).collect();
            pieces.into_iter().all(|piece| seen.note(piece).is_ok())
        })
    }

    const HELLO: &[u8] = &[22, 3, 3, 0, 2, 2, 0];
    const CHANGE: &[u8] = &[20, 3, 3, 0, 1, 1];
    const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 40];
    const SEALED: &[u8] =
        &[23, 3, 3, 0, 17, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

    #[test]
    fn after_the_first_record_all_are_sealed() {
        assert!(fits(&[HELLO, CHANGE, SEALED, SEALED]));
        assert!(fits(&[HELLO, SEALED]));
        assert!(fits(&[ALERT]));
        for last in [HELLO, ALERT, CHANGE] {
            assert!(!fits(&[HELLO, SEALED, last]), "{last:?}");
        }
        assert!(!fits(&[HELLO, ALERT]));
        assert!(!fits(&[HELLO, CHANGE, CHANGE]));
        assert!(!fits(&[SEALED]));
    }

    /// embedded-tls panics.
    #[test]
    fn a_sealed_record_without_content_is_refused() {
        let empty = &[&[23, 3, 3, 0, 16][..], &[0; 16]].concat();
        assert!(!fits(&[HELLO, empty]));
    }

    #[test]
    fn a_first_record_without_content_is_refused() {
        for kind in [21, 22] {
            assert!(!fits(&[&[kind, 3, 3, 0, 0]]), "{kind}");
        }
    }

    #[test]
    fn what_does_not_begin_as_a_record_is_not_tls() {
        for (bytes, why) in [
            (&b"HTTP/"[..], ErrorKind::Unsupported),
            (&[0x20, 2, 0, 0, 0], ErrorKind::Unsupported),
            (&[23, 3, 3, 0, 40], ErrorKind::InvalidData),
            (&[22, 3, 1, 0, 40], ErrorKind::InvalidData),
        ] {
            assert_eq!(Records::new(()).note(bytes), Err(why), "{bytes:?}");
        }
    }

    #[test]
    fn a_change_without_its_meaning_is_refused() {
        assert!(!fits(&[HELLO, &[20, 3, 3, 0, 1, 2]]));
        assert!(!fits(&[HELLO, &[20, 3, 3, 0, 2, 1, 1]]));
        assert!(!fits(&[&[22, 3, 1, 0, 2, 2, 0]]));
    }
}
