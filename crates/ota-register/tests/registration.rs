//! Dynamic registration: vectors of our own and the vendor's published example.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use ota_proto::Identity;
use ota_proto::credentials::{Algorithm, BadSecret, Secret};
use ota_register::{MAX_REPLY, ProductSecret, RegistrationError, Reply, Request};
use proptest::prelude::*;

const PAYLOAD: &str =
    "XTv6+/pNsmYOjNuQMIRnuMIwob/3XzqSALdg7ivniSiRGMAVSKSH0ZeAuRZKrstk5q+5JWH3nFO4Ma0oIKWR1g==";

fn product() -> ProductSecret {
    ProductSecret::new("ABCDEFGHIJKLMNOPQRSTUVWX").unwrap()
}

fn request(identity: &Identity, algorithm: Algorithm) -> Request<'_> {
    Request {
        identity,
        host: "ap-guangzhou.gateway.tencentdevices.com",
        algorithm,
        timestamp: 1_700_000_000,
        nonce: 5456,
    }
}

fn identity() -> Identity {
    Identity::new("TESTPROD01", "dev001").unwrap()
}

#[test]
fn requests_of_the_new_form() {
    let identity = identity();
    let request = request(&identity, Algorithm::HmacSha256);
    assert_eq!(request.body(), r#"{"ProductId":"TESTPROD01","DeviceName":"dev001"}"#);
    assert_eq!(
        request.string_to_sign(),
        "POST\nap-guangzhou.gateway.tencentdevices.com\n/device/register\n\nhmacsha256\n1700000000\n5456\n\
         0641764b0eb3336455f007b4a9f29be57fad8d41dd722308ca87235696a39678",
    );
    let headers = request.headers(&product()).map(|(name, value)| format!("{name}: {value}"));
    assert_eq!(
        headers,
        [
            "X-TC-Algorithm: hmacsha256",
            "X-TC-Timestamp: 1700000000",
            "X-TC-Nonce: 5456",
            "X-TC-Signature: p+5oo3YADzNvIrA19qEBtDmfJfH4X6jBxf4jfXVAe5M=",
        ],
    );
}

#[test]
fn requests_signed_with_sha1_hash_the_body_with_sha1() {
    let identity = identity();
    let request = request(&identity, Algorithm::HmacSha1);
    assert!(request.string_to_sign().ends_with("\n66d6dd87e1702a3d355fa3710d3e8da1aecf79e9"));
    assert_eq!(request.signature(&product()), "Tzd/pr+8cH7x+EvWoYruWX09PGE=");
}

#[test]
fn requests_of_the_old_form() {
    let identity = identity();
    let request = request(&identity, Algorithm::HmacSha256);
    assert_eq!(
        request.old_string_to_sign(),
        "deviceName=dev001&nonce=5456&productId=TESTPROD01&timestamp=1700000000",
    );
    let signature = "MWFkYjgxYTFkYmEzMWNlNjZkODY2OTE2NTM5NWJjMzg2YjBlY2RjZg==";
    assert_eq!(request.old_signature(&product()), signature);
    assert_eq!(
        request.old_body(&product()),
        format!(
            r#"{{"deviceName":"dev001","nonce":5456,"productId":"TESTPROD01","timestamp":1700000000,"signature":"{signature}"}}"#
        ),
    );
}

#[test]
fn replies_of_both_forms() {
    let expected = Reply::Secret(Secret::from_base64("MDEyMzQ1Njc4OWFiY2RlZg==").unwrap());
    for body in [
        format!(r#"{{"Response":{{"Len":53,"Payload":"{PAYLOAD}","RequestId":"x"}}}}"#),
        format!(r#"{{"Response":{{"Payload":"{PAYLOAD}"}}}}"#),
        format!(r#"{{"code":0,"message":"","payload":"{PAYLOAD}"}}"#),
        format!(r#"{{"Response":{{"Len":53,"Payload":"{}"}}}}"#, PAYLOAD.replace('/', "\\/")),
    ] {
        assert_eq!(Reply::decode(body.as_bytes(), &product()).as_ref(), Ok(&expected), "{body}");
    }
    assert!(!format!("{expected:?}").contains("MDEy"));
}

#[test]
fn the_vendors_published_vector() {
    let product = ProductSecret::new("hzvf5LF9S0isvBhDSauWMaIk").unwrap();
    let payload =
        "s6FB3a1BA/YYbcmSE12XpeDVmQNDcf1QgVD141RRbmmAnFwQfp1ECAu5O016mCOvYlJJ6V59yM4OqQSiWphfTg==";
    let expected = Secret::from_base64("lDZ6Uqt+I9E0wW7rvDUs7Q==").unwrap();
    for len in [Some(53), None] {
        let reply = Reply::decrypt(payload, len, &product);
        assert_eq!(reply, Ok(Reply::Secret(expected.clone())));
        assert_eq!(format!("{reply:?}"), "Ok(Secret(..))");
    }
}

#[test]
fn replies_that_give_nothing() {
    use RegistrationError::{Malformed, Refused, TooLong, Undecryptable};
    let decode = |body: &str| Reply::decode(body.as_bytes(), &product()).unwrap_err();
    for (body, why) in [
        (String::new(), Malformed),
        ("{}".into(), Malformed),
        ("[]".into(), Malformed),
        (r#"{"Response":{"Error":{"Code":"x"},"RequestId":"x"}}"#.into(), Malformed),
        (r#"{"code":1021,"message":"no"}"#.into(), Refused(1021)),
        (r#"{"Response":{"Len":53,"Payload":"%%%"}}"#.into(), Malformed),
        (r#"{"Response":{"Len":0,"Payload":""}}"#.into(), Undecryptable),
        (r#"{"Response":{"Len":3,"Payload":"AAAA"}}"#.into(), Malformed),
        (format!(r#"{{"Response":{{"Len":-1,"Payload":"{PAYLOAD}"}}}}"#), Malformed),
        (format!(r#"{{"Response":{{"Len":52,"Payload":"{PAYLOAD}"}}}}"#), Undecryptable),
        (format!(r#"{{"Response":{{"Len":54,"Payload":"{PAYLOAD}"}}}}"#), Undecryptable),
        (format!(r#"{{"Response":{{"Len":65,"Payload":"{PAYLOAD}"}}}}"#), Malformed),
        (
            format!(r#"{{"Response":{{"Len":18446744073709551615,"Payload":"{PAYLOAD}"}}}}"#),
            Malformed,
        ),
        (" ".repeat(MAX_REPLY + 1), TooLong),
    ] {
        assert_eq!(decode(&body), why, "{body}");
    }
    let other = ProductSecret::new("abcdefghijklmnopqrstuvwx").unwrap();
    assert_eq!(Reply::decrypt(PAYLOAD, Some(53), &other), Err(Undecryptable));
}

/// Products whose devices have certificates: both parts, or it is rejected. A secret goes before them.
#[test]
fn replies_with_a_certificate() {
    const START: &str = "XTv6+/pNsmYOjNuQMIRnu";
    let decrypt = |rest: &str| Reply::decrypt(&format!("{START}{rest}"), None, &product());
    let both =
        "JT6LsTNP8UYZgq+92hAjF1BrcaAYyHw7DREM3XsLmgnGTSR8L7Xu+8t6DTxKeC1zpZ49OmPq1Lc4q13ILVmmqg=";
    let (cert, key) = ("-----CERT-----".into(), "-----KEY-----".into());
    let reply = decrypt(both).unwrap();
    assert_eq!(format!("{reply:?}"), "Certificate { .. }");
    assert_eq!(reply, Reply::Certificate { cert, key });
    for (rest, what) in [
        ("JT6LsTNP8UYZgq+92hAjF1BrcaAYyHw7DREM3XsLmgnKPKCuFRSTH9QJGXxttpG+g==", "no key"),
        ("PGUV8wjP6hgcpRuwZ2cGLrLyQrYeJou05AtkHnTpoPr", "no certificate"),
        ("KGt9WAMfwEIMcaYcwTIkxg=", "neither"),
    ] {
        assert_eq!(decrypt(rest), Err(RegistrationError::Malformed), "{what}");
    }
}

#[test]
fn product_secrets() {
    assert_eq!(ProductSecret::new("ABCDEFGHIJKLMNOPQRSTUVWX\n"), Ok(product()));
    assert_eq!(format!("{:?}", product()), "ProductSecret(..)");
    for bad in ["", &"A".repeat(15), &"A".repeat(65), "ABCDEFGH IJKLMNOPQ", "ABCDEFGHIJKLMNOPé"] {
        assert_eq!(ProductSecret::new(bad), Err(BadSecret::Length), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn arbitrary_replies_never_panic(
        body in proptest::collection::vec(any::<u8>(), 0..200), len: Option<usize>,
        payload in "[A-Za-z0-9+/]{0,88}={0,2}", at: prop::sample::Index, byte: u8,
    ) {
        prop_assert!(Reply::decode(&body, &product()).is_err());
        prop_assert!(Reply::decrypt(&payload, len, &product()).is_err());
        let mut body = format!(r#"{{"Response":{{"Len":53,"Payload":"{PAYLOAD}"}}}}"#).into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        let _ = Reply::decode(&body, &product());
        prop_assert!(Reply::decode(&body[..at], &product()).is_err());
    }
}

/// The longest answer is one, and so is the longest payload.
#[test]
fn an_answer_may_be_as_long_as_the_limit() {
    let body = format!(r#"{{"code":0,"message":"","payload":"{PAYLOAD}"}}"#);
    let padded = format!("{body}{}", " ".repeat(MAX_REPLY - body.len()));
    assert!(Reply::decode(padded.as_bytes(), &product()).is_ok());
    let too_long = format!("{padded} ");
    assert_eq!(Reply::decode(too_long.as_bytes(), &product()), Err(RegistrationError::TooLong));
    for (length, why) in [
        (MAX_REPLY, RegistrationError::Undecryptable),
        (MAX_REPLY + 1, RegistrationError::TooLong),
        (MAX_REPLY + 4, RegistrationError::TooLong),
    ] {
        assert_eq!(Reply::decrypt(&"A".repeat(length), None, &product()), Err(why), "{length}");
    }
}

/// Each error has its own text, which fits into a log line and names the cause.
#[test]
fn errors_say_what_is_wrong() {
    let words = [
        RegistrationError::TooLong,
        RegistrationError::Malformed,
        RegistrationError::Refused(-7),
        RegistrationError::Undecryptable,
        RegistrationError::Secret(BadSecret::Base64),
    ]
    .map(|error| error.to_string());
    for (at, text) in words.iter().enumerate() {
        assert!(!text.is_empty() && text.len() <= 100 && !text.contains('\n'), "{text:?}");
        assert!(!words[..at].contains(text), "two errors in the same words: {words:?}");
    }
    assert!(words[2].contains("-7") && words[4].contains(&BadSecret::Base64.to_string()));
}
