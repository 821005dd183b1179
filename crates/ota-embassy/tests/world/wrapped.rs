//! An own network: streams that hold back what is written until they are flushed, and flush in
//! many steps, as those of TLS do.

use embedded_io_async::{ErrorType, Read, Write};
use ota_embassy::{Network, Tcp, TcpStream};
use ota_proto::TransportError;
use ota_wire::adapter::LinkTarget;

#[derive(Clone, Copy)]
pub struct Wrapped<'n, 's>(pub &'n Tcp<'s>);

pub struct Records<'n, 's> {
    stream: TcpStream<'n, 's>,
    held: Vec<u8>,
}

impl<'n, 's> Network for Wrapped<'n, 's> {
    type Stream = Records<'n, 's>;

    const TLS: bool = true;

    async fn open(self, target: LinkTarget) -> Result<Records<'n, 's>, TransportError> {
        Ok(Records {
            stream: self.0.open(LinkTarget { tls: false, ..target }).await?,
            held: Vec::new(),
        })
    }

    async fn close(self, stream: Records<'n, 's>) {
        self.0.close(stream.stream).await;
    }
}

impl ErrorType for Records<'_, '_> {
    type Error = embassy_net::tcp::Error;
}

impl Read for Records<'_, '_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        self.stream.read(buf).await
    }
}

impl Write for Records<'_, '_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        self.held.extend_from_slice(buf);
        Ok(buf.len())
    }

    /// One that is dropped in between would send the rest twice, or never.
    async fn flush(&mut self) -> Result<(), Self::Error> {
        for byte in std::mem::take(&mut self.held) {
            self.stream.write_all(&[byte]).await?;
            embassy_time::Timer::after_micros(3).await;
        }
        Ok(())
    }
}
