//! The REST API's decisions.
#![cfg(feature = "api")]
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod batch_form;
mod calls;
mod people;

use std::time::Duration;

use ota_cloud::api::{
    Budget, Caller, ChangeDevice, Code, DeviceFilter, EventView, Key, KeyText, NewDevice, NewKey,
    NewProduct, OPERATIONS, Op, Query, Right, Role, Scope, describe, devices_of_csv, find,
};
use ota_proto::Instant;

fn caller(product: Option<&str>, role: Role) -> Caller {
    let (key, text) = Key::make([7; 40], "a key", product, role, 1);
    key.opens(&text).unwrap()
}

/// The path of an operation with these in place of its names.
fn path(template: &str, product: &str) -> String {
    template
        .replace("{product}", product)
        .replace("{name}", "dev001")
        .replace("{id}", "0")
        .replace("{task}", "0-1")
        .replace("{version}", "1.0.0")
}

#[test]
fn a_key_is_opened_by_its_own_text_only_and_keeps_no_secret() {
    let (key, text) = Key::make([7; 40], "a key", None, Role::Viewer, 1);
    let shown = text.reveal();
    let secret = shown.rsplit('.').next().unwrap();
    assert_eq!(KeyText::parse(&shown).as_ref(), Some(&text));
    assert!(KeyText::of_header(&format!("bearer {shown}")).is_some());
    let kept = String::from_utf8(key.to_bytes().unwrap()).unwrap();
    assert!(!kept.contains(secret) && !format!("{text:?} {key:?}").contains(secret));
    let read = Key::from_bytes(kept.as_bytes()).unwrap();
    assert!(read.opens(&text).is_some());
    let (_, other) = Key::make([8; 40], "a key", None, Role::Viewer, 1);
    let mixed = KeyText::parse(&format!("ota1.{}.{}", text.id(), "0".repeat(64))).unwrap();
    assert!(key.clone().opens(&other).is_none() && key.opens(&mixed).is_none());
    let upper = shown.to_uppercase();
    for bad in ["", "ota1", "ota1..", upper.as_str(), &format!("{shown}0"), &format!("{shown}.")] {
        assert_eq!(KeyText::parse(bad), None, "{bad}");
    }
    for bad in [shown.as_str(), "Basic eA==", "Bearer", "Bearer  "] {
        assert_eq!(KeyText::of_header(bad), None, "{bad}");
    }
}

#[test]
fn each_operation_is_found_and_needs_its_role() {
    let roles = [Role::Viewer, Role::Operator, Role::Publisher, Role::Admin];
    for operation in OPERATIONS {
        let path = path(operation.path, "P");
        let call = find(operation.method, &path).unwrap();
        assert_eq!(call.operation(), operation);
        let least = operation.right.role();
        for role in roles {
            let may = caller(None, role).may(&call, true);
            assert_eq!(may.is_ok(), role >= least, "{path} {role:?}");
            if let Err(why) = may {
                assert_eq!(why.code, Code::Forbidden);
            }
            let may = caller(Some("P"), role).may(&call, true);
            let service = operation.scope == Scope::Service;
            assert_eq!(may.is_ok(), role >= least && !service, "{path} {role:?} of P");
        }
        let why = find("BREW", &path).unwrap_err();
        assert_eq!(why.code, Code::BadMethod);
    }
    for path in ["", "/", "/api/v1", "/api/v1/nothing", "/api/v1/products/P/devices/d/x"] {
        assert_eq!(find("GET", path).unwrap_err().code, Code::UnknownPath, "{path}");
    }
}

#[test]
fn a_foreign_product_is_an_unknown_one() {
    for operation in OPERATIONS.iter().filter(|row| row.scope == Scope::Product) {
        let call = find(operation.method, &path(operation.path, "B")).unwrap();
        for caller in [caller(Some("A"), Role::Admin), caller(Some("A"), Role::Viewer)] {
            let foreign = caller.may(&call, true).unwrap_err();
            assert_eq!(foreign.code, Code::UnknownProduct);
            assert_eq!(caller.may(&call, false).unwrap_err(), foreign);
        }
        assert_eq!(caller(None, Role::Admin).may(&call, false).unwrap_err().code.status(), 404);
    }
}

#[test]
fn names_of_a_path_are_decoded_and_never_more_than_one() {
    let call = find("GET", "/api/v1/products/P/devices/a%3Ab").unwrap();
    assert_eq!((call.operation().op, call.name("name")), (Op::Device, "a:b"));
    let grant = caller(None, Role::Viewer).may(&call, true).unwrap();
    for bad in ["", "a/b", "../x", "a\nb", "\u{1b}[2J", "\u{202e}x", &"x".repeat(49)] {
        assert_eq!(grant.device(bad).unwrap_err().code, Code::UnknownDevice);
    }
    assert_eq!(find("GET", "/api/v1/products/P/devices/%ff").unwrap_err().code, Code::UnknownPath);
    let call = find("GET", "/api/v1/products/P/devices/a%2Fb").unwrap();
    assert_eq!(call.name("name"), "a/b");
}

#[test]
fn bodies_that_do_not_fit_name_their_field_and_repeat_nothing() {
    let deep = format!("{{\"name\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for (body, field) in [
        ("", None),
        ("[", None),
        ("1", None),
        ("{}", None),
        (r#"{"name":1}"#, None),
        (r#"{"name":null}"#, None),
        (r#"{"name":"d","evil":1}"#, None),
        (deep.as_str(), None),
        (r#"{"name":"evil/../x"}"#, Some("name")),
        (r#"{"name":"evil\u001b[2J"}"#, Some("name")),
        (r#"{"name":"evil\u202e"}"#, Some("name")),
        (r#"{"name":"d","secret":"evil!"}"#, Some("secret")),
        (r#"{"name":"d","tags":{"":"x"}}"#, Some("tags")),
        (r#"{"name":"d","tags":{"evil\n":"x"}}"#, Some("tags")),
        (r#"{"name":"d","tags":{"a":"evil\u202e"}}"#, Some("tags")),
    ] {
        let why = NewDevice::read(body.as_bytes()).unwrap_err();
        assert_eq!((why.code, why.field), (Code::Invalid, field), "{body:.40}");
        let shown = String::from_utf8(why.to_json()).unwrap();
        assert!(!shown.contains("evil"), "{shown}");
        assert!(shown.contains(r#""code":"invalid""#), "{shown}");
    }
    assert!(NewProduct::read(br#"{"id":"a/b"}"#).is_err());
    assert!(NewKey::read(br#"{"name":"k","role":"god"}"#).is_err());
    assert!(NewKey::new("a\u{202e}b", Role::Viewer, None).is_err());
    assert!(ChangeDevice::read(br#"{"disabled":"yes"}"#).is_err());
    let new = NewDevice::read(br#"{"name":"d","secret":"MDEyMzQ1Njc4OWFiY2RlZg=="}"#).unwrap();
    assert_eq!(new.given().unwrap().unwrap().expose(), b"0123456789abcdef");
    assert!(!format!("{new:?}").contains("MDEy"));
}

#[test]
fn what_is_named_twice_is_refused() {
    let twice = [
        NewDevice::read(br#"{"name":"a","name":"b"}"#).map(drop),
        NewDevice::read(br#"{"name":"a","tags":{"t":"1","t":"2"}}"#).map(drop),
        ChangeDevice::read(br#"{"disabled":true,"disabled":false}"#).map(drop),
        ChangeDevice::read(br#"{"tags":{"t":"1","t":"2"}}"#).map(drop),
        NewKey::read(br#"{"name":"k","role":"viewer","role":"admin"}"#).map(drop),
        NewProduct::read(br#"{"id":"A","id":"B"}"#).map(drop),
        Query::read("after=a&after=b", &["after"]).map(drop),
    ];
    for (at, refused) in twice.into_iter().enumerate() {
        assert_eq!(refused.map_err(|why| why.code), Err(Code::Invalid), "{at}");
    }
    let once = ChangeDevice::read(br#"{"tags":{"t":"1","u":"2"}}"#).unwrap();
    assert_eq!(once.tags.unwrap().len(), 2);
    assert_eq!(ChangeDevice::read(br#"{"tags":null}"#).unwrap().tags, None);
}

#[test]
fn a_csv_is_taken_whole_or_not_at_all() {
    let devices = devices_of_csv(b"name,secret\r\na\n\n\"b\",MDEyMzQ1\n").unwrap();
    let names: Vec<_> =
        devices.iter().map(|new| (new.name.as_str(), new.secret.is_some())).collect();
    assert_eq!(names, [("a", false), ("b", true)]);
    for (csv, words) in [
        (&b""[..], "no device"),
        (b"name,secret\n", "no device"),
        (b"a\na\n", "line 2: the name occurs twice"),
        (b"a\nb/c\n", "line 2: "),
        (b"a,b,c,d,e,f\n", "line 1: write"),
        (b"a,,,,x\n", "line 1: it is not a certificate"),
        (b"a,,,yes\n", "line 1: disabled is"),
        (b"a,,t\n", "line 1: write tags"),
        (b"a,,t=1;t=2\n", "line 1: write tags"),
        (b"a,,t=%ff\n", "line 1: write tags"),
        (b"a,,=1\n", "line 1: a tag has a name"),
        (b"\xff\n", "UTF-8"),
    ] {
        let why = devices_of_csv(csv).unwrap_err();
        assert!(why.detail.contains(words), "{}", why.detail);
    }
    let tagged = devices_of_csv(b"name,secret,tags\na,,line=7;a%3Bb=%25,x\n");
    assert!(tagged.is_err(), "a comma is one more column");
    let of = b"name,secret,tags,disabled\na,,line=7;a%3Bb=%2C,TRUE\nb,,,false\n";
    let tagged = devices_of_csv(of).unwrap();
    assert_eq!((tagged[0].disabled, tagged[1].disabled), (true, false));
    let tags: Vec<(&str, &str)> =
        tagged[0].tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(tags, [("a;b", ","), ("line", "7")]);
    let many: String = (0..501).map(|n| format!("d{n}\n")).collect();
    assert_eq!(devices_of_csv(many.as_bytes()).unwrap_err().code, Code::TooLarge);
}

#[test]
fn queries_know_their_names_and_their_bounds() {
    let read = |text: &str| Query::read(text, &["after", "limit", "task", "version", "module"]);
    assert_eq!(read("limit=7").unwrap().limit(), Ok(7));
    assert_eq!(read("").unwrap().limit(), Ok(50));
    for bad in
        ["limit=0", "limit=101", "limit=", "limit=-1", "limit=+1", "limit=9999999999999999999"]
    {
        assert_eq!(read(bad).unwrap().limit().unwrap_err().field, Some("limit"), "{bad}");
    }
    assert_eq!(read("taks=none").unwrap_err().code, Code::Invalid);
    assert_eq!(read(&format!("after={}", "x".repeat(5_000))).unwrap_err().code, Code::Invalid);
    assert_eq!(read("after=%ff").unwrap_err().code, Code::Invalid);
    assert_eq!(read("after=a%2Fb").unwrap().after().unwrap_err().field, Some("after"));
    let filter = |text: &str| DeviceFilter::read(&read(text).unwrap());
    assert_eq!(filter("task=timed-out").unwrap().task.unwrap().unwrap().number(), 10);
    assert_eq!(filter("task=none").unwrap().task, Some(None));
    assert_eq!(filter("task=gone").unwrap_err().field, Some("task"));
    assert_eq!(filter("module=bms").unwrap_err().field, Some("module"));
    assert_eq!(filter("version=1&module=a%20b").unwrap_err().field, Some("module"));
}

#[test]
fn a_budget_is_a_number_at_once_and_more_with_time() {
    let mut now = Instant::from_micros(1);
    let mut budget = Budget::of_stranger(now);
    assert!(budget.is_whole(now));
    for _ in 0..20 {
        budget.take(now).unwrap();
    }
    assert_eq!(budget.take(now), Err(Duration::from_secs(6)));
    now = now + Duration::from_secs(6);
    budget.take(now).unwrap();
    assert!(budget.take(now).is_err() && !budget.is_whole(now));
    now = now + Duration::from_secs(1_000_000);
    assert!(budget.is_whole(now));
}

#[test]
fn the_committed_document_is_the_one_of_the_table() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    if std::env::var_os("OTA_WRITE").is_some() {
        std::fs::write(file, describe()).unwrap();
    }
    let committed = std::fs::read_to_string(file).unwrap();
    assert!(committed == describe(), "docs/openapi.json: run this test with OTA_WRITE=1");
    assert!(OPERATIONS.iter().all(|row| row.right != Right::Administer
        || row.method != "GET"
        || row.scope == Scope::Service));
}

#[test]
fn an_event_has_the_words_of_the_api_and_not_those_of_the_store() {
    let shown = |kept: &str| {
        serde_json::to_value(EventView::new(7, 9, ("P", "d1"), kept.as_bytes())).unwrap()
    };
    let task = r#""task":{"device":3,"number":1}"#;
    let kept = format!(
        r#"{{"kind":"status",{task},"from":"AwaitingConfirm","to":"TimedOut","code":0,"text":""}}"#
    );
    let status = shown(&kept);
    assert_eq!((&status["seq"], &status["at"]), (&7.into(), &9.into()));
    assert_eq!((&status["product"], &status["device"]), (&"P".into(), &"d1".into()));
    assert_eq!(status["task"], "3-1");
    assert_eq!(
        (&status["from"], &status["to"]),
        (&"awaiting-confirmation".into(), &"timed-out".into())
    );
    for kind in ["offered", "began"] {
        let kept = format!(r#"{{"kind":"{kind}",{task},"version":"2.0.0"}}"#);
        assert_eq!(
            (&shown(&kept)["task"], &shown(&kept)["version"]),
            (&"3-1".into(), &"2.0.0".into())
        );
    }
    let claimed = format!(r#"{{"kind":"claimed",{task},"late":false}}"#);
    let proved = format!(r#"{{"kind":"proved",{task}}}"#);
    assert_eq!((&shown(&claimed)["task"], &shown(&proved)["task"]), (&"3-1".into(), &"3-1".into()));
    for (why, name) in [
        (r#""NoRule""#, "no-rule"),
        (r#"{"AttemptsUsed":{"attempts":3}}"#, "attempts-used"),
        (r#"{"Withdrawn":{"why":"gone"}}"#, "withdrawn"),
    ] {
        let not = shown(&format!(r#"{{"kind":"not-offered","module":"default","why":{why}}}"#));
        assert_eq!(not["why"], name);
        assert!(not["text"].as_str().is_some_and(|text| !text.is_empty()), "{not}");
    }
    let later = shown(r#"{"kind":"of-a-later-release","task":{"device":3,"number":1}}"#);
    assert_eq!(later["task"]["device"], 3);
    assert_eq!(shown("no JSON")["device"], "d1");
}
