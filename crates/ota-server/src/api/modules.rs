//! Named modules, the same ones as in the vendor's API. Reports and firmware may use other names,
//! too: a row only has the words for people.

use ota_cloud::api::{ChangeModule, Code, NamedModuleView, NewModule, Problem};
use ota_cloud::vendor::NamedModule;
use ota_cloud::{Firmware, Module};
use ota_proto::Instant;
use ota_store::{Item, Kind, StoreError};
use serde_json::{Value, json};

use super::reply::Reply;
use super::{Api, Asked, Failed, audit, corrupt, once};
use crate::cycle::Rider;
use crate::hub::Hub;

fn unknown() -> Problem {
    Problem::new(Code::UnknownModule, "the product has no such named module")
}

fn read(item: &Item) -> Result<NamedModule, StoreError> {
    NamedModule::from_bytes(&item.body).map_err(|why| corrupt(&why))
}

fn view(named: &NamedModule) -> Value {
    let words = (named.name.as_str(), named.remark.as_str());
    json!(NamedModuleView::new(&named.fw_type, words, named.made))
}

pub(super) async fn list(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let prefix = format!("{}/", asked.grant.product());
    let shown = api
        .read(move |store| {
            let (mut shown, mut after) = (Vec::new(), None::<String>);
            loop {
                let page = store.items(Kind::MODULE, &prefix, after.as_deref(), 100)?;
                let Some(last) = page.last() else { return Ok(shown) };
                after = Some(last.id.clone());
                for item in &page {
                    shown.push(view(&read(item)?));
                }
            }
        })
        .await?;
    Ok(Reply::json(200, &json!({ "modules": shown })))
}

/// The row of a module of the path, and its id.
fn found(hub: &Hub, asked: &Asked) -> Result<(Module, Item), Failed> {
    super::rows::must_be_there(hub, asked.grant.product())?;
    let module = Module::new(Some(asked.call.name("module"))).ok_or_else(unknown)?;
    let id = format!("{}/{module}", asked.grant.product());
    let item = hub.cloud.store().read().item(Kind::MODULE, &id)?;
    Ok((module, item.ok_or_else(unknown)?))
}

/// Adds the row to a commit, and returns its view.
fn put(
    (product, module): (&str, &Module),
    before: Option<&Item>,
    (name, description): (Option<String>, Option<String>),
    now: Instant,
    rider: &mut Rider,
) -> Result<Value, Failed> {
    let (rev, old) = (before.map_or(0, |item| item.rev), before.map(read).transpose()?);
    let named = NamedModule::new(product, module, old, name, description, now);
    // The texts were checked.
    let named = named.map_err(|_| Problem::new(Code::Invalid, "a text is not taken"))?;
    let body = named.to_bytes().map_err(|why| corrupt(&why))?;
    let id = format!("{product}/{module}");
    rider.items.push(Item { rev, ..Item::new(Kind::MODULE, id, body) });
    Ok(view(&named))
}

pub(super) async fn add(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let (module, new) = NewModule::read(&asked.body)?;
    let shown = api
        .ask(move |hub, now| {
            let product = asked.grant.product();
            super::rows::must_be_there(hub, product)?;
            let id = format!("{product}/{module}");
            if hub.cloud.store().read().item(Kind::MODULE, &id)?.is_some() {
                return Err(Problem::new(Code::Exists, "the module exists already").into());
            }
            let mut rider = Rider::default();
            rider.audit.push(audit(now, &asked, module.as_str()));
            let words = (Some(new.name), Some(new.description));
            let shown = put((product, &module), None, words, hub.now(), &mut rider)?;
            once::mount(hub, &asked, &mut rider, Some(&shown))?;
            hub.cloud.put_rider(rider)?;
            Ok(shown)
        })
        .await?;
    Ok(Reply::json(201, &shown))
}

pub(super) async fn change(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let ChangeModule { name, description, .. } = ChangeModule::read(&asked.body)?;
    let shown = api
        .ask(move |hub, now| {
            let (module, item) = found(hub, &asked)?;
            let mut rider = Rider::default();
            rider.audit.push(audit(now, &asked, module.as_str()));
            let of = (asked.grant.product(), &module);
            let shown = put(of, Some(&item), (name, description), hub.now(), &mut rider)?;
            hub.cloud.put_rider(rider)?;
            Ok(shown)
        })
        .await?;
    Ok(Reply::json(200, &shown))
}

pub(super) async fn remove(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    api.ask(move |hub, now| {
        let (module, item) = found(hub, &asked)?;
        let product = asked.grant.product();
        let is_of = |one: &Firmware| one.product_id == product && one.module() == module;
        if hub.cloud.catalog().iter().any(is_of) {
            let what = "there is firmware for this module: remove it first";
            return Err(Problem::new(Code::InUse, what).into());
        }
        let mut rider = Rider::default();
        rider.gone_items.push((Kind::MODULE, item.id, item.rev));
        rider.audit.push(audit(now, &asked, module.as_str()));
        hub.cloud.put_rider(rider)?;
        Ok(Reply::empty())
    })
    .await
}
