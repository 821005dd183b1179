//! Waves on a terminal as bars, elsewhere as a line per change.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ota_proto::Instant;
use serde_json::{Value, json};

use crate::print::{self, Line, Printer, clean};

/// Characters of a bar: its line fits into 80.
const WIDTH: u64 = 24;

/// A number of devices.
pub(super) fn words(devices: u64) -> String {
    if devices == 1 { "1 device".to_owned() } else { format!("{devices} devices") }
}

/// The numbers of a wave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wave {
    number: u64,
    /// `waiting`, `running` or `over`.
    state: String,
    devices: u64,
    done: u64,
    failed: u64,
    waiting: u64,
}

impl Wave {
    /// The waves of a batch, as the API tells them.
    pub(super) fn all(batch: &Value) -> Vec<Self> {
        let waves = batch["waves"].as_array().into_iter().flatten();
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let wave = |wave: &Value| Self {
            number: number(&wave["wave"]),
            state: wave["state"].as_str().unwrap_or("-").to_owned(),
            devices: number(&wave["devices"]),
            done: number(&wave["counts"]["complete"]),
            failed: number(&wave["counts"]["failed"]) + number(&wave["counts"]["timed-out"]),
            waiting: number(&wave["waiting"]),
        };
        waves.map(wave).collect()
    }

    pub(super) fn is_over(&self) -> bool {
        self.state == "over"
    }

    fn running(&self) -> u64 {
        self.devices.saturating_sub(self.done + self.failed + self.waiting)
    }

    /// `=` for updated devices, `x` for failed and `>` for running ones.
    fn bar(&self) -> String {
        let mut bar = String::from("[");
        let (mut sum, mut drawn) = (0, 0);
        let parts = [('=', self.done), ('x', self.failed), ('>', self.running())];
        for (sign, count) in parts.into_iter().chain([(' ', self.waiting)]) {
            sum += count;
            let end = (sum * WIDTH).checked_div(self.devices).unwrap_or(0);
            bar.extend((drawn..end).map(|_| sign));
            drawn = drawn.max(end);
        }
        bar + "]"
    }

    fn counts(&self) -> String {
        let (running, waiting) = (self.running(), self.waiting);
        let (done, failed) = (self.done, self.failed);
        let counts =
            [(done, "done"), (failed, "failed"), (running, "running"), (waiting, "waiting")];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counts: Vec<String> = counts.map(|(count, word)| format!("{count} {word}")).collect();
        counts.join(", ")
    }

    fn line(&self, at: Instant) -> Line {
        let text = format!(
            "wave {}, {}: {}: {}",
            self.number,
            self.state,
            words(self.devices),
            self.counts()
        );
        Line::new(at, "wave", clean(&text))
            .with("wave", self.number)
            .with("state", self.state.as_str())
            .with("devices", self.devices)
            .with("done", self.done)
            .with("failed", self.failed)
            .with("running", self.running())
            .with("waiting", self.waiting)
    }
}

/// Shows the waves of one batch.
pub(super) struct Screen<'a> {
    printer: &'a Printer,
    /// On a terminal.
    bars: Option<(MultiProgress, Vec<ProgressBar>)>,
    last: Vec<Wave>,
}

impl<'a> Screen<'a> {
    pub(super) fn new(printer: &'a Printer, json: bool) -> Self {
        let draws = !json && io::stdout().is_terminal();
        let bars = || (MultiProgress::with_draw_target(ProgressDrawTarget::stdout()), Vec::new());
        Self { printer, bars: draws.then(bars), last: Vec::new() }
    }

    /// Shows what has changed.
    pub(super) fn show(&mut self, at: Instant, waves: Vec<Wave>) {
        for (place, wave) in waves.iter().enumerate() {
            if self.last.get(place) == Some(wave) {
                continue;
            }
            match &mut self.bars {
                None => self.printer.line(&wave.line(at)),
                Some((all, bars)) => {
                    while bars.len() <= place {
                        bars.push(all.add(bar()));
                    }
                    if let Some(bar) = bars.get(place) {
                        let (number, counts) = (wave.number, wave.counts());
                        bar.set_message(format!("wave {number} {} {counts}", wave.bar()));
                    }
                }
            }
        }
        self.last = waves;
    }
}

/// The bars stay, with what follows below them.
impl Drop for Screen<'_> {
    fn drop(&mut self) {
        for bar in self.bars.iter().flat_map(|(_, bars)| bars) {
            bar.abandon();
        }
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_msg}");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The numbers at the end.
pub(super) struct Summary {
    pub(super) devices: u64,
    pub(super) done: u64,
    pub(super) failed: u64,
    /// Why devices failed, and how many of each.
    pub(super) reasons: BTreeMap<String, u64>,
    pub(super) seconds: f64,
    pub(super) seed: u64,
}

impl Summary {
    /// Of a batch, as the API tells it.
    pub(super) fn of(batch: &Value, seconds: f64, seed: u64) -> Self {
        let of = |status: &str| batch["counts"][status].as_u64().unwrap_or(0);
        let mut reasons = BTreeMap::new();
        for reason in batch["reasons"].as_array().into_iter().flatten() {
            let text = reason["text"].as_str().unwrap_or("-").to_owned();
            *reasons.entry(text).or_default() += reason["devices"].as_u64().unwrap_or(0);
        }
        let devices = batch["devices"].as_u64().unwrap_or(0);
        let (done, failed) = (of("complete"), of("failed") + of("timed-out"));
        Self { devices, done, failed, reasons, seconds, seed }
    }

    /// `result` is one word.
    pub(super) fn print(&self, at: Instant, printer: &Printer, json: bool, result: &str) {
        let Self { devices, done, failed, reasons, seconds, seed } = self;
        if json {
            let reasons = json!(reasons);
            let text = format!(
                "{{\"result\":\"{result}\",\"devices\":{devices},\"done\":{done},\
                 \"failed\":{failed},\"reasons\":{reasons},\"seconds\":{seconds:.3},\"seed\":{seed}}}"
            );
            return print::out(&print::safe_json(&text));
        }
        let text =
            format!("{result}: {}: {done} done, {failed} failed, {seconds:.2} s", words(*devices));
        printer.line(&Line::new(at, "summary", text));
        for (reason, count) in reasons {
            let text = clean(&format!("  {count} failed: {reason}"));
            printer.line(&Line::new(at, "reason", text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_wide_whatever_its_wave_does() {
        let wave = |devices, done, failed, waiting| Wave {
            number: 1,
            state: "running".into(),
            devices,
            done,
            failed,
            waiting,
        };
        assert_eq!(wave(4, 1, 1, 1).bar(), "[======xxxxxx>>>>>>      ]");
        for wave in [wave(0, 0, 0, 0), wave(7, 0, 0, 7), wave(3, 1, 1, 0), wave(999, 1, 1, 990)] {
            let width = if wave.devices == 0 { 2 } else { 26 };
            assert_eq!(wave.bar().len(), width, "{wave:?}");
        }
        assert_eq!(wave(7, 2, 1, 3).counts(), "2 done, 1 failed, 1 running, 3 waiting");
    }
}
