//! What trouble from the field did in a run.

use std::collections::BTreeMap;

use ota_proto::Event;

use crate::trace::{Trace, What};
use crate::trouble::Kind;

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
                met.provoked = met.provoked.saturating_add(u32::from(provokes(*kind, what)));
            }
        }
        all
    }
}

/// Whether this is the effect of such trouble, once it has happened.
fn provokes(kind: Kind, what: &What) -> bool {
    let What::Event(event) = what else {
        return match (kind, what) {
            (Kind::ClockSteps, What::Persist(_, record)) => record.valid_from[0] > 0,
            (Kind::FlippedBit | Kind::MovedImage, What::Digest(..)) => true,
            // A record is found anyway.
            (Kind::MisreadJournal, What::Boot { record, .. }) => record.is_some(),
            _ => false,
        };
    };
    match kind {
        // The bytes of an earlier run are used.
        Kind::ShortLives | Kind::OrderlyStop => {
            matches!(event, Event::Started { from: 1.. })
        }
        Kind::StoreAway => matches!(event, Event::Retry { .. }),
        Kind::OffersInTurn => {
            matches!(event, Event::Superseded | Event::HeldBack { .. } | Event::Reported { .. })
        }
        Kind::ChangedText => matches!(event, Event::Offered | Event::Ready),
        Kind::UnreadableWords => matches!(event, Event::Finished { .. }),
        Kind::HalfDone => matches!(event, Event::Started { .. }),
        Kind::ClockSteps | Kind::MovedImage | Kind::FlippedBit | Kind::MisreadJournal => false,
    }
}
