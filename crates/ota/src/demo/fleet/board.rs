//! The board of a simulated device: a journal, a slot and a boot loader in memory.

use std::ops::Range;

use ota_proto::{
    Boot, Digester, Done, Journal, SlotAction, SlotInfo, SlotState, StorageError, Version, Work,
};
use ota_wire::adapter::Piece;

/// The largest image that a board has room for.
pub(super) const CAPACITY: u64 = 1 << 20;

/// What survives a restart of the device.
#[derive(Debug)]
pub(super) struct Board {
    running: Version,
    state: SlotState,
    journal: Option<[u8; Journal::LEN]>,
    /// The bytes of the slot. Empty while no update is in progress, so that a fleet costs little memory.
    image: Vec<u8>,
    /// What the next start runs, once it is activated.
    armed: Option<Version>,
    /// What ran before the image on trial.
    before: Version,
}

impl Board {
    /// A board that runs this version, which is confirmed.
    pub(super) fn new(running: Version) -> Self {
        let state = SlotState::Confirmed;
        Self { running, state, journal: None, image: Vec::new(), armed: None, before: running }
    }

    /// Starts the device, as a boot loader does: an activated image is on trial, and an image that
    /// was not confirmed during its trial is left.
    pub(super) fn start(&mut self) {
        if let Some(new) = self.armed.take() {
            self.before = std::mem::replace(&mut self.running, new);
            self.state = SlotState::Trial;
        } else if self.state == SlotState::Trial {
            self.running = self.before;
            self.state = SlotState::RolledBack;
        }
    }

    /// What the device knows when it starts.
    pub(super) fn boot(&self) -> Boot<'_> {
        let storage = SlotInfo { capacity: CAPACITY, erase: 4096, write: 1 };
        let (running, journal) = (self.running.as_str(), self.journal.as_ref());
        Boot { running, slot: self.state, journal, storage }
    }

    /// Gives the memory of the image back: its update is over.
    pub(super) fn clear(&mut self) {
        self.image = Vec::new();
    }

    /// Carries out a work of the core. `offered` is the version of the image.
    pub(super) fn carry_out(
        &mut self,
        work: &Work<Piece<Vec<u8>>>,
        offered: Option<Version>,
    ) -> Done {
        match work {
            Work::Erase { range, .. } => self.erase(range).map(|()| None),
            Work::Write { at, bytes } => self.write(*at, bytes.bytes()).map(|()| None),
            Work::Sync => Ok(None),
            Work::Digest { range } => {
                let stored = usize::try_from(range.end).ok().and_then(|end| self.image.get(..end));
                let mut digester = Digester::new();
                digester.update(stored.ok_or(StorageError::Failed)?);
                Ok(Some(digester.finish()))
            }
            Work::Persist(record) => {
                self.journal = Some(*record);
                Ok(None)
            }
            Work::Slot(action) => {
                self.switch(*action, offered);
                Ok(None)
            }
        }
    }

    fn erase(&mut self, range: &Range<u64>) -> Result<(), StorageError> {
        let start = usize::try_from(range.start).map_err(|_| StorageError::Failed)?;
        self.image.truncate(start);
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let start = usize::try_from(at).map_err(|_| StorageError::Failed)?;
        let end = start.checked_add(bytes.len()).filter(|end| *end as u64 <= CAPACITY);
        let end = end.ok_or(StorageError::Failed)?;
        if self.image.len() < end {
            self.image.resize(end, 0xff);
        }
        self.image.get_mut(start..end).ok_or(StorageError::Failed)?.copy_from_slice(bytes);
        Ok(())
    }

    fn switch(&mut self, action: SlotAction, offered: Option<Version>) {
        match action {
            SlotAction::Activate => self.armed = offered,
            SlotAction::Confirm => self.state = SlotState::Confirmed,
            SlotAction::RollBack => self.armed = None,
            SlotAction::ClearMark if self.state == SlotState::RolledBack => {
                self.state = SlotState::Confirmed;
            }
            // The mark of another state, or an action of a later core.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::new(text).unwrap()
    }

    fn write(at: u64, bytes: &[u8]) -> Work<Piece<Vec<u8>>> {
        Work::Write { at, bytes: Piece { buf: bytes.to_vec(), span: 0..bytes.len() } }
    }

    #[test]
    fn what_was_written_is_hashed_and_what_was_erased_is_not() {
        let (mut board, new) = (Board::new(version("1")), Some(version("2")));
        let mut put = |work| board.carry_out(&work, new);
        put(write(0, b"ab")).unwrap();
        put(write(2, b"xx")).unwrap();
        put(Work::Erase { range: 2..4, size: 4 }).unwrap();
        assert_eq!(put(Work::Digest { range: 0..4 }), Err(StorageError::Failed));
        put(write(2, b"cd")).unwrap();
        let mut digester = Digester::new();
        digester.update(b"abcd");
        assert_eq!(put(Work::Digest { range: 0..4 }), Ok(Some(digester.finish())));
        assert_eq!(put(write(CAPACITY, b"e")), Err(StorageError::Failed));
        assert_eq!(put(write(u64::MAX, b"e")), Err(StorageError::Failed));
    }

    #[test]
    fn an_activated_image_is_on_trial_until_it_is_confirmed() {
        let (mut board, new) = (Board::new(version("1")), Some(version("2")));
        board.carry_out(&Work::Slot(SlotAction::Activate), new).unwrap();
        assert_eq!(board.boot().running, "1");
        board.start();
        assert_eq!((board.boot().running, board.boot().slot), ("2", SlotState::Trial));
        let mut left = Board { before: version("1"), ..Board::new(version("2")) };
        left.state = SlotState::Trial;
        left.start();
        assert_eq!((left.boot().running, left.boot().slot), ("1", SlotState::RolledBack));
        left.carry_out(&Work::Slot(SlotAction::ClearMark), new).unwrap();
        assert_eq!(left.boot().slot, SlotState::Confirmed);
        board.carry_out(&Work::Slot(SlotAction::Confirm), new).unwrap();
        board.start();
        assert_eq!((board.boot().running, board.boot().slot), ("2", SlotState::Confirmed));
    }
}
