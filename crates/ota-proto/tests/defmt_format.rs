//! The defmt output: each type shows its visible parts and no secret.
#![allow(unsafe_code, reason = "a logger for defmt is an `unsafe impl`")]

use std::cell::RefCell;
use std::fmt::Debug;
use std::time::Duration;

use defmt::Format;
use ota_proto::credentials::{
    APP_ID, Algorithm, BadLogin, BadSecret, Login, LoginError, Secret, Username,
};
use ota_proto::journal::{Guard, JournalError, Owed, Phase, Record, Target};
use ota_proto::message::{
    CloudMessage, DeviceMessage, Malformed, OfferMessage, Progress, ProgressState,
};
use ota_proto::url::{BadUrl, Url};
use ota_proto::*;

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

fn holds(bytes: &[u8], part: impl AsRef<[u8]>) -> bool {
    let part = part.as_ref();
    bytes.windows(part.len()).any(|window| window == part)
}

/// Shows nothing.
struct Silent;

impl Format for Silent {
    fn format(&self, _: defmt::Formatter<'_>) {}
}

/// Part of every secret of these tests.
const HIDDEN: &str = "hiddenhiddenhidden";

/// Shows these texts, and nothing secret; `Debug` neither.
#[track_caller]
fn hides(value: &(impl Format + Debug), shown: &[&str]) {
    let bytes = said(value);
    for shown in shown {
        assert!(holds(&bytes, shown), "{shown} is not in {}", bytes.escape_ascii());
    }
    assert!(bytes.len() > said(&Silent).len(), "it says what it is");
    assert!(!holds(&bytes, HIDDEN), "{}", bytes.escape_ascii());
    let text = format!("{value:?}");
    assert!(!text.contains(HIDDEN), "{text}");
    assert!(!text.is_empty() && shown.iter().all(|shown| text.contains(shown)), "{text}");
}

#[test]
fn every_type_that_is_logged_has_a_format() {
    fn all<T: Format>() {}
    fn each() {
        all::<(BadName, BadVersion, Body<'_>, BufferTooSmall, Order)>();
        all::<(
            Command,
            Config,
            ConfigError,
            ContentRange,
            Fetch<'_>,
            Idle,
            Publish<'_>,
            Downgrade,
            Event,
            FetchError,
        )>();
        all::<(Gate, Hold, Identity, Installed, Instant, Limits, Md5)>();
        all::<(MessageError, Misuse, Offer<'_>, OpId, Outcome, Output<'_>)>();
        all::<(PubId, QoS, Reason, ResultCode, SlotAction, SlotInfo, SlotState)>();
        all::<(State, StorageError, Timer, Timing, TlsError, Topic<'_>, TopicKind)>();
        all::<(TransportError, Verify, Version, Work<&[u8]>)>();
        all::<(Guard, JournalError, Owed, Phase, Record, Target)>();
        all::<(CloudMessage<'_>, DeviceMessage<'_>, Malformed, OfferMessage<'_>)>();
        all::<(Progress<'_>, ProgressState, BadUrl, Url<'_>)>();
        all::<(Algorithm, BadLogin, BadSecret, Login, LoginError, Secret, Username<'_>)>();
    }
    each();
}

#[test]
fn events_and_errors_say_what_they_are() {
    let outcome = Outcome::Failed(Reason::Digest);
    let version = Version::new("2.0.0-rc_1").unwrap();
    let finished = said(&Event::Finished { version, outcome, answer: None });
    assert!(holds(&finished, "2.0.0-rc_1"));
    let done = said(&Event::Finished { version, outcome: Outcome::Done, answer: None });
    assert_ne!(finished, done);
    assert_ne!(said(&Event::Ready), said(&Event::Trial));
    assert!(said(&Event::Progress { percent: 42 }).ends_with(&[42]));
    assert!(said(&Event::VersionRefused { code: -7 }).ends_with(&(-7_i64).to_le_bytes()));
    let (network, refused) = (said(&Reason::Network), said(&Reason::Refused));
    assert_ne!(network, refused);
    assert_ne!(said(&TlsError::Expired), said(&TlsError::Untrusted));
    assert!(!said(&Misuse).is_empty());
    assert!(said(&BufferTooSmall { needed: 123 }).ends_with(&123_u32.to_le_bytes()));
}

#[test]
fn inline_texts_and_numbers_are_whole() {
    let identity = Identity::new("TESTPROD01", "dev001").unwrap();
    let bytes = said(&identity);
    assert!(holds(&bytes, "TESTPROD01") && holds(&bytes, "dev001"));
    assert!(!holds(&bytes, "$ota"), "a log line is no place for two topics");
    let config = said(&Config::new(identity, 7));
    assert!(holds(&config, "TESTPROD01") && config.len() < 1_000);
    let now = Instant::ZERO + Duration::from_micros(12_345_678);
    assert!(holds(&said(&now), 12_345_678_u64.to_le_bytes()));
    let md5 = Md5::from_hex("900150983cd24fb0d6963f7d28e17f72").unwrap();
    assert!(holds(&said(&md5), 0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72_u128.to_le_bytes()));
    let progress = Progress {
        state: ProgressState::Done,
        percent: None,
        result_code: 0,
        result_msg: "fine".into(),
    };
    let report = DeviceMessage::ReportProgress { version: "1.2".into(), progress, fw_type: None };
    let bytes = said(&report);
    assert!(holds(&bytes, "1.2") && holds(&bytes, "fine"));
}

#[test]
fn no_url_shows_its_query_or_its_user() {
    let signed = format!("https://store.example/fw?sign={HIDDEN}");
    for url in [signed.clone(), format!("https://{HIDDEN}:{HIDDEN}@store.example/fw")] {
        let offer = OfferMessage {
            version: "2.0.0".into(),
            url: url.into(),
            md5sum: None,
            file_size: Some(16),
            user_defined: Some("words".into()),
            fw_type: None,
        };
        hides(&offer, &["store.example/fw"]);
        hides(&CloudMessage::Offer(offer), &["words"]);
    }
    hides(&Url::parse(&signed).unwrap(), &["store.example"]);
    assert!(!holds(&said(&Url::parse(&signed).unwrap()), "/fw"));
}

#[test]
fn no_output_and_no_offer_shows_a_query_or_a_record() {
    let now = Instant::ZERO;
    let identity = Identity::new("TESTPROD01", "dev001").unwrap();
    let topic = identity.update_topic().to_owned();
    let mut config = Config::new(identity, 7);
    config.consent = Hold::Ask;
    let storage = SlotInfo { capacity: 4096, erase: 16, write: 1 };
    let boot = Boot { running: "1.0.0", slot: SlotState::Confirmed, journal: None, storage };
    let mut device = Updater::new(now, config, boot).unwrap();
    device.handle_session(now, true);
    let offer = format!(
        r#"{{"file_size":16,"md5sum":"900150983cd24fb0d6963f7d28e17f72","type":"update_firmware",
            "url":"https://store.example/fw?sign={HIDDEN}","version":"2.0.0"}}"#
    );
    device.handle_message(now, &topic, offer.as_bytes()).unwrap();
    hides(&device.offer().unwrap(), &["store.example/fw"]);
    let text = format!("{device:?}");
    assert!(text.contains("store.example/fw?") && !text.contains(HIDDEN), "{text}");
    device.command(now, Command::Accept).unwrap();

    let mut buf = [0; Config::buffer_len()];
    let op = loop {
        let output = device.poll(now, &mut buf).unwrap();
        assert!(!said(&output).is_empty());
        match output {
            Output::Publish(Publish { id, .. }) => device.handle_published(now, id),
            Output::Do(op, Work::Persist(_)) => break op,
            Output::Idle(_) => panic!("nothing was persisted"),
            _ => {}
        }
    };
    let url = format!("https://store.example/fw?sign={HIDDEN}");
    let fetch = said(&Output::Fetch(Fetch { op, url: &url, from: 0, fresh: false }));
    assert!(holds(&fetch, "store.example/fw") && !holds(&fetch, HIDDEN));
    hides(&Output::Fetch(Fetch { op, url: &url, from: 0, fresh: false }), &["store.example/fw"]);
    let mut record = [0; Journal::LEN];
    record[..HIDDEN.len()].copy_from_slice(HIDDEN.as_bytes());
    assert!(!holds(&said(&Output::Do(op, Work::<&[u8]>::Persist(record))), HIDDEN));
}

#[test]
fn no_credential_is_shown() {
    let identity = Identity::new("TESTPROD01", "dev001").unwrap();
    let secret = Secret::from_bytes(HIDDEN.as_bytes()).unwrap();
    let algorithm = Algorithm::HmacSha256;
    let mut login = Login::new(&identity, &secret, algorithm, APP_ID, "AbC12", 7).unwrap();
    login.password = HIDDEN.to_owned();
    hides(&login, &["TESTPROD01dev001;12010126;AbC12;7"]);
    hides(&secret, &[]);
}
