//! Seals the secrets under a new master key while the service continues.

use ota_cloud::api::{Code, Problem};
use ota_store::DataFolder;
use ota_store::seal::{self, Ring, SealError};
use serde_json::json;

use super::reply::Reply;
use super::{Api, Asked, Failed, audit};
use crate::cycle::Rider;
use crate::hub::Hub;
use crate::keys::Keys;
use crate::random;

/// Secrets per commit.
const PIECE: usize = 500;
/// Commits per call, so that a call of a large fleet is answered before anybody gives up.
const PIECES: usize = 20;

/// Reads the key file again, and seals some secrets under its first key. `more` says whether some
/// are left: the call is sent again then. A kill between two commits loses nothing, because each
/// secret says which key it is under.
pub(super) async fn run(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    if !asked.body.is_empty() {
        return Err(Problem::new(Code::Invalid, "this call takes no body"));
    }
    let file = api.0.data.as_deref().map(DataFolder::master_key_in).ok_or_else(|| {
        Problem::new(Code::WrongState, "the cloud has no data folder, so no secret outlives it")
    })?;
    let read = tokio::task::spawn_blocking(move || Ring::read(&file)).await;
    let ring =
        read.map_err(|_| Problem::new(Code::Internal, "internal error"))?.map_err(refused)?;
    let missing = || Problem::new(Code::WrongState, "the key file is missing: put it back");
    let ring = ring.ok_or_else(missing)?;
    let keys = Keys::new(ring.clone());
    let for_ask = api.clone();
    api.ask(move |hub, now| {
        ring.check(hub.cloud.store().read()).map_err(failed)?;
        let mut rider = Rider::default();
        rider.audit.push(audit(now, &asked, "master key"));
        hub.cloud.put_rider(rider)?;
        // From now on new secrets are sealed under the new key, and both open.
        hub.keys = keys.clone();
        for_ask.0.known.set_ring(keys);
        Ok(())
    })
    .await?;
    let (mut sealed, mut more) = (0_usize, true);
    for _ in 0..PIECES {
        let some = api.ask(|hub, _| piece(hub)).await?;
        sealed = sealed.saturating_add(some);
        more = some > 0;
        if !more {
            break;
        }
    }
    if !more {
        // What is in memory of API keys is under older keys, which the file may soon lack.
        let for_ask = api.clone();
        api.ask(move |hub, _| Ok(for_ask.0.known.reseal(hub.cloud.store().read())?)).await?;
    }
    Ok(Reply::json(200, &json!({ "sealed": sealed, "more": more })))
}

fn piece(hub: &mut Hub) -> Result<usize, Failed> {
    let ring = hub.keys.ring().clone();
    let mut nonce = || random().ok();
    seal::rekey(hub.cloud.store_mut(), &ring, PIECE, &mut nonce).map_err(failed)
}

fn failed(why: SealError) -> Failed {
    match why {
        SealError::Store(why) => why.into(),
        why => refused(why).into(),
    }
}

/// The file's fault, which whoever may call this can mend.
fn refused(why: SealError) -> Problem {
    Problem::new(Code::WrongState, why.to_string())
}
