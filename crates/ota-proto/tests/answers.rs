//! A server's answer: parsed from a head, and shown to a person.
#![allow(clippy::unwrap_used)]

use ota_proto::{Answer, Coding, Media};

#[test]
fn rule_8_a_label_of_a_body_means_the_same_in_whatever_case() {
    for (label, coding, real) in [
        ("", None, false),
        ("identity", None, false),
        ("aws-chunked", Some(Coding::AwsChunked), false),
        ("compress", Some(Coding::Compress), true),
        ("x-compress", Some(Coding::Compress), true),
        ("deflate", Some(Coding::Deflate), true),
        ("gzip", Some(Coding::Gzip), true),
        ("x-gzip", Some(Coding::Gzip), true),
        ("br", Some(Coding::Brotli), true),
        ("zstd", Some(Coding::Zstd), true),
        // Not an HTTP coding, so it changes no byte.
        ("utf-8", Some(Coding::Other), false),
        ("gzip2", Some(Coding::Other), false),
        ("zip", Some(Coding::Other), false),
    ] {
        for label in [label.to_owned(), label.to_uppercase()] {
            let found = Coding::of_label(label.as_bytes());
            assert_eq!(found, coding, "{label}");
            assert_eq!(found.is_some_and(Coding::is_real), real, "{label}");
        }
    }
}

#[test]
fn rule_6_an_answer_is_read_as_its_status_and_whatever_else_was_told() {
    let html = Media::new(b"text/html; charset=utf-8");
    let none = Media::default();
    for (status, length, media, compressed, text) in [
        (503, None, none, false, "503"),
        (200, Some(1_532), html, false, "200, 1532 bytes, text/html"),
        (200, None, html, true, "200, text/html, compressed"),
        (206, Some(0), none, true, "206, 0 bytes, compressed"),
        // The length is stored in four bytes; all ones mean unknown.
        (200, Some(u64::from(u32::MAX)), none, false, "200, 4294967294 bytes"),
        (999, Some(u64::MAX), none, false, "999, 4294967294 bytes"),
    ] {
        let answer = Answer::new(status, length, media, compressed).unwrap();
        assert_eq!(answer.to_string(), text);
        let said = (answer.status(), answer.media(), answer.is_compressed());
        assert_eq!(said, (status, media, compressed), "{text}");
    }
}
