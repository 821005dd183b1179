//! The events of an application with one device: each event of the client and of the machine
//! arrives, with the data that the application needs, and has its own sentence.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use core::time::Duration;
use std::collections::BTreeMap;

use ota_proto::{
    Answer, Boot, Event as CoreEvent, Identity, Instant, Media, MessageError, Outcome, QoS, Reason,
    SlotInfo, SlotState, State, StorageError, TlsError, TransportError, Version,
};
use ota_wire::adapter;
use ota_wire::client::{self, Client, ClientConfig, DeviceIndex, Disconnect};
use ota_wire::mqtt::packet::ConnectCode;
use ota_wire::mqtt::{ConnectLogin, SessionError, SessionTimer};
use ota_wire::updates::{Event, Message, NewImage, Status};

const NOW: Instant = Instant::from_micros(5_000_000);
const DEVICE: DeviceIndex = DeviceIndex::FIRST;
const OFFER: &str = r#"{"file_size":16,"md5sum":"5eb63bbbe01eeed093cb22bb8f5acdc3","type":"update_firmware","url":"https://server.example/fw","version":"2.0.0"}"#;

/// A client with a device that runs 1.0.0.
fn client() -> Client {
    let login = ConnectLogin::new("id".into(), "user".into(), "secret".into());
    let config = ClientConfig::new("broker.example".into(), 1_883, false, login, 7);
    let mut client = Client::new(NOW, config).unwrap();
    let identity = Identity::new("TESTPROD01", "dev001").unwrap();
    let storage = SlotInfo { capacity: 4_096, erase: 4_096, write: 1 };
    let boot = Boot { running: "1.0.0", slot: SlotState::Confirmed, journal: None, storage };
    client.add_device(NOW, ota_proto::Config::new(identity, 7), boot).unwrap();
    client
}

/// The same, and the cloud offers 2.0.0.
fn offered() -> Client {
    let mut client = client();
    let updater = client.updater_mut(DEVICE).unwrap();
    let topic = updater.config().identity.update_topic().to_owned();
    updater.handle_session(NOW, true);
    updater.handle_message(NOW, &topic, OFFER.as_bytes()).unwrap();
    client
}

/// A client whose broker accepted the login.
fn connected() -> Client {
    let mut client = client();
    let (now, link) = (0..100)
        .find_map(|second| {
            let now = NOW + Duration::from_secs(second);
            client.handle_timeout(now);
            match client.poll(now) {
                client::Output::Connect { link, .. } => Some((now, link)),
                _ => None,
            }
        })
        .unwrap();
    client.handle_connected(now, link);
    client.handle_sent(now, link, client.transmit(link).len());
    let taken = client.handle_received(now, link, &[0x20, 2, 0, 0]);
    assert_eq!(taken.consumed, 4);
    client
}

fn event(event: client::ClientEvent) -> Event {
    Event::of(adapter::DriverEvent::Client(event), &offered(), NOW, Some).unwrap()
}

fn update(core: CoreEvent) -> Event {
    event(client::ClientEvent::Device { device: DEVICE, event: core })
}

fn version() -> Version {
    Version::new("2.0.0").unwrap()
}

fn ended(outcome: Outcome, answer: Option<Answer>) -> Event {
    update(CoreEvent::Finished { version: version(), outcome, answer })
}

#[test]
fn each_event_of_an_update_says_itself() {
    let page = Answer::new(500, Some(12), Media::new(b"text/html"), false);
    let cases = [
        (update(CoreEvent::Offered), "the cloud offers version 2.0.0 (16 bytes)"),
        (update(CoreEvent::Started { from: 0 }), "the download starts"),
        (update(CoreEvent::Started { from: 8 }), "the download resumes at byte 8"),
        (update(CoreEvent::Progress { percent: 50 }), "50 % of the image is stored"),
        (
            update(CoreEvent::Retry { cause: Reason::Network }),
            "the download failed for now: download timed out",
        ),
        (update(CoreEvent::Ready), "the image is verified"),
        (update(CoreEvent::Install { size: 16 }), "to be installed: version 2.0.0 (16 bytes)"),
        (update(CoreEvent::StopInstall), "the installation takes too long and must stop"),
        (update(CoreEvent::Restart), "a restart is needed to continue the update"),
        (update(CoreEvent::Trial), "the new version runs on trial"),
        (ended(Outcome::Done, None), "the update to version 2.0.0 succeeded"),
        (
            ended(Outcome::Failed(Reason::Digest), None),
            "the update to version 2.0.0 failed: md5 does not match",
        ),
        (
            ended(Outcome::Failed(Reason::PlainHttp), None),
            "the update to version 2.0.0 failed: plain http refused (its URL has no TLS: call \
             `Builder::allow_http` to accept it)",
        ),
        (
            ended(Outcome::Failed(Reason::BootFailed), None),
            "version 2.0.0 did not last: rolled back: did not start",
        ),
        (
            update(CoreEvent::Reported { outcome: Outcome::Done }),
            "the cloud knows that the update is done",
        ),
        (
            update(CoreEvent::Reported { outcome: Outcome::Failed(Reason::Digest) }),
            "the cloud knows that the update failed: md5 does not match",
        ),
        (update(CoreEvent::VersionAccepted), "the cloud knows which version runs"),
        (
            update(CoreEvent::VersionRefused { code: 3 }),
            "the cloud refused the version report with code 3",
        ),
        (update(CoreEvent::Superseded), "the cloud offers another version instead"),
        (update(CoreEvent::Withdrawn), "the cloud no longer offers the update"),
        (update(CoreEvent::Banned), "the offer is refused: this image failed here too often"),
    ];
    for (event, words) in cases {
        assert_eq!(event.to_string(), words, "{event:?}");
    }
    let retrying: Event = Event::Retrying { reason: Reason::ServerError, answer: page };
    for event in [ended(Outcome::Failed(Reason::ServerError), page), retrying] {
        let (explained, answer) = (event.to_string(), page.unwrap().to_string());
        assert!(explained.ends_with(&format!("error: {answer}")), "{explained:?}");
    }
    let removed: Event = Event::ImageRemoved { bytes: 9 };
    assert_eq!(removed.to_string(), "the previous image (9 bytes) was removed to make room");
    let trouble = update(CoreEvent::StorageTrouble(StorageError::NoSpace)).to_string();
    assert_eq!(trouble, format!("cannot write to the storage: {}", StorageError::NoSpace));
}

/// A sentence of the machine does not need the adapter's data.
#[test]
fn the_machines_own_events_are_sentences_too() {
    let until = Instant::from_millis(1_500);
    for (event, text) in [
        (CoreEvent::Offered, "the cloud offers a version"),
        (CoreEvent::Install { size: 16 }, "to be installed: 16 bytes"),
        (
            CoreEvent::HeldBack { until },
            "too many updates failed; the next one starts at second 1.500",
        ),
    ] {
        assert_eq!(event.to_string(), text, "{event:?}");
    }
}

#[test]
fn a_version_that_did_not_last_is_told_apart_from_one_that_never_ran() {
    let mut rolled_back = 0;
    for &reason in Reason::ALL {
        let event = ended(Outcome::Failed(reason), None);
        let words = event.to_string();
        match event {
            Event::RolledBack { version: of, reason: why } => {
                rolled_back += 1;
                assert_eq!((of, why), (version(), reason));
                assert_eq!(words, format!("version 2.0.0 did not last: {reason}"));
            }
            Event::Failed { version: of, reason: why, answer: None } => {
                assert_eq!((of, why), (version(), reason));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(rolled_back, 5);
}

#[test]
fn an_event_of_an_offer_needs_one() {
    let told = |told| {
        let event = client::ClientEvent::Device { device: DEVICE, event: told };
        Event::of(adapter::DriverEvent::Client(event), &client(), NOW, Some)
    };
    assert_eq!(told(CoreEvent::Offered), None);
    assert_eq!(told(CoreEvent::Ready), Some(Event::Ready));
}

#[test]
fn an_installer_is_given_what_the_offer_says() {
    let Event::Install(NewImage { version: of, size, md5, .. }) =
        update(CoreEvent::Install { size: 16 })
    else {
        panic!("no installation");
    };
    assert_eq!((of, size), (version(), 16));
    assert_eq!(md5.to_string(), "5eb63bbbe01eeed093cb22bb8f5acdc3");
}

#[test]
fn each_event_of_the_connection_says_itself() {
    let mut client = connected();
    let handle = client.publish(NOW, "own/topic", b"payload", QoS::AtLeastOnce).unwrap();
    let id = client.subscribe(NOW, "own/filter", QoS::AtMostOnce).unwrap();
    let wrong = MessageError::TooLong;
    let cases = [
        (client::ClientEvent::Connected, "connected to the broker".to_owned()),
        (
            client::ClientEvent::Kicked,
            "the broker keeps ending the connection: does another program use the same login?"
                .into(),
        ),
        (
            client::ClientEvent::LeftOut,
            "messages were not taken: subscriptions are suspended".into(),
        ),
        (
            client::ClientEvent::BadMessage { device: DEVICE, error: wrong },
            format!("a message of the cloud was ignored: {wrong}"),
        ),
        (
            client::ClientEvent::TooLong { len: 99 },
            "a message of 99 bytes is too long: skipped".into(),
        ),
        (
            client::ClientEvent::Retained { device: DEVICE },
            "the broker repeats an old message; it was ignored".into(),
        ),
        (client::ClientEvent::Published(handle), "a message was sent".into()),
        (
            client::ClientEvent::GivenUp(handle),
            "a message was given up: the broker never took it".into(),
        ),
        (client::ClientEvent::Subscribed(id), "a subscription was accepted".into()),
        (client::ClientEvent::SubscribeRefused(id), "the broker refused a subscription".into()),
        (client::ClientEvent::Unsubscribed(id), "a subscription has ended".into()),
    ];
    let mut seen = BTreeMap::new();
    for (told, words) in cases {
        let event = event(told);
        assert_eq!(event.to_string(), words, "{event:?}");
        assert_eq!(seen.insert(words, format!("{event:?}")), None);
    }
}

#[test]
fn a_lost_connection_says_why_what_to_do_and_when_the_next_one_is() {
    let words = |cause, seconds: u64, millis: u32| {
        let retry_at = NOW + Duration::new(seconds, millis * 1_000_000);
        event(client::ClientEvent::Disconnected { cause, retry_at }).to_string()
    };
    let name = words(Disconnect::Transport(TransportError::Resolve), 9, 900);
    assert!(name.contains("(check the product id, the region and the name server)"), "{name:?}");
    assert!(name.ends_with("; the next try is in 9.9 s"), "{name:?}");
    for code in [ConnectCode::Credentials, ConnectCode::Identifier, ConnectCode::NotAuthorized] {
        let login = words(Disconnect::Session(SessionError::Refused(code)), 599, 0);
        let advice = "(check the product id, the device name, and the secret or certificate)";
        assert!(login.contains(advice), "{login:?}");
        assert!(login.ends_with("; the next try is in 599 s"), "{login:?}");
    }
    let planned = words(Disconnect::Planned, 660, 0);
    let text = "no connection to broker.example:1883: asked for; the next try is in 11 min";
    assert_eq!(planned, text);
    let silent = words(Disconnect::Session(SessionError::TimedOut(SessionTimer::PingResp)), 4, 950);
    assert!(silent.ends_with(": no PINGRESP in time; the next try is in 4.9 s"), "{silent:?}");
}

#[test]
fn every_refusal_of_tls_that_a_setting_causes_names_the_setting() {
    let told =
        |cause| event(client::ClientEvent::Disconnected { cause, retry_at: NOW }).to_string();
    for (why, word) in [
        (TlsError::WrongHost, "Builder::broker"),
        (TlsError::Untrusted, "Builder::ca_pem"),
        (TlsError::ClockNotSet, "clock"),
        (TlsError::ClientRefused, "Builder::tls"),
        (TlsError::NotTls, "Builder::without_tls"),
        (TlsError::Unavailable, "feature `tls`"),
    ] {
        let text = told(Disconnect::Transport(TransportError::Tls(why)));
        assert!(text.contains(word), "{why:?}: {text}");
    }
    let text = told(Disconnect::Session(SessionError::SpeaksTls));
    assert!(text.contains("Builder::without_tls"), "{text}");
}

#[test]
fn a_wait_is_told_as_a_time_from_now() {
    let until = NOW + Duration::from_secs(90);
    let event = update(CoreEvent::HeldBack { until });
    assert_eq!(event, Event::HeldBack { wait: Duration::from_secs(90) });
    assert_eq!(event.to_string(), "too many updates failed; the next one starts in 90 s");
}

#[test]
fn what_a_message_says_is_shown_nowhere() {
    let told = adapter::DriverEvent::Message {
        topic: "own/topic".into(),
        payload: b"a secret".to_vec(),
        ack: None,
    };
    let event: Event = Event::of(told, &client(), NOW, Some).unwrap();
    assert_eq!(event.to_string(), "a message of 8 bytes arrived on own/topic");
    assert!(!format!("{event:?}").contains("secret"), "{event:?}");
    let Event::Message(Message { topic, payload, .. }) = event else { panic!("{event:?}") };
    assert_eq!((topic.as_str(), payload.as_slice()), ("own/topic", b"a secret".as_slice()));
}

#[test]
fn a_status_is_what_the_machine_says_of_itself() {
    let status = Status::of(&client(), DEVICE).unwrap();
    assert_eq!(status.running, Version::new("1.0.0").unwrap());
    assert_eq!((status.state, status.offered, status.owed), (State::Idle, None, None));
    assert_eq!(status.to_string(), "version 1.0.0, not connected; no update");
    assert!(Status::of(&connected(), DEVICE).unwrap().connected);
    let status = Status::of(&offered(), DEVICE).unwrap();
    assert_eq!(status.offered, Some(version()));
    assert!(status.to_string().ends_with(", version 2.0.0, 0 of 16 bytes"), "{status}");
}
