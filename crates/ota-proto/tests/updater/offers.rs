//! Rules 2, 3 and 14: offers, the same, different, refused, withdrawn.

use ota_proto::journal::{Phase, Record, Target};
use ota_proto::{
    Command, Downgrade, Hold, InstallFault, MessageError, Order, SlotState, State, Version,
};

use crate::bench::*;

const NONE: [&str; 0] = [];

fn refused(text: &str) -> Vec<String> {
    let mut bench = Bench::online(config());
    bench.message(1_000, text);
    bench.auto(1_000)
}

fn refusal(text: &str, reason: &str, words: &str) {
    let lines = refused(text);
    let outcome = format!("Failed({reason})");
    assert_eq!(
        lines,
        [
            format!("event Finished {{ version: \"1.0.0\", outcome: {outcome}, answer: None }}"),
            format!("fail -5 {words}"),
            format!("event Reported {{ outcome: {outcome} }}"),
            "report 0.1.0".into()
        ]
    );
}

#[test]
fn rule_2_offers_without_what_is_needed_are_refused() {
    let whole = offer_text("1.0.0", "https://cos.example/a?sign=1");
    let md5 = format!(r#""md5sum":"{}","#, md5());
    refusal(&whole.replace(&md5, ""), "NoDigest", "offer without md5");
    refusal(&whole.replace(r#""file_size":10000,"#, ""), "NoSize", "offer without size");
    refusal(&whole.replace("10000", "0"), "NoSize", "offer without size");
    refusal(&whole.replace("10000", "65537"), "TooLarge", "image larger than the slot");
    refusal(&whole.replace("https", "http"), "PlainHttp", "plain http refused");
    refusal(&whole.replace("https", "ftp"), "BadUrl", "url unusable");
    let long = format!("https://cos.example/{}", "a".repeat(1_025));
    refusal(&offer_text("1.0.0", &long), "BadUrl", "url unusable");
}

#[test]
fn rule_2_what_is_no_message_changes_nothing() {
    let bench = Bench::fetching(config());
    for (topic, payload) in [
        ("$ota/update/TESTPROD01/other", offer_text("2.0.0", "https://a/")),
        ("$ota/report/TESTPROD01/dev001", offer_text("2.0.0", "https://a/")),
        (UPDATE, "{".into()),
        (UPDATE, "[".repeat(4_000)),
        (UPDATE, "x".repeat(1 << 20)),
        (UPDATE, r#"{"type":"else"}"#.into()),
    ] {
        let mut machine = bench.machine.clone();
        let result = machine.handle_message(at(5_000), topic, payload.as_bytes());
        assert!(
            matches!(
                result,
                Err(MessageError::ForeignTopic
                    | MessageError::TooLong
                    | MessageError::Malformed(_))
            ),
            "{result:?}"
        );
        assert_eq!(machine, bench.machine, "{topic} {result:?}");
    }
}

#[test]
fn rule_3_the_same_offer_again_is_silent_and_refreshes_the_url() {
    let mut bench = Bench::fetching(config());
    bench.offer_at(1_050, "1.0.0", "https://cos.example/b?sign=2");
    assert_eq!(bench.out(1_050), NONE);
    assert_eq!(bench.machine.offer().unwrap().url, "https://cos.example/b?sign=2");
    assert_eq!(bench.machine.state(), State::Fetching);
}

#[test]
fn rule_3_the_running_version_is_reported_once_a_session_and_never_fetched() {
    let mut bench = Bench::online(config());
    bench.offer(1_000, "0.1.0");
    assert_eq!(bench.out(1_000), ["report 0.1.0"]);
    bench.reply(1_100, "0.1.0");
    bench.offer(1_200, "0.1.0");
    assert_eq!(bench.out(1_200), ["event VersionAccepted"]);
    bench.machine.handle_session(at(2_000), true);
    bench.out(2_000);
    bench.offer(2_100, "0.1.0");
    assert_eq!(bench.out(2_100), ["report 0.1.0"]);
}

#[test]
fn rule_3_a_different_offer_supersedes_without_a_report_once_a_minute() {
    let mut bench = Bench::fetching(config());
    bench.offer(2_000, "2.0.0");
    let lines = bench.auto(2_000);
    assert_eq!(
        lines,
        ["downloading 0", "fetch 0", "event Superseded", "event Started { from: 0 }"]
    );
    bench.offer(10_000, "3.0.0");
    assert_eq!(bench.auto(10_000), NONE, "too soon");
    assert_eq!(bench.machine.offer().unwrap().version.as_str(), "2.0.0");
    // The report that draws it comes when the minute is over.
    let lines = bench.until(62_000);
    assert_eq!(lines.iter().filter(|l| l.contains("report 0.1.0")).count(), 1, "{lines:?}");
    assert!(lines.contains(&"62000 report 0.1.0".into()), "{lines:?}");
    bench.offer(62_000, "3.0.0");
    bench.auto(62_000);
    assert_eq!(bench.machine.offer().unwrap().version.as_str(), "3.0.0");
}

/// Found by the walk: the copy of an offer that was refused long ago ended the attempt, and the
/// device then waited for its daily report.
#[test]
fn rule_3_a_refused_offer_that_comes_late_costs_the_attempt_nothing() {
    let mut bench = Bench::online(config());
    let bad = offer_text("9.0.0", "ftp://cos.example/a");
    bench.message(1_000, &bad);
    assert!(bench.auto(1_000).contains(&"fail -5 url unusable".into()));
    bench.reply(1_000, "0.1.0");
    bench.offer(1_000, "1.0.0");
    bench.auto(1_000);
    bench.good_head(1_100);
    bench.body(1_100, 9_000);
    bench.message(2_000, &bad);
    assert_eq!(bench.auto(2_000), ["downloading 90"]);
    assert_eq!(bench.machine.progress(), Some((9_000, SIZE)));
    assert!(bench.body(2_100, SIZE).contains(&"event Install { size: 10000 }".into()));
}

#[test]
fn rule_3_after_the_point_of_no_return_a_different_offer_is_dropped() {
    let mut bench = Bench::installing(config());
    bench.offer(2_000, "2.0.0");
    assert_eq!(bench.auto(2_000), NONE);
    assert_eq!(bench.machine.state(), State::Installing);
}

#[test]
fn rule_3_two_replies_without_the_awaited_offer_withdraw_it() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    bench.body(1_100, 5_000);
    bench.fetch_failed(1_200, ota_proto::TransportError::Closed);
    let ms = bench.next_fetch().unwrap();
    bench.status(ms, 403).unwrap_err();
    assert_eq!(bench.auto(ms), ["report 0.1.0", "event Retry { cause: Unauthorized }"]);
    bench.reply(ms + 100, "0.1.0");
    assert_eq!(bench.auto(ms + 100), ["event VersionAccepted"]);
    let again = format!("{} report 0.1.0", ms + 10_100);
    assert_eq!(bench.until(ms + 10_100), [again]);
    bench.reply(ms + 10_200, "0.1.0");
    let lines = bench.until(ms + 20_200);
    assert_eq!(lines.last().unwrap(), &format!("{} event Withdrawn", ms + 20_200), "{lines:?}");
    assert_eq!(bench.machine.state(), State::Idle);
    assert!(!lines.iter().any(|line| line.contains("fail")), "no report");
    // The bytes are kept.
    bench.offer(40_000, "1.0.0");
    let lines = bench.auto(40_000);
    assert!(lines.contains(&"fetch 4096".into()), "{lines:?}");
}

#[test]
fn rule_14_a_machine_that_could_not_install_says_so_before_the_first_byte_and_blames_nobody() {
    let mut config = config();
    config.consent = Hold::Ask;
    for (fault, words) in [
        (InstallFault::Machine, "fail -5 this machine could not install it"),
        (InstallFault::NoSpace, "fail -5 no space"),
    ] {
        let mut bench = Bench::online(config.clone());
        assert!(
            bench.machine.command(at(500), Command::Unable(fault)).is_err(),
            "there is no offer"
        );
        bench.offer(1_000, "1.0.0");
        assert_eq!(bench.out(1_000), ["event Offered"]);
        assert!(bench.machine.waits_until().is_some());
        bench.machine.command(at(1_500), Command::Unable(fault)).unwrap();
        let lines = bench.auto(1_500);
        assert_eq!(lines[1], words, "{lines:?}");
        assert!(!lines.iter().any(|line| line.starts_with("fetch")), "{lines:?}");
        assert_eq!(bench.journal().guard, None, "the image is not blamed");
        assert_eq!(bench.machine.waits_until(), None);
    }
}

#[test]
fn rule_14_the_application_accepts_or_refuses() {
    let mut config = config();
    config.consent = Hold::Ask;
    let mut bench = Bench::online(config);
    bench.offer(1_000, "1.0.0");
    assert_eq!(bench.out(1_000), ["event Offered"]);
    assert_eq!(bench.until(61_000), ["61000 event Offered"], "asked again");
    let mut accepted = bench.clone();
    accepted.machine.command(at(61_500), Command::Accept).unwrap();
    assert!(accepted.auto(61_500).contains(&"fetch 0".into()));
    assert!(accepted.machine.command(at(61_500), Command::Accept).is_err());
    bench.machine.command(at(61_500), Command::Refuse).unwrap();
    let lines = bench.auto(61_500);
    assert_eq!(lines[1], "fail -5 offer refused");
    // The cloud offers it again: told once a session.
    bench.reply(61_600, "0.1.0");
    bench.offer(61_700, "1.0.0");
    assert_eq!(bench.auto(61_700), ["event VersionAccepted"]);
}

#[test]
fn rule_14_deferred_the_same_offer_is_silent_a_different_one_ends_it() {
    let mut config = config();
    config.consent = Hold::Ask;
    let mut bench = Bench::online(config);
    bench.offer(1_000, "1.0.0");
    bench.out(1_000);
    bench.machine.command(at(2_000), Command::Defer(at(3_600_000))).unwrap();
    bench.offer(3_000, "1.0.0");
    assert_eq!(bench.out(3_000), NONE);
    assert_eq!(bench.idle.0, Some(at(3_600_000)));
    let mut other = bench.clone();
    other.offer(4_000, "2.0.0");
    assert_eq!(other.out(4_000), ["event Superseded", "event Offered"]);
    // At its end the machine reports, and acts on what comes back.
    assert_eq!(bench.until(3_600_000), ["3600000 report 0.1.0"]);
    bench.reply(3_600_100, "0.1.0");
    bench.offer(3_600_200, "1.0.0");
    assert_eq!(bench.out(3_600_200), ["event VersionAccepted", "event Offered"]);
}

/// A part of 1.0.0 is stored, and a person is asked about 2.0.0.
fn offered_another_than_is_stored() -> Bench {
    let mut config = config();
    config.consent = Hold::Ask;
    let target = Target {
        version: Version::new("1.0.0").unwrap(),
        md5: md5(),
        size: SIZE,
        offset: 8_192,
        etag: 0,
    };
    let record = Record {
        phase: Phase::Fetching,
        target: Some(target),
        from: Some(Version::new("0.1.0").unwrap()),
        ..Record::default()
    };
    let mut bench = Bench::boot(config, "0.1.0", SlotState::Confirmed, Some(&record));
    bench.machine.handle_session(at(1_000), true);
    bench.auto(1_000);
    bench.reply(1_000, "0.1.0");
    bench.offer(1_100, "2.0.0");
    bench.auto(1_100);
    bench
}

/// The stored bytes belong to one image: the result of another never claims them.
#[test]
fn rule_14_a_refused_image_does_not_inherit_the_bytes_of_the_one_before() {
    let mut bench = offered_another_than_is_stored();
    bench.machine.command(at(2_000), Command::Refuse).unwrap();
    bench.auto(2_000);
    assert_eq!(bench.journal().target, None, "no byte of 2.0.0 is stored");
}

/// The device's other deadlines pass meanwhile; they are not this one.
#[test]
fn rule_14_a_deferral_outlasts_the_daily_report() {
    let mut config = config();
    config.consent = Hold::Ask;
    let mut bench = Bench::online(config);
    bench.offer(1_000, "1.0.0");
    bench.out(1_000);
    let (day, two) = (100_000_000, 172_800_000);
    bench.machine.command(at(2_000), Command::Defer(at(two))).unwrap();
    let lines = bench.until(day);
    assert!(lines[0].ends_with(" report 0.1.0"), "{lines:?}");
    bench.reply(day, "0.1.0");
    bench.auto(day);
    let lines = bench.until(two);
    assert!(lines.iter().all(|line| line.ends_with("0.1.0")), "{lines:?}");
    assert_eq!(lines.last().unwrap(), &format!("{two} report 0.1.0"));
}

#[test]
fn rule_14_a_ready_image_may_wait_be_vetoed_and_be_put_off() {
    let mut config = config();
    config.install = Hold::Ask;
    let mut bench = Bench::fetching(config);
    bench.good_head(1_100);
    assert_eq!(bench.body(1_100, SIZE).last().unwrap(), "event Ready");
    let mut vetoed = bench.clone();
    vetoed.machine.command(at(2_000), Command::Veto).unwrap();
    assert!(vetoed.auto(2_000).contains(&"fail -5 image refused by application".into()));
    let mut deferred = bench.clone();
    deferred.machine.command(at(2_000), Command::Defer(at(100_000))).unwrap();
    assert!(deferred.until(100_000).last().unwrap().ends_with("report 0.1.0"));
    deferred.offer(100_100, "1.0.0");
    let lines = deferred.auto(100_100);
    assert_eq!(lines.last().unwrap(), "event Ready", "verified again: {lines:?}");
    bench.machine.command(at(2_000), Command::Install).unwrap();
    assert_eq!(bench.auto(2_000), ["burning", "event Install { size: 10000 }"]);
}

#[test]
fn rule_14_cancel_is_told_and_misuse_has_no_effect() {
    let mut bench = Bench::fetching(config());
    let before = bench.machine.clone();
    assert!(bench.machine.command(at(9_000), Command::Accept).is_err());
    assert!(bench.machine.command(at(9_000), Command::Refuse).is_err());
    assert!(bench.machine.command(at(9_000), Command::Approve).is_err());
    assert!(bench.machine.command(at(9_000), Command::Veto).is_err());
    assert!(bench.machine.command(at(9_000), Command::Install).is_err());
    assert!(bench.machine.command(at(9_000), Command::Confirm).is_err());
    assert!(bench.machine.command(at(9_000), Command::RollBack).is_err());
    assert!(bench.machine.command(at(9_000), Command::Forgive).is_err());
    assert!(
        bench
            .machine
            .command(at(9_000), Command::Installed(ota_proto::Installed::Running))
            .is_err()
    );
    assert!(bench.machine.command(at(9_000), Command::Defer(at(1))).is_err());
    assert_eq!(bench.machine, before);
    bench.machine.command(at(9_000), Command::Cancel).unwrap();
    assert!(bench.auto(9_000).contains(&"fail -5 cancelled".into()));
}

#[test]
fn rule_14_a_downgrade_is_refused_when_it_must_be_and_so_is_the_incomparable() {
    let mut config = config();
    config.downgrade = Downgrade::Refuse(Order::SemVer);
    for (version, taken) in [
        ("1.0.0", true),
        ("0.0.9", false),
        ("beta", false),
        ("0.1.0-rc.1", false),
        ("v0.1.0", false),
    ] {
        let mut bench = Bench::online(config.clone());
        bench.offer(1_000, version);
        let lines = bench.auto(1_000);
        assert_eq!(lines.contains(&"fetch 0".into()), taken, "{lines:?}");
        assert_eq!(lines.contains(&"fail -5 downgrade refused".into()), !taken, "{lines:?}");
    }
}

/// An image that has failed to install this often; the last result told at `ms`.
fn failed(times: u8) -> (Bench, u64) {
    failed_by(times, InstallFault::Image, "fail -5 install failed")
}

/// The same, with this fault, told in these words.
fn failed_by(times: u8, fault: InstallFault, words: &str) -> (Bench, u64) {
    let mut bench = Bench::online(config());
    let mut ms = 100_000;
    for _ in 0..times {
        bench.offer(ms, "1.0.0");
        bench.auto(ms);
        bench.good_head(ms);
        bench.body(ms, SIZE);
        bench
            .machine
            .command(at(ms), Command::Installed(ota_proto::Installed::Failed(fault)))
            .unwrap();
        assert!(bench.auto(ms).contains(&words.into()));
        bench.reply(ms, "0.1.0");
        bench.auto(ms);
        ms += 100_000;
    }
    (bench, ms)
}

#[test]
fn rule_14_three_faults_of_the_image_ban_it_and_an_operator_gets_one_attempt() {
    let (mut two, ms) = failed(2);
    two.machine.handle_session(at(ms), true);
    two.auto(ms);
    two.offer(ms, "1.0.0");
    assert!(two.auto(ms).contains(&"fetch 0".into()), "two are not enough");
    let (mut bench, ms) = failed(3);
    let mut operator = bench.clone();
    operator.offer(ms, "1.0.0");
    assert!(operator.auto(ms).contains(&"fetch 0".into()), "nobody asked for it: an operator");
    bench.machine.handle_session(at(ms), true);
    bench.auto(ms);
    bench.reply(ms, "0.1.0");
    bench.offer(ms, "1.0.0");
    let lines = bench.auto(ms);
    assert!(lines.contains(&"fail -5 image failed here before".into()), "{lines:?}");
    bench.offer(ms + 1, "1.0.0");
    assert_eq!(bench.auto(ms + 1), NONE, "one fail a session");
    bench.machine.command(at(ms + 2), Command::Forgive).unwrap();
    bench.auto(ms + 2);
    bench.offer(ms + 3, "1.0.0");
    assert!(bench.auto(ms + 3).contains(&"fetch 0".into()), "forgiven");
}

#[test]
fn rule_14_another_version_or_digest_is_not_banned() {
    let (mut bench, ms) = failed(3);
    bench.machine.handle_session(at(ms), true);
    bench.auto(ms);
    bench.offer(ms, "1.0.1");
    assert!(bench.auto(ms).contains(&"fetch 0".into()));
}

#[test]
fn rule_14_network_faults_never_ban() {
    let mut bench = Bench::online(config());
    for round in 1..5 {
        let ms = round * 10_000_000;
        bench.machine.handle_session(at(ms), true);
        bench.auto(ms);
        bench.offer(ms, "1.0.0");
        let mut fetches = 0;
        while let Some(ms) = bench.next_fetch() {
            bench.fetch_failed(ms, ota_proto::TransportError::Refused);
            fetches += 1;
        }
        assert!(fetches > 8, "{round}: {fetches}");
    }
}

/// Found by the reference model: only the last refused offer was remembered, so two alternating
/// offers were refused again and again.
#[test]
fn rule_14_each_refused_offer_is_told_once_a_session_whatever_came_between() {
    let mut bench = Bench::online(config());
    let bad = |version| offer_text(version, "ftp://cos.example/a");
    for (ms, version, told) in [
        (1_000, "8.0.0", true),
        (2_000, "9.0.0", true),
        (3_000, "8.0.0", false),
        (4_000, "9.0.0", false),
    ] {
        bench.message(ms, &bad(version));
        let said = bench.auto(ms).contains(&"fail -5 url unusable".into());
        assert_eq!(said, told, "{version} at {ms}");
        bench.reply(ms, "0.1.0");
        bench.auto(ms);
    }
    bench.machine.handle_session(at(5_000), true);
    bench.auto(5_000);
    bench.message(6_000, &bad("8.0.0"));
    assert!(bench.auto(6_000).contains(&"fail -5 url unusable".into()), "a new session");
}

#[test]
fn rule_14_a_session_hears_eight_refusals_and_no_more() {
    let mut bench = Bench::online(config());
    let mut told = 0;
    for n in 0..12_u64 {
        let ms = 1_000 * (n + 1);
        bench.message(ms, &offer_text(&format!("9.0.{n}"), "ftp://cos.example/a"));
        told += usize::from(bench.auto(ms).contains(&"fail -5 url unusable".into()));
        bench.reply(ms, "0.1.0");
        bench.auto(ms);
    }
    assert_eq!(told, 8);
}

/// Found in the field: a full disk and a missing installer banned a good image.
#[test]
fn rule_14_an_installation_that_the_machine_failed_is_not_the_images_fault() {
    for (fault, words, banned) in [
        (InstallFault::Image, "fail -5 install failed", true),
        (InstallFault::WrongVersion, "fail -5 wrong version", true),
        (InstallFault::NoSpace, "fail -5 no space", false),
        (InstallFault::Machine, "fail -5 this machine could not install it", false),
    ] {
        let (mut bench, ms) = failed_by(3, fault, words);
        let strikes = bench.journal().guard.map_or(0, |guard| guard.count);
        assert_eq!(strikes, if banned { 3 } else { 0 }, "{fault:?}");
        bench.machine.handle_session(at(ms + 10_000_000), true);
        bench.auto(ms + 10_000_000);
        bench.reply(ms + 10_000_000, "0.1.0");
        bench.offer(ms + 10_000_000, "1.0.0");
        let lines = bench.auto(ms + 10_000_000);
        assert_eq!(lines.contains(&"fail -5 image failed here before".into()), banned, "{fault:?}");
        assert_eq!(lines.contains(&"fetch 0".into()), !banned, "{fault:?}");
    }
}

#[test]
fn a_message_as_long_as_the_limit_is_read_and_no_longer_one() {
    let (config, topic) = (config(), UPDATE);
    let limit = config.limits.payload;
    let offer = offer_text("1.0.0", "https://cos.example/a");
    for (length, result) in [
        (limit, Ok(())),
        (limit + 1, Err(MessageError::TooLong)),
        (2 * limit, Err(MessageError::TooLong)),
    ] {
        let mut bench = Bench::online(config.clone());
        let text = format!("{offer}{}", " ".repeat(length - offer.len()));
        let read = bench.machine.handle_message(at(1_000), topic, text.as_bytes());
        assert_eq!(read, result, "{length}");
        assert_eq!(bench.machine.offer().is_some(), result.is_ok(), "{length}");
    }
}

#[test]
fn rule_14_the_word_to_install_is_given_once() {
    let mut config = config();
    (config.approval, config.install) = (Hold::Ask, Hold::Ask);
    let mut bench = Bench::fetching(config);
    bench.good_head(1_100);
    assert_eq!(bench.body(1_100, SIZE).last().unwrap(), "event Ready");
    bench.machine.command(at(2_000), Command::Install).unwrap();
    assert_eq!(bench.auto(2_000), NONE, "it is not approved yet");
    assert!(bench.machine.command(at(2_100), Command::Install).is_err(), "it was said before");
}

/// An unusable fresh offer after a deferral ends the attempt; what is stored is still of the image
/// before, and nobody may take it for bytes of this one.
#[test]
fn rule_14_an_image_that_fails_before_its_first_byte_claims_none_of_another() {
    let mut bench = offered_another_than_is_stored();
    bench.machine.command(at(2_000), Command::Defer(at(10_000))).unwrap();
    assert_eq!(bench.until(10_000), ["10000 report 0.1.0"]);
    bench.reply(10_100, "0.1.0");
    bench.message(10_100, &offer_text("2.0.0", "ftp://cos.example/a"));
    let lines = bench.out(10_100);
    assert_eq!(lines[0], "persist Owed 2.0.0@0 Failed(BadUrl) sent", "{lines:?}");
}

/// A value at the limit is accepted, and one byte more is not.
#[test]
fn rule_14_an_offer_may_be_as_large_and_as_long_as_the_limits() {
    let limits = config().limits;
    let url = |length: usize| {
        let base = "https://cos.example/";
        format!("{base}{}", "a".repeat(length - base.len()))
    };
    let words = |length: usize| {
        let text = offer_text("1.0.0", "https://cos.example/a");
        format!(r#"{{"user_defined":"{}",{}"#, "w".repeat(length), &text[1..])
    };
    let large = |size: u64| {
        let text = offer_text("1.0.0", "https://cos.example/a");
        text.replace(&format!(":{SIZE},"), &format!(":{size},"))
    };
    for (offer, taken) in [
        (offer_text("1.0.0", &url(limits.url)), true),
        (offer_text("1.0.0", &url(limits.url + 1)), false),
        (words(limits.user_defined), true),
        (words(limits.user_defined + 1), false),
        (large(STORAGE.capacity), true),
        (large(STORAGE.capacity + 1), false),
        (large(1), true),
        (large(0), false),
    ] {
        let mut bench = Bench::online(config());
        bench.message(1_000, &offer);
        let lines = bench.auto(1_000);
        assert_eq!(lines.contains(&"fetch 0".into()), taken, "{offer}: {lines:?}");
        assert_eq!(lines.iter().any(|line| line.starts_with("fail -5")), !taken, "{lines:?}");
    }
}

/// Each kind of restriction alone can be forgiven.
#[test]
fn rule_14_whatever_is_held_against_an_image_can_be_forgiven_alone() {
    let told = |bench: &mut Bench, ms| {
        bench.auto(ms);
        bench.reply(ms, "0.1.0");
        bench.auto(ms);
    };
    // It failed here; an attempt failed for another reason; its offer was refused.
    let (guard, ms) = failed(1);
    let mut attempt = Bench::fetching(config());
    attempt.machine.command(at(2_000), Command::Cancel).unwrap();
    told(&mut attempt, 2_000);
    let mut refusal = Bench::online(config());
    refusal.message(2_000, &offer_text("9.0.0", "ftp://cos.example/a"));
    told(&mut refusal, 2_000);
    for (what, mut bench, ms) in
        [("guard", guard, ms), ("attempt", attempt, 3_000), ("refusal", refusal, 3_000)]
    {
        bench.machine.command(at(ms), Command::Forgive).expect(what);
        assert_eq!(bench.auto(ms).last().unwrap(), "report 0.1.0", "{what}");
        bench.reply(ms, "0.1.0");
        bench.auto(ms);
        assert!(bench.machine.command(at(ms + 1), Command::Forgive).is_err(), "{what}: once");
    }
    // Eight attempts in seven minutes: the next one may begin at 601,000 ms, and before that only
    // when they are forgiven.
    let mut bench = Bench::online(config());
    for n in 0..8 {
        bench.offer(1_000 + 60_000 * n, &format!("{}.0.0", n + 1));
        assert!(bench.auto(1_000 + 60_000 * n).contains(&"fetch 0".into()), "{n}");
    }
    let mut later = bench.clone();
    bench.machine.command(at(600_999), Command::Forgive).unwrap();
    assert!(later.machine.command(at(601_000), Command::Forgive).is_err());
}
