//! What a recording gives back, and what does not stand in it.

use ota_proto::{Comparator, Downgrade, QoS};
use ota_wire::adapter::Answer;
use ota_wire::client::Output;
use ota_wire::record::{Effect, Input as Call, Recorder, Recording, RecordingError};
use proptest::prelude::*;

use crate::common::*;
use crate::random::{Play, input};

const RING: usize = 1 << 16;

/// All that can be seen of a client but its secrets, which differ.
fn look(client: &ota_wire::Client) -> String {
    format!("{client:?}")
}

/// Plays the recording of a client to its end, where it must stand as the client does.
fn check(recorder: &Recorder) -> u64 {
    let file = recorder.recording().unwrap();
    let recording = Recording::read(&file).unwrap();
    let mut replay = recording.replay();
    while replay.step().is_some() {}
    assert_eq!(look(replay.client()), look(recorder));
    for secret in ["HUSH", "secret"] {
        let found = file.windows(secret.len()).any(|bytes| bytes == secret.as_bytes());
        assert!(!found, "{secret} in {}", file.escape_ascii());
    }
    recording.dropped()
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
    let mut answers = Vec::new();
    let mut now = at(0);
    recorder.add_device(now, device("P", "D"), boot()).unwrap();
    let mut links = Vec::new();
    let offer =
        publish("$ota/update/P/D", &offer(r"http:\/\/a.example\/x\u003Fsign=HUSH\u0026t=1"));
    let redirect =
        b"HTTP/1.1 302 Found\r\nSet-Cookie: HUSH\r\nLocation: http://c.example/?HUSH\r\n\r\n";
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n";
    let whole = [&head[..], IMAGE].concat();
    let received: [(usize, &[u8]); 6] = [
        (0, CONNACK),
        (0, SUBACK),
        (0, &offer),
        (1, redirect),
        (2, &whole[..head.len() + 4]),
        (2, &whole[head.len() + 4..]),
    ];
    let mut received = received.into_iter();
    loop {
        let output = recorder.poll_output(now);
        answers.push(format!("{output:?}"));
        match output {
            Output::Connect { link, .. } => {
                links.push(link);
                recorder.handle_connected(now, link);
            }
            Output::Persist { device, op, .. } => {
                recorder.updater_mut(device).unwrap().tell(now, op, Answer::Persisted(Ok(())));
            }
            Output::Erase { device, op, .. } => {
                recorder.updater_mut(device).unwrap().tell(now, op, Answer::Erased(Ok(())));
            }
            Output::Idle { deadline, .. } if links.is_empty() => {
                now = deadline.unwrap();
                recorder.handle_timeout(now);
            }
            Output::Idle { .. } => {
                for link in &links {
                    let len = recorder.transmit(*link).len();
                    recorder.handle_sent(now, *link, len);
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
    let file = recorder.recording().unwrap();
    let recording = Recording::read(&file).unwrap();
    let mut replay = recording.replay();
    let mut again = Vec::new();
    while let Some(step) = replay.step() {
        match step.effect {
            Effect::Output(output) => again.push(format!("{output:?}")),
            Effect::Received(received) => again.push(format!("{received:?}")),
            effect => assert_eq!(effect, Effect::Taken),
        }
    }
    assert_eq!(again, answers);
    assert!(answers.iter().any(|answer| answer.contains("Write")), "{answers:?}");
    check(&recorder);
}

/// The machine asks one thing of a query: whether it is the one it had.
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
            "http://a.example/x?ccc",
            "http://a.example/x?ddd",
            "http://a.example/x?ccc",
        ]
    );
}

/// What was received, as it is kept.
fn fronts(recorder: &Recorder) -> Vec<(ota_wire::client::Link, Vec<u8>)> {
    let file = recorder.recording().unwrap();
    let recording = Recording::read(&file).unwrap();
    let mut replay = recording.replay();
    let mut fronts = Vec::new();
    while let Some(step) = replay.step() {
        if let Call::Received { link, front, .. } = step.input {
            fronts.push((link, front.to_vec()));
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
    assert_eq!(look(&small), look(&off));
}

#[test]
fn the_code_of_an_application_cannot_be_kept() {
    let mut recorder = Recorder::new(at(0), config(), RING).unwrap();
    let mut device = device("P", "D");
    device.downgrade = Downgrade::Refuse(Comparator(|_, _| None));
    recorder.add_device(at(0), device, boot()).unwrap();
    assert_eq!(recorder.recording(), None);
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
}
