//! Whatever is sent: nothing panics, what is refused has a code, and nothing verifies without the
//! key.

use ota_cloud::vendor::{Action, Claim, Code, OldClaim, Params, Request, names_of_list, reply};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Any JSON of some depth.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "[0-9a-z\u{202e}\u{1b}/.]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("Key|Value|[a-z]{1,3}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

const NAMES: &[&str] = &[
    "ProductID",
    "ProductId",
    "FirmwareVersion",
    "FwType",
    "DeviceName",
    "DeviceNames",
    "TaskId",
    "Status",
    "FileSize",
    "Md5sum",
    "Offset",
    "Limit",
    "PageNum",
    "PageSize",
    "Filters",
    "Type",
    "StartTime",
    "RateLimit",
    "FirmwareOriVersion",
    "UpgradeMethod",
    "Unknown",
];

proptest! {
    #[test]
    fn any_parameters_decode_or_are_refused_with_a_code(
        fields in prop::collection::btree_map(prop::sample::select(NAMES), value(), 0..12),
    ) {
        let params = Params::from_json(json!(fields).to_string().as_bytes());
        if fields.contains_key("ProductID") && fields.contains_key("ProductId") {
            prop_assert_eq!(params.map_err(|why| why.code), Err(Code::InvalidParameter));
            return Ok(());
        }
        let params = params.unwrap();
        for name in Action::NAMES {
            let Err(why) = Action::decode(name, &params) else { continue };
            prop_assert!(matches!(
                why.code,
                Code::MissingParameter
                    | Code::InvalidParameter
                    | Code::InvalidParameterValue
                    | Code::UnsupportedOperation
            ), "{why}");
            prop_assert!(why.message.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
            let answer: Value = serde_json::from_str(&reply("id", Err(&why))).unwrap();
            prop_assert_eq!(&answer["Response"]["RequestId"], "id");
        }
    }

    #[test]
    fn any_header_is_refused_or_claims_what_no_other_key_signed(
        authorization in "(TC3-HMAC-SHA256 )?(Credential=[a-z/0-9-]{0,40},? ?|SignedHeaders=[a-z;-]{0,40},? ?|Signature=[0-9a-f]{0,64},? ?){0,4}",
        host in "[a-z0-9.:]{0,20}",
        time in "[0-9]{0,12}",
        body in any::<[u8; 32]>(),
    ) {
        let headers = [
            ("X-TC-Action", "A"), ("X-TC-Version", "V"), ("X-TC-Timestamp", time.as_str()),
            ("Host", host.as_str()), ("Content-Type", "t"), ("Authorization", &authorization),
        ];
        let request = Request { method: "POST", query: "", headers: &headers };
        let now = time.parse().unwrap_or(0);
        if let Ok(claim) = Claim::read(&request, now) {
            prop_assert!(claim.verify(&request, body, b"key").is_err());
        }
    }

    #[test]
    fn any_form_is_refused_or_claims_what_no_other_key_signed(form in "([A-Za-z.0-9]{0,12}=[A-Za-z0-9%+=/.]{0,12}&?){0,8}") {
        if let Ok(claim) = OldClaim::read("GET", "h", &form, 0) {
            prop_assert!(claim.verify(b"key").is_err());
        }
        let _ = Params::from_query(&form);
    }

    /// What was flattened and sent as a query is what would have been sent as a body.
    #[test]
    fn a_query_says_what_a_body_says(
        names in prop::collection::vec("[a-zA-Z0-9:_-]{1,12}", 1..20),
        version in "[a-z0-9._-]{1,12}",
    ) {
        let mut query = format!("ProductId=P&FirmwareVersion={version}");
        for (at, name) in names.iter().enumerate() {
            query.push_str(&format!("&DeviceNames.{at}={name}"));
        }
        let body = json!({ "ProductId": "P", "FirmwareVersion": version, "DeviceNames": names });
        let of_query = Action::decode("BatchUpdateFirmware", &Params::from_query(&query).unwrap());
        let of_body = Params::from_json(body.to_string().as_bytes()).unwrap();
        prop_assert_eq!(of_query, Action::decode("BatchUpdateFirmware", &of_body));
    }

    #[test]
    fn any_list_is_names_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(names) = names_of_list(&bytes) {
            prop_assert!(names.iter().all(|name| ota_proto::Identity::new("P", name).is_ok()));
        }
    }
}
