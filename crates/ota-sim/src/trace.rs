//! The events of a run, for checkers and people.

use core::fmt;
use core::ops::Range;

use ota_proto::journal::Record;
use ota_proto::message::{CloudMessage, DeviceMessage, ProgressState};
use ota_proto::{Event, Instant, OpId, PubId, SlotAction, SlotState, Timer};

use crate::trouble::Kind;

/// A device's message.
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
    /// `fail`: target, code and text.
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

    /// Whether it ends an attempt.
    #[must_use]
    pub fn is_result(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Fail(..))
    }
}

/// A cloud message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Heard {
    /// The reply to this version.
    Reply(String),
    /// An offer of this version.
    Offer(String),
    /// Another message.
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

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// The device's program starts.
    Boot {
        /// The running version.
        running: String,
        /// The state of its slot.
        slot: SlotState,
        /// The content of the journal.
        record: Option<Record>,
    },
    /// The device's program ended.
    Off(&'static str),
    /// The session opened or closed.
    Session(bool),
    /// The device publishes.
    Publish(PubId, Said),
    /// The message reaches the cloud.
    Delivered(Said),
    /// The message reaches the device.
    Heard(Heard),
    /// The device learns that a publication was sent or acknowledged.
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
    /// The journal write ended.
    Persisted(OpId, bool),
    /// The application gets an event.
    Event(Event),
    /// The application gives a command.
    Command(&'static str),
    /// The device waits.
    Idle(Option<Instant>, Option<Timer>),
    /// The device's deadline came.
    Timeout,
    /// A fault of the world.
    Fault(String),
    /// Trouble of this kind happened.
    Met(Kind),
}

/// The list of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace(Vec<(Instant, What)>);

impl Trace {
    /// Adds an event.
    pub fn push(&mut self, now: Instant, what: What) {
        self.0.push((now, what));
    }

    /// All events, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &(Instant, What)> {
        self.0.iter()
    }

    /// The number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
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

    /// The messages that the cloud got, in order.
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
