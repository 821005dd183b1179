//! However the bytes are split, the result is the same; and whatever the order of inputs, a session
//! stays within its bounds.

use ota_proto::{Instant, QoS};
use ota_wire::mqtt::{AckId, Purpose, Session, SessionFound, SessionPhase, text};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::common::*;
use crate::packets::packets;

/// What the application sees of a received packet.
fn told(found: SessionFound, buffer: &[u8]) -> Option<String> {
    match found {
        SessionFound::Nothing | SessionFound::Incomplete { .. } => None,
        SessionFound::Message { topic, payload, ack, retain } => {
            Some(format!("{} {:?} {ack:?} {retain}", text(buffer, &topic), &buffer[payload]))
        }
        SessionFound::TooLong { topic, len } => Some(format!("{} {len}", text(buffer, &topic))),
        other => Some(format!("{other:?}")),
    }
}

/// Runs a session over a stream that is cut as `cuts` says (again and again).
fn run(stream: &[u8], cuts: &[usize]) -> (Vec<String>, Session<u32>) {
    let mut config = config();
    config.limits.packet = 128;
    let mut session = session(config);
    session.subscribe(at(0), Purpose::Application, "a", QoS::AtLeastOnce).unwrap();
    session.handle_connected(at(0));
    flush(&mut session, at(0));
    let (mut events, mut buffer, mut rest) = (Vec::new(), Vec::new(), stream);
    for cut in cuts.iter().cycle() {
        let (piece, behind) = rest.split_at((*cut).clamp(1, rest.len().max(1)).min(rest.len()));
        buffer.extend_from_slice(piece);
        rest = behind;
        loop {
            match session.handle_received(at(1), &buffer) {
                Ok(received) => {
                    let stop = matches!(
                        received.found,
                        SessionFound::Incomplete { .. } | SessionFound::Blocked
                    );
                    let ended = received.found == SessionFound::Nothing && received.consumed == 0;
                    events.extend(told(received.found, &buffer));
                    buffer.drain(..received.consumed);
                    flush(&mut session, at(1));
                    if stop || ended {
                        break;
                    }
                }
                Err(error) => {
                    events.push(format!("{error:?}"));
                    return (events, session);
                }
            }
            if buffer.is_empty() {
                break;
            }
        }
        if rest.is_empty() || events.last().is_some_and(|event| event == "Blocked") {
            break;
        }
    }
    (events, session)
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let good: Vec<Vec<u8>> = packets()
        .into_iter()
        .map(|(bytes, _)| bytes.to_vec())
        .filter(|bytes| bytes[0] != 0x20)
        .collect();
    let long = [&b"\x32\xac\x02\0\x04long\0\x63"[..], &[b'x'; 292]].concat();
    let longer = [&b"\x30\xac\x02\x00\xc8"[..], &[b't'; 298]].concat();
    let packet = prop_oneof![
        8 => proptest::sample::select(good),
        1 => Just(long),
        1 => Just(longer),
        1 => vec(any::<u8>(), 1..6),
    ];
    vec(packet, 0..12).prop_map(|packets| [CONNACK.to_vec(), packets.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn cuts_change_nothing(stream in stream(), cuts in vec(1..40_usize, 1..8)) {
        let (whole, mut at_once) = run(&stream, &[usize::MAX]);
        let (cut, mut in_pieces) = run(&stream, &cuts);
        prop_assert_eq!(&whole, &cut);
        let (bytes, _) = run(&stream, &[1]);
        prop_assert_eq!(&whole, &bytes);
        at_once.handle_closed(at(2));
        in_pieces.handle_closed(at(2));
        prop_assert_eq!(at_once.phase(), in_pieces.phase());
    }

    #[test]
    fn any_inputs_in_any_state(steps in vec((0..14_u8, any::<u8>(), 0..20_u64), 0..120)) {
        let mut session = session(config());
        let mut now = Instant::ZERO;
        let mut acks: Vec<AckId> = Vec::new();
        let mut subs = Vec::new();
        let all = packets();
        for (step, byte, secs) in steps {
            now = now + std::time::Duration::from_secs(secs);
            let n = usize::from(byte);
            match step {
                0 => session.handle_connected(now),
                1 => session.handle_closed(now),
                2 => session.handle_sent(now, n),
                3 => { flush(&mut session, now); }
                4 => { let _ = try_feed(&mut session, now, CONNACK); }
                5 => {
                    let found = try_feed(&mut session, now, all[n % all.len()].0);
                    acks.extend(found.into_iter().flatten().filter_map(|found| match found {
                        SessionFound::Message { ack, .. } => ack,
                        _ => None,
                    }));
                }
                6 => { let _ = session.publish(now, ota(&vec![0; n * 8]), 0); }
                7 => { let _ = session.publish(now, app(&vec![0; n * 4]), 0); }
                8 => { let _ = session.publish(now, message(Purpose::Ota, QoS::AtMostOnce, &[0]), 0); }
                9 => { if let Some(ack) = acks.pop() { session.acknowledge(now, ack); } }
                10 => subs.extend(session.subscribe(now, Purpose::Application, &format!("{}", n % 20), QoS::AtMostOnce)),
                11 => { if let Some(sub) = subs.pop() { session.unsubscribe(now, sub); } }
                12 => session.disconnect(now),
                _ => { let _ = session.poll_published(); }
            }
            let before = session.phase();
            let result = session.handle_timeout(now);
            prop_assert!(session.transmit().len() <= 4_096);
            match session.deadline() {
                Some(deadline) => prop_assert!(deadline.at > now, "{deadline:?} at {now}"),
                None => prop_assert!(matches!(session.phase(), SessionPhase::Down | SessionPhase::Ended(_))),
            }
            prop_assert_eq!(result.is_err(), session.phase() != before);
        }
    }
}
