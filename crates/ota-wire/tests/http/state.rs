//! The fetch as a value: back-pressure, misuse, limits and the end of the connection.

use ota_proto::{Misuse, TransportError};
use ota_wire::http::{Closed, Fetch, FetchFound, FetchLimits, FetchReceived, HttpError};

use crate::driver::{fetch, url};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";

fn after_head(head: &[u8]) -> Fetch {
    let mut fetch = fetch();
    let received = fetch.handle_received(head).unwrap();
    assert_eq!(received.consumed, head.len());
    assert!(matches!(received.found, FetchFound::Head(_)));
    fetch
}

fn body(consumed: usize, end: usize) -> FetchReceived<'static> {
    FetchReceived { consumed, found: FetchFound::Body(consumed..end) }
}

#[test]
fn bytes_that_nobody_takes_are_offered_again() {
    let mut fetch = after_head(HEAD);
    for _ in 0..3 {
        assert_eq!(fetch.handle_received(b"hello"), Ok(body(0, 5)));
        fetch.handle_body_taken(0).unwrap();
    }
    fetch.handle_body_taken(2).unwrap();
    fetch.handle_body_taken(2).unwrap();
    assert_eq!(fetch.handle_received(b"o"), Ok(body(0, 1)));
    fetch.handle_body_taken(1).unwrap();
    assert_eq!(
        fetch.handle_received(b""),
        Ok(FetchReceived { consumed: 0, found: FetchFound::End })
    );
}

#[test]
fn chunk_framing_is_consumed_once() {
    let mut fetch = after_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(fetch.handle_received(b"5\r\nhel"), Ok(body(3, 6)));
    assert_eq!(fetch.handle_received(b"hel"), Ok(body(0, 3)));
    fetch.handle_body_taken(1).unwrap();
    assert_eq!(fetch.handle_received(b"ello\r\n0\r\n\r\nxyz"), Ok(body(0, 4)));
    fetch.handle_body_taken(4).unwrap();
    let end = FetchReceived { consumed: 7, found: FetchFound::End };
    assert_eq!(fetch.handle_received(b"\r\n0\r\n\r\nxyz"), Ok(end));
    let end = FetchReceived { consumed: 0, found: FetchFound::End };
    assert_eq!(fetch.handle_received(b"xyz"), Ok(end));
}

#[test]
fn taking_what_was_not_offered_changes_nothing() {
    let mut fetch = fetch();
    assert_eq!(fetch.handle_body_taken(1), Err(Misuse));
    for head in [HEAD, b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
    {
        let mut fetch = after_head(head);
        assert_eq!(fetch.handle_body_taken(1), Err(Misuse));
        assert_eq!(fetch.handle_body_taken(0), Ok(()));
    }
    let mut fetch = after_head(HEAD);
    assert_eq!(fetch.handle_received(b"he"), Ok(body(0, 2)));
    let before = fetch.clone();
    assert_eq!(fetch.handle_body_taken(3), Err(Misuse));
    assert_eq!(fetch, before);
    assert_eq!(
        fetch.handle_received(b""),
        Ok(FetchReceived { consumed: 0, found: FetchFound::Nothing })
    );
    assert_eq!(fetch.handle_body_taken(1), Err(Misuse), "an old offer counts no more");
}

#[test]
fn an_end_of_the_connection() {
    assert_eq!(fetch().handle_closed(), Closed::Short);
    assert_eq!(after_head(HEAD).handle_closed(), Closed::Short);
    let mut fetch = after_head(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(fetch.handle_closed(), Closed::Complete);
    let mut fetch = after_head(b"HTTP/1.0 200 OK\r\n\r\n");
    assert_eq!(fetch.handle_received(b"abc"), Ok(body(0, 3)));
    assert_eq!(fetch.handle_closed(), Closed::Short, "the body was not taken");
    fetch.handle_body_taken(3).unwrap();
    assert_eq!(fetch.handle_closed(), Closed::Complete);
    assert_eq!(
        fetch.handle_received(b""),
        Ok(FetchReceived { consumed: 0, found: FetchFound::End })
    );
}

#[test]
fn interim_heads_are_dropped_while_the_head_is_awaited() {
    let mut fetch = fetch();
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
    let nothing = FetchReceived { consumed: interim.len(), found: FetchFound::Nothing };
    assert_eq!(fetch.handle_received(&[interim, &b"HTTP/1.1 2"[..]].concat()), Ok(nothing));
    assert!(matches!(fetch.handle_received(HEAD).unwrap().found, FetchFound::Head(_)));
}

#[test]
fn an_answer_may_come_before_the_request_is_out() {
    let mut fetch = fetch();
    fetch.handle_sent(5).unwrap();
    assert!(matches!(fetch.handle_received(HEAD).unwrap().found, FetchFound::Head(_)));
    assert!(!fetch.transmit().is_empty());
}

#[test]
fn limits_are_the_callers() {
    let limits = FetchLimits {
        head: HEAD.len(),
        informational: 0,
        extensions: 2,
        trailers: 1,
        ..FetchLimits::default()
    };
    let new = || Fetch::new(&url("/"), 0, limits).unwrap();
    assert!(matches!(new().handle_received(HEAD).unwrap().found, FetchFound::Head(_)));
    let limits = FetchLimits { head: HEAD.len() - 1, ..limits };
    let mut small = Fetch::new(&url("/"), 0, limits).unwrap();
    assert_eq!(small.handle_received(HEAD), Err(HttpError::HeadTooLong));
    let mut interim = new();
    let interim = interim.handle_received(b"HTTP/1.1 100 C\r\n\r\n");
    assert_eq!(interim, Err(HttpError::Informational));
    let limits = FetchLimits { extensions: 2, trailers: 1, ..FetchLimits::default() };
    let run = |text: &[u8]| {
        let mut fetch = Fetch::new(&url("/"), 0, limits).unwrap();
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(matches!(fetch.handle_received(head).unwrap().found, FetchFound::Head(_)));
        fetch.handle_received(text).map(|received| received.consumed)
    };
    assert_eq!(run(b"0;a\r\nt\r\n\r\n"), Ok(10));
    assert_eq!(run(b"0;ab\r\n"), Err(HttpError::ChunkExtension));
    assert_eq!(run(b"0\r\ntr"), Err(HttpError::Trailer));
}

#[test]
fn no_limit_makes_it_panic() {
    let limits = FetchLimits {
        head: 0,
        line: 0,
        request: 2_048,
        informational: 0,
        extensions: 0,
        trailers: 0,
    };
    let mut fetch = Fetch::new(&url("/"), 0, limits).unwrap();
    assert_eq!(fetch.handle_received(HEAD), Err(HttpError::HeadTooLong));
    let limits = FetchLimits {
        head: usize::MAX,
        line: usize::MAX,
        request: usize::MAX,
        informational: u8::MAX,
        extensions: u32::MAX,
        trailers: u32::MAX,
    };
    let mut fetch = Fetch::new(&url("/"), 0, limits).unwrap();
    assert!(matches!(fetch.handle_received(HEAD).unwrap().found, FetchFound::Head(_)));
}

#[test]
fn errors_are_said_in_words_and_are_the_peers_fault() {
    assert_eq!(HttpError::Ambiguous.to_string(), "Content-Length together with Transfer-Encoding");
    assert_eq!(TransportError::from(HttpError::NotHttp), TransportError::NotHttp);
    assert_eq!(TransportError::from(HttpError::HeadTooLong), TransportError::HeadTooLong);
    assert_eq!(TransportError::from(HttpError::ChunkEnd), TransportError::Malformed);
}
