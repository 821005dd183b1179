//! The vendor's API: signatures against vectors, parameters, actions, the envelope.
#![cfg(feature = "vendor")]
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod batch;
mod hostile;
mod secrets;

use ota_cloud::api::Right;
use ota_cloud::vendor::OldClaim;
use ota_cloud::vendor::{
    Action, ApiError, Claim, Code, Filter, NamedModule, Params, REPLAY, Request, SKEW, Unsigned,
    built_in, module_info, reply,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

const ID: &str = "AKIDEXAMPLE0000000000000000000000001";
const KEY: &[u8] = b"SKEXAMPLE000000000000000000000001";
const BODY: &[u8] =
    br#"{"ProductID":"TESTPROD01","FirmwareVersion":"1.0.0","Offset":0,"Limit":10}"#;
const NOW: u64 = 1_700_000_000;
const QUERY: &str = "FirmwareVersion=1.0.0&Limit=10&Offset=0&ProductID=TESTPROD01";

fn hash(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}

fn authorization(signed: &str, signature: &str) -> String {
    format!(
        "TC3-HMAC-SHA256 Credential={ID}/2023-11-14/iotexplorer/tc3_request, \
         SignedHeaders={signed}, Signature={signature}"
    )
}

/// A request of the worked example, with other headers in place of some of its own.
struct Sent {
    method: &'static str,
    query: &'static str,
    headers: Vec<(&'static str, String)>,
}

fn sent(authorization: String) -> Sent {
    let headers = [
        ("X-TC-Action", "DescribeFirmwareTasks"),
        ("X-TC-Version", "2019-04-23"),
        ("X-TC-Timestamp", "1700000000"),
        ("Content-Type", "application/json"),
        ("Host", "127.0.0.1:8080"),
    ];
    let mut headers: Vec<_> =
        headers.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    headers.push(("Authorization", authorization));
    Sent { method: "POST", query: "", headers }
}

impl Sent {
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self
    }

    fn check(&self, now: u64, body: &[u8], key: &[u8]) -> Result<(), Code> {
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let request = Request { method: self.method, query: self.query, headers: &headers };
        let claim = Claim::read(&request, now).map_err(|error| error.code)?;
        assert_eq!(claim.secret_id, ID);
        claim.verify(&request, hash(body), key).map_err(|error| error.code)
    }
}

const PLAIN: &str = "937333a984a1130a51e1dc3b542c075ffc0366aa713ed0ee245bb3bb34685a1c";

fn plain() -> Sent {
    sent(authorization("content-type;host", PLAIN))
}

#[test]
fn the_worked_examples_verify() {
    assert_eq!(plain().check(NOW, BODY, KEY), Ok(()));

    // The newer documentation: the action is signed in lower case, and sent as it is.
    let signature = "506e9b07a431568e998c2f0cb0565f0cf65209ff4e74b30a110fd0f36b7b434f";
    let action = sent(authorization("content-type;host;x-tc-action", signature))
        .with("Content-Type", "application/json; charset=utf-8");
    assert_eq!(action.check(NOW, BODY, KEY), Ok(()));

    let signature = "9afd9621601752c35d7d83626aaa85ff7bdf700b8f9046363e633f70f73b1547";
    let mut get = sent(authorization("content-type;host", signature))
        .with("Content-Type", "application/x-www-form-urlencoded");
    (get.method, get.query) = ("GET", QUERY);
    assert_eq!(get.check(NOW, b"", KEY), Ok(()));

    let signature = "dd2bd03ef2af682d5b2c27d0bed07309b146e7395c111fe980825cf163f83bae";
    let unsigned = sent(authorization("content-type;host", signature))
        .with("X-TC-Content-SHA256", "UNSIGNED-PAYLOAD");
    assert_eq!(unsigned.check(NOW, b"any other body", KEY), Ok(()));
}

/// Computed by another program, and good for what checks signatures here.
#[test]
fn what_is_signed_here_verifies() {
    let unsigned = Unsigned {
        action: "DescribeFirmwareTasks",
        host: "127.0.0.1:8080",
        service: "iotexplorer",
        now: NOW,
        body: BODY,
    };
    let signature = "031cc23e18e579e62fdde203d6729b6dc3022d5badb3a1c4cdd8cab861daa66b";
    let value = unsigned.sign(ID, KEY);
    assert_eq!(value, authorization("content-type;host;x-tc-action", signature));
    let signed = sent(value);
    assert_eq!(signed.check(NOW, BODY, KEY), Ok(()));
    assert_eq!(signed.check(NOW, BODY, b"another"), Err(Code::SignatureFailure));
    assert_eq!(signed.check(NOW, b"{}", KEY), Err(Code::SignatureFailure));
    let other = signed.with("X-TC-Action", "DeleteFirmware");
    assert_eq!(other.check(NOW, BODY, KEY), Err(Code::SignatureFailure));
}

/// The example of the vendor's documentation of the signature.
#[test]
fn the_vendors_own_example_verifies() {
    let headers = [
        ("x-tc-action", "DescribeInstances"),
        ("x-tc-version", "2017-03-12"),
        ("x-tc-timestamp", "1551113065"),
        ("content-type", "application/json; charset=utf-8"),
        ("host", "cvm.tencentcloudapi.com"),
        (
            "authorization",
            "TC3-HMAC-SHA256 Credential=AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE/2019-02-25/cvm/\
             tc3_request, SignedHeaders=content-type;host, \
             Signature=72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168",
        ),
    ];
    let request = Request { method: "POST", query: "", headers: &headers };
    let body =
        br#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#;
    let claim = Claim::read(&request, 1_551_113_065).unwrap();
    assert_eq!(claim.secret_id, "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE");
    let key = b"Gu5t9xGARNpq86cd98joQYCN3EXAMPLE";
    assert_eq!(claim.verify(&request, hash(body), key), Ok(()));
}

#[test]
fn what_the_signature_covers_is_said_and_cannot_be_changed() {
    let failure = Err(Code::SignatureFailure);
    assert_eq!(plain().check(NOW, b"another body", KEY), failure);
    assert_eq!(plain().check(NOW, BODY, b"another key"), failure);
    assert_eq!(plain().with("Host", "127.0.0.2:8080").check(NOW, BODY, KEY), failure);
    assert_eq!(plain().with("Content-Type", "text/plain").check(NOW, BODY, KEY), failure);
    assert_eq!(plain().with("X-TC-Timestamp", "1700000001").check(NOW, BODY, KEY), failure);
    let get = Sent { method: "GET", ..plain() };
    assert_eq!(get.check(NOW, BODY, KEY), failure);
    // The action is not covered unless it is listed: whoever asks must know.
    let other = plain().with("X-TC-Action", "DeleteFirmware");
    assert_eq!(other.check(NOW, BODY, KEY), Ok(()));
    let headers: Vec<_> = other.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let request = Request { method: "POST", query: "", headers: &headers };
    let claim = Claim::read(&request, NOW).unwrap();
    assert_eq!((claim.signs_action, claim.signs_body), (false, true));

    let signature = "506e9b07a431568e998c2f0cb0565f0cf65209ff4e74b30a110fd0f36b7b434f";
    let listed = sent(authorization("content-type;host;x-tc-action", signature))
        .with("Content-Type", "application/json; charset=utf-8")
        .with("X-TC-Action", "DeleteFirmware");
    assert_eq!(listed.check(NOW, BODY, KEY), failure);
}

/// One SDK signs the host without the port that it sends, and takes the service from the host's
/// first label.
#[test]
fn a_host_that_was_signed_without_its_port_verifies() {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mac = |key: &[u8], text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes()
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let canonical = format!(
        "POST\n/\n\ncontent-type:application/json\nhost:127.0.0.1\n\ncontent-type;host\n{}",
        hex(&hash(BODY))
    );
    let scope = "2023-11-14/127/tc3_request";
    let text =
        format!("TC3-HMAC-SHA256\n1700000000\n{scope}\n{}", hex(&hash(canonical.as_bytes())));
    let key = mac(&mac(&mac(&[b"TC3", KEY].concat(), "2023-11-14"), "127"), "tc3_request");
    let signature = hex(&mac(&key, &text));
    let authorization = format!(
        "TC3-HMAC-SHA256 Credential={ID}/{scope}, SignedHeaders=content-type;host, \
         Signature={signature}"
    );
    assert_eq!(sent(authorization).check(NOW, BODY, KEY), Ok(()));
}

#[test]
fn every_part_of_the_head_that_is_missing_or_wrong_has_its_code() {
    for header in ["X-TC-Action", "X-TC-Version", "X-TC-Timestamp", "Authorization"] {
        let missing = plain().without(header);
        assert_eq!(missing.check(NOW, BODY, KEY), Err(Code::MissingParameter), "{header}");
    }
    let token = plain().with("X-TC-Token", "temporary");
    assert_eq!(token.check(NOW, BODY, KEY), Err(Code::TokenFailure));
    for time in [NOW - SKEW, NOW + SKEW] {
        assert_eq!(plain().check(time, BODY, KEY), Ok(()));
    }
    for time in [NOW - SKEW - 1, NOW + SKEW + 1, 0, u64::MAX] {
        assert_eq!(plain().check(time, BODY, KEY), Err(Code::SignatureExpire));
    }
    let text = plain().with("X-TC-Timestamp", "+1700000000");
    assert_eq!(text.check(NOW, BODY, KEY), Err(Code::InvalidParameter));
    let good = authorization("content-type;host", PLAIN);
    for bad in [
        "Basic abc".to_owned(),
        good.replace("TC3-HMAC-SHA256", "TC3-HMAC-SHA1"),
        good.replace("/tc3_request", ""),
        good.replace("tc3_request", "tc4_request"),
        good.replace("tc3_request,", "tc3_request/more,"),
        good.replace("/iotexplorer/", "//"),
        good.replace("content-type;host", "host"),
        good.replace("content-type;host", "content-type"),
        good.replace("Signature=", "Sig="),
        good.replace(PLAIN, &PLAIN[1..]),
        good.replace(PLAIN, &PLAIN.to_uppercase()),
        good.replace(PLAIN, "zz"),
    ] {
        let refused = sent(bad.clone()).check(NOW, BODY, KEY);
        assert_eq!(refused, Err(Code::InvalidAuthorization), "{bad}");
    }
    let yesterday = good.replace("2023-11-14", "2023-11-13");
    assert_eq!(sent(yesterday).check(NOW, BODY, KEY), Err(Code::SignatureExpire));
    // Fields in another order and other spaces, a header that is signed and not there.
    let order = format!(
        "TC3-HMAC-SHA256 SignedHeaders=content-type;host,Signature={PLAIN},\
         Credential={ID}/2023-11-14/iotexplorer/tc3_request"
    );
    assert_eq!(sent(order).check(NOW, BODY, KEY), Ok(()));
    let gone = good.replace("content-type;host", "content-type;host;x-gone");
    assert_eq!(sent(gone).check(NOW, BODY, KEY), Err(Code::SignatureFailure));
}

const OLD: &str = "Action=DescribeFirmwareTasks&FirmwareVersion=1.0.0&Limit=10&Nonce=11886&Offset=0&\
    ProductID=TESTPROD01&Region=ap-guangzhou&SecretId=AKIDEXAMPLE0000000000000000000000001&\
    Timestamp=1700000000&Version=2019-04-23";

fn old(form: &str, now: u64, key: &[u8]) -> Result<OldClaim, Code> {
    let claim = OldClaim::read("POST", "127.0.0.1:8080", form, now).map_err(|why| why.code)?;
    claim.verify(key).map_err(|why| why.code)?;
    Ok(claim)
}

#[test]
fn the_old_signatures_verify_over_the_whole_form_in_any_order() {
    let signed = format!("{OLD}&Signature=DPRQo73hwb8qrGi%2FOsOOhHPH2%2FQ%3D");
    let claim = old(&signed, NOW, KEY).unwrap();
    assert_eq!((claim.secret_id(), claim.action()), (ID, "DescribeFirmwareTasks"));
    assert_eq!((claim.version(), claim.signature().len()), ("2019-04-23", 20));
    let action = Action::decode(claim.action(), claim.params()).unwrap();
    let Action::DescribeFirmwareTasks { limit, .. } = action else { panic!("{action:?}") };
    assert_eq!(limit, 10);

    let sha256 = "Signature=BZ3Snhwug1FTG6e6Hh8o1xR%2FwhnL4c3rddEr%2FDQtz%2BM%3D";
    let signed = format!("{sha256}&SignatureMethod=HmacSHA256&{OLD}");
    assert!(old(&signed, NOW, KEY).is_ok());
    assert_eq!(old(&signed, NOW, b"another").err(), Some(Code::SignatureFailure));
    let more = format!("{signed}&More=1");
    assert_eq!(old(&more, NOW, KEY).err(), Some(Code::SignatureFailure));
    for name in ["Action=", "Version=", "SecretId=", "Nonce=", "Timestamp="] {
        let missing = signed.replace(name, "Other=");
        assert_eq!(old(&missing, NOW, KEY).err(), Some(Code::MissingParameter), "{name}");
    }
    let sha1 = signed.replace("HmacSHA256", "HmacSHA1");
    assert_eq!(old(&sha1, NOW, KEY).err(), Some(Code::SignatureFailure));
    for (from, to, code) in [
        ("HmacSHA256", "HmacMD5", Code::InvalidParameter),
        ("Timestamp=1700000000", "Timestamp=now", Code::InvalidParameter),
        ("Signature=BZ", "Signature=%FF", Code::InvalidParameter),
        ("Signature=BZ", "Signature=!", Code::SignatureFailure),
        ("Signature=BZ", "Token=t&Signature=BZ", Code::TokenFailure),
        ("Nonce=11886", "Nonce=11886&Nonce=11886", Code::InvalidParameter),
    ] {
        assert_eq!(old(&signed.replace(from, to), NOW, KEY).err(), Some(code), "{to}");
    }
    assert_eq!(old(&signed, NOW + SKEW + 1, KEY).err(), Some(Code::SignatureExpire));
    assert!(old(&signed, NOW + SKEW, KEY).is_ok());
}

/// What is signed in the old way are names and values as they are, with `&` and `=` between them: as
/// the vendor's SDK does it. What can be read in two ways is refused, whoever signed it.
#[test]
fn an_old_signature_over_what_can_be_read_in_two_ways_is_refused() {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let sign = |host: &str, text: &str| {
        let mut mac = Hmac::<sha1::Sha1>::new_from_slice(KEY).unwrap();
        mac.update(format!("POST{host}/?{text}").as_bytes());
        let bytes = mac.finalize().into_bytes();
        let base64 = ota_proto::credentials::Secret::from_bytes(&bytes).unwrap().expose_base64();
        base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
    };
    let host = "127.0.0.1:8080";
    // Both of these are the same text to sign: what follows `&` may be a value's or a field's.
    let text = format!("{OLD}&Z=1&ZZ=2");
    let signature = sign(host, &text);
    for (form, code) in [
        (format!("{OLD}&Z=1&ZZ=2&Signature={signature}"), None),
        (format!("{OLD}&Z=1%26ZZ%3D2&Signature={signature}"), Some(Code::InvalidParameter)),
        (format!("{OLD}&Z%3D1%26ZZ=2&Signature={signature}"), Some(Code::InvalidParameter)),
    ] {
        assert_eq!(old(&form, NOW, KEY).err(), code, "{form}");
    }
    // An `&` behind which nothing can begin is one of a text.
    for value in ["a & b", "&", "a=b", "a=b & c", "http://h/?a"] {
        let signature = sign(host, &format!("{OLD}&Z={value}"));
        let sent = value.replace('&', "%26").replace('=', "%3D").replace(' ', "+");
        let form = format!("{OLD}&Z={sent}&Signature={signature}");
        assert_eq!(old(&form, NOW, KEY).err(), None, "{value}");
    }
    // The host is in the same text: none that has a form in it.
    let text = format!("{OLD}&Z=1/?ZZ=2");
    let signature = sign(host, &text);
    let claimed = format!("{host}/?{OLD}&Z=1");
    let form = format!("{OLD}&ZZ=2&Signature={signature}");
    let odd = OldClaim::read("POST", &claimed, &form, NOW);
    assert_eq!(odd.err().map(|why| why.code), Some(Code::InvalidRequest));
}

/// The mark of a signature that was used outlives the signature, to the second.
#[test]
fn a_signature_is_remembered_for_longer_than_it_is_good() {
    // One of the future, taken at the end of the first second in which it is good.
    let taken = (NOW - SKEW) * 1_000_000 + 999_999;
    assert_eq!(plain().check(taken / 1_000_000, BODY, KEY), Ok(()));
    let forgotten = (taken - 999_999) + REPLAY * 1_000_000;
    assert_eq!(plain().check(forgotten / 1_000_000 - 1, BODY, KEY), Ok(()));
    assert_eq!(plain().check(forgotten / 1_000_000, BODY, KEY), Err(Code::SignatureExpire));
}

#[test]
fn what_is_named_twice_is_refused() {
    let twice = |text: &str| Params::from_json(text.as_bytes()).map(drop).map_err(|why| why.code);
    for bad in [
        r#"{"ProductId":"A","ProductID":"B"}"#,
        r#"{"ProductId":"A","ProductID":"A"}"#,
        r#"{"ProductId":"A","ProductId":"B"}"#,
        r#"{"ProductId":"A","Product\u0049d":"A"}"#,
        r#"{"Filters":[{"Key":"Status","Key":"TaskId","Value":"1"}]}"#,
        r#"{"Newer":{"a":{"b":1,"b":2}}}"#,
    ] {
        assert_eq!(twice(bad), Err(Code::InvalidParameter), "{bad}");
    }
    assert_eq!(twice(r#"{"ProductId":"A","Newer":[{"a":1},{"a":1.5}]}"#), Ok(()));
    for bad in ["ProductId=A&ProductID=B", "ProductId=A&ProductId=A"] {
        let refused = Params::from_query(bad).map_err(|why| why.code);
        assert_eq!(refused, Err(Code::InvalidParameter), "{bad}");
    }
}

fn json(text: &str) -> Params {
    Params::from_json(text.as_bytes()).unwrap()
}

fn decode(name: &str, text: &str) -> Result<Action, Code> {
    Action::decode(name, &json(text)).map_err(|error| error.code)
}

#[test]
fn both_spellings_and_numbers_as_texts_are_taken_and_a_query_says_the_same_as_a_body() {
    let wanted = Action::DescribeFirmwareTasks {
        product: "TESTPROD01".into(),
        version: "1.0.0".into(),
        offset: 0,
        limit: 10,
        filters: vec![Filter { key: "Status".into(), value: Some("3 4".into()) }],
        module: None,
    };
    for body in [
        r#"{"ProductID":"TESTPROD01","FirmwareVersion":"1.0.0","Offset":0,"Limit":10,
            "Filters":[{"Key":"Status","Value":"3 4"}],"FwType":null,"Newer":[1]}"#,
        r#"{"ProductId":"TESTPROD01","FirmwareVersion":"1.0.0","Offset":"0","Limit":"10",
            "Filters":[{"Key":"Status","Value":"3 4"}]}"#,
    ] {
        assert_eq!(decode("DescribeFirmwareTasks", body), Ok(wanted.clone()));
    }
    let query = format!("{QUERY}&Filters.0.Key=Status&Filters.0.Value=3+4");
    let params = Params::from_query(&query).unwrap();
    assert_eq!(Action::decode("DescribeFirmwareTasks", &params), Ok(wanted));
    let list = "ProductID=P&FirmwareVersion=1&DeviceNames.0=d%2B1&DeviceNames.1=d2";
    let action = Action::decode("BatchUpdateFirmware", &Params::from_query(list).unwrap());
    let Ok(Action::BatchUpdateFirmware { devices, .. }) = action else { panic!("{action:?}") };
    assert_eq!(devices, ["d+1", "d2"]);
}

#[test]
fn a_query_that_contradicts_itself_is_refused() {
    for bad in [
        "a=1&a=2",
        "a=1&a.0=2",
        "a.0=1&a=2",
        "a.0=1&a.b=2",
        "a.b=1&a.0=2",
        "a.1=1",
        "a.0=1&a.2=3",
        "a.9999999999=1",
        "a.0.0.0.0=1",
        "a=%ff",
        "0=1",
    ] {
        let refused = Params::from_query(bad).map_err(|error| error.code);
        assert_eq!(refused, Err(Code::InvalidParameter), "{bad}");
    }
    let long = "a=".to_owned() + &"x".repeat(32 * 1_024);
    assert!(Params::from_query(&long).is_err());
    for bad in [&b"[]"[..], b"1", b"", b"{", b"{\"a\":\xff}", b"null"] {
        assert!(Params::from_json(bad).is_err());
    }
    assert!(Params::from_json(&[b'['; 100_000]).is_err());
    assert!(Params::from_query("").is_ok());
}

#[test]
fn missing_wrong_and_impossible_parameters_have_their_codes() {
    let good = json!({
        "ProductID": "P", "FirmwareVersion": "1", "DeviceNames": ["d1"], "TimeoutInterval": 60,
    });
    let with = |name: &str, value: serde_json::Value| {
        let mut fields = good.clone();
        fields[name] = value;
        decode("BatchUpdateFirmware", &fields.to_string()).map(|_| ())
    };
    assert_eq!(with("Type", json!(7)), Err(Code::InvalidParameterValue));
    assert_eq!(with("Type", json!(1)), Ok(()));
    assert_eq!(with("DelayTime", json!(5)), Err(Code::UnsupportedOperation));
    assert_eq!(with("DelayTime", json!(0)), Ok(()));
    assert_eq!(with("TaskUserDefine", json!("text")), Ok(()));
    assert_eq!(with("TaskUserDefine", json!("x".repeat(1_537))), Err(Code::InvalidParameterValue));
    let by_version = json!({
        "ProductID": "P", "FirmwareVersion": "2", "FirmwareOriVersion": "1", "Type": 7,
    });
    assert!(decode("BatchUpdateFirmware", &by_version.to_string()).is_ok());
    for (name, value) in [
        ("StartTime", json!("1700000000")),
        ("EndTime", json!(1_700_000_000)),
        ("MaxRetryNum", json!(1)),
        ("RetryInterval", json!(5)),
        ("RateLimit", json!(10)),
    ] {
        assert_eq!(with(name, value), Ok(()), "{name}");
    }
    assert_eq!(with("ProductID", json!(null)), Err(Code::MissingParameter));
    assert_eq!(with("ProductID", json!(5)), Err(Code::InvalidParameter));
    assert_eq!(with("DeviceNames", json!("d1")), Err(Code::InvalidParameter));
    assert_eq!(with("DeviceNames", json!([1])), Err(Code::InvalidParameter));
    assert_eq!(with("Type", json!("x")), Err(Code::InvalidParameter));
    assert_eq!(with("UpgradeMethod", json!(-1)), Err(Code::InvalidParameter));
    assert_eq!(with("UpgradeMethod", json!("+1")), Err(Code::InvalidParameter));
    assert_eq!(with("UpgradeMethod", json!("99999999999999999999")), Err(Code::InvalidParameter));
    for (name, value) in [
        ("UpgradeMethod", json!(2)),
        ("Type", json!(2)),
        ("OverrideMode", json!(2)),
        ("TimeoutInterval", json!(59)),
        ("TimeoutInterval", json!(3601)),
        ("RateLimit", json!(-1)),
        ("RateLimit", json!(5_000_000_000_i64)),
        ("StartTime", json!(-1)),
        ("MaxRetryNum", json!(11)),
        ("RetryInterval", json!(1_441)),
        ("FirmwareOriVersion", json!("0.1.0")),
        ("FileName", json!("list.csv")),
        ("DeviceNames", json!([])),
    ] {
        assert_eq!(with(name, value), Err(Code::InvalidParameterValue), "{name}");
    }
    assert_eq!(decode("CancelUpdateFirmware", "{}"), Err(Code::InvalidAction));
    assert_eq!(decode("batchUpdateFirmware", "{}"), Err(Code::InvalidAction));
    let cancel = |status| format!(r#"{{"ProductId":"P","TaskId":1,"Status":{status}}}"#);
    assert!(decode("UpdateOtaTaskStatus", &cancel(6)).is_ok_and(|action| action.changes()));
    assert_eq!(decode("UpdateOtaTaskStatus", &cancel(3)), Err(Code::InvalidParameterValue));
    let filter = r#"{"PageNum":1,"PageSize":10,"Filters":[{"Value":"x"}]}"#;
    assert_eq!(decode("ListFirmwares", filter), Err(Code::MissingParameter));
    let page = r#"{"PageNum":0,"PageSize":10}"#;
    assert_eq!(decode("ListFirmwares", page), Err(Code::InvalidParameterValue));
}

/// With every parameter that any action has, each of the 29 decodes.
#[test]
fn every_firmware_action_is_known() {
    // The others are products, devices and a list of them.
    assert_eq!(Action::NAMES.len(), 29 + 18);
    let all = json!({
        "ProductId": "P", "FirmwareVersion": "1", "DeviceName": "d", "TaskId": 1, "Status": 6,
        "Md5sum": "0123456789abcdef0123456789ABCDEF", "FileSize": "1024", "FirmwareName": "n",
        "FirmwareOriVersion": "0", "Offset": 0, "Limit": 10, "PageNum": 1, "PageSize": 10,
        "FwType": "mcu",
    });
    let mut changes = 0;
    for name in &Action::NAMES[..29] {
        let action = Action::decode(name, &json(&all.to_string())).unwrap();
        changes += usize::from(action.changes());
        let reads = ["List", "Describe", "GetAll", "GetFirmware", "Check"];
        let reads = reads.iter().any(|begin| name.starts_with(begin));
        assert_eq!(action.changes(), !reads, "{name}");
        assert_eq!(action.changes(), Action::right(name) != Right::Read, "{name}");
        assert_eq!(Action::name(name), Ok(*name));
        assert_ne!(Action::decode(name, &Params::default()), Ok(action), "{name} needs something");
    }
    assert_eq!(changes, 13);
}

#[test]
fn every_answer_has_the_envelope_and_its_request_id() {
    assert_eq!(
        reply("id-1", Ok(json!({"TaskId": 7}))),
        r#"{"Response":{"RequestId":"id-1","TaskId":7}}"#
    );
    assert_eq!(reply("id-1", Ok(json!(null))), r#"{"Response":{"RequestId":"id-1"}}"#);
    let error = ApiError::new(Code::FirmwareNotExist, "no \"1.0.0\"\n");
    assert_eq!(
        reply("id-1", Err(&error)),
        r#"{"Response":{"Error":{"Code":"ResourceNotFound.FirmwareNotExist","Message":"no \"1.0.0\"\n"},"RequestId":"id-1"}}"#
    );
    assert_eq!(ota_cloud::vendor::CONTENT_TYPE, "application/json");
    let mut codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), Code::ALL.len(), "no code twice");
}

#[test]
fn a_module_is_told_in_the_vendors_words() {
    let module = ota_cloud::Module::new(Some("bms")).unwrap();
    let now = ota_proto::Instant::from_secs(7);
    let words = |text: &str| Some(text.to_owned());
    let named = NamedModule::new("P", &module, None, words("a name"), words("a word"), now);
    assert_eq!(
        module_info(&named.unwrap()),
        json!({
            "CreateTime": 7, "ProductName": "P", "Name": "a name", "ProductID": "P",
            "FwType": "bms", "IsBuildIn": false, "Remark": "a word",
        })
    );
    let built_in = built_in("P");
    let kinds: Vec<_> = built_in.iter().map(|it| module_info(it)["FwType"].clone()).collect();
    assert_eq!(kinds, ["default", "mcu"]);
    assert!(built_in.iter().all(|it| module_info(it)["IsBuildIn"] == true));
}
