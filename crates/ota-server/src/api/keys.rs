//! API keys.

use ota_cloud::api::{Code, Key, KeyView, NewKey, Problem};
use ota_store::{Item, Kind, SecretWrite};
use serde_json::json;

use super::reply::Reply;
use super::rows::{all, has_root, is_root};
use super::{Api, Asked, audit, corrupt, once};
use crate::cycle::Rider;
use crate::keys::key_place;
use crate::random;

pub(super) async fn list(api: &Api) -> Result<Reply, Problem> {
    let items = api.read(|read| all(read, Kind::API_KEY)).await?;
    let keys: Vec<Key> = items.iter().filter_map(|item| Key::from_bytes(&item.body).ok()).collect();
    let keys: Vec<KeyView<'_>> = keys.iter().map(KeyView::new).collect();
    Ok(Reply::json(200, &json!({ "keys": keys })))
}

pub(super) async fn add(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let new = NewKey::read(&asked.body)?;
    let bytes = random()
        .map_err(|_| Problem::new(Code::Internal, "the system provides no random numbers"))?;
    let for_ask = api.clone();
    let shown = api
        .ask(move |hub, now| {
            let at = now.as_micros();
            let (key, text) = Key::make(bytes, &new.name, new.product.as_deref(), new.role, at);
            let body = key.to_bytes().map_err(|why| corrupt(&why))?;
            let items = vec![Item::new(Kind::API_KEY, key.id.clone(), body)];
            let audit = vec![audit(now, &asked, &key.id)];
            let sealed = hub.keys.sealed_key(&text)?;
            let secrets = vec![SecretWrite::Put(key_place(&key.id), sealed.clone())];
            let mut rider = Rider { items, audit, secrets, ..Rider::default() };
            let view = KeyView::new(&key);
            let shown = json!({ "id": view.id, "name": view.name, "roles": view.roles,
                "made": view.made, "key": text.reveal() });
            once::mount(hub, &asked, &mut rider, Some(&shown))?;
            hub.cloud.put_rider(rider)?;
            for_ask.0.known.made(key, sealed);
            Ok(shown)
        })
        .await?;
    Ok(Reply::json(201, &shown))
}

pub(super) async fn remove(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let for_ask = api.clone();
    api.ask(move |hub, now| {
        let id = asked.call.name("id").to_owned();
        let unknown = || Problem::new(Code::UnknownKey, "there is no such key");
        if id.is_empty() || id.len() > 64 {
            return Err(unknown().into());
        }
        let item = hub.cloud.store().read().item(Kind::API_KEY, &id)?.ok_or_else(unknown)?;
        if is_root(&item) && !has_root(hub.cloud.store().read(), &id)? {
            // Otherwise the next start would read it from its file again.
            let what = "no other key may do everything: make one first";
            return Err(Problem::new(Code::InUse, what).into());
        }
        let gone_items = vec![(Kind::API_KEY, id.clone(), item.rev)];
        let audit = vec![audit(now, &asked, &id)];
        let secrets = vec![SecretWrite::Remove(key_place(&id))];
        hub.cloud.put_rider(Rider { gone_items, audit, secrets, ..Rider::default() })?;
        for_ask.0.known.removed(&id);
        Ok(Reply::empty())
    })
    .await
}
