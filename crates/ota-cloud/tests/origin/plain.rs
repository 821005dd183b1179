//! The server without faults.

use super::*;
use ota_cloud::sign::UrlSigner;
use std::time::Duration;

#[test]
fn the_whole_response_byte_for_byte() {
    let mut origin = Origin::new(OriginConfig::new(None, 0));
    let md5 = origin.add_file("/abc", b"abc".to_vec());
    assert_eq!(md5.to_string(), "900150983cd24fb0d6963f7d28e17f72");
    let mut connection = Connection::new(at(0));
    let request = b"GET /abc HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(connection.handle_received(at(0), request), request.len());
    assert_eq!(
        drain(&mut connection, &mut origin, at(0)),
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: application/octet-stream\r\n\
          Accept-Ranges: bytes\r\nETag: \"900150983cd24fb0d6963f7d28e17f72\"\r\n\r\nabc"
    );
    let request = b"GET /abc HTTP/1.1\r\nHost: h\r\nRange: bytes=1-\r\n\r\n";
    assert_eq!(connection.handle_received(at(0), request), request.len());
    assert_eq!(
        drain(&mut connection, &mut origin, at(0)),
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\n\
          Content-Type: application/octet-stream\r\nAccept-Ranges: bytes\r\n\
          ETag: \"900150983cd24fb0d6963f7d28e17f72\"\r\nContent-Range: bytes 1-2/3\r\n\r\nbc"
    );
    assert_eq!(connection.closing(), None);
    let counters = origin.counters();
    assert_eq!((counters.requests, counters.ranges, counters.body_bytes), (2, 1, 5));
}

#[test]
fn ranges() {
    // What is asked, the status, and the bytes.
    let cases: [(&str, &str, u64, u64); 18] = [
        ("bytes=0-", "206", 0, 1_000),
        ("bytes=1-", "206", 1, 1_000),
        ("bytes=999-", "206", 999, 1_000),
        ("bytes=0-0", "206", 0, 1),
        ("bytes=10-19", "206", 10, 20),
        ("bytes=10-1000", "206", 10, 1_000),
        ("bytes=10-99999999999999999999999", "206", 10, 1_000),
        ("BYTES= 10 - 19 ", "206", 10, 20),
        ("bytes=-1", "206", 999, 1_000),
        ("bytes=-1000", "206", 0, 1_000),
        ("bytes=-5000", "206", 0, 1_000),
        // None of these is one good range: the whole object.
        ("bytes=20-10", "200", 0, 1_000),
        ("bytes=0-1,5-6", "200", 0, 1_000),
        ("bytes=a-", "200", 0, 1_000),
        ("bytes=-", "200", 0, 1_000),
        ("bytes=+1-", "200", 0, 1_000),
        ("items=0-1", "200", 0, 1_000),
        ("bytes", "200", 0, 1_000),
    ];
    for (range, status, from, to) in cases {
        let answer = ask(&mut origin(), &get(range));
        let (a, b) = (usize::try_from(from).unwrap(), usize::try_from(to).unwrap());
        assert_eq!(answer.status(), status, "{range}");
        assert_eq!(answer.body, &image()[a..b], "{range}");
        assert_eq!(answer.header("Content-Length"), Some(format!("{}", to - from).as_str()));
        let stated = (status == "206").then(|| format!("bytes {from}-{}/1000", to - 1));
        assert_eq!(answer.header("Content-Range"), stated.as_deref(), "{range}");
        assert_eq!((answer.header("Accept-Ranges"), answer.closing), (Some("bytes"), None));
    }
    let twice = get("bytes=1-").replace("Range", "Range: bytes=2-\r\nRange");
    assert_eq!(ask(&mut origin(), &twice).status(), "200");
    for range in ["bytes=1000-", "bytes=1000-1001", "bytes=99999999999999999999-", "bytes=-0"] {
        let answer = ask(&mut origin(), &get(range));
        assert_eq!((answer.status(), answer.body.len()), ("416", 0), "{range}");
        assert_eq!(answer.header("Content-Range"), Some("bytes */1000"));
        assert_eq!(answer.header("Content-Length"), Some("0"));
    }
}

#[test]
fn if_range_needs_the_same_object() {
    let etag = ask(&mut origin(), &get("")).header("ETag").unwrap().to_owned();
    let ask_if = |etag: &str| {
        let request =
            format!("GET /fw HTTP/1.1\r\nHost: h\r\nRange: bytes=9-\r\nIf-Range: {etag}\r\n\r\n");
        ask(&mut origin(), &request).status().to_owned()
    };
    assert_eq!(ask_if(&etag), "206");
    assert_eq!(ask_if("\"other\""), "200");
}

#[test]
fn head_has_the_same_head() {
    let whole = ask(&mut origin(), &get("bytes=5-"));
    let head = ask(&mut origin(), &get("bytes=5-").replace("GET", "HEAD"));
    assert_eq!(head.head, whole.head);
    assert!(head.body.is_empty());
}

#[test]
fn other_methods_paths_and_versions() {
    for hosts in ["", "Host: a\r\nHost: b\r\n"] {
        let answer = ask(&mut origin(), &format!("GET /fw HTTP/1.1\r\n{hosts}\r\n"));
        assert_eq!(answer.status(), "400", "{hosts}");
    }
    let answer = ask(&mut origin(), "DELETE /fw HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((answer.status(), answer.header("Allow")), ("405", Some("GET, HEAD")));
    let answer = ask(&mut origin(), "GET /other HTTP/1.1\r\nHost: h\r\n\r\n");
    let length = answer.body.len().to_string();
    assert_eq!((answer.status(), answer.header("Content-Length")), ("404", Some(&*length)));
    assert_eq!(answer.closing, None);
    let answer = ask(&mut origin(), "GET http://h:1/f%77?x=1 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((answer.status(), answer.closing), ("200", None));
    for close in
        ["GET /fw HTTP/1.0\r\n\r\n", "GET /fw HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n"]
    {
        let answer = ask(&mut origin(), close);
        assert_eq!((answer.status(), answer.closing), ("200", Some(Closing::Close)));
        assert_eq!(answer.header("Connection"), Some("close"));
    }
    let answer = ask(&mut origin(), "GET /fw HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(answer.closing, None);
}

#[test]
fn signed_urls() {
    let signer = UrlSigner::new("", *b"key", Duration::from_secs(100));
    let mut origin = Origin::new(OriginConfig::new(Some(signer.clone()), 5_000));
    origin.add_file("/a b", image());
    let mut ask_at = |target: &str, now: Instant| {
        let mut connection = Connection::new(now);
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(connection.handle_received(now, request.as_bytes()), request.len());
        let bytes = drain(&mut connection, &mut origin, now);
        let answer = Answer::of(&bytes, connection.closing());
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let length = answer.body.len().to_string();
        assert_eq!(answer.header("Content-Length"), Some(&*length));
        (answer.status().to_owned(), text)
    };
    let url = signer.sign("/a b", 5_000);
    assert_eq!(ask_at(&url, at(0)).0, "200");
    assert_eq!(ask_at(&url, at(100_999)).0, "200");
    let (status, text) = ask_at(&url, at(101_000));
    assert_eq!(status, "403");
    assert!(text.contains("AccessDenied") && text.contains("expired"), "{text}");
    assert_eq!(ask_at("/a%20b", at(0)).0, "403");
    assert_eq!(ask_at(&url.replace("a%20b", "c"), at(0)).0, "403");
    assert_eq!(ask_at(&signer.sign("/none", 5_000), at(0)).0, "404");
}

#[test]
fn requests_cut_at_every_byte_and_pipelined() {
    let requests = get("bytes=10-19") + &get("bytes=-5").replace("GET", "HEAD") + &get("");
    let mut expected = Vec::new();
    let mut reference = origin();
    for request in requests.split_inclusive("\r\n\r\n") {
        let mut connection = Connection::new(at(0));
        assert_eq!(connection.handle_received(at(0), request.as_bytes()), request.len());
        expected.extend(drain(&mut connection, &mut reference, at(0)));
    }
    for cut in 0..=requests.len() {
        let mut origin = origin();
        let mut connection = Connection::new(at(0));
        let mut bytes = Vec::new();
        for part in [&requests.as_bytes()[..cut], &requests.as_bytes()[cut..]] {
            assert_eq!(connection.handle_received(at(0), part), part.len());
            bytes.extend(drain(&mut connection, &mut origin, at(0)));
        }
        assert!(bytes == expected, "{cut}");
        assert!(origin == reference, "{cut}");
    }
}

#[test]
fn partial_sends_of_every_size() {
    let expected = {
        let mut connection = Connection::new(at(0));
        let mut origin = origin();
        let _ = connection.handle_received(at(0), get("").as_bytes());
        drain(&mut connection, &mut origin, at(0))
    };
    for step in [1, 2, 3, 7, 100, 999, 5_000] {
        let mut connection = Connection::new(at(0));
        let mut origin = origin();
        let _ = connection.handle_received(at(0), get("").as_bytes());
        let mut bytes = Vec::new();
        loop {
            let out = connection.transmit(&mut origin, at(0));
            if out.is_empty() {
                break;
            }
            let n = step.min(out.len());
            bytes.extend_from_slice(&out[..n]);
            connection.handle_sent(at(0), n);
        }
        assert!(bytes == expected, "{step}");
    }
}

#[test]
fn a_large_image_without_memory() {
    let len = 3_000_000_000;
    let mut origin = Origin::new(OriginConfig::new(None, 0));
    origin.add_file("/fw", Content::Generated { seed: 3, len: 100_000 });
    let answer = ask(&mut origin, &get("bytes=50001-"));
    assert!(answer.body == generated(3, 100_000)[50_001..]);
    // Any part of it, without the parts before.
    let content = Content::Generated { seed: 3, len };
    let mut tail = [0; 8];
    assert_eq!(content.read(len - 5, &mut tail), 5);
    assert_eq!(content.read(len, &mut tail), 0);
    assert_eq!(content.read(u64::MAX, &mut tail), 0);
    let held = Content::from(generated(3, 100_000));
    assert_eq!(held.md5(), Content::Generated { seed: 3, len: 100_000 }.md5());
}

#[test]
fn an_idle_connection_is_closed() {
    let mut origin = origin();
    let mut connection = Connection::new(at(0));
    assert_eq!(connection.deadline(&origin), Some(at(60_000)));
    let _ = connection.handle_received(at(5_000), b"GET /fw HT");
    assert!(drain(&mut connection, &mut origin, at(5_000)).is_empty());
    assert_eq!(connection.deadline(&origin), Some(at(65_000)));
    connection.handle_timeout(&origin, at(64_999));
    assert_eq!(connection.closing(), None);
    connection.handle_timeout(&origin, at(65_000));
    assert_eq!(connection.closing(), Some(Closing::Close));
    assert_eq!(connection.deadline(&origin), None);
}

#[test]
fn a_head_that_comes_byte_by_byte_has_one_deadline() {
    let mut origin = origin();
    let mut connection = Connection::new(at(0));
    let request = get("");
    for (now, byte) in (1_000..).step_by(2_000).zip(request.as_bytes()).take(30) {
        assert_eq!(connection.handle_received(at(now), &[*byte]), 1);
        assert!(drain(&mut connection, &mut origin, at(now)).is_empty());
        connection.handle_timeout(&origin, at(now));
        assert_eq!(connection.deadline(&origin), Some(at(61_000)));
    }
    connection.handle_timeout(&origin, at(61_000));
    assert_eq!(connection.closing(), Some(Closing::Close));

    // The next head has its own, from when the answer has been sent.
    let mut connection = Connection::new(at(0));
    let two = format!("{request}GET");
    assert_eq!(connection.handle_received(at(0), two.as_bytes()), two.len());
    assert!(!drain(&mut connection, &mut origin, at(50_000)).is_empty());
    assert_eq!(connection.handle_received(at(70_000), b" "), 1);
    assert_eq!(connection.deadline(&origin), Some(at(110_000)));
}

#[test]
fn a_replaced_image_does_not_mix() {
    let mut origin = Origin::new(OriginConfig::new(None, 0));
    origin.add_file("/fw", vec![b'a'; 40_000]);
    let mut connection = Connection::new(at(0));
    let _ = connection.handle_received(at(0), get("").as_bytes());
    let first = connection.transmit(&mut origin, at(0)).len();
    connection.handle_sent(at(0), first);
    origin.add_file("/fw", vec![b'b'; 40_000]);
    let rest = drain(&mut connection, &mut origin, at(0));
    assert!(rest.iter().all(|byte| *byte == b'a') && rest.len() > 20_000);
    assert_eq!(ask(&mut origin, &get("")).body, vec![b'b'; 40_000]);
    origin.remove_file("/fw");
    assert_eq!(ask(&mut origin, &get("")).status(), "404");
}

#[test]
fn nothing_received_is_no_sign_of_life() {
    let mut origin = origin();
    let mut connection = Connection::new(at(0));
    for now in [30_000, 59_999] {
        assert_eq!(connection.handle_received(at(now), b""), 0);
        assert!(connection.transmit(&mut origin, at(now)).is_empty());
    }
    assert_eq!(connection.deadline(&origin), Some(at(60_000)));
    connection.handle_timeout(&origin, at(60_000));
    assert_eq!(connection.closing(), Some(Closing::Close));
}
