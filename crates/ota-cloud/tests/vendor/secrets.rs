//! `Debug` goes to logs: no secret is in it, of any type that holds one.

use core::fmt::Debug;

use ota_cloud::CloudConfig;
use ota_cloud::api::{Key, KeyText, NewDevice, Role};
use ota_cloud::endpoint::{Event, Login};
use ota_cloud::login::{Known, Proof};
use ota_cloud::sign::UrlSigner;
use ota_cloud::vendor::{Action, Claim, OldClaim, Params, Request, Subject, UploadPlace};

use super::{KEY, NOW, OLD, PLAIN, authorization};

const PSK: &str = "cHNrLXRoYXQtbm9ib2R5LXNlZXM=";
const SECRET: &str = "5ec2e7";

#[track_caller]
fn hides(what: &dyn Debug, secrets: &[&str]) {
    for shown in [format!("{what:?}"), format!("{what:#?}")] {
        for secret in secrets {
            let bytes: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
            assert!(!shown.contains(secret), "{shown}");
            assert!(!shown.contains(&bytes.join(", ")), "{shown}");
        }
    }
}

#[test]
fn a_request_of_the_vendors_api_hides_the_psk_and_its_signature() {
    let body = format!(r#"{{"ProductId":"P","DeviceName":"d","DefinedPsk":"{PSK}"}}"#);
    let params = Params::from_json(body.as_bytes()).unwrap();
    hides(&params, &[PSK]);
    let action = Action::decode("CreateDevice", &params).unwrap();
    hides(&action, &[PSK]);
    assert!(format!("{action:?}").contains("\"d\""), "{action:?}");
    let form = format!("{OLD}&DefinedPsk={PSK}&Signature=DPRQo73hwb8qrGi%2FOsOOhHPH2%2FQ%3D");
    let old = OldClaim::read("POST", "h", &form, NOW).unwrap();
    hides(&old, &[PSK, "DPRQo73hwb8qrGi/OsOOhHPH2/Q="]);
    let signature: Vec<String> = old.signature().iter().map(u8::to_string).collect();
    hides(&old, &[&signature.join(", ")]);
    let authorization = authorization("content-type;host", PLAIN);
    let headers = [
        ("X-TC-Action", "A"),
        ("X-TC-Version", "V"),
        ("X-TC-Timestamp", "1700000000"),
        ("Authorization", authorization.as_str()),
        ("Host", "h"),
    ];
    let request = Request { method: "GET", query: "DefinedPsk=cHNr", headers: &headers };
    hides(&request, &[PLAIN, "cHNr"]);
    let claim = Claim::read(&request, NOW).unwrap();
    let signature: Vec<String> = claim.signature.iter().map(u8::to_string).collect();
    hides(&claim, &[PLAIN, &signature.join(", ")]);
}

#[test]
fn keys_devices_and_logins_hide_what_they_show_for_themselves() {
    let (key, text) = Key::make([7; 40], "n", None, Role::Admin, 0);
    let caller = key.clone().opens(&text).unwrap();
    for what in [&key as &dyn Debug, &text, &caller] {
        hides(what, &[text.secret()]);
    }
    let text = KeyText::parse(&text.reveal()).unwrap();
    hides(&text, &[text.secret()]);
    let body = format!(r#"{{"name":"d","secret":"{PSK}"}}"#);
    hides(&NewDevice::read(body.as_bytes()).unwrap(), &[PSK]);
    for proof in [Proof::Secret(KEY.to_vec()), Proof::Certificate(KEY.to_vec())] {
        hides(&proof, &[core::str::from_utf8(KEY).unwrap()]);
        let device = ota_proto::Identity::new("P", "d").unwrap();
        let known = Known { device: Some((&device, &proof)), allow_unknown: false, unix: 0 };
        hides(&known, &[core::str::from_utf8(KEY).unwrap()]);
    }
    let login = Login {
        client_id: "Pd".into(),
        user_name: "Pd;1;2;3".into(),
        password: SECRET.into(),
        keep_alive: 0,
        legacy: false,
    };
    hides(&login, &[SECRET]);
    hides(&Event::Login(login), &[SECRET]);
    let subject = Subject::List { name: "n".into() };
    hides(&UploadPlace::open("P", subject, None, SECRET, 0).unwrap(), &[SECRET]);
    let life = core::time::Duration::from_secs(1);
    let signer = UrlSigner::new("http://h", SECRET.as_bytes(), life);
    hides(&signer, &[SECRET]);
    hides(&CloudConfig::new(signer, 0), &[SECRET]);
}
