//! URLs of offers and of redirects.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::net::{Ipv4Addr, Ipv6Addr};

use ota_proto::url::{BadUrl, Url, is_v6};
use proptest::prelude::*;

fn parts(text: &str) -> Result<(bool, &str, u16, &str), BadUrl> {
    Url::parse(text).map(|url| (url.tls, url.host, url.port, url.target))
}

#[test]
fn urls_taken_apart() {
    for (text, expected) in [
        ("https://h.example/f", (true, "h.example", 443, "/f")),
        ("http://h.example/f", (false, "h.example", 80, "/f")),
        ("HTTPS://H.Example", (true, "H.Example", 443, "")),
        ("http://h.example:8080/", (false, "h.example", 8080, "/")),
        ("http://h.example:/f", (false, "h.example", 80, "/f")),
        ("http://h.example:00080", (false, "h.example", 80, "")),
        ("http://127.0.0.1:65535/a/b?c=d/e?f:@g", (false, "127.0.0.1", 65535, "/a/b?c=d/e?f:@g")),
        ("https://[::1]/f", (true, "::1", 443, "/f")),
        ("https://[2001:db8::7]:8443?q", (true, "2001:db8::7", 8443, "?q")),
        ("https://h.example./f", (true, "h.example.", 443, "/f")),
        ("https://my_host-1/f#frag?x", (true, "my_host-1", 443, "/f")),
        ("https://h?sign=a%3Bb%26c%00#", (true, "h", 443, "?sign=a%3Bb%26c%00")),
        ("https://h#@evil/", (true, "h", 443, "")),
    ] {
        assert_eq!(parts(text), Ok(expected), "{text}");
    }
}

#[test]
fn the_vendors_url_keeps_its_signature_byte_for_byte() {
    let text = "https://ota-1255858890.cos.ap-guangzhou.myqcloud.com/100012619289_AP9ZLEVFKT_0.0.2?sign=q-sign-algorithm%3Dsha1%26q-ak%3DAKID%26q-sign-time%3D1626663285%3B1626749685%00";
    let url = Url::parse(text).unwrap();
    assert_eq!(url.host, "ota-1255858890.cos.ap-guangzhou.myqcloud.com");
    assert_eq!(url.join("", 1024).unwrap(), text);
    assert_eq!(format!("{url}"), "https://ota-1255858890.cos.ap-guangzhou.myqcloud.com");
    assert!(!format!("{url:?}").contains("sign"));
}

#[test]
fn what_is_no_usable_url() {
    use BadUrl::{Bytes, Host, Port, Scheme};
    for (text, why) in [
        ("", Scheme),
        ("h.example/f", Scheme),
        ("/f", Scheme),
        ("//h/f", Scheme),
        ("ftp://h/f", Scheme),
        ("file:///etc/passwd", Scheme),
        ("httpsx://h", Scheme),
        ("http:/h/f", Scheme),
        ("https:h", Scheme),
        ("://h", Scheme),
        ("http://", Host),
        ("http:///f", Host),
        ("http://?q", Host),
        ("http://:80/f", Host),
        ("http://user@h/f", Host),
        ("http://user:pass@h/f", Host),
        ("http://h\\evil/f", Host),
        ("http://h%2eexample/f", Host),
        ("http://.h/f", Host),
        ("http://h..example/f", Host),
        ("http://./f", Host),
        ("http://h*/f", Host),
        ("http://[::1/f", Host),
        ("http://[::1]x/f", Host),
        ("http://[fe80::1%25eth0]/f", Host),
        ("http://[h]/f", Host),
        ("http://[]/f", Host),
        ("http://::1/f", Host),
        ("http://h:0/f", Port),
        ("http://h:65536/f", Port),
        ("http://h:+80/f", Port),
        ("http://h:-1/f", Port),
        ("http://h:80:80/f", Port),
        ("http://h:8o/f", Port),
        ("http://h:99999999999999999999/f", Port),
        ("http://h/a b", Bytes),
        ("http://h/\r\nX: y", Bytes),
        ("http://h/\u{7f}", Bytes),
        ("http://h/é", Bytes),
        ("http://exämple/", Bytes),
        (" http://h/f", Bytes),
        ("http://h/f\0", Bytes),
    ] {
        assert_eq!(parts(text), Err(why), "{text:?}");
    }
    let label = "a".repeat(64);
    assert_eq!(parts(&format!("http://{label}/")), Err(Host));
    let long = "abc.".repeat(64);
    assert_eq!(parts(&format!("http://{long}/")), Err(Host));
}

#[test]
fn redirects_joined() {
    let base = "https://h.example:8443/a/b/c?sign=x/y";
    for (location, expected) in [
        ("https://other/x", "https://other/x"),
        ("http://other", "http://other/"),
        ("HTTP://other:80/x?y#z", "http://other/x?y"),
        ("https://other?q", "https://other/?q"),
        ("https://[::1]:9/x", "https://[::1]:9/x"),
        ("https://other/a/./b/../c/..", "https://other/a/"),
        ("//other:444/x", "https://other:444/x"),
        ("//other", "https://other/"),
        ("/x", "https://h.example:8443/x"),
        ("/", "https://h.example:8443/"),
        ("/x/../../../y", "https://h.example:8443/y"),
        ("/.//evil.example/x", "https://h.example:8443//evil.example/x"),
        ("/x?u=/../y", "https://h.example:8443/x?u=/../y"),
        ("?q", "https://h.example:8443/a/b/c?q"),
        ("?", "https://h.example:8443/a/b/c?"),
        ("", "https://h.example:8443/a/b/c?sign=x/y"),
        ("#top", "https://h.example:8443/a/b/c?sign=x/y"),
        ("x", "https://h.example:8443/a/b/x"),
        ("x/y?z", "https://h.example:8443/a/b/x/y?z"),
        ("./x", "https://h.example:8443/a/b/x"),
        (".", "https://h.example:8443/a/b/"),
        ("..", "https://h.example:8443/a/"),
        ("../..", "https://h.example:8443/"),
        ("../../../x", "https://h.example:8443/x"),
        ("x?u=http://other/", "https://h.example:8443/a/b/x?u=http://other/"),
        ("/\\evil", "https://h.example:8443/\\evil"),
    ] {
        let joined = Url::parse(base).unwrap().join(location, 100);
        assert_eq!(joined.as_deref(), Ok(expected), "{location}");
    }
    let bare = Url::parse("http://h").unwrap();
    assert_eq!(bare.join("x", 100).unwrap(), "http://h/x");
    assert_eq!(bare.join("?q", 100).unwrap(), "http://h/?q");
    assert_eq!(Url::parse("http://h?q").unwrap().join("", 100).unwrap(), "http://h/?q");
    assert_eq!(Url::parse("http://h/?q").unwrap().join("x", 100).unwrap(), "http://h/x");
}

#[test]
fn a_user_is_handed_out_apart_and_kept_by_a_join() {
    let of = |text| Url::parse_with_user(text).map(|(url, user)| (url.host, url.target, user));
    assert_eq!(of("http://u:p%40@h/f"), Ok(("h", "/f", Some("u:p%40"))));
    assert_eq!(of("http://@h/f"), Ok(("h", "/f", Some(""))));
    assert_eq!(of("http://h/f@x"), Ok(("h", "/f@x", None)));
    assert_eq!(of("http://h?u@x"), Ok(("h", "?u@x", None)));
    assert_eq!(of("http://u@v@h/f"), Err(BadUrl::Host));
    assert_eq!(of("http://u@/f"), Err(BadUrl::Host));
    let base = Url::parse("https://h.example/a").unwrap();
    assert_eq!(base.join("//u:p@h/x", 100).unwrap(), "https://u:p@h/x");
    assert_eq!(base.join("http://u:p@h:81/x?q", 100).unwrap(), "http://u:p@h:81/x?q");
    assert_eq!(base.join("/x", 100).unwrap(), "https://h.example/x");
    let (with, _) = Url::parse_with_user("http://u:p@h/x").unwrap();
    assert_eq!(format!("{with} {with:?}"), "http://h Url(http://h)");
    let origin = |text| Url::parse(text).unwrap();
    assert!(origin("http://h/x").is_same_origin(&origin("http://H:80/y?z")));
    for other in ["https://h:80/x", "http://h:81/x", "http://g/x"] {
        assert!(!origin("http://h/x").is_same_origin(&origin(other)), "{other}");
    }
}

#[test]
fn redirects_refused() {
    let base = Url::parse("https://h.example/a").unwrap();
    for (location, why) in [
        ("ftp://h/x", BadUrl::Scheme),
        ("mailto:x", BadUrl::Scheme),
        ("a:b", BadUrl::Scheme),
        ("http:/x", BadUrl::Scheme),
        ("javascript://h/", BadUrl::Scheme),
        ("///x", BadUrl::Host),
        ("//us@er@h/x", BadUrl::Host),
        ("https://@", BadUrl::Host),
        ("//h:0/x", BadUrl::Port),
        ("/a b", BadUrl::Bytes),
        ("/\u{e9}", BadUrl::Bytes),
        ("\t/x", BadUrl::Bytes),
    ] {
        assert_eq!(base.join(location, 100), Err(why), "{location:?}");
    }
}

#[test]
fn the_limit_counts_the_whole_result() {
    let base = Url::parse("https://h.example/a").unwrap();
    let whole = "https://h.example/x?y".len();
    assert!(base.join("/x?y", whole).is_ok());
    assert_eq!(base.join("/x?y", whole - 1), Err(BadUrl::TooLong));
    assert_eq!(base.join(&"/x/..".repeat(1 << 16), 19).unwrap(), "https://h.example/");
}

prop_compose! {
    fn any_url()(
        tls: bool, host in "[a-z0-9_-]{1,9}(\\.[a-z0-9]{1,9}){0,2}|\\[(::1|1:2:3:4:5:6:7:8)\\]",
        port in proptest::option::of(1_u16..), rest in "(/[!-~]{0,9}){0,4}(\\?[!-~]{0,20})?",
    ) -> String {
        let scheme = if tls { "https" } else { "http" };
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{host}{port}{rest}")
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_joined_can_be_taken_apart(base in any_url(), location in "[./?#:@a-z\\[\\]%\\\\-]{0,24}") {
        let base = Url::parse(&base).unwrap();
        if let Ok(joined) = base.join(&location, 200) {
            prop_assert!(joined.len() <= 200);
            let url = Url::parse(&joined).unwrap();
            prop_assert!(url.target.starts_with('/'));
            let path = url.target.split('?').next().unwrap();
            prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
            prop_assert_eq!(url.join("", 200).unwrap(), joined);
        }
    }

    #[test]
    fn an_absolute_location_does_not_depend_on_the_base(base in any_url(), location in any_url()) {
        let joined = Url::parse(&base).unwrap().join(&location, 400).unwrap();
        let (there, url) = (Url::parse(&location).unwrap(), Url::parse(&joined).unwrap());
        prop_assert_eq!((there.tls, there.host, there.port), (url.tls, url.host, url.port));
    }

    #[test]
    fn a_location_without_a_host_keeps_the_origin(
        base in any_url(), location in "(/[!-.0-~][!-~]{0,20}|\\?[!-~]{0,20}|\\.{1,2}(/[!-~]{0,20})?)?",
    ) {
        let base = Url::parse(&base).unwrap();
        let joined = base.join(&location, 400).unwrap();
        let url = Url::parse(&joined).unwrap();
        prop_assert_eq!((base.tls, base.host, base.port), (url.tls, url.host, url.port));
    }

    #[test]
    fn arbitrary_texts_never_panic(base in "\\PC{0,40}", location in "\\PC{0,40}") {
        if let Ok(url) = Url::parse(&base) {
            let _ = url.join(&location, 100);
        }
        let _ = Url::parse("https://h/a/b").unwrap().join(&location, 100);
    }
}

/// A text is an IPv6 address exactly when the standard library reads one from it.
fn agrees(text: &str) {
    assert_eq!(is_v6(text), text.parse::<Ipv6Addr>().is_ok(), "{text:?}");
}

#[test]
fn an_ipv6_address_is_what_the_standard_library_takes_for_one() {
    // All texts of up to nine groups, with a gap, an IPv4 address or a fault at each place.
    for count in 0..=9 {
        for at in 0..=9 {
            for odd in ["", ":", "1.2.3.4", "01.2.3.4", "1.2.3", "1.2.3.256", "12345", "g", "0000"]
            {
                let mut groups = vec!["a1"; count];
                groups.insert(at.min(count), odd);
                let text = groups.join(":");
                for text in
                    [text.clone(), format!(":{text}"), format!("{text}:"), format!("::{text}")]
                {
                    agrees(&text);
                }
            }
        }
    }
    for address in
        [Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST, Ipv4Addr::BROADCAST.to_ipv6_mapped()]
    {
        let text = address.to_string();
        agrees(&text);
        (0..=text.len()).for_each(|end| agrees(&text[..end]));
    }
}

proptest! {
    #[test]
    fn no_other_text_is_an_ipv6_address(text in "[0-9a-fA-F:.]{0,24}", loose in "(:?[0-9a-f]{1,5}:{1,2}){0,9}[0-9.]{0,16}") {
        agrees(&text);
        agrees(&loose);
    }
}
