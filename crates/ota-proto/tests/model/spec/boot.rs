//! Where a device begins: the table of docs/rules.md.

use ota_proto::SlotState;

use super::book::{Book, Image};
use super::offers::resume_point;
use super::steps::{Foreign, Step, Url};
use super::{Ended, Note, Owing, Phase, Policy, S, Spec, Why};

enum Start {
    Nothing,
    /// As the journal says.
    Owed,
    Result(Ended),
    /// The slot may hold a part, or all: its offer is waited for.
    Part,
    Armed,
    Trial,
    /// The image on trial must go.
    Back,
}

fn weigh(note: &Note, slot: SlotState, running: &str, image: Image) -> Start {
    let (new_runs, size) = (running == image.version, image.size);
    let other_runs = !new_runs && note.from.is_some_and(|from| from != running);
    let switched =
        new_runs || matches!(slot, SlotState::Trial | SlotState::Armed | SlotState::RolledBack);
    // The switch seemed not to have happened, and the whole image was fetched again meanwhile.
    let late = note.phase == Phase::Part && note.tries > 0 && note.offset == size && switched;
    let phase = if late { Phase::Switch } else { note.phase };
    match (phase, slot, note.outcome) {
        (Phase::Nothing, ..) => Start::Nothing,
        (Phase::Part, SlotState::Trial | SlotState::Armed, _) => Start::Nothing,
        (Phase::Part, ..) => Start::Part,
        // `done` never left and is not true any more.
        (Phase::Owed, _, Some(Ok(()))) if !note.sent && !new_runs => Start::Result(Err(Why::Other)),
        (Phase::Owed, ..) => Start::Owed,
        (_, SlotState::Armed, _) if !new_runs => Start::Armed,
        (_, SlotState::Trial | SlotState::Armed, None) if new_runs => Start::Trial,
        (_, SlotState::Trial | SlotState::Armed, _) => Start::Back,
        (_, SlotState::RolledBack, why) => Start::Result(why.unwrap_or(Err(Why::Image))),
        _ if new_runs => Start::Result(Ok(())),
        (_, _, Some(why)) => Start::Result(why),
        // What was installed names itself otherwise.
        _ if other_runs => Start::Result(Err(Why::Image)),
        (Phase::Switch, SlotState::Unknown, None) => Start::Result(Err(Why::Other)),
        _ if note.tries >= 3 => Start::Result(Err(Why::Image)),
        _ => Start::Part,
    }
}

impl Spec {
    /// A device boots with this in its journal.
    pub(crate) fn boot(
        policy: Policy,
        now: u64,
        note: Note,
        running: &'static str,
        slot: SlotState,
    ) -> Self {
        let note_attempts = note.attempts;
        let mut spec = Self {
            now,
            policy,
            running,
            up: false,
            proved: false,
            foreign: match slot {
                SlotState::Trial => Some(Foreign::Trial),
                SlotState::Armed => Some(Foreign::Armed),
                _ => None,
            },
            book: Book::default(),
            open: None,
            owed: None,
            durable: note.clone(),
            note,
            writing: None,
            doubt: None,
            doubts: false,
            write_limit: None,
            failures: 0,
            write_again: 0,
            job: None,
            cannot: 0,
            superseded: None,
            before: now + note_attempts * 600 * S,
            recall: None,
            reading: false,
        };
        spec.start_from(slot);
        spec.settle();
        spec
    }

    fn start_from(&mut self, slot: SlotState) {
        let Some(image) = self.note.image else { return };
        let (now, size) = (self.now, image.size);
        let etag = self.note.etag;
        let trial = Step::Trial {
            limit: Some(now + 600 * S),
            ask: now + 60 * S,
            confirmed: false,
            unable: false,
            back: None,
        };
        match weigh(&self.note, slot, self.running, image) {
            Start::Nothing => {}
            Start::Owed => self.owed = Some(Owing::Saved),
            Start::Result(outcome) => {
                let kept = (self.note.offset, etag);
                self.finish(image, kept, outcome);
            }
            Start::Part => {
                let kept = resume_point(self.note.offset, size);
                self.begin(image, String::new(), Step::Due { hops: 0 }, (kept, etag));
                if let Some(attempt) = &mut self.open {
                    attempt.found = true;
                }
                self.wait_url(Url::Boot);
            }
            Start::Armed => {
                let step = Step::Restart { since: now, active: true, ask: None, ours: true };
                self.begin(image, String::new(), step, (size, etag));
            }
            start @ (Start::Trial | Start::Back) => {
                if self.note.phase == Phase::Part {
                    self.note.phase = Phase::Switch;
                }
                self.begin(image, String::new(), trial, (size, etag));
                if matches!(start, Start::Back) {
                    let why = match self.note.outcome {
                        Some(Err(why)) => why,
                        _ => Why::Image,
                    };
                    self.begin_back(why);
                }
            }
        }
    }
}
