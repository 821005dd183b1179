//! Patience (rules 5, 8 and 9): a firmware server that is away, empty, replaced or changed for a
//! while.

use core::time::Duration;

use ota_proto::journal::Record;
use ota_proto::{
    Coding, Command, InstallFault, Md5, Media, Micros, Outcome, Reason, ResponseHead, SlotState,
    State, StorageError, TlsError, TransportError,
};

use crate::bench::*;
use crate::fetch::part;

const DONE: &str = "event Install { size: 10000 }";

/// The firmware server answers by `answer` until this time, and the cloud answers every version
/// report with its open task, if any. Returns all lines with their times.
fn serve(
    bench: &mut Bench,
    from: u64,
    upto: u64,
    task: impl Fn(u64) -> bool,
    mut answer: impl FnMut(&mut Bench, u64),
) -> Vec<(u64, String)> {
    let (mut lines, mut ms, mut reports) = (Vec::new(), from, 0);
    for _ in 0..20_000 {
        for line in bench.auto(ms) {
            reports += usize::from(line.starts_with("report"));
            lines.push((ms, line));
        }
        if reports > 0 {
            reports -= 1;
            bench.reply(ms, "0.1.0");
            if task(ms) {
                bench.offer_at(ms, "1.0.0", &format!("https://cos.example/a?sign={ms}"));
            }
        } else if bench.open.iter().any(|(kind, _)| *kind == Kind::Fetch) {
            answer(bench, ms);
        } else {
            match bench.idle.0.map(|at| at.as_millis() + 1).filter(|at| *at <= upto) {
                Some(next) => ms = next,
                None => return lines,
            }
            bench.machine.handle_timeout(at(ms));
        }
    }
    panic!("no end: {lines:?}");
}

fn status(bench: &mut Bench, ms: u64, status: u16) {
    bench.status(ms, status).unwrap_err();
}

fn busy(bench: &mut Bench, ms: u64) {
    status(bench, ms, 503);
}

fn good_body(bench: &mut Bench, ms: u64) {
    bench.good_head(ms);
    let lines = bench.body(ms, SIZE);
    assert!(lines.contains(&DONE.into()), "{lines:?}");
}

fn times(lines: &[(u64, String)], word: &str) -> Vec<u64> {
    lines.iter().filter(|(_, line)| line.starts_with(word)).map(|(ms, _)| *ms).collect()
}

#[test]
fn rule_9_a_store_that_is_away_for_five_minutes_is_waited_for() {
    let mut bench = Bench::fetching(config());
    let answer = |bench: &mut Bench, ms| {
        if ms < 301_000 { busy(bench, ms) } else { good_body(bench, ms) }
    };
    let lines = serve(&mut bench, 1_000, 900_000, |_| true, answer);
    assert!(times(&lines, "fail").is_empty(), "{lines:?}");
    assert_eq!(bench.machine.state(), State::Installing);
}

#[test]
fn rule_9_an_attempt_without_progress_ends_after_thirty_minutes() {
    let mut bench = Bench::fetching(config());
    let lines = serve(&mut bench, 1_000, 1_850_000, |_| true, busy);
    let end = times(&lines, "fail -1 store answers with a server error: 503");
    assert_eq!(end, [1_801_001]);
    // The pauses grow to five minutes: far fewer fetches than seconds.
    let fetches = times(&lines, "fetch");
    assert!((12..40).contains(&fetches.len()), "{fetches:?}");
    let longest = fetches.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!((60_000..=300_010).contains(&longest), "{fetches:?}");
    // Something is said every 45 s, and the version every five minutes.
    let mut said = times(&lines, "downloading");
    said.extend(times(&lines, "report"));
    said.sort_unstable();
    said.retain(|ms| *ms < 1_800_000);
    assert!(said.windows(2).all(|pair| pair[1] - pair[0] <= 45_010), "{said:?}");
    // And no more often than that: 20 s are for a download that moves.
    assert!(times(&lines, "downloading").len() <= 45, "{said:?}");
    let reports = times(&lines, "report");
    assert!(reports.windows(2).all(|pair| pair[1] - pair[0] <= 300_010), "{reports:?}");
    // Each fetch after a minute's pause is behind a report that draws a fresh URL.
    for pair in fetches.windows(2).filter(|pair| pair[1] - pair[0] >= 60_000) {
        assert!(reports.iter().any(|ms| (pair[0] + 1..=pair[1]).contains(ms)), "{pair:?}");
    }
}

#[test]
fn rule_9_a_wait_that_the_server_asked_for_is_no_lack_of_progress_for_an_hour_in_all() {
    let mut bench = Bench::fetching(config());
    let answer = |bench: &mut Bench, ms| {
        let retry_after = Some(Duration::from_secs(1_000));
        bench
            .head(ms, &ResponseHead { status: 503, retry_after, ..Default::default() })
            .unwrap_err();
    };
    let lines = serve(&mut bench, 1_000, 5_450_000, |_| true, answer);
    // 3,600 s that were asked for, and 1,800 s of patience.
    let end = times(&lines, "fail -1 store answers with a server error: 503");
    assert!(matches!(end[..], [ms] if (5_401_000..5_402_000).contains(&ms)), "{end:?}");
}

#[test]
fn rule_9_patience_does_not_run_while_the_cloud_cannot_be_told() {
    let mut bench = Bench::fetching(config());
    serve(&mut bench, 1_000, 1_000_000, |_| true, busy);
    bench.machine.handle_session(at(1_000_000), false);
    let lines = serve(&mut bench, 1_000_000, 9_000_000, |_| true, busy);
    assert!(times(&lines, "fail").is_empty() && !times(&lines, "fetch").is_empty());
    bench.machine.handle_session(at(9_000_000), true);
    let lines = serve(&mut bench, 9_000_000, 9_850_000, |_| true, busy);
    let end = times(&lines, "fail -1 store answers with a server error: 503");
    assert!(matches!(end[..], [ms] if (9_801_000..9_801_100).contains(&ms)), "{end:?}");
}

#[test]
fn rule_9_each_4_kib_begin_patience_anew_however_many_answers_they_came_in() {
    let mut bench = Bench::fetching(config());
    // 3,000 new bytes about each quarter of an hour: three answers are 4 KiB in 30 min.
    let mut next = 900_000;
    let answer = |bench: &mut Bench, ms| {
        if ms < next {
            return busy(bench, ms);
        }
        next = ms + 600_000;
        bench.good_head(ms);
        let upto = (bench.at + 3_000).min(SIZE);
        bench.body(ms, upto);
        if upto < SIZE {
            bench.fetch_failed(ms, TransportError::Closed);
        }
    };
    let lines = serve(&mut bench, 1_000, 7_200_000, |_| true, answer);
    assert!(times(&lines, "fail").is_empty(), "{lines:?}");
    assert_eq!(bench.machine.state(), State::Installing);
}

#[test]
fn rule_3_a_task_that_is_over_while_the_store_is_away_is_withdrawn_and_nothing_is_installed() {
    let mut bench = Bench::fetching(config());
    // Cancelled after four minutes; the store is back after twenty.
    let answer = |bench: &mut Bench, ms| {
        if ms < 1_200_000 { busy(bench, ms) } else { good_body(bench, ms) }
    };
    let lines = serve(&mut bench, 1_000, 3_000_000, |ms| ms < 240_000, answer);
    let withdrawn = times(&lines, "event Withdrawn");
    assert!(matches!(withdrawn[..], [ms] if ms < 620_000), "{withdrawn:?}");
    assert!(times(&lines, "fail").is_empty() && times(&lines, DONE).is_empty());
    assert_eq!(bench.machine.state(), State::Idle);
}

/// Replies that take up to the 10 s that they have: the second one must count, too.
#[test]
fn rule_3_a_task_that_is_over_is_withdrawn_before_the_next_fetch_however_slow_the_replies_are() {
    for late in [100, 4_900, 5_100, 7_500, 9_900] {
        let mut bench = Bench::fetching(config());
        let head =
            ResponseHead { status: 503, retry_after: Some(Duration::from_secs(60)), ..good(0) };
        bench.head(1_100, &head).unwrap_err();
        let mut ms = bench.idle.0.unwrap().as_millis();
        let (mut lines, mut replies) = (Vec::new(), Vec::new());
        while ms < 180_000 && bench.machine.state() != State::Idle {
            bench.machine.handle_timeout(at(ms));
            for line in bench.auto(ms) {
                replies.extend(line.starts_with("report").then_some(ms + late));
                lines.push((ms, line));
            }
            let next = bench.idle.0.unwrap().as_micros().div_ceil(1_000);
            match replies.first().copied().filter(|reply| *reply <= next) {
                Some(reply) => {
                    ms = reply;
                    replies.remove(0);
                    bench.reply(ms, "0.1.0");
                }
                None => ms = next,
            }
        }
        assert_eq!(times(&lines, "event Withdrawn").len(), 1, "{late}: {lines:?}");
        assert!(times(&lines, "fetch").is_empty(), "{late}: {lines:?}");
    }
}

/// After a pause the device asks the cloud whether the task is over. Without a session it cannot
/// ask, and in a new session it asks again.
#[test]
fn rule_9_after_a_pause_a_session_that_goes_is_not_waited_for_and_one_that_comes_is_asked() {
    let mut bench = Bench::fetching(config());
    let retry_after = Some(Duration::from_secs(60));
    bench.head(1_100, &ResponseHead { status: 503, retry_after, ..good(0) }).unwrap_err();
    bench.auto(1_100);
    let ms = 61_100;
    assert_eq!(bench.until(ms).last().unwrap(), "61100 report 0.1.0");
    let mut down = bench.clone();
    down.machine.handle_session(at(ms + 100), false);
    assert_eq!(down.auto(ms + 100), ["fetch 0"]);
    bench.machine.handle_session(at(ms + 100), true);
    assert_eq!(bench.auto(ms + 100)[0], "report 0.1.0");
    assert_eq!(bench.machine.state(), State::Waiting);
    let lines = bench.until(ms + 30_100);
    assert_eq!(lines.last().unwrap(), "91200 fetch 0", "nobody answered: {lines:?}");
}

/// For a person: the last answer, while it belongs to the open attempt.
#[test]
fn rule_6_the_last_answer_of_the_open_attempt_is_shown() {
    let shown = |bench: &Bench| bench.machine.answer().map(|answer| answer.to_string());
    let mut bench = Bench::fetching(config());
    assert_eq!(shown(&bench), None);
    let page = ResponseHead { media: Media::new(b"text/html"), ..ResponseHead::default() };
    let page = ResponseHead { status: 503, content_length: Some(17), ..page };
    bench.head(1_100, &page).unwrap_err();
    assert_eq!(shown(&bench).as_deref(), Some("503, 17 bytes, text/html"));
    let ms = bench.next_fetch().unwrap();
    assert_eq!(shown(&bench).as_deref(), Some("503, 17 bytes, text/html"), "until the next one");
    bench.fetch_failed(ms, TransportError::Closed);
    assert_eq!(shown(&bench), None, "there was none");
    let ms = bench.next_fetch().unwrap();
    bench.good_head(ms);
    assert_eq!(shown(&bench).as_deref(), Some("200, 10000 bytes"));
    bench.machine.command(at(ms), Command::Cancel).unwrap();
    assert_eq!(shown(&bench), None);
}

#[test]
fn rule_5_a_store_that_is_not_filled_yet_is_asked_again_after_a_minute() {
    let mut bench = Bench::fetching(config());
    let answer = |bench: &mut Bench, ms| {
        if ms < 61_000 { status(bench, ms, 404) } else { good_body(bench, ms) }
    };
    let lines = serve(&mut bench, 1_000, 200_000, |_| true, answer);
    assert_eq!(times(&lines, "fetch"), [1_000, 61_001]);
    assert_eq!(bench.machine.state(), State::Installing);
    let mut bench = Bench::fetching(config());
    let empty = |bench: &mut Bench, ms| status(bench, ms, 404);
    let lines = serve(&mut bench, 1_000, 59_000, |_| true, empty);
    assert!(times(&lines, "fail").is_empty(), "{lines:?}");
    let lines = serve(&mut bench, 59_001, 62_000, |_| true, empty);
    assert_eq!(times(&lines, "fail -2 file does not exist"), [61_001]);
    let mut bench = Bench::fetching(config());
    let gone = |bench: &mut Bench, ms| status(bench, ms, 410);
    let lines = serve(&mut bench, 1_000, 2_000, |_| true, gone);
    assert_eq!(times(&lines, "fail -2 file does not exist"), [1_000]);
}

/// A download over plain http.
fn plain() -> Bench {
    let mut config = config();
    config.allow_http = true;
    let mut bench = Bench::online(config);
    bench.offer_at(1_000, "1.0.0", "http://cos.example/a?sign=1");
    bench.auto(1_000);
    bench
}

/// What the device says in twelve minutes of answers over plain http.
fn answered(bench: &mut Bench, answer: impl Fn(&mut Bench, u64)) -> Vec<(u64, String)> {
    let (mut lines, mut ms) = (Vec::new(), 1_000);
    while ms <= 720_000 {
        bench.machine.handle_timeout(at(ms));
        lines.extend(bench.auto(ms).into_iter().map(|line| (ms, line)));
        if bench.open.iter().any(|(kind, _)| *kind == Kind::Fetch) {
            answer(bench, ms);
        } else {
            ms += 100;
        }
    }
    lines
}

/// A page of this many bytes that tells no length, as chunked ones do.
fn page(bench: &mut Bench, ms: u64, length: u64) {
    let head = ResponseHead { status: 200, media: Media::new(b"text/html"), ..Default::default() };
    if bench.head(ms, &head).is_err() {
        return;
    }
    bench.auto(ms);
    let mut left = length;
    while left > 0 && bench.open.iter().any(|(kind, _)| *kind == Kind::Fetch) {
        let op = bench.fetch_op();
        let data = vec![b'<'; usize::try_from(left).unwrap()];
        let Ok(body) = bench.machine.handle_body(at(ms), op, &data) else { return };
        left -= body.consumed as u64;
        if let Some((op, _)) = body.work {
            bench.machine.handle_done(at(ms), op, Ok(None));
        }
        bench.auto(ms);
    }
    let op = bench.take(Kind::Fetch);
    bench.machine.handle_body_end(at(ms), op);
}

#[test]
fn rule_5_a_captive_portal_over_plain_http_is_waited_for_ten_minutes() {
    let html = Media::new(b"text/html; charset=utf-8");
    let page = ResponseHead {
        status: 200,
        content_length: Some(1_532),
        media: html,
        ..Default::default()
    };
    let gzip = ResponseHead { coding: Some(Coding::Gzip), ..page };
    let there = ResponseHead { status: 302, location: Some("https://portal.example/"), ..page };
    let plain_status = |status| ResponseHead { status, ..ResponseHead::default() };
    let other = "server answers with something else";
    for (answer, words) in [
        (page, format!("{other}: 200, 1532 bytes, text/html")),
        (gzip, format!("{other}: 200, 1532 bytes, text/html, compressed")),
        (
            ResponseHead { content_length: None, ..gzip },
            format!("{other}: 200, text/html, compressed"),
        ),
        (there, "redirect refused".into()),
        (plain_status(407), format!("{other}: 407")),
        (plain_status(511), format!("{other}: 511")),
    ] {
        let portal = |bench: &mut Bench, ms| {
            let _ = bench.head(ms, &answer);
        };
        let mut bench = plain();
        let lines = answered(&mut bench, |bench, ms| {
            if ms < 121_000 { portal(bench, ms) } else { good_body(bench, ms) }
        });
        assert!(times(&lines, "fail").is_empty(), "{answer:?}");
        assert_eq!(bench.machine.state(), State::Installing, "{answer:?}");
        let mut bench = plain();
        let lines = answered(&mut bench, portal);
        let end = times(&lines, &format!("fail -5 {words}"));
        assert!(matches!(end[..], [ms] if (601_000..632_000).contains(&ms)), "{words} {lines:?}");
    }
}

/// Each violation gets its wait, and only contradictions of the offer are reported as something
/// else.
#[test]
fn rule_5_over_plain_http_each_lie_has_its_own_words() {
    for (error, words) in [
        (TransportError::NotPublic, "the store has no public address"),
        (TransportError::Tls(TlsError::Untrusted), "tls: certificate is not trusted"),
        (TransportError::BadUrl, "url unusable"),
        (TransportError::NotHttp, "server answers with something else"),
        (TransportError::Malformed, "server answers with something else"),
    ] {
        let mut bench = plain();
        let lines = answered(&mut bench, |bench, ms| bench.fetch_failed(ms, error));
        let end = times(&lines, &format!("fail -5 {words}"));
        assert!(matches!(end[..], [ms] if (601_000..632_000).contains(&ms)), "{error:?} {lines:?}");
    }
}

/// The result is the same after a reset, with what the server answered.
#[test]
fn rule_6_what_the_server_answered_is_told_again_after_a_reset() {
    let mut bench = plain();
    let head = ResponseHead {
        status: 200,
        content_length: Some(1_532),
        media: Media::new(b"text/html"),
        ..Default::default()
    };
    let told = "fail -5 server answers with something else: 200, 1532 bytes, text/html";
    let mut owed = None;
    let mut lines = Vec::new();
    while owed.is_none() {
        let ms = bench.next_fetch_lines(&mut lines).unwrap();
        bench.head(ms, &head).unwrap_err();
        // The first time that the record is on its way, power goes.
        for line in bench.out(ms) {
            owed = line.starts_with("persist Owed").then(|| (ms, bench.journal())).or(owed);
        }
    }
    let (ms, record) = owed.unwrap();
    assert!(!lines.iter().any(|line| line.starts_with("fail")), "{lines:?}");
    assert!(bench.auto(ms).contains(&told.into()));
    let mut again = Bench::boot(config(), "0.1.0", SlotState::Confirmed, Some(&record));
    again.machine.handle_session(at(0), true);
    assert!(again.auto(0).contains(&told.into()));
}

/// A page without a length is not stored as image, whatever its size, and spends nothing.
#[test]
fn rule_8_a_page_without_a_length_over_plain_http_brings_nothing_and_costs_nothing() {
    for length in [0, 1_532, 6_000, 9_999, 50_000] {
        let words = "fail -5 server answers with something else: 200, text/html";
        let mut bench = plain();
        let lines = answered(&mut bench, |bench, ms| page(bench, ms, length));
        let end = times(&lines, words);
        assert!(matches!(end[..], [ms] if (601_000..632_000).contains(&ms)), "{length} {lines:?}");
        let kept = |(_, line): &&(u64, String)| line.starts_with("fetch") && line != "fetch 0";
        assert_eq!(lines.iter().find(kept), None, "{length}");
        assert_eq!(bench.journal().guard, None);
    }
    for length in [0, 1_532, 6_000, 9_999, 50_000] {
        // In the middle of a download, and more often than there are restarts.
        let mut bench = plain();
        bench.good_head(1_000);
        bench.body(1_000, 5_000);
        bench.fetch_failed(1_000, TransportError::Closed);
        let mut asked = Vec::new();
        let count = std::cell::Cell::new(0);
        let lines = answered(&mut bench, |bench, ms| {
            count.set(count.get() + 1);
            if count.get() < 6 { page(bench, ms, length) } else { good_body(bench, ms) }
        });
        asked.extend(lines.iter().filter(|(_, line)| line.starts_with("fetch")));
        // What was stored stays, but for a piece of an erase unit that the page came behind.
        let kept = |(_, line): &&(u64, String)| line == "fetch 5000" || line == "fetch 4096";
        assert!(asked.iter().all(kept), "{length} {asked:?}");
        assert_eq!(bench.machine.state(), State::Installing, "{length} {lines:?}");
        assert!(times(&lines, "fail").is_empty(), "{length}");
    }
}

/// A proxy removes the length, and the connection ends cleanly: that is not a page, because it ends
/// at different bytes each time. The download continues behind its bytes.
#[test]
fn rule_8_a_file_whose_length_was_taken_away_is_resumed_when_its_line_breaks() {
    let mut bench = plain();
    let count = std::cell::Cell::new(0_u64);
    let lines = answered(&mut bench, |bench, ms| {
        count.set(count.get() + 1);
        if bench.at > 0 {
            return good_body(bench, ms);
        }
        bench.head(ms, &ResponseHead { content_length: None, ..good(0) }).unwrap();
        bench.body(ms, if count.get() == 1 { 2_000 } else { 7_000 });
        let op = bench.take(Kind::Fetch);
        bench.machine.handle_body_end(at(ms), op);
    });
    let asked: Vec<_> = lines.iter().filter(|(_, line)| line.starts_with("fetch")).collect();
    let asked: Vec<_> = asked.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(asked, ["fetch 0", "fetch 7000"][..], "the first fetch was asked for before");
    assert_eq!(bench.machine.state(), State::Installing);
}

/// A missing object and a refused URL have separate limits.
#[test]
fn rule_5_404_and_403_have_tries_of_their_own() {
    let mut bench = Bench::fetching(config());
    let count = std::cell::Cell::new(0);
    let lines = serve(
        &mut bench,
        1_000,
        400_000,
        |_| true,
        |bench, ms| {
            count.set(count.get() + 1);
            match count.get() {
                1 | 2 => status(bench, ms, 403),
                3 | 4 => status(bench, ms, 404),
                5 => status(bench, ms, 403),
                _ => good_body(bench, ms),
            }
        },
    );
    assert!(times(&lines, "fail").is_empty(), "{lines:?}");
    assert_eq!(bench.machine.state(), State::Installing);
}

/// A single cause is reported with its text and code, several as a time-out.
#[test]
fn rule_5_patience_ends_with_the_one_cause_that_there_was() {
    type Answer = fn(&mut Bench, u64);
    let cases: [(Answer, &str); 4] = [
        (busy, "fail -1 store answers with a server error: 503"),
        (
            |bench, ms| bench.fetch_failed(ms, TransportError::Closed),
            "fail -1 connection to the store broke",
        ),
        (|bench, ms| redirected(bench, ms, 403), "fail -3 url expired or refused"),
        (|bench, ms| redirected(bench, ms, 404), "fail -2 file does not exist"),
    ];
    for (answer, words) in cases {
        let mut bench = Bench::fetching(config());
        let lines = serve(&mut bench, 1_000, 1_850_000, |_| true, answer);
        assert_eq!(times(&lines, words).len(), 1, "{words} {lines:?}");
    }
    let mut bench = Bench::fetching(config());
    let count = std::cell::Cell::new(0);
    let lines = serve(
        &mut bench,
        1_000,
        1_850_000,
        |_| true,
        |bench, ms| {
            count.set(count.get() + 1);
            match count.get() % 2 {
                0 => busy(bench, ms),
                _ => bench.fetch_failed(ms, TransportError::Closed),
            }
        },
    );
    assert_eq!(times(&lines, "fail -1 download timed out").len(), 1, "{lines:?}");
}

fn redirected(bench: &mut Bench, ms: u64, code: u16) {
    let there = ResponseHead { status: 302, location: Some("/b"), ..Default::default() };
    bench.head(ms, &there).unwrap_err();
    bench.auto(ms);
    status(bench, ms, code);
}

/// Even with a first pause of zero there is a pause.
#[test]
fn rule_9_a_base_of_zero_is_no_loop() {
    let mut config = config();
    config.timing.retry_base = Micros::ZERO;
    let mut bench = Bench::fetching(config);
    let mut last = 0;
    for _ in 0..20 {
        let ms = bench.next_fetch().unwrap();
        assert!(ms >= last, "{ms}");
        bench.fetch_failed(ms, TransportError::Refused);
        bench.auto(ms);
        if last > 0 {
            assert!(bench.idle.0.is_some_and(|next| next >= at(ms + 1)), "{:?}", bench.idle);
        } else {
            assert_eq!(bench.idle.0, Some(at(ms)), "the first is as it was set");
        }
        last = ms;
    }
}

/// The label is that of the body with which the image began.
#[test]
fn rule_8_a_wrong_digest_names_the_coding_of_what_is_stored() {
    let wrong = |bench: &mut Bench, ms: u64| {
        bench.piece(ms, SIZE);
        for kind in [Kind::Write, Kind::Sync, Kind::Persist] {
            bench.done(ms, kind);
            bench.out(ms);
        }
        for _ in 0..2 {
            let op = bench.take(Kind::Digest);
            bench.machine.handle_done(at(ms), op, Ok(Some(Md5([0; 16]))));
            bench.out(ms);
        }
    };
    for (error, image, words) in [
        // An error page that is compressed says nothing of the image.
        (Some(Coding::Gzip), None, "fail -4 md5 does not match"),
        // The label of an answer that restarts the image counts.
        (None, Some(Coding::Gzip), "fail -4 md5 does not match, sent as gzip"),
    ] {
        let mut bench = Bench::fetching(config());
        let whole = ResponseHead { coding: image, ..good(0) };
        bench.head(1_100, &ResponseHead { etag: Some(b"\"0\""), ..good(0) }).unwrap();
        bench.body(1_100, 3_000);
        bench.fetch_failed(1_100, TransportError::Closed);
        let ms = bench.next_fetch().unwrap();
        // Another ETag: anew, with this body.
        bench.head(ms, &whole).unwrap();
        bench.at = 0;
        bench.body(ms, SIZE - 1);
        wrong(&mut bench, ms);
        bench.done(ms, Kind::Persist);
        bench.out(ms);
        bench
            .head(ms, &ResponseHead { status: 503, coding: error, ..Default::default() })
            .unwrap_err();
        let ms = bench.next_fetch().unwrap();
        bench.head(ms, &whole).unwrap();
        bench.body(ms, SIZE - 1);
        wrong(&mut bench, ms);
        let lines = bench.auto(ms);
        assert!(lines.contains(&words.into()), "{words} {lines:?}");
    }
}

#[test]
fn rule_8_a_weak_etag_is_as_good_as_a_strong_one() {
    for (first, second) in [("\"1\"", "W/\"1\""), ("W/\"1\"", "\"1\""), ("W/\"1\"", "W/\"1\"")] {
        let mut bench = Bench::fetching(config());
        bench.head(1_100, &ResponseHead { etag: Some(first.as_bytes()), ..good(0) }).unwrap();
        bench.body(1_100, 5_000);
        bench.fetch_failed(1_200, TransportError::Closed);
        let ms = bench.next_fetch().unwrap();
        let head = ResponseHead { etag: Some(second.as_bytes()), ..part(5_000, SIZE - 1, SIZE) };
        bench.head(ms, &head).unwrap();
        assert!(bench.body(ms, SIZE).contains(&DONE.into()), "{first} {second}");
    }
}

/// Two nodes behind one name, each with an ETag of its own, and a line that breaks.
#[test]
fn rule_8_nodes_that_disagree_about_the_etag_cost_two_restarts_and_no_result() {
    let mut bench = Bench::fetching(config());
    let tags: [&[u8]; 2] = [b"\"a\"", b"\"b\""];
    let (mut lines, mut fetches) = (Vec::new(), 0);
    while let Some(ms) = bench.next_fetch_lines(&mut lines) {
        let etag = Some(tags[fetches % 2]);
        fetches += 1;
        assert!(fetches < 60, "{lines:?}");
        let from = bench.at;
        let whole = ResponseHead { etag, ..good(0) };
        let rest = ResponseHead { etag, ..part(from, SIZE - 1, SIZE) };
        if bench.head(ms, if from == 0 { &whole } else { &rest }).is_err() {
            continue;
        }
        let upto = (bench.at + 500).min(SIZE);
        lines.extend(bench.body(ms, upto));
        if upto == SIZE {
            break;
        }
        bench.fetch_failed(ms, TransportError::Closed);
    }
    assert!(lines.contains(&DONE.into()), "{lines:?}");
}

/// The digest decides, even against the two nodes.
#[test]
fn rule_12_a_clean_download_is_granted_when_the_restarts_are_spent_on_etags() {
    let mut bench = Bench::fetching(config());
    let mut ms = 1_100;
    for etag in [b"\"a\"", b"\"b\"", b"\"c\"", b"\"d\""] {
        let from = if etag == b"\"d\"" { SIZE - 1 } else { 3_000 };
        bench.head(ms, &ResponseHead { etag: Some(etag), ..good(0) }).unwrap();
        bench.at = if etag == b"\"d\"" { 3_000 } else { 0 };
        if etag == b"\"d\"" {
            // The whole image: what is stored is passed over.
            bench.at = 0;
        }
        bench.body(ms, from);
        if from < SIZE - 1 {
            bench.fetch_failed(ms, TransportError::Closed);
            ms = bench.next_fetch().unwrap();
        }
    }
    bench.piece(ms, SIZE);
    for kind in [Kind::Write, Kind::Sync, Kind::Persist] {
        bench.done(ms, kind);
        bench.out(ms);
    }
    let op = bench.take(Kind::Digest);
    bench.machine.handle_done(at(ms), op, Ok(Some(Md5([0; 16]))));
    bench.out(ms);
    let op = bench.take(Kind::Digest);
    bench.machine.handle_done(at(ms), op, Ok(Some(Md5([0; 16]))));
    assert_eq!(bench.out(ms), ["persist Fetching 1.0.0@0", "fetch 0"]);
    bench.done(ms, Kind::Persist);
    bench.good_head(ms);
    assert!(bench.body(ms, SIZE).contains(&DONE.into()));
}

/// 1.0.0 runs on trial, and the application has confirmed it; there is no session yet.
fn confirmed() -> Bench {
    let record = Bench::restarting(config()).journal();
    let mut bench = Bench::boot(config(), "1.0.0", SlotState::Trial, Some(&record));
    bench.auto(0);
    bench.machine.command(at(60_000), Command::Confirm).unwrap();
    bench.auto(60_000);
    bench
}

#[test]
fn rule_13_a_cloud_that_is_away_after_a_good_trial_is_waited_for() {
    let mut bench = confirmed();
    let lines = bench.until(1_800_000);
    assert!(!lines.iter().any(|line| line.contains("slot")), "{lines:?}");
    bench.machine.handle_session(at(1_800_000), true);
    assert!(bench.auto(1_800_000).contains(&"report 1.0.0".into()));
    bench.reply(1_800_100, "1.0.0");
    let lines = bench.auto(1_800_100);
    assert!(lines.contains(&"slot Confirm".into()) && lines.contains(&"done".into()), "{lines:?}");
}

#[test]
fn rule_14_a_cloud_that_never_answers_rolls_back_and_is_no_strike_against_the_image() {
    let mut bench = confirmed();
    let lines = bench.until(1_860_000);
    assert_eq!(lines.last().unwrap(), "1860000 event Restart");
    assert!(lines.contains(&"1860000 slot RollBack".into()), "{lines:?}");
    let record: Record = bench.journal();
    assert_eq!(record.owed.map(|owed| owed.result), Some(Outcome::Failed(Reason::NoAnswer)));
    let mut bench = Bench::boot(config(), "0.1.0", SlotState::RolledBack, Some(&record));
    bench.machine.handle_session(at(0), true);
    assert!(bench.auto(0).contains(&"fail -5 rolled back: no answer from the cloud".into()));
    assert_eq!(bench.journal().guard, None, "no strike");
    // A slot that cannot be confirmed is this machine's fault.
    let record = Bench::restarting(config()).journal();
    let mut bench = Bench::boot(config(), "1.0.0", SlotState::Trial, Some(&record));
    bench.machine.handle_session(at(0), true);
    bench.auto(0);
    bench.reply(100, "1.0.0");
    bench.machine.command(at(1_000), Command::Confirm).unwrap();
    let mut ms = 1_000;
    while ms < 599_000 {
        if bench.out(ms).contains(&"slot Confirm".into()) {
            bench.error(ms, Kind::Slot, StorageError::Failed);
        }
        bench.ack(ms);
        ms += 1_000;
        bench.machine.handle_timeout(at(ms));
    }
    bench.until(600_000);
    assert_eq!(
        bench.journal().owed.map(|owed| owed.result),
        Some(Outcome::Failed(Reason::Storage))
    );
    let record = bench.journal();
    let mut bench = Bench::boot(config(), "0.1.0", SlotState::RolledBack, Some(&record));
    bench.machine.handle_session(at(0), true);
    assert!(bench.auto(0).contains(&"fail -5 storage error".into()));
    assert_eq!(bench.journal().guard, None, "no strike");
    // Without the application's word it is the image's fault, after ten minutes.
    let record = Bench::restarting(config()).journal();
    let mut bench = Bench::boot(config(), "1.0.0", SlotState::Trial, Some(&record));
    let lines = bench.until(600_000);
    assert!(lines.contains(&"600000 slot RollBack".into()), "{lines:?}");
    let reason = bench.journal().owed.map(|owed| owed.result);
    assert_eq!(reason, Some(Outcome::Failed(Reason::NotConfirmed)));
}

#[test]
fn rule_16_a_machine_that_cannot_tell_whether_the_image_works_does_not_blame_it() {
    let record = Bench::restarting(config()).journal();
    for (said, want) in [
        (&[30_000, 90_000, 599_000][..], Reason::Machine),
        // Since the application was last asked, the machine can find out again.
        (&[30_000, 90_000], Reason::NotConfirmed),
    ] {
        let mut bench = Bench::boot(config(), "1.0.0", SlotState::Trial, Some(&record));
        for at_ms in said {
            bench.until(*at_ms);
            bench.machine.command(at(*at_ms), Command::Unable(InstallFault::Machine)).unwrap();
            assert_eq!(bench.machine.state(), State::Trial, "it goes on");
        }
        bench.until(600_000);
        let reason = bench.journal().owed.map(|owed| owed.result);
        assert_eq!(reason, Some(Outcome::Failed(want)), "{said:?}");
        assert!(
            bench.machine.command(at(600_000), Command::Unable(InstallFault::Machine)).is_err(),
            "too late"
        );
    }
    let mut bench = Bench::boot(config(), "1.0.0", SlotState::Trial, Some(&record));
    bench.machine.command(at(1_000), Command::Confirm).unwrap();
    assert!(
        bench.machine.command(at(1_000), Command::Unable(InstallFault::Machine)).is_err(),
        "it said yes"
    );
}
