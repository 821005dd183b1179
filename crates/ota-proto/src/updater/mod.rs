//! The machine: sessions, the update and its result, side by side.
//!
//! * [`session`]: Down, Up (settling, reporting, online);
//! * [`attempt`]: what is common to the stages of an update; [`stage`]: a file for each of them;
//!   [`offer`] and [`commands`] begin it, [`storage`] has what slot and journal answer;
//! * [`result`]: None, Saving, Owed, InFlight, Clearing; [`ledger`] makes it durable;
//! * [`tick`] is what time does, [`advance`] what follows by itself, [`poll`] what comes out,
//!   [`boot`] where it begins.

mod advance;
mod attempt;
mod boot;
mod commands;
mod events;
mod ledger;
mod offer;
mod poll;
mod progress;
mod result;
mod session;
mod stage;
mod storage;
mod tick;

use crate::config::{Config, ConfigError};
use crate::error::{FetchError, MessageError, TransportError};
use crate::input::{Answer, Boot, Peer, ResponseHead, SlotInfo, SlotState};
use crate::journal::Outcome;
use crate::message::CloudMessage;
#[allow(unused_imports)] // for the documentation
use crate::output;
use crate::output::{Body, Done, Offer, OpId, PubId, State};
use crate::rng::Rng;
use crate::time::{BUILT, Instant};
use crate::version::Version;

use attempt::{Attempt, Failed};
use events::Events;
use ledger::Ledger;
use result::Owing;
use session::{Report, Session};
use stage::{Stage, Why};
use storage::{Job, Task};

/// One device's side of its updates: `(state, input, now) → (state, outputs)`.
///
/// Feed it what happens through the `handle_` methods, tell it what the application wants through
/// [`Updater::command`], and after each call take outputs from [`Updater::poll`] until
/// [`output::Output::Idle`]. Every input is legal in every state; a completion for an operation
/// that is not current is ignored. It never panics, whatever the inputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub struct Updater {
    cfg: Config,
    storage: SlotInfo,
    running: Version,
    slot: SlotState,
    /// The slot still says that a roll-back happened: so often it may be told to forget it, and
    /// when next.
    mark: Option<(u8, Instant)>,
    now: Instant,
    /// When what follows from the state and the time was last drawn: see [`advance`].
    advanced: Instant,
    rng: Rng,
    last_op: u32,
    last_pub: u32,
    session: Session,
    update: Option<Attempt>,
    owing: Owing,
    ledger: Ledger,
    /// The one slot operation under way: there are never two.
    job: Option<Job>,
    /// The next try of a slot operation that failed and must not be given up, and how often it
    /// failed in a row.
    job_retry: Option<Instant>,
    job_faults: u8,
    cancel: Option<OpId>,
    events: Events,
    /// When the version was last reported.
    last_report: Option<Instant>,
    /// When an offer last took the place of another.
    superseded: Option<Instant>,
    /// When to report because an offer came too soon after that.
    recall: Option<Instant>,
    /// The last attempt that failed, and not by its image.
    failed: Option<Failed>,
    /// A leaky bucket of attempts: the moment at which it is empty, and all may begin at once.
    budget: Instant,
    /// The cloud has answered the report of what runs now, since boot.
    version_answered: bool,
    gate: Gate,
    /// The program is about to end.
    stopping: bool,
}

/// What the caller has room for now. A closed gate holds outputs back without losing anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Gate {
    /// A [`output::Output::Publish`] may come.
    pub publish: bool,
    /// A [`output::Output::Fetch`] may come: several devices may have to share one connection.
    pub fetch: bool,
}

impl Gate {
    /// Everything may come: how a machine begins.
    pub const OPEN: Self = Self { publish: true, fetch: true };
}

/// Inputs.
impl Updater {
    /// The machine of a device that has just booted (docs/rules.md).
    ///
    /// # Errors
    /// [`ConfigError`] when the running version is none, the slot has no size, a time is zero, or
    /// no offer could get through the limits.
    pub fn new(now: Instant, cfg: Config, boot: Boot<'_>) -> Result<Self, ConfigError> {
        boot::start(now, cfg, boot)
    }

    /// A session is up (connected and subscribed) or down. Every call with `true` is a new one.
    pub fn handle_session(&mut self, now: Instant, up: bool) {
        self.enter(now);
        self.owing.session_changed();
        if let Some(attempt) = &mut self.update {
            attempt.progress.new_session();
            // A new session asks anew.
            attempt.silence.again = false;
            if !up {
                attempt.silence.replies = 0;
            }
            if let Stage::Recall(recall) = &mut attempt.stage {
                recall.session_changed(self.now, up, &self.cfg.timing);
                // Who cannot be asked is not waited for, not even until the next tick.
                if !up && recall.why == Why::Paused {
                    attempt.resume();
                }
            }
        }
        self.session = if up { Session::new_up(self.now) } else { Session::Down };
        self.advance();
    }

    /// A message came on a topic that the session subscribed.
    ///
    /// # Errors
    /// [`MessageError`] if it is not a cloud message for this device; it had no effect.
    // Inlined it would widen its caller's frame, and cost flash.
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

    /// A publication was handed over (QoS 0) or acknowledged (QoS 1).
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

    /// The head of an answer came.
    ///
    /// # Errors
    /// [`FetchError`]: stale, or of no use; the machine has decided what follows.
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

    /// A piece of body came. See [`Body`] for what to do.
    ///
    /// # Errors
    /// [`FetchError`]: stale, or of no use; the machine has decided what follows.
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

    /// The body ended as the answer's framing says.
    pub fn handle_body_end(&mut self, now: Instant, op: OpId) {
        self.enter(now);
        self.on_body_end(op);
        self.advance();
    }

    /// The fetch failed, before or after the head.
    pub fn handle_fetch_failed(&mut self, now: Instant, op: OpId, error: TransportError) {
        self.enter(now);
        self.on_fetch_failed(op, error);
        self.advance();
    }

    /// A [`output::Work`] ended. The digest is taken for [`output::Work::Digest`] only, which fails
    /// without one.
    pub fn handle_done(&mut self, now: Instant, op: OpId, result: Done) {
        self.enter(now);
        if self.ledger.is_writing(op) {
            self.on_persisted(op, result.map(|_| ()));
        } else {
            self.on_done(op, result);
        }
        self.advance();
    }

    /// The deadline of the last [`output::Output::Idle`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.enter(now);
        self.tick();
        self.advance();
        // The journal is not waited for in every stage: when one is left for another that does,
        // its limit may be past already.
        if self.is_stuck() {
            self.give_up_storage();
            self.advance();
        }
    }

    /// The program is about to end: nothing more is fetched, and what is stored is made durable.
    /// Go on until [`Updater::is_stopped`], but for a second or two at most: what is lost otherwise
    /// is only fetched again.
    pub fn prepare_stop(&mut self, now: Instant) {
        self.enter(now);
        self.stopping = true;
        self.advance();
    }

    /// What the caller has room for from now on.
    pub fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
    }

    /// This peer has shown a certificate that is valid from this Unix second on, and its chain was
    /// accepted for the right host: a right clock says no less. Kept in the journal with the next
    /// record, as a floor for a clock that is lost. Only of the peer's own certificate: an
    /// authority's says less.
    pub fn handle_certificate(&mut self, peer: Peer, valid_from: u64) {
        let from = u32::try_from(valid_from).unwrap_or(u32::MAX);
        let [broker, store] = &mut self.ledger.wanted.valid_from;
        let known = if peer == Peer::Broker { broker } else { store };
        *known = from.max(*known);
    }
}

/// Views.
impl Updater {
    /// The open offer, as the application sees it; `None` while only the journal knows of it.
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

    /// Where the update stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.update.as_ref().map_or(State::Idle, |attempt| attempt.stage.state())
    }

    /// When what the attempt waits for comes, or is tried again, for a person: the end of a
    /// deferral, the next try of a download, the limit of an installation. `None` without an
    /// attempt, or when no time is known.
    #[must_use]
    pub fn waits_until(&self) -> Option<Instant> {
        self.stage_deadline().map(|(at, _)| at)
    }

    /// After [`Updater::prepare_stop`]: nothing is left that could be made durable now.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        let idle = self.job.as_ref().is_none_or(|job| matches!(job.task, Task::Digest { .. }));
        let stored = !matches!(self.next_storage(), Some(Task::Sync { .. }));
        idle && stored && self.ledger.settled()
    }

    /// What the server answered last in the open attempt. At an [`output::Event::Retry`] it belongs
    /// to the cause when that [is explained](crate::Reason::is_explained) by an answer.
    #[must_use]
    pub fn answer(&self) -> Option<Answer> {
        self.update.as_ref()?.answer
    }

    /// Bytes stored and bytes in all of the open attempt.
    #[must_use]
    pub fn progress(&self) -> Option<(u64, u64)> {
        self.update.as_ref().map(|attempt| (attempt.stored, attempt.image.size))
    }

    /// The version that runs.
    #[must_use]
    pub fn running(&self) -> Version {
        self.running
    }

    /// What the machine was configured with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.cfg
    }

    /// What a right clock says at least, in Unix seconds, before a certificate of this peer is
    /// judged by it: [`BUILT`], or what [`Updater::handle_certificate`] was told. A clock that says
    /// less is not set. A step back above it never matters.
    #[must_use]
    pub fn earliest_time(&self, peer: Peer) -> u64 {
        let [broker, store] = self.ledger.wanted.valid_from;
        BUILT.max(u64::from(if peer == Peer::Broker { broker } else { store }))
    }

    /// The result that the cloud must still hear.
    #[must_use]
    pub fn owed(&self) -> Option<Outcome> {
        if matches!(self.owing, Owing::None | Owing::Clearing) {
            return None;
        }
        self.ledger.wanted.owed.map(|owed| owed.result)
    }

    /// A version report was answered in this session and no result is owed: all is told.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let answered =
            matches!(&self.session, Session::Up(up) if matches!(up.report, Report::Answered(_)));
        answered && self.owing == Owing::None && self.ledger.settled()
    }
}

impl Updater {
    /// Takes the input's moment; a clock that ran backwards stands still.
    // Its copies would cost flash.
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
