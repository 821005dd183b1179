//! Resolves names on separate threads.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

use crate::driver::stream::Later;

/// The most concurrent lookups in this process: the system's resolver may hang, and cannot be
/// stopped.
const MOST: usize = 8;

static RUNNING: AtomicUsize = AtomicUsize::new(0);

type Addresses = io::Result<Vec<SocketAddr>>;

#[derive(Default)]
struct Shared {
    found: Option<Addresses>,
    waker: Option<Waker>,
}

/// Resolves a host. The thread that calls the system blocks nothing else, in particular not the
/// pool for storage. If its result is no longer needed, it ends by itself.
///
/// # Errors
/// The system's; [`io::ErrorKind::ResourceBusy`] while too many lookups hang.
pub(super) fn lookup(host: String, port: u16) -> Later<Addresses> {
    lookup_by(host, port, |host, port| Ok((host, port).to_socket_addrs()?.collect()))
}

fn lookup_by(
    host: String,
    port: u16,
    ask: impl FnOnce(&str, u16) -> Addresses + Send + 'static,
) -> Later<Addresses> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Box::pin(std::future::ready(Ok(vec![SocketAddr::new(address, port)])));
    }
    let shared = Arc::new(Mutex::new(Shared::default()));
    if let Err(why) = start(host, port, ask, Arc::clone(&shared)) {
        return Box::pin(std::future::ready(Err(why)));
    }
    Box::pin(poll_fn(move |cx| {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        match shared.found.take() {
            Some(found) => Poll::Ready(found),
            None => {
                shared.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }))
}

fn start(
    host: String,
    port: u16,
    ask: impl FnOnce(&str, u16) -> Addresses + Send + 'static,
    shared: Arc<Mutex<Shared>>,
) -> io::Result<()> {
    let place = Permit::take().ok_or(io::ErrorKind::ResourceBusy)?;
    let work = move || {
        let found = ask(&host, port);
        drop(place);
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.found = Some(found);
        if let Some(waker) = shared.waker.take() {
            waker.wake();
        }
    };
    thread::Builder::new().name("ota-lookup".into()).spawn(work).map(drop)
}

/// A permit for one lookup.
struct Permit;

impl Permit {
    fn take() -> Option<Self> {
        let more = |running: usize| (running < MOST).then_some(running + 1);
        RUNNING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::{Context, Wake};

    use super::*;

    struct Unpark(thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn wait(mut later: Later<Addresses>) -> Addresses {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            match later.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(found) => return found,
                Poll::Pending => thread::park(),
            }
        }
    }

    #[test]
    fn an_address_needs_no_thread_and_a_name_has_one_of_its_own() {
        let one = SocketAddr::from(([127, 0, 0, 1], 7));
        for (host, ip) in [("127.0.0.1", "127.0.0.1:7"), ("::1", "[::1]:7")] {
            let later = lookup_by(host.into(), 7, |_, _| Err(io::ErrorKind::Other.into()));
            assert_eq!(wait(later).unwrap(), [ip.parse().unwrap()]);
        }
        let here = thread::current().id();
        let later = lookup_by("name".into(), 7, move |host, port| {
            assert_ne!(thread::current().id(), here);
            assert_eq!((host, port), ("name", 7));
            Ok(vec![one])
        });
        assert_eq!(wait(later).unwrap(), [one]);
        assert!(wait(lookup("localhost".into(), 7)).is_ok_and(|found| !found.is_empty()));

        // The resolver hangs: each lookup has its thread, up to a limit, and nothing waits for
        // them.
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let hang = || {
            let held = Arc::clone(&held);
            lookup_by("name".into(), 7, move |_, _| {
                let _ = held.lock().unwrap().recv();
                Err(io::ErrorKind::TimedOut.into())
            })
        };
        let mut hanging: Vec<_> = (0..MOST).map(|_| hang()).collect();
        let more = wait(hang()).unwrap_err();
        assert_eq!(more.kind(), io::ErrorKind::ResourceBusy);
        hanging.truncate(1);
        drop(release);
        assert_eq!(wait(hanging.remove(0)).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
