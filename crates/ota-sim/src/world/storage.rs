//! The device's storage: two slots, the journal, the boot loader, and what they are doing.

use ota_proto::{Digester, Journal, Md5, OpId, Rng, SlotAction};

use crate::flash::{Flash, FlashOp};
use crate::journal::JournalPlaces;
use crate::loader::Loader;
use crate::setup::Setup;

use super::Cut;

/// What a slot is doing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Job {
    Flash(FlashOp),
    Sync,
    /// Hash from the start to here.
    Digest(u64),
    Slot(SlotAction),
}

/// What survives the device's program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Storage {
    /// The two slots.
    pub flash: [Flash; 2],
    /// The journal.
    pub journal: JournalPlaces,
    /// The boot loader.
    pub loader: Loader,
    pub(crate) job: Option<(OpId, Job)>,
    pub(crate) persist: Option<(OpId, Box<[u8; Journal::LEN]>)>,
}

impl Storage {
    pub(crate) fn new(setup: &Setup, rng: &mut Rng) -> Self {
        let mut running = Flash::new(setup.capacity, rng);
        running.fill(&setup.old);
        Self {
            flash: [running, Flash::new(setup.capacity, rng)],
            journal: JournalPlaces::default(),
            loader: Loader::new(setup.from),
            job: None,
            persist: None,
        }
    }

    /// The slot that updates are written to.
    #[must_use]
    pub fn target(&self) -> &Flash {
        let [first, second] = &self.flash;
        if self.loader.other() == 0 { first } else { second }
    }

    /// The slot that runs.
    #[must_use]
    pub fn running(&self) -> &Flash {
        let [first, second] = &self.flash;
        if self.loader.active() == 0 { first } else { second }
    }

    fn target_mut(&mut self) -> &mut Flash {
        let [first, second] = &mut self.flash;
        if self.loader.other() == 0 { first } else { second }
    }

    /// The version that the journal says is being installed.
    #[must_use]
    pub fn installing(&self) -> String {
        let target = self.journal.record().and_then(|record| record.target);
        target.map(|target| target.version.to_string()).unwrap_or_default()
    }

    fn act(&mut self, action: SlotAction) {
        let version = self.installing();
        self.loader.apply(action, &version);
    }

    /// Does the job under way. A digest has an answer.
    pub(crate) fn finish_job(&mut self, job: &Job) -> Result<Option<Md5>, String> {
        match job {
            Job::Flash(op) => self.target_mut().apply(op)?,
            Job::Sync => self.target_mut().sync(),
            Job::Digest(end) => {
                let end = usize::try_from(*end).unwrap_or(usize::MAX);
                let mut digester = Digester::new();
                digester.update(self.target().bytes().get(..end).ok_or("digest outside the slot")?);
                return Ok(Some(digester.finish()));
            }
            Job::Slot(action) => self.act(*action),
        }
        Ok(None)
    }

    /// Power is gone in the middle of whatever is under way.
    pub(crate) fn cut(&mut self, cut: Cut, rng: &mut Rng) {
        let half = match cut {
            Cut::Before => 0,
            Cut::Torn => 128,
            Cut::After => 255,
        };
        match self.job.take() {
            Some((_, Job::Flash(op))) => self.target_mut().cut(Some(&op), half, rng),
            Some((_, Job::Sync)) if cut == Cut::After => self.target_mut().sync(),
            Some((_, Job::Slot(action)))
                if cut == Cut::After || (cut == Cut::Torn && rng.below(2) == 0) =>
            {
                self.act(action);
            }
            _ => {}
        }
        for flash in &mut self.flash {
            flash.cut(None, half, rng);
        }
        match self.persist.take() {
            Some((_, block)) if cut == Cut::After => self.journal.write(&block),
            Some((_, block)) if cut == Cut::Torn => self.journal.tear(&block, rng),
            _ => {}
        }
    }

    /// The program is gone, the medium is not: what was handed to it is done, or not begun.
    pub(crate) fn abandon(&mut self, rng: &mut Rng) {
        let began = rng.below(2) == 0;
        if let Some((_, job)) = self.job.take() {
            if began {
                let _ = self.finish_job(&job);
            }
        }
        if let Some((_, block)) = self.persist.take() {
            if began {
                self.journal.write(&block);
            }
        }
        for flash in &mut self.flash {
            flash.forget_blank();
        }
    }
}
