//! The output lines of several processes, in one queue.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Who wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Board,
    Cloud,
}

/// A line, or the end of the stream.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) from: From,
    /// The number of the process, counted by the caller: a late line of an ended process does not
    /// count for the next one.
    pub(super) life: u32,
    pub(super) text: Option<String>,
}

pub(super) struct Lines {
    sender: Sender<Line>,
    receiver: Receiver<Line>,
}

impl Lines {
    pub(super) fn new() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver }
    }

    /// Reads until the stream ends.
    pub(super) fn follow(&self, from: From, life: u32, stream: impl Read + Send + 'static) {
        let sender = self.sender.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let text = Some(String::from_utf8_lossy(&line).into_owned());
                if sender.send(Line { from, life, text }).is_err() {
                    return;
                }
            }
            let _ = sender.send(Line { from, life, text: None });
        });
    }

    /// The next line, `None` when none comes in time.
    pub(super) fn next(&self, until: Instant) -> Option<Line> {
        self.receiver.recv_timeout(until.saturating_duration_since(now())).ok()
    }
}

/// The real time, to wait for other processes.
#[allow(clippy::disallowed_methods, reason = "other processes are waited for in real time")]
pub(super) fn now() -> Instant {
    Instant::now()
}

pub(super) fn after(seconds: f64) -> Instant {
    now() + Duration::from_secs_f64(seconds)
}

/// A different number each time.
#[allow(clippy::disallowed_methods, reason = "a seed is chosen once, and printed")]
pub(super) fn any_number() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| since.as_nanos() as u64 % 1_000_000_007)
}
