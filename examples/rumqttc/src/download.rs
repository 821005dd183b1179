//! One fetch over a blocking socket.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use ota_host::{Clock, Job, Piece, Storage};
use ota_proto::url::Url;
use ota_proto::{OpId, TransportError, Updater};
use ota_wire::http::{Closed, Fetch, FetchFound, FetchLimits};

/// Received bytes that can move to another thread.
pub fn piece(bytes: &[u8]) -> Piece<Vec<u8>> {
    Piece { buf: bytes.to_vec(), span: 0..bytes.len() }
}

pub struct Download {
    op: OpId,
    stream: TcpStream,
    fetch: Fetch,
    /// Received bytes that are not consumed yet.
    rx: Vec<u8>,
}

impl Download {
    /// Requests the URL from this byte on.
    pub fn open(op: OpId, url: &str, from: u64, fresh: bool) -> Option<Self> {
        let url = Url::parse(url).ok().filter(|url| !url.tls)?;
        let address = (url.host, url.port).to_socket_addrs().ok()?.next()?;
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).ok()?;
        // The machine has the deadline for a silent server.
        stream.set_read_timeout(Some(Duration::from_millis(100))).ok()?;
        let mut fetch = Fetch::with_user(&url, None, from, FetchLimits::default(), fresh).ok()?;
        let all = fetch.transmit().len();
        stream.write_all(fetch.transmit()).ok()?;
        fetch.handle_sent(all).ok()?;
        Some(Self { op, stream, fetch, rx: Vec::new() })
    }

    /// Reads once and stores what the machine takes; `false` at the end.
    pub fn advance(&mut self, machine: &mut Updater, storage: &mut Storage, clock: Clock) -> bool {
        let mut buf = [0; 16 * 1_024];
        let closed = match self.stream.read(&mut buf) {
            Ok(count) => {
                self.rx.extend_from_slice(&buf[..count]);
                count == 0
            }
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return true;
            }
            Err(_) => true,
        };
        loop {
            let Ok(received) = self.fetch.handle_received(&self.rx) else {
                machine.handle_fetch_failed(clock.now(), self.op, TransportError::Malformed);
                return false;
            };
            let mut consumed = received.consumed;
            match received.found {
                FetchFound::Nothing => {
                    self.rx.drain(..consumed);
                    break;
                }
                FetchFound::Head(head) => {
                    // If the machine refuses the answer, its next output says what follows.
                    let _ = machine.handle_response(clock.now(), self.op, &head);
                }
                FetchFound::Body(span) => {
                    let Ok(body) =
                        machine.handle_body(clock.now(), self.op, &self.rx[span.clone()])
                    else {
                        return false;
                    };
                    if let Some((op, work)) = body.work {
                        let ended = storage.run(Job::new(op, work.map(piece)));
                        machine.handle_done(clock.now(), op, ended.result);
                    }
                    let _ = self.fetch.handle_body_taken(body.consumed);
                    if body.consumed == 0 {
                        self.rx.drain(..consumed);
                        break;
                    }
                    consumed += body.consumed;
                }
                FetchFound::End => {
                    machine.handle_body_end(clock.now(), self.op);
                    return false;
                }
            }
            self.rx.drain(..consumed);
        }
        match closed {
            // Bytes that the machine has not taken yet come before the end.
            _ if !self.rx.is_empty() => true,
            false => true,
            true if self.fetch.handle_closed() == Closed::Complete => {
                machine.handle_body_end(clock.now(), self.op);
                false
            }
            true => {
                machine.handle_fetch_failed(clock.now(), self.op, TransportError::Closed);
                false
            }
        }
    }
}
