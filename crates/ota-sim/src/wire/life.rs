//! The recorded lives of the device's program.

use core::fmt::Debug;

use ota_wire::record::Recorder;

/// One life of the device's program, from its boot to the power cut or the end of the world.
#[derive(Clone, Debug)]
pub struct Life {
    /// The client's last state, with its recording.
    pub client: Recorder,
    /// Its outputs and received content, one by one, as `Debug` text.
    pub answers: Vec<String>,
}

/// The recorded lives.
#[derive(Clone, Debug, Default)]
pub struct Lives {
    /// Bytes of the recorder of each later life; 0 records nothing.
    pub ring: usize,
    /// The ended lives.
    pub over: Vec<Life>,
    /// The outputs of the current life so far.
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
