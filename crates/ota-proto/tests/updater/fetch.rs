//! Rules 5, 8 and 9: the judgement of answers, retries, bounds.

use core::time::Duration;

use ota_proto::{
    ContentRange, FetchError, ResponseHead, State, StorageError, TlsError, TransportError,
};

use crate::bench::*;

/// 4,096 bytes are durable and the next fetch asks for the rest at the moment given.
pub(crate) fn resumed() -> (Bench, u64) {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    bench.body(1_100, 4_096);
    bench.fetch_failed(1_200, TransportError::Closed);
    let ms = bench.next_fetch().unwrap();
    assert_eq!(bench.at, 4_096);
    (bench, ms)
}

pub(crate) fn part(first: u64, last: u64, total: u64) -> ResponseHead<'static> {
    ResponseHead {
        status: 206,
        content_range: Some(ContentRange { span: Some((first, last)), total: Some(total) }),
        etag: Some(b"\"1\""),
        ..ResponseHead::default()
    }
}

/// The result that comes when every fetch from now on is answered like this.
fn always(bench: &mut Bench, answer: impl Fn(&mut Bench, u64)) -> (u32, String) {
    let mut fetches = 0;
    let mut lines = Vec::new();
    while let Some(ms) = bench.next_fetch_lines(&mut lines) {
        fetches += 1;
        answer(bench, ms);
        assert!(fetches < 50);
    }
    let result = lines.iter().find(|line| line.starts_with("fail"));
    (fetches, result.cloned().unwrap_or_else(|| format!("{lines:?}")))
}

#[test]
fn rule_8_a_206_must_match_start_total_and_etag() {
    let good = part(4_096, SIZE - 1, SIZE);
    let (mut bench, ms) = resumed();
    bench.head(ms, &good).unwrap();
    assert!(bench.body(ms, SIZE).contains(&"event Install { size: 10000 }".into()));
    let no_range = ResponseHead { content_range: None, ..good };
    let lying = ResponseHead { content_length: Some(7), ..good };
    let beyond = Some(ContentRange { span: Some((4_096, SIZE)), total: None });
    let beyond = ResponseHead { content_range: beyond, ..good };
    for wrong in [
        part(0, SIZE - 1, SIZE),
        part(4_097, SIZE - 1, SIZE),
        part(4_096, SIZE - 1, SIZE + 1),
        part(4_096, SIZE, SIZE),
        part(4_096, 4_095, SIZE),
        part(u64::MAX, 0, SIZE),
        no_range,
        beyond,
        lying,
    ] {
        let (mut bench, ms) = resumed();
        assert_eq!(bench.head(ms, &wrong), Err(FetchError::Refused), "{wrong:?}");
        assert_eq!(bench.machine.state(), State::Waiting);
        assert_eq!(bench.machine.progress(), Some((4_096, SIZE)), "nothing is lost");
    }
}

#[test]
fn rule_8_a_total_that_is_not_told_is_no_contradiction() {
    let open = |last| {
        let range = Some(ContentRange { span: Some((4_096, last)), total: None });
        ResponseHead { content_range: range, content_length: None, ..part(4_096, last, SIZE) }
    };
    let (mut bench, ms) = resumed();
    bench.head(ms, &open(SIZE - 1)).unwrap();
    assert!(bench.body(ms, SIZE).contains(&"event Install { size: 10000 }".into()));
    let (mut bench, ms) = resumed();
    assert_eq!(bench.head(ms, &open(SIZE)), Err(FetchError::Refused));
}

#[test]
fn rule_8_what_is_called_compressed_is_taken_only_with_the_right_length() {
    use ota_proto::Coding as C;
    let whole = |coding, content_length| ResponseHead {
        coding: Some(coding),
        content_length,
        etag: None,
        ..good(0)
    };
    for coding in [C::Gzip, C::Deflate, C::Brotli, C::Zstd, C::Compress] {
        let mut bench = Bench::fetching(config());
        bench.head(1_100, &whole(coding, None)).unwrap_err();
        let lines = bench.auto(1_100);
        assert!(lines.contains(&"fail -5 server sends it compressed".into()), "{lines:?}");
        let mut bench = Bench::fetching(config());
        bench.head(1_100, &whole(coding, Some(SIZE))).unwrap();
        let (mut bench, ms) = resumed();
        bench
            .head(ms, &ResponseHead { coding: Some(coding), ..part(4_096, SIZE - 1, SIZE) })
            .unwrap();
    }
    for coding in [C::AwsChunked, C::Other] {
        let mut bench = Bench::fetching(config());
        bench.head(1_100, &whole(coding, None)).unwrap();
    }
}

#[test]
fn rule_8_another_etag_begins_anew() {
    let (mut bench, ms) = resumed();
    let other = ResponseHead { etag: Some(b"\"2\""), ..part(4_096, SIZE - 1, SIZE) };
    bench.head(ms, &other).unwrap_err();
    assert_eq!(bench.out(ms), ["cancel", "persist Fetching 1.0.0@0", "fetch 0"]);
}

#[test]
fn rule_8_a_200_to_a_range_request_is_skipped_when_it_is_the_same() {
    let (mut bench, ms) = resumed();
    bench.head(ms, &good(0)).unwrap();
    bench.at = 0;
    let lines = bench.body(ms, SIZE);
    assert!(lines.contains(&"event Install { size: 10000 }".into()), "{lines:?}");
    let (mut bench, ms) = resumed();
    bench.head(ms, &ResponseHead { etag: Some(b"\"2\""), ..good(0) }).unwrap();
    bench.at = 0;
    assert_eq!(bench.machine.progress(), Some((0, SIZE)));
    let lines = bench.body(ms, SIZE);
    assert!(lines.contains(&"event Install { size: 10000 }".into()), "{lines:?}");
    let (mut bench, ms) = resumed();
    let long = ResponseHead { content_length: Some(SIZE + 1), ..good(0) };
    bench.head(ms, &long).unwrap_err();
    assert_eq!(bench.machine.progress(), Some((4_096, SIZE)));
}

#[test]
fn rule_8_416_is_judged_by_its_total() {
    let total = |total| ResponseHead {
        status: 416,
        content_range: Some(ContentRange { span: None, total }),
        ..ResponseHead::default()
    };
    let (mut bench, ms) = resumed();
    bench.head(ms, &total(Some(SIZE))).unwrap_err();
    assert_eq!(bench.machine.progress(), Some((0, SIZE)), "only the whole may help");
    let (mut bench, ms) = resumed();
    bench.head(ms, &total(Some(4_096))).unwrap_err();
    assert_eq!(bench.machine.progress(), Some((4_096, SIZE)), "another object");
}

#[test]
fn rule_8_redirects_are_followed_five_hops_and_never_to_plain_http() {
    let to = |location| ResponseHead {
        status: 302,
        location: Some(location),
        ..ResponseHead::default()
    };
    let mut bench = Bench::fetching(config());
    for _ in 0..5 {
        bench.head(1_100, &to("/there")).unwrap_err();
        let lines = bench.out(1_100);
        assert_eq!(lines, ["cancel", "fetch 0"]);
    }
    bench.head(1_100, &to("/there")).unwrap_err();
    assert_eq!(bench.machine.state(), State::Waiting, "the sixth is refused");
    let mut bench = Bench::fetching(config());
    bench.head(1_100, &to("http://cos.example/there")).unwrap_err();
    assert_eq!(bench.machine.state(), State::Waiting);
    for status in [401, 403, 404, 410] {
        let mut bench = Bench::fetching(config());
        bench.head(1_100, &to("https://other.example/")).unwrap_err();
        bench.out(1_100);
        bench.status(1_200, status).unwrap_err();
        assert_eq!(bench.machine.state(), State::Waiting, "a target's {status} is not the offer's");
        let lines = bench.auto(1_200);
        assert!(!lines.contains(&"report 0.1.0".into()), "{status}: {lines:?}");
    }
}

/// Where plain http is allowed, what began plain may stay plain; what began behind TLS may not
/// leave it.
#[test]
fn rule_8_a_redirect_within_plain_http_needs_plain_http_to_be_allowed() {
    let to = |location| ResponseHead {
        status: 302,
        location: Some(location),
        ..ResponseHead::default()
    };
    let mut allowed = config();
    allowed.allow_http = true;
    for (from, location, followed) in [
        ("http://cos.example/a", "http://other.example/b", true),
        ("http://cos.example/a", "/b", true),
        ("http://cos.example/a", "https://cos.example/b", true),
        ("https://cos.example/a", "https://cos.example/b", true),
        ("https://cos.example/a", "http://cos.example/b", false),
    ] {
        let mut bench = Bench::online(allowed.clone());
        bench.offer_at(1_000, "1.0.0", from);
        bench.auto(1_000);
        bench.head(1_100, &to(location)).unwrap_err();
        let state = if followed { State::Fetching } else { State::Waiting };
        assert_eq!(bench.machine.state(), state, "{from} to {location}");
        assert_eq!(bench.auto(1_100).contains(&"fetch 0".into()), followed, "{from} to {location}");
    }
}

/// The user of the offer's URL goes with it as long as its origin is not left; a target's own is
/// for that hop.
#[test]
fn rule_8_a_user_is_told_to_no_other_origin_and_a_targets_own_to_no_other_hop() {
    const OFFER: &str = "https://u:p@cos.example/a";
    let mut config = config();
    config.url_user = true;
    let follow = |config: &ota_proto::Config, offer: &str, locations: &[&str]| {
        let mut bench = Bench::online(config.clone());
        bench.offer_at(1_000, "1.0.0", offer);
        bench.auto(1_000);
        for location in locations {
            let location = Some(*location);
            let head = ResponseHead { status: 302, location, ..ResponseHead::default() };
            bench.head(1_100, &head).unwrap_err();
            bench.auto(1_100);
        }
        (bench.machine.state() == State::Fetching).then_some(bench.url)
    };
    for (offer, locations, expected) in [
        (OFFER, &[][..], OFFER),
        (OFFER, &["/b?x"], "https://u:p@cos.example/b?x"),
        (OFFER, &["/b", "/c"], "https://u:p@cos.example/c"),
        (OFFER, &["https://COS.example:443/b"], "https://u:p@COS.example/b"),
        (OFFER, &["https://other.example/b"], "https://other.example/b"),
        (OFFER, &["https://cos.example:444/b"], "https://cos.example:444/b"),
        (OFFER, &["https://other.example/b", "https://cos.example/c"], "https://cos.example/c"),
        (OFFER, &["https://v:q@cos.example/b"], "https://v:q@cos.example/b"),
        (OFFER, &["https://v:q@cos.example/b", "/c"], "https://cos.example/c"),
        (OFFER, &["https://u:p@other.example/b", "/c"], "https://other.example/c"),
        ("https://cos.example/a", &["https://v:q@cos.example/b", "/c"], "https://cos.example/c"),
        ("https://cos.example/a", &["/b"], "https://cos.example/b"),
    ] {
        let url = follow(&config, offer, locations);
        assert_eq!(url.as_deref(), Some(expected), "{offer} {locations:?}");
    }
    // The limit is for the URL with the user.
    config.limits.url = "https://u:p@cos.example/b2345678".len();
    let longest = follow(&config, OFFER, &["/b2345678"]);
    assert_eq!(longest.as_deref(), Some("https://u:p@cos.example/b2345678"));
    assert_eq!(follow(&config, OFFER, &["/b23456789"]), None);
}

#[test]
fn rule_8_401_and_403_ask_for_a_fresh_url_and_keep_the_bytes() {
    for status in [401, 403] {
        let (mut bench, ms) = resumed();
        bench.status(ms, status).unwrap_err();
        assert!(bench.auto(ms).contains(&"report 0.1.0".into()));
        bench.reply(ms + 10, "0.1.0");
        bench.offer_at(ms + 20, "1.0.0", "https://cos.example/a?sign=2");
        assert!(bench.auto(ms + 20).contains(&"fetch 4096".into()));
    }
}

#[test]
fn rule_8_the_same_url_again_is_tried_once_more_after_60_s() {
    let (mut bench, ms) = resumed();
    bench.status(ms, 403).unwrap_err();
    bench.auto(ms);
    bench.offer(ms + 20, "1.0.0");
    assert!(!bench.auto(ms + 20).iter().any(|line| line.starts_with("fetch")));
    let lines = bench.until(ms + 60_020);
    assert_eq!(lines.last().unwrap(), &format!("{} fetch 4096", ms + 60_020));
}

#[test]
fn rule_8_an_offer_older_than_23_h_is_refreshed_before_use() {
    let (mut bench, _) = resumed();
    bench.machine.handle_session(at(10_000), false);
    let mut last = 0;
    while let Some(ms) = bench.next_fetch() {
        last = ms;
        bench.fetch_failed(ms, TransportError::Refused);
    }
    let day = 23 * 3_600_000 + 1_000;
    assert!((day - 301_000..day).contains(&last), "{last}");
    assert_eq!(bench.machine.state(), State::Waiting);
    bench.machine.handle_session(at(day + 100_000), true);
    assert!(bench.auto(day + 100_000).contains(&"report 0.1.0".into()));
    bench.offer(day + 100_100, "1.0.0");
    assert!(bench.auto(day + 100_100).contains(&"fetch 4096".into()));
}

#[test]
fn rule_5_each_failure_has_its_code() {
    let fails = |error| move |b: &mut Bench, ms| b.fetch_failed(ms, error);
    let fresh = Bench::fetching(config());
    for (error, text) in [
        (TransportError::Resolve, "host name of the store not found"),
        (TransportError::Refused, "store cannot be reached"),
        (TransportError::TimedOut, "download timed out"),
        (TransportError::Closed, "connection to the store broke"),
    ] {
        let (fetches, told) = always(&mut fresh.clone(), fails(error));
        let told = told.strip_prefix("fail -1 ");
        assert!((10..30).contains(&fetches) && told == Some(text), "{error:?}: {fetches} {told:?}");
    }
    for (error, text) in [
        (TransportError::NotHttp, "the server speaks no http there"),
        (TransportError::HeadTooLong, "head of the answer too long"),
        (TransportError::Malformed, "answer is malformed http"),
        (TransportError::BadUrl, "url unusable"),
        (TransportError::NotPublic, "the store has no public address"),
    ] {
        assert_eq!(always(&mut fresh.clone(), fails(error)), (3, format!("fail -5 {text}")));
    }
    for (why, text) in [
        (TlsError::WrongHost, "tls: certificate is for another host"),
        (TlsError::Untrusted, "tls: certificate is not trusted"),
        (TlsError::Expired, "tls: certificate is expired"),
        (TlsError::NotYetValid, "tls: certificate is not yet valid"),
        (TlsError::NotAuthority, "tls: certificate is from no authority"),
        (TlsError::Unfit, "tls: certificate is not one of a server"),
        (TlsError::Version1, "tls: certificate is x509 version 1"),
        (TlsError::Authority, "tls: certificate is an authority's own"),
        (TlsError::Algorithm, "tls: key or signature kind not supported"),
        (TlsError::NotTls, "tls: the server speaks no tls there"),
        (TlsError::ClockNotSet, "tls: the clock is not set"),
        (TlsError::ClientRefused, "tls: our certificate is refused"),
        (TlsError::Handshake, "tls failed"),
        (TlsError::Unavailable, "tls failed"),
    ] {
        let told = always(&mut fresh.clone(), fails(TransportError::Tls(why)));
        assert_eq!(told, (3, format!("fail -5 {text}")), "{why:?}");
    }
    for (status, fetches, result) in [
        (500, 18, "fail -1 store answers with a server error: 500"),
        (503, 18, "fail -1 store answers with a server error: 503"),
        (408, 18, "fail -1 store asks to try again later"),
        (429, 18, "fail -1 store asks to try again later"),
        (511, 18, "fail -1 store answers with a server error: 511"),
        (416, 3, "fail -5 server sends another range than asked for"),
        (204, 3, "fail -5 server answers with an unusable status: 204"),
        (302, 3, "fail -5 redirect refused"),
        (400, 3, "fail -5 server answers with an unusable status: 400"),
        (407, 3, "fail -5 server answers with an unusable status: 407"),
    ] {
        let answer = |b: &mut Bench, ms| assert!(b.status(ms, status).is_err());
        assert_eq!(always(&mut fresh.clone(), answer), (fetches, result.into()), "{status}");
    }
}

#[test]
fn rule_5_404_fails_after_a_fresh_url_and_a_minute_410_at_once_and_403_after_three() {
    for (status, fetches, result) in [
        (404, 3, "fail -2 file does not exist"),
        (410, 1, "fail -2 file does not exist"),
        (403, 4, "fail -3 url expired or refused"),
        (401, 4, "fail -3 url expired or refused"),
    ] {
        let (mut bench, _) = resumed();
        let mut sign = 2;
        let mut count = 0;
        let mut said = Vec::new();
        while let Some(ms) = bench.next_fetch_lines(&mut said) {
            count += 1;
            bench.status(ms, status).unwrap_err();
            said.extend(bench.auto(ms));
            if bench.machine.state() == State::Waiting {
                bench.offer_at(ms, "1.0.0", &format!("https://cos.example/a?sign={sign}"));
                sign += 1;
            }
        }
        assert!(said.contains(&result.into()), "{said:?}");
        assert_eq!(count, fetches, "{status}");
        assert_eq!(bench.journal().target.unwrap().offset, 4_096, "the bytes are kept");
    }
}

#[test]
fn rule_8_retry_after_counts_up_to_an_hour() {
    for (given, expected) in [(100, 100), (3_600, 3_600), (1_000_000, 3_600)] {
        let mut bench = Bench::fetching(config());
        let head = ResponseHead {
            status: 503,
            retry_after: Some(Duration::from_secs(given)),
            ..ResponseHead::default()
        };
        bench.head(1_000, &head).unwrap_err();
        let lines = bench.until(1_000 + expected * 1_000);
        assert!(!lines.iter().any(|line| line.contains("fetch")), "{lines:?}");
        // A fresh URL is asked for first, and not waited for forever.
        assert!(lines.contains(&format!("{} report 0.1.0", 1_000 + expected * 1_000)), "{lines:?}");
        let lines = bench.until(31_000 + expected * 1_000);
        assert_eq!(lines.last().unwrap(), &format!("{} fetch 0", 31_000 + expected * 1_000));
    }
}

#[test]
fn rule_8_an_over_long_body_is_refused_and_a_short_one_resumes() {
    let mut bench = Bench::fetching(config());
    let chunked = ResponseHead { content_length: None, ..good(0) };
    bench.head(1_100, &chunked).unwrap();
    bench.body(1_100, SIZE);
    let op = bench.fetch_op();
    assert_eq!(bench.machine.handle_body(at(1_200), op, b"x"), Err(FetchError::Refused));
    let mut bench = Bench::fetching(config());
    bench.head(1_100, &chunked).unwrap();
    bench.body(1_100, 5_000);
    let op = bench.take(Kind::Fetch);
    bench.machine.handle_body_end(at(1_200), op);
    bench.next_fetch().unwrap();
    assert_eq!(bench.at, 5_000);
}

#[test]
fn rule_9_stalls_end_in_minus_one_and_slow_but_steady_finishes() {
    let mut silent = Bench::fetching(config());
    assert_eq!(
        always(&mut silent, |b, ms| b.machine.handle_timeout(at(ms + 20_000))).1,
        "fail -1 download timed out"
    );
    // 2 KB/s must finish.
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    let mut ms = 1_100;
    while bench.at < SIZE {
        let upto = (bench.at + 200).min(SIZE);
        bench.body(ms, upto);
        ms += 100;
        bench.until(ms);
    }
    assert_eq!(bench.machine.state(), State::Installing);
}

#[test]
fn rule_9_a_trickle_below_256_bytes_a_second_is_given_up() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_000);
    bench.auto(1_000);
    let mut ms = 1_000;
    while bench.machine.state() == State::Fetching {
        let upto = bench.at + 100;
        bench.body(ms, upto);
        ms += 1_000;
        bench.until(ms);
        assert!(ms < 100_000);
    }
    assert!((60_000..65_000).contains(&ms), "{ms}");
}

#[test]
fn rule_9_deadlines_stand_still_while_we_do_not_read() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    assert_eq!(bench.out(1_100), ["erase 0..4096"]);
    bench.machine.handle_timeout(at(50_000));
    bench.out(50_000);
    bench.done(50_000, Kind::Erase);
    bench.out(50_000);
    assert_eq!(bench.idle.0, Some(at(65_000)), "15 s from now, not from then");
    assert_eq!(bench.machine.state(), State::Fetching);
}

#[test]
fn rule_9_a_body_that_we_do_not_read_for_a_minute_gives_its_connection_up() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    assert_eq!(bench.out(1_100), ["erase 0..4096"]);
    assert_eq!(bench.idle.0, Some(at(21_000)), "the next report");
    bench.machine.handle_timeout(at(61_099));
    assert!(!bench.out(61_099).contains(&"cancel".into()));
    bench.machine.handle_timeout(at(61_100));
    let lines = bench.out(61_100);
    assert!(lines.contains(&"cancel".into()), "{lines:?}");
    assert_eq!(bench.machine.state(), State::Fetching, "the slot may still answer");
    bench.done(62_000, Kind::Erase);
    bench.out(62_000);
    assert_eq!(bench.machine.state(), State::Waiting, "then it is asked for again");
}

#[test]
fn rule_9_a_slot_that_never_answers_ends_the_attempt_after_ten_minutes() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    assert_eq!(bench.out(1_100), ["erase 0..4096"]);
    bench.machine.handle_timeout(at(601_099));
    bench.out(601_099);
    assert_eq!(bench.machine.state(), State::Fetching);
    bench.machine.handle_timeout(at(601_100));
    let lines = bench.out(601_100);
    assert!(lines.iter().any(|line| line.starts_with("persist Owed")), "{lines:?}");
    bench.done(601_100, Kind::Persist);
    let lines = bench.auto(601_100);
    assert!(lines.contains(&"fail -5 storage error".into()), "{lines:?}");
}

#[test]
fn rule_9_attempts_count_only_while_the_cloud_can_be_told() {
    let mut bench = Bench::fetching(config());
    bench.machine.handle_session(at(1_050), false);
    for _ in 0..100 {
        let ms = bench.next_fetch().expect("never given up");
        bench.fetch_failed(ms, TransportError::Refused);
    }
    assert_eq!(bench.machine.state(), State::Waiting);
}

#[test]
fn rule_9_after_two_restarts_from_zero_the_digest_is_to_decide() {
    let mut bench = Bench::fetching(config());
    let tags: [&'static [u8]; 2] = [b"a", b"b"];
    let mut fetches = 0;
    let mut lines = Vec::new();
    while let Some(ms) = bench.next_fetch_lines(&mut lines) {
        fetches += 1;
        assert!(fetches < 30);
        let head = ResponseHead { etag: Some(tags[fetches % 2]), ..good(0) };
        if bench.head(ms, &head).is_ok() {
            bench.at = 0;
            let upto = if fetches < 4 { 6_000 } else { SIZE };
            lines.extend(bench.body(ms, upto));
            if fetches < 4 {
                bench.fetch_failed(ms, TransportError::Closed);
            } else {
                break;
            }
        }
    }
    assert!(lines.contains(&"event Install { size: 10000 }".into()), "{lines:?}");
    assert_eq!(fetches, 4);
}

/// Found by mutation: what belongs to a fetch that is over must not touch the one that followed.
#[test]
fn rule_15_bytes_and_ends_of_a_fetch_that_is_over_are_nothing() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    bench.body(1_100, 4_096);
    let old = bench.fetch_op();
    bench.fetch_failed(1_200, TransportError::Closed);
    let ms = bench.next_fetch().unwrap();
    // The new one is asked for: an end of the old one is not its own.
    bench.machine.handle_body_end(at(ms), old);
    bench.machine.handle_fetch_failed(at(ms), old, TransportError::Closed);
    assert_eq!(bench.machine.state(), State::Fetching);
    assert!(bench.auto(ms).is_empty());
    // The new one is answered: bytes and ends of the old one are not its own.
    bench.good_head(ms);
    bench.auto(ms);
    let data = &image()[4_096..5_000];
    assert_eq!(bench.machine.handle_body(at(ms), old, data), Err(FetchError::Stale));
    bench.machine.handle_body_end(at(ms), old);
    assert!(bench.auto(ms).is_empty());
    assert_eq!(bench.machine.progress(), Some((4_096, SIZE)));
    // After its own end it brings nothing more, while a write of its bytes is in progress.
    assert!(bench.piece(ms, 8_192));
    let op = bench.fetch_op();
    bench.machine.handle_body_end(at(ms), op);
    assert_eq!(bench.machine.handle_body(at(ms), op, &image()[8_192..]), Err(FetchError::Stale));
}

/// The window of the minimum rate is independent: other deadlines do not restart it.
#[test]
fn rule_9_a_trickle_ends_with_its_window_whatever_else_is_due() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_000);
    bench.auto(1_000);
    let (mut ms, mut ended) = (1_000, None);
    while ended.is_none() && ms < 200_000 {
        ms += 5_000;
        bench.until(ms);
        if bench.machine.state() != State::Fetching {
            ended = Some(ms);
        } else {
            let upto = bench.at + 10;
            bench.body(ms, upto);
        }
    }
    assert!(ended.is_some_and(|ms| (61_000..=71_000).contains(&ms)), "{ended:?}");
}

/// Over plain http an answer without a length that ends before it brought anything new takes
/// nothing away, not even the part of an erase unit.
#[test]
fn rule_8_an_answer_that_brought_nothing_takes_nothing_away() {
    let mut config = config();
    config.allow_http = true;
    let mut bench = Bench::online(config);
    bench.offer_at(1_000, "1.0.0", "http://cos.example/a");
    bench.auto(1_000);
    bench.good_head(1_100);
    bench.body(1_100, 5_000);
    bench.fetch_failed(1_200, TransportError::Closed);
    let ms = bench.next_fetch().unwrap();
    assert_eq!(bench.at, 5_000);
    bench.head(ms, &ResponseHead { content_length: None, ..good(0) }).unwrap();
    let op = bench.fetch_op();
    bench.machine.handle_body_end(at(ms), op);
    bench.auto(ms);
    assert_eq!(bench.machine.progress(), Some((5_000, SIZE)));
    assert_eq!(bench.machine.state(), State::Waiting);
}

/// Once the wait for the slot has ended, nothing new is requested, even if a poll comes before the
/// time-out.
#[test]
fn rule_16_no_fetch_begins_at_the_moment_at_which_the_slot_is_given_up() {
    use ota_proto::Gate;
    for (ms, asked) in [(601_199, true), (601_200, false)] {
        let mut bench = Bench::fetching(config());
        bench.good_head(1_100);
        bench.body(1_100, 4_000);
        assert!(bench.piece(1_100, 4_096));
        bench.machine.set_gate(Gate { publish: true, fetch: false });
        bench.fetch_failed(1_200, TransportError::Closed);
        bench.done(1_200, Kind::Write);
        assert!(bench.out(1_200).contains(&"sync".into()), "it is never answered");
        while let Some(next) = bench.idle.0.filter(|next| *next < at(ms)) {
            bench.machine.handle_timeout(next);
            bench.out(next.as_millis());
            bench.ack(next.as_millis());
        }
        assert_eq!(bench.machine.state(), State::Fetching, "it waits for the gate");
        bench.machine.set_gate(Gate::OPEN);
        assert_eq!(bench.out(ms).contains(&"fetch 4096".into()), asked, "{ms}");
    }
}

/// Faults before the last progress are not the reason when patience ends.
#[test]
fn rule_9_a_fault_that_progress_has_forgiven_is_not_told_at_the_end() {
    let mut config = config();
    config.timing.min_rate = 0;
    let mut bench = Bench::fetching(config);
    bench.status(1_100, 503).unwrap_err();
    let mut ms = bench.next_fetch().unwrap();
    bench.good_head(ms);
    bench.body(ms, 4_096);
    let mut lines = Vec::new();
    while bench.machine.state() == State::Fetching {
        assert!(ms < 2_000_000, "forever");
        ms += 10_000;
        lines.extend(bench.until(ms));
        if bench.machine.state() == State::Fetching {
            let upto = bench.at + 1;
            lines.extend(bench.body(ms, upto));
        }
    }
    lines.extend(bench.auto(ms));
    assert!(lines.iter().any(|line| line.ends_with("fail -1 download timed out")), "{lines:?}");
}

/// Skipped bytes are not progress, but the server does its part.
#[test]
fn rule_9_patience_does_not_run_while_known_bytes_are_passed_over() {
    let mut config = config();
    config.timing.patience = ota_proto::Micros::from_secs(20);
    let mut bench = Bench::fetching(config);
    bench.good_head(1_100);
    bench.body(1_100, 8_192);
    bench.fetch_failed(1_200, TransportError::Closed);
    let mut ms = bench.next_fetch().unwrap();
    bench.head(ms, &good(0)).unwrap();
    bench.at = 0;
    while bench.at < 8_192 {
        bench.until(ms);
        assert_eq!(bench.machine.state(), State::Fetching, "{ms}");
        let upto = (bench.at + 300).min(8_192);
        bench.body(ms, upto);
        ms += 1_000;
    }
    let lines = bench.body(ms, SIZE);
    assert!(lines.contains(&"event Install { size: 10000 }".into()), "{lines:?}");
}

/// Three times the image may come, to the byte.
#[test]
fn rule_9_three_times_the_image_is_not_too_much() {
    for (extra, taken) in [(0, true), (1, false)] {
        let mut bench = Bench::fetching(config());
        bench.good_head(1_100);
        // Another object restarts the download, twice.
        for (tag, upto) in [(&b"2"[..], SIZE - 1), (b"3", SIZE - 1)] {
            let ms = bench.next_fetch().unwrap_or(1_100);
            bench.body(ms, upto);
            bench.fetch_failed(ms, TransportError::Closed);
            let ms = bench.next_fetch().unwrap();
            let other = ResponseHead { etag: Some(tag), ..good(bench.at) };
            bench.head(ms, &other).unwrap_err();
            let ms = bench.next_fetch().unwrap();
            assert_eq!(bench.at, 0);
            bench.head(ms, &ResponseHead { etag: Some(tag), ..good(0) }).unwrap();
        }
        // The last two bytes that may come twice.
        let ms = bench.next_fetch().unwrap();
        bench.body(ms, 2 + extra);
        bench.fetch_failed(ms, TransportError::Closed);
        let ms = bench.next_fetch().unwrap();
        bench.head(ms, &ResponseHead { etag: Some(b"3"), ..good(0) }).unwrap();
        bench.at = 0;
        let mut lines = bench.body(ms, SIZE - 1);
        let op = bench.fetch_op();
        let last =
            bench.machine.handle_body(at(ms), op, &image()[9_999..]).map(|body| body.consumed);
        assert_eq!(last.is_ok(), taken, "{extra}");
        if !taken {
            lines.extend(bench.auto(ms));
            assert!(lines.contains(&"fail -1 download broke off too often".into()), "{lines:?}");
        }
    }
}

/// The minimum rate is enough, to the byte.
#[test]
fn rule_9_the_least_rate_itself_is_not_too_slow() {
    for (bytes, slow) in [(600, false), (599, true)] {
        let mut config = config();
        config.timing.min_rate = 10;
        let mut bench = Bench::fetching(config);
        bench.good_head(1_100);
        for (ms, upto) in [(10_000, 100), (20_000, 200), (34_000, 300), (48_000, bytes)] {
            bench.until(ms);
            bench.body(ms, upto);
        }
        bench.until(61_100);
        assert_eq!(bench.machine.state() == State::Waiting, slow, "{bytes}");
    }
}

/// After a reply without the offer the device asks once more before it continues.
#[test]
fn rule_9_after_a_reply_without_the_offer_a_short_pause_ends_with_a_report() {
    for reply in [false, true] {
        let mut bench = Bench::fetching(config());
        bench.fetch_failed(1_100, TransportError::Tls(TlsError::Untrusted));
        bench.auto(1_100);
        if reply {
            bench.reply(28_000, "0.1.0");
        }
        let lines = bench.until(31_100);
        let last = lines.last().unwrap();
        assert_eq!(last, if reply { "31100 report 0.1.0" } else { "31100 fetch 0" }, "{lines:?}");
    }
}

/// Bytes that come before the slot was made ready for them are not taken.
#[test]
fn rule_15_bytes_that_come_before_there_is_room_wait() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    assert!(!bench.piece(1_100, 100));
    assert_eq!(bench.out(1_100), ["erase 0..4096"]);
    assert!(!bench.piece(1_100, 100));
    bench.done(1_100, Kind::Erase);
    assert!(bench.piece(1_100, 4_096));
    bench.done(1_100, Kind::Write);
    assert!(!bench.piece(1_100, 5_000), "it is full");
    assert!(!bench.open.iter().any(|(kind, _)| *kind == Kind::Write));
}

/// After two failed writes of the journal nobody knows which of the records is there: neither may
/// claim bytes that are about to go (O2).
#[test]
fn o2_after_two_failed_records_nothing_is_written_over_what_either_claims() {
    let mut config = config();
    config.allow_http = true;
    let mut bench = Bench::online(config);
    bench.offer_at(1_000, "1.0.0", "http://cos.example/a");
    bench.auto(1_000);
    // Everything succeeds except the journal; returns the lines.
    let work = |bench: &mut Bench, ms: u64, upto: u64| {
        let mut lines = Vec::new();
        for _ in 0..100 {
            lines.extend(bench.out(ms));
            bench.ack(ms);
            match bench.open.iter().map(|(kind, _)| *kind).find(|kind| *kind != Kind::Fetch) {
                Some(Kind::Persist) => bench.error(ms, Kind::Persist, StorageError::Failed),
                Some(kind) => bench.done(ms, kind),
                None if bench.at < upto && bench.piece(ms, upto) => {}
                None => break,
            }
        }
        lines
    };
    let time = |bench: &mut Bench, ms: u64| {
        bench.machine.handle_timeout(at(ms));
        work(bench, ms, 0)
    };
    bench.good_head(1_100);
    let lines = work(&mut bench, 1_100, 4_096);
    assert!(lines.contains(&"persist Fetching 1.0.0@4096".into()), "{lines:?}");
    bench.fetch_failed(1_200, TransportError::Closed);
    // The one record that failed claims no more than is stored.
    let mut ms = 1_200;
    while !time(&mut bench, ms).contains(&"fetch 4096".into()) {
        ms += 100;
        assert!(ms < 10_000, "{:?}", bench.machine);
    }
    bench.head(ms, &ResponseHead { content_length: None, ..good(0) }).unwrap();
    bench.at = 0;
    let mut lines = work(&mut bench, ms, 8_192);
    while !lines.contains(&"persist Fetching 1.0.0@8192".into()) {
        ms += 1_000;
        assert!(ms < 30_000, "{lines:?}");
        lines.extend(time(&mut bench, ms));
    }
    // It is a page of somebody else: what it brought is given up, and the journal may claim it.
    let op = bench.fetch_op();
    bench.machine.handle_body_end(at(ms), op);
    let mut lines = work(&mut bench, ms, 0);
    assert_eq!(bench.machine.progress(), Some((4_096, SIZE)));
    for _ in 0..60 {
        ms += 1_000;
        lines.extend(time(&mut bench, ms));
    }
    assert!(!lines.iter().any(|line| line.starts_with("fetch")), "{lines:?}");
    // A write that succeeds makes it certain.
    bench.machine.handle_timeout(at(ms + 400_000));
    let lines = bench.until(ms + 400_000);
    assert!(lines.iter().any(|line| line.ends_with("fetch 4096")), "{lines:?}");
}

/// Bytes that were there before are no new ones: they renew no tries.
#[test]
fn rule_8_bytes_that_come_again_renew_no_tries_of_a_refused_url() {
    let mut config = config();
    config.allow_http = true;
    let mut bench = Bench::online(config);
    bench.offer_at(1_000, "1.0.0", "http://cos.example/a");
    bench.auto(1_000);
    bench.good_head(1_100);
    bench.body(1_100, 4_096);
    bench.fetch_failed(1_200, TransportError::Closed);
    // What this one brings is given up: it ends as a page of somebody else does.
    let ms = bench.next_fetch().unwrap();
    bench.head(ms, &ResponseHead { content_length: None, ..good(0) }).unwrap();
    bench.at = 0;
    bench.body(ms, 8_192);
    let op = bench.take(Kind::Fetch);
    bench.machine.handle_body_end(at(ms), op);
    assert_eq!(bench.machine.progress(), Some((4_096, SIZE)));
    let refused = |bench: &mut Bench, sign: u32| {
        let ms = bench.next_fetch().unwrap();
        bench.status(ms, 403).unwrap_err();
        let lines = bench.auto(ms);
        bench.offer_at(ms, "1.0.0", &format!("http://cos.example/a?sign={sign}"));
        lines
    };
    refused(&mut bench, 1);
    let ms = bench.next_fetch().unwrap();
    bench.good_head(ms);
    bench.body(ms, 8_192);
    bench.fetch_failed(ms, TransportError::Closed);
    for sign in [2, 3] {
        let lines = refused(&mut bench, sign);
        assert!(!lines.iter().any(|line| line.starts_with("fail")), "{lines:?}");
    }
    let lines = refused(&mut bench, 4);
    assert!(lines.contains(&"fail -3 url expired or refused".into()), "{lines:?}");
}

/// A slow slot does not count as a lack of progress of the server.
#[test]
fn rule_9_patience_does_not_run_while_the_slot_is_waited_for() {
    let mut config = config();
    config.timing.patience = ota_proto::Micros::from_secs(20);
    let mut bench = Bench::fetching(config);
    bench.good_head(1_100);
    assert_eq!(bench.out(1_100), ["erase 0..4096"]);
    bench.machine.handle_timeout(at(31_100));
    bench.out(31_100);
    assert_eq!(bench.machine.state(), State::Fetching);
    bench.done(31_100, Kind::Erase);
    let lines = bench.body(31_100, SIZE);
    assert!(lines.contains(&"event Install { size: 10000 }".into()), "{lines:?}");
}
