//! What smol has for the driver.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use ota_host::{EngineError, Finished, Later, Operation, Stream, Task};

/// Sockets and a timer of smol's reactor, and its blocking pool.
#[derive(Debug, Default)]
pub struct Runtime {
    jobs: Vec<blocking::Task<Finished<Operation>>>,
    timer: Option<(Instant, Timer)>,
}

impl ota_host::Runtime for Runtime {
    fn connect(address: SocketAddr) -> Later<io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let socket = Async::<TcpStream>::connect(address).await?;
            socket.as_ref().set_nodelay(true)?;
            Ok(Box::new(socket) as Box<dyn Stream>)
        })
    }

    fn sleep(time: Duration) -> Later<()> {
        Box::pin(async move {
            let _ = Timer::after(time).await;
        })
    }

    fn spawn(&mut self, task: Task<Operation>) {
        self.jobs.push(blocking::unblock(move || task.run()));
    }

    fn poll_finished(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Finished<Operation>, EngineError>>> {
        for (place, job) in self.jobs.iter_mut().enumerate() {
            if let Poll::Ready(finished) = Pin::new(job).poll(cx) {
                drop(self.jobs.swap_remove(place));
                return Poll::Ready(Some(Ok(finished)));
            }
        }
        if self.jobs.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let (set, timer) = self.timer.get_or_insert_with(|| (at, Timer::at(at)));
        if *set != at {
            timer.set_at(at);
            *set = at;
        }
        Pin::new(timer).poll(cx).map(|_| self.timer = None)
    }
}
