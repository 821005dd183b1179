//! What a connection's bytes go through: a TCP socket, or TLS on one.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection, whatever is below it.
pub(super) type Stream = Box<dyn Socket>;

/// Both directions of a connection.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {
    /// Makes the end of the connection a reset.
    fn reset_at_end(&self);

    /// The socket, where its bytes are those of the connection: the system may send a file itself.
    fn plain(&self) -> Option<&TcpStream> {
        None
    }
}

impl Socket for TcpStream {
    fn reset_at_end(&self) {
        let _ = self.set_zero_linger();
    }

    fn plain(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

/// A client that was accepted.
pub(super) struct Peer {
    pub(super) stream: Stream,
    /// The certificate it showed, in DER.
    pub(super) certificate: Option<Vec<u8>>,
}

impl Peer {
    /// One without TLS.
    pub(super) fn plain(socket: TcpStream) -> Self {
        Self { stream: Box::new(socket), certificate: None }
    }
}

/// Small packets go both ways: waiting to fill a segment costs more than it saves.
pub(super) fn hurry(socket: &TcpStream) {
    let _ = socket.set_nodelay(true);
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
