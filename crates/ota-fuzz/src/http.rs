//! An HTTP answer, whole and in pieces.

use ota_proto::url::Url;
use ota_wire::http::{Closed, Fetch, FetchFound, FetchLimits, HttpError};

/// An answer, whole: however it is cut into pieces and however little is taken at a time, the
/// same head, body and end come of it; nothing points outside the buffer, and an error changes
/// nothing.
///
/// # Panics
/// When it is not so.
pub fn http(data: &[u8]) {
    let whole = run(data, || usize::MAX, || usize::MAX);
    // The cuts follow from the data, so that every input is its own reproduction.
    let mut seed = data.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    for most in [3, 17, 400] {
        let (mut piece, mut take) = (seed | 1, !seed | 1);
        let cut = run(data, || draw(&mut piece, most).max(1), || draw(&mut take, most));
        assert_eq!(cut, whole);
        seed = seed.rotate_left(21) ^ most as u64;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    End { left: usize },
    Failed(HttpError),
    Closed(Closed),
}

/// The head is kept as its `Debug` text, which shows every field.
#[derive(Debug, PartialEq, Eq)]
struct Transcript {
    head: Option<String>,
    body: Vec<u8>,
    outcome: Outcome,
}

fn run(
    data: &[u8],
    mut piece: impl FnMut() -> usize,
    mut take: impl FnMut() -> usize,
) -> Transcript {
    let url = Url { tls: false, host: "h", port: 80, target: "/" };
    let mut fetch = Fetch::new(&url, 0, FetchLimits::default()).expect("a plain URL");
    let (mut head, mut body) = (None, Vec::new());
    let (mut from, mut to) = (0, 0);
    let mut idle = 0;
    let outcome = loop {
        let rx = &data[from..to];
        let before = fetch.clone();
        let received = match fetch.handle_received(rx) {
            Ok(received) => received,
            Err(error) => {
                assert_eq!(fetch, before, "an error changed the state");
                break Outcome::Failed(error);
            }
        };
        assert!(received.consumed <= rx.len());
        from += received.consumed;
        match received.found {
            FetchFound::Head(found) => {
                assert!(head.is_none() && body.is_empty(), "a second head");
                head = Some(format!("{found:?}"));
            }
            FetchFound::Body(span) => {
                assert!(head.is_some() && span.start == received.consumed && !span.is_empty());
                // Nothing may be taken for a while, but not forever.
                idle += 1;
                let count = take().max(usize::from(idle % 4 == 0)).min(span.len());
                fetch.handle_body_taken(count).expect("it was offered");
                body.extend_from_slice(&rx[span][..count]);
                from += count;
            }
            FetchFound::End => break Outcome::End { left: data.len() - from },
            FetchFound::Nothing if to == data.len() => {
                break Outcome::Closed(fetch.handle_closed());
            }
            FetchFound::Nothing => to = to.saturating_add(piece()).min(data.len()),
        }
    };
    Transcript { head, body, outcome }
}

/// A number from 0 to `most` (xorshift).
fn draw(state: &mut u64, most: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as usize % (most + 1)
}
