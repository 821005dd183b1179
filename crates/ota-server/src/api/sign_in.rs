//! How people sign in, join, change their password and sign out.

use ota_cloud::api::{AdminLink, Caller, Code, LinkFor, Person, Problem, Session, SessionText};
use ota_store::{Item, Kind, Store as _};

use super::people::{no_sessions, row};
use super::{Api, Asker, Failed, audit_of, corrupt, password};
use crate::cycle::Rider;
use crate::hub::Hub;
use crate::random;

/// The most expired rows that a new session removes.
const OLD: usize = 50;

fn wrong() -> Problem {
    Problem::new(Code::NoKey, "name or password is wrong")
}

fn no_link() -> Problem {
    Problem::new(Code::NoKey, "the link is not valid any more, or was used")
}

impl Api {
    /// Begins a session of the person with this password.
    pub(crate) async fn sign_in(
        &self,
        from: &Asker,
        name: &str,
        given: String,
    ) -> Result<SessionText, Problem> {
        let now = self.0.journal.clock.now();
        let known = Person::check_name(name).ok().and_then(|()| self.0.known.person(name));
        self.budgets(|budgets| budgets.sign_in(now, from.ip, name))?;
        let hashed = known.as_ref().and_then(|person| person.password.clone());
        let given = if given.len() > Person::PASSWORD.1 { String::new() } else { given };
        let is = password::is(self, given, hashed).await?;
        let Some(person) = known.filter(|person| is && !person.disabled) else {
            self.failed(from, name).await?;
            return Err(wrong());
        };
        self.budgets(|budgets| budgets.signed_in(from.ip, name));
        self.begin(from, person.name, move |_, person, _| Ok(person)).await
    }

    /// Notes a failed attempt, if the name is a person's.
    async fn failed(&self, from: &Asker, name: &str) -> Result<(), Problem> {
        let Some(person) = self.0.known.person(name) else { return Ok(()) };
        let from = from.clone();
        self.ask(move |hub, _| {
            let line = audit_of(hub.now(), "", "SignInRefused", &person.name, &from);
            Ok(hub.cloud.put_rider(Rider { audit: vec![line], ..Rider::default() })?)
        })
        .await
    }

    /// An invited person chooses a password and signs in.
    pub(crate) async fn join(
        &self,
        from: &Asker,
        code: &str,
        chosen: String,
    ) -> Result<SessionText, Problem> {
        Person::check_password(&chosen)?;
        let clock = &self.0.journal.clock;
        self.budgets(|budgets| budgets.sign_in(clock.now(), from.ip, ""))?;
        let (at, code) = (clock.unix_micros().as_micros(), code.to_owned());
        let mut everybody = self.0.known.everybody().into_iter();
        let person =
            everybody.find(|person| person.is_invited_by(&code, at)).ok_or_else(no_link)?;
        let hash = password::hash(self, chosen).await?;
        let asker = from.clone();
        let session = self
            .begin(from, person.name, move |_, mut person, rider| {
                // The same invitation may be used twice at the same time.
                if !person.is_invited_by(&code, at) {
                    return Err(no_link().into());
                }
                person.set_password(hash);
                rider.audit.push(audit_of(
                    ota_proto::Instant::from_micros(at),
                    &format!("@{}", person.name),
                    "Join",
                    "",
                    &asker,
                ));
                Ok(person)
            })
            .await?;
        self.budgets(|budgets| budgets.signed_in(from.ip, ""));
        Ok(session)
    }

    /// The holder of an admin's link becomes an admin of all products: a new person, or an existing
    /// one whose password is lost.
    pub(crate) async fn first(
        &self,
        from: &Asker,
        code: &str,
        name: &str,
        chosen: String,
    ) -> Result<SessionText, Problem> {
        Person::check_name(name)?;
        Person::check_password(&chosen)?;
        let clock = &self.0.journal.clock;
        self.budgets(|budgets| budgets.sign_in(clock.now(), from.ip, ""))?;
        let now = clock.unix_micros();
        let read = |key: [u8; 32]| AdminLink::read(&key, code, now);
        let found = self.0.known.link_keys().into_iter().find_map(read);
        let (link, id) = found.ok_or_else(no_link)?;
        let hash = password::hash(self, chosen).await?;
        let (api, asker) = (self.clone(), from.clone());
        let session = self
            .begin(from, name.to_owned(), move |hub, mut person, rider| {
                if link.what == LinkFor::First && api.0.known.has_admin("") {
                    return Err(no_link().into());
                }
                if hub.cloud.store().read().item(Kind::LINK, &id)?.is_some() {
                    return Err(no_link().into());
                }
                let used = Item::new(Kind::LINK, id, Vec::new());
                rider.items.push(Item { wake: Some(link.until.as_micros()), ..used });
                let made = person.made;
                person.disabled = false;
                person.roles = Person::root("", made).roles;
                person.set_password(hash);
                let who = format!("@{}", person.name);
                rider.audit.push(audit_of(hub.now(), &who, "BecomeAdmin", "", &asker));
                Ok(person)
            })
            .await?;
        self.budgets(|budgets| budgets.signed_in(from.ip, ""));
        Ok(session)
    }

    /// Begins a session in one commit with a change of the person. A name without a person is that
    /// of a new one.
    async fn begin(
        &self,
        from: &Asker,
        name: String,
        change: impl FnOnce(&mut Hub, Person, &mut Rider) -> Result<Person, Failed> + Send + 'static,
    ) -> Result<SessionText, Problem> {
        let bytes = random()
            .map_err(|_| Problem::new(Code::Internal, "the system provides no random numbers"))?;
        let text = SessionText::make(bytes);
        let (api, id, asker) = (self.clone(), text.id(), from.clone());
        self.ask(move |hub, _| {
            let (known, now, mut rider) = (&api.0.known, hub.now(), Rider::default());
            let before = known.person(&name);
            let fresh = Person::new(&name, std::collections::BTreeMap::new(), now.as_micros());
            let person = change(hub, before.clone().unwrap_or(fresh), &mut rider)?;
            if person.caller().is_none() {
                return Err(wrong().into());
            }
            if before.as_ref() != Some(&person) {
                rider.items.push(row(hub.cloud.store().read(), &person)?);
            }
            // A new password ends the sessions of the old one.
            let mut ended = known.sessions_of(&name);
            if before.is_some_and(|before| before.password == person.password) {
                ended.truncate(ended.len().saturating_add(1).saturating_sub(Session::MOST));
            }
            for kind in [Kind::SESSION, Kind::LINK] {
                for id in hub.cloud.store_mut().due_items(kind, now.as_micros(), OLD)? {
                    let item = hub.cloud.store().read().item(kind, &id)?;
                    if kind == Kind::SESSION && !ended.contains(&id) {
                        ended.push(id);
                    } else if kind == Kind::LINK {
                        rider.gone_items.extend(item.map(|item| (kind, item.id, item.rev)));
                    }
                }
            }
            no_sessions(hub.cloud.store().read(), &ended, &mut rider)?;
            let session = Session::new(&name, now);
            let body = session.to_bytes().map_err(|why| corrupt(&why))?;
            let item = Item::new(Kind::SESSION, id.clone(), body);
            rider.items.push(Item { wake: Some(session.end().as_micros()), ..item });
            rider.audit.push(audit_of(now, &format!("@{name}"), "SignIn", "", &asker));
            hub.cloud.put_rider(rider)?;
            known.joined(person);
            known.ended(&ended);
            known.began(id, session, now);
            Ok(())
        })
        .await?;
        Ok(text)
    }

    /// Changes the caller's own password. All its sessions end, and a new one begins.
    pub(crate) async fn change_password(
        &self,
        from: &Asker,
        caller: &Caller,
        (old, new): (String, String),
    ) -> Result<SessionText, Problem> {
        Person::check_password(&new)?;
        let name = caller.id().trim_start_matches('@').to_owned();
        let now = self.0.journal.clock.now();
        self.budgets(|budgets| budgets.sign_in(now, from.ip, &name))?;
        let person = self.0.known.person(&name).ok_or_else(wrong)?;
        if !password::is(self, old, person.password.clone()).await? {
            self.failed(from, &name).await?;
            let mut why = wrong();
            why.field = Some("old");
            return Err(why);
        }
        self.budgets(|budgets| budgets.signed_in(from.ip, &name));
        let hash = password::hash(self, new).await?;
        let asker = from.clone();
        self.begin(from, name, move |hub, mut person, rider| {
            person.set_password(hash);
            let who = format!("@{}", person.name);
            rider.audit.push(audit_of(hub.now(), &who, "ChangePassword", "", &asker));
            Ok(person)
        })
        .await
    }

    /// Ends a session.
    pub(crate) async fn sign_out(
        &self,
        from: &Asker,
        text: &SessionText,
        caller: &Caller,
    ) -> Result<(), Problem> {
        let (api, id, who) = (self.clone(), text.id(), caller.id().to_owned());
        let asker = from.clone();
        self.ask(move |hub, _| {
            let line = audit_of(hub.now(), &who, "SignOut", "", &asker);
            let mut rider = Rider { audit: vec![line], ..Rider::default() };
            no_sessions(hub.cloud.store().read(), std::slice::from_ref(&id), &mut rider)?;
            hub.cloud.put_rider(rider)?;
            api.0.known.ended(&[id]);
            Ok(())
        })
        .await
    }

    /// Whether there is an admin among the people.
    pub(crate) fn has_admin(&self) -> bool {
        self.0.known.has_admin("")
    }
}
