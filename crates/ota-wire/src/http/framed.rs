//! Tells a recorder which bytes of an answer it must keep.

use super::{Fetch, FetchFound, Phase};

/// How a [`Fetch`] uses received bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Framed {
    /// This many bytes at the front affect the state; of the others only the number does.
    pub(crate) len: usize,
    /// They belong to a head.
    pub(crate) is_head: bool,
    /// They begin inside a skipped line.
    pub(crate) is_passing: bool,
    /// They begin inside its name.
    pub(crate) is_name: bool,
}

impl Fetch {
    /// Returns how many of the next bytes are framing.
    pub(crate) fn framing(&self, rx: &[u8]) -> Framed {
        let is_head = matches!(self.phase, Phase::Head(_));
        let is_passing = matches!(&self.phase, Phase::Head(head) if head.is_passing());
        let is_name = matches!(&self.phase, Phase::Head(head) if head.is_name());
        let len = match self.clone().handle_received(rx) {
            // An incomplete head may still be an error and is read again.
            Ok(received) if is_head && received.found == FetchFound::Nothing => rx.len(),
            Ok(received) => received.consumed,
            Err(_) => self.first_bad(rx),
        };
        Framed { len, is_head, is_passing, is_name }
    }

    /// The number of bytes that show the error in them.
    fn first_bad(&self, rx: &[u8]) -> usize {
        let (mut good, mut bad) = (0, rx.len());
        while good < bad {
            let middle = good.midpoint(bad);
            debug_assert!(middle <= rx.len(), "the middle is before the end");
            let front = rx.get(..middle).unwrap_or_default();
            match self.clone().handle_received(front) {
                Ok(_) => good = middle.saturating_add(1),
                Err(_) => bad = middle,
            }
        }
        bad
    }
}
