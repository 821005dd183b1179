//! The firmware server: the shell of [`origin`](ota_cloud::origin), which decides what each request
//! gets and, with a plan, what goes wrong with it.
//!
//! axum and hyper were here before for the server without faults, beside this one for the server
//! with them. One of the two had to know all faults, which no HTTP library lets one make, and a
//! device should be tried against the server that it will meet.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::hub::Journal;
use super::log::What;
use super::store::{CHANGED, Image, Shelf, Source};
use super::stream::{Stream, push_out};
use ota_cloud::fault::FaultPlan;
use ota_cloud::origin::{self, Closing, Connection, Content, Origin, OriginConfig, Wanted};
use ota_cloud::sign::UrlSigner;

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
            match read_near(&image, &wanted)? {
                Ok(bytes) => return Ok(bytes),
                Err(from_now_on) => *near = from_now_on,
            }
        } else if *near == Near::Unknown {
            *near = Near::Yes;
        }
        let read = tokio::task::spawn_blocking(move || read(&image, &wanted));
        read.await.map_err(|why| why.to_string())?
    }
}

/// Whether a connection's image is read on the runtime's thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Near {
    /// Nothing was read yet, or the last part was not in memory.
    Unknown,
    /// Its file was read, so that opening it again takes no time.
    Yes,
    /// Its file system cannot tell what is in memory: it may be a network's.
    Never,
}

const GONE: &str = "the firmware's file is gone";

/// Opens an image whose file is still the one that was hashed. Blocking, but not for long.
fn open(image: &Image) -> Result<File, String> {
    let file = File::open(image.path().ok_or(GONE)?).map_err(|why| match why.kind() {
        io::ErrorKind::NotFound => GONE.to_owned(),
        _ => format!("the firmware's file cannot be opened: {why}"),
    })?;
    let now = file.metadata().map_err(|why| why.to_string())?;
    if image.is_unchanged(&now) { Ok(file) } else { Err(CHANGED.to_owned()) }
}

/// Reads a part of an image. Blocking.
fn read(image: &Image, wanted: &Wanted) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; wanted.len];
    open(image)?.read_exact_at(&mut bytes, wanted.at).map_err(|why| why.to_string())?;
    Ok(bytes)
}

/// Reads a part of an image that the system has in memory, or says how to go on. Linux 5.9 and 5.10
/// read nothing where they would have to wait.
fn read_near(image: &Image, wanted: &Wanted) -> Result<Result<Vec<u8>, Near>, String> {
    let file = open(image)?;
    let mut bytes = vec![0; wanted.len];
    let (mut rest, mut at) = (bytes.as_mut_slice(), wanted.at);
    while !rest.is_empty() {
        match preadv2(&file, &mut [IoSliceMut::new(rest)], at, ReadWriteFlags::NOWAIT) {
            Ok(0) | Err(Errno::AGAIN) => return Ok(Err(Near::Unknown)),
            Ok(n) => {
                rest = rest.get_mut(n..).unwrap_or_default();
                at = at.saturating_add(n as u64);
            }
            Err(Errno::INTR) => {}
            Err(_) => return Ok(Err(Near::Never)),
        }
    }
    Ok(Ok(bytes))
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
    let mut shell = Shell { stream, peer, firmware, connection, pending: Vec::new() };
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
    /// Received and not yet taken.
    pending: Vec<u8>,
}

impl Shell {
    /// Runs until the connection is over; an error is one that no plan wanted.
    async fn run(&mut self) -> Result<(), String> {
        let mut buf = vec![0; 4_096];
        let mut unflushed = false;
        let mut near = Near::Unknown;
        loop {
            let deadline = self.turn()?;
            if let Some(wanted) = self.connection.wants().cloned() {
                let body = self.firmware.images.read(wanted, &mut near).await;
                let body = body.as_deref().map_err(String::as_str);
                let (now, mut origin) = (self.firmware.clock.now(), self.firmware.images.lock());
                self.connection.handle_body(&mut origin, now, body);
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

    /// Gives the connection what has come, takes what it tells, and says when it is due again.
    fn turn(&mut self) -> Result<Option<ota_proto::Instant>, String> {
        let now = self.firmware.clock.now();
        let mut origin = self.firmware.images.lock();
        let taken = self.connection.handle_received(now, &self.pending);
        let unread = !self.connection.unsent().is_empty();
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
