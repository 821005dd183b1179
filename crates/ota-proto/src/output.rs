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

/// MQTT quality of service; the platform has no level 2. `as u8` is the level on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum QoS {
    /// At most once.
    AtMostOnce = 0,
    /// At least once.
    AtLeastOnce = 1,
}

/// What became of a piece of body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub struct Body<'d> {
    /// Bytes taken from the front of the piece. Zero without work means: do not read now, the
    /// machine waits for storage; offer the same bytes again after the next completion.
    pub consumed: usize,
    /// The [`Work::Write`] of all that was consumed, to be done like that of an [`Output::Do`]. It
    /// never crosses an erase unit.
    pub work: Option<(OpId, Work<&'d [u8]>)>,
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

/// What the slot or the journal must do; answer each with [`crate::Updater::handle_done`].
///
/// `B` is where the bytes of a write are: a slice, or whatever else an adapter keeps them in.
/// `Debug` hides the bytes of images and records.
#[derive(Clone, PartialEq, Eq)]
pub enum Work<B> {
    /// Erase this range of the slot: one erase unit, or less at its end.
    Erase {
        /// Bytes from the slot's start.
        range: Range<u64>,
        /// The size of the whole image: room for it is checked and taken with the first erase.
        size: u64,
    },
    /// Write to erased bytes of the slot. The pieces of an image come in order and in any length.
    Write {
        /// Where in the slot, in bytes from its start.
        at: u64,
        /// What to write.
        bytes: B,
    },
    /// Make all stored bytes durable.
    Sync,
    /// Hash this range of the slot as the medium holds it. A range that begins where the last one
    /// ended continues the hash; one that begins at 0 begins it anew. The answer is the digest of
    /// everything from 0 to the end of the range.
    Digest {
        /// Bytes from the slot's start.
        range: Range<u64>,
    },
    /// Write the record to the journal, durably, in the place that [`Journal::place`] names.
    Persist([u8; Journal::LEN]),
    /// Do this to the slot, durably.
    Slot(SlotAction),
}

/// How a [`Work`] ended: with the digest for [`Work::Digest`], with `None` for any other.
pub type Done = Result<Option<Md5>, StorageError>;

impl<B> Work<B> {
    /// The same work with its bytes elsewhere.
    pub fn map<C>(self, bytes: impl FnOnce(B) -> C) -> Work<C> {
        match self {
            Self::Erase { range, size } => Work::Erase { range, size },
            Self::Write { at, bytes: old } => Work::Write { at, bytes: bytes(old) },
            Self::Sync => Work::Sync,
            Self::Digest { range } => Work::Digest { range },
            Self::Persist(record) => Work::Persist(record),
            Self::Slot(action) => Work::Slot(action),
        }
    }
}

/// What the machine wants done. Poll until [`Output::Idle`].
///
/// `Debug` hides the query of a URL and the bytes of messages and records.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
#[non_exhaustive]
pub enum Output<'b> {
    /// Publish; answer with [`crate::Updater::handle_published`].
    Publish(Publish<'b>),
    /// GET the URL. It replaces a fetch under way.
    Fetch(Fetch<'b>),
    /// Drop that fetch.
    CancelFetch(OpId),
    /// Do this with the slot or the journal; answer with [`crate::Updater::handle_done`].
    Do(OpId, Work<&'b [u8]>),
    /// Tell the application.
    Event(Event),
    /// Nothing to do before the deadline.
    Idle(Idle),
}

/// A message to the cloud.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Publish<'b> {
    /// The publication.
    pub id: PubId,
    /// The device's report topic.
    pub topic: &'b str,
    /// The quality of service.
    pub qos: QoS,
    /// The message.
    pub payload: &'b [u8],
}

/// A download: answer with [`crate::Updater::handle_response`], or with
/// [`crate::Updater::handle_fetch_failed`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fetch<'b> {
    /// The operation.
    pub op: OpId,
    /// The URL. Its query is a credential.
    pub url: &'b str,
    /// The first byte wanted; no `Range` header when 0.
    pub from: u64,
    /// Past all caches on the way, which may hold a damaged copy: `Cache-Control: no-cache`.
    pub fresh: bool,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Idle {
    /// When to call [`crate::Updater::handle_timeout`]; `None` when only an input can help.
    pub deadline: Option<Instant>,
    /// What the deadline is for.
    pub timer: Option<Timer>,
    /// Whether body bytes are wanted now: back-pressure.
    pub read_body: bool,
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

/// Without the bytes of an image or a record.
impl<B> fmt::Debug for Work<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Erase { range, size } => write!(f, "Erase({range:?} of {size})"),
            Self::Write { at, .. } => write!(f, "Write({at})"),
            Self::Sync => f.write_str("Sync"),
            Self::Digest { range } => write!(f, "Digest({range:?})"),
            Self::Persist(_) => f.write_str("Persist"),
            Self::Slot(action) => write!(f, "Slot({action:?})"),
        }
    }
}

/// Without the message's bytes.
impl fmt::Debug for Publish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, topic, qos, payload } = self;
        write!(f, "{id:?}, {topic}, {qos:?}, {} bytes", payload.len())
    }
}

/// Without the URL's query.
impl fmt::Debug for Fetch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {:?} from {}", self.op, Redacted(self.url), self.from)
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

/// Without the bytes of an image or a record.
#[cfg(feature = "defmt")]
impl<B> defmt::Format for Work<B> {
    fn format(&self, f: defmt::Formatter<'_>) {
        match self {
            Self::Erase { range, size } => defmt::write!(f, "Erase({} of {=u64})", range, size),
            Self::Write { at, .. } => defmt::write!(f, "Write({=u64})", at),
            Self::Sync => defmt::write!(f, "Sync"),
            Self::Digest { range } => defmt::write!(f, "Digest({})", range),
            Self::Persist(_) => defmt::write!(f, "Persist"),
            Self::Slot(action) => defmt::write!(f, "Slot({})", action),
        }
    }
}

/// Without the message's bytes.
#[cfg(feature = "defmt")]
impl defmt::Format for Publish<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        let Self { id, topic, qos, payload } = self;
        let len = payload.len();
        defmt::write!(f, "{}, {=str}, {}, {=usize} bytes", id, topic, qos, len);
    }
}

/// Without the URL's query.
#[cfg(feature = "defmt")]
impl defmt::Format for Fetch<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}, {} from {=u64}", self.op, Redacted(self.url), self.from);
    }
}
