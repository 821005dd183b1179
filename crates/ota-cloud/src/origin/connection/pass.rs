//! Bytes of an image that never come here: where a file's can go into a socket without a copy in
//! this process, as with `sendfile(2)`, whoever has both lets the system do it.

use ota_proto::Instant;

use super::{Connection, Step, Wanted};
use crate::origin::Origin;

impl Connection {
    /// Says that the caller sends what [`Connection::wants`] asked for by itself, in place of
    /// [`Connection::handle_body`]. First leaves what [`Connection::unsent`] has, then what
    /// [`Connection::passing`] says. Returns whether it may: not where a fault changes the bytes or
    /// their pace.
    pub fn pass_body(&mut self, now: Instant) -> bool {
        self.now = self.now.max(now);
        let as_it_is = match self.script.front() {
            Some(Step::Body(piece)) => piece.mask == 0 && piece.flip.is_none(),
            _ => false,
        };
        if !as_it_is || self.pace.is_some() || self.wants.is_none() {
            return false;
        }
        self.heard = self.now;
        self.passing = self.wants.take();
        self.begun = true;
        true
    }

    /// The bytes of an image that leave past this connection once [`Connection::unsent`] is empty.
    #[must_use]
    pub const fn passing(&self) -> Option<&Wanted> {
        self.passing.as_ref()
    }

    /// Says that what [`Connection::passing`] names cannot be sent by itself:
    /// [`Connection::wants`] asks for it again.
    pub fn bring_body(&mut self) {
        if let Some(part) = self.passing.take() {
            self.wants = Some(part);
        }
    }

    /// The first `n` of the bytes that [`Connection::passing`] names have left, or none can any
    /// more, which breaks the response off.
    pub fn handle_passed(&mut self, origin: &mut Origin, now: Instant, n: Result<usize, &str>) {
        self.now = self.now.max(now);
        self.heard = self.now;
        let (Some(part), Some(Step::Body(piece))) = (&mut self.passing, self.script.front_mut())
        else {
            return;
        };
        let n = match n {
            Ok(n) => n.min(part.len),
            Err(why) => return self.fail(why),
        };
        let bytes = u64::try_from(n).unwrap_or(u64::MAX);
        origin.count_body(bytes);
        piece.at = piece.at.saturating_add(bytes);
        part.at = piece.at;
        part.len = part.len.saturating_sub(n);
        if part.len == 0 {
            self.passing = None;
        }
        if piece.at >= piece.end {
            self.script.pop_front();
        }
    }
}
