//! Rules 9, 16 and 17 in numbers: what an attempt may cost, what a deadline is for, what the
//! caller may hold back, and what a device is made of.

use ota_proto::{
    BUILT, Boot, Command, ConfigError, Gate, Hold, Installed, Limits, Micros, Peer, ResponseHead,
    SlotInfo, SlotState, State, Timer, Timing, TransportError, Updater,
};

use crate::bench::*;

const NONE: [&str; 0] = [];

/// One answer after another, each broken off after this many new bytes; the moment of the last
/// and the lines since.
fn trickle(bytes: u64, answers: u64) -> Vec<String> {
    let mut bench = Bench::fetching(config());
    let mut lines = Vec::new();
    for _ in 0..answers {
        let Some(ms) = bench.next_fetch_lines(&mut lines) else { break };
        bench.good_head(ms);
        let upto = (bench.at + bytes).min(SIZE);
        lines.extend(bench.body(ms, upto));
        if upto < SIZE {
            bench.fetch_failed(ms, TransportError::Closed);
            lines.extend(bench.auto(ms));
        }
    }
    lines
}

#[test]
fn rule_9_progress_is_summed_over_answers_however_little_each_brings() {
    let lines = trickle(1_000, 10);
    assert!(lines.contains(&"event Install { size: 10000 }".into()), "{lines:?}");
    let lines = trickle(0, 50);
    assert!(lines.contains(&"fail -1 connection to the store broke".into()), "{lines:?}");
}

#[test]
fn rule_9_an_attempt_takes_three_times_the_image_and_no_more() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    let mut lines = bench.body(1_100, 8_192);
    bench.fetch_failed(1_100, TransportError::Closed);
    // The server sends all of it each time, and breaks off where new bytes would begin.
    let (whole, mut taken) = (good(0), 8_192);
    while let Some(ms) = bench.next_fetch_lines(&mut lines) {
        bench.head(ms, &whole).unwrap();
        let op = bench.fetch_op();
        bench.auto(ms);
        let image = image();
        let Ok(body) = bench.machine.handle_body(at(ms), op, &image[..8_192]) else { break };
        assert_eq!((body.consumed, body.work), (8_192, None), "passed over");
        taken += 8_192;
        bench.fetch_failed(ms, TransportError::Closed);
    }
    assert_eq!(taken, 24_576, "one more would be more than 30,000");
    lines.extend(bench.until(60_000));
    let end = "fail -1 download broke off too often";
    assert!(lines.iter().any(|line| line.ends_with(end)), "{lines:?}");
    assert_eq!(bench.journal().target.unwrap().offset, 8_192, "the bytes are kept");
}

/// Found while the chunking property was written: bytes beyond the image made the whole piece
/// they came in worthless, so that the result depended on where pieces ended.
#[test]
fn rule_8_what_comes_before_a_surplus_is_taken_in_whatever_pieces_it_comes() {
    let chunked = ResponseHead { content_length: None, ..good(0) };
    let mut ends = Vec::new();
    for piece in [1_000, 4_096, 20_000] {
        let mut bench = Bench::fetching(config());
        bench.head(1_100, &chunked).unwrap();
        let body = [image(), vec![7; 500]].concat();
        let (op, mut given) = (bench.fetch_op(), 0);
        loop {
            bench.auto(1_100);
            let data = &body[given..(given + piece).min(body.len())];
            let Ok(taken) = bench.machine.handle_body(at(1_100), op, data) else { break };
            given += taken.consumed;
            if let Some((op, _)) = taken.work {
                bench.machine.handle_done(at(1_100), op, Ok(None));
            }
        }
        assert_eq!(given, 10_000, "in pieces of {piece}");
        let lines = bench.until(40_000);
        ends.push(lines.into_iter().filter(|line| !line.contains("Progress")).collect::<Vec<_>>());
    }
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:#?}");
    assert!(ends[0].last().unwrap().ends_with("event Install { size: 10000 }"), "{ends:?}");
}

#[test]
fn rule_16_a_deadline_says_what_it_is_for() {
    let mut bench = Bench::new(config());
    bench.machine.handle_session(at(0), true);
    bench.out(0);
    assert_eq!((bench.idle.0, bench.idle.1), (Some(at(10_000)), Some(Timer::Reply)));
    bench.reply(100, "0.1.0");
    bench.out(100);
    assert_eq!(bench.idle.1, Some(Timer::Report), "in a day");
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    bench.auto(1_100);
    assert_eq!((bench.idle.0, bench.idle.1), (Some(at(16_100)), Some(Timer::Fetch)));
    bench.fetch_failed(1_200, TransportError::Tls(ota_proto::TlsError::Expired));
    bench.out(1_200);
    assert_eq!((bench.idle.0, bench.idle.1), (Some(at(31_200)), Some(Timer::Retry)));
    let mut asking = config();
    asking.consent = Hold::Ask;
    let mut bench = Bench::online(asking);
    bench.offer(1_000, "1.0.0");
    assert_eq!(bench.out(1_000), ["event Offered"]);
    assert_eq!((bench.idle.0, bench.idle.1), (Some(at(61_000)), Some(Timer::Application)));
    bench.machine.command(at(2_000), Command::Defer(at(500_000))).unwrap();
    bench.out(2_000);
    assert_eq!((bench.idle.0, bench.idle.1), (Some(at(500_000)), Some(Timer::Deferral)));
}

#[test]
fn an_unanswered_question_is_asked_again_each_minute() {
    let mut asking = config();
    (asking.consent, asking.approval) = (Hold::Ask, Hold::Ask);
    let mut bench = Bench::online(asking);
    bench.offer(1_000, "1.0.0");
    let lines = bench.until(125_000);
    assert_eq!(lines[1..], ["61000 event Offered", "121000 event Offered"], "{lines:?}");
    bench.machine.command(at(125_000), Command::Accept).unwrap();
    bench.auto(125_000);
    bench.good_head(125_000);
    assert_eq!(bench.body(125_000, SIZE).last().unwrap(), "event Ready");
    let mut lines = bench.until(250_000);
    lines.retain(|line| line.ends_with("event Ready"));
    assert_eq!(lines, ["185000 event Ready", "245000 event Ready"]);
}

#[test]
fn an_installer_that_does_not_stop_is_told_again_and_its_end_is_a_failure() {
    let mut bench = Bench::installing(config());
    let mut lines = bench.until(725_000);
    lines.retain(|line| line.contains("Stop"));
    assert_eq!(
        lines,
        ["601200 event StopInstall", "661200 event StopInstall", "721200 event StopInstall"]
    );
    bench
        .machine
        .command(at(726_000), Command::Installed(Installed::Failed(ota_proto::InstallFault::Image)))
        .unwrap();
    assert!(bench.auto(726_000).contains(&"fail -5 install timed out".into()));
}

#[test]
fn a_closed_gate_holds_back_and_loses_nothing() {
    let mut bench = Bench::new(config());
    bench.machine.set_gate(Gate { publish: false, fetch: true });
    bench.machine.handle_session(at(0), true);
    assert_eq!(bench.out(0), NONE);
    assert_eq!(bench.idle.0, None, "the gate's opening is no matter of time");
    bench.machine.set_gate(Gate::OPEN);
    assert_eq!(bench.out(5), ["report 0.1.0"]);
    bench.ack(5);
    bench.reply(5, "0.1.0");
    bench.machine.set_gate(Gate { publish: true, fetch: false });
    bench.offer(1_000, "1.0.0");
    let lines = bench.auto(1_000);
    assert!(lines.contains(&"downloading 0".into()), "{lines:?}");
    assert!(!lines.contains(&"fetch 0".into()), "another device fetches");
    bench.machine.set_gate(Gate::OPEN);
    assert_eq!(bench.auto(3_000), ["fetch 0"]);
    // What is next said of the download is held back, too, and nobody is woken for it.
    bench.machine.set_gate(Gate { publish: false, fetch: true });
    bench.machine.handle_timeout(at(4_000));
    assert_eq!(bench.out(4_000), NONE);
    assert_eq!((bench.idle.0, bench.idle.1), (Some(at(23_000)), Some(Timer::Fetch)));
    // What is not due yet has its time whether the gate is open or not.
    let mut bench = Bench::online(config());
    let open = (bench.out(10), bench.idle);
    bench.machine.set_gate(Gate { publish: false, fetch: true });
    assert_eq!((bench.out(10), bench.idle), open);
    assert_eq!(open.1.1, Some(Timer::Report));
}

/// A result that is due again waits for the gate, and nobody is woken for it.
#[test]
fn rule_16_a_result_that_the_gate_holds_back_has_no_deadline() {
    let mut bench = Bench::fetching(config());
    bench.machine.command(at(2_000), Command::Cancel).unwrap();
    bench.out(2_000);
    bench.done(2_000, Kind::Persist);
    assert_eq!(bench.out(2_000), ["fail -5 cancelled"]);
    assert_eq!((bench.idle.0, bench.idle.1), (Some(at(17_000)), Some(Timer::Puback)));
    bench.machine.set_gate(Gate { publish: false, fetch: true });
    for ms in [17_000, 18_000] {
        bench.machine.handle_timeout(at(ms));
        assert_eq!(bench.out(ms), NONE);
        assert!(bench.idle.0.is_none_or(|next| next > at(ms)), "{:?}", bench.idle);
    }
    bench.machine.set_gate(Gate::OPEN);
    assert_eq!(bench.out(18_000), ["fail -5 cancelled"]);
}

/// The next report and the answer of the store are due together: the report is named.
#[test]
fn rule_16_of_two_deadlines_at_one_moment_the_first_in_order_is_named() {
    let mut bench = Bench::fetching(config());
    assert_eq!(bench.out(1_000), NONE);
    assert_eq!((bench.idle.0, bench.idle.1), (Some(at(21_000)), Some(Timer::Progress)));
}

/// Found in the field: a clock that ran 8 h ahead for one connection shut TLS out for 8 h.
#[test]
fn the_floor_of_the_clock_is_what_certificates_say_and_each_peer_has_its_own() {
    let mut bench = Bench::online(config());
    assert_eq!(bench.machine.earliest_time(Peer::Broker), BUILT);
    bench.machine.handle_certificate(Peer::Broker, 1_800_000_000);
    bench.machine.handle_certificate(Peer::Broker, 1_790_000_000);
    assert_eq!(bench.machine.earliest_time(Peer::Broker), 1_800_000_000, "it never falls");
    assert_eq!(bench.machine.earliest_time(Peer::Store), BUILT, "the other peer has its own");
    assert_eq!(bench.out(500), NONE, "it is not worth a write of its own");
    bench.offer(1_000, "1.0.0");
    bench.auto(1_000);
    let record = bench.journal();
    assert_eq!(record.valid_from, [1_800_000_000, 0]);
    let boot = |block: &[u8; 192]| {
        let slot = SlotState::Confirmed;
        let boot = Boot { running: "0.1.0", slot, journal: Some(block), storage: STORAGE };
        Updater::new(at(0), config(), boot).unwrap().earliest_time(Peer::Broker)
    };
    assert_eq!(boot(&record.encode(1)), 1_800_000_000, "over a reset");
    // What a build before wrote there was a time of day, and perhaps a wrong one.
    let mut old = ota_proto::journal::Record { accepted: None, device: 0, ..record }.encode(1);
    old[4] = 1;
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&old[..188]);
    old[188..].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(boot(&old), BUILT);
}

#[test]
fn a_device_without_a_version_or_a_slot_is_refused() {
    let start = |running, storage| {
        let boot = Boot { running, slot: SlotState::Confirmed, journal: None, storage };
        Updater::new(at(0), config(), boot).map(|machine| machine.state())
    };
    assert_eq!(start("0.1.0", STORAGE), Ok(State::Idle));
    let long = "1".repeat(33);
    for version in ["", "a b", "\"", &long] {
        assert_eq!(start(version, STORAGE), Err(ConfigError::Version), "{version:?}");
    }
    assert_eq!(start("0.1.0", SlotInfo { erase: 0, ..STORAGE }), Err(ConfigError::Storage));
    assert_eq!(start("0.1.0", SlotInfo { capacity: 0, ..STORAGE }), Err(ConfigError::Storage));
}

/// Found by killing: with a slow journal a reset cost four checkpoints.
#[test]
fn rule_11_nothing_is_read_while_a_due_checkpoint_is_not_durable() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    bench.out(1_100);
    bench.done(1_100, Kind::Erase);
    bench.piece(1_100, 4_096);
    bench.done(1_100, Kind::Write);
    assert_eq!(bench.out(1_100)[0], "sync");
    bench.done(1_100, Kind::Sync);
    assert_eq!(bench.out(1_100), ["persist Fetching 1.0.0@4096", "erase 4096..8192"]);
    bench.done(1_100, Kind::Erase);
    bench.out(1_100);
    assert!(!bench.idle.2, "a reset now costs 4,096 bytes, and must not cost more");
    bench.done(1_100, Kind::Persist);
    bench.out(1_100);
    assert!(bench.idle.2);
}

#[test]
fn what_the_application_sees_follows_the_attempt() {
    let mut asking = config();
    (asking.consent, asking.install) = (Hold::Ask, Hold::Ask);
    let mut bench = Bench::online(asking);
    assert_eq!((bench.machine.state(), bench.machine.offer()), (State::Idle, None));
    bench.offer(1_000, "1.0.0");
    assert_eq!(bench.machine.state(), State::Offered);
    let offer = bench.machine.offer().unwrap();
    assert_eq!((offer.version.as_str(), offer.size, offer.md5), ("1.0.0", SIZE, md5()));
    assert_eq!(offer.url, "https://cos.example/a?sign=1");
    bench.machine.command(at(1_000), Command::Defer(at(9_000))).unwrap();
    assert_eq!(bench.machine.state(), State::Deferred);
    bench.machine.command(at(2_000), Command::Accept).unwrap();
    assert_eq!(
        (bench.machine.state(), bench.machine.progress()),
        (State::Fetching, Some((0, SIZE)))
    );
    bench.auto(2_000);
    bench.status(2_000, 403).unwrap_err();
    assert_eq!(bench.machine.state(), State::Waiting);
    bench.offer_at(3_000, "1.0.0", "https://cos.example/b");
    bench.auto(3_000);
    bench.good_head(3_000);
    bench.body(3_000, SIZE);
    assert_eq!(bench.machine.state(), State::Ready);
    bench.machine.command(at(4_000), Command::Install).unwrap();
    bench.auto(4_000);
    assert_eq!(bench.machine.state(), State::Installing);
    bench.machine.command(at(5_000), Command::Installed(Installed::NeedsRestart)).unwrap();
    bench.auto(5_000);
    assert_eq!(bench.machine.state(), State::Restarting);
    let record = bench.journal();
    let bench = Bench::boot(config(), "1.0.0", SlotState::Trial, Some(&record));
    assert_eq!((bench.machine.state(), bench.machine.offer()), (State::Trial, None));
}

/// As the pages and the documentation of each field say.
#[test]
fn times_and_limits_are_by_default_those_that_are_documented() {
    let t = Timing::default();
    for (time, secs) in [
        (t.reply, 10),
        (t.puback, 15),
        (t.report_cap, 300),
        (t.idle_report, 86_400),
        (t.elicited, 30),
        (t.withdrawn, 10),
        (t.fresh_offer, 30),
        (t.same_url, 60),
        (t.after_failure, 60),
        (t.attempt, 600),
        (t.offer_life, 82_800),
        (t.supersede, 60),
        (t.progress, 1),
        (t.repeat, 20),
        (t.repeat_waiting, 45),
        (t.response, 20),
        (t.idle, 15),
        (t.unread, 60),
        (t.rate_window, 60),
        (t.retry_base, 1),
        (t.retry_cap, 300),
        (t.violation, 30),
        (t.patience, 1_800),
        (t.portal, 600),
        (t.retry_after_cap, 3_600),
        (t.checkpoint, 60),
        (t.burning, 5),
        (t.install, 600),
        (t.ask_again, 60),
        (t.trial, 600),
        (t.journal_retry, 1),
    ] {
        assert_eq!(time, Micros::from_secs(secs));
    }
    assert_eq!((t.min_rate, t.checkpoint_cap), (256, 33_554_432));
    let limits = Limits::default();
    assert_eq!((limits.payload, limits.url, limits.user_defined), (4_096, 1_024, 1_536));
    for (payload, url, sound) in [(256, 32, true), (255, 32, false), (256, 31, false)] {
        let mut limits = limits;
        (limits.payload, limits.url) = (payload, url);
        assert_eq!(limits.is_sound(), sound, "{payload} {url}");
    }
}

/// What is the device's own business is shorter; what the cloud decides stays.
#[test]
fn a_demonstration_makes_every_time_of_the_device_shorter() {
    fn own(timing: &Timing) -> Vec<Micros> {
        let t = timing;
        [
            [t.reply, t.puback, t.report_cap, t.idle_report, t.elicited, t.withdrawn],
            [t.fresh_offer, t.same_url, t.supersede, t.progress, t.repeat, t.response],
            [t.idle, t.rate_window, t.retry_base, t.retry_cap, t.checkpoint, t.burning],
            [t.install, t.ask_again, t.trial, t.journal_retry, t.repeat_waiting, t.violation],
            [t.patience, t.portal, t.attempt, Micros::ZERO, Micros::ZERO, Micros::ZERO],
        ]
        .concat()
    }
    let (normal, mut short) = (Timing::default(), Timing::default());
    short.divide(10);
    for (normal, short) in own(&normal).iter().zip(own(&short)) {
        assert_eq!(short.times(10), *normal);
    }
    let cloud = |timing: &Timing| {
        (timing.offer_life, timing.retry_after_cap, timing.min_rate, timing.checkpoint_cap)
    };
    assert_eq!(cloud(&short), cloud(&normal));
    short.divide(0);
    assert!(short.is_sound());
    short.divide(u32::MAX);
    assert!(!short.is_sound(), "something would be due again at once");
}
