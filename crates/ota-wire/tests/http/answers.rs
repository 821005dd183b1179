//! Answers of real servers: what is read from each.

use ota_proto::ContentRange;
use ota_wire::http::Closed;

use crate::driver::{Head, Outcome, Transcript, fixture, whole};

const PLAIN: Head = Head {
    status: 200,
    length: None,
    range: None,
    etag: None,
    location: None,
    retry_after: None,
    encoded: false,
};

fn image() -> Vec<u8> {
    (b'0'..b'0' + 64).collect()
}

fn tail(etag: &str) -> Head {
    let range = Some(ContentRange { span: Some((40, 63)), total: Some(64) });
    Head { status: 206, length: Some(24), range, etag: Some(etag.into()), ..PLAIN }
}

fn check(name: &str, head: Head, body: &[u8], outcome: Outcome) {
    let want = Transcript { head: Some(head), body: body.to_vec(), outcome };
    assert_eq!(whole(&fixture(name)), want, "{name}");
}

/// Checks all but the body, which must have this length.
fn check_text(name: &str, status: u16, range: Option<ContentRange>, text: &str) {
    let got = whole(&fixture(name));
    let length = Some(got.body.len() as u64);
    assert_eq!(got.head, Some(Head { status, range, length, ..PLAIN }), "{name}");
    assert!(String::from_utf8(got.body).unwrap().contains(text), "{name}");
    assert_eq!(got.outcome, Outcome::End(0), "{name}");
}

#[test]
fn ranges() {
    let image = image();
    check("nginx-206", tail("\"68c66770-40\""), &image[40..], Outcome::End(0));
    check("interim-103", tail("\"68c66770-40\""), &image[40..], Outcome::End(0));
    check("axum-206", tail("\"64-firmware\""), &image[40..], Outcome::End(0));
    let cos = "\"f2f1b3317d4f1ef7f512bfae5050563b\"";
    check("cos-206", tail(cos), &image[40..], Outcome::End(0));
    let head = Head { length: Some(64), etag: Some(cos.into()), ..PLAIN };
    check("cos-200", head, &image, Outcome::End(0));
    let head = Head { length: Some(64), etag: Some("\"68c66770-40\"".into()), ..PLAIN };
    check("nginx-200", head, &image, Outcome::End(0));
}

#[test]
fn refusals() {
    let unsatisfied = Some(ContentRange { span: None, total: Some(64) });
    check_text("nginx-416", 416, unsatisfied, "<title>416");
    check_text("cos-416", 416, unsatisfied, "InvalidRange");
    check_text("cos-403", 403, None, "AccessDenied");
    check_text("cos-404", 404, None, "NoSuchKey");
    let head = Head { status: 503, length: Some(0), retry_after: Some(30), ..PLAIN };
    check("cos-503", head, b"", Outcome::End(0));
    let location = Some("/mirror/fw.bin?sign=a%3Db%26c".to_owned());
    let head = Head { status: 302, length: Some(0), location, ..PLAIN };
    check("axum-302", head, b"", Outcome::End(0));
}

#[test]
fn framings() {
    let image = image();
    let sized = Head { length: Some(64), ..PLAIN };
    check("chunked-200", PLAIN, &image, Outcome::End(0));
    check("chunked-trailers", PLAIN, &image, Outcome::End(0));
    check("close-http10", PLAIN, &image, Outcome::Closed(Closed::Complete));
    check("length-http10", sized.clone(), &image, Outcome::End(0));
    check("length-list", sized.clone(), &image, Outcome::End(0));
    check("overlong-200", sized, &image, Outcome::End(13));
    check("short-chunked", PLAIN, &image, Outcome::Closed(Closed::Short));
    let range = Some(ContentRange { span: Some((40, 63)), total: Some(64) });
    let head = Head { status: 206, length: Some(24), range, ..PLAIN };
    check("short-206", head, &image[40..50], Outcome::Closed(Closed::Short));
}

#[test]
fn statuses_without_a_body() {
    check("no-content", Head { status: 204, ..PLAIN }, b"", Outcome::End(0));
    let head = Head { status: 304, etag: Some("\"68c66770-40\"".into()), ..PLAIN };
    check("not-modified", head, b"", Outcome::End(0));
}

#[test]
fn odd_but_right_heads() {
    let three = Head { length: Some(3), ..PLAIN };
    check("no-reason", three.clone(), b"abc", Outcome::End(0));
    check("latin1-reason", three, b"abc", Outcome::End(0));
    let head = Head { length: Some(4), encoded: true, ..PLAIN };
    check("gzip-200", head, b"\x1f\x8b\x08\0", Outcome::End(0));
}

fn head_of(lines: &str) -> Head {
    let got = whole(format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n").as_bytes());
    got.head.unwrap_or_else(|| panic!("{lines:?}: {:?}", got.outcome))
}

#[test]
fn content_ranges() {
    for (text, span, total) in [
        ("bytes 0-0/1", Some((0, 0)), Some(1)),
        ("BYTES 4-9/10", Some((4, 9)), Some(10)),
        ("bytes 4-9/*", Some((4, 9)), None),
        ("bytes */0", None, Some(0)),
        ("bytes */18446744073709551615", None, Some(u64::MAX)),
        (
            "bytes 0-18446744073709551614/18446744073709551615",
            Some((0, u64::MAX - 1)),
            Some(u64::MAX),
        ),
        ("bytes 007-009/0010", Some((7, 9)), Some(10)),
        // Said twice, but the same.
        ("bytes 4-9/10\r\ncontent-range:bytes 04-9/10", Some((4, 9)), Some(10)),
    ] {
        let head = head_of(&format!("Content-Range: {text}\r\nContent-Length: 0"));
        assert_eq!(head.range, Some(ContentRange { span, total }), "{text}");
    }
}

#[test]
fn retry_after_is_a_number_or_unknown() {
    for (text, want) in [
        ("0", Some(0)),
        ("120", Some(120)),
        ("00120 ", Some(120)),
        ("99999999999999999999", Some(u64::from(u32::MAX))),
        ("10\r\nRetry-After: 20\r\nRetry-After: 5", Some(20)),
        ("Fri, 31 Dec 1999 23:59:59 GMT", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
    ] {
        assert_eq!(head_of(&format!("Retry-After: {text}")).retry_after, want, "{text}");
    }
}

#[test]
fn content_encodings() {
    for (text, want) in [
        ("identity", false),
        ("IDENTITY", false),
        ("", false),
        (" , ", false),
        ("identity, identity", false),
        ("gzip", true),
        ("identity, br", true),
        ("aes128gcm\r\nContent-Encoding: identity", true),
    ] {
        assert_eq!(head_of(&format!("Content-Encoding: {text}")).encoded, want, "{text}");
    }
}

#[test]
fn header_names_have_no_case_and_values_no_edges() {
    let head = head_of("eTaG: \t W/\"x y\" \t\r\nLOCATION:/a\r\nCONTENT-length:\t0");
    assert_eq!(head.etag.as_deref(), Some(&b"W/\"x y\""[..]));
    assert_eq!(head.location.as_deref(), Some("/a"));
    assert_eq!(head.length, Some(0));
}

#[test]
fn the_largest_head_fits() {
    let start = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ";
    let fits = format!("{start}{}\r\n\r\n", "y".repeat(4096 - start.len() - 4));
    assert_eq!(whole(fits.as_bytes()).outcome, Outcome::End(0));
    let headers = "A: b\r\n".repeat(63);
    let most = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{headers}\r\n");
    assert_eq!(whole(most.as_bytes()).outcome, Outcome::End(0));
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(8);
    let most = format!("{interim}HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(whole(most.as_bytes()).outcome, Outcome::End(0));
}

#[test]
fn the_largest_numbers_are_taken() {
    for framing in ["Content-Length: 18446744073709551615", "Transfer-Encoding: chunked"] {
        let input = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\nFFFFFFFFffffffff\r\nab");
        let got = whole(input.as_bytes());
        assert!(got.body.ends_with(b"ab"));
        assert_eq!(got.outcome, Outcome::Closed(Closed::Short));
    }
}
