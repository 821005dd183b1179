//! Trouble from the field, drawn at random, and its effects.

use std::collections::BTreeMap;

use ota_proto::Event;

use crate::random::Level;
use crate::trace::{Trace, What};

/// A kind of trouble that lasts or repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The program runs only for seconds, many times in a row.
    ShortLives,
    /// Some of its runs end with an orderly stop, which has two seconds.
    OrderlyStop,
    /// The firmware server is away for minutes, hours or a day.
    StoreAway,
    /// The operator offers one image and the other in turn.
    OffersInTurn,
    /// The device's clock shows another year at each connection.
    ClockSteps,
    /// The text of the offer changes.
    ChangedText,
    /// The installer moves the image away, whatever its result.
    MovedImage,
    /// A bit is flipped in one reading of the slot.
    FlippedBit,
    /// Words of the slot cannot be read, until they are erased or for good.
    UnreadableWords,
    /// At a start a place of the journal is read wrongly or not at all, and correctly when it is
    /// read again.
    MisreadJournal,
    /// Power fails within an operation, and a byte of it reads differently each time.
    HalfDone,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::ShortLives,
        Self::OrderlyStop,
        Self::StoreAway,
        Self::OffersInTurn,
        Self::ClockSteps,
        Self::ChangedText,
        Self::MovedImage,
        Self::FlippedBit,
        Self::UnreadableWords,
        Self::MisreadJournal,
        Self::HalfDone,
    ];

    /// The kinds that this level's worlds draw.
    #[must_use]
    pub fn of(level: Level) -> &'static [Self] {
        match level {
            Level::Messages => &Self::ALL,
            Level::Wire => &[
                Self::ShortLives,
                Self::OrderlyStop,
                Self::StoreAway,
                Self::ClockSteps,
                Self::FlippedBit,
                Self::UnreadableWords,
                Self::MisreadJournal,
            ],
        }
    }

    /// Whether this is its effect, once it has happened.
    fn provokes(self, what: &What) -> bool {
        let What::Event(event) = what else {
            return match (self, what) {
                (Self::ClockSteps, What::Persist(_, record)) => record.valid_from[0] > 0,
                (Self::FlippedBit | Self::MovedImage, What::Digest(..)) => true,
                // A record is found anyway.
                (Self::MisreadJournal, What::Boot { record, .. }) => record.is_some(),
                _ => false,
            };
        };
        match self {
            // The bytes of an earlier run are used.
            Self::ShortLives | Self::OrderlyStop => {
                matches!(event, Event::Started { from: 1.. })
            }
            Self::StoreAway => matches!(event, Event::Retry { .. }),
            Self::OffersInTurn => {
                matches!(event, Event::Superseded | Event::HeldBack { .. } | Event::Reported { .. })
            }
            Self::ChangedText => matches!(event, Event::Offered | Event::Ready),
            Self::UnreadableWords => matches!(event, Event::Finished { .. }),
            Self::HalfDone => matches!(event, Event::Started { .. }),
            Self::ClockSteps | Self::MovedImage | Self::FlippedBit | Self::MisreadJournal => false,
        }
    }
}

/// The effect of a kind of trouble in one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// How often it happened.
    pub happened: u32,
    /// How often its effect followed the first occurrence.
    pub provoked: u32,
}

impl Trace {
    /// The occurrences by kind, without zero entries.
    #[must_use]
    pub fn met(&self) -> BTreeMap<Kind, Met> {
        let mut all: BTreeMap<Kind, Met> = BTreeMap::new();
        for (_, what) in self.iter() {
            if let What::Met(kind) = what {
                let met = all.entry(*kind).or_default();
                met.happened = met.happened.saturating_add(1);
            }
            for (kind, met) in &mut all {
                met.provoked = met.provoked.saturating_add(u32::from(kind.provokes(what)));
            }
        }
        all
    }
}
