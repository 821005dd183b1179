//! Shows the progress of long work: a bar on a terminal, a line from time to time elsewhere.

use std::io::{self, IsTerminal as _, Read};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::print::{clean, err};
use crate::size::Bytes;

/// Without a bar, prints a line per this many devices or bytes.
const EVERY: (u64, u64) = (10_000, 64 << 20);

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    is_bytes: bool,
    total: Option<u64>,
    done: u64,
}

impl Progress {
    /// Counts devices, of `total` if that is known. If the work's own lines go to the terminal
    /// (`has_lines`), there is no bar.
    pub(super) fn of_devices(total: Option<u64>, has_lines: bool) -> Self {
        let template = match total {
            Some(_) => "[{bar:40}] {human_pos} of {human_len} devices",
            None => "{human_pos} devices",
        };
        Self::new(template, false, total, has_lines && io::stdout().is_terminal())
    }

    pub(super) fn of_bytes(total: u64) -> Self {
        Self::new("[{bar:40}] {bytes} of {total_bytes}", true, Some(total), false)
    }

    fn new(template: &str, is_bytes: bool, total: Option<u64>, is_covered: bool) -> Self {
        let bar = (io::stderr().is_terminal() && !is_covered).then(|| {
            let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
            let style = ProgressStyle::with_template(template);
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.with_style(style.progress_chars("=> "))
        });
        Self { bar, is_bytes, total, done: 0 }
    }

    pub(super) fn add(&mut self, more: usize) {
        let every = if self.is_bytes { EVERY.1 } else { EVERY.0 };
        let before = self.done / every;
        self.done = self.done.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
        match &self.bar {
            Some(bar) => bar.set_position(self.done),
            None if self.done / every == before => {}
            None => err(&self.words()),
        }
    }

    fn words(&self) -> String {
        let done = self.done;
        match (self.is_bytes, self.total) {
            (true, Some(total)) => format!("{} of {}", Bytes(done), Bytes(total)),
            (true, None) => Bytes(done).to_string(),
            (false, Some(total)) => format!("{done} of {total} devices"),
            (false, None) => format!("{done} devices"),
        }
    }

    /// Prints why the work pauses.
    pub(super) fn wait(&self, who: &str, is_lost: bool, why: &str, time: Duration) {
        let asks = if is_lost { "does not answer" } else { "asks to wait" };
        let (why, time) = (clean(why), time.as_secs());
        self.say(&format!("{who} {asks} ({why}): on again in {time} s"));
    }

    /// Prints a line above the bar.
    pub(super) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| err(line)),
            None => err(line),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Counts the bytes read from it.
pub(super) struct Counted<R>(pub(super) R, pub(super) Progress);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(to)?;
        self.1.add(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_how_much_of_what_is_done() {
        let mut devices = Progress::new("", false, Some(30_000), true);
        devices.add(12_000);
        assert_eq!(devices.words(), "12000 of 30000 devices");
        let mut bytes = Counted(io::repeat(0).take(3 << 20), Progress::new("", true, None, true));
        io::copy(&mut bytes, &mut io::sink()).unwrap();
        assert_eq!(bytes.1.words(), Bytes(3 << 20).to_string());
    }
}
