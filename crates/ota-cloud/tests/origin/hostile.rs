//! Bytes that are no request.

use super::*;
use proptest::prelude::*;

#[test]
fn no_http() {
    for bytes in ["\0\0\0\0", "GET /fw HTTP/2.0\r\n\r\n", "GET fw HTTP/1.1\r\n\r\n", "é\r\n\r\n"] {
        let answer = ask(&mut origin(), bytes);
        assert_eq!((answer.status(), answer.closing), ("400", Some(Closing::Close)), "{bytes:?}");
        assert_eq!(answer.header("Content-Length"), Some("0"));
    }
    let many = format!("GET /fw HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
    assert_eq!(ask(&mut origin(), &many).status(), "400");
    // A body would be taken for the next request.
    let answer = ask(&mut origin(), "GET /fw HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
    assert_eq!((answer.status(), answer.closing), ("200", Some(Closing::Close)));
}

#[test]
fn a_head_without_end_is_bounded() {
    let mut origin = origin();
    let mut connection = Connection::new(at(0));
    let mut bytes = b"GET /fw HTTP/1.1\r\n".to_vec();
    bytes.resize(1 << 20, b'a');
    assert_eq!(connection.handle_received(at(0), &bytes), Connection::MAX_HEAD);
    let answer = drain(&mut connection, &mut origin, at(0));
    assert_eq!(Answer::of(&answer, None).status(), "431");
    assert_eq!(connection.closing(), Some(Closing::Close));
    // What still comes is dropped.
    assert_eq!(connection.handle_received(at(0), &bytes), bytes.len());
    assert!(drain(&mut connection, &mut origin, at(0)).is_empty());
}

#[test]
fn a_flood_of_requests_is_held_back() {
    let mut origin = origin();
    let mut connection = Connection::new(at(0));
    let requests = get("").repeat(1_000);
    let mut rest = requests.as_bytes();
    let mut responses = 0;
    let mut turns = 0;
    while !rest.is_empty() {
        let n = connection.handle_received(at(0), rest);
        rest = &rest[n..];
        let bytes = drain(&mut connection, &mut origin, at(0));
        responses += bytes.windows(8).filter(|eight| eight == b"HTTP/1.1").count();
        turns += 1;
    }
    assert_eq!(responses, 1_000);
    assert!(turns > 1);
}

fn noise() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("GET ".to_owned()),
        Just("/fw ".to_owned()),
        Just("HTTP/1.1\r\n".to_owned()),
        Just("HTTP/1.0\r\n".to_owned()),
        Just("Range: bytes=".to_owned()),
        Just("Connection: keep-alive\r\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("\r\n\r\n".to_owned()),
        any::<u64>().prop_map(|n| format!("{}-{n}", n % 3_000)),
        "\\PC{0,8}",
    ];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_in_any_pieces(
        mut bytes in noise(),
        raw in proptest::collection::vec(any::<u8>(), 0..200),
        step in 1_usize..100,
        fault in 0..ota_cloud::fault::Fault::ALL.len(),
    ) {
        bytes.extend(raw);
        bytes.extend(get("bytes=5-").bytes());
        let fault = ota_cloud::fault::Fault::ALL[fault];
        let mut origin = faulty([Rule::new(fault)]);
        let mut connection = Connection::new(at(0));
        let mut now = 0;
        for piece in bytes.chunks(step) {
            now += 1_000;
            prop_assert_eq!(connection.handle_received(at(now), piece), piece.len());
            drain(&mut connection, &mut origin, at(now));
            connection.handle_timeout(&origin, at(now));
            let due = connection.deadline(&origin);
            prop_assert!(due.is_none_or(|due| due > at(now)));
        }
    }

    #[test]
    fn ranges_never_leave_the_object(from: u64, to: u64, len in 0_u64..2_000, last: bool) {
        let mut origin = Origin::new(OriginConfig::new(None, 0));
        origin.add_file("/fw", Content::Generated { seed: 1, len });
        let from = if from % 2 == 0 { from % 2_000 } else { from };
        let range = if last { format!("bytes=-{from}") } else { format!("bytes={from}-{to}") };
        let answer = ask(&mut origin, &get(&range));
        prop_assert_eq!(answer.header("Content-Length"), Some(&*answer.body.len().to_string()));
        if answer.status() == "206" {
            let stated = answer.header("Content-Range").unwrap();
            let (span, total) = stated.strip_prefix("bytes ").unwrap().split_once('/').unwrap();
            let (a, b) = span.split_once('-').unwrap();
            let (a, b): (usize, usize) = (a.parse().unwrap(), b.parse().unwrap());
            prop_assert_eq!(total, len.to_string());
            prop_assert!(answer.body == generated(1, len)[a..=b]);
        }
    }
}
