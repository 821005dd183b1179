//! What an adapter provides.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::driver::engine::{EngineError, Operation};
use crate::driver::lanes::{Finished, Task};
use crate::driver::stream::{Later, Stream};

/// What the driver needs from an async runtime. The driver and this value hold all work in
/// progress, so that dropping a future of [`Driver::next`](crate::Driver::next) loses nothing.
pub trait Runtime: Default + fmt::Debug + 'static {
    /// Opens a TCP connection that sends small pieces immediately.
    fn connect(address: SocketAddr) -> Later<io::Result<Box<dyn Stream>>>;

    /// Waits for this long.
    fn sleep(time: Duration) -> Later<()>;

    /// Starts a job on the blocking pool.
    fn spawn(&mut self, task: Task<Operation>);

    /// Returns a finished job; `None` if no job runs. A job that has started runs to its end even
    /// if the runtime is dropped.
    ///
    /// # Errors
    /// [`EngineError::Lost`] if the pool dropped a job.
    fn poll_finished(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Finished<Operation>, EngineError>>>;

    /// Ready at this moment. There is one timer, and the latest call sets it.
    fn poll_timer(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()>;
}
