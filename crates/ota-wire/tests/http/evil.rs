//! Hostile answers: each a typed error, found however the bytes are cut, with the state unchanged.

use std::collections::BTreeSet;

use ota_wire::http::{Closed, HttpError};

use crate::driver::{Outcome, fixture, fixtures, whole};

#[rustfmt::skip]
const EVIL: &[(&str, HttpError)] = &[
    ("bare-cr", HttpError::Header),
    ("blank-before-colon", HttpError::Header),
    ("blank-name", HttpError::Header),
    ("chunk-behind", HttpError::ChunkExtension),
    ("chunk-blank", HttpError::ChunkSize),
    ("chunk-blanks", HttpError::ChunkExtension),
    ("chunk-cr", HttpError::ChunkSize),
    ("chunk-empty", HttpError::ChunkSize),
    ("chunk-end-cr", HttpError::ChunkEnd),
    ("chunk-end-lf", HttpError::ChunkEnd),
    ("chunk-ext-lf", HttpError::ChunkExtension),
    ("chunk-ext-long", HttpError::ChunkExtension),
    ("chunk-ext-many", HttpError::ChunkExtension),
    ("chunk-ext-nul", HttpError::ChunkExtension),
    ("chunk-huge", HttpError::ChunkSize),
    ("chunk-lf", HttpError::ChunkSize),
    ("chunk-longer", HttpError::ChunkEnd),
    ("chunk-minus", HttpError::ChunkSize),
    ("chunk-plus", HttpError::ChunkSize),
    ("chunk-prefix", HttpError::ChunkSize),
    ("chunk-trailer-cr", HttpError::Trailer),
    ("chunk-trailer-fold", HttpError::Trailer),
    ("chunk-trailer-last", HttpError::Trailer),
    ("chunk-trailer-lf", HttpError::Trailer),
    ("chunk-trailer-line-lf", HttpError::Trailer),
    ("chunk-trailer-long", HttpError::Trailer),
    ("chunk-trailer-many", HttpError::Trailer),
    ("chunk-word", HttpError::ChunkSize),
    ("chunk-zeros", HttpError::ChunkSize),
    ("chunked-and-length", HttpError::Ambiguous),
    ("coding-gzip", HttpError::TransferCoding),
    ("coding-http10", HttpError::TransferCoding),
    ("coding-last", HttpError::TransferCoding),
    ("coding-twice", HttpError::TransferCoding),
    ("coding-vt", HttpError::TransferCoding),
    ("empty-line-first", HttpError::NotHttp),
    ("etag-twice", HttpError::Repeated),
    ("http09", HttpError::NotHttp),
    ("http2", HttpError::NotHttp),
    ("icy", HttpError::NotHttp),
    ("interim", HttpError::Informational),
    ("length-and-chunked", HttpError::Ambiguous),
    ("length-blank", HttpError::Length),
    ("length-comma", HttpError::Length),
    ("length-differ", HttpError::Length),
    ("length-empty", HttpError::Length),
    ("length-float", HttpError::Length),
    ("length-hex", HttpError::Length),
    ("length-huge", HttpError::Length),
    ("length-negative", HttpError::Length),
    ("length-plus", HttpError::Length),
    ("length-twice", HttpError::Length),
    ("length-word", HttpError::Length),
    ("location-twice", HttpError::Repeated),
    ("no-colon", HttpError::Header),
    ("no-name", HttpError::Header),
    ("nul", HttpError::Header),
    ("range-backwards", HttpError::ContentRange),
    ("range-beyond", HttpError::ContentRange),
    ("range-blanks", HttpError::ContentRange),
    ("range-empty", HttpError::ContentRange),
    ("range-equals", HttpError::ContentRange),
    ("range-huge", HttpError::ContentRange),
    ("range-negative", HttpError::ContentRange),
    ("range-nofirst", HttpError::ContentRange),
    ("range-nolast", HttpError::ContentRange),
    ("range-nototal", HttpError::ContentRange),
    ("range-stars", HttpError::ContentRange),
    ("range-text", HttpError::ContentRange),
    ("range-twice", HttpError::Repeated),
    ("range-unit", HttpError::ContentRange),
    ("range-zero", HttpError::ContentRange),
    ("ssh", HttpError::NotHttp),
    ("status-four", HttpError::NotHttp),
    ("status-low", HttpError::NotHttp),
    ("status-word", HttpError::NotHttp),
    ("tls-alert", HttpError::NotHttp),
    ("upgrade", HttpError::Upgraded),
    ("version", HttpError::NotHttp),
];

#[test]
fn every_evil_answer_has_its_error() {
    for (name, error) in EVIL {
        let got = whole(&fixture(&format!("evil-{name}")));
        assert_eq!(got.outcome, Outcome::Failed(*error), "{name}");
    }
}

#[test]
fn every_evil_fixture_is_listed() {
    let listed: BTreeSet<_> = EVIL.iter().map(|(name, _)| format!("evil-{name}")).collect();
    let there: BTreeSet<_> = fixtures()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("evil"))
        .collect();
    assert_eq!(listed, there);
}

#[test]
fn every_truncation_is_short_or_an_earlier_part_of_the_same_answer() {
    for (name, input) in fixtures() {
        let full = whole(&input);
        // A long input is cut everywhere near its ends, and at samples between.
        let step = 1 + input.len() / 2000;
        for cut in (0..input.len()).filter(|cut| cut % step == 0 || *cut < 200) {
            let got = whole(&input[..cut]);
            assert!(full.body.starts_with(&got.body), "{name} cut at {cut}");
            assert!(got.head.is_none() || got.head == full.head, "{name} cut at {cut}");
            match got.outcome {
                Outcome::Closed(Closed::Short) => {}
                Outcome::Closed(Closed::Complete) => {
                    assert_eq!(
                        full.outcome,
                        Outcome::Closed(Closed::Complete),
                        "{name} cut at {cut}"
                    );
                }
                Outcome::End(_) => assert!(matches!(full.outcome, Outcome::End(_)), "{name}"),
                Outcome::Failed(_) => assert_eq!(got.outcome, full.outcome, "{name} cut at {cut}"),
            }
        }
    }
}
