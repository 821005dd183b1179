//! Stands in for TLS in builds without it.

use std::io;

use ota_proto::{TlsError, TransportError};
use ota_wire::client::LinkKind;

use crate::driver::stream::Stream;

/// No settings.
#[derive(Debug)]
pub(crate) struct Trust;

/// Never exists.
pub(crate) enum Secure {}

impl Trust {
    pub(crate) fn renew(&mut self) {}

    pub(crate) fn secure(&mut self, _: LinkKind, _: &str, _: u64) -> Result<Secure, TlsError> {
        Err(TlsError::Unavailable)
    }
}

impl Secure {
    pub(crate) async fn shake_hands(
        self,
        _: Box<dyn Stream>,
    ) -> Result<(Box<dyn Stream>, Option<u64>), TransportError> {
        match self {}
    }
}

pub(crate) fn refusal(_: &io::Error) -> Option<TlsError> {
    None
}
