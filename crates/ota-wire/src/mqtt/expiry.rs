//! When the login of a connection lapses.

use core::time::Duration;

/// Decides at each connect until when its login holds: a password that is seen once, on a link
/// without TLS, is worth no more than that.
///
/// By a clock that is set, a login holds for a day. Without one, and once after a login was
/// refused, it holds for ever: the clock may be behind the cloud's, which takes such a login for
/// lapsed, and the device gets in all the same.
///
/// ```
/// use core::time::Duration;
/// use ota_wire::mqtt::Expiry;
///
/// let mut expiry = Expiry::new(Duration::from_secs(86_400));
/// assert_eq!(expiry.next(Some(1_800_000_000)), 1_800_086_400);
/// expiry.refused();
/// assert_eq!(expiry.next(Some(1_800_000_060)), Expiry::FAR);
/// assert_eq!(expiry.next(Some(1_800_000_120)), 1_800_086_520);
/// assert_eq!(expiry.next(None), Expiry::FAR);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expiry {
    ahead: Duration,
    /// The last one was far away.
    far: bool,
    refused: bool,
}

impl Expiry {
    /// 2100-01-01 in Unix seconds: no clock says so.
    pub const FAR: u64 = 4_102_444_800;

    /// Logins that hold for so long.
    #[must_use]
    pub const fn new(ahead: Duration) -> Self {
        Self { ahead, far: false, refused: false }
    }

    /// Until when the login of the connection that is made now holds, in Unix seconds. `unix`: the
    /// time of day, by a clock that is set.
    pub fn next(&mut self, unix: Option<u64>) -> u64 {
        let refused = core::mem::take(&mut self.refused);
        let near = unix.filter(|_| !refused);
        let near = near.map(|unix| unix.saturating_add(self.ahead.as_secs()));
        self.far = near.is_none();
        near.unwrap_or(Self::FAR)
    }

    /// The cloud refused the last login. When that one held for ever, its expiry was not why.
    pub fn refused(&mut self) {
        self.refused = !self.far;
    }
}

impl Default for Expiry {
    /// A day.
    fn default() -> Self {
        Self::new(Duration::from_secs(86_400))
    }
}
