//! What stands for TLS where it is not built in: nothing that could be made.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::journal::Journal;
use super::stream::{Peer, Stream};

/// Nobody has one: the feature `tls` is off.
#[derive(Clone, Debug)]
pub struct ServerTls(Infallible);

/// Nobody has one: the feature `tls` is off.
#[derive(Clone, Debug)]
pub struct ClientTls(Infallible);

#[derive(Clone, Debug)]
pub(super) struct Acceptor(Infallible);

impl ServerTls {
    pub(super) fn mqtt(&self) -> Acceptor {
        match self.0 {}
    }

    pub(super) fn http(&self) -> Acceptor {
        match self.0 {}
    }

    pub(super) async fn watch(self, _: Duration, _: Journal, _: CancellationToken) {
        match self.0 {}
    }
}

impl ClientTls {
    pub(super) async fn connect(
        &self,
        _: &str,
        _: TcpStream,
    ) -> io::Result<Result<Stream, String>> {
        match self.0 {}
    }
}

impl Acceptor {
    pub(super) async fn accept(&self, _: TcpStream) -> io::Result<Peer> {
        match self.0 {}
    }
}

/// Certificates are of no use in this build.
pub(super) fn leaf(_: &[u8]) -> Result<Vec<u8>, &'static str> {
    Err("this program is built without TLS")
}
