//! Writes lines to standard output and standard error.
//!
//! A slow or stopped reader fills the pipe or holds the terminal. A program whose loop must keep
//! running calls [`detach`]: from then on a thread writes, and lines that do not fit into the queue
//! are dropped and counted.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// The length of the queue, more than any burst needs.
const WAITING: usize = 512;

/// How long the program waits for a reader when it ends.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether a character acts on a terminal or changes the reading order: C0, C1, DEL, direction
/// marks and line separators.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Writes a line to standard output. A closed pipe, as in `ota … | head`, is not an error.
pub fn out(line: &str) {
    match DETACHED.get() {
        Some(detached) => detached.out.put(Item::Out(line.to_owned())),
        None => write_out(line),
    }
}

/// Writes a line to standard error. A closed pipe is not an error.
pub fn err(line: &str) {
    match DETACHED.get() {
        Some(detached) => {
            let way = detached.err.as_ref().unwrap_or(&detached.out);
            way.put(Item::Err(line.to_owned()));
        }
        None => write_err(line),
    }
}

/// Draws this below the lines until the next call; only if [`has_bar`] is true.
pub fn bar(text: Option<String>) {
    if let Some(detached) = DETACHED.get().filter(|detached| detached.terminal) {
        detached.out.put(Item::Bar(text));
    }
}

/// Whether a bar can be drawn: both streams are detached and are terminals.
pub fn has_bar() -> bool {
    DETACHED.get().is_some_and(|detached| detached.terminal)
}

/// From now on no line delays the caller. `json`: the notice about dropped lines is an object too.
pub fn detach(json: bool) {
    DETACHED.get_or_init(|| {
        let terminal = io::stdout().is_terminal() && io::stderr().is_terminal();
        let notice = move |lost: u64| match json {
            true => format!("{{\"event\":\"lost\",\"count\":{lost}}}"),
            false => format!("({lost} lines were dropped: the reader is too slow)"),
        };
        // On one terminal both streams use one queue, so that they do not overwrite the bar.
        let err = (!terminal).then(|| {
            Way::open(Box::new(|lost| {
                format!("({lost} lines were dropped: the reader is too slow)")
            }))
        });
        Detached { out: Way::open(Box::new(notice)), err, terminal }
    });
}

/// Waits briefly until all lines are written: before the end, or before another program starts.
pub fn flush() {
    let Some(detached) = DETACHED.get() else { return };
    bar(None);
    for way in [Some(&detached.out), detached.err.as_ref()].into_iter().flatten() {
        let (done, written) = sync_channel(1);
        // There is no reader to wait for.
        if way.lines.try_send((Item::Done(done), 0)).is_ok() {
            let _ = written.recv_timeout(PATIENCE);
        }
    }
}

static DETACHED: OnceLock<Detached> = OnceLock::new();

struct Detached {
    out: Way,
    /// `None`: the same as `out`.
    err: Option<Way>,
    terminal: bool,
}

enum Item {
    Out(String),
    Err(String),
    Bar(Option<String>),
    Done(SyncSender<()>),
}

/// A thread that writes. Each item has the number of lines that were dropped before it.
struct Way {
    lines: SyncSender<(Item, u64)>,
    lost: AtomicU64,
}

impl Way {
    fn open(notice: Box<dyn Fn(u64) -> String + Send>) -> Self {
        let (lines, waiting) = sync_channel(WAITING);
        // Without a thread nothing is written, but updates continue.
        let _ = thread::Builder::new().name("print".into()).spawn(move || write(&waiting, &notice));
        Self { lines, lost: AtomicU64::new(0) }
    }

    fn put(&self, item: Item) {
        let is_line = !matches!(item, Item::Bar(_));
        let lost = if is_line { self.lost.swap(0, Ordering::Relaxed) } else { 0 };
        if self.lines.try_send((item, lost)).is_err() && is_line {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }
}

fn write(items: &Receiver<(Item, u64)>, notice: &dyn Fn(u64) -> String) {
    let mut bar = None;
    let clear = |bar: &Option<String>| {
        if bar.is_some() {
            draw("");
        }
    };
    while let Ok((item, lost)) = items.recv() {
        clear(&bar);
        match item {
            Item::Out(line) => {
                if lost > 0 {
                    write_out(&notice(lost));
                }
                write_out(&line);
            }
            Item::Err(line) => {
                if lost > 0 {
                    write_err(&notice(lost));
                }
                write_err(&line);
            }
            Item::Bar(text) => bar = text,
            Item::Done(done) => {
                let _ = done.try_send(());
            }
        }
        if let Some(text) = &bar {
            draw(text);
        }
    }
}

fn write_out(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn write_err(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Replaces the terminal's last line. The terminal truncates a longer text, because a line that
/// wraps could not be replaced.
fn draw(text: &str) {
    let mut out = io::stdout().lock();
    let _ = write!(out, "\r\x1b[K\x1b[?7l{text}\x1b[?7h").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_room_are_counted_with_the_next_one() {
        let (lines, waiting) = sync_channel(2);
        let way = Way { lines, lost: AtomicU64::new(0) };
        for n in 0..5 {
            way.put(Item::Out(n.to_string()));
            way.put(Item::Bar(None));
        }
        assert!(matches!(waiting.recv().unwrap(), (Item::Out(line), 0) if line == "0"));
        assert!(matches!(waiting.recv().unwrap(), (Item::Bar(None), 0)));
        way.put(Item::Out("5".into()));
        assert!(matches!(waiting.recv().unwrap(), (Item::Out(line), 4) if line == "5"));
        way.put(Item::Out("6".into()));
        assert!(matches!(waiting.recv().unwrap(), (Item::Out(line), 0) if line == "6"));
    }
}
