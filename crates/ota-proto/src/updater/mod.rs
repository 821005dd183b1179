//! The machine: sessions, the update and its result, side by side.

use crate::*;

/// One device's side of its updates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Updater {
    cfg: Config,
}

#[allow(missing_docs, unused_variables, clippy::todo)]
impl Updater {
    pub fn new(now: Instant, cfg: Config, boot: Boot<'_>) -> Result<Self, ConfigError> {
        todo!()
    }
    /// `up` = subscribed; every call with `true` is a new session.
    pub fn handle_session(&mut self, now: Instant, up: bool) {
        todo!()
    }
    pub fn handle_message(
        &mut self,
        now: Instant,
        topic: &str,
        payload: &[u8],
    ) -> Result<(), MessageError> {
        todo!()
    }
    pub fn handle_published(&mut self, now: Instant, id: PubId) {
        todo!()
    }
    pub fn handle_response(
        &mut self,
        now: Instant,
        op: OpId,
        head: &ResponseHead<'_>,
    ) -> Result<(), FetchError> {
        todo!()
    }
    pub fn handle_body(&mut self, now: Instant, op: OpId, data: &[u8]) -> Result<Body, FetchError> {
        todo!()
    }
    pub fn handle_body_end(&mut self, now: Instant, op: OpId) {
        todo!()
    }
    pub fn handle_fetch_failed(&mut self, now: Instant, op: OpId, error: TransportError) {
        todo!()
    }
    pub fn handle_erased(&mut self, now: Instant, op: OpId, result: Result<(), StorageError>) {
        todo!()
    }
    pub fn handle_stored(&mut self, now: Instant, op: OpId, result: Result<(), StorageError>) {
        todo!()
    }
    pub fn handle_synced(&mut self, now: Instant, op: OpId, result: Result<(), StorageError>) {
        todo!()
    }
    pub fn handle_persisted(&mut self, now: Instant, op: OpId, result: Result<(), StorageError>) {
        todo!()
    }
    pub fn handle_digest(&mut self, now: Instant, op: OpId, result: Result<Md5, StorageError>) {
        todo!()
    }
    pub fn handle_slot(&mut self, now: Instant, op: OpId, result: Result<(), StorageError>) {
        todo!()
    }
    pub fn handle_timeout(&mut self, now: Instant) {
        todo!()
    }
    /// Unix seconds, when the caller knows them: kept in the journal as a floor.
    pub fn handle_unix_time(&mut self, unix: u64) {
        todo!()
    }

    pub fn accept(&mut self, now: Instant) -> Result<(), Misuse> {
        todo!()
    }
    pub fn defer(&mut self, now: Instant, until: Instant) -> Result<(), Misuse> {
        todo!()
    }
    pub fn refuse(&mut self, now: Instant) -> Result<(), Misuse> {
        todo!()
    }
    pub fn cancel(&mut self, now: Instant) -> Result<(), Misuse> {
        todo!()
    }
    pub fn approve(&mut self, now: Instant) -> Result<(), Misuse> {
        todo!()
    }
    pub fn veto(&mut self, now: Instant) -> Result<(), Misuse> {
        todo!()
    }
    pub fn install(&mut self, now: Instant) -> Result<(), Misuse> {
        todo!()
    }
    pub fn installed(&mut self, now: Instant, what: Installed) -> Result<(), Misuse> {
        todo!()
    }
    pub fn confirm(&mut self, now: Instant) -> Result<(), Misuse> {
        todo!()
    }
    pub fn roll_back(&mut self, now: Instant) -> Result<(), Misuse> {
        todo!()
    }
    pub fn forgive(&mut self, now: Instant) -> Result<(), Misuse> {
        todo!()
    }
    pub fn report_now(&mut self, now: Instant) -> Result<(), Misuse> {
        todo!()
    }

    pub fn poll_output<'b>(
        &'b mut self,
        now: Instant,
        buf: &'b mut [u8],
    ) -> Result<Output<'b>, BufferTooSmall> {
        todo!()
    }
    pub fn offer(&self) -> Option<Offer<'_>> {
        todo!()
    }
    pub fn state(&self) -> State {
        todo!()
    }
    /// Stored and total bytes of the open attempt.
    pub fn progress(&self) -> Option<(u64, u64)> {
        todo!()
    }
    pub fn running(&self) -> Version {
        todo!()
    }
    pub fn config(&self) -> &Config {
        &self.cfg
    }
    pub fn known_time(&self) -> u64 {
        todo!()
    }
    /// The result that the cloud must still hear.
    pub fn owed(&self) -> Option<Outcome> {
        todo!()
    }
}
