//! A note for installers without a known boot loader: a restart is due, in this run of the machine.

use std::os::unix::fs::FileExt as _;

use rustix::fs::OFlags;

use ota_proto::{SlotAction, SlotState, StorageError, Version};

use crate::files::dir::DataDir;
use crate::files::error::{HostError, storage_error};
use crate::files::switch::Switch;
use crate::files::whole::Spare;

const NAME: &str = "restart";
const TEMP: &str = "restart.new";

/// How often a restart is requested in one run of the machine before it counts as done.
const ASKS: u8 = 3;

/// The longest note.
const MOST: usize = 256;

/// The switch for an installer that does everything itself, and whose version runs after a restart
/// of the machine or of something else.
///
/// If the machine was not restarted since the activation and the old version runs, the restart has
/// not happened yet: [`SlotState::Armed`]. Without this note, an agent that is killed before the
/// restart would report that the new version was rolled back. A restart without effect must end
/// too: after three of them the state is [`SlotState::Unknown`].
#[derive(Clone, Debug)]
pub struct RestartMark {
    dir: DataDir,
    running: Version,
    boot: String,
    spare: Spare,
}

impl RestartMark {
    /// Opens the note in this folder, on a machine that runs this version.
    ///
    /// # Errors
    /// [`HostError::NotAFile`], [`HostError::Io`].
    pub fn open(dir: &DataDir, running: Version) -> Result<Self, HostError> {
        let mark = Self { dir: dir.clone(), running, boot: boot_id(), spare: Spare::default() };
        mark.read()?;
        Ok(mark)
    }

    /// Records that the restart is requested now.
    ///
    /// # Errors
    /// [`HostError::Io`]; it may be requested once too often.
    pub fn asked(&self) -> Result<(), HostError> {
        let asks = self.read()?.map_or(0, |note| note.asks);
        self.write(asks.saturating_add(1))
    }

    /// Reserves the room for the note before an installer starts, so that a disk that fills up
    /// cannot make a successful installation fail.
    ///
    /// # Errors
    /// [`HostError::Io`]: do not install now.
    pub fn reserve(&self) -> Result<(), HostError> {
        self.write(ASKS)
    }

    /// Ends the wait for the restart: the running version decides.
    ///
    /// # Errors
    /// [`HostError::Io`]; the wait starts again.
    pub fn give_up(&self) -> Result<(), HostError> {
        self.write(ASKS)
    }

    /// Changes an existing note of ours in place: one digit changes, which needs no room.
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
    fn read(&self) -> Result<Option<AskNote>, HostError> {
        let Some(text) = self.dir.read_text(NAME, MOST)? else { return Ok(None) };
        Ok(self.parse(&text))
    }

    fn parse(&self, text: &str) -> Option<AskNote> {
        let mut words = text.strip_suffix('\n')?.splitn(3, ' ');
        let (boot, asks, version) = (words.next()?, words.next()?, words.next()?);
        let asks = asks.parse().ok().filter(|asks| *asks <= ASKS)?;
        let ours = boot == self.boot && !boot.is_empty() && version == self.running.as_str();
        ours.then_some(AskNote { asks })
    }
}

#[derive(Debug)]
struct AskNote {
    asks: u8,
}

impl Switch for RestartMark {
    fn state(&mut self) -> SlotState {
        match self.read() {
            Ok(Some(AskNote { asks })) if asks < ASKS => SlotState::Armed,
            _ => SlotState::Unknown,
        }
    }

    fn reserve(&mut self) -> Result<(), StorageError> {
        self.dir.reserve(&self.spare, TEMP).map_err(|why| storage_error(&why))
    }

    fn act(&mut self, action: SlotAction) -> Result<(), StorageError> {
        if action == SlotAction::Activate {
            // The installer has already armed it; a note that cannot be written undoes nothing.
            let _ = self.write(0);
        }
        Ok(())
    }
}

/// The id of this run of the machine; empty if the system has none.
#[must_use]
pub fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim_ascii().chars().filter(char::is_ascii_graphic).take(64).collect()
}
