//! What is kept of the device's program, life by life.

use core::fmt::Debug;

use ota_wire::record::Recorder;

/// One life of the device's program, from its boot until its power went or the world ended.
#[derive(Clone, Debug)]
pub struct Life {
    /// The client as it stood last, with its recording.
    pub client: Recorder,
    /// What it put out and found, one by one, as `Debug` shows it.
    pub answers: Vec<String>,
}

/// The recorded lives.
#[derive(Clone, Debug, Default)]
pub struct Lives {
    /// Bytes of the recorder of each later life; nothing is kept when 0.
    pub ring: usize,
    /// Those that are over.
    pub over: Vec<Life>,
    /// What the one in progress has said so far.
    answers: Vec<String>,
}

impl Lives {
    pub(super) fn note(&mut self, answer: &impl Debug) {
        if self.ring > 0 {
            self.answers.push(format!("{answer:?}"));
        }
    }

    pub(super) fn end(&mut self, client: Option<Recorder>) {
        let answers = core::mem::take(&mut self.answers);
        let client = client.filter(|_| self.ring > 0);
        self.over.extend(client.map(|client| Life { client, answers }));
    }
}
