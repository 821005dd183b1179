//! A person's commands to a batch.

use ota_cloud::alert::News;
use ota_cloud::api::{Code, Problem};
use ota_cloud::batch::{Act, Batch};
use ota_cloud::campaign::CampaignState;
use ota_proto::Instant;

use super::{find, target};
use crate::api::Failed;
use crate::batches::{rider_counts, row, step};
use crate::cycle::Cloud;
use crate::cycle::Rider;
use crate::hub::Hub;

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
    if *act == Act::Retry {
        batch.retried = Some(0);
    }
    if let Some(input) = act.input() {
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
    batch.check(act).map_err(|what| Problem::new(Code::WrongState, what))?;
    match act {
        // Its firmware may have been withdrawn meanwhile.
        Act::Resume | Act::Next | Act::Retry => target(cloud, batch),
        _ => Ok(()),
    }
}
