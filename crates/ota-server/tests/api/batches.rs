//! Batches: what a fault leaves of one, and what looking at them costs.

use ota_cloud::batch::Batch;
use ota_store::{Commit, DataFolder, Item, Kind, Sqlite, Store as _};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::devices::Device;
use crate::vendor::{HUB, code, durable};
use crate::{PATIENCE, Site};

/// A product with a firmware and so many devices.
async fn fleet(devices: usize) -> (Site, Vec<String>) {
    let site = durable().await;
    let names: Vec<String> = (0..devices).map(|n| format!("d{n}")).collect();
    site.product("A", &[]).await;
    for some in names.chunks(400) {
        let headers = format!("Authorization: Bearer {}\r\nContent-Type: text/csv\r\n", site.key);
        let csv = some.join("\n");
        site.raw("POST", "/products/A/devices", &headers, csv.as_bytes()).await.expect(201);
    }
    site.publish("1.0.0", b"firmware").await;
    (site, names)
}

fn batch(names: &[String]) -> Value {
    json!({ "ProductId": "A", "FirmwareVersion": "1.0.0", "DeviceNames": names })
}

async fn tasks(site: &Site) -> Value {
    let all = json!({ "ProductId": "A", "FirmwareVersion": "1.0.0", "Offset": 0, "Limit": 1 });
    site.act("DescribeFirmwareTasks", all).await
}

async fn distribution(site: &Site, task: u32) -> Value {
    let of = json!({ "ProductId": "A", "FirmwareVersion": "1.0.0", "TaskId": task });
    site.act("DescribeFirmwareTaskDistribution", of).await["StatusInfos"].clone()
}

/// Until it is so, and not forever. A key of its own asks, whose budget may be used up.
async fn until(site: &Site, task: u32, wanted: Value) {
    let viewer = site.key("viewer", "A").await;
    let of = json!({ "ProductId": "A", "FirmwareVersion": "1.0.0", "TaskId": task });
    let asked = || site.act_in(HUB, &viewer, "DescribeFirmwareTaskDistribution", &of);
    let reached = async { while asked().await["StatusInfos"] != wanted {} };
    timeout(PATIENCE, reached).await.unwrap();
}

#[tokio::test]
#[ignore = "takes seconds of real time: the gate runs it in a step of its own"]
async fn what_a_fault_leaves_of_a_batch_the_running_cloud_goes_on_with_and_sent_again_it_is_the_same()
 {
    let (site, names) = fleet(250).await;
    let database = rusqlite::Connection::open(site.path("data/cloud.db")).unwrap();
    let stop = "CREATE TRIGGER stop BEFORE UPDATE ON device BEGIN SELECT RAISE(ABORT, 't'); END";
    database.execute_batch(stop).unwrap();
    for _ in 0..2 {
        // The row is there, and no device has its task.
        assert_eq!(site.refused("BatchUpdateFirmware", batch(&names)).await, "InternalError");
        let tasks = tasks(&site).await;
        assert_eq!((&tasks["Total"], &tasks["TaskInfos"][0]["Status"]), (&json!(1), &json!(2)));
    }
    database.execute_batch("DROP TRIGGER stop").unwrap();
    until(&site, 1, json!([{ "Status": 0, "Total": 250 }])).await;
    assert_eq!(site.act("BatchUpdateFirmware", batch(&names)).await["TaskId"], 1);
    assert_eq!(tasks(&site).await["Total"], 1);

    // The same of a cancel.
    database.execute_batch(stop).unwrap();
    let cancel = json!({ "ProductId": "A", "TaskId": 1, "Status": 6 });
    assert_eq!(site.refused("UpdateOtaTaskStatus", cancel.clone()).await, "InternalError");
    database.execute_batch("DROP TRIGGER stop").unwrap();
    until(&site, 1, json!([{ "Status": 5, "Total": 250 }])).await;
    assert_eq!(site.refused("UpdateOtaTaskStatus", cancel).await, "FailedOperation");
    // What is over or cancelled is begun anew.
    assert_eq!(site.act("BatchUpdateFirmware", batch(&names)).await["TaskId"], 2);
}

#[tokio::test]
async fn a_device_whose_row_cannot_be_read_fails_alone_and_stops_no_batch() {
    let (site, names) = fleet(3).await;
    let database = rusqlite::Connection::open(site.path("data/cloud.db")).unwrap();
    let spoilt = "UPDATE device SET state = x'7b' WHERE name = 'd1'";
    assert_eq!(database.execute(spoilt, []).unwrap(), 1);
    // What the loop knows of it is gone with a start.
    let site = Site::durable(site.end().await).await;
    assert_eq!(site.act("BatchUpdateFirmware", batch(&names)).await["TaskId"], 1);
    let wanted = json!([{ "Status": 0, "Total": 2 }, { "Status": 5, "Total": 1 }]);
    assert_eq!(distribution(&site, 1).await, wanted);
    let cancel = json!({ "ProductId": "A", "TaskId": 1, "Status": 6 });
    site.act("UpdateOtaTaskStatus", cancel).await;
    let others: Vec<String> = vec!["d0".into(), "d2".into()];
    assert_eq!(site.act("BatchUpdateFirmware", batch(&others)).await["TaskId"], 2);
}

#[tokio::test]
async fn a_batch_whose_row_cannot_be_read_stops_neither_a_start_nor_another_batch() {
    let (site, names) = fleet(2).await;
    let folder = site.end().await;
    let data = DataFolder::open(folder.path().join("data")).unwrap();
    let mut store = Sqlite::open(&data).unwrap();
    let bad = Item::new(Kind::CAMPAIGN, Batch::id("A", 7), b"no batch".to_vec());
    let bad = Item { wake: Some(0), ..bad };
    store.commit(&Commit { items: vec![bad], ..Commit::default() }).unwrap();
    drop((store, data));
    let site = Site::durable(folder).await;
    let made = site.act("BatchUpdateFirmware", batch(&names)).await;
    assert_eq!(made["TaskId"], 8, "{made}");
}

#[tokio::test]
async fn a_call_of_another_key_or_with_other_devices_is_another_batch() {
    let (site, names) = fleet(2).await;
    let (one, two) = (site.key("operator", "A").await, site.key("operator", "A").await);
    for (key, names, task) in [
        (&one, &names[..], 1),
        (&one, &names[..], 1),
        (&two, &names[..], 2),
        (&one, &names[..1], 3),
    ] {
        let made = site.act_in(HUB, key, "BatchUpdateFirmware", &batch(names)).await;
        // The second key's devices have an unfinished task: its batch is over at once.
        assert_eq!(made["TaskId"], task, "{made}");
    }
}

#[tokio::test]
async fn names_are_looked_up_in_pieces_and_the_first_that_is_no_device_is_told() {
    let (site, mut names) = fleet(250).await;
    names.push("nobody".into());
    names.push("none".into());
    let refused = site.act_in(HUB, &site.key, "BatchUpdateFirmware", &batch(&names)).await;
    assert_eq!(code(&refused), "ResourceNotFound.DeviceNotExist");
    let text = refused["Error"]["Message"].as_str().unwrap();
    assert!(text.contains("number 251 of the list"), "{text}");
    assert_eq!(tasks(&site).await["Total"], 0);
}

/// Each device of these was removed since: its events are looked for.
#[tokio::test]
#[ignore = "takes seconds of real time: the gate runs it in a step of its own"]
async fn what_one_call_reads_is_bounded_and_a_page_costs_no_more_than_what_is_on_it() {
    let (site, _) = fleet(1).await;
    let folder = site.end().await;
    let data = DataFolder::open(folder.path().join("data")).unwrap();
    let mut store = Sqlite::open(&data).unwrap();
    let newest = 14;
    let entries: Vec<Value> = (0..2_000)
        .map(|n| json!({ "name": format!("gone{n}"), "task": { "device": 1, "number": 1 } }))
        .collect();
    for number in 1..=newest {
        let mut made = Batch::new(
            "A",
            "1.0.0",
            ota_cloud::batch::Mode::DeviceNames,
            ota_cloud::TaskOptions::default(),
        );
        made.number = number;
        let mut row: Value = serde_json::from_slice(&made.to_bytes().unwrap()).unwrap();
        row["entries"] = json!(entries);
        let body = row.to_string().into_bytes();
        // As an earlier version stored it.
        Batch::from_bytes(&body).unwrap();
        let item = Item::new(Kind::CAMPAIGN, Batch::id("A", number), body);
        store.commit(&Commit { items: vec![item], ..Commit::default() }).unwrap();
    }
    drop((store, data));
    let site = Site::durable(folder).await;
    let of = json!({ "ProductId": "A", "FirmwareVersion": "1.0.0" });
    // The counts of large batches tell their states.
    let all = site.act("DescribeFirmwareTaskStatistics", of.clone()).await;
    assert_eq!(all["FailureTotal"], 2_000 * newest);
    assert_eq!(distribution(&site, newest).await, json!([{ "Status": 5, "Total": 2_000 }]));
    let tasks = tasks(&site).await;
    assert_eq!(
        (&tasks["Total"], &tasks["TaskInfos"][0]["TaskId"]),
        (&json!(newest), &json!(newest))
    );
    let mut page = of.clone();
    (page["Offset"], page["Limit"]) = (json!(1_999), json!(2));
    let devices = site.act("DescribeFirmwareTaskDevices", page.clone()).await;
    assert_eq!(devices["Total"], 2_000 * newest);
    let names: Vec<&Value> =
        devices["Devices"].as_array().unwrap().iter().map(|row| &row["DeviceName"]).collect();
    assert_eq!(names, ["gone1999", "gone0"]);
    page["Filters"] = json!([{ "Key": "Status", "Value": "5" }]);
    assert_eq!(site.refused("DescribeFirmwareTaskDevices", page).await, "LimitExceeded");
}

#[tokio::test]
async fn a_batch_of_waves_is_made_shown_paused_and_opened_by_people_who_see_its_state() {
    let (site, _) = fleet(6).await;
    let batches = "/products/A/batches";
    let new = json!({ "version": "1.0.0", "all": true, "comment": "the hall", "waves": [
        { "count": 2, "gate": { "person": true }, "stop": { "failures": 1 } },
        { "pace": { "at_once": 3 } },
    ] });
    let made = site.call("POST", batches, &new.to_string()).await.expect(201);
    assert_eq!(
        (&made["devices"], &made["state"], &made["wave"]),
        (&json!(6), &json!("running"), &json!(1))
    );
    let shown = || async {
        let shown = site.get("/products/A/batches/1").await.expect(200);
        let waves = shown["waves"].as_array().unwrap().clone();
        (shown, waves)
    };
    let begun = async { while shown().await.1[0]["counts"]["offline"] != 2 {} };
    timeout(PATIENCE, begun).await.unwrap();
    let (batch, waves) = shown().await;
    assert_eq!((&batch["status"], &batch["waits"]), (&json!("running"), &json!("devices")));
    assert_eq!((&waves[0]["who"], &waves[0]["state"]), (&json!("the first 2"), &json!("running")));
    assert_eq!((&waves[1]["devices"], &waves[1]["waiting"]), (&json!(4), &json!(4)));
    assert_eq!(batch["counts"], json!({ "offline": 2, "pending": 4 }));

    // Two people saw the same state, and one of them was first.
    let rev = batch["rev"].as_u64().unwrap();
    let with = |rev: u64| json!({ "rev": rev }).to_string();
    let paused = site.call("POST", "/products/A/batches/1/pause", &with(rev)).await.expect(200);
    assert_eq!((&paused["state"], &paused["why"]), (&json!("paused"), &json!("asked")));
    let late = site.call("POST", "/products/A/batches/1/next", &with(rev)).await;
    assert_eq!(late.problem(409), "conflict");
    let rev = paused["rev"].as_u64().unwrap();
    let early = site.call("POST", "/products/A/batches/1/next", &with(rev)).await;
    assert_eq!(early.problem(409), "wrong-state");
    site.call("POST", "/products/A/batches/1/resume", "").await.expect(200);
    let next = site.call("POST", "/products/A/batches/1/next", "").await.expect(200);
    assert_eq!(next["wave"], 2);
    let begun = async { while shown().await.1[1]["waiting"] != 3 {} };
    timeout(PATIENCE, begun).await.unwrap();
    // The absent two of the first wave have their places still. Its firmware stays while it runs.
    let gone = site.call("DELETE", "/products/A/firmware/1.0.0", "").await;
    assert_eq!(gone.problem(409), "in-use");
    let end = site.call("POST", "/products/A/batches/1/cancel", r#"{"let_run":true}"#).await;
    assert_eq!(end.expect(200)["state"], "closed");
    let over = async { while shown().await.0["counts"] != json!({ "failed": 6 }) {} };
    timeout(PATIENCE, over).await.unwrap();
    assert_eq!(shown().await.0["reasons"][0]["text"], "cancelled");
}

#[tokio::test]
async fn a_batch_that_cannot_be_meant_is_refused_with_its_field_and_nothing_is_made() {
    let (site, names) = fleet(3).await;
    let batches = "/products/A/batches";
    let with = |more: Value| {
        let mut body = json!({ "version": "1.0.0", "all": true });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    for more in [
        json!({ "waves": [{ "count": 0 }, {}] }),
        json!({ "waves": [{ "percent": 101 }, {}] }),
        json!({ "waves": [{ "count": 1 }] }),
        json!({ "waves": [{}, {}] }),
        json!({ "waves": [{ "count": 1, "percent": 1 }, {}] }),
        json!({ "waves": [{ "tag": "line:9" }, {}] }),
        json!({ "waves": [{ "devices": ["d0", "d0"] }, {}] }),
        json!({ "waves": [{ "devices": ["d0"], "gate": { "successes": 2 } }, {}] }),
        json!({ "starts": 4_000_000_000_000_000_u64, "ends": 3_000_000_000_000_000_u64 }),
        json!({ "ends": 1 }),
        json!({ "windows": [{ "days": 0, "from": 1, "until": 2 }] }),
        json!({ "retries": 11 }),
        json!({ "waves": [{ "colour": 1 }] }),
        json!({ "all": false, "devices": [names[0], names[0]] }),
        json!({ "all": false, "devices": [names[0]], "dynamic": true }),
        json!({ "dynamic": true, "waves": [{ "percent": 100 }] }),
        json!({ "user_defined": "x".repeat(1_537) }),
    ] {
        let refused = site.call("POST", batches, &with(more.clone())).await;
        assert_eq!(refused.problem(400), "invalid", "{more}");
    }
    assert_eq!(site.get(batches).await.expect(200)["batches"], json!([]));
}

/// A device's text may be anything; here as JSON has it.
const TEXT: &str = r#"=cmd, \"x\";=1"#;

#[tokio::test]
async fn the_results_of_a_batch_are_a_table_and_it_can_be_begun_again() {
    let (site, _) = fleet(4).await;
    let made = site.call("POST", "/products/A/devices", r#"{"name":"e1"}"#).await.expect(201);
    let secret = made["secret"].as_str().unwrap().to_owned();
    let mut device = Device::start(&site, "e1", &secret, "0.1.0").await;
    let new = json!({ "version": "1.0.0", "devices": ["d3", "e1", "d0"], "comment": "the hall",
        "retries": 1, "waves": [{ "devices": ["e1"], "stop": { "failures": 1 } }, {}] });
    site.call("POST", "/products/A/batches", &new.to_string()).await.expect(201);
    let text = format!(
        r#"{{"type":"report_progress","report":{{"progress":{{"state":"fail","result_code":"-4","result_msg":"{TEXT}"}},"version":"1.0.0"}}}}"#
    );
    crate::firmware::offer(&mut device).await;
    device.say(&text).await;
    let path = "/products/A/batches/1";
    site.until(path, |batch| batch["state"] == "paused").await;
    let table = site.results("A", 1).await;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "device,from,status,percent,code,text,at,attempt");
    let wanted = r#""e1","0.1.0","pending","","-4","'=cmd, ""x"";=1","#;
    assert!(lines[1].starts_with(wanted), "{table}");
    assert_eq!(&lines[2..], ["d3,,pending,,0,,,1", "d0,,pending,,0,,,1"]);

    // A device that is no more is left out, and the waves stay.
    site.call("DELETE", "/products/A/devices/d0", "").await.expect(204);
    let again = site.call("POST", &format!("{path}/clone"), r#"{"version":"9.9"}"#).await;
    assert_eq!(again.problem(404), "unknown-firmware");
    let list = site.call("POST", &format!("{path}/clone"), "[]").await;
    assert_eq!(list.problem(400), "invalid");
    let made = site.call("POST", &format!("{path}/clone"), "").await.expect(201);
    assert_eq!(
        (&made["batch"], &made["devices"], &made["comment"]),
        (&json!(2), &json!(2), &json!("the hall"))
    );
    let shown = site.get("/products/A/batches/2").await.expect(200);
    assert_eq!(
        (&shown["waves"][0]["who"], &shown["waves"][0]["devices"], &shown["waves"][0]["stop"]),
        (&json!("the first 1"), &json!(1), &site.get(path).await.json()["waves"][0]["stop"])
    );
    let commands = shown["commands"].as_array().unwrap();
    // Its first device still has a task of the other batch, which trips the rule at once.
    let word = if shown["state"] == "paused" { "resume" } else { "pause" };
    assert!(commands.contains(&json!(word)) && commands.contains(&json!("cancel")), "{shown}");
    let table = site.results("A", 2).await;
    assert!(
        table.lines().skip(1).map(|line| line.trim_matches('"')[..2].to_owned()).eq(["e1", "d3"]),
        "{table}"
    );
    // A wave without a device that still exists is left out.
    site.call("DELETE", "/products/A/devices/d3", "").await.expect(204);
    site.call("POST", &format!("{path}/clone"), "").await.expect(201);
    let shown = site.get("/products/A/batches/3").await.expect(200);
    assert_eq!(shown["waves"].as_array().unwrap().len(), 1, "{shown}");
    for number in ["01", "+1", "1.0"] {
        assert_eq!(
            site.get(&format!("/products/A/batches/{number}")).await.problem(400),
            "invalid"
        );
    }
    let foreign = site.key("viewer", "B-not-there").await;
    let refused = site.call_as(&foreign, "GET", &format!("{path}/results"), "").await;
    assert_eq!(refused.problem(404), "unknown-product");
}
