//! The request: literal bytes, and what is refused.

use ota_proto::Misuse;
use ota_proto::url::Url;
use ota_wire::http::{Fetch, FetchLimits, RequestError};
use proptest::prelude::*;

fn text(url: &Url<'_>, from: u64) -> Result<String, RequestError> {
    let fetch = Fetch::new(url, from, FetchLimits::default())?;
    Ok(String::from_utf8(fetch.transmit().to_vec()).unwrap())
}

const COS: Url<'_> = Url {
    tls: true,
    host: "ota-1255858890.cos.ap-guangzhou.myqcloud.com",
    port: 443,
    target: "/100012619289_AP9ZLEVFKT_0.0.2?sign=q-sign-algorithm%3Dsha1%26q-ak%3DA%00",
};

#[test]
fn a_first_request_has_no_range() {
    let want = concat!(
        "GET /100012619289_AP9ZLEVFKT_0.0.2?sign=q-sign-algorithm%3Dsha1%26q-ak%3DA%00 HTTP/1.1\r\n",
        "Host: ota-1255858890.cos.ap-guangzhou.myqcloud.com\r\n",
        "Accept-Encoding: identity\r\n",
        "User-Agent: ota-wire/",
        env!("CARGO_PKG_VERSION"),
        "\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(text(&COS, 0).unwrap(), want);
}

#[test]
fn a_resume_names_its_first_byte() {
    let want = concat!(
        "GET /fw HTTP/1.1\r\n",
        "Host: h\r\n",
        "Range: bytes=18446744073709551615-\r\n",
        "Accept-Encoding: identity\r\n",
        "User-Agent: ota-wire/",
        env!("CARGO_PKG_VERSION"),
        "\r\nConnection: close\r\n\r\n"
    );
    let url = Url { tls: false, host: "h", port: 80, target: "/fw" };
    assert_eq!(text(&url, u64::MAX).unwrap(), want);
    assert!(text(&url, 1).unwrap().contains("\r\nRange: bytes=1-\r\n"));
}

#[test]
fn rule_12_a_clean_download_asks_past_all_caches() {
    let url = Url { tls: false, host: "h", port: 80, target: "/fw" };
    for from in [0, 7] {
        let ask = |fresh| {
            let fetch = Fetch::with_user(&url, None, from, FetchLimits::default(), fresh).unwrap();
            String::from_utf8(fetch.transmit().to_vec()).unwrap()
        };
        let line = "\r\nCache-Control: no-cache\r\n";
        assert!(ask(true).contains(line), "{}", ask(true));
        assert_eq!(ask(true).replace(line, "\r\n"), ask(false));
    }
}

#[test]
fn the_host_has_a_port_only_when_it_is_not_the_default() {
    for (tls, host, port, want) in [
        (false, "a.example", 80, "a.example"),
        (false, "a.example", 443, "a.example:443"),
        (true, "a.example", 443, "a.example"),
        (true, "a.example", 80, "a.example:80"),
        (false, "127.0.0.1", 8080, "127.0.0.1:8080"),
        (false, "::1", 80, "[::1]"),
        (true, "fe80::1:2", 8443, "[fe80::1:2]:8443"),
        (false, "under_score.example", 80, "under_score.example"),
    ] {
        let text = text(&Url { tls, host, port, target: "/" }, 0).unwrap();
        assert!(text.contains(&format!("\r\nHost: {want}\r\n")), "{text}");
    }
}

#[test]
fn the_target_is_kept_byte_for_byte() {
    for (target, want) in [
        ("", "/"),
        ("/", "/"),
        ("?sign=a", "/?sign=a"),
        ("/a//../b/./c?x=%2F%2f&y=+'()*;:@=$,~|{}", "/a//../b/./c?x=%2F%2f&y=+'()*;:@=$,~|{}"),
    ] {
        let text = text(&Url { target, ..COS }, 0).unwrap();
        assert!(text.starts_with(&format!("GET {want} HTTP/1.1\r\n")), "{text}");
    }
}

#[test]
fn what_could_inject_a_header_is_refused() {
    for byte in (0..=b' ').chain([0x7f, b'#']) {
        let target = format!("/a{}b", char::from(byte));
        let url = Url { target: &target, ..COS };
        assert_eq!(text(&url, 0), Err(RequestError::Target), "byte {byte:#x}");
        let host = format!("a{}b", char::from(byte));
        let url = Url { host: &host, ..COS };
        assert_eq!(text(&url, 0), Err(RequestError::Host), "byte {byte:#x}");
    }
    for target in ["/a\r\nX: y", "/caf\u{e9}", "a", "*", "http://x/"] {
        assert_eq!(text(&Url { target, ..COS }, 0), Err(RequestError::Target), "{target:?}");
    }
    for host in ["", "a:b", "[::1]", "::1%eth0", "user@a", "a/b", "caf\u{e9}", "a\\b", "a,b"] {
        assert_eq!(text(&Url { host, ..COS }, 0), Err(RequestError::Host), "{host:?}");
    }
}

#[test]
fn a_request_is_bounded() {
    let room = 2_048 - text(&Url { target: "/", ..COS }, 7).unwrap().len();
    let fits = format!("/{}", "a".repeat(room));
    assert_eq!(text(&Url { target: &fits, ..COS }, 7).unwrap().len(), 2_048);
    let over = format!("/{}", "a".repeat(room + 1));
    assert_eq!(text(&Url { target: &over, ..COS }, 7), Err(RequestError::TooLong));
}

#[test]
fn a_request_goes_out_in_parts() {
    let mut fetch = Fetch::new(&COS, 9, FetchLimits::default()).unwrap();
    let want = fetch.transmit().to_vec();
    let mut sent = Vec::new();
    while !fetch.transmit().is_empty() {
        let step = fetch.transmit().len().min(7);
        sent.extend_from_slice(&fetch.transmit()[..step]);
        fetch.handle_sent(step).unwrap();
    }
    assert_eq!(sent, want);
    assert_eq!(fetch.handle_sent(0), Ok(()));
    assert_eq!(fetch.handle_sent(1), Err(Misuse));
}

#[test]
fn more_sent_than_there_is_changes_nothing() {
    let mut fetch = Fetch::new(&COS, 9, FetchLimits::default()).unwrap();
    let before = fetch.clone();
    assert_eq!(fetch.handle_sent(usize::MAX), Err(Misuse));
    assert_eq!(fetch, before);
}

#[test]
fn debug_hides_the_query() {
    let mut fetch = Fetch::new(&COS, 9, FetchLimits::default()).unwrap();
    fetch.handle_sent(3).unwrap();
    let shown = format!("{fetch:?} {fetch:#?}");
    assert!(!shown.contains("sign") && !shown.contains("[71, 69"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    /// Two judges of the same text must not differ: an offer that was taken can be asked for.
    #[test]
    fn whatever_parses_can_be_requested(
        text in "https?://(\\[::[0-9a-f]{1,4}\\]|[a-zA-Z0-9_.-]{1,20})(:[0-9]{1,5})?[/?#]?[!-~]{0,60}",
        from in any::<u64>(),
    ) {
        if let Ok(url) = Url::parse(&text) {
            prop_assert!(Fetch::new(&url, from, FetchLimits::default()).is_ok(), "{}", text);
        }
    }
}
