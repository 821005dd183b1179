//! Devices as a table: what is read of one, what is written, and the calls in between.
#![cfg(feature = "table")]
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod import;
mod pull;

use ota_cloud::table::{HEADING, Page, Table, Wrong};
use proptest::prelude::*;
use serde_json::{Value, json};

pub(crate) const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";

/// A certificate of nobody, in Base64.
pub(crate) const CERTIFICATE: &str = "MIIBbzCCARWgAwIBAgIUKxf1oJpR+EvAuZIhFAMQdTycGlowCgYIKoZIzj0EAwIwDDEKMAgGA1UEAwwBZDAgFw\
    0yNjEyMDEwNTE4MDVaGA8yMTI2MTEwNzA1MTgwNVowDDEKMAgGA1UEAwwBZDBZMBMGByqGSM49AgEGCCqGSM49\
    AwEHA0IABNPGukGaLeLkG44XNwvQ5/jayMKjH98zYu6t7PkJ6Txir8TE/Knzag0c9Au/JJhoKhvWsDRy0eUchY\
    gPs+xXmZijUzBRMB0GA1UdDgQWBBQZswZOfolEioDUz2MMYAnSoYjtIjAfBgNVHSMEGDAWgBQZswZOfolEioDU\
    z2MMYAnSoYjtIjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIFcceGHRDqYT2LhOFiHmBsQvxo\
    YvuJ1m4/y0v4h1mwvaAiEAp/KwvRi82h4KcXb5SL17vI3COJVPr4UOxH4de77HjUo=";

pub(crate) fn table(text: &str) -> Table {
    Table::read(text.as_bytes(), None).unwrap()
}

fn faults(text: &[u8], product: Option<&str>) -> Vec<String> {
    let faults = Table::read(text, product).unwrap_err();
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn the_first_line_names_the_columns_in_any_order() {
    let text = format!("tags,name,disabled,product,secret\nline=7,name,TRUE,product,{SECRET}\n");
    let read = table(&text);
    let row = &read.rows()[0];
    assert_eq!((row.line, row.product.as_str(), row.device.name.as_str()), (2, "product", "name"));
    assert_eq!((row.device.disabled, row.device.tags["line"].as_str()), (true, "7"));
    assert_eq!(row.device.secret.as_deref(), Some(SECRET));
    assert!(read.without_secret().is_none());
    assert!(!format!("{read:?}").contains(SECRET));

    // A device may be called as the columns are.
    let read = table("\u{feff}product,name\r\nproduct,name\r\n\r\nP,d\r\n");
    let lines: Vec<u64> = read.rows().iter().map(|row| row.line).collect();
    assert_eq!(lines, [2, 4]);
    let read = Table::read(b"name\nname\n", Some("P")).unwrap();
    assert_eq!(read.rows()[0].product, "P");
    assert_eq!(read.without_secret().unwrap().line, 2);
}

#[test]
fn a_file_that_is_no_table_is_refused_by_its_first_line() {
    for (text, why) in [
        ("", "the first line names the columns"),
        ("P,d1\n", "the first line names the columns"),
        ("product;name\nP;d1\n", "the first line names the columns"),
        ("product,name,tag\n", "the first line names the columns"),
        ("product,secret\nP,\n", "the first line names the columns"),
        ("product,name,name\n", "a column is named twice"),
        ("name\nd1\n", "there is no product column"),
        ("product,name\n\n,,\n", "the table contains no device"),
    ] {
        let found = faults(text.as_bytes(), None);
        assert!(found.len() == 1 && found[0].contains(why), "{text}: {found:?}");
    }
    assert!(faults(b"product,name\nP,d\n", Some("P"))[0].contains("name none"));
    let long = vec![b'\n'; Table::MAX + 1];
    assert!(faults(&long, None)[0].contains("longer than 64 MiB"));
}

#[test]
fn every_line_that_is_wrong_is_told_and_nothing_of_it_is_repeated() {
    let text = "product,name,secret,tags,disabled\n\
        P,d1\n\
        P,d1\n\
        P,a/b\n\
        P,d2,verysecret\n\
        P,d3,,line\n\
        P,d4,,,perhaps\n\
        P,d5,,,,\n\
        P,d6,,\"a=1\n2\"\n\
        P,d7,,a=%00\n\
        ,d8\n\
        P, d9\n";
    let found = faults(text.as_bytes(), None);
    for (at, (line, why)) in [
        (3, "the device is already in line 2"),
        (4, "name"),
        (5, "secret: "),
        (6, "write tags NAME=VALUE"),
        (7, "disabled is true or false"),
        (8, "more cells than columns"),
        (9, "continues in the next line"),
        (11, "tags: control characters"),
        (12, "product"),
        (13, "name"),
    ]
    .into_iter()
    .enumerate()
    {
        let start = format!("line {line}: ");
        assert!(found[at].starts_with(&start) && found[at].contains(why), "{found:?}");
    }
    assert!(found.len() == 10 && !found.concat().contains("verysecret"), "{found:?}");
    let found = faults(b"product,name\nP,d\nP,\xff\n", None);
    assert_eq!(found, ["line 3: it is not UTF-8 text"]);
    // A quote that is not closed takes in the rest.
    assert!(faults(b"product,name\nP,\"d1\nP,d2\n", None)[0].contains("close its quote"));
    let many = format!("product,name\n{}", "P,/\n".repeat(1_000));
    let found = Table::read(many.as_bytes(), None).unwrap_err();
    assert_eq!((found.len(), &found[100].why), (101, &Wrong::More));
}

#[test]
fn a_device_has_a_certificate_instead_of_a_secret() {
    let pem = |base64: &str| {
        format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
    };
    let read = table(&format!("product,name,certificate\nP,d1,{CERTIFICATE}\nP,d2,\n"));
    assert_eq!(read.without_secret().unwrap().line, 3, "d1 needs none");
    let given = read.rows()[0].device.certificate.clone().unwrap();
    assert!(given.lines().all(|line| line.len() <= 64), "{given}");
    // What a cloud shows goes in as it was, whatever its lines are.
    let out = page(
        "P",
        json!([
            { "product": "P", "name": "d1", "certificate": pem(CERTIFICATE) },
            { "product": "P", "name": "d2" },
        ]),
    );
    assert_eq!(out.lines, [format!("P,d1,,,,{CERTIFICATE}"), "P,d2,,,,".to_owned()]);
    let again = table(&format!("{HEADING}\n{}\n", out.lines[0]));
    assert_eq!(again.rows()[0].device.certificate, Some(given));

    let (whole, half) = (CERTIFICATE, &CERTIFICATE[..100]);
    for (row, why) in [
        (format!("P,d,{SECRET},{whole}"), "a device has a secret or a certificate"),
        (format!("P,d,,{half}"), "not a certificate in PEM"),
        (format!("P,d,,{SECRET}"), "not a certificate in PEM"),
        (format!("P,d,,-----BEGIN CERTIFICATE-----{whole}"), "not a certificate in PEM"),
    ] {
        let found = faults(format!("product,name,secret,certificate\n{row}\n").as_bytes(), None);
        assert!(found[0].contains("line 2: certificate: ") && found[0].contains(why), "{found:?}");
        assert!(!found[0].contains("MII"), "{found:?}");
    }
    let shown = json!({ "devices": [
        { "product": "P", "name": "d1", "certificate": "none" },
    ], "next": null });
    Page::read("P", "", shown.to_string().as_bytes()).unwrap_err();
}

fn page(product: &str, devices: Value) -> Page {
    let answer = json!({ "devices": devices, "next": null }).to_string();
    Page::read(product, "", answer.as_bytes()).unwrap()
}

#[test]
fn what_a_program_for_tables_would_run_is_written_behind_a_quote() {
    let tags = json!({ "1": "", "@SUM(A1)": "+1;2" });
    let out = page(
        "P",
        json!([
            { "product": "P", "name": "-1", "tags": tags, "disabled": true },
            { "product": "P", "name": "gone", "unreadable": true },
        ]),
    );
    assert_eq!(out.unreadable, ["P/gone"]);
    // Also where `;` is taken for the end of a cell.
    let first = "P,'-1,,1=;%40SUM(A1)=+1%3B2,true,";
    assert_eq!(out.lines, [first]);
    let tags = json!({ "'a": "=1", "b": " x ", "c": "a,\"b\"" });
    let out = page("-P", json!([{ "product": "-P", "name": "d", "tags": tags }]));
    let second = "'-P,d,,\"%27a=%3D1;b=%20x%20;c=a,\"\"b\"\"\",,";
    assert_eq!(out.lines, [second]);
    let read = table(&format!("{HEADING}\n{first}\n{second}\n"));
    let [one, two] = read.rows() else { panic!() };
    assert_eq!((one.device.name.as_str(), one.device.disabled), ("-1", true));
    assert_eq!(one.device.tags["@SUM(A1)"], "+1;2");
    assert_eq!(two.product, "-P");
    assert_eq!(two.device.tags["b"], " x ");
    for none in [
        "",
        "[]",
        "{}",
        r#"{"devices":[{}],"next":null}"#,
        // Another product's, no name of a device, and what never ends.
        r#"{"devices":[{"product":"Q","name":"d"}],"next":null}"#,
        r#"{"devices":[{"product":"P","name":"d\n"}],"next":null}"#,
        r#"{"devices":[],"next":"d7"}"#,
    ] {
        Page::read("P", "d7", none.as_bytes()).unwrap_err();
    }
}

proptest! {
    #[test]
    fn what_comes_out_goes_in_as_it_was(
        product in "[-_:.a-zA-Z0-9]{1,32}",
        name in "[-_:.a-zA-Z0-9]{1,48}",
        tags in proptest::collection::btree_map("[ -~ü大＋＠']{1,12}", "[ -~ü＝'\"]{0,12}", 0..16),
        disabled: bool,
    ) {
        let device = json!({ "product": product, "name": name, "tags": tags, "disabled": disabled });
        let out = page(&product, json!([device]));
        for cell in [&product, &name] {
            let runs = cell.starts_with('-');
            let quoted = format!("'{cell}");
            prop_assert!(!runs || out.lines[0].contains(&quoted));
        }
        let read = table(&format!("{HEADING}\n{}\n", out.lines[0]));
        let row = &read.rows()[0];
        prop_assert_eq!(&row.product, &product);
        prop_assert_eq!(&row.device.name, &name);
        prop_assert_eq!(&row.device.tags, &tags);
        prop_assert_eq!(row.device.disabled, disabled);
    }

    #[test]
    fn no_bytes_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Table::read(&bytes, None);
        let _ = Table::read(&[&b"product,name,secret,tags\n"[..], &bytes].concat(), None);
        let _ = Page::read("P", "", &bytes);
    }
}
