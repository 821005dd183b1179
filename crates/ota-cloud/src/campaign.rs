//! The pace of one batch as a value: how many more devices may start, and when it is over.

use core::time::Duration;

use ota_proto::Instant;
use serde::{Deserialize, Serialize};

/// A batch. It never sees its devices. It gets the number of devices in each state and returns
/// how many more may start. The store selects them, and [`Device`](crate::Device) updates each.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Campaign {
    plan: CampaignPlan,
    state: CampaignState,
    /// When the current minute of admissions began, and the number of admitted devices.
    minute: Option<(Instant, u32)>,
    /// The number of failures when a person resumed the batch; these do not stop it again.
    forgiven: u64,
}

/// The plan of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct CampaignPlan {
    /// Begins at this time; at once without one.
    pub starts: Option<Instant>,
    /// Ends at this time in any case; never without one.
    pub ends: Option<Instant>,
    /// The most devices that start per minute; 0 means any number.
    pub per_minute: u32,
    /// The most devices in progress; 0 means any number.
    pub at_once: u32,
    /// What stops it.
    pub stop: Option<StopRule>,
    /// It stays open for devices that match later (the platform's dynamic batch).
    pub stays_open: bool,
}

/// When failures stop a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StopRule {
    /// This many failures.
    Failures(u64),
    /// More than this percentage of the ended devices, once enough have ended.
    Percent {
        /// 0 to 100.
        percent: u8,
        /// The minimum number of ended devices.
        of_at_least: u64,
    },
}

/// The state of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CampaignState {
    /// Devices start as the plan allows.
    Running,
    /// No device starts, and none gets an offer.
    Paused(PauseReason),
    /// It is over.
    Closed(CloseReason),
}

/// Why a batch is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PauseReason {
    /// A person's command.
    Asked,
    /// Its stop rule.
    StopRule,
}

/// Why a batch is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CloseReason {
    /// Every device has ended.
    Complete,
    /// Its end time has come.
    Ended,
    /// A person's command.
    Cancelled,
}

/// How many of its devices are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CampaignCounts {
    /// Not admitted yet.
    pub waiting: u64,
    /// Admitted, and their task is open.
    pub open: u64,
    /// Ended with the new version.
    pub succeeded: u64,
    /// Ended without it.
    pub failed: u64,
}

/// Inputs of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CampaignInput {
    /// Counts have changed, or its wake-up is due.
    Tick,
    /// A person pauses it.
    Pause,
    /// A person resumes it. The failures so far do not stop it again.
    Resume,
    /// A person ends it. Started devices continue, because they cannot be told.
    Cancel,
}

/// What [`Campaign::apply`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
#[non_exhaustive]
pub struct CampaignChange {
    /// This many waiting devices may start now.
    pub admit: u32,
    /// Its new state.
    pub moved: Option<CampaignState>,
    /// The latest time of the next [`CampaignInput::Tick`], in addition to those after changes of
    /// counts.
    pub wake: Option<Instant>,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Campaign {
    /// Makes a batch that begins as planned.
    #[must_use]
    pub const fn new(plan: CampaignPlan) -> Self {
        Self { plan, state: CampaignState::Running, minute: None, forgiven: 0 }
    }

    /// Its state.
    #[must_use]
    pub const fn state(&self) -> CampaignState {
        self.state
    }

    /// Whether its devices may get offers of their tasks, also repeated ones.
    #[must_use]
    pub const fn offers(&self) -> bool {
        !matches!(self.state, CampaignState::Paused(_))
    }

    /// Applies an input at a time that is not before the last one. Admitted devices count as
    /// started: the next call's counts must include them as open.
    pub fn apply(
        &mut self,
        now: Instant,
        input: CampaignInput,
        counts: &CampaignCounts,
    ) -> CampaignChange {
        let before = self.state;
        self.take(input, counts);
        self.judge(now, counts);
        let admit = self.admit(now, counts);
        let moved = (self.state != before).then_some(self.state);
        let waiting = counts.waiting.saturating_sub(u64::from(admit));
        CampaignChange { admit, moved, wake: self.wake(now, waiting) }
    }

    fn take(&mut self, input: CampaignInput, counts: &CampaignCounts) {
        match (input, self.state) {
            (_, CampaignState::Closed(_)) | (CampaignInput::Tick, _) => {}
            (CampaignInput::Pause, _) => self.state = CampaignState::Paused(PauseReason::Asked),
            (CampaignInput::Resume, CampaignState::Paused(_)) => {
                self.forgiven = counts.failed;
                self.state = CampaignState::Running;
            }
            (CampaignInput::Resume, CampaignState::Running) => {}
            (CampaignInput::Cancel, _) => {
                self.state = CampaignState::Closed(CloseReason::Cancelled)
            }
        }
    }

    /// Ends or stops it by time and counts.
    fn judge(&mut self, now: Instant, counts: &CampaignCounts) {
        if matches!(self.state, CampaignState::Closed(_)) {
            return;
        }
        if self.plan.ends.is_some_and(|at| at <= now) {
            self.state = CampaignState::Closed(CloseReason::Ended);
        } else if self.state == CampaignState::Running && self.is_stopped_by(counts) {
            self.state = CampaignState::Paused(PauseReason::StopRule);
        } else if self.state == CampaignState::Running
            && !self.plan.stays_open
            && counts.waiting == 0
            && counts.open == 0
        {
            self.state = CampaignState::Closed(CloseReason::Complete);
        }
    }

    fn is_stopped_by(&self, counts: &CampaignCounts) -> bool {
        let failed = counts.failed.saturating_sub(self.forgiven);
        let ended = failed.saturating_add(counts.succeeded);
        match self.plan.stop {
            None => false,
            Some(StopRule::Failures(most)) => failed >= most.max(1),
            Some(StopRule::Percent { percent, of_at_least }) => {
                let share = u128::from(failed).saturating_mul(100);
                ended >= of_at_least
                    && share > u128::from(ended).saturating_mul(u128::from(percent))
            }
        }
    }

    /// Returns how many may start now, and records them.
    fn admit(&mut self, now: Instant, counts: &CampaignCounts) -> u32 {
        let early = self.plan.starts.is_some_and(|at| now < at);
        if self.state != CampaignState::Running || early || counts.waiting == 0 {
            return 0;
        }
        let mut room = u32::try_from(counts.waiting).unwrap_or(u32::MAX);
        if self.plan.at_once > 0 {
            let open = u32::try_from(counts.open).unwrap_or(u32::MAX);
            room = room.min(self.plan.at_once.saturating_sub(open));
        }
        if self.plan.per_minute == 0 {
            return room;
        }
        let (began, so_far) = match self.minute {
            Some((began, so_far)) if now < began + MINUTE => (began, so_far),
            _ => (now, 0),
        };
        room = room.min(self.plan.per_minute.saturating_sub(so_far));
        if room > 0 {
            self.minute = Some((began, so_far.saturating_add(room)));
        }
        room
    }

    fn wake(&self, now: Instant, waiting: u64) -> Option<Instant> {
        if matches!(self.state, CampaignState::Closed(_)) {
            return None;
        }
        let running = self.state == CampaignState::Running && waiting > 0;
        let starts = self.plan.starts.filter(|at| running && now < *at);
        let minute = self.minute.map(|(began, _)| began + MINUTE);
        let minute = minute.filter(|at| running && self.plan.per_minute > 0 && now < *at);
        starts.into_iter().chain(minute).chain(self.plan.ends).min()
    }
}
