//! Our reader of heads against httparse, on random heads. The differences are written down here.

use httparse::{EMPTY_HEADER, Error, ParserConfig, Response, Status};
use ota_wire::http::{Fetch, FetchFound, FetchLimits, HttpError};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::driver::{fixtures, url};

/// What httparse makes of a head.
#[derive(Debug, PartialEq, Eq)]
enum Theirs {
    Partial,
    Bad,
    Head { len: usize, status: u16, fields: Vec<(String, Vec<u8>)> },
}

fn theirs(rx: &[u8]) -> Theirs {
    let mut headers = [EMPTY_HEADER; 256];
    let mut response = Response::new(&mut headers);
    let mut config = ParserConfig::default();
    config.allow_obsolete_multiline_headers_in_responses(true);
    match config.parse_response(&mut response, rx) {
        Ok(Status::Partial) => Theirs::Partial,
        Err(Error::TooManyHeaders) => panic!("more than the test has"),
        Err(_) => Theirs::Bad,
        Ok(Status::Complete(len)) => Theirs::Head {
            len,
            status: response.code.unwrap(),
            fields: response
                .headers
                .iter()
                .map(|header| (header.name.to_ascii_lowercase(), header.value.to_vec()))
                .collect(),
        },
    }
}

/// Both parse the same head, or both none, except for the differences below.
fn same(rx: &[u8]) {
    // They skip empty lines before an answer, which no server sends.
    if matches!(rx.first(), Some(b'\r' | b'\n')) {
        return;
    }
    let theirs = theirs(rx);
    // Behind an interim head we read on.
    if matches!(theirs, Theirs::Head { status: 100..=199, .. }) {
        return;
    }
    let mut fetch = Fetch::new(&url("/"), 0, FetchLimits::default()).unwrap();
    let ours = fetch.handle_received(rx);
    match (theirs, ours) {
        // Half a line that matters is not judged before the rest is there.
        (Theirs::Bad, Err(_)) => {}
        (Theirs::Bad, Ok(received)) => {
            assert_eq!(received.found, FetchFound::Nothing, "they refuse it");
            assert!(!rx.ends_with(b"\n\r\n"), "it has an end");
        }
        // We judge values that they do not look at.
        (Theirs::Partial, Ok(received)) => assert_eq!(received.found, FetchFound::Nothing),
        (Theirs::Partial | Theirs::Head { .. }, Err(error)) => check_error(rx, error),
        (Theirs::Head { len, status, fields }, Ok(received)) => {
            let FetchFound::Head(head) = received.found else { panic!("no head") };
            assert_eq!((head.status, received.consumed), (status, len));
            let of = |name: &str| fields.iter().find(|(other, _)| other == name);
            let etag = of("etag").map(|(_, value)| value.trim_ascii());
            assert_eq!(head.etag, etag);
            if let Some(length) = head.content_length {
                let (_, value) = of("content-length").expect("they have it, too");
                let value = std::str::from_utf8(value).unwrap();
                let first = value.split(',').next().unwrap().trim();
                assert_eq!(length, first.parse::<u64>().unwrap());
            }
            if let Some(location) = head.location {
                let (_, value) = of("location").expect("they have it, too");
                let plain = value.iter().all(u8::is_ascii_graphic);
                assert!(!plain || location.as_bytes() == value, "{location}");
            }
        }
    }
}

/// We refuse more than they do: values that contradict each other, statuses that do not exist, and
/// a line that matters when it is folded.
fn check_error(rx: &[u8], error: HttpError) {
    let text = rx.escape_ascii();
    match error {
        HttpError::Header => {
            let fold = |two: &[u8]| two[0] == b'\n' && matches!(two[1], b' ' | b'\t');
            assert!(rx.windows(2).any(fold), "{text}");
        }
        HttpError::NotHttp => {
            let status = rx.get(9..13).unwrap_or_default();
            let low = status.first() == Some(&b'0');
            assert!(low, "{text}");
        }
        _ => {}
    }
}

/// Lines, good ones for the most part.
fn heads() -> impl Strategy<Value = Vec<u8>> {
    let status = prop::sample::select(vec![
        "HTTP/1.1 200 OK",
        "HTTP/1.1 206 Partial",
        "HTTP/1.0 302",
        "HTTP/1.1 302 ",
        "HTTP/1.1 100 C",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 099 x",
        "HTTP/2 200",
        "HTTP/1.1 20",
    ]);
    let name = prop_oneof![
        6 => prop::sample::select(vec![
            "ETag", "etag", "Location", "LOCATION", "Content-Length", "X", "Set-Cookie",
            "Content-Security-Policy", "x-amz-meta-with-a-long-name", "Content-Encoding",
        ]).prop_map(str::to_owned),
        1 => "[ -~]{0,24}",
    ];
    let value = prop_oneof![
        4 => prop::sample::select(vec![
            &b"7"[..], b"7, 7", b"/a b", b"\"x\"", b"", b"  x\t", b"a:b", b"caf\xe9", b"a\r\n b",
        ]).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..12),
    ];
    let end = prop_oneof![8 => Just("\r\n"), 2 => Just("\n"), 1 => Just("\r"), 1 => Just("")];
    let colon = prop_oneof![8 => Just(":"), 4 => Just(": "), 1 => Just(" :"), 1 => Just("")];
    let line = (name, colon, value, end).prop_map(|(name, colon, value, end)| {
        [name.as_bytes(), colon.as_bytes(), &value, end.as_bytes()].concat()
    });
    (status, vec(line, 0..6), any::<bool>(), vec(any::<u8>(), 0..4)).prop_map(
        |(status, lines, whole, behind)| {
            let end: &[u8] = if whole { b"\r\n" } else { b"" };
            [status.as_bytes(), b"\r\n", &lines.concat(), end, &behind].concat()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_heads_mean_the_same_to_both(head in heads()) {
        same(&head);
    }

    #[test]
    fn a_changed_byte_of_a_fixture_means_the_same_to_both(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let (_, mut rx) = which.get(&fixtures()).clone();
        let at = at.index(rx.len().min(200));
        rx[at] = byte;
        same(&rx);
    }
}
