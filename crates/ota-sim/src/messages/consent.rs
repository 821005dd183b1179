//! The texts of offers that the application accepted.

use ota_proto::journal::{Phase, Record};

/// The application's consent, over restarts.
#[derive(Clone, Debug, Default)]
pub(super) struct Consent {
    /// The text of the accepted offer while its attempt lasts. After a restart also the previous
    /// text, if the journal may not have recorded the newer one.
    accepted: Vec<Option<String>>,
    /// The same for attempts that ended, until the journal records the end: a restart may bring
    /// them back.
    ended: Vec<Option<String>>,
    /// How many of these had ended when the journal write in progress began. Its record cannot
    /// tell of later ones.
    told: usize,
}

impl Consent {
    /// The application accepts this text.
    pub(super) fn accept(&mut self, text: Option<Option<String>>) {
        self.end();
        self.accepted.extend(text);
    }

    /// The consent ends. Until the journal records it, only this life of the program knows.
    pub(super) fn end(&mut self) {
        self.ended.append(&mut self.accepted);
    }

    /// The violation, if the device acts on an offer with this text.
    pub(super) fn check(&self, text: &Option<String>) -> Option<String> {
        let accepted = &self.accepted;
        let what = || format!("{text:?} was not accepted, but {accepted:?}");
        (!accepted.contains(text)).then(what)
    }

    /// A journal write begins.
    pub(super) fn persist(&mut self) {
        self.told = self.ended.len();
    }

    /// A record became durable: it may tell of the end.
    pub(super) fn persisted(&mut self, before: Option<Record>, record: &Record) {
        let before = before.and_then(|record| record.accepted);
        let learned = record.phase != Phase::Fetching
            || record.accepted.is_none()
            || record.accepted != before;
        if learned {
            self.ended.drain(..self.told.min(self.ended.len()));
            self.told = 0;
        }
    }

    /// The program ends. An end that the journal does not record has not happened, and an accepted
    /// attempt continues if the journal has one.
    pub(super) fn restart(&mut self, known: bool) {
        let ended = core::mem::take(&mut self.ended);
        self.told = 0;
        self.accepted.extend(ended.into_iter().filter(|_| known));
    }
}
