//! A person's commands to a batch.

use ota_cloud::alert::News;
use ota_cloud::api::{Code, Problem};
use ota_cloud::batch::Batch;
use ota_cloud::campaign::{CampaignInput, CampaignState, CloseReason};
use ota_proto::Instant;

use super::{find, target};
use crate::api::Failed;
use crate::batches::{rider_counts, row, step};
use crate::cycle::Cloud;
use crate::cycle::Rider;
use crate::hub::Hub;

/// A person's command to a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// No device starts, and none gets an offer.
    Pause,
    /// It goes on: the offer of each open task is pushed at once.
    Resume,
    /// The next wave begins, whatever the gate says.
    Next,
    /// No device starts any more. Open tasks end, or only those without an offer.
    Cancel {
        /// Devices with an offer continue.
        let_run: bool,
    },
    /// Devices that failed get another attempt.
    Retry,
    /// Sets its text for people.
    Comment(String),
}

/// Performs a command, in one commit with `rider`; `mount` adds to it what depends on the new
/// state. With `rev`, only if that is still the batch's revision
/// ([`Campaign::rev`](ota_cloud::Campaign::rev)). Returns the batch after it.
pub(crate) fn act_on(
    hub: &mut Hub,
    now: Instant,
    (product, number): (&str, u64),
    (act, rev): (&Act, Option<u64>),
    mut rider: Rider,
    mount: impl FnOnce(&mut Hub, &Batch, &mut Rider) -> Result<(), Failed>,
) -> Result<Batch, Failed> {
    let turn = hub.chores.turn(now);
    let mut batch = apply(&hub.cloud, (now, turn), (product, number), (act, rev), &mut rider)?;
    mount(hub, &batch, &mut rider)?;
    hub.cloud.put_rider(rider)?;
    batch.refused.clear();
    hub.cloud.note_batch(now, &batch, turn)?;
    Ok(batch)
}

/// Adds a command to a commit.
pub(super) fn apply(
    cloud: &Cloud,
    (now, turn): (Instant, u64),
    (product, number): (&str, u64),
    (act, rev): (&Act, Option<u64>),
    rider: &mut Rider,
) -> Result<Batch, Failed> {
    let (mut batch, item) = find(cloud.store().read(), product, number)?;
    if rev.is_some_and(|rev| rev != batch.campaign.rev()) {
        return Err(changed(&batch).into());
    }
    check(cloud, &batch, act)?;
    let before = batch.campaign.state();
    let input = match act {
        Act::Pause => Some(CampaignInput::Pause),
        Act::Resume => Some(CampaignInput::Resume),
        Act::Next => Some(CampaignInput::Next),
        Act::Cancel { .. } => Some(CampaignInput::Cancel),
        Act::Retry => Some(CampaignInput::Reopen),
        Act::Comment(_) => None,
    };
    if *act == Act::Retry {
        batch.retried = Some(0);
    }
    if let Some(input) = input {
        let _ = step(cloud, now, input, &mut batch, 0)?;
    }
    match act {
        Act::Cancel { let_run } => {
            batch.cancel(now);
            batch.lets_run = *let_run;
        }
        Act::Comment(text) => batch.comment.clone_from(text),
        _ => {}
    }
    rider_counts(&batch, rider);
    rider.alerts.extend(News::of_batch(before, &batch).map(|news| (now, news)));
    let is_over = batch.campaign.is_closed() && !batch.is_due();
    rider.items.push(row(&batch, (item.rev, Some(turn).filter(|_| !is_over)))?);
    Ok(batch)
}

/// What the caller did not know.
fn changed(batch: &Batch) -> Problem {
    let state = match batch.campaign.state() {
        CampaignState::Running => "running",
        CampaignState::Paused(_) => "paused",
        CampaignState::Closed(_) => "over",
        _ => "changed",
    };
    let (wave, rev) = (batch.campaign.wave().saturating_add(1), batch.campaign.rev());
    let what = format!("the batch has changed: it is {state}, in wave {wave}, at revision {rev}");
    Problem::new(Code::Conflict, what)
}

fn check(cloud: &Cloud, batch: &Batch, act: &Act) -> Result<(), Problem> {
    let wrong = |what: &str| Err(Problem::new(Code::WrongState, what));
    let state = batch.campaign.state();
    let is_closed = batch.campaign.is_closed();
    match act {
        Act::Comment(_) => return Ok(()),
        Act::Retry if matches!(state, CampaignState::Closed(CloseReason::Complete)) => {}
        Act::Cancel { .. } if !batch.cancelled => return Ok(()),
        _ if is_closed || batch.cancelled => return wrong("the batch is over"),
        Act::Resume if state == CampaignState::Running => return wrong("the batch is not paused"),
        Act::Pause if matches!(state, CampaignState::Paused(_)) => {
            return wrong("the batch is paused already");
        }
        Act::Next if state != CampaignState::Running => {
            return wrong("the batch is paused: resume it first");
        }
        Act::Next if batch.campaign.wave().saturating_add(1) >= batch.campaign.waves() => {
            return wrong("the last wave has begun");
        }
        _ => {}
    }
    match act {
        // Its firmware may have been withdrawn meanwhile.
        Act::Resume | Act::Next | Act::Retry => target(cloud, batch),
        _ => Ok(()),
    }
}
