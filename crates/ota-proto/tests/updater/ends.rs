//! The state after an end: no fetch without a use, no outdated event, no byte beyond the image.

use ota_proto::{
    Command, Config, Hold, InstallFault, Installed, ResponseHead, SlotInfo, SlotState,
    TransportError,
};

use crate::bench::*;

/// The right image, in a body that tells no length.
fn undeclared() -> ResponseHead<'static> {
    ResponseHead { status: 200, ..ResponseHead::default() }
}

fn body_end(bench: &mut Bench, ms: u64) {
    let op = bench.take(Kind::Fetch);
    bench.machine.handle_body_end(at(ms), op);
}

/// 5,000 bytes are stored, and the body goes on.
fn in_body() -> Bench {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    bench.body(1_100, 5_000);
    bench
}

/// The same, and the next bytes are being written.
fn writing() -> Bench {
    let mut bench = in_body();
    assert!(bench.piece(1_100, 6_000));
    bench
}

#[test]
fn rule_8_what_the_network_has_ended_is_not_cancelled() {
    type End = fn(&mut Bench);
    let asked = || Bench::fetching(config());
    let ends: [(&str, Bench, End); 7] = [
        ("no head", asked(), |b| b.fetch_failed(2_000, TransportError::Refused)),
        ("an end instead of a head", asked(), |b| body_end(b, 2_000)),
        ("a broken line", in_body(), |b| b.fetch_failed(2_000, TransportError::Closed)),
        ("an early end", in_body(), |b| body_end(b, 2_000)),
        ("the image, and then an end", asked(), |b| {
            b.head(1_100, &undeclared()).unwrap();
            b.body(1_100, SIZE);
            body_end(b, 2_000);
        }),
        ("a broken line in a write, and a word to end it", writing(), |b| {
            b.fetch_failed(2_000, TransportError::Closed);
            b.machine.command(at(2_000), Command::Cancel).unwrap();
        }),
        ("a broken line in a write, and another offer", writing(), |b| {
            b.fetch_failed(2_000, TransportError::Closed);
            b.offer(2_000, "2.0.0");
        }),
    ];
    for (what, mut bench, end) in ends {
        end(&mut bench);
        let lines = bench.out(2_000);
        assert!(!lines.iter().any(|line| line == "cancel"), "{what}: {lines:?}");
        assert!(!lines.is_empty(), "{what}");
    }
}

#[test]
fn rule_8_what_the_network_has_not_ended_is_cancelled_once() {
    type End = fn(&mut Bench);
    let asked = || Bench::fetching(config());
    let ends: [(&str, Bench, End); 6] = [
        ("no head in time", asked(), |b| b.machine.handle_timeout(at(21_000))),
        ("no byte in time", in_body(), |b| b.machine.handle_timeout(at(21_000))),
        ("a refusal", asked(), |b| assert!(b.status(2_000, 403).is_err())),
        ("a word to end it", in_body(), |b| b.machine.command(at(2_000), Command::Cancel).unwrap()),
        ("a word to end it in a write", writing(), |b| {
            b.machine.command(at(2_000), Command::Cancel).unwrap()
        }),
        ("another offer", in_body(), |b| b.offer(2_000, "2.0.0")),
    ];
    for (what, mut bench, end) in ends {
        end(&mut bench);
        let lines = bench.out(21_000);
        assert_eq!(lines.iter().filter(|line| *line == "cancel").count(), 1, "{what}: {lines:?}");
    }
}

/// An event of an attempt that the application did not fetch before the attempt ended.
#[test]
fn rule_2_of_an_attempt_that_is_over_nothing_more_is_told() {
    type Begin = fn(Config) -> Bench;
    let begins: [(&str, Begin); 7] = [
        ("Offered", |mut config| {
            config.consent = Hold::Ask;
            let mut bench = Bench::online(config);
            bench.offer(1_000, "1.0.0");
            bench
        }),
        ("Started", |config| {
            let mut bench = Bench::online(config);
            bench.offer(1_000, "1.0.0");
            bench
        }),
        ("Retry", |config| {
            let mut bench = Bench::fetching(config);
            bench.status(1_100, 503).unwrap_err();
            bench
        }),
        ("Progress", |config| {
            let mut bench = Bench::fetching(config);
            bench.good_head(1_100);
            bench.out(1_100);
            bench.done(1_100, Kind::Erase);
            assert!(bench.piece(1_100, 4_096));
            bench.done(1_100, Kind::Write);
            bench
        }),
        ("Ready", |mut config| {
            config.install = Hold::Ask;
            hashed(config)
        }),
        ("Install", |config| {
            let mut bench = hashed(config);
            bench.out(1_100);
            bench.done(1_100, Kind::Persist);
            bench
        }),
        ("StopInstall", |config| {
            let mut bench = Bench::installing(config);
            bench.machine.handle_timeout(at(700_000));
            bench
        }),
    ];
    for (event, begin) in begins {
        let mut bench = begin(config());
        let ms = 700_000;
        let word = format!("event {event}");
        let waits = bench.clone().auto(ms).iter().any(|line| line.starts_with(&word));
        assert!(waits, "{event}");
        let failed = Installed::Failed(InstallFault::Machine);
        if bench.machine.command(at(ms), Command::Cancel).is_err() {
            bench.machine.command(at(ms), Command::Installed(failed)).unwrap();
        }
        let lines = bench.auto(ms);
        assert!(lines.iter().any(|line| line.starts_with("event Finished")), "{event}: {lines:?}");
        assert!(!lines.iter().any(|line| line.starts_with(&word)), "{event}: {lines:?}");
    }
}

/// The digest of the whole image has just been computed.
fn hashed(config: Config) -> Bench {
    let mut bench = Bench::fetching(config);
    bench.good_head(1_100);
    bench.body(1_100, SIZE - 1);
    assert!(bench.piece(1_100, SIZE));
    for kind in [Kind::Write, Kind::Sync, Kind::Persist] {
        bench.done(1_100, kind);
        bench.out(1_100);
    }
    bench.done(1_100, Kind::Digest);
    bench
}

/// All erases up to this byte of a body that tells no length, storage answering at once.
fn erased(bench: &mut Bench, ms: u64) -> Vec<String> {
    let mut erased = Vec::new();
    for _ in 0..100 {
        erased.extend(bench.out(ms).into_iter().filter(|line| line.starts_with("erase")));
        match bench.open.iter().map(|(kind, _)| *kind).find(|kind| *kind != Kind::Fetch) {
            Some(kind) => bench.done(ms, kind),
            None if bench.at < SIZE => assert!(bench.piece(ms, SIZE)),
            None => return erased,
        }
    }
    panic!("no end: {erased:?}");
}

/// It ends with an erase unit, or with the slot, and the body has not ended yet.
#[test]
fn o1_nothing_is_erased_behind_the_image() {
    for (capacity, erase, last) in [
        (65_536, 4_096, "erase 8192..12288"),
        (65_536, 2_500, "erase 7500..10000"),
        (SIZE, 2_500, "erase 7500..10000"),
        (SIZE, 4_096, "erase 8192..10000"),
    ] {
        let storage = SlotInfo { capacity, erase, write: 1 };
        let mut bench = Bench::boot_on(storage, config(), "0.1.0", SlotState::Confirmed, None);
        bench.machine.handle_session(at(0), true);
        bench.auto(0);
        bench.offer(1_000, "1.0.0");
        bench.auto(1_000);
        bench.head(1_100, &undeclared()).unwrap();
        let erases = erased(&mut bench, 1_100);
        assert_eq!(erases.last().unwrap(), last, "{erases:?}");
        assert_eq!(erases.len() as u64, SIZE.div_ceil(u64::from(erase)), "{erases:?}");
        body_end(&mut bench, 2_000);
        assert!(bench.auto(2_000).contains(&"event Install { size: 10000 }".into()));
    }
}
