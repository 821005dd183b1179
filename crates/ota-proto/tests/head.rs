//! The head of an HTTP answer, made of a client's headers.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::time::Duration;

use ota_proto::{Coding, ContentRange, Media, ResponseHead};
use proptest::prelude::*;

fn head<'a>(status: u16, headers: &[(&'a str, &'a str)]) -> ResponseHead<'a> {
    ResponseHead::new(status, headers.iter().map(|(name, value)| (*name, value.as_bytes())))
}

#[test]
fn every_header_that_matters_is_read_in_any_case() {
    let found = head(
        206,
        &[
            ("CONTENT-LENGTH", "5904"),
            ("content-range", "bytes 4096-9999/10000"),
            ("ETag", " \"5f1\" "),
            ("Retry-After", "7"),
            ("Content-Encoding", "identity, gzip"),
            ("Content-Type", "text/html; charset=utf-8"),
            ("Server", "any"),
        ],
    );
    let want = ResponseHead {
        status: 206,
        content_length: Some(5_904),
        content_range: Some(ContentRange { span: Some((4_096, 9_999)), total: Some(10_000) }),
        etag: Some(b"\"5f1\""),
        location: None,
        retry_after: Some(Duration::from_secs(7)),
        coding: Some(Coding::Gzip),
        media: Media::new(b"text/html"),
    };
    assert_eq!(found, want);
}

#[test]
fn a_header_counts_only_where_it_means_something() {
    let headers = [("Location", "/next"), ("Content-Range", "bytes */9")];
    assert_eq!(head(302, &headers), ResponseHead { location: Some("/next"), ..head(302, &[]) });
    let total = Some(ContentRange { span: None, total: Some(9) });
    assert_eq!(head(416, &headers), ResponseHead { content_range: total, ..head(416, &[]) });
    assert_eq!(head(200, &headers), head(200, &[]));
}

#[test]
fn what_cannot_be_read_is_left_out_and_the_first_of_two_counts() {
    for value in ["", "-1", "0x10", "18446744073709551616", "5, 5"] {
        assert_eq!(head(200, &[("Content-Length", value)]).content_length, None, "{value:?}");
    }
    for value in ["", "bytes", "bytes 9-4/10", "bytes 0-10/10", "items 0-1/2", "bytes */*"] {
        assert_eq!(head(206, &[("Content-Range", value)]).content_range, None, "{value:?}");
    }
    let twice = head(200, &[("Content-Length", "5"), ("Content-Length", "6"), ("ETag", "a")]);
    assert_eq!(twice.content_length, Some(5));
}

/// Asking again at once would be the opposite of its meaning.
#[test]
fn a_pause_that_is_too_long_to_count_is_long() {
    let pause = |value| head(503, &[("Retry-After", value)]).retry_after;
    assert!(pause("99999999999999999999999").unwrap() > Duration::from_secs(1 << 30));
    assert_eq!(pause("Wed, 21 Oct 2026 07:28:00 GMT"), None);
}

#[test]
fn errors_of_the_system_have_a_meaning() {
    use std::io::{Error, ErrorKind as K};

    use ota_proto::{StorageError as S, TransportError as T};

    for (kind, want) in [
        (K::StorageFull, S::NoSpace),
        (K::ReadOnlyFilesystem, S::ReadOnly),
        (K::PermissionDenied, S::ReadOnly),
        (K::NotFound, S::Gone),
        (K::Other, S::Failed),
    ] {
        assert_eq!(S::from(Error::from(kind)), want, "{kind:?}");
    }
    for (kind, want) in [
        (K::TimedOut, T::TimedOut),
        (K::UnexpectedEof, T::Closed),
        (K::ConnectionRefused, T::Refused),
    ] {
        assert_eq!(T::from(Error::from(kind)), want, "{kind:?}");
    }
}

proptest! {
    #[test]
    fn any_headers_are_a_head(
        status in any::<u16>(),
        name in "(?i)content-range|content-length|retry-after|location|etag|content-type|x",
        value in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let found = ResponseHead::new(status, [(name.as_str(), value.as_slice())]);
        prop_assert_eq!(found.status, status);
    }
}
