//! People who may sign in to the console.

use ota_cloud::api::{ChangePerson, Code, NewPerson, Person, PersonView, Problem};
use ota_store::{Item, Kind, Read, StoreError};
use serde_json::{Value, json};

use super::reply::Reply;
use super::{Api, Asked, Failed, audit, corrupt, once};
use crate::cycle::Rider;
use crate::random;

pub(super) fn list(api: &Api) -> Result<Reply, Problem> {
    let now = api.0.journal.clock.unix_micros().as_micros();
    let people = api.0.known.everybody();
    let people: Vec<PersonView<'_>> = people.iter().map(|one| PersonView::new(one, now)).collect();
    Ok(Reply::json(200, &json!({ "people": people })))
}

/// The row of a person.
pub(super) fn row(read: &dyn Read, person: &Person) -> Result<Item, StoreError> {
    let rev = read.item(Kind::PERSON, &person.name)?.map_or(0, |item| item.rev);
    let body = person.to_bytes().map_err(|why| corrupt(&why))?;
    Ok(Item { rev, ..Item::new(Kind::PERSON, person.name.clone(), body) })
}

/// What removes sessions.
pub(super) fn no_sessions(
    read: &dyn Read,
    ids: &[String],
    rider: &mut Rider,
) -> Result<(), StoreError> {
    for id in ids {
        let item = read.item(Kind::SESSION, id)?;
        rider.gone_items.extend(item.map(|item| (Kind::SESSION, item.id, item.rev)));
    }
    Ok(())
}

fn shown(person: &Person, now: u64, invitation: Option<&str>) -> Value {
    let mut shown = json!(PersonView::new(person, now));
    if let (Value::Object(shown), Some(text)) = (&mut shown, invitation) {
        shown.insert("invitation".to_owned(), text.into());
    }
    shown
}

fn no_random() -> Problem {
    Problem::new(Code::Internal, "the system provides no random numbers")
}

pub(super) async fn add(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let new = NewPerson::read(&asked.body)?;
    let bytes = random().map_err(|_| no_random())?;
    let for_ask = api.clone();
    let shown = api
        .ask(move |hub, at| {
            let (known, now) = (&for_ask.0.known, hub.now().as_micros());
            if known.person(&new.name).is_some() {
                return Err(Problem::new(Code::Exists, "the person exists already").into());
            }
            if known.everybody().len() >= Person::MOST {
                return Err(Problem::new(Code::Full, "there are 1,000 people already").into());
            }
            let mut person = Person::new(&new.name, new.roles, now);
            let text = person.invite(bytes, now);
            let mut rider = Rider { audit: vec![audit(at, &asked, &new.name)], ..Rider::default() };
            rider.items.push(row(hub.cloud.store().read(), &person)?);
            let shown = shown(&person, now, Some(&text));
            once::mount(hub, &asked, &mut rider, Some(&shown))?;
            hub.cloud.put_rider(rider)?;
            known.joined(person);
            Ok(shown)
        })
        .await?;
    Ok(Reply::json(201, &shown))
}

/// An admin must be left.
fn is_needed(api: &Api, person: &Person) -> Result<(), Failed> {
    if person.is_root() && !api.0.known.has_admin(&person.name) {
        let what = "nobody else is an admin of all products: add somebody first";
        return Err(Problem::new(Code::InUse, what).into());
    }
    Ok(())
}

pub(super) async fn change(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let change = ChangePerson::read(&asked.body)?;
    let bytes = random().map_err(|_| no_random())?;
    let for_ask = api.clone();
    let shown = api
        .ask(move |hub, at| {
            let (known, now) = (&for_ask.0.known, hub.now().as_micros());
            let name = asked.call.name("name");
            let before = known.person(name).ok_or_else(Problem::unknown_person)?;
            let mut person = before.clone();
            change.apply(&mut person);
            if !person.is_root() {
                is_needed(&for_ask, &before)?;
            }
            let text = change.invite.then(|| person.invite(bytes, now));
            let mut rider = Rider { audit: vec![audit(at, &asked, name)], ..Rider::default() };
            let read = hub.cloud.store().read();
            rider.items.push(row(read, &person)?);
            let ended = if person.disabled { known.sessions_of(name) } else { Vec::new() };
            no_sessions(read, &ended, &mut rider)?;
            hub.cloud.put_rider(rider)?;
            let shown = shown(&person, now, text.as_deref());
            known.joined(person);
            known.ended(&ended);
            Ok(shown)
        })
        .await?;
    Ok(Reply::json(200, &shown))
}

pub(super) async fn remove(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let for_ask = api.clone();
    api.ask(move |hub, at| {
        let (known, name) = (&for_ask.0.known, asked.call.name("name"));
        let person = known.person(name).ok_or_else(Problem::unknown_person)?;
        is_needed(&for_ask, &person)?;
        let mut rider = Rider { audit: vec![audit(at, &asked, name)], ..Rider::default() };
        let read = hub.cloud.store().read();
        let item = read.item(Kind::PERSON, name)?;
        rider.gone_items.extend(item.map(|item| (Kind::PERSON, item.id, item.rev)));
        let ended = known.sessions_of(name);
        no_sessions(read, &ended, &mut rider)?;
        hub.cloud.put_rider(rider)?;
        known.left(name);
        known.ended(&ended);
        Ok(Reply::empty())
    })
    .await
}
