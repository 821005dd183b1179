//! A snapshot (feature `snapshot`) is the machine; a forged one is refused.

use ota_proto::{Command, Downgrade, Hold, InstallFault, Installed, Order, Updater, Version};
use serde_json::{Value, json};

use crate::bench::*;

#[test]
fn a_machine_that_was_written_and_read_is_the_same_and_goes_on() {
    let mut asking = config();
    asking.consent = Hold::Ask;
    let mut asked = Bench::online(asking);
    asked.offer(1_000, "1.0.0");
    asked.out(1_000);
    let mut reading = Bench::fetching(config());
    reading.good_head(1_100);
    reading.body(1_100, 5_000);
    assert!(reading.piece(1_100, 6_000));
    let mut waiting = Bench::fetching(config());
    waiting.status(1_100, 503).unwrap_err();
    let mut failed = Bench::installing(config());
    failed
        .machine
        .command(at(2_000), Command::Installed(Installed::Failed(InstallFault::Image)))
        .unwrap();
    // A record is on its way, and its block is part of the machine.
    let mut persisting = Bench::online(config());
    persisting.offer(1_000, "1.0.0");
    persisting.out(1_000);
    for bench in [
        Bench::online(config()),
        asked,
        reading,
        waiting,
        failed,
        persisting,
        Bench::installing(config()),
        Bench::restarting(config()),
    ] {
        let (mut one, mut other) = (bench.clone(), bench.clone());
        let text = serde_json::to_string(&bench.machine).unwrap();
        other.machine = serde_json::from_str(&text).unwrap();
        assert_eq!(other.machine, one.machine, "{text}");
        assert_eq!(other.until(100_000), one.until(100_000), "{text}");
        assert_eq!((other.record, other.machine), (one.record, one.machine), "{text}");
    }
}

/// A file may hold anything.
#[test]
fn a_snapshot_with_invalid_names_versions_or_blocks_is_refused() {
    let mut bench = Bench::online(config());
    bench.offer(1_000, "1.0.0");
    bench.out(1_000);
    let good = serde_json::to_value(&bench.machine).unwrap();
    let read = |value: &Value| serde_json::from_value::<Updater>(value.clone());
    assert_eq!(read(&good).unwrap(), bench.machine);
    let bytes = |count: usize| Value::from(vec![0; count]);
    for (place, value) in [
        ("/ledger/block", bytes(191)),
        ("/ledger/block", bytes(193)),
        ("/ledger/block", json!("text")),
        ("/running/len", json!(0)),
        ("/running/len", json!(33)),
        ("/running/bytes/0", json!(32)),
        ("/running/bytes/0", json!(255)),
        ("/cfg/identity/report", json!("$ota/report/TESTPROD01/dev002")),
        ("/cfg/identity/report", json!("$ota/report/TESTPROD01")),
        ("/cfg/identity/update", json!("$ota/update/TESTPROD01/dev002")),
        ("/cfg/identity/product_len", json!(9)),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(place).unwrap() = value.clone();
        assert!(read(&bad).is_err(), "{place} {value}");
    }
}

#[test]
fn the_order_of_versions_is_in_the_snapshot() {
    let listed = Order::Listed(vec![Version::new("0.1.0").unwrap(), Version::new("b").unwrap()]);
    for order in [Order::SemVer, Order::Numeric, listed] {
        let mut config = config();
        config.downgrade = Downgrade::Refuse(order);
        let machine = Bench::new(config).machine;
        let text = serde_json::to_string(&machine).unwrap();
        assert_eq!(serde_json::from_str::<Updater>(&text).unwrap(), machine);
    }
}
