//! What happened, for checkers and for people.

use core::fmt;
use core::ops::Range;

use ota_proto::journal::Record;
use ota_proto::message::{CloudMessage, DeviceMessage, ProgressState};
use ota_proto::{Event, Instant, OpId, PubId, SlotAction, SlotState, Timer};

use crate::field::Kind;

/// What a device says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Said {
    /// `report_version`.
    Version(String),
    /// `downloading`: target and percent.
    Downloading(String, i64),
    /// `burning`: target.
    Burning(String),
    /// `done`: target.
    Done(String),
    /// `fail`: target, code and words.
    Fail(String, i64, String),
}

impl Said {
    /// Reads a device's message; `None` if it is invalid.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        Some(match DeviceMessage::decode(payload).ok()? {
            DeviceMessage::ReportVersion { version, .. } => Self::Version(version.into_owned()),
            DeviceMessage::ReportProgress { version, progress, .. } => {
                let version = version.into_owned();
                match progress.state {
                    ProgressState::Downloading => {
                        Self::Downloading(version, progress.percent.unwrap_or(-1))
                    }
                    ProgressState::Burning => Self::Burning(version),
                    ProgressState::Done => Self::Done(version),
                    ProgressState::Fail => {
                        Self::Fail(version, progress.result_code, progress.result_msg.into_owned())
                    }
                    _ => return None,
                }
            }
            _ => return None,
        })
    }

    /// It ends an attempt.
    #[must_use]
    pub fn is_result(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Fail(..))
    }
}

/// What a device hears.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Heard {
    /// The reply to this version.
    Reply(String),
    /// An offer of this version.
    Offer(String),
    /// None of the two.
    Other,
}

impl Heard {
    /// Reads a message of the cloud.
    #[must_use]
    pub fn read(payload: &[u8]) -> Self {
        match CloudMessage::decode(payload) {
            Ok(CloudMessage::VersionReply { version, .. }) => {
                Self::Reply(version.unwrap_or_default().into_owned())
            }
            Ok(CloudMessage::Offer(offer)) => Self::Offer(offer.version.into_owned()),
            _ => Self::Other,
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// The device's program begins.
    Boot {
        /// The version that runs.
        running: String,
        /// The state of its slot.
        slot: SlotState,
        /// What the journal says.
        record: Option<Record>,
    },
    /// The device's program is gone.
    Off(&'static str),
    /// The session came up or went down.
    Session(bool),
    /// The device publishes.
    Publish(PubId, Said),
    /// The cloud hears it.
    Delivered(Said),
    /// The device hears the cloud.
    Heard(Heard),
    /// The device learns that a publication was handed over or acknowledged.
    Published(PubId),
    /// The device fetches from this byte on.
    Fetch(OpId, u64),
    /// The device drops a fetch.
    Cancel(OpId),
    /// The server answers with this status.
    Head(OpId, u16),
    /// An erase begins.
    Erase(OpId, Range<u64>),
    /// A write begins.
    Write(OpId, Range<u64>),
    /// A sync begins.
    Sync(OpId),
    /// A digest begins.
    Digest(OpId, Range<u64>),
    /// A slot action begins.
    Slot(OpId, SlotAction),
    /// A slot operation ended.
    Done(OpId, bool),
    /// A journal write begins.
    Persist(OpId, Record),
    /// It ended.
    Persisted(OpId, bool),
    /// The application is told.
    Event(Event),
    /// The application commands.
    Command(&'static str),
    /// The device waits.
    Idle(Option<Instant>, Option<Timer>),
    /// The device's deadline came.
    Timeout,
    /// A fault of the world.
    Fault(String),
    /// Trouble of this kind.
    Met(Kind),
}

/// The list of what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace(Vec<(Instant, What)>);

impl Trace {
    /// Notes something.
    pub fn push(&mut self, now: Instant, what: What) {
        self.0.push((now, what));
    }

    /// All of it, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &(Instant, What)> {
        self.0.iter()
    }

    /// How much there is.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Nothing happened yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the device published, in order.
    pub fn said(&self) -> impl Iterator<Item = (Instant, &Said)> {
        self.0.iter().filter_map(|(at, what)| match what {
            What::Publish(_, said) => Some((*at, said)),
            _ => None,
        })
    }

    /// What the cloud heard, in order.
    pub fn told(&self) -> impl Iterator<Item = &Said> {
        self.0.iter().filter_map(|(_, what)| match what {
            What::Delivered(said) => Some(said),
            _ => None,
        })
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, what) in &self.0 {
            match what {
                What::Idle(None, _) => writeln!(f, "{at:>12}  idle")?,
                What::Idle(Some(until), timer) => {
                    writeln!(f, "{at:>12}  idle until {until} {timer:?}")?;
                }
                What::Persist(op, record) => {
                    let target = record.target.as_ref();
                    let stored = target.map(|t| (t.version, t.offset, t.size));
                    let (phase, tries, owed) = (record.phase, record.tries, record.owed);
                    writeln!(
                        f,
                        "{at:>12}  Persist({op:?}, {phase:?} {stored:?} tries {tries} {owed:?})"
                    )?;
                }
                other => writeln!(f, "{at:>12}  {other:?}")?,
            }
        }
        Ok(())
    }
}
