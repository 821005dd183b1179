//! The vendor's API over sockets, signed here by its recipe. Its own clients are in the gate.

use std::sync::atomic::{AtomicU64, Ordering};

use ota_cloud::batch::Batch;
use ota_cloud::vendor::UploadPlace;
use ota_server::ServiceConfig;
use ota_store::{Commit, DataFolder, Kind, Sqlite, Store as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::devices::{Device, made};
use crate::firmware::offer;
use crate::{PATIENCE, Site};

static NEXT: AtomicU64 = AtomicU64::new(0);
pub(crate) const HUB: &str = "2021-04-08";
pub(crate) const EXPLORER: &str = "2019-04-23";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    let hashed = sha256(key);
    let key = if key.len() > 64 { &hashed } else { key };
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|byte| byte ^ with).to_vec();
    sha256(&[pad(0x5c), sha256(&[pad(0x36), text.to_vec()].concat()).to_vec()].concat())
}

#[allow(clippy::disallowed_methods, reason = "a client's clock")]
pub(crate) fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_secs()
}

/// The UTC day, counted from the first of 2024. (A program for it would inherit the lock of a
/// folder for a moment.)
fn day(unix: u64) -> String {
    let mut days = (unix - 1_704_067_200) / 86_400;
    for year in 2024_u64.. {
        let february = if year % 4 == 0 { 29 } else { 28 };
        for (month, length) in
            [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].iter().enumerate()
        {
            if days < *length {
                return format!("{year}-{:02}-{:02}", month + 1, days + 1);
            }
            days -= length;
        }
    }
    unreachable!()
}

/// What one request has that another has not.
pub(crate) struct Sent<'a> {
    pub(crate) key: &'a str,
    pub(crate) version: &'a str,
    pub(crate) at: u64,
    /// Headers beside the common ones.
    pub(crate) more: &'a str,
}

/// The bytes of a signed POST.
pub(crate) fn signed(action: &str, body: &str, sent: &Sent<'_>) -> Vec<u8> {
    let mut parts = sent.key.split('.').skip(1);
    let (id, secret) = (parts.next().unwrap(), parts.next().unwrap());
    let (host, at) = ("cloud.example:8081", sent.at);
    let canonical = format!(
        "POST\n/\n\ncontent-type:application/json\nhost:{host}\n\ncontent-type;host\n{}",
        hex(&sha256(body.as_bytes()))
    );
    let date = day(at);
    let scope = format!("{date}/iotcloud/tc3_request");
    let text = format!("TC3-HMAC-SHA256\n{at}\n{scope}\n{}", hex(&sha256(canonical.as_bytes())));
    let key = hmac(&hmac(format!("TC3{secret}").as_bytes(), date.as_bytes()), b"iotcloud");
    let signature = hex(&hmac(&hmac(&key, b"tc3_request"), text.as_bytes()));
    format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         X-TC-Action: {action}\r\nX-TC-Version: {}\r\nX-TC-Timestamp: {at}\r\n{}\
         Authorization: TC3-HMAC-SHA256 Credential={id}/{scope}, \
         SignedHeaders=content-type;host, Signature={signature}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        sent.version,
        sent.more,
        body.len()
    )
    .into_bytes()
}

impl Site {
    /// Sends what may be a request of the vendor's; the answer always has the envelope.
    pub(crate) async fn vendor(&self, bytes: &[u8]) -> Value {
        let answer = self.send(bytes).await;
        let value = answer.expect(200);
        let exact = "\r\ncontent-type: application/json\r\n";
        assert!(answer.head.contains(exact), "{}", answer.head);
        assert!(answer.head.contains("\r\ncontent-length: "), "{}", answer.head);
        let id = value["Response"]["RequestId"].as_str().unwrap();
        assert_eq!(id.len(), 36);
        value["Response"].clone()
    }

    pub(crate) async fn act_in(
        &self,
        version: &str,
        key: &str,
        action: &str,
        body: &Value,
    ) -> Value {
        let sent = Sent { key, version, at: now(), more: "" };
        let mut body = body.clone();
        // What changed something is not taken twice, and a second is long.
        body["Unknown"] = json!(NEXT.fetch_add(1, Ordering::Relaxed));
        self.vendor(&signed(action, &body.to_string(), &sent)).await
    }

    /// An action by the first key.
    pub(crate) async fn act(&self, action: &str, body: Value) -> Value {
        let answer = self.act_in(HUB, &self.key, action, &body).await;
        assert_eq!(answer["Error"], Value::Null, "{action}");
        answer
    }

    /// The code of an action that is refused.
    pub(crate) async fn refused(&self, action: &str, body: Value) -> String {
        code(&self.act_in(HUB, &self.key, action, &body).await)
    }

    /// Three steps.
    pub(crate) async fn publish(&self, version: &str, bytes: &[u8]) {
        let url = self.place(version, bytes.len()).await;
        assert_eq!(self.put(&url, bytes).await, 200);
        self.act("UploadFirmware", firmware(version, bytes)).await;
    }

    pub(crate) async fn place(&self, version: &str, size: usize) -> String {
        let asked = json!({ "ProductId": "A", "FirmwareVersion": version, "FileSize": size });
        self.act("GetCOSURL", asked).await["Url"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn put(&self, url: &str, bytes: &[u8]) -> u16 {
        let path = url.strip_prefix("http://cloud.example:8081").unwrap();
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            bytes.len()
        );
        self.send(&[head.as_bytes(), bytes].concat()).await.status
    }
}

fn firmware(version: &str, bytes: &[u8]) -> Value {
    let mut digester = ota_proto::Digester::new();
    digester.update(bytes);
    json!({
        "ProductId": "A", "FirmwareVersion": version, "Md5sum": digester.finish().to_string(),
        "FileSize": bytes.len().to_string(), "FirmwareName": "name", "FwType": "mcu",
    })
}

#[track_caller]
pub(crate) fn code(answer: &Value) -> String {
    answer["Error"]["Code"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

pub(crate) async fn durable() -> Site {
    Site::durable(tempfile::tempdir().unwrap()).await
}

async fn status(site: &Site, device: &str) -> Value {
    let asked = json!({ "ProductId": "A", "FirmwareVersion": "1.0.0", "Filters": [
        { "Key": "DeviceName", "Value": device },
    ] });
    site.act("DescribeFirmwareTaskDevices", asked).await["Devices"][0]["Status"].clone()
}

#[tokio::test]
async fn firmware_comes_in_by_three_steps_and_is_shown_edited_and_removed() {
    for site in [Site::new().await, durable().await] {
        site.product("A", &[]).await;
        let url = site.place("1.0.0", 8).await;
        let meant = firmware("1.0.0", b"firmware");
        assert_eq!(site.refused("UploadFirmware", meant.clone()).await, "FailedOperation");
        assert_eq!(site.put(&url, b"firmware!").await, 400);
        assert_eq!(site.put(&url.replace("token=", "token=0"), b"firmware").await, 403);
        assert_eq!(site.put(&url, b"FIRMWARE").await, 200);
        assert_eq!(site.put(&url, b"firmware").await, 403, "once");
        assert_eq!(site.refused("UploadFirmware", meant.clone()).await, "FailedOperation");
        site.publish("1.0.0", b"firmware").await;
        let exists = "InvalidParameterValue.FirmwareAlreadyExist";
        assert_eq!(site.refused("UploadFirmware", meant).await, exists);

        let one = json!({ "ProductID": "A", "FirmwareVersion": "1.0.0" });
        let shown = site.act("DescribeFirmware", one.clone()).await;
        assert_eq!((&shown["Name"], &shown["FwType"]), (&json!("name"), &json!("mcu")));
        assert!(shown["Createtime"].as_u64().unwrap() + 1_000 > now());
        let edit = json!({ "ProductId": "A", "FirmwareVersion": "1.0.0", "FirmwareName": "new" });
        site.act("EditFirmware", edit).await;
        let list = json!({ "PageNum": 1, "PageSize": "10" });
        let list = site.act("ListFirmwares", list).await;
        assert_eq!(
            (&list["TotalCount"], &list["Firmwares"][0]["Name"]),
            (&json!(1), &json!("new"))
        );
        let versions = site.act("GetAllVersion", json!({ "ProductId": "A" })).await;
        assert_eq!(versions["Version"], json!(["1.0.0"]));
        let url = site.act("GetFirmwareURL", one.clone()).await;
        assert!(url["Url"].as_str().unwrap().contains("/A_1.0.0?sign="), "{url}");
        site.act("DeleteFirmware", one.clone()).await;
        let gone = "ResourceNotFound.FirmwareNotExist";
        assert_eq!(site.refused("DescribeFirmware", one).await, gone);
        // The bytes are gone with the last firmware that has them: put again, they are there.
        site.publish("1.0.0", b"firmware").await;
    }
}

#[tokio::test]
async fn what_was_put_is_there_when_its_client_goes_away_behind_the_last_byte() {
    let site = durable().await;
    site.product("A", &[]).await;
    let bytes = vec![7; 4_000_000];
    let url = site.place("1.0.0", bytes.len()).await;
    let path = url.strip_prefix("http://cloud.example:8081").unwrap();
    let head = format!("PUT {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", bytes.len());
    let mut stream = TcpStream::connect(site.running.api_addr().unwrap()).await.unwrap();
    stream.write_all(&[head.as_bytes(), &bytes].concat()).await.unwrap();
    drop(stream);
    let meant = firmware("1.0.0", &bytes);
    let claimed = async {
        while site.act_in(HUB, &site.key, "UploadFirmware", &meant).await["Error"] != Value::Null {}
    };
    timeout(PATIENCE, claimed).await.unwrap();
}

#[tokio::test]
async fn bytes_that_were_put_outlive_a_firmware_of_the_same_bytes() {
    let site = durable().await;
    site.product("A", &[]).await;
    site.publish("1.0.0", b"firmware").await;
    let url = site.place("2.0.0", 8).await;
    assert_eq!(site.put(&url, b"firmware").await, 200);
    site.call("DELETE", "/products/A/firmware/1.0.0", "").await.expect(204);
    site.act("UploadFirmware", firmware("2.0.0", b"firmware")).await;
    let image = site.get("/products/A/firmware/2.0.0/image").await;
    assert_eq!((image.status, image.body.as_slice()), (200, &b"firmware"[..]));
}

#[tokio::test]
async fn a_product_has_a_hundred_open_places() {
    let site = Site::new().await;
    site.product("A", &["d1"]).await;
    site.product("B", &[]).await;
    let list = |product: &str| json!({ "ProductId": product });
    let url = site.place("1.0.0", 8).await;
    for _ in 1..99 {
        site.act("CreateTaskFileUrl", list("A")).await;
    }
    let last = site.act("CreateTaskFileUrl", list("A")).await["Url"].clone();
    assert_eq!(site.refused("CreateTaskFileUrl", list("A")).await, "LimitExceeded");
    let other = json!({ "ProductId": "A", "FirmwareVersion": "2.0.0", "FileSize": 8 });
    assert_eq!(site.refused("GetCOSURL", other.clone()).await, "LimitExceeded");
    site.act("CreateTaskFileUrl", list("B")).await;
    // In the place of one of them, and where bytes came.
    assert_ne!(site.place("1.0.0", 8).await, url);
    assert_eq!(site.put(last.as_str().unwrap(), b"d1\n").await, 200);
    site.act("GetCOSURL", other).await;
    // What came is kept for a day, and is not without end either.
    let full = UploadPlace::room(0, UploadPlace::MOST).unwrap_err();
    assert_eq!((full.code.as_str(), UploadPlace::room(99, 499)), ("LimitExceeded", Ok(())));
}

#[tokio::test]
async fn one_device_is_updated_watched_cancelled_and_retried() {
    let site = durable().await;
    site.product("A", &["d2"]).await;
    let secret = made(&site, "d1").await;
    site.publish("1.0.0", b"firmware").await;
    let update = json!({ "ProductID": "A", "DeviceName": "d1", "FirmwareVersion": "1.0.0",
        "FirmwareOriVersion": "0.1.0" });
    let update = |field: &str, value: &str| {
        let mut update = update.clone();
        update[field] = value.into();
        update
    };
    let plain = update("DeviceName", "d1");
    let silent = "ResourceNotFound.DeviceHasNoFirmware";
    assert_eq!(site.refused("UpdateFirmware", plain.clone()).await, silent);
    let mut device = Device::start(&site, "d1", &secret, "0.1.0").await;
    let other = site.refused("UpdateFirmware", update("FirmwareOriVersion", "0.0.1")).await;
    assert_eq!(other, "FailedOperation.UpdateVersionNotMatch");
    let unknown = site.refused("UpdateFirmware", update("DeviceName", "d9")).await;
    assert_eq!(unknown, "ResourceNotFound.DeviceNotExist");
    let none = site.refused("UpdateFirmware", update("FirmwareVersion", "9")).await;
    assert_eq!(none, "ResourceNotFound.FirmwareNotExist");

    site.act("UpdateFirmware", plain.clone()).await;
    offer(&mut device).await;
    // Sent again it is the same batch; asked for in another way it is another one.
    site.act("UpdateFirmware", plain.clone()).await;
    let other = update("UpgradeMethod", "1");
    let again = site.act_in(HUB, &site.key, "UpdateFirmware", &other).await;
    assert_eq!(code(&again), "FailedOperation.DeviceRunningOtherOtaTask");
    let again = site.act_in(EXPLORER, &site.key, "UpdateFirmware", &other).await;
    assert_eq!(code(&again), "FailedOperation.OtherUpdateTaskExist");
    let of = json!({ "ProductId": "A", "FirmwareVersion": "1.0.0", "Offset": 0, "Limit": 10 });
    let tasks = site.act("DescribeFirmwareTasks", of).await;
    assert_eq!((&tasks["Total"], &tasks["TaskInfos"][0]["Status"]), (&json!(1), &json!(3)));
    let task = tasks["TaskInfos"][0]["TaskId"].clone();
    let progress = r#"{"type":"report_progress","report":{"progress":{"state":"downloading","percent":"10","result_code":"0","result_msg":""},"version":"1.0.0"}}"#;
    device.say(progress).await;
    let at = json!({ "ProductId": "A", "DeviceName": "d1" });
    let at = site.act("DescribeFirmwareUpdateStatus", at).await;
    assert_eq!((&at["Status"], &at["Percent"]), (&json!(3), &json!(10)));

    let part = json!({ "ProductId": "A", "DeviceName": "d1", "FirmwareVersion": "1.0.0",
        "TaskId": task });
    let open = "UnsupportedOperation.DeviceOtaTaskInProgress";
    assert_eq!(site.refused("RetryDeviceFirmwareTask", part.clone()).await, open);
    site.act("CancelDeviceFirmwareTask", part.clone()).await;
    let over = "FailedOperation.DeviceFirmwareTaskAlreadDone";
    assert_eq!(site.refused("CancelDeviceFirmwareTask", part.clone()).await, over);
    assert_eq!(status(&site, "d1").await, 5);
    site.act("RetryDeviceFirmwareTask", part).await;
    offer(&mut device).await;
    device.report("1.0.0").await;
    assert_eq!(status(&site, "d1").await, 6);
    let updated = "FailedOperation.DeviceFirmwareIsUpdated";
    assert_eq!(site.refused("UpdateFirmware", plain).await, updated);
    let modules = json!({ "ProductId": "A", "DeviceName": "d1" });
    let modules = site.act("DescribeDeviceFirmwares", modules).await;
    assert_eq!(modules["Firmwares"][0]["Version"], "1.0.0");
}

#[tokio::test]
async fn a_batch_is_made_whole_watched_and_survives_a_restart() {
    let site = durable().await;
    let names: Vec<String> = (0..450).map(|n| format!("d{n}")).collect();
    site.product("A", &[]).await;
    for some in names.chunks(400) {
        let headers = format!("Authorization: Bearer {}\r\nContent-Type: text/csv\r\n", site.key);
        let csv = some.join("\n");
        site.raw("POST", "/products/A/devices", &headers, csv.as_bytes()).await.expect(201);
    }
    site.publish("1.0.0", b"firmware").await;
    let batch = |names: &[String]| json!({ "ProductId": "A", "FirmwareVersion": "1.0.0", "DeviceNames": names });
    let task = site.act("BatchUpdateFirmware", batch(&names)).await["TaskId"].clone();
    assert_eq!(task, 1);
    let shown = json!({ "ProductId": "A", "FirmwareVersion": "1.0.0", "TaskId": task });
    let of = site.act("DescribeFirmwareTaskDistribution", shown.clone()).await;
    assert_eq!(of["StatusInfos"], json!([{ "Status": 0, "Total": 450 }]));
    // Devices with an unfinished task keep it, unless the batch overrides.
    let again = site.act("BatchUpdateFirmware", batch(&names[..2])).await["TaskId"].clone();
    let again = json!({ "ProductId": "A", "FirmwareVersion": "1.0.0", "TaskId": again });
    let of = site.act("DescribeFirmwareTaskDistribution", again).await;
    assert_eq!(of["StatusInfos"], json!([{ "Status": 5, "Total": 2 }]));
    let mut over = batch(&names[..2]);
    over["OverrideMode"] = json!(1);
    assert_eq!(site.act("BatchUpdateFirmware", over).await["TaskId"], 3);
    let of = site.act("DescribeFirmwareTaskDistribution", shown.clone()).await;
    let wanted = json!([{ "Status": 0, "Total": 448 }, { "Status": 5, "Total": 2 }]);
    assert_eq!(of["StatusInfos"], wanted, "what was overridden is told from its events");

    let mut unknown = names[..3].to_vec();
    unknown.push("nobody".into());
    let refused = site.refused("BatchUpdateFirmware", batch(&unknown)).await;
    assert_eq!(refused, "ResourceNotFound.DeviceNotExist");
    let site = Site::durable(site.end().await).await;
    let whole = site.act("DescribeFirmwareTask", shown.clone()).await;
    assert_eq!((&whole["Status"], &whole["UpgradeMode"]), (&json!(3), &json!("devicenames")));
    let cancel = json!({ "ProductId": "A", "TaskId": 1, "Status": 6 });
    site.act("UpdateOtaTaskStatus", cancel.clone()).await;
    assert_eq!(site.act("DescribeFirmwareTask", shown).await["Status"], 6);
    assert_eq!(site.refused("UpdateOtaTaskStatus", cancel).await, "FailedOperation");
    let all = json!({ "ProductId": "A", "FirmwareVersion": "1.0.0" });
    let all = site.act("DescribeFirmwareTaskStatistics", all).await;
    assert_eq!((&all["FailureTotal"], &all["UpgradingTotal"]), (&json!(452), &json!(2)));
}

#[tokio::test]
async fn a_cancel_that_was_cut_off_is_finished_by_a_start_or_by_another_one() {
    let site = durable().await;
    site.product("A", &["d1", "d2"]).await;
    site.publish("1.0.0", b"firmware").await;
    for device in ["d1", "d2"] {
        let batch = json!({ "ProductId": "A", "FirmwareVersion": "1.0.0",
            "DeviceNames": [device] });
        site.act("BatchUpdateFirmware", batch).await;
    }
    let folder = site.end().await;
    // What is kept when a stop comes behind the rows: once as it is, and once without a wake.
    let data = DataFolder::open(folder.path().join("data")).unwrap();
    let mut store = Sqlite::open(&data).unwrap();
    for (number, wakes) in [(1, true), (2, false)] {
        let id = Batch::id("A", number);
        let mut item = store.read().item(Kind::CAMPAIGN, &id).unwrap().unwrap();
        let mut batch = Batch::from_bytes(&item.body).unwrap();
        batch.cancel(ota_proto::Instant::from_micros(1));
        batch.ending = wakes;
        (item.body, item.wake) = (batch.to_bytes().unwrap(), wakes.then_some(batch.made));
        store.commit(&Commit { items: vec![item], ..Commit::default() }).unwrap();
    }
    drop((store, data));
    let site = Site::durable(folder).await;
    let task = async |device: &str| {
        let shown = site.get(&format!("/products/A/devices/{device}")).await.expect(200);
        shown["task"]["status"].clone()
    };
    assert_eq!((task("d1").await, task("d2").await), (json!("failed"), json!("offline")));
    let cancel = |task: u32| json!({ "ProductId": "A", "TaskId": task, "Status": 6 });
    assert_eq!(site.refused("UpdateOtaTaskStatus", cancel(1)).await, "FailedOperation");
    site.act("UpdateOtaTaskStatus", cancel(2)).await;
    assert_eq!(task("d2").await, "failed");
    assert_eq!(site.refused("UpdateOtaTaskStatus", cancel(2)).await, "FailedOperation");
}

#[tokio::test]
async fn a_batch_is_made_by_list_and_by_version() {
    let site = durable().await;
    site.product("A", &["d2"]).await;
    let secret = made(&site, "d1").await;
    site.publish("1.0.0", b"firmware").await;
    let mut device = Device::start(&site, "d1", &secret, "0.1.0").await;
    let place = site.act("CreateTaskFileUrl", json!({ "ProductId": "A" })).await;
    assert_eq!(site.put(place["Url"].as_str().unwrap(), b"d1\nd2\n").await, 200);
    let list = json!({ "ProductId": "A", "FirmwareVersion": "1.0.0", "FileName": place["FileName"],
        "FileSize": 6 });
    site.act("BatchUpdateFirmware", list).await;
    offer(&mut device).await;
    let from = |version: &str| {
        json!({ "ProductId": "A", "FirmwareVersion": "1.0.0", "FirmwareOriVersion": version,
            "OverrideMode": 1, "UpgradeMethod": 1 })
    };
    let none = site.refused("BatchUpdateFirmware", from("0.0.1")).await;
    assert_eq!(none, "ResourceNotFound.DeviceNotExist");
    site.act("BatchUpdateFirmware", from("0.1.0")).await;
    assert_eq!(status(&site, "d1").await, 8, "a person has to agree");
    let agree = json!({ "ProductId": "A", "DeviceName": "d1" });
    assert_eq!(site.act("PublishFirmwareUpdateMessage", agree).await["Status"], "OK");
    offer(&mut device).await;
    let away = json!({ "ProductId": "A", "DeviceName": "d2" });
    let away = site.refused("PublishFirmwareUpdateMessage", away).await;
    assert_eq!(away, "FailedOperation.DeviceOffline");
}

#[tokio::test]
async fn who_may_what_and_other_products_are_unknown_ones_byte_for_byte() {
    let site = Site::new().await;
    site.product("A", &["d"]).await;
    site.product("B", &["d"]).await;
    let (viewer, admin) = (site.key("viewer", "A").await, site.key("admin", "A").await);
    let all = |product: &str| {
        json!({
            "ProductId": product, "FirmwareVersion": "1", "DeviceName": "d", "TaskId": 1,
            "Status": 6, "Md5sum": "0123456789abcdef0123456789ABCDEF", "FileSize": 1024,
            "FirmwareName": "n", "FirmwareOriVersion": "0", "Offset": 0, "Limit": 10, "PageNum": 1,
            "PageSize": 10, "FwType": "bms", "RegisterType": 2,
            "RegisterLimit": 1, "ProductName": "n", "CategoryId": 1, "ProductType": 0,
            "EncryptionType": "2", "NetType": "wifi", "DataProtocol": 2, "ProductDesc": "",
            "ProjectId": "p", "ProductProperties": { "EncryptionType": "2" },
        })
    };
    let none = ["ListOtaModules", "DescribeProducts", "GetStudioProductList"];
    for name in ota_cloud::vendor::Action::NAMES {
        let right = ota_cloud::vendor::Action::right(name);
        let service = right == ota_cloud::api::Right::Administer;
        let body = |product: &str| {
            let mut body = all(product);
            if *name == "UpdateDevicesEnableState" {
                (body["DeviceNames"], body["Status"]) = (json!(["d"]), json!(0));
            }
            body
        };
        let mut answers = Vec::new();
        for product in ["B", "nobodys"] {
            let mut answer = site.act_in(EXPLORER, &admin, name, &body(product)).await;
            answer["RequestId"] = Value::Null;
            answers.push(answer);
        }
        assert_eq!(answers[0], answers[1], "{name}");
        if service {
            assert_eq!(code(&answers[0]), "AuthFailure.UnauthorizedOperation", "{name}");
        } else if !none.contains(name) {
            let unknown = "ResourceNotFound.ProductOrDeviceNotExist";
            assert_eq!(code(&answers[0]), unknown, "{name}");
        }
        let mine = site.act_in(HUB, &viewer, name, &body("A")).await;
        let forbidden = mine["Error"]["Code"] == "AuthFailure.UnauthorizedOperation";
        let changes = right != ota_cloud::api::Right::Read;
        assert_eq!(forbidden, changes, "{name}: {mine}");
    }
}

#[tokio::test]
async fn signatures_that_are_wrong_old_or_used_and_invalid_requests_are_refused() {
    let site = Site::new().await;
    site.product("A", &["d"]).await;
    let list = json!({ "ProductId": "A" }).to_string();
    let at = now();
    let plain = || Sent { key: &site.key, version: HUB, at, more: "" };
    let read = signed("ListProductOtaModules", &list, &plain());
    for _ in 0..2 {
        // What only reads may be sent again.
        assert_eq!(site.vendor(&read).await["Modules"].as_array().unwrap().len(), 2);
    }
    let change = json!({ "ProductId": "A", "FwType": "bms" }).to_string();
    let change = signed("CreateOtaModule", &change, &plain());
    assert_eq!(site.vendor(&change).await["Error"], Value::Null);
    assert_eq!(code(&site.vendor(&change).await), "AuthFailure.SignatureFailure");
    // What was refused changed nothing.
    let wrong = json!({ "ProductId": "A", "FwType": "mcu" }).to_string();
    let wrong = signed("CreateOtaModule", &wrong, &plain());
    for _ in 0..2 {
        assert_eq!(code(&site.vendor(&wrong).await), "InvalidParameterValue");
    }
    let text = String::from_utf8(read.clone()).unwrap();
    let gone = Sent { at: at - 400, ..plain() };
    let gone = signed("ListProductOtaModules", &list, &gone);
    let digit = if site.key.starts_with("ota1.0") { '1' } else { '0' };
    let unknown = format!("ota1.{digit}{}", &site.key[6..]);
    let token = Sent { more: "X-TC-Token: t\r\n", ..plain() };
    let version = Sent { version: "2000-01-01", ..plain() };
    for (bytes, wanted) in [
        (gone, "AuthFailure.SignatureExpire"),
        (signed("ListProductOtaModules", &list, &token), "AuthFailure.TokenFailure"),
        (signed("ListProductOtaModules", &list, &version), "NoSuchVersion"),
        (signed("NoSuchAction", &list, &plain()), "InvalidAction"),
        (signed("ListProductOtaModules", "[]", &plain()), "InvalidParameter"),
        (signed("ListProductOtaModules", &"[".repeat(60_000), &plain()), "InvalidParameter"),
        (signed("ListProductOtaModules", "{}", &plain()), "MissingParameter"),
        (
            signed("ListProductOtaModules", &list, &Sent { key: &unknown, ..plain() }),
            "AuthFailure.SecretIdNotFound",
        ),
        (text.replace("{\"P", "{\"p").into_bytes(), "AuthFailure.SignatureFailure"),
        (text.replace("X-TC-Timestamp", "X-Other").into_bytes(), "MissingParameter"),
        (text.replace("TC3-HMAC", "TC4-HMAC").into_bytes(), "AuthFailure.InvalidAuthorization"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_vec(), "MissingParameter"),
        (b"DELETE / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_vec(), "InvalidRequest"),
    ] {
        assert_eq!(code(&site.vendor(&bytes).await), wanted);
    }
    let long = signed("ListProductOtaModules", &"x".repeat(2_000_000), &plain());
    assert_eq!(code(&site.vendor(&long).await), "InvalidRequest");
    assert_eq!(
        site.refused(
            "BatchUpdateFirmware",
            json!({ "ProductId": "A",
        "FirmwareVersion": "1", "DeviceNames": ["d"], "DelayTime": 5 })
        )
        .await,
        "UnsupportedOperation"
    );
}

#[tokio::test]
async fn products_devices_and_modules_are_those_of_the_rest_api() {
    let site = Site::with(ServiceConfig::default(), tempfile::tempdir().unwrap()).await;
    site.product("A", &[]).await;
    let of = json!({ "ProductId": "A", "DeviceName": "d1" });
    let made = site.act("CreateDevice", of.clone()).await;
    assert_eq!(made["Data"]["DevicePsk"], made["DevicePsk"]);
    let exists = "InvalidParameterValue.DeviceAlreadyExist";
    assert_eq!(site.refused("CreateDevice", of.clone()).await, exists);
    let secret = made["DevicePsk"].as_str().unwrap();
    let _device = Device::start(&site, "d1", secret, "0.1.0").await;
    let shown = site.act("DescribeDevice", of.clone()).await;
    assert_eq!((&shown["Online"], &shown["Version"]), (&json!(1), &json!("0.1.0")));
    assert_eq!(shown["Device"]["DevicePsk"], "");
    site.get("/products/A/devices/d1").await.expect(200);
    let list = json!({ "ProductId": "A", "Offset": 0, "Limit": 10, "FirmwareVersion": "0.1.0" });
    assert_eq!(site.act("DescribeDevices", list).await["TotalCount"], 1);
    let list = json!({ "ProductId": "A", "FirmwareVersion": "None-FirmwareVersion" });
    assert_eq!(site.act("GetDeviceList", list).await["Total"], 0);
    let off = json!({ "ProductId": "A", "DeviceNames": ["d1"], "Status": 0 });
    site.act("UpdateDevicesEnableState", off).await;
    assert_eq!(site.get("/products/A/devices/d1").await.expect(200)["disabled"], true);
    site.act("DeleteDevice", of.clone()).await;
    let gone = "ResourceNotFound.DeviceNotExist";
    assert_eq!(site.refused("DescribeDevice", of).await, gone);
    let products = site.act("DescribeProducts", json!({ "Offset": 0, "Limit": 10 })).await;
    assert_eq!(products["Products"][0]["ProductId"], "A");

    let module = json!({ "ProductID": "A", "FwType": "bms", "Name": "battery" });
    site.act("CreateOtaModule", module.clone()).await;
    assert_eq!(site.refused("CreateOtaModule", module.clone()).await, "InvalidParameterValue");
    let other = json!({ "ProductID": "A", "FwType": "bms", "Remark": "r" });
    site.act("UpdateOtaModule", other).await;
    let list = site.act("ListOtaModules", json!({ "PageNum": 1, "PageSize": 10 })).await;
    let own = &list["Modules"][2];
    assert_eq!((&own["Name"], &own["Remark"]), (&json!("battery"), &json!("r")));
    site.act("DeleteOtaModule", module.clone()).await;
    assert_eq!(site.refused("DeleteOtaModule", module).await, "ResourceNotFound");
}

#[tokio::test]
async fn a_dynamic_batch_updates_a_device_that_comes_later_and_tells_it_the_text_of_the_task() {
    let site = durable().await;
    site.product("A", &[]).await;
    site.publish("1.0.0", b"firmware").await;
    let batch = json!({ "ProductId": "A", "FirmwareVersion": "1.0.0", "FirmwareOriVersion": "0.1.0",
        "Type": 7, "TaskUserDefine": "{\"hall\":3}" });
    assert_eq!(site.act("BatchUpdateFirmware", batch).await["TaskId"], 1);
    let of = json!({ "ProductId": "A", "DeviceName": "d1" });
    let secret = site.act("CreateDevice", of).await["DevicePsk"].as_str().unwrap().to_owned();
    let mut device = Device::start(&site, "d1", &secret, "0.1.0").await;
    let offer = offer(&mut device).await;
    assert_eq!(offer["user_defined"], "{\"hall\":3}");
    let shown = json!({ "ProductId": "A", "FirmwareVersion": "1.0.0", "TaskId": 1 });
    let shown = site.act("DescribeFirmwareTask", shown).await;
    assert_eq!((&shown["Type"], &shown["TaskUserDefine"]), (&json!(7), &json!("{\"hall\":3}")));
    assert_eq!(shown["Status"], 3);
    let batch = site.get("/products/A/batches/1").await.expect(200);
    assert_eq!((&batch["dynamic"], &batch["devices"]), (&json!(true), &json!(1)));
}
