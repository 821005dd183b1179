//! However an answer is split, and however little is taken at a time, the head, the body and the
//! end are the same.

use proptest::prelude::*;

use crate::driver::{fixtures, run, whole};

#[test]
fn every_split_in_two() {
    for (name, input) in fixtures() {
        let want = whole(&input);
        let step = 1 + input.len() / 1000;
        for cut in (0..=input.len()).filter(|cut| cut % step == 0) {
            let mut pieces = [cut, input.len()].into_iter();
            let got = run(&input, || pieces.next().unwrap_or(1), |len| len);
            assert_eq!(got, want, "{name} split at {cut}");
        }
    }
}

#[test]
fn byte_by_byte() {
    for (name, input) in fixtures() {
        assert_eq!(run(&input, || 1, |len| len), whole(&input), "{name}");
    }
}

#[test]
fn taken_byte_by_byte_with_pauses() {
    for (name, input) in fixtures() {
        let mut turn = 0;
        let take = |_| {
            turn += 1;
            turn % 2
        };
        assert_eq!(run(&input, || usize::MAX / 2, take), whole(&input), "{name}");
    }
}

/// One or more parts of an answer, right or nearly so.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let parts: Vec<&'static [u8]> = vec![
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 206 X\r\n",
        b"HTTP/1.1 100 C\r\n\r\n",
        b"HTTP/1.1 204\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Range: bytes 1-2/3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"ETag: \"x\"\r\n",
        b"\r\n",
        b"\n",
        b"3\r\nabc\r\n",
        b"5;x=y\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\nT: v\r\n\r\n",
        b"ff\r\n",
        b"\0",
    ];
    let part = prop_oneof![
        8 => prop::sample::select(parts).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    // Mostly something that has a head at its front.
    let front = prop_oneof![
        Just(Vec::new()),
        Just(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()),
        Just(b"HTTP/1.1 206 P\r\nContent-Length: 20\r\n\r\n".to_vec()),
        Just(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
    ];
    (front, prop::collection::vec(part, 0..12))
        .prop_map(|(front, parts)| [front, parts.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_answers_in_random_pieces(
        input in answers(),
        pieces in prop::collection::vec(1_usize..20, 1..20),
        takes in prop::collection::vec(0_usize..9, 1..20),
    ) {
        let (mut pieces, mut takes) = (pieces.into_iter().cycle(), takes.into_iter().chain([1]).cycle());
        let got = run(&input, || pieces.next().unwrap(), |_| takes.next().unwrap());
        prop_assert_eq!(got, whole(&input));
    }

    #[test]
    fn fixtures_in_random_pieces(
        which in any::<prop::sample::Index>(),
        pieces in prop::collection::vec(1_usize..600, 1..20),
        takes in prop::collection::vec(0_usize..40, 1..20),
    ) {
        let all = fixtures();
        let (name, input) = which.get(&all);
        let (mut pieces, mut takes) = (pieces.into_iter().cycle(), takes.into_iter().chain([1]).cycle());
        let got = run(input, || pieces.next().unwrap(), |_| takes.next().unwrap());
        prop_assert_eq!(got, whole(input), "{}", name);
    }

    #[test]
    fn damaged_fixtures_in_random_pieces(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        pieces in prop::collection::vec(1_usize..99, 1..20),
    ) {
        let all = fixtures();
        let mut input = which.get(&all).1.clone();
        for (at, byte) in damage {
            *at.get_mut(&mut input) = byte;
        }
        let mut pieces = pieces.into_iter().cycle();
        prop_assert_eq!(run(&input, || pieces.next().unwrap(), |len| len), whole(&input));
    }
}
