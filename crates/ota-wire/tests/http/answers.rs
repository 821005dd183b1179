//! Answers of real servers, and the parsed values.

use ota_proto::{Coding, ContentRange};
use ota_wire::http::{Closed, Fetch, FetchFound, FetchLimits, HttpError};

use crate::driver::{Head, Outcome, Transcript, fixture, url, whole};

const PLAIN: Head = Head {
    status: 200,
    length: None,
    range: None,
    etag: None,
    location: None,
    retry_after: None,
    coding: None,
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
    let three = Head { length: Some(3), ..PLAIN };
    for name in ["odd-fold", "odd-bare-lf", "odd-bare-lf-one"] {
        check(name, three.clone(), b"abc", Outcome::End(0));
    }
    let head = Head { status: 302, location: Some("/caf%E9".into()), ..PLAIN };
    check("odd-location-latin1", head, b"", Outcome::Closed(Closed::Complete));
    assert!(matches!(whole(&fixture("odd-headers")).outcome, Outcome::Closed(Closed::Complete)));
    let head = Head { length: Some(4), coding: Some(Coding::Gzip), ..PLAIN };
    check("gzip-200", head, b"\x1f\x8b\x08\0", Outcome::End(0));
}

fn head_of(lines: &str) -> Head {
    answer_of(200, lines)
}

fn answer_of(status: u16, lines: &str) -> Head {
    let got = whole(format!("HTTP/1.1 {status} OK\r\n{lines}\r\n\r\n").as_bytes());
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
        let head = answer_of(206, &format!("Content-Range: {text}\r\nContent-Length: 0"));
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
        ("identity", None),
        ("IDENTITY", None),
        ("", None),
        (" , ", None),
        ("identity, identity", None),
        ("gzip", Some(Coding::Gzip)),
        ("X-GZIP", Some(Coding::Gzip)),
        ("deflate", Some(Coding::Deflate)),
        ("compress", Some(Coding::Compress)),
        ("x-compress", Some(Coding::Compress)),
        ("zstd", Some(Coding::Zstd)),
        ("identity, br", Some(Coding::Brotli)),
        ("aws-chunked", Some(Coding::AwsChunked)),
        ("aes128gcm\r\nContent-Encoding: identity", Some(Coding::Other)),
        // What changes the bytes comes before what is only said.
        ("gzip, aws-chunked", Some(Coding::Gzip)),
        ("aws-chunked\r\nContent-Encoding: gzip", Some(Coding::Gzip)),
    ] {
        assert_eq!(head_of(&format!("Content-Encoding: {text}")).coding, want, "{text}");
    }
}

#[test]
fn header_names_have_no_case_and_values_no_edges() {
    let head = head_of("eTaG: \t W/\"x y\" \t\r\nLOCATION:/a\r\nCONTENT-length:\t0");
    assert_eq!(head.etag.as_deref(), Some(&b"W/\"x y\""[..]));
    assert_eq!(head.length, Some(0));
}

#[test]
fn the_largest_head_fits() {
    let start = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ";
    for (spare, good) in [(0, true), (1, false)] {
        let head = format!("{start}{}\r\n\r\n", "y".repeat(65_536 + spare - start.len() - 4));
        let want = if good { Outcome::End(0) } else { Outcome::Failed(HttpError::HeadTooLong) };
        assert_eq!(whole(head.as_bytes()).outcome, want, "{spare}");
    }
    let headers = "A: b\r\n".repeat(10_000);
    let most = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{headers}\r\n");
    assert_eq!(whole(most.as_bytes()).outcome, Outcome::End(0));
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(8);
    let most = format!("{interim}HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(whole(most.as_bytes()).outcome, Outcome::End(0));
}

#[test]
fn the_longest_line_that_matters_fits() {
    // With its name and its CR LF.
    for (len, good) in [(1_024 - 12, true), (1_024 - 11, false)] {
        let location = format!("/{}", "y".repeat(len - 1));
        let head = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n");
        let got = whole(head.as_bytes());
        let kept = got.head.and_then(|head| head.location);
        assert_eq!(kept, good.then_some(location), "{len}: {:?}", got.outcome);
    }
    // A long line whose name does not matter here is skipped.
    for head in [
        format!("HTTP/1.1 200 OK\r\nLocation: {}\r\n", "y".repeat(5_000)),
        format!("HTTP/1.1 302 Found\r\nContent-Security-Policy: {}\r\n", "y".repeat(3_500)),
        format!("HTTP/1.1 302 Found\r\n{}: y\r\n", "x".repeat(5_000)),
        format!("HTTP/1.1 302 {}\r\n", "y".repeat(5_000)),
    ] {
        let got = whole(format!("{head}Content-Length: 0\r\n\r\n").as_bytes());
        assert_eq!(got.outcome, Outcome::End(0));
    }
}

#[test]
fn a_large_limit_takes_lines_of_16_kib() {
    let location = format!("/{}", "y".repeat(4_095));
    let policy = "p".repeat(20_000);
    let head = format!(
        "HTTP/1.1 302 Found\r\nContent-Security-Policy: {policy}\r\nLocation: {location}\r\n\r\n"
    );
    let mut fetch = Fetch::new(&url("/"), 0, FetchLimits::large()).unwrap();
    let FetchFound::Head(found) = fetch.handle_received(head.as_bytes()).unwrap().found else {
        panic!("no head")
    };
    assert_eq!(found.location, Some(&*location));
}

#[test]
fn a_location_is_taken_as_browsers_take_it() {
    let at = |value: &[u8]| {
        let head = [&b"HTTP/1.1 302 Found\r\nLocation: "[..], value, b"\r\n\r\n"].concat();
        let got = whole(&head);
        let location = got.head.and_then(|head| head.location);
        location.ok_or(got.outcome)
    };
    assert_eq!(at(b"/a b?c d").as_deref(), Ok("/a%20b?c%20d"));
    assert_eq!(at("/文.bin".as_bytes()).as_deref(), Ok("/%E6%96%87.bin"));
    assert_eq!(at(b"/caf\xe9").as_deref(), Ok("/caf%E9"));
    assert_eq!(at(b" \t/a \t").as_deref(), Ok("/a"));
    for control in [0, 1, 8, 0x0b, 0x0c, b'\r', 0x1f, 0x7f] {
        let refused = at(&[b'/', control, b'a']);
        assert_eq!(refused, Err(Outcome::Failed(HttpError::Header)), "{control}");
    }
    assert_eq!(at(b"/a\tb"), Err(Outcome::Failed(HttpError::Location)));
    // As long as it may be when it is written out.
    let line = FetchLimits::default().line;
    let (escaped, plain) = ((line - 1) / 3, (line - 1) % 3);
    let long = [&b"/"[..], &b"x".repeat(plain), &b"\xe9".repeat(escaped)].concat();
    assert_eq!(at(&long).map(|location| location.len()), Ok(line));
    let longer = [&long[..], b"x"].concat();
    assert_eq!(at(&longer), Err(Outcome::Failed(HttpError::HeadTooLong)));
}

#[test]
fn lines_may_end_in_lf_alone_and_go_on_where_they_do_not_matter() {
    let bare = b"HTTP/1.1 206 x\nContent-Range: bytes 1-3/*\nContent-Length: 3\n\nabc";
    let got = whole(bare);
    let range = ContentRange { span: Some((1, 3)), total: None };
    assert_eq!(got.head.and_then(|head| head.range), Some(range));
    assert_eq!((got.body.as_slice(), got.outcome), (&b"abc"[..], Outcome::End(0)));
    let folded = b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\tc\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(whole(folded).outcome, Outcome::End(0));
    for folded in ["Content-Length: 3\r\n 4", " X: a"] {
        let head = format!("HTTP/1.1 200 OK\r\n{folded}\r\n\r\n");
        assert_eq!(whole(head.as_bytes()).outcome, Outcome::Failed(HttpError::Header), "{folded}");
    }
}

#[test]
fn what_means_nothing_in_an_answer_is_not_judged() {
    let head = head_of("Content-Range: nonsense\r\nLocation: /a\tb\r\nContent-Length: 0");
    assert_eq!((head.range, head.location), (None, None));
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

/// The content type is only reported: no length of it makes an answer invalid.
#[test]
fn a_type_that_is_too_long_is_passed_over() {
    let long = "x".repeat(FetchLimits::default().line + 1);
    let head = head_of(&format!("Content-Type: {long}\r\nContent-Length: 3"));
    assert_eq!((head.status, head.length), (200, Some(3)));
}
