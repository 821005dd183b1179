//! People who sign in to the console. Their roles are those of API keys: one place decides on both.

use core::fmt;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::input::{check_product, read_json, text};
use super::key::{ALL, Caller, hex};
use super::problem::{Code, Problem};
use super::role::Role;
use crate::error::BadState;

/// The longest name of a person in bytes.
const MAX_NAME: usize = 48;
/// The most roles of a person.
const MAX_ROLES: usize = 100;

/// A stored person: JSON, whose later versions only add fields.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Person {
    /// The name for signing in.
    pub name: String,
    /// The role for each product, and under `*` for all of them.
    pub roles: BTreeMap<String, Role>,
    /// The creation time, in microseconds since 1970.
    pub made: u64,
    /// Whether the person must not sign in.
    pub disabled: bool,
    /// The hash of the password, in the format of its owner; `None` before there is one.
    #[serde(default)]
    pub password: Option<String>,
    #[serde(default)]
    invitation: Option<Invitation>,
}

/// SHA-256 of an invitation's text, and its end in microseconds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Invitation {
    hash: String,
    until: u64,
}

impl Person {
    /// The most people.
    pub const MOST: usize = 1_000;
    /// How long an invitation is valid, in microseconds: a day.
    pub const INVITED: u64 = 24 * 3_600 * 1_000_000;
    /// The shortest and the longest password in bytes.
    pub const PASSWORD: (usize, usize) = (10, 200);

    /// A person without a password.
    #[must_use]
    pub fn new(name: &str, roles: BTreeMap<String, Role>, made: u64) -> Self {
        let (name, disabled, password) = (name.to_owned(), false, None);
        Self { name, roles, made, disabled, password, invitation: None }
    }

    /// An admin of all products.
    #[must_use]
    pub fn root(name: &str, made: u64) -> Self {
        Self::new(name, BTreeMap::from([(ALL.to_owned(), Role::Admin)]), made)
    }

    /// Whether the person may sign in and is an admin of all products.
    #[must_use]
    pub fn is_root(&self) -> bool {
        let admin = self.roles.get(ALL) == Some(&Role::Admin);
        admin && !self.disabled && self.password.is_some()
    }

    /// Invites the person to choose a password. Returns the text of the invitation, which is shown
    /// only once; an earlier one is invalid from now on.
    pub fn invite(&mut self, random: [u8; 32], now: u64) -> String {
        let text = hex(&random);
        let until = now.saturating_add(Self::INVITED);
        self.invitation = Some(Invitation { hash: hashed(&text), until });
        text
    }

    /// The end of the open invitation.
    #[must_use]
    pub fn invited_until(&self, now: u64) -> Option<u64> {
        self.invitation.as_ref().map(|invitation| invitation.until).filter(|until| *until > now)
    }

    /// Whether this is the text of the open invitation.
    #[must_use]
    pub fn is_invited_by(&self, text: &str, now: u64) -> bool {
        let open = self.invitation.as_ref().filter(|invitation| invitation.until > now);
        !self.disabled && open.is_some_and(|open| same(&open.hash, &hashed(text)))
    }

    /// Sets the password. Invitations end.
    pub fn set_password(&mut self, hash: String) {
        (self.password, self.invitation) = (Some(hash), None);
    }

    /// The person as a caller, while it may sign in. Its id begins with `@`, which no key's does.
    #[must_use]
    pub fn caller(&self) -> Option<Caller> {
        let is_in = !self.disabled && self.password.is_some();
        is_in.then(|| Caller::new(format!("@{}", self.name), self.roles.clone()))
    }

    /// Returns the stored form.
    ///
    /// # Errors
    /// [`BadState`] if it cannot be written; no such case is known.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadState> {
        BadState::write(self)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`BadState`] if these are not its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadState> {
        BadState::read(bytes)
    }

    /// Checks a new password.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn check_password(password: &str) -> Result<(), Problem> {
        let (least, most) = Self::PASSWORD;
        if (least..=most).contains(&password.len()) {
            return Ok(());
        }
        Err(Problem::field("password", format!("{least} to {most} bytes")))
    }

    /// Checks a name.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn check_name(name: &str) -> Result<(), Problem> {
        let good =
            |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'+' | b'@');
        let fits = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(good);
        let what = "1 to 48 small letters, digits or . - _ + @";
        fits.then_some(()).ok_or_else(|| Problem::field("name", what))
    }
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Person").field("name", &self.name).field("roles", &self.roles).finish()
    }
}

fn hashed(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// Compares two texts of the same length in constant time.
pub(super) fn same(ours: &str, theirs: &str) -> bool {
    let differ = ours.bytes().zip(theirs.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    ours.len() == theirs.len() && differ == 0
}

/// A requested person.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NewPerson {
    /// The name for signing in.
    pub name: String,
    /// The role for each product, and under `*` for all of them.
    pub roles: BTreeMap<String, Role>,
}

impl NewPerson {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let new: Self = read_json(body)?;
        Person::check_name(&new.name)?;
        check_roles(&new.roles).map(|()| new)
    }
}

/// A change of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ChangePerson {
    /// Whether the person may sign in. Disabling ends all sessions.
    pub disabled: Option<bool>,
    /// All roles after the change.
    pub roles: Option<BTreeMap<String, Role>>,
    /// Make a new invitation.
    pub invite: bool,
}

impl ChangePerson {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Code::Invalid`].
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let change: Self = read_json(body)?;
        change.roles.as_ref().map_or(Ok(()), check_roles)?;
        Ok(change)
    }

    /// Makes the change.
    pub fn apply(&self, person: &mut Person) {
        person.disabled = self.disabled.unwrap_or(person.disabled);
        if let Some(roles) = &self.roles {
            person.roles.clone_from(roles);
        }
    }
}

fn check_roles(roles: &BTreeMap<String, Role>) -> Result<(), Problem> {
    if roles.is_empty() || roles.len() > MAX_ROLES {
        return Err(Problem::field("roles", "1 to 100 roles"));
    }
    for product in roles.keys().filter(|product| *product != ALL) {
        text("roles", product, MAX_NAME)?;
        check_product("roles", product)?;
    }
    Ok(())
}

/// A person in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PersonView<'a> {
    /// The name.
    pub name: &'a str,
    /// The role for each product, and under `*` for all of them.
    pub roles: &'a BTreeMap<String, Role>,
    /// When the person was added.
    pub made: u64,
    /// Whether the person must not sign in.
    pub disabled: bool,
    /// Whether the person has chosen a password.
    pub joined: bool,
    /// The end of the open invitation.
    pub invited_until: Option<u64>,
}

impl<'a> PersonView<'a> {
    /// The view of a person.
    #[must_use]
    pub fn new(person: &'a Person, now: u64) -> Self {
        Self {
            name: &person.name,
            roles: &person.roles,
            made: person.made,
            disabled: person.disabled,
            joined: person.password.is_some(),
            invited_until: person.invited_until(now),
        }
    }
}

/// There is no such person.
pub(super) fn unknown() -> Problem {
    Problem::new(Code::UnknownPerson, "there is no such person")
}

impl Problem {
    /// There is no such person.
    #[must_use]
    pub fn unknown_person() -> Self {
        unknown()
    }
}
