//! The program as a client of its own cloud: from nothing to a proved update.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use common::{SECRET, Site, agent, image, json};

#[test]
fn from_nothing_to_a_proved_update_by_commands() {
    let mut site = Site::new();
    site.ask(&["product", "add", "TESTPROD01"]).expect(0);
    let again = site.ask(&["product", "add", "TESTPROD01"]).expect(7);
    assert!(again.err[0].contains("exists already"), "{:?}", again.err);
    let made = site.ask(&["device", "add", "TESTPROD01/dev001"]).expect(0);
    let config = site.desk.plain_device("dev001", &site.mqtt);
    let secret = site.desk.write("secret", &made.out[0]);
    fs::set_permissions(secret, fs::Permissions::from_mode(0o600)).unwrap();
    let bytes = image(3, 300_000);
    let file = site.desk.write("image", &bytes);
    site.ask(&["firmware", "add", "TESTPROD01/2.0.0", &file, "--name", "the second"]).expect(0);
    let list = site.ask(&["firmware", "list", "TESTPROD01"]).expect(0);
    assert!(
        list.out[1].contains("released") && list.out[1].contains("the second"),
        "{:?}",
        list.out
    );

    let device = agent(&config, &["--once", "--wait", "90"]);
    site.cloud.event("not-offered");
    let why = site.ask(&["device", "show", "TESTPROD01/dev001"]).expect(0);
    assert!(why.out[1].contains("no-rule"), "{:?}", why.out);
    let update = ["update", "TESTPROD01/dev001", "--to", "2.0.0", "--wait", "90s"];
    let end = site.ask(&update).expect(0);
    assert!(end.out.last().unwrap().contains("2.0.0 complete"), "{:?}", end.out);
    device.end().expect(0);
    assert_eq!(site.desk.read("dev001.version"), b"2.0.0\n");
    site.ask(&update).expect(7);

    let shown = site.ask(&["device", "show", "TESTPROD01/dev001", "--json"]).expect(0);
    let task = &json(&shown.out[0])["task"];
    assert!(task["proved"].is_u64() && task["status"] == "complete", "{task}");
    let history = site.ask(&["device", "history", "TESTPROD01/dev001"]).expect(0);
    assert!(history.out.iter().any(|line| line.contains("  proved  ")), "{:?}", history.out);
    let of = "TESTPROD01/dev001";
    let events = site.ask(&["events", of, "--after", "0", "--count", "2"]).expect(0);
    assert_eq!(events.out.len(), 2, "{:?}", events.out);
    assert!(events.out[0].contains("TESTPROD01/dev001  registered"), "{:?}", events.out);
    site.ask(&["events", "NOSUCH"]).expect(7);
    let back = site.desk.path("back").to_str().unwrap().to_owned();
    site.ask(&["firmware", "get", "TESTPROD01/2.0.0", &back]).expect(0);
    assert_eq!(site.desk.read("back"), bytes);
    site.ask(&["firmware", "remove", "TESTPROD01/2.0.0"]).expect(0);
    site.ask(&["device", "disable", "TESTPROD01/dev001"]).expect(0);
    let listed = site.ask(&["device", "list", "TESTPROD01"]).expect(0);
    assert!(listed.out[1].contains("disabled"), "{:?}", listed.out);
    site.ask(&["device", "remove", "TESTPROD01/dev001"]).expect(0);
    site.ask(&["device", "show", "TESTPROD01/dev001"]).expect(7);
}

#[test]
fn an_update_that_is_waited_for_ends_by_its_outcome() {
    let site = Site::new();
    site.ask(&["product", "add", "TESTPROD01"]).expect(0);
    for device in ["TESTPROD01/dev001", "TESTPROD01/dev002"] {
        site.ask(&["device", "add", device]).expect(0);
    }
    let file = site.desk.write("image", "firmware");
    site.ask(&["firmware", "add", "TESTPROD01/2.0.0", &file, "--draft"]).expect(0);
    let update = ["update", "TESTPROD01/dev001", "--to", "2.0.0", "--wait", "1s"];
    site.ask(&update).expect(7);
    site.ask(&["firmware", "release", "TESTPROD01/2.0.0"]).expect(0);
    // The device is away: nothing comes of it in time, and the task stays.
    let late = site.ask(&update).expect(3);
    assert!(late.err[0].contains("not proved in time"), "{:?}", late.err);
    let tasks = site.ask(&["task", "list", "TESTPROD01", "open=true"]).expect(0);
    assert_eq!(tasks.out.len(), 2, "{:?}", tasks.out);
    assert!(tasks.out[1].contains("dev001") && tasks.out[1].contains("2.0.0 offline"));
    site.ask(&["task", "list", "TESTPROD01", "open"]).expect(2);
    site.ask(&["task", "cancel", "TESTPROD01/dev001"]).expect(0);
    site.ask(&["task", "cancel", "TESTPROD01/dev001"]).expect(7);
    site.ask(&["task", "retry", "TESTPROD01/dev001"]).expect(0);
    site.ask(&["task", "cancel", "TESTPROD01/dev002"]).expect(7);
}

#[test]
fn a_product_is_shown_set_and_removed_by_commands() {
    let site = Site::new();
    let named = ["product", "add", "TESTPROD01", "--name", "lamp", "--description", "of glass"];
    site.ask(&named).expect(0);
    let shown = site.ask(&["product", "show", "TESTPROD01"]).expect(0);
    assert!(shown.out[1].contains("lamp") && shown.out[1].contains("of glass"), "{:?}", shown.out);
    let registration = ["product", "registration", "TESTPROD01"];
    let with = |more: &[&str]| site.ask(&[&registration[..], more].concat());
    with(&["--secret"]).expect(2);
    with(&["--mode", "any"]).expect(2);
    let set = with(&["--mode", "any", "--limit", "5", "--json"]).expect(0);
    assert_eq!(set.out, [r#"{"limit":5,"mode":"any"}"#]);
    let secret = site.desk.write("secret", "ABCDEFGHIJKLMNOPQRSTUVWX\n");
    with(&["--secret-file", &secret]).expect(0);
    assert_eq!(with(&["--secret"]).expect(0).out, ["ABCDEFGHIJKLMNOPQRSTUVWX"]);
    assert_eq!(with(&[]).expect(0).out[1].split_whitespace().collect::<Vec<_>>(), ["any", "5"]);
    site.ask(&["device", "add", "TESTPROD01/dev001"]).expect(0);
    site.ask(&["product", "remove", "TESTPROD01"]).expect(7);
    site.ask(&["device", "remove", "TESTPROD01/dev001"]).expect(0);
    site.ask(&["product", "remove", "TESTPROD01"]).expect(0);
    site.ask(&["product", "show", "TESTPROD01"]).expect(7);
}

#[test]
fn modules_are_named_changed_and_removed_by_commands() {
    let site = Site::new();
    site.ask(&["product", "add", "TESTPROD01"]).expect(0);
    let named = ["module", "add", "TESTPROD01/bms", "--name", "battery"];
    assert_eq!(site.ask(&named).expect(0).out, ["TESTPROD01/bms: added"]);
    site.ask(&named).expect(7);
    site.ask(&["module", "add", "TESTPROD01/mcu"]).expect(2);
    site.ask(&["module", "change", "TESTPROD01/bms"]).expect(2);
    site.ask(&["module", "change", "TESTPROD01/bms", "--description", "of 12 cells"]).expect(0);
    let list = site.ask(&["module", "list", "TESTPROD01"]).expect(0).out;
    assert!(list[1].starts_with("bms     battery  20"), "{list:?}");
    assert!(list.len() == 2 && list[1].ends_with("of 12 cells"), "{list:?}");
    let file = site.desk.write("image", "firmware");
    let firmware = ["TESTPROD01/2.0.0", "--module", "bms"];
    site.ask(&["firmware", "add", firmware[0], &file, firmware[1], firmware[2]]).expect(0);
    site.ask(&["module", "remove", "TESTPROD01/bms"]).expect(7);
    site.ask(&[&["firmware", "remove"][..], &firmware].concat()).expect(0);
    site.ask(&["module", "remove", "TESTPROD01/bms"]).expect(0);
    site.ask(&["module", "remove", "TESTPROD01/bms"]).expect(7);
    site.ask(&["module", "list", "TESTPROD02"]).expect(7);
}

#[test]
fn who_asks_wrongly_is_told_by_the_exit_code() {
    let site = Site::new();
    let wrong = site.desk.write("wrong", format!("ota1.{}.{}", "0".repeat(16), "0".repeat(64)));
    let end = site.ask(&["product", "list", "--key-file", &wrong]).expect(7);
    assert!(end.err[0].contains("send a key"), "{:?}", end.err);
    let none = site.desk.write("none", "nothing");
    site.ask(&["product", "list", "--key-file", &none]).expect(2);
    site.ask(&["product", "list", "--url", "http://192.0.2.1:1"]).expect(2);
    site.ask(&["product", "list", "--url", "http://127.0.0.1:1"]).expect(8);
    site.ask(&["device", "list", "TESTPROD01"]).expect(7);
    site.ask(&["device", "show", "TESTPROD01"]).expect(2);
}

#[test]
fn a_batch_by_commands_is_waited_for_and_its_end_is_the_exit_code() {
    let site = Site::new();
    site.ask(&["product", "add", "TESTPROD01"]).expect(0);
    let csv = format!("name,secret\ndev001,{SECRET}\ndev002,{SECRET}\n");
    let csv = site.desk.write("devices.csv", csv);
    site.ask(&["import", &csv, "--product", "TESTPROD01"]).expect(0);
    let bytes = image(4, 300_000);
    let file = site.desk.write("image", &bytes);
    site.ask(&["firmware", "add", "TESTPROD01/2.0.0", &file]).expect(0);
    let start = ["batch", "start", "TESTPROD01", "--to", "2.0.0"];
    let wrong = site.ask(&start).expect(2);
    assert!(wrong.err[0].contains("say which"), "{:?}", wrong.err);
    let agents = ["dev001", "dev002"].map(|name| {
        let config = site.desk.plain_device(name, &site.mqtt);
        agent(&config, &["--once"])
    });
    let words = ["--devices-from", &csv, "--wait", "60s"];
    let end = site.ask(&[&start[..], &words].concat()).expect(0);
    assert_eq!(end.out[0], "batch 1 to 2.0.0 of default: 2 devices");
    assert_eq!(end.out.last().unwrap(), "finished: 2 complete");
    for agent in agents {
        agent.end().expect(0);
    }
    let shown = site.ask(&["batch", "show", "TESTPROD01/1"]).expect(0);
    let first: Vec<&str> = shown.out[3].split_whitespace().collect();
    // It had reported before the batch began, or had not.
    assert!(first[0] == "dev001" && ["0.1.0", "-"].contains(&first[1]), "{:?}", shown.out);
    assert_eq!((first[2], first[4]), ("complete", "-"), "{:?}", shown.out);
    // They run it: nobody is updated, and the exit code says so.
    let end = site.ask(&[&start[..], &["--device", "dev001", "--wait", "60s"]].concat()).expect(4);
    assert_eq!(end.err, ["ota: 0 of 1 devices were updated"]);
    let list = site.ask(&["batch", "list", "TESTPROD01"]).expect(0);
    assert!(list.out[1].starts_with("2 ") && list.out[2].starts_with("1 "), "{:?}", list.out);
    site.ask(&["batch", "cancel", "TESTPROD01/2"]).expect(7);
    site.ask(&["device", "add", "TESTPROD01/dev003"]).expect(0);
    site.ask(&[&start[..], &["--device", "dev003"]].concat()).expect(0);
    let ended = site.ask(&["batch", "cancel", "TESTPROD01/3"]).expect(0);
    assert_eq!(ended.out, ["batch 3 to 2.0.0 of default: 1 devices, cancelled"]);
    let end = site.ask(&["batch", "show", "TESTPROD01/3", "--wait", "60s"]).expect(4);
    assert_eq!(end.out.last().unwrap(), "cancelled: 1 failed");
    site.ask(&["batch", "show", "TESTPROD01/9"]).expect(7);
    site.ask(&["batch", "show", "TESTPROD01"]).expect(2);
}
