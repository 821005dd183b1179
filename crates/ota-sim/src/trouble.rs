//! Trouble from the field, drawn at random.

use crate::random::Level;

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
}
