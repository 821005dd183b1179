//! What a connection's bytes go through: a TCP socket, or TLS on one.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection, whatever is below it.
pub(super) type Stream = Box<dyn Socket>;

/// Both directions of a connection.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A connection without TLS. Small packets go both ways: waiting to fill a segment costs more
/// than it saves.
pub(super) fn plain(stream: TcpStream) -> Stream {
    let _ = stream.set_nodelay(true);
    Box::new(stream)
}

/// Writes some of `unsent`, or, when there is nothing, pushes out what a layer below keeps. Returns
/// what was written: 0 means that nothing is kept any more. Cancel-safe.
pub(super) async fn push_out(
    writer: &mut (impl AsyncWrite + Unpin),
    unsent: &[u8],
) -> io::Result<usize> {
    if unsent.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    writer.write(unsent).await
}
