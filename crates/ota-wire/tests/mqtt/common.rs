//! A session with literal bytes around it.

use ota_proto::{Instant, QoS};
use ota_wire::mqtt::{
    ConnectLogin, Outgoing, Purpose, Session, SessionConfig, SessionError, SessionFound,
};

pub(crate) const CONNACK: &[u8] = b"\x20\x02\x00\x00";
pub(crate) const UPDATE: &str = "$ota/update/P/D";
pub(crate) const REPORT: &str = "$ota/report/P/D";

pub(crate) fn at(secs: u64) -> Instant {
    Instant::from_secs(secs)
}

pub(crate) fn ms(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

pub(crate) fn config() -> SessionConfig {
    SessionConfig::new(ConnectLogin::new("PD".into(), "PD;1;x;2".into(), "secret".into()))
}

pub(crate) fn session(config: SessionConfig) -> Session<u32> {
    Session::new(config).unwrap()
}

/// A connected session without subscriptions, whose CONNECT has left and was accepted at `now`.
pub(crate) fn up_with(config: SessionConfig, now: Instant) -> Session<u32> {
    let mut session = session(config);
    connect(&mut session, now);
    session
}

pub(crate) fn up(now: Instant) -> Session<u32> {
    up_with(config(), now)
}

pub(crate) fn connect(session: &mut Session<u32>, now: Instant) {
    session.handle_connected(now);
    assert_eq!(flush(session, now)[0], 0x10);
    assert_eq!(feed(session, now, CONNACK), [SessionFound::Accepted]);
}

/// Hands everything over and returns it.
pub(crate) fn flush(session: &mut Session<u32>, now: Instant) -> Vec<u8> {
    let bytes = session.transmit().to_vec();
    session.handle_sent(now, bytes.len());
    bytes
}

/// Feeds whole packets and returns what was in them.
pub(crate) fn feed(session: &mut Session<u32>, now: Instant, rx: &[u8]) -> Vec<SessionFound> {
    try_feed(session, now, rx).unwrap()
}

pub(crate) fn try_feed(
    session: &mut Session<u32>,
    now: Instant,
    mut rx: &[u8],
) -> Result<Vec<SessionFound>, SessionError> {
    let mut all = Vec::new();
    while !rx.is_empty() {
        let received = session.handle_received(now, rx)?;
        rx = &rx[received.consumed..];
        let stop =
            matches!(received.found, SessionFound::Blocked | SessionFound::Incomplete { .. });
        if received.found != SessionFound::Nothing {
            all.push(received.found);
        }
        if stop {
            break;
        }
    }
    Ok(all)
}

pub(crate) fn message(kind: Purpose, qos: QoS, payload: &[u8]) -> Outgoing<'_> {
    Outgoing { kind, qos, topic: REPORT, payload }
}

pub(crate) fn ota(payload: &[u8]) -> Outgoing<'_> {
    message(Purpose::Ota, QoS::AtLeastOnce, payload)
}

pub(crate) fn app(payload: &[u8]) -> Outgoing<'_> {
    message(Purpose::Application, QoS::AtLeastOnce, payload)
}

/// The owners of what completed.
pub(crate) fn published(session: &mut Session<u32>) -> Vec<u32> {
    std::iter::from_fn(|| session.poll_published()).map(|done| done.owner).collect()
}
