//! What an adapter brings.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::driver::engine::{EngineError, Operation};
use crate::driver::lanes::{Finished, Task};
use crate::driver::stream::{Later, Stream};

/// What the driver asks of an async runtime. What is in progress is kept here or by the driver,
/// so that a dropped future of [`Driver::next`](crate::Driver::next) takes nothing along.
pub trait Runtime: Default + fmt::Debug + 'static {
    /// A TCP connection that sends small pieces at once.
    fn connect(address: SocketAddr) -> Later<io::Result<Box<dyn Stream>>>;

    /// Ready after this time.
    fn sleep(time: Duration) -> Later<()>;

    /// Puts a job on the blocking pool.
    fn spawn(&mut self, task: Task<Operation>);

    /// A job that has run; `None` when there are none. One that was begun runs to its end even
    /// when the runtime is dropped.
    ///
    /// # Errors
    /// [`EngineError::Lost`] when the pool gave a job up.
    fn poll_finished(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Finished<Operation>, EngineError>>>;

    /// Ready when this moment has come. There is one timer: the moment of the last call counts.
    fn poll_timer(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()>;
}
