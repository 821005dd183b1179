//! What is read from the vendor's API.

use ota_cloud::api::Registering;
use ota_cloud::table::{Ask, Import, Pull, Source, response};
use serde_json::{Value, json};

const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
const HOSTILE: &str = "a/b\u{1b}[31m\u{202e}\n";

/// Answers until nothing is asked any more; what was asked.
fn all(pull: &mut Pull, answer: impl Fn(&Ask, &Value) -> Value) -> Vec<String> {
    let mut asked = Vec::new();
    while let Some(ask) = pull.ask() {
        let body: Value = serde_json::from_str(&ask.body).unwrap();
        asked.push(format!("{} {}", ask.action, body["Offset"]));
        pull.answered(&answer(&ask, &body)).unwrap();
        assert!(asked.len() < 1_000, "it ends");
    }
    asked
}

fn hub(ask: &Ask, body: &Value) -> Value {
    match ask.action {
        "DescribeProducts" => json!({ "TotalCount": 3, "Products": [
            { "ProductId": "P1", "ProductName": "lamp" },
            { "ProductId": HOSTILE, "ProductName": "n" },
            { "ProductId": "P2", "ProductName": HOSTILE },
        ] }),
        "DescribeProduct" => json!({ "ProductProperties": { "RegisterType": 2, "RegisterLimit": 5,
            "ProductSecret": "ABCDEFGHIJKLMNOPQRSTUVWX" } }),
        "DescribeDevices" if body["ProductId"] == "P2" => json!({ "TotalCount": 0 }),
        "DescribeDevices" => {
            let offset = body["Offset"].as_u64().unwrap();
            // A device that was shown before comes again.
            let from = offset.saturating_sub(1);
            let devices: Vec<Value> = (from..250.min(offset + 100))
                .map(|n| {
                    json!({ "DeviceName": format!("d{n}"), "DevicePsk": SECRET,
                    "EnableState": u8::from(n != 7), "Tags": [{ "Tag": "t", "Value": "v" }] })
                })
                .collect();
            json!({ "TotalCount": 250, "Devices": devices })
        }
        "ListFirmwares" => json!({ "TotalCount": 2, "Firmwares": [
            { "Version": "1.0.0", "Md5sum": "0".repeat(32), "FwType": "moudule", "Name": "n",
              "UserDefined": "u" },
            { "Version": HOSTILE, "Md5sum": "0".repeat(32) },
        ] }),
        other => panic!("{other}"),
    }
}

#[test]
fn a_source_is_read_page_by_page_and_nothing_of_it_is_believed() {
    let mut pull = Pull::new(Source::Hub, &[]);
    let asked = all(&mut pull, hub);
    assert_eq!(asked[..2], ["DescribeProducts 0", "DescribeProduct null"]);
    let (table, products, images, skipped) = pull.done();
    assert_eq!(table.rows().len(), 250, "each once");
    assert!(table.without_secret().is_none());
    let disabled: Vec<&str> = table
        .rows()
        .iter()
        .filter(|row| row.device.disabled)
        .map(|row| row.device.name.as_str())
        .collect();
    assert_eq!(disabled, ["d7"]);
    assert_eq!(products.keys().collect::<Vec<_>>(), ["P1", "P2"]);
    let lamp = &products["P1"];
    assert_eq!((lamp.name.as_str(), products["P2"].name.as_str()), ("lamp", ""));
    let registration = lamp.registration.unwrap();
    assert_eq!((registration.mode, registration.limit), (Registering::Any, 5));
    assert_eq!(lamp.secret.as_ref().unwrap().expose().len(), 24);
    assert_eq!(images.len(), 2, "one of each product");
    let fields: Vec<_> = images[0].fields().collect();
    assert!(fields.contains(&("module", "module".to_owned())), "{fields:?}");
    assert!(fields.contains(&("user_defined", "u".to_owned())), "{fields:?}");
    assert_eq!(skipped.len(), 3, "{skipped:?}");
}

#[test]
fn the_same_source_is_the_same_import_again() {
    let request = || {
        let mut pull = Pull::new(Source::Hub, &["P1".to_owned()]);
        all(&mut pull, hub);
        let request = Import::new(pull.done().0, ["P1".to_owned()]).request().unwrap();
        (request.key, request.body)
    };
    assert_eq!(request(), request());
}

#[test]
fn where_a_list_has_no_secrets_each_device_is_asked_for() {
    let mut pull = Pull::new(Source::Explorer, &["P".to_owned()]);
    let asked = all(&mut pull, |ask, body| match ask.action {
        "DescribeProductDynamicRegister" => json!({ "RegisterType": 0 }),
        "GetDeviceList" => json!({ "Total": 3, "Devices": [
            { "DeviceName": "d1" }, { "DeviceName": HOSTILE }, { "DeviceName": "d2" },
        ] }),
        "DescribeDevice" if body["DeviceName"] == "d1" => {
            json!({ "Device": { "DeviceName": "d1", "DevicePsk": SECRET } })
        }
        "DescribeDevice" => json!({ "Device": { "DeviceName": "d2", "DevicePsk": "no Base64" } }),
        "ListFirmwares" => json!({ "TotalCount": 0, "Firmwares": null }),
        other => panic!("{other}"),
    });
    assert_eq!(asked.len(), 5);
    let (table, _, images, skipped) = pull.done();
    let row = &table.rows()[0];
    assert_eq!((row.device.name.as_str(), row.device.secret.as_deref()), ("d1", Some(SECRET)));
    assert!(table.rows().len() == 1 && images.is_empty());
    assert_eq!(skipped.len(), 2);
    assert!(skipped.iter().all(|one| !one.why.contains("no Base64")), "{skipped:?}");
}

#[test]
fn a_refusal_ends_the_reading_unless_it_is_of_one_thing() {
    let mut pull = Pull::new(Source::Hub, &["P".to_owned()]);
    assert!(!pull.refused("AuthFailure.SignatureFailure", "w"));
    assert!(!pull.refused("", "nobody"));
    assert!(pull.refused("InvalidAction", "w"), "settings of registration");
    assert_eq!(pull.ask().unwrap().action, "DescribeDevices");
    assert!(!pull.refused("ResourceNotFound.ProductNotExist", "w"), "no such product");
    pull.answered(&json!({ "TotalCount": 0, "Devices": [] })).unwrap();
    assert!(pull.refused("InvalidAction", "w"), "firmware");
    assert_eq!(pull.ask(), None);
    assert_eq!(pull.done().3.len(), 2);
}

#[test]
fn invalid_answers_are_reported_and_end_it() {
    for (body, wanted) in [
        (r#"{"Response":{"RequestId":"r"}}"#, Ok(())),
        (r#"{"Response":{"Error":{"Code":"C","Message":"m"}}}"#, Err("C")),
        (r#"{"Response":{"Error":{}}}"#, Err("?")),
        (r#"{"Response":[]}"#, Err("")),
        ("[]", Err("")),
        ("<html>", Err("")),
        ("", Err("")),
    ] {
        let read = response(body.as_bytes());
        assert_eq!(read.map(drop).map_err(|(code, _)| code), wanted.map_err(str::to_owned));
    }
    for bad in [json!({}), json!({ "Devices": {} }), json!({ "TotalCount": 5 })] {
        let mut pull = Pull::new(Source::Hub, &["P".to_owned()]);
        pull.answered(&json!({})).unwrap();
        assert!(pull.answered(&bad).is_err(), "{bad}");
    }
    // One that says there is more than there is, or says it forever, ends.
    let mut pull = Pull::new(Source::Hub, &["P".to_owned()]);
    let asked = all(&mut pull, |ask, body| match ask.action {
        "DescribeDevices" if body["Offset"] == 0 => {
            json!({ "TotalCount": 1u64 << 60, "Devices": [{ "DeviceName": "d", "DevicePsk": "" }] })
        }
        "DescribeDevices" => json!({ "TotalCount": 1u64 << 60, "Devices": [] }),
        "DescribeProduct" => json!({ "ProductProperties": "x" }),
        _ => json!({ "Firmwares": [] }),
    });
    assert_eq!(asked.len(), 4);
    assert_eq!(pull.done().0.without_secret().unwrap().device.name, "d");
}

#[test]
fn a_source_without_end_takes_no_more_memory_than_is_allowed() {
    let long = "x".repeat(100_000);
    let mut pull = Pull::new(Source::Hub, &[]);
    let mut asked = 0_u64;
    while let Some(ask) = pull.ask() {
        let body: Value = serde_json::from_str(&ask.body).unwrap();
        let from = body["Offset"].as_u64().or(body["PageNum"].as_u64()).unwrap_or(0);
        let many = |make: &dyn Fn(u64) -> Value| {
            let all: Vec<Value> = (from * 1_000..from * 1_000 + 1_000).map(make).collect();
            all
        };
        let answer = match ask.action {
            "DescribeProducts" => json!({ "TotalCount": 1u64 << 60,
                "Products": many(&|n| json!({ "ProductId": format!("P{n}") })) }),
            "DescribeProduct" => json!({ "ProductProperties": {} }),
            "DescribeDevices" => json!({ "TotalCount": 1u64 << 60,
                "Devices": [{ "DeviceName": long, "DevicePsk": "" }] }),
            _ => json!({ "TotalCount": 1u64 << 60, "Firmwares": many(&|n| {
                json!({ "Version": format!("1.{n}"), "Md5sum": "0".repeat(32) })
            }) }),
        };
        pull.answered(&answer).unwrap();
        asked += 1;
        if asked == 12_000 {
            break;
        }
    }
    let (table, products, images, skipped) = pull.done();
    assert!(table.rows().is_empty());
    assert!(products.len() <= 10_000 && images.len() <= 10_000 && skipped.len() <= 10_001);
    let longest = skipped.iter().map(|one| one.what.len().max(one.why.len())).max().unwrap();
    assert!(longest <= 256 * 4, "{longest}");
}

#[test]
fn firmware_that_a_cloud_refuses_is_left_out() {
    let mut pull = Pull::new(Source::Hub, &["P".to_owned()]);
    all(&mut pull, |ask, _| match ask.action {
        "DescribeProduct" => json!({}),
        "DescribeDevices" => json!({ "TotalCount": 0 }),
        _ => json!({ "TotalCount": 3, "Firmwares": [
            { "Version": "1", "Md5sum": "0".repeat(32), "Name": "n".repeat(200) },
            { "Version": "2", "Md5sum": "0".repeat(32), "UserDefined": "u".repeat(2_000) },
            { "Version": "3", "Md5sum": "0".repeat(32) },
        ] }),
    });
    let (_, _, images, skipped) = pull.done();
    assert_eq!((images[0].version.as_str(), images.len(), skipped.len()), ("3", 1, 2));
}
