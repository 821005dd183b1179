//! The replay of a recording, and the secrets that it does not contain.

use ota_proto::{Command, Downgrade, Installed, Order, QoS, State, Work};
use ota_wire::adapter::Links;
use ota_wire::client::{DeviceInput, Effect, Found, Input as Call, Output};
use ota_wire::mqtt::ConnectLogin;
use ota_wire::record::{Recorder, Recording, RecordingError};
use proptest::prelude::*;

use crate::common::*;
use crate::random::{Play, input};
use crate::replayed;

const RING: usize = 1 << 16;

/// Replays the recording of a client to its end, where the states must be equal.
fn check(recorder: &Recorder) -> u64 {
    replayed::check(recorder, &["HUSH", "secret"], "the device's")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// After every input, whether the ring still has the start or not.
    #[test]
    fn a_replay_stands_where_the_client_does(
        inputs in proptest::collection::vec(input(), 0..60),
        bytes in prop_oneof![Just(90_usize), Just(700), Just(RING)],
    ) {
        let mut play = Play::new(bytes);
        for input in &inputs {
            play.step(input);
            let dropped = check(&play.client);
            prop_assert!(dropped == 0 || bytes < RING);
        }
        play.poll();
        check(&play.client);
    }
}

/// A client with a session, an offer and a redirect, and every answer it gave.
fn run(recorder: &mut Recorder) -> Vec<String> {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n";
    run_with(recorder, [&[&head[..], &IMAGE[..4]].concat(), &IMAGE[4..]])
}

/// The same with this answer of the firmware server, in two pieces.
fn run_with(recorder: &mut Recorder, answer: [&[u8]; 2]) -> Vec<String> {
    let mut answers = Vec::new();
    let mut now = at(0);
    recorder.add_device(now, device("P", "D"), boot()).unwrap();
    let mut links = Vec::new();
    let offer =
        publish("$ota/update/P/D", &offer(r"http:\/\/a.example\/x\u003Fsign=HUSH\u0026t=1"));
    let redirect =
        b"HTTP/1.1 302 Found\r\nSet-Cookie: HUSH\r\n HUSH\r\nLocation: http://HUSH:HUSH%20@c.example/HUS?HUSH\xe9HUSH\r\n\r\n";
    let received: [(usize, &[u8]); 6] =
        [(0, CONNACK), (0, SUBACK), (0, &offer), (1, redirect), (2, answer[0]), (2, answer[1])];
    let mut received = received.into_iter();
    loop {
        let output = recorder.poll(now);
        answers.push(format!("{output:?}"));
        match output {
            Output::Connect { link, .. } => {
                links.push(link);
                recorder.handle(now, Call::Connected { link });
            }
            Output::Do { device, op, work: Work::Persist(_) } => {
                recorder
                    .handle(now, Call::Device { device, input: DeviceInput::Done(op, Ok(None)) });
            }
            Output::Do { device, op, work: Work::Erase { .. } } => {
                recorder
                    .handle(now, Call::Device { device, input: DeviceInput::Done(op, Ok(None)) });
            }
            Output::Idle { deadline, .. } if links.is_empty() => {
                now = deadline.unwrap();
                recorder.handle(now, Call::Timeout);
            }
            Output::Idle { .. } => {
                for link in &links {
                    let len = recorder.client().transmit(*link).len();
                    recorder.handle(now, Call::Sent { link: *link, count: len });
                }
                let Some((link, rx)) = received.next() else { return answers };
                let found = recorder.handle_received(now, links[link], rx);
                answers.push(format!("{found:?}"));
            }
            _ => {}
        }
    }
}

#[test]
fn every_answer_comes_again() {
    let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
    let answers = run(&mut recorder);
    assert_eq!(replayed::answers(&recorder), answers);
    assert!(answers.iter().any(|answer| answer.contains("Write")), "{answers:?}");
    check(&recorder);
    let file = recorder.recording().unwrap();
    let mut replay = Recording::read(&file).unwrap().replay();
    while let Some(at) = replay.step().map(|step| step.at) {
        assert_eq!(replay.at(), at);
    }
    recorder.handle(at(77), Call::Timeout);
    let file = recorder.recording().unwrap();
    let mut replay = Recording::read(&file).unwrap().replay();
    while replay.step().is_some() {}
    assert_eq!(replay.at(), at(77));
}

/// Accepted inputs are accepted again, and refused ones refused, whatever the call.
#[test]
fn every_call_comes_again_taken_or_refused() {
    let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
    run(&mut recorder);
    let (broker, now) = (fronts(&recorder)[0].0, at(9));
    let found = recorder.handle_received(now, broker, &publish1("data", 9, "HUSH")).found;
    let Some(Found::Message { ack: Some(ack), .. }) = found else { panic!("{found:?}") };
    let before = replayed::effects(&recorder).len();
    let login = |id: &str| ConnectLogin::new(id.into(), "PD;1;x;2".into(), "HUSH".into());
    let filter = recorder.subscribe(now, "data", QoS::AtLeastOnce).unwrap();
    let mut taken = vec![
        true,
        recorder.subscribe(now, "data", QoS::AtLeastOnce).is_ok(),
        recorder.handle(now, Call::Unsubscribe(filter)) == Effect::Taken,
        recorder.handle(now, Call::Unsubscribe(filter)) == Effect::Taken,
        recorder.handle(now, Call::Acknowledge(ack)) == Effect::Taken,
        recorder.handle(now, Call::Acknowledge(ack)) == Effect::Taken,
        recorder.publish(now, "data", b"HUSH", QoS::AtLeastOnce).is_ok(),
        recorder.publish(now, "$ota/report/P/D", b"HUSH", QoS::AtMostOnce).is_ok(),
        recorder.set_login(now, login("PD")).is_ok(),
        recorder.set_login(now, login("")).is_ok(),
        true,
    ];
    assert_eq!(recorder.client().updater(FIRST).unwrap().state(), State::Fetching);
    let mut give =
        |input| recorder.handle(now, Call::Device { device: FIRST, input }) == Effect::Taken;
    give(DeviceInput::Certificate(ota_proto::Peer::Broker, 1_700_000_000));
    let commands = [
        Command::Accept,
        Command::Defer(at(99)),
        Command::Approve,
        Command::Veto,
        Command::Install,
        Command::Installed(Installed::Running),
        Command::Confirm,
        Command::RollBack,
        Command::ReportNow,
        Command::Forgive,
        Command::Cancel,
        Command::Refuse,
    ];
    taken.extend(commands.map(|command| give(DeviceInput::Command(command))));
    let shown = format!("{recorder:?}");
    assert!(shown.contains("records: true") && !shown.contains("HUSH"), "{shown}");
    Links::handle_closed(&mut recorder, now, broker, false);
    let closed = Links::handle_received(&mut recorder, now, broker, CONNACK);
    assert_eq!(closed.consumed, CONNACK.len());
    recorder.handle(now, Call::Disconnect);
    let effects = replayed::effects(&recorder).split_off(before);
    let words = taken.iter().map(|taken| if *taken { "Taken" } else { "Refused" });
    let rest = ["Taken", "Received { consumed: 4, found: None }", "Taken"];
    assert_eq!(effects, words.chain(rest).collect::<Vec<_>>());
    assert!(taken.iter().filter(|taken| !**taken).count() > 5, "{taken:?}");
    check(&recorder);
}

/// A head that comes in pieces is read on from the middle of a line: nothing of it is shown.
#[test]
fn a_secret_that_comes_in_pieces_is_hidden() {
    let secret = ["=/(=/(", &"HUSH".repeat(6)].concat();
    let head = format!(
        "HTTP/1.1 200 OK\r\nX-{}: {secret}:{secret}\r\n {secret}\r\nContent-Length: 16\r\n\r\n",
        "x".repeat(30)
    );
    for cut in 1..head.len() {
        let (front, back) = head.as_bytes().split_at(cut);
        let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
        let answers = run_with(&mut recorder, [front, &[back, IMAGE].concat()]);
        assert!(answers.iter().any(|answer| answer.contains("Write")), "{cut}: {answers:?}");
        assert_eq!(replayed::answers(&recorder), answers);
        replayed::check(&recorder, &["HUSH", "=/("], "the device's");
    }
}

prop_compose! {
    /// A URL with secrets, as people write them: with slashes and the like that are not escaped.
    fn secret_url()(
        name in "[a-f%~]{0,3}", front in "[0-9a-zA-Z/%:.~-]{0,6}", back in "[/.a-f%é2@]{0,4}",
        host in prop_oneof![Just("c.example"), Just("c.example:8080"), Just("[::1]")],
        path in prop_oneof![Just(""), Just("/x"), Just("/a@b/../c"), Just("/x?HUSH"), Just("/é?1")],
    ) -> String {
        format!("http://{name}:{front}HUSH{back}@{host}{path}")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever a user's name and password are made of, in an offer or in a `Location`: neither is
    /// kept, and the replay takes the same way.
    #[test]
    fn no_user_and_no_password_is_kept_and_the_replay_goes_the_same_way(
        urls in proptest::collection::vec((secret_url(), any::<bool>(), any::<bool>()), 1..6),
    ) {
        let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
        run(&mut recorder);
        let link = fronts(&recorder)[0].0;
        for (n, (url, escaped, again)) in urls.iter().enumerate() {
            let url = if *escaped { url.replace('/', r"\/").replace('é', r"\u00e9") } else { url.clone() };
            for _ in 0..=usize::from(*again) {
                let now = at(10 + n as u64);
                let offer = publish("$ota/update/P/D", &offer(&url));
                prop_assert_eq!(recorder.handle_received(now, link, &offer).consumed, offer.len());
                check(&recorder);
            }
        }
        for (url, ..) in &urls {
            let head = format!("HTTP/1.1 302 Found\r\nLocation: {url}\r\n\r\n");
            let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
            let answers = run_with(&mut recorder, [head.as_bytes(), b""]);
            prop_assert!(!answers.is_empty());
            check(&recorder);
        }
    }
}

/// A port before such a path is where the client connects: the replay connects there, too. Another
/// port would be another origin to it.
#[test]
fn the_port_before_a_path_with_an_at_sign_stays() {
    for url in ["http://a:2/HUSH@c.example", "http://a:00008/HUSH@c", "http://a:65535/HUSH@c/d"] {
        let head = format!("HTTP/1.1 302 Found\r\nLocation: {url}\r\n\r\n");
        let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
        let answers = run_with(&mut recorder, [head.as_bytes(), b""]);
        assert_eq!(replayed::answers(&recorder), answers, "{url}");
        check(&recorder);
    }
}

/// What follows the first `@` of a path is no host to show: dots may take the last one away.
#[test]
fn a_path_that_may_hold_a_password_is_shown_to_nobody() {
    let head = b"HTTP/1.1 302 Found\r\nLocation: http://a:/HUSH@c.example/a@b/../c\r\n\r\n";
    let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
    assert!(!run_with(&mut recorder, [head, b""]).is_empty());
    check(&recorder);
}

/// Where nothing but their users tells two URLs apart, the replay does, too.
#[test]
fn users_of_the_same_shape_are_told_apart() {
    let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
    run(&mut recorder);
    let link = fronts(&recorder)[0].0;
    let user = |front: &[u8]| {
        let text = String::from_utf8_lossy(front).into_owned();
        text.split("http://").nth(1).and_then(|url| url.split('@').next()).map(String::from)
    };
    for pair in [["HUSH:one", "HUSH:two"], ["%41:b", "%42:b"], ["%4:b", "%5:b"]] {
        let shown: Vec<_> = pair
            .iter()
            .map(|user| publish("$ota/update/P/D", &offer(&format!("http://{user}@a/x"))))
            .map(|offer| {
                assert_eq!(recorder.handle_received(at(9), link, &offer).consumed, offer.len());
                user(&fronts(&recorder).pop().unwrap().1)
            })
            .collect();
        assert_ne!(shown[0], shown[1], "{pair:?}");
        check(&recorder);
    }
}

/// An invalid escape stays invalid in the recording: neither URL is taken, or both are.
#[test]
fn an_invalid_escape_stays_invalid() {
    for user in ["%zz:HUSH", "%4z:HUSH", "%z4:HUSH", "%:HUSH", "%4:HUSH", "%41:HUSH", "%41%42:HUSH"]
    {
        let head = format!("HTTP/1.1 302 Found\r\nLocation: http://{user}@c.example/x\r\n\r\n");
        let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
        let answers = run_with(&mut recorder, [head.as_bytes(), b""]);
        assert_eq!(replayed::answers(&recorder), answers, "{user}");
        check(&recorder);
    }
}

/// As many as there are letters, escaped ones, too.
#[test]
fn many_users_of_the_same_shape_are_told_apart() {
    let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
    run(&mut recorder);
    let link = fronts(&recorder)[0].0;
    let users = |recorder: &Recorder| -> Vec<String> {
        let text = |front: &[u8]| String::from_utf8_lossy(front).into_owned();
        let all = fronts(recorder).into_iter().map(|(_, front)| text(&front));
        all.filter_map(|front| Some(front.split_once("//%")?.1.get(..2)?.to_owned())).collect()
    };
    for n in 0..23 {
        let offer = publish("$ota/update/P/D", &offer(&format!("http://%{n:02x}@a/x")));
        assert_eq!(recorder.handle_received(at(9), link, &offer).consumed, offer.len());
    }
    let mut shown = users(&recorder);
    shown.sort();
    shown.dedup();
    assert_eq!(shown.len(), 23, "{shown:?}");
    check(&recorder);
}

/// A byte that no name has is a fault, in the middle of a name that is passed over, too, whether it
/// is the last that came or not.
#[test]
fn the_fault_of_a_name_that_comes_in_pieces_is_kept() {
    let head =
        b"HTTP/1.1 200 OK\r\nX-HUSH-HUSH-HUSH-HUSH-HUSH(HUSH: HUSH\r\nContent-Length: 16\r\n\r\n";
    let fault = head.iter().position(|&byte| byte == b'(').unwrap() + 1;
    for end in [head.len(), fault] {
        for cut in 1..end {
            let (front, back) = head[..end].split_at(cut);
            let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
            let answers = run_with(&mut recorder, [front, back]);
            assert!(answers.iter().any(|answer| answer.starts_with("Close")), "{answers:?}");
            assert_eq!(replayed::answers(&recorder), answers, "{cut} of {end}");
        }
    }
}

/// A refused answer is kept up to the byte that shows its fault.
#[test]
fn a_bad_answer_is_kept_up_to_its_fault() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (good, bad) in [
        ("", "S"),
        ("", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n"),
        (chunked, "g"),
        (chunked, "8\u{7f}"),
    ] {
        let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
        let rest = [bad, &"HUSH".repeat(200)].concat();
        let answers = run_with(&mut recorder, [good.as_bytes(), rest.as_bytes()]);
        let close = answers.iter().any(|answer| answer.starts_with("Close"));
        assert!(close, "{bad:?} is taken: {answers:?}");
        assert_eq!(replayed::answers(&recorder), answers);
        assert_eq!(fronts(&recorder).pop().unwrap().1, bad.as_bytes());
        check(&recorder);
    }
}

#[test]
fn a_device_with_many_urls_runs_out_of_letters_and_begins_again() {
    let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
    run(&mut recorder);
    let link = fronts(&recorder)[0].0;
    // An escape that URLs do not have is not part of a query.
    for n in 0..30 {
        let offer = publish("$ota/update/P/D", &offer(&format!(r"http://HUSH{n}@a/\b?HUSH{n}")));
        assert_eq!(recorder.handle_received(at(9), link, &offer).consumed, offer.len());
    }
    let last = String::from_utf8_lossy(&fronts(&recorder).pop().unwrap().1).into_owned();
    // Three letters were used, and each of these has one.
    let letter = char::from(b'a' + (3 + 29) % 26).to_string().repeat(6);
    let shown = format!(r"http://{letter}@a/\b?{letter}");
    assert!(last.contains(&shown), "{last}");
    check(&recorder);
}

/// The machine only compares a query with the previous one.
#[test]
fn filler_tells_an_old_query_from_a_new_one() {
    let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
    run(&mut recorder);
    let link = fronts(&recorder)[0].0;
    for url in ["http://a.example/x?one", "http://a.example/x?two", "http://a.example/x?one"] {
        let offer = publish("$ota/update/P/D", &offer(url));
        assert_eq!(recorder.handle_received(at(9), link, &offer).consumed, offer.len());
    }
    let fronts: Vec<String> = fronts(&recorder)
        .into_iter()
        .map(|(_, front)| String::from_utf8_lossy(&front).into_owned())
        .filter(|front| front.contains("update_firmware"))
        .map(|front| {
            front.split("\"url\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
        })
        .collect();
    assert_eq!(
        fronts,
        [
            r"http:\/\/a.example\/x\u003Faaaaaaaaa\u0061aaa",
            "http://a.example/x?ddd",
            "http://a.example/x?eee",
            "http://a.example/x?ddd",
        ]
    );
}

/// All of a query is hidden: what divides other parts of a URL, and bytes outside ASCII.
#[test]
fn nothing_of_a_query_is_shown_but_its_length() {
    let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
    run(&mut recorder);
    let link = fronts(&recorder)[0].0;
    for (query, shown) in [("a:b%20@c/d.e", "dddddddddddd"), ("ö€😀1", "")] {
        let offer = publish("$ota/update/P/D", &offer(&format!("http://a.example/x?{query}")));
        assert_eq!(recorder.handle_received(at(9), link, &offer).consumed, offer.len());
        let kept = String::from_utf8_lossy(&fronts(&recorder).pop().unwrap().1).into_owned();
        let kept = kept.split("/x?").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(kept.len(), query.len());
        if query.is_ascii() {
            assert_eq!(kept, shown);
        }
        assert!(!kept.contains(['ö', '€', '😀', '1', ':', '%', '@', '/', '.']), "{kept}");
        check(&recorder);
    }
    // The same in escapes, of two and three bytes and of a pair.
    let offer = publish("$ota/update/P/D", &offer(r"http://a.example/x?\u00f6\u20ac\ud83c\udf00"));
    assert_eq!(recorder.handle_received(at(9), link, &offer).consumed, offer.len());
    replayed::check(&recorder, &["00f6", "20ac", "d83c", "df00"], "the device's");
    let head = "HTTP/1.1 302 Found\r\nLocation: http://c.example/x?HöUöSöH\r\n\r\n";
    let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
    assert!(!run_with(&mut recorder, [head.as_bytes(), b""]).is_empty());
    replayed::check(&recorder, &["ö"], "a redirect's");
}

#[test]
fn a_recording_holds_no_input_that_no_memory_would_hold() {
    const MOST: usize = 1 << 20;
    for (more, kept) in [(0, true), (1, false)] {
        let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
        run(&mut recorder);
        let payload = vec![b'p'; MOST + more];
        assert!(recorder.publish(at(9), "data", &payload, QoS::AtMostOnce).is_err());
        assert_eq!(recorder.recording().is_some(), kept, "published");

        let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
        run(&mut recorder);
        let link = fronts(&recorder)[0].0;
        let _ = recorder.handle_received(at(9), link, &payload);
        assert_eq!(recorder.recording().is_some(), kept, "received");
    }
}

/// The link that the client of [`run`] has to its broker.
fn broker() -> ota_wire::client::Link {
    let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
    run(&mut recorder);
    fronts(&recorder)[0].0
}

/// As format 2 has it, also of a publication that is refused.
#[test]
fn of_a_publication_the_topic_and_the_length_are_kept() {
    let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
    let _ = recorder.publish(at(0), "t", b"HUSH", QoS::AtLeastOnce);
    let file = recorder.recording().unwrap();
    assert!(file[..file.len() - 4].ends_with(&[6, 0, 9, 1, b't', 4, 1]), "{file:?}");
}

/// What was received, as it is kept.
fn fronts(recorder: &Recorder) -> Vec<(ota_wire::client::Link, Vec<u8>)> {
    let file = recorder.recording().unwrap();
    let recording = Recording::read(&file).unwrap();
    let mut replay = recording.replay();
    let mut fronts = Vec::new();
    while let Some(step) = replay.step() {
        if let Call::Received { link, bytes } = step.input {
            fronts.push((link, bytes.front.to_vec()));
        }
    }
    fronts
}

#[test]
fn bodies_and_payloads_are_lengths() {
    let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
    run(&mut recorder);
    let before = recorder.recording().unwrap().len();
    let payload = [b'p'; 1_000];
    recorder.publish(at(9), "data", &payload, QoS::AtMostOnce).unwrap();
    let link = fronts(&recorder)[0].0;
    let message = publish("data", core::str::from_utf8(&payload).unwrap());
    assert_eq!(recorder.handle_received(at(9), link, &message).consumed, message.len());
    let grown = recorder.recording().unwrap().len() - before;
    assert!(grown < 60, "{grown} bytes for two messages of 1,000");
    let body = fronts(&recorder).into_iter().any(|(_, front)| front.ends_with(&IMAGE[..4]));
    assert!(!body, "the image is kept");
    check(&recorder);
}

#[test]
fn a_recorder_is_off_or_of_its_size() {
    let mut off = Recorder::new(at(0), config(), 0).unwrap();
    run(&mut off);
    assert_eq!(off.recording(), None);
    let mut small = Recorder::new(at(0), config(), 200).unwrap();
    run(&mut small);
    let mut large = Recorder::new(at(0), config(), RING).unwrap();
    run(&mut large);
    assert!(check(&small) > 20);
    assert_eq!(check(&large), 0);
    assert_eq!(replayed::look(small.client()), replayed::look(off.client()));
}

#[test]
fn the_order_of_versions_is_kept() {
    let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
    let mut device = device("P", "D");
    device.downgrade = Downgrade::Refuse(Order::SemVer);
    recorder.add_device(at(0), device, boot()).unwrap();
    check(&recorder);
}

/// A file that was changed, with its sum right again.
fn forge(file: &[u8], how: &dyn Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut file = file[..file.len() - 4].to_vec();
    how(&mut file);
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&file);
    [&file[..], &sum.to_le_bytes()].concat()
}

/// The file with these bytes in the place of those, which are there once or more.
fn put(file: &[u8], good: &[u8], bad: &[u8]) -> Vec<u8> {
    forge(file, &|file| {
        let at = file.windows(good.len()).position(|bytes| bytes == good).unwrap();
        file[at..at + bad.len()].copy_from_slice(bad);
    })
}

/// A session that is up, with nothing on its way; everything is in the state.
fn settled() -> Recorder {
    let mut recorder = Recorder::new(at(0), config(), 1).unwrap();
    run(&mut recorder);
    let link = broker();
    let count = recorder.client().transmit(link).len();
    recorder.handle(at(1), Call::Sent { link, count });
    for id in 1..9 {
        let _ = recorder.handle_received(at(1), link, &[0x40, 2, 0, id]);
    }
    recorder
}

fn reads(state: &[u8]) -> bool {
    let read = Recording::read(state);
    assert!(matches!(read, Ok(_) | Err(RecordingError::Damaged)));
    read.is_ok()
}

/// The state with other limits: packet, tx, ota_tx, window, ota_window, kept, tries, inbound,
/// subscriptions.
fn with_limits(state: &[u8], place: usize, value: &[u8]) -> Vec<u8> {
    let limits = b"\x80\x20\x80\x20\x80\x08\x08\x02\x80\x1c\x05\x08\x10";
    let mut other = *limits;
    other[place..place + value.len()].copy_from_slice(value);
    put(state, limits, &other)
}

/// A file with an impossible state is not a recording: everything that the code relies on is
/// checked.
#[test]
fn a_session_that_holds_more_than_it_may_is_refused() {
    let (mut recorder, link) = (settled(), broker());
    let state = recorder.recording().unwrap();
    assert!(reads(&state) && !reads(&with_limits(&state, 10, &[0])), "no tries");
    // A device's longest payload and URL, and its first times.
    let device = b"\x80\x20\x80\x08\x80\x0c\x0a\x00\x0f\x00";
    for bad in
        [b"\x80\x01\x80\x08\x80\x0c\x0a\x00\x0f\x00", b"\x80\x20\x80\x08\x80\x0c\x00\x00\x0f\x00"]
    {
        assert!(!reads(&put(&state, device, bad)), "{}", bad.escape_ascii());
    }
    // Two messages wait for the application, and a third is on its way in.
    for id in [7, 8] {
        let _ = recorder.handle_received(at(2), link, &publish1("data", id, "x"));
    }
    let state = recorder.recording().unwrap();
    assert!(reads(&with_limits(&state, 11, &[2])) && !reads(&with_limits(&state, 11, &[1])));
    let long = publish1("data", 9, &"x".repeat(5_000));
    let _ = recorder.handle_received(at(2), link, &long[..4_096]);
    let state = recorder.recording().unwrap();
    assert!(reads(&with_limits(&state, 11, &[3])) && !reads(&with_limits(&state, 11, &[2])));
    // A buffer is as full as it may be, and no fuller.
    for (more, fits) in [(0, true), (1, false)] {
        let mut recorder = settled();
        let payload = vec![b'x'; 2_048 - 36 - 9 + more];
        recorder.publish(at(2), "data", &payload, QoS::AtMostOnce).unwrap();
        let state = recorder.recording().unwrap();
        assert!(reads(&state));
        assert_eq!(reads(&with_limits(&state, 2, b"\x80\x10")), fits, "{more}");
    }
}

#[test]
fn a_buffer_that_holds_what_nobody_put_there_is_refused() {
    let (mut recorder, link) = (settled(), broker());
    recorder.handle(at(62), Call::Timeout);
    assert_eq!(recorder.client().transmit(link), b"\xc0\x00");
    let ping = b"\x02\xc0\x00\x01\x02\x04";
    let state = recorder.recording().unwrap();
    assert!(reads(&state));
    assert!(!reads(&put(&state, ping, b"\x02\xc0\x00\x01\x02\x05")), "no DISCONNECT was sent");
    assert!(!reads(&put(&state, ping, b"\x02\xc0\x00\x01\x01\x04")), "bytes of no packet");
    let mut recorder = settled();
    recorder.handle(at(2), Call::Disconnect);
    let bye = b"\x02\xe0\x00\x01\x02\x05";
    let state = recorder.recording().unwrap();
    assert!(reads(&state));
    assert!(!reads(&put(&state, bye, b"\x02\xe0\x00\x01\x02\x04")), "nobody was asked");
}

#[test]
fn a_file_is_checked() {
    let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
    run(&mut recorder);
    let file = recorder.recording().unwrap();
    let error = |file: &[u8]| Recording::read(file).unwrap_err();
    assert_eq!(error(b""), RecordingError::Foreign);
    assert_eq!(error(b"#!/bin/sh"), RecordingError::Foreign);
    assert_eq!(error(&file[..file.len() - 1]), RecordingError::Damaged);
    for at in 6..file.len() {
        let mut file = file.clone();
        file[at] ^= 1;
        assert_eq!(error(&file), RecordingError::Damaged, "byte {at}");
    }
    let forged = |how: &dyn Fn(&mut Vec<u8>)| forge(&file, how);
    assert!(Recording::read(&forged(&|_| ())).is_ok());
    assert_eq!(error(&forged(&|file| file[6] = 1)), RecordingError::Version, "of the format");
    assert_eq!(error(&forged(&|file| file[9] = b'9')), RecordingError::Version, "of the crate");
    assert_eq!(error(&forged(&|file| file.push(0))), RecordingError::Damaged, "behind its end");
    // Of a state alone. Found by fuzzing: NULs as a version made a report that fits no buffer.
    let mut recorder = Recorder::new(at(0), config(), 1).unwrap();
    run(&mut recorder);
    let state = recorder.recording().unwrap();
    for (good, bad) in [
        (&b"\x050.1.0\0"[..], &b"\x050.1\0\0\0"[..]),
        (b"$ota/report/P/D", b"$ota/report/P/#"),
        (b"$ota/update/P/D", b"$ota/update/P/E"),
    ] {
        assert_eq!(
            error(&put(&state, good, bad)),
            RecordingError::Damaged,
            "{}",
            bad.escape_ascii()
        );
    }
}
