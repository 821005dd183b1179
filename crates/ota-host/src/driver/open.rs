//! How a link is opened: name, TCP, TLS.

use ota_proto::TransportError;

use super::connect::first_to_connect;
use super::{Runtime, Stream};
use crate::tls::Secure;

/// The stream, and from when the certificate of the peer is valid, where there is one.
pub(super) async fn open<R: Runtime>(
    host: String,
    port: u16,
    secure: Option<Secure>,
) -> Result<(Box<dyn Stream>, Option<u64>), TransportError> {
    let addresses = R::resolve(host, port).await.map_err(|_| TransportError::Resolve)?;
    let stream = first_to_connect(addresses, R::connect, R::sleep).await?;
    match secure {
        Some(secure) => secure.shake_hands(stream).await,
        None => Ok((stream, None)),
    }
}
