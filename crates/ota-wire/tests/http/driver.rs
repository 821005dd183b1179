//! Runs a whole answer through a [`Fetch`], split into pieces, and records the results.

use std::path::PathBuf;

use ota_proto::url::Url;
use ota_proto::{Coding, ContentRange, ResponseHead};
use ota_wire::http::{Closed, Fetch, FetchFound, FetchLimits, HttpError};

pub(crate) fn url(target: &str) -> Url<'_> {
    Url { tls: false, host: "store.example", port: 80, target }
}

pub(crate) fn fetch() -> Fetch {
    Fetch::new(&url("/fw.bin?sign=secret"), 0, FetchLimits::default()).unwrap()
}

pub(crate) fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.http"))).unwrap()
}

pub(crate) fn fixtures() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "http"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    all.sort();
    assert!(all.len() > 80, "fixtures are missing");
    all
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/http")
}

/// A head that outlives its buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) length: Option<u64>,
    pub(crate) range: Option<ContentRange>,
    pub(crate) etag: Option<Vec<u8>>,
    pub(crate) location: Option<String>,
    pub(crate) retry_after: Option<u64>,
    pub(crate) coding: Option<Coding>,
}

impl Head {
    fn of(head: &ResponseHead<'_>) -> Self {
        Self {
            status: head.status,
            length: head.content_length,
            range: head.content_range,
            etag: head.etag.map(<[u8]>::to_vec),
            location: head.location.map(str::to_owned),
            retry_after: head.retry_after.map(|after| after.as_secs()),
            coding: head.coding,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// `End` was found, with this many bytes of input behind it.
    End(usize),
    Failed(HttpError),
    Closed(Closed),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transcript {
    pub(crate) head: Option<Head>,
    pub(crate) body: Vec<u8>,
    pub(crate) outcome: Outcome,
}

/// The answer arrives in pieces of `piece()` bytes; of each offered span `take(len)` are taken.
pub(crate) fn run(
    input: &[u8],
    mut piece: impl FnMut() -> usize,
    mut take: impl FnMut(usize) -> usize,
) -> Transcript {
    let mut fetch = fetch();
    let mut result = Transcript { head: None, body: Vec::new(), outcome: Outcome::End(0) };
    let (mut from, mut to) = (0, 0);
    loop {
        let rx = &input[from..to];
        let before = fetch.clone();
        let received = match fetch.handle_received(rx) {
            Ok(received) => received,
            Err(error) => {
                assert_eq!(fetch, before, "an error changed the state");
                assert_eq!(fetch.handle_received(rx), Err(error));
                result.outcome = Outcome::Failed(error);
                return result;
            }
        };
        assert!(received.consumed <= rx.len());
        from += received.consumed;
        match received.found {
            FetchFound::Head(head) => {
                assert!(result.head.is_none() && result.body.is_empty(), "a second head");
                result.head = Some(Head::of(&head));
            }
            FetchFound::Body(span) => {
                assert!(result.head.is_some(), "body before a head");
                assert!(span.start == received.consumed && !span.is_empty());
                let count = take(span.len()).min(span.len());
                assert!(fetch.clone().handle_body_taken(span.len() + 1).is_err());
                fetch.handle_body_taken(count).unwrap();
                result.body.extend_from_slice(&rx[span][..count]);
                from += count;
            }
            FetchFound::End => {
                assert!(result.head.is_some(), "an end before a head");
                assert_eq!(fetch.handle_closed(), Closed::Complete);
                result.outcome = Outcome::End(input.len() - from);
                return result;
            }
            FetchFound::Nothing if to == input.len() => {
                result.outcome = Outcome::Closed(fetch.handle_closed());
                return result;
            }
            FetchFound::Nothing => to = (to + piece().max(1)).min(input.len()),
        }
    }
}

pub(crate) fn whole(input: &[u8]) -> Transcript {
    run(input, || usize::MAX / 2, |len| len)
}
