//! Images whose bytes are elsewhere.

use super::*;
use ota_cloud::fault::Fault;
use ota_proto::Md5;
use std::time::Duration;

const PLACE: &str = "/fw";

fn stored(rules: impl IntoIterator<Item = Rule>, len: u64) -> Origin {
    let unread = Some(Duration::from_secs(5));
    let mut origin = Origin::new(OriginConfig { unread, ..OriginConfig::new(None, 0) });
    let md5 = Md5([7; 16]);
    assert_eq!(origin.add_file("/fw", Content::Stored { place: PLACE.into(), len, md5 }), md5);
    origin.set_faults(rules.into_iter().fold(FaultPlan::new(7), FaultPlan::with));
    origin
}

/// A connection with this request, which wants its first bytes.
fn asked(origin: &mut Origin, range: &str) -> Connection {
    let mut connection = Connection::new(at(0));
    let request = get(range);
    assert_eq!(connection.handle_received(at(0), request.as_bytes()), request.len());
    assert_eq!(connection.transmit(origin, at(0)), b"", "the head waits for the body");
    connection
}

/// Brings what is wanted of an image until nothing is, and takes everything.
fn serve(connection: &mut Connection, origin: &mut Origin, image: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    for now in 0..1_000_000 {
        if let Some(wanted) = connection.wants().cloned() {
            assert_eq!(&*wanted.place, PLACE);
            assert!(wanted.len <= Connection::MAX_WANTED);
            let from = usize::try_from(wanted.at).unwrap();
            let body = &image[from..from + wanted.len];
            connection.handle_body(origin, at(now * 1_000), Ok(body));
        }
        let out = connection.transmit(origin, at(now * 1_000)).to_vec();
        if out.is_empty() && connection.wants().is_none() && connection.deadline(origin).is_none() {
            return all;
        }
        if connection.deadline(origin) > Some(at(now * 1_000 + 30_000)) {
            return all;
        }
        all.extend_from_slice(&out);
        connection.handle_sent(at(now * 1_000), out.len());
    }
    panic!("it does not end");
}

#[test]
fn the_head_and_the_first_bytes_leave_together() {
    let mut origin = stored([], LEN);
    let mut connection = asked(&mut origin, "bytes=10-19");
    let wanted = connection.wants().unwrap();
    assert_eq!((&*wanted.place, wanted.at, wanted.len), (PLACE, 10, 10));
    assert_eq!(connection.next_served(), None, "its result is not known");
    assert_eq!(connection.deadline(&origin), None);
    connection.handle_body(&mut origin, at(1), Ok(&image()[10..20]));
    let answer = Answer::of(connection.transmit(&mut origin, at(1)), None);
    assert_eq!((answer.status(), &answer.body[..]), ("206", &image()[10..20]));
    let served = connection.next_served().unwrap();
    assert_eq!((served.status, served.range), (206, 10..20));
}

#[test]
fn they_are_the_bytes_of_an_image_that_is_here_also_with_faults() {
    let faults = [
        Fault::WrongDigest,
        Fault::ChangedObject,
        Fault::Chunked,
        Fault::NoLength,
        Fault::ExtraBytes,
        Fault::Truncate,
        Fault::Slow,
    ];
    let large: Vec<u8> = (0..200_000_u32).map(|n| (n * 7 % 251) as u8).collect();
    for fault in faults.map(Some).into_iter().chain([None]) {
        let rules = || fault.map(Rule::new).into_iter();
        let mut bytes = Vec::new();
        for content in [None, Some(large.clone())] {
            let mut origin = stored(rules(), 200_000);
            if let Some(content) = content {
                origin.add_file("/fw", content);
            }
            let mut connection = Connection::new(at(0));
            let request = get("bytes=70000-199000");
            let _ = connection.handle_received(at(0), request.as_bytes());
            let all = serve(&mut connection, &mut origin, &large);
            // The two have other digests.
            let head = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
            bytes.push((all[head..].to_vec(), connection.closing()));
        }
        assert!(bytes[0] == bytes[1], "{fault:?}: {} {}", bytes[0].0.len(), bytes[1].0.len());
    }
}

#[test]
fn bytes_that_are_not_there_are_a_500_or_the_end() {
    let mut origin = stored([], 200_000);
    let mut connection = asked(&mut origin, "");
    connection.handle_body(&mut origin, at(1), Err("its file changed"));
    let answer = Answer::of(connection.transmit(&mut origin, at(1)), None);
    assert_eq!((answer.status(), answer.header("Connection")), ("500", Some("close")));
    let served = connection.next_served().unwrap();
    assert_eq!((served.status, served.why.as_str()), (500, "its file changed"));

    for brought in [Ok(&[1, 2, 3][..]), Err("its file is gone")] {
        let mut connection = asked(&mut origin, "");
        connection.handle_body(&mut origin, at(1), Ok(&vec![1; Connection::MAX_WANTED]));
        let n = connection.transmit(&mut origin, at(1)).len();
        connection.handle_sent(at(1), n);
        assert_eq!(connection.transmit(&mut origin, at(1)), b"");
        assert!(connection.wants().is_some());
        // Too few bytes count as missing.
        connection.handle_body(&mut origin, at(2), brought);
        assert_eq!(connection.transmit(&mut origin, at(2)), b"");
        assert_eq!(connection.closing(), Some(Closing::Reset));
    }
}

#[test]
fn an_answer_that_stays_unread_ends_the_connection() {
    let mut origin = stored([], LEN);
    let mut connection = asked(&mut origin, "");
    connection.handle_body(&mut origin, at(1_000), Ok(&image()));
    assert!(!connection.transmit(&mut origin, at(1_000)).is_empty());
    connection.handle_sent(at(2_000), 1);
    assert_eq!(connection.deadline(&origin), Some(at(7_000)));
    connection.handle_timeout(&origin, at(6_999));
    assert_eq!(connection.closing(), None);
    connection.handle_timeout(&origin, at(7_000));
    assert_eq!((connection.closing(), connection.unsent()), (Some(Closing::Reset), &b""[..]));
}

#[test]
fn bytes_may_leave_past_the_connection() {
    let len = 200_000;
    let mut origin = stored([], len);
    let mut connection = asked(&mut origin, "bytes=10-");
    assert!(connection.pass_body(at(1)));
    assert!(connection.wants().is_none() && !connection.pass_body(at(1)));
    assert_eq!(connection.next_served().unwrap().range, 10..len);
    let head = connection.unsent().to_vec();
    assert!(head.ends_with(b"\r\n\r\n"));
    assert_eq!(connection.transmit(&mut origin, at(1)), head, "nothing comes before it left");
    connection.handle_sent(at(2), head.len());
    let most = Connection::MAX_WANTED;
    let mut from = 10;
    while from < len {
        assert!(connection.unsent().is_empty() && connection.wants().is_none());
        let part = connection.passing().unwrap();
        assert_eq!((&*part.place, part.at), (PLACE, from));
        assert!(part.len <= most);
        assert_eq!(connection.deadline(&origin), Some(at(5_002)), "a peer must read it");
        let n = part.len.min(40_000);
        connection.handle_passed(&mut origin, at(2), Ok(n));
        from += n as u64;
        assert_eq!(connection.transmit(&mut origin, at(2)), b"");
        if connection.wants().is_some() {
            assert!(connection.has_begun() && connection.pass_body(at(2)));
        }
    }
    assert_eq!((connection.passing(), connection.closing()), (None, None));
    assert_eq!(origin.counters().body_bytes, len - 10);
    // More than there is does no harm.
    connection.handle_passed(&mut origin, at(2), Ok(1));
    assert_eq!(origin.counters().body_bytes, len - 10);
    let next = get("bytes=0-9");
    assert_eq!(connection.handle_received(at(3), next.as_bytes()), next.len());
    assert_eq!(connection.transmit(&mut origin, at(3)), b"");
    assert_eq!(connection.wants().map(|part| (part.at, part.len)), Some((0, 10)));
}

#[test]
fn what_cannot_be_passed_is_brought() {
    for fault in [Fault::WrongDigest, Fault::ChangedObject, Fault::Slow] {
        let mut origin = stored([Rule::new(fault)], LEN);
        let mut connection = Connection::new(at(0));
        let _ = connection.handle_received(at(0), get("").as_bytes());
        while connection.wants().is_none() {
            // A pace lets the head go first.
            let n = connection.transmit(&mut origin, at(0)).len();
            connection.handle_sent(at(0), n);
        }
        assert!(!connection.pass_body(at(1)), "{fault:?}");
        assert!(connection.wants().is_some());
    }
    // The system has no way for such a file, and says so when the head has left.
    let mut origin = stored([], LEN);
    let mut connection = asked(&mut origin, "");
    assert!(connection.pass_body(at(1)));
    let n = connection.unsent().len();
    connection.handle_sent(at(1), n);
    connection.bring_body();
    assert_eq!(connection.wants().map(|part| part.len), Some(image().len()));
    connection.handle_body(&mut origin, at(2), Ok(&image()));
    assert!(connection.transmit(&mut origin, at(2)) == image());
}

#[test]
fn what_is_passed_and_cannot_go_on_ends_the_connection() {
    let mut origin = stored([], LEN);
    let mut connection = asked(&mut origin, "");
    assert!(connection.pass_body(at(1)));
    connection.handle_passed(&mut origin, at(1), Err("its file changed"));
    assert_eq!((connection.passing(), connection.closing()), (None, Some(Closing::Reset)));
    assert_eq!(connection.transmit(&mut origin, at(1)), b"");

    let mut connection = asked(&mut origin, "");
    assert!(connection.pass_body(at(1_000)));
    let n = connection.unsent().len();
    connection.handle_sent(at(1_000), n);
    connection.handle_passed(&mut origin, at(2_000), Ok(1));
    assert_eq!(connection.deadline(&origin), Some(at(7_000)));
    connection.handle_timeout(&origin, at(7_000));
    assert_eq!((connection.closing(), connection.passing()), (Some(Closing::Reset), None));
}
