//! A device by itself: a value that is applied to, kept as bytes, and read again.

use super::*;
use ota_cloud::device::{self, Context, DeviceInput, Effect, MAX_MODULES, Write};
use ota_cloud::{Catalog, Device, EventKind, Finish, NotOffered, Rollout};

struct Bench {
    config: CloudConfig,
    catalog: Catalog,
    device: Device,
}

impl Bench {
    fn new() -> Self {
        let mut catalog = Catalog::default();
        catalog.add(Firmware::new("TESTPROD01", "1.0.0", digest(), 9), 100).unwrap();
        catalog.set_rule("TESTPROD01", Rollout::new("1.0.0")).unwrap();
        Self { config: config(), catalog, device: Device::new(device(), 7) }
    }

    fn apply(&mut self, ms: u64, input: DeviceInput<'_>) -> device::Change {
        let context = Context { config: &self.config, catalog: &self.catalog };
        self.device.apply(at(ms), &context, input)
    }

    fn say(&mut self, ms: u64, payload: &str) -> device::Change {
        let message = device::read_message(payload.as_bytes()).unwrap();
        self.apply(ms, DeviceInput::Message(&message))
    }

    fn version(&mut self, ms: u64, version: &str) -> device::Change {
        self.say(ms, &format!(r#"{{"type":"report_version","report":{{"version":"{version}"}}}}"#))
    }

    fn downloading(&mut self, ms: u64, percent: u8) -> device::Change {
        self.say(
            ms,
            &format!(
                r#"{{"type":"report_progress","report":{{"progress":{{"state":"downloading","percent":"{percent}","result_code":"0","result_msg":""}},"version":"1.0.0"}}}}"#
            ),
        )
    }

    /// The process died and another one has read the row.
    fn restart(&mut self) {
        self.device = Device::from_bytes(&self.device.to_bytes().unwrap()).unwrap();
    }
}

/// Up to the claim of the first offer, at 50 ms.
fn claimed() -> Bench {
    let mut bench = Bench::new();
    let _ = bench.apply(0, DeviceInput::Connected);
    let change = bench.version(0, "0.1.0");
    assert_eq!(change.effects, [Effect::Reply { version: "0.1.0".into() }]);
    assert_eq!((change.wake, change.write), (Some(at(50)), Write::Now));
    let change = bench.apply(50, DeviceInput::Woken);
    assert!(matches!(change.effects[..], [Effect::Offer(_)]));
    bench
}

/// R3: claim, publish, offered. Who dies before the last leaves a lease that ends.
#[test]
fn an_offer_that_was_claimed_and_not_published_is_due_again() {
    let mut bench = claimed();
    assert_eq!(bench.device.wake(), Some(at(10_050)));
    assert!(bench.apply(10_049, DeviceInput::Woken).effects.is_empty());
    let change = bench.apply(10_050, DeviceInput::Woken);
    let [Effect::Offer(task)] = change.effects[..] else { panic!("{change:?}") };
    let change = bench.apply(10_051, DeviceInput::Offered(task));
    assert_eq!(bench.device.task.as_ref().unwrap().pushes, 1);
    // From now on it is the time-out that is waited for.
    assert_eq!(change.wake, Some(at(610_051)));
}

/// R2: whatever is kept, no device is stuck.
#[test]
fn a_device_that_is_read_again_is_away_and_goes_on_when_it_is_back() {
    for bench in [&mut claimed(), &mut {
        let mut bench = Bench::new();
        let _ = bench.apply(0, DeviceInput::Connected);
        let _ = bench.version(0, "0.1.0");
        bench
    }] {
        assert_eq!(bench.device.task.as_ref().unwrap().status, Status::Pending);
        bench.restart();
        assert!(!bench.device.online);
        let change = bench.apply(20_000, DeviceInput::Woken);
        assert!(change.effects.is_empty() && change.wake.is_none());
        assert_eq!(bench.device.task.as_ref().unwrap().status, Status::Offline);
        let _ = bench.apply(30_000, DeviceInput::Connected);
        let _ = bench.version(30_000, "0.1.0");
        assert!(!bench.apply(30_050, DeviceInput::Woken).effects.is_empty());
    }
    // A session that nobody saw end is not the next one.
    let mut bench = claimed();
    bench.restart();
    let change = bench.apply(1_000, DeviceInput::Connected);
    assert!(!change.events.contains(&EventKind::Disconnected));
    assert_eq!(bench.device.counters.sessions, 2);
}

/// R4.
#[test]
fn the_same_report_twice_changes_nothing_but_counters_and_times() {
    let mut bench = claimed();
    let task = bench.device.task.as_ref().unwrap().id;
    let _ = bench.apply(51, DeviceInput::Offered(task));
    let _ = bench.version(1_000, "1.0.0");
    let once = bench.device.clone();
    let change = bench.version(1_000, "1.0.0");
    assert!(!change.events.iter().any(|kind| matches!(kind, EventKind::Proved { .. })));
    assert!(change.counts.is_empty());
    let mut twice = bench.device.clone();
    assert_ne!(twice, once);
    twice.counters = once.counters;
    twice.not_offered.clone_from(&once.not_offered);
    assert_eq!(twice, once);
    assert_eq!(once.task.unwrap().finished, Some((at(1_000), Finish::Proved)));
}

/// R1: what nobody acknowledges may wait.
#[test]
fn only_progress_without_news_may_be_written_later() {
    let mut bench = claimed();
    assert_eq!(bench.apply(51, DeviceInput::Woken).write, Write::None);
    let task = bench.device.task.as_ref().unwrap().id;
    assert_eq!(bench.apply(51, DeviceInput::Offered(task)).write, Write::Now);
    let change = bench.downloading(1_000, 5);
    assert_eq!(change.write, Write::Now);
    assert_eq!(change.counts, [(Status::Delivered, -1), (Status::Downloading, 1)]);
    let change = bench.downloading(2_000, 10);
    assert_eq!((change.write, change.counts.len()), (Write::Later, 0));
    assert_eq!(bench.downloading(3_000, 100).write, Write::Now);
    assert_eq!(bench.version(4_000, "0.1.0").write, Write::Now);
}

#[test]
fn a_device_is_some_hundred_bytes_and_damage_is_an_error() {
    let mut bench = claimed();
    let bytes = bench.device.to_bytes().unwrap();
    assert!(bytes.len() < 900, "{}: {}", bytes.len(), String::from_utf8_lossy(&bytes));
    // The most that a device can make of it.
    for n in 0..20 {
        let report = format!(
            r#"{{"type":"report_version","report":{{"version":"{}","fw_type":"{n:032}"}}}}"#,
            "v".repeat(32)
        );
        let _ = bench.say(100, &report);
    }
    assert_eq!(bench.device.modules.len(), MAX_MODULES);
    let bytes = bench.device.to_bytes().unwrap();
    assert!(bytes.len() < 2_500, "{}", bytes.len());
    for len in 0..bytes.len() {
        assert!(Device::from_bytes(&bytes[..len]).is_err(), "{len}");
    }
    let text = String::from_utf8(bytes).unwrap();
    // A later release's field is passed over; another identity is rejected.
    let later = text.replacen('{', "{\"later\":1,", 1);
    assert!(Device::from_bytes(later.as_bytes()).is_ok());
    for (from, to) in [("TESTPROD01", "TEST/PROD0"), ("\"default\"", "\"a b\"")] {
        let error = Device::from_bytes(text.replace(from, to).as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("what was kept cannot be read: "), "{error}");
    }
}

#[test]
fn what_says_nothing_new_is_no_line_of_the_journal() {
    let mut bench = Bench::new();
    bench.catalog = Catalog::default();
    let _ = bench.apply(0, DeviceInput::Connected);
    for (ms, version, news) in
        [(0, "0.1.0", true), (1, "0.1.0", false), (2, "0.2.0", true), (3, "0.2.0", false)]
    {
        assert_eq!(bench.version(ms, version).journal, news, "{ms}: {version}");
    }
    let mut bench = claimed();
    let task = bench.device.task.as_ref().unwrap().id;
    let _ = bench.apply(51, DeviceInput::Offered(task));
    for (ms, percent, news) in [(100, 1, true), (200, 1, false), (300, 2, false)] {
        let change = bench.downloading(ms, percent);
        assert_eq!((change.journal, change.write == Write::Now), (news, news), "{ms}: {change:?}");
    }
}

/// Somebody has to do something, or it comes by itself.
#[test]
fn a_reason_that_asks_for_a_person_is_trouble() {
    let why = || "bad".to_owned();
    for (reason, trouble) in [
        (NotOffered::UpToDate, false),
        (NotOffered::NoRule, false),
        (NotOffered::UnknownModule, true),
        (NotOffered::OtherVersion, false),
        (NotOffered::AttemptsUsed { attempts: 3 }, true),
        (NotOffered::WaitsForSession, false),
        (NotOffered::OtherModule, false),
        (NotOffered::NotSubscribed, true),
        (NotOffered::NeedsVersion { least: why() }, true),
        (NotOffered::NoFirmware, true),
        (NotOffered::Withdrawn { why: why() }, true),
    ] {
        assert_eq!(reason.is_trouble(), trouble, "{reason}");
    }
}
