//! Outputs of the machine.

use core::fmt;
use core::ops::Range;

use crate::code::Reason;
use crate::digest::Md5;
use crate::error::StorageError;
use crate::journal::{Journal, Outcome};
use crate::response::Answer;
use crate::time::Instant;
use crate::url::Redacted;
use crate::version::Version;

/// An operation that the machine requested. Opaque; a completion with a stale id is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OpId(pub(crate) u32);

/// A publication that the machine requested. Opaque; an acknowledgement of a stale id is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PubId(pub(crate) u32);

/// MQTT quality of service; the platform does not use level 2. `as u8` is the level on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum QoS {
    /// At most once.
    AtMostOnce = 0,
    /// At least once.
    AtLeastOnce = 1,
}

/// The result of a piece of body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub struct Body<'d> {
    /// Bytes taken from the front of the piece. Zero without work means: stop reading, because the
    /// machine waits for storage; offer the same bytes again after the next completion.
    pub consumed: usize,
    /// The [`Work::Write`] of all consumed bytes; handle it like that of an [`Output::Do`]. It
    /// never crosses an erase unit.
    pub work: Option<(OpId, Work<&'d [u8]>)>,
}

/// An action of the slot (O6, O8 and O11 of docs/architecture.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SlotAction {
    /// The next reset starts the new image, on trial. Durable when answered. An error is reported
    /// to the cloud as a failure, and then the next reset must still start the old image.
    Activate,
    /// Confirm the running image. Durable when answered.
    Confirm,
    /// The next reset starts the old image. Durable when answered.
    RollBack,
    /// Clear the mark of a roll-back: its result is in the journal.
    ClearMark,
}

/// An operation of the slot or the journal; answer each with [`crate::Updater::handle_done`].
///
/// `B` holds the bytes of a write: a slice, or an adapter's own type. `Debug` hides the bytes of
/// images and records.
#[derive(Clone, PartialEq, Eq)]
pub enum Work<B> {
    /// Erase this range of the slot: one erase unit, or less at its end.
    Erase {
        /// Bytes from the slot's start.
        range: Range<u64>,
        /// The size of the whole image: the first erase reserves its room.
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
    /// ended continues the hash, so that the trailing hash is the same operation; one that begins
    /// at 0 starts a new hash. The answer is the digest of everything from 0 to the end of the
    /// range.
    Digest {
        /// Bytes from the slot's start.
        range: Range<u64>,
    },
    /// Write the record to the journal, durably, in the place that [`Journal::place`] names.
    Persist([u8; Journal::LEN]),
    /// Perform this action, durably.
    Slot(SlotAction),
}

/// The result of a [`Work`]: with the digest for [`Work::Digest`], otherwise `None`.
pub type Done = Result<Option<Md5>, StorageError>;

impl<B> Work<B> {
    /// Maps the bytes of the work.
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

/// An output of the machine. Poll until [`Output::Idle`].
///
/// `Debug` hides the query of a URL and the bytes of messages and records.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
#[non_exhaustive]
pub enum Output<'b> {
    /// Publish; answer with [`crate::Updater::handle_published`].
    Publish(Publish<'b>),
    /// GET the URL. It replaces a fetch in progress.
    Fetch(Fetch<'b>),
    /// Drop this fetch.
    CancelFetch(OpId),
    /// Perform this work of the slot or the journal; answer with [`crate::Updater::handle_done`].
    Do(OpId, Work<&'b [u8]>),
    /// Pass this event to the application.
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
    /// The first requested byte; no `Range` header if it is 0.
    pub from: u64,
    /// Bypass all caches, which may hold a damaged copy: `Cache-Control: no-cache`.
    pub fresh: bool,
}

/// The next deadline and its purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Idle {
    /// When to call [`crate::Updater::handle_timeout`]; `None` if only an input can help.
    pub deadline: Option<Instant>,
    /// The purpose of the deadline.
    pub timer: Option<Timer>,
    /// Whether the machine accepts body bytes now: back-pressure.
    pub read_body: bool,
}

/// The purpose of a deadline.
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
    /// The response head, the next byte or the minimum rate.
    Fetch,
    /// The next fetch after a failure.
    Retry,
    /// A fresh offer.
    Offer,
    /// The end of a deferral.
    Deferral,
    /// The next checkpoint.
    Checkpoint,
    /// `burning` must be sent or acknowledged.
    Burning,
    /// An answer of the application.
    Application,
    /// The end of the installation's or trial's limit.
    Limit,
    /// The next attempt to write the journal or the slot's state.
    Storage,
}

/// Events for the application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event {
    /// There is an offer ([`crate::Updater::offer`]): answer with accept, defer or refuse.
    Offered,
    /// The download starts or resumes at this byte.
    Started {
        /// Bytes already stored.
        from: u64,
    },
    /// This much is stored, 0 to 99; each number at most once per start. [`Event::Ready`] reports
    /// that the image is complete and right.
    Progress {
        /// Percent.
        percent: u8,
    },
    /// The download failed for now and will continue.
    Retry {
        /// The cause.
        cause: Reason,
    },
    /// The image is verified: answer with approve or veto, and with install, as configured.
    Ready,
    /// Install the image of this size now; answer with installed.
    Install {
        /// Bytes in the slot.
        size: u64,
    },
    /// The installation exceeded its limit: stop it, then answer with installed (failed).
    StopInstall,
    /// Restart the device now. Repeated if nothing happens.
    Restart,
    /// This image runs on trial: test it and answer with confirm or `roll_back`.
    Trial,
    /// The attempt is over; the cloud will get the result.
    Finished {
        /// The target version.
        version: Version,
        /// How it ended.
        outcome: Outcome,
        /// The server's answer, if it explains the outcome.
        answer: Option<Answer>,
    },
    /// The cloud has acknowledged the result.
    Reported {
        /// How it ended.
        outcome: Outcome,
    },
    /// The cloud has answered the version report.
    VersionAccepted,
    /// The cloud refused the version report; it is repeated at a slow rate.
    VersionRefused {
        /// The cloud's code, not 0.
        code: i64,
    },
    /// A different offer replaced the current one.
    Superseded,
    /// The cloud no longer offers the update; the bytes are kept.
    Withdrawn,
    /// The offer of an image that failed here too often was refused.
    Banned,
    /// No attempt begins before this time: too many failed, of this image or of all. Then the
    /// device reports its version, and the cloud's next offer counts.
    HeldBack {
        /// The time of the version report.
        until: Instant,
    },
    /// The journal or the slot's state cannot be written; the machine tries again.
    StorageTrouble(StorageError),
}

/// A sentence for a log.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Offered => "the cloud offers a version",
            Self::Started { from: 0 } => "the download starts",
            Self::Started { from } => return write!(f, "the download resumes at byte {from}"),
            Self::Progress { percent } => return write!(f, "{percent} % of the image is stored"),
            Self::Retry { cause } => return write!(f, "the download failed for now: {cause}"),
            Self::Ready => "the image is verified",
            Self::Install { size } => return write!(f, "to be installed: {size} bytes"),
            Self::StopInstall => "the installation takes too long and must stop",
            Self::Restart => "a restart is needed to continue the update",
            Self::Trial => "the new version runs on trial",
            Self::Finished { version, outcome, answer } => {
                return fmt_end(f, *version, *outcome, *answer);
            }
            Self::Reported { outcome: Outcome::Done } => "the cloud knows that the update is done",
            Self::Reported { outcome: Outcome::Failed(reason) } => {
                return write!(f, "the cloud knows that the update failed: {reason}");
            }
            Self::VersionAccepted => "the cloud knows which version runs",
            Self::VersionRefused { code } => {
                return write!(f, "the cloud refused the version report with code {code}");
            }
            Self::Superseded => "the cloud offers another version instead",
            Self::Withdrawn => "the cloud no longer offers the update",
            Self::Banned => "the offer is refused: this image failed here too often",
            Self::HeldBack { until } => {
                return write!(f, "too many updates failed; the next one starts at second {until}");
            }
            Self::StorageTrouble(why) => return write!(f, "cannot write to the storage: {why}"),
        })
    }
}

/// The sentence of an attempt's end.
fn fmt_end(
    f: &mut fmt::Formatter<'_>,
    version: Version,
    outcome: Outcome,
    answer: Option<Answer>,
) -> fmt::Result {
    match outcome {
        Outcome::Done => write!(f, "the update to version {version} succeeded"),
        Outcome::Failed(reason) if reason.is_roll_back() => {
            write!(f, "version {version} did not last: {reason}")
        }
        Outcome::Failed(reason) => {
            write!(f, "the update to version {version} failed: {reason}")?;
            answer.map_or(Ok(()), |answer| write!(f, ": {answer}"))
        }
    }
}

/// The state of the update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum State {
    /// No update.
    Idle,
    /// An offer waits for the application.
    Offered,
    /// The application deferred the offer.
    Deferred,
    /// The download is in progress.
    Fetching,
    /// A pause, or the wait for a fresh offer.
    Waiting,
    /// The image is being hashed.
    Verifying,
    /// The image is right and waits for approval or the command to install.
    Ready,
    /// The image is being installed.
    Installing,
    /// The slot is switched; the restart is due.
    Restarting,
    /// The new image is running and not confirmed.
    Trial,
}

/// The application's view of an offer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Offer<'a> {
    /// The offered version.
    pub version: Version,
    /// Its digest.
    pub md5: Md5,
    /// Its size in bytes.
    pub size: u64,
    /// The text of the firmware's upload.
    pub user_defined: Option<&'a str>,
    /// `mcu` or `module`.
    pub fw_type: Option<&'a str>,
    /// The image's URL. Its query is a credential; `Debug` hides it.
    pub url: &'a str,
}

/// Hides the bytes of an image or a record.
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

/// Hides the message's bytes.
impl fmt::Debug for Publish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, topic, qos, payload } = self;
        write!(f, "{id:?}, {topic}, {qos:?}, {} bytes", payload.len())
    }
}

/// Hides the URL's query.
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

/// Hides the bytes of an image or a record.
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

/// Hides the message's bytes.
#[cfg(feature = "defmt")]
impl defmt::Format for Publish<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        let Self { id, topic, qos, payload } = self;
        let len = payload.len();
        defmt::write!(f, "{}, {=str}, {}, {=usize} bytes", id, topic, qos, len);
    }
}

/// Hides the URL's query.
#[cfg(feature = "defmt")]
impl defmt::Format for Fetch<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}, {} from {=u64}", self.op, Redacted(self.url), self.from);
    }
}
