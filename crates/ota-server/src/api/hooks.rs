//! Webhooks.

use ota_cloud::api::hook::{Hook, NewHook};
use ota_cloud::api::{Code, HookView, Problem};
use ota_store::{Item, Kind, SecretWrite};
use serde_json::json;

use super::reply::Reply;
use super::{Api, Asked, audit, corrupt, once};
use crate::cycle::Rider;
use crate::hooks::all;
use crate::keys::hook_place;
use crate::random;

pub(super) async fn list(api: &Api) -> Result<Reply, Problem> {
    let hooks = api.read(all).await?;
    let hooks: Vec<HookView<'_>> = hooks.iter().map(HookView::new).collect();
    Ok(Reply::json(200, &json!({ "webhooks": hooks })))
}

pub(super) async fn add(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let new = NewHook::read(&asked.body)?;
    let no = |_| Problem::new(Code::Internal, "the system provides no random numbers");
    let (id, secret): ([u8; 8], [u8; 32]) = (random().map_err(no)?, random().map_err(no)?);
    let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = api.ask(move |hub, now| {
        let read = hub.cloud.store().read();
        if all(read)?.len() >= NewHook::MOST {
            return Err(Problem::new(Code::Full, "there are 32 webhooks: remove one").into());
        }
        let hook = Hook::make(id, new, now, read.last_event()?);
        let body = hook.to_bytes().map_err(|why| corrupt(&why))?;
        let items = vec![Item::new(Kind::HOOK, hook.id.clone(), body)];
        let secrets = vec![hub.keys.sealed_hook(&hook.id, &secret)?];
        let audit = vec![audit(now, &asked, &hook.id)];
        let mut rider = Rider { items, secrets, audit, ..Rider::default() };
        let mut shown = serde_json::to_value(HookView::new(&hook)).map_err(|why| corrupt(&why))?;
        if let Some(fields) = shown.as_object_mut() {
            fields.insert("secret".to_owned(), secret.into());
        }
        once::mount(hub, &asked, &mut rider, Some(&shown))?;
        hub.cloud.put_rider(rider)?;
        Ok(shown)
    });
    let shown = shown.await?;
    api.0.hooks.changed();
    Ok(Reply::json(201, &shown))
}

pub(super) async fn remove(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    api.ask(move |hub, now| {
        let id = asked.call.name("id").to_owned();
        let item = found(hub.cloud.store().read(), &id)?;
        let gone_items = vec![(Kind::HOOK, id.clone(), item.rev)];
        let secrets = vec![SecretWrite::Remove(hook_place(&id))];
        let audit = vec![audit(now, &asked, &id)];
        hub.cloud.put_rider(Rider { gone_items, secrets, audit, ..Rider::default() })?;
        Ok(Reply::empty())
    })
    .await
}

/// Sends a test, and says what came of it.
pub(super) async fn test(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let id = asked.call.name("id").to_owned();
    let hook = api.ask(move |hub, now| {
        let item = found(hub.cloud.store().read(), &id)?;
        // Whoever tests a webhook makes the cloud send: that is a line of the audit.
        let audit = vec![audit(now, &asked, &id)];
        hub.cloud.put_rider(Rider { audit, ..Rider::default() })?;
        Hook::from_bytes(&item.body).map_err(|why| corrupt(&why).into())
    });
    let tried = api.0.hooks.test(hook.await?).await;
    let (status, error) = match tried {
        Ok(status) => (Some(status), None),
        Err(why) => (None, Some(why)),
    };
    Ok(Reply::json(200, &json!({ "status": status, "error": error })))
}

fn found(read: &dyn ota_store::Read, id: &str) -> Result<Item, super::Failed> {
    let unknown = || Problem::new(Code::UnknownWebhook, "there is no such webhook");
    if id.is_empty() || id.len() > 64 {
        return Err(unknown().into());
    }
    Ok(read.item(Kind::HOOK, id)?.ok_or_else(unknown)?)
}
