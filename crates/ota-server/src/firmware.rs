//! The firmware server: the shell of [`origin`](ota_cloud::origin), which decides what each request
//! gets and, with a plan, what goes wrong with it.
//!
//! axum and hyper were here before for the server without faults, beside this one for the server
//! with them. One of the two had to know all faults, which no HTTP library lets one make, and a
//! device should be tried against the server that it will meet.

mod file;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::journal::Journal;
use super::log::What;
use super::store::{CHANGED, Image, Shelf, Source};
use super::stream::{Stream, push_out};
use ota_cloud::fault::FaultPlan;
use ota_cloud::origin::{self, Closing, Connection, Content, Origin, OriginConfig, Wanted};
use ota_cloud::sign::UrlSigner;

use file::{GONE, Near};

/// The images and the plan.
#[derive(Clone, Debug)]
pub(super) struct Images {
    origin: Arc<Mutex<Origin>>,
    shelf: Shelf,
}

impl Images {
    pub(super) fn new(
        plan: FaultPlan,
        signer: UrlSigner,
        clock: Clock,
        patience: Duration,
        shelf: Shelf,
    ) -> Self {
        let config = OriginConfig {
            idle: patience,
            unread: Some(patience),
            ..OriginConfig::new(Some(signer), clock.unix_at_zero().as_secs())
        };
        let mut origin = Origin::new(config);
        origin.set_faults(plan);
        Self { origin: Arc::new(Mutex::new(origin)), shelf }
    }

    /// Serves this image from now on.
    pub(super) fn insert(&self, path: String, image: Image) {
        // It was hashed when it came, on another thread: the loop's, which calls this, does not wait
        // for it again.
        let (len, md5) = (image.size, image.md5);
        let content = Content::Stored { place: path.as_str().into(), len, md5 };
        self.shelf.insert(path.clone(), image);
        self.lock().add_file(path, content);
    }

    /// An image that is served.
    pub(super) fn get(&self, path: &str) -> Option<Arc<Image>> {
        self.shelf.get(path)
    }

    /// Serves this image no more.
    pub(super) fn remove(&self, path: &str) {
        self.lock().remove_file(path);
        self.shelf.remove(path);
    }

    fn lock(&self) -> MutexGuard<'_, Origin> {
        self.origin.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what a connection wants: from memory, or in one go on another thread, for a disk may
    /// take its time. From this connection's second read on, what the system has in memory is read
    /// here, for handing it over costs five times the reading.
    async fn read(&self, wanted: Wanted, near: &mut Near) -> Result<Vec<u8>, String> {
        let image = self.shelf.get(&wanted.place).ok_or(GONE)?;
        if let Source::Memory(bytes) = &image.source {
            let at = usize::try_from(wanted.at).unwrap_or(usize::MAX);
            let part = bytes.get(at..at.saturating_add(wanted.len)).ok_or(GONE)?;
            return Ok(part.to_vec());
        }
        if *near == Near::Yes {
            match file::read_near(&image, &wanted)? {
                Ok(bytes) => return Ok(bytes),
                Err(from_now_on) => *near = from_now_on,
            }
        } else if *near == Near::Unknown {
            *near = Near::Yes;
        }
        let read = tokio::task::spawn_blocking(move || file::read(&image, &wanted));
        read.await.map_err(|why| why.to_string())?
    }
}

/// What all connections share.
#[derive(Clone, Debug)]
pub(super) struct Firmware {
    pub(super) images: Images,
    pub(super) clock: Clock,
    pub(super) journal: Journal,
}

/// Serves one connection until it ends or the service stops.
pub(super) async fn serve(
    stream: Stream,
    peer: SocketAddr,
    firmware: Firmware,
    stop: CancellationToken,
) {
    let connection = Connection::new(firmware.clock.now());
    let (near, pending) = (Near::Unknown, Vec::new());
    let mut shell = Shell { stream, peer, firmware, connection, near, pending };
    tokio::select! {
        ended = shell.run() => if let Err(why) = ended {
            shell.firmware.journal.write(None, What::Closed { peer, why });
        },
        () = stop.cancelled() => {}
    }
}

struct Shell {
    stream: Stream,
    peer: SocketAddr,
    firmware: Firmware,
    connection: Connection,
    near: Near,
    /// Received and not yet taken.
    pending: Vec<u8>,
}

impl Shell {
    /// Runs until the connection is over; an error is one that no plan wanted.
    async fn run(&mut self) -> Result<(), String> {
        let mut buf = vec![0; 4_096];
        let mut unflushed = false;
        loop {
            let deadline = self.turn()?;
            if let Some(wanted) = self.connection.wants().cloned() {
                self.bring(wanted).await?;
                continue;
            }
            if self.connection.passing().is_some() && self.connection.unsent().is_empty() {
                let clock = self.firmware.clock;
                tokio::select! {
                    passed = self.pass_on() => passed?,
                    () = clock.sleep_until(deadline) => {}
                }
                continue;
            }
            let unsent = self.connection.unsent();
            if let (Some(closing), true) = (self.connection.closing(), unsent.is_empty()) {
                // It ends either way.
                let _ = match closing {
                    Closing::Close => self.stream.shutdown().await,
                    Closing::Reset => {
                        self.stream.reset_at_end();
                        Ok(())
                    }
                };
                return Ok(());
            }
            let clock = self.firmware.clock;
            let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
            tokio::select! {
                read = reader.read(&mut buf), if self.pending.is_empty() => match read {
                    Ok(n) if n > 0 => self.pending.extend_from_slice(buf.get(..n).unwrap_or(&[])),
                    Ok(_) => return Ok(()),
                    Err(error) => return Err(format!("cannot read: {error}")),
                },
                pushed = push_out(&mut writer, unsent), if unflushed || !unsent.is_empty() => {
                    match pushed {
                        Ok(n) => {
                            unflushed = n > 0;
                            self.connection.handle_sent(clock.now(), n);
                        }
                        Err(error) => return Err(format!("cannot write: {error}")),
                    }
                }
                () = clock.sleep_until(deadline) => {}
            }
        }
    }

    /// Brings the connection what it wants of an image, or lets the system send that.
    async fn bring(&mut self, wanted: Wanted) -> Result<(), String> {
        if self.connection.has_begun() {
            // A peer that reads as fast as an image is sent must not keep others waiting.
            tokio::task::yield_now().await;
        }
        if self.pass(&wanted)? {
            return Ok(());
        }
        let body = self.firmware.images.read(wanted, &mut self.near).await;
        let body = body.as_deref().map_err(String::as_str);
        let (now, mut origin) = (self.firmware.clock.now(), self.firmware.images.lock());
        self.connection.handle_body(&mut origin, now, body);
        Ok(())
    }

    /// Lets the system send what is wanted, as far as the socket takes it now, when the file is in
    /// memory and nothing is between it and the socket. An error ends the connection.
    fn pass(&mut self, wanted: &Wanted) -> Result<bool, String> {
        let (clock, images) = (self.firmware.clock, &self.firmware.images);
        let Some(socket) = self.stream.plain().filter(|_| self.near == Near::Yes) else {
            return Ok(false);
        };
        let Some(image) = images.get(&wanted.place) else { return Ok(false) };
        // What is wrong with a file is found and told where it is read.
        let Some(file) = file::open_near(&image, wanted) else { return Ok(false) };
        if !self.connection.pass_body(clock.now()) {
            return Ok(false);
        }
        let head = self.connection.unsent();
        let sent =
            now_or_later(socket.try_io(Interest::WRITABLE, || file::send_head(socket, head)))
                .map_err(unwritten)?;
        let whole = sent == head.len();
        self.connection.handle_sent(clock.now(), sent);
        if whole {
            let sent = socket.try_io(Interest::WRITABLE, || file::send(socket, &file, wanted));
            self.passed(sent)?;
        }
        Ok(true)
    }

    /// Sends more of what the system sends, once the socket takes it. Cancel-safe. Meanwhile no
    /// file is open: a slow peer has one descriptor as any other.
    async fn pass_on(&mut self) -> Result<(), String> {
        let (clock, images) = (self.firmware.clock, &self.firmware.images);
        let (Some(socket), Some(part)) = (self.stream.plain(), self.connection.passing()) else {
            return Ok(());
        };
        socket.writable().await.map_err(unwritten)?;
        let file = images.get(&part.place).ok_or_else(|| GONE.to_owned());
        match file.and_then(|image| file::open(&image)) {
            Ok(file) => {
                let sent = socket.try_io(Interest::WRITABLE, || file::send(socket, &file, part));
                self.passed(sent)
            }
            Err(why) => {
                self.connection.handle_passed(&mut images.lock(), clock.now(), Err(&why));
                Ok(())
            }
        }
    }

    /// So much of what is passed was sent.
    fn passed(&mut self, sent: io::Result<usize>) -> Result<(), String> {
        let (now, images) = (self.firmware.clock.now(), &self.firmware.images);
        let sent = match sent {
            Err(why) if file::cannot_send(&why) => {
                self.near = Near::Never;
                self.connection.bring_body();
                return Ok(());
            }
            Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => Err(CHANGED),
            sent => Ok(now_or_later(sent).map_err(unwritten)?),
        };
        self.connection.handle_passed(&mut images.lock(), now, sent);
        Ok(())
    }

    /// Gives the connection what has come, takes what it tells, and says when it is due again.
    fn turn(&mut self) -> Result<Option<ota_proto::Instant>, String> {
        let now = self.firmware.clock.now();
        let mut origin = self.firmware.images.lock();
        let taken = self.connection.handle_received(now, &self.pending);
        let unread = self.connection.is_unread();
        self.connection.handle_timeout(&origin, now);
        if unread && self.connection.closing() == Some(Closing::Reset) {
            self.stream.reset_at_end();
            return Err("it leaves its answer unread".to_owned());
        }
        self.connection.transmit(&mut origin, now);
        let deadline = self.connection.deadline(&origin);
        drop(origin);
        self.pending.drain(..taken.min(self.pending.len()));
        while let Some(served) = self.connection.next_served() {
            for fault in served.faults {
                self.firmware.journal.write(None, What::Fault { fault });
            }
            let origin::Served { method, path, status, range, why, .. } = served;
            let why = why.to_owned();
            let request = What::Request { peer: self.peer, method, path, status, range, why };
            self.firmware.journal.request(status, request);
        }
        Ok(deadline)
    }
}

fn unwritten(why: io::Error) -> String {
    format!("cannot write: {why}")
}

/// What left; nothing where the socket takes nothing now.
fn now_or_later(sent: io::Result<usize>) -> io::Result<usize> {
    match sent {
        Err(why) if why.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}
