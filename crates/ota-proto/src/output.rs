//! What comes out of the machine.

use core::fmt;
use core::ops::Range;

use crate::code::Reason;
use crate::digest::Md5;
use crate::error::StorageError;
use crate::input::Answer;
use crate::journal::{Journal, Outcome};
use crate::time::Instant;
use crate::url::Redacted;
use crate::version::Version;

/// An operation that the machine asked for. Opaque; a completion for a stale id is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OpId(pub(crate) u32);

/// A publication that the machine asked for. Opaque; an acknowledgement of a stale id is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PubId(pub(crate) u32);

/// MQTT quality of service; the platform has no level 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum QoS {
    /// At most once.
    AtMostOnce,
    /// At least once.
    AtLeastOnce,
}

/// What became of a piece of body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub struct Body {
    /// Bytes taken from the front of the piece. Zero without a write means: do not read now, the
    /// machine waits for storage; offer the same bytes again after the next completion.
    pub consumed: usize,
    /// What must be written to the slot.
    pub write: Option<Write>,
}

/// A write to the slot: a span of the caller's own buffer, so that nothing is borrowed or copied.
/// It never crosses an erase unit. Answer with [`crate::Updater::handle_stored`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Write {
    /// The operation.
    pub op: OpId,
    /// Where in the slot, in bytes from its start.
    pub at: u64,
    /// Which bytes of the piece that was given.
    pub span: Range<usize>,
}

/// What the slot must do (O6, O8 and O11 of docs/architecture.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SlotAction {
    /// Make the new image the one that the next reset starts, on trial. Durable when answered. An
    /// error is told to the cloud as a failure: the next reset must still start the old image.
    Activate,
    /// Make the running image the one that stays. Durable when answered.
    Confirm,
    /// Make the old image the one that the next reset starts. Durable when answered.
    RollBack,
    /// Forget that a roll-back happened: its result is journalled.
    ClearMark,
}

/// What the machine wants done. Poll until [`Output::Idle`].
///
/// `Debug` hides the query of a URL and the bytes of messages and records.
#[derive(Clone, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Output<'b> {
    /// Publish; answer with [`crate::Updater::handle_published`].
    Publish {
        /// The publication.
        id: PubId,
        /// The device's report topic.
        topic: &'b str,
        /// The quality of service.
        qos: QoS,
        /// The message.
        payload: &'b [u8],
    },
    /// GET the URL from this byte on (no `Range` header when 0). It replaces a fetch under way.
    Fetch {
        /// The operation.
        op: OpId,
        /// The URL. Its query is a credential.
        url: &'b str,
        /// The first byte wanted.
        from: u64,
        /// Past all caches on the way, which may hold a damaged copy: `Cache-Control: no-cache`.
        fresh: bool,
    },
    /// Drop that fetch.
    CancelFetch {
        /// The operation.
        op: OpId,
    },
    /// Erase this range of the slot: one erase unit, or less at its end.
    Erase {
        /// The operation.
        op: OpId,
        /// Bytes from the slot's start.
        range: Range<u64>,
        /// The size of the whole image: room for it is checked and taken with the first erase.
        size: u64,
    },
    /// Make all stored bytes durable.
    Sync {
        /// The operation.
        op: OpId,
    },
    /// Hash this range of the slot as the medium holds it. A range that begins where the last one
    /// ended continues the hash; one that begins at 0 begins it anew. The answer is the digest of
    /// everything from 0 to the end of the range.
    Digest {
        /// The operation.
        op: OpId,
        /// Bytes from the slot's start.
        range: Range<u64>,
    },
    /// Write the record to the journal, durably, in the place that [`Journal::place`] names.
    Persist {
        /// The operation.
        op: OpId,
        /// The record.
        record: &'b [u8; Journal::LEN],
    },
    /// Do this to the slot, durably; answer with [`crate::Updater::handle_slot`].
    Slot {
        /// The operation.
        op: OpId,
        /// What to do.
        action: SlotAction,
    },
    /// Tell the application.
    Event(Event),
    /// Nothing to do before the deadline.
    Idle {
        /// When to call [`crate::Updater::handle_timeout`]; `None` when only an input can help.
        deadline: Option<Instant>,
        /// What the deadline is for.
        timer: Option<Timer>,
        /// Whether body bytes are wanted now: back-pressure.
        read_body: bool,
    },
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Timer {
    /// The answer to a version report.
    Reply,
    /// The next version report.
    Report,
    /// The acknowledgement of a result.
    Puback,
    /// The next progress report.
    Progress,
    /// The response head, the next byte or the least rate.
    Fetch,
    /// The next fetch after a failure.
    Retry,
    /// A fresh offer.
    Offer,
    /// The end of a deferral.
    Deferral,
    /// The next checkpoint.
    Checkpoint,
    /// `burning` to be handed over or acknowledged.
    Burning,
    /// An answer of the application.
    Application,
    /// The end of the installation's or trial's limit.
    Limit,
    /// The next try to write the journal or the slot's state.
    Storage,
}

/// What the application is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event {
    /// There is an offer ([`crate::Updater::offer`]): answer with accept, defer or refuse.
    Offered,
    /// The download begins or goes on at this byte.
    Started {
        /// Bytes already stored.
        from: u64,
    },
    /// This much is stored, 0 to 99; each number at most once per start. [`Event::Ready`] says that
    /// the image is whole and right.
    Progress {
        /// Percent.
        percent: u8,
    },
    /// The download failed for now and goes on later.
    Retry {
        /// What is wrong.
        cause: Reason,
    },
    /// The image is verified: answer with approve or veto, and with install, as configured.
    Ready,
    /// Install the image of this size now; answer with installed.
    Install {
        /// Bytes in the slot.
        size: u64,
    },
    /// The installation ran past its limit: stop it, then answer with installed (failed).
    StopInstall,
    /// Restart the device now. Raised again when nothing happens.
    Restart,
    /// This image runs on trial: check it and answer with confirm or `roll_back`.
    Trial,
    /// The attempt is over; the cloud will be told.
    Finished {
        /// The target version.
        version: Version,
        /// How it ended.
        outcome: Outcome,
        /// What the server answered, where that explains the outcome.
        answer: Option<Answer>,
    },
    /// The cloud has acknowledged the result.
    Reported {
        /// How it ended.
        outcome: Outcome,
    },
    /// The cloud has answered the version report.
    VersionAccepted,
    /// The cloud refused the version report; it is repeated slowly.
    VersionRefused {
        /// The cloud's code, not 0.
        code: i64,
    },
    /// A different offer took the place of the one under way.
    Superseded,
    /// The cloud does not offer the update any more; the bytes are kept.
    Withdrawn,
    /// The offer of an image that failed here too often was refused.
    Banned,
    /// No attempt begins before this moment: too many failed, of this image or of any. Then the
    /// version is reported, and what the cloud offers counts.
    HeldBack {
        /// When the version is reported.
        until: Instant,
    },
    /// The journal or the slot's state cannot be written; it is tried again.
    StorageTrouble(StorageError),
}

/// Where the update stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum State {
    /// No update.
    Idle,
    /// An offer waits for the application.
    Offered,
    /// The application put the offer off.
    Deferred,
    /// Bytes are on their way.
    Fetching,
    /// A pause, or the wait for a fresh offer.
    Waiting,
    /// The image is being hashed.
    Verifying,
    /// The image is right and waits for approval or the word to install.
    Ready,
    /// The image is being installed.
    Installing,
    /// The slot is switched; the restart is due.
    Restarting,
    /// The new image runs and is not confirmed.
    Trial,
}

/// An offer as the application sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Offer<'a> {
    /// The offered version.
    pub version: Version,
    /// Its digest.
    pub md5: Md5,
    /// Its size in bytes.
    pub size: u64,
    /// The text given when the firmware was uploaded.
    pub user_defined: Option<&'a str>,
    /// `mcu` or `module`.
    pub fw_type: Option<&'a str>,
    /// Where the image is. Its query is a credential; `Debug` hides it.
    pub url: &'a str,
}

impl fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish { id, topic, qos, payload } => {
                write!(f, "Publish({id:?}, {topic}, {qos:?}, {} bytes)", payload.len())
            }
            Self::Fetch { op, url, from, .. } => {
                write!(f, "Fetch({op:?}, {:?} from {from})", Redacted(url))
            }
            Self::CancelFetch { op } => write!(f, "CancelFetch({op:?})"),
            Self::Erase { op, range, size } => write!(f, "Erase({op:?}, {range:?} of {size})"),
            Self::Sync { op } => write!(f, "Sync({op:?})"),
            Self::Digest { op, range } => write!(f, "Digest({op:?}, {range:?})"),
            Self::Persist { op, .. } => write!(f, "Persist({op:?})"),
            Self::Slot { op, action } => write!(f, "Slot({op:?}, {action:?})"),
            Self::Event(event) => write!(f, "Event({event:?})"),
            Self::Idle { deadline, timer, read_body } => {
                write!(f, "Idle({deadline:?}, {timer:?}, read_body: {read_body})")
            }
        }
    }
}

impl fmt::Debug for Offer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("version", &self.version)
            .field("md5", &self.md5)
            .field("size", &self.size)
            .field("user_defined", &self.user_defined)
            .field("fw_type", &self.fw_type)
            .field("url", &Redacted(self.url))
            .finish()
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Offer<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(
            f,
            "Offer {{ version: {}, md5: {}, size: {=u64}, user_defined: {}, fw_type: {}, url: {} }}",
            self.version,
            self.md5,
            self.size,
            self.user_defined,
            self.fw_type,
            Redacted(self.url),
        );
    }
}

/// Without the query of the URL, and without the bytes of messages and records.
#[cfg(feature = "defmt")]
impl defmt::Format for Output<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        match self {
            Self::Publish { id, topic, qos, payload } => {
                let len = payload.len();
                defmt::write!(f, "Publish({}, {=str}, {}, {=usize} bytes)", id, topic, qos, len);
            }
            Self::Fetch { op, url, from, .. } => {
                defmt::write!(f, "Fetch({}, {} from {=u64})", op, Redacted(url), from);
            }
            Self::CancelFetch { op } => defmt::write!(f, "CancelFetch({})", op),
            Self::Erase { op, range, size } => {
                defmt::write!(f, "Erase({}, {} of {=u64})", op, range, size);
            }
            Self::Sync { op } => defmt::write!(f, "Sync({})", op),
            Self::Digest { op, range } => defmt::write!(f, "Digest({}, {})", op, range),
            Self::Persist { op, .. } => defmt::write!(f, "Persist({})", op),
            Self::Slot { op, action } => defmt::write!(f, "Slot({}, {})", op, action),
            Self::Event(event) => defmt::write!(f, "Event({})", event),
            Self::Idle { deadline, timer, read_body } => {
                defmt::write!(f, "Idle({}, {}, read_body: {=bool})", deadline, timer, read_body);
            }
        }
    }
}
