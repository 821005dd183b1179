//! The machine: session, attempt and result, side by side.
//!
//! * [`session`]: Down, Up (settling, reporting, online);
//! * [`attempt`]: the state that all stages share, and a file for each stage; [`offer`] and
//!   [`commands`] begin an attempt, [`storage`] handles the answers of slot and journal;
//! * [`result`]: None, Saving, Owed, InFlight, Clearing; [`ledger`] makes results durable;
//! * [`tick`] handles passed time, [`advance`] takes the steps that need no input, [`poll`] derives
//!   the outputs, [`boot`] the first state.

mod advance;
mod attempt;
mod boot;
mod commands;
mod events;
mod image;
mod job;
mod ledger;
mod offer;
mod poll;
mod progress;
mod result;
mod session;
mod storage;
mod tick;

use crate::config::{Config, ConfigError};
use crate::error::{FetchError, MessageError, TransportError};
use crate::input::{Boot, Peer, SlotInfo, SlotState};
use crate::journal::Outcome;
use crate::message::CloudMessage;
#[allow(unused_imports)] // for the documentation
use crate::output;
use crate::output::{Body, Done, Offer, OpId, PubId, State};
use crate::response::{Answer, ResponseHead};
use crate::rng::Rng;
use crate::time::{BUILT, Instant};
use crate::version::Version;

use attempt::Attempt;
use attempt::stage::{Stage, Why};
use events::Events;
use job::{SlotJob, SlotTask};
use ledger::Ledger;
use result::{Failed, Owing};
use session::{Report, Session};

/// One device's side of its updates: `(state, input, now) → (state, outputs)`.
///
/// Pass what happens to the `handle_` methods and the application's commands to
/// [`Updater::command`]. After each call, take outputs from [`Updater::poll`] until
/// [`output::Output::Idle`]. Every input is legal in every state; the completion of an operation
/// that is not current is ignored. No input makes it panic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub struct Updater {
    cfg: Config,
    storage: SlotInfo,
    running: Version,
    slot: SlotState,
    /// The slot still has the mark of a roll-back: how often it may be asked to clear it, and when
    /// next.
    mark: Option<(u8, Instant)>,
    now: Instant,
    /// The time of the last [`advance`].
    advanced: Instant,
    rng: Rng,
    last_op: u32,
    last_pub: u32,
    session: Session,
    update: Option<Attempt>,
    owing: Owing,
    ledger: Ledger,
    /// The slot operation in progress: there is at most one.
    job: Option<SlotJob>,
    /// When to repeat a failed slot operation that must not be given up, and the number of failures
    /// in a row.
    job_retry: Option<Instant>,
    job_faults: u8,
    cancel: Option<OpId>,
    events: Events,
    /// The time of the last version report.
    last_report: Option<Instant>,
    /// The time at which an offer last replaced another.
    superseded: Option<Instant>,
    /// When to report the version, because another offer came too soon after that.
    recall: Option<Instant>,
    /// The last attempt that failed for a reason outside its image.
    failed: Option<Failed>,
    /// A leaky bucket of attempts: the time at which it is empty.
    budget: Instant,
    /// Since boot, the cloud has answered a report of the running version.
    version_answered: bool,
    gate: Gate,
    /// The program is about to end.
    stopping: bool,
}

/// The outputs that the caller can take now. A closed gate delays outputs and loses none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Gate {
    /// Whether [`output::Output::Publish`] may come.
    pub publish: bool,
    /// Whether [`output::Output::Fetch`] may come: devices may share one connection.
    pub fetch: bool,
}

impl Gate {
    /// All outputs may come: the initial value.
    pub const OPEN: Self = Self { publish: true, fetch: true };
}

/// Inputs.
impl Updater {
    /// Makes the machine of a device that has just booted (docs/rules.md).
    ///
    /// # Errors
    /// [`ConfigError`] if the running version is invalid, the slot has no size, a time is zero, or
    /// no offer fits the limits.
    pub fn new(now: Instant, cfg: Config, boot: Boot<'_>) -> Result<Self, ConfigError> {
        boot::start(now, cfg, boot)
    }

    /// Reports that the session is up (connected and subscribed) or down. Each call with `true` is
    /// a new session.
    pub fn handle_session(&mut self, now: Instant, up: bool) {
        self.enter(now);
        self.owing.session_changed();
        if let Some(attempt) = &mut self.update {
            attempt.progress.new_session();
            // A new session asks again.
            attempt.silence.again = false;
            if !up {
                attempt.silence.replies = 0;
            }
            if let Stage::Recall(recall) = &mut attempt.stage {
                recall.session_changed(self.now, up, &self.cfg.timing);
                // Without a session no fresh offer can come, so the wait ends before the next tick.
                if !up && recall.why == Why::Paused {
                    attempt.resume();
                }
            }
        }
        self.session = if up { Session::new_up(self.now) } else { Session::Down };
        self.advance();
    }

    /// Handles a message on a subscribed topic.
    ///
    /// # Errors
    /// [`MessageError`] if it is not a cloud message for this device; it had no effect.
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub fn handle_message(
        &mut self,
        now: Instant,
        topic: &str,
        payload: &[u8],
    ) -> Result<(), MessageError> {
        if topic != self.cfg.identity.update_topic() {
            return Err(MessageError::ForeignTopic);
        }
        if payload.len() > self.cfg.limits.payload {
            return Err(MessageError::TooLong);
        }
        let message = CloudMessage::decode(payload).map_err(MessageError::Malformed)?;
        self.enter(now);
        match message {
            CloudMessage::VersionReply { result_code, version, .. } => {
                self.on_reply(result_code, version.as_deref());
            }
            CloudMessage::Offer(offer) => self.on_offer(&offer),
        }
        self.advance();
        Ok(())
    }

    /// Reports that a publication was sent (QoS 0) or acknowledged (QoS 1).
    pub fn handle_published(&mut self, now: Instant, id: PubId) {
        self.enter(now);
        if self.owing.is_in_flight(id) {
            self.acknowledge_result();
        }
        if let Some(attempt) = &mut self.update {
            attempt.progress.published(id);
        }
        self.advance();
    }

    /// Handles the head of an answer.
    ///
    /// # Errors
    /// [`FetchError`] if the fetch is stale or the answer unusable. The machine has already decided
    /// what follows.
    pub fn handle_response(
        &mut self,
        now: Instant,
        op: OpId,
        head: &ResponseHead<'_>,
    ) -> Result<(), FetchError> {
        self.enter(now);
        let result = self.on_response(op, head);
        self.advance();
        result
    }

    /// Handles a piece of body; [`Body`] says how to continue.
    ///
    /// # Errors
    /// [`FetchError`] if the fetch is stale or the answer unusable. The machine has already decided
    /// what follows.
    pub fn handle_body<'d>(
        &mut self,
        now: Instant,
        op: OpId,
        data: &'d [u8],
    ) -> Result<Body<'d>, FetchError> {
        self.enter(now);
        let result = self.on_body(op, data);
        self.advance();
        result
    }

    /// Reports the end of the body, as its framing requires.
    pub fn handle_body_end(&mut self, now: Instant, op: OpId) {
        self.enter(now);
        self.on_body_end(op);
        self.advance();
    }

    /// Reports that the fetch failed, before or after its head.
    pub fn handle_fetch_failed(&mut self, now: Instant, op: OpId, error: TransportError) {
        self.enter(now);
        self.on_fetch_failed(op, error);
        self.advance();
    }

    /// Reports the end of a [`output::Work`]. Only [`output::Work::Digest`] has a digest, and
    /// without one it fails.
    pub fn handle_done(&mut self, now: Instant, op: OpId, result: Done) {
        self.enter(now);
        if self.ledger.is_writing(op) {
            self.on_persisted(op, result.map(|_| ()));
        } else {
            self.on_done(op, result);
        }
        self.advance();
    }

    /// Handles the deadline of the last [`output::Output::Idle`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.enter(now);
        self.tick();
        self.advance();
        // Not every stage waits for the journal. When the next one does, the journal's limit may
        // already be past.
        if self.is_stuck() {
            self.give_up_storage();
            self.advance();
        }
    }

    /// Prepares the end of the program: stored bytes are made durable, and nothing more is fetched.
    /// Continue until [`Updater::is_stopped`], at most for a second or two. Bytes that are lost are
    /// fetched again.
    pub fn prepare_stop(&mut self, now: Instant) {
        self.enter(now);
        self.stopping = true;
        self.advance();
    }

    /// Sets the outputs that the caller can take from now on.
    pub fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
    }

    /// Reports that this peer's certificate is valid from this Unix second on and was accepted for
    /// the right host: no right clock shows an earlier time. The next journal record keeps it, for
    /// a device that loses its clock. Use only the peer's own certificate: a CA's is older.
    pub fn handle_certificate(&mut self, peer: Peer, valid_from: u64) {
        let from = u32::try_from(valid_from).unwrap_or(u32::MAX);
        let [broker, store] = &mut self.ledger.wanted.valid_from;
        let known = if peer == Peer::Broker { broker } else { store };
        *known = from.max(*known);
    }
}

/// Views.
impl Updater {
    /// The open offer; `None` while only the journal knows it.
    #[must_use]
    pub fn offer(&self) -> Option<Offer<'_>> {
        let attempt = self.update.as_ref()?;
        if attempt.source.url.0.is_empty() {
            return None;
        }
        Some(Offer {
            version: attempt.image.version,
            md5: attempt.image.md5,
            size: attempt.image.size,
            user_defined: attempt.source.user_defined.as_deref(),
            fw_type: attempt.source.fw_type.as_deref(),
            url: &attempt.source.url.0,
        })
    }

    /// The state of the update.
    #[must_use]
    pub fn state(&self) -> State {
        self.update.as_ref().map_or(State::Idle, |attempt| attempt.stage.state())
    }

    /// When the wait of the attempt ends, to show to a person: the end of a deferral, the next try
    /// of a download, the limit of an installation. `None` without an attempt, or if no time is
    /// known.
    #[must_use]
    pub fn waits_until(&self) -> Option<Instant> {
        self.stage_deadline().map(|(at, _)| at)
    }

    /// Whether, after [`Updater::prepare_stop`], nothing is left to make durable.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        let idle = self.job.as_ref().is_none_or(|job| matches!(job.task, SlotTask::Digest { .. }));
        let stored = !matches!(self.next_storage(), Some(SlotTask::Sync { .. }));
        idle && stored && self.ledger.settled()
    }

    /// The server's latest answer in the open attempt. At an [`output::Event::Retry`] it belongs to
    /// the cause, if that [is explained](crate::Reason::is_explained) by an answer.
    #[must_use]
    pub fn answer(&self) -> Option<Answer> {
        self.update.as_ref()?.answer
    }

    /// The stored bytes and the size of the open attempt's image.
    #[must_use]
    pub fn progress(&self) -> Option<(u64, u64)> {
        self.update.as_ref().map(|attempt| (attempt.stored, attempt.image.size))
    }

    /// The running version.
    #[must_use]
    pub fn running(&self) -> Version {
        self.running
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.cfg
    }

    /// The earliest plausible time in Unix seconds for judging a certificate of this peer:
    /// [`BUILT`], or the time given to [`Updater::handle_certificate`]. A clock with an earlier
    /// time is not set. A clock that steps back but stays above it does no harm.
    #[must_use]
    pub fn earliest_time(&self, peer: Peer) -> u64 {
        let [broker, store] = self.ledger.wanted.valid_from;
        BUILT.max(u64::from(if peer == Peer::Broker { broker } else { store }))
    }

    /// The result that the cloud must still get.
    #[must_use]
    pub fn owed(&self) -> Option<Outcome> {
        if matches!(self.owing, Owing::None | Owing::Clearing) {
            return None;
        }
        self.ledger.wanted.owed.map(|owed| owed.result)
    }

    /// Whether the cloud has everything: a version report was answered in this session, and no
    /// result is owed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let answered =
            matches!(&self.session, Session::Up(up) if matches!(up.report, Report::Answered(_)));
        answered && self.owing == Owing::None && self.ledger.settled()
    }
}

impl Updater {
    /// Advances the machine's time to the input's; it never runs backwards.
    // Not inlined: each copy costs flash.
    #[inline(never)]
    fn enter(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    fn next_op(&mut self) -> OpId {
        self.last_op = self.last_op.wrapping_add(1);
        OpId(self.last_op)
    }

    fn next_pub(&mut self) -> PubId {
        self.last_pub = self.last_pub.wrapping_add(1);
        PubId(self.last_pub)
    }
}
