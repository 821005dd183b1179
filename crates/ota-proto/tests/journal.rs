//! The journal record: its content, and blocks that are never accepted as one.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use ota_proto::journal::{Guard, Journal, JournalError, Owed, Phase, Record, Target};
use ota_proto::{Answer, Md5, Media, Outcome, Reason, Version};
use proptest::prelude::*;

fn full() -> Record {
    Record {
        phase: Phase::Switching,
        tries: 2,
        attempts: 8,
        starts: 3,
        target: Some(Target {
            version: Version::new(&"9".repeat(32)).unwrap(),
            md5: Md5([0xa5; 16]),
            size: u64::MAX,
            offset: u64::MAX - 1,
            etag: 0xdead_beef,
        }),
        from: Some(Version::new("0.1.0").unwrap()),
        owed: Some(Owed {
            result: Outcome::Failed(Reason::NotConfirmed),
            sent: true,
            answer: None,
        }),
        guard: Some(Guard { md5: Md5([0x5a; 16]), version: 7, count: 3 }),
        valid_from: [1_795_431_582, 1_790_000_000],
        accepted: Some(Md5([0x3c; 16])),
        device: 0x1234_5678,
    }
}

/// The block with its checksum made right again.
fn seal(mut block: [u8; Journal::LEN]) -> [u8; Journal::LEN] {
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&block[..188]);
    block[188..].copy_from_slice(&sum.to_le_bytes());
    block
}

prop_compose! {
    fn any_version()(text in "[!#-\\[\\]-~]{1,32}") -> Version {
        Version::new(&text).unwrap()
    }
}

prop_compose! {
    fn any_target()(
        version in any_version(), md5: [u8; 16], size in 1..=u64::MAX, part: u64, etag: u32,
    ) -> Target {
        let offset = if part == u64::MAX { size } else { part % size };
        Target { version, md5: Md5(md5), size, offset, etag }
    }
}

prop_compose! {
    fn any_answer()(
        status in 100..1_000_u16, length in proptest::option::of(any::<u64>()),
        media in "[a-z/;+ -]{0,30}", compressed: bool,
    ) -> Answer {
        Answer::new(status, length, Media::new(media.as_bytes()), compressed).unwrap()
    }
}

prop_compose! {
    fn any_record()(
        phase in 0..5, tries in 0_u8..64, attempts in 0_u8..12, starts in 0_u8..4, target in proptest::option::of(any_target()),
        from in proptest::option::of(any_version()), result in 0..=Reason::ALL.len(), sent: bool,
        owes: bool, guard in proptest::option::of((any::<[u8; 16]>(), any::<u32>(), any::<u8>())),
        answer in proptest::option::of(any_answer()), valid_from: [u32; 2], accepted in proptest::option::of(any::<[u8; 16]>()), device: u32,
    ) -> Record {
        let result = match result.checked_sub(1) {
            None => Outcome::Done,
            Some(i) => Outcome::Failed(Reason::ALL[i]),
        };
        let phase = [
            Phase::None, Phase::Fetching, Phase::Installing, Phase::Switching, Phase::Owed,
        ][phase as usize];
        Record {
            phase,
            tries,
            attempts,
            starts,
            target,
            from,
            owed: owes.then_some(Owed { result, sent, answer }),
            guard: guard.map(|(md5, version, count)| Guard { md5: Md5(md5), version, count }),
            valid_from,
            accepted: accepted.map(Md5),
            device,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_written_is_read(record in any_record(), sequence: u32) {
        let block = record.encode(sequence);
        if record.is_consistent() {
            prop_assert_eq!(Record::decode(&block), Ok((sequence, record)));
        } else {
            prop_assert_eq!(Record::decode(&block), Err(JournalError::Field));
        }
        prop_assert_eq!(Journal::place(&block), (sequence % 2) as usize);
    }

    #[test]
    fn arbitrary_bytes_are_no_record(bytes in proptest::collection::vec(any::<u8>(), 192)) {
        let mut block: [u8; 192] = bytes.try_into().unwrap();
        prop_assert!(Record::decode(&block).is_err());
        // The same with a valid magic number, format and checksum.
        block[..5].copy_from_slice(&full().encode(0)[..5]);
        let block = seal(block);
        if let Ok((sequence, record)) = Record::decode(&block) {
            prop_assert_eq!(record.encode(sequence), block);
        }
    }

    #[test]
    fn a_torn_write_leaves_the_old_the_new_or_nothing(
        old in any_record(), new in any_record(), sequence: u32, cut in 0..=192_usize, back: bool,
    ) {
        let (a, b) = (old.encode(sequence), new.encode(sequence.wrapping_add(2)));
        let mut mixed = a;
        let span = if back { cut..192 } else { 0..cut };
        mixed[span.clone()].copy_from_slice(&b[span]);
        if Record::decode(&mixed).is_ok() {
            prop_assert!(mixed == a || mixed == b);
        }
    }
}

#[test]
fn every_record_of_one_change_has_one_block() {
    let record = full();
    let block = record.encode(0x0102_0304);
    assert_eq!(block.len() % 32, 0);
    assert_eq!(&block[..12], b"OTAj\x02\x43\xc2\x3f\x04\x03\x02\x01");
    assert_eq!(block, record.encode(0x0102_0304));
    assert_eq!(Record::decode(&block), Ok((0x0102_0304, record)));
}

/// Records of earlier builds are still written and read unchanged: an answer is an additional part.
#[test]
fn an_answer_is_a_part_of_its_own_and_changes_no_other_record() {
    let media = Media::new(b"text/html; charset=utf-8");
    let answer = Answer::new(200, Some(1_532), media, true);
    for none in [0, 99, 1_000, 0x8000 | 200] {
        assert_eq!(Answer::new(none, None, media, false), None);
    }
    let result = Outcome::Failed(Reason::SomethingElse);
    let told = Owed { result, sent: true, answer };
    let long = Record { owed: Some(told), ..full() };
    let block = long.encode(7);
    let mut expected = full().encode(7);
    assert!(expected[164..188].iter().all(|byte| *byte == 0));
    expected[7] |= 64;
    expected[122] = 50;
    expected[164..166].copy_from_slice(&(200_u16 | 0x8000).to_le_bytes());
    expected[166..170].copy_from_slice(&1_532_u32.to_le_bytes());
    expected[170..179].copy_from_slice(b"text/html");
    assert_eq!(block[..188], expected[..188]);
    assert_eq!(Record::decode(&block), Ok((7, long)));
    // An answer without its flag, a flag without an answer, and an answer in format 1.
    let mut hidden = block;
    hidden[7] &= !64;
    let mut missing = full().encode(7);
    missing[7] |= 64;
    let mut old = block;
    old[4] = 1;
    for bad in [hidden, missing, old] {
        assert_eq!(Record::decode(&seal(bad)), Err(JournalError::Field));
    }
    assert_eq!(
        told.to_string(),
        "server answers with something else: 200, 1532 bytes, text/html, compressed"
    );
}

#[test]
fn a_type_is_told_without_what_could_do_harm() {
    for (given, told) in [
        ("text/html", "text/html"),
        ("text/html; charset=utf-8", "text/html"),
        ("application/vnd.example.firmware+zip", "application/vnd.ex"),
        ("text/\"html", "text/"),
        ("\u{1b}[31mtext", ""),
        ("\u{202e}lmth", ""),
        ("a\\b", "a"),
        ("", ""),
    ] {
        assert_eq!(Media::new(given.as_bytes()).as_str(), told, "{given:?}");
    }
}

#[test]
fn the_empty_record_is_a_record() {
    let block = Record::default().encode(0);
    assert_eq!(Record::decode(&block), Ok((0, Record::default())));
    assert!(block[20..188].iter().all(|byte| *byte == 0));
}

#[test]
fn every_flipped_bit_is_seen() {
    for record in [full(), Record::default()] {
        let block = record.encode(9);
        for bit in 0..192 * 8 {
            let mut bad = block;
            bad[bit / 8] ^= 1 << (bit % 8);
            let expected = match bit / 8 {
                0..=3 => JournalError::Magic,
                4 => JournalError::Format,
                _ => JournalError::Checksum,
            };
            assert_eq!(Record::decode(&bad), Err(expected), "bit {bit}");
        }
    }
}

#[test]
fn every_tear_over_every_kind_of_ground_is_seen() {
    let new = full().encode(11);
    for ground in [[0xff; 192], [0; 192], Record::default().encode(9), full().encode(9)] {
        for cut in 0..=192 {
            for front in [true, false] {
                let mut torn = ground;
                let span = if front { 0..cut } else { cut..192 };
                torn[span.clone()].copy_from_slice(&new[span]);
                if Record::decode(&torn).is_ok() {
                    assert!(torn == new || torn == ground, "cut {cut} front {front}");
                }
            }
        }
    }
}

#[test]
fn foreign_blocks_are_not_ours() {
    for foreign in [[0; 192], [0xff; 192], [b'O'; 192]] {
        assert_eq!(Record::decode(&foreign), Err(JournalError::Magic));
    }
    let mut other = full().encode(0);
    other[4] = 3;
    assert_eq!(Record::decode(&seal(other)), Err(JournalError::Format));
}

/// An updated device finds the record of the earlier build.
#[test]
fn a_record_of_the_first_format_is_read_and_has_neither_texts_nor_device() {
    let old = |record: &Record| {
        let mut block = record.encode(7);
        block[4] = 1;
        seal(block)
    };
    let record = Record { accepted: None, device: 0, ..full() };
    let read = Record { valid_from: [0; 2], ..record };
    assert_eq!(Record::decode(&old(&record)), Ok((7, read)), "its time of day is ignored");
    assert_eq!(Record::decode(&old(&Record::default())), Ok((7, Record::default())));
    for new in [Record { device: 1, ..record }, Record { accepted: Some(Md5([1; 16])), ..record }] {
        assert_eq!(Record::decode(&old(&new)), Err(JournalError::Field));
    }
}

#[test]
fn fields_that_make_no_sense_are_refused_behind_a_right_checksum() {
    // Offsets as in the table at the head of `codec.rs`.
    let cases: &[(&str, usize, u8)] = &[
        ("unknown phase", 5, 5),
        ("unknown part", 7, 0x7f),
        ("missing target", 7, 0x3e),
        ("missing from", 7, 0x3d),
        ("sent but not owed", 7, 0x3b),
        ("guard without its flag", 7, 0x37),
        ("texts without their flag", 7, 0x1f),
        ("empty version", 20, 0),
        ("version longer than its field", 20, 33),
        ("version shorter than its bytes", 20, 31),
        ("version not ASCII", 21, 0xc3),
        ("version with a space", 21, b' '),
        ("offset above the size", 69, 0),
        ("from with bytes behind its end", 95, b'x'),
        ("unknown reason", 122, 250),
        ("padding", 187, 1),
    ];
    for (what, at, value) in cases {
        let mut block = full().encode(1);
        assert_ne!(block[*at], *value, "{what}");
        block[*at] = *value;
        assert_eq!(Record::decode(&seal(block)), Err(JournalError::Field), "{what}");
    }
}

#[test]
fn a_target_of_size_zero_is_refused() {
    let mut record = full();
    record.target = record.target.map(|target| Target { size: 0, offset: 0, ..target });
    assert!(!record.is_consistent());
    assert_eq!(Record::decode(&record.encode(1)), Err(JournalError::Field));
}

#[test]
fn each_count_alone_is_held_to_its_limit() {
    let most = |tries, starts, attempts| Record { tries, starts, attempts, ..full() };
    let (tries, starts, attempts) = (Record::TRIES, Record::STARTS, Record::ATTEMPTS);
    assert!(most(tries, starts, attempts).is_consistent());
    assert!(!most(tries + 1, starts, attempts).is_consistent());
    assert!(!most(tries, starts + 1, attempts).is_consistent());
    assert!(!most(tries, starts, attempts + 1).is_consistent());
    // Counts do not replace the parts that a phase needs, nor the reverse.
    assert!(!Record { from: None, ..full() }.is_consistent());
    assert!(!Record { from: None, tries: tries + 1, ..full() }.is_consistent());
}

/// What each phase needs and forbids, as it is documented.
#[test]
fn a_phase_needs_its_parts_and_has_no_others() {
    let Record { target, from, owed, .. } = full();
    for (phase, needs_target, needs_from, owes) in [
        (Phase::None, false, false, Some(false)),
        (Phase::Fetching, true, false, Some(false)),
        (Phase::Installing, true, false, None),
        (Phase::Switching, true, true, None),
        (Phase::Owed, false, false, Some(true)),
    ] {
        for parts in 0..8 {
            let has = |bit: u8| parts & bit != 0;
            let record = Record {
                phase,
                target: target.filter(|_| has(1)),
                from: from.filter(|_| has(2)),
                owed: owed.filter(|_| has(4)),
                ..Record::default()
            };
            let right = (has(1) || !needs_target)
                && (has(2) || !needs_from)
                && owes.is_none_or(|owes| owes == has(4));
            assert_eq!(record.is_consistent(), right, "{record:?}");
            assert_eq!(Record::decode(&record.encode(1)).is_ok(), right, "{record:?}");
        }
    }
    for (size, offset, right) in
        [(0, 0, false), (1, 0, true), (1, 1, true), (1, 2, false), (9, 8, true), (9, 10, false)]
    {
        let target = target.map(|target| Target { size, offset, ..target });
        assert_eq!(Record { target, ..full() }.is_consistent(), right, "{offset} of {size}");
    }
}

#[test]
fn the_newest_counts_in_any_order_and_over_the_wrap() {
    let block = |sequence: u32| Record::default().encode(sequence);
    for (older, newer) in [(0, 1), (7, 8), (u32::MAX, 0), (u32::MAX - 1, u32::MAX), (u32::MAX, 1)] {
        let (a, b) = (block(older), block(newer));
        assert_eq!(Journal::newest([&a, &b]), Some(&b));
        assert_eq!(Journal::newest([&b, &a]), Some(&b));
    }
    // With half the range between them neither number is newer, and the first one counts; with one
    // less, it is newer.
    for first in [0, 7, u32::MAX] {
        let (a, b) = (block(first), block(first.wrapping_add(1 << 31)));
        assert_eq!(Journal::newest([&a, &b]), Some(&a));
        assert_eq!(Journal::newest([&b, &a]), Some(&b));
        let c = block(first.wrapping_add((1 << 31) - 1));
        assert_eq!(Journal::newest([&a, &c]), Some(&c));
        assert_eq!(Journal::newest([&c, &a]), Some(&c));
    }
    let many: Vec<_> = (0..40).map(|i| block(u32::MAX.wrapping_sub(20).wrapping_add(i))).collect();
    assert_eq!(Journal::newest(many.iter().rev()), many.last());
    assert_eq!(Journal::newest([]), None);
}

#[test]
fn a_torn_newest_leaves_the_one_before() {
    let (old, mut new) = (full().encode(5), full().encode(6));
    assert_ne!(Journal::place(&old), Journal::place(&new));
    new[100..].fill(0xff);
    assert_eq!(Journal::newest([&new, &old, &[0xff; 192]]), Some(&old));
    assert_eq!(Journal::newest([&new]), None);
}

#[test]
fn places_alternate_over_the_wrap() {
    let place = |sequence: u32| Journal::place(&Record::default().encode(sequence));
    assert_eq!([place(u32::MAX - 1), place(u32::MAX), place(0), place(1)], [0, 1, 0, 1]);
}

#[test]
fn a_place_that_reads_as_no_record_is_read_again_before_it_is_taken_for_torn() {
    let block = full().encode(7);
    let mut wrong = block;
    wrong[100] ^= 1;
    for bad in [None, Some(wrong)] {
        for good in [block, [0xff; Journal::LEN], [0; Journal::LEN]] {
            assert!(Journal::is_believed(&good));
            for (failures, expected) in [(0, Some(good)), (2, Some(good)), (3, bad)] {
                let mut readings = 0;
                let read = Journal::read_place(|| {
                    readings += 1;
                    if readings > failures { Some(good) } else { bad }
                });
                assert_eq!(read, expected);
                assert_eq!(readings, (failures + 1).min(Journal::READINGS), "no more than needed");
            }
        }
    }
    assert!(!Journal::is_believed(&wrong));
}
