//! What smol has for the driver.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use async_io::Timer;
use async_net::{TcpStream, resolve};
use futures_io::{AsyncRead, AsyncWrite};
use ota_host::{EngineError, Finished, Opening, Operation, Target, Task, first_to_connect};
use ota_proto::TransportError;

/// Sockets and a timer of smol's reactor, and its blocking pool.
#[derive(Debug, Default)]
pub struct Runtime {
    jobs: Vec<blocking::Task<Finished<Operation>>>,
    timer: Option<(Instant, Timer)>,
}

impl ota_host::Runtime for Runtime {
    type Stream = Stream;

    fn open(&mut self, target: Target) -> Opening<Stream> {
        Box::pin(open(target))
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

/// An open connection.
pub struct Stream(Box<dyn Io>);

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl ota_host::Stream for Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

async fn open(target: Target) -> Result<Stream, TransportError> {
    let addresses = resolve((target.host.as_str(), target.port)).await;
    let addresses = addresses.map_err(|_| TransportError::Resolve)?;
    let stream = first_to_connect(addresses, connect, Timer::after).await?;
    Ok(Stream(Box::new(stream)))
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
