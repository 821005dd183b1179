//! A note for installers of which nothing is known: a restart was due, in this run of the machine.

use std::os::unix::fs::FileExt as _;

use rustix::fs::OFlags;

use ota_proto::{SlotAction, SlotState, StorageError, Version};

use crate::dir::{DataDir, Spare};
use crate::error::{HostError, storage_error};
use crate::switch::Switch;

const NAME: &str = "restart";
const TEMP: &str = "restart.new";

/// How often a restart is asked for in one run of the machine before it is believed to have come.
const ASKS: u8 = 3;

/// No note is longer.
const MOST: usize = 256;

/// The switch of an installer that does all of it by itself, and whose version runs after a
/// restart of the machine or of something else.
///
/// When the machine has not been started since the activation, and the old version runs, the
/// restart has not come yet: [`SlotState::Armed`]. Without this note an agent that is killed
/// before the restart would take the new version for rolled back. But a restart that came and
/// changed nothing must end, too: after three of them the state is [`SlotState::Unknown`].
#[derive(Clone, Debug)]
pub struct RestartMark {
    dir: DataDir,
    running: Version,
    boot: String,
    spare: Spare,
}

impl RestartMark {
    /// The note in this folder, on a machine that runs this version.
    ///
    /// # Errors
    /// [`HostError::NotAFile`], [`HostError::Io`].
    pub fn open(dir: &DataDir, running: Version) -> Result<Self, HostError> {
        let mark = Self { dir: dir.clone(), running, boot: boot_id(), spare: Spare::default() };
        mark.read()?;
        Ok(mark)
    }

    /// The restart is asked for now.
    ///
    /// # Errors
    /// [`HostError::Io`]; it may be asked for once more than it should.
    pub fn asked(&self) -> Result<(), HostError> {
        let asks = self.read()?.map_or(0, |note| note.asks);
        self.write(asks.saturating_add(1))
    }

    /// Takes the room for the note before an installer starts: a disk that is filled meanwhile
    /// cannot make an installation fail that went well.
    ///
    /// # Errors
    /// [`HostError::Io`]: nothing may be installed now.
    pub fn reserve(&self) -> Result<(), HostError> {
        self.write(ASKS)
    }

    /// The restart is not waited for any more: what runs is what there is.
    ///
    /// # Errors
    /// [`HostError::Io`]; it is waited for again.
    pub fn give_up(&self) -> Result<(), HostError> {
        self.write(ASKS)
    }

    /// In place where there is a note of ours: one digit changes, which needs no room.
    fn write(&self, asks: u8) -> Result<(), HostError> {
        let asks = asks.min(ASKS);
        if self.read()?.is_some() {
            let digit = [b'0' + asks];
            let at = self.boot.len() as u64 + 1;
            return self.dir.open_file(NAME, OFlags::empty()).and_then(|file| {
                let written = file.write_all_at(&digit, at).and_then(|()| file.sync_data());
                written.map_err(|why| HostError::io("write", &self.dir.join(NAME), why))
            });
        }
        let text = format!("{} {asks} {}\n", self.boot, self.running);
        self.dir.replace_in(&self.spare, NAME, TEMP, text.as_bytes())
    }

    /// The note of this run of the machine and this version.
    fn read(&self) -> Result<Option<Note>, HostError> {
        let Some(text) = self.dir.read_text(NAME, MOST)? else { return Ok(None) };
        Ok(self.parse(&text))
    }

    fn parse(&self, text: &str) -> Option<Note> {
        let mut words = text.strip_suffix('\n')?.splitn(3, ' ');
        let (boot, asks, version) = (words.next()?, words.next()?, words.next()?);
        let asks = asks.parse().ok().filter(|asks| *asks <= ASKS)?;
        let ours = boot == self.boot && !boot.is_empty() && version == self.running.as_str();
        ours.then_some(Note { asks })
    }
}

#[derive(Debug)]
struct Note {
    asks: u8,
}

impl Switch for RestartMark {
    fn state(&mut self) -> SlotState {
        match self.read() {
            Ok(Some(Note { asks })) if asks < ASKS => SlotState::Armed,
            _ => SlotState::Unknown,
        }
    }

    fn reserve(&mut self) -> Result<(), StorageError> {
        self.dir.reserve(&self.spare, TEMP).map_err(|why| storage_error(&why))
    }

    fn act(&mut self, action: SlotAction) -> Result<(), StorageError> {
        if action == SlotAction::Activate {
            // The installer has armed it already: a note that is not taken makes nothing undone.
            let _ = self.write(0);
        }
        Ok(())
    }
}

/// What names this run of the machine; empty where the system has no such name.
#[must_use]
pub fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim_ascii().chars().filter(char::is_ascii_graphic).take(64).collect()
}
