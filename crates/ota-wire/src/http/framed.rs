//! What a recording has to know of an answer.

use super::{Fetch, Found, Phase};

/// What received bytes are to a [`Fetch`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Framed {
    /// So many at the front steer it; of the others only the number counts.
    pub(crate) len: usize,
    /// They are of a head.
    pub(crate) is_head: bool,
    /// They begin inside a line that is passed over.
    pub(crate) is_passing: bool,
    /// They begin inside its name.
    pub(crate) is_name: bool,
}

impl Fetch {
    /// How many of the bytes that come next are framing.
    pub(crate) fn framing(&self, rx: &[u8]) -> Framed {
        let is_head = matches!(self.phase, Phase::Head(_));
        let is_passing = matches!(&self.phase, Phase::Head(head) if head.is_passing());
        let is_name = matches!(&self.phase, Phase::Head(head) if head.is_name());
        let len = match self.clone().handle_received(rx) {
            // Half a head may yet be an error, and is looked at again.
            Ok(received) if is_head && received.found == Found::Nothing => rx.len(),
            Ok(received) => received.consumed,
            Err(_) => self.first_bad(rx),
        };
        Framed { len, is_head, is_passing, is_name }
    }

    /// How many bytes it takes to see the fault in them.
    fn first_bad(&self, rx: &[u8]) -> usize {
        let (mut good, mut bad) = (0, rx.len());
        while good < bad {
            let middle = good.midpoint(bad);
            let front = rx.get(..middle).unwrap_or_default();
            match self.clone().handle_received(front) {
                Ok(_) => good = middle.saturating_add(1),
                Err(_) => bad = middle,
            }
        }
        bad
    }
}
