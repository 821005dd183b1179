//! Rule 12: a digest that is wrong.

use ota_proto::{Md5, ResponseHead, SlotInfo, SlotState, TransportError, Verify};

use crate::bench::*;
use crate::fetch::{part, resumed};

/// The whole image is stored, and its digest asked for.
fn to_digest(bench: &mut Bench, ms: u64) {
    bench.good_head(ms);
    bench.body(ms, SIZE - 1);
    bench.piece(ms, SIZE);
    for kind in [Kind::Write, Kind::Sync, Kind::Persist] {
        bench.done(ms, kind);
        bench.out(ms);
    }
}

/// The medium does not hold the offered image: it is read twice before that counts.
fn wrong(bench: &mut Bench, ms: u64) {
    let op = bench.take(Kind::Digest);
    bench.machine.handle_done(at(ms), op, Ok(Some(Md5([0; 16]))));
    assert_eq!(bench.out(ms), [format!("digest 0..{SIZE}")], "read once more");
    let op = bench.take(Kind::Digest);
    bench.machine.handle_done(at(ms), op, Ok(Some(Md5([0; 16]))));
}

#[test]
fn rule_12_a_bit_that_was_read_wrongly_once_costs_a_second_hash_and_nothing_else() {
    for verify in [Verify::ReadBack, Verify::Trailing] {
        let mut config = config();
        config.verify = verify;
        let mut bench = Bench::fetching(config);
        to_digest(&mut bench, 1_100);
        let op = bench.take(Kind::Digest);
        bench.machine.handle_done(at(1_100), op, Ok(Some(Md5([0; 16]))));
        assert_eq!(bench.out(1_100), ["digest 0..10000"], "{verify:?}");
        bench.done(1_100, Kind::Digest);
        let lines = bench.auto(1_100);
        assert!(lines.contains(&"event Ready".into()), "{verify:?}: {lines:?}");
        assert!(!lines.iter().any(|line| line.starts_with("fetch")), "{verify:?}: {lines:?}");
    }
}

/// A stack that answers every work the same way would never come to rest.
#[test]
fn rule_16_a_digest_without_a_digest_ends_the_attempt() {
    let mut bench = Bench::fetching(config());
    to_digest(&mut bench, 1_100);
    let op = bench.take(Kind::Digest);
    bench.machine.handle_done(at(1_100), op, Ok(None));
    let lines = bench.auto(1_100);
    assert!(!lines.iter().any(|line| line.starts_with("digest")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("fail")), "{lines:?}");
}

#[test]
fn rule_12_a_mismatch_costs_one_clean_download_the_second_is_minus_four() {
    let (mut bench, ms) = resumed();
    to_digest(&mut bench, ms);
    wrong(&mut bench, ms);
    assert_eq!(bench.out(ms), ["persist Fetching 1.0.0@0", "fetch 0"]);
    bench.done(ms, Kind::Persist);
    to_digest(&mut bench, ms);
    wrong(&mut bench, ms);
    assert!(bench.auto(ms).contains(&"fail -4 md5 does not match".into()));
    // The first copy came in one piece: a proxy may have kept a damaged one.
    let mut bench = Bench::fetching(config());
    to_digest(&mut bench, 1_100);
    assert!(!bench.fresh);
    wrong(&mut bench, 1_100);
    assert_eq!(bench.out(1_100), ["persist Fetching 1.0.0@0", "fetch 0"]);
    assert!(bench.fresh, "past all caches");
    bench.done(1_100, Kind::Persist);
    bench.good_head(1_100);
    bench.body(1_100, 5_000);
    bench.fetch_failed(1_200, TransportError::Closed);
    let mut lines = bench.until(60_000);
    assert!(bench.fresh, "the rest, too");
    lines.retain(|line| line.contains("downloading"));
    assert!(!lines.is_empty() && lines.iter().all(|line| line.ends_with("99")), "{lines:?}");
    bench.head(60_000, &part(5_000, SIZE - 1, SIZE)).unwrap();
    let lines = bench.body(60_000, SIZE);
    assert!(lines.contains(&"event Install { size: 10000 }".into()), "{lines:?}");
}

/// Two restarts for other ETags are spent: a wrong digest is still a wrong digest.
#[test]
fn rule_12_a_mismatch_is_minus_four_even_when_restarts_are_spent() {
    let mut bench = Bench::fetching(config());
    let mut ms = 1_100;
    for tag in ["a", "b", "c"] {
        let head = ResponseHead { etag: Some(tag.as_bytes()), ..good(0) };
        bench.head(ms, &head).unwrap();
        bench.at = 0;
        bench.body(ms, 6_000);
        bench.fetch_failed(ms, TransportError::Closed);
        ms = bench.next_fetch().unwrap();
    }
    let head = ResponseHead { etag: Some(b"c"), ..part(6_000, SIZE - 1, SIZE) };
    bench.head(ms, &head).unwrap();
    bench.body(ms, SIZE - 1);
    bench.piece(ms, SIZE);
    for kind in [Kind::Write, Kind::Sync, Kind::Persist] {
        bench.done(ms, kind);
        bench.out(ms);
    }
    wrong(&mut bench, ms);
    assert_eq!(bench.out(ms), ["persist Fetching 1.0.0@0", "fetch 0"]);
    bench.done(ms, Kind::Persist);
    bench.good_head(ms);
    bench.body(ms, SIZE - 1);
    bench.piece(ms, SIZE);
    for kind in [Kind::Write, Kind::Sync, Kind::Persist] {
        bench.done(ms, kind);
        bench.out(ms);
    }
    wrong(&mut bench, ms);
    let lines = bench.auto(ms);
    assert!(lines.contains(&"fail -4 md5 does not match".into()), "{lines:?}");
}

/// Found by the walk: the hash that trails the writer was done before the body's end, and the fetch
/// was left open forever.
#[test]
fn a_body_of_undeclared_length_is_dropped_when_the_trailing_digest_is_right() {
    let mut trailing = config();
    trailing.verify = Verify::Trailing;
    // The image ends on an erase boundary: its last bytes are synced, and hashed, at once.
    let storage = SlotInfo { erase: 2_500, ..STORAGE };
    let mut bench = Bench::boot_on(storage, trailing, "0.1.0", SlotState::Confirmed, None);
    bench.machine.handle_session(at(0), true);
    bench.offer(1_000, "1.0.0");
    bench.auto(1_000);
    bench.head(1_100, &ResponseHead { content_length: None, ..good(0) }).unwrap();
    let mut lines = bench.body(1_200, SIZE - 1);
    bench.piece(1_200, SIZE);
    bench.done(1_200, Kind::Write);
    for _ in 0..20 {
        lines.extend(bench.out(1_200));
        let storing = bench.open.iter().map(|(kind, _)| *kind).find(|kind| *kind != Kind::Fetch);
        let Some(kind) = storing else { break };
        bench.done(1_200, kind);
    }
    assert!(lines.contains(&"downloading 100".into()), "{lines:?}");
    assert!(lines.contains(&"cancel".into()), "{lines:?}");
}
