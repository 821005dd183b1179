//! API keys, their roles, and what they allow.

use core::fmt;
use std::collections::BTreeMap;

use ota_proto::Identity;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::call::{Call, Scope};
use super::problem::{Code, Problem};
use super::role::{Right, Role};
use crate::error::BadState;

/// The name for all products.
pub(super) const ALL: &str = "*";
/// The prefix of each key's text.
const MARK: &str = "ota1";

/// A stored key: JSON, whose later versions only add fields. Its secret is stored as SHA-256, which
/// is enough for 256 random bits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Key {
    /// Its public half: 16 hexadecimal digits.
    pub id: String,
    /// A name for people.
    pub name: String,
    /// The role for each product, and under `*` for all of them.
    pub roles: BTreeMap<String, Role>,
    /// Its creation time, in microseconds since 1970.
    pub made: u64,
    /// SHA-256 of its secret, in hexadecimal.
    hash: String,
}

impl Key {
    /// Generates a key and its text from random bytes. Without a `product` the key is for all of
    /// them.
    #[must_use]
    pub fn make(
        random: [u8; 40],
        name: &str,
        product: Option<&str>,
        role: Role,
        made: u64,
    ) -> (Self, KeyText) {
        let (id, secret) = random.split_at(8);
        let text = KeyText { id: hex(id), secret: hex(secret) };
        (Self::of(&text, name, product, role, made), text)
    }

    /// Makes the key of an existing text.
    #[must_use]
    pub fn of(text: &KeyText, name: &str, product: Option<&str>, role: Role, made: u64) -> Self {
        let roles = BTreeMap::from([(product.unwrap_or(ALL).to_owned(), role)]);
        let (id, hash) = (text.id.clone(), text.hash());
        Self { id, name: name.to_owned(), roles, made, hash }
    }

    /// Whether it is an admin of all products.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.roles.get(ALL) == Some(&Role::Admin)
    }

    /// The caller, if this text is the key's.
    #[must_use]
    pub fn opens(self, text: &KeyText) -> Option<Caller> {
        let (ours, theirs) = (self.hash.as_bytes(), text.hash());
        let same = ours.len() == theirs.len() && self.id == text.id;
        // Compares in constant time.
        let differ = ours.iter().zip(theirs.as_bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
        (same && differ == 0).then_some(Caller { id: self.id, roles: self.roles })
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
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("roles", &self.roles).finish()
    }
}

/// The credential of a caller: `ota1.ID.SECRET`. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText {
    id: String,
    secret: String,
}

impl KeyText {
    /// From its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (mark, id, secret) = (parts.next()?, parts.next()?, parts.next()?);
        let good = |text: &str, len: usize| {
            text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let fits = parts.next().is_none() && mark == MARK && good(id, 16) && good(secret, 64);
        fits.then(|| Self { id: id.to_owned(), secret: secret.to_owned() })
    }

    /// From the value of an `Authorization` header.
    #[must_use]
    pub fn of_header(value: &str) -> Option<Self> {
        let (scheme, text) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| Self::parse(text.trim()))?
    }

    /// The key's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its secret half: the vendor's API calls it SecretKey, and the id SecretId.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// From both halves, as [`id`](Self::id) and [`secret`](Self::secret) give them.
    #[must_use]
    pub fn from_halves(id: &str, secret: &str) -> Option<Self> {
        Self::parse(&format!("{MARK}.{id}.{secret}"))
    }

    /// The whole text: a secret.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{MARK}.{}.{}", self.id, self.secret)
    }

    fn hash(&self) -> String {
        hex(&Sha256::digest(self.secret.as_bytes()))
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyText({}, …)", self.id)
    }
}

/// The owner of a verified key, or a person who has signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    id: String,
    roles: BTreeMap<String, Role>,
}

impl Caller {
    pub(super) const fn new(id: String, roles: BTreeMap<String, Role>) -> Self {
        Self { id, roles }
    }

    /// The id of the key, or `@` and the name of the person.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The role for each product, and under `*` for all of them.
    #[must_use]
    pub const fn roles(&self) -> &BTreeMap<String, Role> {
        &self.roles
    }

    /// Whether it has a right to a product that exists, or without one to the whole service.
    #[must_use]
    pub fn has(&self, right: Right, product: Option<&str>) -> bool {
        self.allows(right, product, true).is_ok()
    }

    /// The role for a product.
    fn role(&self, product: &str) -> Option<Role> {
        let roles = &self.roles;
        roles.get(product).copied().max(roles.get(ALL).copied())
    }

    /// Whether it may see a product.
    #[must_use]
    pub fn sees(&self, product: &str) -> bool {
        self.role(product).is_some()
    }

    /// Whether it may see all products, also later ones.
    #[must_use]
    pub fn sees_all(&self) -> bool {
        self.roles.contains_key(ALL)
    }

    /// Decides whether a call is allowed; no other place does. `known`: its product exists.
    ///
    /// # Errors
    /// [`Problem::unknown_product`] both for a product that does not exist and for one of others;
    /// [`Code::Forbidden`] if the role is too low.
    pub fn may(&self, call: &Call, known: bool) -> Result<Grant, Problem> {
        let operation = call.operation();
        let product = Some(call.product());
        match operation.scope {
            Scope::Product => self.allows(operation.right, product, known),
            Scope::Service => self.allows(operation.right, None, known),
            Scope::Anybody => self.allows(Right::Read, None, known),
        }
    }

    /// Checks a right to one product or, without one, to the whole service. Every key may read the
    /// service's lists, which show only what the key may see.
    ///
    /// # Errors
    /// As [`may`](Self::may).
    pub fn allows(
        &self,
        right: Right,
        product: Option<&str>,
        known: bool,
    ) -> Result<Grant, Problem> {
        let role = match product {
            Some(product) => {
                let role = self.role(product).filter(|_| known);
                role.ok_or_else(Problem::unknown_product)?
            }
            None => self.role(ALL).unwrap_or(Role::Viewer),
        };
        if role < right.role() {
            let detail = format!("this needs a key with the role {}", right.role().word());
            return Err(Problem::new(Code::Forbidden, detail));
        }
        Ok(Grant { product: product.unwrap_or_default().to_owned(), caller: self.clone() })
    }
}

/// Proves that a caller may make a call. Only [`Caller::may`] creates one, and a call may only
/// access the grant's product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    product: String,
    caller: Caller,
}

impl Grant {
    /// The product; empty for a call without one.
    #[must_use]
    pub fn product(&self) -> &str {
        &self.product
    }

    /// The caller.
    #[must_use]
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether the caller may see a product that the path does not name.
    ///
    /// # Errors
    /// As [`Caller::may`] for a product that is not there.
    pub fn sees(&self, product: &str, known: bool) -> Result<(), Problem> {
        let seen = known && self.caller.sees(product);
        if seen { Ok(()) } else { Err(Problem::unknown_product()) }
    }

    /// A device of the grant's product.
    ///
    /// # Errors
    /// [`Problem::unknown_device`]: no device can have this name.
    pub fn device(&self, name: &str) -> Result<Identity, Problem> {
        Identity::new(&self.product, name).map_err(|_| Problem::unknown_device())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}
