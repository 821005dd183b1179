//! Authenticates and authorises callers.

use axum::body::Bytes;
use axum::http::request::Parts;
use ota_cloud::api::KeyText;
use ota_cloud::vendor::{Claim, OldClaim, Params, REPLAY, Request as Signed, VERSIONS};
use sha2::{Digest as _, Sha256};

use super::*;

/// The unproved claim of a request.
struct Claimed {
    secret_id: String,
    action: String,
    version: String,
    signature: Vec<u8>,
    /// The signature covers the action and the parameters.
    signs_all: bool,
    params: Result<Params, ApiError>,
}

/// Handles one request from its bytes to its answer.
pub(super) async fn run(api: Api, peer: SocketAddr, request: Request, line: &mut Line) -> Answer {
    let (head, body) = request.into_parts();
    let (claimed, caller) = prove(&api, peer, &head, body).await?;
    line.key = Some(caller.id().to_owned());
    api.budgets(|budgets| budgets.key(api.0.journal.clock.now(), caller.id()))
        .map_err(|why| ApiError::from(&why))?;
    let answer = checked(&api, peer, &head, claimed, caller, line).await;
    answer.map_err(|(why, version)| why.in_version(&version))
}

async fn checked(
    api: &Api,
    peer: SocketAddr,
    head: &Parts,
    claimed: Claimed,
    caller: Caller,
    line: &mut Line,
) -> Result<Value, (ApiError, String)> {
    let version = claimed.version.clone();
    let checked = async {
        if !VERSIONS.contains(&claimed.version.as_str()) {
            let what = format!("X-TC-Version is one of {}", VERSIONS.join(", "));
            return Err(ApiError::new(Code::NoSuchVersion, what));
        }
        let name = Action::name(&claimed.action)?;
        line.call = Some((if head.method == "GET" { "GET" } else { "POST" }, name));
        // Behind a proxy the last hop says nothing: the public URL does.
        let proxied = head.extensions.get::<crate::api::Proxied>().is_some();
        let near = peer.ip().to_canonical().is_loopback();
        let is_private = api.0.secure || near || proxied && api.is_secure();
        let right = Action::right(name);
        if right > Right::Read && !claimed.signs_all && !is_private {
            let what = "without TLS an action that changes something is taken only when \
                        x-tc-action is among SignedHeaders, and the body is signed";
            return Err(ApiError::new(Code::UnsupportedProtocol, what));
        }
        let params = claimed.params.clone()?;
        let action = Action::decode(name, &params)?;
        let product = params.product().filter(|_| right < Right::Administer);
        let known = match product {
            Some(product) => api.is_known(product).await.map_err(|why| ApiError::from(&why))?,
            None => false,
        };
        let grant = caller.allows(right, product, known).map_err(|why| ApiError::from(&why))?;
        let (id, base) = (line.request.clone(), base(api, head));
        let (api, action_name, from) = (api.clone(), name, peer.ip());
        let asked = Asked { api, caller, grant, action: action_name, base, id, from };
        if right == Right::Read {
            return dispatch(asked, action).await;
        }
        let mark = first_time(&asked, &claimed).await?;
        let answer = dispatch(asked.clone(), action).await;
        if answer.is_err() {
            // It changed nothing, so it may be repeated.
            asked.ask(move |hub, _| forget(hub, mark)).await?;
        }
        answer
    };
    checked.await.map_err(|why| (why, version))
}

/// Removes a signature.
fn forget(hub: &mut Hub, id: String) -> Result<(), Oops> {
    let mut rider = Rider::default();
    if let Some(item) = hub.cloud.store().read().item(Kind::REPLAY, &id)? {
        rider.gone_items.push((Kind::REPLAY, id, item.rev));
    }
    Ok(hub.cloud.put_rider(rider)?)
}

/// Stores a signature that is about to change something, and refuses a stored one. Returns the id
/// of its row.
async fn first_time(asked: &Asked, claimed: &Claimed) -> Result<String, ApiError> {
    let hex: String = claimed.signature.iter().map(|byte| format!("{byte:02x}")).collect();
    let id = format!("{}/{hex}/{}", claimed.secret_id, asked.action);
    let mark = id.clone();
    let marked = asked
        .ask(move |hub, now| {
            let micros = now.as_micros();
            let mut rider = Rider::default();
            for old in hub.cloud.store_mut().due_items(Kind::REPLAY, micros, 20)? {
                if let Some(item) = hub.cloud.store().read().item(Kind::REPLAY, &old)? {
                    rider.gone_items.push((Kind::REPLAY, old, item.rev));
                }
            }
            let gone = rider.gone_items.iter().any(|(_, gone, _)| *gone == id);
            if !gone && hub.cloud.store().read().item(Kind::REPLAY, &id)?.is_some() {
                let what = "this request was already used: sign it again";
                return Err(ApiError::new(Code::SignatureFailure, what).into());
            }
            let wake = Some(micros.saturating_add(REPLAY.saturating_mul(1_000_000)));
            rider.gone_items.retain(|(_, gone, _)| *gone != id);
            if !gone {
                rider.items.push(Item { wake, ..Item::new(Kind::REPLAY, id, Vec::new()) });
            }
            Ok(hub.cloud.put_rider(rider)?)
        })
        .await;
    marked.map(|()| mark)
}

/// Proves the claim of a request. An unauthenticated request is cheap: its address is charged
/// before its body is read, and the keys are in memory.
async fn prove(
    api: &Api,
    peer: SocketAddr,
    head: &Parts,
    body: Body,
) -> Result<(Claimed, Caller), ApiError> {
    let headers: Vec<(&str, &str)> = head
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    let query = head.uri.query().unwrap_or("");
    let (method, is_get) = match head.method.as_str() {
        "GET" => ("GET", true),
        "POST" => ("POST", false),
        _ => {
            let what = "the method is POST or GET";
            return Err(stranger(api, peer, ApiError::new(Code::InvalidRequest, what)));
        }
    };
    let signed_query = if is_get { query } else { "" };
    let request = Signed { method, query: signed_query, headers: &headers };
    let is_old =
        request.header("Authorization").is_none() && request.header("X-TC-Action").is_none();
    if is_old && api.0.old_signatures {
        return prove_old(api, peer, &request, body).await;
    }
    let claim = Claim::read(&request, api.0.journal.clock.wall());
    let claim = claim.map_err(|why| stranger(api, peer, why))?;
    let signer = signer(api, claim.secret_id)?;
    let (caller, key) = signer.ok_or_else(|| stranger(api, peer, unknown()))?;
    let now = api.0.journal.clock.now();
    let budget = api.budgets(|budgets| budgets.claim(now, peer.ip(), claim.secret_id));
    budget.map_err(|why| ApiError::from(&why))?;
    let body = if is_get { Bytes::new() } else { body_of(api, body).await? };
    claim.verify(&request, Sha256::digest(&body).into(), key.secret().as_bytes())?;
    api.budgets(|budgets| budgets.proved(peer.ip(), claim.secret_id));
    let params = if is_get { Params::from_query(query) } else { Params::from_json(&body) };
    let claimed = Claimed {
        secret_id: claim.secret_id.to_owned(),
        action: claim.action.to_owned(),
        version: claim.version.to_owned(),
        signature: claim.signature.to_vec(),
        signs_all: claim.signs_action && claim.signs_body,
        params,
    };
    Ok((claimed, caller))
}

/// The same for an old signature: the key's id may be in the body.
async fn prove_old(
    api: &Api,
    peer: SocketAddr,
    request: &Signed<'_>,
    body: Body,
) -> Result<(Claimed, Caller), ApiError> {
    let now = api.0.journal.clock.now();
    let budget = api.budgets(|budgets| budgets.stranger(now, peer.ip()));
    budget.map_err(|why| ApiError::from(&why))?;
    let is_get = request.method == "GET";
    let body = if is_get { Bytes::new() } else { body_of(api, body).await? };
    let form = if is_get { request.query } else { core::str::from_utf8(&body).unwrap_or_default() };
    let host = request.header("Host").unwrap_or("");
    let claim = OldClaim::read(request.method, host, form, api.0.journal.clock.wall())?;
    let (caller, key) = signer(api, claim.secret_id())?.ok_or_else(unknown)?;
    claim.verify(key.secret().as_bytes())?;
    api.budgets(|budgets| budgets.no_stranger(peer.ip()));
    let claimed = Claimed {
        secret_id: claim.secret_id().to_owned(),
        action: claim.action().to_owned(),
        version: claim.version().to_owned(),
        signature: claim.signature().to_vec(),
        signs_all: true,
        params: Ok(claim.params().clone()),
    };
    Ok((claimed, caller))
}

/// The answer to an unauthenticated request, which is charged to its address.
fn stranger(api: &Api, peer: SocketAddr, why: ApiError) -> ApiError {
    let now = api.0.journal.clock.now();
    let budget = api.budgets(|budgets| budgets.stranger(now, peer.ip()));
    budget.map_or_else(|full| ApiError::from(&full), |()| why)
}

fn unknown() -> ApiError {
    ApiError::new(Code::SecretIdNotFound, "there is no key with this SecretId here")
}

fn signer(api: &Api, id: &str) -> Result<Option<(Caller, KeyText)>, ApiError> {
    api.0.known.signer(id).map_err(|why| ApiError::from(&api.store(&why)))
}

async fn body_of(api: &Api, body: Body) -> Result<Bytes, ApiError> {
    let read = tokio::time::timeout(api.0.patience, axum::body::to_bytes(body, MAX_BODY));
    match read.await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => {
            let what = "the body is incomplete or exceeds 256 KiB";
            Err(ApiError::new(Code::InvalidRequest, what))
        }
        Err(_) => Err(ApiError::new(Code::InvalidRequest, "the body did not come in time")),
    }
}

/// The prefix of upload URLs: the signature covers the host.
fn base(api: &Api, head: &Parts) -> String {
    if let Some(url) = &api.0.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let scheme = if api.0.secure { "https" } else { "http" };
    format!("{scheme}://{}", host.unwrap_or("localhost"))
}
