//! Sessions of people, the tokens of their forms, links of admins, and the pause after failed
//! attempts. Time and randomness are inputs.

use core::fmt;
use core::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use ota_proto::Instant;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::key::hex;
use super::person::same;
use crate::error::BadState;

/// A stored session: JSON, whose later versions only add fields. Its row's id is
/// [`SessionText::id`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Session {
    /// The name of the person.
    pub person: String,
    /// Its start, in microseconds since 1970.
    pub made: u64,
}

impl Session {
    /// A session ends this long after its start.
    pub const LIFE: Duration = Duration::from_secs(12 * 3_600);
    /// A session ends this long after its last request; an open live page counts as requests.
    pub const IDLE: Duration = Duration::from_secs(3_600);
    /// The most sessions of a person; a new one ends the oldest.
    pub const MOST: usize = 20;

    /// A session that begins now.
    #[must_use]
    pub fn new(person: &str, now: Instant) -> Self {
        Self { person: person.to_owned(), made: now.as_micros() }
    }

    /// The latest end.
    #[must_use]
    pub fn end(&self) -> Instant {
        Instant::from_micros(self.made) + Self::LIFE
    }

    /// Whether it is over, if its last request was at `seen`. A clock that was set back ends it.
    #[must_use]
    pub fn is_over(&self, now: Instant, seen: Instant) -> bool {
        now >= self.end() || now.as_micros() < self.made || now >= seen + Self::IDLE
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

/// The secret of a session, in a cookie: 256 bits in hexadecimal. Only its hash is stored. `Debug`
/// hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionText(String);

impl SessionText {
    /// Makes it from random bytes.
    #[must_use]
    pub fn make(random: [u8; 32]) -> Self {
        Self(hex(&random))
    }

    /// From its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let good = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 64 && text.bytes().all(good)).then(|| Self(text.to_owned()))
    }

    /// The text: a secret.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The id of its row.
    #[must_use]
    pub fn id(&self) -> String {
        self.hash(b"session")
    }

    /// The token of its forms. It does not reveal the secret.
    #[must_use]
    pub fn form_token(&self) -> String {
        self.hash(b"form")
    }

    /// Whether this is the token of its forms. Constant time.
    #[must_use]
    pub fn takes(&self, token: &str) -> bool {
        same(&self.form_token(), token)
    }

    fn hash(&self, what: &[u8]) -> String {
        hex(&Sha256::new().chain_update(what).chain_update([0]).chain_update(&self.0).finalize())
    }
}

impl fmt::Debug for SessionText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionText(…)")
    }
}

/// Whether a form comes from a page of this service: the host of `Origin` is the one that the
/// request names, or that of the configured URL. A missing origin is not ours.
#[must_use]
pub fn is_own_origin(origin: Option<&str>, host: Option<&str>, public: Option<&str>) -> bool {
    let bare = |url: &str| {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
        Some(rest.split('/').next().unwrap_or_default().to_ascii_lowercase())
    };
    let Some(origin) = origin.and_then(bare).filter(|origin| !origin.is_empty()) else {
        return false;
    };
    host.is_some_and(|host| host.eq_ignore_ascii_case(&origin))
        || public.and_then(bare).is_some_and(|public| public == origin)
}

/// What a link for an admin is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkFor {
    /// The first admin: valid only while there is none.
    First,
    /// Another admin, made by whoever may read the master key.
    Admin,
}

/// A link that makes an admin, once and within an hour. It is signed with a key derived from the
/// master key, so that whoever may read that key can make one while the service runs; the used ones
/// are stored until they would have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdminLink {
    /// What it is for.
    pub what: LinkFor,
    /// Its end.
    pub until: Instant,
}

impl AdminLink {
    /// How long it is valid.
    pub const LIFE: Duration = Duration::from_secs(3_600);
    /// The length of its text: purpose, end, 256 random bits and a signature.
    const LEN: usize = 1 + 16 + 64 + 64;

    /// The text of a link.
    #[must_use]
    pub fn make(key: &[u8; 32], what: LinkFor, now: Instant, random: [u8; 32]) -> String {
        let until = (now + Self::LIFE).as_micros();
        let mark = if what == LinkFor::First { 'f' } else { 'a' };
        let head = format!("{mark}{until:016x}{}", hex(&random));
        let signature = sign(key, &head);
        format!("{head}{signature}")
    }

    /// Reads a link that is still valid. The second value is the id under which its use is stored.
    #[must_use]
    pub fn read(key: &[u8; 32], text: &str, now: Instant) -> Option<(Self, String)> {
        if text.len() != Self::LEN || !text.is_ascii() {
            return None;
        }
        let (head, signature) = text.split_at_checked(Self::LEN.saturating_sub(64))?;
        if !same(&sign(key, head), signature) {
            return None;
        }
        let what = if head.starts_with('f') { LinkFor::First } else { LinkFor::Admin };
        let until = u64::from_str_radix(head.get(1..17)?, 16).ok()?;
        let until = Instant::from_micros(until);
        let id = hex(&Sha256::digest(head.as_bytes()));
        // A clock that was set back makes none longer.
        let valid = now < until && until <= now + Self::LIFE;
        valid.then_some((Self { what, until }, id))
    }
}

fn sign(key: &[u8; 32], head: &str) -> String {
    // As HMAC fills a short key.
    let mut block = [0; 64];
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(head.as_bytes());
    hex(&mac.finalize().into_bytes())
}

/// Failed attempts to sign in, of one name or one address: after five, a minute of rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    failed: u8,
    at: Instant,
}

impl Attempts {
    const MOST: u8 = 5;
    const REST: Duration = Duration::from_secs(60);

    /// None yet.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { failed: 0, at: now }
    }

    /// Counts an attempt before it is known whether it fails, so that concurrent ones count. One
    /// that succeeds is forgotten by dropping the count.
    ///
    /// # Errors
    /// The wait until the next attempt.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        if self.is_over(now) {
            self.failed = 0;
        }
        if self.failed >= Self::MOST {
            return Err((self.at + Self::REST).since(now));
        }
        (self.failed, self.at) = (self.failed.saturating_add(1), now);
        Ok(())
    }

    /// Whether it need not be kept.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.at + Self::REST
    }
}
