//! What a call may bring: a name of its own, a body of some type, filters, digests.

use ota_cloud::api::{
    Caller, ChangeRegistration, Code, DeviceFilter, Key, NewDevice, NewFirmware, NewProduct, Once,
    ProductSecret, Query, Registering, Registration, RegistrationView, Role, Settings, find,
    product_id,
};

use super::caller;

const DEVICES: &str = "/api/v1/products/P/devices";
const FIRMWARE: &str = "/api/v1/products/P/firmware/1.0.0";

type Body = (bool, &'static [u8]);

fn once(caller: &Caller, name: &[u8], target: &str, body: Body) -> Result<Option<Once>, Code> {
    let call = find("POST", DEVICES).unwrap();
    Once::read((&call, caller), Some(name), target, body).map_err(|why| why.code)
}

#[test]
fn a_call_that_is_sent_again_is_known_by_its_name() {
    let caller = caller(Some("P"), Role::Admin);
    let named = |name: &[u8], target: &str, body| once(&caller, name, target, body).unwrap();
    let first = named(b"n1", DEVICES, (false, b"{}")).unwrap();
    let kept = first.to_bytes(201).unwrap();
    assert_eq!(first.answered(&kept).unwrap(), Ok(201));
    assert!(first.id().starts_with(caller.id()) && !first.id().contains("n1"));
    // Another call under the same name.
    for (target, body) in [
        ("/api/v1/products/P/devices?", (false, &b"{}"[..])),
        (DEVICES, (true, b"{}")),
        (DEVICES, (false, b"{ }")),
    ] {
        let other = named(b"n1", target, body).unwrap();
        assert_eq!(other.id(), first.id());
        let why = other.answered(&kept).unwrap().unwrap_err();
        assert_eq!((why.code, why.field), (Code::KeyReused, Some("Idempotency-Key")));
    }
    assert!(first.answered(b"{}").is_err(), "what is kept is damaged");
    // Of another name, or another caller.
    let second = named(b"n2", DEVICES, (false, b"{}")).unwrap();
    let (key, text) = Key::make([8; 40], "another", None, Role::Admin, 1);
    let stranger = key.opens(&text).unwrap();
    let theirs = once(&stranger, b"n1", DEVICES, (false, b"{}")).unwrap().unwrap();
    assert!(second.id() != first.id() && theirs.id() != first.id());
}

#[test]
fn a_name_of_a_call_is_short_and_of_a_post() {
    let caller = caller(Some("P"), Role::Admin);
    for (name, fits) in [
        (&[b'x'; 128][..], true),
        (b"!~", true),
        (&[b'x'; 129], false),
        (b"", false),
        (b"a b", false),
        (b"\xff", false),
    ] {
        let read = once(&caller, name, DEVICES, (false, b""));
        assert_eq!(read.map(|once| once.is_some()), fits.then_some(true).ok_or(Code::Invalid));
    }
    for (method, path, named, unnamed) in [
        ("POST", DEVICES, true, true),
        ("GET", DEVICES, false, true),
        ("POST", FIRMWARE, false, true),
    ] {
        let call = find(method, path).unwrap();
        let read = |name| Once::read((&call, &caller), name, path, (false, b""));
        assert_eq!(read(Some(b"n")).is_ok(), named, "{method} {path}");
        assert_eq!(read(None).is_ok_and(|once| once.is_none()), unnamed, "{method} {path}");
    }
}

#[test]
fn a_body_of_another_type_is_refused() {
    let (no, yes, bad) = (Ok(false), Ok(true), Err(Code::BadType));
    for (method, path, types) in [
        ("POST", DEVICES, [no, no, no, yes, bad, bad]),
        ("POST", "/api/v1/keys", [no, no, no, bad, bad, bad]),
        ("GET", DEVICES, [no, no, no, no, no, no]),
        ("DELETE", FIRMWARE, [no, no, no, no, no, no]),
        ("POST", FIRMWARE, [no, no, no, no, no, bad]),
    ] {
        let call = find(method, path).unwrap();
        let named = [
            None,
            Some("application/x-www-form-urlencoded"),
            Some(" Application/Problem+JSON ; charset=utf-8"),
            Some("text/CSV; header=absent"),
            Some("text/plain"),
            Some("multipart/form-data; boundary=x"),
        ];
        for (kind, wanted) in named.into_iter().zip(types) {
            let told = call.is_csv(kind).map_err(|why| why.code);
            assert_eq!(told, wanted, "{method} {path} {kind:?}");
        }
    }
}

#[test]
fn a_filter_of_devices_takes_what_goes_together() {
    let filter = |text: &str| {
        let names = ["prefix", "version", "module", "unreported", "tag", "task"];
        DeviceFilter::read(&Query::read(text, &names).unwrap()).map_err(|why| why.field)
    };
    assert_eq!(filter(""), Ok(DeviceFilter::default()));
    let of = |change: fn(&mut DeviceFilter)| {
        let mut filter = DeviceFilter::default();
        change(&mut filter);
        Ok(filter)
    };
    assert_eq!(filter("prefix=a%3A"), of(|it| it.prefix = "a:".into()));
    assert_eq!(filter("unreported=true"), of(|it| it.unreported = true));
    assert_eq!(filter("unreported=false"), of(|it| it.unreported = false));
    assert_eq!(filter("tag=site:a:b"), of(|it| it.tag = Some(("site".into(), "a:b".into()))));
    assert_eq!(filter("tag=site"), of(|it| it.tag = Some(("site".into(), String::new()))));
    assert!(filter("unreported=false&version=1").is_ok());
    assert_eq!(filter("unreported=true&version=1"), Err(Some("unreported")));
    assert_eq!(filter("unreported=yes"), Err(Some("unreported")));
    // The longest name, and one more.
    let prefix = |len: usize| filter(&format!("prefix={}", "x".repeat(len)));
    assert!(prefix(48).is_ok());
    assert_eq!((prefix(49), prefix(60)), (Err(Some("prefix")), Err(Some("prefix"))));
}

#[test]
fn an_image_that_came_otherwise_is_told_by_its_digest() {
    let read = |text: &str| {
        let query = Query::read(text, &["md5", "sha256", "state"]).unwrap();
        NewFirmware::read("P", "1.0.0", &query)
    };
    let (md5, sha256) = ([0x1a; 16], [0x2b; 32]);
    let stated = [format!("md5={}", "1a".repeat(16)), format!("sha256={}", "2b".repeat(32))];
    let both = stated.join("&");
    for (query, wrong_md5, wrong_sha256) in [
        ("", None, None),
        (stated[0].as_str(), Some("md5"), None),
        (stated[1].as_str(), None, Some("sha256")),
        (both.as_str(), Some("md5"), Some("sha256")),
    ] {
        let new = read(query).unwrap();
        let told = |md5, sha256| new.check_digests(md5, sha256).err().and_then(|why| why.field);
        assert_eq!(told(md5, sha256), None, "{query}");
        assert_eq!(told([0; 16], sha256), wrong_md5, "{query}");
        assert_eq!(told(md5, [0; 32]), wrong_sha256, "{query}");
    }
    for bad in ["md5=1a", "md5=", "sha256=zz", "state=new"] {
        assert_eq!(read(bad).unwrap_err().code, Code::Invalid, "{bad}");
    }
}

#[test]
fn a_caller_sees_its_own_product_and_one_of_the_service_all() {
    let call = find("GET", DEVICES).unwrap();
    for (product, sees_other) in [(Some("P"), false), (None, true)] {
        let caller = caller(product, Role::Viewer);
        assert!(caller.sees("P"));
        assert_eq!(caller.sees("Q"), sees_other);
        let grant = caller.may(&call, true).unwrap();
        assert!(grant.sees("P", true).is_ok());
        assert_eq!(grant.sees("Q", true).is_ok(), sees_other);
        assert_eq!(grant.sees("P", false).unwrap_err().code, Code::UnknownProduct);
    }
}

#[test]
fn tags_are_kept_as_they_are_given() {
    let new = NewDevice::read(br#"{"name":"d","tags":{"site":"a b","empty":""}}"#).unwrap();
    let tags: Vec<_> = new.tags.iter().map(|(tag, value)| (tag.as_str(), value.as_str())).collect();
    assert_eq!(tags, [("empty", ""), ("site", "a b")]);
    assert!(NewDevice::read(br#"{"name":"d"}"#).unwrap().tags.is_empty());
}

#[test]
fn secrets_and_ids_of_products_are_of_random_bytes_and_hidden() {
    let secret = ProductSecret::make([0xa7; ProductSecret::RANDOM]);
    assert_eq!(secret.expose().len(), 24);
    assert_eq!(ProductSecret::parse(secret.expose()), Ok(secret.clone()));
    assert!(!format!("{secret:?}").contains(secret.expose()));
    let mut random = [0; 20];
    random[19] = 35;
    assert_eq!(product_id(random), "AAAAAAAAA9");
    let change = br#"{"mode":"any","limit":3,"secret":"ABCDEFGHIJKLMNOPQRSTUVWX"}"#;
    let change = ChangeRegistration::read(change).unwrap();
    assert!(!format!("{change:?}").contains("ABCDE"), "{change:?}");
    let of = change.over(Registration::default()).unwrap();
    let view = RegistrationView::new(of, Some(&secret));
    assert!(!format!("{view:?}").contains(secret.expose()), "{view:?}");
    // Of what is there the limit stays, and one of none is no limit.
    let off = ChangeRegistration::read(br#"{"mode":"off"}"#).unwrap();
    assert_eq!(off.over(of).unwrap().limit, 3);
    let any = ChangeRegistration::read(br#"{"mode":"any"}"#).unwrap();
    assert_eq!(any.over(Registration::default()).unwrap_err().field, Some("limit"));
}

#[test]
fn settings_are_read_back_and_older_ones_have_none() {
    let new = br#"{"id":"P","name":"lamp","description":"of glass"}"#;
    let settings = NewProduct::read(new).unwrap().settings(7);
    assert_eq!(Settings::from_bytes(&settings.to_bytes().unwrap()), Ok(settings));
    let none = Settings::from_bytes(b"{}").unwrap();
    assert_eq!((none.called("P"), none.registration.mode), ("P", Registering::Off));
    for mode in [Registering::Off, Registering::Known, Registering::Any] {
        assert_eq!(Registering::of_number(mode.number().into()), Some(mode));
        assert_eq!(Registering::parse(mode.word()), Some(mode));
    }
    assert_eq!(Registering::of_number(3), None);
    for bad in [
        r#"{"id":"P","name":"a\u202eb"}"#.to_owned(),
        format!(r#"{{"id":"P","name":"{}"}}"#, "x".repeat(65)),
        format!(r#"{{"id":"P","description":"{}"}}"#, "x".repeat(257)),
        r#"{"id":"a/b"}"#.to_owned(),
    ] {
        assert_eq!(NewProduct::read(bad.as_bytes()).unwrap_err().code, Code::Invalid, "{bad}");
    }
}
