//! The master key is rotated while the cloud serves.

use std::fs;

use serde_json::json;

use crate::Site;
use crate::devices::{Device, made};
use crate::vendor::durable;

const NEW: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// What needs a sealed secret works: a device's login, and a signature of the vendor's API.
async fn works(site: &Site, secret: &str) {
    drop(Device::start(site, "d1", secret, "1").await);
    let products = site.act("DescribeProductDynamicRegister", json!({ "ProductId": "A" })).await;
    assert!(products.is_object(), "{products}");
}

#[tokio::test]
async fn secrets_are_sealed_under_a_new_key_while_devices_log_in_and_the_old_one_can_go() {
    let site = durable().await;
    site.product("A", &[]).await;
    let secret = made(&site, "d1").await;
    let file = site.path("data/master.key");
    let old = fs::read_to_string(&file).unwrap();
    works(&site, &secret).await;

    // A file without the present key, or none at all, changes nothing.
    for text in [format!("{NEW}\n"), "no key\n".to_owned()] {
        fs::write(&file, text).unwrap();
        let refused = site.call("POST", "/rekey", "").await;
        assert_eq!(refused.problem(409), "wrong-state");
        assert!(!String::from_utf8_lossy(&refused.body).contains(NEW));
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(site.call("POST", "/rekey", "").await.problem(409), "wrong-state");
    works(&site, &secret).await;
    let operator = site.key("operator", "A").await;
    assert_eq!(site.call_as(&operator, "POST", "/rekey", "").await.problem(403), "forbidden");

    private(&file, &format!("{NEW}\n{old}"));
    let done = site.call("POST", "/rekey", "").await.expect(200);
    assert!(done["sealed"].as_u64() >= Some(4) && done["more"] == false, "{done}");
    assert_eq!(site.call("POST", "/rekey", "").await.expect(200)["sealed"], 0);
    works(&site, &secret).await;
    let later = made(&site, "d2").await;
    let viewer = site.key("viewer", "A").await;
    let audit = site.get("/audit").await.expect(200).to_string();
    assert!(audit.contains("master key") && !audit.contains(NEW), "{audit}");

    // The old line goes, and so does its process. What it remembers of keys needs it no more.
    private(&file, &format!("{NEW}\n"));
    assert_eq!(site.call("POST", "/rekey", "").await.expect(200)["sealed"], 0);
    works(&site, &secret).await;
    let site = Site::durable(site.end().await).await;
    works(&site, &secret).await;
    drop(Device::start(&site, "d2", &later, "1").await);
    site.call_as(&viewer, "GET", "/products/A", "").await.expect(200);
    let verified = ota_store::verify_audit(&site.path("data"), &file);
    assert!(verified.is_ok(), "{verified:?}");
}

fn private(file: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn a_cloud_that_forgets_has_nothing_to_seal() {
    let site = Site::new().await;
    assert_eq!(site.call("POST", "/rekey", "").await.problem(409), "wrong-state");
}
