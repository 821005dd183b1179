//! Notifies the service manager that the agent is up and that its loop is running.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The socket that systemd names in the environment; without one nothing is sent.
#[derive(Debug)]
pub(crate) struct Notify {
    socket: Option<UnixDatagram>,
    /// Half of the watchdog's interval.
    period: Option<Duration>,
    next: Instant,
}

impl Notify {
    /// Reads the environment: `sd_notify(3)`, `sd_watchdog_enabled(3)`.
    pub(crate) fn from_env() -> Self {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let period = number("WATCHDOG_USEC").filter(|limit| ours && *limit > 0);
        let period = period.map(|limit| Duration::from_micros(limit / 2));
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let address = match name.as_bytes().strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(&name),
            };
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            socket.connect_addr(&address.ok()?).ok()?;
            Some(socket)
        });
        Self { socket, period, next: Instant::now() }
    }

    /// Sends this, even if nobody listens.
    pub(crate) fn send(&self, what: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(what.as_bytes());
        }
    }

    /// Waits until the next watchdog message is due, and sends it; waits forever without a
    /// watchdog. Cancel-safe.
    pub(crate) async fn watchdog(&mut self) {
        let Some(period) = self.period.filter(|_| self.socket.is_some()) else {
            return std::future::pending().await;
        };
        sleep_until(self.next).await;
        self.send("WATCHDOG=1");
        self.next = Instant::now() + period;
    }
}
