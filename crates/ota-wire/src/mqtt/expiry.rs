//! Computes when the login of a connection expires.

use core::time::Duration;

/// Sets the expiry of the login at each connect, so that a password seen on a link without TLS is
/// useful only for a limited time.
///
/// With a set clock, a login is valid for one day. Without one, and once after a refused login, it
/// does not expire: the device's clock may be behind the cloud's, which would treat the login as
/// expired. The device can then still log in.
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
    /// The last login did not expire.
    far: bool,
    refused: bool,
}

impl Expiry {
    /// 2100-01-01 in Unix seconds, later than any real clock.
    pub const FAR: u64 = 4_102_444_800;

    /// Makes logins that are valid for this long.
    #[must_use]
    pub const fn new(ahead: Duration) -> Self {
        Self { ahead, far: false, refused: false }
    }

    /// Returns the expiry of the login for the connection that starts now, in Unix seconds. `unix`
    /// is the time of day, if the clock is set.
    pub fn next(&mut self, unix: Option<u64>) -> u64 {
        let refused = core::mem::take(&mut self.refused);
        let near = unix.filter(|_| !refused);
        let near = near.map(|unix| unix.saturating_add(self.ahead.as_secs()));
        self.far = near.is_none();
        near.unwrap_or(Self::FAR)
    }

    /// Reports that the cloud refused the last login. If that one did not expire, its expiry was
    /// not the reason.
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
