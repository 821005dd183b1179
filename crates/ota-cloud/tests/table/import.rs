//! The calls that bring a table into a cloud, against answers as a cloud gives them.

use std::time::Duration;

use ota_cloud::api::devices_of_csv;
use ota_cloud::table::{Counts, Import, Outcome, Patience, Request, What, secret_line};
use serde_json::json;

use crate::{CERTIFICATE, SECRET, table};

fn import(text: &str, products: &[&str]) -> Import {
    Import::new(table(text), products.iter().map(|id| (*id).to_owned()))
}

/// What a cloud answers that makes all of it.
fn makes(request: &Request) -> Vec<u8> {
    let devices: Vec<_> = devices_of_csv(&request.body)
        .unwrap()
        .iter()
        .map(|new| match new.secret.as_ref().or(new.certificate.as_ref()) {
            Some(_) => json!({ "product": "?", "name": new.name, "made": true }),
            None => json!({ "product": "?", "name": new.name, "made": true, "secret": SECRET }),
        })
        .collect();
    serde_json::to_vec(&json!({ "devices": devices })).unwrap()
}

fn counts(import: &Import) -> [usize; 5] {
    let Counts { made, earlier, there, refused, left, .. } = import.counts();
    [made, earlier, there, refused, left]
}

#[test]
fn rows_of_a_product_go_together_and_each_call_has_a_name_of_its_own() {
    let text = format!(
        "product,name,secret,tags,disabled\nA,a1,{SECRET}\nB,name,,\"a;b=1\",\nA,a2,,\"x=,\",true\n"
    );
    let text = text.replace("a;b=1", "a%3Bb=1");
    let mut import = import(&text, &["A"]);
    let first = import.request().unwrap();
    assert_eq!((first.path.as_str(), first.kind), ("/products/A/devices", "text/csv"));
    let sent = devices_of_csv(&first.body).unwrap();
    assert_eq!(sent.iter().map(|new| new.name.as_str()).collect::<Vec<_>>(), ["a1", "a2"]);
    assert_eq!((sent[1].disabled, sent[1].tags["x"].as_str()), (true, ","));
    assert!(!format!("{first:?}").contains(SECRET));
    assert_eq!(first.key.len(), 64);
    assert_eq!(import.request().unwrap(), first, "asked again it is the same call");

    let outcomes = import.answered(&makes(&first), false).unwrap();
    let lines: Vec<_> = outcomes.iter().map(secret_line).collect();
    assert_eq!(lines, [None, Some(format!("A,a2,{SECRET}"))]);
    assert!(!format!("{outcomes:?}").contains(SECRET));
    let product = import.request().unwrap();
    assert_eq!((product.path.as_str(), &product.body[..]), ("/products", &br#"{"id":"B"}"#[..]));
    assert!(import.answered(b"{}", false).unwrap().is_empty());
    let last = import.request().unwrap();
    assert!(last.key != product.key && last.key != first.key);
    // A device that is called as the column is no heading.
    assert_eq!(devices_of_csv(&last.body).unwrap()[0].name, "name");
    import.answered(&makes(&last), true).unwrap();
    assert!(import.request().is_none());
    assert_eq!(counts(&import), [2, 1, 0, 0, 0]);

    // Another table with the same rows is another import.
    let other = self::import(&format!("{text}\n"), &["A"]);
    assert_eq!(other.request().unwrap().body, first.body);
    assert_ne!(other.request().unwrap().key, first.key);
}

#[test]
fn a_call_has_no_more_rows_and_bytes_than_a_cloud_takes() {
    let mut text = "product,name,tags\n".to_owned();
    for n in 0..1_001 {
        text.push_str(&format!("A,d{n},\n"));
    }
    let tags: Vec<String> = (0..16).map(|n| format!("t{n:02}={}", "ü".repeat(128))).collect();
    for n in 0..100 {
        text.push_str(&format!("B,d{n},{}\n", tags.join(";")));
    }
    let mut import = import(&text, &["A", "B"]);
    let mut rows = Vec::new();
    while let Some(request) = import.request() {
        assert!(request.body.len() <= 256 * 1024);
        rows.push(devices_of_csv(&request.body).unwrap().len());
        import.answered(&makes(&request), false).unwrap();
    }
    assert_eq!(rows[..3], [500, 500, 1]);
    assert!(rows.len() > 5 && rows.iter().sum::<usize>() == 1_101, "{rows:?}");
    assert_eq!(counts(&import), [1_101, 0, 0, 0, 0]);
}

#[test]
fn certificates_go_with_their_rows_and_draw_no_secret() {
    let mut text = format!("name,secret,certificate\nd1,,{CERTIFICATE}\nd2,{SECRET},\nd3,,\n");
    for n in 0..600 {
        text.push_str(&format!("e{n},,{CERTIFICATE}\n"));
    }
    let rows = ota_cloud::table::Table::read(text.as_bytes(), Some("A")).unwrap();
    let mut import = Import::new(rows, ["A".to_owned()]);
    let mut made = Vec::new();
    while let Some(request) = import.request() {
        assert!(request.body.len() <= 256 * 1024);
        let sent = devices_of_csv(&request.body).unwrap();
        let of = |n: usize| (sent[n].secret.is_some(), sent[n].certificate.is_some());
        if made.is_empty() {
            assert_eq!([of(0), of(1), of(2)], [(false, true), (true, false), (false, false)]);
        }
        made.extend(import.answered(&makes(&request), false).unwrap());
    }
    let secrets: Vec<_> = made.iter().filter_map(secret_line).collect();
    assert_eq!((made.len(), secrets), (603, vec![format!("A,d3,{SECRET}")]));
}

#[test]
fn the_row_for_which_a_call_is_refused_is_found_and_the_others_are_made() {
    let mut text = "product,name\n".to_owned();
    for n in 0..100 {
        text.push_str(&format!("A,d{n}\n"));
    }
    let mut import = import(&text, &["A"]);
    let mut refused: Vec<Outcome> = Vec::new();
    let mut calls = 0;
    while let Some(request) = import.request() {
        calls += 1;
        let sent = devices_of_csv(&request.body).unwrap();
        if sent.iter().any(|new| ["d7", "d60"].contains(&new.name.as_str())) {
            refused.extend(import.refused("exists", "another has the client id").unwrap());
        } else {
            import.answered(&makes(&request), false).unwrap();
        }
    }
    let lines: Vec<u64> = refused.iter().map(|outcome| outcome.line).collect();
    assert_eq!(lines, [9, 62]);
    assert_eq!(refused[0].what, What::Refused("another has the client id".into()));
    assert_eq!(counts(&import), [98, 0, 0, 2, 0]);
    assert!(calls < 30, "{calls}");
}

#[test]
fn a_product_that_is_refused_takes_its_rows_with_it_and_no_others() {
    let mut text = "product,name\n".to_owned();
    for n in 0..600 {
        text.push_str(&format!("A,d{n}\n"));
    }
    text.push_str("B,d1\n");
    let mut import = import(&text, &["B"]);
    assert_eq!(import.request().unwrap().path, "/products");
    assert!(import.refused("forbidden", "no").is_none(), "that is not for a row's sake");
    assert_eq!(counts(&import), [0, 0, 0, 0, 601]);
    assert_eq!(import.refused("exists", "it is there").unwrap().len(), 600);
    assert_eq!(import.request().unwrap().path, "/products/B/devices");
    assert_eq!(counts(&import), [0, 0, 0, 600, 1]);
}

#[test]
fn an_answer_that_does_not_fit_its_call_is_none() {
    let mut import = import(&format!("product,name,secret\nA,d1,\nA,d2,{SECRET}\n"), &["A"]);
    let made =
        |name: &str, secret: Option<&str>| json!({ "name": name, "made": true, "secret": secret });
    for devices in [
        json!([]),
        json!([made("d1", Some(SECRET))]),
        json!([made("d2", Some(SECRET)), made("d1", None)]),
        json!([made("d1", None), made("d2", None)]),
        json!([made("d1", Some("?")), made("d2", None)]),
        json!([made("d1", Some(SECRET)), made("d2", Some(SECRET))]),
    ] {
        let answer = serde_json::to_vec(&json!({ "devices": devices })).unwrap();
        import.answered(&answer, false).unwrap_err();
    }
    assert_eq!(counts(&import), [0, 0, 0, 0, 2]);
    let there = json!({ "devices": [{ "name": "d1", "made": false }, made("d2", None)] });
    import.answered(&serde_json::to_vec(&there).unwrap(), false).unwrap();
    assert_eq!(counts(&import), [1, 0, 1, 0, 0]);
    import.answered(b"{}", false).unwrap_err();
}

#[test]
fn a_cloud_that_asks_to_wait_is_waited_for_but_not_forever() {
    let mut patience = Patience::default();
    let seconds = Duration::from_secs;
    assert_eq!(patience.after(429, "too-many", Some(7)), Some(seconds(7)));
    assert_eq!(patience.after(503, "unavailable", None), Some(seconds(6)));
    assert_eq!(patience.after(429, "too-many", Some(0)), Some(seconds(1)));
    assert_eq!(patience.after(429, "too-many", Some(u64::MAX)), Some(seconds(300)));
    assert_eq!(patience.after(409, "conflict", None), Some(seconds(1)));
    for (status, code) in [(409, "exists"), (400, "invalid"), (507, "full"), (500, "internal")] {
        assert_eq!(patience.after(status, code, Some(1)), None);
    }
    patience.answered();
    for _ in 0..20 {
        assert!(patience.after(429, "too-many", Some(1)).is_some());
    }
    assert_eq!(patience.after(429, "too-many", Some(1)), None);
}

#[test]
fn a_server_that_is_gone_is_waited_for_but_not_forever() {
    let mut patience = Patience::default();
    for _ in 0..2 {
        let waits: Vec<u64> =
            core::iter::from_fn(|| patience.lost()).map(|wait| wait.as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8]);
        assert_eq!(patience.lost(), None);
        patience.answered();
    }
}
