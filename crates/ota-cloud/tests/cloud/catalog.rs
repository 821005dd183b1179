//! What may be offered.

use super::*;
use ota_cloud::{CatalogError, Listed};

fn good() -> Firmware {
    Firmware::new("P", "1", digest(), 1)
}

#[test]
fn limits_of_the_platform() {
    let mut cloud = Cloud::new(config());
    let long = "v".repeat(33);
    let cases = [
        (Firmware { product_id: "a/b".into(), ..good() }, CatalogError::BadProduct),
        (Firmware { version: String::new(), ..good() }, CatalogError::BadVersion),
        (Firmware { version: "1.0 b".into(), ..good() }, CatalogError::BadVersion),
        (Firmware { version: "1+2".into(), ..good() }, CatalogError::BadVersion),
        (Firmware { version: long, ..good() }, CatalogError::BadVersion),
        (Firmware { size: 0, ..good() }, CatalogError::BadSize),
        (Firmware { size: (2_048 << 20) + 1, ..good() }, CatalogError::BadSize),
        (Firmware { path: "x".into(), ..good() }, CatalogError::BadPath),
        (Firmware { path: "/x?y".into(), ..good() }, CatalogError::BadPath),
        (Firmware { path: "/x\r\n".into(), ..good() }, CatalogError::BadPath),
        (Firmware { url: Some("ftp://h/x".into()), ..good() }, CatalogError::BadUrl),
        (Firmware { url: Some("http:///x".into()), ..good() }, CatalogError::BadUrl),
        (Firmware { url: Some("http://h/a b".into()), ..good() }, CatalogError::BadUrl),
        (Firmware { url: Some("u".repeat(1_025)), ..good() }, CatalogError::BadUrl),
        (
            Firmware { user_defined: Some("u".repeat(1_537)), ..good() },
            CatalogError::UserDefinedTooLong,
        ),
        (Firmware { fw_type: Some("a b".into()), ..good() }, CatalogError::BadFwType),
    ];
    for (firmware, error) in cases {
        assert_eq!(cloud.add_firmware(firmware), Err(error));
    }
    assert_eq!(cloud.firmware().count(), 0);
    let version = "Az0._-".repeat(5) + "zz";
    cloud.add_firmware(Firmware { version, size: 2_048 << 20, ..good() }).unwrap();
}

#[test]
fn a_version_is_unique_in_its_product_which_has_a_hundred_whatever_others_have() {
    let mut cloud = Cloud::new(config());
    cloud.add_firmware(good()).unwrap();
    assert_eq!(cloud.add_firmware(good()), Err(CatalogError::FirmwareAlreadyExist));
    for n in 1..100 {
        let fw_type = (n % 2 == 0).then(|| "bms".to_owned());
        cloud.add_firmware(Firmware { version: format!("x{n}"), fw_type, ..good() }).unwrap();
    }
    let more = Firmware { version: "2".into(), ..good() };
    assert_eq!(cloud.add_firmware(more.clone()), Err(CatalogError::FirmwareExceedLimit));
    cloud.add_firmware(Firmware { product_id: "Q".into(), ..more }).unwrap();
}

#[test]
fn a_row_is_named_by_product_module_and_version() {
    assert_eq!(Listed::id(&good()), "P/default/1");
    let module = Firmware { fw_type: Some("bms".into()), ..good() };
    assert_eq!(Listed::id(&module), "P/bms/1");
}
