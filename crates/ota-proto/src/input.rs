//! Inputs of the machine besides messages.

use crate::code::Reason;
use crate::journal::Journal;
#[allow(unused_imports, reason = "for the documentation")]
use crate::output::Event;
use crate::time::Instant;

/// The state of the running image, from the boot loader or installer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SlotState {
    /// It is confirmed.
    Confirmed,
    /// It runs on trial: the next reset restores the old one unless it is confirmed.
    Trial,
    /// It runs, but the next reset starts the other image, which was activated before. Then only
    /// the restart is missing, and nothing is written.
    Armed,
    /// It is the old image, after a failed trial.
    RolledBack,
    /// There is no boot loader to ask.
    Unknown,
}

/// The slot for updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SlotInfo {
    /// Its capacity in bytes.
    pub capacity: u64,
    /// Its erase unit in bytes, at least 1. Checkpoints and resumes are multiples of it.
    pub erase: u32,
    /// Its write unit in bytes, for the application's information: the slot handles alignment
    /// itself.
    pub write: u32,
}

/// The peer of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Peer {
    /// The MQTT broker.
    Broker,
    /// The firmware server.
    Store,
}

/// The state at boot.
#[derive(Clone, Copy, Debug)]
pub struct Boot<'a> {
    /// The running version.
    pub running: &'a str,
    /// The state of its slot.
    pub slot: SlotState,
    /// The newest valid journal record ([`Journal::newest`]) of places that were read with
    /// [`Journal::read_place`]. Write it again before the machine acts on it: its own write may
    /// have been cut, and may read differently next time.
    pub journal: Option<&'a [u8; Journal::LEN]>,
    /// The slot for updates.
    pub storage: SlotInfo,
}

impl<'a> Boot<'a> {
    /// Makes the state of a device without a boot loader and without a record: the slot holds
    /// `capacity` bytes and is erased in units of `erase` bytes, for a file for example 64 KiB.
    ///
    /// ```
    /// use ota_proto::{Boot, Journal};
    ///
    /// # let places = [[0xff; Journal::LEN]; 2];
    /// let boot = Boot { journal: Journal::newest(&places), ..Boot::new("1.0.0", 1 << 30, 1 << 16) };
    /// # assert!(boot.journal.is_none());
    /// ```
    #[must_use]
    pub const fn new(running: &'a str, capacity: u64, erase: u32) -> Self {
        let storage = SlotInfo { capacity, erase, write: 1 };
        Self { running, slot: SlotState::Unknown, journal: None, storage }
    }
}

/// A command of the application; see [`crate::Updater::command`]. Each is accepted only while the
/// machine waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Command {
    /// Accept the offer ([`Event::Offered`]), or end its deferral early.
    Accept,
    /// Defer the offer or the verified image until this time. Then the device reports its version,
    /// and the cloud's next offer counts. Until then the same offer is ignored, and a different one
    /// ends the deferral.
    Defer(Instant),
    /// Refuse the offer: the cloud gets −5.
    Refuse,
    /// Refuse the offer because this machine could not install it ([`InstallFault::Machine`],
    /// [`InstallFault::NoSpace`]), before its first byte. The cloud gets −5 with the fault's text,
    /// and the image gets no strike.
    ///
    /// On trial ([`Event::Trial`]) it means that this machine cannot find out whether the image
    /// works. The trial continues; if the image is not confirmed in time, it is rolled back with
    /// this fault, unless the event was raised again since.
    Unable(InstallFault),
    /// Cancel the update before the installer may have begun: the cloud gets −5.
    Cancel,
    /// Approve the verified image ([`Event::Ready`]).
    Approve,
    /// Refuse the verified image: the cloud gets −5.
    Veto,
    /// Install the verified image ([`Event::Ready`]).
    Install,
    /// The result of the installation ([`Event::Install`]). After [`Event::StopInstall`] send it
    /// only once the installer has really ended.
    Installed(Installed),
    /// The new image works ([`Event::Trial`]). It is confirmed once the cloud has also answered its
    /// version report (unless configured otherwise).
    Confirm,
    /// The new image does not work ([`Event::Trial`]): roll back.
    RollBack,
    /// Lift all restrictions on images: strikes and bans, refusals of this session, and the number
    /// of attempts. The device then reports its version, so that the cloud repeats its offer.
    /// Refused if there are none.
    Forgive,
    /// Report the version soon, so that the cloud repeats its offer. Refused without a session; the
    /// next one reports by itself.
    ReportNow,
}

/// The installer's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Installed {
    /// The new version is already running; no restart is needed.
    Running,
    /// The new version runs after a switch of slots and a restart.
    NeedsRestart,
    /// It failed; the old version stays.
    Failed(InstallFault),
}

impl From<Installed> for Command {
    fn from(what: Installed) -> Self {
        Self::Installed(what)
    }
}

/// Why an installation failed, which tells who is at fault. The cloud gets −5 with the text of
/// each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum InstallFault {
    /// The installer ran and rejected the image. Counts against the image.
    Image,
    /// The installer succeeded, but its result is not the offered version. Counts against the
    /// image.
    WrongVersion,
    /// There is no room on this machine to install it. The image gets no strike.
    NoSpace,
    /// The installer could not be started, or this machine caused the failure. The image gets no
    /// strike.
    Machine,
}

impl From<InstallFault> for Reason {
    fn from(fault: InstallFault) -> Self {
        match fault {
            InstallFault::Image => Self::Install,
            InstallFault::WrongVersion => Self::WrongVersion,
            InstallFault::NoSpace => Self::NoSpace,
            InstallFault::Machine => Self::Machine,
        }
    }
}
