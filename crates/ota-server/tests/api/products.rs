//! Products: made, shown and removed by both APIs, and how their devices may register themselves.

use serde_json::{Value, json};

use crate::Site;
use crate::vendor::{EXPLORER, code, durable};

const SECRET: &str = "ABCDEFGHIJKLMNOPQRSTUVWX";

fn of(product: &str) -> Value {
    json!({ "ProductId": product })
}

#[tokio::test]
async fn registration_is_set_by_both_apis_and_survives_a_restart() {
    let site = durable().await;
    site.product("A", &[]).await;
    let path = "/products/A/registration";
    let nothing = json!({ "mode": "off", "limit": 0, "secret": null });
    assert_eq!(site.get(path).await.expect(200), nothing);
    for wrong in [
        r#"{"mode":"any"}"#,
        r#"{"limit":1000001}"#,
        r#"{"limit":-1}"#,
        r#"{"limit":"1"}"#,
        r#"{"mode":"on"}"#,
        r#"{"mode":2}"#,
        r#"{"secret":"short"}"#,
        r#"{"secret":"ABCDEFGHIJKLMNOP\u0007"}"#,
        r#"{"mode":"any","limit":0}"#,
    ] {
        let refused = site.call("PATCH", path, wrong).await;
        assert_eq!(refused.problem(400), "invalid", "{wrong}");
    }
    assert_eq!(site.get(path).await.expect(200), nothing);
    let made = site.call("PATCH", path, r#"{"mode":"known"}"#).await.expect(200);
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(secret.len(), 24);
    let shown = site.act("DescribeProductDynamicRegister", of("A")).await;
    assert_eq!(
        (&shown["RegisterType"], &shown["ProductSecret"]),
        (&json!(1), &json!(secret)),
        "{shown}"
    );
    let any = json!({ "ProductId": "A", "RegisterType": 2, "RegisterLimit": 9 });
    let set = site.act("UpdateProductDynamicRegister", any.clone()).await;
    assert_eq!((&set["RegisterLimit"], &set["ProductSecret"]), (&json!(9), &json!(secret)));
    for (field, value) in [("RegisterType", 3), ("RegisterLimit", 0), ("RegisterLimit", 2_000_000)]
    {
        let mut wrong = any.clone();
        wrong[field] = json!(value);
        let refused = site.refused("ModifyProductDynamicRegister", wrong).await;
        assert_eq!(refused, "InvalidParameterValue");
    }
    let given = json!({ "secret": SECRET }).to_string();
    site.call("PATCH", path, &given).await.expect(200);

    let site = Site::durable(site.end().await).await;
    let kept = json!({ "mode": "any", "limit": 9, "secret": SECRET });
    assert_eq!(site.get(path).await.expect(200), kept);
    // Who may add no devices does not learn with what they add themselves.
    let viewer = site.key("viewer", "A").await;
    let seen = site.call_as(&viewer, "GET", path, "").await.expect(200);
    assert_eq!(seen, json!({ "mode": "any", "limit": 9, "secret": null }));
    for action in ["DescribeProductDynamicRegister", "DescribeProduct"] {
        let seen = site.act_in(EXPLORER, &viewer, action, &of("A")).await;
        assert!(seen["Error"].is_null() && !seen.to_string().contains(SECRET), "{seen}");
    }
    assert_eq!(site.call_as(&viewer, "PATCH", path, &given).await.problem(403), "forbidden");
    assert!(!site.get("/products").await.expect(200).to_string().contains(SECRET));
}

#[tokio::test]
async fn products_of_both_consoles_are_made_shown_and_removed() {
    let site = durable().await;
    let hub = json!({ "ProductName": "lamp", "ProductProperties": {
        "EncryptionType": "2", "ProductDescription": "of glass", "RegisterType": 1,
        "Region": "gz", "Format": "json", "ModelId": "-1",
    } });
    let made = site.act("CreateProduct", hub.clone()).await;
    let id = made["ProductId"].as_str().unwrap().to_owned();
    let sign = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    assert!(id.len() == 10 && id.bytes().all(sign), "{id}");
    assert_eq!(made["ProductName"], "lamp");
    assert_eq!(made["ProductProperties"]["ProductSecret"].as_str().unwrap().len(), 24);
    let exists = "InvalidParameterValue.ProductAlreadyExist";
    assert_eq!(site.refused("CreateProduct", hub.clone()).await, exists);
    let studio = json!({ "ProductName": "bulb", "CategoryId": 1, "ProductType": 0,
        "EncryptionType": "2", "NetType": "wifi", "DataProtocol": 2, "ProductDesc": "round",
        "ProjectId": "p1" });
    let bulb = site.act("CreateStudioProduct", studio.clone()).await;
    let entry = &bulb["Product"];
    assert_eq!((&entry["NetType"], &entry["ProductDesc"]), (&json!("wifi"), &json!("round")));
    let mine = json!({ "ProductName": "mine", "ProductId": "TESTPROD01",
        "ProductProperties": { "EncryptionType": "2" } });
    assert_eq!(site.act("CreateProduct", mine.clone()).await["ProductId"], "TESTPROD01");
    let mut begins = mine;
    (begins["ProductName"], begins["ProductId"]) = (json!("other"), json!("TESTPROD0"));
    assert_eq!(site.refused("CreateProduct", begins).await, exists);

    let site = Site::durable(site.end().await).await;
    let shown = site.act("DescribeProduct", of(&id)).await;
    assert_eq!(shown["ProductProperties"]["ProductDescription"], "of glass");
    assert!(shown["ProductMetadata"]["CreationDate"].as_u64().unwrap() > 1_700_000_000);
    let shown = site.get(&format!("/products/{id}")).await.expect(200);
    assert_eq!((&shown["name"], &shown["description"]), (&json!("lamp"), &json!("of glass")));
    let list = site.act("GetStudioProductList", json!({})).await;
    let names: Vec<&Value> =
        list["Products"].as_array().unwrap().iter().map(|one| &one["ProductName"]).collect();
    assert!(names.len() == 3 && names.contains(&&json!("bulb")), "{list}");
    assert_eq!(site.act("DeleteStudioProduct", of(&id)).await["Error"], Value::Null);
    assert_eq!(site.refused("DescribeProduct", of(&id)).await, "ResourceNotFound.ProductNotExist");
    assert_eq!(site.refused("DeleteProduct", of(&id)).await, "ResourceNotFound.ProductNotExist");
    let unknown = site.refused("DeleteProduct", of("a/b")).await;
    assert_eq!(unknown, "ResourceNotFound.ProductNotExist");
}

#[tokio::test]
async fn what_a_product_cannot_be_here_is_refused_and_names_are_the_vendors() {
    let site = Site::new().await;
    let good = json!({ "EncryptionType": "2" });
    for (field, value, wanted) in [
        ("EncryptionType", json!("1"), "UnsupportedOperation"),
        ("EncryptionType", Value::Null, "UnsupportedOperation"),
        ("EncryptionType", json!("21"), "UnsupportedOperation"),
        ("EncryptionType", json!(2), "InvalidParameter"),
        ("ProductType", json!(5), "UnsupportedOperation"),
        ("PrivateCAName", json!("ca"), "UnsupportedOperation"),
        ("DeviceLimit", json!(5), "UnsupportedOperation"),
        ("ProductSecret", json!(SECRET), "UnsupportedOperation"),
        ("RegisterType", json!(7), "InvalidParameterValue"),
        ("ProductDescription", json!("a\u{202e}b"), "InvalidParameterValue"),
        ("ProductDescription", json!("x".repeat(300)), "InvalidParameterValue"),
        ("ProductDescription", json!(["x"]), "InvalidParameter"),
    ] {
        let mut properties = good.clone();
        properties[field] = value.clone();
        let body = json!({ "ProductName": "n", "ProductProperties": properties });
        assert_eq!(site.refused("CreateProduct", body).await, wanted, "{field} {value}");
    }
    for name in ["", "a b", "a/b", "a\nb", "\u{202e}", &"x".repeat(33)] {
        let body = json!({ "ProductName": name, "ProductProperties": good });
        assert_eq!(site.refused("CreateProduct", body).await, "InvalidParameterValue", "{name}");
    }
    for id in ["", "a/b", "a b", "ü"] {
        let body = json!({ "ProductName": "n", "ProductId": id, "ProductProperties": good });
        assert_eq!(site.refused("CreateProduct", body).await, "InvalidParameterValue", "{id}");
    }
    let body = json!({ "ProductName": "n", "ProductProperties": [] });
    assert_eq!(site.refused("CreateProduct", body).await, "InvalidParameter");
    assert_eq!(
        site.refused("CreateStudioProduct", json!({ "ProductName": "n" })).await,
        "MissingParameter"
    );
    assert_eq!(site.get("/products").await.expect(200), json!({ "products": [] }));
}

#[tokio::test]
async fn a_product_that_is_used_stays_and_one_that_is_made_again_begins_anew() {
    let site = Site::new().await;
    site.product("A", &["d1"]).await;
    let change = r#"{"mode":"known"}"#;
    let old = site.call("PATCH", "/products/A/registration", change).await.expect(200);
    let used = || async { site.call("DELETE", "/products/A", "").await.problem(409) };
    assert_eq!(used().await, "in-use");
    let under = site.refused("DeleteProduct", of("A")).await;
    assert_eq!(under, "UnauthorizedOperation.DevicesExistUnderProduct");
    let under = site.act_in(EXPLORER, &site.key, "DeleteStudioProduct", &of("A")).await;
    assert_eq!(code(&under), "UnsupportedOperation.DevicesExistUnderProduct");
    site.publish("1.0.0", b"firmware").await;
    let batch = json!({ "version": "1.0.0", "devices": ["d1"] }).to_string();
    site.call("POST", "/products/A/batches", &batch).await.expect(201);
    site.act("CreateOtaModule", json!({ "ProductId": "A", "FwType": "bms" })).await;
    site.call("DELETE", "/products/A/devices/d1", "").await.expect(204);
    assert_eq!(used().await, "in-use", "firmware");
    assert_eq!(site.refused("DeleteProduct", of("A")).await, "FailedOperation");
    // The batch, whose only device is gone, ends with its next step.
    site.until("/products/A/batches/1", |batch| batch["state"] == "closed").await;
    site.call("DELETE", "/products/A/firmware/1.0.0", "").await.expect(204);
    let key = site.key("admin", "A").await;
    assert_eq!(used().await, "in-use", "a key");
    // An admin of the product alone does not make products, nor remove them.
    assert_eq!(site.call_as(&key, "DELETE", "/products/A", "").await.problem(403), "forbidden");
    let id = key.split('.').nth(1).unwrap();
    site.call("DELETE", &format!("/keys/{id}"), "").await.expect(204);
    site.call("DELETE", "/products/A", "").await.expect(204);
    assert_eq!(site.call("DELETE", "/products/A", "").await.problem(404), "unknown-product");
    site.product("AB", &[]).await;
    site.call("DELETE", "/products/AB", "").await.expect(204);
    site.product("A", &[]).await;
    let new = site.call("PATCH", "/products/A/registration", change).await.expect(200);
    assert_ne!(new["secret"], old["secret"]);
    let batches = site.get("/products/A/batches").await.expect(200);
    assert_eq!(batches["batches"], json!([]));
    let modules = site.act("ListProductOtaModules", of("A")).await;
    assert_eq!(modules["Modules"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_product_that_is_made_again_shows_nothing_of_the_devices_before_it() {
    let site = durable().await;
    site.product("A", &["d1", "d2"]).await;
    let history = |of: &str| format!("/products/A/devices/{of}/history");
    for name in ["d1", "d2"] {
        site.call("DELETE", &format!("/products/A/devices/{name}"), "").await.expect(204);
    }
    // While the product is there, a removed device has its history.
    let old = site.get(&history("d1")).await.expect(200);
    assert_eq!(old["events"].as_array().unwrap().len(), 2);
    site.call("DELETE", "/products/A", "").await.expect(204);
    site.product("A", &["d1"]).await;

    let site = Site::durable(site.end().await).await;
    let key = site.key("viewer", "A").await;
    let new = site.call_as(&key, "GET", &history("d1"), "").await.expect(200);
    let new = new["events"].as_array().unwrap().clone();
    assert_eq!(new.len(), 1, "{new:?}");
    assert!(new[0]["seq"].as_u64() > old["events"][1]["seq"].as_u64(), "{new:?}");
    let gone = site.call_as(&key, "GET", &history("d2"), "").await;
    assert_eq!(gone.problem(404), "unknown-device");
    for key in [&key, &site.key] {
        let mut feed = crate::events::Feed::open(&site, key, "?product=A&after=0", "").await;
        let (_, first, _) = feed.next().await.unwrap();
        assert_eq!(Some(first), new[0]["seq"].as_u64());
    }
}

/// A call that was let in before its product was removed, and whose body comes after it.
#[tokio::test]
async fn what_comes_for_a_removed_product_is_taken_by_nobody() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let site = durable().await;
    for (path, body) in [("devices", r#"{"name":"d1"}"#), ("firmware/2.0", "bytes")] {
        site.product("A", &[]).await;
        let addr = site.running.api_addr().unwrap();
        let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
        let head = format!(
            "POST /api/v1/products/A/{path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\
             connection: close\r\n\r\n",
            site.key,
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut go_on = [0; 12];
        stream.read_exact(&mut go_on).await.unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100", "the body is being waited for");
        assert_eq!(site.call("DELETE", "/products/A", "").await.status, 204);
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert!(
            rest.contains("HTTP/1.1 404") && rest.contains("unknown-product"),
            "{path}: {rest}"
        );
        site.product("A", &[]).await;
        let devices = site.get("/products/A/devices").await.expect(200);
        assert_eq!(devices["devices"], json!([]), "{path}");
        let firmware = site.get("/products/A/firmware").await.expect(200);
        assert_eq!(firmware["firmware"], json!([]), "{path}");
        assert_eq!(site.call("DELETE", "/products/A", "").await.status, 204);
    }
}

#[tokio::test]
async fn a_module_is_named_once_for_both_apis_and_stays_while_it_has_firmware() {
    let site = durable().await;
    site.product("A", &[]).await;
    let path = "/products/A/modules";
    for wrong in [
        r#"{"module":"mcu"}"#,
        r#"{"module":"a/b"}"#,
        r#"{"module":"bms","name":"a\u202eb"}"#,
        r#"{"name":"x"}"#,
    ] {
        assert_eq!(site.call("POST", path, wrong).await.problem(400), "invalid", "{wrong}");
    }
    let hidden = json!({ "ProductId": "A", "FwType": "bms", "Name": "a\u{202e}b" });
    assert_eq!(site.refused("CreateOtaModule", hidden).await, "InvalidParameterValue");
    let new = r#"{"module":"bms","name":"battery"}"#;
    site.call("POST", path, new).await.expect(201);
    assert_eq!(site.call("POST", path, new).await.problem(409), "exists");
    let both = site.act("ListProductOtaModules", of("A")).await;
    assert_eq!(both["Modules"][2]["Name"], "battery");
    let headers = format!("Authorization: Bearer {}\r\n", site.key);
    let firmware = "/products/A/firmware/1.0.0?module=bms";
    site.raw("POST", firmware, &headers, b"bms").await.expect(201);
    let one = "/products/A/modules/bms";
    assert_eq!(site.call("DELETE", one, "").await.problem(409), "in-use");
    site.call("DELETE", firmware, "").await.expect(204);

    let site = Site::durable(site.end().await).await;
    site.call("DELETE", one, "").await.expect(204);
    assert_eq!(site.call("DELETE", one, "").await.problem(404), "unknown-module");
    assert_eq!(site.get(path).await.expect(200), json!({ "modules": [] }));
}
