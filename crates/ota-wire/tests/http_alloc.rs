//! No allocation per chunk, and a bounded one per fetch (rule 17 of docs/rules.md).
#![allow(clippy::unwrap_used)]

use allocation_counter::{AllocationInfo, measure};
use ota_proto::url::Url;
use ota_wire::http::{Fetch, FetchFound, FetchLimits};

const URL: Url<'_> =
    Url { tls: true, host: "store.example", port: 443, target: "/fw.bin?sign=secret" };

/// Takes the whole answer in one loop and counts the body.
fn receive(fetch: &mut Fetch, mut rx: &[u8]) -> usize {
    let mut body = 0;
    loop {
        let received = fetch.handle_received(rx).unwrap();
        let mut used = received.consumed;
        match received.found {
            FetchFound::Head(head) => assert_eq!(head.status, 200),
            FetchFound::Body(span) => {
                fetch.handle_body_taken(span.len()).unwrap();
                used += span.len();
                body += span.len();
            }
            FetchFound::Nothing | FetchFound::End => return body,
        }
        rx = &rx[used..];
    }
}

#[test]
fn an_answer_costs_no_allocation() {
    let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..1000 {
        chunked.extend_from_slice(b"5;x=y\r\nhello\r\n");
    }
    chunked.extend_from_slice(b"0\r\nT: v\r\n\r\n");
    let sized = [&b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"[..], &[7; 5000]].concat();
    for answer in [chunked, sized] {
        let mut fetch = Fetch::new(&URL, 0, FetchLimits::default()).unwrap();
        let mut body = 0;
        let info = measure(|| body = receive(&mut fetch, &answer));
        assert_eq!(body, 5000);
        assert_eq!(info, AllocationInfo::default());
    }
}

#[test]
fn a_fetch_holds_its_request_and_gives_it_back() {
    let target = format!("/{}", "a".repeat(1700));
    let mut kept = None;
    let info = measure(|| {
        let url = Url { target: &target, ..URL };
        kept = Some(Fetch::new(&url, 1 << 40, FetchLimits::default()).unwrap());
    });
    assert!(info.bytes_max <= 2_048, "{info:?}");
    let mut fetch = kept.unwrap();
    let freed = measure(|| fetch.handle_sent(fetch.transmit().len()).unwrap());
    assert_eq!(freed.bytes_current, -info.bytes_current, "{freed:?}");
}
