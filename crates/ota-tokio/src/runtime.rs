//! What tokio has for the driver.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{self, Duration};

use ota_host::{EngineError, Finished, Later, Operation, Stream, Task};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::compat::TokioAsyncReadCompatExt as _;

/// Sockets, a timer and the blocking pool of the tokio runtime that polls the driver.
#[derive(Debug, Default)]
pub struct Runtime {
    jobs: JoinSet<Finished<Operation>>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl ota_host::Runtime for Runtime {
    fn connect(address: SocketAddr) -> Later<io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream.compat()) as Box<dyn Stream>)
        })
    }

    fn sleep(time: Duration) -> Later<()> {
        Box::pin(sleep(time))
    }

    fn spawn(&mut self, task: Task<Operation>) {
        self.jobs.spawn_blocking(move || task.run());
    }

    fn poll_finished(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Finished<Operation>, EngineError>>> {
        self.jobs.poll_join_next(cx).map(|job| Some(job?.map_err(|_| EngineError::Lost)))
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, at: time::Instant) -> Poll<()> {
        let at = Instant::from_std(at);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx)
    }
}
