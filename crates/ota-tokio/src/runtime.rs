//! What tokio has for the driver.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time;

use ota_host::{EngineError, Finished, Opening, Operation, Target, Task, first_to_connect};
use ota_proto::TransportError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Sockets, a timer and the blocking pool of the tokio runtime that polls the driver.
#[derive(Debug, Default)]
pub struct Runtime {
    jobs: JoinSet<Finished<Operation>>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl ota_host::Runtime for Runtime {
    type Stream = Stream;

    fn open(&mut self, target: Target) -> Opening<Stream> {
        Box::pin(open(target))
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

/// An open connection.
pub struct Stream(Box<dyn Io>);

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl ota_host::Stream for Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

async fn open(target: Target) -> Result<Stream, TransportError> {
    let addresses = lookup_host((target.host.as_str(), target.port)).await;
    let addresses = addresses.map_err(|_| TransportError::Resolve)?;
    let stream = first_to_connect(addresses, connect, sleep).await?;
    Ok(Stream(Box::new(stream)))
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
