//! The defmt output: each type shows its visible parts and no secret.
#![allow(unsafe_code, reason = "a logger for defmt is an `unsafe impl`")]

use std::cell::RefCell;
use std::fmt::Debug;

use defmt::Format;
use ota_proto::{Instant, Journal, OpId, QoS, Reason, Work};
use ota_wire::adapter::{DriverEvent, EngineError, LinkTarget, Look, Piece, Step};
use ota_wire::client::{
    AddError, Client, ClientConfig, DeviceIndex, Disconnect, Found, Link, LinkKind, Output,
    Received, Timer,
};
use ota_wire::record::RecordingError;
use ota_wire::{client, http, mqtt};

thread_local! {
    static SAID: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[defmt::global_logger]
struct Kept;

// SAFETY: each thread writes and keeps its own bytes, so no data is shared that needs a lock.
unsafe impl defmt::Logger for Kept {
    fn acquire() {}

    unsafe fn flush() {}

    unsafe fn release() {}

    unsafe fn write(bytes: &[u8]) {
        SAID.with_borrow_mut(|said| said.extend_from_slice(bytes));
    }
}

defmt::timestamp!("{=u8}", 0);

/// The bytes of a log of this value, without their frame.
fn said(value: &impl Format) -> Vec<u8> {
    // The number of the text, which is the value alone, and the time.
    const FRAME: usize = 3;
    defmt::println!("{}", value);
    SAID.take().split_off(FRAME)
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Part of every secret of these tests.
const HIDDEN: &str = "hiddenhiddenhidden";

/// Shows these texts, and nothing secret.
#[track_caller]
fn hides(value: &impl Format, shown: &[&str]) {
    let bytes = said(value);
    for shown in shown {
        assert!(holds(&bytes, shown), "{shown} is not in {}", bytes.escape_ascii());
    }
    assert!(!bytes.is_empty());
    assert!(!holds(&bytes, HIDDEN), "{}", bytes.escape_ascii());
}

/// `Debug` hides it, too.
#[track_caller]
fn hides_as_debug(value: &(impl Format + Debug), shown: &[&str]) {
    hides(value, shown);
    let text = format!("{value:?}");
    assert!(!text.contains(HIDDEN), "{text}");
}

fn login() -> mqtt::ConnectLogin {
    mqtt::ConnectLogin::new("P1dev001".into(), "user;1".into(), HIDDEN.into())
}

#[test]
fn every_type_that_is_logged_has_a_format() {
    fn all<T: Format>() {}
    fn each() {
        all::<(AddError, ClientConfig, DeviceIndex, Disconnect, client::ClientEvent, Found)>();
        all::<(Link, LinkKind, Output<'_>, Received, Timer)>();
        all::<(EngineError, DriverEvent, Look)>();
        // A buffer needs none: nothing of it is shown.
        all::<(Step<NoFormat>, LinkTarget, Work<NoFormat>)>();
        all::<(mqtt::AckId, mqtt::Attempt, mqtt::SessionConfig, mqtt::ConfigError, mqtt::Deadline)>(
        );
        all::<(
            mqtt::AttemptEnd,
            mqtt::SessionFound,
            mqtt::Purpose,
            mqtt::SessionLimits,
            mqtt::ConnectLogin,
        )>();
        all::<(mqtt::Outgoing<'_>, mqtt::SessionPhase, mqtt::PublishError, mqtt::PublishHandle)>();
        all::<(mqtt::Published<u8>, mqtt::SessionReceived, mqtt::ReconnectConfig, mqtt::Password)>(
        );
        all::<(mqtt::SessionError, mqtt::SubId, mqtt::SubscribeError, mqtt::SessionTimer)>();
        all::<(mqtt::SessionTiming, mqtt::packet::ConnectCode, mqtt::packet::EncodeError)>();
        all::<(mqtt::packet::PacketError, http::Closed, http::HttpError, http::FetchLimits)>();
        all::<(http::RequestError, RecordingError)>();
    }
    each();
}

struct NoFormat;

#[test]
fn events_and_errors_say_what_they_are() {
    let retry = |cause| {
        let event = ota_proto::Event::Retry { cause };
        said(&DriverEvent::Client(client::ClientEvent::Device {
            device: DeviceIndex::FIRST,
            event,
        }))
    };
    assert_ne!(retry(Reason::Network), retry(Reason::NotFound));
    let refused = |code| {
        let cause = Disconnect::Session(mqtt::SessionError::Refused(code));
        said(&client::ClientEvent::Disconnected { cause, retry_at: Instant::ZERO })
    };
    let credentials = refused(mqtt::packet::ConnectCode::Credentials);
    assert_ne!(credentials, refused(mqtt::packet::ConnectCode::Unavailable));
    assert_ne!(said(&http::HttpError::Header), said(&http::HttpError::Length));
    assert!(said(&EngineError::Buffer { needed: 123 }).ends_with(&123_u32.to_le_bytes()));
    assert!(!said(&client::ClientEvent::Kicked).is_empty());
}

#[test]
fn no_login_shows_its_password() {
    hides_as_debug(&login(), &["P1dev001", "user;1"]);
    hides_as_debug(&mqtt::SessionConfig::new(login()), &["P1dev001", "user;1"]);
    let config = ClientConfig::new("broker.example".into(), 8883, true, login(), 7);
    hides_as_debug(&config, &["P1dev001", "broker.example"]);
    hides_as_debug(&mqtt::Password(HIDDEN.into()), &[]);
}

#[test]
fn no_message_of_the_application_shows_its_payload() {
    let (topic, payload) = ("plant/1", HIDDEN.as_bytes());
    let (kind, qos) = (mqtt::Purpose::Application, QoS::AtLeastOnce);
    hides(&mqtt::Outgoing { kind, qos, topic, payload }, &[topic]);
    let event = DriverEvent::Message { topic: topic.into(), payload: payload.into(), ack: None };
    hides(&event, &[topic]);
    hides(&Step::<NoFormat>::Event(event), &[topic]);
}

#[test]
fn no_step_and_no_output_shows_an_image_or_a_record() {
    // No client is needed to name an operation.
    let op: OpId = postcard::from_bytes(&[1]).unwrap();
    let device = DeviceIndex::FIRST;
    let mut record = [0; Journal::LEN];
    record[..HIDDEN.len()].copy_from_slice(HIDDEN.as_bytes());
    hides(&Output::Do { device, op, work: Work::Persist(record) }, &[]);
    assert_ne!(
        said(&Output::Do { device, op, work: Work::Persist(record) }),
        said(&Output::Do { device, op, work: Work::Sync })
    );
    hides(&Step::Work(device, op, Work::<Piece<&[u8]>>::Persist(record)), &[]);
    let sync = said(&Work::<Piece<&[u8]>>::Sync);
    assert!(!sync.is_empty() && said(&Work::<Piece<&[u8]>>::Persist(record)) != sync);

    let mut client = Client::new(
        Instant::ZERO,
        ClientConfig::new("broker.example".into(), 1, false, login(), 7),
    )
    .unwrap();
    let Output::Idle { deadline: Some(at), .. } = client.poll(Instant::ZERO) else {
        panic!("the first connection is spread")
    };
    client.handle_timeout(at);
    let Output::Connect { link, .. } = client.poll(at) else { panic!("no connection") };
    let buf = HIDDEN.as_bytes();
    let piece = Piece { buf, span: 0..buf.len() };
    hides_as_debug(&piece, &[]);
    hides_as_debug(&Work::Write { at: 0, bytes: piece }, &[]);
    let target =
        LinkTarget { link, host: "broker.example".into(), port: 1, tls: false, earliest_time: 0 };
    hides(&Step::<&[u8]>::Connect(target), &["broker.example"]);
}
