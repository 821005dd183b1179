//! The files of images.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt as _;

use ota_cloud::origin::Wanted;
use rustix::fs::sendfile;
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use rustix::net::SendFlags;
use tokio::net::TcpStream;

use crate::store::{CHANGED, Image};

/// Whether a connection's image is read on the runtime's thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Near {
    /// Nothing was read yet, or the last part was not in memory.
    Unknown,
    /// Its file was read, so that opening it again takes no time.
    Yes,
    /// Its file system cannot tell what is in memory: it may be a network's.
    Never,
}

pub(super) const GONE: &str = "the firmware's file is gone";

/// Opens an image whose file is still the one that was hashed. Blocking, but not for long.
pub(super) fn open(image: &Image) -> Result<File, String> {
    let file = File::open(image.path().ok_or(GONE)?).map_err(|why| match why.kind() {
        io::ErrorKind::NotFound => GONE.to_owned(),
        _ => format!("the firmware's file cannot be opened: {why}"),
    })?;
    let now = file.metadata().map_err(|why| why.to_string())?;
    if image.is_unchanged(&now) { Ok(file) } else { Err(CHANGED.to_owned()) }
}

/// Reads a part of an image. Blocking.
pub(super) fn read(image: &Image, wanted: &Wanted) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; wanted.len];
    open(image)?.read_exact_at(&mut bytes, wanted.at).map_err(|why| why.to_string())?;
    Ok(bytes)
}

/// Reads a part of an image that the system has in memory, or says how to go on. Linux 5.9 and 5.10
/// read nothing where they would have to wait.
pub(super) fn read_near(image: &Image, wanted: &Wanted) -> Result<Result<Vec<u8>, Near>, String> {
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

/// Opens an image of which the system has this part in memory: its first byte and its last, and as
/// the system reads ahead and drops what was not used for longest, most likely what is between.
pub(super) fn open_near(image: &Image, wanted: &Wanted) -> Option<File> {
    let file = open(image).ok()?;
    let last = wanted.at.checked_add(wanted.len.checked_sub(1)? as u64)?;
    let is_near = |at| {
        let mut byte = [0];
        preadv2(&file, &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT) == Ok(1)
    };
    (is_near(wanted.at) && is_near(last)).then_some(file)
}

/// Sends a head that a part of an image follows at once.
pub(super) fn send_head(socket: &TcpStream, head: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::MORE | SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(rustix::net::send(socket, head, flags)?)
}

/// Lets the system send a part of a file without bringing it here.
pub(super) fn send(socket: &TcpStream, file: &File, part: &Wanted) -> io::Result<usize> {
    let mut at = part.at;
    match sendfile(socket, file, Some(&mut at), part.len)? {
        // It is shorter than it was.
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        n => Ok(n),
    }
}

/// Whether this is no way for such a file: not each file system knows it.
pub(super) fn cannot_send(why: &io::Error) -> bool {
    let no_way = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP].map(Errno::raw_os_error);
    why.raw_os_error().is_some_and(|code| no_way.contains(&code))
}
