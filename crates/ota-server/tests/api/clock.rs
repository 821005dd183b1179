//! The system's clock is set while the cloud runs, and over its restarts.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use ota_server::ServiceConfig;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Site;
use crate::devices::{Device, made};
use crate::firmware::offer;
use crate::vendor::{HUB, Sent, code, now, signed};

/// How far the clock is ahead, in seconds.
static AHEAD: AtomicI64 = AtomicI64::new(0);
const DAY: i64 = 86_400;
const PATH: &str = "/products/A/devices";

#[allow(clippy::disallowed_methods, reason = "the clock that the test sets")]
fn clock() -> SystemTime {
    let ahead = AHEAD.load(Ordering::SeqCst);
    let by = Duration::from_secs(ahead.unsigned_abs());
    if ahead < 0 { SystemTime::now() - by } else { SystemTime::now() + by }
}

async fn site(folder: TempDir, ahead: i64) -> Site {
    AHEAD.store(ahead, Ordering::SeqCst);
    let data = Some(folder.path().join("data"));
    Site::with(ServiceConfig { data, system_clock: clock, ..ServiceConfig::default() }, folder)
        .await
}

/// What the vendor's API answers to a caller whose clock is this much ahead: a code or nothing.
async fn call(site: &Site, ahead: i64) -> String {
    let sent =
        Sent { key: &site.key, version: HUB, at: now().saturating_add_signed(ahead), more: "" };
    let body = json!({ "ProductId": "A", "PageNum": 1, "PageSize": 10 }).to_string();
    let answer = site.vendor(&signed("ListFirmwares", &body, &sent)).await;
    if answer["Error"].is_null() { String::new() } else { code(&answer) }
}

async fn task(site: &Site, name: &str) -> Value {
    site.get(&format!("{PATH}/{name}")).await.expect(200)["task"].clone()
}

async fn downloads(device: &mut Device, percent: u8) {
    let progress = json!({ "state": "downloading", "percent": percent.to_string(),
        "result_code": "0", "result_msg": "" });
    let report = json!({ "progress": progress, "version": "2.0.0" });
    let said = json!({ "type": "report_progress", "report": report });
    device.say(&said.to_string()).await;
}

#[tokio::test]
async fn a_clock_that_jumps_loses_nothing_and_ends_no_task() {
    let site = site(tempfile::tempdir().unwrap(), 0).await;
    site.product("A", &[]).await;
    site.call("POST", "/products/A/firmware/2.0.0", "firmware").await.expect(201);
    let secrets = [made(&site, "d1").await, made(&site, "d2").await];
    let mut one = Device::start(&site, "d1", &secrets[0], "1.0.0").await;
    for name in ["d1", "d2"] {
        let path = format!("{PATH}/{name}/updates");
        site.call("POST", &path, r#"{"version":"2.0.0"}"#).await.expect(201);
    }
    offer(&mut one).await;

    // While it runs: whoever signs by the time that is right now is heard, and nobody is late.
    for (percent, ahead) in [(10, 400 * DAY), (20, -30 * DAY), (30, 0)] {
        AHEAD.store(ahead, Ordering::SeqCst);
        downloads(&mut one, percent).await;
        let task = task(&site, "d1").await;
        assert_eq!((&task["status"], &task["percent"]), (&"downloading".into(), &percent.into()));
        assert_eq!(call(&site, ahead).await, "", "{ahead}");
        let late = call(&site, ahead - 3_600).await;
        assert_eq!(late, "AuthFailure.SignatureExpire", "{ahead}");
        let (_, code) = Device::log_in(&site, "d2", &secrets[1]).await;
        assert_eq!(code, 0, "{ahead}");
    }
    // A password that has ended by the right time is refused.
    AHEAD.store(80 * 366 * DAY, Ordering::SeqCst);
    assert_ne!(Device::log_in(&site, "d2", &secrets[1]).await.1, 0);
    AHEAD.store(0, Ordering::SeqCst);

    // Over a restart: to the next process all that time has passed, in which nobody could be heard.
    drop(one);
    let site = self::site(site.end().await, 400 * DAY).await;
    let mut one = Device::start(&site, "d1", &secrets[0], "1.0.0").await;
    offer(&mut one).await;
    downloads(&mut one, 40).await;
    assert_eq!(task(&site, "d1").await["ended"], Value::Null);
    let mut two = Device::start(&site, "d2", &secrets[1], "1.0.0").await;
    offer(&mut two).await;
    one.report("2.0.0").await;
    assert_eq!(task(&site, "d1").await["how"], "proved");

    // Back again: the other device has an offer of the future, and finishes.
    drop((one, two));
    let site = self::site(site.end().await, -30 * DAY).await;
    let mut two = Device::start(&site, "d2", &secrets[1], "1.0.0").await;
    offer(&mut two).await;
    two.report("2.0.0").await;
    assert_eq!(task(&site, "d2").await["how"], "proved");
    let shown = task(&site, "d1").await;
    assert_eq!((&shown["how"], &shown["attempt"]), (&"proved".into(), &1.into()));
    for name in ["d1", "d2"] {
        let history = site.get(&format!("{PATH}/{name}/history")).await.expect(200).to_string();
        assert!(!history.contains("timed-out"), "{history}");
        assert_eq!(history.matches(r#""kind":"proved""#).count(), 1, "{history}");
    }
    assert_eq!(call(&site, -30 * DAY).await, "");
    assert_eq!(site.get("/audit").await.status, 200);
}
