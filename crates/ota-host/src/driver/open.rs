//! Opens a link: name, TCP, TLS.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ota_proto::TransportError;
use ota_wire::adapter;
use ota_wire::client::LinkKind;

use crate::driver::connect::first_to_connect;
use crate::driver::lookup::lookup;
use crate::driver::runtime::Runtime;
use crate::driver::stream::Stream;
use crate::driver::tls::Secure;

/// The addresses that links may use, shared by the links that are being opened.
pub(super) type Reach = Arc<Mutex<adapter::Reach>>;

/// Returns the stream, and the start of validity of the peer's certificate, if there is one.
pub(super) async fn open<R: Runtime>(
    kind: LinkKind,
    reach: Reach,
    (host, port): (String, u16),
    secure: Option<Secure>,
) -> Result<(Box<dyn Stream>, Option<u64>), TransportError> {
    let addresses = lookup(host, port).await.map_err(|_| TransportError::Resolve)?;
    let addresses = admitted(kind, &reach, addresses)?;
    let stream = first_to_connect(addresses, R::connect, R::sleep).await?;
    match secure {
        Some(secure) => secure.shake_hands(stream).await,
        None => Ok((stream, None)),
    }
}

/// Returns the addresses that the link may use.
fn admitted(
    kind: LinkKind,
    reach: &Reach,
    mut addresses: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, TransportError> {
    let none = addresses.is_empty();
    let mut reach = reach.lock().unwrap_or_else(PoisonError::into_inner);
    addresses.retain(|address| reach.admits(kind, address.ip()));
    if addresses.is_empty() && !none {
        return Err(TransportError::NotPublic);
    }
    Ok(addresses)
}
